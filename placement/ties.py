"""Ties: an order of hosts that each colony has for itself.

Equal hosts are told apart by a stable hash of (colony, host id): the same on
every host and in every run, and different from colony to colony, so that
colonies that face the same choice do not all storm one host.

Source: rendezvous hashing (Thaler and Ravishankar, 1998).
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b


@lru_cache(maxsize=1 << 16)
def tie_order(colony: int, host: str) -> int:
    """Return where a host stands among equals for this colony; low is first."""
    name = b"%d/%s" % (colony, host.encode())
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big")


def tie_portion(number: int, host: str) -> float:
    """Return a number from 0 to 1: how far into a span of time a host begins what all begin, that time."""
    return tie_order(number, host) / (1 << 64)
