"""Lineages: which views descend from which, once a generation was forced.

With `quorum = available` a side without a majority goes on by itself, so
views are a tree and no longer a line. Every view carries the forks that led
to it; any two views of one cluster can be compared by that alone.
"""

from __future__ import annotations

import hashlib
from enum import Enum

from agents.views import FORKS_MAX, Fork, View, generation_of, view_id

BLOCK_BITS = 12  # views of one lineage before it might meet the numbers of another


class Kin(Enum):
    """What another view is to ours."""

    BEHIND = "behind"  # the same, or one that ours descends from
    AHEAD = "ahead"  # it descends from ours
    FORKED = "forked"  # it was forced from the very view that is ours: ours may go on, too
    BASE = "base"  # ours was forced from it: it may go on, too
    APART = "apart"  # neither descends from the other


def kin(mine: View, theirs: View) -> Kin:
    """Return what `theirs` is to `mine`."""
    older, later = (mine, theirs) if mine.id <= theirs.id else (theirs, mine)
    forks = {generation_of(fork.first): fork for fork in later.forks}
    for fork in older.forks:
        if forks.get(generation_of(fork.first), fork).first != fork.first:
            return Kin.APART
    generation = generation_of(older.id)
    ahead = Kin.AHEAD if older is mine else Kin.BEHIND
    if generation == generation_of(later.id):
        if older.root != later.root:
            return Kin.APART
        return Kin.BEHIND if older.id == later.id else ahead
    fork_off = forks.get(generation + 1)
    if fork_off is None or older.id > fork_off.base:
        return Kin.APART
    if older.id < fork_off.base:
        return ahead
    return Kin.FORKED if older is mine else Kin.BASE


def rank(view: View) -> tuple[int, float, int]:
    """Return the rank of the side that a view is of; the lowest wins.

    Of equal generations the side wins whose most senior member had been up
    longest when it went on by itself: both know that from the views alone.
    """
    uptime_s = view.forks[-1].uptime_s if view.forks else 0.0
    return generation_of(view.id), -uptime_s, view.root


def forked(base: View, first: View, uptime_s: float) -> tuple[Fork, ...]:
    """Return the forks of a view that was forced from `base`."""
    return (*base.forks, Fork(base.id, first.id, uptime_s))[-FORKS_MAX:]


def forced_id(base: View, host: str, incarnation: int, round_: int) -> int:
    """Return the id of a forced view: no two sides may come to the same.

    Sides can't agree on numbers, so each draws a block of them. The smallest
    number of a block leaves room for the views that follow.
    """
    what = f"{base.id}/{host}/{incarnation}/{round_}".encode()
    block = int.from_bytes(hashlib.blake2b(what, digest_size=4).digest(), "big") >> BLOCK_BITS
    return view_id(generation_of(base.id) + 1, max(1, block) << BLOCK_BITS)


def parted(mine: View, theirs: View) -> int:
    """Return the id of the last view that both descend from, or of an earlier one."""
    one = {generation_of(fork.first): fork for fork in mine.forks}
    other = {generation_of(fork.first): fork for fork in theirs.forks}
    for generation in sorted(one.keys() | other.keys()):
        a, b = one.get(generation), other.get(generation)
        if a is None or b is None or a.first != b.first:
            return min(a.base if a else mine.id, b.base if b else theirs.id)
    return min(mine.id, theirs.id)
