"""The calls of an asyncio store whose host is in this very process.

Requests go straight to the host, as those of threads do. While some tasks
wait, their loop is the host's deputy (`agents.baton`): it reads the links
and takes the turns itself, so that no thread hands the interpreter to
another for each of them. In the main thread it is that only while no
signal's handler that might raise there is set.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import threading
import time
from contextvars import Context
from functools import partial
from math import inf
from typing import Any

from agents import client_link
from agents.baton import Deputy
from agents.client_link import Curve
from agents.messages.client import CONFLICT, Get, Reply
from colony import drafts
from colony.affinity import COOL_S, Affinity
from colony.aio_transport import AioClient
from colony.calls import PATIENCE_S, Finish
from colony.drafts import Draft, outcome
from colony.embedded import ELSEWHERE, FETCH_S, WHY, Loop, is_primary
from colony.errors import ColonyError

SWEEP_S = 0.05  # how much longer than `PATIENCE_S` a task may wait; one timer for all costs nothing
DEPUTY_MIN = 1  # other tasks that wait: a lone one gains nothing by it
AGAIN_S = 0.05  # after it was dismissed, mostly since threads wait, too


class AioEmbedded(AioClient):
    """An asyncio store's transport into the host of this process; one loop."""

    def __init__(
        self, server: Loop, address: str, curve: Curve | None = None, *, affinity: bool = False
    ) -> None:
        super().__init__((address,), curve=curve)
        self._server = server
        self._affinity = Affinity(server.container) if affinity else None
        self._fetching: set[asyncio.Task[None]] = set()
        self._answered: list[tuple[asyncio.Future[Reply], Reply]] = []
        self._due_s: dict[asyncio.Future[Reply], float] = {}  # soonest first
        self._is_sweeping = False
        self._deputy = Deputy(self._due_s)
        self._poll: select.epoll | None = None  # what the loop reads for the host: a descriptor of our own
        self._is_reading = False
        self._is_called = False  # to stand in, when this turn of the loop is over
        self._again_s = 0.0  # when it may be appointed again
        self._thread = 0  # that stands in right now

    async def mutate(self, draft: Draft, timeout_s: float) -> Reply:
        """Return the reply to a mutation; raises `ColonyError`."""
        kind, key, rest = draft
        if not is_primary(self._server, key):
            reply = await super().mutate(draft, timeout_s)
            self._left(key)
            return reply
        loop = self._check()
        lanes = self._exchange.lanes
        lane = lanes.take()
        answer: asyncio.Future[Reply] = loop.create_future()
        due_s, now_s = self._due_s, loop.time()
        is_in = self._deputy.is_in or (len(due_s) >= DEPUTY_MIN and self._is_appointed(loop, now_s))
        request, came = kind(1, lane.name, lane.number, key, *rest), partial(self._came, answer)
        if not self._server.submit(request, came, wake=not is_in):
            lanes.give(lane)
            return await super().mutate(draft, timeout_s)
        if is_in and not self._is_called:
            self._is_called = True
            loop.call_soon(self._stand_in)
        due_s[answer] = now_s + PATIENCE_S
        if timeout_s < PATIENCE_S:
            loop.call_later(timeout_s, answer.cancel)
        if not self._is_sweeping:
            self._is_sweeping = True
            loop.call_later(SWEEP_S, self._sweep, loop)
        try:
            reply = await answer
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # the caller gave up; the lane may be busy, and is not used again
            return await self.resume(draft, lane, timeout_s - PATIENCE_S)
        finally:
            del due_s[answer]
        lanes.give(lane)
        if reply.code <= CONFLICT:
            return reply
        if reply.code in ELSEWHERE:
            return await super().mutate(draft, timeout_s)
        return outcome(Finish(reply))

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Give up waiting for what the host has not answered in time."""
        now_s = loop.time()
        for answer, due_s in self._due_s.items():
            if due_s > now_s:
                break
            answer.cancel()
        if self._deputy.is_in and not is_undisturbed():
            self._server.resign(self._deputy)
        self._is_sweeping = bool(self._due_s)
        if self._is_sweeping:
            loop.call_later(SWEEP_S, self._sweep, loop)

    def _came(self, answer: asyncio.Future[Reply], reply: Reply) -> None:
        # All replies of one turn are handed over together.
        if not self._answered:
            self._server.at_turn_end(self._hand_over)
        self._answered.append((answer, reply))

    def _hand_over(self) -> None:
        answered, self._answered = self._answered, []
        if threading.get_ident() == self._thread:
            _deliver(answered)
            return
        try:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(_deliver, answered)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more

    # -- in the host's place ---------------------------------------------------------

    def _is_appointed(self, loop: asyncio.AbstractEventLoop, now_s: float) -> bool:
        """Become the host's deputy, if that can be; return whether it is."""
        if now_s < self._again_s:
            return False
        self._again_s = now_s + AGAIN_S
        fd = self._server.appoint(self._deputy) if is_undisturbed() else None
        if fd is None:
            return False
        try:
            self._begin_reading(loop, fd)
        except (OSError, RuntimeError, ValueError):  # a loop that reads no descriptors, or not this one
            self._again_s = inf
            self._server.resign(self._deputy)
            return False
        return True

    def _stand_in(self) -> None:
        """Take a turn with what the tasks have asked, unless one has been taken meanwhile."""
        self._is_called = False
        if self._server.is_asked:
            self._read_links()

    def _read_links(self) -> None:
        if self._forks != client_link.forks:
            return  # the host, and what its loop reads, are the parent's
        self._thread = threading.get_ident()
        try:
            is_deputy = self._server.stand_in(self._deputy)
        finally:
            self._thread = 0
        if not is_deputy:
            self._stop_reading()
            self._server.ring()  # what was handed in is its own affair again

    def _begin_reading(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        if self._is_reading:
            return
        if self._poll is None:
            # A loop has one reader for each descriptor, and maybe other stores of this host.
            self._poll = select.epoll.fromfd(os.dup(fd))
        # Not in the context of the task that happened to be first: that would be kept.
        Context().run(loop.add_reader, self._poll, self._read_links)
        self._is_reading = True

    def _stop_reading(self) -> None:
        if self._is_reading and self._loop is not None and self._poll is not None:
            if not self._loop.is_closed():
                self._loop.remove_reader(self._poll)
            self._is_reading = False

    def close(self) -> None:
        """Close the store; the host goes on."""
        if self._forks == client_link.forks:
            self._server.resign(self._deputy)
            self._stop_reading()
        super().close()

    async def read(self, draft: Draft, timeout_s: float, colony: int | None = None) -> Reply:
        """Return the reply to a read; of a cell whose primary is here, at once."""
        if draft[0] is Get:
            self._check()
            reply = self._server.read(draft[1])
            if reply is not None:
                return reply
            reply = await super().read(draft, timeout_s, colony)
            self._left(draft[1])
            return reply
        return await super().read(draft, timeout_s, colony)

    def _left(self, key: bytes) -> None:
        to = self._affinity.left(key, time.monotonic()) if self._affinity is not None else None
        if to is not None:
            task = asyncio.ensure_future(self._fetch(key, to))
            self._fetching.add(task)
            task.add_done_callback(self._fetching.discard)

    async def _fetch(self, key: bytes, to: int) -> None:
        try:
            await super().read(drafts.migrate(key, to, WHY, COOL_S), FETCH_S)
        except ColonyError:
            pass  # it stays where it is


def _deliver(answered: list[tuple[asyncio.Future[Reply], Reply]]) -> None:
    for answer, reply in answered:
        if not answer.done():
            answer.set_result(reply)


def is_undisturbed() -> bool:
    """Return whether no handler of a signal is likely to raise in this thread.

    Handlers run in the main thread, between any two instructions. Asyncio's own do nothing there, but
    for `asyncio.run`'s on a second Ctrl-C: then the process ends, and with it its host.
    """
    if threading.get_ident() != threading.main_thread().ident:
        return True
    return all(_is_harmless(signal.getsignal(number)) for number in signal.valid_signals())


def _is_harmless(handler: Any) -> bool:
    if handler in (None, signal.SIG_DFL, signal.SIG_IGN):
        return True
    if isinstance(handler, partial):
        return isinstance(getattr(handler.func, "__self__", None), asyncio.Runner)
    return getattr(handler, "__module__", "") == "asyncio.unix_events"
