"""The baton: who runs turns, the I/O thread or a caller that waits for its own answer.

A caller that is alone needs nobody else: it takes its request to the machines,
sends what they say, reads the links until its answer is there, and the I/O
thread sleeps on. That saves two hops between threads, there and back. In a
crowd the I/O thread does it for all, and load batches itself.

A crowd of tasks is one caller, too: while they wait, their event loop is the
I/O thread's deputy. It reads the links among its other descriptors, and takes
the turns. Nobody knows what else it has to do, so the I/O thread looks after
it, and takes over again from one that is idle, or busy elsewhere.

Whoever holds the baton is the actors' thread. Not every caller may have it:
in the main thread a signal's handler may raise in the midst of a machine, and
one deep in its own calls would find no room on the stack. (An event loop in the
main thread sees to its handlers itself: `colony.aio_embedded`.)
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sized
from typing import Any, Protocol

from agents.tcp_plane import Incoming

FRAMES = 200  # of the stack, for a turn; some 40 are used
GRAIN_S = 0.001  # how much too late a timer may be
LOOK_S = 0.01  # so long may a deputy be busy elsewhere; a thread may keep the interpreter half as long anyway
# Of turns in a row, while there is more to do: its loop and our links have other things to do.
DEPUTY_S = 0.01
DEPUTY_LINKS_MAX = 64  # it keeps them for a while, so that telling two pollers pays
SLICE_S = 0.1  # how soon a leader looks up by itself: a host that ends takes its bell along


class Caller(Protocol):
    """Who waits for an answer: there is none yet; whose thread; and whether it has led, and waited enough."""

    reply: Any
    thread: int
    has_led: bool


class Deputy:
    """An event loop of the application that takes turns while its tasks wait.

    Args:
        waiting: The answers that its tasks wait for.

    Attributes:
        is_in: It is to take turns; any thread may read it.
        turns: How often it has come to take turns.
        seen: What that was when the I/O thread last looked.
    """

    __slots__ = ("_waiting", "is_in", "seen", "turns")

    def __init__(self, waiting: Sized) -> None:
        self._waiting = waiting
        self.is_in = False
        self.turns = self.seen = 0

    @property
    def is_idle(self) -> bool:
        """Whether none of its tasks waits."""
        return not len(self._waiting)


class Loop(Protocol):
    """What is needed of the server; all but `ring` with the baton only."""

    @property
    def is_asked(self) -> bool:
        """Whether requests of this process wait for a turn."""

    def carry(self, fds: list[int]) -> None:
        """Take note of what is ready, and take a turn; nothing raises."""

    def next_s(self) -> float:
        """Return when the loop must be awake again; -inf = at once."""

    def ring(self) -> None:
        """Wake the I/O thread."""

    def is_over(self) -> bool:
        """Return whether no turn may be taken any more."""


class Baton:
    """A lock, and the caller that leads while it waits for its answer.

    Attributes:
        sleeps_until_s: When the I/O thread wakes up by itself.
        deputy: Who takes turns in its place; None = nobody.
    """

    def __init__(self, loop: Loop, incoming: Incoming | None) -> None:
        self._lock = threading.Lock()
        self._loop = loop
        self._incoming = incoming
        self._leader: Caller | None = None
        self._callers: set[Caller | Deputy] = set()
        self._look_s = float("inf")
        self.deputy: Deputy | None = None
        self.sleeps_until_s = float("-inf")

    def acquire(self) -> None:
        """Wait for the baton."""
        self._lock.acquire()

    def release(self) -> None:
        """Let others take turns."""
        self._lock.release()

    def enter(self, caller: Caller) -> bool:
        """Take note of a caller until `leave`; return whether it holds the baton now, and must `lead`."""
        callers = self._callers
        callers.add(caller)
        incoming = self._incoming
        if len(callers) > 1 or incoming is None or not may_lead() or not self._lock.acquire(blocking=False):
            return False
        if self._loop.is_over() or not incoming.lend():  # lent first: no answer can be quicker
            self._lock.release()
            return False
        return True

    def leave(self, caller: Caller) -> None:
        """Forget a caller."""
        self._callers.discard(caller)

    def lead(self, caller: Caller, timeout_s: float) -> None:
        """Take turns until the caller has its answer, or its time is over; gives the baton back."""
        incoming, loop = self._incoming, self._loop
        assert incoming is not None, "who entered has links to read"
        until_s = time.monotonic() + timeout_s
        self._leader = caller
        caller.has_led = True
        try:
            self._carry([])
            while caller.reply is None and not loop.is_over():
                left_s = until_s - time.monotonic()
                if left_s <= 0:
                    return
                if len(self._callers) > 1 and incoming.poll.vigil is not None:
                    incoming.poll.vigil.forget()  # a second caller wants the interpreter: sleep
                self._lock.release()
                try:
                    fds = incoming.poll.wait(min(left_s, SLICE_S))
                finally:
                    self._lock.acquire()
                if loop.is_over():
                    return
                if not fds:
                    continue
                _hear_bell(incoming, fds)
                self._carry(fds)
        finally:
            self._leader = None
            if not loop.is_over():
                incoming.take_back()
            self._lock.release()

    def _carry(self, fds: list[int]) -> None:
        self._loop.carry(fds)
        self._ring_if_due()

    def _ring_if_due(self) -> None:
        if self._loop.next_s() < self.sleeps_until_s - GRAIN_S:
            self._loop.ring()

    # -- deputies ------------------------------------------------------------------

    def appoint(self, deputy: Deputy) -> int | None:
        """Have an event loop take turns from now on, if nobody else waits for answers; on its thread.

        Returns:
            What it must read, to call `stand_in` whenever it is readable; None = it is not appointed.
        """
        incoming = self._incoming
        if incoming is None or self._callers or is_deep():
            return None
        with self._lock:
            if self._loop.is_over() or self._callers or not incoming.lend(DEPUTY_LINKS_MAX):
                return None
            self._callers.add(deputy)
            self.deputy, deputy.is_in, deputy.seen = deputy, True, -1
            self._look_s = time.monotonic() + LOOK_S
        self._loop.ring()  # so that it looks after its deputy
        return incoming.poll.fd

    def stand_in(self, deputy: Deputy) -> bool:
        """Take the turns that are due, on the deputy's thread; False: it is none any more."""
        if not deputy.is_in:
            return False
        incoming, loop = self._incoming, self._loop
        with self._lock:  # whatever a signal's handler raises: it is given back
            if incoming is None or self.deputy is not deputy or loop.is_over() or len(self._callers) > 1:
                self._dismiss(deputy)
                return False
            deputy.turns += 1
            until_s = time.monotonic() + DEPUTY_S
            fds = incoming.poll.wait(0)
            _hear_bell(incoming, fds)
            loop.carry(fds)
            while loop.is_asked and time.monotonic() < until_s:
                loop.carry([])
            self._ring_if_due()
        return True

    def resign(self, deputy: Deputy) -> None:
        """Take no more turns; on the deputy's thread, and twice does nothing.

        Never waits: a finalizer may call this in the midst of the deputy's own turn.
        """
        if not deputy.is_in:
            return
        deputy.is_in = False
        if not self._lock.acquire(blocking=False):
            self._loop.ring()  # the I/O thread sees to the rest
            return
        try:
            self._dismiss(deputy)
        finally:
            self._lock.release()

    def look_after(self, now_s: float) -> float:
        """Dismiss a deputy that is idle or elsewhere; return when to look again. On the I/O thread.

        One that has resigned, or is not alone any more, goes at once: its own thread may be who waits.
        """
        deputy = self.deputy
        if deputy is None:
            return float("inf")
        is_due = now_s >= self._look_s
        is_away = is_due and (deputy.turns == deputy.seen or deputy.is_idle)
        if is_away or not deputy.is_in or len(self._callers) > 1:
            self._dismiss(deputy)
            return float("inf")
        if is_due:
            self._look_s, deputy.seen = now_s + LOOK_S, deputy.turns
        return self._look_s

    def _dismiss(self, deputy: Deputy) -> None:
        self._callers.discard(deputy)
        deputy.is_in = False
        if self.deputy is deputy:
            self.deputy = None
            if not self._loop.is_over() and self._incoming is not None:
                self._incoming.take_back()

    def turned(self) -> None:
        """Call the leader if another thread's turn has answered it, or the host ends; with the baton."""
        leader = self._leader
        if leader is not None and leader.thread != threading.get_ident():
            if leader.reply is not None or self._loop.is_over():
                assert self._incoming is not None, "a leader reads links"
                self._incoming.bell.wake()


def _hear_bell(incoming: Incoming, fds: list[int]) -> None:
    """Take the bell out of what is ready: it only says that there is something to look at."""
    if incoming.bell.fd in fds:
        incoming.bell.clear()
        fds.remove(incoming.bell.fd)


def may_lead() -> bool:
    """Return whether this thread may run machines now."""
    return threading.get_ident() != threading.main_thread().ident and not is_deep()


def is_deep() -> bool:
    """Return whether a turn might find no room on this thread's stack."""
    try:
        sys._getframe(max(0, sys.getrecursionlimit() - FRAMES))
    except ValueError:
        return False
    return True
