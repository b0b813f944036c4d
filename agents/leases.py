"""Leases: what a host granted, and the grants that it holds.

`Grants` belongs to the granter: it ends all of them at once (the fence) and
can say how long the last one may still run at its holder. `Quorum` belongs
to the holder. Rules:

- A lease runs from the *sending* of the heartbeat, on the sender's clock.
- Only grants of the installed view count, from incarnations that it lists.
- After the fence nothing is granted until the next view is installed.
- Rates of two clocks differ by at most `DRIFT` each from true time, so a
  lease of `L` on the holder's clock has surely run out when the granter has
  measured and the proposer has waited `L * STRETCH` in all.
"""

from __future__ import annotations

from math import inf

from agents.views import View

DRIFT = 0.05  # the faults assumed: clocks drift by at most 5 % in rate
STRETCH = (1 + DRIFT) / (1 - DRIFT)


class Grants:
    """What this host granted in one view, to whom, and when last.

    Args:
        lease_s: Length of a lease; > 0.
        floor_s: No last grant counts as older than this: the install of the
            view by this host, or its own start after a restart.
    """

    __slots__ = ("_floor_s", "_last_s", "_lease_s", "fenced")

    def __init__(self, lease_s: float, floor_s: float, *, fenced: bool = False) -> None:
        self._lease_s = lease_s
        self._floor_s = floor_s
        self._last_s: dict[str, float] = {}
        self.fenced = fenced

    def grant(self, host: str, now_s: float) -> bool:
        """Grant a lease; False, and nothing happens, behind the fence."""
        if self.fenced:
            return False
        self._last_s[host] = now_s
        return True

    def fence(self) -> None:
        """Grant nothing any more; what was granted runs out by itself."""
        self.fenced = True

    def left_s(self, host: str, now_s: float) -> float:
        """Return how long a lease of `host` may still run, drift added; >= 0.

        A host that was granted nothing in this view may still live on leases
        of an earlier one. Those ended, at the latest, at their granters'
        fences, and so before this view was installed: the floor covers them.
        A granter that restarted has forgotten; its start is the floor then.
        """
        last_s = max(self._last_s.get(host, self._floor_s), self._floor_s)
        return max(0.0, last_s + self._lease_s * STRETCH - now_s)


class Quorum:
    """The grants that this host holds: may it acknowledge anything now?

    `held` may be called from any thread: it compares with one float, which
    the owner's thread replaces.
    """

    __slots__ = ("_expiry_s", "_incarnations", "_lease_s", "_me", "_needed", "_until_s", "_view")

    def __init__(self) -> None:
        self._until_s = -inf
        self._view = 0
        self._me = ""
        self._lease_s = 0.0
        self._needed = 1
        self._incarnations: dict[str, int] = {}
        self._expiry_s: dict[str, float] = {}

    def held(self, now_s: float) -> bool:
        """Return whether a majority's leases are unexpired."""
        return now_s < self._until_s

    def install(self, view: View, me: str) -> None:
        """Start afresh in a view that lists this host."""
        self._until_s = -inf
        self._view = view.id
        self._me = me
        self._lease_s = view.charter.lease_s
        self._needed = view.majority
        self._incarnations = {member.id: member.incarnation for member in view.members}
        self._expiry_s = {me: inf}  # a host hears itself; the fence ends this one too
        self._recount()

    def granted(self, host: str, incarnation: int, view: int, sent_s: float, now_s: float) -> bool:
        """Count a grant; False if it is none of this view or of a stranger."""
        if view != self._view or self._incarnations.get(host) != incarnation or host == self._me:
            return False
        if sent_s > now_s or self._expiry_s.get(host, -inf) >= sent_s + self._lease_s:
            return False  # of another process's clock, or overtaken
        self._expiry_s[host] = sent_s + self._lease_s
        self._recount()
        return True

    def fence(self) -> None:
        """End the grant to itself: it has accepted a successor of the view."""
        self._expiry_s.pop(self._me, None)
        self._recount()

    def clear(self) -> None:
        """Hold nothing until a view is installed: undead, or left cleanly."""
        self._view = 0
        self._incarnations = {}
        self._expiry_s = {}
        self._until_s = -inf

    def _recount(self) -> None:
        """Set the instant until which a majority's grants run."""
        if len(self._expiry_s) < self._needed:
            self._until_s = -inf
        else:
            self._until_s = sorted(self._expiry_s.values(), reverse=True)[self._needed - 1]
