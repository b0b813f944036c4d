"""A drill on real hosts, and whether a yes that a host may die is true."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from colony import connect, drill
from colony.cli import main
from tests.real.hosts import ROOT, Hosts, until
from tests.real.load import Load

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.timeout(180)]


def colony(hosts: Hosts, *words: str) -> int:
    """Run one command against the cluster."""
    return main([*words, "--connect", hosts.addresses], environ={})


def is_safe(hosts: Hosts, *what: str) -> bool:
    """Return what `colony safe-to-kill` says."""
    return colony(hosts, "safe-to-kill", *what) == 0


def buried(hosts: Hosts) -> list[str]:
    """Forget the processes that have ended, and return the boxes where they were."""
    dead = [process for process in hosts.processes.values() if not process.is_alive]
    for process in dead:
        process.popen.wait()
        del hosts.processes[process.name]
    return [process.box for process in dead]


def drilled(hosts: Hosts, capsys: pytest.CaptureFixture[str]) -> None:
    """A drill kills a box, loses nothing, and leaves nothing behind."""
    until(lambda: is_safe(hosts, "box=b2"), "the box may die")
    capsys.readouterr()
    assert colony(hosts, "drill", "--box", "b2", "--yes", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["passed"] and told["lost"] == 0 and told["acknowledged"] > 200
    assert set(told["killed"]) == {"h2", "h5"} and told["view_after"] != told["view_before"]
    assert 0 < told["longest_pause_s"] < 15.0 and 0 < told["repaired_s"] < 60.0  # 0.05 and 0.2 are usual
    assert colony(hosts, "keys", drill.PREFIX) == 0 and drill.PREFIX not in capsys.readouterr().out
    with capsys.disabled():
        print(f"\ndrill: {told}")
    buried(hosts)


def refused(hosts: Hosts, capsys: pytest.CaptureFixture[str]) -> None:
    """A drill that would not be safe kills nobody, and says why."""
    assert colony(hosts, "drill", "--box", "b1", "--yes") == 1
    said = capsys.readouterr().err
    assert "1 of 3 members are no majority" in said and len(said.splitlines()) == 1
    assert all(process.is_alive for process in hosts.processes.values())
    assert colony(hosts, "drill", "--host", "nobody", "--yes") == 1
    assert "no such host" in capsys.readouterr().err


def killed_as_told(hosts: Hosts, capsys: pytest.CaptureFixture[str]) -> None:
    """What it says may die dies without loss, as soon as it says so: while copies still move."""
    newcomers = [hosts.start(box="b2").name for _ in range(2)]
    victim = until(lambda: next((n for n in newcomers if is_safe(hosts, n)), ""), "a newcomer may die")
    hosts.kill(victim)
    assert not is_safe(hosts, *hosts.processes), "nobody would be left"
    until(lambda: is_safe(hosts, "h1"), "a host may die")
    hosts.kill("h1")
    hosts.start(box="b1")
    until(lambda: is_safe(hosts, "h3"), "a host may die")
    hosts.kill("h3")
    assert hosts.healthy()["colonies"]["lost"] == 0
    capsys.readouterr()


@contextmanager
def followed(address: str, output: Path) -> Iterator[None]:
    """Follow the events of the whole cluster, by a host that will die."""
    command = [sys.executable, "-m", "colony", "events", "--follow", "--json", "--connect", address]
    with output.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        yield
    finally:
        process.terminate()
        process.wait(10.0)


def all_told(hosts: Hosts, output: Path) -> list[dict[str, Any]]:
    """Wait until every event of every living host was told, and return all that were."""

    def look() -> list[dict[str, Any]]:
        lines = output.read_text().splitlines(keepends=True)
        told = [json.loads(line) for line in lines if line.endswith("\n")]
        return told if there <= {event["id"] for event in told} else []

    there: set[str] = set()
    for process in hosts.processes.values():
        with connect(process.address) as store:
            there |= {event["id"] for event in store.admin("events", {"limit": 10_000})["events"]}
    until(look, "every event of the living is told")
    return look()


def test_drills_and_the_truth_of_a_yes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    output = tmp_path / "events"
    with (
        Hosts(5) as hosts,
        Load(hosts.addresses) as load,
        followed(hosts.processes["h2"].address, output),
    ):
        drilled(hosts, capsys)
        refused(hosts, capsys)
        killed_as_told(hosts, capsys)
        told = all_told(hosts, output)
    ids = [event["id"] for event in told if event["kind"] != "gap"]
    assert len(ids) == len(set(ids)), "something was told twice"
    assert not [event for event in told if event["kind"] == "gap"]
    assert {"h1", "h2", "h3", "h4", "h5"} <= {event["by"] for event in told}
    promoted = [event for event in told if event["kind"] == "promote" and "is gone" in event["reason"]]
    assert promoted and all(event["cause"]["id"] in ids for event in promoted), "each death has a view"
    with capsys.disabled():
        print(f"meanwhile: {load.verify()}")
