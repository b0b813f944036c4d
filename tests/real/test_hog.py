"""A hog eats one host's memory and CPU: its colonies leave, and come back when it stops."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

import colony
from tests.real.box import ControlGroup, why_not
from tests.real.hosts import ROOT, Hosts, until

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.timeout(240)]
MIB = 1 << 20
COLONIES, LIMIT, LEFT = 16, 320 * MIB, 8 * MIB
VICTIM = "h4"
HOSTS = int(os.environ.get("COLONY_HOG_HOSTS", "4"))  # on four boxes


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
        rows = self.status(table=True)["table"]
        return Counter(name for row in rows for name in (row["primary"], *row["secondaries"]))

    def why(self, colony: int) -> str:
        """Return what `colony why` prints."""
        command = [sys.executable, "-m", "colony", "--connect", self.addresses, "why", str(colony)]
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
        ).stdout


@pytest.fixture
def hosts() -> Iterator[Boxed]:
    """Yield four hosts on four boxes, one of them small."""
    if reason := why_not():
        pytest.skip(reason)
    with ControlGroup("hog", cpus=0.5, memory=LIMIT) as box, Boxed(box) as cluster:
        yield cluster


def test_colonies_leave_a_host_with_a_hog_and_come_back_when_it_stops(hosts: Boxed) -> None:
    with colony.connect(hosts.addresses, codec="raw", timeout=20.0) as store:
        for at in range(0, 4000, 500):
            store.set_many({f"k{number}": b"v" * 1024 for number in range(at, at + 500)})
    fair = 2 * COLONIES // HOSTS
    until(lambda: hosts.hold()[VICTIM] >= fair - 2, "a fair share everywhere")
    began_s = time.time()
    ids = {m["name"]: m["id"] for m in hosts.status()["view"]["members"]}
    hog = subprocess.Popen(
        hosts.box.inside(
            [sys.executable, "-m", "tests.real.hog", str(hosts.box.used_file), str(LIMIT), str(LEFT)]
        ),
        cwd=ROOT,
    )
    try:
        until(lambda: hosts.hold()[VICTIM] == 0, "all colonies gone from the host with the hog")
        gone_s = time.time()
        assert hog.poll() is None, "the hog itself was killed"
    finally:
        hog.kill()
        hog.wait()
    stopped_s = time.time()
    until(lambda: hosts.hold()[VICTIM] >= fair - 2, "a fair share everywhere again")
    back_s = time.time()
    hosts.healthy()
    assert all(process.is_alive for process in hosts.processes.values())
    events = hosts.noted()
    away, back = moves(events, ids[VICTIM], began_s)
    print(f"\ngone after {gone_s - began_s:.1f} s, back after {back_s - stopped_s:.1f} s; {len(away)} away")
    assert max(away.values()) == 1 and max(back.values(), default=1) == 1, (away, back)
    left = [e for e in events if e["at"] >= began_s and e.get("details", {}).get("from") == ids[VICTIM]]
    full = next(e for e in left if f"{VICTIM} is filled to" in e["reason"])
    assert full["reason"] in hosts.why(full["colony"]), hosts.why(full["colony"])
    print("; ".join(dict.fromkeys(f"{e['kind']}: {e['reason']}" for e in left[:4])))


def moves(events: list[dict[str, Any]], host: str, since_s: float) -> tuple[Counter[int], Counter[int]]:
    """Return, by colony, how often a copy left a host, and how often one came."""
    events = [event for event in events if event["at"] >= since_s]
    away = Counter(e["colony"] for e in events if e["kind"] == "retired" and e.get("host") == host)
    back = Counter(e["colony"] for e in events if e["kind"] == "clone" and e.get("host") == host)
    return away, back
