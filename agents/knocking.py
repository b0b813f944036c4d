"""Knocking: how a host asks to be admitted, and what it is answered."""

from __future__ import annotations

from math import ceil
from typing import Protocol

from agents.asking import Asking
from agents.contacts import Contact
from agents.effects import Note, Send, StopEnded
from agents.encounters import Encounters
from agents.messages.membership import Install, Knock, KnockAnswer
from agents.orders import Orders
from agents.stages import Stage
from agents.standing import Standing
from agents.succession import namesake
from agents.views import Member, Status, View

ANSWER_FRESH_S = 1.0  # four knocks


class Rest(Protocol):
    """The council: see `agents.council`."""

    halted: bool


class Here(Standing, Protocol):
    """What knocking asks of a host's membership."""

    asking: Asking
    encounters: Encounters
    orders: Orders

    @property
    def council(self) -> Rest:
        """Who votes on the next view, unless all votes rest."""


class Knocking:
    """Knocks, and answers knocks, for one host's membership."""

    def __init__(self, here: Here) -> None:
        self._here = here
        self._is_full = False

    def knock(self, now_s: float) -> Knock:
        """Return what we say while we are in no view."""
        here = self._here
        return Knock(here.me, *here.stamp(), self._hears(now_s), here.ended_stop)

    def _hears(self, now_s: float) -> tuple[str, ...]:
        """Return who has just answered: a link that stood once may be broken, one way or both."""
        return tuple(
            contact.member.id
            for contact in self._here.contacts
            if contact.up and now_s - contact.answered_s < ANSWER_FRESH_S
        )

    def on_knock(self, sender: str, knock: Knock, now_s: float) -> None:
        here = self._here
        if sender != knock.member.id:  # introduced by another zombie
            here.contacts.meet(knock.member, now_s)
            return here.rewire(now_s, knock.member.id)
        if knock.tag and here.tag and knock.tag != here.tag:
            here.do(Send(sender, KnockAnswer("no", f"this is cluster {here.tag}", here.tag)))
            return
        contact = here.contacts.knock(knock, now_s)
        if contact is None:
            return self._full(sender)
        if knock.ended and here.known is not None and knock.view == here.known.id:
            here.do(StopEnded(knock.ended))
        here.encounters.found_cluster(knock.tag, now_s)
        here.encounters.overtaken(knock.member, now_s)
        if here.known is not None and knock.view > here.known.id:
            here.encounters.compare(sender, knock.view, now_s)
        if here.known is not None and here.known.lists(sender, knock.member.incarnation):
            here.do(Send(sender, Install(here.known)))
            return
        if here.is_member and here.encounters.is_dropped(knock.member) and here.known is not None:
            here.encounters.tell_dead(sender, knock.member.incarnation, here.known, now_s)
            return
        here.do(Send(sender, judge(here, knock.member, now_s)))
        if here.known is not None and (here.farewell is not None or here.orders.renounced):
            here.encounters.compare(sender, knock.view, now_s)  # so that it knows whom else to ask
        if here.stage is Stage.ZOMBIE:
            self._introduce(contact)

    def _full(self, sender: str) -> None:
        """Too many hosts are known here already: another may have room."""
        here = self._here
        reason = f"no room: {here.settings.contacts_max} hosts are known here already"
        if not self._is_full:
            self._is_full = True
            here.do(Note("full", reason, host=sender))
        here.do(Send(sender, KnockAnswer("not_yet", reason, here.tag)))

    def _introduce(self, newcomer: Contact) -> None:
        """Make the zombies that we see see each other."""
        here = self._here
        for other in here.contacts:
            if other is newcomer or not other.up or other.stage != Stage.ZOMBIE.value:
                continue
            for one, to in ((newcomer, other), (other, newcomer)):
                key = f"{one.member.id}/{one.member.incarnation}"
                if key not in to.introduced and to.up:
                    to.introduced.add(key)
                    knock = Knock(one.member, one.tag, one.view, one.stage)
                    here.do(Send(to.member.id, knock))

    def on_knock_answer(self, sender: str, answer: KnockAnswer, now_s: float) -> None:
        here = self._here
        if here.is_member or here.farewell is not None:
            return
        self._heard(sender, now_s)
        contact = here.contacts.get(sender)
        if contact is None:
            return
        why = ""
        if answer.answer == "no":
            why = "tag" if answer.tag and here.tag and answer.tag != here.tag else "name"
        for note in here.asking.answered(contact.member, answer.answer, answer.reason, now_s, why):
            here.do(note)
        if why:
            return
        here.encounters.found_cluster(answer.tag, now_s)
        if answer.tag == here.tag and answer.view > (here.known.id if here.known else 0):
            here.encounters.compare(sender, answer.view, now_s)

    def _heard(self, sender: str, now_s: float) -> None:
        """A host answers: as soon as all members do, all are told so."""
        here = self._here
        contact = here.contacts.get(sender)
        if contact is None:
            return
        was_silent = now_s - contact.answered_s >= ANSWER_FRESH_S
        contact.answered_s = now_s
        if was_silent and here.known is not None and here.wants_to_enter:
            knock = self.knock(now_s)
            if frozenset(knock.hears) >= frozenset(here.known.ids) - {here.me.id}:
                for other in here.contacts:
                    if other.up:
                        here.do(Send(other.member.id, knock))


def judge(here: Here, joiner: Member, now_s: float) -> KnockAnswer:
    """Return *come in*, *not yet* (try another), or *no*, and why.

    The tag was compared, and dropped incarnations were told so, before.
    """
    known = here.known
    view = known.id if known else 0
    if here.stage is Stage.ZOMBIE:
        reason = "no cluster here yet: waiting for init"
        if joiner.name == here.me.name:
            reason += "; and it bears the same name: only one of the two will be let in"
        return KnockAnswer("not_yet", reason)
    reason = _hindrance(here, joiner, now_s)
    if reason:
        return KnockAnswer("not_yet", reason, here.tag, view)
    assert known is not None, "only a member has no hindrance"
    other = namesake(known, joiner)
    if other is None or other.id in here.detector.attested():
        return KnockAnswer("come_in", "by the next view", here.tag, view)
    if other.status is Status.LEAVING:
        return KnockAnswer("not_yet", f"the name {joiner.name} is that of a host that leaves", here.tag, view)
    if other.id == here.me.id or here.detector.hears(other.id, now_s):
        return KnockAnswer("no", f"the name {joiner.name} is taken by a live host", here.tag, view)
    reason = f"the name {joiner.name} is that of a silent host, until that is held dead"
    return KnockAnswer("not_yet", reason, here.tag, view)


def _hindrance(here: Here, joiner: Member, now_s: float) -> str:
    """Return why this host can let nobody in now, or not this one; "" = it can."""
    if here.farewell is not None or here.orders.renounced:
        return "this host leaves: ask another"
    if here.known is None or not here.is_member:
        return "it is itself looking for its cluster"
    if here.council.halted:
        return "the whole cluster is being stopped"
    wait_s = here.reputation.wait_s(joiner.id, now_s)
    if wait_s > 0:
        return f"held dead too often of late: wait some {ceil(wait_s / 10) * 10} s"
    contact = here.contacts.get(joiner.id)
    if contact is not None and now_s - contact.first_knock_s >= 2 * ANSWER_FRESH_S:
        missing = unheard(here, here.known, contact, now_s)
        if missing:
            return f"no word passes between it and {', '.join(missing)}"
    if here.quorum.held(now_s):
        return ""
    if here.stage is Stage.HOLD:
        return "no quorum there now: its missing members have to come back"
    return "no quorum there now: the next view is being agreed on"


def unheard(here: Standing, view: View, joiner: Contact, now_s: float) -> list[str]:
    """Return the names of the members, heard from here, that a joiner does not hear.

    A view must be fully connected: who entered without hearing all would be left out by the next one.
    """
    return [
        member.name
        for member in view.members
        if member.id not in joiner.hears
        and member.id != joiner.member.id
        and (here.is_member if member.id == here.me.id else here.detector.hears(member.id, now_s))
    ]
