"""The asyncio thin client: one connection per host for all tasks of a loop.

The loop itself reads what comes. ZeroMQ's descriptors (of encrypted links)
tell of edges only: those links are emptied after each send too.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from math import inf

from agents import client_link
from agents.client_link import Curve, Link, link_to
from agents.messages.client import CLIENT_PROTOCOL, CLIENT_PROTOCOL_OLDEST, Greet, Reply
from agents.wire import WireError, decode_replies, encode
from colony.batches import WINDOW_BYTES_MAX, WINDOW_CALLS_MAX
from colony.calls import Call, Finish, GiveUp
from colony.directory import Directory
from colony.drafts import Draft, outcome
from colony.errors import Closed, OutcomeUnknown, Unavailable
from colony.exchange import Exchange
from colony.lanes import Lane, LaneSource
from colony.watch import Event, Watch
from colony.wires import Attempts, frames_of, judged

_now = time.monotonic


class AioClient:
    """Carries the calls of all tasks of one loop."""

    def __init__(self, seeds: tuple[str, ...], *, tag: str = "", curve: Curve | None = None) -> None:
        self.directory = Directory(seeds, tag)
        self._curve = curve
        self._exchange = Exchange(self.directory, LaneSource())
        self._links: dict[str, Link] = {}
        self._opening: dict[str, Attempts] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._forks = client_link.forks
        self._is_flushing = False
        self._timer: asyncio.TimerHandle | None = None
        self._armed_s = inf
        self.is_closed = False

    # -- calls -----------------------------------------------------------------

    async def mutate(self, draft: Draft, timeout_s: float) -> Reply:
        """Return the reply to a mutation; raises `ColonyError`."""
        if not self.directory.colonies:
            await self.learn(timeout_s)
        kind, key, rest = draft
        self._check()
        lane = self._exchange.lanes.take()
        colony = self.directory.colony_of(key)
        call = self._exchange.draft(kind, key, rest, colony, _now() + timeout_s, lane)
        return await self._run(call)

    async def resume(self, draft: Draft, lane: Lane, timeout_s: float) -> Reply:
        """Return the reply to a mutation that was sent before, some other way; raises `ColonyError`."""
        kind, key, rest = draft
        try:
            await self.learn(timeout_s)
            colony = self.directory.colony_of(key)
            call = self._exchange.draft(kind, key, rest, colony, _now() + timeout_s, lane)
            call.in_doubt = True
            return await self._run(call)
        except Unavailable as error:
            raise OutcomeUnknown(str(error)) from None

    async def read(self, draft: Draft, timeout_s: float, colony: int | None = None) -> Reply:
        """Return the reply to a read, of `colony` or else of the key's."""
        if not self.directory.colonies:
            await self.learn(timeout_s)
        kind, key, rest = draft
        if colony is None:
            colony = self.directory.colony_of(key)
        return await self._run(self._exchange.draft(kind, key, rest, colony, _now() + timeout_s))

    async def order(self, draft: Draft, timeout_s: float, *, once: bool) -> Reply:
        """Return some host's reply to an operator's command."""
        kind, key, rest = draft
        call = self._exchange.draft(kind, key, rest, -1, _now() + timeout_s)
        call.once = once
        return await self._run(call)

    async def many(
        self,
        drafts: list[Draft],
        timeout_s: float,
        *,
        mutating: bool,
        then: Callable[[int, Finish | GiveUp], None],
    ) -> None:
        """Run many calls of one kind, a window of them at a time."""
        await self.learn(timeout_s)
        window = _Window(then)
        exchange = self._exchange
        for place, (kind, key, rest) in enumerate(drafts):
            self._check()
            lane = exchange.lanes.take() if mutating else None
            colony = self.directory.colony_of(key)
            call = exchange.draft(kind, key, rest, colony, _now() + timeout_s, lane)
            window.add(place, call)
            exchange.begin(call, _now(), window.done)
            self._stir()
            while window.is_full:
                await window.room()
        while window.places:
            await window.room()

    async def learn(self, timeout_s: float) -> Directory:
        """Return the directory, filled; asks only if it is not."""
        if not self.directory.colonies:
            await self._run(self._exchange.greeting(_now() + timeout_s))
        return self.directory

    async def changes(self, prefix: bytes) -> AsyncIterator[Event]:
        """Yield changes; the watch has connections of its own, in a worker thread."""
        loop = asyncio.get_running_loop()
        watch = await loop.run_in_executor(
            None, lambda: Watch(self.directory, self._curve, prefix, lambda: self.is_closed)
        )
        try:
            while (event := await loop.run_in_executor(None, next, watch, None)) is not None:
                yield event
        finally:
            watch.close()

    def _check(self) -> asyncio.AbstractEventLoop:
        if self.is_closed:
            raise Closed("the store is closed")
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop, self._forks = loop, client_link.forks
        if self._forks != client_link.forks:
            raise Closed("an asyncio store does not survive a fork; connect again in the child")
        if self._loop is not loop:
            raise Closed("this store belongs to another event loop; connect again in this one")
        return loop

    async def _run(self, call: Call) -> Reply:
        answer: asyncio.Future[None] = self._check().create_future()

        def done(call: Call) -> None:
            if not answer.done():  # a cancelled task does not wait any more
                answer.set_result(None)

        self._exchange.begin(call, _now(), done)
        self._stir()
        await answer
        assert call.result is not None, "only ended calls are done"
        return outcome(call.result)

    # -- the loop's side -------------------------------------------------------

    def _stir(self) -> None:
        """See to it that the outbox is emptied when this turn of the loop is over."""
        if not self._is_flushing and self._loop is not None:
            self._is_flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flushing = False
        if self.is_closed:
            return
        for address, attempts in self._exchange.take_outbox().items():
            link = self._links.get(address)
            if link is not None:
                self._send(link, attempts)
            elif address in self._opening:
                self._opening[address] += attempts
            else:
                self._open(address, attempts)
        self._arm()

    def _send(self, link: Link, attempts: Attempts) -> None:
        for batch, frame in frames_of(attempts):
            if not link.send(frame):
                self._exchange.unsent(batch, "the connection broke", _now())
        if link.tells_edges:
            self._collect(link)

    def _collect(self, link: Link) -> None:
        """Take all that came; the loop calls this, and so does each send."""
        if self._links.get(link.address) is not link:
            return
        is_lost = link.is_lost
        try:
            for frame in link.take_all():
                self._exchange.replied(decode_replies(frame), _now())
        except WireError:
            is_lost = True
        if is_lost:
            del self._links[link.address]
            link.close(self._loop)
            self._exchange.lost(link.address, _now())
        if self._exchange.outbox:
            self._stir()
        else:
            self._arm()

    def _arm(self) -> None:
        """Have `_tick` called when a call may want something."""
        wake_s = self._exchange.wake_s
        if wake_s >= self._armed_s - 0.0005 or self._loop is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed_s = wake_s
        self._timer = self._loop.call_later(max(0.0, wake_s - _now()), self._tick)

    def _tick(self) -> None:
        self._timer, self._armed_s = None, inf
        now_s = _now()
        self._exchange.passed(now_s)
        for link in list(self._links.values()):
            link.look_after(now_s)
            if link.is_lost:
                self._collect(link)
        if self._exchange.outbox:
            self._stir()
        else:
            self._arm()

    def _open(self, address: str, attempts: Attempts) -> None:
        assert self._loop is not None, "only a call of a loop opens links"
        self._opening[address] = attempts
        task = self._loop.create_task(self._open_soon(address))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open_soon(self, address: str) -> None:
        link, reason = None, "the attempt to connect was given up"
        try:
            link, reason = await self._opened(address)
        finally:
            attempts = self._opening.pop(address, [])
            if link is None or self.is_closed:
                self._exchange.unsent(attempts, reason, _now())
            else:
                self._links[address] = link
                link.follow(asyncio.get_running_loop(), lambda: self._collect(link))
                self._send(link, attempts)
            self._arm()

    async def _opened(self, address: str) -> tuple[Link | None, str]:
        try:
            link = link_to(address, self._curve)
        except OSError as error:
            return None, str(error)
        directory, began_s = self.directory, _now()
        patience_s = directory.connect_s(address)
        reason = "the attempt to connect was given up"
        try:
            reason = await link.open_soon(patience_s)
            if not reason:
                greet = Greet(0, CLIENT_PROTOCOL, self.directory.tag, CLIENT_PROTOCOL_OLDEST)
                link.send(encode((greet,)))
                frame = await link.take_soon(patience_s)
                reason = judged(frame, directory) if frame is not None else "it does not greet"
            if not reason:
                directory.found_open(address)
            elif _now() - began_s >= patience_s:
                directory.found_silent(address, _now())
        finally:
            if reason:
                link.close()
        return (None, reason) if reason else (link, "")

    def close(self) -> None:
        """Close all connections; calls under way end with an error."""
        if self.is_closed:
            return
        self.is_closed = True
        if self._forks != client_link.forks:
            return
        for task in self._tasks:
            task.cancel()
        if self._timer is not None:
            self._timer.cancel()
        for link in self._links.values():
            link.close(self._loop)
        self._links.clear()
        self._exchange.drop_all("the store was closed")


class _Window:
    """The calls of one `many` that are under way."""

    def __init__(self, then: Callable[[int, Finish | GiveUp], None]) -> None:
        self.places: dict[Call, int] = {}
        self._bytes = 0
        self._then = then
        self._waiters: deque[asyncio.Future[None]] = deque()

    def add(self, place: int, call: Call) -> None:
        self.places[call] = place
        self._bytes += call.bytes_about

    def done(self, call: Call) -> None:
        assert call.result is not None, "only ended calls are done"
        self._bytes -= call.bytes_about
        self._then(self.places.pop(call), call.result)
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)

    @property
    def is_full(self) -> bool:
        return len(self.places) >= WINDOW_CALLS_MAX or self._bytes >= WINDOW_BYTES_MAX

    async def room(self) -> None:
        """Wait until some call has ended."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter
