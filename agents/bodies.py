"""Actor bodies: a machine, its clock, and who performs its effects.

They are thin: take an event, let the machine handle it, hand on what it
returned. A machine that breaks (an exception) never takes the loop down:
a broken colony is given up and its host told, a broken host's turn is noted.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

from agents.dispatcher import Dispatcher, PooledActor


class Machine(Protocol):
    """Takes events, returns effects."""

    def handle(self, event: Any, now_s: float) -> list[Any]:
        """Return the effects of an event, in order."""


class Stage(Protocol):
    """Where bodies act: it performs effects, and hears who broke."""

    clock: Callable[[], float]

    def perform(self, effects: list[Any], body: Body) -> None:
        """Perform a machine's effects in order."""

    def host_broke(self, event: Any, error: BaseException) -> None:
        """The host's machine raised while it handled `event`."""

    def colony_broke(self, colony: int, event: Any, error: BaseException) -> None:
        """A colony's machine raised; its actor is over."""

    def body_stopped(self, body: Body) -> None:
        """Somebody outside stopped an actor (`ActorRegistry.stop_all`)."""


class Body(PooledActor):
    """One machine as an actor; events reach it by `turn`, or by `tell`."""

    def __init__(self, dispatcher: Dispatcher, machine: Machine, stage: Stage) -> None:
        super().__init__(dispatcher)
        self.machine = machine
        self.stage = stage

    def turn(self, event: Any) -> None:
        """Handle one event at once; on the actors' own thread only."""
        stage = self.stage
        try:
            effects = self.machine.handle(event, stage.clock())
        except Exception as error:
            self.broke(event, error)
        else:
            if effects:
                stage.perform(effects, self)

    def on_receive(self, message: Any) -> None:
        """Take an event that somebody told this actor."""
        self.turn(message)

    def on_stop(self) -> None:
        """Tell the stage: a host doesn't go on without its actors."""
        self.stage.body_stopped(self)

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take a failure outside `turn` (a proxy call) for a stop."""
        self.stage.body_stopped(self)

    def broke(self, event: Any, error: BaseException) -> None:
        """Say that the machine raised."""
        raise NotImplementedError


class HostActor(Body):
    """The host itself: membership, directory, population."""

    def broke(self, event: Any, error: BaseException) -> None:
        """Have it noted; the host goes on with its next event."""
        self.stage.host_broke(event, error)


class ColonyActor(Body):
    """One colony that this host has dealings with."""

    def __init__(self, dispatcher: Dispatcher, machine: Machine, stage: Stage, colony: int) -> None:
        super().__init__(dispatcher, machine, stage)
        self.colony = colony

    def broke(self, event: Any, error: BaseException) -> None:
        """Have the peer given up: half-changed cells are worth nothing."""
        self.stage.colony_broke(self.colony, event, error)
