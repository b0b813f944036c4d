"""The blocking thin client: one connection per thread and host.

The usual call is one send and one receive on the calling thread; whatever
differs from that (no answer in 10 ms, MOVED, a broken connection, many keys)
goes through the thread's exchange. A store survives a fork: the child starts
with connections and lanes of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from weakref import WeakSet

from agents import client_link
from agents.client_link import SLICE_S, ClientLink, Curve, wait
from agents.keys import colony_of
from agents.messages.client import CLIENT_PROTOCOL, MOVED, OK, WRONG_CLUSTER, Greet, Reply
from agents.wire import WireError, decode_replies, encode
from colony.calls import Call, Finish, GiveUp
from colony.directory import Directory, ForeignCluster
from colony.drafts import Draft, outcome
from colony.errors import Closed, OutcomeUnknown, Unavailable
from colony.exchange import Exchange
from colony.lanes import Lane, LaneSource

CONNECT_S = 1.0  # a handful of round trips to the far side of the world
FRAME_REQUESTS_MAX = 256
FRAME_BYTES_MAX = 1024 * 1024  # a host's turn handles a frame as a whole: keep turns short
WINDOW_CALLS_MAX = 1024  # what a host lets wait per connection
WINDOW_BYTES_MAX = 8 * 1024 * 1024

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

    def __init__(self, client: Client) -> None:
        self.busy = threading.Lock()
        self.forks = client_link.forks
        self._client = client
        self._directory = client.directory
        self._exchange = Exchange(client.directory, client.source)
        self._links: dict[str, ClientLink] = {}

    # -- calls -----------------------------------------------------------------

    def mutate(self, draft: Draft, timeout_s: float) -> Reply:
        """Return the reply to a mutation; raises as `outcome` does."""
        kind, key, rest = draft
        exchange, directory = self._exchange, self._directory
        if not directory.colonies:
            timeout_s = self.learn(timeout_s)
        colony = colony_of(key, directory.colonies)
        address = directory.primaries[colony]
        lanes = exchange.lanes
        lane = lanes.take()
        link = self._links.get(address)
        if link is None:
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
        colony = colony_of(key, self._directory.colonies)
        call = self._exchange.draft(kind, key, rest, colony, _now() + timeout_s, lane)
        call.in_doubt = True
        return self._drive(call)

    def read(self, draft: Draft, colony: int, timeout_s: float) -> Reply:
        """Return the reply to a read of one colony."""
        kind, key, rest = draft
        exchange = self._exchange
        address = self._directory.primary_of(colony)
        link = self._links.get(address)
        if link is not None:
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
        exchange, directory = self._exchange, self._directory
        under_way = [0, 0]
        places: dict[Call, int] = {}

        def done(call: Call) -> None:
            under_way[0] -= 1
            under_way[1] -= call.bytes_about
            assert call.result is not None, "only ended calls are done"
            then(places.pop(call), call.result)

        now_s = _now()
        for place, (kind, key, rest) in enumerate(drafts):
            lane = exchange.lanes.take() if mutating else None
            colony = colony_of(key, directory.colonies)
            call = exchange.draft(kind, key, rest, colony, now_s + timeout_s, lane)
            places[call] = place
            under_way[0] += 1
            under_way[1] += call.bytes_about
            exchange.begin(call, now_s, done)
            while under_way[0] >= WINDOW_CALLS_MAX or under_way[1] >= WINDOW_BYTES_MAX:
                self._turn()
                now_s = _now()
        while under_way[0]:
            self._turn()

    # -- turns -----------------------------------------------------------------

    def _receive(self, link: ClientLink) -> list[Reply]:
        frame = link.receive()
        return decode_replies(frame) if frame is not None else []

    def _go_on(self, call: Call, attempt: int, address: str, replies: list[Reply]) -> Reply:
        now_s = _now()
        self._exchange.adopt(call, attempt, address, now_s)
        if replies:
            self._exchange.replied(replies, now_s)
        return self._finish(call)

    def _drive(self, call: Call) -> Reply:
        self._exchange.begin(call, _now())
        return self._finish(call)

    def _finish(self, call: Call) -> Reply:
        while call.result is None:
            self._turn()
        return outcome(call.result)

    def _turn(self) -> None:
        """Send what is to be sent, and take what came, for at most `SLICE_S`."""
        if self._client.is_closed:
            self._exchange.drop_all("the store was closed")
            return
        exchange = self._exchange
        self._flush()
        left_s = min(exchange.wake_s - _now(), SLICE_S)
        if left_s > 0:
            wait(self._links.values(), left_s)
        self._collect()
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
        for address, link in list(self._links.items()):
            is_lost = link.is_lost
            try:
                while (frame := link.take()) is not None:
                    exchange.replied(decode_replies(frame), _now())
            except WireError:
                is_lost = True
            if is_lost:
                self._links.pop(address).close()
                exchange.lost(address, _now())

    def _link(self, address: str, deadline_s: float) -> tuple[ClientLink | None, str]:
        link = self._links.get(address)
        if link is not None:
            return link, ""
        timeout_s = max(0.0, min(CONNECT_S, deadline_s - _now()))
        link, reason = opened(address, self._directory, self._client.curve, timeout_s)
        if link is not None:
            self._links[address] = link
        return link, reason

    def close(self) -> None:
        """Close all connections; the thread may go on with new ones."""
        for link in self._links.values():
            link.close()
        self._links.clear()


def opened(
    address: str, directory: Directory, curve: Curve | None, timeout_s: float
) -> tuple[ClientLink | None, str]:
    """Return a link to a host of the right cluster, or None and the reason."""
    end_s = _now() + timeout_s
    try:
        link = ClientLink(address, curve)
    except OSError as error:
        return None, str(error)
    reason = link.open(timeout_s)
    if not reason:
        reason = "it does not greet"
        link.send(encode((Greet(0, CLIENT_PROTOCOL, directory.tag),)))
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


class Client:
    """The blocking client that the threads of a process share.

    Args:
        seeds: Public addresses of some hosts.
        curve: Keys of encrypted connections; None = plain.
    """

    def __init__(self, seeds: tuple[str, ...], *, tag: str = "", curve: Curve | None = None) -> None:
        self.directory = Directory(seeds, tag)
        self.curve = curve
        self.is_closed = False
        self._reborn()

    def _reborn(self) -> None:
        self.source = LaneSource()
        self.forks = client_link.forks
        self._local = threading.local()
        self._lock = threading.Lock()
        self._wires: WeakSet[Wire] = WeakSet()

    def wire(self) -> Wire:
        """Return this thread's wire, its `busy` held; the caller releases it."""
        if self.is_closed:
            raise Closed("the store is closed")
        if self.forks != client_link.forks:
            self._reborn()  # we are a child: nothing of the parent's may be used here
        wire: Wire | None = getattr(self._local, "wire", None)
        if wire is None:
            wire = self._local.wire = self._new_wire()
        if not wire.busy.acquire(blocking=False):
            # A signal handler or a finalizer calls in the middle of this thread's call.
            wire = self._new_wire()
            wire.busy.acquire()
        return wire

    def _new_wire(self) -> Wire:
        wire = Wire(self)
        with self._lock:
            self._wires.add(wire)
        return wire

    # -- calls -----------------------------------------------------------------

    def mutate(self, draft: Draft, timeout_s: float) -> Reply:
        """Return the reply to a mutation; raises `ColonyError`."""
        wire = self.wire()
        try:
            return wire.mutate(draft, timeout_s)
        finally:
            wire.busy.release()

    def resume(self, draft: Draft, lane: Lane, timeout_s: float) -> Reply:
        """Return the reply to a mutation that was sent before, some other way; raises `ColonyError`."""
        wire = self.wire()
        try:
            if not self.directory.colonies:
                timeout_s = wire.learn(timeout_s)
            return wire.resume(draft, lane, timeout_s)
        except Unavailable as error:
            raise OutcomeUnknown(str(error)) from None
        finally:
            wire.busy.release()

    def read(self, draft: Draft, timeout_s: float, colony: int | None = None) -> Reply:
        """Return the reply to a read, of `colony` or else of the key's."""
        wire = self.wire()
        try:
            if not self.directory.colonies:
                timeout_s = wire.learn(timeout_s)
            if colony is None:
                colony = colony_of(draft[1], self.directory.colonies)
            return wire.read(draft, colony, timeout_s)
        finally:
            wire.busy.release()

    def order(self, draft: Draft, timeout_s: float, *, once: bool) -> Reply:
        """Return some host's reply to an operator's command."""
        wire = self.wire()
        try:
            return wire.order(draft, timeout_s, once=once)
        finally:
            wire.busy.release()

    def many(
        self,
        drafts: Iterable[Draft],
        timeout_s: float,
        *,
        mutating: bool,
        then: Callable[[int, Finish | GiveUp], None],
    ) -> None:
        """Run many calls of one kind; `then(place, result)` as they end."""
        self.learn(timeout_s)
        wire = self.wire()
        try:
            wire.many(drafts, timeout_s, mutating=mutating, then=then)
        finally:
            wire.busy.release()

    def learn(self, timeout_s: float) -> Directory:
        """Return the directory, filled; asks only if it is not."""
        if not self.directory.colonies:
            wire = self.wire()
            try:
                wire.learn(timeout_s)
            finally:
                wire.busy.release()
        return self.directory

    def close(self) -> None:
        """Close all connections; calls under way in other threads end with an error."""
        if self.is_closed:
            return
        self.is_closed = True
        if self.forks != client_link.forks:
            return
        with self._lock:
            wires = list(self._wires)
        for wire in wires:
            if wire.busy.acquire(timeout=10 * SLICE_S):  # its thread sees `is_closed` within a slice
                wire.close()
                wire.busy.release()


def seeds_in(addresses: str | Iterable[str]) -> tuple[str, ...]:
    """Return addresses given as one comma-separated string or as several.

    Raises:
        TypeError: They are no strings.
        ValueError: One is no `tcp://` or `ipc://` address, or there is none.
    """
    parts = addresses.split(",") if isinstance(addresses, str) else list(addresses)
    if not all(isinstance(part, str) for part in parts):
        raise TypeError("addresses are strings")
    seeds = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    if not seeds:
        raise ValueError("give the address of at least one host, such as tcp://127.0.0.1:7420")
    for seed in seeds:
        host, _, port = seed.removeprefix("tcp://").rpartition(":")
        if not seed.startswith("tcp://") or not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"{seed!r} is no address of a host, such as tcp://127.0.0.1:7420")
    return seeds
