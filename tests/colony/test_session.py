"""Sessions: what a block changed travels, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import colony
from agents.messages import client as m
from colony.codecs import codec_named
from colony.session import SessionState
from tests.colony.fake_hosts import FakeCluster

PICKLE = codec_named("cloudpickle")
LIMIT = 1 << 20


def opened(
    attributes: dict[str, Any] | None, *, ttl: Any = colony.KEEP, conflict: str = "merge", left_ms: int = -1
) -> SessionState:
    """Return a block that has read these attributes at version 7 (None: no cell)."""
    state = SessionState(PICKLE, "sid", ttl, conflict)
    if attributes is None:
        state.began(m.Reply(1, m.ABSENT))
    else:
        stored = tuple((name, PICKLE.encode(value)) for name, value in sorted(attributes.items()))
        state.began(m.Reply(1, m.OK, 7, left_ms, attributes=stored))
    return state


def patch(state: SessionState) -> m.Patch:
    draft = state.draft(LIMIT)
    assert draft is not None
    made = draft[0](1, b"lane", 1, draft[1], *draft[2])
    assert isinstance(made, m.Patch)
    return made


def changed(state: SessionState) -> dict[str, Any]:
    return {name: PICKLE.decode(dna) for name, dna in patch(state).changed}


# -- what travels ----------------------------------------------------------------


def test_reading_sends_nothing() -> None:
    state = opened({"user": "me", "cart": [1, {"a": (2, 3)}], "tags": {"x", "y", "z"}})
    assert {name: state.attributes[name] for name in state.attributes}["user"] == "me"
    assert state.draft(LIMIT) is None


def test_only_a_changed_attribute_travels() -> None:
    state = opened({"user": "me", "cart": [1]})
    state.attributes["user"] = "you"
    assert changed(state) == {"user": "you"}


def test_a_value_changed_in_place_travels() -> None:
    state = opened({"user": "me", "cart": [1]})
    state.attributes["cart"].append(2)
    assert changed(state) == {"cart": [1, 2]}


def test_a_new_value_changed_in_place_after_it_was_set_travels_as_it_ends() -> None:
    state = opened({})
    state.attributes["cart"] = cart = [1]
    cart.append(2)
    assert changed(state) == {"cart": [1, 2]}


def test_a_value_set_to_what_it_was_does_not_travel() -> None:
    state = opened({"user": "me"})
    state.attributes["user"] = "me"
    assert state.draft(LIMIT) is None


def test_a_deleted_attribute_travels_as_a_name() -> None:
    state = opened({"user": "me", "cart": [1]})
    del state.attributes["cart"]
    sent = patch(state)
    assert (sent.changed, sent.gone) == ((), ("cart",))


def test_an_attribute_deleted_and_set_again_is_one_change() -> None:
    state = opened({"cart": [1]})
    del state.attributes["cart"]
    state.attributes["cart"] = [2]
    assert changed(state) == {"cart": [2]}
    assert patch(state).gone == ()


def test_an_attribute_that_came_and_went_leaves_no_trace() -> None:
    state = opened({"user": "me"})
    state.attributes["flash"] = "hello"
    assert state.attributes.pop("flash") == "hello"
    assert state.draft(LIMIT) is None


def test_attributes_are_a_mapping() -> None:
    attributes = opened({"a": 1, "b": 2}).attributes
    attributes["c"] = 3
    del attributes["a"]
    assert dict(attributes) == {"b": 2, "c": 3}
    assert len(attributes) == 2 and "a" not in attributes and attributes.get("a") is None
    with pytest.raises(KeyError):
        attributes["a"]
    with pytest.raises(KeyError):
        del attributes["a"]
    with pytest.raises(TypeError):
        attributes[1] = 2  # type: ignore[index]


def test_pickles_of_another_python_do_not_count_as_changes() -> None:
    import pickle

    state = SessionState(PICKLE, "sid", colony.KEEP, "merge")
    old = b"P" + pickle.dumps([1, 2], protocol=2)
    state.began(m.Reply(1, m.OK, 7, attributes=(("cart", old),)))
    assert state.attributes["cart"] == [1, 2]
    assert state.draft(LIMIT) is None


def test_changes_over_the_limit_are_refused() -> None:
    state = opened({})
    state.attributes["big"] = b"x" * 100
    with pytest.raises(colony.TooLarge):
        state.draft(50)


# -- birth, time to live, conflicts ----------------------------------------------


def test_a_new_session_is_born_with_its_first_attribute_only() -> None:
    state = opened(None, ttl=5)
    assert state.draft(LIMIT) is None
    state.attributes["user"] = "me"
    sent = patch(state)
    assert (sent.create, sent.version, sent.ttl_ms) == (True, 0, 5000)


def test_a_session_that_was_there_is_never_born_again() -> None:
    state = opened({"user": "me"})
    state.attributes["user"] = "you"
    assert not patch(state).create


def test_a_change_gives_the_session_its_time_again() -> None:
    state = opened({"n": 1}, ttl=10, left_ms=9990)
    state.attributes["n"] = 2
    assert patch(state).ttl_ms == 10_000


@pytest.mark.parametrize(
    ("ttl", "left_ms", "kind"),
    [
        (10, 9990, None),
        (10, 5000, m.Touch),
        (10, -1, m.Touch),
        (None, 5000, m.Touch),
        (None, -1, None),
        (colony.KEEP, 5, None),
    ],
)
def test_reading_renews_the_time_only_where_it_matters(ttl: Any, left_ms: int, kind: Any) -> None:
    draft = opened({"n": 1}, ttl=ttl, left_ms=left_ms).draft(LIMIT)
    assert (draft[0] if draft else None) is kind


def test_strict_sessions_name_the_version_they_read() -> None:
    state = opened({"n": 1}, conflict="raise")
    state.attributes["n"] = 2
    assert patch(state).version == 7


def test_a_session_that_died_meanwhile_is_not_brought_back() -> None:
    state = opened({"n": 1})
    state.attributes["n"] = 2
    draft = state.draft(LIMIT)
    assert draft is not None
    with pytest.raises(colony.VersionConflict, match="died"):
        state.ended(m.Reply(1, m.ABSENT), draft)


@pytest.mark.parametrize("wrong", [{"ttl": 0}, {"conflict": "win"}, {"sid": ""}])
def test_wrong_arguments_are_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        SessionState(PICKLE, **{"sid": "sid", "ttl": None, "conflict": "merge", **wrong})


# -- with a store ----------------------------------------------------------------


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with FakeCluster(1) as made:
        yield made


@pytest.fixture
def store(cluster: FakeCluster) -> Iterator[colony.Store]:
    with colony.connect(cluster.addresses) as made:
        yield made


def test_two_blocks_that_change_different_attributes_both_win(store: colony.Store) -> None:
    with store.session("sid") as s:
        s["a"], s["b"] = 0, 0
    with store.session("sid") as first:
        with store.session("sid") as second:
            second["b"] = 2
        first["a"] = 1
    assert store["sid"] == {"a": 1, "b": 2}


def test_a_strict_block_loses_against_any_other_change(store: colony.Store) -> None:
    with store.session("sid") as s:
        s["a"] = 0
    with pytest.raises(colony.VersionConflict) as caught, store.session("sid", conflict="raise") as first:
        with store.session("sid") as second:
            second["b"] = 2
        first["a"] = 1
    assert caught.value.version > 0
    assert store["sid"] == {"a": 0, "b": 2}


def test_a_logout_during_a_block_stands(store: colony.Store) -> None:
    with store.session("sid") as s:
        s["a"] = 0
    with pytest.raises(colony.VersionConflict), store.session("sid") as s:
        store.delete("sid")
        s["a"] = 1
    assert "sid" not in store


def test_a_block_that_raises_changes_nothing(store: colony.Store) -> None:
    with pytest.raises(ZeroDivisionError), store.session("sid") as s:
        s["a"] = 1 / 0
    assert "sid" not in store


def test_a_session_object_serves_one_block_after_another(store: colony.Store) -> None:
    session = store.session("sid")
    for number in range(3):
        with session as s:
            s["n"] = number
    assert store["sid"] == {"n": 2}


def test_a_dict_that_was_set_as_a_whole_is_changed_as_a_whole(store: colony.Store) -> None:
    store["sid"] = {"a": 1, "b": [2]}
    with store.session("sid") as s:
        s["b"].append(3)
    assert store["sid"] == {"a": 1, "b": [2, 3]}


def test_a_plain_value_is_no_session(store: colony.Store) -> None:
    store["sid"] = 4711
    with pytest.raises(colony.CodecError), store.session("sid"):
        pass


def test_a_frames_worth_of_unchanged_attributes_stays_at_home(
    cluster: FakeCluster, store: colony.Store
) -> None:
    with store.session("sid") as s:
        s["big"], s["n"] = b"x" * 10_000, 0
    with store.session("sid") as s:
        s["n"] = 1
    last = [one for one in cluster.hosts[0].seen if isinstance(one, m.Patch)][-1]
    assert [name for name, _ in last.changed] == ["n"]
