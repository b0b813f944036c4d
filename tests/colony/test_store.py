"""The store: what each call means, against fake hosts."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

import colony
from agents.messages import client as m
from tests.colony.fake_hosts import FakeCluster


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with FakeCluster(3, colonies=8) as made:
        yield made


@pytest.fixture
def store(cluster: FakeCluster) -> Iterator[colony.Store]:
    with colony.connect(cluster.addresses) as made:
        yield made


# -- one cell --------------------------------------------------------------------


def test_set_gives_a_version_that_grows(store: colony.Store) -> None:
    first = store.set("k", 1)
    assert 0 < first < store.set("k", 2)


def test_get_gives_the_value_or_the_default(store: colony.Store) -> None:
    assert store.get("k") is None
    assert store.get("k", 5) == 5
    store.set("k", None)
    assert store.get("k", 5) is None, "None is a value"


def test_conditions(store: colony.Store) -> None:
    assert store.set("k", 1, only_if="present") == 0
    assert store.set("k", 1, only_if="absent") > 0
    assert store.set("k", 2, only_if="absent") == 0
    assert store.set("k", 3, only_if="present") > 0
    assert store["k"] == 3


def test_add_says_whether_it_did(store: colony.Store) -> None:
    assert store.add("k", 1) is True
    assert store.add("k", 2) is False
    assert store["k"] == 1


def test_replace_wants_the_version(store: colony.Store) -> None:
    version = store.set("k", 1)
    newer = store.replace("k", 2, version=version)
    assert newer > version
    with pytest.raises(colony.VersionConflict) as caught:
        store.replace("k", 3, version=version)
    assert caught.value.version == newer
    with pytest.raises(colony.VersionConflict) as caught:
        store.replace("missing", 3, version=version)
    assert caught.value.version == 0


def test_entry_tells_version_and_time(store: colony.Store) -> None:
    version = store.set("k", [1], ttl=1800)
    assert store.entry("k") == colony.Entry([1], version, 1800.0)
    store.set("k", [1])
    entry = store.entry("k")
    assert entry is not None and entry.ttl_s is None
    assert store.entry("missing") is None


def test_set_without_ttl_clears_it_and_keep_keeps_it(store: colony.Store) -> None:
    store.set("k", 1, ttl=100)
    store.set("k", 2, ttl=colony.KEEP)
    assert store.entry("k").ttl_s == 100  # type: ignore[union-attr]
    store.set("k", 3)
    assert store.entry("k").ttl_s is None  # type: ignore[union-attr]


def test_touch_and_delete_say_whether_there_was_a_cell(store: colony.Store) -> None:
    assert store.touch("k", ttl=5) is False
    assert store.delete("k") is False
    store.set("k", 1)
    assert store.touch("k", ttl=5) is True
    assert store.entry("k").ttl_s == 5  # type: ignore[union-attr]
    assert store.delete("k") is True
    assert "k" not in store


def test_delete_of_a_version_wants_that_version(store: colony.Store) -> None:
    version = store.set("k", 1)
    with pytest.raises(colony.VersionConflict):
        store.delete("k", version=version + 1)
    assert store.delete("k", version=version) is True


def test_mutate_runs_where_the_cell_lives(store: colony.Store) -> None:
    assert store.mutate("n", lambda value, more: value + more, 5, default=1) == 6
    assert store.mutate("n", lambda value, more: value + more, 5, default=1) == 11
    assert store["n"] == 11


def test_mutate_tells_what_the_function_raised(store: colony.Store) -> None:
    with pytest.raises(colony.ClosureFailed, match="ZeroDivisionError") as caught:
        store.mutate("n", lambda value: 1 / 0)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert "n" not in store


def test_bytes_and_text_keys_are_one_cell(store: colony.Store) -> None:
    store["clé"] = 1
    assert store["clé".encode()] == 1


# -- refused before anything is sent -----------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda s: s.set("k", 1, ttl=0), ValueError),
        (lambda s: s.set("k", 1, ttl=-1), ValueError),
        (lambda s: s.set("k", 1, ttl=math.inf), ValueError),
        (lambda s: s.set("k", 1, ttl=math.nan), ValueError),
        (lambda s: s.set("k", 1, ttl=True), TypeError),
        (lambda s: s.set("k", 1, ttl="5"), TypeError),
        (lambda s: s.set("k", 1, only_if="maybe"), ValueError),
        (lambda s: s.set("k", 1, timeout=0), ValueError),
        (lambda s: s.set("k", 1, timeout=61), ValueError),
        (lambda s: s.set("k", 1, timeout="1"), TypeError),
        (lambda s: s.set("", 1), ValueError),
        (lambda s: s.set("k" * 1025, 1), ValueError),
        (lambda s: s.set(5, 1), TypeError),
        (lambda s: s.get(None), TypeError),
        (lambda s: s.replace("k", 1, version=0), ValueError),
        (lambda s: s.replace("k", 1, version="7"), TypeError),
        (lambda s: s.set("k", (x for x in "")), colony.CodecError),
        (lambda s: s.mutate("k", "no function"), TypeError),
        (lambda s: s.set_many({"k": 1, "": 2}), ValueError),
        (lambda s: s.session("", ttl=5), ValueError),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_sent(
    cluster: FakeCluster, store: colony.Store, wrong: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        wrong(store)
    sent = [one for host in cluster.hosts for one in host.seen if not isinstance(one, m.Greet)]
    assert sent == []


def test_a_value_over_the_clusters_limit_is_not_sent(cluster: FakeCluster, store: colony.Store) -> None:
    cluster.value_bytes_max = 1000
    with pytest.raises(colony.TooLarge, match="1000"):
        store.set("k", b"x" * 1000)
    with pytest.raises(colony.TooLarge):
        store.set_many({"a": 1, "k": b"x" * 1000})
    assert cluster.cells == {}
    store.set("k", b"x" * 900)


@pytest.mark.parametrize(
    "addresses", ["", "127.0.0.1:7420", "tcp://h", "tcp://h:0", "tcp://h:x", "tcp://:1", []]
)
def test_what_is_no_address_is_refused(addresses: Any) -> None:
    with pytest.raises(ValueError):
        colony.connect(addresses)


def test_connect_checks_its_other_arguments() -> None:
    with pytest.raises(ValueError):
        colony.connect("tcp://127.0.0.1:1", codec="yaml")
    with pytest.raises(ValueError):
        colony.connect("tcp://127.0.0.1:1", timeout=0)
    with pytest.raises(TypeError):
        colony.connect([1])  # type: ignore[list-item]


# -- what hosts refuse ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (m.TOO_LARGE, colony.TooLarge),
        (m.FULL, colony.Full),
        (m.DENIED, colony.Denied),
        (m.WRONG_CLUSTER, colony.WrongCluster),
        (m.BAD, colony.Refused),
    ],
)
def test_a_hosts_refusal_is_an_error_with_its_words(
    cluster: FakeCluster, store: colony.Store, code: int, error: type[Exception]
) -> None:
    for host in cluster.hosts:
        host.script = lambda host, one: (
            m.Reply(one.id, code, text="because") if isinstance(one, m.Put) else None
        )
    with pytest.raises(error, match="because"):
        store.set("k", 1)


def test_cells_of_another_codec_are_told(cluster: FakeCluster, store: colony.Store) -> None:
    store["k"] = 1
    with (
        colony.connect(cluster.addresses, codec="json") as other,
        pytest.raises(colony.CodecError, match="cloudpickle"),
    ):
        other.get("k")


# -- many cells ------------------------------------------------------------------


def test_many_cells_are_set_read_and_deleted(store: colony.Store) -> None:
    values = {f"k{number}": number for number in range(3000)}
    versions = store.set_many(values, ttl=100)
    assert versions.keys() == values.keys() and min(versions.values()) > 0
    assert store.get_many([*values, "missing"]) == values
    assert store.entry("k7").ttl_s == 100  # type: ignore[union-attr]
    assert store.delete_many(["k1", "k2", "missing", "k1"]) == 2
    assert len(store) == 2998


def test_many_cells_share_frames(cluster: FakeCluster, store: colony.Store) -> None:
    store.set_many({f"k{number}": number for number in range(3000)})
    assert sum(host.frames for host in cluster.hosts) < 150


def test_one_lane_has_one_mutation_under_way(cluster: FakeCluster, store: colony.Store) -> None:
    store.set_many({f"k{number}": number for number in range(3000)})
    seen = [(one.lane, one.number) for host in cluster.hosts for one in host.seen if isinstance(one, m.Put)]
    assert len(seen) == len(set(seen)) == 3000
    assert len({lane for lane, _ in seen}) <= 1024


def test_some_keys_that_fail_are_named(cluster: FakeCluster, store: colony.Store) -> None:
    full = b"k2"
    for host in cluster.hosts:
        host.script = lambda host, one: (
            m.Reply(one.id, m.FULL, text="full") if isinstance(one, m.Put) and one.key == full else None
        )
    with pytest.raises(colony.Full, match="1 of 3 keys") as caught:
        store.set_many({"k1": 1, "k2": 2, "k3": 3})
    assert list(caught.value.failed or {}) == ["k2"]
    assert set(store.keys()) == {"k1", "k3"}


def test_no_keys_at_all_are_fine(store: colony.Store) -> None:
    assert store.set_many({}) == {}
    assert store.get_many([]) == {}
    assert store.delete_many([]) == 0


# -- a mapping -------------------------------------------------------------------


def test_it_is_a_mapping(store: colony.Store) -> None:
    store["a"] = 1
    assert store["a"] == 1
    assert "a" in store and "b" not in store
    with pytest.raises(KeyError):
        store["b"]
    with pytest.raises(KeyError):
        del store["b"]
    assert store.setdefault("b", 2) == store.setdefault("b", 3) == 2
    store.update({"c": 3}, d=4)
    assert dict(store) == {"a": 1, "b": 2, "c": 3, "d": 4}
    assert store.pop("a") == 1
    assert sorted(store.values()) == [2, 3, 4]
    store.clear()
    assert len(store) == 0 and store, "an empty store is still a store"


def test_keys_are_found_by_prefix_page_by_page(store: colony.Store) -> None:
    store.set_many({f"user:{number}": 0 for number in range(9000)})
    store.update({"other": 0, b"user:\xff": 0})
    found = store.keys("user:")
    assert len(list(found)) == len(found) == 9001
    assert b"user:\xff" in found and "other" not in found
    assert list(store.keys("o")) == ["other"]


# -- watch, orders, the end ------------------------------------------------------


def test_a_watch_sees_what_happens_after_it_was_made(store: colony.Store) -> None:
    store["w1"] = 0
    with store.watch("w") as watch:
        store["w1"] = 1
        store["x"] = 1
        version = store.set("w2", 1)
        del store["w1"]
        seen = [watch.poll(2.0) for _ in range(3)]
        assert {(event.kind, event.key) for event in seen if event} == {
            ("changed", "w1"),
            ("born", "w2"),
            ("died", "w1"),
        }
        assert version in {event.version for event in seen if event}
        assert watch.poll(0.01) is None


def test_closing_the_store_ends_its_watches(store: colony.Store) -> None:
    watch = store.watch()
    store.close()
    assert list(watch) == []


def test_a_lost_host_is_told_to_a_watch(cluster: FakeCluster, store: colony.Store) -> None:
    with store.watch() as watch:
        cluster.hosts[1].stop()
        assert watch.poll(2.0) == colony.Event("moved", "", 0)


def test_orders_reach_a_host_and_its_answer_comes_back(store: colony.Store) -> None:
    answer = store.admin("status", {"colonies": True})
    assert answer["command"] == "status" and answer["arguments"] == {"colonies": True}


def test_a_closed_store_says_so(store: colony.Store) -> None:
    store["k"] = 1
    store.close()
    store.close()
    for call in (
        lambda: store.get("k"),
        lambda: store.set("k", 1),
        lambda: list(store),
        lambda: store.set_many({"k": 1}),
    ):
        with pytest.raises(colony.Closed):
            call()


def test_a_store_is_not_pickled_by_accident(store: colony.Store) -> None:
    with pytest.raises(TypeError, match="connect"):
        pickle.dumps(store)
