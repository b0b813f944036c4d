"""Expiries: which cells may be due, soonest first.

A heap of hints, not of facts: a cell that was touched or is dead is simply
passed over when its hint comes up.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from agents.cells import Cell


class Expiries:
    """Hints (expires_s, key) on the colony's clock; about as many as cells."""

    __slots__ = ("_bound", "heap")

    def __init__(self, live: dict[bytes, Cell]) -> None:
        self.heap = [(cell[1], key) for key, cell in live.items() if cell[1]]
        heapq.heapify(self.heap)
        self._bound = 2 * len(self.heap) + 1024

    def add(self, key: bytes, expires_s: float) -> None:
        """Remember that `key` may be due at `expires_s`."""
        heapq.heappush(self.heap, (expires_s, key))

    def due(self, clock_s: float, at_most: int) -> Iterator[bytes]:
        """Yield keys whose hint has come up, and forget the hints."""
        while self.heap and self.heap[0][0] <= clock_s and at_most > 0:
            at_most -= 1
            yield heapq.heappop(self.heap)[1]

    def next_s(self, live: dict[bytes, Cell]) -> float | None:
        """Return when the next hint comes up; None = there is none.

        Rebuilds the heap when touches have left more hints than cells.
        """
        if len(self.heap) > self._bound:
            self.__init__(live)  # type: ignore[misc]
        return self.heap[0][0] if self.heap else None
