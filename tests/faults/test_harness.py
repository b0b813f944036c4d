"""The harness itself: cuts cut, what is wrong is found, nothing stays behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.faults.available import CELLS, outcome, tally
from tests.faults.network import Network, missing, program, run, sweep
from tests.faults.rounds import Round
from tests.faults.verdict import Found, acknowledged, judge
from tests.real.hosts import ROOT, until
from tests.sim.history import Operation

DOOMED = """
import sys, time
from tests.faults.hosts import Cluster
with Cluster(3, colonies=4, encrypted=True) as cluster:
    print(cluster.network.namespace("h1"), flush=True)
    time.sleep(60)
"""


@pytest.fixture
def network() -> Iterator[Network]:
    """Yield three nodes, where namespaces are allowed."""
    lack = missing()
    if lack:
        pytest.skip(lack)
    with Network(["a", "b", "c"]) as made:
        yield made


def hears(network: Network, sender: str, receiver: str) -> bool:
    """Return whether a datagram arrives."""
    with network.inside(receiver):
        ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with network.inside(sender):
        mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with closing(ear), closing(mouth):
        ear.bind((network.address(receiver), 9))
        ear.settimeout(0.2)
        mouth.sendto(b"?", (network.address(receiver), 9))
        try:
            return ear.recv(1) == b"?"
        except TimeoutError:
            return False


def test_a_filter_passes_what_is_not_named() -> None:
    assert program({}) == "2,40 0 0 10,6 0 0 4294967295"
    assert program({12: 1.0}) == "4,40 0 0 10,21 0 1 12,6 0 0 2,6 0 0 4294967295"


@pytest.mark.real
def test_paths_are_cut_and_mended_one_way_or_both(network: Network) -> None:
    assert hears(network, "a", "b")
    network.cut_one_way("a", "b")
    assert not hears(network, "a", "b")
    assert hears(network, "b", "a")
    assert hears(network, "c", "b")
    network.split(["a", "b"], ["c"])
    assert not hears(network, "c", "a")
    assert not hears(network, "a", "c")
    network.mend("a", "b")
    assert hears(network, "a", "b")
    network.heal()
    assert network.is_whole
    assert hears(network, "a", "c")


@pytest.mark.real
def test_a_lossy_path_loses_its_share(network: Network) -> None:
    network.lose(0.5, "a", "b")
    with network.inside("b"):
        ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with network.inside("a"):
        mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with closing(ear), closing(mouth):
        ear.bind((network.address("b"), 9))
        ear.setblocking(False)
        for _ in range(200):
            mouth.sendto(b"?", (network.address("b"), 9))
        time.sleep(0.05)
        came = 0
        while True:
            try:
                came += len(ear.recv(1))
            except BlockingIOError:
                break
    assert 60 < came < 140


@pytest.mark.real
def test_the_thread_is_back_where_it_was(network: Network) -> None:
    before = os.readlink("/proc/thread-self/ns/net")
    with network.inside("a"):
        assert os.readlink("/proc/thread-self/ns/net") != before
    assert os.readlink("/proc/thread-self/ns/net") == before


@pytest.mark.real
def test_a_killed_test_leaves_no_host_and_the_next_run_sweeps_its_network(network: Network) -> None:
    """The name of its namespaces is its process id: whose that is gone is a leftover."""
    doomed = subprocess.Popen([sys.executable, "-c", DOOMED], stdout=subprocess.PIPE, cwd=ROOT)
    assert doomed.stdout is not None
    with doomed, doomed.stdout:
        left = doomed.stdout.readline().decode().strip()
        assert left.endswith("-h1")
        assert run("ip", "netns", "pids", left).split(), "a host lives there"
        doomed.send_signal(signal.SIGKILL)
        doomed.wait(10)
    until(lambda: not run("ip", "netns", "pids", left).split(), "its hosts died with it", within_s=30)
    assert left in sweep()
    assert left not in run("ip", "netns", "list")
    assert network.namespace("a") in run("ip", "netns", "list"), "what is in use stays"


def put(key: str, value: str, at_s: float, version: int) -> Operation:
    """Return an acknowledged write."""
    return Operation(
        key=key, kind="put", call_s=at_s, return_s=at_s + 0.1, argument=value, version=version, client="w"
    )


def get(key: str, value: str | None, at_s: float, version: int = 0) -> Operation:
    """Return a read."""
    read = Operation(key=key, kind="get", call_s=at_s, return_s=at_s + 0.1, value=value, version=version)
    read.code = "ok" if value is not None else "absent"
    return read


def test_a_lost_write_is_counted_as_lost() -> None:
    found = Found()
    judge([put("once-1", "x", 0.0, 1), get("once-1", None, 5.0)], found)
    assert (found.lost, found.violations, found.passed) == (1, 0, False)


def test_a_stale_read_is_a_violation() -> None:
    found = Found()
    judge([put("k", "x", 0.0, 1), put("k", "y", 1.0, 2), get("k", "x", 2.0, 1)], found)
    assert (found.lost, found.violations, found.passed) == (0, 1, False)


def test_what_was_done_twice_is_counted() -> None:
    found = Found()
    append = Operation(key="k", kind="append", call_s=0.0, return_s=0.1, argument="t")
    judge([append, get("k", "t,t", 1.0, 2)], found)
    assert found.duplicates == 1


def test_a_sound_history_passes() -> None:
    found = Found()
    judge([put("k", "x", 0.0, 1), get("k", "x", 1.0, 1)], found)
    assert found.passed


def test_what_was_called_after_the_lease_must_not_be_served() -> None:
    early, late = put("k", "x", 0.4, 1), put("k", "y", 1.0, 2)
    refused = Operation(key="k", kind="put", call_s=1.0, return_s=1.1, outcome="failed")
    slow = Operation(key="k", kind="get", call_s=0.4, return_s=1e6, code="absent")
    assert acknowledged([early, late, refused, slow], 0.5, 2e6) == [late, slow]


class Restless:
    """A cluster a copy of which moves away from the side that goes on, and comes back after some tries."""

    promises = True

    def __init__(self, tries: int) -> None:
        self.tries, self.done = tries, list[str]()
        self.processes = dict.fromkeys(("h1", "h2", "h3"))
        self.network = SimpleNamespace(
            split=lambda *parts: self.done.append("split"), heal=lambda: self.done.append("heal")
        )

    def view(self) -> int:
        return 1

    def holders(self) -> list[set[str]]:
        return [{"h1", "h2"}]

    def stranded(self, here: Iterable[str]) -> list[int]:
        assert set(here) == {"h2", "h3"}
        self.tries -= 1
        return [0] if self.tries >= 0 else []


def test_a_cut_that_parts_all_copies_from_those_that_go_on_is_undone_and_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else what a fault may well cost, with all copies gone, would be told as a loss."""
    monkeypatch.setattr("tests.faults.rounds.SETTLE_S", 0.0)
    once, ever = Restless(1), Restless(1_000)
    Round(cast(Any, once), 1).split(["h1", "c2"], ["h2", "h3", "c1"])
    assert once.done == ["split", "heal", "split"]
    with pytest.raises(AssertionError, match=r"never had a copy of colonies \[0\]"):
        Round(cast(Any, ever), 1).split(["h1", "c2"], ["h2", "h3", "c1"])


def test_what_is_served_after_the_lease_is_no_matter_of_time() -> None:
    late = Found(complaints=["heal: took 9 s"])
    assert late.is_safe and not late.passed
    assert not Found(breaches=1).is_safe and not Found(lost=1).is_safe


def test_each_kind_of_cell_is_what_its_policy_says() -> None:
    assert [outcome("left_first", policy, 0) for policy in ("latest", "winner")] == ["right", "left"]
    assert [outcome("dies_after", policy, 0) for policy in ("latest", "winner")] == [None, "left"]
    assert outcome("dies_before", "function", 1) == outcome("dies_before", "function", 0) == "dead+left"
    assert tally("latest", 0) == (6 * CELLS, 2 * CELLS)
    assert tally("winner", 0) == (3 * CELLS, 5 * CELLS)
