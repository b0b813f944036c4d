"""The whole cluster stops, and comes back; or it crashes, and says what that cost."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import colony
from tests.real.hosts import ROOT, Hosts, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

CELLS = 500
TTL_S = 600


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """Yield three hosts that keep state directories."""
    with Hosts(3, colonies=16, durable=True) as cluster:
        yield cluster


def command(hosts: Hosts, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line against the cluster."""
    seeds = ",".join(hosts.seeds)
    return subprocess.run(
        [sys.executable, "-m", "colony", "--connect", seeds, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def fill(store: colony.Store) -> dict[str, int]:
    """Write cells, every other one with a ttl, and a session; return the versions."""
    versions = {f"k{n}": store.set(f"k{n}", n, ttl=TTL_S if n % 2 else None) for n in range(CELLS)}
    with store.session("sid", ttl=TTL_S) as session:
        session["cart"] = [1, 2]
    store.set("brief", "gone soon", ttl=1)
    return versions


def check(store: colony.Store, versions: dict[str, int], since_s: float) -> None:
    """See that every cell is as it was, and that its time ran on."""
    for key, version in versions.items():
        entry = store.entry(key)
        assert entry is not None and entry.version == version and entry.value == int(key[1:]), key
        if int(key[1:]) % 2:
            passed_s = time.time() - since_s
            assert entry.ttl_s is not None and TTL_S - passed_s - 8 < entry.ttl_s <= TTL_S - 1, entry
        else:
            assert entry.ttl_s is None
    assert store["sid"] == {"cart": [1, 2]}
    assert "brief" not in store


def test_what_was_stopped_comes_back_whole_and_time_ran_on(hosts: Hosts) -> None:
    with colony.connect(",".join(hosts.seeds), timeout=20) as store:
        began_s = time.time()
        versions = fill(store)
    done = command(hosts, "shutdown")
    assert done.returncode == 0, done.stderr + hosts.logs()
    assert set(hosts.ended().values()) == {0}, hosts.logs()
    time.sleep(1.5)
    hosts.again(*hosts.processes)
    hosts.healthy()
    with colony.connect(",".join(hosts.seeds), timeout=20) as store:
        check(store, versions, began_s)
        assert hosts.noted("lost") == []
        assert all(store.set(key, 1) > version for key, version in versions.items())
    for process in hosts.processes.values():
        assert process.state_dir is not None
        assert not (process.state_dir / "snapshot").exists()
        assert not (process.state_dir / "snapshot.clean").exists()


def test_a_crash_after_a_restored_stop_brings_nothing_stale(hosts: Hosts) -> None:
    with colony.connect(",".join(hosts.seeds), timeout=20) as store:
        fill(store)
    assert command(hosts, "shutdown").returncode == 0
    hosts.ended()
    kept = {process.state_dir: (process.state_dir / "snapshot").read_bytes() for process in living(hosts)}
    marks = {path: (path / "snapshot.clean").read_bytes() for path in kept}
    hosts.again(*hosts.processes)
    hosts.healthy()
    with colony.connect(",".join(hosts.seeds), timeout=20) as store:
        store.set("k1", "newer")
    names = list(hosts.processes)
    crashed = dict(hosts.processes)
    hosts.kill(*names)
    for path, data in kept.items():  # as if an old backup had been put back
        (path / "snapshot").write_bytes(data)
        (path / "snapshot.clean").write_bytes(marks[path])
    hosts.processes.update(crashed)
    hosts.again(*names)
    hosts.healthy()
    with colony.connect(",".join(hosts.seeds), timeout=20) as store:
        assert store.get("k1") is None and store.set("k1", 1) > 0
    assert {event["colony"] for event in hosts.noted("lost")} == set(range(16))
    assert hosts.noted("snapshot_unused")


def living(hosts: Hosts) -> list[Any]:
    """Return the processes, each with a state directory."""
    found = list(hosts.processes.values())
    assert all(process.state_dir is not None for process in found)
    return found


def test_after_a_crash_of_all_colonies_are_named_lost_and_served(hosts: Hosts) -> None:
    with colony.connect(",".join(hosts.seeds), timeout=20) as store:
        store.set("k", 1)
    names, crashed = list(hosts.processes), dict(hosts.processes)
    hosts.kill(*names)
    hosts.processes.update(crashed)
    hosts.again(*names)
    hosts.healthy()
    assert {event["colony"] for event in hosts.noted("lost")} == set(range(16))
    with colony.connect(",".join(hosts.seeds), timeout=20) as store:
        assert store.get("k") is None and store.set("k", 2) > 0


def test_colonies_of_a_missing_host_wait_for_it() -> None:
    with Hosts(3, colonies=16, peers=1, durable=True) as single:
        with colony.connect(",".join(single.seeds), timeout=20) as store:
            versions = {f"k{n}": store.set(f"k{n}", n) for n in range(30)}
        assert command(single, "shutdown").returncode == 0
        assert set(single.ended().values()) == {0}, single.logs()
        single.again("h1", "h2")
        waits = until(lambda: waiting(single), "colonies that wait")
        assert waits["missing"] == ["h3"]
        with colony.connect(",".join(single.seeds[:2]), timeout=1) as store:
            refused = [key for key in versions if not answers(store, key)]
        assert 0 < len(refused) < len(versions)
        single.again("h3")
        single.healthy()
        with colony.connect(",".join(single.seeds), timeout=20) as store:
            for key, version in versions.items():
                entry = store.entry(key)
                assert entry is not None and entry.version == version, key
        assert single.noted("lost") == []


def waiting(hosts: Hosts) -> dict[str, Any] | None:
    """Return the status once some colonies wait for a holder."""
    try:
        status = hosts.status()
    except colony.ColonyError:
        return None
    return status if status["colonies"].get("waiting") else None


def answers(store: colony.Store, key: str) -> bool:
    """Return whether a key is served; if not, the error says for whom it waits."""
    for patience_s in (0.3, 3.0, 20.0):  # on a busy machine no answer may come at first
        try:
            return store.get(key, timeout=patience_s) is not None
        except colony.Unavailable as error:
            if "waiting for a holder of colony" in str(error):
                return False
    raise AssertionError(f"{key}: nobody says for whom it waits")


def test_without_state_directories_a_stop_is_refused_by_name_unless_forced() -> None:
    with Hosts(2, boxes=2, colonies=8) as brief:
        done = command(brief, "shutdown")
        assert done.returncode == 1 and "cells of h1, h2" in done.stderr and "--force" in done.stderr
        assert all(process.is_alive for process in brief.processes.values())
        assert command(brief, "shutdown", "--force").returncode == 0
        assert set(brief.ended().values()) == {0}, brief.logs()


def test_hosts_that_are_all_told_to_leave_say_that_nobody_takes_over() -> None:
    with Hosts(3, colonies=8, options=("--leave-timeout", "2")) as all_of_them:
        for process in all_of_them.processes.values():
            process.popen.terminate()
        assert set(all_of_them.ended().values()) == {4}, all_of_them.logs()
        for process in all_of_them.processes.values():
            assert "none stays to take its colonies" in process.log.read_text(), all_of_them.logs()


def test_a_member_that_cannot_write_ends_the_stop_by_name(hosts: Hosts) -> None:
    broken = hosts.processes["h2"].state_dir
    assert broken is not None
    (broken / "snapshot.new").mkdir()  # where its snapshot would be written
    with colony.connect(",".join(hosts.seeds), timeout=20) as store:
        versions = fill(store)
        done = command(hosts, "shutdown")
        assert done.returncode == 1 and "h2" in done.stderr and "snapshot" in done.stderr, done.stderr
        assert all(process.is_alive for process in hosts.processes.values())
        assert store.set("k1", "again") > versions["k1"]
    Path(broken / "snapshot.new").rmdir()
    assert command(hosts, "shutdown").returncode == 0
    assert set(hosts.ended().values()) == {0}


def test_a_host_held_dead_keeps_what_it_has_to_drop(hosts: Hosts) -> None:
    with colony.connect(",".join(hosts.seeds), timeout=20) as store:
        fill(store)
    folder = hosts.processes["h2"].state_dir
    assert folder is not None
    hosts.stop("h2")
    until(lambda: len(hosts.status()["view"]["members"]) == 2, "h2 held dead")
    hosts.resume("h2")
    (path,) = until(lambda: list((folder / "lost").glob("*.snapshot")), "lost and found")
    assert path.name.endswith("-dropped.snapshot")
    hosts.healthy()
    assert any(str(path) in event["reason"] for event in hosts.noted("lost_and_found"))
