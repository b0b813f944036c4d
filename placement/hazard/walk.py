"""Walking through time: failures, repairs, supervisors, and colonies that clone.

One run is a function of its seed. Where a new copy goes is decided by the
same function that primaries use (`placement.choice.choose_target`).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from placement.choice import choose_target
from placement.hazard.graph import HOST, Graph, Supervisor, Vertex
from placement.hazard.models import DAY_S
from placement.labels import Labels
from placement.moves import better_spread
from placement.resources import Candidate

RUNS_MAX = 1_000_000
EVENTS_MAX = 1_000_000  # of one run: more often nothing real fails


class Chance(Protocol):
    """Seeded chance of one run (`random.Random` fits)."""

    def random(self) -> float:
        """Return a number in [0, 1)."""
        ...


@dataclass(frozen=True, slots=True)
class Walked:
    """What came of some runs.

    Attributes:
        runs: How many.
        runs_with_loss: In how many at least one colony lost all its peers.
        colonies_lost: In all runs together.
        copies_made: In all runs together.
        hosts_added: By supervisors, in all runs together.
    """

    runs: int
    runs_with_loss: int
    colonies_lost: int
    copies_made: int
    hosts_added: int

    @property
    def lost(self) -> float:
        """Share of the runs with a loss."""
        return self.runs_with_loss / self.runs

    @property
    def error(self) -> float:
        """Its standard error."""
        return math.sqrt(max(self.lost * (1 - self.lost), 1 / self.runs) / self.runs)


def walked(graph: Graph, chances: Iterable[Chance], *, window_s: float, horizon_s: float = DAY_S) -> Walked:
    """Return what came of some runs of `horizon_s` each.

    Args:
        graph: Vertices, colonies and supervisors.
        chances: One for each run; 1 to `RUNS_MAX`.
        window_s: From the death of a copy until another one, elsewhere, is whole.
    """
    done = [Walk(graph, window_s, chance).run(horizon_s) for chance in islice(chances, RUNS_MAX)]
    if not done:
        raise ValueError("there is nothing to see in no run")
    return Walked(
        len(done),
        sum(1 for walk in done if walk.lost),
        sum(walk.lost for walk in done),
        sum(walk.copies_made for walk in done),
        sum(len(walk.added) for walk in done),
    )


@dataclass(slots=True)
class _Host:
    """A host during a run."""

    labels: Labels
    copies: set[str] = field(default_factory=set)


class Walk:
    """One run.

    Attributes:
        lost: Colonies that lost all their peers; each is counted every time, and begins again empty.
        copies_made: Clones that were completed.
        added: Hosts that supervisors added: name -> its box.
    """

    def __init__(self, graph: Graph, window_s: float, chance: Chance) -> None:
        self.lost = 0
        self.copies_made = 0
        self.added: dict[str, str] = {}
        self._graph = graph
        self._window_s = window_s
        self._chance = chance
        self._now_s = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[str, ...]]] = []
        self._count = 0
        self._failed: dict[str, int] = {}  # vertices that failed by themselves -> which failure it is
        self._failures = 0
        self._down: frozenset[str] = frozenset()
        self._hosts = {name: _Host(labels_of(graph, name)) for name in graph.hosts}
        self._wanted = {colony: len(peers) for colony, peers in graph.colonies.items()}
        self._holders = {colony: list(peers) for colony, peers in graph.colonies.items()}
        self._targets: dict[str, tuple[str, str]] = {}  # colony -> where a copy is being made, and which try
        self._numbers = {colony: number for number, colony in enumerate(graph.colonies)}
        self._tries = 0
        self._sources: dict[str, str] = {}  # colony -> the peer that goes once the copy is whole
        self._were_up: frozenset[str] = frozenset()
        self._claims: set[str] = set()  # what some supervisor adds a host for, and where
        for colony, peers in self._holders.items():
            for host in peers:
                self._hosts[host].copies.add(colony)

    def run(self, horizon_s: float) -> Walk:
        """Walk to the horizon."""
        for name in self._graph.order:
            self._plan_failure(name)
        self._part()
        for _ in range(EVENTS_MAX):
            if not self._events or self._events[0][0] > horizon_s:
                return self
            self._now_s, _, action, names = heapq.heappop(self._events)
            action(*names)
        raise ValueError(f"more than {EVENTS_MAX} events in one run: mtbf and mttr are too short")

    def _at(self, at_s: float, action: Callable[..., None], *names: str) -> None:
        if math.isfinite(at_s):
            self._count += 1
            heapq.heappush(self._events, (at_s, self._count, action, names))

    # -- failures and repairs ----------------------------------------------------------

    def _plan_failure(self, name: str) -> None:
        failure = self._graph.vertices[name].failure
        self._at(failure.fails_after_s(self._now_s, self._chance.random()), self._fail, name)

    def _fail(self, name: str) -> None:
        self._failures += 1
        self._failed[name] = self._failures
        down_for_s = self._graph.vertices[name].failure.down_for_s(self._chance.random())
        self._at(self._now_s + down_for_s, self._mend, name, str(self._failures))
        self._settle()
        for supervisor in self._graph.supervisors:
            if name in supervisor.watches:
                self._at(
                    self._now_s + supervisor.restart_s,
                    self._restart,
                    supervisor.vertex,
                    name,
                    str(self._failures),
                )

    def _mend(self, name: str, failure: str) -> None:
        if self._failed.get(name) == int(failure):  # else somebody was faster
            del self._failed[name]
            self._settle()
            self._plan_failure(name)

    def _restart(self, supervisor: str, name: str, failure: str) -> None:
        if supervisor not in self._down:
            self._mend(name, failure)

    def _settle(self) -> None:
        """Work out who is down now, what that loses, and who begins to clone."""
        before, self._down = self._down, self._graph.down(self._failed)
        for name in self._down - before:
            if name in self._hosts:
                self._host_died(name)
            self._ask_for_hosts(name)
        for name, box in self.added.items():
            if box in self._down and box not in before:
                self._host_died(name)
        self._repair()

    def _is_up(self, host: str) -> bool:
        return host not in self._down and self.added.get(host) not in self._down

    def _host_died(self, name: str) -> None:
        host = self._hosts[name]
        for colony in sorted(host.copies):
            self._holders[colony].remove(name)
            if not self._holders[colony]:
                self.lost += 1
                self._targets.pop(colony, None)
        host.copies.clear()
        for colony, (target, _) in list(self._targets.items()):
            if target == name:
                del self._targets[colony]

    # -- supervisors -------------------------------------------------------------------

    def _ask_for_hosts(self, name: str) -> None:
        if self._graph.vertices[name].kind != HOST or name in self._failed:
            return
        for supervisor in self._graph.supervisors:
            if name in supervisor.watches and supervisor.adds:
                self._at(self._now_s + supervisor.add_s, self._add, supervisor.vertex, name)

    def _add(self, supervisor: str, name: str) -> None:
        if supervisor in self._down or name not in self._down or name in self._claims:
            return
        for adder in self._graph.supervisors:
            if adder.vertex == supervisor and self._added_by(adder, name):
                return

    def _added_by(self, supervisor: Supervisor, name: str) -> bool:
        for box in supervisor.adds:
            if box not in self._down and box not in self.added.values():
                self._claims.add(name)  # A and B both lost h1: only the first of them adds a host
                added = f"{name}+"
                self.added[added] = box
                self._hosts[added] = _Host(labels_of(self._graph, box))
                self._repair()
                return True
        return False

    # -- population --------------------------------------------------------------------

    def _repair(self) -> None:
        """Most endangered colonies first, as primaries do it."""
        short = [
            (len(holders), self._numbers[colony], colony)
            for colony, holders in self._holders.items()
            if len(holders) < self._wanted[colony]
        ]
        for _, _, colony in sorted(short):
            if colony not in self._targets:
                self._clone(colony)
        self._part()

    def _part(self) -> None:
        """Peers that stand nearer than they must move apart, one at a time, as repulsion has it."""
        up = frozenset(name for name in self._hosts if self._is_up(name))
        came, self._were_up = up - self._were_up, up
        if not came:
            return  # there is no better place than before
        candidates = self._candidates()
        for colony, holders in self._holders.items():
            if colony in self._targets or len(holders) < self._wanted[colony]:
                continue
            move = better_spread(self._numbers[colony], holders, candidates, primary=holders[0])
            if move is not None and move.kind != "role":
                self._begin_copy(colony, move.target)
                self._sources[colony] = move.source

    def _clone(self, colony: str) -> None:
        holders = self._holders[colony]
        choice = choose_target(self._numbers[colony], holders, self._candidates())
        if choice.chosen is None:
            return
        if not holders:  # it was lost: it begins again, empty
            self._take(colony, choice.chosen)
            self._clone(colony)
            return
        self._begin_copy(colony, choice.chosen)

    def _candidates(self) -> list[Candidate]:
        return [
            Candidate(name, labels=host.labels, copies=len(host.copies))
            for name, host in sorted(self._hosts.items())
            if self._is_up(name)
        ]

    def _begin_copy(self, colony: str, target: str) -> None:
        self._tries += 1
        self._sources.pop(colony, None)
        self._targets[colony] = target, str(self._tries)
        self._at(self._now_s + self._window_s, self._cloned, colony, target, str(self._tries))

    def _cloned(self, colony: str, target: str, number: str) -> None:
        if self._targets.get(colony) != (target, number):
            return  # the target died, or the source
        del self._targets[colony]
        self._take(colony, target)
        self.copies_made += 1
        source = self._sources.pop(colony, "")
        if source in self._holders[colony]:
            self._holders[colony].remove(source)
            self._hosts[source].copies.discard(colony)
        if len(self._holders[colony]) < self._wanted[colony]:
            self._clone(colony)

    def _take(self, colony: str, host: str) -> None:
        self._holders[colony].append(host)
        self._hosts[host].copies.add(colony)


def labels_of(graph: Graph, name: str) -> Labels:
    """Return a host's labels: the nearest box, rack and zone that it fails with."""
    found: dict[str, str] = {}
    for cause in reversed(graph.causes((name,))):
        vertex: Vertex = graph.vertices[cause]
        if vertex.kind in ("box", "rack", "zone"):
            found.setdefault(vertex.kind, cause)
    return Labels(**found)
