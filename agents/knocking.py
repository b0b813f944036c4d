"""Knocking: how a host asks to be admitted, and what it is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agents.contacts import Contact
from agents.effects import Note, Send
from agents.messages.membership import Install, Knock, KnockAnswer
from agents.stages import Stage
from agents.succession import name_taken

if TYPE_CHECKING:
    from agents.membership import Membership


class Knocking:
    """Knocks, and answers knocks, for one host's membership."""

    def __init__(self, here: Membership) -> None:
        self._here = here

    def knock(self) -> Knock:
        """Return what we say while we are in no view."""
        here = self._here
        return Knock(here.me, *here.stamp())

    def on_knock(self, sender: str, knock: Knock, now_s: float) -> None:
        here = self._here
        if here.farewell is not None:
            return
        if sender != knock.member.id:  # introduced by another zombie
            here.contacts.meet(knock.member, now_s)
            return here.rewire(now_s)
        if knock.tag and here.tag and knock.tag != here.tag:
            here.do(Send(sender, KnockAnswer("no", f"this is cluster {here.tag}", here.tag)))
            return
        contact = here.contacts.knock(knock, now_s)
        if contact is None:
            return
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
        here.do(Send(sender, judge(here, knock, now_s)))
        if here.stage is Stage.ZOMBIE:
            self._introduce(contact)

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
        if answer.answer == "no":
            if answer.reason != here.refusal:
                here.refusal = answer.reason
                here.do(Note("refused", answer.reason, host=sender))
            return
        if answer.reason != here.refusal:
            here.refusal = answer.reason
            here.do(Note("knock", f"{answer.answer}: {answer.reason}", host=sender))
        here.encounters.found_cluster(answer.tag, now_s)
        if answer.tag == here.tag and answer.view > (here.known.id if here.known else 0):
            here.encounters.compare(sender, answer.view, now_s)


def judge(here: Membership, knock: Knock, now_s: float) -> KnockAnswer:
    """Return *come in*, *not yet* (try another), or *no*, and why.

    The tag was compared, and dropped incarnations were told so, before.
    """
    known = here.known
    view = known.id if known else 0
    if here.stage is Stage.ZOMBIE:
        return KnockAnswer("not_yet", "no cluster here yet: waiting for init")
    if known is None or not here.is_member:
        return KnockAnswer("not_yet", "this host is itself looking for its cluster", here.tag, view)
    if name_taken(known, knock.member):
        return KnockAnswer("no", f"the name {knock.member.name} is taken by a live host", here.tag, view)
    wait_s = here.reputation.wait_s(knock.member.id, now_s)
    if wait_s > 0:
        return KnockAnswer("not_yet", f"held dead too often of late: wait {wait_s:.0f} s", here.tag, view)
    if not here.quorum.held(now_s):
        return KnockAnswer("not_yet", "no quorum here now", here.tag, view)
    return KnockAnswer("come_in", "by the next view", here.tag, view)
