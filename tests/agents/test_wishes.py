"""Wishes: kept as long as they are repeated, and fulfilled together where that is meant."""

from __future__ import annotations

from agents.messages.membership import Wish
from agents.views import Charter, Member, Status, View
from agents.wishes import KEPT_S, WAVE_S, Wishes


def view(*joining: str, number: int = 5) -> View:
    """Return a view of `a`, which is ACTIVE, and of hosts that join."""
    members = [Member("a", 1, "a", "", "", status=Status.ACTIVE)]
    members += [Member(name, 1, name, "", "") for name in joining]
    return View("t", number, Charter(), tuple(members))


def wished(wishes: Wishes, now_s: float, here: View) -> str:
    """Return which hosts are to be ACTIVE now."""
    return "".join(wish.host for wish in wishes.open(here, now_s) if wish.kind == "active")


def test_joiners_become_active_by_one_view_if_they_are_ready_at_about_the_same_time() -> None:
    wishes, here = Wishes(), view("x", "y")
    wishes.add(Wish("active", "x", 1, view=5), 10.0, mine=False, wait_s=0.1)
    assert wished(wishes, 10.2, here) == "", "another joins with it"
    wishes.add(Wish("active", "y", 1, view=5), 10.3, mine=True, wait_s=0.1)
    assert wished(wishes, 10.35, here) == "" and wished(wishes, 10.45, here) == "xy"


def test_nobody_waits_for_long_nor_anew_with_each_view_and_one_alone_not_at_all() -> None:
    wishes, here = Wishes(), view("x", "y")
    for number in range(5, 20):  # each view is a reason to say it again
        wishes.add(Wish("active", "x", 1, view=number), 10.0 + number / 100, mine=False, wait_s=0.1)
    assert wished(wishes, 10.1 + WAVE_S, here) == ""
    assert wished(wishes, 10.2 + WAVE_S, here) == "x"
    alone = Wishes()
    alone.add(Wish("active", "x", 1, view=5), 10.0, mine=False, wait_s=0.1)
    assert wished(alone, 10.1, view("x")) == "x"
    assert wished(alone, 10.0 + KEPT_S, view("x")) == "", "nobody repeats it"


def test_other_wishes_wait_for_no_wave() -> None:
    wishes, here = Wishes(), view("x", "y")
    wishes.add(Wish("active", "x", 1, view=5), 10.0, mine=False)
    wishes.add(Wish("leave", "a", 1, view=5), 10.0, mine=False)
    assert [wish.kind for wish in wishes.open(here, 10.0)] == ["leave"]
