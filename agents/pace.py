"""The pace: how many bytes of clones a host sends per second, urgent ones first.

A bucket of tokens that fills by time. A clone for a colony that lacks peers
goes before one that only moves: while such a one waits, others get nothing.
"""

from __future__ import annotations

BURST_S = 0.25  # of one second's bytes at a time: clones are looked at about as often
URGENT_S = 1.0  # so long after an urgent clone was seen, others wait


class Pace:
    """What clones may be sent now; on the host's own thread.

    Args:
        bytes_s: So many per second; 0 = as many as there is credit for.
    """

    __slots__ = ("_at_s", "_tokens", "_urgent_s", "bytes_s")

    def __init__(self, bytes_s: int = 0) -> None:
        self.bytes_s = bytes_s
        self._tokens = bytes_s * BURST_S
        self._at_s = self._urgent_s = float("-inf")

    def allows(self, now_s: float, *, is_urgent: bool) -> bool:
        """Return whether one more chunk may leave now."""
        if not self.bytes_s:
            return True
        if is_urgent:
            self._urgent_s = now_s
        elif now_s - self._urgent_s < URGENT_S:
            return False
        if now_s > self._at_s:
            full = self.bytes_s * BURST_S
            self._tokens = min(full, self._tokens + (now_s - max(self._at_s, now_s - 1.0)) * self.bytes_s)
            self._at_s = now_s
        return self._tokens > 0

    def spend(self, size_bytes: int) -> None:
        """A chunk of this size has left; the next ones pay for what it is too large."""
        if self.bytes_s:
            self._tokens -= size_bytes
