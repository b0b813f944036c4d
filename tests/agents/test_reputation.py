"""Reputation: rare deaths cost no wait however long a cluster lives; who flaps waits longer."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from agents.reputation import DRAIN_S, WAIT_MAX_S, Reputation
from agents.views import View
from tests.agents.test_succession import view


def without(host: str) -> View:
    """Return a view that dropped a host as dead."""
    return msgspec.structs.replace(view("abc"), dead=((host, 1),))


def waits(every_s: float, deaths: int) -> list[float]:
    """Return what a host waits after each death, if it is back and dies again so long after the last one."""
    reputation = Reputation()
    found, now_s = [], 1000.0
    for _ in range(deaths):
        reputation.note(without("x"), now_s)
        found.append(reputation.wait_s("x", now_s))
        now_s += max(every_s, found[-1])
    return found


def test_who_dies_now_and_then_never_waits() -> None:
    assert set(waits(DRAIN_S, 50)) == {0.0}


def test_who_flaps_waits_longer_each_time_and_no_longer_than_the_limit() -> None:
    found = waits(1.0, 9)
    assert found[0] == 0.0
    assert all(before < after or after == WAIT_MAX_S for before, after in pairwise(found))
    assert max(found) == WAIT_MAX_S


@pytest.mark.parametrize("every_s", [2.0, 5.0, 8.0, 12.0])
def test_after_the_first_minute_no_more_flaps_than_three_views_each_allow(every_s: float) -> None:
    at_s, deaths_s = 0.0, []
    for wait_s in waits(every_s, 60):
        deaths_s.append(at_s)
        at_s += max(every_s, wait_s)
    late = [death_s for death_s in deaths_s if 60.0 <= death_s < 180.0]
    assert 3 * len(late) <= 120.0 / 5.0


def test_what_is_learnt_on_entry_makes_nobody_wait_alone() -> None:
    reputation = Reputation()
    reputation.learn(msgspec.structs.replace(view("abc"), flaps=(("x", 7),)), 1000.0)
    assert reputation.all(1000.0) == {"x": 7}
    reputation.note(without("x"), 1000.0)
    assert reputation.wait_s("x", 1000.0) <= 0.5
    assert reputation.level("x", 1000.0) <= 2.0
    assert reputation.level("y", 1000.0) == 0.0
