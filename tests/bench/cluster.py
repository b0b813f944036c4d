"""Colony hosts on loopback, for one run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

import colony
from agents.keys import colony_of
from tests.bench.harness import VALUE, AsyncCall, Call
from tests.ports import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
_START_S = 30.0
_SETTLE_S = 60.0


class Cluster:
    """So many host processes of ours, each as if on a box of its own."""

    def __init__(self, hosts: int = 2, *, peers: int = 2, colonies: int = 64, embedded: bool = False) -> None:
        """Start the hosts and wait until every colony has its peers.

        Args:
            hosts: All hosts, the embedded one included; >= 1.
            peers: Copies of each colony, the primary counted.
            colonies: How many colonies init makes.
            embedded: Whether one of the hosts is this process; then `host` is it.
        """
        self.peers, self.colonies = peers, colonies
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="colony-bench-")
        self.addresses = [f"tcp://127.0.0.1:{free_port()}" for _ in range(hosts)]
        self.host: Any = None
        self._stores: list[Any] = []
        self._admin: Any = None
        try:
            for number in range(1 if embedded else 0, hosts):
                self.start(number, expect=hosts)
            if embedded:
                self._embed(hosts)
            self.settle(min(peers, hosts))
        except BaseException:
            self.close()
            raise

    def start(self, number: int, *, expect: int = 0) -> str:
        """Start host number `number` of `addresses`; return its name. It joins all that came before."""
        name = f"h{number}"
        while number >= len(self.addresses):
            self.addresses.append(f"tcp://127.0.0.1:{free_port()}")
        others = [address for at, address in enumerate(self.addresses) if at != number]
        command = [sys.executable, "-m", "colony.up_child", str(os.getpid()), "host"]  # ends with us
        command += ["--name", name, "--listen", self.addresses[number]]
        command += ["--box", f"b{number}", "--peers", str(self.peers), "--colonies", str(self.colonies)]
        if others:
            command += ["--join", ",".join(others)]
        if expect:
            command += ["--expect", str(expect)]
        with open(Path(self._folder.name) / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=log
            )
        return name

    def _embed(self, hosts: int) -> None:
        self.host = colony.Host(
            name="h0",
            listen=self.addresses[0],
            join=self.addresses[1:],
            expect=hosts,
            peers=self.peers,
            colonies=self.colonies,
            labels={"box": "b0"},
        )
        self.host.start()
        try:
            self.host.wait_ready(_START_S)
        except colony.Unavailable as error:  # mostly because another one could not even start
            raise RuntimeError(f"{error}\n" + "\n".join(map(self.log, self.processes))) from error

    # -- state -------------------------------------------------------------------------------------

    def status(self, *, table: bool = False) -> dict[str, Any]:
        """Return what ``colony status --json`` prints."""
        if self._admin is None:
            self._admin = self.store()
        answer: dict[str, Any] = self._admin.admin("status", {"colonies": table})
        return answer

    def settle(self, peers: int, *, timeout_s: float = _SETTLE_S) -> None:
        """Wait until every colony has `peers` active peers and nothing moves."""
        deadline_s = time.monotonic() + timeout_s
        state: Any = None
        while time.monotonic() < deadline_s:
            dead = [name for name, process in self.processes.items() if process.poll() is not None]
            if dead:
                raise RuntimeError(f"{dead} ended:\n{self.log(dead[0])}")
            try:
                state = self.status()
            except colony.ColonyError as error:
                state = error
                time.sleep(0.2)
                continue
            counts = state.get("colonies") or {}
            steady = counts.get("healthy") == self.colonies and counts.get("settled") == peers
            members = state["view"]["members"]
            if steady and not state.get("moves") and all(m["status"] == "ACTIVE" for m in members):
                return
            time.sleep(0.2)
        raise RuntimeError(
            f"the cluster did not settle in {timeout_s:g} s: {str(state)[:300]}\n{self.log('h1')[-400:]}"
        )

    def log(self, name: str) -> str:
        """Return the end of what a host printed."""
        path = Path(self._folder.name) / f"{name}.log"
        return path.read_text(errors="replace")[-3_000:] if path.exists() else ""

    def pids(self) -> list[int]:
        """Return the host processes, the embedded one excluded."""
        return [process.pid for process in self.processes.values() if process.poll() is None]

    def rss_bytes(self) -> int:
        """Return the resident memory of the host processes, together."""
        return sum(psutil.Process(pid).memory_info().rss for pid in self.pids())

    def keys_of(self, name: str, count: int, prefix: str = "session") -> list[str]:
        """Return `count` keys whose primary is on host `name` just now."""
        table = self.status(table=True)["table"]
        mine = {row["colony"] for row in table if row["primary"] == name}
        if not mine:
            raise RuntimeError(f"{name} is primary of nothing")
        keys: list[str] = []
        number = 0
        while len(keys) < count:
            key = f"{prefix}:{number:08d}"
            if colony_of(key.encode(), self.colonies) in mine:
                keys.append(key)
            number += 1
        return keys

    # -- stores and contestants --------------------------------------------------------------------

    def store(self, **options: Any) -> Any:
        """Return a thin store on all hosts; closed with the cluster."""
        store = colony.connect(",".join(self.addresses), **options)
        self._stores.append(store)
        return store

    def local_store(self, **options: Any) -> Any:
        """Return a store of the embedded host."""
        return self.host.store(**options)

    # -- end ---------------------------------------------------------------------------------------

    def kill(self, name: str) -> None:
        """Kill -9 one host of ours."""
        self.processes[name].kill()

    def stall(self, name: str) -> None:
        """Stop the clock of one host of ours; `wake` ends it."""
        os.kill(self.processes[name].pid, signal.SIGSTOP)

    def wake(self, name: str) -> None:
        """Let a stalled host go on."""
        os.kill(self.processes[name].pid, signal.SIGCONT)

    def close(self) -> None:
        """End every host at once: nothing here is worth a graceful leave."""
        for store in self._stores:
            store.close()
        self._stores.clear()
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
        for process in self.processes.values():
            process.wait()
        if self.host is not None:
            self.host.close()
            self.host = None
        self._folder.cleanup()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def setter(store: Any, keys: list[str]) -> Call:
    """Return a call: set 1 KiB, acknowledged by the secondary. The store's codec is "raw"."""
    put, count = store.set, len(keys)

    def call(number: int) -> None:
        put(keys[number % count], VALUE)

    return call


def getter(store: Any, keys: list[str]) -> Call:
    """Return a call: get what `setter` wrote."""
    get, count = store.get, len(keys)

    def call(number: int) -> None:
        get(keys[number % count])

    return call


def async_setter(store: Any, keys: list[str]) -> AsyncCall:
    """Return a coroutine function: as `setter`."""
    put, count = store.set, len(keys)

    async def call(number: int) -> None:
        await put(keys[number % count], VALUE)

    return call


def counter(store: Any, keys: list[str]) -> Call:
    """Return a call: read-modify-write of a 1 KiB session, where it lives. The default codec."""
    mutate, count = store.mutate, len(keys)

    # Nested, so that it travels by value: a host need not have this module.
    def count_up(session: dict[str, Any] | None) -> dict[str, Any]:
        session = dict(session or {"n": 0, "pad": "x" * 1_000})
        session["n"] += 1
        return session

    def call(number: int) -> None:
        mutate(keys[number % count], count_up)

    return call


def mixer(store: Any, keys: list[str]) -> Call:
    """Return a call: of five, four read a session, one writes an attribute and its time to live."""
    count, most = len(keys), VALUE[:248]

    def call(number: int) -> None:
        key = keys[number % count]
        if (number // count + number) % 5:
            store.get(key)
            return
        with store.session(key, ttl=1_800) as session:
            session[f"a{number % 4}"] = most + number.to_bytes(8)  # the same again would not travel

    return call
