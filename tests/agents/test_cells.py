"""What entries do to cells, and what a cloned or full table keeps."""

from __future__ import annotations

import pytest

from agents.cells import (
    BATCH_BYTES,
    CELL_OVERHEAD_BYTES,
    LANE_KEEP_S,
    Cells,
    after,
    batches,
    cell_bytes,
    dna_bytes,
    patched,
    whole,
)
from agents.messages.replication import (
    ARRIVING,
    DEATH,
    EXPIRED,
    PATCH,
    PUT,
    TAKE,
    TOUCH,
    CellState,
    Entry,
    LaneState,
    Placing,
)


def put(seq: int, key: bytes = b"k", dna: bytes = b"v", **more: object) -> Entry:
    """Return a PUT."""
    return Entry(seq, PUT, key, dna, **more)  # type: ignore[arg-type]


def test_each_kind_of_entry_leaves_the_cell_it_should() -> None:
    old = (1, 5.0, (("a", b"1"), ("b", b"2")))
    assert after(put(2), old) == (2, 0.0, b"v")
    assert after(Entry(2, DEATH, b"k"), old) is None
    assert after(Entry(2, EXPIRED, b"k"), old) is None
    assert after(Entry(2, TOUCH, b"k", expires_s=9.0), old) == (2, 9.0, old[2])
    changed = Entry(2, PATCH, b"k", (("c", b"3"), ("a", b"9")), ("b",), 7.0)
    assert after(changed, old) == (2, 7.0, (("a", b"9"), ("c", b"3")))


def test_a_patch_of_nothing_is_a_birth_and_attributes_are_sorted() -> None:
    assert patched(None, (("z", b"1"), ("a", b"2")), ()) == (("a", b"2"), ("z", b"1"))
    assert patched(b"plain", None, ("x",)) == ()


def test_a_learner_sees_deltas_as_whole_cells_and_deaths_as_deaths() -> None:
    delta = Entry(2, PATCH, b"k", (("a", b"9"),), (), 7.0, b"lane", 3, 0)
    seen = whole(delta, (2, 7.0, (("a", b"9"), ("b", b"2"))))
    assert seen == Entry(2, PUT, b"k", (("a", b"9"), ("b", b"2")), (), 7.0, b"lane", 3)
    assert whole(Entry(3, DEATH, b"k"), None).kind == DEATH
    assert whole(put(4), (4, 0.0, b"v")).dna == b"v"


def test_bytes_used_follow_every_change() -> None:
    cells = Cells()
    cells.apply(put(1, dna=b"x" * 100), 0.0)
    assert cells.bytes_used == 1 + 100 + CELL_OVERHEAD_BYTES
    cells.apply(put(2, dna=b"x"), 0.0)
    assert cells.bytes_used == cell_bytes(b"k", cells.live[b"k"])
    cells.apply(Entry(3, DEATH, b"k"), 0.0)
    assert cells.bytes_used == 0 and not cells.live
    assert dna_bytes((("ab", b"123"),)) == 2 + 3 + 16


def test_a_snapshot_never_overwrites_what_is_newer() -> None:
    cells = Cells()
    cells.clear(learning=True)
    cells.apply(put(5, dna=b"new"), 0.0)
    cells.adopt(CellState(b"k", 4, 0.0, b"old"))
    assert cells.live[b"k"] == (5, 0.0, b"new")
    cells.adopt(CellState(b"other", 4, 0.0, b"old"))
    assert cells.live[b"other"] == (4, 0.0, b"old")


def test_a_cell_that_died_while_learning_does_not_come_back_by_the_snapshot() -> None:
    cells = Cells()
    cells.clear(learning=True)
    cells.apply(Entry(5, DEATH, b"k"), 0.0)
    cells.adopt(CellState(b"k", 4, 0.0, b"old"))
    assert b"k" not in cells.live
    cells.apply(put(6), 0.0)
    assert b"k" in cells.live and cells.tombs == {}
    cells.end_learning()
    assert cells.tombs is None


def test_a_cloned_lane_never_replaces_a_later_number() -> None:
    cells = Cells()
    cells.clear(learning=True)
    cells.apply(put(5, lane=b"l", number=7), 1.0)
    cells.adopt_lane(LaneState(b"l", 6, 3, 0, None, 0.5))
    assert cells.lanes[b"l"][0] == 7
    cells.adopt_lane(LaneState(b"m", 1, 2, 0, b"r", 0.5))
    assert cells.lanes[b"m"] == (1, 2, 0, b"r", 0.5, b"")


def test_idle_lanes_are_forgotten_and_used_ones_are_kept() -> None:
    cells = Cells()
    cells.apply(put(1, lane=b"idle", number=1), 0.0)
    cells.apply(put(2, lane=b"used", number=1), 0.0)
    cells.apply(put(3, lane=b"used", number=2), LANE_KEEP_S - 1)
    assert cells.forget_lanes(LANE_KEEP_S + 1) == 1
    assert list(cells.lanes) == [b"used"]


def test_over_the_bound_the_oldest_lanes_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.cells.LANES_MAX", 80)
    cells = Cells()
    for seq in range(1, 2001):
        cells.apply(put(seq, lane=b"%d" % seq, number=1), 1.0)
        assert len(cells.lanes) <= 80
    assert b"2000" in cells.lanes and b"1" not in cells.lanes


def test_lanes_that_come_with_a_cell_are_held_to_the_bound_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next cell that leaves takes more of them along than any host accepts, for ever."""
    monkeypatch.setattr("agents.cells.LANES_MAX", 80)
    cells = Cells()
    for seq in range(1, 81):
        cells.apply(put(seq, lane=b"%d" % seq, number=1), 1.0)
    lanes = tuple([LaneState(b"far %d" % n, 1, 0, 0, None, 1.0) for n in range(60)])
    cells.apply(Entry(81, TAKE, b"k", b"v", move=Placing(ARRIVING, 1, 1, 1, 1, 80, lanes)), 2.0)
    assert len(cells.lanes) <= 80 and {lane.lane for lane in lanes} <= cells.lanes.keys()


@pytest.mark.parametrize(
    ("entry", "fits"),
    [
        (put(1), True),
        (Entry(1, PUT, b"k"), False),
        (Entry(1, TOUCH, b"k"), False),
        (Entry(1, TOUCH, b"there"), True),
        (Entry(1, DEATH, b"k"), True),
        (Entry(1, PATCH, b"k", (("a", b"1"),)), True),
        (Entry(1, 17, b"k", b"v"), False),
    ],
)
def test_only_entries_that_make_sense_fit(entry: Entry, fits: bool) -> None:
    cells = Cells()
    cells.put(b"there", (1, 0.0, b"v"))
    assert cells.fits(entry) is fits


def test_batches_keep_order_and_stay_below_what_a_frame_carries() -> None:
    entries = [put(i, dna=b"x" * (BATCH_BYTES // 3)) for i in range(1, 12)]
    made = list(batches(entries))
    assert [entry for batch in made for entry in batch] == entries
    assert len(made) > 2 and all(len(batch) <= 3 for batch in made)
    assert list(batches([])) == []
