"""Hosts whose majority is gone: they hold, give up in their own way, or are told to go on."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

import colony
from agents.keys import colony_of
from tests.real.hosts import Hosts, until
from tests.real.test_shutdown import command

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

CELLS = 300


def stage_of(hosts: Hosts, name: str) -> str:
    """Return what a host says of itself, "" = nothing now."""
    try:
        with colony.connect(hosts.processes[name].address, timeout=2.0) as store:
            return str(store.admin("status", {})["stage"])
    except colony.ColonyError:
        return ""


def holds(hosts: Hosts, names: list[str]) -> bool:
    """Return whether all these hosts hold."""
    return all(stage_of(hosts, name) == "HOLD" for name in names)


def holders(hosts: Hosts) -> dict[int, set[str]]:
    """Return who holds each colony."""
    rows: list[dict[str, Any]] = hosts.status(table=True)["table"]
    return {row["colony"]: {row["primary"], *row["secondaries"]} for row in rows}


def test_two_of_five_go_on_by_force_and_the_dead_come_back_empty() -> None:
    with Hosts(5, boxes=5, colonies=16, durable=True) as hosts:
        with colony.connect(hosts.addresses, timeout=10.0) as store:
            for number in range(CELLS):
                store.set(f"k{number}", number)
        hosts.healthy()
        where = holders(hosts)
        few, many = ["h1", "h2"], ["h3", "h4", "h5"]
        dead = {name: hosts.processes[name] for name in many}
        doomed = {number for number, names in where.items() if not names & set(few)}
        hosts.kill(*many)
        until(partial(holds, hosts, few), "both hold")
        with colony.connect(hosts.addresses, timeout=1.0) as store, pytest.raises(colony.Unavailable):
            store.set("k0", "nobody may say yes")

        done = command(hosts, "recover")
        assert done.returncode == 1 and "--force" in done.stderr
        done = command(hosts, "recover", "--force")
        assert done.returncode == 0, done.stderr
        status = hosts.healthy()
        assert status["view"]["generation"] == 1 and len(status["view"]["members"]) == 2
        assert {event["colony"] for event in hosts.noted("lost")} == doomed, "each is named, and no other"
        with colony.connect(hosts.addresses, timeout=10.0) as store:
            for number in range(CELLS):
                lost = colony_of(f"k{number}".encode(), 16) in doomed
                assert store.get(f"k{number}") == (None if lost else number)
        assert hosts.noted("recover") and hosts.noted("generation")
        done = command(hosts, "recover", "--force")
        assert done.returncode == 1 and "nothing to recover" in done.stderr

        for name, old in dead.items():
            hosts.start(name=name, box=old.box, port=old.port, state_dir=old.state_dir)
        status = hosts.healthy()
        assert status["view"]["generation"] == 1 and len(status["view"]["members"]) == 5


def test_a_host_alone_writes_down_what_it_holds_and_ends_with_a_status_of_its_own() -> None:
    with Hosts(3, colonies=8, durable=True, options=("--solitude", "3")) as hosts:
        with colony.connect(hosts.addresses, timeout=10.0) as store:
            for number in range(50):
                store.set(f"k{number}", number)
        hosts.healthy()
        lonely = hosts.processes["h1"]
        assert isinstance(lonely.state_dir, Path)
        hosts.kill("h2", "h3")
        assert lonely.popen.wait(30.0) == 5
        kept = [path.name for path in (lonely.state_dir / "lost").iterdir()]
        assert any("solitude" in name for name in kept), kept
        assert "no majority for 3 s" in lonely.log.read_text()
