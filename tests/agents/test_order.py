"""The order in which machines hear things, in the runtime and in the simulator."""

from __future__ import annotations

from typing import Any

from agents.effects import Note, Received, TellColony, TellHost, Ticked
from agents.links import DeliverMessages
from agents.messages.replication import Ack, WantLocations
from agents.order import Order

ASK = WantLocations(())
FRAME = (Ack(0, 1, 1), ASK, Ack(2, 1, 1))
CAME = [Received("b", message) for message in FRAME]
ALARM = Ticked()


class Heard:
    """Machines of which the host answers each message with two things to be told."""

    def __init__(self) -> None:
        self.heard: list[tuple[int | None, Any]] = []
        self.order = Order(self, lambda message: message.colony if isinstance(message, Ack) else None)

    def tell_colony(self, colony: int, event: Any) -> None:
        self.heard.append((colony, event))

    def tell_host(self, event: Any) -> None:
        self.heard.append((None, event))
        if isinstance(event, Received):
            self.order.said.extend([TellColony(5, ALARM), TellHost(ALARM)])

    def note(self, note: Note) -> None:
        raise AssertionError(note)


def test_of_messages_that_came_by_themselves_each_ones_consequences_come_first() -> None:
    machines = Heard()
    machines.order.deliver("b", FRAME)
    assert machines.heard == [(0, CAME[0]), (None, CAME[1]), (5, ALARM), (None, ALARM), (2, CAME[2])]


def test_messages_that_waited_keep_their_place_before_what_is_said_later() -> None:
    machines = Heard()
    machines.order.said.extend([TellHost(ALARM), DeliverMessages("b", FRAME), TellColony(7, ALARM)])
    machines.order.tell_all()
    assert machines.heard == [
        (None, ALARM),
        *((0, CAME[0]), (None, CAME[1]), (2, CAME[2])),
        (7, ALARM),
        *((5, ALARM), (None, ALARM)),
    ]


def test_nothing_is_told_to_the_mute() -> None:
    machines = Heard()
    machines.order.is_mute = True
    machines.order.said.append(TellHost(ALARM))
    machines.order.tell_all()
    assert machines.heard == []


def test_a_frames_other_messages_are_not_told_to_one_that_fell_mute() -> None:
    machines = Heard()
    machines.tell_host = lambda event: machines.order.__setattr__("is_mute", True)  # type: ignore[method-assign]
    machines.order.deliver("b", FRAME)
    assert machines.heard == [(0, CAME[0])]
