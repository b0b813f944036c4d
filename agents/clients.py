"""The client plane of a host: who waits, who watches, what they are told.

Replies gather in one list per client until the turn ends. What is taken and
not yet answered is counted: over the limit the host takes no more, and ZeroMQ
and TCP hold the clients back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from agents.messages.client import Reply, Unwatch, Watch
from agents.wire import encode

BACKLOG_MAX = 16_384  # requests under way: two seconds' worth
BACKLOG_BYTES_MAX = 64 * 1024 * 1024
# When half is used, one connection has a bound of its own, far above a window: the rest is the others'.
CROWD, CROWD_BYTES = BACKLOG_MAX // 2, BACKLOG_BYTES_MAX // 2
SHARE, SHARE_BYTES = BACKLOG_MAX // 4, BACKLOG_BYTES_MAX // 2
COUNT_EVERY_S = 0.01
PIECE_BYTES_MAX = 1024 * 1024  # of replies in one frame, unless one is larger
TURN_BYTES_MAX = 4 * 1024 * 1024  # to one client: about 1 ms, then others are served
LATER_MAX = 32_768  # replies of one client that wait for room: more than it may have under way
ABANDONED_S = 10.0  # twice what clients wait by default
WATCHERS_EVERY_S = 10.0


class ClientCaller:
    """Whom to answer, and how much is still open.

    One for each frame of requests; those of one client are equal.
    """

    __slots__ = ("at_s", "identity", "open", "probe", "size")

    def __init__(self, identity: bytes, requests: int, size: int, at_s: float) -> None:
        self.identity = identity
        self.open = requests
        self.size = size
        self.at_s = at_s
        self.probe: dict[int, str] | None = None  # its requests' kinds, by id, if they are timed

    def __eq__(self, other: object) -> bool:
        return type(other) is ClientCaller and other.identity == self.identity

    def __hash__(self) -> int:
        return hash(self.identity)


class Counter(Protocol):
    """Where replies leave: the door."""

    def reply(self, client: bytes, data: bytes) -> bool:
        """Send a frame to a client; False: it is gone, or doesn't read."""

    def is_clogged(self, client: bytes) -> bool:
        """Return whether a client should read first."""

    def drop(self, client: bytes) -> None:
        """Cut off a client that does not read."""


class Clients:
    """All clients of one host; belongs to the I/O thread."""

    def __init__(self, door: Counter) -> None:
        self.backlog = 0
        self.backlog_bytes = 0
        self.taken = 0  # requests, ever
        self.on_probe: Callable[[ClientCaller, Reply], None] = lambda caller, reply: None
        self._door = door
        self.later: dict[bytes, list[Reply]] = {}  # what a client must read before it gets more
        self.gone: list[bytes] = []  # clients that `orphaned` looks at
        self._has_more = False
        self._replies: dict[bytes, list[Reply]] = {}
        self._callers: deque[ClientCaller] = deque()
        self._watches: dict[bytes, dict[int, ClientCaller]] = {}
        self._watchers_due_s = 0.0
        self._greedy: set[bytes] = set()
        self._counted_s = 0.0

    @property
    def is_over_limit(self) -> bool:
        """Whether more is under way than one host should promise."""
        return self.backlog > BACKLOG_MAX or self.backlog_bytes > BACKLOG_BYTES_MAX

    @property
    def is_crowded(self) -> bool:
        """Whether so much is under way that nobody may have all of it."""
        return self.backlog > CROWD or self.backlog_bytes > CROWD_BYTES

    def is_greedy(self, identity: bytes, now_s: float) -> bool:
        """Return whether a client has more under way than its share; to be asked in a crowd only."""
        if now_s - self._counted_s >= COUNT_EVERY_S:
            self._counted_s = now_s
            self._greedy = self._over_share()
        return identity in self._greedy

    def _over_share(self) -> set[bytes]:
        open_: dict[bytes, int] = {}
        sizes: dict[bytes, int] = {}
        for caller in self._callers:
            if caller.open > 0:
                open_[caller.identity] = open_.get(caller.identity, 0) + caller.open
                sizes[caller.identity] = sizes.get(caller.identity, 0) + caller.size
        return {client for client in open_ if open_[client] > SHARE or sizes[client] > SHARE_BYTES}

    @property
    def has_replies(self) -> bool:
        """Whether somebody is still to be told something."""
        return bool(self._replies) or self._has_more

    def took(self, identity: bytes, requests: int, size: int, now_s: float) -> ClientCaller:
        """Count a frame of requests until it is answered, or long past."""
        caller = ClientCaller(identity, requests, size, now_s)
        self.backlog += requests
        self.taken += requests
        self.backlog_bytes += size
        self._callers.append(caller)
        return caller

    def answer(self, caller: ClientCaller, reply: Reply) -> None:
        """Put a reply into its client's list."""
        if caller.probe is not None:
            self.on_probe(caller, reply)
        if caller.open > 0:
            caller.open -= 1
            self.backlog -= 1
        replies = self._replies.get(caller.identity)
        if replies is None:
            self._replies[caller.identity] = [reply]
        else:
            replies.append(reply)

    def forget_answered(self, now_s: float) -> None:
        """Let go of frames that are answered, and of those long past.

        Some are never answered: what a primary had pending when it lost its
        role. Their clients have asked again, or have given up.
        """
        callers = self._callers
        while callers and (callers[0].open <= 0 or callers[0].at_s < now_s - ABANDONED_S):
            caller = callers.popleft()
            self.backlog -= caller.open
            self.backlog_bytes -= caller.size
            caller.open = 0

    def flush(self) -> None:
        """Send each client its replies of this turn, and what others had no room for in turns before."""
        self._has_more = False
        if self.later:
            for client in list(self.later):
                if not self._door.is_clogged(client):
                    self._send_pieces(client, self.later.pop(client))
        replies, self._replies = self._replies, {}
        for client, answers in replies.items():
            if client in self.later:
                self._append(client, answers)
            elif len(answers) > 1:
                self._send_pieces(client, answers)
            elif not self._door.reply(client, encode(answers)):
                self.gone.append(client)

    def _send_pieces(self, client: bytes, answers: list[Reply]) -> None:
        """Send replies as they find room: a small frame may have asked for the largest cell many times."""
        piece: list[Reply] = []
        size = sent = 0
        for place, reply in enumerate(answers):
            more = _bytes_in(reply)
            if size + more > PIECE_BYTES_MAX and piece:
                if not self._door.reply(client, encode(piece)):
                    self.gone.append(client)
                    return
                sent += size
                is_clogged = self._door.is_clogged(client)
                if is_clogged or sent >= TURN_BYTES_MAX:
                    self.later[client] = answers[place:]
                    self._has_more |= not is_clogged
                    return
                piece, size = [], 0
            piece.append(reply)
            size += more
        if not self._door.reply(client, encode(piece)):
            self.gone.append(client)

    def _append(self, client: bytes, answers: list[Reply]) -> None:
        """Put replies behind those that wait for room; with too many of them the client is dropped."""
        waiting = self.later[client]
        waiting += answers
        if len(waiting) > LATER_MAX:
            del self.later[client]
            self._door.drop(client)
            self.gone.append(client)

    # -- watchers ------------------------------------------------------------------

    def watched(self, caller: ClientCaller, request: Watch | Unwatch) -> None:
        """Remember who watches: a client that goes says no goodbye."""
        if type(request) is Unwatch:
            watches = self._watches.get(caller.identity, {})
            watches.pop(request.watch, None)
            if not watches:
                self._watches.pop(caller.identity, None)
            return
        if caller.open > 0:
            caller.open -= 1  # it stays open: no backlog
            self.backlog -= 1
        self._watches.setdefault(caller.identity, {})[request.id] = caller

    def try_watchers(self, now_s: float) -> None:
        """Say nothing to each watcher now and then, to see whether it is still there."""
        if self._watches and now_s >= self._watchers_due_s:
            self._watchers_due_s = now_s + WATCHERS_EVERY_S
            for client in self._watches:
                if not self._door.reply(client, encode([])):
                    self.gone.append(client)

    def orphaned(self) -> list[tuple[ClientCaller, int]]:
        """Return the watches, as (caller, watch id), of clients found gone since the last call."""
        gone, self.gone = self.gone, []
        return [(caller, watch) for client in gone for watch, caller in self._watches.pop(client, {}).items()]


def _bytes_in(reply: Reply) -> int:
    """Return about how many bytes a reply will have."""
    size = len(reply.value) if reply.value is not None else 0
    if reply.attributes:
        size += sum(len(name) + len(dna) for name, dna in reply.attributes)
    return size
