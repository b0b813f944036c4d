"""Attraction: how much a host has to offer.

Memory, CPU and traffic are read in coarse bands, so that their noise orders
nothing; what hosts carry comes in steps of a tenth of the mean for the same
reason, and so that many colonies that choose at once spread over all hosts
that are about as empty.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from placement.resources import COPY_BYTES, Candidate, format_bytes

FILL_GOOD = 0.60  # plan memory for 60 % in quiet times (Hazelcast's sizing guide)
FILL_LOW = 0.70  # a move for balance or relief may fill its target up to here,
FILL_HIGH = 0.85  # and a host above this seeks relief: what lies between is the hysteresis
FILL_FULL = 0.95  # nothing new beyond this: the rest is for growth of what is there
FILL_OVER = 0.98  # who can't give anything away sheds secondaries from here on
CPU_BUSY = 0.50
CPU_WARM = 0.65  # a host takes roles for balance's sake up to here, and gives them away above the next
CPU_SATURATED = 0.80  # queues grow steeply from about here (M/M/1: wait = 4 service times)
TRAFFIC_MIN = 100.0  # mutations per second: below that, traffic is nobody's concern


class Attraction(NamedTuple):
    """What draws a copy to a host; compared as a tuple, less is better."""

    flaps: int
    fill: int
    cpu: int
    traffic: int
    crowd: int

    @property
    def named(self) -> tuple[tuple[str, int], ...]:
        """The terms with their names, in order of weight."""
        return tuple(zip(self._fields, self, strict=True))


def attraction(
    host: Candidate, *, bytes_wanted: int, lightest: int, step: int, traffic: float = 0.0
) -> Attraction:
    """Return the attraction of a host for a copy of `bytes_wanted` bytes.

    Args:
        host: The host in question.
        bytes_wanted: Size of the copy; >= 0.
        lightest: Weight of the emptiest of the hosts it is compared with.
        step: Weight that makes a difference; >= 1 (see `crowd_step`).
        traffic: Mean traffic of these hosts.
    """
    return Attraction(
        flaps=max(host.flaps, host.box_flaps).bit_length(),
        fill=fill_band(host.fill(bytes_wanted)),
        cpu=cpu_band(host.cpu),
        traffic=traffic_band(host.traffic, traffic),
        crowd=max(0, host.weight - lightest) // step,
    )


def attraction_words(host: Candidate, *, bytes_wanted: int) -> tuple[str, ...]:
    """Return what `attraction` judges, in words and figures."""
    room = host.room
    words = [
        f"{format_bytes(room)} of room" if room is not None else "room not limited",
        f"filled to {host.fill(bytes_wanted):.0%} with it",
        cpu_words(host),
        f"{host.copies} copies, {host.primaries} of them primary",
    ]
    if host.traffic >= TRAFFIC_MIN:
        words.append(f"{host.traffic:.0f} mutations/s")
    if host.box_flaps > host.flaps:
        words.insert(0, f"its box lost hosts {host.box_flaps} times of late")
    elif host.flaps:
        words.insert(0, f"lost {host.flaps} times of late")
    return tuple(words)


def crowd_step(hosts: Iterable[Candidate]) -> int:
    """Return what makes one host emptier than another: a tenth of the mean weight, at least two copies."""
    weights = [host.weight for host in hosts]
    return max(2 * COPY_BYTES, sum(weights) // (10 * len(weights))) if weights else 2 * COPY_BYTES


def fill_band(fill: float) -> int:
    """Return 0 for a host with plenty of memory, 1 with enough, 2 with little."""
    return (fill > FILL_GOOD) + (fill > FILL_HIGH)


def cpu_band(cpu: float) -> int:
    """Return 0 for an idle host, 1 for a busy one, 2 for a saturated one."""
    return (cpu > CPU_BUSY) + (cpu > CPU_SATURATED)


def is_crowded_out(host: Candidate) -> bool:
    """Return whether a host's CPU is saturated, and mostly by processes that are no hosts."""
    return cpu_band(host.cpu) == 2 and host.cpu_others > CPU_WARM


def too_busy_for(taker: Candidate, giver: Candidate) -> bool:
    """Return whether its CPU keeps a host from taking what another one has.

    It does if it is saturated, or if others than hosts use most of it: what has left for their sake
    comes back when that is over, and not when it has itself made room. Not if the giver's is, too:
    where all are alike, nobody would get anything.
    """
    if cpu_band(taker.cpu) == 2 > cpu_band(giver.cpu):
        return True
    return taker.cpu_others > CPU_BUSY >= giver.cpu_others


def cpu_words(host: Candidate) -> str:
    """Return how busy the CPU of a host is, and by whom."""
    others = f", {host.cpu_others:.0%} by others than hosts" if host.cpu_others > CPU_BUSY else ""
    return f"CPU {host.cpu:.0%}{others}"


def traffic_band(traffic: float, mean: float) -> int:
    """Return 1 for a host that takes half as many mutations again as the mean, and not just a few; else 0."""
    return int(traffic > max(TRAFFIC_MIN, 1.5 * mean))


def has_room(host: Candidate, bytes_wanted: int, fill_max: float = FILL_FULL) -> bool:
    """Return whether a copy fits, and leaves the host filled to `fill_max` at most."""
    room = host.room
    return room is None or (bytes_wanted <= room and host.fill(bytes_wanted) <= fill_max)


def smoothed(before: float | None, sample: float, *, elapsed_s: float, half_life_s: float = 5.0) -> float:
    """Return an exponentially weighted mean after one more sample.

    Args:
        before: The mean so far; None = this is the first sample.
        sample: What was measured now.
        elapsed_s: Time since the sample before; >= 0. Uneven intervals are fine.
        half_life_s: When a sample has lost half its weight; > 0. 5 s: a burst
            of a second moves the mean by an eighth, lasting load by half in 5 s.
    """
    if half_life_s <= 0 or elapsed_s < 0:
        raise ValueError("need half_life_s > 0 and elapsed_s >= 0")
    if before is None:
        return sample
    kept: float = 0.5 ** (elapsed_s / half_life_s)
    return before * kept + sample * (1 - kept)


class Steady:
    """A figure that is told to others: smoothed, and the same until it has changed for good.

    Whoever compares it with a threshold sees no noise: what is told stays as
    it is while the mean is within `band` of it.
    """

    def __init__(self, *, band: float, relative: bool = False, half_life_s: float = 5.0) -> None:
        self._band = band
        self._relative = relative
        self._half_life_s = half_life_s
        self._mean: float | None = None
        self._at_s = 0.0
        self.told = 0.0

    def took(self, sample: float, now_s: float) -> float:
        """Return what is told after one more sample."""
        first = self._mean is None
        elapsed_s = 0.0 if first else max(0.0, now_s - self._at_s)
        self._mean = smoothed(self._mean, sample, elapsed_s=elapsed_s, half_life_s=self._half_life_s)
        self._at_s = now_s
        band = self._band * abs(self.told) if self._relative else self._band
        if first or abs(self._mean - self.told) > band:
            self.told = self._mean
        return self.told
