"""The public endpoint with keys: a ROUTER of ZeroMQ's, and who is behind it.

What came is taken out of ZeroMQ at once and counted here, by connection: it
bounds messages, and these have between nothing and sixteen million bytes.
Who sends or asks for more than its share loses the connection, and so does
who holds a key that is no longer known. A connection is known by its first
message, which says whose key it is; the routing ids are ZeroMQ's own, and
never used again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

import zmq

from agents.access import Holder, Roster
from agents.curve import HostKeys
from agents.gate import Gate
from agents.poller import Poller
from agents.refusals import Refusals
from agents.turnstile import Bounds, plain_address

FRAME_BYTES_MAX = 20 * 1024 * 1024  # the largest value and its key, with room to spare
IN_FRAMES, OUT_FRAMES = 64, 4  # what ZeroMQ may hold of one connection, each way
INBOX_BYTES_MAX = 48 * 1024 * 1024  # a client's window, and a largest value twice
INBOX_FRAMES_MAX = 4_096
CLOGGED_BYTES = 1024 * 1024  # unsent: its requests wait until it has read
UNSENT_BYTES_MAX = 256 * 1024 * 1024
QUOTA_BYTES = 512 * 1024 * 1024  # of all connections together
PULL_BYTES, PULL_FRAMES = 8 * 1024 * 1024, 1_024  # out of ZeroMQ, in one go
TURN_BYTES_MAX = 128 * 1024  # some 1 ms of cells, then others are served
RETRY_S = 0.05  # ZeroMQ tells of room; this is for what it may not tell

UNREAD = "it does not read what it asked for"

_NOW, _NOW_AND_MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)
_READABLE = int(zmq.POLLIN)


class Watches(Protocol):
    """What is needed of `agents.sockets.Sockets`."""

    poller: Poller

    def watch(self, fd: int, look: Callable[[], None]) -> None: ...


class Session:
    """One connection that has spoken.

    Attributes:
        inbox: What it said and nobody has taken.
        unsent: What ZeroMQ has no room for.
        sent: Sizes of what was last sent: at most so much lies in ZeroMQ's queue.
        is_over: It is gone, but not all it said was taken.
    """

    __slots__ = (
        "address",
        "fd",
        "holder",
        "identity",
        "inbox",
        "inbox_bytes",
        "is_over",
        "key",
        "sent",
        "unsent",
        "unsent_bytes",
    )

    def __init__(self, identity: bytes, fd: int, address: str, key: str, holder: Holder) -> None:
        self.identity = identity
        self.fd = fd
        self.address = address
        self.key = key
        self.holder = holder
        self.inbox: deque[bytes] = deque()
        self.inbox_bytes = 0
        self.unsent: deque[bytes] = deque()
        self.unsent_bytes = 0
        self.sent: deque[int] = deque(maxlen=OUT_FRAMES + 1)
        self.is_over = False

    @property
    def bytes_held(self) -> int:
        """What it may take of our memory."""
        return self.inbox_bytes + self.unsent_bytes + sum(self.sent)

    @property
    def is_clogged(self) -> bool:
        """Whether it must read before it is heard again."""
        return self.unsent_bytes > CLOGGED_BYTES or len(self.unsent) > INBOX_FRAMES_MAX


class Guarded:
    """The clients' endpoint; belongs to the I/O thread.

    Args:
        router: Bound, with keys.
        keys: Who is known.
        refusals: Told of who is refused.
        bounds: How many may come.
        sockets: Watch descriptors.

    Attributes:
        ready: Sessions that said something, by routing id.
        sessions: All of them, likewise.
        gate: Counts connections.
        strangers: Messages that were none of ours, and sessions that were cut.
    """

    def __init__(
        self,
        router: zmq.Socket[bytes],
        keys: HostKeys,
        refusals: Refusals,
        bounds: Bounds,
        sockets: Watches,
    ) -> None:
        self.ready: dict[bytes, Session] = {}
        self.sessions: dict[bytes, Session] = {}
        self.strangers = 0
        self._by_fd: dict[int, Session] = {}
        self._clogged: dict[bytes, Session] = {}
        self._router = router
        self._keys = keys
        self._refusals = refusals
        self._sockets = sockets
        self._cut: set[int] = set()  # descriptors of connections that ZeroMQ has yet to find closed
        self._fd = int(router.FD)
        self._is_held = False
        self._has_more = False  # what ZeroMQ has may not have been told of
        self._bytes = 0  # what all sessions hold
        self.gate = Gate(router, "clients", bounds, refusals, sockets.watch, self._gone)
        sockets.watch(self._fd, self._pull)

    @property
    def address(self) -> str:
        """The endpoint as bound, with its real port."""
        return str(self._router.getsockopt_string(zmq.LAST_ENDPOINT))

    @property
    def count(self) -> int:
        """Connections that are open."""
        return len(self.gate.open)

    # -- what comes ----------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether `expire` has something to look at."""
        return self._has_more or bool(self._clogged)

    def expire(self) -> float:
        """Look for what nobody tells of; return seconds until that is due again."""
        if self._has_more and not self._is_held:
            self._has_more = False
            if int(self._router.getsockopt(zmq.EVENTS)) & _READABLE:
                self._pull()
        if self._clogged:
            self._push_all()
        return 0.0 if self._has_more and not self._is_held else RETRY_S

    def hold(self, is_held: bool) -> None:
        """Read no more, or again: ZeroMQ and TCP hold the clients back meanwhile."""
        if is_held == self._is_held:
            return
        self._is_held = is_held
        if is_held:
            self._sockets.poller.remove(self._fd)
        else:
            self._sockets.poller.add(self._fd)
            self._has_more = True  # the descriptor tells of news only

    def _pull(self) -> None:
        """Take out of ZeroMQ what is there."""
        receive = self._router.recv
        size = 0
        self._has_more = False
        for count in range(PULL_FRAMES):
            if count == 1 and not int(self._router.getsockopt(zmq.EVENTS)) & _READABLE:
                break  # mostly there is but one: to ask is cheaper than to be refused
            try:
                identity = receive(_NOW)
            except zmq.ZMQError:
                break
            frame = receive(_NOW, False)
            if frame.more:
                self.strangers += 1
                while receive(_NOW, False).more:
                    pass
                continue
            session = self.sessions.get(identity) or self._meet(identity, frame)
            if session is None:
                self.strangers += 1
                continue
            size += self._keep(session, frame.bytes)
            if size > PULL_BYTES:
                self._has_more = True
                break
        else:
            self._has_more = True
        if self._clogged:
            self._push_all()
        if self._bytes > QUOTA_BYTES:
            self._shrink()

    def _keep(self, session: Session, data: bytes) -> int:
        size = len(data)
        session.inbox.append(data)
        session.inbox_bytes += size
        self._bytes += size
        if not session.is_clogged:
            self.ready[session.identity] = session
        if session.inbox_bytes > INBOX_BYTES_MAX or len(session.inbox) > INBOX_FRAMES_MAX:
            self.cut(session, "it sends faster than it is served")
        return size

    def _meet(self, identity: bytes, frame: zmq.Frame) -> Session | None:
        """Return a new session for a connection's first message, or None: we don't know it."""
        if identity[:1] != b"\0":  # it chose its id by itself, and might choose it again
            return None
        try:
            fd, key = int(frame.get(zmq.SRCFD)), str(frame.get("User-Id"))
            address = plain_address(str(frame.get("Peer-Address")))
        except (zmq.ZMQError, TypeError, ValueError):
            return None
        self.gate.look()  # what ended before this began
        if self.gate.open.get(fd) != address or fd in self._cut:
            return None  # it is gone already, and its descriptor perhaps another's
        self.gate.young.pop(fd, None)
        before = self._by_fd.pop(fd, None)
        if before is not None:
            self._forget(before)
        holder = self._keys.roster.get(key)
        if holder is None:
            self._refuse(fd, address, "its key is no longer authorised")
            return None
        session = self.sessions[identity] = self._by_fd[fd] = Session(identity, fd, address, key, holder)
        return session

    def take(self, budget: int) -> list[tuple[bytes, bytes]]:
        """Return at most `budget` messages as (identity, message); what is left stays `ready`."""
        taken: list[tuple[bytes, bytes]] = []
        size = 0
        for identity, session in list(self.ready.items()):
            if budget <= 0 or size >= TURN_BYTES_MAX:
                break
            inbox = session.inbox
            while inbox and budget > 0 and size < TURN_BYTES_MAX:
                data = inbox.popleft()
                taken.append((identity, data))
                size += len(data)
                session.inbox_bytes -= len(data)
                self._bytes -= len(data)
                budget -= 1
            self.ready.pop(identity, None)
            if inbox:
                self.ready[identity] = session  # behind the others
            elif session.is_over:
                self.sessions.pop(identity, None)
        return taken

    # -- what leaves ---------------------------------------------------------------

    def reply(self, identity: bytes, data: bytes) -> bool:
        """Send a message; False: its peer is gone, or reads too slowly and is cut off."""
        session = self.sessions.get(identity)
        if session is None or session.is_over:
            return False
        if not session.unsent:
            sent = self._send(session, data)
            if sent is not None:
                if self._bytes > QUOTA_BYTES:
                    self._shrink()
                return sent
        session.unsent.append(data)
        session.unsent_bytes += len(data)
        self._bytes += len(data)
        if session.unsent_bytes > UNSENT_BYTES_MAX:
            self.cut(session, UNREAD)
            return False
        if session.is_clogged:
            self.ready.pop(identity, None)
        self._clogged[identity] = session
        if self._bytes > QUOTA_BYTES:
            self._shrink()
        return not session.is_over

    def is_clogged(self, identity: bytes) -> bool:
        """Return whether a client has something to read that ZeroMQ has no room for."""
        session = self.sessions.get(identity)
        return session is not None and session.unsent_bytes > 0

    def drop(self, identity: bytes) -> None:
        """Cut off a client that does not read."""
        session = self.sessions.get(identity)
        if session is not None:
            self.cut(session, UNREAD)

    def _send(self, session: Session, data: bytes) -> bool | None:
        """Hand a message to ZeroMQ; None: it has no room, False: its peer is gone."""
        self._has_more = True  # sending takes note of arrivals too, and the descriptor won't tell of them
        try:
            self._router.send(session.identity, _NOW_AND_MORE)
            self._router.send(data, _NOW)
        except zmq.Again:
            return None
        except zmq.ZMQError:
            return False
        sent = session.sent
        self._bytes += len(data) - (sent[0] if len(sent) > OUT_FRAMES else 0)
        sent.append(len(data))
        return True

    def _push_all(self) -> None:
        """Send what found no room before, as far as there is room now."""
        for identity, session in list(self._clogged.items()):
            while session.unsent:
                sent = self._send(session, session.unsent[0])
                if sent is None:
                    break
                size = len(session.unsent.popleft())
                session.unsent_bytes -= size
                self._bytes -= size
                if not sent:
                    break
            if not session.unsent:
                self._clogged.pop(identity, None)
            if session.inbox and not session.is_clogged:
                self.ready[identity] = session

    # -- who goes ------------------------------------------------------------------

    def roster_changed(self, roster: Roster) -> None:
        """Go by another list of keys from now on; who is not on it, or has another role, is cut off."""
        self._keys.roster = roster
        for session in list(self.sessions.values()):
            if roster.get(session.key) != session.holder:
                self.cut(session, f"the key {session.holder.name!r} is no longer what it was")

    def holder(self, identity: bytes) -> Holder | None:
        """Return whose connection this is; None = it is gone."""
        session = self.sessions.get(identity)
        return session.holder if session is not None else None

    def denied(self, identity: bytes, why: str) -> None:
        """Take note that a session asked for what it may not."""
        session = self.sessions.get(identity)
        self._refusals.add(session.address if session is not None else "?", why, time.monotonic())

    def cut(self, session: Session, why: str) -> None:
        """End a session at once, whatever it still has to say."""
        self.strangers += 1
        self._refuse(session.fd, session.address, why)
        if self._by_fd.get(session.fd) is session:
            del self._by_fd[session.fd]
        self._forget(session)
        self._empty(session)
        self.sessions.pop(session.identity, None)
        self.ready.pop(session.identity, None)

    def _refuse(self, fd: int, address: str, why: str) -> None:
        self._refusals.add(address, why, time.monotonic())
        if self.gate.hang_up(fd, address) and fd in self.gate.open:
            self._cut.add(fd)

    def _gone(self, fd: int) -> None:
        self._cut.discard(fd)
        session = self._by_fd.pop(fd, None)
        if session is not None:
            self._forget(session)

    def _forget(self, session: Session) -> None:
        """A session has ended; what it has said is still taken."""
        session.is_over = True
        self._bytes -= session.unsent_bytes + sum(session.sent)
        session.unsent.clear()
        session.unsent_bytes = 0
        session.sent.clear()
        self._clogged.pop(session.identity, None)
        if session.inbox:
            self.ready[session.identity] = session
        else:
            self.sessions.pop(session.identity, None)

    def _empty(self, session: Session) -> None:
        self._bytes -= session.inbox_bytes
        session.inbox.clear()
        session.inbox_bytes = 0

    def _shrink(self) -> None:
        """Keep all sessions together below the quota: the largest ones go first."""
        held = sorted((session.bytes_held, identity) for identity, session in self.sessions.items())
        total = sum(size for size, _ in held)
        while total > QUOTA_BYTES and held:
            size, identity = held.pop()
            total -= size
            self.cut(self.sessions[identity], f"clients together hold more than {QUOTA_BYTES >> 20} MiB here")

    def close(self) -> None:
        """Read no more; ZeroMQ sends what it has while the context ends."""
        self.hold(False)
