"""The actors of a host, and what becomes of one that breaks."""

from __future__ import annotations

from typing import Any

import pykka

from agents.bodies import HostActor
from agents.effects import PeerFailed, Requested
from agents.messages.client import BAD, OK, Get, Greet
from tests.agents.serving import Echo, ask, serving, until


def broken(event: Any, now_s: float) -> list[Any]:
    """A machine that raises at requests."""
    if type(event) is Requested:
        raise RuntimeError("a bug")
    return []


def test_a_broken_colony_is_given_up_and_its_host_told() -> None:
    with serving() as server:
        server.container.colony(1).script = broken
        reply = ask(server, Get(1, b"1"))
        assert reply.code == BAD  # not "try again": it would break the next primary too
        until(lambda: PeerFailed in server.container.kinds())
        assert server.notes.counts["colony_broke"] == 1
        server.container.machines[1] = Echo()  # as the real container does
        assert ask(server, Get(2, b"1")).code == OK


def test_a_host_that_breaks_at_one_event_goes_on_with_the_next() -> None:
    with serving() as server:
        server.container.script = broken
        assert ask(server, Greet(1)).code == BAD
        server.container.script = lambda event, now_s: []
        assert ask(server, Greet(2)).code == OK
        assert server.notes.counts["host_broke"] == 1


def test_a_host_that_can_not_tick_any_more_halts() -> None:
    def dead(event: Any, now_s: float) -> list[Any]:
        raise RuntimeError("for ever")

    with serving() as server:
        server.container.script = dead
        until(lambda: server.halt)
        assert server.halt is not None and server.halt.status == 1


def test_actors_stopped_from_outside_end_the_host() -> None:
    with serving() as server:
        for ref in pykka.ActorRegistry.get_by_class(HostActor):
            ref.stop(timeout=5)
        until(lambda: server.halt)
