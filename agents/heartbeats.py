"""Heartbeats: what members say to each other all the time, and the leases that answer.

A heartbeat names the view that its sender is in, and whom it misses; who is in
the same view, and not about to leave it, answers with a lease.
"""

from __future__ import annotations

from typing import Protocol

from agents.effects import DigestIs, LoadMeasured, Send
from agents.encounters import Encounters
from agents.leases import Grants
from agents.messages.membership import Grant, Heartbeat, Load
from agents.orders import Orders
from agents.standing import Standing
from agents.views import View

# With more members a grant waits for the next heartbeat to the same host, and leaves in one frame with it:
# half the frames. It is up to a heartbeat older then; in a crowd the middle one of many counts, so that no
# single late loop adds to that. Few hosts keep all of the lease: there the lateness of one host counts, but
# for the first heartbeat of a view, when all have much to say to all at once.
CROWD = 30
# So many heartbeats a lease has to last for, to be renewed by the next one alone: a host at rest looks up
# once per heartbeat, so that the next one may be two away. Few hosts add one: a view may come between.
BEATS, BEATS_OF_FEW = 2, 3


class Strangers(Protocol):
    """What is known of other sides: see `agents.sides`."""

    def is_foreign(self, beat: Heartbeat) -> bool:
        """Return whether a heartbeat comes from another lineage."""

    def greet(self, host: str, now_s: float) -> None:
        """Show a host our view, and whether we serve in it; not too often."""


class Here(Standing, Protocol):
    """What heartbeats ask of a host's membership, and change in it."""

    encounters: Encounters
    grants: Grants
    loads: dict[str, Load]
    orders: Orders
    peer_digests: dict[str, int]

    @property
    def sides(self) -> Strangers:
        """What is known of other sides."""

    def heard(self, now_s: float) -> tuple[str, ...]:
        """Return the members of the known view that are heard, itself included."""


class Heartbeats:
    """Says and hears them, for one host.

    Attributes:
        due_s: When the next one is to be said.
        digest: Of the directory here, as others are told.
    """

    def __init__(self, here: Here, now_s: float) -> None:
        self._here = here
        self.due_s = now_s
        self.digest = 0
        self._has_load_news = False

    # -- said ----------------------------------------------------------------------

    def beat(self, every_s: float, now_s: float) -> None:
        """Send a heartbeat to every member, and what leases they are owed."""
        here = self._here
        self.due_s = now_s + every_s
        if here.is_member:
            message = self.words(now_s)
            self._has_load_news = False
            here.send_all(message)
            for host, sent_s in here.grants.take_owed():
                here.do(Send(host, Grant(message.view, sent_s, here.me.incarnation)))

    def introduce(self, view: View, now_s: float) -> None:
        """Say to all in a view that was just installed whose word follows."""
        self._here.send_all(self.words(now_s, self._here.tag))
        self.due_s = now_s + view.charter.heartbeat_s

    def words(self, now_s: float, tag: str = "") -> Heartbeat:
        """Return what we say ten times a second; `tag`: to who may not know ours yet."""
        here = self._here
        known, me = here.known, here.me
        assert known is not None, "only members say so"
        load = here.loads.get(me.id) if self._has_load_news else None
        misses = known.misses(here.heard(now_s))
        return Heartbeat(known.id, now_s, misses, self.digest, load, me.incarnation, tag, known.root)

    def on_load(self, event: LoadMeasured, now_s: float) -> None:
        self._here.loads[self._here.me.id] = event.load
        self._has_load_news = True

    def on_digest(self, event: DigestIs, now_s: float) -> None:
        self.digest = event.digest

    # -- heard ---------------------------------------------------------------------

    def on_heartbeat(self, sender: str, beat: Heartbeat, now_s: float) -> None:
        here = self._here
        if here.sides.is_foreign(beat):  # its word counts for nothing here, not even as a sign of life
            return here.sides.greet(sender, now_s)
        known = here.known
        if known is None or beat.view > known.id:
            here.encounters.overheard(sender, beat.view, now_s)
        if beat.load is not None:
            here.loads[sender] = beat.load
        here.peer_digests[sender] = beat.digest
        if known is None:
            return
        if not known.lists(sender, beat.incarnation):
            if beat.view <= known.id and (here.is_member or here.farewell is not None):
                here.encounters.tell_dead(sender, beat.incarnation, known, now_s)
            return
        anew = here.detector.heard_from(sender, beat.incarnation, now_s)
        if beat.view < known.id:
            here.encounters.compare(sender, beat.view, now_s)
        elif beat.view == known.id:
            here.detector.hearsay(sender, beat.misses, now_s)
            if not here.is_member:
                return
            self._answer(sender, beat, known, now_s, may_wait=anew or len(known.members) > CROWD)
            # It has just installed our view: our first word it may have heard before, and granted nothing.
            if anew and not here.quorum.lasts(sender, now_s + BEATS_OF_FEW * known.charter.heartbeat_s):
                here.do(Send(sender, self.words(now_s, here.tag)))
        if here.farewell is not None and beat.view >= here.farewell.view.id:
            here.farewell.confirmed(sender)

    def _answer(self, sender: str, beat: Heartbeat, known: View, now_s: float, *, may_wait: bool) -> None:
        """Grant the sender a lease: at once, or with our next heartbeat if its last lease lasts."""
        here, beats = self._here, BEATS if len(known.members) > CROWD else BEATS_OF_FEW
        if may_wait and not here.grants.is_urgent(sender, now_s, beats * known.charter.heartbeat_s):
            here.grants.owe(sender, beat.sent_s, now_s)
        elif here.grants.grant(sender, now_s):
            here.do(Send(sender, Grant(known.id, beat.sent_s, here.me.incarnation)))

    def on_grant(self, sender: str, grant: Grant, now_s: float) -> None:
        here = self._here
        if not here.orders.renounced:
            here.quorum.granted(sender, grant.incarnation, grant.view, grant.sent_s, now_s)
