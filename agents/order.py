"""The order in which a host's machines hear things.

One queue for all: so that machines hear things in the order in which they
were said, in the runtime and in the simulator alike. A frame's messages that
find the queue empty may go past it: each one's consequences come before the
next of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from agents.effects import HostMessage, Note, Received, TellColony, TellHost
from agents.framing import OF_EVERY_WRITE
from agents.links import DeliverMessages

EVENTS_MAX = 1_000_000  # consequences of one event: more, and machines go in circles


class Stage(Protocol):
    """Where the machines of a host act."""

    def tell_host(self, event: Any) -> None:
        """Have the host's machine handle an event now."""

    def tell_colony(self, colony: int, event: Any) -> None:
        """Have a colony's machine handle an event now."""

    def note(self, note: Note) -> None:
        """Log a note."""


class Order:
    """What machines are still to be told, in order.

    Args:
        stage: Tells them.
        colony_of: Returns whose a message is; None = the host's.

    Attributes:
        said: What is to be told, the next first.
        is_mute: Nothing more may be told.
    """

    def __init__(self, stage: Stage, colony_of: Callable[[Any], int | None]) -> None:
        self.said: deque[Any] = deque()
        self.is_mute = False
        self._stage = stage
        self._colony_of = colony_of

    def tell_all(self) -> None:
        """Tell machines what waits for them, until nothing does."""
        said, stage = self.said, self._stage
        for _ in range(EVENTS_MAX):
            if not said or self.is_mute:
                return
            effect = said.popleft()
            kind = type(effect)
            if kind is TellColony:
                stage.tell_colony(effect.colony, effect.event)
            elif kind is TellHost:
                stage.tell_host(effect.event)
            elif kind is DeliverMessages:
                self._deliver_first(effect)
            else:
                stage.tell_host(effect)
        stage.note(Note("events_dropped", f"machines told each other {EVENTS_MAX} things in one go"))
        said.clear()

    def deliver(self, sender: str, messages: tuple[HostMessage, ...]) -> None:
        """Hand messages to their machines; each one's consequences come first."""
        colony_of, stage, said = self._colony_of, self._stage, self.said
        for message in messages:
            colony = message.colony if type(message) in OF_EVERY_WRITE else colony_of(message)  # type: ignore[union-attr]
            if colony is None:
                stage.tell_host(Received(sender, message))
            else:
                stage.tell_colony(colony, Received(sender, message))
            if said:
                self.tell_all()
            if self.is_mute:
                return

    def _deliver_first(self, effect: DeliverMessages) -> None:
        """Deliver the first of messages that waited their turn; the others keep their place."""
        message, rest = effect.messages[0], effect.messages[1:]
        if rest:
            self.said.appendleft(DeliverMessages(effect.sender, rest))
        colony = self._colony_of(message)
        event = Received(effect.sender, message)
        if colony is None:
            self._stage.tell_host(event)
        else:
            self._stage.tell_colony(colony, event)
