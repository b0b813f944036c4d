"""Hosts and boxes that die, stall, restart and leave, under load.

5 hosts on 3 boxes, two copies of everything. Whatever happens: no
acknowledged write is lost, no read is stale or dirty, nothing is applied
twice, and the population comes back to N.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from functools import partial

import pytest

from tests.real.hosts import Hosts, Process, bound_s, until
from tests.real.load import Load, Probe

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.timeout(280)]


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    """Yield five hosts on three boxes."""
    with Hosts(5) as cluster:
        yield cluster


def addresses(hosts: Hosts) -> str:
    """Return where clients may begin."""
    return ",".join(process.address for process in hosts.processes.values())


def busiest(hosts: Hosts) -> tuple[str, int]:
    """Return the host that leads most colonies, and one of these."""
    leads = hosts.leads()
    name = max(leads, key=lambda host: len(leads[host]))
    return name, leads[name][0]


def has_spoken(process: Process) -> bool:
    """Return whether a host has begun to log, or has ended."""
    return process.log.stat().st_size > 0 or not process.is_alive


def has_ended(process: Process) -> bool:
    """Return whether a host process is no more."""
    return not process.is_alive


def may_die(hosts: Hosts, box: str) -> bool:
    """Return whether the cluster says that a box may die; each host says what it knows so far."""
    return bool(hosts.admin.admin("safe_to_kill", {"box": box})["safe"])


def report(what: str, pauses_s: list[float], tally: dict[str, int]) -> None:
    """Print what was measured."""
    median, worst = statistics.median(pauses_s), max(pauses_s)
    print(f"\n{what}: pause median {median:.3f} s, worst {worst:.3f} s of {len(pauses_s)}; {tally}")


def test_twenty_kills_in_turn_each_replaced(hosts: Hosts) -> None:
    pauses_s = []
    with Load(addresses(hosts)) as load:
        for _ in range(20):
            name, lead = busiest(hosts)
            box = hosts.processes[name].box
            with Probe(addresses(hosts), lead, hosts.colonies) as probe:
                fault_s = time.monotonic()
                hosts.kill(name)
                pauses_s.append(probe.pause_s(fault_s))
            hosts.start(box=box)
            hosts.healthy()
    report("kill -9", pauses_s, load.verify())
    assert max(pauses_s) <= bound_s(1.5), "it is 0.03 s where nothing else runs"


def test_a_whole_box_dies(hosts: Hosts) -> None:
    pauses_s = []
    with Load(addresses(hosts)) as load:
        for _ in range(3):
            _, lead = busiest(hosts)
            box = next(p.box for p in hosts.processes.values() if p.name == busiest(hosts)[0])
            doomed = [p.name for p in hosts.processes.values() if p.box == box]
            until(partial(may_die, hosts, box), f"box {box} may die without loss")
            with Probe(addresses(hosts), lead, hosts.colonies) as probe:
                fault_s = time.monotonic()
                hosts.kill(*doomed)
                pauses_s.append(probe.pause_s(fault_s))
            for _ in doomed:
                hosts.start(box=box)
            status = hosts.healthy()
            assert status["colonies"]["lost"] == 0
    report("kill -9 of a box", pauses_s, load.verify())


def test_a_stalled_primary_finds_itself_undead_and_rejoins_empty(hosts: Hosts) -> None:
    with Load(addresses(hosts)) as load:
        name, lead = busiest(hosts)
        before = next(m for m in hosts.status()["view"]["members"] if m["name"] == name)
        with Probe(addresses(hosts), lead, hosts.colonies) as probe:
            fault_s = time.monotonic()
            hosts.stop(name)
            pause_s = probe.pause_s(fault_s)
            time.sleep(max(0.0, fault_s + 6.0 - time.monotonic()))
            hosts.resume(name)
            status = hosts.healthy()
        after = next(m for m in status["view"]["members"] if m["name"] == name)
        assert after["incarnation"] > before["incarnation"], "it came back as another"
        kinds = [event["kind"] for event in hosts.admin.admin("events", {"limit": 4000})["events"]]
        assert "view" in kinds
    report("SIGSTOP", [pause_s], load.verify())
    assert pause_s <= bound_s(2.5)


def test_a_rolling_restart_by_plain_sigterm(hosts: Hosts) -> None:
    pauses_s = []
    with Load(addresses(hosts)) as load:
        for name in list(hosts.processes):
            old = hosts.processes[name]
            lead = hosts.leads()[name][0]
            with Probe(addresses(hosts), lead, hosts.colonies) as probe:
                fault_s = time.monotonic()
                assert hosts.terminate(name) == 0
                hosts.start(name=name, box=old.box, port=old.port)
                hosts.healthy()
                pauses_s.append(probe.pause_s(fault_s))
    tally = load.verify()
    report("rolling restart", pauses_s, tally)
    assert max(pauses_s) <= bound_s(1.0), "it is 0.03 s where nothing else runs"
    assert tally["failed"] == tally["unknown"] == 0


def test_kills_in_the_middle_of_joins_clones_and_hand_overs(hosts: Hosts) -> None:
    with Load(addresses(hosts)) as load:
        for step in range(6):
            newcomer = hosts.start()
            until(partial(has_spoken, newcomer), "the joiner says something")
            time.sleep(0.1 * step)  # clones and hand-overs to it begin within half a second
            victim = newcomer.name if step % 2 else busiest(hosts)[0]
            hosts.kill(victim)
            hosts.healthy()
    print(f"\nkilled while joining: {load.verify()}")


def test_kills_in_the_middle_of_leaves_and_view_changes(hosts: Hosts) -> None:
    with Load(addresses(hosts)) as load:
        for step in range(4):
            leaver, _ = busiest(hosts)
            hosts.admin.admin("leave", {"hosts": [leaver]})
            time.sleep(0.03 * (step + 1))  # in the middle of its hand-overs, or of the view change
            victim = leaver if step % 2 else next(n for n in hosts.processes if n != leaver)
            hosts.kill(victim)
            if victim != leaver:
                until(partial(has_ended, hosts.processes[leaver]), "the leaver is gone")
                del hosts.processes[leaver]
            while len(hosts.processes) < 5:
                hosts.start()
            hosts.healthy()
    print(f"\nkilled while leaving: {load.verify()}")
