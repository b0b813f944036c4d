"""The gate of an endpoint with keys: connections counted, bounded, cut.

ZeroMQ accepts by itself, and tells of it: whoever is one too many is hung up
on at once. It has no way to close one connection of a ROUTER, so this shuts
down the connection's own descriptor, after a look whether it still is one of
this endpoint; ZeroMQ then finds it closed.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable

import zmq

from agents.refusals import Refusals
from agents.turnstile import Bounds, Turnstile, plain_address

_EVENT = struct.Struct("=HI")
_ACCEPTED, _DISCONNECTED = int(zmq.EVENT_ACCEPTED), int(zmq.EVENT_DISCONNECTED)
YOUNG_S = 1.0  # ZeroMQ gives a handshake no more time


class Gate:
    """Watches one ROUTER's connections.

    Args:
        router: Bound.
        name: Tells the gates of one context apart.
        bounds: What it takes.
        refusals: Told of who is refused.
        watch: Has a descriptor watched.
        on_gone: Called with the descriptor of a connection that ended.

    Attributes:
        open: Source addresses by the descriptors of open connections.
        young: When connections began that have said nothing yet, the oldest first.
    """

    def __init__(
        self,
        router: zmq.Socket[bytes],
        name: str,
        bounds: Bounds,
        refusals: Refusals,
        watch: Callable[[int, Callable[[], None]], None],
        on_gone: Callable[[int], None] = lambda fd: None,
    ) -> None:
        self.open: dict[int, str] = {}
        self.young: dict[int, float] = {}
        self._router = router
        self._turnstile = Turnstile(bounds)
        self._refusals = refusals
        self._on_gone = on_gone
        self._port = int(router.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])
        address = f"inproc://gate-{name}-{id(self)}"
        router.monitor(address, _ACCEPTED | _DISCONNECTED)
        self._monitor: zmq.Socket[bytes] = router.context.socket(zmq.PAIR)
        self._monitor.setsockopt(zmq.LINGER, 0)
        self._monitor.set_hwm(0)  # or ZeroMQ's thread would wait for us
        self._monitor.connect(address)
        watch(self._monitor.FD, self.look)

    def look(self) -> None:
        """Take note of who came and went."""
        while True:
            try:
                event, value = _EVENT.unpack_from(self._monitor.recv_multipart(zmq.NOBLOCK)[0])
            except (zmq.ZMQError, struct.error):
                return
            if event == _ACCEPTED:
                self._accepted(value)
            elif event == _DISCONNECTED:
                self._gone(value)

    def _accepted(self, fd: int) -> None:
        if fd in self.open:
            self._gone(fd)
        address = self._peer(fd)
        if not address:
            return  # gone already
        now_s = time.monotonic()
        while self.young and self.young[oldest := next(iter(self.young))] < now_s - YOUNG_S:
            del self.young[oldest]  # it is through, or ZeroMQ has cut it
        young_max = self._turnstile.bounds.young_max
        why = self._turnstile.enter(address, now_s)
        if not why:
            self.open[fd] = address
            self.young[fd] = now_s
            if len(self.young) > young_max:
                why = f"{young_max} handshakes are under way already"
        if why:
            self._refusals.add(address, why, now_s)
            self.hang_up(fd, address)

    def _gone(self, fd: int) -> None:
        self.young.pop(fd, None)
        address = self.open.pop(fd, None)
        if address is not None:
            self._turnstile.leave(address)
            self._on_gone(fd)

    def _peer(self, fd: int) -> str:
        """Return the address at the other end of a connection of this endpoint, or ""."""
        try:
            with socket.socket(fileno=os.dup(fd)) as copy:
                return plain_address(copy.getpeername()[0]) if self._is_ours(copy) else ""
        except OSError:
            return ""

    def _is_ours(self, connection: socket.socket) -> bool:
        """Return whether a descriptor, which may have been used again, is a connection of this endpoint."""
        name = connection.getsockname()
        return isinstance(name, tuple) and name[1] == self._port

    def hang_up(self, fd: int, address: str) -> bool:
        """Cut a connection from this address; False: it was gone already."""
        try:
            with socket.socket(fileno=os.dup(fd)) as copy:
                if not self._is_ours(copy) or plain_address(copy.getpeername()[0]) != address:
                    return False
                copy.shutdown(socket.SHUT_RDWR)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Watch no more; a second call does nothing."""
        if not self._monitor.closed:
            self._router.disable_monitor()
            self._monitor.close(0)
