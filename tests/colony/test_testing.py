"""Simulated clusters for users: their code, real machines, virtual time."""

from __future__ import annotations

import time
from typing import Any

import pytest

import colony
from colony.testing import SimulatedCluster, colony_cluster

__all__ = ["colony_cluster"]  # a fixture, as a user's conftest.py would have it


def test_a_cart_survives_the_death_of_its_host(colony_cluster: SimulatedCluster) -> None:
    store = colony_cluster.store()
    store["cart"] = ["tea"]
    dead = colony_cluster.primary_of("cart")
    colony_cluster.kill(dead)
    assert store["cart"] == ["tea"]
    assert colony_cluster.primary_of("cart") not in ("", dead)


def test_a_write_in_the_middle_of_which_its_host_dies_is_applied_once() -> None:
    for seed in range(5):
        with SimulatedCluster(seed=seed) as cluster:
            store = cluster.store()
            store["count"] = 0
            cluster.after(0.003, lambda cluster=cluster: cluster.kill(cluster.primary_of("count")))  # type: ignore[misc]
            for _ in range(3):
                store.mutate("count", lambda value: value + 1)
            assert store["count"] == 3


def test_a_minority_says_so_and_serves_again_after_the_cut(colony_cluster: SimulatedCluster) -> None:
    store = colony_cluster.store(timeout=2.0)
    store["k"] = 1
    colony_cluster.cut("A-B A-C B-C")
    colony_cluster.run(1.0)  # the last lease runs out
    with pytest.raises(colony.Unavailable):
        store.get("k")
    with pytest.raises(colony.ColonyError):
        store["k"] = 2
    colony_cluster.heal()
    colony_cluster.settle()
    assert store["k"] in (1, 2), "an unknown outcome may be either, but it is one of them"


def test_sessions_expire_in_virtual_time_and_nobody_sleeps(colony_cluster: SimulatedCluster) -> None:
    began_s = time.perf_counter()
    store = colony_cluster.store()
    with store.session("sid", ttl=1800) as session:
        session["user"] = "ada"
    colony_cluster.run(20.0)
    assert "sid" in store
    entry = store.entry("sid")
    assert entry is not None
    assert entry.ttl_s == pytest.approx(1780.0, abs=5.0)
    assert time.perf_counter() - began_s < 30.0


def test_hosts_join_leave_stop_and_come_back() -> None:
    with SimulatedCluster(hosts=3, colonies=4) as cluster:
        store = cluster.store()
        store.set_many({f"k{n}": n for n in range(20)})
        cluster.start("D")
        cluster.run(10.0)
        cluster.leave("A")
        cluster.run(20.0)
        assert cluster.hosts == ["B", "C", "D"]
        cluster.stop("B")
        assert store.get_many(["k3", "k4"]) == {"k3": 3, "k4": 4}
        cluster.resume("B")
        cluster.settle()
        cluster.kill("C")
        cluster.start("C")
        assert sorted(store.values()) == list(range(20))


def test_the_same_seed_is_the_same_run() -> None:
    def run(seed: int) -> list[Any]:
        with SimulatedCluster(seed=seed) as cluster:
            store = cluster.store()
            versions: list[Any] = [store.set(f"k{n}", n) for n in range(5)]
            return [*versions, cluster.now_s, cluster.primaries()]

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_what_a_function_raises_reaches_its_caller(colony_cluster: SimulatedCluster) -> None:
    with pytest.raises(colony.ColonyError, match="ZeroDivisionError"):
        colony_cluster.store().mutate("k", lambda value: 1 // 0)


def test_wrong_names_are_told() -> None:
    with pytest.raises(ValueError, match="hosts"):
        SimulatedCluster(hosts=27)
    with (
        SimulatedCluster(hosts=1, peers=1, colonies=1) as cluster,
        pytest.raises(ValueError, match="no host 'Z'"),
    ):
        cluster.kill("Z")


def test_a_closed_store_takes_no_calls(colony_cluster: SimulatedCluster) -> None:
    store = colony_cluster.store()
    store.close()
    with pytest.raises(colony.ColonyError):
        store.get("k")
