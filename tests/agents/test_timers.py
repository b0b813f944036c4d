"""Deadlines: soonest first, equal ones in order, none lost."""

from __future__ import annotations

from agents.timers import Timers


def test_due_alarms_ring_soonest_first_and_equal_ones_in_order() -> None:
    timers, rung = Timers(), []
    timers.at(2.0, lambda now_s: rung.append("c"))
    timers.at(1.0, lambda now_s: rung.append("a"))
    timers.at(1.0, lambda now_s: rung.append("b"))
    timers.at(9.0, lambda now_s: rung.append("never"))
    assert timers.run_due(2.0) == 3
    assert rung == ["a", "b", "c"]
    assert timers.next_s == 9.0


def test_an_alarm_that_sets_itself_again_at_once_waits_for_the_next_turn() -> None:
    timers, rung = Timers(), []

    def again(now_s: float) -> None:
        rung.append(now_s)
        timers.at(now_s, again)

    timers.at(1.0, again)
    assert timers.run_due(1.0) == 1
    assert timers.run_due(1.5) == 1
    assert rung == [1.0, 1.5]
    assert len(timers) == 1


def test_a_flood_of_due_alarms_is_worked_off_in_turns() -> None:
    timers, rung = Timers(), []
    for number in range(5):
        timers.at(0.0, lambda now_s, number=number: rung.append(number))  # type: ignore[misc]
    assert timers.run_due(1.0, alarms_max=3) == 3
    assert timers.run_due(1.0, alarms_max=3) == 2
    assert rung == [0, 1, 2, 3, 4]


def test_without_alarms_the_next_one_is_infinitely_far() -> None:
    assert Timers().next_s == float("inf")
