"""The electorate: who may propose, vote and be admitted, as one host sees it now.

Questions about a view and what a host hears; nothing here is kept or changed.
"""

from __future__ import annotations

from agents.contacts import Contact
from agents.knocking import unheard
from agents.stages import MEMBER_STAGES
from agents.standing import Standing
from agents.succession import namesake, too_old
from agents.views import Member, Status, View

KNOCK_FRESH_S = 1.0  # four knocks: an older one may be a dead joiner's


def side(here: Standing, view: View, now_s: float) -> list[str]:
    """Return the members that we hear, over links that stand, and that are what the view lists."""
    return [
        member.id
        for member in view.members
        if member.id == here.me.id or (here.contacts.up(member.id) and here.detector.hears(member.id, now_s))
    ]


def in_reach(here: Standing, view: View, now_s: float) -> list[str]:
    """Return the acceptors that may answer us, ourselves included."""
    return [
        member.id
        for member in view.members
        if member.id == here.me.id
        or (
            here.contacts.up(member.id)
            and (here.detector.hears(member.id, now_s) or _has_returned(here, member))
        )
    ]


def proposers(here: Standing, view: View, now_s: float) -> list[str]:
    """Return who may propose, first first: the senior, not doubted, not leaving."""
    live: list[str] = []
    last: list[str] = []
    restarted: list[str] = []
    for member in view.members:
        if member.id == here.me.id:
            place = (last if member.status is Status.LEAVING else live) if here.is_member else restarted
            place.append(member.id)
        elif _has_returned(here, member):
            restarted.append(member.id)
        elif not here.detector.suspected(member.id, now_s):
            (last if member.status is Status.LEAVING else live).append(member.id)
    return live + last + restarted


def joiners(here: Standing, view: View, now_s: float, *, at_once: bool = False) -> list[Member]:
    """Return who may be admitted now (`at_once`: without the settle wait)."""
    if now_s - here.contacts.knocked_s >= KNOCK_FRESH_S:
        return []
    settle_s = 0.0 if at_once else here.settings.settle_s
    return [
        contact.member
        for contact in here.contacts
        if contact.up
        and now_s - contact.knocked_s < KNOCK_FRESH_S
        and now_s - max(contact.first_knock_s, contact.hears_s) >= settle_s
        and _may_enter(here, view, contact, now_s)
    ]


def _may_enter(here: Standing, view: View, contact: Contact, now_s: float) -> bool:
    """Return whether nothing that is known of a host that knocks speaks against it."""
    joiner = contact.member
    return (
        contact.tag in ("", here.tag)
        and contact.stage not in MEMBER_STAGES
        and not view.lists(joiner.id, joiner.incarnation)
        and not too_old(view, joiner.id, joiner.incarnation)
        and here.reputation.wait_s(joiner.id, now_s) == 0.0
        and not _is_name_taken(here, view, joiner)
        and (view.member(joiner.id) is not None or not unheard(here, view, contact, now_s))
    )


def _is_name_taken(here: Standing, view: View, joiner: Member) -> bool:
    """Return whether a member that is not surely gone bears the name."""
    other = namesake(view, joiner)
    return other is not None and other.id not in here.detector.attested()


def is_later(contact: Contact | None, listed: Member | None) -> bool:
    """Return whether a host runs as a later incarnation than the view lists."""
    return contact is not None and listed is not None and contact.member.incarnation > listed.incarnation


def _has_returned(here: Standing, member: Member) -> bool:
    """Return whether a later incarnation of a member is linked to us."""
    contact = here.contacts.get(member.id)
    return contact is not None and contact.up and is_later(contact, member)


def returns_soon(here: Standing, member: Member, now_s: float) -> bool:
    """Return whether a later incarnation has just come: one view for both."""
    contact = here.contacts.get(member.id)
    if contact is None or not is_later(contact, member):
        return False
    return now_s - contact.met_s < 2 * here.settings.settle_s
