"""Repulsion: nearer pairs outweigh any number of farther ones."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from placement.labels import Level
from placement.repulsion import NO_PENALTY, Penalty, apart_at_most, near_words, penalty_added, penalty_of
from placement.resources import Candidate
from tests.placement.worlds import host, hosts_on, topologies


def test_pairs_are_counted_by_the_nearest_domain_they_share() -> None:
    hosts = [
        host("a", "b1", "r1", "z1"),
        host("b", "b1", "r1", "z1"),
        host("c", "b2", "r1", "z1"),
        host("d", "b3", "r2", "z2"),
    ]
    assert penalty_of(hosts) == Penalty(host=0, box=1, rack=2, zone=0)
    assert penalty_of([hosts[0], hosts[0]]).host == 1
    assert penalty_of([]) == penalty_of(hosts[:1]) == NO_PENALTY


def test_one_pair_in_a_box_outweighs_many_in_a_rack() -> None:
    assert Penalty(box=1) > Penalty(rack=9, zone=9)
    assert Penalty(host=1) > Penalty(box=99)


@given(topologies(least=2))
def test_what_a_newcomer_adds_is_the_difference(hosts: list[Candidate]) -> None:
    assert penalty_of(hosts[1:]).plus(penalty_added(hosts[0], hosts[1:])) == penalty_of(hosts)


def test_a_hard_level_forbids_itself_and_all_that_is_nearer() -> None:
    assert not Penalty(box=1).breaks(Level.HOST)
    assert Penalty(box=1).breaks(Level.BOX)
    assert Penalty(box=1).breaks(Level.ZONE)
    assert not Penalty(zone=1).breaks(Level.RACK)


@settings(max_examples=50)
@given(topologies(most=6, unknowns=False), st.sampled_from(list(Level)[:4]))
def test_with_known_labels_as_many_stand_apart_as_can(hosts: list[Candidate], hard: Level) -> None:
    best = max(
        len(some)
        for size in range(1, len(hosts) + 1)
        for some in combinations(hosts, size)
        if not penalty_of(some).breaks(hard)
    )
    assert apart_at_most(hosts, hard) == best


def test_nearness_is_told_in_words() -> None:
    h1, h2, h3, _ = hosts_on("b1", "b1", "b2", "")
    assert near_words(h1, [h2, h3]) == "shares box b1 with h2"
    assert near_words(h1, [h3]) == "may share a rack with h3 (label unknown)"
    assert near_words(h1, []) == "the only one"
    assert near_words(host("a", zone="z1"), [host("b", zone="z2")]) == "shares no domain with the others"


def test_a_penalty_is_told_in_words() -> None:
    assert Penalty(box=1, zone=2).words == "1 pair shares a box and 2 pairs share a zone"
    assert NO_PENALTY.words == "no two share a domain"
