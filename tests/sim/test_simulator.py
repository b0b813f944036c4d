"""The simulator itself: it repeats, and it does to hosts what it says it does."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from agents.sim_network import Shape
from agents.sim_settings import SimSettings
from agents.simulator import Simulation
from agents.views import Charter
from tests.sim.clients import Client, run_closure
from tests.sim.history import Operation
from tests.sim.invariants import Violation, watching
from tests.sim.plans import PLANS, Fault, Scene, written
from tests.sim.replay import trace
from tests.sim.runs import play

CHARTER = Charter(colonies=2, peers=2, heartbeat_s=0.2, lease_s=0.6, suspect_s=1.2)
ROOT = Path(__file__).parents[2]


def cluster(names: str = "ABC", seed: int = 0, **settings: object) -> Simulation:
    """A cluster that serves."""
    chance = random.Random(seed)
    simulation = Simulation(names, chance, SimSettings(charter=CHARTER, **settings), run_closure)  # type: ignore[arg-type]
    for name in names:
        simulation.start(name)
    simulation.timeline.run_until(1.0)
    simulation.init(names[0])
    simulation.timeline.run_until(3.0)
    return simulation


def views(simulation: Simulation) -> dict[str, str]:
    """Per host, the names of the members of its view."""
    return {
        process.home.name: "".join(member.name for member in process.container.view.members)
        for process in simulation.processes()
        if process.container.view is not None
    }


def test_cluster_is_born() -> None:
    assert views(cluster()) == {"A": "ABC", "B": "ABC", "C": "ABC"}


def test_frames_may_pass_through_the_wire() -> None:
    assert views(cluster(encoded=True)) == {"A": "ABC", "B": "ABC", "C": "ABC"}


def test_stopped_host_sees_nothing_until_it_goes_on() -> None:
    simulation = cluster()
    simulation.pause("C")
    simulation.timeline.run_until(8.0)
    assert views(simulation) == {"A": "AB", "B": "AB", "C": "ABC"}
    simulation.resume("C")
    simulation.timeline.run_until(12.0)
    assert {name: sorted(members) for name, members in views(simulation).items()} == {
        name: ["A", "B", "C"] for name in "ABC"
    }


def test_attested_death_is_seen_at_once() -> None:
    simulation = cluster(machines=1)
    simulation.crash("C")
    simulation.timeline.run_until(3.5)
    assert views(simulation) == {"A": "AB", "B": "AB"}


def test_death_that_nobody_can_attest_takes_its_time() -> None:
    simulation = cluster(attested=False)
    simulation.crash("C")
    simulation.timeline.run_until(3.5)
    assert views(simulation) == {"A": "ABC", "B": "ABC"}
    simulation.timeline.run_until(8.0)
    assert views(simulation) == {"A": "AB", "B": "AB"}


def test_disk_brings_back_the_host_id_and_a_lost_disk_does_not() -> None:
    simulation = cluster()
    first = simulation.homes["C"].id
    simulation.crash("C")
    simulation.start("C")
    assert simulation.homes["C"].id == first
    simulation.crash("C", keep_disk=False)
    simulation.start("C")
    assert simulation.homes["C"].id != first


def test_both_sides_of_a_split() -> None:
    simulation = cluster("ABCDE")
    simulation.cut("AB|CDE")
    simulation.timeline.run_until(9.0)
    seen = views(simulation)
    assert {seen[name] for name in "CDE"} == {"CDE"}
    assert not any(
        process.container.quorum.held(process.now_s)
        for process in simulation.processes()
        if process.home.name in "AB"
    )
    simulation.heal("AB|CDE")
    simulation.timeline.run_until(16.0)
    assert {"".join(sorted(members)) for members in views(simulation).values()} == {"ABCDE"}


def test_client_finds_the_primary_and_is_answered() -> None:
    simulation = cluster()
    history: list[Operation] = []
    client = Client("c", simulation, random.Random(1), ("a0", "k0", "s0"), history, 30)
    client.start()
    simulation.timeline.run_until(40.0)
    assert client.is_done
    assert [op.outcome for op in history] == ["ok"] * 30


def test_jammed_host_answers_no_client() -> None:
    simulation = cluster()
    history: list[Operation] = []
    simulation.jammed.update(dict.fromkeys("ABC", 1))
    client = Client("c", simulation, random.Random(1), ("k0",), history, 1)
    client.start()
    simulation.timeline.run_until(10.0)
    assert [op.outcome for op in history] == ["unknown"]


def test_watch_raises_at_the_very_event() -> None:
    simulation = cluster()
    with watching(simulation) as watch:
        process = next(p for p in simulation.processes() if p.container.colonies[0].primary is not None)
        machine = process.container.colonies[0]
        assert machine.primary is not None
        machine.primary.ack_set.clear()
        with pytest.raises(Violation, match="I1"):
            watch.sweep()


@pytest.mark.parametrize("plan", ["everything", "lives"])
def test_run_repeats_exactly_whatever_the_hash_seed(plan: str) -> None:
    traces = set()
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.sim.replay", "--seed", "5", "--plan", plan, "--all"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        traces.add(done.stdout)
    assert len(traces) == 1
    assert "all promises kept" in traces.pop()


def test_trace_holds_notes_and_operations_in_order() -> None:
    run = play(1, "pauses", notes=True)
    lines = trace(run, everything=True)
    assert any(" view " in line for line in lines) and any(" * " in line for line in lines)
    times = [float(line.split()[0]) for line in lines]
    assert times == sorted(times)


def test_written_plan_reads_back() -> None:
    faults = [
        Fault(1.5, "pause", "A", 2.0),
        Fault(2, "cut", "A>B C-D"),
        Fault(0, "crash", "p", 0.5, "lease_wait"),
        Fault(3, "move", "hand_over 0 s"),
    ]
    assert written("\n".join(map(str, faults))) == faults
    with pytest.raises(ValueError, match="no such fault"):
        written("1 explode A")


@pytest.mark.parametrize("name", PLANS)
def test_plan_is_a_function_of_the_seed(name: str) -> None:
    scene = Scene("ABCDE", 4, 2, 10.0)
    one, same, other = (PLANS[name](random.Random(seed), scene) for seed in (1, 1, 2))
    assert one == same
    assert name == "calm" or one != other
    assert all(fault.at_s <= scene.length_s for fault in one)


def test_slow_network_is_slower() -> None:
    quick, slow = (cluster(shape=Shape(delay_s=(s, s), jitter_s=0.0)) for s in (0.001, 0.05))
    assert quick.network.delay_s(("A", "B")) < slow.network.delay_s(("A", "B"))
