"""The failure graph: what there is, and what fails with what.

An edge points from a cause to what fails with it. A link that may fail is a
vertex between two others, not an edge: edges have no model of their own.
Source: "failure as a graph" as (V, E, M), with thresholds as McCulloch and
Pitts had them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import networkx

from placement.hazard.models import Failure, Never, Random

VERTICES_MAX = 20_000
COLONIES_MAX = 65_536
HOST = "host"
KINDS = ("zone", "rack", "power", "link", "box", HOST, "service", "supervisor")


@dataclass(frozen=True, slots=True)
class Vertex:
    """One thing that may fail.

    Attributes:
        name: Unique in its graph.
        kind: One of `KINDS`; only a host holds peers.
        failure: How it fails by itself.
        fails_with: Names of what it stands on.
        threshold: It falls once so many of those are down; >= 1.
    """

    name: str
    kind: str = HOST
    failure: Failure = field(default_factory=Never)
    fails_with: tuple[str, ...] = ()
    threshold: int = 1

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a vertex needs a name")
        if self.kind not in KINDS:
            raise ValueError(f"{self.name}: kind is one of {', '.join(KINDS)}, not {self.kind!r}")
        if not 1 <= self.threshold <= max(1, len(self.fails_with)):
            raise ValueError(f"{self.name}: it can't need {self.threshold} of {len(self.fails_with)} to fall")


@dataclass(frozen=True, slots=True)
class Supervisor:
    """What mends hosts (and other supervisors) sooner than they mend themselves.

    Attributes:
        vertex: Its own vertex: while that is down it mends nothing.
        watches: What it restarts.
        restart_s: From a failure to the restart.
        adds: Boxes on which it may start one more host each, for a host that
            can't be restarted because what it stands on is down.
        add_s: From that failure to the new host.
    """

    vertex: str
    watches: tuple[str, ...]
    restart_s: float = 2.0
    adds: tuple[str, ...] = ()
    add_s: float = 30.0

    def __post_init__(self) -> None:
        if self.restart_s < 0 or self.add_s < 0:
            raise ValueError(f"{self.vertex}: delays are at least 0 s")


class Graph:
    """Vertices, edges, where the colonies are, and who mends.

    Args:
        vertices: In any order.
        colonies: Colony name -> the hosts of its peers, primary first.
        supervisors: May be none.

    Raises:
        ValueError: A name is unknown or there twice, or something fails with itself in the end.
    """

    def __init__(
        self,
        vertices: Iterable[Vertex],
        colonies: Mapping[str, tuple[str, ...]],
        supervisors: Iterable[Supervisor] = (),
    ) -> None:
        listed = list(vertices)
        self.vertices = {vertex.name: vertex for vertex in listed}
        self.colonies = dict(colonies)
        self.supervisors = tuple(supervisors)
        if len(listed) != len(self.vertices):
            raise ValueError("two vertices have one name")
        if len(listed) > VERTICES_MAX or len(self.colonies) > COLONIES_MAX:
            raise ValueError(f"at most {VERTICES_MAX} vertices and {COLONIES_MAX} colonies")
        self.net = networkx.DiGraph()
        self.net.add_nodes_from(self.vertices)
        for vertex in listed:
            for cause in vertex.fails_with:
                self._require(cause, f"{vertex.name} fails with")
                self.net.add_edge(cause, vertex.name)
        if not networkx.is_directed_acyclic_graph(self.net):
            loop = " -> ".join(cause for cause, _ in networkx.find_cycle(self.net))
            raise ValueError(f"these fail with each other, in a circle: {loop}")
        self._check_colonies()
        for supervisor in self.supervisors:
            for name in (supervisor.vertex, *supervisor.watches, *supervisor.adds):
                self._require(name, f"the supervisor {supervisor.vertex} names")
        self.order: tuple[str, ...] = tuple(networkx.lexicographical_topological_sort(self.net))

    def _require(self, name: str, who: str) -> None:
        if name not in self.vertices:
            raise ValueError(f"{who} {name!r}, which is no vertex")

    def _check_colonies(self) -> None:
        for colony, peers in self.colonies.items():
            if not peers:
                raise ValueError(f"colony {colony} has no peer")
            if len(set(peers)) != len(peers):
                raise ValueError(f"colony {colony} has two peers on one host")
            for peer in peers:
                self._require(peer, f"colony {colony} lives on")
                if self.vertices[peer].kind != HOST:
                    raise ValueError(f"colony {colony} lives on {peer}, which is no host")

    @property
    def hosts(self) -> tuple[str, ...]:
        """All hosts, in order of name."""
        return tuple(sorted(name for name, vertex in self.vertices.items() if vertex.kind == HOST))

    def causes(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return these and all that they fail with, causes first."""
        wanted = set(names)
        for name in tuple(wanted):
            wanted |= networkx.ancestors(self.net, name)
        return tuple(name for name in self.order if name in wanted)

    def falls_with(self, name: str) -> tuple[str, ...]:
        """Return what may fall when this one does: its blast radius."""
        below = networkx.descendants(self.net, name)
        return tuple(other for other in self.order if other in below)

    def down(self, failed: Iterable[str]) -> frozenset[str]:
        """Return all that is down when these have failed by themselves."""
        fallen = set(failed)
        for name in self.order:
            vertex = self.vertices[name]
            if vertex.fails_with and sum(c in fallen for c in vertex.fails_with) >= vertex.threshold:
                fallen.add(name)
        return frozenset(fallen)

    def without_failures_of(self, name: str) -> Graph:
        """Return this graph with one vertex that never fails by itself."""
        changed = self.vertices | {name: replace(self.vertices[name], failure=Never())}
        return Graph(changed.values(), self.colonies, self.supervisors)

    def as_mended(self) -> Graph:
        """Return this graph with what supervisors make of the repair times of what they watch.

        As if they were never down themselves: what they watch outlives them, and they are up again
        sooner than it fails.
        """
        changed = dict(self.vertices)
        for supervisor in self.supervisors:
            for name in supervisor.watches:
                failure = changed[name].failure
                if isinstance(failure, Random) and failure.mttr_s > supervisor.restart_s:
                    failure = replace(failure, mttr_s=supervisor.restart_s)
                    changed[name] = replace(changed[name], failure=failure)
        return Graph(changed.values(), self.colonies, self.supervisors)

    def placed(self, colonies: Mapping[str, tuple[str, ...]]) -> Graph:
        """Return this graph with the colonies elsewhere."""
        return Graph(self.vertices.values(), colonies, self.supervisors)
