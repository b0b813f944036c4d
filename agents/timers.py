"""Deadlines, soonest first.

What is due at the same time comes in the order in which it was asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from math import inf

Alarm = Callable[[float], None]


class Timers:
    """A heap of alarms; used by one thread. Times are the host's clock.

    Attributes:
        next_s: When the next alarm is due; infinite = none.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Alarm]] = []
        self._order = count()
        self.next_s = inf

    def __len__(self) -> int:
        return len(self._heap)

    def at(self, at_s: float, alarm: Alarm) -> None:
        """Call `alarm(now_s)` once `at_s` has come."""
        heappush(self._heap, (at_s, next(self._order), alarm))
        self.next_s = self._heap[0][0]

    def run_due(self, now_s: float, alarms_max: int = 1000) -> int:
        """Call what is due, at most so many; returns how many it was.

        An alarm set meanwhile waits for the next call, even if it is due:
        one that sets itself again at once can't hold the loop.
        """
        heap, handled = self._heap, 0
        limit = next(self._order)
        later = []
        while heap and heap[0][0] <= now_s and handled < alarms_max:
            entry = heappop(heap)
            if entry[1] > limit:
                later.append(entry)
                continue
            entry[2](now_s)
            handled += 1
        for entry in later:
            heappush(heap, entry)
        self.next_s = heap[0][0] if heap else inf
        return handled
