"""Reputation: how often a host was given up, and what that costs it.

Two memories of the same deaths. Seniority and placement count those of ten
minutes. What a host waits before it is let in again goes by a level that each
death raises by one and that time drains: who falls out now and then comes
back at once, however long the cluster lives, and who flaps settles where its
flaps drain as fast as they come.

What placement sees is its record: deaths of late (flaps) and how long it was away
(absences); both fade. A box has one, too: whatever made it lose hosts may
strike the next one on it, so placement looks for copies' places elsewhere
first.
"""

from __future__ import annotations

from collections.abc import Mapping
from heapq import nsmallest
from math import inf

from agents.views import Member, View
from placement.labels import Labels

MEMORY_S = 600.0  # a host that stood for ten minutes has a clean slate
HALF_LIFE_S = 150.0  # a death counts half after a quarter of that
ABSENCE_S = 60.0  # so long an absence weighs as much as a death
DRAIN_S = 40.0  # one death; who falls out that rarely never waits
# A flap makes three views: out, in, ACTIVE; one view per link in 5 s is what a cluster should bear for long.
WAIT_S, WAIT_TIMES = 0.5, 4.0  # at level two, and how many times as long at each further one
WAIT_MAX_S = 30.0
DEATHS_MAX = 16
BOXES_MAX = 1024
RECORDS_MAX = 64  # told in a census, the worst first: beyond that many bad places one is as bad as another

Box = tuple[str, str, str]


class Reputation:
    """Deaths per host id, as this host saw them in views."""

    def __init__(self) -> None:
        self._deaths_s: dict[str, list[float]] = {}
        self._gone_s: dict[str, float] = {}  # hosts that are away, since when
        self._absences_s: dict[str, tuple[float, float]] = {}  # host -> (how long, as of when)
        self._boxes_s: dict[Box, list[float]] = {}

    def note(self, view: View, now_s: float, labels: Mapping[str, Labels] | None = None) -> None:
        """Note who was dropped as dead by a view, and who is back; `labels`: where hosts stood."""
        boxes = set()
        for host, _ in view.dead:
            self._deaths_s[host] = [*self._deaths_s.get(host, ()), now_s][-DEATHS_MAX:]
            self._gone_s[host] = now_s
            stood = (labels or {}).get(host)
            if stood is not None and stood.box:
                boxes.add((stood.zone, stood.rack, stood.box))
        for box in boxes:  # a box that dies with all its hosts has died once
            self._boxes_s[box] = [*self._boxes_s.get(box, ()), now_s][-DEATHS_MAX:]
        for host in view.ids:
            if host in self._gone_s:
                away_s = self._absent_s(host, now_s) + now_s - self._gone_s.pop(host)
                self._absences_s[host] = (away_s, now_s)
        self._forget(now_s)

    def _forget(self, now_s: float) -> None:
        def late(at_s: float) -> bool:
            return now_s - at_s < MEMORY_S

        self._deaths_s = {host: deaths for host, deaths in self._deaths_s.items() if late(deaths[-1])}
        self._gone_s = {host: at_s for host, at_s in self._gone_s.items() if late(at_s)}
        self._absences_s = {host: one for host, one in self._absences_s.items() if late(one[1])}
        kept = [(box, deaths) for box, deaths in self._boxes_s.items() if late(deaths[-1])]
        self._boxes_s = dict(kept[-BOXES_MAX:])

    def learn(self, view: View, now_s: float) -> None:
        """Take over what the view says of others; for one that has just become a member.

        It knows nothing of them yet. When they died the view does not say: they are taken to lie so far
        apart that they alone make nobody wait. Who flaps on, waits by what is seen of it from here on.
        """
        for host, flaps in view.flaps:
            known = self._deaths_s.get(host, [])
            missing = min(flaps, DEATHS_MAX) - len(known)
            if missing > 0:
                oldest_s = min(known, default=now_s)
                learnt = [oldest_s - DRAIN_S * place for place in range(missing, 0, -1)]
                self._deaths_s[host] = [*learnt, *known]

    def all(self, now_s: float) -> dict[str, int]:
        """Return the flaps of all hosts that had any of late."""
        found = {host: self.flaps(host, now_s) for host in self._deaths_s}
        return {host: flaps for host, flaps in found.items() if flaps}

    def flaps(self, host: str, now_s: float) -> int:
        """Return how often the host was held dead of late; >= 0."""
        return sum(now_s - death_s < MEMORY_S for death_s in self._deaths_s.get(host, ()))

    def level(self, host: str, now_s: float) -> float:
        """Return how much its deaths weigh now; >= 0, and 1 right after a first one."""
        level, before_s = 0.0, -inf
        for death_s in self._deaths_s.get(host, ()):
            level = max(0.0, level - (death_s - before_s) / DRAIN_S) + 1.0
            before_s = death_s
        return max(0.0, level - (now_s - before_s) / DRAIN_S)

    def _absent_s(self, host: str, now_s: float) -> float:
        away_s, at_s = self._absences_s.get(host, (0.0, now_s))
        return away_s * _faded(at_s, now_s)

    def record(self, host: str, now_s: float) -> float:
        """Return what speaks against a host: its deaths and its absences, faded; the first death is free.

        It may have been a restart, and so may the minute that it took.
        """
        if host not in self._deaths_s and host not in self._absences_s:
            return 0.0  # of all members, four times a second
        deaths = sorted(self._deaths_s.get(host, ()))[1:]
        flaps = sum(_faded(death_s, now_s) for death_s in deaths)
        return flaps + max(0.0, self._absent_s(host, now_s) / ABSENCE_S - 1.0)

    def box_record(self, labels: Labels, now_s: float) -> float:
        """Return what speaks against a box: the times it lost hosts, faded; the first one is free."""
        deaths = self._boxes_s.get((labels.zone, labels.rack, labels.box))
        return sum(_faded(death_s, now_s) for death_s in deaths[1:]) if deaths else 0.0

    def figures(self, member: Member, now_s: float) -> tuple[int, int]:
        """Return what placement sees of a member and of its box."""
        return round(self.record(member.id, now_s)), round(self.box_record(member.labels, now_s))

    def records(self, view: View, now_s: float) -> tuple[tuple[str, int, int], ...]:
        """Return the figures of members (host id, its own, its box's) with a flaw: the worst `RECORDS_MAX`.

        By id, so that those who saw the same say the same. A host that is not told of counts as one
        without a flaw in the wave, for all hosts alike: they know what all have told.
        """
        found = [(member.id, *self.figures(member, now_s)) for member in view.members]
        flawed = [one for one in found if any(one[1:])]
        return tuple(
            sorted(nsmallest(RECORDS_MAX, flawed, key=lambda one: (-max(one[1:]), -sum(one[1:]), one)))
        )

    def wait_s(self, host: str, now_s: float) -> float:
        """Return how long the host still has to wait before it is admitted again.

        The first return is free: a restart is no flapping.
        """
        deaths_s = self._deaths_s.get(host)
        level = self.level(host, deaths_s[-1]) if deaths_s else 0.0
        if not deaths_s or level <= 1.0:
            return 0.0
        wait_s: float = min(WAIT_MAX_S, WAIT_S * WAIT_TIMES ** (level - 2.0))
        return max(0.0, deaths_s[-1] + wait_s - now_s)


def _faded(at_s: float, now_s: float) -> float:
    """Return what is left of an event of weight 1."""
    left: float = 0.5 ** (max(0.0, now_s - at_s) / HALF_LIFE_S)
    return left
