"""The public endpoint without keys: plain TCP, read by the host itself.

A ROUTER in ZeroMQ's protocol, without ZeroMQ's thread between: connections
lie in the same poller as all else. Each has bounds (bytes a turn, bytes that
wait for a slow reader, time for its handshake), and whoever breaks them, or
speaks nonsense, loses the connection; nothing raises out of here. Peers that
are gone without a word are found by TCP's own probes.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from typing import Any

from agents.poller import Poller
from agents.refusals import Refusals
from agents.turnstile import Bounds, Turnstile, plain_address
from agents.zmtp import HOST_GREETING, Conversation, ZmtpError, framed, header, refusal

# Generous: a machine may run a thousand threads, each with a connection of its own.
BOUNDS = Bounds(connections_max=8_192, per_source_max=4_096, burst=2_048, per_s=1_000.0, young_max=1_024)
ACCEPTS = 64  # a turn
BACKLOG = 1_024
HANDSHAKE_S = 2.0
RETRY_S = 0.1  # after accepting failed, mostly for want of descriptors
READ_BYTES = 64 * 1024  # per connection and turn
LARGE_READ_BYTES = 1024 * 1024  # ... while a frame misses more than that
TURN_BYTES_MAX = 128 * 1024  # of all connections: some 1 ms of cells, then others are served
CLOGGED_BYTES = 1024 * 1024  # unsent: its requests wait until it has read
UNSENT_BYTES_MAX = 256 * 1024 * 1024  # requests taken before that may ask for much
QUOTA_BYTES = 512 * 1024 * 1024  # what all connections together may hold: unsent, and large frames half read
GONE_MS = 30_000  # what was sent and is not acknowledged, or finds no room, for so long
_PROBES = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", GONE_MS))

UNREAD = "it does not read what it asked for"

_SEND = getattr(socket, "MSG_NOSIGNAL", 0) | socket.MSG_DONTWAIT
_IN, _OUT = 1, 4  # POLLIN and EPOLLIN, POLLOUT and EPOLLOUT


class Connection:
    """One peer: what it said, and what it has not read yet.

    Attributes:
        identity: What `Front.take` calls it.
    """

    __slots__ = ("address", "fd", "half", "identity", "socket", "talk", "unsent", "until_s", "watched")

    def __init__(
        self, peer: socket.socket, address: str, identity: Any, frame_bytes_max: int, until_s: float
    ) -> None:
        self.socket = peer
        self.address = address
        self.half = 0  # bytes of a large frame that has not come as a whole
        self.fd = peer.fileno()
        self.identity = identity
        self.talk = Conversation(frame_bytes_max, is_host=True)
        self.unsent = bytearray()
        self.until_s = until_s
        self.watched = 0  # what the poller is asked to tell


def listen_on(endpoint: str) -> socket.socket:
    """Return a listening socket; raises `OSError` with the endpoint in its text."""
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    port = "0" if port == "*" else port
    listener: socket.socket | None = None
    try:
        if not endpoint.startswith("tcp://") or not host or not (port.isascii() and port.isdecimal()):
            raise OSError(errno.EINVAL, "it is no tcp:// address")
        if int(port) > 65_535:
            raise OSError(errno.EINVAL, "there is no such port")
        bare = "0.0.0.0" if host == "*" else host.strip("[]")
        family, kind, protocol, _, where = socket.getaddrinfo(
            bare, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(where)
        listener.listen(BACKLOG)
    except (OSError, UnicodeError) as error:
        if listener is not None:
            listener.close()
        number = error.errno if isinstance(error, OSError) else errno.EINVAL
        text = error.strerror if isinstance(error, OSError) else str(error)
        raise OSError(number, f"can't listen on {endpoint}: {text}") from None
    return listener


class Front:
    """The listening socket and its connections; belongs to the I/O thread.

    Args:
        endpoint: `tcp://IP:port`; port `*` or 0 = any free one.
        poller: Where the descriptors lie.
        frame_bytes_max: Larger frames cost the connection.

    Attributes:
        address: The endpoint with its real port.
        fd: Of the listening socket; when it is readable, call `accept`.
        connections: By descriptor.
        ready: Of these, the ones that may have something to take.
        refusals: Told of who is turned away.
        strangers: Peers that spoke nonsense, said nothing in time, or were too many; and dropped messages.

    Raises:
        OSError: The endpoint can't be bound.
    """

    def __init__(self, endpoint: str, poller: Poller, frame_bytes_max: int) -> None:
        self._listener = listen_on(endpoint)
        host, port = self._listener.getsockname()[:2]
        self.address = f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
        self.fd = self._listener.fileno()
        self.connections: dict[int, Connection] = {}
        self.ready: dict[int, Connection] = {}
        self.strangers = 0
        self.refusals = Refusals()
        self._turnstile = Turnstile(BOUNDS)
        self._bytes = 0  # what all connections hold
        self._poller = poller
        self._frame_bytes_max = frame_bytes_max
        self._by_identity: dict[Any, Connection] = {}
        self._young: dict[int, Connection] = {}  # before their handshake's end; the oldest first
        self._counter = 0
        self._is_held = False
        self._accept_at_s = 0.0  # when to try again; 0 = it works
        poller.add(self.fd)

    @property
    def count(self) -> int:
        """Connections that are open."""
        return len(self.connections)

    # -- coming and going ----------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether `expire` has something to look at."""
        return bool(self._young) or self._accept_at_s > 0

    def accept(self) -> None:
        """Take in who knocks, at most `ACCEPTS`."""
        for _ in range(ACCEPTS):
            try:
                peer, where = self._listener.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue
            except OSError:
                # Out of descriptors or memory: who knocks goes on knocking, so don't listen for a while.
                self._accept_at_s = time.monotonic() + RETRY_S
                self._poller.remove(self.fd)
                return
            try:
                self._enter(peer, plain_address(where[0]))
            except OSError:
                peer.close()

    def _enter(self, peer: socket.socket, address: str) -> None:
        """Let somebody in, or say why not."""
        peer.setblocking(False)
        now_s = time.monotonic()
        why = self._turnstile.enter(address, now_s)
        if why:
            self.strangers += 1
            self.refusals.add(address, why, now_s)
            peer.send(HOST_GREETING + refusal(why), _SEND)
            peer.close()
            return
        try:
            self._begin(peer, address, now_s)
        except OSError:
            self._turnstile.leave(address)
            raise
        if len(self._young) > self._turnstile.bounds.young_max:
            oldest = next(iter(self._young.values()))
            self.refusals.add(oldest.address, "others knock, and it does not end its handshake", now_s)
            self._hang_up(oldest)

    def _begin(self, peer: socket.socket, address: str, now_s: float) -> None:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _PROBES:
            if hasattr(socket, name):
                peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        peer.send(HOST_GREETING, _SEND)  # a new connection has room for it
        self._counter += 1
        identity = self._counter.to_bytes(8, "big")
        connection = Connection(peer, address, identity, self._frame_bytes_max, now_s + HANDSHAKE_S)
        self.connections[connection.fd] = self._young[connection.fd] = connection
        self._by_identity[identity] = connection
        self._watch(connection)

    def expire(self) -> float:
        """Hang up on who does not end its handshake; return seconds to the next."""
        now_s = time.monotonic()
        if 0 < self._accept_at_s <= now_s:
            self._accept_at_s = 0.0
            self._poller.add(self.fd)
        next_s = self._accept_at_s or now_s + HANDSHAKE_S
        for connection in list(self._young.values()):
            if connection.until_s > now_s:
                next_s = min(next_s, connection.until_s)
                break
            self._hang_up(connection)
        return next_s - now_s

    def _hang_up(self, connection: Connection) -> None:
        self.strangers += 1
        self._close(connection)

    def _close(self, connection: Connection) -> None:
        if self.connections.pop(connection.fd, None) is None:
            return
        self.ready.pop(connection.fd, None)
        if self._young.pop(connection.fd, None) is not None:
            connection.talk.messages.clear()  # what came with a handshake that was not accepted is nobody's
        self._by_identity.pop(connection.identity, None)
        if connection.watched:
            self._poller.remove(connection.fd)
        self._bytes -= len(connection.unsent) + connection.half
        connection.unsent.clear()
        connection.half = 0
        connection.socket.close()
        self._turnstile.leave(connection.address)

    def shut(self, linger_s: float) -> None:
        """Close everything; what waits for slow readers has `linger_s` to leave. Twice does nothing."""
        if self._listener.fileno() < 0:
            return
        until_s = time.monotonic() + linger_s
        while (left_s := until_s - time.monotonic()) > 0:
            poll = select.poll()
            waiting = [connection for connection in self.connections.values() if connection.unsent]
            if not waiting:
                break
            for connection in waiting:
                poll.register(connection.fd, _OUT)
            poll.poll(left_s * 1000)
            for connection in waiting:
                self._push(connection)
        for connection in list(self.connections.values()):
            self._close(connection)
        if self._accept_at_s == 0:
            self._poller.remove(self.fd)
        self._listener.close()

    # -- what comes ----------------------------------------------------------------

    def hold(self, is_held: bool) -> None:
        """Read no more, or again: TCP holds the clients back meanwhile."""
        self._is_held = is_held
        for connection in self.connections.values():
            self._watch(connection)

    def see(self, connection: Connection) -> bool:
        """Note that the poller told of a connection; return whether there may be something to take."""
        if connection.unsent:
            self._push(connection)
            if connection.fd not in self.connections:
                return False
        if not connection.watched & _IN:
            return False
        if not connection.talk.is_open:  # a handshake waits for nobody
            self._read(connection)
            if not connection.talk.messages:
                return False
        self.ready[connection.fd] = connection
        return True

    def take(self, budget: int) -> list[tuple[Any, bytes]]:
        """Return at most `budget` messages as (identity, message); what is left stays `ready`."""
        taken: list[tuple[Any, bytes]] = []
        size = 0
        for fd, connection in self._in_turn():
            if budget <= 0 or size >= TURN_BYTES_MAX:
                break
            messages = connection.talk.messages
            if not messages:
                size += self._read(connection)
            while messages and budget > 0:
                taken.append((connection.identity, messages.popleft()))
                budget -= 1
            self.ready.pop(fd, None)
            if messages and fd in self.connections:
                self.ready[fd] = connection  # behind the others
        return taken

    def _in_turn(self) -> list[tuple[int, Connection]]:
        """Return those that are ready, in the order in which they are served."""
        return list(self.ready.items())

    def _admit(self, connection: Connection) -> bool:
        """Return whether one whose handshake is over may stay."""
        return True

    def _read(self, connection: Connection) -> int:
        """Read once; return how many bytes came."""
        talk = connection.talk
        is_large = talk.missing > READ_BYTES
        try:
            data = connection.socket.recv(LARGE_READ_BYTES if is_large else READ_BYTES)
        except BlockingIOError:
            return 0
        except OSError:
            self._close(connection)
            return 0
        if not data:
            self._close(connection)
            return 0
        try:
            talk.received(data)
        except ZmtpError:
            self._hang_up(connection)
            return len(data)
        if is_large or connection.half:
            self._weigh(connection)
        if talk.dropped:
            self.strangers += talk.dropped
            talk.dropped = 0
        if talk.answers:
            answers, talk.answers = talk.answers, b""
            self._send(connection, answers)
        if connection.fd in self._young and talk.is_open:
            if self._admit(connection):
                del self._young[connection.fd]
            else:
                self._hang_up(connection)
        return len(data)

    def _weigh(self, connection: Connection) -> None:
        """Count what has come of a large frame."""
        half = connection.talk.buffered
        self._bytes += half - connection.half
        connection.half = half
        if self._bytes > QUOTA_BYTES:
            self._shrink()

    def _shrink(self) -> None:
        """Keep all connections together below the quota: the largest ones go first."""
        held = sorted(
            (len(connection.unsent) + connection.half, fd) for fd, connection in self.connections.items()
        )
        while self._bytes > QUOTA_BYTES and held:
            connection = self.connections[held.pop()[1]]
            why = f"all connections together hold more than {QUOTA_BYTES >> 20} MiB here"
            self.refusals.add(connection.address, why, time.monotonic())
            self._hang_up(connection)

    # -- what leaves ---------------------------------------------------------------

    def reply(self, identity: bytes, data: bytes) -> bool:
        """Send a message; False: its peer is gone, or reads too slowly and is closed."""
        connection = self._by_identity.get(identity)
        if connection is None:
            return False
        if len(data) > READ_BYTES and not connection.unsent:
            # Large: what fits leaves without a copy.
            return self._send(connection, header(data)) and self._send(connection, data)
        return self._send(connection, framed(data))

    def is_clogged(self, identity: Any) -> bool:
        """Return whether a peer has much to read."""
        connection = self._by_identity.get(identity)
        return connection is not None and len(connection.unsent) >= CLOGGED_BYTES

    def drop(self, identity: Any) -> None:
        """Hang up on a peer that does not read."""
        connection = self._by_identity.get(identity)
        if connection is not None:
            self.refusals.add(connection.address, UNREAD, time.monotonic())
            self._hang_up(connection)

    def _send(self, connection: Connection, data: bytes) -> bool:
        unsent = connection.unsent
        if unsent:
            if len(unsent) > UNSENT_BYTES_MAX:
                self.refusals.add(connection.address, UNREAD, time.monotonic())
                self._close(connection)
                return False
            unsent += data
            self._bytes += len(data)
        else:
            try:
                sent = connection.socket.send(data, _SEND)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._close(connection)
                return False
            if sent == len(data):
                return True
            unsent += memoryview(data)[sent:]
            self._bytes += len(data) - sent
        self._watch(connection)
        if self._bytes > QUOTA_BYTES:
            self._shrink()
        return connection.fd in self.connections

    def _push(self, connection: Connection) -> None:
        """Send what found no room before, as far as there is room now."""
        try:
            sent = connection.socket.send(connection.unsent, _SEND)
            del connection.unsent[:sent]
            self._bytes -= sent
        except BlockingIOError:
            return
        except OSError:
            self._close(connection)
            return
        self._watch(connection)

    def _watch(self, connection: Connection) -> None:
        """Have the poller tell what may be done now, and no more: it would tell of it all the time."""
        size = len(connection.unsent)
        is_unread = not self._is_held and size < CLOGGED_BYTES
        wanted = (_IN if is_unread else 0) | (_OUT if size else 0)
        if wanted == connection.watched:
            return
        if not connection.watched:
            self._poller.add(connection.fd, wanted)
        elif wanted:
            self._poller.change(connection.fd, wanted)
        else:  # not even told that it is gone, or a held one would be told of without end
            self._poller.remove(connection.fd)
        connection.watched = wanted
