"""A cluster with keys: it works as without, and knows whom it talks to."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from cloudpickle import __version__ as cloudpickle_version

import colony
from agents.access import Role
from agents.curve import new_pair
from agents.messages.client import Mutate
from agents.wire import encode
from colony import keyring
from colony.closures import CLOSURE_FORMAT, PYTHON, Closure
from tests.hostile import infected
from tests.real.hosts import ROOT, Hosts, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with all keys."""
    folder = tmp_path_factory.mktemp("ring") / "keys"
    keyring.make(folder)
    return folder


@pytest.fixture(scope="module")
def hosts(keys: Path) -> Iterator[Hosts]:
    """Yield three hosts with keys."""
    with Hosts(3, boxes=3, colonies=8, keys=keys) as cluster:
        yield cluster


def run(*arguments: str, timeout: float = 20) -> tuple[int, str]:
    """Run a `colony` command; return its status and what it said."""
    command = [sys.executable, "-m", "colony", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, env=environment, check=False
    )
    return done.returncode, done.stdout + done.stderr


def connected(hosts: Hosts, **how: Any) -> colony.Store:
    return colony.connect(hosts.addresses, **{"timeout": 5.0, **how})


def test_cells_closures_and_watches_travel_encrypted(hosts: Hosts, keys: Path) -> None:
    with connected(hosts, keys=keys, key="client") as store:
        for number in range(50):
            store.set(f"k{number}", number)
        assert store.get_many(f"k{number}" for number in range(50)) == {f"k{n}": n for n in range(50)}
        assert store.mutate("k1", lambda value: value + 41) == 42 or store.get("k1") == 42
        with store.watch("k2") as watch:
            store.set("k2", "changed")
            event = watch.poll(5)
            assert event is not None and event.key == "k2"
        store.set("large", b"x" * 5_000_000)
        assert len(store.get("large")) == 5_000_000


def test_each_role_may_what_it_may(hosts: Hosts, keys: Path) -> None:
    with connected(hosts, keys=keys, key="observer") as observer:
        observer.admin("status")
        list(observer.keys())
        for call in (
            lambda: observer.set("k", 1),
            lambda: observer.delete("k"),
            lambda: observer.mutate("k", lambda value: value),
        ):
            with pytest.raises(colony.Denied, match=r"needs the role client.*observer"):
                call()
        with pytest.raises(colony.Denied, match="needs the role operator"):
            observer.admin("leave", {"hosts": ["h1"]})
    with connected(hosts, keys=keys, key="client") as client:
        for order in ("evict", "leave", "shutdown", "recover", "init"):
            with pytest.raises(colony.Denied, match="needs the role operator"):
                client.admin(order, {"host": "h1", "hosts": ["h1"], "force": True})
    allowed = pytest.raises(colony.Denied, match="already")
    with connected(hosts, keys=keys, key="operator") as operator, allowed:
        operator.admin("init")
    assert len(hosts.healthy()["view"]["members"]) == 3


def test_strangers_are_told_in_one_line(hosts: Hosts, keys: Path, tmp_path: Path) -> None:
    strange = tmp_path / "strange"
    keyring.make(strange)
    with connected(hosts, timeout=1.0) as plain, pytest.raises(colony.Unavailable, match="demands CURVE"):
        plain.get("k")
    foreign = pytest.raises(colony.Unavailable, match=r"host\.pub")
    with connected(hosts, timeout=1.0, keys=strange) as other, foreign:
        other.get("k")
    shutil.copy(keys / "host.pub", strange / "host.pub")
    unknown = pytest.raises(colony.Unavailable, match="does not know our key")
    with connected(hosts, timeout=1.0, keys=strange) as other, unknown:
        other.get("k")
    refused = 0
    for process in hosts.processes.values():
        with colony.connect(process.address, keys=keys) as store:
            status = store.admin("status")
            assert status["keys"] and not status["insecure"]
            refused += status["refused"]
            kinds = [event["kind"] for event in store.admin("events", {"after": 0})["events"]]
            assert kinds.count("denied") <= 3  # one in ten seconds, however often they knocked
            assert "denied" in kinds or not status["refused"]
    assert refused


def test_a_host_with_other_keys_does_not_get_in(hosts: Hosts, keys: Path, tmp_path: Path) -> None:
    strange = tmp_path / "strange"
    keyring.make(strange)
    for line in (keys / "authorized").read_text().splitlines()[1:]:
        with (strange / "authorized").open("a") as file:
            file.write(line.replace(" host host", " host ours") + "\n")
    with colony.Host("tcp://127.0.0.1:0", join=hosts.addresses, keys=strange) as joiner:
        time.sleep(1.0)
        assert joiner.stage == "ZOMBIE"
    with colony.Host("tcp://127.0.0.1:0", join=hosts.addresses) as plain:
        time.sleep(0.7)
        assert plain.stage == "ZOMBIE"
    assert len(hosts.status()["view"]["members"]) == 3


def test_commands_take_keys(hosts: Hosts, keys: Path) -> None:
    where = ["--connect", hosts.addresses, "--keys", str(keys)]
    assert run("set", "cli", "7", *where)[0] == 0
    assert run("get", "cli", *where, "--as", "observer") == (0, "7\n")
    status, said = run("set", "cli", "8", *where, "--as", "observer")
    assert status == 1 and said.count("\n") == 1 and "needs the role client" in said
    status, said = run("status", *where)
    assert status == 0 and "quorum yes" in said
    status, said = run("host", "--listen", "tcp://0.0.0.0:0")
    assert status in (1, 2) and said.count("\n") == 1 and "colony keygen" in said
    status, said = run("host", "--listen", "tcp://0.0.0.0:0", "--keys", "/nowhere")
    assert status == 1 and said.count("\n") == 1 and "can't read" in said


def test_a_key_that_is_struck_off_is_out_at_once(hosts: Hosts, keys: Path) -> None:
    keyring.add(keys, Role.CLIENT, "web1")
    for process in hosts.processes.values():
        process.popen.send_signal(signal.SIGHUP)
    with connected(hosts, keys=keys, key="client-web1", timeout=2.0) as store:

        def is_in() -> bool:
            try:
                return store.set("web", 1) > 0
            except colony.Unavailable:
                return False

        until(is_in, "the new key is known")
        lines = (keys / "authorized").read_text().splitlines(keepends=True)
        (keys / "authorized").write_text("".join(line for line in lines if "web1" not in line))

        def is_out() -> bool:
            try:
                store.set("web", 2, timeout=0.3)
            except colony.ColonyError:
                return True
            return False

        until(is_out, "the live connection is cut")
        with pytest.raises(colony.Unavailable, match="does not know our key"):
            store.set("web", 3)
    with connected(hosts, keys=keys) as other:
        assert other.get("web") in (1, 2)


class Canary:
    """A pickle that leaves a file behind when somebody loads it."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return (open, (self.path, "w"))


def closure(pickled: bytes, lane: bytes = b"a", python: str = PYTHON) -> bytes:
    """Return a request that has a pickle run, if anybody would."""
    made = Closure(CLOSURE_FORMAT, python, cloudpickle_version, pickled, pickled)
    return encode([Mutate(7, lane, 1, b"cell", encode(made))])


def said_by(address: str, frames: list[list[bytes]], pair: tuple[str, str] | None, server: str) -> int:
    """Send messages from one DEALER with these keys, or none; return how many replies came."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 200
        dealer.sndtimeo = 200
        if pair is not None:
            dealer.curve_publickey, dealer.curve_secretkey = (part.encode() for part in pair)
            dealer.curve_serverkey = server.encode()
        dealer.connect(address)
        replies = 0
        for frame in frames:
            try:
                dealer.send_multipart(frame)
            except zmq.Again:
                break  # it is not let in
            while dealer.poll(0):
                dealer.recv()
                replies += 1
        while dealer.poll(300):
            dealer.recv()
            replies += 1
        return replies


def test_a_pickle_runs_for_nobody_who_may_not(hosts: Hosts, keys: Path, tmp_path: Path) -> None:
    canary = tmp_path / "sang"
    pickled = pickle.dumps(Canary(canary))
    server = (keys / "host.pub").read_text().strip()

    def pair(role: str) -> tuple[str, str]:
        return tuple((keys / f"{role}.{part}").read_text().strip() for part in ("pub", "key"))  # type: ignore[return-value]

    frames = [[data] for data in infected(pickled)]
    frames += [[pickled, b"x"], [b"x", pickled], [b"", pickled], [b"", b"", pickled], [closure(pickled)]]
    member = hosts.status()["view"]["members"][0]
    for who in (None, new_pair(), pair("observer")):
        for address in (member["address"], member["link"]):
            replies = said_by(address, frames, who, server)
            assert bool(replies) == (who == pair("observer") and address == member["address"])
    leads = hosts.admin.admin("where", {"key": "cell"})["primary"]
    [address] = [m["address"] for m in hosts.status()["view"]["members"] if m["name"] == leads]
    assert said_by(address, [[closure(pickled)]], pair("observer"), server) == 1
    assert said_by(address, [[closure(pickled, b"b", python="2.7")]], pair("client"), server) == 1
    time.sleep(0.3)
    assert not canary.exists()
    assert all(process.is_alive for process in hosts.processes.values())
    # The very same, from one who may: had anybody loaded one of the others, it would have shown.
    said_by(address, [[closure(pickled, b"c")]], pair("client"), server)
    until(canary.exists, "a client's closure runs")
    hosts.healthy()


def test_a_killed_host_costs_nothing(hosts: Hosts, keys: Path) -> None:
    with connected(hosts, keys=keys, key="client", timeout=10.0) as store:
        for number in range(20):
            store.set(f"kept{number}", number)
        hosts.kill("h2")
        for number in range(20):
            assert store.get(f"kept{number}") == number
            store.set(f"kept{number}", -number)
    assert {m["name"] for m in hosts.healthy()["view"]["members"]} == {"h1", "h3"}
