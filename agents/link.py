"""The ZeroMQ door: every socket of a host, behind one poller.

Only the I/O thread that made the door may call it, except `Door.wake`.
Two ROUTERs receive (hosts on the link address, clients on the public one);
to other hosts everything leaves through DEALERs, one per host and plane,
each for one incarnation of a link: never reconnected, its identity never
used again. Nothing that arrives, however malformed, raises out of here.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Protocol

import zmq

from agents.messages.client import OK, Greet, Greeting
from agents.poller import Poller, Waker
from agents.wire import (
    CONTROL,
    FRAME_BYTES_MAX,
    Source,
    WireError,
    decode_greeting,
    decode_replies,
    encode,
    identity_of,
    source_of,
)

# What `Door.poll` found ready; bits of one int.
HOSTS, CLIENTS, LOST, WOKEN, GREETED = 1, 2, 4, 8, 16

# A dead *host* answers no ZMTP ping: noticed in 0.15 to 0.3 s, and a busy interpreter is never
# mistaken for one, since libzmq's own thread answers. (The wire carries the TTL in 0.1 s.)
PING_EVERY_MS, PONG_WITHIN_MS = 100, 300
CLIENT_PING_EVERY_MS, CLIENT_PONG_WITHIN_MS = 2_000, 10_000
CONNECT_MS = 1_000
HANDSHAKE_MS = 1_000
# The second line of defence behind the machines' credits, in ZeroMQ messages.
HOST_FRAMES_MAX = 10_000
CLIENT_FRAMES_MAX = 1_000
WAITING_FRAMES_MAX = 1_024  # frames kept while a pipe connects
DRAIN_BYTES_MAX = 8 * 1024 * 1024  # one turn takes no more from one plane
SOURCES_MAX = 4_096  # parsed identities remembered
GREETS_MAX = 64
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


class Security(Protocol):
    """Sets the security options of sockets before they bind or connect."""

    def serve(self, socket: zmq.Socket[bytes]) -> None:
        """Prepare a ROUTER of ours."""

    def connect(self, socket: zmq.Socket[bytes], public_key: str) -> None:
        """Prepare a DEALER to the host with this public key ("" = unknown)."""


class Door:
    """All sockets of one host.

    Args:
        listen: Public endpoint for clients and joiners, `tcp://IP:port`; port `*` = any free one.
        link: Endpoint for other hosts, likewise.
        security: Prepares each socket; None = plain.

    Raises:
        OSError: An endpoint can't be bound.
    """

    def __init__(self, listen: str, link: str, security: Security | None = None) -> None:
        self._sockets = _Sockets(security)
        self._poller = self._sockets.poller
        self._waker = Waker()
        self._pipes: dict[str, _Pipe] = {}
        self._greets: dict[str, _Greet] = {}
        self._sources: dict[bytes, Source | None] = {}
        self._lost: list[tuple[str, int, str]] = []
        self._greetings: list[tuple[str, Greeting | str]] = []
        self._unread = HOSTS | CLIENTS  # what may have been left by the last drain
        self._replied = False
        self._is_shut = False
        self.strangers = 0
        try:
            self._hosts = self._sockets.serve(link, HOST_FRAMES_MAX, clients=False)
            self._clients = self._sockets.serve(listen, CLIENT_FRAMES_MAX, clients=True)
        except OSError:
            self.shut()
            raise
        self._bits = {self._waker.fd: WOKEN, self._hosts.FD: HOSTS, self._clients.FD: CLIENTS}
        for fd in self._bits:
            self._poller.add(fd)

    @property
    def address(self) -> str:
        """The public endpoint as bound, with its real port."""
        return str(self._clients.getsockopt_string(zmq.LAST_ENDPOINT))

    @property
    def link_address(self) -> str:
        """The link endpoint as bound, with its real port."""
        return str(self._hosts.getsockopt_string(zmq.LAST_ENDPOINT))

    def poll(self, timeout_s: float) -> int:
        """Sleep until something is ready; return bits HOSTS | CLIENTS | LOST | WOKEN | GREETED.

        Returns at once while a drain budget left something behind. 0 = time is up.
        `timeout_s` < 0 is taken as 0.
        """
        if self._replied:
            # Sending took note of arrivals too, and the descriptor won't tell of them again.
            self._replied = False
            if int(self._clients.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
                self._unread |= CLIENTS
        if self._sockets.fresh:
            self._look_at(self._sockets.fresh)
            self._sockets.fresh = []
        if self._greets:
            timeout_s = min(timeout_s, self._expire_greets())
        if self._unread or self._lost or self._greetings or timeout_s < 0:
            timeout_s = 0
        found = 0
        for fd in self._poller.wait(timeout_s):
            bit = self._bits.get(fd)
            if bit is None:
                self._look_at([fd])
            else:
                found |= bit
        if found & WOKEN:
            self._waker.clear()
        self._unread |= found & (HOSTS | CLIENTS)
        if self._lost:
            found |= LOST
        if self._greetings:
            found |= GREETED
        return found | self._unread

    def receive_host_frames(self, budget: int) -> list[tuple[Source, bytes]]:
        """Return at most `budget` frames of hosts, with the DEALER each came from.

        Frames with an identity that is none of ours are dropped and counted in `strangers`.
        """
        frames: list[tuple[Source, bytes]] = []
        sources = self._sources
        for identity, data in self._drain(self._hosts, HOSTS, budget):
            source = sources.get(identity)
            if source is None:
                source = source_of(identity)
                if source is None:
                    self.strangers += 1
                    continue
                if len(sources) >= SOURCES_MAX:
                    sources.clear()
                sources[identity] = source
            frames.append((source, data))
        return frames

    def receive_client_frames(self, budget: int) -> list[tuple[bytes, bytes]]:
        """Return at most `budget` frames of clients as (client identity, frame)."""
        return self._drain(self._clients, CLIENTS, budget)

    def open(
        self, host: str, address: str, incarnation: int, own: tuple[str, int], public_key: str = ""
    ) -> None:
        """Connect to a host for one link incarnation (performs `OpenPipe`).

        Returns at once; what is sent before the connection stands is kept
        (bounded). Failure comes out of `lost`. An older incarnation to the same host is closed.

        Args:
            own: (host id, host incarnation) of this host.
        """
        before = self._pipes.pop(host, None)
        if before is not None:
            before.close(0)
        pipe = _Pipe(self._sockets, address, Source(*own, incarnation, CONTROL), public_key)
        self._pipes[host] = pipe
        self._try_plane(host, pipe, CONTROL)

    def close(self, host: str, incarnation: int, linger_s: float = 0.0) -> None:
        """Close a link incarnation (performs `ClosePipe`); what was queued dies, or has `linger_s` to leave.

        Nothing happens if it is closed already.
        """
        pipe = self._pipes.get(host)
        if pipe is not None and pipe.source.link == incarnation:
            del self._pipes[host]
            pipe.close(linger_s)

    def send(self, host: str, incarnation: int, plane: int, data: bytes) -> bool:
        """Send one frame (performs `SendFrame`, encoded).

        False: it could not be queued, or there is no such pipe. The frame is gone, and so is this
        incarnation: `lost` will say so.
        """
        pipe = self._pipes.get(host)
        if pipe is None or pipe.source.link != incarnation:
            return False
        dealer = pipe.planes.get(plane)
        if dealer is None:
            dealer = self._try_plane(host, pipe, plane)
        if dealer is None:
            return False
        if dealer.send(data):
            return True
        self._lose(host, incarnation, "it doesn't take what we send")
        return False

    def is_connected(self, host: str) -> bool:
        """Return whether the control plane to this host stands."""
        pipe = self._pipes.get(host)
        return pipe is not None and pipe.planes[CONTROL].is_connected

    def reply(self, client: bytes, data: bytes) -> bool:
        """Send one frame to a client; False: it is gone, or doesn't read."""
        self._replied = True
        try:
            self._clients.send(client, zmq.SNDMORE | zmq.NOBLOCK)
            self._clients.send(data, zmq.NOBLOCK)
        except zmq.ZMQError:
            return False
        return True

    def lost(self) -> list[tuple[str, int, str]]:
        """Return (host, link incarnation, reason) of the pipes lost since the last call; they are closed."""
        lost, self._lost = self._lost, []
        return lost

    def greet(self, address: str, tag: str = "", timeout_s: float = 2.0) -> None:
        """Ask the host at a public endpoint who it is; `greetings` has the answer.

        While the same address is being asked, another call does nothing.
        """
        if address in self._greets:
            return
        if len(self._greets) >= GREETS_MAX:
            self._greetings.append((address, f"{GREETS_MAX} greetings are under way already"))
            return
        try:
            self._greets[address] = _Greet(self._sockets, address, tag, timeout_s, self._greeted)
        except (zmq.ZMQError, OSError) as error:
            self._greetings.append((address, str(error)))

    def greetings(self) -> list[tuple[str, Greeting | str]]:
        """Return (address, greeting, or why there is none) of what `greet` asked for."""
        greetings, self._greetings = self._greetings, []
        return greetings

    def wake(self) -> None:
        """Make `poll` return WOKEN; any thread may call it, as often as it likes."""
        self._waker.wake()

    def shut(self, linger_s: float = 0.0) -> None:
        """Close everything; what is queued has `linger_s` to leave. A second call does nothing."""
        if self._is_shut:
            return
        self._is_shut = True
        for greet in self._greets.values():
            greet.close()
        for pipe in self._pipes.values():
            pipe.close(linger_s)
        self._pipes.clear()
        self._greets.clear()
        self._sockets.shut(linger_s)
        self._waker.close()

    # -- inside --------------------------------------------------------------

    def _look_at(self, fds: list[int]) -> None:
        for fd in fds:
            look = self._sockets.watched.get(fd)
            if look is not None:  # an event before this one may have closed it
                look()

    def _drain(self, router: zmq.Socket[bytes], bit: int, budget: int) -> list[tuple[bytes, bytes]]:
        """Receive until nothing is left, or the budget is used up."""
        frames: list[tuple[bytes, bytes]] = []
        receive = router.recv
        size = 0
        self._unread |= bit
        while budget > 0 and size < DRAIN_BYTES_MAX:
            try:
                identity = receive(zmq.NOBLOCK)
            except zmq.ZMQError:
                self._unread &= ~bit
                break
            budget -= 1
            data = receive()
            size += len(data)
            if router.getsockopt(zmq.RCVMORE):
                self.strangers += 1
                while router.getsockopt(zmq.RCVMORE):
                    receive()
                continue
            frames.append((identity, data))
        return frames

    def _try_plane(self, host: str, pipe: _Pipe, plane: int) -> _Dealer | None:
        try:
            return pipe.open(plane, lambda reason: self._lose(host, pipe.source.link, reason))
        except (zmq.ZMQError, OSError) as error:
            self._lose(host, pipe.source.link, str(error))
            return None

    def _lose(self, host: str, incarnation: int, reason: str) -> None:
        self.close(host, incarnation)
        self._lost.append((host, incarnation, reason))

    def _expire_greets(self) -> float:
        """Give up on greetings whose time is over; return seconds to the next."""
        now_s = time.monotonic()
        for greet in [greet for greet in self._greets.values() if greet.until_s <= now_s]:
            greet.end("no answer in time")
        return min((greet.until_s for greet in self._greets.values()), default=now_s + 60) - now_s

    def _greeted(self, address: str, answer: Greeting | str) -> None:
        greet = self._greets.pop(address, None)
        if greet is not None:
            greet.close()
            self._greetings.append((address, answer))


class _Sockets:
    """Makes sockets with our options, and watches file descriptors."""

    def __init__(self, security: Security | None) -> None:
        self._security = security
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, SOCKETS_MAX)
        self.poller = Poller()
        self.watched: dict[int, Callable[[], None]] = {}  # file descriptor -> what to do
        # ZeroMQ signals arrivals only to a reader that has found nothing once: look, then wait.
        self.fresh: list[int] = []

    def watch(self, fd: int, look: Callable[[], None]) -> None:
        self.watched[fd] = look
        self.fresh.append(fd)
        self.poller.add(fd)

    def forget(self, fd: int) -> None:
        del self.watched[fd]
        self.poller.remove(fd)

    def serve(self, endpoint: str, frames_max: int, *, clients: bool) -> zmq.Socket[bytes]:
        """Return a ROUTER bound to this endpoint."""
        router = self._socket(zmq.ROUTER, endpoint, frames_max)
        if clients:
            router.setsockopt(zmq.ROUTER_MANDATORY, 1)
            router.setsockopt(zmq.HEARTBEAT_IVL, CLIENT_PING_EVERY_MS)
            router.setsockopt(zmq.HEARTBEAT_TIMEOUT, CLIENT_PONG_WITHIN_MS)
        try:
            if self._security is not None:
                self._security.serve(router)
            router.bind(endpoint)
        except zmq.ZMQError as error:
            router.close()
            raise OSError(error.errno, f"can't listen on {endpoint}: {error.strerror}") from None
        return router

    def dial(
        self, address: str, public_key: str, identity: bytes = b""
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
            dealer.setsockopt(zmq.HEARTBEAT_IVL, PING_EVERY_MS)
            dealer.setsockopt(zmq.HEARTBEAT_TIMEOUT, PONG_WITHIN_MS)
            dealer.setsockopt(zmq.HEARTBEAT_TTL, PONG_WITHIN_MS)
            if self._security is not None:
                self._security.connect(dealer, public_key)
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
        self._context.destroy(linger=round(linger_s * 1000))

    def _socket(self, kind: int, endpoint: str, frames_max: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.set_hwm(frames_max)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, FRAME_BYTES_MAX)
        socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        socket.setsockopt(zmq.IPV6, "[" in endpoint)
        return socket


class _Dealer:
    """One connection of ours: made once, never again.

    Args:
        on_lost: Called once, with the reason, when the connection is gone or never comes.
    """

    def __init__(
        self,
        sockets: _Sockets,
        address: str,
        public_key: str,
        identity: bytes,
        on_lost: Callable[[str], None],
    ) -> None:
        self.socket, self._monitor = sockets.dial(address, public_key, identity)
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


class _Pipe:
    """One incarnation of a link, this way: a DEALER for each plane, the bulk one once it is needed."""

    def __init__(self, sockets: _Sockets, address: str, source: Source, public_key: str) -> None:
        self.source = source
        self.planes: dict[int, _Dealer] = {}
        self._sockets = sockets
        self._address = address
        self._public_key = public_key

    def open(self, plane: int, on_lost: Callable[[str], None]) -> _Dealer:
        identity = identity_of(self.source._replace(plane=plane))
        dealer = _Dealer(self._sockets, self._address, self._public_key, identity, on_lost)
        self.planes[plane] = dealer
        return dealer

    def close(self, linger_s: float) -> None:
        for dealer in self.planes.values():
            dealer.close(linger_s)


class _Greet:
    """One question to a public endpoint: who are you?"""

    def __init__(
        self,
        sockets: _Sockets,
        address: str,
        tag: str,
        timeout_s: float,
        on_end: Callable[[str, Greeting | str], None],
    ) -> None:
        self.until_s = time.monotonic() + timeout_s
        self._address = address
        self._on_end = on_end
        self._sockets = sockets
        self._dealer = _Dealer(sockets, address, "", b"", self.end)
        self._fd = self._dealer.socket.FD
        sockets.watch(self._fd, self._look)
        self._dealer.send(encode([Greet(0, tag=tag)]))

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
