"""Who refused a colony just now."""

from __future__ import annotations

from agents.rebuffs import REFUSED_S, Rebuffs, without
from placement.resources import Candidate


def test_who_refused_is_left_alone_for_a_while_or_longer_if_it_got_stuck() -> None:
    rebuffs = Rebuffs()
    rebuffs.note(1, "b", 10.0, 0.0)
    rebuffs.note(1, "c", 10.0, 5.0)
    rebuffs.note(2, "d", 10.0, 0.0)
    assert rebuffs.hosts(1, 10.5) == {"b", "c"} and rebuffs.hosts(2, 10.5) == {"d"}
    assert rebuffs.hosts(1, 10.1 + REFUSED_S) == {"c"}
    assert rebuffs.has(1, "c") and not rebuffs.has(1, "b") and not rebuffs.has(2, "d")
    rebuffs.clear()
    assert rebuffs.hosts(1, 10.1) == set()


def test_they_are_looked_at_and_do_not_accept() -> None:
    hosts = [Candidate("a"), Candidate("b")]
    assert without(set(), hosts) is hosts
    assert [(host.id, host.accepts, host.because) for host in without({"b"}, hosts)] == [
        ("a", True, ""),
        ("b", False, "refused just now"),
    ]
