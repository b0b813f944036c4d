"""The turnstile of an endpoint: how many may come in, and how fast.

Pure: it counts connections by source address, and has each address's own
bucket of new ones. Of IPv6 a network of 64 bits is one source, since whoever
has one address has them all.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

SOURCES_MAX = 16_384  # remembered


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one endpoint takes.

    Attributes:
        connections_max: Open ones, of everybody.
        per_source_max: Open ones of one address.
        burst: New ones of one address at once.
        per_s: ... and in the long run, each second.
        young_max: Open ones whose handshake is not done, of everybody.
    """

    connections_max: int = 8_192
    per_source_max: int = 2_048  # a server with as many threads, each with a connection of its own
    burst: int = 1_024
    per_s: float = 256.0
    young_max: int = 1_024


class _Source:
    __slots__ = ("at_s", "open", "tokens")

    def __init__(self, tokens: float, at_s: float) -> None:
        self.open = 0
        self.tokens = tokens
        self.at_s = at_s


def plain_address(address: str) -> str:
    """Return an IP address as people write it: an IPv4 one that came over IPv6 is one."""
    return address.removeprefix("::ffff:") if "." in address else address


def source_of(address: str) -> str:
    """Return what counts as one source: an IPv4 address, or the network of an IPv6 one."""
    if ":" not in address:
        return address
    try:
        six = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if six.ipv4_mapped is not None:
        return str(six.ipv4_mapped)
    return f"{ipaddress.IPv6Address(int(six) >> 64 << 64)}/64"


class Turnstile:
    """Counts who is in, by source."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.open = 0
        self._sources: dict[str, _Source] = {}

    def enter(self, address: str, now_s: float) -> str:
        """Count one more connection; return "" or, if it must be refused, why. Each "" needs a `leave`."""
        bounds = self.bounds
        if self.open >= bounds.connections_max:
            return f"{bounds.connections_max} connections are open already"
        name = source_of(address)
        source = self._sources.get(name)
        if source is None:
            if len(self._sources) >= SOURCES_MAX:
                self._forget(now_s)
            source = self._sources[name] = _Source(bounds.burst, now_s)
        if source.open >= bounds.per_source_max:
            return f"{bounds.per_source_max} connections from {name} are open already"
        source.tokens = min(bounds.burst, source.tokens + (now_s - source.at_s) * bounds.per_s)
        source.at_s = now_s
        if source.tokens < 1:
            return f"more than {bounds.per_s:g} new connections a second from {name}"
        source.tokens -= 1
        source.open += 1
        self.open += 1
        return ""

    def leave(self, address: str) -> None:
        """Count one connection less."""
        source = self._sources.get(source_of(address))
        if source is not None and source.open > 0:
            source.open -= 1
            self.open -= 1

    def _forget(self, now_s: float) -> None:
        """Forget who has nothing open: all of them have full buckets, or would have soon."""
        self._sources = {name: source for name, source in self._sources.items() if source.open}
