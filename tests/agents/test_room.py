"""How many more clones may leave."""

from __future__ import annotations

from agents.room import CLONE_BYTES_MAX, room_beside
from agents.surroundings import CloneOrdered
from tests.agents.ward import Ward


def test_clones_share_what_may_be_under_way_and_one_alone_may_be_of_any_size() -> None:
    room = room_beside([], 3)
    assert room.fits(100 * CLONE_BYTES_MAX)
    room.take(CLONE_BYTES_MAX - 10)
    assert room.fits(10) and not room.fits(11)
    room.take(10)
    assert room.fits(0) and not room.fits(1)
    room.take(0)
    assert not room.fits(0), "there are three"


def test_what_is_under_way_counts() -> None:
    ward = Ward("A", "B", "C")
    ward.put("A", b"k", b"v" * 1000)
    ward.tell("A", CloneOrdered("B", "test"))
    primary = ward.peers["A"].primary
    assert primary is not None
    while not primary.transfers.clones["B"].started:
        ward.deliver(most=1)
    room = room_beside([primary], 3)
    assert room.clones == 2 and CLONE_BYTES_MAX - 2000 < room.bytes_left < CLONE_BYTES_MAX - 1000
