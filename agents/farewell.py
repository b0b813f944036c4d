"""Farewell: a host that left goes on answering until it is surely gone.

Until a majority of the view without it has installed that view, some
acceptor may still need it: as one that knows the view, or votes on it.
"""

from __future__ import annotations

from math import inf

from agents.views import View


class Farewell:
    """Who has installed the view (or a later one) that this host left by."""

    def __init__(self, view: View, now_s: float) -> None:
        self.view = view
        self.since_s = now_s
        self._confirmed: set[str] = set()
        self._asked_s = -inf

    def confirmed(self, host: str) -> None:
        """Note that a host has installed the view without us, or a later one."""
        if self.view.member(host) is not None:
            self._confirmed.add(host)

    def missing(self) -> list[str]:
        """Return the members that have not confirmed it."""
        return [host for host in self.view.ids if host not in self._confirmed]

    @property
    def complete(self) -> bool:
        """Whether a majority of that view has installed it."""
        return len(self._confirmed) >= self.view.majority

    def asks(self, now_s: float, every_s: float) -> bool:
        """Return whether it is time to ask the missing ones again."""
        if now_s - self._asked_s < every_s:
            return False
        self._asked_s = now_s
        return True
