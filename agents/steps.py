"""Steps: what this host's primaries were told to do, and what follows from that.

Each leaves its entry in the ledger, and a move its note. What an order will
weigh counts at once, until the directory does. A colony that has moved rests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agents.causes import Cause
from agents.effects import Effect, Note, TellColony
from agents.household import Household
from agents.ledger import Ledger
from agents.population import Order
from agents.surroundings import CloneOrdered, HandOverOrdered
from agents.survey import Survey
from agents.views import Status
from placement.balance import rest_s
from placement.reasons import Move

Out = list[Effect]

STEP_S = 0.05  # how often the colonies that need something are looked at


class Steps:
    """Orders to the primaries of one host, and the moves that they are part of.

    Attributes:
        ledger: What was decided.
        moves: Moves of copies that are under way, by colony.
    """

    def __init__(self, host: Household, survey: Survey) -> None:
        self._host, self._survey = host, survey
        self.ledger = Ledger()
        self.moves: dict[int, Move] = {}
        self._rests_s: dict[int, tuple[float, float]] = {}  # colony -> (since when, until when)

    @property
    def is_full(self) -> bool:
        """Whether as many moves are under way as may be."""
        return len(self.moves) >= self._host.limits.moves_max

    def rests_since_s(self, colony: int) -> float:
        """Return since when a colony rests, or has rested; -inf = it never moved."""
        return self._rests_s.get(colony, (float("-inf"), 0.0))[0]

    def rests_until_s(self, colony: int) -> float:
        """Return until when a colony rests after its last move."""
        return self._rests_s.get(colony, (0.0, float("-inf")))[1]

    def decided(
        self,
        now_s: float,
        colony: int,
        rule: Callable[..., Any],
        given: tuple[Any, ...],
        outcome: Any,
        **named: Any,
    ) -> None:
        """Keep what was decided, by which rule, from what."""
        view = self._host.view
        self.ledger.note(now_s, view.id if view is not None else 0, colony, rule, given, outcome, **named)

    def begin(
        self,
        colony: int,
        found: tuple[Order, Move],
        bytes_used: int,
        now_s: float,
        out: Out,
    ) -> None:
        """Begin a move: from its first order on the colony rests."""
        order, move = found
        details = {"what": move.kind, "from": move.source, "to": move.target}
        out.append(Note(move.rule, move.because, colony, move.target, details, self._joined(move.target)))
        kind = "role" if isinstance(order, HandOverOrdered) else "copy"
        self._rests_s[colony] = now_s, now_s + rest_s(kind, bytes_used)
        if isinstance(order, CloneOrdered):
            self.moves[colony] = move
        self.give(colony, order, bytes_used, out)

    def give(self, colony: int, order: Order, bytes_used: int, out: Out) -> None:
        """Hand an order to the colony; what it will weigh counts from now on."""
        out.append(TellColony(colony, order))
        if isinstance(order, CloneOrdered):
            self._survey.give(order.target, copies=1, bytes_used=bytes_used)
            if order.source:
                self._survey.give(order.source, copies=-1, bytes_going=bytes_used)
        elif isinstance(order, HandOverOrdered):
            self._survey.give(order.target, primaries=1)
            self._survey.give(self._host.me, primaries=-1)

    def over(self, colony: int) -> None:
        """Nothing of a colony's move is left to do here, or it came to nothing."""
        self.moves.pop(colony, None)

    def _joined(self, host: str) -> Cause | None:
        """Return the event by which a joiner entered, for what moves to it; None = it is none."""
        view = self._host.view
        member = view.member(host) if view is not None else None
        if member is None or member.status is not Status.JOINING:
            return None
        return Cause("view", view=member.entered)
