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
BUSY_BYTES_S = 170e6  # while somebody does, and of one chunk a turn at that
BUSY_FOR_S = 0.05  # since the last request; clients that wait for a slow answer ask no more often
LATE_S = 0.05  # a host that had no core for so long makes up for it: still one chunk a turn
OTHERS = 4  # 600 chunks a second go to other clones than the first
CLONES_MAX = 256  # remembered; far more than are under way
CELL_BYTES = 64  # about what a cell takes in a chunk beside its DNA


class Bulk:
    """Chunks of each clone in order, and mostly of the clone that began first.

    So clones end one after another, and make room for the next, rather than
    all at once. Every `OTHERS`th chunk is of another clone: none may seem dead.
    Belongs to the I/O thread.

    Attributes:
        asked_s: When a client last asked this host for anything.
    """

    __slots__ = ("_clones", "_count", "_next_s", "_turn", "asked_s")

    def __init__(self) -> None:
        self.asked_s = float("-inf")
        self._clones: dict[tuple[str, int, int], deque[Chunk]] = {}  # to, colony, number; as they began
        self._count = self._turn = 0
        self._next_s = float("-inf")

    def __bool__(self) -> bool:
        return self._count > 0

    def put(self, to: str, chunk: Chunk) -> None:
        """Let a chunk wait; the windows of the clones bound how many do."""
        key = (to, chunk.colony, chunk.clone)
        chunks = self._clones.get(key)
        if chunks is None:
            if len(self._clones) >= CLONES_MAX:  # given up, or all sent but for their last chunks
                self._clones = {known: waiting for known, waiting in self._clones.items() if waiting}
            chunks = self._clones[key] = deque()
        chunks.append(chunk)
        self._count += 1

    def clear(self) -> None:
        """Forget all: another view, or a new incarnation."""
        self._clones.clear()
        self._count = 0

    def due_s(self) -> float:
        """Return when the next one may leave; inf = none waits."""
        return self._next_s if self._count else float("inf")

    def take(self, now_s: float) -> list[tuple[str, Chunk]]:
        """Return what leaves in this turn."""
        if now_s - self.asked_s > BUSY_FOR_S:
            self._next_s = now_s
            return [self._first() for _ in range(min(CALM_CHUNKS, self._count))]
        if not self._count or now_s < self._next_s:
            return []
        to, chunk = self._first()
        # A late turn is made up for, but not without end: a burst would take both cores for long.
        self._next_s = max(self._next_s, now_s - LATE_S) + weight(chunk) / BUSY_BYTES_S
        return [(to, chunk)]

    def _first(self) -> tuple[str, Chunk]:
        ready = [item for item in self._clones.items() if item[1]]
        self._turn += 1
        other = self._turn % OTHERS == 0
        key, chunks = ready[self._turn // OTHERS % len(ready) if other else 0]
        chunk = chunks.popleft()
        self._count -= 1
        if chunk.last:
            del self._clones[key]
        return key[0], chunk


def weight(chunk: Chunk) -> int:
    """Return about how many bytes a chunk takes on the wire."""
    cells = sum(len(cell.key) + dna_bytes(cell.dna) for cell in chunk.cells)
    return cells + CELL_BYTES * (len(chunk.cells) + len(chunk.lanes) + len(chunk.deaths))
