"""Drafting: what a proposer would have the next view be, given what it knows.

Here is gathered what `agents.succession` decides by.
"""

from __future__ import annotations

from math import inf
from typing import Protocol

import msgspec

from agents.agreement import Attempt
from agents.electorate import joiners
from agents.lineage import forced_id, forked
from agents.messages.membership import Ballot, Wish
from agents.standing import Standing
from agents.succession import Evidence, Plan, successor
from agents.views import Member, View, generation_of, number_of, view_id


class Here(Standing, Protocol):
    """What a draft asks of its host's membership."""

    def heard(self, now_s: float) -> tuple[str, ...]:
        """Return the members of the known view that are heard, itself included."""

    def uptime_s(self, host: str, now_s: float) -> float:
        """Return how long a host has been up, as far as it is known here."""


def planned(here: Here, attempt: Attempt, now_s: float, *, broken: bool) -> Plan:
    """Return what a free proposer would have the next view be.

    Args:
        attempt: The ballot that a majority has promised.
        broken: A link between members is broken for long: who is left out for it may be dropped.
    """
    promises = {acceptor: frozenset(promise.hears) for acceptor, promise in attempt.promises.items()}
    wishes = here.wishes.open(attempt.view, now_s)
    if any(attempt.is_forced(promise.accepted) for promise in attempt.promises.values()):
        # Who accepted that has ended its grants: only another view makes it grant again.
        wishes.append(_anyway(here, attempt.view))
    # Those that a stop ended are over, also if they live on; their leases are waited for: one that
    # missed the end may still answer reads.
    over = frozenset(attempt.view.ids) if here.ended_stop else frozenset[str]()
    evidence = Evidence(
        promises,
        here.detector.said(now_s),
        here.detector.attested() | over,
        wishes,
        _entrants(here, attempt.view, now_s),
        whom_joiners_hear(here),
        broken,
        here.reputation.all(now_s),
    )
    return successor(attempt.view, evidence)


def forced(here: Here, view: View, ballot: Ballot, acceptors: list[str], now_s: float) -> View:
    """Return the first view of the next generation: whoever is in reach.

    No two forced views have the same id, for no two ballots do: the
    number is made of the round and the proposer's seniority.
    """
    promises = {here.me.id: frozenset(here.heard(now_s)) & frozenset(acceptors)}
    entrants = _entrants(here, view, now_s)
    evidence = Evidence(promises, {}, here.detector.attested(), (_anyway(here, view),), entrants)
    size = len(view.members)
    senior = size - 1 - view.ids.index(here.me.id)
    number = number_of(view.id) + ballot.round * size + senior + 1
    first = view_id(generation_of(view.id) + 1, number)
    if view.charter.is_available:
        first = forced_id(view, here.me.id, here.me.incarnation, ballot.round)
    plan = successor(view, evidence, first)
    assert plan.view is not None, "a forced view lists its proposer at least"
    if not view.charter.is_available:
        return plan.view
    uptime_s = here.uptime_s(plan.view.members[0].id, now_s)
    return msgspec.structs.replace(plan.view, forks=forked(view, plan.view, uptime_s))


def _anyway(here: Here, view: View) -> Wish:
    """Return a wish for another view of the same members."""
    return Wish("recount", here.me.id, here.me.incarnation, view=view.id)


def _entrants(here: Here, view: View, now_s: float) -> list[Member]:
    """Return who is to be admitted: whoever waits at the door, and this host if it restarted."""
    found = joiners(here, view, now_s, at_once=True)
    if not here.is_member:
        found.append(here.me)
    return found


def whom_joiners_hear(here: Here) -> dict[str, frozenset[str]]:
    """Return whom each host that knocks hears."""
    return {contact.member.id: contact.hears for contact in here.contacts if contact.knocked_s > -inf}
