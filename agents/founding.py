"""Founding: zombies become a cluster, of one tag.

A zombie promises to be born with one tag only, durably. A founder asks all
zombies that it sees; a majority of them must agree, so of two that ask the
same zombies at most one succeeds. The other releases its promises, and its
hosts join the first. View 1 lists those that agreed. The founder itself
installs it only when a majority of them has: a tag that nobody else bears
must not be left behind by a founder that dies meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from agents.effects import Note, Send
from agents.messages.membership import Ballot, Founding, FoundingAnswer, Install
from agents.views import Charter, Member, Status, View, view_id

FIRST = view_id(0, 1)
TRIES_MAX = 20  # of one init order; at half a second each, an operator has looked by then


@dataclass(slots=True)
class Try:
    """One round of asking: who was asked, who agreed, who has installed."""

    view: View
    since_s: float
    began_s: float
    agreed: set[str]
    refused: set[str] = field(default_factory=set)
    final: View | None = None
    installed: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Promised:
    """What this zombie has promised to be born with."""

    view: View
    ballot: Ballot
    since_s: float


class Foundry:
    """One zombie's part in foundings: its promise, and its own tries.

    `promised` belongs into the durable record before any answer is sent.
    """

    def __init__(self, founding_s: float, forget_s: float) -> None:
        self._founding_s = founding_s
        self._forget_s = forget_s
        self.promised: Promised | None = None
        self.charter: Charter | None = None
        self.trying: Try | None = None
        self._tries = 0
        self._not_before_s = 0.0

    def order(self, charter: Charter, now_s: float) -> None:
        """Take an init order; tries go on until one succeeds or too many failed."""
        self.charter = charter
        self._tries = 0
        self._not_before_s = now_s

    def due(self, now_s: float) -> bool:
        """Return whether it is time to ask the zombies."""
        if self.charter is None or self.trying is not None or now_s < self._not_before_s:
            return False
        return self.promised is None

    def begin(self, me: Member, zombies: Mapping[str, Member], now_s: float) -> list[Send | Note]:
        """Ask all zombies in sight; the promise to itself must be recorded first."""
        assert self.charter is not None and self.promised is None
        self._tries += 1
        tag = _tag(me, self._tries, now_s)
        asked = sorted((me, *zombies.values()), key=lambda member: member.id)
        members = [msgspec.structs.replace(member, status=Status.ACTIVE, entered=FIRST) for member in asked]
        view = View(tag, FIRST, self.charter, tuple(members))
        ballot = Ballot(self._tries, me.id)
        self.promised = Promised(view, ballot, now_s)
        self.trying = Try(view, now_s, now_s, {me.id})
        names = ", ".join(member.name for member in members)
        effects: list[Send | Note] = [Note("election", f"founding, asked: {names}", details={"tag": tag})]
        return effects + [Send(host, Founding(view, ballot)) for host in zombies]

    def asked(self, founding: Founding, now_s: float) -> FoundingAnswer:
        """Return this zombie's word; record the promise before sending it."""
        promised = self.promised
        # The same founder asks anew: it gave its last try up, or died in it and forgot.
        other = promised is not None and promised.ballot.host != founding.ballot.host
        if promised is not None and other and promised.view.tag != founding.view.tag:
            return FoundingAnswer(promised.view.tag, False, "promised to another founder")
        self.promised = Promised(founding.view, founding.ballot, now_s)
        return FoundingAnswer(founding.view.tag, True)

    def answered(self, host: str, answer: FoundingAnswer) -> bool:
        """Note a zombie's answer, or a founder's release; True = promise gone."""
        trying = self.trying
        if trying is not None and trying.final is None:
            if answer.agreed and answer.tag == trying.view.tag:
                trying.agreed.add(host)
            elif not answer.agreed and answer.tag != trying.view.tag:
                trying.refused.add(host)
        promised = self.promised
        if promised is None or answer.agreed:
            return False
        if promised.view.tag != answer.tag or promised.ballot.host != host:
            return False
        self.promised = None
        return True

    def step(self, me: Member, now_s: float) -> tuple[list[Send | Note], View | None]:
        """Go on with a try: returns effects, and view 1 once it may be installed here."""
        trying = self.trying
        if trying is None:
            return [], None
        asked = len(trying.view.members)
        late = now_s - trying.since_s >= self._founding_s
        if trying.final is None:
            waiting = asked - len(trying.agreed) - len(trying.refused)
            if len(trying.agreed) >= trying.view.majority and (late or waiting == 0):
                return self._settle(me, trying, now_s)
            if late or asked - len(trying.refused) < trying.view.majority:
                return self._give_up(me, "no majority of the zombies in sight agreed", now_s), None
            return [], None
        if len(trying.installed | {me.id}) >= trying.final.majority:
            return [], trying.final
        if now_s - trying.began_s >= self._forget_s / 2:  # well before anybody forgets it
            return self._give_up(me, "those that agreed were never heard of again", now_s), None
        if late:
            trying.since_s += self._founding_s
            return self._spread(me, trying), None
        return [], None

    def forget(self, now_s: float) -> bool:
        """End a promise whose founder was never heard of again; True = it ended."""
        promised = self.promised
        if promised is None or self.trying is not None:
            return False
        if now_s - promised.since_s < self._forget_s:
            return False
        self.promised = None
        return True

    def over(self) -> None:
        """A view is installed: nothing of founding is left."""
        self.promised = self.charter = self.trying = None

    def _settle(self, me: Member, trying: Try, now_s: float) -> tuple[list[Send | Note], View | None]:
        """View 1 is what agreed; it goes to the others first."""
        members = tuple(member for member in trying.view.members if member.id in trying.agreed)
        trying.final = msgspec.structs.replace(trying.view, members=members)
        trying.since_s = now_s
        if trying.final.majority == 1:
            return [], trying.final
        return self._spread(me, trying), None

    def _spread(self, me: Member, trying: Try) -> list[Send | Note]:
        """Send view 1 to those that have not installed it."""
        assert trying.final is not None
        return [
            Send(host, Install(trying.final))
            for host in trying.final.ids
            if host != me.id and host not in trying.installed
        ]

    def _give_up(self, me: Member, reason: str, now_s: float) -> list[Send | Note]:
        """Release what was promised, and try again later, or never."""
        trying = self.trying
        assert trying is not None
        self.trying = self.promised = None
        wait = 1 + int.from_bytes(_digest(trying.view.tag)[:2], "big") % 4
        self._not_before_s = now_s + wait * self._founding_s
        release = FoundingAnswer(trying.view.tag, False, reason)
        effects: list[Send | Note] = [Send(host, release) for host in trying.view.ids if host != me.id]
        if self._tries >= TRIES_MAX:
            self.charter = None
            reason += "; given up, order init again"
        return [*effects, Note("refused", f"founding: {reason}")]


def _digest(text: str) -> bytes:
    """Return 16 bytes that look like chance and are none."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _tag(me: Member, tries: int, now_s: float) -> str:
    """Return a cluster tag: unique, since host ids are and incarnations grow."""
    return _digest(f"{me.id}/{me.incarnation}/{tries}/{now_s!r}").hex()
