"""Sides: hosts of one cluster that went on apart, and meet again.

Only with `quorum = available`. Rules:

- A view that neither descends from ours nor leads to it is another side's.
  It is never installed: hosts of two sides show each other their views, and
  whether they serve.
- The side of the lower rank wins (`lineage.rank`). Of the other, each member
  ends its service at once, hands on what it changed, and only then drops its
  cells, takes a new incarnation and asks the winner to be admitted.
- A side that can't serve any more gives in to any that does.
- Who crosses over votes on nothing before a view lists it again: it may have
  voted on the winner's side before the split, and has forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from agents.effects import GiveIn, GivenIn, Note, Send
from agents.leases import Grants
from agents.lineage import Kin, kin, rank
from agents.messages.membership import Heartbeat, Install, Meet, Wish, Yield
from agents.orders import Orders
from agents.passage import Passage
from agents.standing import Standing
from agents.views import View, generation_of, number_of

FRESH_S = 1.0  # four greetings: an older one says nothing about now
GREET_S = 0.2  # so rarely is one host shown our view


class Here(Standing, Protocol):
    """What the meeting of sides asks of a host's membership."""

    grants: Grants
    hold_s: float | None
    orders: Orders
    passage: Passage


@dataclass(slots=True)
class Met:
    """A host of another side: its view, and whether it serves there."""

    view: View
    holds: bool
    seen_s: float


class Sides:
    """What one host knows of other sides of its cluster.

    Attributes:
        winner: The view of the side that this one gives in to; None = it doesn't.
    """

    def __init__(self, here: Here) -> None:
        self._here = here
        self.winner: View | None = None
        self._met: dict[str, Met] = {}

    @property
    def are_known(self) -> bool:
        """Whether there is, or may be, any side but ours."""
        known = self._here.known
        return bool(self._met) or self.winner is not None or (known is not None and bool(known.absent))

    # -- meeting -----------------------------------------------------------------

    def is_foreign(self, beat: Heartbeat) -> bool:
        """Return whether a heartbeat comes from another lineage."""
        known = self._here.known
        return known is not None and known.charter.is_available and beat.root != known.root

    def greet(self, host: str, now_s: float) -> None:
        """Show a host our view, and whether we serve in it; not too often."""
        here = self._here
        contact = here.contacts.get(host)
        if here.known is None or contact is None or now_s - contact.told_s < GREET_S:
            return
        contact.told_s = now_s
        here.do(Send(host, Meet(here.known, here.is_member and here.quorum.held(now_s))))

    def repeat(self, now_s: float) -> None:
        """Show the hosts of other sides, and those that are looked for, where we are."""
        here = self._here
        if here.known is None or not here.known.charter.is_available:
            return
        for host in [host for host in self._met if here.contacts.get(host) is None]:
            del self._met[host]  # gone for so long that nobody looks for it any more
        hosts = {member.id for member in here.known.absent} | self._met.keys()
        for host in sorted(hosts):
            contact = here.contacts.get(host)
            if contact is not None and contact.up:
                self.greet(host, now_s)
        if self.winner is not None and self.hears_winner(
            now_s
        ):  # or two sides give in to each other for ever
            here.send_all(Yield(here.known.root, self.winner))
        self.judge(now_s)

    def sort(self, sender: str, view: View, now_s: float) -> bool:
        """Return whether a view is one of our own lineage, to be taken as such."""
        here, known = self._here, self._here.known
        if known is None or not view.charter.is_available:
            return True
        relation = kin(known, view)
        listed = view.lists(here.me.id, here.me.incarnation)
        if relation in (Kin.AHEAD, Kin.BEHIND) or (
            relation is Kin.FORKED and (listed or not here.is_member) and self.winner is None
        ):
            self._met.pop(sender, None)
            return True
        met = self._met.get(sender)
        if met is None:
            self._met[sender] = Met(view, False, now_s)
        elif met.view != view:
            met.view = view
        self.greet(sender, now_s)
        return False

    def on_meet(self, sender: str, message: Meet, now_s: float) -> None:
        """A host shows its view."""
        here, view = self._here, message.view
        if here.farewell is not None or (here.tag and view.tag != here.tag):
            return
        if self.sort(sender, view, now_s):
            if here.known is None or view.id > here.known.id:
                here.passage.on_install(sender, Install(view), now_s)
            elif view.id < here.known.id:
                self.greet(sender, now_s)
            return
        self._met[sender] = Met(view, message.holds, now_s)
        self.judge(now_s)
        self._part_from(sender, view, now_s)

    def _part_from(self, sender: str, view: View, now_s: float) -> None:
        """Drop a member of our own view that went on with another side: here it acks nothing any more."""
        here, known = self._here, self._here.known
        member = known.member(sender) if known is not None else None
        if known is None or member is None or not view.lists(sender, member.incarnation):
            return
        if self.winner is None and here.is_member and here.quorum.held(now_s) and rank(known) < rank(view):
            reason = "it went on with another side"
            here.orders.wish(Wish("evict", sender, member.incarnation, reason, known.id), now_s)

    # -- who wins ----------------------------------------------------------------

    def serving(self, now_s: float) -> View | None:
        """Return the view of the best other side that is in contact and serves."""
        views = [
            met.view
            for host, met in self._met.items()
            if met.holds and now_s - met.seen_s < FRESH_S and self._here.contacts.up(host)
        ]
        return min(views, key=lambda view: (*rank(view), -view.id), default=None)

    def hears_winner(self, now_s: float) -> bool:
        """Return whether somebody of the side that we give in to is in contact, and serves."""
        winner = self.winner
        return winner is not None and any(
            met.holds and now_s - met.seen_s < FRESH_S and met.view.root == winner.root
            for met in self._met.values()
        )

    def judge(self, now_s: float) -> None:
        """See whether another side is to win over ours."""
        here, known = self._here, self._here.known
        if known is None or here.farewell is not None:
            return
        best = self.serving(now_s)
        if self.winner is not None:
            self._follow_winner(now_s)
        elif best is None:
            return
        elif not here.is_member:
            if rank(best) < rank(known) or not here.detector.heard(now_s):
                here.passage.change_sides(best, now_s)
        elif here.quorum.held(now_s):
            if rank(best) < rank(known):
                self.give_in(best, "a side of a lower rank serves")
        elif self._is_hopeless(best, now_s):
            self.give_in(best, "it serves, and this side can't")

    def _is_hopeless(self, best: View, now_s: float) -> bool:
        """Return whether our own view can't serve again: its members went over, or are silent."""
        here, known = self._here, self._here.known
        assert known is not None
        gone = here.detector.attested()
        stay = [
            member
            for member in known.members
            if not best.lists(member.id, member.incarnation) and member.id not in gone
        ]
        if len(stay) < known.majority:
            return True
        patience_s = known.charter.suspect_s + known.charter.lease_s
        return here.hold_s is not None and now_s - here.hold_s >= patience_s

    def _follow_winner(self, now_s: float) -> None:
        """The winner's side has its own views, or gives in itself: follow it."""
        winner, best = self.winner, self.serving(now_s)
        assert winner is not None
        if best is not None and best.root != winner.root and rank(best) < rank(winner):
            self.winner = best
            self._here.do(Note("give_in", "a side of a still lower rank serves"))
            self._here.do(GiveIn(best))
            return
        later = [met.view for met in self._met.values() if met.view.root == winner.root]
        newest = max(later, key=lambda view: view.id, default=winner)
        if newest.id > winner.id:
            self.winner = newest
            self._here.do(GiveIn(newest))
        self._here.contacts.listed(self.winner or newest, now_s)

    # -- giving in ---------------------------------------------------------------

    def give_in(self, winner: View, reason: str) -> None:
        """End our service, and hand on what was changed here: the winner merges it."""
        here = self._here
        assert here.known is not None and self.winner is None
        self.winner = winner
        here.quorum.clear()
        ours, theirs = (f"{generation_of(v.id)}.{number_of(v.id)}" for v in (here.known, winner))
        here.do(Note("give_in", f"{reason}: view {ours} gives in to {theirs}"))
        here.do(GiveIn(winner))
        here.send_all(Yield(here.known.root, winner))

    def on_yield(self, sender: str, message: Yield, now_s: float) -> None:
        """A member of our own side gives in, and so must we."""
        here, known = self._here, self._here.known
        if known is None or not here.is_member or self.winner is not None:
            return
        if message.root != known.root or message.winner.tag != known.tag:
            return
        if kin(known, message.winner) not in (Kin.AHEAD, Kin.BEHIND):
            self.give_in(message.winner, "a member of this side does")

    def on_given_in(self, event: GivenIn, now_s: float) -> None:
        """All that was changed here is merged, or can't be: cross over, or go on as before."""
        here, winner = self._here, self.winner
        self.winner = None
        if winner is None or not here.is_member or here.known is None:
            return
        if event.done:
            self._met.clear()
            here.passage.cross(winner, event.reason, now_s)
        elif not here.orders.renounced:
            here.do(Note("give_in_ended", event.reason))
            here.quorum.install(here.known, here.me.id)
            if here.grants.fenced:
                here.quorum.fence()  # it has accepted a successor: its grant to itself stays ended
