"""Wires: the connections and the calls of one thread.

The usual call is one send and one receive on the calling thread; whatever
differs from that (no answer in 10 ms, MOVED, a broken connection, many keys)
goes through the wire's exchange.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator

from agents.client_link import SLICE_S, Curve, Link, Links, link_to
from agents.messages.client import (
    CLIENT_PROTOCOL,
    CLIENT_PROTOCOL_OLDEST,
    MOVED,
    OK,
    WRONG_CLUSTER,
    Greet,
    Reply,
)
from agents.poller import Waker
from agents.wire import WireError, decode_replies, encode
from colony.batches import Batch
from colony.calls import Call, Finish, GiveUp
from colony.directory import Directory, ForeignCluster
from colony.drafts import Draft, outcome
from colony.exchange import Exchange
from colony.lanes import Lane, LaneSource

FRAME_REQUESTS_MAX = 256
FRAME_BYTES_MAX = 1024 * 1024  # a host's turn handles a frame as a whole: keep turns short

_now = time.monotonic
Attempts = list[tuple[int, Call]]


def frames_of(attempts: Attempts) -> Iterator[tuple[Attempts, bytes]]:
    """Yield attempts in frames that are neither too many nor too large."""
    batch: Attempts = []
    size = 0
    for attempt in attempts:
        more = attempt[1].bytes_about
        if batch and (len(batch) == FRAME_REQUESTS_MAX or size + more > FRAME_BYTES_MAX):
            yield batch, encode([call.request(number) for number, call in batch])
            batch, size = [], 0
        batch.append(attempt)
        size += more
    yield batch, encode([call.request(number) for number, call in batch])


class Wire:
    """The connections and calls of one thread; `busy` is held during a call."""

    def __init__(
        self, directory: Directory, source: LaneSource, curve: Curve | None, is_over: Callable[[], bool]
    ) -> None:
        self.busy = threading.Lock()
        self._curve = curve
        self._is_over = is_over
        self._directory = directory
        self._exchange = Exchange(directory, source)
        self._links = Links()
        self._by_address = self._links.by_address
        self._batch: Batch | None = None

    # -- calls -----------------------------------------------------------------

    def mutate(self, draft: Draft, timeout_s: float) -> Reply:
        """Return the reply to a mutation; raises as `outcome` does."""
        kind, key, rest = draft
        exchange, directory = self._exchange, self._directory
        if not directory.colonies:
            timeout_s = self.learn(timeout_s)
        colony = directory.colony_of(key)
        address = directory.primaries[colony]
        lanes = exchange.lanes
        lane = lanes.take()
        link = self._by_address.get(address)
        if link is None or link.is_stale:
            call = exchange.draft(kind, key, rest, colony, _now() + timeout_s, lane)
            return self._drive(call)
        attempt = exchange.next_id
        exchange.next_id = attempt + 1
        if link.send(encode((kind(attempt, lane.name, lane.number, key, *rest),))):
            replies = self._receive(link)
            if len(replies) == 1 and replies[0].id == attempt and replies[0].code < MOVED:
                lanes.give(lane)
                return replies[0]
            call = exchange.draft(kind, key, rest, colony, _now() + timeout_s, lane)
            return self._go_on(call, attempt, address, replies)
        call = exchange.draft(kind, key, rest, colony, _now() + timeout_s, lane)
        return self._drive(call)

    def resume(self, draft: Draft, lane: Lane, timeout_s: float) -> Reply:
        """Return the reply to a mutation that was sent before, some other way."""
        kind, key, rest = draft
        colony = self._directory.colony_of(key)
        call = self._exchange.draft(kind, key, rest, colony, _now() + timeout_s, lane)
        call.in_doubt = True
        return self._drive(call)

    def read(self, draft: Draft, colony: int, timeout_s: float) -> Reply:
        """Return the reply to a read of one colony."""
        kind, key, rest = draft
        exchange = self._exchange
        address = self._directory.primary_of(colony)
        link = self._by_address.get(address)
        if link is not None and not link.is_stale:
            attempt = exchange.next_id
            exchange.next_id = attempt + 1
            if link.send(encode((kind(attempt, key, *rest),))):
                replies = self._receive(link)
                if len(replies) == 1 and replies[0].id == attempt and replies[0].code < MOVED:
                    return replies[0]
                call = exchange.draft(kind, key, rest, colony, _now() + timeout_s)
                return self._go_on(call, attempt, address, replies)
        return self._drive(exchange.draft(kind, key, rest, colony, _now() + timeout_s))

    def learn(self, timeout_s: float) -> float:
        """Fill the directory from whichever host answers; return the seconds left."""
        deadline_s = _now() + timeout_s
        self._drive(self._exchange.greeting(deadline_s))
        return max(SLICE_S, deadline_s - _now())

    def order(self, draft: Draft, timeout_s: float, *, once: bool) -> Reply:
        """Return the reply of some host; `once`: sent to one host only."""
        kind, key, rest = draft
        call = self._exchange.draft(kind, key, rest, -1, _now() + timeout_s)
        call.once = once
        return self._drive(call)

    def many(
        self,
        drafts: Iterable[Draft],
        timeout_s: float,
        *,
        mutating: bool,
        then: Callable[[int, Finish | GiveUp], None],
    ) -> None:
        """Run many calls, a window of them at a time; `then(place, result)` as they end."""
        now_s = _now()
        self._weed()
        self._exchange.keep_fresh(now_s)
        batch = self._batch = Batch(self._exchange, self._by_address, now_s + timeout_s, mutating, then)
        try:
            for place, draft in enumerate(drafts):
                batch.add(place, draft)
                while batch.is_full:
                    batch.flush()
                    self.turn(SLICE_S)
            batch.flush()
            while not batch.is_over:
                self.turn(SLICE_S)
        finally:
            self._batch = None

    # -- for a pump ------------------------------------------------------------

    def bell(self) -> Waker:
        """Return what ends `turn` early, from any thread."""
        return self._links.bell()

    def begin(
        self,
        draft: Draft,
        colony: int,
        deadline_s: float,
        now_s: float,
        done: Callable[[Call], None],
        mutating: bool,
    ) -> None:
        """Begin a call; `done(call)` is called in some later turn."""
        kind, key, rest = draft
        exchange = self._exchange
        lane = exchange.lanes.take() if mutating else None
        exchange.begin(exchange.draft(kind, key, rest, colony, deadline_s, lane), now_s, done)

    @property
    def calls_under_way(self) -> int:
        """How many calls have no result yet."""
        return len(self._exchange.calls)

    @property
    def is_busy(self) -> bool:
        """Whether a call has no result yet."""
        return bool(self._exchange.calls)

    def end(self, reason: str) -> None:
        """End all calls and close all connections; the wire's own thread only."""
        self._exchange.drop_all(reason)
        self._links.close()

    # -- turns -----------------------------------------------------------------

    def _receive(self, link: Link) -> list[Reply]:
        frame = link.receive()
        try:
            return decode_replies(frame) if frame is not None else []
        except WireError:
            self._links.drop(link)
            return []

    def _go_on(self, call: Call, attempt: int, address: str, replies: list[Reply]) -> Reply:
        now_s = _now()
        self._exchange.adopt(call, attempt, address, now_s)
        if replies:
            self._exchange.replied(replies, now_s)
        elif address not in self._by_address:
            self._exchange.lost(address, now_s)
        return self._finish(call)

    def _drive(self, call: Call) -> Reply:
        self._weed()
        self._exchange.begin(call, _now())
        return self._finish(call)

    def _finish(self, call: Call) -> Reply:
        while call.result is None:
            self.turn(SLICE_S)
        return outcome(call.result)

    def turn(self, timeout_s: float) -> None:
        """Send what is to be sent, and take what came; sleep for at most `timeout_s`."""
        exchange, batch = self._exchange, self._batch
        if self._is_over():
            if batch is not None:
                batch.hand_over_all(_now())
            exchange.drop_all("the store was closed")
            return
        self._flush()
        left_s = min(exchange.wake_s - _now(), timeout_s)
        if left_s > 0:
            self._links.wait(left_s)
        self._collect()
        if batch is not None:
            batch.passed(_now())
        exchange.passed(_now())

    def _flush(self) -> None:
        exchange = self._exchange
        for address, attempts in exchange.take_outbox().items():
            link, reason = self._link(address, attempts[0][1].deadline_s)
            if link is None:
                exchange.unsent(attempts, reason, _now())
                continue
            for batch, frame in frames_of(attempts):
                if not link.send(frame):
                    exchange.unsent(batch, "the connection broke", _now())

    def _collect(self) -> None:
        exchange = self._exchange
        take = exchange.replied if self._batch is None else self._batch.replied
        for link in list(self._by_address.values()):
            is_lost = link.is_lost
            try:
                for frame in link.take_all():
                    take(decode_replies(frame), _now())
            except WireError:
                is_lost = True
            if is_lost:
                self._lose(link)
            elif exchange.calls or self._batch is not None:
                link.look_after(_now())

    def _lose(self, link: Link) -> None:
        self._links.drop(link)
        if self._batch is not None:
            self._batch.lost(link.address, _now())
        self._exchange.lost(link.address, _now())

    def _weed(self) -> None:
        """Drop what broke while this thread did not call; only if nothing is under way."""
        for link in list(self._by_address.values()):
            if link.is_found_broken():
                self._lose(link)

    def _link(self, address: str, deadline_s: float) -> tuple[Link | None, str]:
        link = self._by_address.get(address)
        if link is not None:
            return link, ""
        directory, began_s = self._directory, _now()
        # Half of what is left: another host may answer in the other half.
        timeout_s = max(0.0, min(directory.connect_s(address), (deadline_s - began_s) / 2))
        link, reason = opened(address, directory, self._curve, timeout_s)
        if link is not None:
            directory.found_open(address)
            self._links.add(link)
        elif _now() - began_s >= timeout_s:  # else it is refused, and another attempt costs nothing
            directory.found_silent(address, _now())
        return link, reason

    def close(self) -> None:
        """Close all connections; the thread may go on with new ones."""
        self._links.close()


def opened(
    address: str,
    directory: Directory,
    curve: Curve | None,
    timeout_s: float,
    make: Callable[[str, Curve | None], Link] = link_to,
) -> tuple[Link | None, str]:
    """Return a link to a host of the right cluster, or None and the reason."""
    end_s = _now() + timeout_s
    try:
        link = make(address, curve)
    except OSError as error:
        return None, str(error)
    reason = link.open(timeout_s)
    if not reason:
        reason = "it does not greet"
        link.send(encode((Greet(0, CLIENT_PROTOCOL, directory.tag, CLIENT_PROTOCOL_OLDEST),)))
        while _now() < end_s and not link.is_lost:
            frame = link.receive()
            if frame is not None:
                reason = judged(frame, directory)
                break
    if reason:
        link.close()
        return None, reason
    return link, ""


def judged(frame: bytes, directory: Directory) -> str:
    """Take in a host's greeting; return "" or why it must not be talked to."""
    try:
        reply = decode_replies(frame)[0]
        if reply.code == OK:
            directory.greeted(reply.value)  # a zombie has nothing to tell, but takes orders
            return ""
    except (WireError, IndexError):
        return "its greeting can't be read"
    except ForeignCluster as error:
        return str(error)
    return (reply.text or "another cluster") if reply.code == WRONG_CLUSTER else ""
