"""Batches: many calls of one kind, sent without an object for each.

While all goes well a call is one tuple here, and its answer goes straight to
the caller. Whatever differs (MOVED, a refusal, silence, a broken connection)
becomes a call of the exchange, which knows how to go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from agents.client_link import Link
from agents.messages.client import MOVED, Reply
from agents.wire import encode
from colony.calls import PATIENCE_S, Call, Finish, GiveUp
from colony.drafts import Draft
from colony.exchange import Exchange
from colony.lanes import Lane

FRAME_CALLS = 128  # so that hosts have something to do while the rest is made ready
FRAME_BYTES_MAX = 256 * 1024
WINDOW_CALLS_MAX = 1024  # what a host lets wait per connection
WINDOW_BYTES_MAX = 8 * 1024 * 1024

_now = time.monotonic
Then = Callable[[int, Finish | GiveUp], None]
Open = tuple[int, Draft, Lane | None, str, int]  # place, draft, lane, address, bytes about


class Batch:
    """The calls of one call for many keys; belongs to one wire, for as long as that call lasts.

    Args:
        exchange: Where calls go that need more than one answer.
        by_address: The wire's open links.
        deadline_s: When every call ends at the latest.
        mutating: Each call needs a lane.
        then: `then(place, result)` is called once for each.
    """

    def __init__(
        self, exchange: Exchange, by_address: dict[str, Link], deadline_s: float, mutating: bool, then: Then
    ) -> None:
        self._exchange = exchange
        self._by_address = by_address
        self._deadline_s = deadline_s
        self._mutating = mutating
        self._then = then
        self._open: dict[int, Open] = {}
        self._slow: dict[Call, tuple[int, int]] = {}
        self._frames: dict[str, list[Any]] = {}
        self._bytes: dict[str, int] = {}
        self._waiting_bytes = 0
        self._progress_s = _now()

    @property
    def is_over(self) -> bool:
        """Whether every call has its result."""
        return not self._open and not self._slow

    @property
    def is_full(self) -> bool:
        """Whether no more may be added before something is answered."""
        calls = len(self._open) + len(self._slow)
        return calls >= WINDOW_CALLS_MAX or self._waiting_bytes >= WINDOW_BYTES_MAX

    def add(self, place: int, draft: Draft) -> None:
        """Begin a call; it leaves with others of its host, at the latest with `flush`."""
        kind, key, rest = draft
        exchange = self._exchange
        directory = exchange.directory
        address = directory.primaries[directory.colony_of(key)]
        size = 128 + len(rest[0]) if rest and type(rest[0]) is bytes else 128
        self._waiting_bytes += size
        lane = exchange.lanes.take() if self._mutating else None
        link = self._by_address.get(address)
        if link is None or link.is_lost:
            self._begin_slowly(place, draft, lane, size)
            return
        attempt = exchange.next_id
        exchange.next_id = attempt + 1
        if lane is None:
            request = kind(attempt, key, *rest)
        else:
            request = kind(attempt, lane.name, lane.number, key, *rest)
        self._open[attempt] = (place, draft, lane, address, size)
        frame = self._frames.get(address)
        if frame is None:
            self._frames[address] = [request]
            self._bytes[address] = size
            return
        frame.append(request)
        self._bytes[address] += size
        if len(frame) >= FRAME_CALLS or self._bytes[address] >= FRAME_BYTES_MAX:
            self._send(address)

    def flush(self) -> None:
        """Send what is still to be sent."""
        for address in list(self._frames):
            self._send(address)

    def _send(self, address: str) -> None:
        requests = self._frames.pop(address)
        link = self._by_address.get(address)
        if link is None or not link.send(encode(requests)):
            self._unsent([request.id for request in requests])

    # -- what comes back -------------------------------------------------------------

    def replied(self, replies: list[Reply], now_s: float) -> None:
        """A frame of replies came."""
        self._progress_s = now_s
        opened, lanes, then = self._open, self._exchange.lanes, self._then
        others: list[Reply] = []
        for reply in replies:
            if reply.code >= MOVED or reply.id not in opened:
                others.append(reply)
                continue
            place, _, lane, _, size = opened.pop(reply.id)
            self._waiting_bytes -= size
            if lane is not None:
                lanes.give(lane)
            then(place, Finish(reply))
        if others:
            self._hand_over([reply.id for reply in others], now_s)
            self._exchange.replied(others, now_s)

    def lost(self, address: str, now_s: float) -> None:
        """A connection broke; to be called before the exchange is told."""
        self._unsent([request.id for request in self._frames.pop(address, ())])
        self._hand_over([number for number, call in self._open.items() if call[3] == address], now_s)

    def passed(self, now_s: float) -> None:
        """Time has passed: who is silent is left to the exchange."""
        if self._open and (now_s - self._progress_s >= PATIENCE_S or now_s >= self._deadline_s):
            self.hand_over_all(now_s)

    def hand_over_all(self, now_s: float) -> None:
        """Leave every call to the exchange."""
        self.flush()
        self._hand_over(list(self._open), now_s)

    # -- calls that need more ----------------------------------------------------------

    def _hand_over(self, attempts: list[int], now_s: float) -> None:
        for attempt in attempts:
            opened = self._open.pop(attempt, None)
            if opened is not None:
                place, draft, lane, address, size = opened
                call = self._slow_call(place, draft, lane, size)
                call.done = self._ended
                self._exchange.adopt(call, attempt, address, now_s)

    def _unsent(self, attempts: list[int]) -> None:
        for attempt in attempts:
            opened = self._open.pop(attempt, None)
            if opened is not None:
                place, draft, lane, _, size = opened
                self._begin_slowly(place, draft, lane, size)

    def _begin_slowly(self, place: int, draft: Draft, lane: Lane | None, size: int) -> None:
        self._exchange.begin(self._slow_call(place, draft, lane, size), _now(), self._ended)

    def _slow_call(self, place: int, draft: Draft, lane: Lane | None, size: int) -> Call:
        kind, key, rest = draft
        exchange = self._exchange
        colony = exchange.directory.colony_of(key)
        call = exchange.draft(kind, key, rest, colony, self._deadline_s, lane)
        self._slow[call] = place, size
        return call

    def _ended(self, call: Call) -> None:
        place, size = self._slow.pop(call)
        self._waiting_bytes -= size
        assert call.result is not None, "only ended calls are told of"
        self._then(place, call.result)
