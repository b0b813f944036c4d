"""Zombies: hosts without a cluster, until one is founded among them."""

from __future__ import annotations

from typing import Protocol

from agents.causes import Cause
from agents.effects import InitOrdered, Note, Send
from agents.founding import Foundry
from agents.messages.membership import Founding, FoundingAnswer, Install
from agents.passage import Passage
from agents.stages import Stage
from agents.standing import Standing
from agents.views import Member

SEEN_S = 3.0  # twelve knocks: on a busy machine five starting hosts are not heard within one second


class Here(Standing, Protocol):
    """What the founding of a cluster asks of a host's membership."""

    foundry: Foundry
    passage: Passage

    def init_refusal(self) -> str:
        """Return why an init would be refused here now; "" = it would not."""


class Zombies:
    """Init orders and foundings, for one host's membership."""

    def __init__(self, here: Here) -> None:
        self._here = here

    def on_init(self, event: InitOrdered, now_s: float) -> None:
        here = self._here
        refusal = here.init_refusal()
        if refusal:
            here.do(Note("refused", f"init: {refusal}"))
            return
        here.foundry.order(event.charter, now_s)
        self.found(now_s)

    def in_sight(self, now_s: float) -> dict[str, Member]:
        """Return the zombies that this host sees, itself not included: one of each name.

        No two members may bear one name; of two that do, the lower host id counts.
        """
        here = self._here
        named: dict[str, Member] = {}
        for contact in here.contacts:
            member = contact.member
            if contact.tag or contact.stage != Stage.ZOMBIE.value or member.name == here.me.name:
                continue
            if contact.up and now_s - contact.seen_s < SEEN_S:
                other = named.setdefault(member.name, member)
                if member.id < other.id:
                    named[member.name] = member
        return {member.id: member for member in named.values()}

    def found(self, now_s: float) -> None:
        """Found a cluster if that was ordered, or if as many are here as expected."""
        here = self._here
        if here.stage is not Stage.ZOMBIE:
            return
        foundry = here.foundry
        expect = here.settings.expect
        if expect and foundry.charter is None and foundry.promised is None:
            zombies = self.in_sight(now_s)
            if len(zombies) + 1 >= expect and here.me.id < min(zombies, default="~"):
                foundry.order(here.settings.charter, now_s)
        if foundry.due(now_s):
            effects = foundry.begin(here.me, self.in_sight(now_s), now_s)
            here.persist()
            for effect in effects:
                here.do(effect)
        if foundry.forget(now_s):
            here.persist()
        had = foundry.promised
        effects, first = foundry.step(here.me, now_s)
        if had is not None and foundry.promised is None:
            here.persist()
        for effect in effects:
            here.do(effect)
        if first is not None:
            trying = foundry.trying
            here.passage.install(first, now_s, Cause("election"))
            for host in first.ids:
                if host != here.me.id and trying is not None and host not in trying.installed:
                    here.do(Send(host, Install(first)))

    def on_founding(self, sender: str, founding: Founding, now_s: float) -> None:
        here = self._here
        if here.stage is not Stage.ZOMBIE or sender != founding.ballot.host:
            here.do(Send(sender, FoundingAnswer(here.tag, False, f"this host is {here.stage.value}")))
            return
        answer = here.foundry.asked(founding, now_s)
        if answer.agreed:
            here.persist()
        here.do(Send(sender, answer))

    def on_founding_answer(self, sender: str, answer: FoundingAnswer, now_s: float) -> None:
        here = self._here
        if here.foundry.answered(sender, answer):
            here.persist()
        if here.known is None:
            self.found(now_s)
