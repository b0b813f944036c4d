"""The pulse: what a host's figures are once noise is taken out of them.

Placement compares figures with thresholds; what hosts tell each other for
that is smoothed, and stays the same until it has changed for good.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from agents.colony import Colony
from agents.messages.membership import Load
from agents.peer import PeerStatus
from placement.attraction import Steady
from placement.resources import reserve, spare

CPU_BAND = 0.08  # more than a tenth of noise at the thresholds
FREE_BAND = 0.10
TRAFFIC_BAND = 0.25
OWN_BAND = 0.02  # of the CPU that a host itself uses: what those of a machine use is summed up
GROUP_BAND = 0.03  # what leaves for it comes back a good deal below where it left: that is the margin
PCT = 100


class Pulse:
    """Steady figures of one host."""

    def __init__(self) -> None:
        self._cpu, self._machine = Steady(band=CPU_BAND), Steady(band=CPU_BAND)
        self._own, self._group = Steady(band=OWN_BAND), Steady(band=GROUP_BAND)
        self._free = Steady(band=FREE_BAND, relative=True)
        self._traffic = Steady(band=TRAFFIC_BAND, relative=True, half_life_s=10.0)
        self._seqs: dict[int, int] = {}
        self._at_s: float | None = None

    def steadied(self, load: Load, colonies: Iterable[Colony], now_s: float) -> Load:
        """Return a load with the figures that placement goes by; about once a second."""
        return msgspec.structs.replace(
            load,
            machine_pct=_took(self._machine, load.machine_pct, now_s),
            own_pct=_took(self._own, load.own_pct, now_s),
            group_pct=_took(self._group, load.group_pct, now_s),
            steady_cpu=min(1.0, self._cpu.took(load.cpu, now_s)),
            steady_free=int(self._memory_free(load, now_s)),
            traffic=self._traffic.took(self._mutations_per_s(colonies, now_s), now_s),
        )

    def _memory_free(self, load: Load, now_s: float) -> float:
        """Return what is free: that it is little is said at once, that it is more only when it has lasted."""
        if load.memory_total and spare(load.memory_free, load.memory_total) < reserve(load.memory_total):
            self._free = Steady(band=FREE_BAND, relative=True)
        return self._free.took(load.memory_free, now_s)

    def _mutations_per_s(self, colonies: Iterable[Colony], now_s: float) -> float:
        """Return how many mutations the primaries here have sequenced since the last time."""
        seqs = {one.colony: one.peer.last for one in colonies if one.primary is not None}
        before, self._seqs = self._seqs, seqs
        elapsed_s = now_s - self._at_s if self._at_s is not None else 0.0
        self._at_s = now_s
        done = sum(seq - before[colony] for colony, seq in seqs.items() if colony in before)
        return max(0, done) / elapsed_s if elapsed_s > 0 else 0.0


def counted(load: Load, colonies: Iterable[Colony], uptime_s: float) -> Load:
    """Return a load with what is counted on its host."""
    active = [c for c in colonies if c.status is PeerStatus.ACTIVE]
    primaries = sum(c.primary is not None for c in active)
    return msgspec.structs.replace(
        load,
        bytes_used=sum(c.peer.cells.bytes_used for c in active),
        cells=sum(len(c.peer.cells.live) for c in active),
        primaries=primaries,
        secondaries=len(active) - primaries,
        uptime_s=uptime_s,
    )


def _took(figure: Steady, pct: int, now_s: float) -> int:
    """Return what is told of a share after one more sample; both in percent, < 0 = not measured."""
    return pct if pct < 0 else round(figure.took(pct / PCT, now_s) * PCT)
