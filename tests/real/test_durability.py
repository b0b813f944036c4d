"""Records that can't be written, hosts that come back at once, and the death of all."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import colony
from tests.real.hosts import ROOT, Hosts, Process, bound_s, until
from tests.real.load import Load, Probe

pytestmark = [pytest.mark.real, pytest.mark.timeout(200)]


@pytest.fixture
def five() -> Iterator[Hosts]:
    """Yield five hosts that keep state directories, with three copies of everything."""
    with Hosts(5, peers=3, colonies=16, durable=True) as cluster:
        yield cluster


def command(hosts: Hosts, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command line against the cluster."""
    line = [sys.executable, "-m", "colony", "--connect", hosts.addresses, *words]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)


def crash(hosts: Hosts, *names: str) -> None:
    """Kill hosts at once, and keep what is needed to start them again."""
    doomed = {name: hosts.processes[name] for name in names}
    hosts.kill(*names)
    hosts.processes.update(doomed)


def folder(hosts: Hosts, name: str) -> Path:
    """Return the state directory of a host."""
    found = hosts.processes[name].state_dir
    assert found is not None
    return found


# -- the record ------------------------------------------------------------------------


def test_a_host_that_cannot_write_its_record_ends_and_the_others_go_on(five: Hosts) -> None:
    (folder(five, "h2") / "record.new").symlink_to("/dev/full")
    with Load(five.addresses) as load:
        time.sleep(2)
        five.kill("h5")
        status = five.processes["h2"].popen.wait(20)
        said = five.processes["h2"].log.read_text()
        del five.processes["h2"]
        five.healthy()
    assert status == 1
    assert "can't write the durable record" in said and "free some space" in said, said
    print(f"\na record that can't be written: {load.verify()}")


def test_a_host_with_the_record_of_another_cluster_is_refused_and_says_why(five: Hosts) -> None:
    with Hosts(2, peers=1, colonies=4, durable=True) as other:
        state = folder(other, "h1")
        crash(other, "h1", "h2")  # or it would find its own cluster, and serve there
        stranger = five.start(name="stranger", state_dir=state)
        until(partial(was_refused, stranger), "it is told why it can't join")
        assert stranger.is_alive and len(five.status()["view"]["members"]) == 5
        five.kill("stranger")


def test_of_two_hosts_with_one_record_one_serves_and_the_other_is_refused_for_good(
    five: Hosts, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "record").write_bytes((folder(five, "h3") / "record").read_bytes())
    old = five.processes["h3"]
    five.start(name="h3", state_dir=copy)
    try:
        five.healthy()
        until(lambda: "HOLD" in old.log.read_text(), "the one that was replaced serves nothing")
    finally:
        old.popen.kill()
        old.popen.wait()
    for attempt in ("at its start", "when it is known"):
        again = five.start(name="again", state_dir=old.state_dir)
        assert again.popen.wait(30) == 1, attempt
        said = again.log.read_text()
        assert "old, or a copy" in said and "move the" in said and "directory away" in said, said
    del five.processes["again"]
    five.healthy()


def was_refused(stranger: Process) -> bool:
    """Return whether a host has noted that it belongs to another cluster."""
    try:
        with colony.connect(stranger.address, timeout=1.0) as store:
            noted = store.admin("events", {"limit": 4000})["events"]
    except colony.ColonyError:
        return False
    return any("belongs to the cluster" in event["reason"] for event in noted)


# -- restarts -----------------------------------------------------------------------------


def test_a_host_that_is_back_at_once_replaces_what_it_was(five: Hosts) -> None:
    pauses_s, entries_s = [], []
    with Load(five.addresses) as load:
        for _ in range(5):
            leads = five.leads()
            name = max(leads, key=lambda host: len(leads[host]))
            before = next(m for m in five.status()["view"]["members"] if m["name"] == name)
            with Probe(five.addresses, leads[name][0], five.colonies) as probe:
                fault_s = time.monotonic()
                crash(five, name)
                five.again(name)
                pauses_s.append(probe.pause_s(fault_s))
            entered = partial(entered_as, five, name, before["incarnation"] + 1)
            until(entered, "the later incarnation is listed")
            entries_s.append(time.monotonic() - fault_s)
            after = next(m for m in five.healthy()["view"]["members"] if m["name"] == name)
            assert after["id"] == before["id"] and after["incarnation"] == before["incarnation"] + 1
    tally = load.verify()
    print(
        f"\nkill -9 and back: pauses {max(pauses_s):.3f} s, in the view after {max(entries_s):.2f} s; {tally}"
    )
    assert max(pauses_s) <= bound_s(1.5)


def entered_as(hosts: Hosts, name: str, incarnation: int) -> bool:
    """Return whether the view lists a host at an incarnation, and no other."""
    listed = [m["incarnation"] for m in hosts.status()["view"]["members"] if m["name"] == name]
    return listed == [incarnation]


# -- the death of all ------------------------------------------------------------------------


def test_after_the_death_of_all_three_of_five_say_what_is_lost_and_serve(five: Hosts) -> None:
    with colony.connect(five.addresses, timeout=20) as store:
        store.set("k", 1)
        tag = five.status()["tag"]
    names = list(five.processes)
    crash(five, *names)
    began_s = time.monotonic()
    five.again(*names[:3])
    lost = until(lambda: answered(five), "three of five answer")
    took_s = time.monotonic() - began_s
    assert lost["tag"] == tag and lost["colonies"]["lost"] == 16
    assert {event["colony"] for event in five.noted("lost")} == set(range(16))
    said = command(five, "status")
    assert said.returncode == 4 and "16 colonies" in said.stderr, said.stderr
    with colony.connect(five.addresses, timeout=20) as store:
        assert store.get("k") is None and store.set("k", 2) > 0
        five.again(*names[3:])
        five.healthy()
        assert store.get("k") == 2
    print(f"\ndeath of all: three of five serve after {took_s:.2f} s")


def answered(hosts: Hosts) -> dict[str, Any] | None:
    """Return the status once there is a quorum, and every colony has a place."""
    try:
        status = hosts.status(table=True)
    except colony.ColonyError:
        return None
    rows = status.get("table") or []
    return status if status["quorum"] and rows and all(row["primary"] for row in rows) else None


def test_two_of_five_wait_and_say_for_what(five: Hosts) -> None:
    names = list(five.processes)
    crash(five, *names)
    five.again(*names[:2])

    def said() -> list[str]:
        return [five.processes[name].log.read_text() for name in names[:2]]

    until(lambda: all("waits for" in text for text in said()), "both say for what they wait")
    time.sleep(2)
    assert not any("ready" in text for text in said()), said()
    five.again(names[2])
    until(lambda: answered(five), "three of five answer")
    five.again(*names[3:])
    five.healthy()


def test_lost_colonies_wait_for_an_operator_where_that_is_the_policy() -> None:
    with Hosts(3, colonies=16, durable=True, options=("--when-lost", "wait")) as three:
        crash(three, *three.processes)
        three.again(*three.processes)
        until(lambda: len(three.noted("lost")) >= 48, "all of them name all colonies")
        with colony.connect(three.addresses, timeout=1.0) as store:
            with pytest.raises(colony.Unavailable, match="is lost, all its copies died"):
                store.set("k", 1)
            assert command(three, "status").returncode == 4
            done = command(three, "recover", "--force")
            assert done.returncode == 4 and "lost: colonies" in done.stdout, done.stderr
            three.healthy()
            assert store.set("k", 1, timeout=20) > 0
