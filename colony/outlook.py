"""The outlook: how likely all colonies survive a day, and what draws them elsewhere.

From the cluster's own answer, in the process that shows it: hosts have other
things to do. Places that look alike (so many hosts, so near to each other)
are equally likely to be lost, so each kind of place is worked out once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from placement.labels import Labels
from placement.nearly import Near, nearly
from placement.resources import Candidate

Json = Mapping[str, Any]

DAY_S = 24 * 3600.0
WINDOW_S = 20.0  # from a death to a new copy elsewhere
SAMPLE_MAX = 16  # colonies whose forces are looked at each time; some 50 µs each in a small cluster
LOOKED_AT_MAX = 2_000  # candidates that they are compared with each time: some milliseconds
KINDS_MAX = 4096
# What is assumed of a live cluster whose operator gives no figures: a process is restarted now and
# then, a machine fails twice a year, and what is above it more rarely but for longer.
ASSUMED: dict[str, dict[str, float]] = {
    "host": {"mtbf": 30 * DAY_S, "mttr": 60.0},
    "box": {"mtbf": 180 * DAY_S, "mttr": 4 * 3600.0},
    "rack": {"mtbf": 2 * 365 * DAY_S, "mttr": 8 * 3600.0},
    "zone": {"mtbf": 5 * 365 * DAY_S, "mttr": 6 * 3600.0},
}
LEVELS = ("zone", "rack", "box")

Path = tuple[tuple[str, str], ...]  # (level, name) of the domains of a host from the outside in, and its own
NOWHERE: Path = ()
Blow = dict[Path, float]  # vertex -> losses per second that begin with it
RATES = {kind: 1 / given["mtbf"] for kind, given in ASSUMED.items()}  # failures per second
DOWN = {kind: rate * WINDOW_S / (1 + rate * WINDOW_S) for kind, rate in RATES.items()}  # share of time


def paths_of(members: Sequence[Json]) -> dict[str, Path]:
    """Return where members stand, by name; a domain stands in what the first of them says that it does."""
    found: dict[str, Path] = {}
    known: dict[tuple[str, str], Path] = {}
    for member in members:
        labels, path = member.get("labels") or {}, NOWHERE
        for level in LEVELS:
            if labels.get(level):
                vertex = (level, str(labels[level]))
                path = known.setdefault(vertex, (*path, vertex))
        name = str(member.get("name"))
        found[name] = (*path, ("host", name))
    return found


@dataclass(frozen=True, slots=True)
class Pull:
    """A force on a colony that does not move it."""

    colony: int
    near: Near
    source: str  # names
    target: str


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is to be expected.

    Attributes:
        lost: Probability that a colony loses all its copies within a day; None = it can't be told.
        pull: The strongest force that moves nothing; None = none was found.
    """

    lost: float | None = None
    pull: Pull | None = None


class Seer:
    """Works the outlook out, a bounded piece at a time; one thread."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[Path, ...], Blow] = {}
        self._seen: object = None
        self._lost: float | None = None
        self._at = 0
        self._pulls: dict[int, Pull] = {}

    def look(self, status: Json) -> Outlook:
        """Return the outlook of a cluster that answered so."""
        members: Sequence[Json] = (status.get("view") or {}).get("members") or ()
        table: Sequence[Json] = status.get("table") or ()
        self._see_forces(members, table)
        pull = min(self._pulls.values(), key=lambda one: (one.near.weight, one.colony), default=None)
        return Outlook(self._survival(members, table), pull)

    # -- survival ------------------------------------------------------------------

    def _survival(self, members: Sequence[Json], table: Sequence[Json]) -> float | None:
        paths = paths_of(members)
        places = {
            frozenset(host for host in (row["primary"], *(row.get("secondaries") or ())) if host in paths)
            for row in table
            if row.get("primary")
        }
        seen = (frozenset(places), frozenset(paths.values()))
        if seen != self._seen:
            self._seen = seen
            known = [[paths[host] for host in sorted(hosts)] for hosts in places if hosts]
            self._lost = self._worked_out(known) if known else None
        return self._lost

    def _worked_out(self, places: Sequence[Sequence[Path]]) -> float:
        """Return the probability that at least one of these places is lost within a day."""
        blows: Blow = {}
        for place in places:
            kind, meant = _kind_of(place)
            if kind not in self._kinds:
                if len(self._kinds) >= KINDS_MAX:
                    self._kinds.clear()
                self._kinds[kind] = blow_of(kind)
            for vertex, frequency in self._kinds[kind].items():
                name = meant[vertex]
                most = RATES[vertex[-1][0]]  # nothing falls more often than it fails
                blows[name] = min(most, blows.get(name, 0.0) + frequency)
        return -math.expm1(-math.fsum(blows.values()) * DAY_S)

    # -- forces --------------------------------------------------------------------

    def _see_forces(self, members: Sequence[Json], table: Sequence[Json]) -> None:
        """Look at some colonies, the next ones each time, and keep what draws them."""
        if not members or not table:
            self._pulls.clear()
            return
        candidates = candidates_of(members)
        ids = {one.name: one.id for one in candidates}
        names = {one.id: one.name for one in candidates}
        some = max(1, min(SAMPLE_MAX, len(table), LOOKED_AT_MAX // len(members)))
        rows = [table[(self._at + n) % len(table)] for n in range(some)]
        self._at = (self._at + some) % len(table)
        for row in rows:
            colony, primary = int(row["colony"]), ids.get(row.get("primary") or "")
            self._pulls.pop(colony, None)
            holders = [ids[name] for name in (row.get("primary"), *row["secondaries"]) if name in ids]
            if primary is None:
                continue
            size = int(row.get("bytes") or 0)
            near = nearly(colony, holders, candidates, primary=primary, bytes_wanted=size)
            if near is not None:
                source, target = names.get(near.source, "?"), names.get(near.target, "")
                self._pulls[colony] = Pull(colony, near, source, target)
        for colony in list(islice((c for c in self._pulls if c >= len(table)), SAMPLE_MAX)):
            del self._pulls[colony]


def _kind_of(place: Sequence[Path]) -> tuple[tuple[Path, ...], dict[Path, Path]]:
    """Return what a place looks like, whatever the names in it, and whom each vertex of that means.

    A vertex is the path to it.
    """
    numbers: dict[Path, str] = {}
    kind: list[Path] = []
    meant: dict[Path, Path] = {}
    for path in sorted(place):
        words: Path = ()
        for depth, (level, _) in enumerate(path, 1):
            words = (*words, (level, numbers.setdefault(path[:depth], str(len(numbers)))))
            meant[words] = path[:depth]
        kind.append(words)
    return tuple(kind), meant


def blow_of(kind: Sequence[Path]) -> Blow:
    """Return how often all hosts of a place are lost, by the vertex whose failure is the last blow.

    A host is missed for the window after it, or anything that it stands in,
    has failed. Failures are independent; domains lie inside each other, so
    that all is lost below a vertex if it has failed, or if all is lost below
    each of its parts.

    Source: as `placement.hazard.survival` (Birnbaum's importance), for trees.
    """
    parts: dict[Path, list[Path]] = {}
    for path in kind:
        for depth in range(1, len(path) + 1):
            some = parts.setdefault(path[: depth - 1], [])
            if path[:depth] not in some:
                some.append(path[:depth])

    def lost(vertex: Path, given: Path, failed: float) -> float:
        """Return P(all is lost below a vertex), given that one has failed (1.0) or not (0.0)."""
        below = math.prod(lost(part, given, failed) for part in parts[vertex]) if vertex in parts else 0.0
        if not vertex:
            return below
        down = failed if vertex == given else DOWN[vertex[-1][0]]
        return down + (1 - down) * below

    blows: Blow = {}
    for vertex in [part for some in parts.values() for part in some]:
        level = vertex[-1][0]
        importance = lost((), vertex, 1.0) - lost((), vertex, 0.0)
        if importance > 0:
            blows[vertex] = RATES[level] * (1 - DOWN[level]) * importance
    return blows


def candidates_of(members: Sequence[Json]) -> list[Candidate]:
    """Return members as placement sees them, from what `status` says of them."""
    found = []
    for member in members:
        labels, leaving = member.get("labels") or {}, member.get("status") == "LEAVING"
        used, limit = int(member.get("bytes") or 0), int(member.get("bytes_max") or 0)
        witness = bool(member.get("witness"))
        primaries = int(member.get("primaries") or 0)
        found.append(
            Candidate(
                str(member.get("id") or member.get("name")),
                str(member.get("name")),
                Labels(*(str(labels.get(level) or "") for level in LEVELS)),
                memory_free=int(member.get("memory_free") or 0) if member.get("memory_total") else None,
                bytes_max=limit,
                bytes_used=used,
                cpu=min(1.0, max(0.0, float(member.get("cpu") or 0.0))),
                cpu_others=min(1.0, max(0.0, float(member.get("cpu_others") or 0.0))),
                copies=primaries + int(member.get("secondaries") or 0),
                primaries=primaries,
                accepts=not (leaving or witness or (limit and used >= limit)),
                joining=member.get("status") == "JOINING",
                leaving=leaving,
                witness=witness,
                flaps=max(0, round(member.get("flaps") or 0) - 1),  # the first return is free
            )
        )
    return found


def survival_words(lost: float | None) -> str:
    """Return a probability of loss as the one of survival, with as many nines as it has: `99.98%`."""
    if lost is None:
        return ""
    if lost <= 0:
        return "100%"
    digits = min(8, max(0, math.ceil(-math.log10(lost)) - 1))
    return f"{100 * (1 - lost):.{digits}f}%"
