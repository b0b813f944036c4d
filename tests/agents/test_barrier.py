"""The barrier of a whole-cluster stop: who is there, who is late, and when all go on."""

from __future__ import annotations

from agents.barrier import FREEZE_S, SILENT_S, WRITE_S, Barrier, disagreement
from agents.messages.replication import CensusPeer
from agents.messages.stopping import END, FREEZE, WRITE, StopAnswer
from tests.agents.ward import a_view

VIEW = a_view(1, "A", "B")


def answer(phase: int, *peers: CensusPeer, done: bool = True, waits: str = "") -> StopAnswer:
    """Return a member's answer."""
    return StopAnswer("s", phase, done, waits=waits, peers=peers)


def test_all_must_be_there_and_at_one_seq_before_anybody_writes() -> None:
    barrier = Barrier("s", False, 10.0)
    lead, copy = CensusPeer(0, 1, 5, True), CensusPeer(0, 1, 5, False)
    assert barrier.took("A", answer(FREEZE, lead), 10.0) and not barrier.goes_on(VIEW, 10.0)
    assert barrier.took("B", answer(FREEZE, done=False, waits="so"), 10.5)
    assert not barrier.goes_on(VIEW, 10.5)
    assert (barrier.undone(VIEW.ids), barrier.waits_for("B"), barrier.waits_for("C")) == (
        ["B"],
        "so",
        "no answer",
    )
    barrier.took("B", answer(FREEZE, CensusPeer(0, 1, 4, False)), 11.0)
    assert not barrier.goes_on(VIEW, 11.0) and "at 4" in barrier.odd
    barrier.took("B", answer(FREEZE, copy), 11.0)
    assert barrier.goes_on(VIEW, 11.0)
    assert (barrier.phase, barrier.since_s) == (WRITE, 11.0)
    assert not barrier.took("A", answer(FREEZE, lead), 11.0), "that phase is over"
    for host in VIEW.ids:
        barrier.took(host, answer(WRITE), 12.0)
    assert barrier.goes_on(VIEW, 12.0)
    assert barrier.phase == END


def test_only_by_force_a_colony_without_a_primary_is_given_up() -> None:
    for force in (False, True):
        barrier = Barrier("s", force, 10.0)
        for host in VIEW.ids:
            barrier.took(host, answer(FREEZE), 10.0)
        assert barrier.goes_on(VIEW, 10.0) is force


def test_who_says_nothing_and_what_takes_too_long_is_seen() -> None:
    barrier = Barrier("s", False, 10.0)
    barrier.took("A", answer(FREEZE, done=False), 15.0)
    assert barrier.silent(VIEW.ids, 10.1 + 2 * SILENT_S) == ["B"]
    assert not barrier.is_late(9.9 + FREEZE_S) and barrier.is_late(10.1 + FREEZE_S)
    barrier.phase = WRITE
    assert not barrier.is_late(9.9 + WRITE_S)


def test_peers_agree_when_all_are_as_far_as_their_primary() -> None:
    one, two = CensusPeer(0, 1, 5, True), CensusPeer(0, 1, 5, False)
    assert disagreement(1, {"a": (one,), "b": (two,)}) == ""
    assert "at 4" in disagreement(1, {"a": (one,), "b": (CensusPeer(0, 1, 4, False),)})
    assert "two primaries" in disagreement(1, {"a": (one,), "b": (one,)})
    assert "colony 1 has no primary" in disagreement(2, {"a": (one,)})
