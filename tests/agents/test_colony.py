"""What a colony's peers do, scenario by scenario."""

from __future__ import annotations

from agents.effects import LinkCameUp, QuorumCameBack, Received, Ticked
from agents.messages.client import (
    ABSENT,
    CONFLICT,
    IF_ABSENT,
    MOVED,
    OK,
    TTL_KEEP,
    UNAVAILABLE,
    Delete,
    Get,
    Patch,
    Put,
    Touch,
)
from agents.messages.replication import Activate, Replicate
from agents.peer import PeerStatus, Role
from agents.surroundings import CensusDecided, CloneOrdered, HandOverOrdered, RetireOrdered
from tests.agents.ward import Ward, pair


def test_a_lone_primary_commits_by_itself() -> None:
    ward = Ward("A")
    number = ward.put("A", b"k", b"v")
    reply = ward.reply(number)
    assert reply is not None and reply.code == OK and reply.version == 1
    assert ward.get("A", b"k").value == b"v"


def test_the_client_is_answered_only_when_the_secondary_has_acked() -> None:
    ward = pair()
    number = ward.put("A", b"k", b"v")
    assert ward.reply(number) is None
    assert ward.get("A", b"k").code == ABSENT, "reads don't see the overlay"
    ward.deliver(only=("A", "B"))
    assert ward.reply(number) is None
    ward.deliver()
    reply = ward.reply(number)
    assert reply is not None and reply.code == OK
    assert ward.peers["B"].peer.cells.live[b"k"][2] == b"v"


def test_nothing_is_committed_without_quorum_and_all_of_it_when_it_is_back() -> None:
    ward = pair()
    number = ward.put("A", b"k", b"v")
    ward.homes["A"].quorum.is_held = False
    ward.deliver()
    assert ward.reply(number) is None
    assert ward.get("A", b"k").code == UNAVAILABLE
    ward.homes["A"].quorum.is_held = True
    ward.tell("A", QuorumCameBack())
    reply = ward.reply(number)
    assert reply is not None and reply.code == OK


def test_a_stale_read_is_answered_without_quorum() -> None:
    ward = pair()
    ward.put("A", b"k", b"v")
    ward.deliver()
    ward.homes["A"].quorum.is_held = False
    ward.ask("A", Get(900, b"k", stale=True))
    reply = ward.reply(900)
    assert reply is not None and reply.value == b"v"


def test_a_retry_of_a_pending_mutation_waits_for_that_one() -> None:
    ward = pair()
    ward.ask("A", Put(1, b"lane", 7, b"k", b"v"))
    ward.ask("A", Put(2, b"lane", 7, b"k", b"v"))
    assert ward.reply(1) is None and ward.reply(2) is None
    ward.deliver()
    first, second = ward.reply(1), ward.reply(2)
    assert first is not None and second is not None and first.version == second.version == 1
    assert ward.peers["A"].peer.last == 1


def test_a_retry_after_a_promotion_is_not_applied_again() -> None:
    ward = pair()
    ward.ask("A", Put(1, b"lane", 7, b"k", b"v"))
    ward.deliver(only=("A", "B"))  # B has it, A dies before its ack
    ward.kill("A")
    assert ward.census("B", "C") == "B"
    ward.deliver()
    ward.ask("B", Put(2, b"lane", 7, b"k", b"v"))
    reply = ward.reply(2)
    assert reply is not None and reply.version == 1
    assert ward.peers["B"].peer.last == 1


def test_a_refusal_that_rests_on_the_overlay_is_answered_when_that_is_committed() -> None:
    ward = pair()
    ward.put("A", b"k", b"first", lane=b"one")
    second = ward.put("A", b"k", b"second", lane=b"two", only_if=IF_ABSENT)
    assert ward.reply(second) is None
    ward.deliver()
    reply = ward.reply(second)
    assert reply is not None and reply.code == CONFLICT and reply.version == 1


def test_a_promoted_peer_serves_only_when_its_tail_is_acked() -> None:
    ward = pair()
    ward.tell("A", CloneOrdered("C", "test"))
    ward.deliver()
    ward.put("A", b"k", b"v")
    ward.deliver(only=("A", "B"))  # C does not get it
    ward.kill("A")
    assert ward.census("B", "C") == "B"
    number = ward.put("B", b"other", b"v", lane=b"two")
    assert not ward.is_open("B") and ward.reply(number) is None
    ward.deliver()
    assert ward.is_open("B")
    assert ward.peers["C"].peer.cells.live[b"k"][2] == b"v"
    assert ward.get("B", b"k").value == b"v"
    reply = ward.reply(number)
    assert reply is not None and reply.code == OK


def test_a_promoted_peer_stays_closed_over_a_further_view() -> None:
    ward = pair()
    ward.tell("A", CloneOrdered("C", "test"))
    ward.deliver()
    ward.put("A", b"k", b"v")
    ward.deliver(only=("A", "B"))
    ward.kill("A")
    ward.census("B", "C")
    ward.install("B", "C")  # the entries sent in the last view are dropped
    assert not ward.is_open("B")
    ward.deliver()
    assert ward.is_open("B") and ward.peers["C"].peer.last == 1


def test_a_clone_carries_cells_lanes_and_what_happens_meanwhile() -> None:
    ward = Ward("A", "B")
    for i in range(3000):
        ward.put("A", b"%d" % i, b"v" * 100)
    ward.tell("A", CloneOrdered("B", "test"))
    for i in range(200):
        ward.deliver(most=3)
        ward.put("A", b"%d" % i, b"w", lane=b"other")
        ward.number += 1
        ward.ask("A", Delete(ward.number, b"dead", ward.number, b"%d" % (2999 - i)))
    ward.deliver()
    a, b = ward.peers["A"].peer, ward.peers["B"].peer
    assert b.status is PeerStatus.ACTIVE and b.last == a.last
    assert b.cells.live == a.cells.live and b.cells.bytes_used == a.cells.bytes_used
    assert {lane: known[:4] for lane, known in b.cells.lanes.items()} == {
        lane: known[:4] for lane, known in a.cells.lanes.items()
    }


def test_the_learner_is_in_the_ack_set_before_it_is_activated() -> None:
    ward = Ward("A", "B")
    ward.tell("A", CloneOrdered("B", "test"))
    while not any(isinstance(m, Activate) for m in ward.queues.get(("A", "B"), ())):
        ward.deliver(most=1)
    primary = ward.peers["A"].primary
    assert primary is not None and "B" in primary.ack_set
    assert ward.status("B") is PeerStatus.LEARNING


def test_unanswered_activate_is_sent_again_before_the_deltas() -> None:
    ward = Ward("A", "B")
    ward.ask("A", Patch(1, b"l", 1, b"s", (("a", b"1"),)))
    ward.tell("A", CloneOrdered("B", "test"))
    while not any(isinstance(m, Activate) for m in ward.queues.get(("A", "B"), ())):
        ward.deliver(most=1)
    ward.ask("A", Patch(2, b"l", 2, b"s", (("b", b"2"),)))
    ward.lose("A", "B")
    ward.tell("B", LinkCameUp("A", 2))
    ward.tell("A", LinkCameUp("B", 2))
    ward.deliver()
    assert ward.status("B") is PeerStatus.ACTIVE
    assert ward.peers["B"].peer.cells.live[b"s"][2] == (("a", b"1"), ("b", b"2"))
    reply = ward.reply(2)
    assert reply is not None and reply.code == OK


def test_a_peer_is_in_the_ack_set_until_it_has_answered_retire() -> None:
    ward = pair()
    ward.tell("A", RetireOrdered("B", "test"))
    primary = ward.peers["A"].primary
    assert primary is not None and "B" in primary.ack_set
    number = ward.put("A", b"k", b"v")
    assert ward.reply(number) is None
    ward.deliver()
    assert "B" not in primary.ack_set and ward.status("B") is PeerStatus.NONE
    reply = ward.reply(number)
    assert reply is not None and reply.code == OK


def test_a_hand_over_waits_for_all_acks_and_passes_requests_on() -> None:
    ward = pair()
    first = ward.put("A", b"k", b"v")
    ward.tell("A", HandOverOrdered("B", "test"))
    second = ward.put("A", b"k2", b"v", lane=b"two")
    assert ward.role("A") is Role.PRIMARY and not ward.is_open("A")
    ward.deliver()
    reply, passed = ward.reply(first), ward.reply(second)
    assert reply is not None and reply.code == OK
    assert passed is not None and passed.code == MOVED and passed.text == "tcp://B"
    assert ward.role("A") is Role.SECONDARY and ward.is_open("B")
    third = ward.put("B", b"k2", b"v", lane=b"two")
    assert ward.reply(third) is None, "the old primary is in the new ack set"
    ward.deliver()
    assert ward.peers["A"].peer.last == 2


def test_an_unanswered_hand_over_is_void_in_the_next_view() -> None:
    ward = pair()
    ward.put("A", b"k", b"v")
    ward.deliver()
    ward.tell("A", HandOverOrdered("B", "test"))
    ward.lose("A", "B")
    heir = ward.census("A", "B", "C")
    ward.deliver()
    leads = [host for host, peer in ward.peers.items() if peer.role is Role.PRIMARY]
    assert leads == [heir] and ward.is_open(heir)
    assert ward.get(heir, b"k").value == b"v"


def test_a_hand_over_is_repeated_when_the_link_is_back() -> None:
    ward = pair()
    ward.tell("A", HandOverOrdered("B", "test"))
    ward.lose("A", "B")
    ward.tell("A", LinkCameUp("B", 2))
    ward.deliver()
    assert ward.is_open("B") and ward.role("A") is Role.SECONDARY


def test_the_census_before_a_hand_over_does_not_undo_it() -> None:
    ward = pair()
    counted = ward.install("A", "B", "C")
    ward.tell("A", HandOverOrdered("B", "test"))
    ward.deliver()
    assert ward.is_open("B")
    seqs = {host: peer.seq for host, peer in counted.items()}
    for host in ("A", "B", "C"):
        ward.tell(host, CensusDecided(counted["A"].epoch, "A", seqs, True))
    ward.deliver()
    assert ward.is_open("B") and ward.role("A") is Role.SECONDARY


def test_dropped_hosts_leave_the_ack_set_at_once() -> None:
    ward = pair()
    number = ward.put("A", b"k", b"v")
    ward.kill("B")
    ward.install("A", "C")
    reply = ward.reply(number)
    assert reply is not None and reply.code == OK


def test_expiry_is_decided_by_the_primary_and_replicated() -> None:
    ward = pair()
    ward.put("A", b"k", b"v", ttl_ms=1000)
    ward.deliver()
    ward.now_s += 1.5
    assert ward.get("A", b"k").code == ABSENT, "past its expiry it is absent at once"
    assert b"k" in ward.peers["B"].peer.cells.live
    ward.tell("A", Ticked())
    ward.deliver()
    assert b"k" not in ward.peers["B"].peer.cells.live and b"k" not in ward.peers["A"].peer.cells.live


def test_promotion_does_not_restart_a_ttl() -> None:
    ward = pair()
    ward.put("A", b"k", b"v", ttl_ms=10_000)
    ward.deliver()
    ward.now_s += 6
    ward.put("A", b"other", b"v", lane=b"two")
    ward.deliver()
    ward.kill("A")
    ward.census("B", "C")
    ward.deliver()
    left_ms = ward.get("B", b"k").ttl_ms
    assert 3900 <= left_ms <= 4000


def test_keep_and_touch_and_plain_put_treat_the_ttl_as_asked() -> None:
    ward = Ward("A")
    ward.put("A", b"k", b"v", ttl_ms=5000)
    ward.put("A", b"k", b"w", ttl_ms=TTL_KEEP)
    assert 0 < ward.get("A", b"k").ttl_ms <= 5000
    ward.ask("A", Touch(800, b"t", 1, b"k", 60_000))
    assert ward.get("A", b"k").ttl_ms > 5000
    ward.put("A", b"k", b"x")
    assert ward.get("A", b"k").ttl_ms == -1


def test_a_secondary_sends_clients_to_the_primary() -> None:
    ward = pair()
    number = ward.put("B", b"k", b"v")
    reply = ward.reply(number)
    assert reply is not None and reply.code == MOVED and reply.text == "tcp://A"


def test_a_message_of_a_lower_epoch_is_refused() -> None:
    ward = pair()
    ward.put("A", b"k", b"old")
    late = next(m for m in ward.queues["A", "B"] if isinstance(m, Replicate))
    ward.queues.clear()
    ward.tell("B", LinkCameUp("A", 2))
    ward.tell("A", LinkCameUp("B", 2))
    ward.deliver()
    ward.tell("A", HandOverOrdered("B", "test"))
    ward.deliver()
    before = ward.peers["A"].peer.last
    ward.tell("A", Received("B", late))
    ward.deliver()
    assert ward.peers["A"].peer.last == before
