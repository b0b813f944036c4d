"""Sides that go on alone and meet again lose nothing without a word.

What is checked after every event, and at the end, stands in `available.py`.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.sim.available_plans import SIDE_PLANS, available, play_sides
from tests.sim.plans import written
from tests.sim.runs import Run


def judge(runs: list[Run]) -> None:
    broken = [str(run) for run in runs if run.complaints]
    assert not broken, "\n\n".join(broken[:5])


def played(plan: str, names: str, **options: Any) -> Run:
    """Return a run of a written plan, with a copy of everything on every host."""
    options = {"attested": False, "charter": available(len(names)), "notes": True} | options
    run = play_sides(4, "written", faults=written(plan), names=names, **options)
    judge([run])
    return run


def notes(run: Run, kind: str) -> list[str]:
    """Return who made notes of a kind."""
    return [host for _, host, note in run.notes if note.kind == kind]


@pytest.mark.parametrize("plan", SIDE_PLANS)
def test_some_splits(plan: str) -> None:
    judge([play_sides(seed, plan) for seed in range(1)])


@pytest.mark.sim
@pytest.mark.timeout(900)
@pytest.mark.parametrize("plan", SIDE_PLANS)
def test_many_splits(plan: str) -> None:
    runs = [play_sides(seed, plan) for seed in range(1, 41)]
    judge(runs)
    assert sum(run.commits for run in runs) > 1000


def test_of_two_hosts_each_goes_on_and_the_junior_is_merged() -> None:
    run = play_sides(
        3, "two", faults=written("0.5 cut A|B for 4"), names="AB", charter=available(2), notes=True
    )
    assert set(notes(run, "recover")) == {"A", "B"}
    assert len(notes(run, "give_in")) == 1


def test_the_majority_wins_over_who_went_on_alone() -> None:
    run = play_sides(
        3, "three", faults=written("0.5 cut A|BC for 5"), names="ABC", charter=available(3), notes=True
    )
    assert notes(run, "recover") == ["A"] and notes(run, "give_in") == ["A"]


def test_stalled_hosts_that_come_back_together_win_over_the_one_that_went_on() -> None:
    run = played("0.5 pause B for 5\n0.5 pause C for 5", "ABC")
    assert notes(run, "recover") == ["A"] and notes(run, "give_in") == ["A"]


def test_an_attested_death_is_not_waited_for() -> None:
    plan = written("1 kill B")
    run = play_sides(
        5, "seen", faults=plan, names="AB", charter=available(2), notes=True, machines=1, attested=True
    )
    (forced,) = [at_s for at_s, _, note in run.notes if note.kind == "recover"]
    (confirmed,) = [at_s for at_s, _, note in run.notes if note.kind == "confirmed"][:1]
    assert forced - confirmed < 0.1 and "lease_wait" not in {note.kind for _, _, note in run.notes}


def test_hosts_that_hear_a_majority_go_on_with_it_however_many_ballots_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agents.council.FAILS_MAX", 0)
    run = play_sides(3, "back", faults=written("0.5 cut A|B for 4"), names="AB", charter=available(2))
    judge([run])


# Two sides that gave in to each other; one that nothing was committed on, of which another forked;
# a host that two sides had admitted; changes that were handed to one winner, and then to a better one;
# a merge that waited for a move of a cell, which waited for the end of the merge.
FOUND = [
    ("flapping", 135),
    ("split_again", 52),
    ("split_and_killed", 89),
    ("split_again", 104),
    ("split_and_moved_cells", 2076),
]


@pytest.mark.parametrize(("plan", "seed"), FOUND)
def test_what_once_went_wrong(plan: str, seed: int) -> None:
    judge([play_sides(seed, plan)])


@pytest.mark.parametrize("seed", range(4))
def test_who_is_left_of_a_losing_side_hands_on_at_once_what_one_led_that_has_crossed(seed: int) -> None:
    """Its last word, that it was all handed on, is lost with the link that it hangs up."""
    run = play_sides(
        seed,
        "four",
        faults=written("0.5 cut AB|CD for 5"),
        names="ABCD",
        charter=available(4),
        notes=True,
        attested=False,
        length_s=12.0,
    )
    judge([run])
    crossed_s = [at_s for at_s, _, note in run.notes if note.kind == "undead"]
    assert len(crossed_s) == 2 and crossed_s[1] - crossed_s[0] < 1.0
