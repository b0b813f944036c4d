"""Leavers: what is done for their sake alone, spread so that clients are served beside it."""

from __future__ import annotations

from agents.causes import Cause
from agents.household import Household
from agents.population import Facts, Lack, Order
from agents.steps import STEP_S
from agents.surroundings import CloneOrdered, HandOverOrdered
from agents.views import Status, View
from placement.ties import tie_portion

PLANNED_S = 0.75  # over so long a host spreads what it does for who leaves: clients are served beside it


class Leavers:
    """Members that are about to leave, and the pace at which colonies led here make up for them."""

    def __init__(self, host: Household) -> None:
        self._host = host
        self._since = 0  # the view that marked a member LEAVING last
        self._ids: frozenset[str] = frozenset()
        self._installed = 0
        self._next_s = float("-inf")  # when the next order for a leaver's sake may be given

    def view_installed(self, view: View) -> None:
        """Members may have been marked LEAVING, or gone."""
        ids = frozenset(member.id for member in view.members if member.status is Status.LEAVING)
        if ids - self._ids:
            self._since = view.id
        self._ids, self._installed = ids, view.id

    def begin(self, now_s: float) -> None:
        """The first look at the colonies in a view."""
        if self._since == self._installed:
            # Not all hosts at one moment: with as many orders, the next view, or a client, would wait.
            self._next_s = now_s + PLANNED_S * tie_portion(self._since, self._host.me)

    def __contains__(self, host: str) -> bool:
        """Return whether a host is one of them."""
        return host in self._ids

    @property
    def cause(self) -> Cause | None:
        """The event that what is done for their sake comes of; None = nobody was ever to leave."""
        return Cause("view", view=self._since) if self._since else None

    def can_wait(
        self, order: Order | Lack | None, facts: Facts, now_s: float, *, settled: int, needy: int
    ) -> bool:
        """Return whether an order is for a leaver's sake alone, and another such one was given just now.

        `needy`: how many colonies led here may need something.
        """
        is_planned = isinstance(order, (CloneOrdered, HandOverOrdered)) and order.cause == facts.leaving
        if not is_planned or facts.leaving is None or len(facts.active) < settled:
            return False
        if now_s < self._next_s:
            return True
        # The more there is to do, the closer: however much it is, the spreading takes no longer.
        gap_s = PLANNED_S / max(1, needy)
        self._next_s = max(self._next_s, now_s - STEP_S) + gap_s
        return False
