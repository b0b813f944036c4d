"""Foresight: what is rehearsed from a status is about what comes; a hundred run by `make foresight`."""

from __future__ import annotations

from dataclasses import replace

import pytest

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


def test_what_comes_is_about_what_was_foreseen() -> None:
    """A death, a box, a leave and a join: which copies go, how many and how heavy; not each one's target."""
    rows = [row_of(compared(change)) for change in changes(4, seed=1, small=True)]
    for row in rows:
        assert row["settled"], row
        assert row["lost"], row
        assert not row["unrest"], row
        assert row["copies off"] <= 0.35, row
        assert row["bytes off"] <= 0.5, row
    told, came, both = (sum(row["leave"][part] for row in rows) for part in range(3))
    assert both >= 0.5 * max(told, came)
    assert "of 4 changes foreseen" in next(sums(rows))


def test_the_rehearsal_of_another_change_is_found_out() -> None:
    """The same cluster, but another host dies on the stage than in life: nearly nothing of it comes."""
    change = replace(next(changes(1, seed=1, small=True)), before="", what="kill h1")
    cluster = stood(change)
    told = foretold(cluster, replace(change, what="kill h2"))
    row = row_of(made(cluster, change, *told))
    assert not row["equal"]
    assert row["leave"][2] <= 0.2 * row["leave"][1]
