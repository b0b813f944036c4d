"""The snapshot's format: all of it comes back, or it is said what does not."""

from __future__ import annotations

import random
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.cells import Cell
from agents.messages.replication import AWAY
from agents.places import Place
from agents.snapshot import (
    MAGIC,
    MARK,
    Copy,
    Head,
    Held,
    Lanes,
    Loaded,
    Mark,
    Part,
    SnapshotRefused,
    decode_mark,
    decoded,
    encode_mark,
    encoded,
    section,
)

TAG = "t" * 32
KEY = b"k" * 16


def a_copy(colony: int, cells: int = 3, seq: int = 9) -> Copy:
    """Return a peer with some cells, one of them with attributes, and a lane."""
    live: dict[bytes, Cell] = {b"c%d/%d" % (colony, n): (n + 1, 50.0 * n, b"dna" * n) for n in range(cells)}
    mapping: dict[bytes, Cell] = {b"m%d" % colony: (seq, 0.0, (("cart", b"1"), ("name", b"x")))}
    lanes: Lanes = {b"lane": (7, seq, 0, b"result", 12.5, b"")}
    return Copy(Held(colony, 1 << 16, seq, 100.0 + colony), {**live, **mapping}, lanes)


def bytes_of(*copies: Copy, stop: str = "s") -> bytes:
    """Return the bytes of a snapshot."""
    head = Head(TAG, stop, 5, "h" * 32, "h1", (("h" * 32, "h1"),), tuple(c.held for c in copies), 1.5, KEY)
    return b"".join(encoded(head, copies))


def same(loaded: Loaded, *copies: Copy) -> bool:
    """Return whether exactly these copies came back."""
    if loaded.kept.keys() != {copy.held.colony for copy in copies}:
        return False
    for copy in copies:
        kept = loaded.kept[copy.held.colony]
        if (kept.held, kept.cells.live, kept.cells.lanes) != (copy.held, copy.live, copy.lanes):
            return False
    return True


def test_cells_attributes_lanes_and_clocks_come_back() -> None:
    copies = (
        a_copy(0),
        a_copy(3, cells=0),
        Copy(Held(9, 2, 0, 1.0), {}, {}, {b"away": Place(AWAY, 3, 7, 8, 9)}),
    )
    loaded = decoded(bytes_of(*copies))
    assert same(loaded, *copies) and loaded.damaged == ()
    assert (loaded.head.tag, loaded.head.stop, loaded.head.view, loaded.head.wall_s) == (TAG, "s", 5, 1.5)
    assert loaded.kept[0].cells.bytes_used > 0
    assert (
        loaded.kept[9].cells.places == {b"away": Place(AWAY, 3, 7, 8, 9)} and not loaded.kept[0].cells.places
    )
    assert not loaded.is_clean, "bytes alone never say that a stop came to its end"


def test_a_large_colony_comes_in_parts_of_bounded_size() -> None:
    live: dict[bytes, Cell] = {b"k%d" % n: (n + 1, 0.0, b"x" * 100_000) for n in range(50)}
    copy = Copy(Held(1, 1, 50, 0.0), live, {})
    head = Head(TAG, "s", 5, "h", "h1", (), (copy.held,), key=KEY)
    pieces = list(encoded(head, [copy]))
    assert len(pieces) > 4 and max(map(len, pieces)) < 1_400_000
    assert same(decoded(b"".join(pieces)), copy)


def test_damage_costs_the_colony_it_hit_and_no_other() -> None:
    copies = [a_copy(colony) for colony in range(4)]
    data = bytearray(bytes_of(*copies))
    data[data.index(b"c2/1")] ^= 1
    loaded = decoded(bytes(data))
    assert loaded.damaged == (2,) and same(loaded, copies[0], copies[1], copies[3])


def test_a_length_that_lies_costs_no_more_than_its_colony() -> None:
    copies = [a_copy(colony) for colony in range(3)]
    data = bytearray(bytes_of(*copies))
    first = data.index(MARK, data.index(MARK) + 1)
    data[first + len(MARK)] = 0xFF
    assert decoded(bytes(data)).kept.keys() == {1, 2}


def test_a_torn_file_brings_back_what_stands_before_the_tear() -> None:
    copies = [a_copy(colony) for colony in range(3)]
    data = bytes_of(*copies)
    loaded = decoded(data[: data.index(b"c2/1")])
    assert loaded.damaged == (2,) and same(loaded, copies[0], copies[1])


def test_a_part_that_is_missing_in_the_middle_is_no_whole_colony() -> None:
    live: dict[bytes, Cell] = {b"k%d" % n: (n + 1, 0.0, b"x" * 600_000) for n in range(6)}
    copy = Copy(Held(1, 1, 6, 0.0), live, {})
    pieces = list(encoded(Head(TAG, "s", 5, "h", "h1", (), (copy.held,), key=KEY), [copy]))
    del pieces[2]
    assert decoded(b"".join(pieces)).damaged == (1,)


@pytest.mark.parametrize("data", [b"", b"COLONY RECORD 1\n", MAGIC, MAGIC + section(b"\xc1"), bytes(100)])
def test_what_is_no_snapshot_is_refused(data: bytes) -> None:
    with pytest.raises(SnapshotRefused):
        decoded(data)


def test_a_damaged_head_is_refused() -> None:
    data = bytearray(bytes_of(a_copy(0)))
    data[data.index(TAG.encode())] ^= 1
    with pytest.raises(SnapshotRefused, match="damaged"):
        decoded(bytes(data))


def test_a_section_inside_a_value_is_no_section_even_when_its_own_is_damaged() -> None:
    forged = section(msgspec.msgpack.encode(Part(1, 1, True)))
    holds = Copy(Held(0, 1, 2, 0.0), {b"a": (2, 0.0, forged)}, {})
    data = bytearray(bytes_of(holds, Copy(Held(1, 1, 5, 0.0), {b"b": (5, 0.0, b"true")}, {})))
    data[data.index(forged) - 3] ^= 1
    loaded = decoded(bytes(data))
    assert loaded.damaged == (0,) and loaded.kept[1].cells.live == {b"b": (5, 0.0, b"true")}


dna = st.binary(max_size=40) | st.lists(
    st.tuples(st.text(max_size=5), st.binary(max_size=9)), max_size=3
).map(lambda items: tuple(sorted(dict(items).items())))
live = st.dictionaries(
    st.binary(min_size=1, max_size=12), st.tuples(st.integers(1, 1 << 60), st.floats(0, 1e9), dna), max_size=8
)


@settings(max_examples=60, deadline=None)
@given(st.lists(live, max_size=5), st.randoms(use_true_random=False))
def test_whatever_is_flipped_what_comes_back_is_true(
    lives: list[dict[bytes, object]], chance: random.Random
) -> None:
    copies = [Copy(Held(n, 1, 1, 0.0), cells, {}) for n, cells in enumerate(lives)]  # type: ignore[arg-type]
    data = bytearray(bytes_of(*copies))
    assert same(decoded(bytes(data)), *copies)
    for _ in range(chance.randint(1, 4)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    try:
        loaded = decoded(bytes(data))
    except SnapshotRefused:
        return
    for colony, kept in loaded.kept.items():
        assert kept.cells.live == copies[colony].live
    assert set(loaded.damaged) | loaded.kept.keys() == set(range(len(copies)))


def test_a_mark_names_one_stop_or_nothing() -> None:
    mark = Mark(TAG, "s", 5)
    data = encode_mark(mark)
    assert decode_mark(data) == mark
    for bad in (b"", data[:-1], data[:-1] + bytes([data[-1] ^ 1]), MAGIC + section(b"\xc1"), b"x" + data):
        assert decode_mark(bad) is None


def test_a_loaded_snapshot_is_a_value() -> None:
    loaded = decoded(bytes_of(a_copy(0)))
    assert replace(loaded, is_clean=True).is_clean and not loaded.is_clean
