"""Cells that go to live in another colony, as a user's store sees them."""

from __future__ import annotations

from typing import Any

import pytest

import colony
from agents.keys import colony_of
from agents.messages.replication import AWAY
from agents.places import GUEST_STATES
from colony import directory
from colony.store import Store
from colony.testing import SimulatedCluster

COLONIES = 8


def a_key(home: int, name: str = "k") -> str:
    """Return a key whose home is this colony."""
    keys = (f"{name}{number}" for number in range(1000))
    return next(key for key in keys if colony_of(key.encode(), COLONIES) == home)


@pytest.fixture
def cluster() -> SimulatedCluster:
    return SimulatedCluster(hosts=4, peers=2, colonies=COLONIES)


@pytest.fixture
def store(cluster: SimulatedCluster) -> Store:
    return cluster.store()


def places(cluster: SimulatedCluster, key: str) -> dict[int, int]:
    """Return what primaries remember of a cell: colony -> state."""
    found = {}
    for process in cluster._simulation.processes():
        for number, machine in process.container.colonies.items():
            place = machine.peer.cells.places.get(key.encode())
            if machine.primary is not None and place is not None:
                found[number] = place.state
    return found


def held_by(cluster: SimulatedCluster, colony: int) -> set[str]:
    """Return the hosts that have an ACTIVE peer of a colony."""
    machines = {p.home.name: p.container.colonies.get(colony) for p in cluster._simulation.processes()}
    return {name for name, machine in machines.items() if machine is not None and machine.role is not None}


def test_a_cell_lives_with_another_and_is_the_same(cluster: SimulatedCluster, store: Store) -> None:
    key, other = a_key(1), a_key(5)
    store.set(key, "mine", ttl=600)
    store[other] = "theirs"
    before = store.entry(key)
    assert store.colocate(key, other)
    assert cluster.primary_of(key) == cluster.primary_of(other)
    assert store.locate(key) == 5 and places(cluster, key)[1] == AWAY
    after = cluster.store().entry(key)
    assert before is not None and after is not None
    assert (after.value, after.version) == ("mine", before.version), "a move is no change"
    assert after.ttl_s == pytest.approx(before.ttl_s, abs=1.0), "and no longer life"
    assert store.replace(key, "changed", version=after.version) > after.version
    assert store.mutate(key, lambda value: value + "!") == "changed!"
    assert sorted(store.keys()) == sorted([key, other]), "each is listed once"


def test_to_be_asked_twice_does_no_harm_and_an_absent_cell_is_no_error(store: Store) -> None:
    key, other = a_key(1), a_key(5)
    assert not store.colocate(key, other), "there is no such cell"
    store[key] = 1
    assert store.colocate(key, other) and store.colocate(key, other)
    assert store.locate(key) == 5


def test_a_cell_goes_on_to_a_third_colony_and_home_again(cluster: SimulatedCluster, store: Store) -> None:
    key = a_key(1)
    store[key] = 1
    versions = [store.set(key, 1)]
    for home in (5, 2, 1, 5):
        assert store.colocate(key, a_key(home, "other"))
        assert cluster.store().locate(key) == home
        versions.append(store.mutate(key, lambda value: value + 1) and store.entry(key).version)  # type: ignore[union-attr]
        cluster.run(0.1)  # what a stay leaves behind goes
        left = places(cluster, key)
        assert set(left) <= {1, home}, f"nothing is remembered elsewhere: {left}"
        assert (1 in left) == (home != 1), "home forgets that a cell was away when it is back"
    assert store[key] == 5
    assert versions == sorted(set(versions)), "versions grow wherever it lives"


@pytest.mark.parametrize("how", ["delete", "expire"])
def test_who_dies_elsewhere_is_born_at_home_again(cluster: SimulatedCluster, store: Store, how: str) -> None:
    key = a_key(1)
    store.set(key, "old", ttl=5)
    for _ in range(50):  # the other colony's seqs go far above those of home
        store[a_key(5)] = 1
    assert store.colocate(key, a_key(5))
    last = store.set(key, "older", ttl=5)
    if how == "delete":
        assert store.delete(key)
    else:
        cluster.run(6.0)
    assert store.get(key) is None and list(store.keys("k")) == [a_key(5)]
    assert store.set(key, "new") > last, "no later cell of a key has an earlier one's version"
    assert store.locate(key) == 1 and places(cluster, key) == {}


def test_a_colony_that_is_lost_takes_its_guests_along(store: Store, cluster: SimulatedCluster) -> None:
    """Both ways: home forgets a guest that nobody has, and takes one back that it has forgotten."""
    holders = {colony: held_by(cluster, colony) for colony in range(COLONIES)}
    lost, there = next((a, b) for a in holders for b in holders if not holders[a] & holders[b])
    guest, stranger = a_key(there, "guest"), a_key(lost, "stranger")
    store[guest] = store[stranger] = 1
    assert store.colocate(guest, a_key(lost, "x")) and store.colocate(stranger, a_key(there, "x"))
    for name in holders[lost]:
        cluster.kill(name)
        cluster.after(0.1, lambda name=name: cluster.start(name))  # type: ignore[misc]
    cluster.run(10.0)
    cluster.settle()
    cluster.run(3.0)
    assert store.get(guest, timeout=20.0) is None, "it was lost with the colony that housed it"
    assert store.get(stranger, timeout=20.0) == 1, "it lives in a colony that was not lost"
    assert store.locate(stranger) == lost, "its home has called it back"
    store[guest] = 2
    assert store[guest] == 2 and store.locate(guest) == there
    assert places(cluster, guest) == places(cluster, stranger) == {}


def test_a_client_remembers_a_bounded_number_of_cells_away(
    cluster: SimulatedCluster, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "FORWARDS_MAX", 4)
    keys = [a_key(1, f"{number}-") for number in range(6)]
    leaders = cluster.primaries()  # a host that leads both colonies has nobody to send on to
    there = next(colony for colony in leaders if leaders[colony] != leaders[1])
    for key in keys:
        store[key] = key
        assert store.colocate(key, a_key(there))
        assert store[key] == key
    forwards: Any = store._transport.learn(1.0).forwards
    assert 0 < len(forwards) <= 4
    assert [store[key] for key in keys] == keys


def test_primaries_that_change_know_what_is_where(store: Store, cluster: SimulatedCluster) -> None:
    key = a_key(1)
    store[key] = 0
    assert store.colocate(key, a_key(5))
    for round_ in range(3):
        for home in (1, 5):
            victim = cluster.primary_of(a_key(home, "x"))
            cluster.kill(victim)
            assert store.mutate(key, lambda value: value + 1, timeout=30.0)
            cluster.start(victim)
            cluster.run(2.0)
            cluster.settle()
        assert store[key] == 2 * round_ + 2
    assert store.locate(key) == 5
    states = places(cluster, key)
    assert set(states) == {1, 5} and states[5] in GUEST_STATES


def test_colocate_says_when_it_can_not(store: Store, cluster: SimulatedCluster) -> None:
    key = a_key(1)
    store[key] = 1
    cluster.cut("A-B A-C A-D B-C B-D C-D")
    cluster.run(2.0)
    with pytest.raises(colony.Unavailable):
        store.colocate(key, a_key(5), timeout=1.0)
    cluster.heal()
    cluster.settle()
    assert store[key] == 1
