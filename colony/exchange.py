"""The exchange: all calls of one thread or loop, and what they have to send.

Pure: it pairs replies with calls, performs what the calls want, and leaves
requests in an outbox per host. A shell (blocking or asyncio) empties the
outbox, and tells what came back and which connections broke.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import Any

from agents.messages.client import (
    CLIENT_PROTOCOL,
    CLIENT_PROTOCOL_OLDEST,
    OK,
    UNAVAILABLE,
    WRONG_CLUSTER,
    Greet,
    Reply,
)
from colony.calls import Ask, Call, Effect, Finish, GiveUp
from colony.directory import Directory, ForeignCluster
from colony.lanes import Lane, Lanes, LaneSource

REFRESH_S = 1.0  # how long a refresh of the directory may take before the next begins
FRESH_S = 2.0  # how old the directory may grow while calls are made
SCAN_S = 0.01  # how often, at most, all open calls are looked at for silence and time-outs


class Exchange:
    """Calls under way.

    Attributes:
        outbox: Address -> (attempt id, call), to be sent; the shell takes it away.
        open: Attempt id -> call.
        calls: All unfinished calls.
    """

    def __init__(self, directory: Directory, source: LaneSource) -> None:
        self.directory = directory
        self.lanes = Lanes(source)
        self.outbox: dict[str, list[tuple[int, Call]]] = {}
        self.open: dict[int, Call] = {}
        self.calls: dict[Call, None] = {}
        self.next_id = 1
        self._turn = 0
        self._refreshed_s = -inf
        self._stale_s = inf
        self._wake_s = inf

    def draft(
        self,
        kind: Any,
        key: Any,
        rest: tuple[Any, ...],
        colony: int,
        deadline_s: float,
        lane: Lane | None = None,
    ) -> Call:
        """Return a call that has not begun."""
        self._turn += 1
        return Call(
            kind,
            key,
            rest,
            directory=self.directory,
            colony=colony,
            deadline_s=deadline_s,
            lane=lane,
            turn=self._turn,
        )

    def greeting(self, deadline_s: float) -> Call:
        """Return a call that will fill the directory; any host may answer it."""
        rest = (self.directory.tag, CLIENT_PROTOCOL_OLDEST)
        return self.draft(Greet, CLIENT_PROTOCOL, rest, -1, deadline_s)

    @property
    def wake_s(self) -> float:
        """When `passed` has something to do at the latest; inf = never."""
        return self._wake_s if self.calls else inf

    # -- events ----------------------------------------------------------------

    def begin(self, call: Call, now_s: float, done: Callable[[Call], None] | None = None) -> None:
        """A call begins; `done(call)` is called once when it has its result."""
        call.done = done
        self.calls[call] = None
        self._perform(call, call.began(now_s))
        self.keep_fresh(now_s)
        self._plan(call)

    def keep_fresh(self, now_s: float) -> None:
        """Refresh a directory that has grown old: calls are made."""
        if now_s >= self._stale_s:
            # Else all hosts that it knows could be replaced, one by one, unseen.
            self._stale_s = now_s + FRESH_S
            self.refresh(now_s)
        elif self._stale_s == inf:
            self._stale_s = now_s + FRESH_S

    def adopt(self, call: Call, attempt: int, address: str, now_s: float) -> None:
        """Take over a call whose first attempt the shell has sent already."""
        self.calls[call] = None
        call.adopted(attempt, address, now_s)
        self.open[attempt] = call
        self._plan(call)

    def take_outbox(self) -> dict[str, list[tuple[int, Call]]]:
        """Return what is to be sent, and forget it."""
        outbox, self.outbox = self.outbox, {}
        return outbox

    def replied(self, replies: Iterable[Reply], now_s: float) -> None:
        """A frame of replies came; those nobody waits for are dropped."""
        opened = self.open
        for reply in replies:
            call = opened.pop(reply.id, None)
            if call is None or call.result is not None:
                continue
            if call.kind is Greet:
                reply = self._greeted(reply)
            effect = call.replied(reply.id, reply, now_s)
            if type(effect) is Finish:
                self._end(call, effect)
                continue
            self._perform(call, effect)
            if call.result is None:
                self._plan(call)

    def lost(self, address: str, now_s: float) -> None:
        """The connection to a host broke."""
        for attempt in [
            attempt for attempt, call in self.open.items() if call.attempts.get(attempt) == address
        ]:
            call = self.open.pop(attempt, None)
            if call is not None and call.result is None:
                self._perform(call, call.lost(address, now_s))
                self._plan(call)
        self.refresh(now_s)

    def unsent(self, attempts: Iterable[tuple[int, Call]], reason: str, now_s: float) -> None:
        """These attempts provably did not leave the process."""
        for attempt, call in attempts:
            self.open.pop(attempt, None)
            if call.result is None:
                self._perform(call, call.unsent(attempt, reason, now_s))
                self._plan(call)

    def passed(self, now_s: float) -> None:
        """Time has passed."""
        if now_s < self._wake_s:
            return
        self._wake_s = inf
        for call in list(self.calls):
            if now_s >= call.wake_s:
                self._perform(call, call.passed(now_s))
            if call.result is None:
                self._plan(call, now_s + SCAN_S if call.attempts else now_s)

    def refresh(self, now_s: float) -> None:
        """Ask some host for the directory, unless that is under way."""
        if now_s - self._refreshed_s >= REFRESH_S:
            self._refreshed_s = now_s
            self.begin(self.greeting(now_s + REFRESH_S), now_s)

    def drop_all(self, reason: str) -> None:
        """The client closes: all calls end, those with a mutation under way as unknown."""
        for call in list(self.calls):
            self._end(call, GiveUp(reason, call.may_be_applied))

    # -- effects ---------------------------------------------------------------

    def _perform(self, call: Call, effect: Effect | None) -> None:
        if effect is None:
            return
        if type(effect) is Ask:
            attempt = self.next_id
            self.next_id = attempt + 1
            call.sent(attempt, effect.address)
            self.open[attempt] = call
            waiting = self.outbox.get(effect.address)
            if waiting is None:
                self.outbox[effect.address] = [(attempt, call)]
            else:
                waiting.append((attempt, call))
        else:
            assert not isinstance(effect, Ask), "an Ask has no kinds"
            self._end(call, effect)

    def _end(self, call: Call, result: Finish | GiveUp) -> None:
        call.result = result
        del self.calls[call]
        for attempt in call.attempts:  # late answers must not find it
            self.open.pop(attempt, None)
        if call.lane is not None and not (call.attempts or call.in_doubt):
            # With an attempt still out, the lane may be busy at some host: never use it again.
            self.lanes.give(call.lane)
        if call.done is not None:
            call.done(call)

    def _plan(self, call: Call, at_least_s: float = 0.0) -> None:
        if call.result is None:
            wake_s = call.wake_s
            if wake_s < self._wake_s:
                self._wake_s = max(wake_s, at_least_s)

    def _greeted(self, reply: Reply) -> Reply:
        if reply.code != OK:
            return reply
        try:
            useless = self.directory.greeted(reply.value)
        except ForeignCluster as error:
            return Reply(reply.id, WRONG_CLUSTER, text=str(error))
        return Reply(reply.id, UNAVAILABLE, text=useless) if useless else reply
