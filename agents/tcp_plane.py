"""Links without keys: plain TCP in ZeroMQ's framing, read by the host itself.

What `sockets.Pipe` and a ROUTER are to links with keys, without a thread of
ZeroMQ's between: connections lie in the same poller as all else. Each is
made once, for one plane of one link incarnation; whatever goes wrong with
it, too much waiting in it included, ends it, and nothing is sent twice.

Who is gone without a word: a process, by the end of its connection; a
machine, by TCP's silence; a stalled interpreter, by the PINGs that it does
not answer, as late as the failure detector would find that itself. A loop
that was late itself forgives the others as much.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
import time
from collections.abc import Callable

from agents.front import Connection, Front
from agents.poller import Poller, Waker, new_vigil
from agents.tcp_link import endpoint_of
from agents.wire import CONTROL, FRAME_BYTES_MAX, Source, identity_of, source_of
from agents.zmtp import COMMAND_BYTES_MAX, OPENING, PING, Conversation, ZmtpError, framed, header

CONNECT_S = 0.5  # the kernel repeats a lost first packet after 1 s only: rather begin anew
HANDSHAKE_S = 1.0
WAITING_FRAMES_MAX = 1_024  # frames kept while a connection is made
UNSENT_BYTES_MAX = (
    2 * FRAME_BYTES_MAX
)  # the machines' credits stay far below: one frame more than the largest
SMALL_BYTES = 64 * 1024  # up to here a copy costs less than a list of two parts
LOOK_EVERY_S = 0.1
PING_EVERY_S = 0.5
LENT_MAX = 4  # connections; with more, telling two pollers costs more than a wake-up
SILENCE_S = 2.5  # the detector's 2 s for a host whose link stands, and a PING that it answered before them
GONE_S = 1.0  # without even TCP's acknowledgement: the detector's patience with a broken link is no shorter
USER_TIMEOUT_MS = 3_000  # where nobody tells of acknowledgements
LATE_S = 0.1  # behind the time we wanted to look: our own stall

_SEND = getattr(socket, "MSG_NOSIGNAL", 0) | socket.MSG_DONTWAIT
_IN, _OUT = 1, 4
# Of Linux's struct tcp_info: what is sent and not acknowledged, and milliseconds since any acknowledgement.
_UNACKED_AT, _LAST_ACK_AT = 24, 56


def place_of(address: str) -> tuple[int, tuple[str, int]] | None:
    """Return (address family, where) to connect to; None = it is a name, which takes time to look up.

    Raises:
        OSError: It is no address.
    """
    host, port = endpoint_of(address)
    if not host or port > 65_535:
        raise OSError(errno.EINVAL, f"{address!r} is no address of a host")
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return family, (host, port)
    return None


class Incoming(Front):
    """The connections of other hosts; `take` says of each frame which `Source` it is of.

    Attributes:
        poll: Tells of control planes only, and of `bell`: for a caller that waits for its own ack.
        bell: Wakes that caller.
    """

    def __init__(self, endpoint: str, poller: Poller, frame_bytes_max: int) -> None:
        super().__init__(endpoint, poller, frame_bytes_max)
        self.poll = Poller()
        self.poll.vigil = new_vigil()
        self.bell = Waker()
        self.poll.add(self.bell.fd)
        self._lendable: dict[int, Connection] = {}
        self._lent: list[Connection] = []
        self._is_shut = False

    def lend(self, links_max: int = LENT_MAX) -> bool:
        """Have `poll` alone tell of control planes, until `take_back`; False: that can't be had."""
        if not self.poll.is_shared or len(self._lendable) > links_max:
            return False
        for connection in self._lendable.values():
            if connection.watched == _IN:
                self._poller.change(connection.fd, 0)  # of its end all are told
                self._lent.append(connection)
        return True

    def take_back(self) -> None:
        """Have the host's own poller tell of them again."""
        while self._lent:
            connection = self._lent.pop()
            if self.connections.get(connection.fd) is connection and connection.watched == _IN:
                self._poller.change(connection.fd, _IN)

    def _close(self, connection: Connection) -> None:
        if self._lendable.pop(connection.fd, None) is not None:
            self.poll.remove(connection.fd)
        super()._close(connection)

    def shut(self, linger_s: float) -> None:
        """Close everything. Twice does nothing."""
        super().shut(linger_s)
        if not self._is_shut:
            self._is_shut = True
            self.bell.close()

    def _admit(self, connection: Connection) -> bool:
        source = source_of(connection.talk.peer)
        if source is None or source in self._by_identity:  # none of ours, or an identity used again
            return False
        del self._by_identity[connection.identity]
        connection.identity = source
        self._by_identity[source] = connection
        if source.plane == CONTROL:  # acks come there
            self._lendable[connection.fd] = connection
            self.poll.add(connection.fd)
        return True

    def _in_turn(self) -> list[tuple[int, Connection]]:
        """Control goes first: a clone must not stand before a heartbeat."""
        ready = list(self.ready.items())
        if len(ready) > 1:
            ready.sort(key=_plane_of)
        return ready


def _plane_of(item: tuple[int, Connection]) -> int:
    identity = item[1].identity
    return identity.plane if type(identity) is Source else 0


class Outgoing:
    """One connection to a host: one plane of one link incarnation, this way.

    Args:
        plane: Whose poller it lies in.
        where: What `place_of` found.
        identity: What it says it is.
        on_lost: Called once, with the reason, when the connection is gone or never comes.

    Raises:
        OSError: It can't even be begun.
    """

    def __init__(
        self,
        plane: Plane,
        where: tuple[int, tuple[str, int]],
        identity: bytes,
        on_lost: Callable[[str], None],
    ) -> None:
        self.is_connected = False
        self._plane = plane
        self._on_lost: Callable[[str], None] | None = on_lost
        self._talk = Conversation(COMMAND_BYTES_MAX, identity=identity)
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._unsent = bytearray()
        self._mask = _OUT  # writable: connected, or refused
        self._is_connecting = self._is_open = True
        self._heard_s = self._pinged_s = now_s = time.monotonic()
        self._until_s = now_s + CONNECT_S  # to be connected, then to have shaken hands, then to leave
        self._socket = _begun(*where)
        self._fd = self._socket.fileno()
        plane.add(self._fd, self, self._look)

    def send(self, data: bytes) -> bool:
        """Send a frame, or queue it; False = there is no room, or nobody to read it."""
        if not self.is_connected:
            self._waiting.append(data)
            self._waiting_bytes += len(data)
            return len(self._waiting) <= WAITING_FRAMES_MAX and self._waiting_bytes <= FRAME_BYTES_MAX
        if self._unsent or len(data) > SMALL_BYTES:
            return self._write(header(data)) and self._write(data)
        return self._write(framed(data))

    def close(self, linger_s: float) -> None:
        """End it; what is queued dies, or has `linger_s` to leave. Twice does nothing."""
        self._on_lost = None
        if linger_s > 0 and self._is_open and (self._unsent or self._waiting):
            self._until_s = time.monotonic() + linger_s
        else:
            self._end()

    @property
    def is_leaving(self) -> bool:
        """Whether it is closed, and has last words to get rid of."""
        return self._on_lost is None and self._is_open

    def check(self, now_s: float, late_s: float) -> None:
        """Ping, and give up what takes too long; `late_s`: how much of it may be our own fault."""
        self._heard_s += late_s
        self._until_s += late_s
        if self.is_leaving or not self.is_connected:
            if now_s >= self._until_s:
                self._lose("can't connect" if self._is_connecting else "handshake failed: no answer in time")
            return
        silence_s = now_s - self._heard_s
        if silence_s >= SILENCE_S:
            self._lose("silent")
        elif silence_s >= GONE_S and _is_machine_gone(self._socket):
            self._lose("its machine does not answer")
        elif now_s - self._pinged_s >= PING_EVERY_S:
            self._pinged_s = now_s
            if not self._unsent and not self._write(PING):  # what waits will tell as much
                self._lose("disconnected")

    # -- inside --------------------------------------------------------------------

    def _look(self) -> None:
        """Do what the poller says can be done."""
        try:
            if self._is_connecting:
                self._connected()
                return
            if self._unsent:
                self._push()
            self._read()
        except ZmtpError as error:
            self._lose(f"handshake failed: {error}" if not self.is_connected else str(error))
        except OSError:
            self._lose("can't connect" if self._is_connecting else "disconnected")

    def _connected(self) -> None:
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, "can't connect")
        self._is_connecting = False
        if not self.is_leaving:
            self._until_s = time.monotonic() + HANDSHAKE_S
        self._socket.send(OPENING, _SEND)  # a new connection has room for it
        self._watch()

    def _read(self) -> None:
        try:
            data = self._socket.recv(4096)
        except BlockingIOError:
            return
        if not data:
            raise OSError(errno.ECONNRESET, "disconnected")
        talk = self._talk
        talk.received(data)
        if talk.messages:
            raise ZmtpError("it talks where it should listen")
        self._heard_s = time.monotonic()
        if talk.answers:
            answers, talk.answers = talk.answers, b""
            if not self._write(answers):
                raise OSError(errno.ECONNRESET, "disconnected")
        if talk.is_open and not self.is_connected:
            self.is_connected = True
            waiting, self._waiting = self._waiting, []
            if not all(map(self.send, waiting)):
                self._lose("it doesn't take what we send")
            elif self.is_leaving and not self._unsent:
                self._end()

    def _write(self, data: bytes) -> bool:
        unsent = self._unsent
        if unsent:
            if len(unsent) + len(data) > UNSENT_BYTES_MAX:
                return False
            unsent += data
            return True
        try:
            sent = self._socket.send(data, _SEND)
        except BlockingIOError:
            sent = 0
        except OSError:
            return False
        if sent < len(data):
            unsent += memoryview(data)[sent:]
            self._watch()
        return True

    def _push(self) -> None:
        """Send what found no room before, as far as there is room now."""
        try:
            del self._unsent[: self._socket.send(self._unsent, _SEND)]
        except BlockingIOError:
            return
        if not self._unsent:
            if self.is_leaving:
                self._end()
            else:
                self._watch()

    def _watch(self) -> None:
        mask = _IN | _OUT if self._unsent else _IN
        if self._is_open and mask != self._mask:
            self._mask = mask
            self._plane.poller.change(self._fd, mask)

    def _lose(self, reason: str) -> None:
        on_lost, self._on_lost = self._on_lost, None
        self._end()
        if on_lost is not None:
            on_lost(reason)

    def _end(self) -> None:
        if not self._is_open:
            return
        self._is_open = self.is_connected = False
        self._plane.drop(self._fd)
        self._unsent.clear()
        self._waiting.clear()
        try:
            self._socket.recv(4096, socket.MSG_DONTWAIT)  # unread, it would cost the last words their way
        except OSError:
            pass
        self._socket.close()


class TcpPipe:
    """One incarnation of a link, this way: a connection for each plane, the bulk one once it is needed."""

    def __init__(self, plane: Plane, where: tuple[int, tuple[str, int]], source: Source) -> None:
        self.source = source
        self.planes: dict[int, Outgoing] = {}
        self._plane = plane
        self._where = where

    def open(self, plane: int, on_lost: Callable[[str], None]) -> Outgoing:
        identity = identity_of(self.source._replace(plane=plane))
        outgoing = Outgoing(self._plane, self._where, identity, on_lost)
        self.planes[plane] = outgoing
        return outgoing

    def close(self, linger_s: float) -> None:
        for outgoing in self.planes.values():
            outgoing.close(linger_s)


class Plane:
    """All connections from and to other hosts; belongs to the I/O thread.

    Args:
        endpoint: Where other hosts connect, `tcp://IP:port`; port `*` or 0 = any free one.
        poller: Where the descriptors lie.
        watched: Descriptor -> what to call when the poller tells of it; `incoming.connections` are not in it.
        frame_bytes_max: Larger frames cost the connection.

    Raises:
        OSError: The endpoint can't be bound.
    """

    def __init__(
        self, endpoint: str, poller: Poller, watched: dict[int, Callable[[], None]], frame_bytes_max: int
    ) -> None:
        self.incoming = Incoming(endpoint, poller, frame_bytes_max)
        self.poller = poller
        self._watched = watched
        self._outgoing: dict[int, Outgoing] = {}
        self._look_at_s = time.monotonic()
        watched[self.incoming.fd] = self.incoming.accept

    def add(self, fd: int, outgoing: Outgoing, look: Callable[[], None]) -> None:
        """Take in a connection that was begun."""
        self._outgoing[fd] = outgoing
        self._watched[fd] = look
        self.poller.add(fd, _OUT)

    def drop(self, fd: int) -> None:
        """Let go of a connection before it is closed."""
        del self._outgoing[fd]
        del self._watched[fd]
        self.poller.remove(fd)

    def check(self) -> float:
        """Look after all connections, if it is time to; return seconds to the next time."""
        now_s = time.monotonic()
        late_s = now_s - self._look_at_s
        if late_s < 0:
            return -late_s
        self._look_at_s = now_s + LOOK_EVERY_S
        if self.incoming.is_busy:
            self.incoming.expire()
        for outgoing in list(self._outgoing.values()):
            outgoing.check(now_s, late_s if late_s > LATE_S else 0.0)
        return LOOK_EVERY_S

    def shut(self, linger_s: float) -> None:
        """Close everything; last words have `linger_s` to leave. Twice does nothing."""
        until_s = time.monotonic() + linger_s
        for outgoing in list(self._outgoing.values()):
            outgoing.close(linger_s)
        while self._outgoing and (left_s := until_s - time.monotonic()) > 0:
            poll = select.poll()
            for fd in self._outgoing:
                poll.register(fd, _IN | _OUT)
            for fd, _ in poll.poll(left_s * 1000):
                if fd in self._watched:
                    self._watched[fd]()
        for outgoing in list(self._outgoing.values()):
            outgoing.close(0)
        self._watched.pop(self.incoming.fd, None)
        self.incoming.shut(0)


def _begun(family: int, where: tuple[str, int]) -> socket.socket:
    """Return a socket that is on its way to connect."""
    begun = socket.socket(family, socket.SOCK_STREAM)
    try:
        begun.setblocking(False)
        begun.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            begun.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        number = begun.connect_ex(where)
        if number not in (0, errno.EINPROGRESS):
            raise OSError(number, "can't connect")
    except OSError:
        begun.close()
        raise
    return begun


def _is_machine_gone(connection: socket.socket) -> bool:
    """Return whether not even the other machine's TCP has answered what it was sent, for `GONE_S`.

    Where a process stalls, its machine still answers; and once its buffers are full, nothing is sent there.
    """
    if not hasattr(socket, "TCP_INFO"):
        return False
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_ACK_AT + 4)
    if len(info) < _LAST_ACK_AT + 4:
        return False
    (unacked,) = struct.unpack_from("=I", info, _UNACKED_AT)
    (last_ack_ms,) = struct.unpack_from("=I", info, _LAST_ACK_AT)
    return bool(unacked and last_ack_ms >= (GONE_S - LOOK_EVERY_S) * 1000)
