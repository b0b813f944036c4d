"""Redis Cluster in namespaces: three primaries, a replica of each.

Its own tool founds it. The append-only file is on, as Redis asks of whoever
restarts a primary: without it one that comes back at once is empty, and so
is its replica then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.redis_pair import require
from tests.faults.network import run
from tests.faults.rival import PORT
from tests.faults.systems import Nodes
from tests.real.hosts import until

PRIMARIES = 3
SLOT_BOUNDS = 5461, 10923  # where redis-cli lets the second and the third primary begin
ASK_S = 1.0


@dataclass(frozen=True)
class Row:
    """One line of CLUSTER NODES."""

    id: str
    address: str
    flags: frozenset[str]
    primary: str
    linked: bool
    slots: tuple[int, ...]  # where its ranges begin

    @property
    def leads(self) -> tuple[int, ...]:
        """The partitions that it is primary of."""
        return tuple(sorted({part_of(slot) for slot in self.slots})) if "master" in self.flags else ()

    @property
    def is_well(self) -> bool:
        """Whether the teller has nothing against it."""
        ill = {"fail", "fail?", "handshake", "noaddr"}
        return not self.flags & ill and (self.linked or "myself" in self.flags)


def part_of(slot: int) -> int:
    """Return the partition of a slot."""
    return sum(slot >= bound for bound in SLOT_BOUNDS)


def rows(text: str) -> list[Row]:
    """Return what CLUSTER NODES told."""
    found = []
    for line in text.splitlines():
        id, address, flags, primary, _, _, _, link, *slots = line.split()
        begins = tuple(int(slot.partition("-")[0]) for slot in slots if not slot.startswith("["))
        place = address.partition("@")[0]
        found.append(Row(id, place, frozenset(flags.split(",")), primary, link == "connected", begins))
    return found


def holders_of(told: list[Row], names: dict[str, str]) -> list[set[str]]:
    """Return, per partition, who has it, its primary and that one's replicas; names by address."""
    found: list[set[str]] = [set() for _ in range(PRIMARIES)]
    for row in told:
        for part in row.leads:
            found[part] |= {names[row.address], *(names[r.address] for r in told if r.primary == row.id)}
    return found


def is_enough(told: list[Row], names: dict[str, str], gone: set[str]) -> bool:
    """Return whether a copy of each partition, and most of the primaries, which vote, are not among these."""
    voters = [names[row.address] for row in told if row.leads]
    staying = [name for name in voters if name not in gone]
    return 2 * len(staying) > len(voters) and all(there - gone for there in holders_of(told, names))


class RedisCluster(Nodes):
    """Six servers of which three lead.

    Args:
        node_timeout_s: cluster-node-timeout: how long a node is silent before it may be replaced.
    """

    kind = "redis-cluster"

    def __init__(self, *, node_timeout_s: float = 1.0) -> None:
        require()
        self._timeout_ms = int(node_timeout_s * 1000)
        super().__init__(2 * PRIMARIES)

    def _arguments(self, name: str, folder: Path) -> list[str]:
        options = {
            "bind": self.network.address(name),
            "port": str(PORT),
            "dir": str(folder),
            "protected-mode": "no",
            "save": "",
            "appendonly": "yes",
            "repl-diskless-sync-delay": "0",
            "cluster-enabled": "yes",
            "cluster-node-timeout": str(self._timeout_ms),
        }
        return [part for option, value in options.items() for part in (f"--{option}", value)]

    def _found(self) -> None:
        until(lambda: all(self._ask(name, "PING") for name in self.names), "all servers are up")
        places = [self.address(name) for name in self.names]
        run("redis-cli", "--cluster", "create", *places, "--cluster-replicas", "1", "--cluster-yes")

    # -- what they say -----------------------------------------------------------------

    def _ask(self, name: str, *command: str) -> str:
        """Return what just this server answers; "" = nothing in time."""
        import redis

        host = self.network.address(name)
        patience: dict[str, Any] = {"socket_timeout": ASK_S, "socket_connect_timeout": ASK_S, "retry": None}
        with redis.Redis(host=host, port=PORT, **patience) as server:
            server.response_callbacks.clear()  # plain text, as it came
            try:
                told = server.execute_command(*command)
            except (redis.RedisError, OSError):
                return ""
        return told.decode() if isinstance(told, bytes) else str(told)

    def _epoch(self, name: str) -> int:
        told = self._ask(name, "CLUSTER INFO")
        lines = dict(line.split(":", 1) for line in told.split() if ":" in line)
        return int(lines.get("cluster_current_epoch", -1))

    def _rows(self, among: Iterable[str] = ()) -> list[Row]:
        """Return what the best informed server says."""
        names = list(among) or self.awake
        return rows(self._ask(max(names, key=self._epoch), "CLUSTER NODES"))

    @property
    def _names(self) -> dict[str, str]:
        return {self.address(name): name for name in self.names}

    def leads(self) -> dict[str, list[int]]:
        """Return the partitions that each server is primary of."""
        told = {self._names[row.address]: list(row.leads) for row in self._rows()}
        return {name: told.get(name, []) for name in self.names}

    def holders(self) -> list[set[str]]:
        """Return, per partition, the servers with a copy of it."""
        return holders_of(self._rows(), self._names)

    def partition(self, key: str) -> int:
        """Return the partition of a key."""
        from redis.crc import key_slot

        return part_of(key_slot(key.encode()))

    def may_lack(self, names: Iterable[str]) -> bool:
        """Return whether each partition has a copy elsewhere, and most primaries are elsewhere."""
        return is_enough(self._rows(), self._names, set(names))

    def goes_on(self, names: Iterable[str]) -> bool:
        """Return whether these servers say that all is served, each partition by one of them."""
        names = list(names)
        if not all("cluster_state:ok" in self._ask(name, "CLUSTER INFO") for name in names):
            return False
        led = {part for row in self._rows(names) if self._names[row.address] in names for part in row.leads}
        return len(led) == PRIMARIES

    def view(self) -> int:
        """Return the cluster's epoch: each failover raises it."""
        return max(self._epoch(name) for name in self.awake)

    def _is_well(self) -> bool:
        pictures = set()
        for name in self.processes:
            told = self._told[name] = rows(self._ask(name, "CLUSTER NODES"))
            if len(told) != len(self.names) or not all(row.is_well for row in told):
                return False
            if any(len(there) != 2 for there in holders_of(told, self._names)):
                return False
            pictures.add(frozenset((row.id, row.primary, row.leads) for row in told))
            if "cluster_state:ok" not in self._ask(name, "CLUSTER INFO"):
                return False
            replication = self._ask(name, "INFO", "replication")
            if "role:slave" in replication and "master_link_status:up" not in replication:
                return False
        return len(pictures) == 1
