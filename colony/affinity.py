"""Affinity: cells that this process asks for again and again come to live here.

For applications that are hosts themselves, behind a balancer that keeps a
session's requests at one of them. Counted where a call leaves the process
anyway, so calls that are answered here pay nothing for it.
"""

from __future__ import annotations

import threading
from typing import Protocol

from agents.colony import Colony

CALLS_MIN = 16  # calls for a cell that had to leave the process ...
WITHIN_S = 30.0  # ... in so long: rarer ones don't pay for a move
COOL_S = 60.0  # two hosts that both want a cell don't pull it to and fro: it stays so long
PER_MINUTE = 60  # moves of one store at the most
KEYS_MAX = 4096


class Container(Protocol):
    """The host in this process, as far as it matters here."""

    colonies: dict[int, Colony]


class Affinity:
    """Counts calls that left the process, by key; any thread."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._counts: dict[bytes, tuple[int, float]] = {}
        self._next_s = float("-inf")
        self._lock = threading.Lock()

    def left(self, key: bytes, now_s: float) -> int | None:
        """Count a call that another host answered; return the colony to which its cell should come now."""
        with self._lock:
            if not self._is_due(key, now_s):
                return None
        led = [
            (len(machine.peer.cells.live), colony)
            for colony, machine in list(self._container.colonies.items())
            if machine.is_open
        ]
        return min(led)[1] if led else None

    def _is_due(self, key: bytes, now_s: float) -> bool:
        """Count a call; return whether its cell is to be fetched, and forget the count then."""
        count, since_s = self._counts.pop(key, (0, now_s))
        if now_s - since_s > WITHIN_S:
            count, since_s = 0, now_s
        if count + 1 < CALLS_MIN or now_s < self._next_s:
            self._counts[key] = min(count + 1, CALLS_MIN), since_s
            if len(self._counts) > KEYS_MAX:
                del self._counts[next(iter(self._counts))]
            return False
        self._next_s = now_s + 60.0 / PER_MINUTE
        return True
