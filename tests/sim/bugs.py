"""What it takes to plant a bug: a patch, and a plan that provokes it.

Production code carries none of this: a bug is a patch of one or two
functions, planted while one run is played.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from agents.sim_network import Shape
from agents.views import Charter
from tests.sim.clients import Habits
from tests.sim.plans import Maker, written
from tests.sim.runs import Run, play

Patch = tuple[Any, str, Any]


@dataclass(frozen=True, slots=True)
class Bug:
    """One bug, and how to provoke it.

    Attributes:
        patches: (owner, name, what takes its place).
        plan: Faults that provoke it: written out, or drawn from the seed.
        seeds: So many seeds are enough to catch it.
        options: Arguments of `runs.play`.
    """

    patches: list[Patch]
    plan: str | Maker
    seeds: int = 20
    options: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Plant the bug while the context lasts."""
        with ExitStack() as stack:
            for owner, name, new in self.patches:
                stack.enter_context(patch.object(owner, name, new, create=name == "min"))
            yield

    def play(self, seed: int, *, sound: bool = False, notes: bool = False) -> Run:
        """Play one run of its plan with the bug, or (`sound`) without it."""
        options = dict(self.options)
        if isinstance(self.plan, str):
            options["faults"] = written(self.plan)
        else:
            options["maker"] = self.plan
        if sound:
            return play(seed, "planted", notes=notes, **options)
        with self.planted():
            return play(seed, "planted", notes=notes, **options)


def nothing(*args: Any, **kwargs: Any) -> None:
    """Do nothing."""


def charter(peers: int, colonies: int = 4) -> Charter:
    return Charter(colonies=colonies, peers=peers, heartbeat_s=0.2, lease_s=0.6, suspect_s=1.2)


BUSY = Habits(think_s=0.1)
TWO = {"names": "ABC", "habits": BUSY, "operations": 200, "length_s": 8.0, "charter": charter(2)}
THREE = {**TWO, "charter": charter(3)}
FIVE = {**TWO, "names": "ABCDE", "charter": charter(3)}
# Who died is seen at once.
SEEN = {"machines": 1, "attested": True}
# All at once on one small colony.
FEW = {**TWO, "keys": ("k0", "k1", "k2"), "habits": Habits(think_s=0.03), "charter": charter(2, 1)}
# Chunks take their time, so that what follows a clone overtakes it.
SLOW_BULK = Shape(delay_s=(0.0002, 0.01), bulk_s=0.4)
