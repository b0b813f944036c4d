"""Moves: what a primary may do for a colony whose population is right.

Every move lowers the cluster's potential, compared as a tuple:

    (repulsion of all colonies, bytes above FILL_HIGH, primaries on hosts above it,
     sum of weights², sum of primaries²)

`better_spread` lowers the first part; `relieve` the second or third and raises
none before it; `rebalance` the fourth or fifth and raises none before it. The
potential is bounded below and each move lowers it by a whole step, so with
hosts and load steady, moves stop. A target is never filled above FILL_LOW for
relief or balance (FILL_HIGH for spread, and for relief of a host that is full),
and hosts seek relief above FILL_HIGH only: noise between the two moves nothing.
CPU moves roles (`cool`), from hosts above CPU_SATURATED to hosts below
CPU_BUSY: what lies between is its hysteresis. Copies never leave a CPU that hosts
keep busy: it would follow them. One that other processes keep busy they leave
(`give_way`) once the roles are gone, for every write waits for it; and come back
when these use less than CPU_BUSY.

The proof holds for moves one after another. Primaries that decide at once on
old figures can overshoot: count what is under way among a host's `copies`,
let a target admit by its own, fresh figures, and move one at a time per host.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from placement.attraction import (
    FILL_FULL,
    FILL_HIGH,
    FILL_LOW,
    cpu_band,
    cpu_words,
    has_room,
    is_crowded_out,
    too_busy_for,
)
from placement.balance import Means, copy_gain, may_lead_more
from placement.choice import Rank, choose_successor, standing, target_ranks
from placement.peers import Peers
from placement.reasons import Move
from placement.repulsion import Penalty, penalty_added, penalty_of
from placement.resources import COPY_BYTES, Candidate, format_bytes
from placement.ties import tie_order


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
        or cool(colony, holders, candidates, primary=primary)
        or give_way(colony, holders, candidates, primary=primary, bytes_wanted=bytes_wanted)
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
        if not any(rest_penalty.plus(penalty_added(target, rest)) < before for target in targets):
            continue  # nearly always so: to rank them all would cost far more
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

    A primary's copy moves only if it is the only one; a host that has no
    secondaries left to give away hands over roles, whose copies may then move.
    The penalty never rises.
    """
    pressed = [host for host in standing(holders, candidates) if host.fill() > FILL_HIGH]
    if not pressed or not bytes_wanted:
        return None
    movable = [host for host in pressed if host.id != primary or len(holders) == 1]
    for source in sorted(movable, key=lambda host: (-host.fill(), host.id)):
        fill_max = FILL_HIGH if source.fill() > FILL_FULL else FILL_LOW
        target = _target_as_far(colony, source, holders, candidates, bytes_wanted, fill_max=fill_max)
        if target is not None:
            return Move(colony, "copy", source.id, target.id, _fuller(source, target))
    for giver in pressed:
        if giver.id == primary and giver.copies <= giver.primaries > 0:
            takers = [host for host in standing(holders, candidates) if host.fill() <= FILL_HIGH]
            return _role(colony, giver, holders, takers, "has no secondaries left to give away; ")
    return None


def _fuller(source: Candidate, target: Candidate) -> str:
    return f"{source.called} is filled to {source.fill():.0%}, {target.called} to {target.fill():.0%}"


def cool(
    colony: int, holders: Collection[str], candidates: Sequence[Candidate], *, primary: str | None = None
) -> Move | None:
    """Return the move of a role away from a host whose CPU is saturated, or None.

    To an idle one; from one that other processes keep busy, to any that is not saturated: what hosts
    do is not to blame, and so it does not follow the role.
    """
    giver = next((host for host in candidates if host.id == primary), None)
    if giver is None or cpu_band(giver.cpu) < 2:
        return None
    busy_max = 1 if is_crowded_out(giver) else 0
    takers = [
        host
        for host in standing(holders, candidates)
        if host is not giver and cpu_band(host.cpu) <= busy_max and host.fill() <= FILL_HIGH
    ]
    return _role(colony, giver, holders, takers, f"{cpu_words(giver)}: ")


def give_way(
    colony: int,
    holders: Collection[str],
    candidates: Sequence[Candidate],
    *,
    primary: str | None = None,
    bytes_wanted: int = 0,
) -> Move | None:
    """Return the move of a copy off a host whose CPU other processes keep busy, to an idle one, or None.

    Roles go first (`cool`): a secondary goes when its host leads nothing any more.
    """
    for source in _movable(holders, candidates, primary):
        if not is_crowded_out(source) or (source.primaries and source.id != primary):
            continue
        takers = [host for host in candidates if cpu_band(host.cpu) == 0]
        target = _target_as_far(colony, source, holders, takers, bytes_wanted, everyone=candidates)
        if target is not None:
            because = f"{source.called}: {cpu_words(source)}; {target.called}: {cpu_words(target)}"
            return Move(colony, "copy", source.id, target.id, because)
    return None


def _role(
    colony: int, giver: Candidate, holders: Collection[str], takers: Sequence[Candidate], why: str = ""
) -> Move | None:
    """Return the move of the role to the best of the takers, or None."""
    if not takers:
        return None
    chosen = choose_successor(colony, holders, takers, primary=giver.id).chosen
    for host in takers:
        if host.id == chosen:
            leads = f"{giver.called} leads {giver.primaries} colonies, {host.called} {host.primaries}"
            return Move(colony, "role", giver.id, host.id, why + leads)
    return None


def rebalance(
    colony: int,
    holders: Collection[str],
    candidates: Sequence[Candidate],
    *,
    primary: str | None = None,
    bytes_wanted: int = 0,
    to: str | None = None,
    means: Means | None = None,
) -> Move | None:
    """Return a move that evens out what hosts carry, or else primaries, or None.

    Args:
        colony: Its number.
        holders: Ids of the hosts with an ACTIVE copy.
        candidates: All member hosts.
        primary: Id of the host of the primary; it keeps its copy (unless that
            is the only one), and may hand over its role.
        bytes_wanted: Size of a copy; >= 0.
        to: Consider this host alone as target: a joiner asks for its share.
        means: Of all hosts, if `candidates` are but some of them.
    """
    means = means or Means.of(candidates)
    return even_copies(
        colony, holders, candidates, primary=primary, bytes_wanted=bytes_wanted, to=to, means=means
    ) or even_roles(colony, holders, candidates, primary=primary, to=to, means=means)


def even_copies(
    colony: int,
    holders: Collection[str],
    candidates: Sequence[Candidate],
    *,
    means: Means,
    primary: str | None = None,
    bytes_wanted: int = 0,
    to: str | None = None,
    asked_by: str | None = None,
) -> Move | None:
    """Return the move of a copy to a host that carries less, or None; see `rebalance`.

    `asked_by`: only away from this host, which says itself that it carries too much.
    """
    movable = _movable(holders, candidates, primary)
    if asked_by is not None:
        movable = [host for host in movable if host.id == asked_by]
    for source in sorted(movable, key=lambda host: (-host.weight, host.id)):
        takers = [
            host
            for host in candidates
            if to in (None, host.id)
            and copy_gain(source, host, bytes_wanted, means, asked=asked_by is not None) > 0
            and not too_busy_for(host, source)
        ]
        if not takers:
            continue
        target = _target_as_far(colony, source, holders, takers, bytes_wanted, everyone=candidates)
        if target is not None:
            because = f"{_carries(source, 'copies')}, {_carries(target, '')}"
            return Move(colony, "copy", source.id, target.id, because)
    return None


def _carries(host: Candidate, noun: str) -> str:
    holds = f"{host.called} holds {host.copies} {noun}" if noun else f"{host.called} {host.copies}"
    return holds if host.bytes_used < COPY_BYTES else f"{holds} ({format_bytes(host.bytes_used)})"


def even_roles(
    colony: int,
    holders: Collection[str],
    candidates: Sequence[Candidate],
    *,
    means: Means,
    primary: str | None = None,
    to: str | None = None,
) -> Move | None:
    """Return the move of the role to a holder that leads fewer colonies, or None; see `rebalance`."""
    giver = next((host for host in candidates if host.id == primary), None)
    if giver is None:
        return None
    takers = [
        host
        for host in standing(holders, candidates)
        if to in (None, host.id) and may_lead_more(giver, host, means)
    ]
    return _role(colony, giver, holders, takers)


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
    fill_max: float = FILL_LOW,
) -> Candidate | None:
    """Return the best taker of the source's copy that stands no nearer to the others; None = nobody."""
    rest = [host for host in standing(holders, everyone or takers) if host is not source]
    before = penalty_added(source, rest)
    targets = [
        host
        for host in _targets(holders, takers, bytes_wanted, fill_max)
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
    means: Means | None = None,
) -> list[Move]:
    """Return the moves that a joiner may ask primaries for, best first, at most `limit`.

    Each names a colony whose primary, knowing the same, agrees by
    `rebalance(…, to=host)`. None left = the joiner has all that it can get,
    even if that is less than its fair share (repulsion and room come first).
    Copies are asked for before roles, from the most loaded givers first.
    """
    by_id = {candidate.id: candidate for candidate in candidates}
    means, found = means or Means.of(candidates), []
    for peers in colonies:
        near = [by_id[one] for one in (*peers.holders, host) if one in by_id]
        move = rebalance(
            peers.colony,
            peers.holders,
            near,
            primary=peers.primary,
            bytes_wanted=bytes_by_colony.get(peers.colony, 0),
            to=host,
            means=means,
        )
        if move is not None:
            giver = by_id[move.source]
            # Copies of colonies whose leader leads many: it may hand them over afterwards.
            leader = by_id.get(peers.primary or "", giver)
            load = (giver.weight if move.kind == "copy" else 0, leader.primaries)
            found.append(((move.kind != "copy", -load[0], -load[1], tie_order(peers.colony, host)), move))
    found.sort(key=lambda one: one[0])
    return [move for _, move in found[:limit]]
