"""A cluster whose hosts and clients are nodes of a network.

The thread that opens it lives on node `c0` until it is closed: from there
every host is always in reach, so that the cluster can be asked how it is,
whatever is cut. Clients on nodes `c1`, `c2` share the fate of their side.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import psutil

import colony
from agents import client_link
from agents.keys import colony_of
from colony import keyring
from tests.faults.network import Network
from tests.real.hosts import PATIENCE_S, ROOT, Hosts, until

PORT = 32000
SPARE_HOSTS = 2  # addresses for hosts that join later
CLIENTS = ("c1", "c2")
ASK_S = 1.0
BOOT_S = 60.0  # ten processes start at once, on a machine that may have much else to do
STEADY_S = 1.2  # a host that is silent is held dead by then
FLAPS_MAX = 1.5  # one death more, and a host waits for less than a second: it is back before that


def send_inside(entered: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to what runs behind an entrance, and not to the process that waits for it."""
    try:
        for child in psutil.Process(entered.pid).children():
            child.send_signal(number)
    except psutil.NoSuchProcess:
        pass  # it has ended


def entrance(network: Network, node: str, clock: Path, kind: str, arguments: Iterable[str]) -> list[str]:
    """Return the command that runs a host or a client on a node."""
    enter = [sys.executable, "-m", "tests.faults.enter", network.path(node), str(os.getpid()), str(clock)]
    return [*enter, kind, *arguments]


class Cluster(Hosts):
    """Real hosts, each in a network namespace, and clients beside them.

    Args:
        count: Hosts at the start.
        peers: Copies of each colony.
        durable: Whether hosts have state directories.
        encrypted: Whether hosts and clients know each other by keys.
        options: Of every host.
    """

    promises = True

    def __init__(
        self,
        count: int = 5,
        *,
        peers: int = 2,
        colonies: int = 32,
        durable: bool = False,
        boxes: int = 3,
        encrypted: bool = False,
        options: tuple[str, ...] = (),
    ) -> None:
        self._stack = ExitStack()
        nodes = [f"h{number}" for number in range(1, count + SPARE_HOSTS + 1)]
        self.network = self._stack.enter_context(Network([*nodes, "c0", *CLIENTS]))
        self.clients: dict[str, Client] = {}
        try:
            self._stack.enter_context(self.network.inside("c0"))
            # ZeroMQ's thread connects from the network in which it was started: not from an earlier one.
            client_link._context = None
            self._stack.callback(setattr, client_link, "_context", None)
            keys = self._make_keys() if encrypted else None
            shape: dict[str, Any] = {"boxes": boxes, "peers": peers, "colonies": colonies}
            options = (*(() if encrypted else ("--insecure",)), *options)  # theirs last: see `enter`
            super().__init__(count, durable=durable, keys=keys, options=options, **shape)
            self.clients = {node: Client(self, node) for node in CLIENTS}
            self.healed()
        except BaseException:
            self.close()
            raise

    def _make_keys(self) -> Path:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="colony-keys-"))) / "keys"
        keyring.make(folder)
        return folder

    def _place(self, name: str) -> tuple[str, int]:
        return self.network.address(name), PORT

    def clock(self, name: str) -> Path:
        """Return the file that says by how many seconds a node's wall clock is wrong."""
        return Path(self.folder.name) / f"clock-{name}"

    def _command(self, name: str, arguments: list[str]) -> list[str]:
        return entrance(self.network, name, self.clock(name), "host", arguments)

    def _signal(self, name: str, number: int) -> None:
        """Send a signal to the host itself, and not to the process that waits for it."""
        send_inside(self.processes[name].popen, number)

    def ask_to_leave(self, name: str) -> None:
        """SIGTERM a host, and don't wait; `gone` does."""
        self._signal(name, signal.SIGTERM)

    def gone(self, name: str) -> int:
        """Wait until a host that was asked to leave has ended; return its exit status."""
        status = self.processes[name].popen.wait(PATIENCE_S + 10)
        del self.processes[name]
        return status

    def client_arguments(self) -> list[str]:
        """Return what a client's process needs to know."""
        return ["colony", ",".join(self.seeds), *([str(self.keys)] if self.keys is not None else [])]

    def forget(self, name: str) -> None:
        """Remove the state directory of a host that does not run, if it had one."""
        shutil.rmtree(Path(self.folder.name) / f"state-{name}", ignore_errors=True)

    def jump(self, name: str, wrong_s: float) -> None:
        """Let a host's wall clock jump to be wrong by so many seconds."""
        self.clock(name).write_text(str(wrong_s))

    def close(self) -> None:
        """End all processes, and remove the network."""
        for client in self.clients.values():
            client.close()
        if hasattr(self, "processes"):
            super().close()
        self._stack.close()

    # -- what they say -----------------------------------------------------------------

    def healthy(self, *, within_s: float = BOOT_S) -> dict[str, Any]:
        """Wait as any cluster does, but say what is in the way."""
        try:
            return super().healthy(within_s=within_s)
        except AssertionError as error:
            told = {name: self.ask(name) for name in self.processes}
            raise AssertionError(f"{error}; {_summary(told)}\n{self.chronicle()}") from None

    def ask(self, name: str, command: str = "status", **arguments: Any) -> dict[str, Any] | None:
        """Return what just this host answers an operator; None = nothing in time."""
        try:
            with colony.connect(self.processes[name].address, timeout=ASK_S, keys=self.keys) as store:
                found = store.admin(command, arguments)
        except colony.ColonyError:
            return None
        assert isinstance(found, dict)
        return found if found.get("name", name) == name else None  # it is silent, and another host answered

    def holder(self, names: Iterable[str] = ()) -> dict[str, Any] | None:
        """Return the status that a host with quorum gives, of these or all; None = none has it."""
        for name in names or list(self.processes):
            status = self.ask(name)
            if status is not None and status["quorum"]:
                return status
        return None

    def view(self) -> int:
        """Return the number of the newest view that a host with quorum has."""
        status = until(self.holder, "some host has quorum")
        return int(status["view"]["number"])

    def holders(self) -> list[set[str]]:
        """Return, per colony, the hosts with a peer of it."""
        status = self.status(table=True)
        return [{row["primary"], *row["secondaries"]} for row in status["table"]]

    def partition(self, key: str) -> int:
        """Return the colony of a key."""
        return colony_of(key.encode(), self.colonies)

    def may_lack(self, names: Iterable[str]) -> bool:
        """Return whether each colony has a peer outside these hosts."""
        gone = set(names)
        return all(holders - gone for holders in self.holders())

    def is_rested(self) -> bool:
        """Return whether no host would have to wait because of what happened to it in earlier rounds."""
        told = [status for name in self.processes if (status := self.ask(name)) is not None]
        return all(member["flaps"] <= FLAPS_MAX for status in told for member in status["view"]["members"])

    def stranded(self, here: Iterable[str]) -> list[int]:
        """Return the colonies of which none of these hosts, which reach each other, has a copy."""
        names = set(here)
        status = next((told for name in sorted(names) if (told := self.ask(name, colonies=True))), None)
        assert status is not None, f"none of {sorted(names)} answers"
        rows = status["table"]
        return [row["colony"] for row in rows if not names & {row["primary"], *row["secondaries"]}]

    def lost(self) -> list[int]:
        """Return the colonies that any host names lost."""
        told = [status for name in self.processes if (status := self.ask(name)) is not None]
        return sorted({colony for status in told for colony in status["lost"]})

    def goes_on(self, names: Iterable[str]) -> bool:
        """Return whether these hosts alone have a view, and all copies that they can have."""
        status = self.holder(names)
        if status is None:
            return False
        members, colonies = status["view"]["members"], status["colonies"]
        is_so = {m["name"] for m in members if m["status"] == "ACTIVE"} == set(names)
        return is_so and bool(colonies["healthy"] == colonies["count"])

    def healed(self, *, within_s: float = PATIENCE_S) -> float:
        """Wait until just the living hosts are ACTIVE members with all copies, and stay so; and none moves.

        A fault between the look at who has what and a move would meet other copies than it was made for.

        Returns:
            Seconds until all was well for good: what is well for less than `STEADY_S` is not.
        """
        began_s = ill_s = moved_s = time.monotonic()
        places: Any = None
        here = {process.name for process in self.processes.values() if process.is_alive}
        last: Any = None

        def look() -> bool:
            nonlocal last, ill_s, moved_s, places
            last = {name: self.ask(name, colonies=True) for name in here}
            before, places = places, [_places(told) for told in last.values()]
            if places != before:
                moved_s = time.monotonic()
            if not all(told is not None and _is_well(told, here, self.peers) for told in last.values()):
                ill_s = time.monotonic()
            return time.monotonic() - max(ill_s, moved_s) >= STEADY_S

        try:
            until(look, "all hosts ACTIVE members, all colonies healthy", within_s=within_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; {_summary(last)}") from None
        return ill_s - began_s

    def chronicle(self) -> str:
        """Return what all hosts noted, by time, and their logs: for people who look into a failure."""
        notes = []
        for name in self.processes:
            told = self.ask(name, "events", limit=4000)
            notes += [(event["at"], name, event) for event in (told or {}).get("events", ())]
        lines = [
            f"{at_s:.3f} {name} {event['kind']} {event.get('host') or ''} {event.get('reason') or ''} "
            f"{json.dumps(event.get('details') or {})}"
            for at_s, name, event in sorted(notes, key=lambda note: note[:2])
        ]
        return "\n".join(lines) + "\n" + self.logs()


def _places(status: dict[str, Any] | None) -> list[tuple[str, ...]]:
    """Return who holds what, by one host's word."""
    rows = status["table"] if status is not None else ()
    return [(row["primary"], *sorted(row["secondaries"])) for row in rows]


def _is_well(status: dict[str, Any], here: set[str], peers: int) -> bool:
    members, colonies = status["view"]["members"], status["colonies"]
    active = {member["name"] for member in members if member["status"] == "ACTIVE"}
    well = colonies["count"] and colonies["healthy"] == colonies["count"]
    settled = colonies["settled"] == min(peers, len(here))
    return bool(status["quorum"] and well and settled and active == here == {m["name"] for m in members})


def _summary(told: dict[str, Any]) -> str:
    """Return each host's last word on one line."""
    parts = []
    for name, status in sorted((told or {}).items()):
        if status is None:
            parts.append(f"{name}: silent")
            continue
        members = ",".join(f"{m['name']}:{m['status'][0]}" for m in status["view"]["members"])
        colonies = status["colonies"]
        parts.append(
            f"{name}: {status['stage']} view {status['view']['number']} [{members}] "
            f"quorum {status['quorum']} "
            f"healthy {colonies['healthy']}/{colonies['count']} lost {colonies['lost']}"
        )
    return "; ".join(parts)


class Beside(Protocol):
    """What a client's process needs of a cluster."""

    network: Network

    def clock(self, name: str) -> Path:
        """Return the file that says by how many seconds a node's wall clock is wrong."""

    def client_arguments(self) -> list[str]:
        """Return which system it is, and where."""


class Client:
    """A process on a client node that loads the cluster, and reports what it did."""

    def __init__(self, cluster: Beside, node: str) -> None:
        self.node = node
        arguments = cluster.client_arguments()
        command = entrance(cluster.network, node, cluster.clock(node), "client", arguments)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        log = cluster.clock(node).with_name(f"{node}.log")
        with log.open("wb") as errors:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                cwd=ROOT,
            )
        self.call("ping")

    def send(self, command: str, **arguments: Any) -> None:
        """Tell it what to do."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(json.dumps({"do": command, **arguments}).encode() + b"\n")
        self._popen.stdin.flush()

    def answer(self) -> Any:
        """Return its next answer."""
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline()
        assert line, f"the client on {self.node} has ended: {self._popen.poll()}"
        return json.loads(line)

    def call(self, command: str, **arguments: Any) -> Any:
        """Tell it what to do, and return its answer."""
        self.send(command, **arguments)
        return self.answer()

    def close(self) -> None:
        """End it."""
        self._popen.kill()
        self._popen.wait(PATIENCE_S)
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass
