"""Balance, in small: `python -m tests.sim.balance` is the same with a hundred hosts."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import pytest

from placement.labels import Labels
from placement.resources import COPY_BYTES
from tests.sim import rivals
from tests.sim.balance import PEERS, ours, redis
from tests.sim.placing import Tally, World, site_plan, skewed
from tests.sim.steady import shown

pytestmark = pytest.mark.sim


@pytest.fixture(scope="module")
def world() -> World:
    found = World(site_plan(12, 6, 3), skewed(240, mean_bytes=32 << 20, seed=1), peers=PEERS)
    found.rest(calm_s=12.0)
    found.tally = Tally()
    return found


def test_hosts_carry_about_the_same_and_little_moves_for_a_join_or_a_leave(world: World) -> None:
    row = ours(world)
    assert max(row.bytes_uneven, row.primaries_uneven) <= 1.10 and not row.too_near, row
    assert row.join <= 1.15 and row.leave <= 1.15, row  # a copy more or less is 2 % here
    theirs = redis([(name, labels) for name, labels, _ in site_plan(12, 6, 3)], world.sizes)
    assert theirs.bytes_uneven > row.bytes_uneven, "slots are counted, not weighed"


def test_a_cluster_at_rest_stays_there_noise_or_not(world: World) -> None:
    told = shown(copy.deepcopy(world), 120.0)
    assert not told["peace"] and not told["noise"], told
    assert told["a busy host"]["roles"] and told["a busy host"]["copies"], "moves are seen"


def test_clones_after_a_death_go_where_room_is_and_nothing_has_to_move_again(world: World) -> None:
    dead = world.view.ids[4]
    lay = world.loads()[0][dead]
    lost = world.kill([dead])
    world.rest(calm_s=10.0)
    assert not lost and not world.missing()
    assert lay <= world.tally.copies <= 1.1 * lay + 1


def test_when_room_is_short_all_settle_on_less_and_rise_again_when_there_is_more() -> None:
    sizes = [4 * COPY_BYTES] * 30
    limit = 30 * 4 * COPY_BYTES  # six hosts of it: six copies of everything
    world = World([(n, labels, limit) for n, labels, _ in site_plan(6, 6, 3)], sizes)
    world.rest(calm_s=5.0)
    assert {site.governor.settled.number for site in world.sites.values()} == {3}
    grown(world, 10)  # of six copies there is room for 2.4
    assert {len(peers.holders) for peers in world.places()} == {2}
    assert max(world.loads()[2].values()) <= limit, "nobody holds more than it may"
    assert {note.details["settled"] for _, note in world.notes if note.kind == "settle"} == {3, 2}
    grown(world, 20)
    assert {len(peers.holders) for peers in world.places()} == {1}
    grown(world, 4)
    assert {len(peers.holders) for peers in world.places()} == {3}


def grown(world: World, copies: int) -> None:
    """Let every colony have so many MiB, little by little as clients write, and wait for rest."""
    before = world.sizes[0] // COPY_BYTES
    for size in range(before, copies, 1 if copies > before else -1):
        for colony in range(len(world.sizes)):
            world.sizes[colony] = size * COPY_BYTES
        write(world)
        world.run(3.0)
    world.sizes = [copies * COPY_BYTES] * len(world.sizes)
    write(world)
    world.rest(calm_s=15.0)


def write(world: World) -> None:
    for site in world.sites.values():
        for colony, machine in site.colonies.items():
            machine.peer.cells.bytes_used = world.sizes[colony]


def test_where_room_is_short_a_colony_with_fewer_peers_outbids_one_with_more() -> None:
    sizes = [10 * COPY_BYTES] * 12
    world = World([(n, labels, 0) for n, labels, _ in site_plan(3, 3, 3)], sizes, peers=3)
    host = world.view.ids[0]
    site = world.sites[host]
    poor = next(c for c, one in site.colonies.items() if one.primary is None)
    leader = world.sites[world.directory.primary(poor)].colonies[poor]
    world._retire(leader, host)
    other = next(h for h in leader.peers if h != leader.host)
    world._retire(leader, other)
    site.limits = type(site.limits)(bytes_max=115 * COPY_BYTES)
    site.admission._promised[poor] = 0
    site.admission.count(world.now_s)
    assert "make room" in site.admission.admits(poor, leader.host, 10 * COPY_BYTES)
    out: list[Any] = []
    site.admission.ticked(world.now_s, out)
    assert [note.reason for note in out if hasattr(note, "reason")] == [
        f"outbid: colony {poor} has 1 peers, this one 3"
    ]


def test_what_others_make_of_it_is_a_placement_too() -> None:
    hosts = [(name, labels) for name, labels, _ in site_plan(12, 6, 3)]
    for places in (rivals.rendezvous(hosts, 64, 3), rivals.ring(hosts, 64, 3)):
        assert all(len(set(holders)) == 3 for holders in places)
        zones = dict(hosts)
        assert all(len({zones[one].zone for one in holders}) == 3 for holders in places)
    cluster = rivals.RedisCluster(hosts, 100, 3)
    cluster.join(("new", Labels("z1", "", "b9")))
    counts = Counter(len(slots) for slots in cluster.slots.values())
    assert sum(size * count for size, count in counts.items()) == 100 and max(counts) - min(counts) <= 9
