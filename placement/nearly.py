"""Nearly: what draws a colony elsewhere, and what holds it where it is.

Asked of a colony that does not move: the strongest force on it that is not
answered, as placement orders them (repulsion, memory, copies, roles), and
why nothing comes of it. What is forbidden is found by asking the same rules
again, as if it were not.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from placement.attraction import FILL_HIGH, FILL_LOW, cpu_words, has_room, too_busy_for
from placement.balance import CROWDED, Means, copy_gain
from placement.choice import standing, target_vetoes
from placement.moves import better_spread, even_roles, rebalance, relieve
from placement.reasons import Move
from placement.repulsion import near_words, penalty_added, penalty_of
from placement.resources import COPY_BYTES, Candidate, format_bytes

FORCES = ("repulsion", "memory", "copies", "roles")  # the strongest first


@dataclass(frozen=True, slots=True)
class Near:
    """A force on a colony that does not move it.

    Attributes:
        force: One of `FORCES`.
        kind: `copy` or `role`: what would move.
        source: Host id.
        target: Host id; "" = nobody could take it.
        pull: What would get better by it.
        held_by: What holds it: `veto`, `room`, `cpu`, `nearness`, `margin`, `turn`, or `frozen` (say hosts).
        held: The same in words, and by how much.
    """

    force: str
    kind: Literal["copy", "role", "shed"]
    source: str
    target: str
    pull: str
    held_by: str
    held: str

    @property
    def weight(self) -> int:
        """Its place among `FORCES`; low is strong."""
        return FORCES.index(self.force)


def nearly(
    colony: int,
    holders: Collection[str],
    candidates: Sequence[Candidate],
    *,
    primary: str | None,
    bytes_wanted: int = 0,
) -> Near | None:
    """Return the strongest force on a colony that stays where it is, or None.

    Arguments are those of `placement.moves.improve`. Of a colony that may
    move, it is what would move it: somebody else goes first.
    """
    place = (colony, holders)
    return (
        _pulled_apart(*place, candidates, primary, bytes_wanted)
        or _pushed_out(*place, candidates, primary, bytes_wanted)
        or _drawn_to_fewer(*place, candidates, primary, bytes_wanted)
        or _drawn_to_lead_less(*place, candidates, primary)
    )


def _open(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the members as if all that stay took anything."""
    return [
        host
        if host.leaving or host.witness
        else replace(host, accepts=True, because="", bytes_max=0, memory_free=None)
        for host in candidates
    ]


def _pulled_apart(
    colony: int,
    holders: Collection[str],
    candidates: Sequence[Candidate],
    primary: str | None,
    bytes_wanted: int,
) -> Near | None:
    """Two copies stand too near, and could stand apart if some host took one."""
    if not any(penalty_of(standing(holders, candidates))):
        return None  # nearly always so: what follows makes all candidates anew
    free = better_spread(colony, holders, candidates, primary=primary, bytes_wanted=bytes_wanted)
    move = free or better_spread(colony, holders, _open(candidates), primary=primary)
    if move is None:
        return None
    if free is not None:
        return _in_turn("repulsion", move)
    return _vetoed("repulsion", move, holders, candidates, bytes_wanted)


def _pushed_out(
    colony: int,
    holders: Collection[str],
    candidates: Sequence[Candidate],
    primary: str | None,
    bytes_wanted: int,
) -> Near | None:
    """A holder runs out of memory, and nobody can relieve it."""
    free = relieve(colony, holders, candidates, primary=primary, bytes_wanted=bytes_wanted)
    if free is not None:
        return _in_turn("memory", free)
    full = [
        host
        for host in standing(holders, candidates)
        if host.fill() > FILL_HIGH and (host.id != primary or len(holders) == 1)
    ]
    if not full or not bytes_wanted:
        return None
    source = max(full, key=lambda host: (host.fill(), host.id))
    pull = f"{source.called} is filled to {source.fill():.0%}"
    return Near("memory", "copy", source.id, "", pull, "room", "no host has enough room, as far away")


def _drawn_to_fewer(
    colony: int,
    holders: Collection[str],
    candidates: Sequence[Candidate],
    primary: str | None,
    bytes_wanted: int,
) -> Near | None:
    """Another host holds fewer copies than one of the holders, and gets none of them."""
    free = rebalance(colony, holders, candidates, primary=primary, bytes_wanted=bytes_wanted)
    if free is not None and free.kind == "copy":
        return _in_turn("copies", free)
    staying = standing(holders, candidates)
    movable = [host for host in staying if host.id != primary or len(staying) == 1]
    others = [host for host in candidates if host.id not in holders and not host.leaving and not host.witness]
    if not movable or not others:
        return None
    source = max(movable, key=lambda host: (host.weight, host.id))
    target = min(others, key=lambda host: (host.weight, host.id))
    if source.weight - target.weight < bytes_wanted + 2 * COPY_BYTES:
        return None  # it would only swap who has more
    pull = f"{source.called} holds {source.copies} copies, {target.called} {target.copies}"
    move = Move(colony, "copy", source.id, target.id, pull)
    means = Means.of(candidates)
    if copy_gain(source, target, bytes_wanted, means) <= 0:
        return _not_worth_it(move, source, target, bytes_wanted, means)
    vetoed = _vetoed("copies", move, holders, candidates, bytes_wanted)
    if vetoed.held_by == "veto":
        return vetoed
    if too_busy_for(target, source):
        held = f"{target.called}: {cpu_words(target)}"
        return Near("copies", "copy", source.id, target.id, pull, "cpu", held)
    rest = [host for host in staying if host is not source]
    if penalty_added(target, rest) > penalty_added(source, rest):
        held = f"{target.called} {near_words(target, rest)}"
        return Near("copies", "copy", source.id, target.id, pull, "nearness", held)
    if not has_room(target, bytes_wanted, FILL_LOW):
        return vetoed
    return _in_turn("copies", move)


def _drawn_to_lead_less(
    colony: int, holders: Collection[str], candidates: Sequence[Candidate], primary: str | None
) -> Near | None:
    """A secondary's host leads fewer colonies than the primary's."""
    means = Means.of(candidates)
    free = even_roles(colony, holders, candidates, primary=primary, means=means)
    if free is not None:
        return _in_turn("roles", free)
    giver = next((host for host in candidates if host.id == primary), None)
    takers = [host for host in standing(holders, candidates) if host.id != primary]
    if giver is None or not takers:
        return None
    target = min(takers, key=lambda host: (host.primaries, host.id))
    gap = giver.primaries - target.primaries
    needed = means.role_margin
    if not 2 <= gap < needed:
        return None
    pull = f"{giver.called} leads {giver.primaries} colonies, {target.called} {target.primaries}"
    return _short("roles", Move(colony, "role", giver.id, target.id, pull), gap, needed)


def _in_turn(force: str, move: Move) -> Near:
    held = "it may move: others go first"
    return Near(force, move.kind, move.source, move.target, move.because, "turn", held)


def _short(force: str, move: Move, gap: int, needed: int) -> Near:
    held = f"a difference of {gap} moves nothing, {needed} would"
    return Near(force, move.kind, move.source, move.target, move.because, "margin", held)


def _not_worth_it(move: Move, source: Candidate, target: Candidate, bytes_wanted: int, means: Means) -> Near:
    """Say how far from worth its while the move of a copy is."""
    gap, needed = source.weight - target.weight, bytes_wanted + COPY_BYTES + means.slack
    if gap < needed:
        if not bytes_wanted:
            return _short("copies", move, gap // COPY_BYTES, int(-(-needed // COPY_BYTES)))
        held = f"a difference of {format_bytes(gap)} moves nothing, {format_bytes(int(needed))} would"
    else:
        share = f"{source.called} carries {source.weight / means.weight:.0%} of the mean"
        held = f"{share}: it gives from {1 + CROWDED:.0%} on"
    return Near("copies", move.kind, move.source, move.target, move.because, "margin", held)


def _vetoed(
    force: str, move: Move, holders: Collection[str], candidates: Sequence[Candidate], bytes_wanted: int
) -> Near:
    """Return what forbids the target of a move that would be good otherwise."""
    target = next(host for host in candidates if host.id == move.target)
    rest = [host for host in standing(holders, candidates) if host.id != move.source]
    vetoes = target_vetoes(target, holders, rest, bytes_wanted=bytes_wanted)
    if vetoes:
        held_by, held = "veto", f"{target.called} {vetoes[0]}"
    else:
        held_by, held = "room", f"{target.called} would be filled to {target.fill(bytes_wanted):.0%}"
    return Near(force, move.kind, move.source, move.target, move.because, held_by, held)
