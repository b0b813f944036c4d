"""The blocking thin client that the threads of a process share.

Each thread has a wire of its own; a pump takes over while many call at once.
A store survives a fork: the child starts with connections and lanes of its
own.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from weakref import WeakSet

from agents import client_link
from agents.client_link import SLICE_S, Curve
from agents.messages.client import Reply
from colony.calls import Finish, GiveUp
from colony.directory import Directory
from colony.drafts import Draft
from colony.errors import Closed, OutcomeUnknown, Unavailable
from colony.lanes import Lane, LaneSource
from colony.pump import CROWD_MIN, Pump
from colony.wires import Wire

IDLE_WIRES_MAX = 16  # each keeps a connection to each host


class _Seat:
    """A thread's hold on its wire; the wire is free for another when the thread ends."""

    __slots__ = ("_free", "wire")

    def __init__(self, wire: Wire, free: deque[Wire]) -> None:
        self.wire = wire
        self._free = free

    def __del__(self) -> None:
        self._free.append(self.wire)


class Client:
    """The blocking client that the threads of a process share.

    Args:
        seeds: Public addresses of some hosts.
        curve: Keys of encrypted connections; None = plain.
    """

    def __init__(self, seeds: tuple[str, ...], *, tag: str = "", curve: Curve | None = None) -> None:
        self.directory = Directory(seeds, tag)
        self.curve = curve
        self.is_closed = False
        self._reborn()

    def _reborn(self) -> None:
        self.source = LaneSource()
        self.forks = client_link.forks
        self._local = threading.local()
        self._lock = threading.Lock()
        self._crowd_lock = threading.Lock()
        self._wires: WeakSet[Wire] = WeakSet()
        # Servers with a thread per request need not connect for each: wires outlive their threads.
        self._free: deque[Wire] = deque(maxlen=IDLE_WIRES_MAX)
        self._inside: set[Wire] = set()
        self._pump: Pump | None = None

    def wire(self) -> Wire:
        """Return this thread's wire, its `busy` held; the caller releases it."""
        if self.is_closed:
            raise Closed("the store is closed")
        if self.forks != client_link.forks:
            self._reborn()  # we are a child: nothing of the parent's may be used here
        seat: _Seat | None = getattr(self._local, "seat", None)
        if seat is None:
            try:
                wire = self._free.pop()
            except IndexError:
                wire = self._new_wire()
            seat = self._local.seat = _Seat(wire, self._free)
        wire = seat.wire
        if not wire.busy.acquire(blocking=False):
            # A signal handler or a finalizer calls in the middle of this thread's call.
            wire = self._new_wire()
            wire.busy.acquire()
        return wire

    def _new_wire(self) -> Wire:
        wire = Wire(self.directory, self.source, self.curve, self._is_over)
        with self._lock:
            self._wires.add(wire)
        return wire

    def _is_over(self) -> bool:
        return self.is_closed

    # -- calls -----------------------------------------------------------------

    def mutate(self, draft: Draft, timeout_s: float) -> Reply:
        """Return the reply to a mutation; raises `ColonyError`."""
        pump = self._pump
        if pump is not None and self._is_crowded(pump):
            return pump.run(draft, self.directory.colony_of(draft[1]), timeout_s, mutating=True)
        wire = self._enter()
        try:
            return wire.mutate(draft, timeout_s)
        finally:
            self._leave(wire)

    def read(self, draft: Draft, timeout_s: float, colony: int | None = None) -> Reply:
        """Return the reply to a read, of `colony` or else of the key's."""
        if not self.directory.colonies:
            self.learn(timeout_s)
        if colony is None:
            colony = self.directory.colony_of(draft[1])
        pump = self._pump
        if pump is not None and self._is_crowded(pump):
            return pump.run(draft, colony, timeout_s, mutating=False)
        wire = self._enter()
        try:
            return wire.read(draft, colony, timeout_s)
        finally:
            self._leave(wire)

    def _is_crowded(self, pump: Pump) -> bool:
        return pump.is_wanted and not self.is_closed and self.forks == client_link.forks

    def _enter(self) -> Wire:
        wire = self.wire()
        self._inside.add(wire)
        if len(self._inside) > CROWD_MIN:
            self._crowd()
        return wire

    def _leave(self, wire: Wire) -> None:
        self._inside.discard(wire)
        wire.busy.release()

    def _crowd(self) -> None:
        """Many threads call at once: let a pump carry what they ask from now on."""
        with self._crowd_lock:
            if self._pump is not None:
                self._pump.want()
            elif self.directory.colonies and not self.is_closed:
                wire = Wire(self.directory, self.source, self.curve, self._is_over)
                self._pump = Pump(wire, self._is_over)

    def resume(self, draft: Draft, lane: Lane, timeout_s: float) -> Reply:
        """Return the reply to a mutation that was sent before, some other way; raises `ColonyError`."""
        wire = self.wire()
        try:
            if not self.directory.colonies:
                timeout_s = wire.learn(timeout_s)
            return wire.resume(draft, lane, timeout_s)
        except Unavailable as error:
            raise OutcomeUnknown(str(error)) from None
        finally:
            wire.busy.release()

    def order(self, draft: Draft, timeout_s: float, *, once: bool) -> Reply:
        """Return some host's reply to an operator's command."""
        wire = self.wire()
        try:
            return wire.order(draft, timeout_s, once=once)
        finally:
            wire.busy.release()

    def many(
        self,
        drafts: Iterable[Draft],
        timeout_s: float,
        *,
        mutating: bool,
        then: Callable[[int, Finish | GiveUp], None],
    ) -> None:
        """Run many calls of one kind; `then(place, result)` as they end."""
        self.learn(timeout_s)
        wire = self.wire()
        try:
            wire.many(drafts, timeout_s, mutating=mutating, then=then)
        finally:
            wire.busy.release()

    def learn(self, timeout_s: float) -> Directory:
        """Return the directory, filled; asks only if it is not."""
        if not self.directory.colonies:
            wire = self.wire()
            try:
                wire.learn(timeout_s)
            finally:
                wire.busy.release()
        return self.directory

    def close(self) -> None:
        """Close all connections; calls under way in other threads end with an error."""
        if self.is_closed:
            return
        self.is_closed = True
        if self.forks != client_link.forks:
            return
        if self._pump is not None:
            self._pump.wake()
        with self._lock:
            wires = list(self._wires)
        for wire in wires:
            if wire.busy.acquire(timeout=10 * SLICE_S):  # its thread sees `is_closed` within a slice
                wire.close()
                wire.busy.release()


def seeds_in(addresses: str | Iterable[str]) -> tuple[str, ...]:
    """Return addresses given as one comma-separated string or as several.

    Raises:
        TypeError: They are no strings.
        ValueError: One is no `tcp://` or `ipc://` address, or there is none.
    """
    parts = addresses.split(",") if isinstance(addresses, str) else list(addresses)
    if not all(isinstance(part, str) for part in parts):
        raise TypeError("addresses are strings")
    seeds = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    if not seeds:
        raise ValueError("give the address of at least one host, such as tcp://127.0.0.1:7420")
    for seed in seeds:
        host, _, port = seed.removeprefix("tcp://").rpartition(":")
        if not seed.startswith("tcp://") or not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"{seed!r} is no address of a host, such as tcp://127.0.0.1:7420")
    return seeds
