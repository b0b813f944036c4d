"""Frozen moves: nothing seeks a better place, what lacks peers gets them, whoever dies meanwhile."""

from __future__ import annotations

import random

import pytest

from agents.effects import FreezeOrdered, Note
from agents.sim_settings import SimSettings
from agents.simulator import Simulation
from agents.views import Charter, Status, View
from tests.sim.clients import run_closure

pytestmark = pytest.mark.sim

CHARTER = Charter(colonies=24, peers=2, heartbeat_s=0.2, lease_s=0.6, suspect_s=1.2)
MOVES = ("repel", "migrate")


class Town:
    """A simulated cluster of A, B and C, with room for more."""

    def __init__(self) -> None:
        self.simulation = Simulation("ABCDE", random.Random(5), SimSettings(charter=CHARTER), run_closure)
        self.simulation.notes = []
        for name in "ABC":
            self.simulation.start(name)
        self.run(1.0)
        self.simulation.init("A")
        self.run(8.0)

    def run(self, seconds: float) -> None:
        self.simulation.timeline.run_until(self.simulation.timeline.now_s + seconds)

    def order(self, name: str, *, frozen: bool) -> None:
        self.simulation.order(name, FreezeOrdered(frozen))

    def moves(self, since_s: float) -> list[Note]:
        notes = self.simulation.notes or []
        return [note for at_s, _, note in notes if at_s >= since_s and note.kind in MOVES]

    def view(self) -> View:
        views = [process.container.view for process in self.simulation.processes()]
        return max((view for view in views if view is not None), key=lambda view: view.id)

    @property
    def copies(self) -> dict[str, int]:
        """Peers per host, as whoever knows most has them."""
        process = max(
            self.simulation.processes(), key=lambda p: p.container.view.id if p.container.view else 0
        )
        return {self.simulation.name_of(h): n for h, n in process.container.directory.copies.items() if n}


def test_frozen_moves_stay_frozen_through_joins_and_deaths_until_they_are_thawed() -> None:
    town = Town()
    town.order("B", frozen=True)
    town.run(2.0)
    frozen_s, number = town.simulation.timeline.now_s, town.view().freezes
    assert town.view().is_frozen and number == 1

    town.simulation.start("D")
    town.simulation.start("E")
    town.run(12.0)
    assert {member.status for member in town.view().members} == {Status.ACTIVE}, "nobody waits for a share"
    assert town.moves(frozen_s) == [] and not {"D", "E"} & set(town.copies)

    town.simulation.crash("B", keep_disk=False)  # who ordered it
    town.run(12.0)
    assert town.view().is_frozen and len(town.view().members) == 4
    assert sum(town.copies.values()) == 48 and town.copies["D"] + town.copies["E"] > 8, (
        "what it held was cloned again, and newcomers took most of it"
    )
    assert town.moves(frozen_s) == []

    held = {
        entry.near.held_by
        for process in town.simulation.processes()
        for entry in process.container.governor.steps.ledger
        if entry.near is not None and entry.at_s > process.now_s - 12.0
    }
    assert "frozen" in held, "who would move says why it does not"
    town.order("C", frozen=True)  # again: nothing to do
    town.run(2.0)
    assert town.view().freezes == number
    town.order("C", frozen=False)
    town.run(30.0)
    assert not town.view().is_frozen and town.view().freezes == 2
    assert town.moves(frozen_s) and max(town.copies.values()) - min(town.copies.values()) <= 4
