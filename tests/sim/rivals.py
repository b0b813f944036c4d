"""Rivals: where other ways of placing copies would put the same colonies on the same hosts.

Each is given the topology, and keeps copies in different zones where it can:
else the comparison would be one of failure domains, not of balance.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from hashlib import blake2b

from placement.labels import Labels

Host = tuple[str, Labels]
Places = list[tuple[str, ...]]  # per colony: who holds it, the primary first

VIRTUAL_NODES = 128  # of each host on the ring


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def _apart(order: Iterator[Host], peers: int) -> tuple[str, ...]:
    """Return the first hosts of an order that stand in different zones, or else in any."""
    chosen: list[Host] = []
    spare: list[str] = []
    for name, labels in order:
        if any(labels.zone == other.zone for _, other in chosen):
            spare.append(name)
        else:
            chosen.append((name, labels))
        if len(chosen) == peers:
            break
    return (*(name for name, _ in chosen), *spare)[:peers]


def rendezvous(hosts: Sequence[Host], colonies: int, peers: int) -> Places:
    """Return where rendezvous hashing (highest random weight) puts copies."""
    return [
        _apart(iter(sorted(hosts, key=lambda host: _hash(f"{colony}/{host[0]}"))), peers)
        for colony in range(colonies)
    ]


def ring(hosts: Sequence[Host], colonies: int, peers: int) -> Places:
    """Return where consistent hashing with virtual nodes puts copies."""
    points = sorted((_hash(f"{host[0]}#{n}"), host) for host in hosts for n in range(VIRTUAL_NODES))
    places = [place for place, _ in points]

    def clockwise(colony: int) -> Iterator[Host]:
        begin, seen = bisect_right(places, _hash(f"colony {colony}")), set()
        for n in range(len(points)):
            host = points[(begin + n) % len(points)][1]
            if host[0] not in seen:
                seen.add(host[0])
                yield host

    return [_apart(clockwise(colony), peers) for colony in range(colonies)]


class RedisCluster:
    """A Redis Cluster with a master on each host, and its replicas on hosts of other zones.

    Slots are moved as `redis-cli --cluster rebalance` plans it: expected is
    slots / masters, the masters with most give to those with fewest, sizes of
    slots are not looked at. Replicas follow their master as a whole.

    Source: redis-cli.c, clusterManagerCommandRebalance.
    """

    def __init__(self, hosts: Sequence[Host], slots: int, peers: int) -> None:
        self.peers = peers
        self.hosts = list(hosts)
        self.slots: dict[str, list[int]] = {name: [] for name, _ in hosts}
        each = slots / len(hosts)  # as `--cluster create` deals them: contiguous ranges
        for slot in range(slots):
            self.slots[hosts[min(len(hosts) - 1, int(slot / each))][0]].append(slot)
        self.replicas: dict[str, tuple[str, ...]] = {}
        for name, _ in hosts:
            self.replicas[name] = self._replicas_of(name)

    def _replicas_of(self, master: str) -> tuple[str, ...]:
        """Return hosts for the replicas of a master: of other zones, those with the fewest."""
        count = {name: 0 for name, _ in self.hosts}
        for replicas in self.replicas.values():
            for name in replicas:
                count[name] = count.get(name, 0) + 1
        zone = dict(self.hosts)[master].zone
        others = [host for host in self.hosts if host[1].zone != zone]
        others.sort(key=lambda host: (count[host[0]], _hash(master + host[0])))
        return _apart(iter(others), self.peers - 1)

    def rebalance(self) -> None:
        """Even out the numbers of slots."""
        total = sum(map(len, self.slots.values()))
        expected = total // len(self.slots)
        balance = {name: len(slots) - expected for name, slots in self.slots.items()}
        order = sorted(self.slots, key=lambda name: balance[name])
        low, high = 0, len(order) - 1
        while low < high:
            taker, giver = order[low], order[high]
            count = min(-balance[taker], balance[giver])
            if count > 0:
                self.slots[taker] += self.slots[giver][:count]
                del self.slots[giver][:count]
                balance[taker] += count
                balance[giver] -= count
            low += balance[taker] >= 0
            high -= balance[giver] <= 0

    def join(self, host: Host) -> None:
        """Add a master, its replicas, and rebalance."""
        self.hosts.append(host)
        self.slots[host[0]] = []
        self.replicas[host[0]] = self._replicas_of(host[0])
        self.rebalance()

    def leave(self, name: str) -> None:
        """Give a master's slots away evenly (`--cluster rebalance --cluster-weight name=0`), then drop it."""
        self.hosts = [host for host in self.hosts if host[0] != name]
        del self.replicas[name]
        for master, replicas in self.replicas.items():
            if name in replicas:
                kept = [one for one in replicas if one != name]
                spare = [one for one in self._replicas_of(master) if one not in kept]
                self.replicas[master] = (*kept, *spare)[: self.peers - 1]
        slots = self.slots.pop(name)
        for slot in slots:
            taker = min(self.slots, key=lambda one: (len(self.slots[one]), one))
            self.slots[taker].append(slot)

    def places(self) -> Places:
        """Return who holds each slot."""
        found: dict[int, tuple[str, ...]] = {}
        for name, slots in self.slots.items():
            for slot in slots:
                found[slot] = (name, *self.replicas[name])
        return [found[slot] for slot in sorted(found)]


def moved(before: Places, after: Places) -> int:
    """Return how many copies were made: holders that were none before."""
    return sum(len(set(new) - set(old)) for old, new in zip(before, after, strict=True))
