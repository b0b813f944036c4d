"""Reputation: how often a host was given up, and what that costs it."""

from __future__ import annotations

from agents.views import View

MEMORY_S = 600.0  # a host that stood for ten minutes has a clean slate
WAIT_S = 0.5  # after the second death in that time; doubled with each further one
WAIT_MAX_S = 30.0
DEATHS_MAX = 16


class Reputation:
    """Deaths per host id, as this host saw them in views."""

    def __init__(self) -> None:
        self._deaths_s: dict[str, list[float]] = {}

    def note(self, view: View, now_s: float) -> None:
        """Note who was dropped as dead by a view."""
        for host, _ in view.dead:
            self._deaths_s[host] = [*self._deaths_s.get(host, ()), now_s][-DEATHS_MAX:]
        self._deaths_s = {
            host: deaths for host, deaths in self._deaths_s.items() if now_s - deaths[-1] < MEMORY_S
        }

    def learn(self, view: View, now_s: float) -> None:
        """Take over what the view says of others; for one that has just become a member.

        It knows nothing of them yet, and would be the one that lets them in too soon.
        """
        for host, flaps in view.flaps:
            known = self._deaths_s.get(host, [])
            missing = min(flaps, DEATHS_MAX) - len(known)
            if missing > 0:
                self._deaths_s[host] = [*known, *[now_s] * missing]

    def all(self, now_s: float) -> dict[str, int]:
        """Return the flaps of all hosts that had any of late."""
        found = {host: self.flaps(host, now_s) for host in self._deaths_s}
        return {host: flaps for host, flaps in found.items() if flaps}

    def flaps(self, host: str, now_s: float) -> int:
        """Return how often the host was held dead of late; >= 0."""
        return sum(now_s - death_s < MEMORY_S for death_s in self._deaths_s.get(host, ()))

    def wait_s(self, host: str, now_s: float) -> float:
        """Return how long the host still has to wait before it is admitted again.

        The first return is free: a restart is no flapping.
        """
        flaps = self.flaps(host, now_s)
        if flaps < 2:
            return 0.0
        wait_s = min(WAIT_MAX_S, WAIT_S * 2.0 ** (flaps - 2))
        return max(0.0, self._deaths_s[host][-1] + wait_s - now_s)
