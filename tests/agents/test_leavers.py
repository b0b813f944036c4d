"""What is done for the sake of who leaves, and how fast."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from agents.causes import Cause
from agents.leavers import PLANNED_S, Leavers
from agents.population import Facts
from agents.surroundings import CloneOrdered
from agents.views import Status


def view(number: int, leaving: str = "") -> Any:
    """Return a view of a, b and c."""
    return SimpleNamespace(
        id=number,
        members=[
            SimpleNamespace(id=host, status=Status.LEAVING if host in leaving else Status.ACTIVE)
            for host in "abc"
        ],
    )


def leavers(*views: Any) -> Leavers:
    host: Any = SimpleNamespace(me="a")
    found = Leavers(host)
    for one in views:
        found.view_installed(one)
    return found


def test_the_cause_is_the_view_that_marked_one_last() -> None:
    assert leavers(view(1)).cause is None
    found = leavers(view(1), view(2, "b"), view(3, "b"))
    assert found.cause == Cause("view", view=2) and "b" in found and "a" not in found
    found.view_installed(view(4))
    assert found.cause == Cause("view", view=2) and "b" not in found, "what is under way still comes of it"


def test_orders_for_their_sake_are_spread_over_a_while() -> None:
    found = leavers(view(1), view(2, "b"))
    found.begin(10.0)
    facts = Facts(0, "a", ("a", "b"), (), (), 0, leaving=found.cause)
    order = CloneOrdered("c", "b leaves", found.cause)
    given = [
        tick for tick in range(60) if not found.can_wait(order, facts, 10.0 + 0.05 * tick, settled=2, needy=3)
    ]
    assert len(given) > 3 and given[0] * 0.05 <= PLANNED_S + 0.05, "it begins within that time"
    assert {later - before for before, later in pairwise(given)} == {5}
    assert PLANNED_S == 5 * 0.05 * 3, "and three are done within that time"


def test_what_lacks_a_peer_or_is_asked_for_something_else_never_waits() -> None:
    found = leavers(view(1), view(2, "b"))
    found.begin(10.0)
    facts = Facts(0, "a", ("a",), (), (), 0, leaving=found.cause)
    order = CloneOrdered("c", "b leaves", found.cause)
    assert not found.can_wait(order, facts, 9.0, settled=2, needy=3)
    assert found.can_wait(order, facts, 9.0, settled=1, needy=3)
    assert not found.can_wait(CloneOrdered("c", "b died"), facts, 9.0, settled=1, needy=3)
    assert not found.can_wait(None, facts, 9.0, settled=1, needy=3)
