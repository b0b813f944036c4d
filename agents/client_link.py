"""The client's connections to the public endpoints of hosts.

A link is one TCP connection: it is opened once, never reconnected, and its
identity is never used again, so no reply to an earlier link can come out of
it. Plain ones speak ZeroMQ's protocol themselves (`TcpLink`); encrypted ones,
and those that nobody may read for a while, go through ZeroMQ. A broken link
shows at once. Only the thread (or loop) that opened a link uses it.

After a fork the child must not touch what the parent opened: `forks` grows
there, the context is made anew, and links of before are just forgotten.
"""

from __future__ import annotations

import asyncio
import os
import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import zmq
from zmq.utils.monitor import recv_monitor_message

from agents.poller import Poller, Waker
from agents.tcp_link import SLICE_S, TcpLink

__all__ = ["SLICE_S", "Curve", "Link", "Links", "TcpLink", "ZmqLink", "link_to"]

SOCKETS_MAX = 16_000  # threads x hosts; ZeroMQ's own default of 1,023 is too few
FRAMES_MAX = 1000  # in a row: then others have their turn
HEARTBEAT_MS = 1000  # a host that is gone without a word breaks the link in three of these

_OPENING = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_CLOSED
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CONNECT_RETRIED
)
_WHY = {
    int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL): "the handshake failed: is its host.pub ours?",
    int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL): "it has no keys, or is no host",
    int(
        zmq.EVENT_HANDSHAKE_FAILED_AUTH
    ): "it does not know our key: its list of authorized ones does not hold it",
}

forks = 0
_context: zmq.Context[zmq.Socket[bytes]] | None = None
_lock = threading.Lock()


def _forked() -> None:
    global forks, _context, _lock
    forks += 1
    _context = None
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _shared_context() -> zmq.Context[zmq.Socket[bytes]]:
    global _context
    with _lock:
        if _context is None:
            _context = zmq.Context()
            _context.set(zmq.MAX_SOCKETS, min(SOCKETS_MAX, int(_context.get(zmq.SOCKET_LIMIT))))
        return _context


@dataclass(frozen=True, slots=True)
class Curve:
    """Keys of a client's encrypted links, Z85 text as bytes.

    Attributes:
        public: The client's public key.
        secret: The client's secret key.
        server: The public key that the hosts share.
    """

    public: bytes
    secret: bytes
    server: bytes


def _events(socket: zmq.Socket[bytes]) -> int:
    events: Any = socket.get(zmq.EVENTS)
    return int(events)


def _descriptor(socket: zmq.Socket[bytes]) -> int:
    descriptor: Any = socket.get(zmq.FD)
    return int(descriptor)


class Link(Protocol):
    """What a client does with a connection; see `TcpLink`."""

    @property
    def address(self) -> str: ...
    @property
    def tells_edges(self) -> bool: ...
    @property
    def fd(self) -> int: ...
    @property
    def is_lost(self) -> bool: ...
    @property
    def is_ready(self) -> bool: ...
    @property
    def is_clogged(self) -> bool: ...
    @property
    def is_stale(self) -> bool: ...
    def open(self, timeout_s: float) -> str: ...
    async def open_soon(self, timeout_s: float) -> str: ...
    async def take_soon(self, timeout_s: float) -> bytes | None: ...
    def follow(self, loop: asyncio.AbstractEventLoop, readable: Callable[[], None]) -> None: ...
    def send(self, frame: bytes) -> bool: ...
    def push(self) -> None: ...
    def receive(self) -> bytes | None: ...
    def take_all(self) -> list[bytes]: ...
    def is_found_broken(self) -> bool: ...
    def look_after(self, now_s: float) -> None: ...
    def close(self, loop: asyncio.AbstractEventLoop | None = None) -> None: ...


def link_to(address: str, curve: Curve | None) -> Link:
    """Return a link that is still to be opened; raises `OSError` if the address makes no sense."""
    return TcpLink(address) if curve is None else ZmqLink(address, curve)


class ZmqLink:
    """One connection to one host through ZeroMQ, whose thread keeps it alive.

    A broken one shows at once: a DEALER with `IMMEDIATE` has no pipe then,
    and is not writable.

    Args:
        address: The host's public endpoint, `tcp://…`.
        curve: Keys; None = plain.

    Raises:
        OSError: The address makes no sense, or there are too many sockets.
    """

    __slots__ = ("_forks", "_monitor", "_socket", "address")
    tells_edges = True
    is_clogged = False

    def __init__(self, address: str, curve: Curve | None = None) -> None:
        self.address = address
        self._forks = forks
        socket: zmq.Socket[bytes] = _shared_context().socket(zmq.DEALER)
        self._socket = socket
        self._monitor: zmq.Socket[bytes] | None = None
        socket.linger = 0
        socket.immediate = True
        socket.reconnect_ivl = -1
        socket.sndhwm = 0  # windows bound what is under way; not writable then means broken
        socket.rcvhwm = 0
        socket.set(zmq.RCVTIMEO, int(SLICE_S * 1000))
        socket.set(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        socket.set(zmq.HEARTBEAT_TIMEOUT, 3 * HEARTBEAT_MS)
        if curve is not None:
            socket.curve_publickey, socket.curve_secretkey = curve.public, curve.secret
            socket.curve_serverkey = curve.server
        try:
            self._monitor = socket.get_monitor_socket(_OPENING)
            socket.connect(address)
        except zmq.ZMQError:
            self.close()
            raise

    def open(self, timeout_s: float) -> str:
        """Wait until the link stands; return "" or why it does not."""
        end_s = time.monotonic() + timeout_s
        while (verdict := self._opened()) is None:
            left_s = end_s - time.monotonic()
            if left_s <= 0 or self._monitor is None:
                return "no connection in time"
            self._monitor.poll(int(left_s * 1000) + 1)
        return verdict

    async def open_soon(self, timeout_s: float) -> str:
        """Like `open`, on the running loop."""
        loop = asyncio.get_running_loop()
        assert self._monitor is not None, "a link is opened once"
        told = asyncio.Event()
        descriptor = _descriptor(self._monitor)
        loop.add_reader(descriptor, told.set)
        try:
            async with asyncio.timeout(timeout_s):
                while (verdict := self._opened()) is None:
                    # ZeroMQ's descriptor tells of edges: look again after each, not before.
                    await told.wait()
                    told.clear()
        except TimeoutError:
            return "no connection in time"
        finally:
            loop.remove_reader(descriptor)
        return verdict

    def _opened(self) -> str | None:
        monitor = self._monitor
        while monitor is not None and _events(monitor) & zmq.POLLIN:
            event = int(recv_monitor_message(monitor)["event"])
            if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                self._unmonitor()
                return ""
            return _WHY.get(event, "no connection")
        return None

    def _unmonitor(self) -> None:
        monitor, self._monitor = self._monitor, None
        if monitor is not None:
            self._socket.disable_monitor()
            monitor.close(linger=0)

    async def take_soon(self, timeout_s: float) -> bytes | None:
        """Return the next frame, or None if none comes in time; before `follow` only."""
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        descriptor = _descriptor(self._socket)
        loop.add_reader(descriptor, told.set)
        try:
            async with asyncio.timeout(timeout_s):
                while not self._has_frames and not self.is_lost:
                    await told.wait()
                    told.clear()
        except TimeoutError:
            return None
        finally:
            loop.remove_reader(descriptor)
        try:
            return self._socket.recv(zmq.DONTWAIT)
        except zmq.Again:
            return None

    def send(self, frame: bytes) -> bool:
        """Send one frame; False: the link is broken, and the frame was not sent."""
        try:
            self._socket.send(frame, zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def receive(self) -> bytes | None:
        """Return the next frame, or None if none comes within `SLICE_S`."""
        try:
            return self._socket.recv()
        except zmq.Again:
            return None

    def take_all(self) -> list[bytes]:
        """Return the frames that are there already."""
        taken: list[bytes] = []
        try:
            while self._has_frames and len(taken) < FRAMES_MAX:
                taken.append(self._socket.recv(zmq.DONTWAIT))
        except zmq.Again:
            pass
        return taken

    @property
    def _has_frames(self) -> bool:
        return bool(_events(self._socket) & zmq.POLLIN)

    @property
    def is_ready(self) -> bool:
        """Whether there is something to see at once; to be asked before each wait.

        ZeroMQ's descriptors tell of edges, and sending takes note of them.
        """
        return _events(self._socket) != zmq.POLLOUT

    @property
    def is_lost(self) -> bool:
        """Whether the link broke; what came before may still be taken."""
        return not _events(self._socket) & zmq.POLLOUT

    @property
    def is_stale(self) -> bool:
        """Whether the link broke while nobody called."""
        return self.is_lost

    def is_found_broken(self) -> bool:
        """Return whether the link broke while nobody called."""
        return self.is_lost

    def push(self) -> None:
        """Do nothing: ZeroMQ sends what was queued."""

    def look_after(self, now_s: float) -> None:
        """Do nothing: ZeroMQ asks silent hosts whether they are there."""

    @property
    def fd(self) -> int:
        """What to wait for; it tells of edges."""
        return _descriptor(self._socket)

    def follow(self, loop: asyncio.AbstractEventLoop, readable: Callable[[], None]) -> None:
        """Call `readable` when something may have come, or the link may have broken.

        ZeroMQ's descriptor tells of edges only: `readable` must take all
        frames, and be called after each send too.
        """
        loop.add_reader(_descriptor(self._socket), readable)

    def close(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Close the link; what was queued dies. A second call does nothing."""
        if self._socket.closed:
            return
        if loop is not None and not loop.is_closed():
            loop.remove_reader(_descriptor(self._socket))
        self._unmonitor()
        self._socket.close(linger=0)

    def __del__(self) -> None:
        # A thread ended, or a store was dropped. What a parent opened is not ours to touch.
        if self._forks == forks and not self._socket.closed:
            self.close()


class Links:
    """The links of one thread, by address, and waiting for all of them.

    Attributes:
        by_address: The open links; look, but add and drop by the methods.
    """

    def __init__(self) -> None:
        self.by_address: dict[str, Link] = {}
        self._poller = Poller()
        self._waker: Waker | None = None

    def add(self, link: Link) -> None:
        """Wait for this link too."""
        self.by_address[link.address] = link
        self._poller.add(link.fd)

    def drop(self, link: Link) -> None:
        """Close a link."""
        if self.by_address.pop(link.address, None) is not None:
            self._poller.remove(link.fd)
            link.close()

    def close(self) -> None:
        """Close all links."""
        for link in list(self.by_address.values()):
            self.drop(link)

    def bell(self) -> Waker:
        """Return what makes `wait` return early, from any thread."""
        if self._waker is None:
            self._waker = Waker()
            self._poller.add(self._waker.fd)
        return self._waker

    def wait(self, timeout_s: float) -> None:
        """Sleep until a link has frames, room or broke, or the bell rings; at most `timeout_s`."""
        clogged: list[Link] = []
        for link in self.by_address.values():
            if link.is_ready:
                return
            if link.is_clogged:
                clogged.append(link)
        waker = self._waker
        if clogged:
            self._await_room(clogged, max(0.0, timeout_s))
            if waker is not None:
                waker.clear()
        elif waker is not None:
            if waker.fd in self._poller.wait(max(0.0, timeout_s)):
                waker.clear()
        else:
            self._poller.wait(max(0.0, timeout_s))

    def _await_room(self, clogged: list[Link], timeout_s: float) -> None:
        """Wait like `wait`, and for room; rare, so that the usual wait may be cheap."""
        poll = select.poll()
        for link in self.by_address.values():
            poll.register(link.fd, select.POLLIN)
        for link in clogged:
            poll.register(link.fd, select.POLLIN | select.POLLOUT)
        if self._waker is not None:
            poll.register(self._waker.fd, select.POLLIN)
        poll.poll(timeout_s * 1000)
        for link in clogged:
            link.push()
