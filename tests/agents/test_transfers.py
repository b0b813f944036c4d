"""Clone, activate, retire and hand over, at the primary, step by step."""

from __future__ import annotations

from agents.effects import Effect, Note, Send, TellHost
from agents.messages.client import Put
from agents.messages.replication import (
    Activate,
    Chunk,
    CloneAnswer,
    CloneAsk,
    CloneStart,
    Entry,
    HandOver,
    Replicate,
    Retire,
)
from agents.pace import Pace
from agents.peer import PeerStatus
from agents.primary import Primary
from agents.surroundings import CloneOrdered, MoveRefused
from agents.transfers import (
    activated,
    cancel_hand_over,
    chunk_acked,
    clone_answered,
    finish_clones,
    give_up_the_silent,
    hand_over_if_drained,
    link_up,
    order_clone,
    order_hand_over,
    order_retire,
    retired,
    view_installed,
)
from agents.views import epoch_in, epoch_view
from tests.agents.test_primary import NOW_S, a_primary, ack, ask
from tests.agents.ward import pair


def kinds(out: list[Effect], to: str = "") -> list[type]:
    """Return the kinds of messages that are sent (to one host, or to all)."""
    return [type(e.message) for e in out if isinstance(e, Send) and to in ("", e.to)]


def refused(out: list[Effect]) -> list[str]:
    """Return the targets of moves that did not come about."""
    return [e.event.target for e in out if isinstance(e, TellHost) and isinstance(e.event, MoveRefused)]


def ordered(primary: Primary, target: str = "C") -> int:
    """Order a clone; return its number."""
    order_clone(primary, CloneOrdered(target, "test"), NOW_S, [])
    return primary.transfers.clones[target].number


def cloned(primary: Primary, target: str = "C") -> int:
    """Bring a clone up to `activate`; return its number."""
    number = ordered(primary, target)
    out: list[Effect] = []
    clone_answered(primary, target, CloneAnswer(0, 5, number, True), NOW_S, out)
    chunk_acked(primary, target, number, 1, NOW_S, out)
    assert Activate in kinds(out, target)
    return number


def test_a_clone_is_asked_for_once_and_never_of_a_peer() -> None:
    primary = a_primary("B")
    out: list[Effect] = []
    order_clone(primary, CloneOrdered("C", "test"), NOW_S, out)
    order_clone(primary, CloneOrdered("C", "test"), NOW_S, out)
    order_clone(primary, CloneOrdered("B", "test"), NOW_S, out)
    assert kinds(out) == [CloneAsk]


def test_nothing_is_streamed_before_the_target_has_agreed() -> None:
    primary = a_primary("B")
    number = ordered(primary)
    assert not kinds(ask(primary, Put(1, b"l", 1, b"k", b"v")), "C")
    out: list[Effect] = []
    clone_answered(primary, "C", CloneAnswer(0, 5, number, True), NOW_S, out)
    assert kinds(out, "C") == [CloneStart, Replicate, Chunk]
    assert kinds(ask(primary, Put(2, b"l", 2, b"k", b"v")), "C") == [Replicate]


def test_answers_of_another_attempt_or_a_second_time_mean_nothing() -> None:
    primary = a_primary("B")
    number = ordered(primary)
    out: list[Effect] = []
    clone_answered(primary, "C", CloneAnswer(0, 5, number + 1, True), NOW_S, out)
    clone_answered(primary, "X", CloneAnswer(0, 5, number, True), NOW_S, out)
    assert out == []
    clone_answered(primary, "C", CloneAnswer(0, 5, number, True), NOW_S, [])
    clone_answered(primary, "C", CloneAnswer(0, 5, number, False, "late"), NOW_S, out)
    assert out == [] and "C" in primary.transfers.clones


def test_a_target_that_refuses_is_reported_and_forgotten() -> None:
    primary = a_primary("B")
    number = ordered(primary)
    out: list[Effect] = []
    clone_answered(primary, "C", CloneAnswer(0, 5, number, False, "is full"), NOW_S, out)
    assert refused(out) == ["C"] and not primary.transfers.clones and not kinds(out)
    assert any(isinstance(e, Note) and "is full" in e.reason for e in out)


def test_a_complete_learner_enters_the_ack_set_before_activate_is_said() -> None:
    primary = a_primary("B")
    number = cloned(primary)
    assert primary.ack_set["C"] == 0 and primary.transfers.activating == {"C": number}
    assert primary.transfers.under_way, "no hand-over meanwhile"
    assert not activated(primary, "C", number + 1, []) and not activated(primary, "X", number, [])
    assert activated(primary, "C", number, [])
    assert not activated(primary, "C", number, []), "once"
    assert not primary.transfers.under_way


def test_a_learner_that_lacks_committed_mutations_is_not_complete() -> None:
    primary = a_primary()
    number = ordered(primary)
    clone_answered(primary, "C", CloneAnswer(0, 5, number, True), NOW_S, [])
    ask(primary, Put(1, b"l", 1, b"k", b"v"))  # committed at once: nobody else must ack
    out: list[Effect] = []
    chunk_acked(primary, "C", number, 1, NOW_S, out)
    assert not kinds(out) and "C" not in primary.ack_set
    ack(primary, "C", 1)
    finish_clones(primary, out)
    assert kinds(out) == [Activate] and primary.ack_set == {"C": 1}


def test_a_peer_stays_in_the_ack_set_until_it_says_that_it_is_gone() -> None:
    primary = a_primary("B", "C")
    out: list[Effect] = []
    order_retire(primary, "C", "test", NOW_S, out)
    order_retire(primary, "C", "test", NOW_S, out)
    order_retire(primary, "X", "test", NOW_S, out)
    assert kinds(out) == [Retire] and set(primary.ack_set) == {"B", "C"}
    ask(primary, Put(1, b"l", 1, b"k", b"v"))
    ack(primary, "B", 1)
    assert primary.peer.committed == 0
    assert retired(primary, "C", NOW_S, out)
    assert set(primary.ack_set) == {"B"} and primary.peer.committed == 1
    assert not retired(primary, "C", NOW_S, out)


def test_a_hand_over_begins_only_when_nothing_else_is_under_way() -> None:
    primary = a_primary("B", "C")
    assert not order_hand_over(primary, "X", "test", NOW_S, [])
    ordered(primary, "D")
    assert not order_hand_over(primary, "B", "test", NOW_S, [])
    primary.transfers.clones.clear()
    order_retire(primary, "C", "test", NOW_S, [])
    assert not order_hand_over(primary, "B", "test", NOW_S, [])
    retired(primary, "C", NOW_S, [])
    assert order_hand_over(primary, "B", "test", NOW_S, [])
    assert not order_hand_over(primary, "B", "test", NOW_S, [])
    out: list[Effect] = []
    order_clone(primary, CloneOrdered("D", "test"), NOW_S, out)
    order_retire(primary, "B", "test", NOW_S, out)
    assert not kinds(out), "and nothing else begins meanwhile"


def test_the_last_epoch_of_a_view_is_not_handed_over() -> None:
    primary = a_primary("B")
    primary.peer.epoch = epoch_in(9, 65_534)
    assert order_hand_over(primary, "B", "test", NOW_S, [])
    message = hand_over_if_drained(primary, 9, NOW_S, [])
    assert message is not None and epoch_view(message.epoch) == 9
    primary = a_primary("B")
    primary.peer.epoch = epoch_in(9, 65_535)
    assert not order_hand_over(primary, "B", "test", NOW_S, [])


def test_it_is_sent_when_all_is_committed_under_a_later_epoch_with_everybody_in_it() -> None:
    primary = a_primary("B", "C")
    ask(primary, Put(1, b"l", 1, b"k", b"v"))
    order_hand_over(primary, "B", "test", NOW_S, [])
    view = 9
    assert hand_over_if_drained(primary, view, NOW_S, []) is None
    ack(primary, "B", 1)
    ack(primary, "C", 1)
    out: list[Effect] = []
    message = hand_over_if_drained(primary, view, NOW_S, out)
    assert message is not None and kinds(out, "B") == [HandOver]
    assert set(message.ack_set) == {"A", "C"} and message.seq == 1
    assert message.epoch > primary.peer.epoch and epoch_view(message.epoch) == view


def test_without_quorum_it_is_not_sent() -> None:
    primary = a_primary("B")
    order_hand_over(primary, "B", "test", NOW_S, [])
    primary.peer.host.quorum.is_held = False  # type: ignore[attr-defined]
    assert hand_over_if_drained(primary, 9, NOW_S, []) is None


def test_a_hand_over_that_is_given_up_takes_what_waited() -> None:
    primary = a_primary("B")
    order_hand_over(primary, "B", "test", NOW_S, [])
    assert not ask(primary, Put(1, b"l", 1, b"k", b"v"))
    out: list[Effect] = []
    cancel_hand_over(primary, "test", NOW_S, out)
    cancel_hand_over(primary, "test", NOW_S, out)
    assert kinds(out) == [Replicate] and primary.transfers.handing is None


def test_the_silent_are_given_up_in_time_and_not_before() -> None:
    primary = a_primary("B")
    limits = primary.peer.host.limits
    ordered(primary)
    out: list[Effect] = []
    give_up_the_silent(primary, NOW_S + limits.clone_patience_s, out)
    assert not out
    give_up_the_silent(primary, NOW_S + limits.clone_patience_s + 0.1, out)
    assert refused(out) == ["C"] and kinds(out, "C") == [Retire], "it may have begun to learn"
    order_hand_over(primary, "B", "test", NOW_S, [])
    out = []
    give_up_the_silent(primary, NOW_S + limits.hand_over_patience_s + 0.1, out)
    assert refused(out) == ["B"] and primary.transfers.handing is None


# -- faults ---------------------------------------------------------------------------


def test_after_a_link_reset_all_that_is_unanswered_is_said_again_in_order() -> None:
    primary = a_primary("B")
    cloned(primary)
    ask(primary, Put(1, b"l", 1, b"k", b"v"))
    order_retire(primary, "C", "test", NOW_S, [])
    out: list[Effect] = []
    link_up(primary, "C", NOW_S, out)
    assert kinds(out, "C") == [Activate, Replicate, Retire], "activate before the deltas that follow it"
    link_up(primary, "stranger", NOW_S, out)
    assert not kinds(out, "stranger")


def test_after_a_link_reset_a_clone_starts_over_under_a_new_number() -> None:
    primary = a_primary("B")
    number = ordered(primary)
    clone_answered(primary, "C", CloneAnswer(0, 5, number, True), NOW_S, [])
    out: list[Effect] = []
    link_up(primary, "C", NOW_S, out)
    clone = primary.transfers.clones["C"]
    assert clone.number > number and not clone.started and kinds(out) == [CloneAsk]


def test_a_peer_that_has_acked_everything_is_not_bothered() -> None:
    primary = a_primary("B")
    ask(primary, Put(1, b"l", 1, b"k", b"v"))
    ack(primary, "B", 1)
    out: list[Effect] = []
    link_up(primary, "B", NOW_S, out)
    assert not kinds(out)


def test_a_view_drops_the_dropped_from_everything() -> None:
    primary = a_primary("B", "C")
    cloned(primary, "D")
    ordered(primary, "E")
    order_retire(primary, "C", "test", NOW_S, [])
    ask(primary, Put(1, b"l", 1, b"k", b"v"))
    out: list[Effect] = []
    view_installed(primary, frozenset("A"), NOW_S, out)
    assert not primary.ack_set and not primary.transfers.under_way and not kinds(out)
    assert primary.peer.committed == 1, "it waits for nobody else"


def test_a_view_makes_an_open_primary_repeat_what_is_unanswered() -> None:
    primary = a_primary("B", "C")
    ordered(primary, "D")
    ask(primary, Put(1, b"l", 1, b"k", b"v"))
    ack(primary, "B", 1)
    out: list[Effect] = []
    view_installed(primary, frozenset("ABCD"), NOW_S, out)
    assert kinds(out, "C") == [Replicate] and kinds(out, "D") == [CloneAsk] and not kinds(out, "B")
    assert primary.ack_set == {"B": 1, "C": 0}


def test_a_closed_primary_must_hear_every_ack_again_in_the_new_view() -> None:
    primary = a_primary("B", "C", log=(Entry(1, 0, b"k", b"tail"),))
    ack(primary, "B", 1)
    out: list[Effect] = []
    view_installed(primary, frozenset("ABC"), NOW_S, out)
    assert kinds(out, "B") == kinds(out, "C") == [Replicate] and not primary.is_open
    ack(primary, "C", 1)
    assert not primary.is_open
    ack(primary, "B", 1)
    assert primary.is_open


# -- what gets stuck -----------------------------------------------------------


def test_a_clone_that_trickles_is_given_up_at_its_deadline_and_its_target_left_alone() -> None:
    primary = a_primary("B")
    out: list[Effect] = []
    number, limits = ordered(primary), primary.peer.host.limits
    clone = primary.transfers.clones["C"]
    clone_answered(primary, "C", CloneAnswer(0, 5, number, True), NOW_S, out)
    clone.bytes_whole = 8 << 20
    end_s = clone.deadline_s(limits)
    assert end_s == NOW_S + limits.clone_deadline_s + 8
    clone.touched_s = end_s  # it says something all the time
    give_up_the_silent(primary, end_s, out)
    assert refused(out) == []
    out.clear()
    give_up_the_silent(primary, end_s + 0.1, out)
    assert kinds(out, "C") == [Retire] and primary.transfers.clones == {} and "C" not in primary.ack_set
    (event,) = [e.event for e in out if isinstance(e, TellHost)]
    assert isinstance(event, MoveRefused) and event.rest_s > 1 and event.reason.startswith("stuck: 0%")


def test_a_new_peer_that_never_says_that_it_is_active_goes_again_in_an_orderly_way() -> None:
    primary = a_primary("B")
    number, patience_s = cloned(primary), primary.peer.host.limits.clone_patience_s
    out: list[Effect] = []
    give_up_the_silent(primary, NOW_S + patience_s, out)
    assert out == []
    give_up_the_silent(primary, NOW_S + patience_s + 0.1, out)
    assert kinds(out) == [Retire] and refused(out) == ["C"]
    assert "C" in primary.ack_set, "it may hold what is committed: it stays until it says that it has gone"
    again: list[Effect] = []
    give_up_the_silent(primary, NOW_S + patience_s + 0.2, again)
    assert again == [], "once is enough"
    assert activated(primary, "C", number, again) and retired(primary, "C", NOW_S, again)
    assert "C" not in primary.ack_set and primary.transfers.told_s == {}


def test_who_does_not_say_that_it_has_gone_is_asked_again_and_noted_once() -> None:
    primary = a_primary("B", "C")
    patience_s = primary.peer.host.limits.clone_patience_s
    order_retire(primary, "C", "test", NOW_S, [])
    out: list[Effect] = []
    for times in range(1, 4):
        give_up_the_silent(primary, NOW_S + times * (patience_s + 0.1), out)
    assert kinds(out) == [Retire] * 3 and "C" in primary.ack_set
    assert [note.details for note in out if isinstance(note, Note)] == [{"step": "again"}]
    assert retired(primary, "C", NOW_S, out) and primary.transfers.stuck == set()


# -- the pace ------------------------------------------------------------------


def test_no_more_bytes_leave_than_the_pace_allows_and_nobody_is_blamed_for_it() -> None:
    primary = a_primary("B")
    for n in range(20):
        primary.peer.cells.live[b"%d" % n] = (n + 1, 0.0, b"x" * 60_000)
    primary.peer.host.pace = Pace(200_000)
    number = ordered(primary)
    out: list[Effect] = []
    clone_answered(primary, "C", CloneAnswer(0, 5, number, True), NOW_S, out)
    assert kinds(out, "C").count(Chunk) == 1, "a quarter of a second's bytes, and the chunk that goes over it"
    sent, now_s = 1, NOW_S
    while "C" in primary.transfers.clones and now_s < NOW_S + 60:
        now_s += 0.25
        chunk_acked(primary, "C", number, sent, now_s, out)
        give_up_the_silent(primary, now_s, out)
        sent = kinds(out, "C").count(Chunk)
    assert refused(out) == [] and "C" in primary.ack_set
    assert 1_200_000 / 200_000 - 1.5 < now_s - NOW_S < 1_200_000 / 200_000 + 1.5


def test_a_move_waits_while_a_colony_that_lacks_a_peer_is_cloned() -> None:
    pace = Pace(1000)
    assert pace.allows(0.0, is_urgent=False)
    pace.spend(300)
    assert not pace.allows(0.0, is_urgent=True) and not pace.allows(0.01, is_urgent=True)
    assert pace.allows(0.3, is_urgent=True) and not pace.allows(0.3, is_urgent=False)
    assert not pace.allows(1.2, is_urgent=False) and pace.allows(1.4, is_urgent=False)
    assert all(Pace().allows(0.0, is_urgent=urgent) for urgent in (False, True))


def test_who_is_cloned_to_waits_with_the_source_for_its_pace() -> None:
    """A lost colony's clones take the whole pace for long: a move that has begun goes on after them."""
    ward = pair()
    pace = ward.homes["A"].pace = Pace(1_000_000)
    for n in range(8):
        ward.put("A", b"%d" % n, b"x" * 40_000, lane=b"%d" % n)
    ward.deliver()
    assert pace.allows(ward.now_s, is_urgent=True)
    ward.tell("A", CloneOrdered("C", "test", source="B"))
    ward.deliver()
    for _ in range(int(4 * 4 * ward.homes["C"].limits.clone_patience_s)):
        pace.allows(ward.now_s, is_urgent=True)
        ward.later(0.25)
        ward.deliver()
    assert ward.status("C") is PeerStatus.LEARNING and not ward.peers["C"].peer.cells.live
    for _ in range(10):
        ward.later(0.25)
        ward.deliver()
    assert ward.status("C") is PeerStatus.ACTIVE and len(ward.peers["C"].peer.cells.live) == 8
    assert not [event for _, event in ward.told if isinstance(event, MoveRefused)]
    assert not [note for _, note in ward.notes if note.kind == "freed"]
