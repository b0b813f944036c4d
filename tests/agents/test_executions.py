"""Executions that once broke a promise of the protocol, or could have.

Each is a history that a hostile network, a late message or a slow closure can
make; the name says what must hold.
"""

from __future__ import annotations

from typing import Any

import pytest

from agents.cells import Cells
from agents.colony import Colony
from agents.effects import ClosureRan, LinkCameUp, Received, RunClosure, Send
from agents.messages.client import (
    ABSENT,
    BAD,
    CONFLICT,
    FAILED,
    FULL,
    IF_ABSENT,
    OK,
    TOO_LARGE,
    Delete,
    Mutate,
    Patch,
    Put,
    Reply,
    Touch,
)
from agents.messages.replication import (
    REFUSED,
    Ack,
    Activate,
    Activated,
    CellState,
    Chunk,
    ChunkAck,
    CloneAnswer,
    CloneAsk,
    CloneStart,
    Entry,
    HandedOver,
    HandOver,
    Missing,
    Replicate,
    Retire,
    Retired,
)
from agents.peer import PeerStatus, Role
from agents.primary import Primary
from agents.surroundings import (
    CensusDecided,
    CloneOrdered,
    HandOverOrdered,
    Limits,
    MoveRefused,
    RecountWanted,
    RetireOrdered,
)
from agents.views import epoch_in, view_id
from tests.agents.ward import Ward


def replied(ward: Ward, number: int) -> Reply:
    """Return the reply to a request; there must be one."""
    reply = ward.reply(number)
    assert reply is not None, "it is answered"
    return reply


def primary_of(ward: Ward, host: str) -> Primary:
    """Return the primary there; there must be one."""
    primary = ward.peers[host].primary
    assert primary is not None, f"{host} is primary"
    return primary


def group(*hosts: str) -> Ward:
    """Return the first as primary, all others as its ACTIVE secondaries."""
    ward = Ward(*hosts)
    for host in hosts[1:]:
        ward.tell(hosts[0], CloneOrdered(host, "test"))
    ward.deliver()
    assert all(ward.peers[host].status is PeerStatus.ACTIVE for host in hosts)
    return ward


def on_the_way(ward: Ward, sender: str, receiver: str, kind: type) -> bool:
    """Return whether a message of this kind is under way."""
    return any(isinstance(m, kind) for m in ward.queues.get((sender, receiver), ()))


def until(ward: Ward, sender: str, receiver: str, kind: type) -> None:
    """Deliver until a message of this kind is under way."""
    for _ in range(1000):
        if on_the_way(ward, sender, receiver, kind):
            return
        ward.deliver(most=1)
    raise AssertionError(f"no {kind.__name__} from {sender} to {receiver}")


def leads(ward: Ward) -> list[str]:
    """Return the hosts with an open primary."""
    return [host for host, machine in ward.peers.items() if machine.is_open]


# -- hand-over ---------------------------------------------------------------------


def test_a_repeated_hand_over_does_not_revive_who_has_handed_on() -> None:
    # A hands over to B; B's answer dies with the link; B hands over to C; then A repeats itself.
    ward = group("A", "B", "C")
    ward.put("A", b"k", b"v")
    ward.deliver()
    ward.tell("A", HandOverOrdered("B", "test"))
    ward.deliver(only=("A", "B"))
    ward.lose("B", "A")
    ward.tell("B", HandOverOrdered("C", "test"))
    ward.reset("B", "A")  # A says it again before anything of C has come
    ward.deliver(only=("A", "B"))
    assert ward.peers["B"].primary is None
    ward.deliver()
    assert leads(ward) == ["C"]
    number = ward.put("C", b"k", b"w")
    ward.deliver()
    assert replied(ward, number).code == OK
    assert all(machine.peer.cells.live[b"k"][2] == b"w" for machine in ward.peers.values())


def test_a_primary_with_a_tail_that_is_handed_a_later_epoch_asks_for_a_census() -> None:
    ward = group("A", "B")
    number = ward.put("A", b"k", b"v")
    ward.tell("A", Received("B", HandOver(0, ward.peers["A"].epoch + 7, 1, 0.0, ("B",))))
    assert ward.peers["A"].primary is None and ward.peers["A"].status is PeerStatus.NONE
    assert any(isinstance(event, RecountWanted) for _, event in ward.told)
    assert ward.reply(number) is None, "what became of it is not known here"


def test_an_ack_set_that_names_strangers_or_oneself_does_not_block_the_colony() -> None:
    ward = group("A", "B")
    ward.tell("A", HandOverOrdered("B", "test"))
    sent = ward.queues["A", "B"].pop()
    assert isinstance(sent, HandOver)
    strange = HandOver(0, sent.epoch, sent.seq, sent.clock_s, ("A", "B", "nobody"))
    ward.tell("B", Received("A", strange))
    assert set(primary_of(ward, "B").ack_set) == {"A"}


def test_a_hand_over_to_a_peer_that_was_given_up_is_given_up_too() -> None:
    ward = group("A", "B", "C")
    number = ward.put("A", b"k", b"v")
    ward.tell("A", HandOverOrdered("B", "test"))
    ward.tell("A", Received("B", Retired(0, ward.peers["A"].epoch, "broken")))
    ward.deliver(only=("A", "C"))
    ward.deliver(only=("C", "A"))
    assert ward.peers["A"].is_open and replied(ward, number).code == OK


def test_a_hand_over_without_acks_is_reported_so_that_it_is_not_ordered_again_at_once() -> None:
    ward = group("A", "B")
    number = ward.put("A", b"k", b"v")
    ward.tell("A", HandOverOrdered("B", "test"))
    ward.later(2.0)
    assert ward.peers["A"].is_open
    assert ("A", "B") in [(h, e.target) for h, e in ward.told if isinstance(e, MoveRefused)]
    ward.deliver()
    assert replied(ward, number).code == OK


# -- epochs ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        CloneAsk(0, epoch_in(view_id(0, 9), 0), 1, 0),
        Replicate(0, epoch_in(view_id(0, 9), 0), 0, 0.0, ()),
        HandOver(0, epoch_in(view_id(0, 9), 0), 0, 0.0, ("A",)),
        Retire(0, epoch_in(view_id(0, 9), 0)),
    ],
)
def test_an_epoch_of_a_view_that_is_not_installed_is_not_followed(message: Any) -> None:
    ward = group("A", "B", "C")
    before = ward.peers["B"].epoch, ward.peers["B"].status
    ward.tell("B", Received("C", message))
    assert (ward.peers["B"].epoch, ward.peers["B"].status) == before
    ward.kill("A")
    assert ward.census("B", "C") in ("B", "C")


def test_an_activated_of_another_epoch_is_not_taken_for_this_one() -> None:
    ward = Ward("A", "B")
    ward.tell("A", CloneOrdered("B", "test"))
    until(ward, "A", "B", Activate)
    ward.tell("A", Received("B", Activated(0, ward.peers["A"].epoch + 1, 1)))
    assert "B" in primary_of(ward, "A").transfers.activating


def test_a_primary_does_not_apply_what_another_sends_in_its_own_epoch() -> None:
    ward = group("A", "B")
    epoch = ward.peers["A"].epoch
    ward.tell("A", Received("B", Replicate(0, epoch, 0, 0.0, (Entry(1, 0, b"k", b"foreign"),))))
    number = ward.put("A", b"k", b"mine")
    ward.deliver()
    assert replied(ward, number).version == 1 and ward.get("A", b"k").value == b"mine"


def test_a_primary_with_a_tail_that_meets_a_later_epoch_holds_nothing_afterwards() -> None:
    ward = group("A", "B")
    ward.put("A", b"k", b"mine")
    later = ward.peers["A"].epoch + 1
    ward.queues.clear()
    ward.tell("A", Received("B", Replicate(0, later, 0, 0.0, (Entry(1, 0, b"k", b"other"),))))
    assert ward.peers["A"].status is PeerStatus.NONE and not ward.peers["A"].peer.cells.live
    assert not on_the_way(ward, "A", "B", Ack), "it must not ack what it does not hold"
    assert on_the_way(ward, "A", "B", Retired)


def test_a_deposed_primary_that_is_told_to_retire_answers() -> None:
    ward = group("A", "B")
    ward.tell("A", Received("B", Retire(0, ward.peers["A"].epoch + 1)))
    assert ward.peers["A"].status is PeerStatus.NONE
    assert on_the_way(ward, "A", "B", Retired)


# -- malformed messages ----------------------------------------------------------------


@pytest.mark.parametrize(
    "entry",
    [Entry(1, 9, b"k", b"v"), Entry(1, 0, b"k", None), Entry(1, 4, b"unknown"), Entry(1, -1, b"k", b"v")],
)
def test_a_peer_that_cannot_apply_an_entry_gives_itself_up_instead_of_raising(entry: Entry) -> None:
    ward = group("A", "B")
    ward.tell("B", Received("A", Replicate(0, ward.peers["A"].epoch, 0, 0.0, (entry,))))
    assert ward.peers["B"].status is PeerStatus.NONE
    ward.deliver()
    assert "B" not in primary_of(ward, "A").ack_set


def test_a_peer_that_lacks_what_is_committed_is_let_go_instead_of_asked_for_ever() -> None:
    ward = group("A", "B")
    for _ in range(3):
        ward.put("A", b"k", b"v")
        ward.deliver()
    ward.tell("A", Received("B", Missing(0, ward.peers["A"].epoch, 1)))
    ward.deliver(most=200)
    assert not any(ward.queues.values()), "they don't talk for ever"
    assert "B" not in primary_of(ward, "A").ack_set and ward.peers["B"].status is PeerStatus.NONE


def _hostile(epoch: int) -> list[Any]:
    big = 1 << 60
    return [
        Ack(0, epoch, big),
        Ack(0, epoch, -1),
        Missing(0, epoch, big),
        Missing(0, epoch, -5),
        CloneAsk(0, epoch, -1, -1),
        CloneAnswer(0, epoch, 99, True),
        CloneStart(0, epoch, 99, big, 0.0),
        Chunk(0, epoch, 99, 99, (), (), True),
        ChunkAck(0, epoch, 1, big),
        ChunkAck(0, epoch, 1, -7),
        Activate(0, epoch, 99),
        Activated(0, epoch, 99),
        Retired(0, epoch),
        HandOver(0, epoch, 0, 0.0, ()),
        HandedOver(0, epoch),
        Replicate(0, epoch, big, 0.0, ()),
    ]


@pytest.mark.parametrize("receiver", ["A", "B", "C", "D"])
@pytest.mark.parametrize("step", [-1, 0, 1])
def test_no_message_raises_at_a_primary_a_secondary_a_learner_or_a_host_without_a_peer(
    receiver: str, step: int
) -> None:
    for message in _hostile(epoch_in(view_id(0, 1), 1) + step):
        ward = Ward("A", "B", "C", "D")  # in epoch (1, 0)
        ward.tell("A", CloneOrdered("B", "test"))
        ward.deliver()
        ward.put("A", b"k", b"v")
        ward.tell("A", CloneOrdered("C", "test"))
        until(ward, "A", "C", CloneStart)
        for sender in ("A", "B", "stranger"):
            ward.tell(receiver, Received(sender, message))
        assert ward.peers[receiver].peer.last in (0, 1)


# -- clones --------------------------------------------------------------------------


def test_a_retired_of_an_earlier_attempt_does_not_end_the_next_one() -> None:
    ward = group("A", "B")
    ward.tell("A", RetireOrdered("B", "test"))
    ward.put("A", b"k", b"v")  # B answers `retired` to this one, too
    ward.deliver(only=("A", "B"))
    ward.deliver(only=("B", "A"), most=1)
    assert on_the_way(ward, "B", "A", Retired) and "B" not in primary_of(ward, "A").ack_set
    ward.tell("A", CloneOrdered("B", "again"))
    ward.deliver()
    assert ward.peers["B"].status is PeerStatus.ACTIVE and "B" in primary_of(ward, "A").ack_set


def test_a_learner_that_gives_up_is_reported_so_that_another_target_is_asked() -> None:
    ward = Ward("A", "B")
    for i in range(50):
        ward.put("A", b"%d" % i, b"v" * 5000)
    ward.tell("A", CloneOrdered("B", "test"))
    until(ward, "B", "A", ChunkAck)
    ward.tell("A", Received("B", Retired(0, ward.peers["A"].epoch, "broken")))
    assert [e.target for h, e in ward.told if isinstance(e, MoveRefused)] == ["B"]


def test_a_learner_whose_source_forgot_it_frees_its_cells_in_the_end() -> None:
    ward = Ward("A", "B")
    for i in range(50):
        ward.put("A", b"%d" % i, b"v" * 50_000)
    ward.tell("A", CloneOrdered("B", "test"))
    until(ward, "B", "A", ChunkAck)
    ward.queues.clear()  # all is silence
    ward.later(60.0)
    assert not primary_of(ward, "A").transfers.clones
    ward.queues.clear()  # `retire` gets lost, too
    assert ward.peers["B"].status is PeerStatus.NONE and not ward.peers["B"].peer.cells.live


def test_a_learner_does_not_become_active_by_an_activate_before_all_has_come() -> None:
    ward = Ward("A", "B")
    for i in range(50):
        ward.put("A", b"%d" % i, b"v" * 50_000)
    ward.tell("A", CloneOrdered("B", "test"))
    until(ward, "B", "A", ChunkAck)
    clone = primary_of(ward, "A").transfers.clones["B"]
    ward.tell("B", Received("A", Activate(0, ward.peers["A"].epoch, clone.number)))
    assert ward.peers["B"].status is not PeerStatus.ACTIVE


def test_a_clone_of_large_closure_results_travels_in_small_pieces() -> None:
    ward = Ward("A", "B")
    for i in range(40):
        ward.ask("A", Mutate(i + 1, b"lane%d" % i, 1, b"k", b"c"))
        _, run = ward.closures[-1]
        ward.tell("A", ClosureRan(run.ticket, b"x" * 100_000))
    ward.tell("A", CloneOrdered("B", "test"))
    largest = 0
    while any(ward.queues.values()):
        for message in ward.queues.get(("A", "B"), ()):
            if isinstance(message, Chunk):
                largest = max(largest, sum(len(lane.result or b"") for lane in message.lanes))
        ward.deliver(most=1)
    assert 0 < largest <= 300_000 and ward.peers["B"].status is PeerStatus.ACTIVE
    assert len(ward.peers["B"].peer.cells.lanes) == 40


def test_what_is_sent_again_fits_into_frames() -> None:
    ward = group("A", "B")
    for i in range(8):
        ward.put("A", b"%d" % i, b"v" * 10_000_000, lane=b"lane%d" % i)
    ward.reset("A", "B")
    sent = [m for m in ward.queues["A", "B"] if isinstance(m, Replicate)]
    assert len(sent) > 1 and all(sum(len(e.dna or b"") for e in m.entries) < 32_000_000 for m in sent)
    ward.deliver()
    assert ward.peers["B"].peer.last == 8 and replied(ward, 8).code == OK


def test_a_link_that_is_up_again_is_told_where_the_colony_is_without_telling_everybody() -> None:
    ward = group("A", "B", "C")
    ward.queues.clear()
    ward.tell("A", LinkCameUp("B", 2))
    assert not ward.queues.get(("A", "C"))
    assert [type(m).__name__ for m in ward.queues["A", "B"]].count("Located") == 1


# -- quorum ---------------------------------------------------------------------------


def test_what_could_not_be_committed_for_a_moment_is_committed_without_being_told() -> None:
    # The lease ran out for some ms between two looks of the host: nobody says that it is back.
    ward = group("A", "B")
    number = ward.put("A", b"k", b"v")
    ward.homes["A"].quorum.is_held = False
    ward.deliver()
    ward.homes["A"].quorum.is_held = True
    ward.later(0.5)
    assert replied(ward, number).code == OK


def test_a_primary_without_quorum_does_not_spin_on_cells_that_are_due() -> None:
    ward = group("A", "B")
    ward.put("A", b"k", b"v", ttl_ms=100)
    ward.deliver()
    ward.homes["A"].quorum.is_held = False
    ward.later(1.0)
    count = 0
    handle = ward.peers["A"].handle

    def counted(event: Any, now_s: float) -> list[Any]:
        nonlocal count
        count += 1
        return handle(event, now_s)

    ward.peers["A"].handle = counted  # type: ignore[method-assign]
    ward.later(10.0)
    assert count <= 50, f"it woke up {count} times in ten seconds"


# -- waiting ---------------------------------------------------------------------------


def test_a_thousand_requests_that_waited_are_taken_without_a_deep_stack() -> None:
    ward = group("A", "B")
    ward.homes["A"].limits = Limits(pending_max=10)
    ward.put("A", b"k", b"v")
    ward.tell("A", HandOverOrdered("B", "test"))
    numbers = [ward.put("A", b"%d" % i, b"v", lane=b"lane%d" % i) for i in range(1000)]
    ward.kill("B")
    ward.install("A")
    assert all(replied(ward, number).code == OK for number in numbers)


# -- closures ------------------------------------------------------------------------------


def _closure(ward: Ward, host: str, request: Mutate) -> RunClosure:
    before = len(ward.closures)
    ward.ask(host, request)
    assert len(ward.closures) == before + 1
    return ward.closures[-1][1]


def test_the_late_result_of_a_closure_does_not_undo_what_its_lane_did_since() -> None:
    ward = group("A", "B")
    slow = _closure(ward, "A", Mutate(1, b"lane", 5, b"k", b"closure"))
    ward.ask("A", Put(2, b"lane", 6, b"other", b"v"))  # the client has given up on 5
    ward.deliver()
    ward.tell("A", ClosureRan(slow.ticket, b"late"))
    ward.deliver()
    ward.ask("A", Put(3, b"lane", 6, b"other", b"v"))  # a retry, whose answer was lost
    ward.deliver()
    assert replied(ward, 3).version == replied(ward, 2).version
    assert ward.peers["A"].peer.cells.lanes[b"lane"][0] == 6


def test_the_late_result_of_a_closure_does_not_become_another_closures_result() -> None:
    ward = group("A", "B")
    slow = _closure(ward, "A", Mutate(901, b"one", 1, b"k", b"slow"))
    for source, target in (("A", "B"), ("B", "A")):
        ward.tell(source, HandOverOrdered(target, "test"))
        ward.deliver()
    fresh = _closure(ward, "A", Mutate(902, b"two", 1, b"other", b"fresh"))
    ward.tell("A", ClosureRan(slow.ticket, b"of the slow one"))
    ward.tell("A", ClosureRan(fresh.ticket, b"of the fresh one"))
    ward.deliver()
    assert ward.get("A", b"other").value == b"of the fresh one"
    assert ward.get("A", b"k").code == ABSENT


def test_a_closure_of_a_later_number_is_known_while_an_earlier_one_ends() -> None:
    ward = Ward("A")
    first = _closure(ward, "A", Mutate(1, b"lane", 1, b"a", b"c"))
    second = _closure(ward, "A", Mutate(2, b"lane", 2, b"b", b"c"))
    ward.tell("A", ClosureRan(first.ticket, b"1"))
    ward.ask("A", Mutate(3, b"lane", 2, b"b", b"c"))
    assert len(ward.closures) == 2, "the second one runs already"
    ward.tell("A", ClosureRan(second.ticket, b"2"))
    assert replied(ward, 3).value == b"2" and ward.get("A", b"b").value == b"2"


def test_a_closure_that_outlives_its_cell_does_not_make_it_immortal() -> None:
    ward = Ward("A")
    ward.put("A", b"k", b"1", ttl_ms=1000)
    run = _closure(ward, "A", Mutate(500, b"m", 1, b"k", b"closure"))
    ward.later(5.0)
    ward.tell("A", ClosureRan(run.ticket, b"2"))
    ward.later(5.0)
    assert ward.get("A", b"k").code == ABSENT
    assert not ward.peers["A"].peer.cells.live, "and it is swept away"


def test_a_cell_that_falls_due_while_a_failing_closure_runs_expires_after_it() -> None:
    ward = Ward("A")
    ward.put("A", b"k", b"1", ttl_ms=1000)
    run = _closure(ward, "A", Mutate(500, b"m", 1, b"k", b"closure"))
    ward.later(2.0)
    ward.tell("A", ClosureRan(run.ticket, None, error="ValueError()"))
    assert replied(ward, 500).code == FAILED
    ward.later(10.0)
    assert not ward.peers["A"].peer.cells.live


def test_a_closure_may_not_grow_a_cell_past_what_the_host_holds() -> None:
    ward = Ward("A")
    ward.homes["A"].room = 100
    run = _closure(ward, "A", Mutate(500, b"m", 1, b"k", b"closure"))
    ward.tell("A", ClosureRan(run.ticket, b"x" * 1000))
    assert replied(ward, 500).code == FULL and ward.get("A", b"k").code == ABSENT


# -- refusals -----------------------------------------------------------------------------


def test_a_late_copy_of_a_refused_request_stays_refused() -> None:
    ward = Ward("A")
    ward.put("A", b"k", b"first")
    ward.ask("A", Put(700, b"cas", 1, b"k", b"second", only_if=IF_ABSENT))
    assert replied(ward, 700).code == CONFLICT
    ward.ask("A", Delete(701, b"other", 1, b"k"))
    ward.ask("A", Put(702, b"cas", 1, b"k", b"second", only_if=IF_ABSENT))  # sent before, comes late
    assert replied(ward, 702).code == CONFLICT and ward.get("A", b"k").code == ABSENT
    ward.ask("A", Put(703, b"cas", 2, b"k", b"third", only_if=IF_ABSENT))
    assert replied(ward, 703).code == OK, "a new request is a new one"


def test_a_copy_of_a_refused_request_that_comes_after_a_promotion_stays_refused() -> None:
    ward = group("A", "B")
    ward.put("A", b"k", b"first")
    ward.ask("A", Put(700, b"cas", 1, b"k", b"second", only_if=IF_ABSENT))
    ward.ask("A", Delete(701, b"other", 1, b"k"))
    ward.deliver()
    before = replied(ward, 700)
    assert before.code == CONFLICT and replied(ward, 701).code == OK
    ward.kill("A")
    assert ward.census("B") == "B"
    ward.deliver()
    ward.ask("B", Put(702, b"cas", 1, b"k", b"second", only_if=IF_ABSENT))  # lay in B's socket all the time
    ward.deliver()
    again = replied(ward, 702)
    assert (again.code, again.version, again.text) == (before.code, before.version, before.text)
    assert ward.get("B", b"k").code == ABSENT


def test_a_refusal_does_not_make_a_learner_forget_the_cell() -> None:
    """The learner has not got the cell yet: that it is refused there does not say that it is dead."""
    cells = Cells()
    cells.clear(learning=True)
    cells.apply(Entry(9, REFUSED, b"k", lane=b"l", number=1, code=CONFLICT, result=b""), 0.0)
    cells.adopt(CellState(b"k", 3, 0.0, b"dna"))
    assert cells.live[b"k"] == (3, 0.0, b"dna") and cells.lanes[b"l"][0] == 1


def test_a_copy_of_a_request_whose_refusal_is_not_told_yet_waits_for_that() -> None:
    ward = group("A", "B")
    ward.put("A", b"k", b"first")
    ward.ask("A", Put(700, b"cas", 1, b"k", b"second", only_if=IF_ABSENT))
    ward.ask("A", Delete(701, b"other", 1, b"k"))
    ward.ask("A", Put(702, b"cas", 1, b"k", b"second", only_if=IF_ABSENT))
    assert ward.reply(700) is None and ward.reply(702) is None
    ward.deliver()
    assert replied(ward, 700).code == replied(ward, 702).code == CONFLICT
    assert ward.get("A", b"k").code == ABSENT


def test_conditions_that_do_not_exist_are_refused() -> None:
    ward = Ward("A")
    ward.put("A", b"k", b"v", only_if=-1)
    ward.put("A", b"k", b"v", only_if=4)
    assert [reply.code for _, reply in ward.replies] == [BAD, BAD]
    assert ward.get("A", b"k").code == ABSENT


def test_patches_may_not_grow_a_cell_past_the_largest_value() -> None:
    ward = Ward("A")
    ward.homes["A"].limits = Limits(value_bytes_max=1000)
    ward.ask("A", Patch(1, b"l", 1, b"k", (("a", b"x" * 600),)))
    ward.ask("A", Patch(2, b"l", 2, b"k", (("b", b"x" * 600),)))
    ward.ask("A", Patch(3, b"l", 3, b"k", (("a", b"y" * 600),)))
    assert [replied(ward, n).code for n in (1, 2, 3)] == [OK, TOO_LARGE, OK]


def test_a_full_host_refuses_growth_but_still_keeps_sessions_alive() -> None:
    ward = Ward("A")
    ward.put("A", b"k", b"v", ttl_ms=5000)
    ward.homes["A"].room = -1
    ward.ask("A", Touch(600, b"t", 1, b"k", 60_000))
    ward.ask("A", Patch(601, b"t", 2, b"new", (("a", b"1"),)))
    ward.ask("A", Put(602, b"t", 3, b"new", b"v"))
    ward.ask("A", Delete(603, b"t", 4, b"k"))
    assert [replied(ward, n).code for n in (600, 601, 602, 603)] == [OK, FULL, FULL, OK]


# -- lanes -----------------------------------------------------------------------------


def test_lanes_of_idle_clients_are_forgotten_on_every_peer_without_a_clock_tick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agents.cells.LANES_MAX", 4096)
    ward = group("A", "B")
    for i in range(12_000):
        ward.put("A", b"k", b"v", lane=b"lane%d" % i)
        ward.deliver()
    for host in ("A", "B"):
        assert len(ward.peers[host].peer.cells.lanes) <= 4096
        assert b"lane11999" in ward.peers[host].peer.cells.lanes


def test_a_cloned_peer_forgets_the_oldest_lanes_first() -> None:
    ward = Ward("A", "B")
    for i in range(10):
        ward.put("A", b"k", b"v", lane=b"old%d" % i)
    ward.tell("A", CloneOrdered("B", "test"))
    until(ward, "A", "B", CloneStart)
    ward.now_s += 100
    ward.put("A", b"k", b"v", lane=b"new")
    ward.deliver()
    peer = ward.peers["B"].peer
    assert peer.status is PeerStatus.ACTIVE and list(peer.cells.lanes)[-1] == b"new"
    peer.cells.forget_lanes(peer.clock_s(ward.now_s + 100))
    assert list(peer.cells.lanes) == [b"new"]


# -- census ------------------------------------------------------------------------------


def test_a_census_that_was_taken_before_a_hand_over_leaves_both_ends_as_they_are() -> None:
    ward = group("A", "B", "C")
    counted = ward.install("A", "B", "C")
    ward.tell("A", HandOverOrdered("B", "test"))
    ward.deliver()
    seqs = {host: peer.seq for host, peer in counted.items()}
    for host in ("C", "B", "A"):
        ward.tell(host, CensusDecided(counted["A"].epoch, "A", seqs, True))
    ward.deliver()
    assert leads(ward) == ["B"] and ward.peers["A"].role is Role.SECONDARY


def test_a_machine_takes_every_message_that_the_wire_knows() -> None:
    from agents.colony import _MESSAGES
    from agents.hosting import HOST_KINDS
    from agents.messages.replication import Replication

    ward = Ward("A")
    machine: Colony = ward.peers["A"]
    assert set(Replication.__args__) - HOST_KINDS == set(_MESSAGES)
    assert isinstance(machine.handle(Received("B", Ack(0, machine.epoch, 0)), 1.0), list)
    assert not [e for e in machine.handle(Received("B", Ack(0, 0, 0)), 1.0) if isinstance(e, Send)]
