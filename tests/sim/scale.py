"""What many hosts cost: `python -m tests.sim.scale --hosts 10 30 100 300 1000`.

For each size: CPU of one host's decisions after a death and while a tenth as many hosts join, bytes,
frames and CPU of heartbeats and leases (`tests.sim.beats`), memory of what a
host knows of all others; then how long it takes until every colony has its
peers again, when a share of all hosts dies at once (`--kill`). Decisions are
those of `tests.sim.placing`; every host would spend what one is measured to
spend here, on a core of its own.
"""

from __future__ import annotations

import argparse
import gc
import math
import sys
import time
import tracemalloc
from dataclasses import dataclass

from agents.directory import Directory
from agents.survey import Survey
from placement.labels import Labels
from tests.sim.beats import beats_beside_dead, beats_of
from tests.sim.placing import STEP_S, Site, Tally, World, dealt, site_plan

COLONIES_A_HOST = 16.384
PEERS, COLONY_BYTES = 3, 1 << 20


@dataclass(slots=True)
class Costs:
    """CPU seconds of decision rounds: one governor's tick each."""

    rounds: list[float]

    @property
    def p50_ms(self) -> float:
        """The middle one, ms."""
        return sorted(self.rounds)[len(self.rounds) // 2] * 1e3 if self.rounds else 0.0

    @property
    def p99_ms(self) -> float:
        """One in a hundred is longer, ms."""
        return sorted(self.rounds)[len(self.rounds) * 99 // 100] * 1e3 if self.rounds else 0.0

    @property
    def max_ms(self) -> float:
        """The longest, ms."""
        return max(self.rounds, default=0.0) * 1e3


def built(hosts: int, colony_bytes: int = COLONY_BYTES) -> World:
    """Return a cluster of this size."""
    plan = site_plan(hosts, max(3, hosts * 3 // 10), 3)
    colonies = max(64, round(hosts * COLONIES_A_HOST))
    return World(plan, [colony_bytes] * colonies, peers=PEERS, born=dealt(plan, colonies, PEERS))


def timed(world: World) -> Costs:
    """Have each governor's tick timed from now on."""
    costs = Costs([])
    for site in world.sites.values():
        _time(site, costs)
    return costs


def _time(site: Site, costs: Costs) -> None:
    tick = site.governor.tick

    def clocked(now_s: float, out: list[object]) -> None:
        gc.disable()  # what is collected is of all hosts: it would count as a round of one
        began_s = time.thread_time()
        tick(now_s, out)  # type: ignore[arg-type]
        costs.rounds.append(time.thread_time() - began_s)
        gc.enable()

    site.governor.tick = clocked  # type: ignore[method-assign,assignment]


def survey_ms(world: World) -> float:
    """Return the CPU of one host's look at all members anew, ms: four times a second."""
    survey = Survey(next(iter(world.sites.values())))  # type: ignore[arg-type]
    began_s = time.thread_time()
    for n in range(5):
        survey.look(world.now_s + n)
    return (time.thread_time() - began_s) / 5 * 1e3


def memory_bytes(world: World) -> int:
    """Return what one host's directory and survey take."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    directory = Directory(len(world.sizes))
    for entry in world.directory.entries:
        if entry is not None:
            directory.learn(type(entry)(*(getattr(entry, name) for name in entry.__struct_fields__)))
    survey = Survey(next(iter(world.sites.values())))  # type: ignore[arg-type]
    survey.look(world.now_s)
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return used


@dataclass(slots=True)
class Recovery:
    """What came of so many hosts dying at once.

    Attributes:
        killed: Hosts.
        lost: Colonies of which no copy was left.
        lost_expected: How many those are on average, whoever dies.
        alone: Colonies with one copy left.
        missing: Copies that were to be made.
        copies: Copies that were made, until none was missing.
        bytes_sent: What those carried.
        seconds: How long that took, from the promotions on.
        still_missing: 0, or it was not done in time.
        costs: CPU of the rounds meanwhile.
    """

    killed: int
    lost: int
    lost_expected: float
    alone: int
    missing: int
    copies: int
    bytes_sent: int
    seconds: float
    still_missing: int
    costs: Costs

    def __str__(self) -> str:
        return (
            f"{self.killed:>6} {self.lost:>6} {self.lost_expected:>8.1f} {self.alone:>6} {self.missing:>8} "
            f"{self.copies:>7} {self.bytes_sent / 1e9:>8.1f} {self.seconds:>8.1f} "
            f"{self.costs.p99_ms:>8.1f} {self.costs.max_ms:>8.1f}"
            + (f"  {self.still_missing} STILL MISSING" if self.still_missing else "")
        )


def joined(world: World) -> Costs:
    """Let a tenth as many hosts join at once; return the CPU of the rounds until the wave is over."""
    count = len(world.view.ids)
    world.join_all(
        [(f"{count + n + 1:032x}", Labels(f"z{n % 3}", "", f"n{n // 3}"), 0) for n in range(-(-count // 10))]
    )
    costs, began_s = timed(world), world.now_s
    world.run(0.5)
    while world.course.is_active and world.now_s - began_s < 60.0:
        world.step()
    return costs


def recovery(world: World, count: int, *, step_s: float = STEP_S, most_s: float = 600.0) -> Recovery:
    """Let so many hosts die at once, and wait until every colony that is left has its peers again."""
    world.run(2.0, step_s=0.5)
    dead = world.chance.sample(world.view.ids, count)
    all_dead = math.comb(len(world.view.ids), PEERS)
    expected = len(world.sizes) * math.comb(count, PEERS) / all_dead
    lost = world.kill(dead)
    alone = sum(len(peers.holders) == 1 for peers in world.places())
    missing = world.missing()
    world.tally = Tally()
    costs, began_s = timed(world), world.now_s
    while world.missing() and world.now_s - began_s < most_s:
        world.step(step_s)
    tally, took_s = world.tally, world.now_s - began_s
    counts = len(lost), expected, alone, missing, tally.copies, tally.bytes_sent
    return Recovery(count, *counts, took_s, world.missing(), costs)


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, nargs="*", default=[10, 30, 100, 300, 1000])
    parser.add_argument("--kill", type=float, nargs="*", default=[0.001, 0.01, 0.1, 0.25, 0.33, 0.5])
    parser.add_argument("--of", type=int, default=1000, help="hosts of which a share is killed")
    parser.add_argument("--mib", type=int, default=32, help="MiB of each colony of those")
    options = parser.parse_args()
    if options.hosts:
        print(
            "hosts colonies  p50 ms   p99 ms   max ms  joins ms survey ms  knows MB  kB/s  frames/s  CPU %"
            "  beside dead"
        )
    for hosts in options.hosts:
        world = built(hosts)
        world.run(1.0, step_s=0.25)
        costs = timed(world)
        world.kill([world.view.ids[hosts // 2]])
        world.run(2.0)
        told = costs.p50_ms, costs.p99_ms, costs.max_ms
        figures = (*told, joined(world).max_ms, survey_ms(world))
        row = " ".join(f"{figure:>8.2f}" for figure in figures)
        beats, kept = beats_of(hosts), memory_bytes(world) / 1e6
        said = f"{beats.bytes_s / 1e3:>7.1f} {beats.frames_s:>7.0f} {beats.cpu:>7.2%}"
        beside = f"{beats_beside_dead(hosts).cpu:>7.2%}"
        print(f"{hosts:>5} {len(world.sizes):>8} {row} {kept:>8.1f} {said} {beside}", flush=True)
    status = 0
    if options.kill:
        print(
            "killed   lost expected  alone  missing  cloned       GB  seconds   p99 ms   max ms "
            f"(of {options.of}, {options.mib} MiB a colony)"
        )
    for share in options.kill:
        world = built(options.of, options.mib << 20)
        gc.freeze()  # or collections of all hosts' memory count as rounds of one
        outcome = recovery(world, max(1, round(options.of * share)))
        print(outcome, flush=True)
        status |= bool(outcome.still_missing)
    return status


if __name__ == "__main__":
    sys.exit(main())
