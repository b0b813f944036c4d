"""CURVE: key pairs, sockets that demand them, and who is let in.

ZeroMQ does the handshakes in its own threads, and asks `Zap` about each: a
socket of ours in the loop's poller, so that no thread is needed for it. A
handshake that is not answered in time ends; nobody is let in by silence.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import zmq
from zmq.utils import z85

from agents.access import Role, Roster
from agents.refusals import Refusals

ZAP_ADDRESS = "inproc://zeromq.zap.01"
HOSTS, CLIENTS = b"hosts", b"clients"  # ZAP's domains: the two endpoints of a host
UNAUTHORISED = "its key is not authorised here"


def new_pair() -> tuple[str, str]:
    """Return a new (public, secret) key pair, in Z85."""
    public, secret = zmq.curve_keypair()
    return public.decode("ascii"), secret.decode("ascii")


def public_of(secret: str) -> str:
    """Return the public key of a secret one; raises `ValueError` if it is none."""
    try:
        return zmq.curve_public(secret.encode("ascii")).decode("ascii")
    except (zmq.ZMQError, ValueError) as error:
        raise ValueError(f"no secret key: {error}") from None


class HostKeys:
    """A host's keys, and whom it knows.

    All hosts of a cluster share one key pair: who holds it is a host.

    Attributes:
        roster: Who may connect; exchanged as a whole when the list was changed.
    """

    def __init__(self, secret: str, roster: Roster) -> None:
        self.public = public_of(secret)
        self._secret = secret
        self.roster = roster

    def serve(self, socket: zmq.Socket[bytes], domain: bytes) -> None:
        """Prepare a ROUTER of ours: it demands keys, and has `Zap` judge them."""
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._secret.encode("ascii"))
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self.public.encode("ascii"))
        socket.setsockopt(zmq.ZAP_DOMAIN, domain)
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # without a handler nobody is let in

    def connect(self, socket: zmq.Socket[bytes], public_key: str) -> None:
        """Prepare a DEALER to the host with this public key ("" = the one that hosts share)."""
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._secret.encode("ascii"))
        socket.setsockopt(zmq.CURVE_PUBLICKEY, self.public.encode("ascii"))
        socket.setsockopt(zmq.CURVE_SERVERKEY, (public_key or self.public).encode("ascii"))


class Zap:
    """Answers ZeroMQ's questions about who may connect (rfc.zeromq.org/spec/27).

    Args:
        context: Whose sockets ask.
        keys: Who is known.
        refusals: Told of who is not.
        watch: Has a descriptor watched.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        keys: HostKeys,
        refusals: Refusals,
        watch: Callable[[int, Callable[[], None]], None],
    ) -> None:
        self._keys = keys
        self._refusals = refusals
        self._socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.set_hwm(0)  # handshakes are bounded where connections are
        self._socket.bind(ZAP_ADDRESS)
        watch(self._socket.FD, self._look)

    def _look(self) -> None:
        """Answer all that asked."""
        while True:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.ZMQError:
                return
            try:
                empty = frames.index(b"")
                asked = frames[empty + 1 :]
                verdict = self._judge(asked)
                answer = [*frames[: empty + 1], b"1.0", asked[1], *verdict, b""]
                self._socket.send_multipart(answer, zmq.NOBLOCK)
            except (zmq.ZMQError, ValueError, IndexError):
                continue  # who asked is gone, or is none of ours: it is not let in

    def _judge(self, asked: list[bytes]) -> tuple[bytes, bytes, bytes]:
        """Return (status, text, user id): 200 lets in, 400 doesn't."""
        _, _, domain, address, _, mechanism, *credentials = asked
        if mechanism == b"CURVE" and len(credentials) == 1 and len(credentials[0]) == 32:
            key = z85.encode(credentials[0]).decode("ascii")
            holder = self._keys.roster.get(key)
            if holder is not None and (domain == CLIENTS or holder.role is Role.HOST):
                return b"200", b"OK", key.encode("ascii")
            why = UNAUTHORISED if holder is None else f"{holder.name!r} is a {holder.role.word}, no host"
        else:
            why = "it shows no key"
        self._refusals.add(address.decode("ascii", "replace"), why, time.monotonic())
        return b"400", why.encode(), b""
