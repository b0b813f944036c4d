"""What a round's histories say: lost, twice, out of order, on the wrong side."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.faults.client import ONCE
from tests.faults.toll import Toll
from tests.sim.history import Operation, Verdict, check, check_at_most_once

# What was called in time may be told late: a client reads the clock after its reply was decoded.
SLACK_S = 0.3
CALLED_S = 0.03  # between a call's clock reading and its request nothing lies that would delay it


def crowding() -> float:
    """Return how many times slower than alone this machine is by its load; >= 1."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@dataclass
class Found:
    """The verdict on one round.

    Attributes:
        lost: Acknowledged writes that are gone.
        violations: Cells whose history no order explains.
        duplicates: Mutations applied twice.
        breaches: What a side served after its lease had ended.
        heal_s: From the mending of the network until all is well; -1 = never.
        ills: Cells with a history that no order explains, those that lost a write among them.
        views: View changes.
        pause_s: The longest call of a client whose side goes on.
        crowding: How busy the machine was; times that are not safety's are allowed so much more.
        toll: The same in figures that any system can be compared by.
        complaints: All of it in words; [] = the round passed.
    """

    lost: int = 0
    violations: int = 0
    duplicates: int = 0
    breaches: int = 0
    heal_s: float = -1.0
    ills: int = 0
    views: int = 0
    pause_s: float = 0.0
    operations: int = 0
    crowding: float = 1.0
    toll: Toll = field(default_factory=Toll)
    complaints: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.complaints

    @property
    def is_safe(self) -> bool:
        """Whether all that may be wrong is that something took too long: that a busy machine can do."""
        return not (self.lost or self.violations or self.duplicates or self.breaches)


def judge(history: Iterable[Operation], found: Found) -> None:
    """Add what is wrong with the whole history of a round."""
    history = sorted(history, key=lambda op: op.call_s)
    found.operations = len(history)
    for finding in check(history):
        found.ills += 1
        is_gone = ONCE in finding.key and finding.stuck and finding.stuck[0].code == "absent"
        if is_gone and finding.verdict is Verdict.VIOLATION:
            found.lost += 1
        else:
            found.violations += 1
        found.complaints.append(str(finding))
    for complaint in check_at_most_once(history):
        found.lost += " is gone " in complaint
        found.duplicates += " applied " in complaint
        found.complaints.append(complaint)


def acknowledged(history: Iterable[Operation], lease_s: float, until_s: float) -> list[Operation]:
    """Return what a side served, reads included, though its last lease had ended at `lease_s`.

    Whatever was called after that; and what was called before, if it returned
    later than a busy machine explains.
    """
    slack_s = SLACK_S * crowding()
    return [
        op
        for op in history
        if op.outcome == "ok"
        and op.return_s <= until_s
        and (op.call_s > lease_s + CALLED_S or op.return_s > lease_s + slack_s)
    ]
