"""What a colony's safety asks for, and from what that follows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.course import Course
from agents.population import Facts, urgent_step, wave_step
from agents.surroundings import CloneOrdered
from agents.survey import Field
from agents.weighing import REFUSALS_MAX, Basis, urgent_order, wave_given
from placement.labels import Level
from placement.resources import Candidate
from placement.wave import Goal
from tests.agents.house import founded

ALONE = Facts(0, "a", ("a",), (), (), 1_000)


def basis_of(*hosts: Candidate) -> Basis:
    return Basis(Field(list(hosts)), Course(), 2, Level.HOST, 0)


def test_the_goal_of_the_wave_comes_before_a_look_around(monkeypatch: pytest.MonkeyPatch) -> None:
    basis = basis_of(Candidate("a"), Candidate("b"), Candidate("c", copies=9))
    rule, order, _, _ = urgent_order(ALONE, basis, set(), 0.0)
    assert rule is urgent_step and isinstance(order, CloneOrdered) and order.target == "b"
    monkeypatch.setattr(basis.course, "goal", lambda colony: Goal(colony, "a", ("a", "c"), "even"))
    rule, order, hosts, named = urgent_order(ALONE, basis, set(), 0.0)
    assert rule is wave_step and isinstance(order, CloneOrdered) and order.target == "c"
    assert [host.id for host in hosts] == ["a", "c"] and named["goal"].holders == ("a", "c")
    rule, order, _, _ = urgent_order(ALONE, basis, {"c"}, 0.0)
    assert rule is urgent_step and isinstance(order, CloneOrdered) and order.target == "b", "it refused"


def test_when_all_say_that_others_came_first_the_next_one_is_to_take_it_all_the_same() -> None:
    hosts = [Candidate(host) for host in "abcdef"]
    few, many = set("bc"), set("bcdefgh"[:REFUSALS_MAX])
    assert urgent_order(ALONE, basis_of(*hosts), few, 500.0)[3]["fair_weight"] == 500.0
    _, order, _, named = urgent_order(ALONE, basis_of(*hosts), many, 500.0)
    assert named["fair_weight"] == 0.0
    assert isinstance(order, CloneOrdered) and order.target not in many and order.weight_max == 0


def test_who_lacks_a_peer_is_not_refused_by_the_weight_of_those_that_came_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Clients that wrote meanwhile had made them heavier: the last of them had one copy for seconds."""
    house = founded("abc")
    governor = house.hosts["a"].governor
    monkeypatch.setattr(governor.course, "peak", lambda host: 1_000)
    led = next(m for m in house.hosts["a"].colonies.values() if m.primary is not None)
    facts, field = governor.facts(led), governor.survey.look(house.now_s)
    basis = Basis(field, governor.course, 2, Level.HOST, 0)
    assert facts is not None and len(facts.active) == 2
    goal = Goal(facts.colony, facts.primary, tuple(host.me for host in house.hosts.values()), "")
    assert wave_given(facts, basis, goal, set())[1]["weight_max"] > 1_000
    lacking = replace(facts, active=facts.active[:1])
    assert wave_given(lacking, basis, goal, set())[1]["weight_max"] == 0
