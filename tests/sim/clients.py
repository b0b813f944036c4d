"""Simulated clients: they call, retry, give up, and write down what they saw.

A client has one lane and one operation under way. It retries with the same
lane and number at another host (or where a host says the primary is) until
its time-out, and then says *unknown* unless every attempt was told that
nothing was applied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from agents.messages.client import (
    ABSENT,
    CONFLICT,
    IF_ABSENT,
    IF_VERSION,
    MOVED,
    OK,
    UNAVAILABLE,
    Delete,
    Get,
    Mutate,
    Patch,
    Put,
    Reply,
    Request,
)
from agents.messages.replication import Dna
from agents.sim_clock import Chance, Timeline
from tests.sim.history import Code, Operation

CODES: dict[int, Code] = {OK: "ok", ABSENT: "absent", CONFLICT: "conflict"}
APPEND = b"append:"


def run_closure(dna: bytes | None, closure: bytes) -> bytes:
    """Do what a simulated closure says: append a token."""
    token = closure.removeprefix(APPEND)
    return token if dna is None else dna + b"," + token


def run_merge(winner: Dna | None, loser: Dna | None) -> Dna | None:
    """Do what a simulated merge function does: keep every token of both, in one order."""
    if isinstance(winner, tuple) or isinstance(loser, tuple):
        attributes = [one for dna in (winner, loser) if isinstance(dna, tuple) for one in dna]
        return tuple(sorted(dict(attributes).items()))
    both = [dna for dna in (winner, loser) if isinstance(dna, bytes)]
    return b",".join(sorted({token for dna in both for token in dna.split(b",")})) if both else None


class Hosts(Protocol):
    """What a client needs of a simulated cluster."""

    timeline: Timeline

    def addresses(self) -> list[str]:
        """Return the public addresses that a client may try."""
        ...

    def ask(self, client: Any, address: str, request: Request) -> None:
        """Send a request; its reply, if any, goes to `client.replied`."""
        ...


@dataclass(frozen=True, slots=True)
class Habits:
    """How clients behave.

    Attributes:
        think_s: Longest pause between two operations.
        attempt_s: How long one attempt is waited for.
        give_up_s: How long an operation is tried.
        mix: Kind of operation and its weight.
    """

    think_s: float = 1.2
    attempt_s: float = 0.4
    give_up_s: float = 3.0
    mix: tuple[tuple[str, int], ...] = (
        ("get", 32), ("put", 16), ("append", 28), ("cas", 10), ("add", 6), ("delete", 8),
    )  # fmt: skip


@dataclass(slots=True)
class _Call:
    """An operation under way."""

    operation: Operation
    request: Request
    until_s: float
    attempts: int = 0
    unanswered: set[int] = field(default_factory=set)


class Client:
    """One client: one lane, one operation at a time.

    Args:
        name: Also its lane.
        hosts: The cluster.
        chance: Seeded chance.
        keys: Cells it works on; those that start with "a" are only appended
            to and read, those that start with "s" only patched and read.
        history: Where what it did and saw is written down.
        operations: How many operations it does.
    """

    def __init__(
        self,
        name: str,
        hosts: Hosts,
        chance: Chance,
        keys: Sequence[str],
        history: list[Operation],
        operations: int,
        habits: Habits | None = None,
    ) -> None:
        self.name = name
        self.left = operations
        self._hosts = hosts
        self._chance = chance
        self._keys = keys
        self._history = history
        self._habits = habits or Habits()
        self._kinds = [kind for kind, weight in self._habits.mix for _ in range(weight)]
        self._timeline = hosts.timeline
        self._number = 0
        self._ids = 0
        self._call: _Call | None = None
        self._where = ""
        self._versions: dict[str, int] = {}
        self.reads: list[Operation] = []
        self._to_read: list[str] = []
        self._read_s = 0.0

    @property
    def is_done(self) -> bool:
        """Whether all its operations have returned."""
        return self._call is None and not self.left

    def start(self) -> None:
        """Begin, after a pause."""
        self._timeline.after(self._chance.random() * self._habits.think_s, self._next)

    def stop(self) -> None:
        """Begin no more operations."""
        self.left = 0

    def read(self, keys: Sequence[str], give_up_s: float) -> None:
        """Read each key once, in order, trying each for `give_up_s`; see `reads`."""
        self.left = 0
        self._to_read = list(keys)
        self._read_s = give_up_s
        self._timeline.after(0.0, self._next)

    # -- one operation ---------------------------------------------------------

    def _next(self) -> None:
        if self._to_read:
            self._begin("get", self._to_read.pop(0), self._read_s)
            return
        if not self.left:
            return
        self.left -= 1
        key = self._chance.choice(self._keys)
        kind = self._chance.choice(self._kinds)
        if key[0] in "as" and kind != "get":
            kind = "append" if key[0] == "a" else "patch"
        self._begin(kind, key, self._habits.give_up_s)

    def _begin(self, kind: str, key: str, give_up_s: float) -> None:
        now_s = self._timeline.now_s
        operation = Operation(client=self.name, key=key, kind="get", call_s=now_s, return_s=now_s)
        if kind != "get":
            self._number += 1
            operation.kind = "put" if kind in ("cas", "add") else kind  # type: ignore[assignment]
            operation.argument = "" if kind == "delete" else f"{self.name}.{self._number}"
        if kind == "cas":
            operation.only_if, operation.expected = "version", self._versions.get(key, 0)
        elif kind == "add":
            operation.only_if = "absent"
        request = self._request(operation)
        self._call = _Call(operation, request, now_s + give_up_s)
        self._attempt(self._call)

    def _request(self, op: Operation) -> Request:
        lane, number, key = self.name.encode(), self._number, op.key.encode()
        if op.kind == "get":
            return Get(0, key)
        if op.kind == "append":
            return Mutate(0, lane, number, key, APPEND + op.argument.encode())
        if op.kind == "patch":
            return Patch(0, lane, number, key, ((op.argument, b""),))
        if op.kind == "delete":
            return Delete(0, lane, number, key)
        only_if = {"any": 0, "absent": IF_ABSENT, "version": IF_VERSION}[op.only_if]
        return Put(0, lane, number, key, op.argument.encode(), only_if=only_if, version=op.expected)

    def _attempt(self, call: _Call) -> None:
        self._ids += 1
        call.attempts += 1
        call.unanswered.add(self._ids)
        request = _with_id(call.request, self._ids)
        address = self._where or self._chance.choice(self._hosts.addresses())
        self._hosts.ask(self, address, request)
        self._timeline.after(self._habits.attempt_s, self._timed_out, call, self._ids)

    def _timed_out(self, call: _Call, request_id: int) -> None:
        if call is self._call and request_id == self._ids:
            self._where = ""
            self._again(call, 0.0)

    def _again(self, call: _Call, pause_s: float) -> None:
        if self._timeline.now_s + pause_s >= call.until_s:
            self._gave_up(call)
        else:
            self._timeline.after(pause_s, self._if_current, call, self._ids)

    def _if_current(self, call: _Call, request_id: int) -> None:
        if call is self._call and request_id == self._ids:
            self._attempt(call)

    def _gave_up(self, call: _Call) -> None:
        self._finish(call, "unknown" if call.unanswered else "failed")

    def replied(self, reply: Reply) -> None:
        """Take a reply, to this attempt or to an earlier one."""
        call = self._call
        if call is None or reply.id not in call.unanswered:
            return
        if reply.code in CODES:
            operation = call.operation
            operation.code = CODES[reply.code]
            operation.version = reply.version
            if operation.kind == "get":
                operation.value = _read(reply)
            if operation.code == "ok":
                self._versions[operation.key] = reply.version
            self._finish(call, "ok")
            return
        call.unanswered.discard(reply.id)
        if reply.id != self._ids:
            return  # an earlier attempt; the present one goes on
        if reply.code == MOVED:
            self._where = reply.text
            self._again(call, 0.0 if call.attempts % 4 else 0.1)
        else:
            assert reply.code == UNAVAILABLE, f"a simulated client is never told {reply}"
            self._where = ""
            self._again(call, 0.05 + self._chance.random() * 0.1)

    def _finish(self, call: _Call, outcome: str) -> None:
        call.operation.outcome = outcome  # type: ignore[assignment]
        call.operation.return_s = self._timeline.now_s
        self._history.append(call.operation)
        self._call = None
        if self._read_s:
            self.reads.append(call.operation)
            self._next()
        else:
            self._timeline.after(self._chance.random() * self._habits.think_s, self._next)


def _read(reply: Reply) -> str | None:
    if reply.attributes is not None:
        return ",".join(name for name, _ in reply.attributes)
    return reply.value.decode() if reply.value is not None else None


def _with_id(request: Request, request_id: int) -> Request:
    fields = [getattr(request, name) for name in request.__struct_fields__[1:]]
    return type(request)(request_id, *fields)
