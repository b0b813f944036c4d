"""Cloning: the source's side of making one more peer.

Cells travel in chunks with credit, on the bulk plane; mutations follow in
order on the other one, each carrying the whole cell. The target is added to
the ack set only when it has *acked* all of the snapshot and every mutation
that is committed: what was merely sent may have died with a link.
"""

from __future__ import annotations

from collections.abc import Iterator

from agents.cells import Cell, Cells, cell_bytes
from agents.messages.replication import CellState, Chunk, LaneState
from agents.surroundings import CloneOrdered, Limits

LANES_PER_CHUNK = 1024
CELLS_PER_CHUNK = 1024
FLOOR_BYTES_S = 1024 * 1024  # a clone slower than this is stuck, a thousandth of what a LAN carries

Piece = tuple[tuple[CellState, ...], tuple[LaneState, ...]]
Deaths = tuple[tuple[bytes, int], ...]


def pieces(live: dict[bytes, Cell], lanes: list[LaneState], chunk_bytes: int) -> Iterator[Piece]:
    """Yield a snapshot in pieces of about `chunk_bytes`."""
    batch: list[CellState] = []
    size = 0
    for key, cell in live.items():
        batch.append(CellState(key, cell[0], cell[1], cell[2]))
        size += cell_bytes(key, cell)
        if size >= chunk_bytes or len(batch) >= CELLS_PER_CHUNK:
            yield tuple(batch), ()
            batch, size = [], 0
    if batch:
        yield tuple(batch), ()
    told: list[LaneState] = []
    size = 0
    for lane in lanes:  # a closure's result may be as large as a cell
        told.append(lane)
        size += len(lane.result or b"")
        if size >= chunk_bytes or len(told) >= LANES_PER_CHUNK:
            yield (), tuple(told)
            told, size = [], 0
    if told:
        yield (), tuple(told)


class Clone:
    """One clone under way, as its source knows it.

    Attributes:
        order: To whom, why, and in whose place.
        number: Names this attempt; unique within the primary's epoch.
        started: The target has admitted it, and the snapshot is taken.
        acked_seq: The learner has applied every mutation up to here.
        touched_s: When the target was last heard about it.
        is_held: The host's pace lets nothing of it leave now.
    """

    __slots__ = (
        "_acked",
        "_deaths",
        "_ended",
        "_pieces",
        "_sent",
        "acked_seq",
        "bytes_acked",
        "bytes_whole",
        "is_held",
        "number",
        "order",
        "sizes",
        "started",
        "started_s",
        "touched_s",
    )

    def __init__(self, order: CloneOrdered, number: int, now_s: float) -> None:
        self.order = order
        self.number = number
        self.started = False
        self.started_s = now_s
        self.touched_s = now_s
        self.acked_seq = -1
        self.is_held = False
        self.bytes_whole = 0
        self.bytes_acked = 0
        self.sizes: list[int] = []
        self._pieces: Iterator[Piece] = iter(())
        self._deaths: Iterator[Deaths] = iter(())
        self._sent = 0
        self._acked = 0
        self._ended = False

    def start(self, cells: Cells, start_seq: int, chunk_bytes: int) -> None:
        """Take the snapshot of all that is committed."""
        lanes = [LaneState(lane, *rest) for lane, rest in cells.lanes.items()]
        self._pieces = pieces(cells.live.copy(), lanes, chunk_bytes)
        if cells.deaths:
            told = tuple(cells.deaths.items())
            self._deaths = (told[at : at + LANES_PER_CHUNK] for at in range(0, len(told), LANES_PER_CHUNK))
        self.bytes_whole = cells.bytes_used
        self.acked_seq = start_seq
        self.started = True

    def chunks(self, colony: int, epoch: int, window: int) -> Iterator[Chunk]:
        """Yield the chunks that the credit allows now."""
        while not self._ended and self._sent - self._acked < window:
            cells, lanes = next(self._pieces, ((), ()))
            deaths = () if cells or lanes else next(self._deaths, ())
            self._ended = not (cells or lanes or deaths)
            self._sent += 1
            self.sizes.append(sum(len(c.key) + 150 + len(c.dna) for c in cells))
            yield Chunk(colony, epoch, self.number, self._sent, cells, lanes, self._ended, deaths)

    def chunk_acked(self, number: int, now_s: float) -> None:
        """The target has all chunks up to `number`."""
        while self._acked < min(number, self._sent):
            self.bytes_acked += self.sizes[self._acked]
            self._acked += 1
        self.touched_s = now_s

    @property
    def is_urgent(self) -> bool:
        """Whether its colony lacks a peer; else it only moves."""
        return not self.order.source

    def deadline_s(self, limits: Limits) -> float:
        """Return by when it must be complete, on the host's clock."""
        floor = min(FLOOR_BYTES_S, limits.clone_bytes_s / (2 * limits.clones_max) or FLOOR_BYTES_S)
        return self.started_s + limits.clone_deadline_s + self.bytes_whole / floor

    def is_complete(self, committed: int) -> bool:
        """Return whether all chunks, and all up to `committed`, are acked."""
        return self._ended and self._acked == self._sent and self.acked_seq >= committed

    @property
    def progress(self) -> float:
        """Share of the snapshot's bytes that arrived, 0 to 1."""
        return min(1.0, self.bytes_acked / self.bytes_whole) if self.bytes_whole else 1.0
