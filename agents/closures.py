"""Closures at the primary: functions of clients that run on a cell, once, one at a time.

Other requests for the cell wait meanwhile. What a closure returned is
sequenced as a mutation of its client's lane; what it refused, or raised, as
a refusal. A closure still running at the end of a primacy has done nothing.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple, Protocol

import msgspec

from agents import migration
from agents.cells import Cell, dna_bytes
from agents.effects import Answer, Effect, RunClosure
from agents.evaluate import expiry, is_live
from agents.messages.client import BAD, FAILED, FULL, OK, UNAVAILABLE, Mutate, Mutation, Reply
from agents.messages.replication import DEATH, PUT, Entry
from agents.moving import Primary as Mover
from agents.surroundings import Surroundings

Out = list[Effect]
STOPPING = "the whole cluster is being stopped"


class Primary(Mover, Protocol):
    """A primary, as closures see it: see `agents.primary`."""

    closures: Closures

    def request(self, caller: Any, request: Any, now_s: float, out: Out) -> None:
        """Take a client's request: answer it, sequence it, or let it wait."""

    def release(self, key: bytes) -> deque[tuple[Any, Any]]:
        """No function runs on a cell any more: return who waited for it."""

    def is_repeat(self, caller: Any, request: Mutation, out: Out) -> bool:
        """At most once: answer a retry from what is known of its lane."""

    def refuse(self, caller: Any, request: Mutation, reply: Reply, now_s: float, out: Out) -> None:
        """Sequence a refusal: it is answered when it is committed, and with it what it rests on."""

    def sequence(
        self,
        entry: Entry,
        before: Cell | None,
        now_s: float,
        out: Out,
        caller: tuple[Any, int] | None = None,
    ) -> None:
        """Give a mutation its place, and send it to every peer."""


class Running(NamedTuple):
    """A closure that runs in the worker pool."""

    caller: Any
    request: Mutate
    seen: bool  # whether the cell lived when the closure began


class Closures:
    """What runs on the cells of one colony.

    Attributes:
        asked: Lane -> ticket of its closure that runs.
        running: Ticket -> what runs.
    """

    __slots__ = ("asked", "running")

    def __init__(self) -> None:
        self.asked: dict[bytes, int] = {}
        self.running: dict[int, Running] = {}

    def is_repeat(self, ticket: int, caller: Any, request: Mutation) -> bool:
        """Return whether a request asks again for what runs, or for less; if so, its caller is answered."""
        running = self.running[ticket]
        if running.request.number == request.number:
            assert isinstance(request, Mutate), "one number of a lane is one request"
            self.running[ticket] = running._replace(caller=caller, request=request)
        return running.request.number >= request.number

    def dismissed(self) -> list[tuple[Any, Mutate]]:
        """Forget all that runs: its results mean nothing any more. Return who waited for them."""
        waited = [(running.caller, running.request) for running in self.running.values()]
        self.running.clear()
        self.asked.clear()
        return waited


def run(primary: Primary, caller: Any, request: Mutate, now_s: float, out: Out) -> None:
    """Have a closure run on a cell as it stands, and let others wait for that cell."""
    _, cell = primary.latest(request.key)
    live = cell if is_live(cell, primary.peer.clock_s(now_s)) else None
    if live is not None and not isinstance(live[2], bytes):
        text = "this cell holds attributes; change them through a session"
        primary.refuse(caller, request, Reply(request.id, BAD, live[0], text=text), now_s, out)
        return
    ticket = primary.hold(request.key)
    primary.closures.running[ticket] = Running(caller, request, live is not None)
    primary.closures.asked[request.lane] = ticket
    dna = live[2] if live is not None and isinstance(live[2], bytes) else None
    out.append(RunClosure(ticket, dna, request.closure))


def ran(
    primary: Primary, ticket: int, dna: bytes | None, failure: Reply | None, now_s: float, out: Out
) -> None:
    """A closure is done: sequence its result, then who waited for the cell."""
    closures = primary.closures
    running = closures.running.pop(ticket, None)
    if running is None:
        return
    caller, request, _ = running
    if closures.asked.get(request.lane) == ticket:
        del closures.asked[request.lane]
    waited = primary.release(request.key)
    if not primary.is_repeat(caller, request, out):  # its lane may have gone on without it
        _take_result(primary, running, dna, failure, now_s, out)
    if primary.moves is not None:
        migration.freed(primary, request.key, now_s, out)
    for later in waited:
        primary.request(*later, now_s, out)


def _take_result(
    primary: Primary, running: Running, dna: bytes | None, failure: Reply | None, now_s: float, out: Out
) -> None:
    """Sequence what a closure returned, or tell its client why not."""
    caller, request, seen = running
    _, cell = primary.latest(request.key)
    live = cell if is_live(cell, primary.peer.clock_s(now_s)) else None
    host, reply = primary.peer.host, None
    if host.frozen:
        reply = Reply(request.id, UNAVAILABLE, text=STOPPING)
    elif not primary.is_open or primary.transfers.handing is not None:
        reply = Reply(request.id, UNAVAILABLE, text="the primary changed while the closure ran")
    elif failure is not None:
        reply = msgspec.structs.replace(failure, id=request.id)
        primary.refuse(caller, request, reply, now_s, out)
        return
    elif seen and live is None:  # what it saw is gone, and reads have said so
        reply = Reply(request.id, UNAVAILABLE, text="the cell expired while the closure ran")
    elif dna is not None and len(dna) > host.limits.value_bytes_max:
        reply = Reply(request.id, FAILED, text=f"the closure's value has {len(dna)} bytes")
        primary.refuse(caller, request, reply, now_s, out)
        return
    elif dna is not None and _has_no_room(host, live, len(request.key), dna):
        reply = Reply(request.id, FULL, text="this host's memory limit is reached")
    if reply is not None:
        out.append(Answer(caller, reply))
    else:
        _sequence(primary, caller, request, dna, live, now_s, out)


def _has_no_room(host: Surroundings, live: Cell | None, key_bytes: int, dna: bytes) -> bool:
    """Return whether what a function made of a cell is too much."""
    if live is not None and len(dna) <= dna_bytes(live[2]):
        return False
    if not host.is_full(key_bytes + len(dna)):
        return False
    host.refused_birth()
    return True


def _sequence(
    primary: Primary,
    caller: Any,
    request: Mutate,
    dna: bytes | None,
    live: Cell | None,
    now_s: float,
    out: Out,
) -> None:
    peer = primary.peer
    expires_s = expiry(request.ttl_ms, live, peer.clock_s(now_s))
    kind = PUT if dna is not None else DEATH
    entry = Entry(peer.last + 1, kind, request.key, dna, (), expires_s, request.lane, request.number, OK, dna)
    primary.sequence(entry, live, now_s, out, caller=(caller, request.id))
