"""A whole-cluster stop whose end some member misses, and the return of the others."""

from __future__ import annotations

import random

import pytest

from agents import stopping
from agents.membership import Membership
from agents.peer import PeerStatus
from agents.sim_settings import SimSettings
from agents.simulator import Simulation
from agents.views import Charter
from tests.sim.clients import run_closure

pytestmark = pytest.mark.sim

COLONIES = 8


class Scene:
    """Hosts that stop; nothing reaches the last of them from the moment on at which it has written."""

    def __init__(self, names: str, peers: int, seed: int) -> None:
        charter = Charter(colonies=COLONIES, peers=peers, heartbeat_s=0.2, lease_s=0.6, suspect_s=1.2)
        self.names, self.deaf = names, names[-1]
        self.simulation = Simulation(names, random.Random(seed), SimSettings(charter=charter), run_closure)
        self.simulation.notes = []
        for name in names:
            self.simulation.start(name)
        self.run(1.0)
        self.simulation.init(names[0])
        self.run(4.0)
        self.held = self.colonies(self.deaf)
        self._stop()

    def run(self, for_s: float) -> None:
        """Let time pass."""
        self.simulation.timeline.run_until(self.simulation.timeline.now_s + for_s)

    def colonies(self, name: str) -> set[int]:
        """Return the colonies of which a host has an ACTIVE peer."""
        process = self.simulation.homes[name].process
        machines = process.container.colonies.values() if process is not None else ()
        return {machine.colony for machine in machines if machine.status is PeerStatus.ACTIVE}

    def _stop(self) -> None:
        self.simulation.stop_all(self.names[0])
        for _ in range(5000):
            self.run(0.002)
            process = self.simulation.homes[self.deaf].process
            assert process is not None, "it can't end before it hears of the end"
            task = process.container.stopping._task
            if task is not None and task.is_held:
                break
        for other in self.names[:-1]:
            self.simulation.cut(f"{other}>{self.deaf}")
        self.run(4.0)

    def back(self, hears_after_s: float) -> None:
        """Start all that have ended again; the last one hears them from some time on."""
        for name in self.names:
            self.simulation.start(name)
        self.run(hears_after_s)
        self.simulation.network.heal_all()
        self.run(25.0)

    @property
    def lost(self) -> set[int]:
        """Colonies that somebody named as lost."""
        return {
            note.colony
            for _, _, note in self.simulation.notes or ()
            if note.kind == "lost" and note.colony is not None
        }

    @property
    def led(self) -> set[int]:
        """Colonies that serve."""
        machines = [m for p in self.simulation.processes() for m in p.container.colonies.values()]
        return {machine.colony for machine in machines if machine.is_open}


SCENES = [
    (names, peers, hears_s, seed)
    for names, peers in (("ABC", 1), ("ABC", 2), ("ABCDE", 2))
    for hears_s in (0.0, 0.3, 8.0)
    for seed in (1, 2)
]


@pytest.mark.parametrize(("names", "peers", "hears_s", "seed"), SCENES)
def test_nothing_is_lost_whoever_missed_the_end(names: str, peers: int, hears_s: float, seed: int) -> None:
    scene = Scene(names, peers, seed)
    assert len(scene.simulation.processes()) < len(names), "some have ended"
    scene.back(hears_s)
    assert scene.lost == set() and scene.led == set(range(COLONIES))


def test_a_member_that_is_told_nothing_would_cost_what_only_the_others_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Membership, "ended_stop", "")
    costs = []
    for seed in range(1, 5):
        scene = Scene("ABC", 1, seed)
        scene.back(0.0)
        costs.append(scene.lost - scene.held)
    assert any(costs)


class Abrupt(Simulation):
    """A simulation in which nobody's last words leave."""

    def crash(self, name: str, *, keep_disk: bool = True, gently: bool = False) -> None:
        super().crash(name, keep_disk=keep_disk)


def left_after_a_stop(seed: int, peers: int = 1) -> list[str]:
    """Return who still runs after a stop in which no host's last words leave with it.

    A third or a fifth host has only just come: clones and moves are under way.
    """
    chance = random.Random(seed)
    names = chance.choice(("ABC", "ABCDE"))
    charter = Charter(colonies=COLONIES, peers=peers, heartbeat_s=0.2, lease_s=0.6, suspect_s=1.2)
    simulation = Abrupt(names, random.Random(seed), SimSettings(charter=charter), run_closure)

    def run(for_s: float) -> None:
        simulation.timeline.run_until(simulation.timeline.now_s + for_s)

    for name in names[:-1]:
        simulation.start(name)
    run(1.0)
    simulation.init(names[0])
    run(3.0)
    simulation.start(names[-1])
    run(chance.choice((0.5, 1.0, 2.0)))
    for _ in range(4):  # it is given up when a view comes between
        simulation.stop_all(chance.choice(names))
        run(20.0)
        if len(simulation.processes()) < len(names):
            break
    return [process.home.name for process in simulation.processes()]


def test_a_stop_ends_all_hosts_although_links_break_with_the_first_that_end() -> None:
    assert [left_after_a_stop(seed) for seed in range(1, 21)] == [[]] * 20


def test_who_ends_at_once_leaves_others_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "END_S", -1.0)
    assert any(left_after_a_stop(seed) for seed in range(1, 21))
