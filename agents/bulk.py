"""Bulk: chunks of clones that wait for their turn at the source.

What clients wait for goes first. So a turn of the loop sends few chunks; and
while clients ask this host for anything, chunks leave at a bounded rate, that
both hosts and the clients beside them get their share of the cores.
"""

from __future__ import annotations

from collections import deque

from agents.framing import dna_bytes
from agents.messages.replication import Chunk

CALM_CHUNKS = 4  # of one turn while nobody asks: 256 KiB, some 1 ms
BUSY_BYTES_S = 150e6  # while somebody does, and of one chunk a turn at that
BUSY_FOR_S = 0.05  # since the last request; clients that wait for a slow answer ask no more often
LATE_S = 0.01  # a host that had no core for so long makes up for it: still one chunk a turn
CELL_BYTES = 64  # about what a cell takes in a chunk beside its DNA


class Bulk:
    """Chunks in the order in which they were said; belongs to the I/O thread.

    Attributes:
        asked_s: When a client last asked for anything.
        waiting: The chunks, each with its target.
    """

    __slots__ = ("_next_s", "asked_s", "waiting")

    def __init__(self) -> None:
        self.asked_s = float("-inf")
        self.waiting: deque[tuple[str, Chunk]] = deque()
        self._next_s = float("-inf")

    def __bool__(self) -> bool:
        return bool(self.waiting)

    def put(self, to: str, chunk: Chunk) -> None:
        """Let a chunk wait; the windows of the clones bound how many do."""
        self.waiting.append((to, chunk))

    def clear(self) -> None:
        """Forget all: another view, or a new incarnation."""
        self.waiting.clear()

    def due_s(self) -> float:
        """Return when the next one may leave; inf = none waits."""
        return self._next_s if self.waiting else float("inf")

    def take(self, now_s: float) -> list[tuple[str, Chunk]]:
        """Return what leaves in this turn."""
        waiting = self.waiting
        if now_s - self.asked_s > BUSY_FOR_S:
            self._next_s = now_s
            return [waiting.popleft() for _ in range(min(CALM_CHUNKS, len(waiting)))]
        if not waiting or now_s < self._next_s:
            return []
        to, chunk = waiting.popleft()
        # A late turn is made up for, but not without end: a burst would take both cores for long.
        self._next_s = max(self._next_s, now_s - LATE_S) + weight(chunk) / BUSY_BYTES_S
        return [(to, chunk)]


def weight(chunk: Chunk) -> int:
    """Return about how many bytes a chunk takes on the wire."""
    cells = sum(len(cell.key) + dna_bytes(cell.dna) for cell in chunk.cells)
    return cells + CELL_BYTES * (len(chunk.cells) + len(chunk.lanes) + len(chunk.deaths))
