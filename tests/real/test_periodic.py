"""All hosts die at once: periodic snapshots come back if people ask for it, and are said to be old."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

import colony
from tests.real.hosts import Hosts, until
from tests.real.test_durability import answered, command, crash, folder

pytestmark = [pytest.mark.real, pytest.mark.timeout(200)]

EVERY_S = 1.0
CELLS = 300


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """Yield three hosts that write down what they hold every second."""
    with Hosts(3, colonies=16, durable=True, options=("--snapshot-every", str(EVERY_S))) as cluster:
        yield cluster


def snapshots(hosts: Hosts, name: str) -> list[str]:
    """Return the periodic snapshots of a host, oldest first."""
    return sorted(path.name for path in (folder(hosts, name) / "periodic").glob("*.snapshot"))


def written_anew(hosts: Hosts) -> None:
    """Wait until every host has written a snapshot that began after this call."""
    for _ in range(2):  # the first may have been under way
        old = {name: snapshots(hosts, name)[-1:] for name in hosts.processes}
        until(partial(has_newer, hosts, old), "a snapshot of each")


def has_newer(hosts: Hosts, old: dict[str, list[str]]) -> bool:
    """Return whether each host has written another one since."""
    return all(snapshots(hosts, name)[-1:] > last for name, last in old.items())


def witness(hosts: Hosts, key: str) -> tuple[dict[str, Any], str]:
    """Return the status of a host that was there when colonies were given up, and its address.

    One that came later, on a busy machine, has heard nothing of that.
    """
    for process in hosts.processes.values():
        with colony.connect(process.address, timeout=20) as store:
            status: dict[str, Any] = store.admin("status", {})
        if status["colonies"][key]:
            return status, process.address
    raise AssertionError(f"no host says {key}")


def test_what_was_written_comes_back_when_asked_for_and_is_said_to_be_old(hosts: Hosts) -> None:
    with colony.connect(hosts.addresses, timeout=20) as store:
        versions = {f"k{n}": store.set(f"k{n}", n, ttl=600 if n % 2 else None) for n in range(CELLS)}
        with store.session("sid") as session:
            session["cart"] = [1, 2]
        written_anew(hosts)
        late = store.set("k0", "acknowledged, and in no snapshot, unless one began just now")
    crash(hosts, *hosts.processes)
    died_s = time.time()
    hosts.options = ("--snapshot-every", "60", "--restore-periodic")
    hosts.again(*hosts.processes)
    hosts.healthy()
    status, there = witness(hosts, "stale")
    assert len(status["stale"]["colonies"]) == status["colonies"]["stale"] > 0
    assert 0 < status["stale"]["age_s"] <= time.time() - died_s + 4 * EVERY_S + 30
    (note, *_) = hosts.noted("stale")
    assert "may be older than what was acknowledged" in note["reason"]
    assert note["details"]["colonies"] == status["stale"]["colonies"]
    said = command(hosts, "status", "--connect", there)
    assert said.returncode == 4 and "may be older than what was acknowledged" in said.stderr, said.stderr
    with colony.connect(hosts.addresses, timeout=20) as store:
        for key, version in versions.items():
            entry = store.entry(key)
            assert entry is not None, key
            if key != "k0" or entry.version != late:
                assert entry.version == version and entry.value == int(key[1:]), key
            assert (entry.ttl_s is None) == (int(key[1:]) % 2 == 0)
        assert store["sid"] == {"cart": [1, 2]}
        assert store.set("k0", "again") > late, "no version that a client has seen is given again"


def test_without_being_asked_for_they_are_put_aside_and_named(hosts: Hosts) -> None:
    with colony.connect(hosts.addresses, timeout=20) as store:
        store.set_many({f"k{n}": n for n in range(CELLS)})
    written_anew(hosts)
    crash(hosts, *hosts.processes)
    hosts.again(*hosts.processes)
    hosts.healthy()
    status, _ = witness(hosts, "lost")
    assert len(status["lost"]) == 16 and status["stale"]["colonies"] == []
    noted = " ".join(event["reason"] for event in hosts.noted("lost_and_found"))
    kept = [p for name in hosts.processes for p in (folder(hosts, name) / "lost").glob("*-periodic.snapshot")]
    assert len(kept) >= 2 and all(str(path) in noted for path in kept), "of all that counted the loss"
    with colony.connect(hosts.addresses, timeout=20) as store:
        assert store.get("k1") is None and store.set("k1", 2) > 0


def test_of_each_host_a_few_are_kept_and_status_says_how_it_goes(hosts: Hosts) -> None:
    with colony.connect(hosts.addresses, timeout=20) as store:
        store.set_many({f"k{n}": n for n in range(CELLS)})  # some of them on every host
    until(lambda: len(snapshots(hosts, "h1")) == 3, "three snapshots")
    last = snapshots(hosts, "h1")[-1]
    until(lambda: snapshots(hosts, "h1")[-1] > last, "a fourth")
    until(lambda: len(snapshots(hosts, "h1")) == 3, "three again: an old one went")
    told = json.loads(command(hosts, "status", "--json").stdout)["snapshots"]
    assert told["every_s"] == EVERY_S and told["age_s"] < 30 and told["error"] == ""


def test_a_damaged_file_is_named_and_the_rest_comes_back(hosts: Hosts) -> None:
    with colony.connect(hosts.addresses, timeout=20) as store:
        store.set_many({f"k{n}": n for n in range(CELLS)})
    written_anew(hosts)
    crash(hosts, *hosts.processes)
    place = folder(hosts, "h1") / "periodic"
    for name in snapshots(hosts, "h1"):
        os.truncate(place / name, 40)
    hosts.options = ("--restore-periodic",)
    hosts.again(*hosts.processes)
    until(lambda: answered(hosts), "all colonies have a place")
    hosts.healthy()
    named = [event["reason"] for event in hosts.noted("snapshot_refused")]
    assert all(any(name in reason for reason in named) for name in snapshots(hosts, "h1")), named
    with colony.connect(hosts.addresses, timeout=20) as store:
        assert store.get_many([f"k{n}" for n in range(CELLS)]) == {f"k{n}": n for n in range(CELLS)}
