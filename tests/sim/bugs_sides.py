"""Planted bugs of sides that go on alone, and of their merges."""

from __future__ import annotations

from typing import Any

import agents.merging
from agents.cells import Cells
from agents.reunion import Job, Reunion
from agents.sides import Sides
from agents.surroundings import Limits
from tests.sim.available import SideWatch
from tests.sim.available_plans import available
from tests.sim.bugs import Bug, nothing
from tests.sim.clients import Habits

BUGS: dict[str, Bug] = {}

DELETING = Habits(think_s=0.1, mix=(("put", 1), ("delete", 1)))
TWO_SIDES = {
    "names": "ABC",
    "charter": available(3),
    "habits": Habits(think_s=0.1),
    "operations": 200,
    "length_s": 9.0,
    "attested": False,
    "watch": SideWatch,
}

BUGS["a merge skips deaths"] = Bug(
    [(Cells, "died", nothing)], "0.5 cut A|BC for 6", options={**TWO_SIDES, "habits": DELETING}
)

_so_far = agents.merging._so_far


def _begins_anew(primary: Any, lane: bytes) -> tuple[int, Any]:
    return 0, _so_far(primary, lane)[1]


BUGS["what is handed on again is counted twice"] = Bug(
    [(agents.merging, "_so_far", _begins_anew)],
    "0.5 cut A|BC for 5\n5.6 slow A>B for 9\n5.6 slow A>C for 9\n"
    + "\n".join(f"{5.8 + 0.15 * n:.2f} reset A>{'BC'[n % 2]}" for n in range(30)),
    options={
        **TWO_SIDES,
        "policy": "function",
        "limits": Limits(chunk_bytes=1),
        "charter": available(3, 1),
    },
)

_send = Reunion._send


def _drops_what_is_sent(self: Reunion, job: Job, now_s: float, out: list[Any]) -> None:
    _send(self, job, now_s, out)
    if job.ended and job.colony in self._jobs:
        del self._jobs[job.colony]
        self._done.add(job.colony)


BUGS["a loser drops its cells before all is acknowledged"] = Bug(
    [(Reunion, "_send", _drops_what_is_sent)],
    "0.5 cut A|BC for 5\n5.6 slow A>B for 3\n5.6 slow A>C for 3",
    options=TWO_SIDES,
)

_acknowledge = agents.merging.acknowledge


def _acks_uncommitted(primary: Any, now_s: float, out: list[Any]) -> None:
    committed = primary.peer.committed
    primary.peer.committed = primary.peer.last
    _acknowledge(primary, now_s, out)
    primary.peer.committed = committed


BUGS["a merge is acknowledged before it is committed"] = Bug(
    [(agents.merging, "acknowledge", _acks_uncommitted)], "0.5 cut A|BC for 5", options=TWO_SIDES
)

BUGS["a side installs another side's view"] = Bug(
    [(Sides, "sort", lambda self, sender, view, now_s: True)], "0.5 cut A|BC for 5", options=TWO_SIDES
)

BUGS["the winner keeps its own without a word"] = Bug(
    [(agents.merging, "_is_same", lambda primary, mine, theirs, now_s: mine is not None)],
    "0.5 cut A|BC for 6",
    options=TWO_SIDES,
)
