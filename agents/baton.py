"""The baton: who runs turns, the I/O thread or a caller that waits for its own answer.

A caller that is alone needs nobody else: it takes its request to the machines,
sends what they say, reads the links until its answer is there, and the I/O
thread sleeps on. That saves two hops between threads, there and back. In a
crowd the I/O thread does it for all, and load batches itself.

Whoever holds the baton is the actors' thread. Not every caller may have it:
in the main thread a signal's handler may raise in the midst of a machine, and
one deep in its own calls would find no room on the stack.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any, Protocol

from agents.tcp_plane import Incoming

FRAMES = 200  # of the stack, for a turn; some 40 are used
GRAIN_S = 0.001  # how much too late a timer may be
SLICE_S = 0.1  # how soon a leader looks up by itself: a host that ends takes its bell along


class Caller(Protocol):
    """Who waits for an answer: there is none yet; whose thread; and whether it has led, and waited enough."""

    reply: Any
    thread: int
    has_led: bool


class Loop(Protocol):
    """What is needed of the server; all but `ring` with the baton only."""

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
    """

    def __init__(self, loop: Loop, incoming: Incoming | None) -> None:
        self._lock = threading.Lock()
        self._loop = loop
        self._incoming = incoming
        self._leader: Caller | None = None
        self._callers: set[Caller] = set()
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
                if incoming.bell.fd in fds:
                    incoming.bell.clear()
                    fds.remove(incoming.bell.fd)
                self._carry(fds)
        finally:
            self._leader = None
            if not loop.is_over():
                incoming.take_back()
            self._lock.release()

    def _carry(self, fds: list[int]) -> None:
        self._loop.carry(fds)
        if self._loop.next_s() < self.sleeps_until_s - GRAIN_S:
            self._loop.ring()

    def turned(self) -> None:
        """Call the leader if another thread's turn has answered it, or the host ends; with the baton."""
        leader = self._leader
        if leader is not None and leader.thread != threading.get_ident():
            if leader.reply is not None or self._loop.is_over():
                assert self._incoming is not None, "a leader reads links"
                self._incoming.bell.wake()


def may_lead() -> bool:
    """Return whether this thread may run machines now."""
    if threading.get_ident() == threading.main_thread().ident:
        return False
    try:
        sys._getframe(max(0, sys.getrecursionlimit() - FRAMES))
    except ValueError:
        return True
    return False
