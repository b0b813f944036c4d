"""A peer's own state: order, log and status."""

from __future__ import annotations

from typing import Any, cast

import pytest

from agents.messages.replication import PUT, Entry
from agents.peer import PEER_EDGES, Peer, PeerStatus


def a_peer() -> Peer:
    """Return an ACTIVE peer of nobody."""
    peer = Peer(0, cast(Any, None))
    peer.become(PeerStatus.ACTIVE)
    return peer


def entry(seq: int) -> Entry:
    """Return some mutation."""
    return Entry(seq, PUT, b"k", b"%d" % seq, lane=b"l", number=seq)


def test_the_log_keeps_what_is_not_known_to_be_committed() -> None:
    peer = a_peer()
    for seq in (1, 2, 3):
        peer.apply(entry(seq), 0.0)
    peer.commit_to(2)
    assert [e.seq for e in peer.log] == [3] and peer.committed == 2
    peer.commit_to(1)
    assert peer.committed == 2, "it never goes back"
    peer.commit_to(99)
    assert peer.committed == peer.last == 3 and not peer.log, "nor beyond what is here"


def test_entries_out_of_order_are_a_mistake_of_ours() -> None:
    peer = a_peer()
    with pytest.raises(AssertionError):
        peer.apply(entry(2), 0.0)


def test_wiping_frees_everything_and_a_learner_keeps_tombstones() -> None:
    peer = a_peer()
    peer.apply(entry(1), 0.0)
    peer.wipe(PeerStatus.NONE)
    assert not peer.cells.live and not peer.cells.lanes and not peer.log and peer.last == 0
    assert peer.cells.tombs is None
    peer.wipe(PeerStatus.LEARNING)
    assert peer.cells.tombs == {}


def test_the_status_moves_along_its_edges_alone() -> None:
    for before in PeerStatus:
        for then in PeerStatus:
            peer = Peer(0, cast(Any, None))
            peer.status = before
            if (before, then) in PEER_EDGES:
                peer.become(then)
                assert peer.status is then
            else:
                with pytest.raises(AssertionError):
                    peer.become(then)


def test_lanes_are_dated_on_the_colonys_clock_not_the_hosts() -> None:
    peer = a_peer()
    peer.offset_s = -1000.0
    peer.apply(entry(1), 1005.0)
    assert peer.cells.lanes[b"l"][4] == 5.0 and peer.clock_s(1006.0) == 6.0
