"""The cast of a host: its actors, how they are told, and what becomes of one that breaks.

A broken colony is given up and begins anew from nothing; a broken host goes
on with its next event, unless every tick breaks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from agents.bodies import Body, ColonyActor, HostActor
from agents.dispatcher import Dispatcher
from agents.effects import Halt, LoadMeasured, PeerFailed, Received, Requested, Ticked
from agents.messages.client import BAD, Reply
from agents.messages.membership import Grant, Heartbeat
from agents.messages.replication import Census, Invite, InviteAnswer, Located, WantLocations
from agents.performer import Performer
from agents.surroundings import CellChanged, Counted, GuestsChanged, LocationChanged, MoveRefused

BROKEN_TICKS_MAX = 40  # a second without one whole tick: this host does nothing any more

# What can't make the host install another view; all else may, and messages already
# said belong to the view they were said in.
_CALM = frozenset(
    {Heartbeat, Grant, Census, Located, WantLocations, Invite, InviteAnswer}
    | {CellChanged, Counted, GuestsChanged, LocationChanged, MoveRefused, LoadMeasured}
)

# What a host at rest is told all the time: no tick need follow.
_QUIET = frozenset({Heartbeat, Grant, LoadMeasured, CellChanged, Ticked})


class Loop(Protocol):
    """What the cast needs of the server."""

    clock: Callable[[], float]
    container: Any
    dispatcher: Dispatcher
    performer: Performer

    def hurry(self) -> None:
        """Something happened: the next tick must not wait until the host has rested."""

    def fault(self, what: str, error: BaseException, colony: int | None = None) -> None:
        """Log that something broke."""


class Cast:
    """The actors of one host; belongs to the I/O thread."""

    def __init__(self, loop: Loop) -> None:
        self.clock = loop.clock
        self.perform = loop.performer.perform  # the actors' way there, without a step between
        self._loop = loop
        self._performer = loop.performer
        self._host = HostActor.begin(loop.dispatcher, loop.container, self)
        self._colonies: dict[int, ColonyActor] = {}
        self._broken_ticks = 0
        self._is_over = False

    @property
    def host(self) -> HostActor:
        """The host's own actor; any thread may tell it something."""
        return self._host

    def tell_host(self, event: Any) -> None:
        """Have the host handle an event now."""
        kind = type(event.message) if type(event) is Received else type(event)
        if kind not in _CALM:
            self._performer.flush_links()
        if kind not in _QUIET:
            self._loop.hurry()
        self._host.turn(event)

    def tell_colony(self, colony: int, event: Any) -> None:
        """Have a colony handle an event now; its actor is made when first needed."""
        actor = self._colonies.get(colony)
        if actor is None:
            loop = self._loop
            actor = ColonyActor.begin(loop.dispatcher, loop.container.colony(colony), self, colony)
            self._colonies[colony] = actor
        actor.turn(event)

    def tick(self) -> None:
        """Have the host handle a tick; one that doesn't break ends a series of those that did."""
        broken = self._broken_ticks
        self.tell_host(Ticked())
        if self._broken_ticks == broken:
            self._broken_ticks = 0

    def end(self) -> None:
        """The host ends: actors that stop from now on are not missed."""
        self._is_over = True

    # -- what bodies say of themselves -------------------------------------------------

    def host_broke(self, event: Any, error: BaseException) -> None:
        """Note that the host's machine raised, and refuse what it raised at."""
        self._loop.fault("host", error)
        if type(event) is Requested:
            self._refuse(event, error)
        if type(event) is Ticked:
            self._broken_ticks += 1
            if self._broken_ticks >= BROKEN_TICKS_MAX:
                self.perform([Halt(1, f"the host's machine is broken: {error!r}")], None)

    def colony_broke(self, colony: int, event: Any, error: BaseException) -> None:
        """Give up the peer whose machine raised; a new one begins from nothing."""
        self._loop.fault("colony", error, colony)
        actor = self._colonies.pop(colony, None)
        if actor is not None:
            actor.end()
        if type(event) is Requested:
            self._refuse(event, error)
        self._performer.say_first(PeerFailed(colony, repr(error)))  # before anybody asks for a new machine

    def body_stopped(self, body: Body) -> None:
        """Halt when somebody outside stops our actors: a host is all of them or none."""
        ours = body is self._host or (
            isinstance(body, ColonyActor) and self._colonies.get(body.colony) is body
        )
        if ours and not self._is_over:
            self.perform([Halt(1, f"{body} was stopped from outside")], None)

    def _refuse(self, event: Requested, error: BaseException) -> None:
        """Answer what can't be tried again: it would break the next primary too."""
        text = f"this request broke its machine: {error!r}"
        self._performer.answer(event.caller, Reply(event.request.id, BAD, text=text))
