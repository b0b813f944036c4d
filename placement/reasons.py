"""Reasons: what placement answers, always with its why.

The log, the events, the dashboard and `colony why` read these same words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A wish that is met in part only."""

    wanted: int
    got: int
    because: str

    def __str__(self) -> str:
        return f"{self.got} of {self.wanted}: {self.because}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one host was judged.

    Attributes:
        host: Host id.
        name: What people call it.
        vetoes: Why it can't be chosen; empty = it could.
        terms: What spoke for or against it, heaviest first.
    """

    host: str
    name: str
    vetoes: tuple[str, ...] = ()
    terms: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}: {'; '.join(self.vetoes or self.terms)}"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which host was chosen, and how each was judged, best first.

    Attributes:
        chosen: Host id; None = nobody could be.
        reasons: One verdict per host that was looked at.
        shortfall: What is missing when nobody could be chosen.
    """

    chosen: str | None
    reasons: tuple[Verdict, ...] = ()
    shortfall: Shortfall | None = None

    @property
    def because(self) -> str:
        """Why this one, or why nobody, in one line."""
        for verdict in self.reasons:
            if verdict.host == self.chosen:
                return str(verdict)
        return str(self.shortfall) if self.shortfall else ""


@dataclass(frozen=True, slots=True)
class Move:
    """Something that its primary may do for a colony's good.

    Attributes:
        colony: The colony.
        kind: `copy`: clone to `target`, then retire `source`; `role`: hand the
            primary role from `source` to `target`, which holds a copy; `shed`:
            retire `source`, which has no memory left, and nobody takes it.
        source: Host id.
        target: Host id.
        because: What gets better by it.
        rule: Which rule asks for it: peers that repel each other, emptier hosts, or a full one.
    """

    colony: int
    kind: Literal["copy", "role", "shed"]
    source: str
    target: str
    because: str
    rule: Literal["repel", "migrate", "shed"] = "migrate"


def tally(vetoes: Sequence[str]) -> str:
    """Return why nobody was left, such as `2 hosts: holds a copy already, 1 host: is leaving`."""
    counted = Counter(vetoes).most_common()
    return (
        ", ".join(f"{n} host{'' if n == 1 else 's'}: {veto}" for veto, n in counted) or "there are no hosts"
    )
