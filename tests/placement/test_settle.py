"""Settling: one number for all colonies, and a share for each host."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placement.labels import Level
from placement.resources import Candidate
from placement.settle import Need, Settled, Share, fair_share, hosts_wanted, settled_number
from tests.placement.worlds import host, hosts_on, topologies


@pytest.mark.parametrize(
    ("hosts", "wanted", "number"), [(5, 2, 2), (2, 2, 2), (2, 3, 2), (1, 3, 1), (0, 2, 0)]
)
def test_all_settle_on_what_hosts_allow(hosts: int, wanted: int, number: int) -> None:
    settled = settled_number(wanted, hosts_on(*"abcdefg"[:hosts]))
    assert settled.number == number
    assert (settled.shortfall is None) == (number == wanted)


def test_a_shortfall_says_why() -> None:
    assert str(settled_number(3, hosts_on("a", "b")).shortfall) == "2 of 3: 2 hosts can hold peers"
    assert str(settled_number(2, []).shortfall) == "0 of 2: no host can hold peers"
    hard = settled_number(3, hosts_on("a", "a", "b"), hard=Level.BOX)
    assert str(hard.shortfall) == "2 of 3: 3 hosts can hold peers, 2 without sharing a box"


def test_leavers_and_witnesses_carry_nothing_but_joiners_and_full_hosts_do() -> None:
    joiner = host("h1", joining=True)
    refusing = host("h2", accepts=False, copies=9)
    leaver = host("h3", accepts=False, leaving=True, copies=9)
    witness = host("h4", accepts=False, witness=True)
    empty = host("h5", accepts=False)
    assert settled_number(5, [joiner, refusing, leaver, witness, empty]).number == 2


def loaded(*used_bytes: int, bytes_max: int = 1000) -> list[Candidate]:
    return [
        host(f"h{n}", bytes_max=bytes_max, bytes_used=used, copies=10) for n, used in enumerate(used_bytes)
    ]


def test_short_of_memory_all_settle_on_fewer() -> None:
    # 20 colonies of 70 bytes, twice: three hosts of 1,000 bytes hold them, two do not.
    assert settled_number(2, loaded(700, 700, 700), colonies=20).number == 2
    settled = settled_number(2, loaded(700, 700, 700)[:2], colonies=20)
    assert settled.number == 1
    assert "memory: one copy of everything takes 1.4 KiB, not 2 times to be had" in str(settled.shortfall)


def test_one_is_kept_however_little_memory_there_is() -> None:
    assert settled_number(3, loaded(1000, 1000), colonies=20).number == 1


def test_a_big_host_counts_no_more_than_one_copy_of_each() -> None:
    small, big = loaded(100, 100)
    big = replace(big, bytes_max=1_000_000)
    assert settled_number(2, [replace(small, bytes_max=150), big], colonies=20).number == 1
    assert settled_number(2, [replace(small, bytes_max=300), big], colonies=20).number == 2


def test_a_number_is_kept_where_it_would_not_yet_be_raised_to() -> None:
    tight = loaded(900, 900)  # 20 copies of 90 bytes; 10 colonies
    assert settled_number(2, tight, colonies=10, now=2).number == 2
    assert settled_number(2, loaded(900, 0), colonies=5, now=1).number == 2
    half = [replace(one, bytes_used=450, copies=5) for one in tight]
    assert settled_number(2, half, colonies=10, now=1).number == 1


def test_unmeasured_memory_is_enough() -> None:
    assert settled_number(2, [host("h1", copies=1, bytes_used=50), host("h2")], colonies=64).number == 2


@given(topologies(), st.integers(1, 16), st.sampled_from(list(Level)[:4]))
def test_the_number_is_never_above_what_is_wanted_nor_below_one(
    hosts: list[Candidate], wanted: int, hard: Level
) -> None:
    settled = settled_number(wanted, hosts, hard=hard)
    assert 1 <= settled.number <= min(wanted, len(hosts))
    if settled.shortfall:
        assert (settled.shortfall.wanted, settled.shortfall.got) == (wanted, settled.number)


@pytest.mark.parametrize(
    ("hosts", "colonies", "settled", "share"),
    [(5, 64, 2, Share(25, 12)), (1, 64, 1, Share(64, 64)), (2, 3, 2, Share(3, 1)), (2, 3, 5, Share(3, 1))],
)
def test_shares_are_even_and_rounded_down(hosts: int, colonies: int, settled: int, share: Share) -> None:
    assert fair_share(hosts, colonies, settled) == share


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError):
        settled_number(0, [])
    with pytest.raises(ValueError):
        fair_share(0, 1, 1)


def test_more_hosts_are_wanted_for_want_of_hosts_or_of_memory() -> None:
    def need(wanted: int, hosts: list[Candidate], colonies: int = 0) -> Need:
        return hosts_wanted(settled_number(wanted, hosts, colonies=colonies), hosts)

    assert need(3, hosts_on("a")).hosts == 2
    assert need(3, hosts_on("a", "b")) == Need(1, "2 hosts can hold peers")
    assert need(2, hosts_on("a", "b")) == Need(0)
    roomy, tight = (
        [
            replace(one, memory_free=None, bytes_max=100, bytes_used=used, copies=9)
            for one in hosts_on("a", "b")
        ]
        for used in (85, 86)
    )
    assert need(1, roomy).hosts == 0 and need(1, tight) == Need(1, "memory: 172 B of 200 B is used")
    assert need(2, tight, colonies=18).hosts == 1, (
        "two copies of all don't fit: one more host, then look again"
    )
    assert hosts_wanted(Settled(0), []).hosts == 0
