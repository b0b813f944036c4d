"""Standing: what every part of a host's membership sees of it.

Parts (the council, encounters, passage ...) are made by `agents.membership`
and import nothing of it. Each names, in a protocol of its own that extends
this one, what else it needs: a part below it by its class, one above it by
the calls that it makes.
"""

from __future__ import annotations

from typing import Any, Protocol

from agents.contacts import Contacts
from agents.detector import Detector
from agents.farewell import Farewell
from agents.leases import Quorum
from agents.reputation import Reputation
from agents.stages import Settings, Stage
from agents.views import Member, View
from agents.wishes import Wishes


class Standing(Protocol):
    """Who this host is, what it knows, and how it acts on that."""

    me: Member
    settings: Settings
    stage: Stage
    tag: str
    known: View | None
    mute: bool
    quorum: Quorum
    contacts: Contacts
    detector: Detector
    wishes: Wishes
    reputation: Reputation
    farewell: Farewell | None

    @property
    def is_member(self) -> bool:
        """Whether the known view lists exactly this incarnation."""

    @property
    def ended_stop(self) -> str:
        """The stop, made in the known view, that is known to have come to its end; "" = none."""

    @property
    def wants_to_enter(self) -> bool:
        """Whether it asks to be admitted."""

    def do(self, effect: Any) -> None:
        """Return this effect from the event that is being handled."""

    def send_all(self, message: Any) -> None:
        """Send a message to every other member to which a link is up."""

    def enter(self, stage: Stage, reason: str) -> None:
        """Change the stage."""

    def persist(self, spoiled: str = "") -> None:
        """Write the record, before whatever effect comes next."""

    def rewire(self, now_s: float, only: str = "") -> None:
        """Dial whom a link is wanted to, hang up on the others; `only`: look at one host alone."""

    def stamp(self) -> tuple[str, int, str]:
        """Return (tag, known view id, stage)."""
