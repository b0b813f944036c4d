"""The life of one call: whom to ask, when again, and what the end means.

Pure: events and the time come in, at most one effect comes out. A mutation
repeats its lane and number, so hosts apply it once however often it is sent.

A call may end as *unavailable* only if nothing of it can ever be applied:
each attempt was answered (MOVED, UNAVAILABLE), or provably not sent. An
attempt whose connection broke, or that is unanswered at the deadline, leaves
the outcome unknown.
"""

from __future__ import annotations

from math import inf
from typing import Any

import msgspec

from agents.messages.client import (
    BAD,
    DENIED,
    FULL,
    MOVED,
    TOO_LARGE,
    UNAVAILABLE,
    WRONG_CLUSTER,
    Greet,
    Reply,
)
from colony.directory import Directory
from colony.lanes import Lane

BACKOFF_MIN_S = 0.002  # a promotion on one machine takes some 10 ms
BACKOFF_MAX_S = 0.1
PATIENCE_S = 0.3  # silence after which another host is asked too: a stalled host breaks no connection
AVOID_S = 0.25  # how long a host that could not be reached comes last
TIMEOUT_MAX_S = 60.0  # hosts remember a lane for three times as long
HOPS_MAX = 4  # MOVED answers followed at once; then the hosts are in disagreement, and need a moment

REFUSALS = frozenset({TOO_LARGE, FULL, DENIED, WRONG_CLUSTER, BAD})


class Ask(msgspec.Struct, frozen=True, gc=False):
    """Send the request, under a new id, to this host."""

    address: str


class Finish(msgspec.Struct, frozen=True):
    """The call has its answer."""

    reply: Reply


class GiveUp(msgspec.Struct, frozen=True, gc=False):
    """The call ends without an answer; `is_unknown`: it may have been applied."""

    reason: str
    is_unknown: bool


Effect = Ask | Finish | GiveUp


class Call:
    """One call of a client.

    Attributes:
        kind: The request's struct; it is built anew for each attempt.
        key: Its key (or what stands in its place).
        rest: The request's fields after the key.
        colony: Whose primary must answer; -1 = any host may.
        lane: Of a mutation; None = a read.
        deadline_s: When it ends at the latest.
        attempts: Attempt id -> address, of those not answered yet.
        bytes_about: About how many bytes its request has.
        in_doubt: Some attempt was sent, and can't be answered any more.
        once: It must not be sent again while an attempt is unanswered (an operator's order).
        result: How it ended; None = it has not.
    """

    __slots__ = (
        "_asked_s",
        "_avoid",
        "_backoff_s",
        "_directory",
        "_hops",
        "_last",
        "_reason",
        "_retry_s",
        "_turn",
        "attempts",
        "bytes_about",
        "colony",
        "deadline_s",
        "done",
        "in_doubt",
        "key",
        "kind",
        "lane",
        "number",
        "once",
        "rest",
        "result",
    )

    def __init__(
        self,
        kind: Any,
        key: Any,
        rest: tuple[Any, ...],
        *,
        directory: Directory,
        colony: int,
        deadline_s: float,
        lane: Lane | None = None,
        turn: int = 0,
    ) -> None:
        self.kind = kind
        self.key = key
        self.rest = rest
        first = rest[0] if rest else None
        self.bytes_about = 128 + len(first) if type(first) is bytes else 128
        self.colony = colony
        self.lane = lane
        self.number = lane.number if lane is not None else 0
        self.deadline_s = deadline_s
        self.attempts: dict[int, str] = {}
        self.in_doubt = False
        self.once = False
        self.done: Any = None
        self.result: Finish | GiveUp | None = None
        self._directory = directory
        self._turn = turn
        self._avoid: dict[str, float] | None = None
        self._last = ""
        self._hops = 0
        self._backoff_s = BACKOFF_MIN_S
        self._asked_s = -inf
        self._retry_s = inf
        self._reason = ""

    def request(self, attempt: int) -> Any:
        """Return the request as it travels under this attempt's id."""
        if self.lane is not None:
            return self.kind(attempt, self.lane.name, self.number, self.key, *self.rest)
        return self.kind(attempt, self.key, *self.rest)

    @property
    def wake_s(self) -> float:
        """When `passed` has something to do at the latest."""
        if self.attempts and not self.once:
            return min(self._retry_s, self._asked_s + PATIENCE_S, self.deadline_s)
        return min(self._retry_s, self.deadline_s)

    # -- events ----------------------------------------------------------------

    def began(self, now_s: float) -> Effect | None:
        """The caller wants it."""
        return self._ask_next(now_s)

    def sent(self, attempt: int, address: str) -> None:
        """An attempt is on its way, or will be before anything else happens."""
        self.attempts[attempt] = address

    def adopted(self, attempt: int, address: str, now_s: float) -> None:
        """The first attempt was sent before this object was made."""
        self.attempts[attempt] = address
        self._last = address
        self._asked_s = now_s

    def replied(self, attempt: int, reply: Reply, now_s: float) -> Effect | None:
        """A host answered an attempt."""
        address = self.attempts.pop(attempt, None)
        if address is None or self.result is not None:
            return None
        code = reply.code
        self._directory.answered = address
        if code == MOVED:
            return self._moved(address, reply, now_s)
        if code == UNAVAILABLE:
            self._reason = f"{address}: {reply.text}" if reply.text else self._reason
            return self._pause(now_s)
        if code in REFUSALS and self.may_be_applied:
            # An earlier attempt may lie in a host that this one knows nothing of.
            return GiveUp(f"refused ({reply.text}), but an earlier attempt got no answer", True)
        return Finish(reply)

    def lost(self, address: str, now_s: float) -> Effect | None:
        """The connection to a host broke; what it was asked may have been done."""
        gone = [attempt for attempt, where in self.attempts.items() if where == address]
        for attempt in gone:
            del self.attempts[attempt]
        if not gone:
            return None
        self.in_doubt = True
        if self.once:
            return GiveUp(f"{address}: the connection broke", True)
        return self._shun(address, "the connection broke", now_s)

    def unsent(self, attempt: int, reason: str, now_s: float) -> Effect | None:
        """An attempt provably did not leave this process."""
        address = self.attempts.pop(attempt, None)
        return None if address is None else self._shun(address, reason, now_s)

    def passed(self, now_s: float) -> Effect | None:
        """Time has passed."""
        if now_s >= self.deadline_s:
            return self._give_up()
        if now_s >= self._retry_s:
            return self._ask_next(now_s)
        if self.attempts and not self.once and now_s >= self._asked_s + PATIENCE_S:
            self._reason = f"{next(iter(self.attempts.values()))}: silent"
            self._asked_s = now_s
            return self._ask_next(now_s)
        return None

    @property
    def may_be_applied(self) -> bool:
        """Whether it was sent somewhere as more than a question, and not answered there."""
        return (self.lane is not None or self.once) and (self.in_doubt or bool(self.attempts))

    # -- rules -----------------------------------------------------------------

    def _moved(self, address: str, reply: Reply, now_s: float) -> Effect | None:
        to = reply.text
        if reply.version and reply.version != self.colony + 1 and type(self.key) is bytes:
            self.colony = reply.version - 1  # the cell alone lives there
            self._directory.sent_on(self.key, self.colony)
        if not to or to == address:
            self._reason = f"{address}: knows no primary"
            return self._pause(now_s)
        self._directory.moved(self.colony, to)
        self._reason = f"{address}: the primary is at {to}"
        self._hops += 1
        # B sends us to A, which just died or is silent: B will know better in a moment.
        if self._hops > HOPS_MAX or to in self.attempts.values() or self._is_avoided(to, now_s):
            return self._pause(now_s)
        return self._ask(to, now_s)

    def _shun(self, address: str, reason: str, now_s: float) -> Effect | None:
        if self._avoid is None:
            self._avoid = {}
        self._avoid[address] = now_s + AVOID_S
        self._reason = f"{address}: {reason}"
        return self._pause(now_s)

    def _is_avoided(self, address: str, now_s: float) -> bool:
        if self._avoid is not None and self._avoid.get(address, -inf) > now_s:
            return True
        return self._directory.is_silent(address, now_s)

    def _pause(self, now_s: float) -> Effect | None:
        self._hops = 0
        self._retry_s = now_s + self._backoff_s
        self._backoff_s = min(2 * self._backoff_s, BACKOFF_MAX_S)
        return None

    def _ask_next(self, now_s: float) -> Effect | None:
        address = self._choose(now_s)
        return self._ask(address, now_s) if address else self._pause(now_s)

    def _ask(self, address: str, now_s: float) -> Ask:
        self._retry_s = inf
        self._asked_s = now_s
        self._last = address
        return Ask(address)

    def _choose(self, now_s: float) -> str:
        """Filter, order, take the first: "" = all are being asked already."""
        primary = self._directory.primary_of(self.colony)
        if primary and not self._last and self._avoid is None and not self._directory.silent:
            return primary  # nearly always
        asked = self.attempts.values()
        if (
            primary
            and primary != self._last
            and primary not in asked
            and not self._is_avoided(primary, now_s)
        ):
            return primary
        if self.kind is Greet and self._directory.answered:  # those named may be gone long since
            ranked = [self._directory.answered, *self._directory.members, *self._directory.seeds]
        elif self.colony < 0:  # any host will do: first those that the user named
            ranked = [*self._directory.seeds, *self._directory.members]
        else:
            addresses = self._directory.addresses
            self._turn += 1
            ranked = [addresses[(self._turn + place) % len(addresses)] for place in range(len(addresses))]
        # Not the same host twice in a row: one that is cut off would say the same for ever.
        open_ones = [one for one in ranked if one not in asked]
        # First after the primary one that is surely in reach: there may be a copy, or news.
        opened = self._directory.opened if self._last in ("", primary) else ()
        open_ones.sort(
            key=lambda one: (
                self._is_avoided(one, now_s),
                one == self._last,
                bool(opened) and one not in opened,
            )
        )
        return open_ones[0] if open_ones else ""

    def _give_up(self) -> GiveUp:
        return GiveUp(self._reason or "no host answered", self.may_be_applied)
