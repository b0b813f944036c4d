"""kill -9 at each step of a cell's move: it is in one place, never in none, never in two.

The invariant is looked at after every event (`Watch._lives_once`), and what
clients saw is judged as in any other run.
"""

from __future__ import annotations

from typing import Any

import pytest

from agents.keys import colony_of
from agents.messages.replication import ARRIVING, AWAY, DEPARTING, HERE, HOUSED, LEAVING, RECALLING, Entry
from agents.primary import Primary
from tests.sim.bugs import charter
from tests.sim.clients import Habits
from tests.sim.invariants import Watch
from tests.sim.plans import written
from tests.sim.runs import play

pytestmark = pytest.mark.sim
KEY = "a0"
COLONIES = 4
HOME = colony_of(KEY.encode(), COLONIES)
OTHER = (HOME + 1) % COLONIES
STEPS = {
    "departing": DEPARTING, "arriving": ARRIVING, "away": AWAY, "housed": HOUSED,
    "recalling": RECALLING, "leaving": LEAVING, "here": HERE,
}  # fmt: skip
PLAN = f"1 move migrate {OTHER} {KEY}\n2.5 move migrate {HOME} {KEY}\n4 move migrate {OTHER} {KEY}"


def killer(state: int, victim: int, when: str) -> type[Watch]:
    """Return a watch that ends the host that leads a colony as a step is sequenced, or committed."""

    class Killer(Watch):
        killed = ""

        def _strike(self, entry: Entry) -> None:
            move = entry.move
            if self.killed or move is None or move.state != state or entry.key != KEY.encode():
                return
            for process in self.simulation.processes():
                machine = process.container.colonies.get(victim)
                if machine is not None and machine.primary is not None and machine.is_open:
                    self.killed = process.home.name
                    timeline = self.simulation.timeline
                    timeline.after(0.0, self.simulation.crash, self.killed)
                    timeline.after(1.0, self.simulation.start, self.killed)
                    return

        def applied(self, peer: Any, entry: Entry) -> None:
            super().applied(peer, entry)
            if when == "sequenced":
                self._strike(entry)

        def committed(self, primary: Primary, entry: Entry) -> None:
            super().committed(primary, entry)
            if when == "committed":
                self._strike(entry)

    return Killer


@pytest.mark.parametrize("when", ["sequenced", "committed"])
@pytest.mark.parametrize("victim", [HOME, OTHER], ids=["home dies", "the other dies"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step(step: str, victim: int, when: str) -> None:
    watch = killer(STEPS[step], victim, when)
    run = play(
        3, "steps", faults=written(PLAN), names="ABCD", keys=(KEY,), clients=3, operations=60,
        length_s=6.0, habits=Habits(think_s=0.1), charter=charter(2, COLONIES), watch=watch,
    )  # fmt: skip
    assert not run.complaints, str(run)
    assert not run.lost
    assert run.promotions, "nobody was killed: the step was not reached"
