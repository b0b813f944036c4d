"""The failure detector: whom does this host hear, and whom does it doubt?

- Loss of the connection starts suspicion at once; only silence confirms it.
- A host whose link still stands is given twice the patience: a stalled
  interpreter is silent too. Not one whose process is seen to be stopped.
- A host that finds its own loop late doubts itself first: its patience
  grows by its lateness, and shrinks again slowly.
- A silent host that somebody else hears is not dead: perhaps a link is. How
  long the link is broken counts from when both were so: a network that has
  just healed comes back link by link.
- Broken too is the link of one that is heard, but says for long that it does not hear us.
- For the same reason silence from a time in which this host heard no majority
  holds nobody dead: whom it cut off is given time to be heard again.
- An attested death needs neither silence nor a lease wait.
- Looked at are only those that are doubted: since when the longest silence
  of the others lasts says until when nobody else will be, however many there are.

Source: SWIM's indirect confirmation and Lifeguard's local health
(arXiv:1707.00788), with heartbeats to everybody in place of probes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Any

from agents.views import View

BROKEN_S = 3.0  # three times the default suspicion: no reset or reroute takes as long
DEAF_S = 1.0  # the same in all: it says so only when its own patience of twice the suspicion is over
BACK_TIMES = 2  # the default suspicion: two attempts to connect, each with its pause before it
DOUBT_DECAY = 0.25  # seconds of doubt forgotten per second: a 0.4 s stall is forgiven in under 2 s
DOUBT_MAX_S = 4.0  # more patience than that would hide real deaths for too long


class Verdict(Enum):
    """What is thought of a member."""

    HEARD = "heard"
    SUSPECT = "suspect"
    BROKEN = "broken"  # silent to us for long, heard by somebody, or deaf to us: the link is broken
    DEAD = "dead"


@dataclass(slots=True)
class Trace:
    """What is known of one member of the view."""

    incarnation: int
    heard_s: float
    up: bool = False
    is_new: bool = False  # admitted just now; the link to it was neither up nor down yet
    misses: bytes | None = None  # what its last heartbeat of this view said; None = there was none
    said: frozenset[str] = frozenset()  # whom it hears, by that
    said_s: float = -inf
    deaf_s: float = inf  # since when it says that it does not hear us
    vouched_s: float = -inf  # while it is doubted: when another host last said that it hears this one
    vouched_since_s: float = -inf  # and since when others have said so without a pause
    attested: bool = False
    stopped: bool = False  # its process was seen to be stopped since it was heard


class Detector:
    """Silence, links and hearsay about the members of one view."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._view: View | None = None
        self._suspect_s = 1.0
        self._traces: dict[str, Trace] = {}
        self._doubt_s = 0.0
        self._doubted_s = -inf
        self._is_alone = False  # it hears no majority
        self._back_s = -inf  # since when it hears one again
        self._others: tuple[str, ...] = ()
        self._doubted: frozenset[str] = frozenset()  # who may be anything but HEARD
        self._looked_until_s = -inf  # until then nobody else is, whatever is said

    def watch(self, view: View, up: frozenset[str], now_s: float, *, grace: bool) -> None:
        """Watch the members of a view from now on.

        Args:
            up: Hosts to which a link is up.
            grace: Whether those never heard of count as heard just now (they
                may need as long as anybody to say their first word), or not
                at all (after a restart: they may be dead for days).
        """
        self._view = view
        self._suspect_s = view.charter.suspect_s
        before = self._traces
        self._traces = {}
        for member in view.members:
            if member.id == self._me:
                continue
            old = before.get(member.id)
            if old is None or old.incarnation != member.incarnation:
                old = Trace(member.incarnation, -inf)
            # An old silence goes on counting: joins in a row must not hide a death.
            heard_s = now_s if grace and old.heard_s == -inf else old.heard_s
            is_new = grace and (old.heard_s == -inf or old.is_new)
            trace = Trace(member.incarnation, heard_s, member.id in up, is_new, attested=old.attested)
            trace.vouched_s, trace.vouched_since_s = old.vouched_s, old.vouched_since_s
            self._traces[member.id] = trace
        self._others = tuple(self._traces)
        self._doubted &= self._traces.keys()
        self._looked_until_s = -inf

    def is_calm(self, now_s: float) -> bool:
        """Return whether every member is HEARD; costs nothing while that is so."""
        if now_s >= self._looked_until_s:
            self._look(now_s)
        return not self._doubted

    def _look(self, now_s: float) -> None:
        """Sort out whom to doubt."""
        before, doubted, oldest_s = self._doubted, [], inf
        for host, trace in self._traces.items():
            is_quiet = now_s - trace.heard_s >= self._suspect_s / 2
            if is_quiet or trace.attested or not trace.up or trace.deaf_s < inf:
                doubted.append(host)
            else:
                oldest_s = min(oldest_s, trace.heard_s)
        self._doubted = frozenset(doubted)
        self._looked_until_s = oldest_s + self._suspect_s / 2
        for host in self._doubted - before:
            # Until now nobody counted who vouches for it: whoever's last word does, did so all along.
            words_s = (t.said_s for other, t in self._traces.items() if other != host and host in t.said)
            self._traces[host].vouched_s = max(words_s, default=-inf)
            self._traces[host].vouched_since_s = -inf

    def _is_plain(self, host: str, now_s: float) -> bool:
        """Return whether a member is HEARD, without a look at it; False = perhaps not."""
        return now_s < self._looked_until_s and host not in self._doubted

    def heard_from(self, host: str, incarnation: int, now_s: float) -> bool:
        """Note a word of a member; True if it had been silent or is new."""
        trace = self._traces.get(host)
        if trace is None or trace.incarnation != incarnation:
            return False
        anew = trace.said_s == -inf
        trace.heard_s = now_s
        trace.stopped = False
        if host in self._doubted and trace.up and trace.deaf_s == inf and not trace.attested:
            self._looked_until_s = -inf  # no more
        return anew

    def hearsay(self, host: str, misses: bytes, now_s: float) -> None:
        """Note whom a member hears, by a heartbeat of the same view: all but those at these places."""
        trace = self._traces.get(host)
        if trace is None or self._view is None:
            return
        # Before the word counts: a word is no reason that it was true all along.
        is_calm = self.is_calm(now_s)
        if misses != trace.misses:
            said = self._view.all_but(misses)
            if said is None:
                return  # no word about this view
            trace.misses, trace.said = misses, said
            is_deaf = self._me not in said
            if is_deaf is not (trace.deaf_s < inf):
                trace.deaf_s = now_s if is_deaf else inf
                self._looked_until_s = -inf
        trace.said_s = now_s
        if is_calm:
            return
        for heard in self._doubted & trace.said:
            if heard != host:
                other = self._traces[heard]
                if now_s - other.vouched_s >= self._suspect_s:
                    other.vouched_since_s = now_s
                other.vouched_s = now_s

    def link_up(self, host: str) -> None:
        """Note that the link to a host stands."""
        if host in self._traces:
            self._traces[host].up = True
            self._looked_until_s = -inf

    def link_down(self, host: str) -> None:
        """Note that the link to a host broke."""
        if host in self._traces:
            self._traces[host].up = self._traces[host].is_new = False
            self._looked_until_s = -inf

    def note_alone(self, is_alone: bool, now_s: float) -> None:
        """Note whether this host hears no majority: it may be the one that is cut off."""
        if self._is_alone and not is_alone:
            self._back_s = now_s
        self._is_alone = is_alone

    def was_late(self, late_s: float, now_s: float) -> None:
        """Doubt ourselves: our own loop woke up late."""
        self._doubt_s = min(DOUBT_MAX_S, max(late_s, self.doubt_s(now_s)))
        self._doubted_s = now_s

    def doubt_s(self, now_s: float) -> float:
        """Return by how much our own lateness stretches our patience; >= 0."""
        if self._doubt_s == 0.0:
            return 0.0
        return max(0.0, self._doubt_s - DOUBT_DECAY * (now_s - self._doubted_s))

    def attest(self, host: str, incarnation: int) -> bool:
        """Note that this incarnation is gone for sure; True if that is news."""
        trace = self._traces.get(host)
        if trace is None or trace.incarnation > incarnation or trace.attested:
            return False
        trace.attested = True
        self._looked_until_s = -inf
        return True

    def stopped(self, host: str, incarnation: int) -> None:
        """Note that the process of a member was seen to be stopped."""
        trace = self._traces.get(host)
        if trace is not None and trace.incarnation == incarnation:
            trace.stopped = True

    def attested(self) -> frozenset[str]:
        """Return the members whose listed incarnation is surely gone."""
        return frozenset(host for host, trace in self._traces.items() if trace.attested)

    def hears(self, host: str, now_s: float) -> bool:
        """Return whether a member was heard within our patience."""
        if self._is_plain(host, now_s):
            return host in self._traces
        trace = self._traces.get(host)
        if trace is None or trace.attested:
            return False
        return now_s - trace.heard_s < self._patience_s(trace, now_s)

    def heard(self, now_s: float) -> tuple[str, ...]:
        """Return the other members that we hear, most senior first."""
        if self.is_calm(now_s):
            return self._others
        return tuple(host for host in self._traces if self.hears(host, now_s))

    def said(self, now_s: float) -> dict[str, frozenset[str]]:
        """Return, per member, whom it hears by its last fresh heartbeat."""
        return {
            host: trace.said
            for host, trace in self._traces.items()
            if not trace.attested and now_s - trace.said_s < self._suspect_s + self.doubt_s(now_s)
        }

    def evidence(self, host: str, now_s: float) -> dict[str, Any]:
        """Return what speaks against a member, for people: silence, our own lateness, who hears it."""
        trace = self._traces[host]
        told: dict[str, Any] = {"link": "up" if trace.up else "down"}
        if trace.heard_s > -inf:
            told["silent_s"] = round(now_s - trace.heard_s, 3)
        if self.doubt_s(now_s):
            told["own_lateness_s"] = round(self.doubt_s(now_s), 3)
        heard_by = [other for other, hears in self.said(now_s).items() if host in hears]
        return told | {"heard_by": heard_by} if heard_by else told

    def is_deaf(self, host: str, now_s: float) -> bool:
        """Return whether a member is heard, and says that it does not hear us."""
        return self._traces[host].deaf_s < inf and self.hears(host, now_s)

    def suspected(self, host: str, now_s: float) -> bool:
        """Return whether a member is doubted: good enough to go first?"""
        return self.verdict(host, now_s) is not Verdict.HEARD

    def verdict(self, host: str, now_s: float) -> Verdict:
        """Return what to think of a member of the view now."""
        if self._is_plain(host, now_s) or host == self._me:
            return Verdict.HEARD
        trace = self._traces[host]
        if trace.attested:
            return Verdict.DEAD
        silence_s = now_s - trace.heard_s
        doubt_s = self.doubt_s(now_s)
        if silence_s < self._patience_s(trace, now_s):
            if now_s - trace.deaf_s >= DEAF_S + doubt_s:
                return Verdict.BROKEN
            quiet = silence_s >= self._suspect_s / 2 + doubt_s
            return Verdict.SUSPECT if quiet or not (trace.up or trace.is_new) else Verdict.HEARD
        if not self._heard_by_another(host, now_s):
            # The other half of a split, of which some are back: the rest comes in a moment.
            is_fresh = not self._is_alone and now_s - self._back_s < BACK_TIMES * self._suspect_s
            return Verdict.SUSPECT if is_fresh else Verdict.DEAD
        broken_s = now_s - max(trace.heard_s, trace.vouched_since_s)
        return Verdict.BROKEN if broken_s >= BROKEN_S + doubt_s else Verdict.SUSPECT

    def _patience_s(self, trace: Trace, now_s: float) -> float:
        """Return the silence after which a member is heard no more."""
        return self._suspect_s * (2 if trace.up and not trace.stopped else 1) + self.doubt_s(now_s)

    def _heard_by_another(self, host: str, now_s: float) -> bool:
        """Return whether a fresh heartbeat of somebody else hears the host."""
        fresh_s = self._suspect_s + self.doubt_s(now_s)
        return any(
            host in trace.said and not trace.attested and now_s - trace.said_s < fresh_s
            for other, trace in self._traces.items()
            if other != host
        )
