"""Merge functions see entries, and give one of them, a value, or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from colony.codecs import CLOUDPICKLE, JSON
from colony.drafts import Entry
from colony.merges import policy_of, run_merge

OURS = (7, None, JSON.encode({"n": 1}))
THEIRS = (9, 60.0, JSON.encode({"n": 2}))


def test_a_function_makes_one_value_of_two_in_their_codec() -> None:
    seen: list[Any] = []

    def add(key: Any, ours: Entry | None, theirs: Entry | None) -> Any:
        seen.append((key, ours, theirs))
        assert ours is not None and theirs is not None
        return {"n": ours.value["n"] + theirs.value["n"]}

    assert run_merge(add, b"k", OURS, THEIRS) == JSON.encode({"n": 3})
    assert seen == [("k", Entry({"n": 1}, 7, None), Entry({"n": 2}, 9, 60.0))]


def test_one_of_both_entries_is_kept_as_it_is_and_none_is_a_death() -> None:
    assert run_merge(lambda key, ours, theirs: theirs, b"k", OURS, THEIRS) == THEIRS[2]
    assert run_merge(lambda key, ours, theirs: ours, b"k", OURS, None) == OURS[2]
    assert run_merge(lambda key, ours, theirs: None, b"k", OURS, THEIRS) is None


def test_sessions_are_merged_attribute_by_attribute() -> None:
    ours = (3, None, (("a", CLOUDPICKLE.encode(1)), ("b", CLOUDPICKLE.encode(2))))
    theirs = (4, None, (("b", CLOUDPICKLE.encode(5)), ("c", CLOUDPICKLE.encode(6))))

    def union(key: Any, one: Entry | None, other: Entry | None) -> Any:
        assert one is not None and other is not None
        return one.value | other.value

    made = run_merge(union, b"s", ours, theirs)
    assert isinstance(made, tuple)
    assert {name: CLOUDPICKLE.decode(blob) for name, blob in made} == {"a": 1, "b": 5, "c": 6}


def test_policies_are_checked_before_a_host_starts() -> None:
    assert (policy_of("latest"), policy_of("winner"), policy_of(print)) == ("latest", "winner", "function")
    with pytest.raises(ValueError, match="latest, winner or a function"):
        policy_of("oldest")
    with pytest.raises(TypeError, match="int"):
        policy_of(3)  # type: ignore[arg-type]
