"""Chunks of clones that wait for their turn."""

from __future__ import annotations

import pytest

from agents.bulk import BUSY_BYTES_S, BUSY_FOR_S, CALM_CHUNKS, LATE_S, Bulk, weight
from agents.messages.replication import CellState, Chunk

CELLS = tuple(CellState(b"k%d" % number, 1, 0.0, bytes(1024)) for number in range(64))


def chunk(number: int) -> Chunk:
    """Return a chunk of 64 cells of 1 KiB."""
    return Chunk(0, 1, 1, number, CELLS, (), False)


@pytest.fixture
def bulk() -> Bulk:
    """Return two hundred chunks that wait: more than may be made up for."""
    made = Bulk()
    for number in range(1, 201):
        made.put("b", chunk(number))
    return made


def test_where_nobody_asks_each_turn_sends_some_in_order(bulk: Bulk) -> None:
    numbers = [told.number for _ in range(50) for _, told in bulk.take(7.0)]
    assert numbers == list(range(1, 201)) and CALM_CHUNKS * 50 == 200
    assert not bulk and bulk.take(8.0) == [] and bulk.due_s() == float("inf")


def test_beside_clients_they_leave_one_by_one_at_a_bounded_rate(bulk: Bulk) -> None:
    now_s, sent, turns = 7.0, 0, 0
    while bulk:
        bulk.asked_s = now_s
        sent += sum(weight(told) for _, told in bulk.take(now_s))
        turns += 1
        now_s = max(now_s, bulk.due_s()) if bulk else now_s
    assert turns == 200
    took_s = now_s - 7.0 + LATE_S
    assert 0.9 * BUSY_BYTES_S < sent / took_s < 1.1 * BUSY_BYTES_S


def test_a_late_turn_is_followed_by_no_burst(bulk: Bulk) -> None:
    bulk.asked_s = 7.0
    bulk.take(7.0)
    bulk.asked_s = 9.0
    burst = 0
    while bulk.take(9.0):
        burst += 1
    assert 1 <= burst <= 1 + LATE_S * BUSY_BYTES_S / weight(chunk(1)) + 1


def test_when_the_clients_are_gone_it_is_calm_again(bulk: Bulk) -> None:
    bulk.asked_s = 7.0
    while bulk.take(7.0):
        pass
    assert bulk.due_s() > 7.0
    assert len(bulk.take(7.0001 + BUSY_FOR_S)) == CALM_CHUNKS
    bulk.clear()
    assert not bulk
