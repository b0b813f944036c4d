"""What a primary makes of what its peers say, and of orders."""

from __future__ import annotations

from agents.effects import Effect, Note, Send
from agents.leading import EVENTS, MESSAGES, check_ack_set
from agents.messages.client import OK
from agents.messages.replication import Activated, Missing, Retire
from agents.peer import PeerStatus
from agents.surroundings import Frozen, MigrateOrdered, RetireOrdered
from tests.agents.ward import pair


def test_who_does_not_lead_hears_none_of_it() -> None:
    ward = pair()
    for kind in (Missing(0, ward.peers["B"].epoch, 0), Activated(0, ward.peers["B"].epoch, 1)):
        assert type(kind) in MESSAGES
    assert MigrateOrdered in EVENTS
    ward.tell("B", RetireOrdered("A", "test"))
    ward.tell("B", Frozen())
    assert not [m for queue in ward.queues.values() for m in queue if isinstance(m, Retire)]


def test_the_census_finds_who_is_no_peer_any_more_and_who_should_be_none() -> None:
    ward = pair()
    primary = ward.peers["A"].primary
    assert primary is not None
    out: list[Effect] = []
    check_ack_set(primary, frozenset(), {"C": 0}, ward.now_s, out)
    assert [e.kind for e in out if isinstance(e, Note)] == ["alarm"], "B came since: no census knows it"
    assert [e.to for e in out if isinstance(e, Send) and isinstance(e.message, Retire)] == ["C"]
    out.clear()
    check_ack_set(primary, frozenset({"B"}), {}, ward.now_s, out)
    assert [e.to for e in out if isinstance(e, Send) and isinstance(e.message, Retire)] == ["B"]
    assert "B" in primary.ack_set, "until it has answered"


def test_a_gap_is_asked_for() -> None:
    ward = pair()
    first = ward.put("A", b"a", b"1")
    ward.queues["A", "B"].popleft()
    second = ward.put("A", b"b", b"2", lane=b"two")
    ward.deliver()
    replies = [ward.reply(first), ward.reply(second)]
    assert all(reply is not None and reply.code == OK for reply in replies)
    assert ward.peers["B"].peer.last == 2


def test_an_unanswered_retire_is_sent_again_in_the_next_view() -> None:
    ward = pair()
    ward.tell("A", RetireOrdered("B", "test"))
    ward.census("A", "B", "C")
    assert any(isinstance(m, Retire) for m in ward.queues["A", "B"])
    ward.deliver()
    assert ward.status("B") is PeerStatus.NONE
