"""A hog eats one host's memory, or its CPU alone: its colonies leave, and come back when it stops."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import colony
from tests.real.box import ControlGroup, why_not
from tests.real.hosts import ROOT, Hosts, until

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.timeout(240)]
MIB = 1 << 20
COLONIES, LIMIT, LEFT = 16, 320 * MIB, 8 * MIB
VICTIM = "h4"
POLL_S = 0.1  # who asks all the time keeps the CPU busy that is measured
HOSTS = int(os.environ.get("COLONY_HOG_HOSTS", "4"))  # on four boxes
FAIR = 2 * COLONIES // HOSTS


class Boxed(Hosts):
    """Hosts of which one has a small box to itself."""

    def __init__(self, box: ControlGroup) -> None:
        self.box = box
        super().__init__(HOSTS, boxes=4, colonies=COLONIES)

    def _command(self, name: str, arguments: list[str]) -> list[str]:
        command = super()._command(name, arguments)
        return self.box.inside(command) if name == VICTIM else command

    def hold(self) -> Counter[str]:
        """Return how many copies each host has."""
        time.sleep(POLL_S)
        rows = self.status(table=True)["table"]
        return Counter(name for row in rows for name in (row["primary"], *row["secondaries"]))

    def led(self) -> int:
        """Return how many colonies the host in the small box leads."""
        time.sleep(POLL_S)
        return sum(row["primary"] == VICTIM for row in self.status(table=True)["table"])

    def id_of(self, name: str) -> str:
        """Return the id of a host."""
        return next(str(m["id"]) for m in self.status()["view"]["members"] if m["name"] == name)

    def why(self, colony: int) -> str:
        """Return what `colony why` prints."""
        command = [sys.executable, "-m", "colony", "--connect", self.addresses, "why", str(colony)]
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
        ).stdout


@pytest.fixture(scope="module")
def hosts() -> Iterator[Boxed]:
    """Yield four hosts on four boxes, one of them small, with some cells."""
    if reason := why_not():
        pytest.skip(reason)
    with ControlGroup("hog", cpus=0.5, memory=LIMIT) as box, Boxed(box) as cluster:
        with colony.connect(cluster.addresses, codec="raw", timeout=20.0) as store:
            for at in range(0, 4000, 500):
                store.set_many({f"k{number}": b"v" * 1024 for number in range(at, at + 500)})
        yield cluster


@contextmanager
def hog(hosts: Boxed, left: int) -> Iterator[None]:
    """Run something that eats the CPU of the small box, and its memory until so much is left."""
    command = [sys.executable, "-m", "tests.real.hog", str(hosts.box.used_file), str(LIMIT), str(left)]
    process = subprocess.Popen(hosts.box.inside(command), cwd=ROOT)
    try:
        yield
        assert process.poll() is None, "the hog itself was killed"
    finally:
        process.kill()
        process.wait()


def left_for(hosts: Boxed, word: str, since_s: float) -> list[dict[str, Any]]:
    """Return what left the host with the hog for a reason with this word; `why` says the last one, too."""
    victim = hosts.id_of(VICTIM)
    found = [
        event
        for event in hosts.noted()
        if event["at"] >= since_s
        and event.get("details", {}).get("from") == victim
        and word in event["reason"]
    ]
    assert found, word
    assert found[-1]["reason"] in hosts.why(found[-1]["colony"]), hosts.why(found[-1]["colony"])
    return found


def test_colonies_leave_a_host_whose_memory_a_hog_eats_and_come_back_when_it_stops(hosts: Boxed) -> None:
    until(lambda: hosts.hold()[VICTIM] >= FAIR - 2, "a fair share everywhere")
    began_s = time.time()
    with hog(hosts, LEFT):
        until(lambda: hosts.hold()[VICTIM] == 0, "all colonies gone from the host with the hog")
        gone_s = time.time()
    back(hosts, began_s, gone_s)
    found = left_for(hosts, f"{VICTIM} is filled to", began_s)
    print("; ".join(dict.fromkeys(f"{e['kind']}: {e['reason']}" for e in found[:3])))


def test_roles_then_copies_leave_a_host_whose_cpu_a_hog_eats_and_come_back_when_it_stops(
    hosts: Boxed,
) -> None:
    until(lambda: hosts.hold()[VICTIM] >= FAIR - 2 and hosts.led() > 1, "a fair share everywhere")
    began_s = time.time()
    with hog(hosts, LIMIT):
        until(lambda: hosts.led() == 0, "all roles gone from the host with the hog")
        led_s = time.time()
        until(lambda: hosts.hold()[VICTIM] == 0, "all copies gone from the host with the hog")
        gone_s = time.time()
    print(f"\nall roles gone after {led_s - began_s:.1f} s")
    back(hosts, began_s, gone_s)
    until(lambda: hosts.led() > 1, "it leads again")
    roles = [event for event in left_for(hosts, "CPU", began_s) if event["details"]["what"] == "role"]
    copies = left_for(hosts, "by others than hosts; h", began_s)
    assert roles and min(e["at"] for e in copies) > roles[0]["at"], (roles, copies)
    print("; ".join(f"{e['kind']}: {e['reason']}" for e in (roles[0], copies[0])))


def back(hosts: Boxed, began_s: float, gone_s: float) -> None:
    """Wait until all has come back; each colony left once, and came once."""
    stopped_s = time.time()
    until(lambda: hosts.hold()[VICTIM] >= FAIR - 2, "a fair share everywhere again")
    back_s = time.time()
    hosts.healthy()
    assert all(process.is_alive for process in hosts.processes.values())
    away, came = moves(hosts.noted(), hosts.id_of(VICTIM), began_s)
    print(f"\ngone after {gone_s - began_s:.1f} s, back after {back_s - stopped_s:.1f} s; {len(away)} away")
    assert max(away.values()) == 1 and max(came.values(), default=1) == 1, (away, came)


def moves(events: list[dict[str, Any]], host: str, since_s: float) -> tuple[Counter[int], Counter[int]]:
    """Return, by colony, how often a copy left a host, and how often one came."""
    events = [event for event in events if event["at"] >= since_s]
    away = Counter(e["colony"] for e in events if e["kind"] == "retired" and e.get("host") == host)
    back = Counter(e["colony"] for e in events if e["kind"] == "clone" and e.get("host") == host)
    return away, back
