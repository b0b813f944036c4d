"""Batches: many calls, each answered once, whatever the hosts and links do."""

from __future__ import annotations

from typing import Any

from agents.keys import colony_of
from agents.messages.client import MOVED, OK, TOO_LARGE, UNAVAILABLE, Put, Reply
from agents.wire import decode_requests
from colony import batches
from colony.batches import Batch
from colony.calls import PATIENCE_S, Finish, GiveUp
from colony.directory import Directory
from colony.exchange import Exchange
from colony.lanes import LaneSource

A, B = "tcp://127.0.0.1:1", "tcp://127.0.0.1:2"


class FakeLink:
    """A connection that keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.is_lost = False
        self.takes = True

    def send(self, frame: bytes) -> bool:
        if self.takes:
            self.sent += decode_requests(frame)
        return self.takes


class World:
    """A batch, the links it has, and what it told its caller."""

    def __init__(self, timeout_s: float = 5.0) -> None:
        self.directory = Directory((A,))
        self.directory.colonies = 2
        self.directory.primaries = [A, B]
        self.exchange = Exchange(self.directory, LaneSource())
        self.links = {A: FakeLink(), B: FakeLink()}
        self.results: dict[int, Finish | GiveUp] = {}
        self.now_s = batches._now()
        by_address: Any = self.links
        self.batch = Batch(self.exchange, by_address, self.now_s + timeout_s, True, self.take)

    def take(self, place: int, result: Finish | GiveUp) -> None:
        assert place not in self.results, "a call ends once"
        self.results[place] = result

    def add(self, count: int, at: str = A) -> None:
        """Add calls for cells whose primary is at `at`."""
        keys = (f"k{number}".encode() for number in range(10_000))
        mine = (key for key in keys if self.directory.primaries[colony_of(key, 2)] == at)
        for place, key in zip(range(count), mine, strict=False):
            self.batch.add(place, (Put, key, (b"v", 0, 0)))

    def reply(self, at: str, code: int, text: str = "") -> None:
        """Answer all that was sent to a host."""
        sent, self.links[at].sent = self.links[at].sent, []
        self.batch.replied([Reply(request.id, code, 7, text=text) for request in sent], self.now_s)

    def asked_again(self) -> list[str]:
        """Whom the exchange asks next."""
        self.now_s += 1.0
        self.exchange.passed(self.now_s)
        return [address for address, attempts in self.exchange.take_outbox().items() for _ in attempts]


def test_answers_end_the_calls_and_free_their_lanes() -> None:
    world = World()
    world.add(3)
    assert not world.links[A].sent, "few calls wait for more of them"
    world.batch.flush()
    assert [request.number for request in world.links[A].sent] == [1, 1, 1]
    assert len({request.lane for request in world.links[A].sent}) == 3
    world.reply(A, OK)
    assert world.batch.is_over
    assert [world.results[place] for place in range(3)] == [Finish(Reply(n, OK, 7)) for n in (1, 2, 3)]
    assert world.exchange.lanes.take().number == 2, "a lane is used again"


def test_a_frame_leaves_when_it_is_long_enough() -> None:
    world = World()
    world.add(batches.FRAME_CALLS + 1)
    assert len(world.links[A].sent) == batches.FRAME_CALLS
    world.batch.flush()
    assert len(world.links[A].sent) == batches.FRAME_CALLS + 1


def test_a_window_of_calls_is_full_until_some_are_answered() -> None:
    world = World()
    world.add(batches.WINDOW_CALLS_MAX)
    assert world.batch.is_full
    world.batch.flush()
    world.reply(A, OK)
    assert not world.batch.is_full


def test_a_moved_cell_is_asked_for_at_its_new_primary() -> None:
    world = World()
    world.add(1)
    world.batch.flush()
    world.reply(A, MOVED, B)
    assert not world.batch.is_over
    assert list(world.exchange.take_outbox()) == [B]


def test_an_unavailable_colony_is_asked_for_again_later() -> None:
    world = World()
    world.add(1)
    world.batch.flush()
    world.reply(A, UNAVAILABLE, "no quorum")
    assert world.results == {}
    assert len(world.asked_again()) == 1


def test_a_refusal_ends_its_call_alone() -> None:
    world = World()
    world.add(2)
    world.batch.flush()
    first, second = world.links[A].sent
    world.batch.replied([Reply(first.id, TOO_LARGE), Reply(second.id, OK)], world.now_s)
    assert [
        result.reply.code for _, result in sorted(world.results.items()) if isinstance(result, Finish)
    ] == [
        TOO_LARGE,
        OK,
    ]


def test_calls_on_a_broken_connection_are_in_doubt_and_asked_again_on_the_same_lane() -> None:
    world = World()
    world.add(2)
    world.batch.flush()
    lanes = {request.lane for request in world.links[A].sent}
    world.batch.lost(A, world.now_s)
    world.exchange.lost(A, world.now_s)
    calls = list(world.exchange.calls)[:2]
    assert {call.lane.name for call in calls if call.lane} == lanes
    assert all(call.in_doubt for call in calls)
    assert world.batch.is_over is False
    assert len(world.asked_again()) >= 2


def test_calls_that_were_not_sent_yet_are_not_in_doubt() -> None:
    world = World()
    world.add(2)
    world.batch.lost(A, world.now_s)
    assert not any(call.in_doubt for call in world.exchange.calls)


def test_a_link_that_refuses_a_frame_leaves_its_calls_to_the_exchange() -> None:
    world = World()
    world.links[A].takes = False
    world.add(2)
    world.batch.flush()
    assert len(world.exchange.take_outbox()[A]) == 2
    assert not any(call.in_doubt for call in world.exchange.calls)


def test_a_host_without_a_link_is_left_to_the_exchange() -> None:
    world = World()
    del world.links[B]
    world.add(2, at=B)
    assert len(world.exchange.take_outbox()[B]) == 2


def test_a_silent_host_is_not_waited_for_longer_than_patience_allows() -> None:
    world = World()
    world.add(1)
    world.batch.flush()
    world.batch.passed(world.now_s + PATIENCE_S / 2)
    assert not world.exchange.calls
    world.batch.passed(batches._now() + PATIENCE_S)
    assert len(world.exchange.calls) == 1
    world.reply(A, OK)  # late, but it is the answer
    assert isinstance(world.results[0], Finish)


def test_a_call_that_nobody_answers_ends_as_unknown_at_its_deadline() -> None:
    world = World(timeout_s=0.1)
    world.add(1)
    world.batch.flush()
    late_s = world.now_s + 0.2
    world.batch.passed(late_s)
    world.exchange.passed(late_s)
    result = world.results[0]
    assert isinstance(result, GiveUp)
    assert result.is_unknown
