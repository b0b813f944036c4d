"""The record: what a restarted host honours, and what it does not believe."""

from __future__ import annotations

from typing import Any

from agents.effects import HelloSeen, LinkCameUp, Persist, Received, Send, Ticked
from agents.membership import Membership, Settings, Stage
from agents.messages.membership import Accept, Accepted, Ballot, Grant, Heartbeat, Prepare, Promise, Refused
from agents.record import Record
from agents.views import Charter, Member, Status, View

CHARTER = Charter(colonies=1)


def member(host: str, incarnation: int = 1) -> Member:
    return Member(
        host, incarnation, host, f"tcp://{host}:1", f"tcp://{host}:2", status=Status.ACTIVE, entered=1
    )


VIEW = View("t", 1, CHARTER, tuple(member(host) for host in "abc"))
NEXT = View("t", 2, CHARTER, VIEW.members[1:], (), (("a", 1),), (("a", 1),))
OTHER = View("t", 2, CHARTER, VIEW.members[:2], (), (("c", 1),), (("c", 1),))


def restarted(record: Record, now_s: float = 100.0) -> Membership:
    """Return host b, back with its record, linked to a and c."""
    machine = Membership(member("b", record.incarnation), Settings(), record, now_s)
    for other in "ac":
        machine.handle(HelloSeen(member(other), "t", 1, "COMMIT"), now_s)
        machine.handle(LinkCameUp(other, 1), now_s)
    return machine


def answers(effects: list[Any]) -> list[Any]:
    return [effect.message for effect in effects if isinstance(effect, Send)]


def test_a_restarted_acceptor_keeps_its_promise() -> None:
    machine = restarted(Record("b", 2, "t", VIEW, promised=Ballot(5, "c")))
    effects = machine.handle(Received("a", Prepare(1, Ballot(4, "a"))), 100.0)
    assert answers(effects) == [Refused(1, Ballot(4, "a"), Ballot(5, "c"))]


def test_a_restarted_acceptor_says_what_it_accepted() -> None:
    machine = restarted(Record("b", 2, "t", VIEW, Ballot(5, "c"), Ballot(5, "c"), NEXT))
    effects = machine.handle(Received("a", Prepare(1, Ballot(6, "a"))), 100.0)
    assert answers(effects) == [Promise(1, Ballot(6, "a"), Ballot(5, "c"), NEXT, ())]
    record = next(effect.record for effect in effects if isinstance(effect, Persist))
    assert record.promised == Ballot(6, "a") and record.accepted == NEXT
    assert isinstance(effects[0], Persist), "recorded before it is said"


def test_a_restarted_acceptor_counts_its_start_as_its_last_grant() -> None:
    machine = restarted(Record("b", 2, "t", VIEW))
    effects = machine.handle(Received("a", Accept(1, Ballot(1, "a"), OTHER)), 100.1)
    (accepted,) = answers(effects)
    assert isinstance(accepted, Accepted) and accepted.lease_left_s["c"] > 0.4


def test_a_restarted_host_grants_nothing_and_holds_no_quorum() -> None:
    machine = restarted(Record("b", 2, "t", VIEW))
    assert machine.stage is Stage.DISCOVERY and machine.view is None
    for other in "ac":
        effects = machine.handle(Received(other, Heartbeat(1, 1.0, b"", incarnation=1, tag="t")), 100.0)
        assert not any(isinstance(message, Grant) for message in answers(effects))
        machine.handle(Received(other, Grant(1, 99.9, 1)), 100.0)
    assert not machine.quorum.held(100.0)


def test_what_a_proposal_contains_is_no_reason_to_refuse_it() -> None:
    machine = restarted(Record("b", 2, "t", VIEW))
    machine.handle(Received("c", Heartbeat(1, 1.0, b"\x03", incarnation=1, tag="t")), 100.0)
    effects = machine.handle(Received("a", Accept(1, Ballot(1, "a"), OTHER)), 100.0)
    assert isinstance(answers(effects)[0], Accepted), "though it hears c, which this drops"


def test_tag_generation_and_number_are_reasons_to_refuse_it() -> None:
    machine = restarted(Record("b", 2, "t", VIEW))
    for wrong in (View("u", 2, CHARTER, VIEW.members), View("t", 3, CHARTER, VIEW.members)):
        effects = machine.handle(Received("a", Accept(1, Ballot(1, "a"), wrong)), 100.0)
        assert isinstance(answers(effects)[0], Refused)


def test_a_founding_promised_before_a_crash_is_kept() -> None:
    first = View("t", 1, CHARTER, VIEW.members)
    record = Record("b", 2, accepted_ballot=Ballot(1, "a"), accepted=first)
    machine = Membership(member("b", 2), Settings(), record, 0.0)
    assert machine.stage is Stage.ZOMBIE
    assert machine.init_refusal() == "a founding is under way"
    machine.handle(Ticked(), 31.0)
    assert machine.init_refusal() == ""
