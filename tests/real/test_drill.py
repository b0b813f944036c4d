"""A drill on real hosts, and whether a yes that a host may die is true."""

from __future__ import annotations

import json

import pytest

from colony import drill
from colony.cli import main
from tests.real.hosts import Hosts, until
from tests.real.load import Load

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]


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
    assert 0 < told["longest_pause_s"] < 3.0 and 0 < told["repaired_s"] < 20.0
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


def test_drills_and_the_truth_of_a_yes(capsys: pytest.CaptureFixture[str]) -> None:
    with Hosts(5) as hosts, Load(hosts.addresses) as load:
        drilled(hosts, capsys)
        refused(hosts, capsys)
        killed_as_told(hosts, capsys)
    with capsys.disabled():
        print(f"meanwhile: {load.verify()}")
