"""Population: the next step of one colony towards N peers, well apart.

Level-triggered: from what is, not from what happened. Safety first (a
missing peer), then what leaves, then a surplus, then what could stand better.
Each primary decides for its own peers from what every host knows; the host it
wants to send a copy to may refuse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agents.causes import Cause
from agents.surroundings import CloneOrdered, HandOverOrdered, RetireOrdered
from placement.attraction import FILL_FULL, FILL_OVER
from placement.balance import SLACK, Means
from placement.choice import (
    best_target,
    choose_retiree,
    choose_successor,
    choose_target,
    standing,
    target_words,
)
from placement.labels import Level
from placement.moves import better_spread, cool, even_copies, even_roles, give_way, relieve
from placement.reasons import Move
from placement.resources import COPY_BYTES, Candidate
from placement.ties import tie_order
from placement.wave import Goal

Order = CloneOrdered | RetireOrdered | HandOverOrdered


@dataclass(frozen=True, slots=True)
class Facts:
    """One colony, as its primary knows it.

    Attributes:
        colony: Its number.
        primary: This host.
        active: Hosts with an ACTIVE peer, the primary included.
        coming: Hosts that are being cloned to, or not yet ACTIVE.
        going: Hosts that were asked to retire.
        bytes_used: Weight of its cells.
        move: The improvement that is under way, if any.
        fell: The event by which the population fell last.
        leaving: The event that marked a member LEAVING.
    """

    colony: int
    primary: str
    active: tuple[str, ...]
    coming: tuple[str, ...]
    going: tuple[str, ...]
    bytes_used: int
    move: Move | None = None
    fell: Cause | None = None
    leaving: Cause | None = None


@dataclass(frozen=True, slots=True)
class Lack:
    """A step that is needed and can't be taken, and why."""

    because: str


def endangered(facts: Facts, candidates: Sequence[Candidate], settled: int) -> int:
    """Return how many peers are missing; leaving ones don't count."""
    staying = standing((*facts.active, *facts.coming), candidates)
    return max(0, settled - len(staying))


def urgent_step(
    facts: Facts,
    candidates: Sequence[Candidate],
    settled: int,
    *,
    fair_weight: float = 0.0,
    hard: Level = Level.HOST,
) -> Order | Lack | None:
    """Return what the colony's safety, or somebody's leave, asks for now.

    `fair_weight`: what each host is to carry in the end; a target that would
    carry more, because others came first, refuses, and another is asked.
    """
    if facts.going:
        return None
    stay = {host.id for host in standing(facts.active, candidates)}
    leaving = [host for host in facts.active if host not in stay]
    if facts.primary in leaving and stay and not facts.coming:
        return _hand_over(facts, candidates, "this host leaves", facts.leaving)
    if len(stay) + len(facts.coming) < settled:
        return _clone(facts, candidates, stay, settled, fair_weight, hard)
    if facts.coming:
        return None
    others = [host for host in leaving if host != facts.primary]
    if others and stay:
        return RetireOrdered(others[0], "its host leaves", facts.leaving)
    if len(stay) > settled:
        return _shrink(facts, candidates)
    return None


def _shrink(facts: Facts, candidates: Sequence[Candidate]) -> Order | Lack | None:
    """A peer too many: the one that a move left behind, or else the worst placed."""
    move = facts.move
    if move is not None and move.target in facts.active and move.source in facts.active:
        if move.source == facts.primary:
            return HandOverOrdered(move.target, move.because, Cause(move.rule, facts.colony, move.target))
        return RetireOrdered(move.source, move.because, Cause(move.rule, facts.colony, move.target))
    choice = choose_retiree(facts.colony, facts.active, candidates, primary=facts.primary)
    if choice.chosen is None or choice.chosen == facts.primary:
        return None
    terms = choice.reasons[0].terms
    return RetireOrdered(choice.chosen, f"one peer too many; {terms[0] if terms else ''}")


def _clone(
    facts: Facts,
    candidates: Sequence[Candidate],
    stay: set[str],
    settled: int,
    fair_weight: float,
    hard: Level,
) -> Order | Lack:
    holders = (*facts.active, *facts.coming)
    fair_max, size = fair_weight * (1 + SLACK / 2), facts.bytes_used
    named: dict[str, Any] = {"bytes_wanted": size, "hard": hard, "weight_max": fair_max}
    target = best_target(facts.colony, holders, candidates, **named)
    if target is None:
        return Lack(str(choose_target(facts.colony, holders, candidates, **named).shortfall))
    have = len(stay) + len(facts.coming)
    words = target_words(target, standing(holders, candidates), bytes_wanted=size)
    cause = facts.leaving if len(stay) < len(facts.active) else facts.fell
    # More than its share it may have if that is what was known of it: then nobody has come first.
    weight_max = max(fair_max, target.weight + size + COPY_BYTES)
    return CloneOrdered(
        target.id,
        f"{have} of {settled} peers; {'; '.join(words)}",
        cause or Cause("settle"),
        weight_max=int(weight_max) if fair_weight else 0,
    )


def _hand_over(facts: Facts, candidates: Sequence[Candidate], why: str, cause: Cause | None) -> Order | Lack:
    choice = choose_successor(facts.colony, facts.active, candidates, primary=facts.primary)
    if choice.chosen is None:
        return Lack(str(choice.shortfall))
    return HandOverOrdered(choice.chosen, why, cause)


def wave_step(
    facts: Facts, candidates: Sequence[Candidate], settled: int, *, goal: Goal, weight_max: int = 0
) -> Order | None:
    """Return what safety, or somebody's leave, asks for now, the way that leads to the wave's goal.

    None = it asks for nothing, or the goal does not answer it: `urgent_step` does.

    `weight_max`: what the host that is to have a copy weighs at most while the wave is under way.
    """
    if facts.going:
        return None
    by_id = {host.id: host for host in candidates}
    stay = [host.id for host in standing(facts.active, candidates)]
    wanted = [host for host in goal.holders if host not in facts.active and host not in facts.coming]
    if facts.primary not in stay and stay and not facts.coming:
        heirs = [host for host in goal.holders if host in stay]
        if heirs:
            return HandOverOrdered(heirs[0], f"this host leaves; {_of_wave(goal)}", facts.leaving)
        return None
    if len(stay) + len(facts.coming) < settled:
        target = next((by_id[host] for host in wanted if host in by_id and by_id[host].accepts), None)
        if target is None:
            return None
        cause = facts.leaving if len(stay) < len(facts.active) else facts.fell
        return CloneOrdered(target.id, _of_wave(goal), cause or Cause("settle"), weight_max=weight_max)
    if facts.coming or wanted:
        return None
    return _leave_behind(facts, stay, settled, goal)


def _leave_behind(facts: Facts, stay: Sequence[str], settled: int, goal: Goal) -> Order | None:
    """Return the order by which a copy goes that the wave has no place for, if enough are left; or None."""
    extra = [host for host in facts.active if host not in goal.holders]
    cause = Cause(goal.rule, facts.colony, goal.holders[-1])
    for host in extra:
        if len(stay) - (host in stay) < settled:
            continue
        if host != facts.primary:
            return RetireOrdered(host, _of_wave(goal), cause)
        if goal.primary in stay:
            return HandOverOrdered(goal.primary, _of_wave(goal), cause)
    return None


def wave_move(
    facts: Facts, candidates: Sequence[Candidate], *, goal: Goal, weight_max: int = 0
) -> tuple[Order, Move] | None:
    """Return the first step towards the wave's goal of a colony that has all its peers, or None."""
    if facts.going or facts.coming:
        return None
    able = {host.id for host in candidates if host.accepts}
    come = [host for host in goal.holders if host not in facts.active]
    go = [host for host in facts.active if host not in goal.holders]
    because = _of_wave(goal)
    if come and go:
        target, source = come[0], next((host for host in go if host != facts.primary), go[0])
        if target not in able:
            return None
        cause = Cause(goal.rule, facts.colony, target)
        move = Move(facts.colony, "copy", source, target, because, goal.rule)
        return CloneOrdered(target, because, cause, source, weight_max), move
    if come or go or facts.primary == goal.primary or goal.primary not in facts.active:
        return None
    cause = Cause("migrate", facts.colony, goal.primary)
    move = Move(facts.colony, "role", facts.primary, goal.primary, because)
    return HandOverOrdered(goal.primary, because, cause), move


def _of_wave(goal: Goal) -> str:
    return f"the wave of this view, which all hosts work out alike: {goal.because}"


def better_step(
    facts: Facts,
    candidates: Sequence[Candidate],
    *,
    apart_only: bool = False,
    turn: int = 0,
    means: Means | None = None,
    hard: Level = Level.HOST,
    frozen: bool = False,
) -> tuple[Order, Move] | None:
    """Return the first step of a move that improves a healthy colony, or None.

    `apart_only`: only what puts its copies further apart, or relieves a host; balance can wait.
    `turn`: another number each time; decides who leaves a crowded host first.
    `means`: of all hosts, if `candidates` are but some of them.
    `frozen`: only what keeps a host from running out of memory.

    A copy moves by clone, activate, retire: the surplus that the clone makes
    is retired where the move came from, or where that is the best by then.
    A primary's copy moves by its role first.
    """
    place = (facts.colony, facts.active, candidates)
    size = facts.bytes_used
    means = means or Means.of(candidates)
    move = None if frozen else better_spread(*place, primary=facts.primary, bytes_wanted=size)
    # Who has just moved rests; but not on a host that runs out of memory.
    move = move or relieve(*place, primary=facts.primary, bytes_wanted=size)
    if move is None and not apart_only:
        move = None if frozen else cool(*place, primary=facts.primary)
        if move is None and not frozen:
            move = give_way(*place, primary=facts.primary, bytes_wanted=size)
    if move is None and not apart_only:
        shed = _shed(facts, candidates, turn)
        if shed is not None:
            return shed
        if frozen:
            return None
        move = even_roles(*place, primary=facts.primary, means=means)
        if move is not None and not _is_its_turn(move, candidates, means, turn):
            return None
    if move is None:
        return None
    cause = Cause(move.rule, facts.colony, move.target)
    if move.kind == "role":
        return HandOverOrdered(move.target, move.because, cause), move
    if move.source == facts.primary and len(facts.active) > 1:
        # The role goes first; the new primary then moves the copy.
        order = _hand_over(facts, candidates, move.because, cause)
        return None if isinstance(order, Lack) else (order, move)
    return CloneOrdered(move.target, move.because, cause, move.source), move


def relief(
    facts: Facts, candidates: Sequence[Candidate], source: str, means: Means
) -> tuple[Order, Move] | None:
    """Return the first step of the move away from a host that asks for it, or None.

    Many colonies may choose one target at once: others may come first, and it
    refuses who comes too late.
    """
    move = even_copies(
        facts.colony,
        facts.active,
        candidates,
        primary=facts.primary,
        bytes_wanted=facts.bytes_used,
        means=means,
        asked_by=source,
    )
    if move is None:
        return None
    by_id = {host.id: host for host in candidates}
    giver, target = by_id[source], by_id[move.target]
    fair = min(giver.weight - means.slack, means.weight * (1 + SLACK / 2))
    weight_max = int(max(fair, target.weight + facts.bytes_used + COPY_BYTES))
    cause = Cause(move.rule, facts.colony, move.target)
    return CloneOrdered(move.target, move.because, cause, move.source, weight_max), move


def make_room(facts: Facts, candidates: Sequence[Candidate], source: str) -> tuple[Order, Move] | None:
    """Return the retirement of a secondary whose room a colony with fewer peers needs, or None.

    Never of the last one that stays.
    """
    if source == facts.primary or source not in facts.active or facts.going:
        return None
    if not any(host.id != source for host in standing(facts.active, candidates)):
        return None
    return _give_up(
        facts.colony,
        source,
        "its host has no room for it, or a colony with fewer peers needs that",
    )


def _give_up(colony: int, host: str, because: str) -> tuple[Order, Move]:
    """Return the retirement of a secondary that goes nowhere else."""
    move = Move(colony, "shed", host, host, because, "shed")
    return RetireOrdered(host, because, Cause("shed", colony, host)), move


def _shed(facts: Facts, candidates: Sequence[Candidate], turn: int) -> tuple[Order, Move] | None:
    """Return the retirement of a secondary on a host that is all but full, when it can go nowhere.

    Fewer copies are better than a host that dies of too many: so many go, by
    the luck of the turn, as bring it down to what it may hold.
    """
    for host in standing(facts.active, candidates):
        if host.id == facts.primary or len(facts.active) < 2 or host.fill() < FILL_OVER:
            continue
        excess = 1.0 - FILL_FULL / host.fill()
        if facts.bytes_used and _luck(facts.colony, host.id, turn) < 2 * excess:
            because = f"{host.called} is filled to {host.fill():.0%}, and nobody else has room"
            return _give_up(facts.colony, host.id, because)
    return None


def _luck(colony: int, host: str, turn: int) -> float:
    """Return a number from 0 to 1 that is another one for each colony and turn."""
    return tie_order(colony, f"{host}/{turn}") / (1 << 64)


def _is_its_turn(move: Move, candidates: Sequence[Candidate], means: Means, turn: int) -> bool:
    """Return whether a role leaves now: where a host leads too many, as many go as are too many.

    Many decide at once, each from what it knows: if all that have more than
    another gave to it, it would be the crowded one next.
    """
    giver = next(host for host in candidates if host.id == move.source)
    if all((host.primaries, host.id) <= (giver.primaries, giver.id) for host in candidates):
        return True
    excess = max(0.0, giver.primaries - means.primaries) / giver.primaries
    return _luck(move.colony, giver.id, turn) < excess / 2
