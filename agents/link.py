"""The ZeroMQ door: every socket of a host, behind one poller.

Only the I/O thread that made the door may call it, except `Door.wake`.
Two ROUTERs receive (hosts on the link address, clients on the public one);
to other hosts everything leaves through DEALERs, one per host and plane,
each for one incarnation of a link: never reconnected, its identity never
used again. Nothing that arrives, however malformed, raises out of here.
"""

from __future__ import annotations

from typing import Protocol

import zmq

from agents.messages.client import Greeting
from agents.wire import Source

# What `Door.poll` found ready; bits of one int.
HOSTS, CLIENTS, LOST, WOKEN, GREETED = 1, 2, 4, 8, 16


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
        raise NotImplementedError

    @property
    def address(self) -> str:
        """The public endpoint as bound, with its real port."""
        raise NotImplementedError

    @property
    def link_address(self) -> str:
        """The link endpoint as bound, with its real port."""
        raise NotImplementedError

    def poll(self, timeout_s: float) -> int:
        """Sleep until something is ready; return bits HOSTS | CLIENTS | LOST | WOKEN | GREETED.

        Returns at once while a drain budget left something behind. 0 = time is up.
        `timeout_s` < 0 is taken as 0.
        """
        raise NotImplementedError

    def receive_host_frames(self, budget: int) -> list[tuple[Source, bytes]]:
        """Return at most `budget` frames of hosts, with the DEALER each came from.

        Frames with an identity that is none of ours are dropped and counted.
        """
        raise NotImplementedError

    def receive_client_frames(self, budget: int) -> list[tuple[bytes, bytes]]:
        """Return at most `budget` frames of clients as (client identity, frame)."""
        raise NotImplementedError

    def open(
        self, host: str, address: str, incarnation: int, own: tuple[str, int], public_key: str = ""
    ) -> None:
        """Connect to a host for one link incarnation (performs `OpenPipe`).

        Returns at once; what is sent before the connection stands is kept
        (bounded). Failure comes out of `lost`. An older incarnation to the same host is closed.

        Args:
            own: (host id, host incarnation) of this host.
        """
        raise NotImplementedError

    def close(self, host: str, incarnation: int, linger_s: float = 0.0) -> None:
        """Close a link incarnation (performs `ClosePipe`); what was queued dies, or has `linger_s` to leave.

        Nothing happens if it is closed already.
        """
        raise NotImplementedError

    def send(self, host: str, incarnation: int, plane: int, data: bytes) -> bool:
        """Send one frame (performs `SendFrame`, encoded).

        False: it could not be queued, or there is no such pipe. The frame is gone, and so is this incarnation:
        `lost` will say so.
        """
        raise NotImplementedError

    def reply(self, client: bytes, data: bytes) -> bool:
        """Send one frame to a client; False: it is gone, or doesn't read."""
        raise NotImplementedError

    def lost(self) -> list[tuple[str, int, str]]:
        """Return (host, link incarnation, reason) of the pipes lost since the last call; they are closed."""
        raise NotImplementedError

    def greet(self, address: str, tag: str = "", timeout_s: float = 2.0) -> None:
        """Ask the host at a public endpoint who it is; `greetings` has the answer."""
        raise NotImplementedError

    def greetings(self) -> list[tuple[str, Greeting | str]]:
        """Return (address, greeting, or why there is none) of what `greet` asked for."""
        raise NotImplementedError

    def wake(self) -> None:
        """Make `poll` return WOKEN; any thread may call it, as often as it likes."""
        raise NotImplementedError

    def shut(self) -> None:
        """Close everything; a second call does nothing."""
        raise NotImplementedError
