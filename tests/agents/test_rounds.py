"""In which order the colonies of a host are looked at."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from agents.rounds import IMPROVE_BUSY, IMPROVE_IDLE, SWEEP_MAX, SWEEP_S, Rounds


def led(count: int) -> Any:
    """Return machines of which all but the first are primaries."""
    return {colony: SimpleNamespace(primary=object() if colony else None) for colony in range(count + 1)}


def test_sweeps_go_round_a_bounded_number_at_a_time() -> None:
    rounds, machines = Rounds(), led(SWEEP_MAX + 6)
    assert rounds.is_due(0.0)
    assert rounds.sweep(machines, 0.0) == list(range(1, SWEEP_MAX + 1))
    assert not rounds.is_due(SWEEP_S - 0.01) and rounds.is_due(SWEEP_S)
    assert rounds.sweep(machines, 1.0) == list(range(SWEEP_MAX + 1, SWEEP_MAX + 7))
    assert rounds.sweep(machines, 2.0) == list(range(1, SWEEP_MAX + 1))
    rounds.view_installed()
    assert rounds.is_due(2.0)


def test_all_are_asked_twice_and_then_fewer_at_a_time_until_something_stirs() -> None:
    rounds = Rounds()
    assert list(rounds.few()) == [], "nothing is led here"
    rounds.sweep(led(20), 0.0)
    asked = [list(rounds.few()) for _ in range(3)]
    assert [len(some) for some in asked] == [IMPROVE_BUSY] * 3 and rounds.turn == 3
    assert set(asked[0] + asked[1]) == set(rounds.mine)
    assert (rounds.is_settled, len(list(rounds.few()))) == (True, IMPROVE_IDLE)
    rounds.stirred()
    assert (rounds.is_settled, len(list(rounds.few()))) == (False, IMPROVE_BUSY)
