"""The control link: how supervisors hear of each other.

Datagrams of their own, apart from hosts, their links and their load: a
cluster that is stuck, or gone, silences no supervisor. Each is signed; with
keys by the secret that all hosts share, without keys the link is on loopback
only, where the signature just tells ours from other programs'.
"""

from __future__ import annotations

import dataclasses
import hmac
import json
import socket
from collections.abc import Iterable
from typing import Any

from agents.neighbours import NEIGHBOURS_MAX, Beat

FRAME_BYTES_MAX = 4096
SIGNATURE_BYTES = 16
NAMES_MAX = 24  # of hosts in one beat: a box has rarely more, and a frame has its bound
DRAIN_MAX = 256

Address = tuple[str, int]


def secret_of(host_secret: str) -> bytes:
    """Return what signs beats: made of the hosts' secret, and useless for anything else."""
    return hmac.digest(host_secret.encode(), b"colony control link", "sha256")


class ControlLink:
    """One socket; one thread.

    Args:
        address: Where it is bound; port 0 = any.
        peers: Whom to tell always. Who told us something is told, too.

    Raises:
        OSError: The address is in use, or not ours.
    """

    def __init__(self, address: Address, peers: Iterable[Address], secret: bytes) -> None:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0))
        self.socket.setblocking(False)
        try:
            self.socket.bind(address)
        except OSError:
            self.socket.close()
            raise
        self._secret = secret
        self._peers = list(dict.fromkeys(peers))
        self._met: dict[str, Address] = {}

    @property
    def address(self) -> Address:
        """Where it is bound."""
        host, port = self.socket.getsockname()[:2]
        return str(host), int(port)

    def say(self, beat: Beat) -> None:
        """Tell everybody; what can't be sent now is said again soon."""
        short = dataclasses.replace(beat, hosts=beat.hosts[:NAMES_MAX], gave_up=beat.gave_up[:NAMES_MAX])
        body = json.dumps(dataclasses.asdict(short)).encode()
        frame = body + self._sign(body)
        for peer in dict.fromkeys([*self._peers, *self._met.values()]):
            try:
                self.socket.sendto(frame, peer)
            except OSError:
                continue

    def heard(self) -> list[Beat]:
        """Return what was said to us; what is not signed, or makes no sense, is none of it."""
        found = []
        for _ in range(DRAIN_MAX):
            try:
                frame, sender = self.socket.recvfrom(FRAME_BYTES_MAX + 1)
            except BlockingIOError:
                break
            except OSError:  # a refusal of what we sent before
                continue
            beat = self._beat_in(frame)
            if beat is not None:
                if beat.name in self._met or len(self._met) < NEIGHBOURS_MAX:
                    self._met[beat.name] = sender[:2]
                found.append(beat)
        return found

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def _sign(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, body, "sha256")[:SIGNATURE_BYTES]

    def _beat_in(self, frame: bytes) -> Beat | None:
        body, signature = frame[:-SIGNATURE_BYTES], frame[-SIGNATURE_BYTES:]
        if len(frame) > FRAME_BYTES_MAX or not hmac.compare_digest(self._sign(body), signature):
            return None
        try:
            return _beat_of(json.loads(body))
        except (ValueError, TypeError, KeyError):
            return None


def _beat_of(told: dict[str, Any]) -> Beat:
    """Return the beat in plain data; raises `ValueError`, `TypeError` or `KeyError`."""
    return Beat(
        name=str(told["name"]),
        machine=str(told["machine"]),
        pid=int(told["pid"]),
        started_s=float(told["started_s"]),
        life=int(told["life"]),
        number=int(told["number"]),
        folder=str(told["folder"]),
        hosts=tuple(str(name) for name in told["hosts"][:NAMES_MAX]),
        gave_up=tuple(str(name) for name in told["gave_up"][:NAMES_MAX]),
        is_last=bool(told["is_last"]),
    )


def parse_address(text: str) -> Address:
    """Return host and port of `IP:PORT`; raises `ValueError`."""
    host, _, port = text.strip().removeprefix("udp://").rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{text!r} is not an address like 10.0.0.4:7400")
    return host, int(port)
