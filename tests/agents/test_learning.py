"""A clone at its target: what a learner takes, and when it starts over."""

from __future__ import annotations

from agents.effects import LinkCameUp
from agents.learning import Learner
from agents.messages.client import Patch
from agents.messages.replication import Chunk, CloneStart, Replicate
from agents.peer import Peer, PeerStatus
from agents.surroundings import CloneOrdered
from tests.agents.ward import Home, Ward, a_view


def test_only_the_next_chunk_of_this_attempt_is_taken() -> None:
    peer = Peer(0, Home("B", a_view(1, "A", "B")))
    peer.wipe(PeerStatus.LEARNING)
    peer.epoch = 5
    learner = Learner("A", 2, 100.0)
    start = CloneStart(0, 5, 2, 7, 3.0)
    assert learner.is_meant(peer, "A", start)
    assert not learner.is_meant(peer, "C", start)
    assert not learner.is_meant(peer, "A", CloneStart(0, 5, 1, 7, 3.0)), "an earlier attempt"
    assert not learner.is_meant(peer, "A", CloneStart(0, 6, 2, 7, 3.0)), "another primacy"
    learner.start(peer, start, 101.0)
    assert (peer.last, peer.committed, peer.clock_s(101.0), learner.heard_s) == (7, 7, 3.0, 101.0)
    assert learner.take(peer, Chunk(0, 5, 2, 2, (), (), True), 102.0) is None, "the first is missing"
    assert learner.take(peer, Chunk(0, 5, 2, 1, (), (), False), 102.0) is not None
    assert (learner.started, learner.is_whole) == (True, False)
    assert learner.take(peer, Chunk(0, 5, 2, 2, (), (), True), 103.0) is not None
    assert (learner.is_whole, learner.heard_s) == (True, 103.0)


def test_a_learner_gets_whole_cells_not_deltas() -> None:
    ward = Ward("A", "B")
    ward.ask("A", Patch(1, b"l", 1, b"s", (("a", b"1"), ("b", b"2"))))
    ward.tell("A", CloneOrdered("B", "test"))
    while not any(isinstance(m, Chunk) for m in ward.queues.get(("A", "B"), ())):
        ward.deliver(most=1)
    chunks = [m for m in ward.queues["A", "B"] if isinstance(m, Chunk)]
    ward.ask("A", Patch(2, b"l", 2, b"s", (("b", b"3"),)))
    entries = [m.entries[0] for m in ward.queues["A", "B"] if isinstance(m, Replicate)]
    assert chunks and entries[-1].dna == (("a", b"1"), ("b", b"3"))
    ward.deliver()
    assert ward.peers["B"].peer.cells.live[b"s"][2] == (("a", b"1"), ("b", b"3"))


def test_a_clone_broken_by_a_link_starts_over_from_nothing() -> None:
    ward = Ward("A", "B")
    for i in range(2000):
        ward.put("A", b"%d" % i, b"v" * 100)
    ward.tell("A", CloneOrdered("B", "test"))
    ward.deliver(most=6)
    ward.put("A", b"0", b"new")
    ward.lose("A", "B")
    ward.lose("B", "A")
    ward.tell("B", LinkCameUp("A", 2))
    ward.tell("A", LinkCameUp("B", 2))
    ward.deliver()
    assert ward.peers["B"].peer.cells.live == ward.peers["A"].peer.cells.live


def test_a_learner_whose_primary_is_gone_frees_its_cells() -> None:
    ward = Ward("A", "B")
    for i in range(2000):
        ward.put("A", b"%d" % i, b"v" * 100)
    ward.tell("A", CloneOrdered("B", "test"))
    ward.deliver(most=6)
    assert ward.status("B") is PeerStatus.LEARNING
    ward.kill("A")
    counted = ward.install("B")
    assert ward.status("B") is PeerStatus.NONE and not counted
