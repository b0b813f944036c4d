"""The household: what every part of a host's container sees of it.

Parts (the governor, the stop, the return from one ...) are made by
`agents.hosting` and import nothing of it. Each names, in a protocol of its
own that extends this one, which other parts it needs.
"""

from __future__ import annotations

from typing import Any, Protocol

from agents.colony import Colony
from agents.directory import Directory
from agents.effects import Effect
from agents.membership import Membership
from agents.surroundings import Limits, Quorum
from agents.views import View
from placement.peers import Peers


class Household(Protocol):
    """The machines of one host, and what they know."""

    colonies: dict[int, Colony]
    directory: Directory
    frozen: bool  # the cluster stops: nothing is sequenced any more
    keeps: bool  # it has a state directory to write snapshots to
    limits: Limits
    membership: Membership

    @property
    def me(self) -> str:
        """This host's id."""

    @property
    def view(self) -> View | None:
        """The installed view."""

    @property
    def quorum(self) -> Quorum:
        """Whether this host may acknowledge anything now."""

    def places(self) -> list[Peers]:
        """Return where every colony lives, as the directory and the view say."""

    def tell_membership(self, event: Any, now_s: float, out: list[Effect]) -> None:
        """Have membership take an event, and do what comes of it."""

    def colony(self, colony: int) -> Colony:
        """Return the machine of a colony; it is made when first asked for."""
