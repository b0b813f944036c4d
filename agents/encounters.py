"""Encounters: links that come and go, and what they tell of other hosts."""

from __future__ import annotations

from typing import Protocol

from agents.asking import Asking
from agents.causes import Cause
from agents.effects import (
    HelloSeen,
    LinkCameUp,
    LinkRefused,
    LinkWentDown,
    Note,
    ProcessGone,
    SeedFound,
    SeedSilent,
    Send,
)
from agents.messages.membership import Heartbeat, Install, Knock, WantView, Wish, YouAreDead
from agents.stages import AHEAD_S, MEMBER_STAGES, Stage
from agents.standing import Standing
from agents.succession import too_old
from agents.suspicion import Suspicion
from agents.views import Member, View

TOLD_EVERY_S = 0.2  # so rarely is one told that it is dead or behind; it sends ten heartbeats a second


class Voters(Protocol):
    """The council: see `agents.council`."""

    def consider(self, now_s: float) -> None:
        """See whether a change of the view is due."""

    def ask_again(self, other: str) -> None:
        """Repeat an open question to one whose link is up again."""


class Door(Protocol):
    """How hosts ask to be admitted: see `agents.knocking`."""

    def knock(self, now_s: float) -> Knock:
        """Return what a host says that wants to enter."""


class Speaker(Protocol):
    """What members say to each other: see `agents.heartbeats`."""

    def words(self, now_s: float, tag: str = "") -> Heartbeat:
        """Return what we say ten times a second."""


class Greeter(Protocol):
    """What is known of other sides: see `agents.sides`."""

    def greet(self, host: str, now_s: float) -> None:
        """Show a host our view, and whether we serve in it."""


class Here(Standing, Protocol):
    """What encounters ask of a host's membership."""

    asking: Asking
    suspicion: Suspicion

    @property
    def council(self) -> Voters:
        """Who votes on the next view."""

    @property
    def knocking(self) -> Door:
        """How this host asks to be admitted."""

    @property
    def sides(self) -> Greeter:
        """Who greets other sides."""

    @property
    def heartbeats(self) -> Speaker:
        """What members say to each other."""


class Encounters:
    """Meets hosts, and tells those that are behind or dead, for one host's membership.

    Attributes:
        links_up: How often a link came up; metrics read it.
        links_down: How often one went down.
    """

    def __init__(self, here: Here) -> None:
        self._here = here
        self.links_up = self.links_down = 0

    def on_seed(self, event: SeedFound, now_s: float) -> None:
        here = self._here
        self._tell(here.asking.found(event.member, now_s))
        contact = here.contacts.meet(event.member, now_s)
        if contact is not None:
            contact.seed = True
            here.rewire(now_s, event.member.id)

    def on_seed_silent(self, event: SeedSilent, now_s: float) -> None:
        self._tell(self._here.asking.silent(event.address, event.reason, now_s))

    def on_link_refused(self, event: LinkRefused, now_s: float) -> None:
        """A link was refused, here or there: one that wants to enter is told so."""
        answer = "no" if event.why else "not_yet"
        if not self._here.is_member:
            self._tell(self._here.asking.answered(event.member, answer, event.reason, now_s, event.why))

    def _tell(self, notes: list[Note]) -> None:
        for note in notes:
            self._here.do(note)

    def on_hello(self, event: HelloSeen, now_s: float) -> None:
        here = self._here
        member = event.member
        if member.id == here.me.id:
            here.do(Note("refused", "another process bears our host id", host=member.id))
            return
        if event.tag and here.tag and event.tag != here.tag:
            here.do(Note("refused", f"foreign cluster tag {event.tag}", host=member.id))
            return
        here.contacts.hello(member, event.tag, event.view, event.stage, now_s)
        self.found_cluster(event.tag, now_s)
        self.overtaken(member, now_s)
        here.rewire(now_s, member.id)

    def overtaken(self, member: Member, now_s: float) -> None:
        """A later incarnation of a member is here: the listed one is surely gone."""
        here = self._here
        if here.known is None:
            return
        listed = here.known.member(member.id)
        if listed is not None and listed.incarnation < member.incarnation:
            reason = "the same host id is back with a later incarnation"
            self._attest(listed, reason, now_s, wait_s=2 * here.settings.settle_s)

    def _attest(self, member: Member, reason: str, now_s: float, *, wait_s: float = 0.0) -> None:
        """A member is dead for sure: tell everybody, and act at once.

        One that came back (`wait_s`) is given the time to knock, so that one
        view drops what it was and admits what it is.
        """
        here = self._here
        if not here.detector.attest(member.id, member.incarnation) or not here.is_member:
            return
        assert here.known is not None
        here.do(Note("confirmed", reason, host=member.id, cause=Cause("suspect", host=member.id)))
        wish = Wish("dead", member.id, member.incarnation, reason, here.known.id)
        here.wishes.add(wish, now_s, mine=True, wait_s=wait_s)
        if wait_s == 0.0:
            here.send_all(wish)
            here.council.consider(now_s)

    def on_process_gone(self, event: ProcessGone, now_s: float) -> None:
        here = self._here
        listed = here.known.member(event.host) if here.known else None
        if listed is not None and listed.incarnation == event.incarnation and listed.id != here.me.id:
            self._attest(listed, event.reason, now_s)

    def on_link_up(self, event: LinkCameUp, now_s: float) -> None:
        here = self._here
        contact = here.contacts.get(event.host)
        if contact is None:
            return
        contact.up = True
        self.links_up += 1
        contact.seen_s = now_s
        contact.introduced.clear()
        here.asking.linked(event.host)
        if here.wants_to_enter:
            here.do(Send(event.host, here.knocking.knock(now_s)))
        if here.known is None:
            return
        known = here.known
        member = contact.member
        if known.lists(member.id, member.incarnation):
            here.detector.link_up(event.host)
        if contact.view != known.id:
            self.compare(event.host, contact.view, now_s)
        if known.member(member.id) is None:
            return
        if here.is_member:
            here.do(Send(event.host, here.heartbeats.words(now_s, here.tag)))
            for wish in here.wishes.mine():
                here.do(Send(event.host, wish))
        here.council.ask_again(event.host)

    def on_link_down(self, event: LinkWentDown, now_s: float) -> None:
        here = self._here
        contact = here.contacts.get(event.host)
        if contact is None:
            return
        contact.up = False
        contact.lost = event.reason
        self.links_down += 1
        here.detector.link_down(event.host)
        if here.is_member:
            here.suspicion.look(now_s)

    def overheard(self, other: str, view: int, now_s: float) -> None:
        """A heartbeat names a later view: mostly that is under way to us, too; if not, ask for it."""
        contact, known = self._here.contacts.get(other), self._here.known
        if contact is not None and known is not None and not known.charter.is_available:
            if contact.ahead[0] != view:
                contact.ahead = view, now_s
            if now_s - contact.ahead[1] < AHEAD_S:
                return
        self.compare(other, view, now_s)

    def compare(self, other: str, view: int, now_s: float) -> None:
        """Another host spoke of another view: whoever is behind gets the later one."""
        here = self._here
        contact = here.contacts.get(other)
        if contact is None or now_s - contact.told_s < TOLD_EVERY_S:
            return
        known = here.known
        if known is not None and known.charter.is_available:
            if view > 0:  # ids alone don't tell who is behind: another side may be just as right
                here.sides.greet(other, now_s)
        elif known is None or view > known.id:
            if view > 0:
                contact.told_s = now_s
                here.do(Send(other, WantView(known.id if known else 0)))
        elif view < known.id:
            contact.told_s = now_s
            self._bring_up_to_date(contact.member, known)

    def _bring_up_to_date(self, member: Member, known: View) -> None:
        """Send our view, to a member as such, to one that it dropped as its death."""
        here = self._here
        if known.lists(member.id, member.incarnation) or not self.is_dropped(member):
            here.do(Send(member.id, Install(known)))
        else:
            here.do(Send(member.id, YouAreDead(member.incarnation, known)))

    def is_dropped(self, member: Member) -> bool:
        """Return whether an incarnation was a member once and is none any more."""
        here = self._here
        contact = here.contacts.get(member.id)
        believes = contact is not None and contact.stage in MEMBER_STAGES
        return believes or (here.known is not None and too_old(here.known, member.id, member.incarnation))

    def found_cluster(self, tag: str, now_s: float) -> None:
        """A zombie that finds an initialised cluster joins it."""
        here = self._here
        if tag and not here.tag and here.stage is Stage.ZOMBIE:
            here.tag = tag
            here.enter(Stage.DISCOVERY, "an initialised cluster was found")

    def tell_dead(self, sender: str, incarnation: int, known: View, now_s: float) -> None:
        """An incarnation that our view does not list holds itself for a member."""
        here = self._here
        contact = here.contacts.get(sender)
        if contact is None or now_s - contact.told_s >= TOLD_EVERY_S:
            if contact is not None:
                contact.told_s = now_s
            here.do(Send(sender, YouAreDead(incarnation, known)))
