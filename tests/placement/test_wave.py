"""The wave: one answer for all, from which nobody would move any more."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from placement.balance import Means
from placement.birth import first_placement
from placement.labels import Labels
from placement.moves import better_spread, even_roles
from placement.peers import Peers
from placement.repulsion import penalty_of
from placement.resources import COPY_BYTES, Candidate
from placement.wave import Goal, Wave

SIZE = 4 * COPY_BYTES


def hosts(count: int, boxes: int = 0) -> list[Candidate]:
    return [
        Candidate(f"h{n:02}", labels=Labels("z", f"r{n % (boxes or count)}", f"b{n % (boxes or count)}"))
        for n in range(count)
    ]


def born(count: int, colonies: int, peers: int) -> list[Peers]:
    return first_placement(colonies, peers, hosts(count))


def goals(
    places: list[Peers],
    members: list[Candidate],
    settled: int,
    *,
    sizes: list[int] | None = None,
    frozen: bool = False,
) -> dict[int, Goal]:
    wave = Wave(places, sizes or [SIZE] * len(places), members, settled, frozen=frozen)
    assert max(wave.work) <= 250, "no bit of it is long: a round takes some, and is over"
    return wave.goals


def after(places: list[Peers], found: dict[int, Goal]) -> list[Peers]:
    def place(peers: Peers) -> Peers:
        goal = found.get(peers.colony)
        return peers if goal is None else Peers(peers.colony, goal.holders[:1], goal.holders[1:])

    return [place(peers) for peers in places]


def without(places: list[Peers], dead: str) -> list[Peers]:
    """Return what a census says once a host is dead: who is left, led by the first of them."""
    left = [[host for host in peers.holders if host != dead] for peers in places]
    return [Peers(n, tuple(rest[:1]), tuple(rest[1:])) for n, rest in enumerate(left)]


def test_a_cluster_at_rest_has_no_wave() -> None:
    assert goals(born(7, 64, 3), hosts(7), 3) == {}


def test_what_a_dead_host_held_goes_elsewhere_and_then_nobody_moves() -> None:
    members = [host for host in hosts(9) if host.id != "h04"]
    places = without(born(9, 96, 3), "h04")
    found = goals(places, members, 3)
    stand = after(places, found)
    assert all(len(set(peers.holders)) == 3 for peers in stand)
    assert set(found) >= {peers.colony for peers in places if len(peers.holders) < 3}
    assert goals(stand, members, 3) == {}, "a wave leads to where there is none"


def test_a_joiner_gets_its_share_and_hardly_anything_else_moves() -> None:
    members = [*hosts(8), replace(Candidate("new", labels=Labels("z", "r9", "b9")), joining=True)]
    places = born(8, 90, 3)
    stand = after(places, goals(places, members, 3))
    made = sum(len(set(new.holders) - set(old.holders)) for old, new in zip(places, stand, strict=True))
    held = Counter(host for peers in stand for host in peers.holders)
    assert held["new"] == 90 * 3 // 9
    assert made <= 1.1 * 90 * 3 / 9
    assert Counter(peers.primary for peers in stand)["new"] >= 8


def test_a_leaver_is_emptied_and_hands_its_roles_to_those_that_hold_a_copy() -> None:
    members = [replace(h, leaving=True, accepts=False) if h.id == "h02" else h for h in hosts(6)]
    places = born(6, 48, 2)
    stand = after(places, goals(places, members, 2))
    assert not any("h02" in peers.holders for peers in stand)
    assert all(len(set(peers.holders)) == 2 for peers in stand)


def test_frozen_moves_only_what_it_must() -> None:
    members = [*hosts(8), replace(Candidate("new", labels=Labels("z", "r9", "b9")), joining=True)]
    assert goals(born(8, 90, 3), members, 3, frozen=True) == {}


def test_peers_that_share_a_box_part_when_one_comes() -> None:
    members = hosts(4, boxes=2)
    places = [Peers(n, ("h00",), ("h02",)) for n in range(4)]
    comes = [*members[:1], members[2], replace(members[1], joining=True)]
    stand = after(places, goals(places, comes, 2))
    by_id = {host.id: host for host in comes}
    for peers in stand:
        near = [by_id[host] for host in peers.holders]
        assert better_spread(peers.colony, peers.holders, comes, primary=peers.primary) is None
        assert not penalty_of(near).box
        assert even_roles(peers.colony, peers.holders, comes, means=Means.of(comes)) is None


def test_however_much_is_missing_all_of_it_has_a_place_well_apart() -> None:
    """More hosts than a colony looks at, and no zones: nearly all of it stands on boxes of its own."""
    members = hosts(90, boxes=30)
    gone = {host.id for host in members[:30]}
    places = [
        Peers(n, tuple(left[:1]), tuple(left[1:]))
        for n, peers in enumerate(dealt_to(members, 400, 3))
        for left in [[host for host in peers if host not in gone]]
    ]
    rest = members[30:]
    stand = after(places, goals(places, rest, 3))
    by_id = {host.id: host for host in rest}
    for before, now in zip(places, stand, strict=True):
        assert len(set(now.holders)) == (3 if before.holders else 0)
        assert not any(penalty_of([by_id[host] for host in now.holders])[:2]), "no two on one box"
    weights = Counter(host for peers in stand for host in peers.holders)
    assert max(weights.values()) <= 1.10 * sum(weights.values()) / len(rest)


def dealt_to(members: list[Candidate], colonies: int, peers: int) -> list[list[str]]:
    """Return some hosts for each colony, no two on one box."""
    chance = Random(7)
    found = []
    for _ in range(colonies):
        boxes = chance.sample(range(30), peers)
        found.append([members[box + 30 * chance.randrange(3)].id for box in boxes])
    return found


def test_the_few_that_stand_well_apart_are_found_among_many() -> None:
    members = [
        replace(h, labels=Labels("z1" if n % 30 == 7 else "z0", "", h.id)) for n, h in enumerate(hosts(90))
    ]
    lone = [host.id for host in members if host.labels.zone == "z0"]
    places = [Peers(n, (lone[n],)) for n in range(60)]
    zone_of = {host.id: host.labels.zone for host in members}
    stand = after(places, goals(places, members, 2, frozen=True))  # nothing is put apart later
    assert all({zone_of[host] for host in peers.holders} == {"z0", "z1"} for peers in stand)


@pytest.mark.parametrize("busy, least, most", [(("",), 20, 20), (("new",), 0, 0), (("h07", "new"), 1, 11)])
def test_who_joins_gets_its_share_of_those_that_are_no_less_busy(
    busy: tuple[str, ...], least: int, most: int
) -> None:
    """Where all are saturated alike, nobody would get anything; and nobody here has to be relieved."""
    members = [*hosts(20), replace(Candidate("new", labels=Labels("z", "r99", "b99")), joining=True)]
    members = [replace(h, cpu=0.95) if h.id.startswith(busy) else h for h in members]
    places = born(20, 140, 3)
    held = Counter(host for peers in after(places, goals(places, members, 3)) for host in peers.holders)
    assert least <= held["new"] <= most


def test_a_copy_more_than_wanted_goes_again() -> None:
    places = [replace(peers, secondaries=("h01", "h02")) for peers in [Peers(0, ("h00",))]]
    found = goals(places, hosts(3), 2)
    assert len(found[0].holders) == 2
    assert found[0].primary == "h00"
