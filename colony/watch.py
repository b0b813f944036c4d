"""Watches: the changes of cells, as their primaries commit them.

Changes of one cell come in order. Around the loss of a host some may be
missed: then one event of kind "moved" with an empty key says so, and the
watch goes on with the hosts that are left.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from agents import client_link
from agents.client_link import Curve, Links, ZmqLink
from agents.messages.client import CLIENT_PROTOCOL, CLIENT_PROTOCOL_OLDEST, OK, Change, Greet, Reply
from agents.messages.client import Watch as WatchRequest
from agents.wire import WireError, decode_replies, encode
from colony.directory import Directory, ForeignCluster
from colony.errors import Closed, Unavailable
from colony.keys import Key, key_shown
from colony.wires import opened

WATCH_ID, GREET_ID = 1, 2
REFRESH_S = 1.0  # how soon a host that came in is watched too
POLL_S = 0.1
PENDING_MAX = 100_000  # events that wait for a slow reader
OPEN_S = 1.0

_changes = msgspec.msgpack.Decoder(Change)


@dataclass(frozen=True, slots=True)
class Event:
    """One change.

    Attributes:
        kind: "born", "changed", "died", "expired", or "moved": the cell lives in another colony now.
        key: str if it is UTF-8, else bytes; "" with "moved": primaries have moved, not cells.
        version: The cell's version after it; 0 = not told.
    """

    kind: str
    key: Key
    version: int


class Watch:
    """An iterator over changes, without end until it or its store is closed.

    It watches from the moment it was made. One thread at a time; `close`
    from any thread.
    """

    def __init__(
        self, directory: Directory, curve: Curve | None, prefix: bytes, is_over: Callable[[], bool]
    ) -> None:
        self._directory = directory
        self._curve = curve
        self._prefix = prefix
        self._is_over = is_over
        self._is_closed = False
        self._forks = client_link.forks
        self._links = Links()
        self._events: deque[Event] = deque()
        self._greeted: set[str] = set()
        self._refreshed_s = time.monotonic()
        self._watch_new()
        self._settle(time.monotonic() + OPEN_S)
        if not self._links.by_address:
            raise Unavailable("no host could be reached for a watch")

    # -- for the reader --------------------------------------------------------

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        while not self._is_closed and not self._is_over():
            event = self.poll(POLL_S)
            if event is not None:
                return event
        self._shut()
        raise StopIteration

    def poll(self, timeout: float) -> Event | None:
        """Return the next event, or None if none comes within `timeout` seconds."""
        if self._forks != client_link.forks:
            raise Closed("a watch does not survive a fork; begin a new one in the child")
        end_s = time.monotonic() + timeout
        while not self._events:
            left_s = end_s - time.monotonic()
            if left_s < 0 or self._is_closed:
                return None
            self._turn(min(left_s, POLL_S))
        return self._events.popleft()

    def close(self) -> None:
        """End the watch; a reader waiting in another thread ends within a tenth of a second."""
        self._is_closed = True

    def _shut(self) -> None:
        self._is_closed = True
        self._links.close()

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *error: object) -> None:
        self._shut()

    # -- turns -----------------------------------------------------------------

    def _turn(self, timeout_s: float) -> None:
        self._links.wait(timeout_s)
        for address, link in list(self._links.by_address.items()):
            is_lost = link.is_lost
            if len(self._events) < PENDING_MAX:
                for frame in link.take_all():
                    self._take(address, frame)
            if is_lost:
                self._links.drop(link)
                self._greeted.discard(address)
                self._events.append(Event("moved", "", 0))
        now_s = time.monotonic()
        if now_s - self._refreshed_s >= REFRESH_S:
            self._refreshed_s = now_s
            self._refresh()

    def _take(self, address: str, frame: bytes) -> None:
        try:
            for reply in decode_replies(frame):
                self._one(address, reply)
        except (WireError, ForeignCluster):
            self._greeted.add(address)

    def _one(self, address: str, reply: Reply) -> None:
        if reply.id == GREET_ID:
            self._greeted.add(address)
            self._directory.greeted(reply.value)
        elif reply.code == OK and reply.value:
            try:
                change = _changes.decode(reply.value)
            except (msgspec.MsgspecError, ValueError):
                return
            self._events.append(Event(change.kind, key_shown(change.key), change.version))

    def _watch_new(self) -> None:
        """Open a link to each member that has none, and watch there."""
        for address in self._directory.members or self._directory.seeds:
            if address in self._links.by_address:
                continue
            link, _ = opened(address, self._directory, self._curve, OPEN_S, ZmqLink)
            # ZeroMQ's thread answers the host's PINGs, however long the reader takes over an event.
            # A host answers in order: its greeting says that the watch stands.
            if link is not None and link.send(encode((WatchRequest(WATCH_ID, self._prefix), self._greet()))):
                self._links.add(link)

    def _greet(self) -> Greet:
        return Greet(GREET_ID, CLIENT_PROTOCOL, self._directory.tag, CLIENT_PROTOCOL_OLDEST)

    def _settle(self, end_s: float) -> None:
        while time.monotonic() < end_s and not self._links.by_address.keys() <= self._greeted:
            self._turn(0.01)

    def _refresh(self) -> None:
        for link in self._links.by_address.values():  # one host's word is enough
            link.send(encode((self._greet(),)))
            break
        self._watch_new()
