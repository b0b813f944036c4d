"""Contacts: every host known from here, and to which a link is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf

from agents.effects import Dial, HangUp
from agents.messages.membership import Knock
from agents.views import Member, View


@dataclass(slots=True)
class Contact:
    """One host: what its last Hello or Knock said, and how the link is.

    Attributes:
        met_s: When this incarnation was first met.
        seen_s: When it last said anything.
        knocked_s: When it last knocked; it wants to be admitted.
        first_knock_s: When this incarnation first knocked.
        seed: The shell found it at an address given at the start.
        told_s: When it was last told that it is dead, or sent the view.
        ahead: The later view that it spoke of last, and when first.
        introduced: Zombies that it was told of on this link.
        lost: Why the link went down last.
        hears: Whom it hears, by its last knock.
        hears_s: Since when it has heard just these.
        answered_s: When it last answered a knock of ours.
    """

    member: Member
    tag: str = ""
    view: int = 0
    stage: str = ""
    up: bool = False
    seed: bool = False
    met_s: float = -inf
    seen_s: float = -inf
    knocked_s: float = -inf
    first_knock_s: float = -inf
    told_s: float = -inf
    ahead: tuple[int, float] = (0, -inf)
    introduced: set[str] = field(default_factory=set)
    lost: str = ""
    hears: frozenset[str] = frozenset()
    hears_s: float = -inf
    answered_s: float = -inf


class Contacts:
    """The hosts known from here, by host id; this host is none of them.

    Attributes:
        knocked_s: When any of them last knocked.
    """

    def __init__(self, me: str, contacts_max: int) -> None:
        self._me = me
        self._max = contacts_max
        self._all: dict[str, Contact] = {}
        self._dialled: dict[str, Member] = {}
        self.knocked_s = -inf

    def __iter__(self) -> Iterator[Contact]:
        return iter(self._all.values())

    def get(self, host: str) -> Contact | None:
        """Return the contact with this host id."""
        return self._all.get(host)

    def up(self, host: str) -> bool:
        """Return whether the link to a host is up."""
        contact = self._all.get(host)
        return contact is not None and contact.up

    def all_up(self) -> frozenset[str]:
        """Return the hosts to which a link is up."""
        return frozenset(host for host, contact in self._all.items() if contact.up)

    def meet(self, member: Member, now_s: float, *, is_member: bool = False) -> Contact | None:
        """Note that a host exists; None: too many are known (members always fit), or it is us."""
        if member.id == self._me:
            return None
        contact = self._all.get(member.id)
        if contact is None:
            if len(self._all) >= self._max and not is_member:
                return None
            contact = self._all[member.id] = Contact(member, met_s=now_s)
        elif member.incarnation > contact.member.incarnation:
            up, seed = contact.up, contact.seed
            contact = self._all[member.id] = Contact(member, up=up, seed=seed, met_s=now_s)
        contact.seen_s = now_s
        return contact

    def hello(self, member: Member, tag: str, view: int, stage: str, now_s: float) -> Contact | None:
        """Note what a host said of itself in a Hello."""
        contact = self.meet(member, now_s)
        if contact is None or member.incarnation < contact.member.incarnation:
            return contact
        contact.member = member
        contact.tag, contact.view, contact.stage = tag, view, stage
        return contact

    def knock(self, knock: Knock, now_s: float) -> Contact | None:
        """Note that a host knocked, on a link of its own."""
        contact = self.hello(knock.member, knock.tag, knock.view, knock.stage, now_s)
        if contact is not None and contact.member.incarnation == knock.member.incarnation:
            if contact.first_knock_s == -inf:
                contact.first_knock_s = now_s
            contact.knocked_s = self.knocked_s = now_s
            hears = frozenset(knock.hears)
            if hears != contact.hears:
                contact.hears, contact.hears_s = hears, now_s
        return contact

    def listed(self, view: View, now_s: float) -> None:
        """Note the members of a view."""
        for member in (*view.members, *view.absent):
            known = self._all.get(member.id)
            if known is None or member.incarnation >= known.member.incarnation:
                contact = self.meet(member, now_s, is_member=True)
                if contact is not None:
                    contact.member = member
                    if known is None:
                        contact.tag = view.tag
                    contact.knocked_s = contact.first_knock_s = -inf

    def rewire(
        self,
        view: View | None,
        tag: str,
        seeking: bool,
        now_s: float,
        contact_s: float,
        only: str = "",
    ) -> list[Dial | HangUp]:
        """Return what brings the links in line with what is wanted.

        Args:
            only: The link to this host alone; "" = all of them.
            tag: Our cluster's; one that bears another is no business of ours.
            seeking: This host is no member, or one without quorum: seeds are
                wanted too.
            contact_s: A stranger silent for so long is hung up on.
        """
        absent = frozenset(member.id for member in view.absent) if view is not None else frozenset()
        some = [(only, self._all[only])] if only in self._all else []
        effects: list[Dial | HangUp] = []
        for host, contact in some if only else list(self._all.items()):
            is_listed = host in absent or (view is not None and view.member(host) is not None)
            fresh = now_s - contact.seen_s < contact_s and contact.tag in ("", tag)
            if is_listed or fresh or (contact.seed and seeking):
                dialled = self._dialled.get(host)
                if dialled is None or _elsewhere(dialled, contact.member):
                    self._dialled[host] = contact.member
                    effects.append(Dial(contact.member))
            elif not contact.seed or host in self._dialled:
                if not contact.seed:
                    del self._all[host]
                contact.up = False
                if self._dialled.pop(host, None) is not None:
                    effects.append(HangUp(host))
        return effects

    def redial(self) -> list[Dial | HangUp]:
        """Return what breaks all links and makes them anew: we are another now."""
        effects: list[Dial | HangUp] = []
        for host, contact in self._all.items():
            if host in self._dialled:
                contact.up = False
                self._dialled[host] = contact.member
                effects += [HangUp(host), Dial(contact.member)]
        return effects


def _elsewhere(dialled: Member, member: Member) -> bool:
    """Return whether a link dialled to one must be dialled anew for the other."""
    return (dialled.incarnation, dialled.link, dialled.public_key) != (
        member.incarnation,
        member.link,
        member.public_key,
    )
