"""The source's side of a clone: pieces, credit, and when it is complete."""

from __future__ import annotations

from agents.cells import Cells
from agents.cloning import CELLS_PER_CHUNK, LANES_PER_CHUNK, Clone, pieces
from agents.messages.replication import Chunk, LaneState
from agents.surroundings import CloneOrdered


def cells_of(number: int, size: int) -> Cells:
    """Return so many cells of a size."""
    cells = Cells()
    for i in range(number):
        cells.put(b"%06d" % i, (i + 1, 0.0, b"x" * size))
    return cells


def started(cells: Cells, chunk_bytes: int = 1000, seq: int = 7) -> Clone:
    """Return a clone whose target has agreed."""
    clone = Clone(CloneOrdered("B", "test"), 3, 0.0)
    clone.start(cells, seq, chunk_bytes)
    return clone


def test_pieces_carry_every_cell_and_lane_once_in_bounded_sizes() -> None:
    cells = cells_of(3000, 10)
    lanes = [LaneState(b"%d" % i, 1, 1, 0, None, 0.0) for i in range(LANES_PER_CHUNK + 1)]
    made = list(pieces(cells.live, lanes, 1 << 30))
    assert [len(c) for c, _ in made] == [CELLS_PER_CHUNK, CELLS_PER_CHUNK, 952, 0, 0]
    assert [len(found) for _, found in made][3:] == [LANES_PER_CHUNK, 1]
    assert len({state.key for part, _ in made for state in part}) == 3000


def test_chunks_are_about_as_large_as_asked_for() -> None:
    made = list(pieces(cells_of(50, 300).live, [], 1000))
    assert all(len(found) <= 3 for found, _ in made) and len(made) == 17


def test_credit_bounds_what_is_under_way() -> None:
    clone = started(cells_of(50, 300))
    first = list(clone.chunks(0, 1, 4))
    assert [chunk.number for chunk in first] == [1, 2, 3, 4] and not any(c.last for c in first)
    assert list(clone.chunks(0, 1, 4)) == []
    clone.chunk_acked(2, 1.0)
    assert [chunk.number for chunk in clone.chunks(0, 1, 4)] == [5, 6]


def run_to_end(clone: Clone, window: int = 4) -> list[Chunk]:
    """Ack everything, and return all chunks."""
    sent: list[Chunk] = []
    while more := list(clone.chunks(0, 1, window)):
        sent += more
        clone.chunk_acked(sent[-1].number, 1.0)
    return sent


def test_the_last_chunk_says_so_and_only_it() -> None:
    sent = run_to_end(started(cells_of(50, 300)))
    assert [chunk.last for chunk in sent] == [False] * (len(sent) - 1) + [True]
    assert sum(len(chunk.cells) for chunk in sent) == 50


def test_an_empty_colony_is_one_last_chunk() -> None:
    sent = run_to_end(started(Cells()))
    assert len(sent) == 1 and sent[0].last and not sent[0].cells


def test_it_is_complete_only_when_chunks_and_mutations_are_acked() -> None:
    clone = started(cells_of(5, 300), seq=7)
    sent = list(clone.chunks(0, 1, 100))
    assert not clone.is_complete(7), "sent is not acked"
    clone.chunk_acked(sent[-1].number - 1, 1.0)
    assert not clone.is_complete(7)
    clone.chunk_acked(sent[-1].number, 1.0)
    assert clone.is_complete(7) and not clone.is_complete(8)
    clone.acked_seq = 8
    assert clone.is_complete(8)


def test_acks_of_what_was_never_sent_give_no_credit() -> None:
    clone = started(cells_of(50, 300))
    list(clone.chunks(0, 1, 2))
    clone.chunk_acked(1_000_000, 1.0)
    assert [chunk.number for chunk in clone.chunks(0, 1, 2)] == [3, 4]


def test_the_snapshot_is_of_the_moment_of_its_start() -> None:
    cells = cells_of(10, 300)
    clone = started(cells)
    cells.put(b"late", (99, 0.0, b"x"))
    cells.put(b"000000", None)
    keys = {state.key for chunk in run_to_end(clone) for state in chunk.cells}
    assert b"late" not in keys and b"000000" in keys


def test_progress_goes_from_nothing_to_all() -> None:
    clone = started(cells_of(50, 300))
    assert clone.progress == 0.0
    run_to_end(clone)
    assert clone.progress == 1.0
    assert started(Cells()).progress == 1.0
