"""A client's plain connection to a host: TCP without a ZeroMQ thread between.

What is sent leaves, and what comes is read, on the thread (or loop) that
calls: no hop, and a refused or broken connection shows at once. The price:
nobody answers a host's PINGs while nobody calls, and after some 10 s it
closes the connection. `is_stale` tells, before anything is sent there.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable

from agents.wire import FRAME_BYTES_MAX
from agents.zmtp import OPENING, PING, Conversation, ZmtpError, framed

SLICE_S = 0.01  # how soon a blocked caller looks up
READ_BYTES = 64 * 1024
LARGE_READ_BYTES = 1024 * 1024
READS_MAX = 64  # in a row: then others have their turn
QUIET_S = 1.0  # a host that said nothing for so long is asked whether it is there
SILENCE_S = 2.0  # ... and has so long to answer
STALE_S = 1.0  # a link that was not read for so long may have been closed

_SLICE = struct.pack("ll", 0, int(SLICE_S * 1e6))
_SEND = getattr(socket, "MSG_NOSIGNAL", 0) | socket.MSG_DONTWAIT
_now = time.monotonic


def endpoint_of(address: str) -> tuple[str, int]:
    """Return (host, port) of `tcp://host:port`; raises `OSError` if it is no such address."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    if not address.startswith("tcp://") or not host or not (port.isascii() and port.isdecimal()):
        raise OSError(f"{address!r} is no address of a host")
    return host.strip("[]"), int(port)


def _why_not(error: Exception) -> str:
    """Return why a connection did not come about, in words."""
    if isinstance(error, TimeoutError):
        return "no connection in time"
    return str(error) if isinstance(error, ZmtpError) else f"no connection: {error}"


class TcpLink:
    """One connection to one host; the same calls as `client_link.ZmqLink`.

    Args:
        address: The host's public endpoint, `tcp://…`.

    Raises:
        OSError: The address makes no sense.
    """

    __slots__ = ("_heard_s", "_loop", "_pinged_s", "_socket", "_talk", "_unsent", "address", "is_lost")
    tells_edges = False

    def __init__(self, address: str) -> None:
        self._socket: socket.socket | None = None
        endpoint_of(address)
        self.address = address
        self.is_lost = False
        self._talk = Conversation(FRAME_BYTES_MAX)
        self._unsent = bytearray()
        self._heard_s = self._pinged_s = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    # -- the beginning -----------------------------------------------------------

    def open(self, timeout_s: float) -> str:
        """Wait until the link stands; return "" or why it does not."""
        end_s = _now() + timeout_s
        try:
            self._socket = socket.create_connection(endpoint_of(self.address), timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # One system call waits and receives; a time-out of Python's would be two.
            self._socket.settimeout(None)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _SLICE)
            self._socket.send(OPENING, _SEND)
            while not self._talk.is_open:
                self._read(0)
                if self.is_lost:
                    return "it does not speak our protocol"
                if _now() > end_s:
                    return "no connection in time"
        except (ZmtpError, OSError, UnicodeError) as error:
            return _why_not(error)
        return ""

    async def open_soon(self, timeout_s: float) -> str:
        """Like `open`, on the running loop; from then on for that loop only."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                await self._connect(loop)
                while not self._talk.is_open:
                    await self._read_soon(loop)
                    if self.is_lost:
                        return "it does not speak our protocol"
        except (ZmtpError, OSError, UnicodeError) as error:
            return _why_not(error)
        return ""

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> None:
        failure: OSError | None = None
        host, port = endpoint_of(self.address)
        for family, kind, protocol, _, where in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            self._socket = socket.socket(family, kind, protocol)
            self._socket.setblocking(False)
            try:
                await loop.sock_connect(self._socket, where)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._socket.send(OPENING, _SEND)
                return
            except OSError as error:
                self._socket.close()
                failure = error
        raise failure or OSError("the name means no address")

    async def _read_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._socket is not None, "connected before it is read"
        self._take_in(await loop.sock_recv(self._socket, READ_BYTES))

    async def take_soon(self, timeout_s: float) -> bytes | None:
        """Return the next frame, or None if none comes in time; before `follow` only."""
        try:
            async with asyncio.timeout(timeout_s):
                while not self._talk.messages and not self.is_lost:
                    await self._read_soon(asyncio.get_running_loop())
        except (TimeoutError, OSError, ZmtpError):
            return None
        return self._talk.messages.popleft() if self._talk.messages else None

    def follow(self, loop: asyncio.AbstractEventLoop, readable: Callable[[], None]) -> None:
        """Call `readable` while there is something to take, or the link has broken."""
        self._loop = loop
        loop.add_reader(self.fd, readable)

    # -- frames ------------------------------------------------------------------

    def send(self, frame: bytes) -> bool:
        """Send one frame; False: the link is broken, and the frame was not sent.

        What finds no room is kept, and sent as room comes.
        """
        if self.is_lost or self._socket is None:
            return False
        data = framed(frame)
        if self._unsent:
            self._unsent += data
            return True
        try:
            sent = self._socket.send(data, _SEND)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.is_lost = True
            return False
        if sent < len(data):
            self._unsent += data[sent:]
            self._await_room()
        return True

    def receive(self) -> bytes | None:
        """Return the next frame, or None if none comes within `SLICE_S`."""
        messages = self._talk.messages
        if not messages:
            self._try_read(0)
        return messages.popleft() if messages else None

    def take_all(self) -> list[bytes]:
        """Return the frames that are there already."""
        for _ in range(READS_MAX):
            if self._try_read(socket.MSG_DONTWAIT) < READ_BYTES:
                break
        messages = self._talk.messages
        if not messages:
            return []
        taken = list(messages)
        messages.clear()
        return taken

    def push(self) -> None:
        """Send what found no room before, as far as there is room now."""
        if not self._unsent or self._socket is None or self.is_lost:
            return
        try:
            del self._unsent[: self._socket.send(self._unsent, _SEND)]
        except BlockingIOError:
            pass
        except OSError:
            self.is_lost = True
            return
        self._await_room()

    def _await_room(self) -> None:
        if self._loop is None:
            return
        if self._unsent:
            self._loop.add_writer(self.fd, self.push)
        else:
            self._loop.remove_writer(self.fd)

    def _try_read(self, flags: int) -> int:
        """Read once; return how many bytes came, 0 = none are there, or the link broke."""
        try:
            return self._read(flags)
        except (OSError, ZmtpError):
            self.is_lost = True
            return 0

    def _read(self, flags: int) -> int:
        if self._socket is None or self.is_lost:
            return 0
        wanted = LARGE_READ_BYTES if self._talk.missing > READ_BYTES else READ_BYTES
        try:
            data = self._socket.recv(wanted, flags)
        except BlockingIOError:
            return 0
        self._take_in(data)
        return len(data)

    def _take_in(self, data: bytes) -> None:
        if not data:
            self.is_lost = True
            return
        self._heard_s, self._pinged_s = _now(), 0.0
        talk = self._talk
        talk.received(data)
        if talk.answers:
            answers, talk.answers = talk.answers, b""
            self._say(answers)

    def _say(self, data: bytes) -> None:
        """Send a command; between frames, never inside one."""
        self._unsent += data
        self.push()

    # -- how it is -----------------------------------------------------------------

    @property
    def fd(self) -> int:
        """What to wait for: readable when something came, or the link broke."""
        return self._socket.fileno() if self._socket is not None else -1

    @property
    def is_ready(self) -> bool:
        """Whether there is something to see at once, which `fd` won't tell of."""
        return bool(self._talk.messages) or self.is_lost

    @property
    def is_clogged(self) -> bool:
        """Whether something waits for room."""
        return bool(self._unsent)

    @property
    def is_stale(self) -> bool:
        """Whether the link broke while nobody called; looks only after a while, since it is asked often."""
        return self.is_lost or (_now() - self._heard_s >= STALE_S and self.is_found_broken())

    def is_found_broken(self) -> bool:
        """Read what came while nobody called; return whether the link broke."""
        while self._try_read(socket.MSG_DONTWAIT):
            pass
        self._heard_s = _now()
        return self.is_lost

    def look_after(self, now_s: float) -> None:
        """Ask a silent host whether it is there; without an answer the link is lost.

        To be called now and then, after `take_all`, while calls are under way.
        """
        if now_s - self._heard_s < QUIET_S or self._socket is None or self.is_lost:
            return
        if self._pinged_s == 0.0:
            self._pinged_s = now_s
            self._say(PING)
        elif now_s - self._pinged_s > SILENCE_S:
            self.is_lost = True

    # -- the end -------------------------------------------------------------------

    def close(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Close the link; what was queued dies. A second call does nothing."""
        if self._socket is None:
            return
        if loop is not None and not loop.is_closed() and self.fd >= 0:
            loop.remove_reader(self.fd)
            loop.remove_writer(self.fd)
        self.is_lost = True
        self._socket.close()

    def __del__(self) -> None:
        # A thread ended, or a store was dropped. In a forked child this frees the child's descriptor only.
        if self._socket is not None:
            self._socket.close()
