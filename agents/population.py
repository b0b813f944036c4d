"""Population: the next step of one colony towards N peers, well apart.

Level-triggered: from what is, not from what happened. Safety first (a
missing peer), then what leaves, then a surplus, then what could stand better.
Each primary decides for its own peers from what every host knows; the host it
wants to send a copy to may refuse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agents.causes import Cause
from agents.surroundings import CloneOrdered, HandOverOrdered, RetireOrdered
from placement.choice import choose_retiree, choose_successor, choose_target, standing
from placement.moves import better_spread, rebalance, relieve
from placement.reasons import Move
from placement.resources import Candidate
from placement.ties import tie_order

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


def urgent_step(facts: Facts, candidates: Sequence[Candidate], settled: int) -> Order | Lack | None:
    """Return what the colony's safety, or somebody's leave, asks for now."""
    if facts.going:
        return None
    stay = {host.id for host in standing(facts.active, candidates)}
    leaving = [host for host in facts.active if host not in stay]
    if facts.primary in leaving and stay and not facts.coming:
        return _hand_over(facts, candidates, "this host leaves", facts.leaving)
    if len(stay) + len(facts.coming) < settled:
        return _clone(facts, candidates, stay, settled)
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


def _clone(facts: Facts, candidates: Sequence[Candidate], stay: set[str], settled: int) -> Order | Lack:
    holders = (*facts.active, *facts.coming)
    choice = choose_target(facts.colony, holders, candidates, bytes_wanted=facts.bytes_used)
    have = len(stay) + len(facts.coming)
    if choice.chosen is None:
        return Lack(str(choice.shortfall))
    terms = next((v.terms for v in choice.reasons if v.host == choice.chosen), ())
    cause = facts.leaving if len(stay) < len(facts.active) else facts.fell
    return CloneOrdered(
        choice.chosen, f"{have} of {settled} peers; {'; '.join(terms)}", cause or Cause("settle")
    )


def _hand_over(facts: Facts, candidates: Sequence[Candidate], why: str, cause: Cause | None) -> Order | Lack:
    choice = choose_successor(facts.colony, facts.active, candidates, primary=facts.primary)
    if choice.chosen is None:
        return Lack(str(choice.shortfall))
    return HandOverOrdered(choice.chosen, why, cause)


def better_step(
    facts: Facts, candidates: Sequence[Candidate], *, apart_only: bool = False, turn: int = 0
) -> tuple[Order, Move] | None:
    """Return the first step of a move that improves a healthy colony, or None.

    `apart_only`: only what puts its copies further apart; balance can wait.
    `turn`: another number each time; decides who leaves a crowded host first.

    A copy moves by clone, activate, retire: the surplus that the clone makes
    is retired where the move came from, or where that is the best by then.
    A primary's copy moves by its role first.
    """
    place = (facts.colony, facts.active, candidates)
    size = facts.bytes_used
    move = better_spread(*place, primary=facts.primary, bytes_wanted=size)
    if move is None and not apart_only:
        move = relieve(*place, primary=facts.primary, bytes_wanted=size)
    crowd_max: int | None = 0
    if move is None and not apart_only:
        move = rebalance(*place, primary=facts.primary, bytes_wanted=size)
        if move is not None and move.kind == "role" and not _leads_most(move, candidates):
            return None
        if move is not None and move.kind == "copy":
            crowd_max = _room_in_turn(move, candidates, turn)
    if move is None or crowd_max is None:
        return None
    cause = Cause(move.rule, facts.colony, move.target)
    if move.kind == "role":
        return HandOverOrdered(move.target, move.because, cause), move
    if move.source == facts.primary and len(facts.active) > 1:
        # The role goes first; the new primary then moves the copy.
        order = _hand_over(facts, candidates, move.because, cause)
        return None if isinstance(order, Lack) else (order, move)
    return CloneOrdered(move.target, move.because, cause, move.source, crowd_max), move


def _leads_most(move: Move, candidates: Sequence[Candidate]) -> bool:
    """Return whether the giver of a role leads more colonies than any other host.

    Many decide at once, each from what it knows: if all that have more than
    another gave to it, it would be the crowded one next.
    """
    most = max(((host.primaries, host.id) for host in candidates if not host.leaving), default=(0, ""))
    return most[1] == move.source


def _room_in_turn(move: Move, candidates: Sequence[Candidate], turn: int) -> int | None:
    """Return how many copies the target may hold then, or None: this colony does not leave now.

    The primaries of all colonies on a crowded host see that it is crowded, and decide at once: only so
    many may move, by the luck of the turn, as are too many. Nor may all choose one target: others may
    come first, and it refuses who comes too late.
    """
    by_id = {host.id: host for host in candidates}
    source, target, fair = by_id[move.source], by_id[move.target], _mean_up(candidates)
    movable = max(1, source.copies - source.primaries)
    if tie_order(move.colony, f"{source.id}/{turn}") % movable >= max(1, source.copies - fair):
        return None
    return fair if target.copies < fair else source.copies - 1


def _mean_up(candidates: Sequence[Candidate]) -> int:
    """Return how many copies a host holds on the average, rounded up."""
    counts = [host.copies for host in candidates if host.accepts]
    return -(-sum(counts) // len(counts)) if counts else 0
