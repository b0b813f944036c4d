"""Versions of the protocols: which one a link speaks, what older and newer ends make of each other."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agents import wire
from agents.effects import Answer, LinkRefused, Requested
from agents.links import State
from agents.messages import client
from agents.messages.client import BAD, OK, Greet
from agents.messages.membership import Heartbeat, Install
from agents.messages.replication import Ack
from agents.views import Charter, Member, View
from agents.wire import Goodbye, Hello, Versions, decode_greeting, decode_link_frame, encode, spoken
from tests.agents.house import House
from tests.agents.pipe_world import World, member, view_of

A, B = member("a"), member("b")


@pytest.mark.parametrize(
    ("ours", "theirs", "common"),
    [
        ((1, 1), (1, 1), 1),
        ((1, 1), (1, 2), 1),
        ((1, 2), (1, 2), 2),
        ((1, 2), (2, 3), 2),
        ((1, 1), (2, 3), 0),
        ((1, 2), (3, 4), 0),
        ((1, 2), (0, 0), 0),
        ((2, 3), (3, 1), 0),
    ],
)
def test_two_ends_speak_the_highest_version_that_both_know(
    ours: tuple[int, int], theirs: tuple[int, int], common: int
) -> None:
    assert Versions(*ours).common(Versions(*theirs)) == common
    assert Versions(*theirs).common(Versions(*ours)) == common


def world_of(a: Versions, b: Versions) -> World:
    """Return two hosts that have dialled each other."""
    world = World(A, B, versions={"a": a, "b": b})
    world.dial("a", "b")
    world.dial("b", "a")
    world.run()
    return world


@pytest.mark.parametrize("newest", [1, 2])
def test_a_link_speaks_one_version_and_both_ends_know_which(newest: int) -> None:
    world = world_of(Versions(1, 2), Versions(1, newest))
    assert world.end("a").links.version(B.id) == world.end("b").links.version(A.id) == newest


def test_a_link_two_versions_apart_is_refused_and_said_once_at_each_end() -> None:
    world = world_of(Versions(1, 1), Versions(2, 3))
    world.run(8.0)
    a, b = world.end("a"), world.end("b")
    assert not a.ups and not b.ups
    said = [[note.reason for note in end.notes] for end in (a, b)]
    assert said[0] in (
        ["it speaks protocol 2 to 3, this host 1"],
        ["this host speaks protocol 2 to 3, not 1"],
    )
    assert said[1] in (
        ["it speaks protocol 1, this host 2 to 3"],
        ["this host speaks protocol 1, not 2 to 3"],
    )
    assert {refused.why for end in (a, b) for refused in end.refused} == {"version"}
    assert len(world.pipes) < 40, "refusals are rare"


def test_who_only_called_learns_why_it_was_refused() -> None:
    world = World(A, B, versions={"a": Versions(3, 4)})
    world.dial("a", "b")
    world.run(3.0)
    assert world.end("a").refused[0] == LinkRefused(B, "this host speaks protocol 1, not 3 to 4", "version")
    assert world.end("a").links.states[B.id] is not State.UP


# -- what grows ------------------------------------------------------------------


class LaterHeartbeat(Heartbeat, frozen=True, array_like=True, tag=10):
    """A heartbeat with one more field."""

    mood: str = "calm"


class LaterHello(Hello, frozen=True, array_like=True, tag=1):
    """A Hello with one more field."""

    mood: str = "calm"


class LaterMember(Member, frozen=True, array_like=True):
    """A member with one more field."""

    mood: str = "calm"


class Novelty(msgspec.Struct, frozen=True, array_like=True, tag=99):
    """A kind of message that version 1 doesn't know."""


def test_an_older_end_leaves_out_fields_that_it_does_not_know() -> None:
    later = LaterHeartbeat(1, 2.0, b"x", mood="wild")
    frame = wire.Frame(1, 2, 3, 0, (later,))
    assert decode_link_frame(encode(frame)) == wire.Frame(1, 2, 3, 0, (Heartbeat(1, 2.0, b"x"),))
    hello = LaterHello(2, 1, "9", "", 0, "", A, 5, 0, mood="wild")
    assert decode_link_frame(encode(hello)) == Hello(2, 1, "9", "", 0, "", A, 5, 0)


def test_so_it_does_inside_of_others() -> None:
    plain = View("f" * 32, 1, Charter(), (A,))
    fields = {field: getattr(A, field) for field in A.__struct_fields__}
    grown = View("f" * 32, 1, Charter(), (LaterMember(**fields, mood="wild"),))
    frame = encode(wire.Frame(1, 2, 3, 0, (Install(grown),)))
    assert decode_link_frame(frame) == wire.Frame(1, 2, 3, 0, (Install(plain),))


def test_a_newer_end_takes_the_default_for_what_an_older_one_leaves_out() -> None:
    old = encode(Heartbeat(1, 2.0, b"x"))
    assert msgspec.msgpack.decode(old, type=LaterHeartbeat) == LaterHeartbeat(1, 2.0, b"x", mood="calm")


def test_every_field_but_the_first_ones_of_version_1_has_a_default() -> None:
    """Fields that were added later; who adds one without a default breaks older senders."""
    for kind, required in ((Member, 5), (Heartbeat, 3), (Goodbye, 1), (Hello, 9), (client.Greet, 1)):
        fields = msgspec.structs.fields(kind)
        assert [f.required for f in fields] == [True] * required + [False] * (len(fields) - required), kind


def test_new_kinds_leave_only_through_links_that_speak_their_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(wire.SINCE, Novelty, 2)
    beat: Any = Heartbeat(1, 0.0, b"")
    assert spoken([beat, Novelty()], 1) == [beat]  # type: ignore[list-item]
    assert spoken([beat, Novelty()], 2) == [beat, Novelty()]  # type: ignore[list-item]
    for newest in (1, 2):
        world = world_of(Versions(1, 2), Versions(1, newest))
        for letter in "ab":
            world.install(letter, view_of(1, A, B))
        world.send("a", "b", Ack(0, 1, 1), Novelty(), Ack(0, 1, 2))
        world.run()
        kinds = [type(message) for _, message in world.end("b").got]
        assert kinds == ([Ack, Ack] if newest == 1 else [Ack, Novelty, Ack])
        assert world.end("a").links.dropped == (newest == 1)


def test_all_kinds_of_the_first_version_are_known_to_be_of_it() -> None:
    ours = [since for kind, since in wire.SINCE.items() if kind.__module__.startswith("agents.")]
    assert all(1 < since <= wire.PROTOCOL for since in ours)
    assert min(1, wire.PROTOCOL - 1) == wire.PROTOCOL - wire.PROTOCOL_OLDEST, "neighbours, and no more"


# -- clients -----------------------------------------------------------------------


def greeted(request: Greet) -> Any:
    """Return a zombie's answer to first words."""
    host = House("a").hosts["a"]
    (answer,) = host.handle(Requested("caller", request), 0.0)
    assert isinstance(answer, Answer)
    return answer.reply


@pytest.mark.parametrize(
    ("protocol", "oldest", "answer"), [(1, 0, 1), (1, 1, 1), (2, 1, 1), (0, 0, 0), (2, 2, None), (3, 2, None)]
)
def test_clients_one_version_apart_are_understood(protocol: int, oldest: int, answer: int | None) -> None:
    reply = greeted(Greet(7, protocol, "", oldest))
    if answer is None:
        theirs = str(Versions(oldest, protocol))
        assert (reply.code, reply.text) == (BAD, f"this host speaks client protocol 1, not {theirs}")
    else:
        assert reply.code == OK and decode_greeting(reply.value).protocol == answer
