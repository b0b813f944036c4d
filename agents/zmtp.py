"""ZMTP 3.1 without encryption: a client's DEALER, a host's ROUTER.

Pure: bytes come in; messages, and bytes to answer with, come out. Both sides
send one frame to a message; whatever else comes is checked, and ends the
conversation, but for messages of several frames to a host, which are dropped.

Source: rfc.zeromq.org/spec/37 (ZMTP 3.1).
"""

from __future__ import annotations

from collections import deque

GREETING_BYTES = 64
COMMAND_BYTES_MAX = 8 * 1024  # a handshake has some 50
CONTEXT_BYTES_MAX = 16  # what a PING asks to have sent back

_MORE, _LONG, _COMMAND = 1, 2, 4
_SIGNATURE = b"\xff" + bytes(8) + b"\x7f"


class ZmtpError(ValueError):
    """What came is not what the other side sends; the text says what is wrong."""


def greeting(mechanism: bytes = b"NULL") -> bytes:
    """Return the 64 bytes that each side sends first."""
    return _SIGNATURE + b"\x03\x01" + mechanism.ljust(20, b"\0") + bytes(32)


def framed(message: bytes) -> bytes:
    """Return a message as it travels: one frame."""
    return header(message) + message


def header(message: bytes) -> bytes:
    """Return what goes before a message."""
    size = len(message)
    return bytes((0, size)) if size < 256 else b"\x02" + size.to_bytes(8, "big")


def command(name: bytes, data: bytes) -> bytes:
    """Return a command as it travels."""
    body = bytes((len(name),)) + name + data
    if len(body) < 256:
        return bytes((_COMMAND, len(body))) + body
    return bytes((_COMMAND | _LONG,)) + len(body).to_bytes(8, "big") + body


def ready(socket_type: bytes, identity: bytes = b"") -> bytes:
    """Return the handshake's command: what kind of socket we are."""
    data = b""
    for name, value in ((b"Socket-Type", socket_type), (b"Identity", identity)):
        data += bytes((len(name),)) + name + len(value).to_bytes(4, "big") + value
    return command(b"READY", data)


def refusal(reason: str) -> bytes:
    """Return the command that ends a handshake, with its reason."""
    text = reason.encode("utf-8")[:255]
    return command(b"ERROR", bytes((len(text),)) + text)


OPENING = greeting()[:12]  # signature and version
READY = greeting()[12:] + ready(b"DEALER")
HOST_GREETING, HOST_READY = greeting(), ready(b"ROUTER")
PING = command(b"PING", bytes(2))  # time to live 0: silence of ours means nothing


def properties_in(data: bytes) -> dict[bytes, bytes]:
    """Return the properties of a READY by lower-case name; raises `ZmtpError`."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        name = data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]
        size = int.from_bytes(data[at : at + 4], "big")
        at += 4 + size
        if not name or at > len(data):
            raise ZmtpError("its handshake can't be read")
        found[name.lower()] = data[at - size : at]
    return found


class Conversation:
    """What one connection has said so far.

    Args:
        message_bytes_max: Larger messages end the conversation.
        is_host: We are the ROUTER, and have sent `HOST_GREETING`; else the DEALER, and have sent `OPENING`.
        identity: What a DEALER calls itself; "" = nothing.

    Attributes:
        is_open: The other side is what it should be, and ready.
        dropped: Messages of several frames that came to a host; the shell counts them elsewhere.
        peer: What the other side calls itself, once it is open.
        messages: Received and not taken yet.
        answers: What must be sent back; the shell takes it away.
    """

    def __init__(self, message_bytes_max: int, *, is_host: bool = False, identity: bytes = b"") -> None:
        self.is_open = False
        self.peer = b""
        self.dropped = 0
        self.messages: deque[bytes] = deque()
        self.answers = b""
        self._message_bytes_max = message_bytes_max
        self._buffer = bytearray()
        self._needed = GREETING_BYTES
        self._is_greeted = False
        self._is_host = is_host
        self._ready = HOST_READY if is_host else READY
        if identity:
            self._ready = greeting()[12:] + ready(b"DEALER", identity)
        self._is_within = False  # a message of several frames

    @property
    def missing(self) -> int:
        """How many more bytes are needed at least; 0 = between two frames."""
        return max(0, self._needed - len(self._buffer)) if self._buffer else 0

    @property
    def buffered(self) -> int:
        """How many bytes lie here of a frame that has not come as a whole."""
        return len(self._buffer)

    def received(self, data: bytes) -> None:
        """Take in what came; raises `ZmtpError`, after which nothing may follow."""
        if not self._buffer and self.is_open and data and not self._is_within:
            # Nearly always: one message, whole.
            if data[0] == 0:
                if len(data) > 1 and len(data) == data[1] + 2:
                    self.messages.append(data[2:])
                    return
            elif data[0] == _LONG and len(data) - 9 == int.from_bytes(data[1:9], "big"):
                if len(data) - 9 > self._message_bytes_max:
                    raise ZmtpError(self._too_large(len(data) - 9))
                self.messages.append(data[9:])
                return
        self._buffer += data
        if not self._is_greeted:
            self._greeted()
        if self._is_greeted and len(self._buffer) >= self._needed:
            self._cut()

    def _greeted(self) -> None:
        """Check the greeting, as far as it has come: a stranger may never send it all."""
        seen = bytes(self._buffer[:GREETING_BYTES])
        if seen[:1] not in (b"", b"\xff") or (len(seen) > 9 and seen[9] != 0x7F):
            raise ZmtpError("it does not speak our protocol")
        if len(seen) > 10 and seen[10] < 3:
            raise ZmtpError(f"it speaks version {seen[10]} of ZeroMQ's protocol, not 3")
        if len(seen) < GREETING_BYTES:
            return
        mechanism = seen[12:32].rstrip(b"\0")
        if mechanism != b"NULL":
            name = mechanism.decode("ascii", "replace")
            raise ZmtpError(f"it demands {name}: connect with its keys")
        # Not before: a host that demands keys would hear that we have none, and hang up without a word.
        self.answers += self._ready
        del self._buffer[:GREETING_BYTES]
        self._is_greeted = True
        self._needed = 2

    def _cut(self) -> None:
        """Take all whole frames out of the buffer."""
        buffer = self._buffer
        at, end = 0, len(buffer)
        while True:
            self._needed = 2
            if end - at < 2:
                break
            flags = buffer[at]
            if flags > 6 or flags & (_MORE | _COMMAND) == (_MORE | _COMMAND):
                raise ZmtpError(f"a frame with flags {flags:#x}")
            if flags & _MORE and not self._is_host:
                raise ZmtpError("a message of several frames")
            body, size = at + 2, buffer[at + 1]
            if flags & _LONG:
                self._needed = 9
                if end - at < 9:
                    break
                body, size = at + 9, int.from_bytes(buffer[at + 1 : at + 9], "big")
            if size > (COMMAND_BYTES_MAX if flags & _COMMAND else self._message_bytes_max):
                raise ZmtpError(self._too_large(size))
            self._needed = body - at + size
            if end - at < self._needed:
                break
            self._frame(flags, bytes(memoryview(buffer)[body : body + size]))
            at = body + size
        del buffer[:at]

    def _frame(self, flags: int, body: bytes) -> None:
        if flags & _COMMAND:
            size = body[0] if body else 0
            name, data = body[1 : 1 + size], body[1 + size :]
            if not name or len(name) < size:
                raise ZmtpError("a command without a name")
            self._command(name, data)
        elif not self.is_open:
            raise ZmtpError("a message before the handshake")
        elif flags & _MORE:
            self._is_within = True
        elif self._is_within:
            self._is_within = False
            self.dropped += 1
        else:
            self.messages.append(body)

    def _command(self, name: bytes, data: bytes) -> None:
        if name == b"ERROR":
            reason = data[1 : 1 + data[0]] if data else b""
            raise ZmtpError(f"it refuses: {reason.decode('utf-8', 'replace')}")
        if not self.is_open:
            if name != b"READY":
                raise ZmtpError("its handshake can't be read")
            properties = properties_in(data)
            kind = properties.get(b"socket-type", b"")
            if kind != (b"DEALER" if self._is_host else b"ROUTER"):
                wanted = "client" if self._is_host else "host"
                raise ZmtpError(f"it is no {wanted}, but a {kind.decode('ascii', 'replace')!r}")
            self.peer = properties.get(b"identity", b"")
            self.is_open = True
        elif name == b"PING":
            if not 2 <= len(data) <= 2 + CONTEXT_BYTES_MAX:
                raise ZmtpError("a PING that can't be read")
            self.answers += command(b"PONG", data[2:])
        # A PONG has said what it had to say by coming; of others a DEALER need know nothing.

    def _too_large(self, size: int) -> str:
        return f"a frame of {size} bytes; the limit is {self._message_bytes_max}"
