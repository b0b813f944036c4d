"""Functions of clients that run on a cell, at its primary."""

from __future__ import annotations

from agents import closures
from agents.effects import ClosureRan, Effect, RunClosure
from agents.messages.client import BAD, FAILED, OK, UNAVAILABLE, Mutate, Patch
from tests.agents.test_primary import NOW_S, a_primary, ask, put, replies
from tests.agents.ward import pair


def test_what_waits_for_a_closure_goes_on_after_it_in_order() -> None:
    primary = a_primary()
    (run,) = [e for e in ask(primary, Mutate(1, b"m", 1, b"k", b"c")) if isinstance(e, RunClosure)]
    assert not ask(primary, put(2)) and not ask(primary, put(3))
    assert replies(ask(primary, put(4, key=b"other", lane=b"free")))[4].code == OK
    out: list[Effect] = []
    closures.ran(primary, run.ticket, b"made", None, NOW_S, out)
    assert [(i, r.version) for i, r in replies(out).items()] == [(1, 2), (2, 3), (3, 4)]


def test_an_unknown_ticket_is_thrown_away() -> None:
    primary = a_primary()
    out: list[Effect] = []
    closures.ran(primary, 12345, b"x", None, NOW_S, out)
    assert out == [] and primary.peer.last == 0


def test_closures_do_not_run_on_attributes_or_past_the_bound_of_who_waits() -> None:
    primary = a_primary(waiting_max=1)
    ask(primary, Patch(1, b"p", 1, b"m", (("a", b"1"),)))
    assert replies(ask(primary, Mutate(2, b"c", 1, b"m", b"f")))[2].code == BAD
    ask(primary, Mutate(3, b"c", 2, b"k", b"f"))
    assert not ask(primary, put(4))
    assert replies(ask(primary, put(5, lane=b"other")))[5].code == UNAVAILABLE


def test_a_closure_runs_once_and_others_wait_for_its_cell() -> None:
    ward = pair()
    ward.put("A", b"k", b"1")
    ward.ask("A", Mutate(500, b"m", 1, b"k", b"closure"))
    ward.ask("A", Mutate(501, b"m", 1, b"k", b"closure"))
    later = ward.put("A", b"k", b"3", lane=b"later")
    assert len(ward.closures) == 1
    host, run = ward.closures[0]
    assert run.dna == b"1", "it sees what is sequenced before it"
    ward.tell(host, ClosureRan(run.ticket, b"2"))
    ward.deliver()
    reply, put = ward.reply(501), ward.reply(later)
    assert reply is not None and reply.code == OK and reply.value == b"2"
    assert put is not None and put.version == reply.version + 1


def test_a_closure_that_raises_changes_nothing() -> None:
    ward = pair()
    ward.put("A", b"k", b"1")
    ward.deliver()
    ward.ask("A", Mutate(500, b"m", 1, b"k", b"closure"))
    host, run = ward.closures[0]
    ward.tell(host, ClosureRan(run.ticket, None, error="ZeroDivisionError()"))
    assert ward.reply(500) is None, "it is told when all peers know of it: a late copy might do better"
    ward.deliver()
    reply = ward.reply(500)
    assert reply is not None and reply.code == FAILED and "ZeroDivision" in reply.text
    assert ward.get("A", b"k").value == b"1"
