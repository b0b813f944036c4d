"""Lanes: what makes a client's mutations apply at most once.

A lane has one mutation under way at a time, and numbers them. Hosts
remember the last number of each lane, so few lanes are used again and again.
"""

from __future__ import annotations

import os
import threading

LANES_MAX = 1 << 16


class Lane:
    """One lane; `number` is that of its last mutation."""

    __slots__ = ("name", "number")

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.number = 0


class LaneSource:
    """Makes the lanes of one client, under a random name; any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client = os.urandom(16)
        self._next = 0

    def fresh(self) -> Lane:
        """Return a lane that was never used."""
        with self._lock:
            if self._next == LANES_MAX:
                self._client, self._next = os.urandom(16), 0
            index, self._next = self._next, self._next + 1
        return Lane(self._client + index.to_bytes(2, "big"))


class Lanes:
    """Free lanes, the one freed last first; any thread may take and give."""

    __slots__ = ("_free", "_source")

    def __init__(self, source: LaneSource) -> None:
        self._source = source
        self._free: list[Lane] = []

    def take(self) -> Lane:
        """Return a free lane with its next number; give it back when answered.

        A lane whose mutation has an unknown outcome is never given back: it
        may still be under way.
        """
        try:
            lane = self._free.pop()
        except IndexError:
            lane = self._source.fresh()
        lane.number += 1
        return lane

    def give(self, lane: Lane) -> None:
        """Take back a lane whose mutation has its answer."""
        self._free.append(lane)
