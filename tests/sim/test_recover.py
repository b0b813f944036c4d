"""An operator goes on without the majority, which is alive: on contact it is undead, and nobody hides it."""

from __future__ import annotations

from agents.effects import Note, RecoverOrdered
from agents.peer import PeerStatus
from agents.simulator import Simulation
from agents.views import generation_of
from tests.sim.clients import Client
from tests.sim.history import Operation
from tests.sim.test_simulator import cluster, views


def said(simulation: Simulation, name: str, kind: str) -> list[Note]:
    assert simulation.notes is not None
    return [note for _, host, note in simulation.notes if host == name and note.kind == kind]


def test_the_old_majority_is_undead_when_it_comes_back() -> None:
    simulation = cluster("ABCDE")
    simulation.notes = []
    history: list[Operation] = []
    Client("c", simulation, simulation.chance, ("a0", "k0", "k1", "k2"), history, 30).start()
    simulation.timeline.run_until(15.0)
    simulation.cut("AB|CDE")
    simulation.timeline.run_until(25.0)
    simulation.order("A", RecoverOrdered())
    simulation.timeline.run_until(28.0)
    seen = views(simulation)
    assert {seen[name] for name in "AB"} == {"AB"} and {seen[name] for name in "CDE"} == {"CDE"}
    held = {p.home.name for p in simulation.processes() if p.container.membership.quorum.held(p.now_s)}
    assert held == set("ABCDE"), "both sides serve: the operator has been warned"
    assert said(simulation, "A", "recover") and said(simulation, "B", "generation")

    simulation.heal("AB|CDE")
    simulation.timeline.run_until(38.0)
    for process in simulation.processes():
        view = process.container.view
        assert view is not None and len(view.members) == 5 and generation_of(view.id) == 1
    for name in "CDE":
        assert any("generation 1" in note.reason for note in said(simulation, name, "undead"))
    assert any(said(simulation, name, "lost_and_found") for name in "CDE"), (
        "what they held is kept for people"
    )
    for colony in range(2):
        active = [
            p.home.name
            for p in simulation.processes()
            if colony in p.container.colonies and p.container.colonies[colony].status is PeerStatus.ACTIVE
        ]
        assert len(active) == 2


def test_recover_where_there_is_quorum_is_refused_and_says_so() -> None:
    simulation = cluster("ABC")
    simulation.notes = []
    simulation.order("A", RecoverOrdered())
    simulation.timeline.run_until(4.0)
    assert not said(simulation, "A", "generation")
    assert "nothing to recover" in said(simulation, "A", "refused")[0].reason
