"""Choice: filter, order, take the first; ties are stable."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placement.choice import best_target, choose_retiree, choose_successor, choose_target
from placement.labels import Level
from placement.repulsion import penalty_of
from placement.resources import Candidate
from tests.placement.worlds import host, hosts_on, topologies

# -- targets ----------------------------------------------------------------------


def test_target_is_never_a_holder_a_leaver_a_witness_or_full() -> None:
    hosts = [
        host("h1"),
        host("h2", accepts=False, leaving=True),
        host("h3", accepts=False, witness=True),
        host("h4", bytes_max=100, bytes_used=60),
    ]
    choice = choose_target(1, ["h1"], hosts, bytes_wanted=50)
    assert choice.chosen is None
    assert choice.shortfall is not None
    assert (choice.shortfall.wanted, choice.shortfall.got) == (2, 1)
    assert {verdict.name: verdict.vetoes[0] for verdict in choice.reasons} == {
        "h1": "holds a copy already",
        "h2": "is leaving",
        "h3": "is a witness and holds no cells",
        "h4": "is full (40 B of room, 50 B wanted)",
    }
    assert "1 host: is leaving" in choice.because


def test_without_hosts_the_choice_says_so() -> None:
    assert str(choose_target(1, [], []).shortfall) == "0 of 1: there are no hosts"


def test_another_box_is_chosen_even_if_it_has_less_to_offer() -> None:
    h1, h2, h3 = hosts_on("b1", "b1", "b2")
    busy = replace(h3, cpu=0.99, copies=500, flaps=9, bytes_max=100, bytes_used=90)
    choice = choose_target(1, ["h1"], [h1, h2, busy])
    assert choice.chosen == "h3"
    assert choice.reasons[1].terms[0] == "shares box b1 with h1"


def test_a_leaving_holder_repels_nobody() -> None:
    h1, h2, h3, h4 = hosts_on("b1", "b2", "b1", "b2")
    h1 = replace(h1, accepts=False, leaving=True)
    assert choose_target(1, ["h1", "h2"], [h1, h2, h3, h4]).chosen == "h3"


def test_a_hard_level_leaves_a_shortfall_rather_than_a_shared_box() -> None:
    hosts = hosts_on("b1", "b1")
    assert choose_target(1, ["h1"], hosts).chosen == "h2"
    choice = choose_target(1, ["h1"], hosts, hard=Level.BOX)
    assert choice.chosen is None
    assert "shares box b1 with h1, which is forbidden" in choice.because


@pytest.mark.parametrize(
    "worse", [{"flaps": 1}, {"bytes_max": 100, "bytes_used": 70}, {"cpu": 0.6}, {"copies": 40}]
)
def test_of_equally_distant_hosts_the_one_with_more_to_offer_is_chosen(worse: dict[str, Any]) -> None:
    hosts = [replace(host("h1", copies=10), **worse), host("h2", copies=10)]
    assert {choose_target(colony, [], hosts).chosen for colony in range(20)} == {"h2"}


@given(topologies(least=2), st.integers(0, 65535), st.integers(0, 3), st.randoms())
def test_target_does_not_depend_on_the_order_of_hosts(
    hosts: list[Candidate], colony: int, held: int, chance: random.Random
) -> None:
    holders = [one.id for one in hosts[:held]]
    shuffled = list(hosts)
    chance.shuffle(shuffled)
    chosen = choose_target(colony, holders, hosts).chosen
    assert chosen == choose_target(colony, holders[::-1], shuffled).chosen
    assert chosen not in holders
    assert (chosen is None) == (held >= len(hosts))


@given(topologies(least=2), st.integers(0, 65535), st.integers(0, 3), st.sampled_from(Level), st.randoms())
def test_who_asks_for_the_best_alone_gets_the_one_that_is_chosen_of_all(
    hosts: list[Candidate], colony: int, held: int, hard: Level, chance: random.Random
) -> None:
    hosts = [
        replace(
            one,
            bytes_max=chance.choice((0, 900)),
            bytes_used=chance.randrange(900),
            copies=chance.randrange(9),
            cpu=chance.random(),
            flaps=chance.randrange(2),
            traffic=chance.choice((0.0, 900.0)),
        )
        for one in hosts
    ]
    holders, more = [one.id for one in hosts[:held]], {"weight_max": chance.choice((0.0, 4e6))}
    named: dict[str, Any] = {"bytes_wanted": 100, "hard": Level(min(hard, Level.ZONE)), **more}
    best = best_target(colony, holders, hosts, **named)
    assert (best.id if best is not None else None) == choose_target(colony, holders, hosts, **named).chosen


@given(topologies(least=2), st.integers(0, 100))
def test_no_other_target_would_stand_further_apart(hosts: list[Candidate], colony: int) -> None:
    chosen = choose_target(colony, [hosts[0].id], hosts).chosen
    penalties = {one.id: penalty_of([hosts[0], one]) for one in hosts[1:]}
    assert chosen is not None
    assert penalties[chosen] == min(penalties.values())


def test_many_colonies_that_choose_at_once_do_not_storm_one_host() -> None:
    hosts = [host(f"h{n}", copies=20 + n % 2) for n in range(6)]
    targets = Counter(choose_target(colony, ["h0"], hosts).chosen for colony in range(500))
    assert set(targets) == {"h1", "h2", "h3", "h4", "h5"}
    assert max(targets.values()) < 2 * min(targets.values())


@given(st.lists(st.floats(0.9, 1.1), min_size=6, max_size=6))
def test_noise_of_a_tenth_does_not_change_the_target(noise: list[float]) -> None:
    hosts = [host(f"h{n}", memory_free=1 << 30, bytes_used=1 << 29, cpu=0.3, copies=20) for n in range(6)]
    shaken = [
        replace(one, memory_free=int((1 << 30) * factor), cpu=0.3 * factor)
        for one, factor in zip(hosts, noise, strict=True)
    ]
    for colony in range(10):
        assert choose_target(colony, [], hosts).chosen == choose_target(colony, [], shaken).chosen


# -- retirees ---------------------------------------------------------------------


def test_the_copy_on_a_leaving_host_goes_first_even_if_it_is_the_primary() -> None:
    h1, h2, h3 = hosts_on("b1", "b2", "b2")
    leaver = replace(h1, accepts=False, leaving=True)
    assert choose_retiree(1, ["h1", "h2", "h3"], [leaver, h2, h3], primary="h1").chosen == "h1"


def test_the_copy_goes_without_which_the_rest_stands_best() -> None:
    hosts = hosts_on("b1", "b2", "b2")
    for colony in range(10):
        assert choose_retiree(colony, ["h1", "h2", "h3"], hosts, primary="h2").chosen == "h3"


def test_the_primary_stays() -> None:
    h1, h2 = hosts_on("b1", "b2")
    choice = choose_retiree(1, ["h1", "h2"], [replace(h1, copies=99), h2], primary="h1")
    assert choice.chosen == "h2"
    assert choice.reasons[-1].vetoes == ("holds the primary",)


@pytest.mark.parametrize("leaving", [False, True])
def test_the_last_copy_stays_even_on_a_leaving_host(leaving: bool) -> None:
    only = host("h1", accepts=not leaving, leaving=leaving)
    choice = choose_retiree(1, ["h1"], [only], primary="h1")
    assert choice.chosen is None
    assert choice.because == "0 of 1: 1 host: holds the last copy"


def test_two_leavers_both_keep_their_copies_until_one_stays_elsewhere() -> None:
    leavers = [host(f"h{n}", accepts=False, leaving=True) for n in (1, 2)]
    assert choose_retiree(1, ["h1", "h2"], leavers, primary="h1").chosen is None
    everyone = [*leavers, host("h3")]
    assert choose_retiree(1, ["h1", "h2", "h3"], everyone, primary="h1").chosen == "h2"


@given(topologies(least=2), st.integers(0, 99), st.data())
def test_a_retiree_never_leaves_a_colony_without_a_copy_that_stays(
    hosts: list[Candidate], colony: int, data: st.DataObject
) -> None:
    hosts = [replace(one, accepts=False, leaving=True) if data.draw(st.booleans()) else one for one in hosts]
    holders = [one.id for one in hosts if data.draw(st.booleans())]
    primary = data.draw(st.sampled_from(holders)) if holders else None
    chosen = choose_retiree(colony, holders, hosts, primary=primary).chosen
    leaving = {one.id for one in hosts if one.leaving}
    if chosen is not None:
        assert set(holders) - leaving - {chosen}
        assert chosen != primary or chosen in leaving


# -- successors -------------------------------------------------------------------


def test_the_role_goes_to_the_secondary_with_the_fewest_primaries() -> None:
    hosts = [host("h1", primaries=9), host("h2", primaries=5), host("h3", primaries=4), host("h4")]
    assert choose_successor(1, ["h1", "h2", "h3"], hosts, primary="h1").chosen == "h3"


def test_the_role_goes_not_to_a_leaver_nor_rather_to_a_saturated_or_flapping_host() -> None:
    hosts = [
        host("h1"),
        host("h2", accepts=False, leaving=True),
        host("h3", cpu=0.9),
        host("h4", flaps=2),
        host("h5", primaries=50),
    ]
    chosen = []
    holders = ["h1", "h2", "h3", "h4", "h5"]
    while choice := choose_successor(1, holders, hosts, primary="h1").chosen:
        chosen.append(choice)
        holders.remove(choice)
    assert chosen == ["h5", "h3", "h4"]


def test_without_a_secondary_there_is_no_successor_and_a_reason() -> None:
    assert choose_successor(1, ["h1"], [host("h1")], primary="h1").because == "0 of 1: there is no secondary"


@settings(max_examples=30)
@given(topologies(), st.integers(0, 99))
def test_whatever_is_chosen_every_host_looked_at_has_a_reason(hosts: list[Candidate], colony: int) -> None:
    holders = [one.id for one in hosts[::2]]
    for choice, looked_at in (
        (choose_target(colony, holders, hosts), len(hosts)),
        (choose_retiree(colony, holders, hosts, primary=holders[0]), len(holders)),
        (choose_successor(colony, holders, hosts, primary=holders[0]), len(holders) - 1),
    ):
        assert len(choice.reasons) == looked_at
        assert all(verdict.vetoes or verdict.terms for verdict in choice.reasons)
        assert (choice.chosen is None) == (choice.shortfall is not None)
        assert choice.because
