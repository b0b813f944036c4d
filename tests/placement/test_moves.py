"""Moves: each lowers the potential, and they stop."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placement.attraction import Steady
from placement.birth import first_placement
from placement.choice import choose_target
from placement.moves import better_spread, claims, cool, give_way, improve, rebalance, relieve
from placement.peers import Peers
from placement.reasons import Move
from placement.repulsion import penalty_of
from placement.resources import Candidate
from placement.settle import fair_share
from tests.placement.worlds import World, host, hosts_on, no_two_on_one_host, of, spread, topologies, worlds

GIB = 1 << 30


# -- they stop --------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_every_move_lowers_the_potential_until_there_is_none(world: World) -> None:
    population = {colony: len(peers.holders) for colony, peers in world.peers.items()}
    while (move := world.next_move()) is not None:
        before = world.potential()
        world.perform(move)
        assert world.potential() < before, move
        assert no_two_on_one_host(world)
    assert population == {colony: len(peers.holders) for colony, peers in world.peers.items()}


@settings(max_examples=30, deadline=None)
@given(worlds(size_bytes=10), st.lists(st.integers(20, 120), min_size=6, max_size=6))
def test_with_hosts_of_any_size_moves_stop_too(world: World, sizes: list[int]) -> None:
    world.hosts = [replace(one, bytes_max=size) for one, size in zip(world.hosts, sizes, strict=False)]
    while (move := world.next_move()) is not None:
        before = world.potential()
        world.perform(move)
        assert world.potential() < before, move
        assert no_two_on_one_host(world)


@settings(max_examples=30, deadline=None)
@given(worlds(), st.randoms())
def test_no_single_move_makes_repulsion_worse(world: World, chance: random.Random) -> None:
    for _ in range(50):
        candidates = world.candidates()
        peers = chance.choice(list(world.peers.values()))
        move = improve(peers.colony, peers.holders, candidates, primary=peers.primary)
        if move is None:
            continue
        world.perform(move)
        after = world.peers[peers.colony]
        assert penalty_of([one for one in candidates if one.id in after.holders]) <= penalty_of(
            [one for one in candidates if one.id in peers.holders]
        )


@pytest.mark.parametrize("seed", range(3))
def test_noise_of_a_tenth_moves_nothing(seed: int) -> None:
    chance = random.Random(seed)

    figures = [(n, what) for n in range(6) for what in ("free", "cpu")]
    told = {figure: Steady(band=0.1, relative=figure[1] == "free") for figure in figures}

    def shaken(one: Candidate) -> Candidate:
        n, now_s = int(one.id[1:]), float(clock[0])
        free = told[n, "free"].took((one.memory_free or 0) * chance.uniform(0.9, 1.1), now_s)
        cpu = told[n, "cpu"].took(one.cpu * chance.uniform(0.9, 1.1), now_s)
        return replace(one, memory_free=int(free), cpu=min(1.0, cpu))

    clock = [0]
    hosts = [host(f"h{n}", f"b{n % 3}", memory_free=GIB, cpu=0.1 + 0.15 * n) for n in range(6)]
    world = World(hosts, of(first_placement(48, 2, hosts)), size_bytes=50 << 20)
    world.seen = shaken
    world.run()
    for clock[0] in range(1, 40):
        assert world.next_move() is None


def test_a_new_cluster_has_nothing_to_move() -> None:
    for boxes in ("abc", "aabbc", "aaaab", "aabbcc", "abcdefg"):
        for number in (1, 2, 3):
            hosts = hosts_on(*boxes)
            world = World(hosts, of(first_placement(64, number, hosts)))
            assert world.next_move() is None, (boxes, number)


# -- spread -----------------------------------------------------------------------


def test_a_second_box_draws_one_peer_of_every_colony() -> None:
    hosts = hosts_on("b1", "b1", "b1")
    world = World(hosts, of(first_placement(12, 2, hosts)))
    assert world.next_move() is None
    world.hosts = [*hosts, host("h4", box="b2", joining=True)]
    world.run()
    assert all("h4" in peers.holders for peers in world.peers.values())


def test_a_secondary_moves_rather_than_the_primary() -> None:
    hosts = hosts_on("b1", "b1", "b2")
    for colony in range(10):
        move = better_spread(colony, ["h1", "h2"], hosts, primary="h1")
        assert move is not None
        assert (move.source, move.target) == ("h2", "h3")
        assert move.because.startswith("apart is safer: 1 pair shares a box now")


def test_the_primary_moves_if_that_alone_helps() -> None:
    hosts = [host("h1", "b1"), host("h2", "b1"), host("h3", "b2"), host("h4", "b3", accepts=False)]
    move = better_spread(1, ["h1", "h2", "h4"], hosts, primary="h4")
    assert move is not None
    assert move.source in ("h1", "h2")
    hosts = [host("h1", "b1", "r1"), host("h2", "b2", "r2"), host("h3", "b1", "r1"), host("h4", "b3", "r1")]
    move = better_spread(1, ["h1", "h3", "h2"], hosts, primary="h1")
    assert move is not None
    assert (move.source, move.target) == ("h3", "h4")


def test_spread_never_moves_to_a_host_without_room_or_welcome() -> None:
    h1, h2, h3 = hosts_on("b1", "b1", "b2")
    for unfit in (replace(h3, bytes_max=100, bytes_used=80), replace(h3, accepts=False)):
        assert better_spread(1, ["h1", "h2"], [h1, h2, unfit], primary="h1", bytes_wanted=10) is None


@settings(max_examples=100, deadline=None)
@given(topologies(least=2, most=6, unknowns=False), st.integers(1, 3), st.data())
def test_with_known_labels_single_moves_reach_the_best_spread_there_is(
    hosts: list[Candidate], number: int, data: st.DataObject
) -> None:
    number = min(number, len(hosts))
    holders = data.draw(st.permutations([one.id for one in hosts]))[:number]
    while move := better_spread(1, holders, hosts):
        holders[holders.index(move.source)] = move.target
    best = min(penalty_of(some) for some in combinations(hosts, number))
    assert penalty_of([one for one in hosts if one.id in holders]) == best


# -- relief -----------------------------------------------------------------------


def test_a_host_short_of_memory_gives_secondaries_away_until_it_is_not() -> None:
    hosts = [host("h1", bytes_max=100), host("h2", bytes_max=1000), host("h3", bytes_max=1000)]
    peers = {n: Peers(n, ("h2",), ("h1",)) for n in range(9)}
    world = World(hosts, peers, size_bytes=10)
    moves = 0
    while move := world.next_move(relieve):
        assert (move.source, move.target) == ("h1", "h3")
        world.perform(move)
        moves += 1
    assert moves == 1  # 90 % is too much, 80 % is bearable
    assert relieve(1, ["h2", "h1"], world.candidates(), primary="h2", bytes_wanted=10) is None


def test_relief_does_not_move_a_primary_or_worsen_the_spread() -> None:
    full = host("h1", "b1", bytes_max=100, bytes_used=90)
    roomy = host("h3", "b2", bytes_max=1000)
    assert relieve(1, ["h1", "h2"], [full, host("h2", "b2"), roomy], primary="h1", bytes_wanted=9) is None
    assert relieve(1, ["h1", "h2"], [full, host("h2", "b2"), roomy], primary="h2", bytes_wanted=9) is None
    apart = host("h4", "b3", bytes_max=1000)
    move = relieve(1, ["h1", "h2"], [full, host("h2", "b2"), roomy, apart], primary="h2", bytes_wanted=9)
    assert move == Move(1, "copy", "h1", "h4", "h1 is filled to 90%, h4 to 0%")


# -- balance ----------------------------------------------------------------------


def test_a_difference_of_one_moves_nothing() -> None:
    hosts = [host("h1", copies=6, primaries=6), host("h2", copies=6), host("h3", copies=5, primaries=5)]
    assert rebalance(1, ["h1", "h2"], hosts, primary="h1") is not None  # the role: 6 to 0
    hosts = [host("h1", copies=6, primaries=3), host("h2", copies=6, primaries=2), host("h3", copies=5)]
    assert rebalance(1, ["h1", "h2"], hosts, primary="h1") is None


def test_copies_move_before_roles_and_say_why() -> None:
    hosts = [host("h1", copies=9, primaries=9), host("h2", copies=9), host("h3", copies=0)]
    move = rebalance(1, ["h1", "h2"], hosts, primary="h1")
    assert move == Move(1, "copy", "h2", "h3", "h2 holds 9 copies, h3 0")


def test_a_role_is_handed_over_to_the_host_that_leads_less() -> None:
    hosts = [host("h1", copies=9, primaries=9), host("h2", copies=9)]
    move = rebalance(1, ["h1", "h2"], hosts, primary="h1")
    assert move == Move(1, "role", "h1", "h2", "h1 leads 9 colonies, h2 0")


@pytest.mark.parametrize("members", [2, 3, 5, 8])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_joiner_gets_its_fair_share_by_its_claims(members: int, number: int) -> None:
    hosts = [host(f"h{n}", f"b{n}") for n in range(members)]
    world = World(hosts, of(first_placement(64, number, hosts)))
    world.hosts = [*hosts, host("new", "b99", joining=True)]
    before = world.potential()[0]
    while True:
        asked = claims("new", world.peers.values(), world.candidates(), bytes_by_colony={}, limit=1)
        if not asked:
            break
        world.perform(asked[0])
    settled = len(world.peers[0].holders)
    share = fair_share(members + 1, 64, settled)
    joiner = world.candidates()[-1]
    assert joiner.copies >= share.copies
    assert joiner.primaries >= share.primaries - 1  # of what it holds
    assert world.potential()[0] <= before
    assert world.run() <= 2  # roles among the others


def test_a_joiner_on_a_crowded_box_gets_what_repulsion_allows_and_has_its_share() -> None:
    hosts = hosts_on("b1", "b2")
    world = World(hosts, of(first_placement(20, 2, hosts)))
    world.hosts = [*hosts, host("h3", box="b2", joining=True)]
    world.run()
    assert world.next_move() is None
    assert spread(world)["h1"] == 20
    assert spread(world)["h3"] in (9, 10)


def test_five_hosts_lose_one_and_settle_evenly_again() -> None:
    hosts = hosts_on("b1", "b1", "b2", "b2", "b3")
    world = World(hosts, of(first_placement(64, 2, hosts)))
    world.hosts = hosts[:-1]
    for colony, peers in world.peers.items():
        left = [one for one in peers.holders if one != "h5"]
        if len(left) == 1:
            target = choose_target(colony, left, world.candidates()).chosen
            assert target is not None
            left.append(target)
        world.peers[colony] = Peers(colony, (left[0],), tuple(left[1:]))
    repaired = spread(world)
    assert max(repaired.values()) - min(repaired.values()) <= 4
    assert world.run() <= 8
    assert max(spread(world).values()) - min(spread(world).values()) <= 3


@pytest.mark.parametrize(
    ("taker", "giver", "moves"), [(0.99, 0.2, False), (0.99, 0.95, True), (0.2, 0.99, True)]
)
def test_a_saturated_cpu_keeps_nothing_away_from_it_where_all_are_saturated(
    taker: float, giver: float, moves: bool
) -> None:
    h1 = host("h1", "b1", primaries=15, copies=30, cpu=giver)
    hosts = [h1, host("h2", "b2", copies=30, cpu=giver), host("h3", "b3", cpu=taker)]
    copy = rebalance(0, ["h1", "h2"], hosts, primary="h1")
    assert (copy is not None and copy.target == "h3") is moves
    role = rebalance(0, ["h1", "h3"], hosts, primary="h1")
    assert (role is not None) is moves


def test_copies_leave_a_host_whose_cpu_others_keep_busy_once_it_leads_nothing() -> None:
    hog = host("h2", "b2", cpu=0.97, cpu_others=0.9, copies=9, primaries=1)
    hosts = [host("h1", "b1", copies=9), hog, host("h3", "b3", cpu=0.6), host("h4", "b4", copies=8)]
    assert give_way(0, ["h1", "h2"], hosts, primary="h1") is None, "roles first"
    assert improve(0, ["h1", "h2"], hosts, primary="h2") == cool(0, ["h1", "h2"], hosts, primary="h2")
    hosts[1] = replace(hog, primaries=0)
    found = give_way(0, ["h1", "h2"], hosts, primary="h1")
    assert found is not None and (found.kind, found.source, found.target) == ("copy", "h2", "h4")
    assert found.because == "h2: CPU 97%, 90% by others than hosts; h4: CPU 0%"
    hosts[1] = replace(hog, primaries=0, cpu_others=0.5)
    assert give_way(0, ["h1", "h2"], hosts, primary="h1") is None, "what hosts do would follow"


@pytest.mark.parametrize("others, comes", [(0.9, False), (0.6, False), (0.45, True)])
def test_copies_come_back_when_others_use_much_less_of_a_cpu_than_they_left_for(
    others: float, comes: bool
) -> None:
    hosts = [host("h1", "b1", copies=9), host("h2", "b2", copies=9)]
    hosts.append(host("h3", "b3", cpu=others, cpu_others=others))
    assert (rebalance(0, ["h1", "h2"], hosts, primary="h1") is not None) is comes
