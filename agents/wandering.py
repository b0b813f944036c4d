"""Wandering: when a cell leaves its colony without having been told to.

Only for a named reason, only where somebody has switched that on, and never
many at a time. Requests pay nothing for it: what a colony changes most is
seen in what waits for acks whenever the loop ticks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from heapq import nlargest
from typing import Protocol

from agents.cells import cell_bytes
from agents.colony import Colony
from agents.effects import Effect, TellColony
from agents.household import Household
from agents.messages.membership import Load
from agents.surroundings import MigrateOrdered

Out = list[Effect]
LOOK_S = 5.0
SAMPLES_MIN = 50  # a share of fewer says nothing
KEYS_MAX = 256  # of one colony; then those seen least are forgotten
CPU_MARGIN = 0.2  # the other host must have so much more to spare: less is noise
ROOM = 0.8  # a colony is filled up to so much of what it may have: others change meanwhile
CELLS_PER_LOOK = 16
COOL_S = 60.0  # a cell that was moved stays at least so long


@dataclass(frozen=True, slots=True)
class Urges:
    """What moves cells by itself; nothing does as it comes.

    Attributes:
        hot_share: A cell that takes more than this share of its colony's changes goes to a
            colony of a host with CPU to spare; 0 = never. Off, because a move is worth its
            while only where one core is the limit, and people know whether that is so.
        bytes_max: A colony that weighs more sends its largest cells away; 0 = never. Off,
            because more colonies at `init` are the better remedy.
        per_minute: Moves of one host at the most.
    """

    hot_share: float = 0.0
    bytes_max: int = 0
    per_minute: int = 60

    def __post_init__(self) -> None:
        if not 0 <= self.hot_share < 1 or self.bytes_max < 0 or self.per_minute < 1:
            raise ValueError(f"no such urges: {self}")


class Host(Household, Protocol):
    """What wandering asks of its host."""

    load: Load


class Wandering:
    """Looks at the colonies that one host leads, and lets cells go."""

    def __init__(self, host: Host, urges: Urges, now_s: float) -> None:
        self._host = host
        self._urges = urges
        self._seen: dict[int, Counter[bytes]] = {}
        self._looked_s = now_s
        self._may_move = float(urges.per_minute)

    @property
    def is_sampling(self) -> bool:
        """Whether each tick takes a sample of what is being changed."""
        return bool(self._urges.hot_share)

    def ticked(self, now_s: float, out: Out) -> None:
        """Take samples; decide now and then."""
        if not (self._urges.hot_share or self._urges.bytes_max):
            return
        if self._urges.hot_share:
            self._sample()
        since_s = now_s - self._looked_s
        if since_s < LOOK_S:
            return
        self._looked_s = now_s
        most = self._urges.per_minute
        self._may_move = min(most, self._may_move + most * since_s / 60.0)
        for machine, order in self._wanted():
            if self._may_move < 1.0:
                return
            self._may_move -= 1.0
            out.append(TellColony(machine.colony, order))

    def _sample(self) -> None:
        for machine in self._host.colonies.values():
            primary = machine.primary
            if primary is None or not primary.pending:
                continue
            seen = self._seen.setdefault(machine.colony, Counter())
            seen[primary.pending[-1].entry.key] += 1
            if len(seen) > KEYS_MAX:
                self._seen[machine.colony] = Counter(dict(seen.most_common(KEYS_MAX // 4)))

    def _wanted(self) -> Iterator[tuple[Colony, MigrateOrdered]]:
        """Yield the moves that are wanted now, hot cells first."""
        seen, self._seen = self._seen, {}
        led = [m for m in self._host.colonies.values() if m.is_open]
        for machine in led:
            order = self._hot(machine, seen.get(machine.colony, Counter()))
            if order is not None:
                yield machine, order
        for machine in led if self._urges.bytes_max else ():
            for order in self._large(machine):
                yield machine, order

    def _hot(self, machine: Colony, seen: Counter[bytes]) -> MigrateOrdered | None:
        """Return how a hot cell goes to a colony of an idler host."""
        samples = seen.total()
        if samples < SAMPLES_MIN or len(machine.peer.cells.live) < 2:
            return None
        key, count = seen.most_common(1)[0]
        if count <= self._urges.hot_share * samples or key in machine.peer.cells.places:
            return None
        host = self._host
        here = self._cpu(host.me)
        places = [
            (self._cpu(entry.primary), entry.cells, entry.colony)
            for entry in host.directory.entries
            if entry is not None and entry.primary not in ("", host.me)
        ]
        if not places or min(places)[0] > here - CPU_MARGIN:
            return None
        cpu, _, colony = min(places)
        share = f"{count} of {samples} changes seen in colony {machine.colony}"
        reason = f"hot: {share}; CPU {here:.0%} here, {cpu:.0%} there"
        return MigrateOrdered(key, colony, reason, COOL_S)

    def _cpu(self, host: str) -> float:
        if host == self._host.me:
            return self._host.load.cpu
        return (self._host.membership.loads.get(host) or Load(cpu=1.0)).cpu

    def _large(self, machine: Colony) -> Iterator[MigrateOrdered]:
        """Yield how the largest cells of too large a colony go to small ones, of which peers are here."""
        cells, most = machine.peer.cells, self._urges.bytes_max
        excess = cells.bytes_used - most
        if excess <= 0:
            return
        room = {
            other.colony: int(ROOM * most) - other.peer.cells.bytes_used
            for other in self._host.colonies.values()
            if other is not machine and other.role is not None
        }
        own = ((cell_bytes(key, cell), key) for key, cell in cells.live.items() if key not in cells.places)
        for weight, key in nlargest(CELLS_PER_LOOK, own):
            if excess <= 0 or not room:
                return
            free, colony = max((free, -colony) for colony, free in room.items())
            if weight > free:
                continue
            room[-colony] -= weight
            excess -= weight
            reason = f"colony {machine.colony} has {cells.bytes_used} bytes, {most} are its share"
            yield MigrateOrdered(key, -colony, reason, COOL_S)
