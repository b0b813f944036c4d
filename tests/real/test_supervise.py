"""Supervisors on real processes: whoever dies comes back, and nothing is lost.

Two supervisors on this machine, as if on two boxes, watch each other. Their
hosts come from a provider of the test's, and see no process but their own: a
death is known by silence, or by the word of a supervisor.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import colony
from agents.services import Handle
from colony import keyring
from colony.registry import RegistryError, read
from placement import probe
from tests.ports import free_port
from tests.real.hosts import ROOT, until
from tests.real.load import Load

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

WAIT_S = 30.0


def free_pair() -> int:
    """Return the first of two free ports in a row: of a host, and of the one that is added."""
    while True:
        first = free_port()
        with socket.socket() as probing:
            try:
                probing.bind(("127.0.0.1", first + 1))
            except OSError:
                continue
        return first


class Box:
    """One supervisor, whoever started it."""

    def __init__(self, folder: Path, name: str, port: int, *options: str) -> None:
        self.name, self.folder, self.port = name, folder / name, port
        self.output = folder / f"{name}.out"
        listen = ("--listen", f"tcp://127.0.0.1:{port}")
        where = ("--name", name, "--state-dir", str(self.folder))
        self.command = [sys.executable, "-m", "colony", "supervise", *where, *listen, *options]
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        """Of its first host."""
        return f"tcp://127.0.0.1:{self.port}"

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, as an operator does."""
        with self.output.open("ab") as out:
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            process = subprocess.Popen(self.command, stdout=out, stderr=out, env=environment, cwd=ROOT)
        self.processes.append(process)
        return process

    def said(self) -> str:
        """Return all that it has said, also where a neighbour started it."""
        log = self.folder / "log"
        return self.output.read_text() + (log.read_text() if log.exists() else "")

    def services(self) -> dict[str, Any]:
        """Return what its registry lists now, by name."""
        try:
            found = read(self.folder)
        except RegistryError:
            found = None
        return {service.name: service for service in found[1]} if found is not None else {}

    def pids(self) -> dict[str, int]:
        """Return the processes of its hosts."""
        hosts = {n: s for n, s in self.services().items() if s.kind == "host" and s.handle}
        return {name: int(service.handle["pid"]) for name, service in hosts.items()}

    def pid(self) -> int:
        """Return the supervisor's own process."""
        found = read(self.folder)
        return found[0].pid if found is not None else 0

    def close(self) -> None:
        """End the supervisor first, so that nothing comes back, then its hosts."""
        for process in self.processes:
            process.kill()
            process.wait(WAIT_S)
        found = read(self.folder) if self.folder.exists() else None
        if found is not None:
            self._kill({"pid": found[0].pid, "started_s": found[0].started_s})
        for service in self.services().values():
            self._kill(service.handle)

    def _kill(self, handle: Handle | None) -> None:
        """End a process, if it is still that one."""
        if handle is None or not handle["started_s"]:
            return
        if not probe.process_gone(int(handle["pid"]), float(handle["started_s"])):
            os.kill(int(handle["pid"]), signal.SIGKILL)


@pytest.fixture
def boxes(tmp_path: Path) -> Iterator[list[Box]]:
    """Yield a list of boxes that are cleaned up in the end."""
    made: list[Box] = []
    try:
        yield made
    finally:
        for _ in range(2):  # one may have started the other again meanwhile
            for box in made:
                box.close()


def pair(folder: Path, boxes: list[Box]) -> Path:
    """Start two supervisors with a host each, of a cluster that wants three copies."""
    keys = folder / "keys"
    keyring.make(keys)
    ports = [free_pair(), free_pair()]
    links = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    for number, name in enumerate(("b1", "b2")):
        port, other = ports[number], f"tcp://127.0.0.1:{ports[1 - number]}"
        boxes.append(
            Box(
                folder,
                name,
                port,
                *("--box", name, "--join", other, "--keys", str(keys), "--max-hosts", "2"),
                *("--host-args", "--expect 2 --peers 3 --colonies 16"),
                *("--control", links[number], "--watch", links[1 - number]),
                *("--provider", "tests.real.lonely:Lonely", "--capacity-after", "2.5"),
                *(("--stop-hosts",) if name == "b2" else ()),
            )
        )
    for box in boxes:
        box.start()
    return keys


def status_of(store: Any) -> dict[str, Any]:
    """Return the cluster's state, or nothing."""
    try:
        answer: dict[str, Any] = store.admin("status", {})
    except colony.ColonyError:
        return {}
    return answer


def is_well(store: Any, least: int, box: Box | None = None, before: int = 0) -> dict[str, Any]:
    """Return the state of a cluster of so many hosts, if all is well there.

    Args:
        box: Its first host is ACTIVE, by another process than `before`.
    """
    status = status_of(store)
    members = status.get("view", {}).get("members", [])
    counts = status.get("colonies", {})
    well = counts and counts["healthy"] == counts["count"] and counts["lost"] == 0
    active = {m["name"]: m["pid"] for m in members if m["status"] == "ACTIVE"}
    is_back = box is None or active.get(f"{box.name}-1", before) == box.pids().get(f"{box.name}-1") != before
    return status if well and is_back and len(active) == len(members) >= least else {}


def events(store: Any, addresses: list[str], keys: Path) -> list[dict[str, Any]]:
    """Return the logs of all hosts."""
    found = []
    for address in addresses:
        with colony.connect(address, keys=keys, timeout=5.0) as one:
            found += one.admin("events", {"limit": 4000})["events"]
    return found


def test_whoever_dies_comes_back(
    tmp_path: Path, boxes: list[Box], capsys: pytest.CaptureFixture[str]
) -> None:
    keys = pair(tmp_path, boxes)
    b1, b2 = boxes
    addresses = ",".join(box.address for box in boxes)
    began_s = time.monotonic()
    with colony.connect(addresses, keys=keys, timeout=20.0) as store:
        # Two hosts, three copies wanted: both supervisors want to add a host, and one does.
        status = until(lambda: is_well(store, 3), "one more host, and three copies")
        assert status["colonies"]["settled"] == 3
        assert len({**b1.pids(), **b2.pids()}) == 3 and (b1.said() + b2.said()).count("one more host") == 1
        added_s = time.monotonic() - began_s
        with Load(addresses, keys_from=keys, keys=24, writers=2, readers=1) as load:
            # A host is killed: attested, restarted, back, and by silence alone it would have taken a second.
            before = b1.pids()["b1-1"]
            os.kill(before, signal.SIGKILL)
            status = until(lambda: is_well(store, 3, b1, before), "it is back")
            assert next(m for m in status["view"]["members"] if m["name"] == "b1-1")["restarts"] >= 1
            # Its supervisor is killed: hosts go on, the neighbour starts it again, it adopts them.
            hosts, supervisor = b1.pids(), b1.pid()
            os.kill(supervisor, signal.SIGKILL)
            b1.processes[0].wait(WAIT_S)
            until(
                lambda: "which went on without a supervisor" in b1.said(), "it is started again, and adopts"
            )
            until(lambda: b1.pid() != supervisor, "its registry is the new one's")
            assert b1.pids() == hosts
            assert not any(probe.process_gone(pid, 0.0) for pid in hosts.values())
            # What was adopted is looked after as before.
            os.kill(hosts["b1-1"], signal.SIGKILL)
            until(lambda: is_well(store, 3, b1, hosts["b1-1"]), "it is back again")
        tally = load.verify()
        told = events(store, [m["address"] for m in status_of(store)["view"]["members"]], keys)
    assert {"restart", "supervisor"} <= {event["kind"] for event in told}, "b2-1 was told, and was not killed"
    assert b1.said().count("b1-1: death told to the cluster") >= 2
    seen = [e["reason"] for e in told if e["kind"] == "confirmed" and "saw its process end" in e["reason"]]
    assert seen and "its supervisor b1" in seen[0]
    ends(b1, b2)
    with capsys.disabled():
        all_s = time.monotonic() - began_s
        print(f"\nsupervised: a third host after {added_s:.1f} s, all in {all_s:.1f} s; {tally}")


def ends(b1: Box, b2: Box) -> None:
    """A signal leaves hosts running, or makes them leave, as the options say."""
    hosts, leavers = b1.pids(), b2.pids()
    os.kill(b1.pid(), signal.SIGTERM)
    until(lambda: "until the next one takes over" in b1.said(), "b1 ends")
    assert not any(probe.process_gone(pid, 0.0) for pid in hosts.values())
    b2.processes[0].terminate()
    assert b2.processes[0].wait(2 * WAIT_S) == 0
    assert all(probe.process_gone(pid, 0.0) for pid in leavers.values()), b2.said()
    assert "left" in (b2.folder / "hosts" / "b2-1" / "log").read_text()


def test_a_crash_loop_is_given_up_loudly(
    tmp_path: Path, boxes: list[Box], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        taken.listen()
        port = taken.getsockname()[1]
        box = Box(tmp_path, "b1", port, "--restart-delay", "0.05", "--give-up-after", "3")
        boxes.append(box)
        assert box.start().wait(WAIT_S) == 5
        twin = Box(tmp_path, "b1", port)
        twin.output = tmp_path / "twin.out"
    said = box.said().splitlines()
    assert "again in 0.05 s" in said[-6] or any("again in 0.05 s" in line for line in said)
    assert any("again in 0.15 s, failure 2 of 3 in a row" in line for line in said), said
    assert "given up after 3 failures in a row" in box.said() and "in use" in said[-1]
    from colony.cli import main

    assert main(["ps", "--state-dir", str(box.folder), "--json"], environ={}) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["phase"]) for row in rows] == [
        ("b1", "ended with status 5"),
        ("b1-1", "given up"),
    ]
