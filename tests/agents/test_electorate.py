"""Who may propose, vote and be admitted, as one host sees it."""

from __future__ import annotations

import msgspec

from agents.electorate import in_reach, joiners, proposers, returns_soon, side
from agents.membership import Membership
from agents.views import Status
from tests.agents.assembly import Assembly, founded


def here(world: Assembly, name: str) -> tuple[Membership, float]:
    """Return a host's membership, and its clock."""
    return world.member(name), world.clock(world.site(name))


def letters(world: Assembly, hosts: list[str]) -> str:
    """Return the names of hosts by their ids."""
    return "".join(site.name for host in hosts for site in world.running() if site.id == host)


def test_to_whom_no_link_is_up_is_not_on_our_side_nor_in_reach() -> None:
    world = founded("abc")
    member, now_s = here(world, "a")
    assert member.view is not None
    for ask in (side, in_reach, proposers):
        assert letters(world, ask(member, member.view, now_s)) == "abc"
    lost = world.site("c").id
    member.contacts.get(lost).up = False  # type: ignore[union-attr]
    assert letters(world, side(member, member.view, now_s)) == "ab"
    assert letters(world, in_reach(member, member.view, now_s)) == "ab"


def test_who_leaves_proposes_last() -> None:
    world = founded("abc")
    member, now_s = here(world, "b")
    assert member.view is not None
    going = tuple(
        msgspec.structs.replace(m, status=Status.LEAVING) if m.name == "a" else m for m in member.view.members
    )
    view = msgspec.structs.replace(member.view, members=going)
    assert letters(world, proposers(member, view, now_s)) == "bca"


def test_who_knocks_is_admitted_unless_something_speaks_against_it() -> None:
    world = founded("ab", spare="x")
    world.start("x")
    world.run(2.0, lambda: any(contact.knocked_s > 0 for contact in world.member("a").contacts))
    member, now_s = here(world, "a")
    view = member.view
    assert view is not None
    x = world.site("x").id
    contact = member.contacts.get(x)
    assert contact is not None
    assert joiners(member, view, now_s, at_once=True) == [], "it does not hear all yet"
    contact.hears, contact.hears_s = frozenset(view.ids), now_s
    assert [m.id for m in joiners(member, view, now_s, at_once=True)] == [x]
    assert joiners(member, view, now_s) == [], "others may come beside it"
    assert joiners(member, view, now_s + 2.0, at_once=True) == [], "it may be dead"
    contact.member = msgspec.structs.replace(contact.member, name="b")
    assert joiners(member, view, now_s, at_once=True) == [], "the name is taken"


def test_a_later_incarnation_is_waited_for_a_moment() -> None:
    world = founded("abc")
    member, now_s = here(world, "a")
    assert member.view is not None
    listed = member.view.member(world.site("c").id)
    assert listed is not None and not returns_soon(member, listed, now_s)
    contact = member.contacts.get(listed.id)
    assert contact is not None
    contact.member = msgspec.structs.replace(listed, incarnation=listed.incarnation + 1)
    contact.met_s = now_s
    assert returns_soon(member, listed, now_s)
    assert not returns_soon(member, listed, now_s + 3 * member.settings.settle_s)
