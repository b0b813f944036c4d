"""Moves: what a primary may do for a colony whose population is right.

Every move lowers the cluster's potential, compared as a tuple:

    (repulsion of all colonies, bytes above FILL_HIGH, sum of copies², sum of primaries²)

`better_spread` lowers the first part; `relieve` the second and raises not the
first; `rebalance` the third or fourth and raises none before it. The potential
is bounded below and each move lowers it by a whole step, so with hosts and
load steady, moves stop. A target is never filled above FILL_LOW for relief or
balance (FILL_HIGH for spread), and hosts seek relief above FILL_HIGH only:
noise between the two moves nothing. CPU moves nothing by itself: it follows the primaries it would
chase; it only weighs among targets.

The proof holds for moves one after another. Primaries that decide at once on
old figures can overshoot: count what is under way among a host's `copies`,
let a target admit by its own, fresh figures, and move one at a time per host.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from placement.attraction import FILL_HIGH, FILL_LOW, has_room
from placement.choice import Rank, choose_successor, standing, target_ranks
from placement.peers import Peers
from placement.reasons import Move
from placement.repulsion import Penalty, penalty_added, penalty_of
from placement.resources import Candidate
from placement.ties import tie_order

MARGIN_MIN = 2  # a difference of 1 would only swap who has more


def improve(
    colony: int,
    holders: Collection[str],
    candidates: Sequence[Candidate],
    *,
    primary: str | None,
    bytes_wanted: int = 0,
) -> Move | None:
    """Return the most useful move of a colony, or None; arguments as in `rebalance`.

    Only for colonies whose population is right, with nothing under way, and
    no holder that is leaving: those have more urgent things to do.
    """
    return (
        better_spread(colony, holders, candidates, primary=primary, bytes_wanted=bytes_wanted)
        or relieve(colony, holders, candidates, primary=primary, bytes_wanted=bytes_wanted)
        or rebalance(colony, holders, candidates, primary=primary, bytes_wanted=bytes_wanted)
    )


def better_spread(
    colony: int,
    holders: Collection[str],
    candidates: Sequence[Candidate],
    *,
    primary: str | None = None,
    bytes_wanted: int = 0,
) -> Move | None:
    """Return the move of one copy that lowers the repulsion penalty most, or None.

    The penalty counts pairs of hosts by their labels, which don't fluctuate:
    one pair less is margin enough. At equal gain a secondary moves rather
    than the primary; where the source is the primary, it hands over before
    it is retired.
    """
    staying = standing(holders, candidates)
    before = penalty_of(staying)
    if not any(before):
        return None
    targets = _targets(holders, candidates, bytes_wanted, FILL_HIGH)
    best: tuple[tuple[Penalty, bool, Rank], Candidate, Candidate] | None = None
    for source in staying:
        rest = [host for host in staying if host is not source]
        rest_penalty = penalty_of(rest)
        ranks = target_ranks(colony, rest, targets, bytes_wanted=bytes_wanted)
        for target in targets:
            after = rest_penalty.plus(ranks[target.id][0])
            rank = (after, source.id == primary, ranks[target.id])
            if after < before and (best is None or rank < best[0]):
                best = rank, source, target
    if best is None:
        return None
    (after, _, _), source, target = best
    instead = f"{after.words} with the copy of {source.called} on {target.called}"
    because = f"apart is safer: {before.words} now, {instead}"
    return Move(colony, "copy", source.id, target.id, because, "repel")


def relieve(
    colony: int,
    holders: Collection[str],
    candidates: Sequence[Candidate],
    *,
    primary: str | None = None,
    bytes_wanted: int = 0,
) -> Move | None:
    """Return the move of a secondary away from a host that runs out of memory, or None.

    A primary's copy moves only if it is the only one. The penalty never rises.
    """
    sources = [host for host in _movable(holders, candidates, primary) if host.fill() > FILL_HIGH]
    if not sources or not bytes_wanted:
        return None
    source = max(sources, key=lambda host: (host.fill(), host.id))
    target = _target_as_far(colony, source, holders, candidates, bytes_wanted)
    if target is None:
        return None
    because = f"{source.called} is filled to {source.fill():.0%}, {target.called} to {target.fill():.0%}"
    return Move(colony, "copy", source.id, target.id, because)


def rebalance(
    colony: int,
    holders: Collection[str],
    candidates: Sequence[Candidate],
    *,
    primary: str | None = None,
    bytes_wanted: int = 0,
    to: str | None = None,
) -> Move | None:
    """Return a move that evens out copies, or else primaries, or None.

    Args:
        colony: Its number.
        holders: Ids of the hosts with an ACTIVE copy.
        candidates: All member hosts.
        primary: Id of the host of the primary; it keeps its copy (unless that
            is the only one), and may hand over its role.
        bytes_wanted: Size of a copy; >= 0.
        to: Consider this host alone as target: a joiner asks for its share.
    """
    return _even_copies(colony, holders, candidates, primary, bytes_wanted, to) or _even_roles(
        colony, holders, candidates, primary, to
    )


def margin(counts: Sequence[int], *, joining: bool) -> int:
    """Return how many more the giver must have than the taker.

    A tenth of the mean, at least `MARGIN_MIN`; just that for a joiner, whose
    coming is reason enough to move.
    """
    if joining or not counts:
        return MARGIN_MIN
    return max(MARGIN_MIN, -(-sum(counts) // (10 * len(counts))))


def _even_copies(
    colony: int,
    holders: Collection[str],
    candidates: Sequence[Candidate],
    primary: str | None,
    bytes_wanted: int,
    to: str | None,
) -> Move | None:
    movable = _movable(holders, candidates, primary)
    if not movable:
        return None
    counts = [host.copies for host in candidates if host.accepts]
    for source in sorted(movable, key=lambda host: (-host.copies, host.id)):
        takers = [
            host
            for host in candidates
            if to in (None, host.id) and source.copies - host.copies >= margin(counts, joining=host.joining)
        ]
        target = _target_as_far(colony, source, holders, takers, bytes_wanted, everyone=candidates)
        if target is not None:
            because = f"{source.called} holds {source.copies} copies, {target.called} {target.copies}"
            return Move(colony, "copy", source.id, target.id, because)
    return None


def _even_roles(
    colony: int,
    holders: Collection[str],
    candidates: Sequence[Candidate],
    primary: str | None,
    to: str | None,
) -> Move | None:
    giver = next((host for host in candidates if host.id == primary), None)
    if giver is None:
        return None
    counts = [host.primaries for host in candidates if host.accepts]
    takers = [
        host
        for host in standing(holders, candidates)
        if to in (None, host.id) and giver.primaries - host.primaries >= margin(counts, joining=host.joining)
    ]
    chosen = choose_successor(colony, holders, takers, primary=primary).chosen
    for host in takers:
        if host.id == chosen:
            because = f"{giver.called} leads {giver.primaries} colonies, {host.called} {host.primaries}"
            return Move(colony, "role", giver.id, host.id, because)
    return None


def _movable(
    holders: Collection[str], candidates: Sequence[Candidate], primary: str | None
) -> list[Candidate]:
    """Return the holders whose copy may move: secondaries, or the only one."""
    staying = standing(holders, candidates)
    return [host for host in staying if host.id != primary or len(staying) == 1]


def _targets(
    holders: Collection[str], candidates: Sequence[Candidate], bytes_wanted: int, fill_max: float
) -> list[Candidate]:
    return [
        host
        for host in candidates
        if host.accepts and host.id not in holders and has_room(host, bytes_wanted, fill_max)
    ]


def _target_as_far(
    colony: int,
    source: Candidate,
    holders: Collection[str],
    takers: Sequence[Candidate],
    bytes_wanted: int,
    *,
    everyone: Sequence[Candidate] | None = None,
) -> Candidate | None:
    """Return the best taker of the source's copy that stands no nearer to the others; None = nobody."""
    rest = [host for host in standing(holders, everyone or takers) if host is not source]
    before = penalty_added(source, rest)
    targets = [
        host
        for host in _targets(holders, takers, bytes_wanted, FILL_LOW)
        if penalty_added(host, rest) <= before
    ]
    ranks = target_ranks(colony, rest, targets, bytes_wanted=bytes_wanted)
    return min(targets, key=lambda host: ranks[host.id], default=None)


def claims(
    host: str,
    colonies: Iterable[Peers],
    candidates: Sequence[Candidate],
    *,
    bytes_by_colony: Mapping[int, int],
    limit: int,
) -> list[Move]:
    """Return the moves that a joiner may ask primaries for, best first, at most `limit`.

    Each names a colony whose primary, knowing the same, agrees by
    `rebalance(…, to=host)`. None left = the joiner has all that it can get,
    even if that is less than its fair share (repulsion and room come first).
    Copies are asked for before roles, from the most loaded givers first.
    """
    by_id = {candidate.id: candidate for candidate in candidates}
    found = []
    for peers in colonies:
        move = rebalance(
            peers.colony,
            peers.holders,
            candidates,
            primary=peers.primary,
            bytes_wanted=bytes_by_colony.get(peers.colony, 0),
            to=host,
        )
        if move is not None:
            giver = by_id[move.source]
            # Copies of colonies whose leader leads many: it may hand them over afterwards.
            leader = by_id.get(peers.primary or "", giver)
            load = (giver.copies if move.kind == "copy" else 0, leader.primaries)
            found.append(((move.kind != "copy", -load[0], -load[1], tie_order(peers.colony, host)), move))
    found.sort(key=lambda one: one[0])
    return [move for _, move in found[:limit]]
