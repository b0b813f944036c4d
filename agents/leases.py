"""Leases: what a host granted, and the grants that it holds.

`Grants` belongs to the granter: it ends all of them at once (the fence) and
can say how long the last one may still run at its holder. `Quorum` belongs
to the holder. Rules:

- A lease runs from the *sending* of the heartbeat, on the sender's clock.
- Only grants of the installed view count, and unexpired ones of earlier views of its generation;
  both from incarnations that it lists.
- After the fence nothing is granted until the next view is installed.
- Rates of two clocks differ by at most `DRIFT` each from true time, so a
  lease of `L` on the holder's clock has surely run out when the granter has
  measured and the proposer has waited `L * STRETCH` in all.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping
from math import inf
from types import MappingProxyType

from agents.views import View, generation_of

DRIFT = 0.05  # the faults assumed: clocks drift by at most 5 % in rate
STRETCH = (1 + DRIFT) / (1 - DRIFT)


class Grants:
    """What this host granted in one view, to whom, and when last.

    Args:
        lease_s: Length of a lease; > 0.
        floor_s: No last grant counts as older than this: the install of the
            view by this host, or its own start after a restart.
        before: Host -> when it was granted a lease last, of members of the view
            before that are the same in this one: those leases run on.
    """

    __slots__ = ("_floor_s", "_last_s", "_lease_s", "_owed", "_told_s", "fenced")

    def __init__(
        self,
        lease_s: float,
        floor_s: float,
        *,
        fenced: bool = False,
        before: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self._lease_s = lease_s
        self._floor_s = floor_s
        self._last_s = dict(before)
        self._told_s = dict(before)  # of the last grants, those that were sent
        self._owed: dict[str, float] = {}
        self.fenced = fenced

    def grant(self, host: str, now_s: float) -> bool:
        """Grant a lease; False, and nothing happens, behind the fence."""
        if self.fenced:
            return False
        self._last_s[host] = self._told_s[host] = now_s
        return True

    def of_same(self, old: View, view: View) -> dict[str, float]:
        """Return what `before` of the view after this one is.

        What was owed and not told any more is left out: views in a row, each of which puts the next
        heartbeat off, would have it wait until the lease has run out.
        """
        if generation_of(old.id) != generation_of(view.id):
            return {}
        same = (member.id for member in view.members if old.lists(member.id, member.incarnation))
        return {host: self._told_s[host] for host in same if host in self._told_s}

    def is_urgent(self, host: str, now_s: float, wait_s: float) -> bool:
        """Return whether the last lease of a host may not last for so long, or it has none."""
        return now_s - self._last_s.get(host, -inf) >= self._lease_s - wait_s

    def owe(self, host: str, sent_s: float, now_s: float) -> None:
        """Grant a lease that is told later; it counts as granted now, and runs from `sent_s` there."""
        if not self.fenced:
            self._last_s[host] = now_s
            self._told_s.pop(host, None)
            self._owed[host] = sent_s

    def take_owed(self) -> list[tuple[str, float]]:
        """Return (host, when it sent the heartbeat that is answered) of leases that are to be told now."""
        owed, self._owed = self._owed, {}
        self._told_s.update((host, self._last_s[host]) for host in owed)
        return list(owed.items())

    def fence(self) -> None:
        """Grant nothing any more; what was granted and told runs out by itself."""
        self.fenced = True
        self._owed.clear()

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

    __slots__ = ("_expiry_s", "_incarnations", "_lease_s", "_me", "_needed", "_sorted", "_until_s", "_view")

    def __init__(self) -> None:
        self._until_s = -inf
        self._view = 0
        self._me = ""
        self._lease_s = 0.0
        self._needed = 1
        self._incarnations: dict[str, int] = {}
        self._expiry_s: dict[str, float] = {}
        self._sorted: list[float] = []  # all of the above: sorting them anew with each grant costs too much

    def held(self, now_s: float) -> bool:
        """Return whether a majority's leases are unexpired."""
        return now_s < self._until_s

    def lasts(self, host: str, until_s: float) -> bool:
        """Return whether the lease that a host granted runs until then, if it counts in this view."""
        return self._expiry_s.get(host, -inf) >= until_s

    def install(self, view: View, me: str) -> None:
        """Go on in a view that lists this host: leases that run count in it, of whoever it still lists.

        Else every view would be a pause of service, for those too that it does not touch. It can't
        outlive a drop: a majority of this view granted, and of these some member accepts the view
        that drops this host. It made its grant before it installed this one, and says how long a
        grant of that moment can run at most (`Grants.left_s`, the floor).
        """
        before = self._incarnations if generation_of(self._view) == generation_of(view.id) else {}
        self._view = view.id
        self._me = me
        self._lease_s = view.charter.lease_s
        self._needed = view.majority
        self._incarnations = {member.id: member.incarnation for member in view.members}
        self._expiry_s = {
            host: expiry_s
            for host, expiry_s in self._expiry_s.items()
            if host in before and self._incarnations.get(host) == before[host]
        }
        self._expiry_s[me] = inf  # a host hears itself; the fence ends this one too
        self._sorted = sorted(self._expiry_s.values())
        self._recount()

    def granted(self, host: str, incarnation: int, view: int, sent_s: float, now_s: float) -> bool:
        """Count a grant; False if it is none of this view or of a stranger."""
        if view != self._view or self._incarnations.get(host) != incarnation or host == self._me:
            return False
        expiry_s, old_s = sent_s + self._lease_s, self._expiry_s.get(host, -inf)
        if sent_s > now_s or old_s >= expiry_s:
            return False  # of another process's clock, or overtaken
        self._forget(old_s)
        self._expiry_s[host] = expiry_s
        insort(self._sorted, expiry_s)
        self._recount()
        return True

    def fence(self) -> None:
        """End the grant to itself: it has accepted a successor of the view."""
        self._forget(self._expiry_s.pop(self._me, -inf))
        self._recount()

    def clear(self) -> None:
        """Hold nothing until a view is installed: undead, or left cleanly."""
        self._view = 0
        self._incarnations = {}
        self._expiry_s, self._sorted = {}, []
        self._until_s = -inf

    def _forget(self, expiry_s: float) -> None:
        if expiry_s > -inf:
            del self._sorted[bisect_left(self._sorted, expiry_s)]

    def _recount(self) -> None:
        """Set the instant until which a majority's grants run."""
        self._until_s = self._sorted[-self._needed] if len(self._sorted) >= self._needed else -inf
