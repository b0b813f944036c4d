"""The ZeroMQ door: every socket of a host, behind one poller.

Only the I/O thread that made the door may call it, except `Door.wake`.
A listener receives from hosts on the link address, another from clients on
the public one; to other hosts everything leaves through one connection per
host and plane, each for one incarnation of a link: never reconnected, its
identity never used again. With keys they are ZeroMQ's (`Guarded` for
clients); without, ours (`tcp_plane.Plane`, `Front`) speak the same protocol
over plain TCP. Nothing that arrives, however malformed, raises out of here.
"""

from __future__ import annotations

import time

import zmq

from agents.curve import HostKeys
from agents.front import Front
from agents.guarded import FRAME_BYTES_MAX as CLIENT_FRAME_BYTES_MAX
from agents.guarded import Guarded
from agents.messages.client import Greeting
from agents.poller import Waker, new_vigil
from agents.refusals import Refusals
from agents.sockets import (
    HOST_FRAMES_MAX,
    Dealer,
    Pipe,
    Question,
    Sockets,
)
from agents.tcp_plane import Incoming, Outgoing, Plane, TcpPipe, place_of
from agents.wire import CONTROL, Source, source_of

# What `Door.poll` found ready; bits of one int.
HOSTS, CLIENTS, LOST, WOKEN, GREETED = 1, 2, 4, 8, 16

DRAIN_BYTES_MAX = 128 * 1024  # per turn: some 1 ms of cells, then others are served
SOURCES_MAX = 4_096  # parsed identities remembered
GREETS_MAX = 64
# Plain numbers: to combine two of pyzmq's flags takes as long as to send.
_NOW = int(zmq.NOBLOCK)
_READABLE = int(zmq.POLLIN)


class Door:
    """All sockets of one host.

    Args:
        listen: Public endpoint for clients and joiners, `tcp://IP:port`; port `*` = any free one.
        link: Endpoint for other hosts, likewise.
        keys: What both endpoints demand keys by; None = they are plain.

    Attributes:
        refusals: Who was turned away, and why.
        guarded: The clients' endpoint if it demands keys.

    Raises:
        OSError: An endpoint can't be bound.
    """

    def __init__(self, listen: str, link: str, keys: HostKeys | None = None) -> None:
        self.refusals = Refusals()
        self.guarded: Guarded | None = None
        self._sockets = Sockets(keys, self.refusals)
        self._poller = self._sockets.poller
        self._waker = Waker()
        self._pipes: dict[str, Pipe | TcpPipe] = {}
        self._greets: dict[str, Question] = {}
        self._sources: dict[bytes, Source | None] = {}
        self._lost: list[tuple[str, int, str]] = []
        self._greetings: list[tuple[str, Greeting | str]] = []
        self._unread = 0  # what may have been left by the last drain
        self._held = 0
        self._front: Front | None = None
        self._plane: Plane | None = None
        self._hosts: zmq.Socket[bytes] | None = None
        self._is_shut = False
        self._strangers = 0
        try:
            sockets = self._sockets
            if keys is None:
                self._plane = Plane(link, sockets.poller, sockets.watched, sockets.frame_bytes_max)
                frame_bytes_max = min(sockets.frame_bytes_max, CLIENT_FRAME_BYTES_MAX)
                self._front = Front(listen, sockets.poller, frame_bytes_max)
                self._plane.incoming.refusals = self._front.refusals = self.refusals
            else:
                self._hosts = sockets.serve(link, HOST_FRAMES_MAX)
                self._unread = HOSTS
                self.guarded = sockets.serve_clients(listen, keys)
        except OSError:
            self.shut()
            raise
        self._bits: dict[int, int] = {self._waker.fd: WOKEN}
        if self._hosts is not None:
            self._bits[self._hosts.FD] = HOSTS
        for fd in self._bits:
            self._poller.add(fd)
        self._connections = {} if self._front is None else self._front.connections
        self._links = {} if self._plane is None else self._plane.incoming.connections
        self._clients = self._desk
        if self._front is not None:
            self._sockets.watched[self._front.fd] = self._front.accept

    @property
    def address(self) -> str:
        """The public endpoint as bound, with its real port."""
        return self._clients.address

    @property
    def clients(self) -> int:
        """Connections of clients and joiners."""
        return self._clients.count

    @property
    def strangers(self) -> int:
        """How much came that was none of ours, and how many were hung up on for it."""
        links = self._plane.incoming.strangers if self._plane is not None else 0
        return self._strangers + self._clients.strangers + links

    @property
    def _desk(self) -> Front | Guarded:
        """Where clients come."""
        desk = self._front or self.guarded
        assert desk is not None, "there is one or the other"
        return desk

    @property
    def link_address(self) -> str:
        """The link endpoint as bound, with its real port."""
        if self._plane is not None:
            return self._plane.incoming.address
        assert self._hosts is not None, "there is one or the other"
        return str(self._hosts.getsockopt_string(zmq.LAST_ENDPOINT))

    def poll(self, timeout_s: float) -> int:
        """Sleep until something is ready; return bits HOSTS | CLIENTS | LOST | WOKEN | GREETED.

        Returns at once while a drain budget left something behind. 0 = time is up.
        `timeout_s` < 0 is taken as 0.
        """
        return self.note(self.wait(self.prepare(timeout_s)))

    def keep_vigil(self) -> None:
        """Stay awake between short waits for other hosts: for a host that has its process for itself."""
        self._poller.vigil = new_vigil()

    def prepare(self, timeout_s: float) -> float:
        """Do what is due before anybody sleeps; return for how many seconds that may be."""
        if self._sockets.fresh:
            self._look_at(self._sockets.fresh)
            self._sockets.fresh = []
        if self._greets:
            timeout_s = min(timeout_s, self._expire_greets())
        desk, plane = self._clients, self._plane
        if plane is not None:
            timeout_s = min(timeout_s, plane.check())
            if plane.incoming.ready:
                self._unread |= HOSTS
        if desk.is_busy:
            timeout_s = min(timeout_s, desk.expire())
        if desk.ready:
            self._unread |= CLIENTS
        if self._unread & ~self._held or self._lost or self._greetings or timeout_s < 0:
            return 0
        return timeout_s

    def wait(self, timeout_s: float) -> list[int]:
        """Sleep until something is ready; return what, for `note`. Touches nothing that others may."""
        return self._poller.wait(timeout_s)

    def note(self, fds: list[int]) -> int:
        """Take note of what `wait` returned; return bits as `poll` does."""
        front, desk, plane = self._front, self._clients, self._plane
        found = 0
        for fd in fds:
            if fd in self._links and plane is not None:
                if plane.incoming.see(self._links[fd]):
                    found |= HOSTS
            elif fd in self._connections and front is not None:
                if front.see(self._connections[fd]):
                    found |= CLIENTS
            elif fd in self._bits:
                found |= self._bits[fd]
            else:
                self._look_at([fd])
        if found & WOKEN:
            self._waker.clear()
        if desk.ready:
            found |= CLIENTS
        if found & CLIENTS and self._poller.vigil is not None:
            self._poller.vigil.forget()
        self._unread |= found & (HOSTS | CLIENTS)
        if self._lost:
            found |= LOST
        if self._greetings:
            found |= GREETED
        return (found | self._unread) & ~self._held

    @property
    def incoming(self) -> Incoming | None:
        """The connections of other hosts, where they are ours to read."""
        return self._plane.incoming if self._plane is not None else None

    @property
    def has_news(self) -> bool:
        """Whether `poll` would return at once."""
        plane = self._plane
        return bool(self._lost or self._greetings or (plane is not None and plane.incoming.ready))

    def hold_clients(self, is_held: bool) -> None:
        """Take nothing from clients until told otherwise; they are held back meanwhile."""
        if is_held == bool(self._held):
            return
        self._held = CLIENTS if is_held else 0
        self._clients.hold(is_held)

    def receive_host_frames(self, budget: int) -> list[tuple[Source, bytes]]:
        """Return at most `budget` frames of hosts, with the DEALER each came from.

        Frames with an identity that is none of ours are dropped and counted in `strangers`.
        """
        if self._plane is not None:
            self._unread &= ~HOSTS
            return self._plane.incoming.take(budget)
        assert self._hosts is not None, "there is one or the other"
        frames: list[tuple[Source, bytes]] = []
        sources = self._sources
        for identity, data in self._drain(self._hosts, HOSTS, budget):
            source = sources.get(identity)
            if source is None:
                source = source_of(identity)
                if source is None:
                    self._strangers += 1
                    continue
                if len(sources) >= SOURCES_MAX:
                    sources.clear()
                sources[identity] = source
            frames.append((source, data))
        return frames

    def receive_client_frames(self, budget: int) -> list[tuple[bytes, bytes]]:
        """Return at most `budget` frames of clients as (client identity, frame)."""
        self._unread &= ~CLIENTS
        return self._clients.take(budget)

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
        source = Source(*own, incarnation, CONTROL)
        where = None
        if self._plane is not None:
            try:
                where = place_of(address)
            except OSError as error:
                self._lost.append((host, incarnation, str(error)))
                return
        if self._plane is None or where is None:  # ZeroMQ's thread may wait until a name is looked up
            pipe: Pipe | TcpPipe = Pipe(self._sockets, address, source, public_key)
        else:
            pipe = TcpPipe(self._plane, where, source)
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
        return self._clients.reply(client, data)

    def is_clogged(self, client: bytes) -> bool:
        """Return whether a client should read what it has been sent before it is sent more."""
        return self._clients.is_clogged(client)

    def drop(self, client: bytes) -> None:
        """Cut off a client that does not read."""
        self._clients.drop(client)

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
            self._greets[address] = Question(self._sockets, address, tag, timeout_s, self._greeted)
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
        if self._plane is not None:
            self._plane.shut(linger_s)
        if self._front is not None:
            self._sockets.watched.pop(self._front.fd, None)
            self._front.shut(linger_s)
        if self.guarded is not None:
            self.guarded.close()
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
                identity = receive(_NOW)
            except zmq.ZMQError:
                self._unread &= ~bit
                break
            budget -= 1
            frame = receive(_NOW, False)  # a `Frame`: it knows whether there is more, without another call
            data = frame.bytes
            size += len(data)
            if frame.more:
                self._strangers += 1
                while receive(_NOW, False).more:
                    pass
                continue
            frames.append((identity, data))
            if len(frames) == 1 and not int(router.getsockopt(zmq.EVENTS)) & _READABLE:
                self._unread &= ~bit  # mostly there is but one: to ask is cheaper than to be refused
                break
        return frames

    def _try_plane(self, host: str, pipe: Pipe | TcpPipe, plane: int) -> Dealer | Outgoing | None:
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
