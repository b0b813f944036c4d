"""Ties: stable, and different from colony to colony."""

from __future__ import annotations

from collections import Counter

from placement.ties import tie_order, tie_portion


def test_a_tie_is_the_same_in_every_run_and_version() -> None:
    assert tie_order(7, "h1") == 1303540480936185803


def test_colonies_spread_over_equal_hosts() -> None:
    hosts = [f"h{n}" for n in range(5)]
    firsts = Counter(min(hosts, key=lambda host: tie_order(colony, host)) for colony in range(1000))
    assert all(150 <= firsts[host] <= 250 for host in hosts)


def test_hosts_begin_all_over_a_span_of_time() -> None:
    portions = [tie_portion(7, f"h{n}") for n in range(100)]
    assert 0 <= min(portions) < 0.1 and 0.9 < max(portions) <= 1
    assert portions[0] != tie_portion(8, "h0")
