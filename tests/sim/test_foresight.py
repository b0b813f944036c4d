"""Foresight: what is rehearsed from a status is about what comes; a hundred run by `make foresight`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agents.course import Course
from tests.sim.foresight import changes, compared, foretold, made, row_of, shifts, stood, sums

pytestmark = pytest.mark.sim


def test_a_shift_says_from_where_to_where() -> None:
    before = [("a", "b"), ("b", "c"), ("c", "a"), ("a", "c")]
    after = [("b", "c"), ("c", "b"), ("c", "a"), ("a", "b", "c")]
    assert shifts(before, after) == {
        ("copy", 0, "a", "c"),
        ("primary", 0, "a", "b"),
        ("primary", 1, "b", "c"),
        ("copy", 3, "", "b"),
    }


def test_what_comes_is_what_was_foreseen_move_by_move() -> None:
    """A death, a box, a leave and a join, with other delays on the stage than in life."""
    rows = [row_of(compared(change)) for change in changes(4, seed=1, small=True)]
    assert [row["said"] for row in rows if not row["equal"]] == []
    for row in rows:
        assert row["settled"] and row["lost"] and not row["unrest"], row
        assert row["whole"][0] > 0, "nothing moved: that is easily foreseen"
    assert "4 of 4 changes foreseen" in next(sums(rows))


def test_without_a_wave_that_all_agree_on_moves_are_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: colonies that decide one by one come to different places."""
    monkeypatch.setattr(Course, "counted", lambda *told: None)
    assert not all(compared(change).is_equal for change in changes(4, seed=1, small=True))


def test_the_rehearsal_of_another_change_is_found_out() -> None:
    """The same cluster, but another host dies on the stage than in life: nearly nothing of it comes."""
    change = replace(next(changes(1, seed=1, small=True)), before="", what="kill h1")
    cluster = stood(change)
    told = foretold(cluster, replace(change, what="kill h2"))
    row = row_of(made(cluster, change, *told))
    assert not row["equal"]
    assert row["leave"][2] <= 0.2 * row["leave"][1]
