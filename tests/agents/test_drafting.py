"""What a proposer would have the next view be."""

from __future__ import annotations

import msgspec

from agents.agreement import Attempt
from agents.drafting import forced, planned
from agents.messages.membership import Ballot, Promise
from agents.views import generation_of
from tests.agents.assembly import founded
from tests.agents.test_electorate import here


def test_a_forced_view_has_whom_its_proposer_reaches_and_an_id_of_its_own() -> None:
    world = founded("abc")
    ids: list[int] = []
    for name, other in (("a", "b"), ("b", "a"), ("a", "b")):
        member, now_s = here(world, name)
        assert member.view is not None
        reach = [world.site(name).id, world.site(other).id]
        view = forced(member, member.view, Ballot(1 + len(ids) // 2, member.me.id), reach, now_s)
        assert sorted(m.name for m in view.members) == ["a", "b"]
        assert generation_of(view.id) == generation_of(member.view.id) + 1
        ids.append(view.id)
    assert len(set(ids)) == 3, "no two ballots force the same"


def test_nothing_is_planned_where_nothing_changed_and_all_again_where_a_forced_vote_stands() -> None:
    world = founded("abc")
    member, now_s = here(world, "a")
    assert member.view is not None
    available = msgspec.structs.replace(member.view.charter, quorum="available")
    view = msgspec.structs.replace(member.view, charter=available)
    attempt = Attempt(view, Ballot(9, member.me.id), view.majority, now_s)
    for host in view.ids:
        attempt.promise(host, Promise(view.id, attempt.ballot, None, None, view.ids), now_s)
    assert planned(member, attempt, now_s, broken=False).view is None
    stale = forced(member, view, Ballot(3, view.ids[1]), list(view.ids[1:]), now_s)
    vote = Promise(view.id, attempt.ballot, Ballot(3, view.ids[1]), stale, view.ids)
    attempt.promise(view.ids[1], vote, now_s)
    plan = planned(member, attempt, now_s, broken=False)
    assert plan.view is not None and plan.view.ids == view.ids and plan.view.id > view.id
