"""Joiners of real processes: what they say, whom they wait for, and when they end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import colony
from tests.ports import free_port
from tests.real.hosts import ROOT, Hosts, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    """Yield a cluster of two."""
    with Hosts(2, boxes=2, colonies=8) as cluster:
        yield cluster


class Joiner:
    """One host process that is started by hand, and what it says."""

    def __init__(self, folder: Path, name: str, join: str, **options: str) -> None:
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self.log = folder / f"{name}-{self.address.rpartition(':')[2]}.log"
        command = [sys.executable, "-m", "colony", "host", "--name", name, "--listen", self.address]
        command += ["--join", join] if join else []
        for option, value in options.items():
            command += [f"--{option.replace('_', '-')}", value]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with self.log.open("wb") as out:
            self.popen = subprocess.Popen(command, stdout=out, stderr=out, env=environment, cwd=ROOT)

    @property
    def said(self) -> str:
        """All that it has printed."""
        return self.log.read_text(encoding="utf-8")

    def says(self, text: str) -> str:
        """Wait until it has printed something; return the line."""
        until(lambda: text in self.said, f"{text!r} in {self.said}")
        return next(line for line in self.said.splitlines() if text in line)

    def ended(self) -> int:
        """Wait until it has ended by itself; return its exit status."""
        return self.popen.wait(60)

    def asked(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the command line against it."""
        command = [sys.executable, "-m", "colony", "--connect", self.address, *words]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    def close(self) -> None:
        """End it."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGKILL)
        self.popen.wait(10)


@pytest.fixture
def joiners(tmp_path: Path) -> Iterator[Any]:
    """Yield what starts joiners; all are ended in the end."""
    started: list[Joiner] = []

    def start(name: str, join: str, **options: str) -> Joiner:
        started.append(Joiner(tmp_path, name, join, **options))
        return started[-1]

    yield start
    for joiner in started:
        joiner.close()


@contextmanager
def not_colony() -> Iterator[tuple[str, str]]:
    """Yield the address of a server that speaks HTTP, and of one that never says a word."""
    with socket.socket() as web, socket.socket() as mute:
        for server in (web, mute):
            server.bind(("127.0.0.1", 0))
            server.listen(64)

        def serve() -> None:
            while True:
                try:
                    client, _ = web.accept()
                    with client:
                        client.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        ports = [server.getsockname()[1] for server in (web, mute)]
        yield f"tcp://127.0.0.1:{ports[0]}", f"tcp://127.0.0.1:{ports[1]}"
        web.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_003_21_seeds_that_are_dead_or_not_colony_at_all_are_told_once_with_a_hint(joiners: Any) -> None:
    dead = f"tcp://127.0.0.1:{free_port()}"
    with not_colony() as (web, mute):
        joiner = joiners("j", f"{dead},{web},{mute}")
        joiner.says("are --join and --keys right? trying on")  # what speaks HTTP may also be one with keys
        until(
            lambda: all(f"{seed}" in joiner.said.splitlines()[-1] for seed in (dead, web, mute)), "all told"
        )
        lines = joiner.said.splitlines()
        assert all("ZOMBIE, waits for a cluster, or `colony init`" in line for line in lines)
        assert len(lines) <= 4 and len(set(lines)) == len(lines), lines
        status = joiner.asked("status")
        assert status.returncode == 3 and "host j: ZOMBIE" in status.stdout and dead in status.stdout
        assert "in no cluster" in status.stderr
        heard = [f"asked {seed}: no answer" for seed in (dead, web, mute)]
        # Its own line tells how it stands; the log has each answer when that came in, mute seeds last.
        until(lambda: all(told in joiner.asked("events").stdout for told in heard), "all noted")
        assert joiner.said.splitlines() == lines, "nothing is repeated"
    joiner.popen.send_signal(signal.SIGTERM)
    assert joiner.ended() == 0


def test_003_26_a_state_directory_of_another_cluster_is_refused_with_what_to_do(
    hosts: Hosts, joiners: Any, tmp_path: Path
) -> None:
    state = str(tmp_path / "f")
    first = joiners("f1", "", expect="2", state_dir=state, colonies="4")
    other = joiners("f2", first.address, expect="2", colonies="4")
    first.says("ready f1")
    with colony.connect(first.address) as store:
        foreign = store.admin("status", {})["tag"]
    tag = hosts.status()["tag"]
    first.close()
    other.close()
    again = joiners("f1", hosts.seeds[0], state_dir=state)
    assert again.ended() == 1
    lines = again.said.splitlines()
    assert lines[-1].startswith("colony host: ended: refused by all that it asked: h1 at ")
    assert (
        f"no: this host belongs to the cluster {tag}, not to {foreign}; correct --join, or move" in lines[-1]
    )
    assert lines[0] == "colony host: DISCOVERY, waits for a majority of the 2 members of its last view"
    assert len(lines) <= 4 and len(set(lines)) == len(lines), lines
    with colony.connect(hosts.seeds[0]) as store:
        events = store.admin("events", {})["events"]
    noted = [event["reason"] for event in events if event["kind"] == "link_refused"]
    assert noted == [f"it belongs to the cluster {foreign}, this host to {tag}"], "once"


def test_003_18_racing_joiners_get_in_but_for_one_of_two_with_the_same_name(
    hosts: Hosts, joiners: Any
) -> None:
    taken = joiners("h2", hosts.seeds[0])
    twins = [joiners("twin", hosts.seeds[0]), joiners("twin", hosts.seeds[1])]
    single = joiners("single", hosts.seeds[1])
    single.says("ready single")
    until(lambda: [t for t in twins if t.popen.poll() is not None], "one of the twins has ended")
    (loser,) = [t for t in twins if t.popen.poll() is not None]
    (winner,) = [t for t in twins if t is not loser]
    winner.says("ready twin")
    for refused, name in ((loser, "twin"), (taken, "h2")):
        assert refused.ended() == 1
        last = refused.said.splitlines()[-1]
        assert f"no: the name {name} is taken by a live host; choose another --name" in last
        assert last.startswith("colony host: ended: refused by all that it asked: ")
    names = sorted(member["name"] for member in hosts.status()["view"]["members"])
    assert names == ["h1", "h2", "single", "twin"]
    for joiner in (winner, single):
        joiner.popen.send_signal(signal.SIGTERM)
    assert [joiner.ended() for joiner in (winner, single)] == [0, 0]


def test_003_2_28_a_second_init_is_refused_and_says_what_there_is(hosts: Hosts) -> None:
    tag = hosts.status()["tag"]
    command = [sys.executable, "-m", "colony", "--connect", hosts.seeds[0], "init"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == f"colony: already initialised, cluster tag {tag}\n"
