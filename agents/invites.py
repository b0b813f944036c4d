"""Invites: what other hosts ask of the colonies led here, and what they are told.

A joiner asks for a copy or a role, a host that carries too much for a peer to
move, and one without room for a peer to go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from agents.admission import SHED
from agents.causes import Cause
from agents.colony import Colony
from agents.effects import Effect, Send
from agents.household import Household
from agents.messages.replication import Invite, InviteAnswer
from agents.population import Facts, Order, make_room, relief, urgent_step
from agents.share import RELIEVE
from agents.steps import Steps
from agents.surroundings import CloneOrdered, HandOverOrdered
from agents.survey import Field, Survey
from placement.moves import rebalance
from placement.reasons import Move
from placement.resources import Candidate
from placement.settle import Settled

Out = list[Effect]


class Governor(Protocol):
    """What invites need of the governor."""

    settled: Settled
    steps: Steps
    survey: Survey

    @property
    def host(self) -> Household:
        """The host whose primaries it sees after."""

    @property
    def is_frozen(self) -> bool:
        """Whether nobody moves for a better place, but for memory."""

    @property
    def is_held(self) -> bool:
        """Whether nobody moves by itself for a better place."""

    def is_due(self, colony: int) -> bool:
        """Return whether a colony led here is to be looked at: it may need something."""

    def facts(self, machine: Colony) -> Facts | None:
        """Return what the primary here knows; None = it may not move now."""

    def around(self, facts: Facts, field: Field, now_s: float) -> list[Candidate]:
        """Return the hosts that a colony looks at for a better place."""

    def begin(
        self, colony: int, found: tuple[Order, Move], bytes_used: int, now_s: float, out: list[Effect]
    ) -> None:
        """Begin a move, and look at the colony again."""


class Invites:
    """What one host answers to those that ask for its colonies."""

    def __init__(self, governor: Governor) -> None:
        self._governor = governor

    def asked(self, sender: str, message: Invite, now_s: float, out: Out) -> None:
        """Somebody asks: see whether it may be, do it, and answer."""
        governor = self._governor
        machine = governor.host.colonies.get(message.colony)
        facts = governor.facts(machine) if machine is not None else None
        reason = "not its primary, or busy"
        if facts is not None and message.role == SHED:
            reason = self._asked_to_shed(sender, facts, now_s, out)
        elif governor.is_held:
            reason = "moves are frozen" if governor.is_frozen else "a wave is under way"
        elif facts is not None and message.role == RELIEVE:
            reason = self._asked_to_relieve(sender, facts, now_s, out)
        elif facts is not None and self._is_content(facts, now_s):
            reason = self._asked_to_share(sender, facts, now_s, out)
        out.append(Send(sender, InviteAnswer(message.colony, not reason, reason)))

    def _is_content(self, facts: Facts, now_s: float) -> bool:
        """Return whether a colony is free to move; after a new view many have not been looked at yet."""
        if facts.coming or facts.going:
            return False
        if not self._governor.is_due(facts.colony):
            return True
        holders = self._governor.survey.look(now_s).those(facts.active)
        return urgent_step(facts, holders, self._governor.settled.number) is None

    def _asked_to_share(self, sender: str, facts: Facts, now_s: float, out: Out) -> str:
        """A joiner asks for a copy or a role: it gets it, if that evens anything out."""
        governor = self._governor
        field = governor.survey.look(now_s)
        near = field.those(dict.fromkeys((*facts.active, sender)))
        given = (facts.colony, facts.active, near)
        named: dict[str, Any] = {"primary": facts.primary, "bytes_wanted": facts.bytes_used}
        named |= {"to": sender, "means": field.means}
        move = rebalance(*given, **named)
        if move is None:
            return "it would not even anything out"
        governor.steps.decided(now_s, facts.colony, rebalance, given, move, **named)
        cause = Cause(move.rule, move.colony, move.target)
        order: Order = CloneOrdered(move.target, move.because, cause, move.source)
        if move.kind == "role":
            order = HandOverOrdered(move.target, move.because, cause)
        governor.begin(move.colony, (order, move), facts.bytes_used, now_s, out)
        return ""

    def _asked_to_relieve(self, sender: str, facts: Facts, now_s: float, out: Out) -> str:
        """A host carries too much: its peer moves to one that carries less, if there is any."""
        governor = self._governor
        rests = now_s < governor.steps.rests_until_s(facts.colony)
        if facts.coming or facts.going or governor.is_due(facts.colony) or rests:
            return "busy, or moved just now"
        field = governor.survey.look(now_s)
        hosts = governor.around(facts, field, now_s)
        agrees = self._agrees(relief, (facts, hosts, sender, field.means), now_s, out)
        return "" if agrees else "nobody carries so much less"

    def _asked_to_shed(self, sender: str, facts: Facts, now_s: float, out: Out) -> str:
        """A colony with fewer peers has outbid this one: its peer there goes, if another one stays."""
        given = (facts, self._governor.survey.look(now_s).those(facts.active), sender)
        return "" if self._agrees(make_room, given, now_s, out) else "nothing to give up there"

    def _agrees(
        self,
        rule: Callable[..., tuple[Order, Move] | None],
        given: tuple[Facts, *tuple[Any, ...]],
        now_s: float,
        out: Out,
    ) -> bool:
        """Do what a rule finds for a colony, if it finds anything."""
        found = rule(*given)
        if found is None:
            return False
        facts = given[0]
        self._governor.steps.decided(now_s, facts.colony, rule, given, found)
        self._governor.begin(facts.colony, found, facts.bytes_used, now_s, out)
        return True
