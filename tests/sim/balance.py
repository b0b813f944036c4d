"""How even hosts are, and what a join, a leave and a death move: `python -m tests.sim.balance`.

A hundred hosts on 30 boxes in 3 zones, 1,024 colonies of 3 peers, sizes
skewed (log-normal: the largest is some ten times the mean). The governors of
all hosts decide, as in `tests.sim.placing`; beside them, where rendezvous
hashing, a ring with virtual nodes, and Redis Cluster would put the same.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from placement.labels import Labels
from placement.repulsion import penalty_of
from placement.resources import Candidate
from tests.sim import rivals
from tests.sim.placing import Tally, World, site_plan, skewed, unevenness

PEERS, MEAN_BYTES = 3, 32 << 20
BOUND = 1.10


@dataclass(slots=True)
class Row:
    """The figures of one way to place copies."""

    name: str
    bytes_uneven: float
    primaries_uneven: float
    too_near: int
    join: float  # times the newcomer's fair share
    leave: float  # times what lay there

    def __str__(self) -> str:
        return (
            f"{self.name:<28} {self.bytes_uneven:>9.2f} {self.primaries_uneven:>9.2f} {self.too_near:>8} "
            f"{self.join:>8.2f} {self.leave:>8.2f}"
        )


def grown(hosts: int, boxes: int, colonies: int, seed: int) -> World:
    """Return a cluster that was born empty, whose colonies grew to skewed sizes, at rest."""
    world = World(
        site_plan(hosts, boxes, 3), skewed(colonies, mean_bytes=MEAN_BYTES, seed=seed), peers=PEERS, seed=seed
    )
    world.rest()
    world.tally = Tally()
    return world


def ours(world: World) -> Row:
    """Return the figures of the governors; the world is left as it was."""
    copies, primaries, bytes_used = world.loads()
    joins, leaves = copy.deepcopy(world), copy.deepcopy(world)
    joins.join("n" * 32, Labels("z1", "", "b-new"))
    joins.rest()
    total = sum(copies.values())
    leaver = world.view.ids[3]
    leaves.leave(leaver)
    leaves.rest()
    return Row(
        "colony",
        unevenness(bytes_used),
        unevenness(primaries),
        world.violations(),
        joins.tally.copies / (total / len(joins.sites)),
        leaves.tally.copies / copies[leaver],
    )


def theirs(
    name: str,
    place: Callable[[Sequence[rivals.Host]], rivals.Places],
    hosts: list[rivals.Host],
    sizes: list[int],
) -> Row:
    """Return the figures of a placement that is a function of the hosts."""
    before = place(hosts)
    newcomer = ("n" * 32, Labels("z1", "", "b-new"))
    joined, left = place([*hosts, newcomer]), place([host for host in hosts if host[0] != hosts[3][0]])
    return _row(name, before, joined, left, hosts, sizes)


def redis(hosts: list[rivals.Host], sizes: list[int]) -> Row:
    """Return the figures of Redis Cluster: one slot for each colony."""
    cluster = rivals.RedisCluster(hosts, len(sizes), PEERS)
    before = cluster.places()
    joins, leaves = copy.deepcopy(cluster), copy.deepcopy(cluster)
    joins.join(("n" * 32, Labels("z1", "", "b-new")))
    leaves.leave(hosts[3][0])
    return _row("Redis Cluster, rebalanced", before, joins.places(), leaves.places(), hosts, sizes)


def _row(
    name: str,
    before: rivals.Places,
    joined: rivals.Places,
    left: rivals.Places,
    hosts: list[rivals.Host],
    sizes: list[int],
) -> Row:
    copies, primaries, bytes_used = (Counter(dict.fromkeys((host for host, _ in hosts), 0)) for _ in range(3))
    labels = {host: Candidate(host, labels=where) for host, where in hosts}
    for colony, holders in enumerate(before):
        primaries[holders[0]] += 1
        for holder in holders:
            copies[holder] += 1
            bytes_used[holder] += sizes[colony]
    return Row(
        name,
        unevenness(bytes_used),
        unevenness(primaries),
        sum(sum(penalty_of([labels[holder] for holder in holders])) for holders in before),
        rivals.moved(before, joined) / (sum(copies.values()) / (len(hosts) + 1)),
        rivals.moved(before, left) / copies[hosts[3][0]],
    )


def table(hosts: int, boxes: int, colonies: int, seed: int) -> list[Row]:
    """Return the figures of all ways to place the colonies of a cluster at rest."""
    world = grown(hosts, boxes, colonies, seed)
    sites = [(name, labels) for name, labels, _ in site_plan(hosts, boxes, 3)]
    return [
        ours(world),
        theirs("rendezvous hashing", lambda h: rivals.rendezvous(h, colonies, PEERS), sites, world.sizes),
        theirs("ring, 128 virtual nodes", lambda h: rivals.ring(h, colonies, PEERS), sites, world.sizes),
        redis(sites, world.sizes),
    ]


def main() -> int:
    """Print the table; 1 if a bound is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--boxes", type=int, default=30)
    parser.add_argument("--colonies", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began_s = time.monotonic()
    rows = table(options.hosts, options.boxes, options.colonies, options.seed)
    print(
        f"{options.hosts} hosts on {options.boxes} boxes in 3 zones, {options.colonies} colonies of {PEERS}"
    )
    print(f"{'':<28} {'bytes':>9} {'primaries':>9} {'too near':>8} {'join':>8} {'leave':>8}")
    for row in rows:
        print(row, flush=True)
    print(f"({time.monotonic() - began_s:.0f} s)")
    best = rows[0]
    kept = max(best.bytes_uneven, best.primaries_uneven, best.join, best.leave) <= BOUND
    return 0 if kept and not best.too_near else 1


if __name__ == "__main__":
    sys.setrecursionlimit(100_000)  # worlds are copied
    sys.exit(main())
