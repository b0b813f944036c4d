"""Nearness: how near all hosts stand to one another, looked at once.

Labels don't change within a view. Who asks for many colonies which hosts
stand best apart from their holders gets the answer for a thousand hosts in a
tenth of a millisecond, and need not compare pairs again and again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import chain, islice

from placement.labels import Labels, Level, distance
from placement.repulsion import Penalty
from placement.ties import tie_order

KEPT_MAX = 10_000  # answers of `least`, some 150 bytes each

Shared = tuple[int, ...]


class Nearness:
    """The levels that hosts share, by their places in a list.

    Args:
        labels: Of each host.
    """

    def __init__(self, labels: Sequence[Labels]) -> None:
        kinds = {one: number for number, one in enumerate(dict.fromkeys(labels))}
        self._kinds = list(kinds)
        self._kind_of = [kinds[one] for one in labels]
        self._of_kind: dict[int, bytes] = {}
        self._least: dict[Shared, Penalty] = {}

    @property
    def kinds(self) -> int:
        """How many kinds of hosts there are, by their labels."""
        return len(self._kinds)

    def least(self, near: Sequence[int]) -> Penalty:
        """Return a penalty that one more peer brings along at least, wherever it stands."""
        key = tuple([self._kind_of[place] for place in near])
        found = self._least.get(key)
        if found is None:
            if len(self._least) >= KEPT_MAX:
                self._least.clear()
            shared = zip(*map(self._levels, key), strict=True)
            found = self._least[key] = min(map(_penalty, set(shared)), default=Penalty())
        return found

    def apart(self, colony: int, near: Sequence[int], is_able: Callable[[int], bool], most: int) -> list[int]:
        """Return some of the hosts that stand best apart from others, of those that are able.

        Args:
            colony: Whose order decides which ones, where there are more.
            near: Places of those others; none of them is returned.
            is_able: Whether a place is considered.
            most: Return no more.
        """
        vectors = [self._levels(self._kind_of[place]) for place in near]
        kinds: list[Shared] = list(zip(*vectors, strict=True)) if near else [()] * len(self._kinds)
        ranks = [_penalty(shared) for shared in kinds]
        begin = tie_order(colony, "apart") % max(1, len(self._kind_of))
        for rank in sorted(set(ranks)):
            able = {kind for kind, one in enumerate(ranks) if one == rank}
            places = [place for place, kind in enumerate(self._kind_of) if kind in able]
            middle = bisect_left(places, begin)
            ordered = chain(places[middle:], places[:middle])
            found = list(islice((p for p in ordered if p not in near and is_able(p)), most))
            if found:
                return found
        return []

    def _levels(self, kind: int) -> bytes:
        """Return the level that hosts of each kind share with one of this kind."""
        known = self._of_kind.get(kind)
        if known is None:
            own = self._kinds[kind]
            known = self._of_kind[kind] = bytes([distance(own, other) for other in self._kinds])
        return known


def _penalty(shared: Shared) -> Penalty:
    """Return the penalty of one more host that shares these levels with others."""
    return Penalty(0, shared.count(Level.BOX), shared.count(Level.RACK), shared.count(Level.ZONE))
