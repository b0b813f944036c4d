"""Versus: one host against those that hold a colony: which term decides, and by how much."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from placement.choice import Rank, standing, target_ranks, target_vetoes
from placement.repulsion import near_words
from placement.resources import Candidate


@dataclass(frozen=True, slots=True)
class Versus:
    """How a host compares with the holder that it would replace most easily.

    Attributes:
        host: Host id of who holds nothing.
        vetoes: Why it can't take a copy at all; the comparison is made all the same.
        against: Host id of that holder; "" = there is none to compare with.
        wins: It would be the better place.
        term: The first term in which the two differ: a level that is shared,
            `flaps`, `fill`, `cpu`, `crowd`, or `tie`.
        mine: What the host has of it; less is better.
        theirs: What the holder has.
        words: The same for people.
    """

    host: str
    vetoes: tuple[str, ...] = ()
    against: str = ""
    wins: bool = False
    term: str = ""
    mine: int = 0
    theirs: int = 0
    words: str = ""


def versus(
    colony: int,
    holders: Collection[str],
    candidates: Sequence[Candidate],
    host: Candidate,
    *,
    primary: str | None,
    bytes_wanted: int = 0,
) -> Versus:
    """Return how a host that holds no copy compares with the holders of a colony.

    The holder is taken as if it had no copy yet, so that both are asked the
    same. A primary is compared with only if there is no secondary.
    """
    staying = standing(holders, candidates)
    vetoes = target_vetoes(host, holders, staying, bytes_wanted=bytes_wanted)
    best: tuple[bool, Rank, Candidate, dict[str, Rank]] | None = None
    for holder in [one for one in staying if one.id != primary] or staying:
        rest = [one for one in staying if one is not holder]
        without = replace(
            holder,
            copies=max(0, holder.copies - 1),
            bytes_used=max(0, holder.bytes_used - bytes_wanted),
            memory_free=None if holder.memory_free is None else holder.memory_free + bytes_wanted,
        )
        ranks = target_ranks(colony, rest, [without, host], bytes_wanted=bytes_wanted)
        key = (ranks[host.id] > ranks[holder.id], ranks[host.id])
        if best is None or key < best[:2]:
            best = (*key, holder, ranks)
    if best is None:
        return Versus(host.id, vetoes)
    loses, _, holder, ranks = best
    rest = [one for one in staying if one is not holder]
    term, mine, theirs = _first_difference(ranks[host.id], ranks[holder.id])
    words = _words(term, host, holder, rest, bytes_wanted)
    return Versus(host.id, vetoes, holder.id, not loses, term, mine, theirs, words)


def _first_difference(mine: Rank, theirs: Rank) -> tuple[str, int, int]:
    """Return the first term, in order of weight, in which two ranks differ."""
    named = [
        *zip(mine[0]._fields, mine[0], theirs[0], strict=True),
        *zip(mine[1]._fields, mine[1], theirs[1], strict=True),
    ]
    for name, one, other in named:
        if one != other:
            return name, one, other
    return "tie", *((0, 1) if mine[2] < theirs[2] else (1, 0))


def _words(
    term: str, host: Candidate, holder: Candidate, rest: Sequence[Candidate], bytes_wanted: int
) -> str:
    if term == "flaps":
        return f"{host.called} was lost {host.flaps} times of late, {holder.called} {holder.flaps}"
    if term == "fill":
        return (
            f"{host.called} would be filled to {host.fill(bytes_wanted):.0%}, "
            f"{holder.called} is to {holder.fill():.0%}"
        )
    if term == "cpu":
        return f"{host.called} has its CPU at {host.cpu:.0%}, {holder.called} at {holder.cpu:.0%}"
    if term == "crowd":
        return f"{host.called} holds {host.copies} copies, {holder.called} {holder.copies}"
    if term == "tie":
        return f"equal to {holder.called} but for this colony's own order of equals"
    return f"{host.called} {near_words(host, rest)}; {holder.called} {near_words(holder, rest)}"
