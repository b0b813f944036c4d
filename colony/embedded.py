"""The calls of a store whose host is in this very process.

A cell whose primary is here is read on the calling thread, and changed by
handing the request to the host's loop. Everything else goes the thin
client's way: other hosts, many keys, and what the host did not answer in
time, which is then asked again under the same lane and number.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

from agents import client_link
from agents.baton import Deputy
from agents.client_link import Curve
from agents.cores import HomeCore, go_back, go_near
from agents.messages.client import CONFLICT, MOVED, UNAVAILABLE, Get, Reply
from colony import drafts
from colony.affinity import COOL_S, Affinity
from colony.calls import PATIENCE_S, Finish, GiveUp
from colony.directory import Directory
from colony.drafts import Draft, outcome
from colony.errors import Closed, ColonyError, Unavailable
from colony.lanes import Lanes
from colony.transport import Client

ELSEWHERE = frozenset({MOVED, UNAVAILABLE})
WOKEN_AT_ONCE = 2  # one runs, one wakes up
FETCH_S = 1.0  # a cell that does not come within that time may come later
WHY = "affinity: its requests arrive at this host"


class Loop(Protocol):
    """What is needed of the running host: `agents.server.Server`."""

    container: Any
    home: HomeCore | None

    @property
    def is_asked(self) -> bool: ...

    def submit(self, request: Any, callback: Callable[[Reply], None], *, wake: bool = True) -> bool: ...

    def call(
        self, request: Any, callback: Callable[[Reply], None], caller: Waiter, timeout_s: float
    ) -> bool: ...

    def leave(self, caller: Waiter) -> None: ...

    def appoint(self, deputy: Deputy) -> int | None: ...

    def stand_in(self, deputy: Deputy) -> bool: ...

    def resign(self, deputy: Deputy) -> None: ...

    def ring(self) -> None: ...

    def read(self, key: bytes) -> Reply | None: ...

    def at_turn_end(self, call: Callable[[], None]) -> None: ...


class Waiter:
    """Waits for one reply; called on the host's thread.

    Attributes:
        reply: The reply, once it has come.
        is_gone: Its thread is not asleep: it has waited long enough, or need not.
        thread: Whose it is.
        has_led: It took turns in the loop's place until its time was over, or its answer there.
    """

    __slots__ = ("_lock", "has_led", "is_gone", "reply", "thread")

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.reply: Reply | None = None
        self.is_gone = self.has_led = False
        self._lock = threading.Lock()
        self._lock.acquire()

    def __call__(self, reply: Reply) -> None:
        self.reply = reply
        self._lock.release()

    def wake(self) -> None:
        """Let `wait` return; `reply` is set."""
        self._lock.release()

    def wait(self, timeout_s: float, home: HomeCore | None = None) -> Reply | None:
        """Return the reply, or None if it does not come in time; waits near `home`."""
        if self.reply is not None or self.has_led:
            self.is_gone = True
            return self.reply
        is_woken = False
        if home is not None:
            home.is_wanted = True
        before = go_near(home)
        try:
            is_woken = self._lock.acquire(timeout=timeout_s)
        finally:  # a signal's handler may raise in the midst of it
            self.is_gone = not is_woken
            go_back(before)
        return self.reply


class Crowd:
    """Threads whose replies have come: a few are woken, and each wakes another one.

    Woken all at once they would only stand in line for the interpreter, and most would be put to
    sleep and woken a second time; one after another, each would be waited for.
    """

    __slots__ = ("_answered",)

    def __init__(self) -> None:
        self._answered: deque[Waiter] = deque()

    def wake(self, waiters: list[Waiter]) -> None:
        """Let them all return, soonest those that came first; on the host's thread."""
        self._answered.extend(waiters)
        for _ in range(WOKEN_AT_ONCE):
            self.pass_on()

    def pass_on(self) -> None:
        """Wake the next one; to be called by each thread that has waited, first of all."""
        while self._answered:
            try:
                waiter = self._answered.popleft()
            except IndexError:
                return  # another thread was quicker
            waiter.wake()
            if not waiter.is_gone:
                return
            # It won't pass it on. One that is about to find out that its time is over will.


def is_primary(server: Loop, key: bytes) -> bool:
    """Return whether the key's primary is here and serves."""
    container = server.container
    machine = container.colonies.get(container.owner(key))
    return machine is not None and bool(machine.is_open)


class Embedded:
    """A store's transport into the host of this process; any thread."""

    def __init__(
        self, server: Loop, address: str, curve: Curve | None = None, *, affinity: bool = False
    ) -> None:
        self._server = server
        self._affinity = Affinity(server.container) if affinity else None
        self._thin = Client((address,), curve=curve)
        self._lanes = Lanes(self._thin.source)
        self._answered: list[Waiter] = []
        self._crowd = Crowd()
        self._forks = client_link.forks

    def mutate(self, draft: Draft, timeout_s: float) -> Reply:
        """Return the reply to a mutation; raises `ColonyError`."""
        kind, key, rest = draft
        self._check()
        if not is_primary(self._server, key):
            told = self._thin.mutate(draft, timeout_s)
            self._left(key)
            return told
        lanes = self._lanes
        lane = lanes.take()
        waiter = Waiter()
        came = partial(self._came, waiter)
        patience_s = min(PATIENCE_S, timeout_s)
        try:
            request = kind(1, lane.name, lane.number, key, *rest)
            if not self._server.call(request, came, waiter, patience_s):
                lanes.give(lane)
                return self._thin.mutate(draft, timeout_s)
            reply = waiter.wait(patience_s, self._server.home)
        finally:
            self._server.leave(waiter)
            self._crowd.pass_on()
        if reply is None:
            return self._thin.resume(draft, lane, timeout_s - PATIENCE_S)
        lanes.give(lane)
        if reply.code <= CONFLICT:
            return reply
        if reply.code in ELSEWHERE:  # nothing was applied here
            return self._thin.mutate(draft, timeout_s)
        return outcome(Finish(reply))

    def _came(self, waiter: Waiter, reply: Reply) -> None:
        # On the host's thread. Its threads wake up when the turn has sent what it had to send:
        # before that they would only fight for the interpreter.
        waiter.reply = reply
        if not self._answered:
            self._server.at_turn_end(self._wake_all)
        self._answered.append(waiter)

    def _wake_all(self) -> None:
        answered, self._answered = self._answered, []
        if len(answered) == 1:
            answered[0].wake()
        else:
            self._crowd.wake(answered)

    def read(self, draft: Draft, timeout_s: float, colony: int | None = None) -> Reply:
        """Return the reply to a read; of a cell whose primary is here, without any hop."""
        self._check()
        if draft[0] is Get:
            reply = self._server.read(draft[1])
            if reply is not None:
                return reply
            reply = self._thin.read(draft, timeout_s, colony)
            self._left(draft[1])
            return reply
        return self._thin.read(draft, timeout_s, colony)

    def _left(self, key: bytes) -> None:
        """A call has left the process: now and then that is reason enough to fetch the cell."""
        to = self._affinity.left(key, time.monotonic()) if self._affinity is not None else None
        if to is not None:
            try:
                self._thin.read(drafts.migrate(key, to, WHY, COOL_S), FETCH_S)
            except ColonyError:
                pass  # it stays where it is, and the next call is answered from there

    def order(self, draft: Draft, timeout_s: float, *, once: bool) -> Reply:
        """Return this host's reply to an operator's command."""
        self._check()
        kind, key, rest = draft
        waiter = Waiter()
        if not self._server.submit(kind(1, key, *rest), waiter):
            raise Unavailable("this host has ended, or too many requests wait for it")
        reply = waiter.wait(timeout_s)
        if reply is None:
            return outcome(GiveUp("this host did not answer", once))
        return outcome(Finish(reply))

    def many(
        self,
        ready: Iterable[Draft],
        timeout_s: float,
        *,
        mutating: bool,
        then: Callable[[int, Finish | GiveUp], None],
    ) -> None:
        """Run many calls of one kind; `then(place, result)` as they end."""
        self._check()
        self._thin.many(ready, timeout_s, mutating=mutating, then=then)

    def learn(self, timeout_s: float) -> Directory:
        """Return the directory, filled; asks only if it is not."""
        self._check()
        return self._thin.learn(timeout_s)

    @property
    def curve(self) -> Curve | None:
        """Keys of encrypted connections."""
        return self._thin.curve

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._thin.is_closed

    def close(self) -> None:
        """Close the store; the host goes on."""
        self._thin.close()

    def _check(self) -> None:
        if self._thin.is_closed:
            raise Closed("the store is closed")
        if self._forks != client_link.forks:
            raise Closed("a host does not survive a fork; in the child, colony.connect to it")
