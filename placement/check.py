"""Check: what is wrong with a placement, and what a death would cost.

It judges any placement, however it came about. A domain shared is held
against a colony only if `moves.better_spread` knows a way out: what can't be
helped is no violation.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from placement.labels import Level, distance_between, in_domain, parse_domain
from placement.moves import better_spread
from placement.peers import Peers
from placement.repulsion import penalty_of
from placement.resources import Candidate


class Fault(Enum):
    """What can be wrong with the peers of a colony."""

    LOST = "lost"
    NO_PRIMARY = "no primary"
    MANY_PRIMARIES = "more than one primary"
    SAME_HOST = "two peers on one host"
    BELOW = "below its population"
    ABOVE = "above its population"
    SHARED_BOX = "shares a box"
    SHARED_RACK = "shares a rack"
    SHARED_ZONE = "shares a zone"


@dataclass(frozen=True, slots=True)
class Violation:
    """One fault of one colony, and the hosts (ids) it is about."""

    colony: int
    fault: Fault
    hosts: tuple[str, ...]
    because: str

    def __str__(self) -> str:
        return f"colony {self.colony}: {self.because}"


@dataclass(frozen=True, slots=True)
class Blow:
    """What a set of hosts takes with it when it dies.

    Attributes:
        hosts: Ids of those that die.
        named: What the set is called, such as `host h1` or `the box of h1 (h1, h2)`.
        lost: Colonies that would lose all their peers.
    """

    hosts: frozenset[str]
    named: str
    lost: tuple[int, ...]

    @property
    def survivable(self) -> bool:
        """Whether every colony keeps a peer."""
        return not self.lost

    def __str__(self) -> str:
        if self.survivable:
            return f"{self.named} can die: every colony keeps a peer"
        listed = ", ".join(str(colony) for colony in self.lost[:8]) + (", …" if len(self.lost) > 8 else "")
        plural = "ies" if len(self.lost) > 1 else "y"
        return f"{self.named} must not die: no other host holds colon{plural} {listed}"


@dataclass(frozen=True, slots=True)
class Safety:
    """Whether any one host or box may die now, and which may not."""

    safe: bool
    blows: tuple[Blow, ...]


def check(
    colonies: Iterable[Peers],
    candidates: Sequence[Candidate],
    settled: int,
    *,
    bytes_by_colony: Mapping[int, int] | None = None,
) -> list[Violation]:
    """Return all that is wrong with a placement, colony by colony; [] = healthy.

    Args:
        colonies: Every colony, those without peers too.
        candidates: All member hosts; a peer on any other host counts as gone.
        settled: Peers that each should have (`settle.settled_number`).
        bytes_by_colony: Sizes, so that no move to a host without room is held
            to be possible; None = they don't matter.
    """
    sizes = bytes_by_colony or {}
    members = {host.id: host for host in candidates}
    found: list[Violation] = []
    for peers in colonies:
        found += _population_faults(peers, members, settled)
        found += _spread_faults(peers, candidates, sizes.get(peers.colony, 0))
    return found


def safe(colonies: Iterable[Peers], kill: Collection[str], *, named: str = "") -> Blow:
    """Return what would be lost if all the hosts `kill` (ids) died at once.

    A colony that has no peer even before is not held against them.
    """
    killed = frozenset(kill)
    lost = tuple(peers.colony for peers in colonies if peers.holders and killed.issuperset(peers.holders))
    return Blow(killed, named or f"{len(killed)} host{'' if len(killed) == 1 else 's'}", lost)


def is_safe(colonies: Collection[Peers], candidates: Sequence[Candidate]) -> Safety:
    """Return whether any one host, or any one box, may die without loss.

    A host's box is all that `labels.distance` can't call apart from it: an
    unknown box might be the same one.
    """
    fatal: list[Blow] = []
    by_holders: dict[frozenset[str], list[int]] = {}
    for peers in colonies:
        if peers.holders:
            by_holders.setdefault(frozenset(peers.holders), []).append(peers.colony)
    for host in candidates:
        mates = [
            other
            for other in candidates
            if distance_between(host.id, host.labels, other.id, other.labels) <= Level.BOX
        ]
        names = ", ".join(sorted(mate.called for mate in mates))
        for ids, named in (
            (frozenset((host.id,)), f"host {host.called}"),
            (frozenset(mate.id for mate in mates), f"the box of {host.called} ({names})"),
        ):
            lost = sorted(colony for holders, them in by_holders.items() if holders <= ids for colony in them)
            if lost and all(blow.hosts != ids for blow in fatal):
                fatal.append(Blow(ids, named, tuple(lost)))
    return Safety(not fatal, tuple(fatal))


def hosts_in(candidates: Sequence[Candidate], text: str) -> tuple[str, ...]:
    """Return the ids of the hosts meant by a name, an id, or a domain such as `box=b1`; () = none.

    Raises:
        ValueError: It looks like a domain, but is none.
    """
    if "=" in text:
        name, value = parse_domain(text)
        return tuple(host.id for host in candidates if in_domain(host.labels, name, value))
    return tuple(host.id for host in candidates if text in (host.id, host.name))


def _population_faults(peers: Peers, members: Mapping[str, Candidate], settled: int) -> list[Violation]:
    def called(host: str) -> str:
        return members[host].called if host in members else host[:8]

    def fault(kind: Fault, hosts: Iterable[str], because: str) -> None:
        found.append(Violation(peers.colony, kind, tuple(hosts), because))

    found: list[Violation] = []
    holders = [host for host in peers.holders if host in members]
    leading = [host for host in peers.primaries if host in members]
    if not holders:
        fault(Fault.LOST, (), "has no peer left")
        return found
    if not leading:
        fault(Fault.NO_PRIMARY, holders, "has peers, but none is primary")
    if len(leading) > 1:
        fault(
            Fault.MANY_PRIMARIES, leading, f"has {len(leading)} primaries: {', '.join(map(called, leading))}"
        )
    for host, times in Counter(holders).items():
        if times > 1:
            fault(Fault.SAME_HOST, (host,), f"has {times} peers on {called(host)}")
    there = len(set(holders))
    if there < settled:
        fault(Fault.BELOW, holders, f"has {there} of {settled} peers")
    if there > settled:
        fault(Fault.ABOVE, holders, f"has {there} peers, {settled} are wanted")
    return found


def _spread_faults(peers: Peers, candidates: Sequence[Candidate], size_bytes: int) -> list[Violation]:
    move = better_spread(
        peers.colony, peers.holders, candidates, primary=peers.primary, bytes_wanted=size_bytes
    )
    if move is None:
        return []
    holders = [host for host in candidates if host.id in peers.holders]
    after = [host for host in candidates if host.id in {*peers.holders, move.target} - {move.source}]
    by_level = (
        (Level.BOX, Fault.SHARED_BOX),
        (Level.RACK, Fault.SHARED_RACK),
        (Level.ZONE, Fault.SHARED_ZONE),
    )
    for level, kind in by_level:
        if penalty_of(holders)[level] > penalty_of(after)[level]:
            names = " and ".join(host.called for host in holders)
            target = next(host.called for host in candidates if host.id == move.target)
            because = f"peers on {names} share a {level.name.lower()}, though {target} could take one"
            return [Violation(peers.colony, kind, tuple(host.id for host in holders), because)]
    return []
