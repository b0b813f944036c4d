"""When the colonies of a host take their steps of a wave."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from agents import following as followings
from agents.effects import Note
from agents.following import BACK_S, CALM_S, PLANNED_STEP_S, Following
from agents.steps import STEP_S
from agents.surroundings import CloneOrdered, HandOverOrdered
from agents.views import Status
from placement.wave import Goal
from tests.agents.house import founded


class Planned:
    """A course that has a wave for three colonies."""

    is_active = True
    is_planning = False
    busiest = 3

    def __init__(self) -> None:
        self.open = {0, 1, 2}
        self.goals = {colony: Goal(colony, "b", ("b",), "even") for colony in self.open}

    def goal(self, colony: int) -> Goal | None:
        return self.goals.get(colony)

    def steps(self, entry: Any) -> list[str]:
        return ["b"]

    def may_lead_away(self, colony: int) -> bool:
        return colony != 2


def following(course: Planned, *, flaps: tuple[Any, ...] = (), led: int = 3) -> Following:
    """Return the part of a host that leads some of three colonies, in a view with a joiner."""
    members = (SimpleNamespace(id="b", status=Status.JOINING),)
    host: Any = SimpleNamespace(
        me="a",
        view=SimpleNamespace(id=7, flaps=flaps, members=members),
        colonies={
            colony: SimpleNamespace(colony=colony, primary=object() if colony < led else None)
            for colony in range(3)
        },
        directory=SimpleNamespace(entries=[None] * 3),
    )
    part = Following(host, SimpleNamespace(), course)  # type: ignore[arg-type]
    part.view_installed(host.view)
    return part


def due(part: Following, now_s: float, *, lacks: bool = False) -> list[int]:
    """Return the colonies that may take a step now, in a view that is known since 0 s."""
    return [machine.colony for machine, _ in part.due(0.0, now_s, lacks=lacks)]


def test_a_wave_begins_when_the_view_is_calm_and_after_a_death_sooner() -> None:
    part = following(Planned())
    assert due(part, CALM_S - 0.01) == [] and due(part, CALM_S) == [], "not all hosts at one moment"
    assert due(part, CALM_S + STEP_S) == [0, 1, 2]
    part = following(Planned(), flaps=("c",))
    due(part, BACK_S)
    assert due(part, BACK_S + STEP_S) == [0, 1, 2]
    part = following(Planned(), flaps=("c",))
    due(part, BACK_S, lacks=True)
    assert due(part, BACK_S + STEP_S, lacks=True) == [], "who lacks a peer comes first"


def test_steps_are_taken_one_after_the_other() -> None:
    course = Planned()
    part = following(course)
    due(part, CALM_S)
    taken: list[tuple[int, float]] = []
    for step in range(1, 12):
        now_s = CALM_S + step * STEP_S
        for machine, _ in part.due(0.0, now_s, lacks=False):
            part.stepped(now_s)
            course.open.discard(machine.colony)
            taken.append((machine.colony, now_s))
    assert [colony for colony, _ in taken] == [0, 1, 2]
    gaps_s = [later_s - before_s for (_, before_s), (_, later_s) in pairwise(taken)]
    assert gaps_s == pytest.approx([PLANNED_STEP_S] * 2)


def test_a_colony_without_a_goal_or_led_elsewhere_takes_no_step() -> None:
    course = Planned()
    part = following(course, led=2)
    del course.goals[1]
    due(part, CALM_S)
    assert due(part, CALM_S + STEP_S) == [0]


def test_a_role_that_goes_round_in_circles_is_given_away_no_more() -> None:
    part = following(Planned())
    assert not part.is_in_circles(HandOverOrdered("b", "even"), 1)
    assert part.is_in_circles(HandOverOrdered("b", "even"), 2)
    assert not part.is_in_circles(CloneOrdered("b", "even"), 2)


def test_a_wave_that_is_given_up_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    house = founded("ab", colonies=2)
    governor, out = house.hosts["a"].governor, list[Any]()
    monkeypatch.setattr(governor.course, "advance", lambda directory, now_s, **_: "nobody has got further")
    house.now_s += 0.3
    governor.tick(house.now_s, out)
    (note,) = [effect for effect in out if isinstance(effect, Note)]
    assert (note.kind, note.details) == ("wave_over", {"left": 0})
    assert note.reason == "nobody has got further: each colony decides by itself"


def test_a_wave_that_begins_in_a_later_view_is_that_of_the_view_that_was_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Others have begun before: to whom another one is a joiner, it has to be one here, too."""
    monkeypatch.setattr(followings, "PLAN_S", 1e9)
    house = founded("ab", colonies=2)
    house.add("c")
    house.install("abc", c={"status": Status.JOINING})
    house.run(0.2)
    governor = house.hosts["a"].governor
    house.install("abc")
    assert governor.course.is_due, "it is still the same wave"
    begun: list[Any] = []
    monkeypatch.setattr(governor.course, "begin", lambda hosts, *_: begun.extend(hosts))
    monkeypatch.setattr(followings, "PLAN_S", 0.0)
    governor.tick(house.now_s + 0.3, [])
    assert [host.joining for host in begun] == [False, False, True]
