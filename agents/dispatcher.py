"""Pooled actors: pykka actors that share one thread.

A dispatcher runs actors whose inboxes hold something, in the order in which
they became ready, a bounded number of messages each. It owns no thread: the
thread that calls `run_ready` is the actors' thread, and for a host process
that is the I/O thread itself, so that a message from the network reaches its
actor without a hop.

`ActorRef.tell`, `ask`, `proxy` and `ActorRegistry` work as with any pykka
actor, from any other thread. On the actors' own thread `ask` would wait for
itself, so it is refused: colonies tell, they don't ask.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import Any, Self

import pykka
from pykka import messages

logger = logging.getLogger("colony")

INBOX_MAX = 16_384  # a host's busiest second at 10,000 messages/s, and some
MESSAGES_PER_TURN = 64  # about a millisecond: what a ready actor may wait for each other one


class InboxFull(RuntimeError):
    """The actor has not kept up; nothing was queued. Worth a retry later."""


class AskedInTurn(RuntimeError):
    """An actor asked another on its own thread, and would wait for ever."""


class Inbox:
    """The bounded queue of one pooled actor; any thread may `put`."""

    __slots__ = ("actor", "dispatcher", "limit", "queue", "scheduled")

    def __init__(self) -> None:
        self.queue: deque[Any] = deque()
        self.scheduled = False
        self.limit = INBOX_MAX
        self.actor: PooledActor | None = None
        self.dispatcher: Dispatcher | None = None

    def put(self, envelope: Any) -> None:
        """Queue an envelope, and the actor for its turn.

        Raises:
            InboxFull: Over the bound; a request to stop is let in always.
            AskedInTurn: The teller waits on the very thread that would answer.
            pykka.ActorDeadError: The dispatcher is closed.
        """
        dispatcher = self.dispatcher
        if dispatcher is None:
            raise pykka.ActorDeadError("the actor's dispatcher is closed")
        stops = isinstance(envelope.message, messages._ActorStop)
        if not stops:
            if len(self.queue) >= self.limit:
                raise InboxFull(f"{self.actor} has {self.limit} messages waiting; try again later")
            if envelope.reply_to is not None and dispatcher.thread == get_ident():
                raise AskedInTurn("colonies tell, they don't ask: nobody else would run the answer")
        self.queue.append(envelope)
        if not self.scheduled:  # two racing tellers may both see False: an idle second turn, no harm
            self.scheduled = True
            dispatcher.schedule(self)
        if self.dispatcher is None and self.actor is not None:  # closed between the check and the append
            self.actor._actor_loop_teardown()

    def get(self) -> Any:
        """Return the oldest envelope; raises `IndexError` if there is none."""
        return self.queue.popleft()

    def empty(self) -> bool:
        """Return whether nothing waits."""
        return not self.queue


class PooledActor(pykka.Actor):
    """An actor without a thread of its own.

    Start it with `SomeActor.start(dispatcher, …)`. `on_start` runs on the
    actors' thread, before the first queued message.
    """

    inbox_max = INBOX_MAX

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__()
        self.dispatcher = dispatcher
        self._fresh = True
        inbox = self.inbox
        inbox.actor = self
        inbox.limit = self.inbox_max
        inbox.dispatcher = dispatcher

    @classmethod
    def begin(cls, *args: Any) -> Self:
        """Start an actor as `start` does, and return itself.

        For who runs the dispatcher, and may hand it events without an inbox.
        """
        actor = cls.start(*args)._actor_weakref()
        assert actor is not None, "its inbox holds it"
        return actor

    @property
    def inbox(self) -> Inbox:
        """The actor's own inbox."""
        inbox = self.actor_inbox
        assert isinstance(inbox, Inbox)
        return inbox

    @staticmethod
    def _create_actor_inbox() -> Inbox:
        return Inbox()

    @staticmethod
    def _create_future() -> pykka.Future[Any]:
        return pykka.ThreadingFuture()

    def _start_actor_loop(self) -> None:
        self.dispatcher.adopt(self)
        if type(self).on_start is not pykka.Actor.on_start:
            self.inbox.scheduled = True
            self.dispatcher.schedule(self.inbox)

    def take_turn(self, messages_max: int) -> int:
        """Handle up to so many queued messages; returns how many it was."""
        if self._fresh:
            self._fresh = False
            self._actor_loop_setup()
        queue = self.inbox.queue
        handled = 0
        while queue and handled < messages_max and not self.actor_stopped.is_set():
            self._process(queue.popleft())
            handled += 1
        return handled

    def end(self) -> None:
        """Stop at once, on the actors' own thread."""
        if not self.actor_stopped.is_set():
            self._stop()
        self.retire()

    def retire(self) -> None:
        """Give up what still waits, and let go of the dispatcher."""
        self._actor_loop_teardown()
        self.dispatcher.release(self)

    def _process(self, envelope: Any) -> None:
        try:
            response = self._handle_receive(envelope.message)
        except Exception:
            if envelope.reply_to is not None:
                envelope.reply_to.set_exception()
                return
            self._fail()
        except BaseException:
            if envelope.reply_to is not None:
                envelope.reply_to.set_exception()
            raise
        else:
            if envelope.reply_to is not None:
                envelope.reply_to.set(response)

    def _fail(self) -> None:
        """Stop, as pykka's own actors do on an exception nobody waits for."""
        kind, value, trace = sys.exc_info()
        self._handle_failure(kind, value, trace)
        self.dispatcher.failures += 1
        try:
            self.on_failure(kind, value, trace)
        except Exception:
            logger.exception("on_failure of %s failed too", self)


class Dispatcher:
    """Runs ready actors in turn, on the thread that calls `run_ready`.

    Attributes:
        ready: Inboxes of actors that wait for a turn.

    Args:
        wake: Called on a teller's thread when an actor becomes ready there;
            must be cheap, and safe on any thread.
    """

    def __init__(self, wake: Callable[[], None] | None = None) -> None:
        self.thread: int | None = None
        self.failures = 0
        self.actors: set[PooledActor] = set()
        self.ready: deque[Inbox] = deque()
        self._wake = wake

    def schedule(self, inbox: Inbox) -> None:
        """Queue an actor for its turn; any thread may call it."""
        self.ready.append(inbox)
        if self._wake is not None and self.thread != get_ident():
            self._wake()

    def adopt(self, actor: PooledActor) -> None:
        """Remember a started actor."""
        self.actors.add(actor)

    def release(self, actor: PooledActor) -> None:
        """Forget a stopped actor."""
        self.actors.discard(actor)
        actor.inbox.dispatcher = None

    def own(self, thread: int | None) -> None:
        """Make a thread the actors' thread, also between turns; None = nobody's."""
        self.thread = thread

    def run_ready(self, messages_per_actor: int = MESSAGES_PER_TURN) -> int:
        """Give every actor that is ready now one turn.

        Actors that become ready meanwhile, and those with messages left, get
        theirs in the next call, so that no actor waits for more than one
        turn of each other one.

        Returns:
            How many messages were handled.
        """
        before, self.thread = self.thread, get_ident()
        handled = 0
        try:
            for _ in range(len(self.ready)):
                handled += self._run(self.ready.popleft(), messages_per_actor)
        finally:
            self.thread = before
        return handled

    def _run(self, inbox: Inbox, messages_max: int) -> int:
        inbox.scheduled = False  # before the drain: who tells later schedules again
        actor = inbox.actor
        assert actor is not None
        if inbox.dispatcher is None:
            return 0
        handled = actor.take_turn(messages_max)
        if actor.actor_stopped.is_set():
            actor.retire()
        elif inbox.queue and not inbox.scheduled:
            inbox.scheduled = True
            self.ready.append(inbox)
        return handled

    def close(self) -> None:
        """Stop all actors at once; who waits for an answer gets `ActorDeadError`."""
        for actor in list(self.actors):
            actor.end()
        self.ready.clear()
