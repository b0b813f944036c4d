"""Birth: every founder works out the same, spread and even placement."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placement.birth import PATTERN_MIN, first_placement
from placement.check import check
from placement.labels import Level
from placement.resources import Candidate
from placement.settle import settled_number
from tests.placement.worlds import World, host, hosts_on, no_two_on_one_host, of, topologies


@settings(max_examples=25, deadline=None)
@given(topologies(most=6), st.integers(1, 3), st.integers(1, 16))
def test_a_new_cluster_is_healthy_and_has_nothing_to_move(
    hosts: list[Candidate], wanted: int, colonies: int
) -> None:
    born = first_placement(colonies, wanted, hosts)
    world = World(hosts, of(born))
    assert check(born, world.candidates(), settled_number(wanted, hosts).number) == []
    assert no_two_on_one_host(world)
    assert world.next_move() is None


@pytest.mark.parametrize("boxes", ["a", "abc", "aabbc", "aaaab", "aabbcc", "abcdefg"])
def test_ordinary_clusters_are_born_in_balance(boxes: str) -> None:
    for number in (1, 2, 3):
        hosts = hosts_on(*boxes)
        for colonies in (1, 7, 64):
            world = World(hosts, of(first_placement(colonies, number, hosts)))
            primaries = [one.primaries for one in world.candidates()]
            assert max(primaries) - min(primaries) <= 1
            assert world.next_move() is None


def test_founders_with_other_loads_and_another_order_agree() -> None:
    hosts = hosts_on("b1", "b1", "b2", "b3")
    others = [replace(one, cpu=0.9, copies=77, memory_free=5) for one in hosts]
    random.Random(1).shuffle(others)
    assert first_placement(64, 2, hosts) == first_placement(64, 2, others)


def test_witnesses_get_nothing_and_without_hosts_there_are_no_peers() -> None:
    witness = host("w", accepts=False, witness=True)
    assert all(peers.holders == ("h1",) for peers in first_placement(5, 2, [*hosts_on("b1"), witness]))
    assert all(peers.holders == () for peers in first_placement(5, 2, [witness]))


def test_a_hard_level_is_kept_by_having_fewer_peers() -> None:
    born = first_placement(8, 3, hosts_on("b1", "b1", "b2"), hard=Level.BOX)
    assert all(len(peers.holders) == 2 for peers in born)
    assert all("h3" in peers.holders for peers in born)


def test_many_colonies_repeat_an_even_pattern() -> None:
    hosts = hosts_on("b1", "b1", "b2", "b2", "b3")
    colonies = 3 * PATTERN_MIN + 123
    counts = Counter(holder for peers in first_placement(colonies, 2, hosts) for holder in peers.holders)
    assert max(counts.values()) <= ceil(2 * colonies / 5) + 4
