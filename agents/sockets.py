"""Sockets with our options, and single connections made of them.

A connection is made once: it comes to stand, is lost, and is never made
again by itself. What it is for begins anew with another one.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

import zmq

from agents.curve import CLIENTS, HOSTS, HostKeys, Zap
from agents.gate import Gate
from agents.guarded import FRAME_BYTES_MAX as CLIENT_FRAME_BYTES_MAX
from agents.guarded import IN_FRAMES, OUT_FRAMES, Guarded
from agents.messages.client import OK, Greet, Greeting
from agents.poller import Poller
from agents.refusals import Refusals
from agents.turnstile import Bounds
from agents.wire import (
    BULK,
    FRAME_BYTES_MAX,
    Source,
    WireError,
    decode_greeting,
    decode_replies,
    encode,
    identity_of,
)

# A dead *host* answers no ZMTP ping: noticed in 0.2 to 0.4 s, and a busy interpreter is never
# mistaken for one, since libzmq's own thread answers. (The wire carries the TTL in 0.1 s.)
PING_EVERY_MS, PONG_WITHIN_MS = 100, 300
CALM_TIMES = 10  # the bulk plane's are rarer: the other one tells of a death
CLIENT_PING_EVERY_MS, CLIENT_PONG_WITHIN_MS = 2_000, 10_000
GONE_MS = 30_000  # what a client does not acknowledge, or has no room for, for so long
CONNECT_MS = 500  # a lost first packet is repeated by the kernel after 1 s only: rather begin anew
HANDSHAKE_MS = 1_000
# The second line of defence behind the machines' credits, in ZeroMQ messages.
HOST_FRAMES_MAX = 10_000
WAITING_FRAMES_MAX = 1_024  # frames kept while a pipe connects
SOCKETS_MAX = 16_384

_CONNECTED = zmq.EVENT_HANDSHAKE_SUCCEEDED
_FAILURES = {
    zmq.EVENT_DISCONNECTED: "disconnected",
    zmq.EVENT_CLOSED: "can't connect",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "handshake failed",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "handshake failed: not ZeroMQ's protocol",
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "handshake failed: not authorised",
}
_WATCHED = sum(_FAILURES) + _CONNECTED
_EVENT = struct.Struct("=hi")


class Sockets:
    """Makes sockets with our options, and watches file descriptors."""

    def __init__(self, keys: HostKeys | None, refusals: Refusals) -> None:
        self._keys = keys
        self._refusals = refusals
        self.frame_bytes_max = FRAME_BYTES_MAX
        # With keys, clients have a thread to themselves: hosts' pings must not wait behind handshakes.
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(1 if keys is None else 2)
        self._context.set(zmq.MAX_SOCKETS, SOCKETS_MAX)
        self.poller = Poller()
        self.watched: dict[int, Callable[[], None]] = {}  # file descriptor -> what to do
        # ZeroMQ signals arrivals only to a reader that has found nothing once: look, then wait.
        self.fresh: list[int] = []
        self._zap = None if keys is None else Zap(self._context, keys, refusals, self.watch)
        self.gates: list[Gate] = []

    def watch(self, fd: int, look: Callable[[], None]) -> None:
        self.watched[fd] = look
        self.fresh.append(fd)
        self.poller.add(fd)

    def forget(self, fd: int) -> None:
        del self.watched[fd]
        self.poller.remove(fd)

    def serve(self, endpoint: str, frames_max: int) -> zmq.Socket[bytes]:
        """Return a ROUTER for hosts, bound to this endpoint."""
        router = self._socket(zmq.ROUTER, endpoint, frames_max)
        try:
            if self._keys is not None:
                router.setsockopt(zmq.AFFINITY, 1)
                self._keys.serve(router, HOSTS)
            router.bind(endpoint)
        except zmq.ZMQError as error:
            router.close()
            raise OSError(error.errno, f"can't listen on {endpoint}: {error.strerror}") from None
        if self._keys is not None:
            self.gates.append(Gate(router, "hosts", Bounds(), self._refusals, self.watch))
        return router

    def serve_clients(self, endpoint: str, keys: HostKeys) -> Guarded:
        """Return the clients' endpoint, which demands keys."""
        router = self._socket(zmq.ROUTER, endpoint, OUT_FRAMES)
        router.setsockopt(zmq.RCVHWM, IN_FRAMES)
        router.setsockopt(zmq.MAXMSGSIZE, CLIENT_FRAME_BYTES_MAX)
        router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        router.setsockopt(zmq.HEARTBEAT_IVL, CLIENT_PING_EVERY_MS)
        router.setsockopt(zmq.HEARTBEAT_TIMEOUT, CLIENT_PONG_WITHIN_MS)
        router.setsockopt(zmq.TCP_MAXRT, GONE_MS)
        router.setsockopt(zmq.AFFINITY, 2)
        try:
            keys.serve(router, CLIENTS)
            router.bind(endpoint)
        except zmq.ZMQError as error:
            router.close()
            raise OSError(error.errno, f"can't listen on {endpoint}: {error.strerror}") from None
        guarded = Guarded(router, keys, self._refusals, Bounds(), self)
        self.gates.append(guarded.gate)
        return guarded

    def dial(
        self, address: str, public_key: str, identity: bytes = b"", *, calm: bool = False
    ) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
        """Return a DEALER that will connect to this address, and its monitor.

        Raises:
            OSError: The address is none that we connect to.
            zmq.ZMQError: Likewise.
        """
        if not address.startswith("tcp://"):  # a stranger's word must not reach ipc:// or inproc://
            raise OSError(f"{address!r} is no tcp:// address")
        dealer = self._socket(zmq.DEALER, address, HOST_FRAMES_MAX)
        try:
            if identity:
                dealer.setsockopt(zmq.IDENTITY, identity)
            dealer.setsockopt(zmq.IMMEDIATE, 1)
            dealer.setsockopt(zmq.RECONNECT_IVL, -1)
            dealer.setsockopt(zmq.CONNECT_TIMEOUT, CONNECT_MS)
            slower = CALM_TIMES if calm else 1
            dealer.setsockopt(zmq.HEARTBEAT_IVL, slower * PING_EVERY_MS)
            dealer.setsockopt(zmq.HEARTBEAT_TIMEOUT, slower * PONG_WITHIN_MS)
            dealer.setsockopt(zmq.HEARTBEAT_TTL, slower * PONG_WITHIN_MS)
            if self._keys is not None:
                dealer.setsockopt(zmq.AFFINITY, 1)
                self._keys.connect(dealer, public_key)
            monitor = dealer.get_monitor_socket(_WATCHED)
            dealer.connect(address)
        except (zmq.ZMQError, OSError):
            dealer.disable_monitor()
            dealer.close()
            raise
        return dealer, monitor

    def shut(self, linger_s: float) -> None:
        for fd in list(self.watched):
            self.forget(fd)
        for gate in self.gates:
            gate.close()
        self._context.destroy(linger=round(linger_s * 1000))

    def _socket(self, kind: int, endpoint: str, frames_max: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.set_hwm(frames_max)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, self.frame_bytes_max)
        socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        socket.setsockopt(zmq.IPV6, "[" in endpoint)
        return socket


class Dealer:
    """One connection of ours: made once, never again.

    Args:
        on_lost: Called once, with the reason, when the connection is gone or never comes.
    """

    def __init__(
        self,
        sockets: Sockets,
        address: str,
        public_key: str,
        identity: bytes,
        on_lost: Callable[[str], None],
        *,
        calm: bool = False,
    ) -> None:
        self.socket, self._monitor = sockets.dial(address, public_key, identity, calm=calm)
        self._sockets = sockets
        self._on_lost = on_lost
        self.is_connected = False
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._monitor_fd = self._monitor.FD
        sockets.watch(self._monitor_fd, self._look)
        self._is_open = True

    def send(self, data: bytes) -> bool:
        """Queue a frame; False = there is no room."""
        if not self.is_connected:
            self._waiting.append(data)
            self._waiting_bytes += len(data)
            return len(self._waiting) <= WAITING_FRAMES_MAX and self._waiting_bytes <= FRAME_BYTES_MAX
        try:
            self.socket.send(data, zmq.NOBLOCK)
            return True
        except zmq.ZMQError:
            pass
        try:
            # ZeroMQ looks for room freed by the other thread at most once a millisecond, unless asked.
            self.socket.getsockopt(zmq.EVENTS)
            self.socket.send(data, zmq.NOBLOCK)
        except zmq.ZMQError:
            return False
        return True

    def close(self, linger_s: float) -> None:
        if not self._is_open:
            return
        self._is_open = False
        self._sockets.forget(self._monitor_fd)
        self.socket.disable_monitor()
        self._monitor.close(0)
        self.socket.close(round(linger_s * 1000))

    def _look(self) -> None:
        """Read the monitor's events until there are no more."""
        while self._is_open:
            try:
                message = self._monitor.recv_multipart(zmq.NOBLOCK)
            except zmq.ZMQError:
                return
            event, _ = _EVENT.unpack(message[0][: _EVENT.size])
            if event == _CONNECTED:
                self._connected()
            elif event in _FAILURES:
                self._on_lost(_FAILURES[event])

    def _connected(self) -> None:
        self.socket.getsockopt(zmq.EVENTS)  # lets the socket see its pipe, or the first send would fail
        self.is_connected = True
        waiting, self._waiting = self._waiting, []
        if not all(map(self.send, waiting)):
            self._on_lost("it doesn't take what we send")


class Pipe:
    """One incarnation of a link, this way: a DEALER for each plane, the bulk one once it is needed."""

    def __init__(self, sockets: Sockets, address: str, source: Source, public_key: str) -> None:
        self.source = source
        self.planes: dict[int, Dealer] = {}
        self._sockets = sockets
        self._address = address
        self._public_key = public_key

    def open(self, plane: int, on_lost: Callable[[str], None]) -> Dealer:
        identity = identity_of(self.source._replace(plane=plane))
        calm = plane == BULK
        dealer = Dealer(self._sockets, self._address, self._public_key, identity, on_lost, calm=calm)
        self.planes[plane] = dealer
        return dealer

    def close(self, linger_s: float) -> None:
        for dealer in self.planes.values():
            dealer.close(linger_s)


class Question:
    """One question to a public endpoint: who are you?"""

    def __init__(
        self,
        sockets: Sockets,
        address: str,
        tag: str,
        timeout_s: float,
        on_end: Callable[[str, Greeting | str], None],
    ) -> None:
        self.until_s = time.monotonic() + timeout_s
        self._address = address
        self._on_end = on_end
        self._sockets = sockets
        self._dealer = Dealer(sockets, address, "", b"", self.end)
        self._fd = self._dealer.socket.FD
        sockets.watch(self._fd, self._look)
        self._dealer.send(encode([Greet(0, 0, tag)]))

    def end(self, answer: Greeting | str) -> None:
        self._on_end(self._address, answer)

    def close(self) -> None:
        self._sockets.forget(self._fd)
        self._dealer.close(0)

    def _look(self) -> None:
        """Take the answer; the descriptor also tells of things that are none."""
        try:
            data = self._dealer.socket.recv(zmq.NOBLOCK)
            reply = decode_replies(data)[0]
            self.end(decode_greeting(reply.value or b"") if reply.code == OK else reply.text)
        except zmq.Again:
            return
        except (zmq.ZMQError, WireError, IndexError) as error:
            self.end(f"no greeting: {error}")
