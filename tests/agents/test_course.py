"""The course: what all know alike, whether there is another wave, and when it is over."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

import msgspec
import pytest

from agents import course as courses
from agents.causes import Cause
from agents.census import Heir
from agents.course import COMES_S, LED_AWAY_MAX, STALLED_S, UNDONE_MAX, Course, agreed, is_another
from agents.directory import Directory
from agents.messages.replication import Census, CensusPeer, Located
from agents.population import Facts, wave_move, wave_step
from agents.surroundings import CloneOrdered, HandOverOrdered, RetireOrdered
from agents.views import Charter, Member, Status, View, view_id
from placement.resources import Candidate
from placement.wave import Goal

T = TypeVar("T")
A, B, C, D = (name * 32 for name in "abcd")


def member(host: str, status: Status = Status.ACTIVE) -> Member:
    return Member(host, 1, host[0], f"tcp://{host[0]}", f"link://{host[0]}", status=status)


def view(*members: Member, number: int = 7, **more: Any) -> View:
    return View("t" * 32, view_id(0, number), Charter(colonies=2, peers=2), members, **more)


THREE = view(member(A), member(B), member(C))
HEIRS = [Heir(0, "kept", 1, A, {A: 1, B: 1}), Heir(1, "promoted", 2, C, {C: 1})]
HEARD = {
    A: Census(7, (CensusPeer(0, 1, 1, True, False, 500, (C,)),), 1, None, 0.5, 1000),
    B: Census(7, (CensusPeer(0, 1, 1, False, False, 400),), 0),
    C: Census(7, (CensusPeer(1, 1, 1, False, False, 300),), 0),
}


def result_of(work: Generator[int, None, T]) -> T:
    """Return what comes of some work once it is done."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


def test_who_heard_the_same_in_another_order_knows_the_same() -> None:
    known = result_of(agreed(THREE, HEIRS, HEARD))
    assert known == result_of(agreed(THREE, HEIRS, dict(reversed(HEARD.items()))))
    assert [peers.holders for peers in known.places] == [(A, B, C), (C,)], "a copy that comes counts"
    assert known.sizes == (500, 300), "the primary's word, or what the others were told"
    assert known.figures[A] == (0.5, 1000)
    assert known.figures[B] == (0.0, None)


def test_what_speaks_against_a_host_is_the_most_that_anybody_saw() -> None:
    """Who was away saw fewer deaths: by its own word it would come to another wave."""
    told = {A: ((B, 2, 0),), B: (), C: ((B, 1, 3), (D, 1, 1))}
    heard = {host: msgspec.structs.replace(HEARD[host], records=records) for host, records in told.items()}
    assert result_of(agreed(THREE, HEIRS, heard)).records == {B: (2, 3), D: (1, 1)}
    course, directory = Course(), Directory(2)
    course.view_installed(THREE)
    course.counted(THREE, [HEIRS[0], Heir(1, "kept", 2, A, {A: 1})], heard)
    course.begin([Candidate(m.id) for m in THREE.members], 2, THREE, directory)
    course.advance(directory, 0.0)
    goal = course.goal(1)
    assert goal is not None and set(goal.holders) == {A, C}, "B was lost twice"


def test_only_who_comes_goes_or_dies_makes_another_wave() -> None:
    joins = view(*THREE.members, member(D, Status.JOINING))
    leaves = view(member(A), member(B), member(C, Status.LEAVING))
    assert is_another(None, THREE) and is_another(THREE, joins) and is_another(THREE, leaves)
    assert is_another(THREE, view(member(A), member(B), dead=((C, 1),)))
    assert is_another(THREE, msgspec.structs.replace(THREE, freezes=1))
    assert not is_another(THREE, view(*THREE.members, number=8))
    assert not is_another(joins, view(*THREE.members, member(D)))
    assert not is_another(leaves, view(member(A), member(B), left=((C, 1),)))


def begun(*, is_urgent: bool = True) -> tuple[Course, Directory]:
    """Return a course whose wave gives colony 1 a second copy."""
    course, directory = Course(), Directory(2)
    directory.learn(Located(0, 1, 1, A, (A, B)))
    directory.learn(Located(1, 2, 1, C, (C,)))
    heard = {**HEARD, A: Census(7, (CensusPeer(0, 1, 1, True),), 1)}
    course.view_installed(THREE)
    course.counted(THREE, HEIRS, heard)
    assert course.is_due
    course.begin([Candidate(m.id) for m in THREE.members], 2, THREE, directory)
    course.advance(directory, 0.0, is_urgent=is_urgent)
    return course, directory


def test_it_comes_to_the_same_however_small_the_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = begun()
    monkeypatch.setattr(courses, "BUDGET", 1)
    course, directory = begun()
    assert course.goal(1) is None, "it is not known yet"
    for _ in range(100):
        course.advance(directory, 0.0)
    goal = course.goal(1)
    assert goal is not None and goal == whole.goal(1)
    assert set(course.open) == set(whole.open) == {1}


def test_the_first_bits_are_small_unless_it_is_urgent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courses, "BUDGET_FIRST", 1)
    course, directory = begun(is_urgent=False)
    assert course.is_planning and not begun()[0].is_planning
    for _ in range(10):
        course.advance(directory, 0.0, is_urgent=False)
    assert not bool(course.is_planning), "each is twice the one before"


def test_what_moves_while_it_is_worked_out_undoes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courses, "BUDGET", 1)
    course, directory = begun()
    for number in range(2, 100):
        if not course.is_planning:
            break
        entry = Located(1, number, number, (A, C)[number % 2], (A, C))
        directory.learn(entry)
        course.located(entry)
        course.advance(directory, 0.0)
    assert not course.is_planning and number > 5 and course.goal(1) is not None


def test_it_is_over_once_all_stand_where_they_are_to_stand() -> None:
    course, directory = begun()
    goal = course.goal(1)
    assert course.open == {1} and goal is not None and goal.primary == C
    entry = Located(1, 2, 2, C, goal.holders)
    directory.learn(entry)
    course.located(entry)
    assert course.advance(directory, 0.1) == "" and not course.is_active


def test_it_is_over_if_nobody_gets_any_further() -> None:
    course, directory = begun()
    course.advance(directory, 1.0)
    course.advance(directory, 1.0 + STALLED_S - 0.1)
    assert course.is_active
    why = course.advance(directory, 1.0 + STALLED_S)
    assert why == "nobody has got further for 5 s, with 1 colonies left"
    assert not bool(course.is_active)


def test_sizes_and_offers_that_nobody_takes_are_no_steps() -> None:
    """A colony that its target refused, in a cluster that is being filled: nobody ever saw the wave's end."""
    course, directory = begun()
    goal = course.goal(1)
    assert goal is not None
    target, now_s = goal.holders[1], 0.0
    for change in range(2, 30):
        now_s += 0.25
        offered = (target,) if change % 2 else ()
        for entry in (
            Located(0, 1, change, A, (A, B), bytes_used=change << 20),
            Located(1, 2, change, C, (C,), bytes_used=change << 20, learners=offered),
        ):
            directory.learn(entry)
            course.located(entry)
        if now_s <= COMES_S:
            assert not course.has_come(target, directory, now_s)
        course.advance(directory, now_s)
    assert not course.is_active


def test_whatever_a_colony_gets_is_a_step() -> None:
    course, directory = begun()
    wave = course._wave
    assert wave is not None
    wave.goals[1] = Goal(1, B, (B, A, C), "")
    course._led.clear()
    for change, peers in enumerate([(C, A), (C, A, B)], 2):
        course.advance(directory, change * STALLED_S - 0.1)
        entry = Located(1, 2, change, C, peers)
        directory.learn(entry)
        course.located(entry)
        course.advance(directory, change * STALLED_S)
        assert course.is_active
    assert course.steps(directory.entries[1]) == [B], "the role"


def test_a_host_has_its_share_once_it_has_what_the_wave_has_for_it() -> None:
    course, directory = begun()
    goal = course.goal(1)
    assert goal is not None and course.steps(directory.entries[1]) == [goal.holders[1]]
    other = next(host for host in (A, B) if host not in goal.holders)
    assert course.busiest == 1
    assert course.has_come(other, directory, 0.1) and not course.has_come(goal.holders[1], directory, 0.1)
    assert course.has_come(goal.holders[1], directory, 0.1 + COMES_S), "it waits for nobody for ever"
    entry = Located(1, 2, 2, C, goal.holders)
    directory.learn(entry)
    course.located(entry)
    assert course.has_come(goal.holders[1], directory, 0.2)


def test_a_colony_that_is_refused_again_goes_its_own_way() -> None:
    course, _ = begun()
    goal = course.goal(1)
    assert goal is not None
    course.refused(1, goal.holders[1])
    assert course.goal(1) is not None
    course.refused(1, goal.holders[1])
    assert course.goal(1) is None


def test_a_view_that_only_ends_a_join_goes_on_with_it() -> None:
    course, _ = begun()
    course.view_installed(view(*THREE.members, number=8))
    assert course.is_active
    course.view_installed(view(member(A), member(B), dead=((C, 1),)))
    assert not course.is_active


FOUR = [Candidate(host) for host in (A, B, C, D)]
GOAL = Goal(0, C, (C, A), "h3 has room")


def facts(primary: str, *others: str, coming: tuple[str, ...] = ()) -> Facts:
    return Facts(0, primary, (primary, *others), coming, (), 10, leaving=Cause("view", view=1))


def test_a_missing_copy_is_made_where_the_wave_has_it() -> None:
    order = wave_step(facts(A), FOUR, 2, goal=GOAL, weight_max=7)
    assert isinstance(order, CloneOrdered) and (order.target, order.weight_max) == (C, 7)
    assert "which all hosts work out alike: h3 has room" in order.reason
    refused = [Candidate(A), Candidate(C, accepts=False)]
    assert wave_step(facts(A), refused, 2, goal=GOAL) is None, "then it goes by its own rules"
    assert wave_step(facts(A, coming=(B,)), FOUR, 2, goal=GOAL) is None


def test_a_copy_moves_then_the_one_behind_goes_and_the_role_last() -> None:
    found = wave_move(facts(A, B), FOUR, goal=GOAL)
    assert found is not None
    assert isinstance(found[0], CloneOrdered) and (found[0].target, found[0].source) == (C, B)
    assert wave_step(facts(A, B), FOUR, 2, goal=GOAL) is None, "nothing is urgent"
    order = wave_step(facts(A, B, C), FOUR, 2, goal=GOAL)
    assert isinstance(order, RetireOrdered) and order.target == B
    found = wave_move(facts(A, C), FOUR, goal=GOAL)
    assert found is not None and isinstance(found[0], HandOverOrdered) and found[0].target == C
    assert wave_move(facts(C, A), FOUR, goal=GOAL) is None


def test_the_last_copies_never_go_for_a_goal() -> None:
    assert wave_step(facts(A, B), FOUR, 2, goal=Goal(0, A, (A,), "")) is None
    assert wave_step(facts(B, D), FOUR, 2, goal=GOAL) is None


def test_who_leaves_hands_over_to_whom_the_wave_names() -> None:
    goes = [Candidate(A), Candidate(B, accepts=False, leaving=True), Candidate(C), Candidate(D)]
    order = wave_step(facts(B, A), goes, 2, goal=GOAL)
    assert isinstance(order, HandOverOrdered) and order.target == A
    order = wave_step(facts(A, B, C), goes, 2, goal=GOAL)
    assert isinstance(order, RetireOrdered) and order.target == B


def test_a_role_that_goes_in_circles_is_given_up() -> None:
    """Two hosts whose waves differ would give it to each other for ever, and nobody would serve."""
    course, _ = begun()
    assert course.goal(1) is not None
    assert [course.may_lead_away(1) for _ in range(LED_AWAY_MAX + 1)] == [True] * LED_AWAY_MAX + [False]
    assert course.goal(1) is None, "it goes its own way"
    course.end()
    assert course.may_lead_away(1), "until the next wave"


def test_what_others_undo_goes_its_own_way_and_a_wave_undone_again_and_again_is_over() -> None:
    """A host whose wave is over evens roles out by itself: one that still followed it gave them back."""
    course, directory = begun()
    wave = course._wave
    assert wave is not None and 1 in course.open
    undone = range(2, 2 + UNDONE_MAX)
    wave.goals.update({colony: Goal(colony, C, (C, B), "") for colony in undone})
    for colony in undone:
        course.located(Located(colony, 2, 2, C, (B, C)))
        assert course.is_active and course.goal(colony) is not None
        course.located(Located(colony, 3, 3, B, (B, C)))
        assert course.goal(colony) is None and course.open == {1}
        why = course.advance(directory, 0.1)
    assert not course.is_active and why.startswith("others have led 3 colonies away")
