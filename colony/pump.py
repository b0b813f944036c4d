"""The pump: one thread that carries the calls of many.

Up to some 16 calls at a time, a connection for each thread has the fewest
hops. Beyond that the threads fight for the interpreter, and each call pays
for a frame of its own; so while many call at once, one thread gathers what
they ask into common frames. When few are left, calls go their own way again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from agents.client_link import SLICE_S
from agents.messages.client import Reply
from colony.calls import Call, Finish, GiveUp
from colony.drafts import Draft, outcome

if TYPE_CHECKING:
    from colony.wires import Wire

CROWD_MIN = 16  # calls at a time from which on the pump carries them
CROWD_GONE = 8  # ... and below which it stops: margins, so that it doesn't flap
CALM_S = 1.0  # how long there must be so few
LAST_WAIT_S = 1.0  # the pump ends each call at its deadline; this much late, it is held dead

_now = time.monotonic


class _Waiter:
    """One thread's call in the pump."""

    __slots__ = ("_lock", "colony", "deadline_s", "draft", "mutating", "result")

    def __init__(self, draft: Draft, colony: int, deadline_s: float, mutating: bool) -> None:
        self.draft = draft
        self.colony = colony
        self.deadline_s = deadline_s
        self.mutating = mutating
        self.result: Finish | GiveUp = GiveUp("the client's thread does not answer", mutating)
        self._lock = threading.Lock()
        self._lock.acquire()

    def done(self, call: Call) -> None:
        assert call.result is not None, "only ended calls are done"
        self.result = call.result
        self._lock.release()

    def wait(self, timeout_s: float) -> Finish | GiveUp:
        self._lock.acquire(timeout=timeout_s)
        return self.result


class Pump:
    """Carries calls of any thread through one wire, in a thread of its own.

    Args:
        wire: Its connections; the pump's thread alone uses them from now on.
        is_over: Whether the store was closed.
    """

    def __init__(self, wire: Wire, is_over: Callable[[], bool]) -> None:
        self._wire = wire
        self._is_over = is_over
        self._inbox: deque[_Waiter] = deque()
        self._bell = wire.bell()
        self._calm_since_s = _now()
        self.is_wanted = True
        self._has_ended = False
        self._thread = threading.Thread(target=self._run, name="colony-client", daemon=True)
        self._thread.start()

    def run(self, draft: Draft, colony: int, timeout_s: float, *, mutating: bool) -> Reply:
        """Return the reply to a call; raises as `outcome` does."""
        waiter = _Waiter(draft, colony, _now() + timeout_s, mutating)
        self._inbox.append(waiter)
        self._bell.wake()
        # Put down after the thread has looked for the last time: nobody will take it.
        return outcome(waiter.wait(LAST_WAIT_S if self._has_ended else timeout_s + LAST_WAIT_S))

    def want(self) -> None:
        """There is a crowd (again)."""
        self._calm_since_s = _now()
        self.is_wanted = True

    def wake(self) -> None:
        """Make the thread look whether it is over."""
        self._bell.wake()

    def _run(self) -> None:
        wire = self._wire
        while not self._is_over():
            self._take(wire)
            # Idle, it sleeps long: an empty inbox rings the bell.
            wire.turn(SLICE_S if wire.is_busy else CALM_S)
            self._look_around(wire)
        self._has_ended = True
        self._take(wire)
        wire.end("the store was closed")

    def _take(self, wire: Wire) -> None:
        inbox, now_s = self._inbox, _now()
        while inbox:
            waiter = inbox.popleft()
            wire.begin(waiter.draft, waiter.colony, waiter.deadline_s, now_s, waiter.done, waiter.mutating)

    def _look_around(self, wire: Wire) -> None:
        now_s = _now()
        if wire.calls_under_way > CROWD_GONE:
            self._calm_since_s = now_s
        elif self.is_wanted and now_s - self._calm_since_s > CALM_S:
            self.is_wanted = False
