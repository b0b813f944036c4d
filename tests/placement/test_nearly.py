"""Nearly and versus: what draws a colony elsewhere, what holds it, and which term decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings

from placement.moves import improve
from placement.nearly import Near, nearly
from placement.resources import Candidate
from placement.versus import versus
from tests.placement.worlds import World, host, hosts_on, worlds


def near(hosts: Sequence[Candidate], *, size: int = 0) -> Near | None:
    return nearly(3, ("h1", "h2"), hosts, primary="h1", bytes_wanted=size)


def test_nothing_draws_a_colony_that_stands_well() -> None:
    assert near(hosts_on("b1", "b2", "b3")) is None


@pytest.mark.parametrize(
    ("third", "said"),
    [
        ({"bytes_max": 10, "bytes_used": 9}, "h3 is full (1 B of room, 5 B wanted)"),
        ({"accepts": False, "because": "refused just now"}, "h3 refused just now"),
        ({"bytes_max": 100, "bytes_used": 86}, "h3 would be filled to 91%"),
    ],
)
def test_copies_that_stand_too_near_name_what_keeps_them(third: dict[str, object], said: str) -> None:
    hosts = [host("h1", "b1"), host("h2", "b1"), host("h3", "b2", **third)]  # type: ignore[arg-type]
    found = near(hosts, size=5)
    assert found is not None and (found.force, found.source, found.target) == ("repulsion", "h2", "h3")
    assert found.held == said and "apart is safer" in found.pull


def test_a_full_host_without_a_way_out_is_named() -> None:
    full = {"bytes_max": 100, "bytes_used": 90}
    found = near([host("h1", "b1"), host("h2", "b2", **full), host("h3", "b3", **full)], size=9)  # type: ignore[arg-type]
    assert found is not None and (found.force, found.target, found.held_by) == ("memory", "", "room")


def test_a_difference_below_the_margin_says_how_much_would_do() -> None:
    counts = {"h1": 50, "h2": 52, "h3": 49}
    hosts = [replace(one, copies=counts[one.id]) for one in hosts_on("b1", "b2", "b3")]
    found = near(hosts)
    assert found is not None and (found.force, found.held_by) == ("copies", "margin")
    assert found.held == "a difference of 3 moves nothing, 4 would"
    led = [replace(one, primaries={"h1": 34, "h2": 31, "h3": 31}[one.id]) for one in hosts_on(*"abc")]
    found = near(led)
    assert found is not None and (found.force, found.kind, found.target) == ("roles", "role", "h2")


def test_a_host_that_stands_nearer_is_held_for_that() -> None:
    hosts = [host("h1", "b1"), host("h2", "b2", copies=9), host("h3", "b1")]
    found = near(hosts)
    assert found is not None and (found.force, found.held_by) == ("copies", "nearness")


def test_a_host_whose_cpu_is_all_in_use_is_held_for_that() -> None:
    hosts = [host("h1", "b1"), host("h2", "b2", copies=40), host("h3", "b3", cpu=0.99)]
    found = near(hosts)
    assert found is not None and (found.held_by, found.held) == ("cpu", "h3: CPU 99%")


@settings(max_examples=30, deadline=None)
@given(worlds())
def test_what_may_move_is_said_to_wait_for_others_and_the_strongest_force_comes_first(world: World) -> None:
    candidates = world.candidates()
    for peers in world.peers.values():
        if peers.primary is None:
            continue
        move = improve(peers.colony, peers.holders, candidates, primary=peers.primary, bytes_wanted=4)
        found = nearly(peers.colony, peers.holders, candidates, primary=peers.primary, bytes_wanted=4)
        if move is not None and move.rule == "repel":
            assert found is not None and (found.source, found.target) == (move.source, move.target)
        if move is not None:
            assert found is not None


# -- versus --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "term", "by", "wins"),
    [
        ({"cpu": 0.9}, "cpu", 2, False),
        ({"copies": 20}, "crowd", 10, False),
        ({"flaps": 3}, "flaps", 2, False),
        ({"bytes_max": 100, "bytes_used": 70}, "fill", 1, False),
        ({"labels": host("x", "b1").labels}, "box", 1, False),
        ({"copies": -1}, "crowd", -10, True),
    ],
)
def test_the_term_that_decides_is_named_with_its_difference(
    changed: dict[str, object], term: str, by: int, wins: bool
) -> None:
    hosts = hosts_on("b1", "b2", "b3")
    if changed == {"copies": -1}:
        hosts[1], changed = replace(hosts[1], copies=21), {}
    other = replace(hosts[2], **changed)  # type: ignore[arg-type]
    found = versus(3, ("h1", "h2"), [*hosts[:2], other], other, primary="h1", bytes_wanted=1)
    assert (found.against, found.term, found.mine - found.theirs) == ("h2", term, by)
    assert found.wins is wins and found.words and found.vetoes == ()


def test_a_veto_is_told_beside_the_comparison() -> None:
    hosts = [*hosts_on("b1", "b2"), host("h3", "b3", accepts=False, leaving=True)]
    assert versus(3, ("h1", "h2"), hosts, hosts[2], primary="h1").vetoes == ("is leaving",)
    assert versus(3, (), hosts, hosts[0], primary=None).against == ""
