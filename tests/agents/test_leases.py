"""Leases: grants, the fence, and the quorum that they make."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.heartbeats import CROWD
from agents.leases import DRIFT, STRETCH, Grants, Quorum
from agents.views import Charter, Member, View, view_id
from tests.sim.beats import beats_of

LEASE_S = 0.5


def view(*hosts: str, number: int = 1, incarnation: int = 1) -> View:
    members = tuple(Member(host, incarnation, host, "", "", entered=1) for host in hosts)
    return View("t", number, Charter(lease_s=LEASE_S), members)


def quorum(*hosts: str) -> Quorum:
    held = Quorum()
    held.install(view(*hosts), hosts[0])
    return held


def test_one_host_alone_holds_quorum_until_its_fence() -> None:
    alone = quorum("a")
    assert alone.held(1e9)
    alone.fence()
    assert not alone.held(0.0)


def test_quorum_needs_a_majority_and_ends_with_the_lease() -> None:
    three = quorum("a", "b", "c")
    assert not three.held(10.0)
    assert three.granted("b", 1, 1, 10.0, 10.1)
    assert three.held(10.0 + LEASE_S - 0.001)
    assert not three.held(10.0 + LEASE_S)


def test_the_lease_of_the_member_that_completes_the_majority_counts() -> None:
    five = quorum("a", "b", "c", "d", "e")
    five.granted("b", 1, 1, 10.0, 10.0)
    assert not five.held(10.1)
    five.granted("c", 1, 1, 10.2, 10.2)
    assert five.held(10.4) and not five.held(10.5)
    five.granted("d", 1, 1, 10.3, 10.3)
    assert five.held(10.6) and not five.held(10.7)


@pytest.mark.parametrize(
    ("host", "incarnation", "number", "sent_s"),
    [
        ("x", 1, 1, 10.0),
        ("b", 2, 1, 10.0),
        ("b", 1, 2, 10.0),
        ("b", 1, 0, 10.0),
        ("b", 1, 1, 11.0),
        ("a", 1, 1, 10.0),
    ],
    ids=["a stranger", "another incarnation", "a later view", "an earlier view", "another clock", "itself"],
)
def test_a_grant_that_does_not_count(host: str, incarnation: int, number: int, sent_s: float) -> None:
    two = quorum("a", "b")
    assert not two.granted(host, incarnation, number, sent_s, 10.0)
    assert not two.held(10.0)


def test_leases_that_run_count_in_the_next_view_and_for_no_longer() -> None:
    two = quorum("a", "b")
    two.granted("b", 1, 1, 10.0, 10.0)
    two.fence()
    assert not two.held(10.0)
    two.install(view("a", "b", number=2), "a")
    assert two.held(10.0 + LEASE_S - 0.001) and not two.held(10.0 + LEASE_S)
    assert not two.granted("b", 1, 1, 10.2, 10.2), "of the view before, and late"


@pytest.mark.parametrize(
    ("later", "incarnation", "held"),
    [("abc", 1, True), ("abcd", 1, False), ("ac", 1, False), ("abc", 2, False)],
    ids=["the same", "of more a majority", "from whom it still lists", "from that very incarnation"],
)
def test_of_leases_from_before_those_count_that_the_view_would_count(
    later: str, incarnation: int, held: bool
) -> None:
    three = quorum("a", "b", "c")
    three.granted("b", 1, 1, 10.0, 10.0)
    three.install(view(*later, number=2, incarnation=incarnation), "a")
    assert three.held(10.1) is held


def test_no_lease_outlives_its_generation() -> None:
    two = quorum("a", "b")
    two.granted("b", 1, 1, 10.0, 10.0)
    two.install(view("a", "b", number=view_id(1, 1)), "a")
    assert not two.held(10.1)


def test_an_overtaken_grant_does_not_shorten_the_lease() -> None:
    two = quorum("a", "b")
    two.granted("b", 1, 1, 10.2, 10.3)
    two.granted("b", 1, 1, 10.0, 10.3)
    assert two.held(10.6)


def test_one_that_gave_up_its_quorum_gets_it_by_no_grant() -> None:
    two = quorum("a", "b")
    two.clear()
    assert not two.granted("b", 1, 1, 10.0, 10.0)
    assert not two.held(10.0)


def test_behind_the_fence_nothing_is_granted_and_the_last_grant_runs_out() -> None:
    grants = Grants(LEASE_S, 0.0)
    assert grants.grant("b", 10.0)
    grants.fence()
    assert not grants.grant("b", 10.1)
    assert grants.left_s("b", 10.0) == pytest.approx(LEASE_S * STRETCH)
    assert grants.left_s("b", 10.0 + LEASE_S * STRETCH) == pytest.approx(0.0)
    assert grants.left_s("b", 20.0) == 0.0


def test_one_that_was_granted_nothing_may_live_on_leases_of_the_view_before() -> None:
    assert Grants(LEASE_S, 10.0).left_s("b", 10.1) == pytest.approx(LEASE_S * STRETCH - 0.1)


@given(
    holder=st.floats(1 - DRIFT, 1 + DRIFT),
    granter=st.floats(1 - DRIFT, 1 + DRIFT),
    proposer=st.floats(1 - DRIFT, 1 + DRIFT),
    flight_s=st.floats(0, 1),
    thinks_s=st.floats(0, 1),
)
def test_whatever_the_clocks_the_holder_is_out_before_the_proposer_installs(
    holder: float, granter: float, proposer: float, flight_s: float, thinks_s: float
) -> None:
    """True time 0: the holder sends the heartbeat that is granted."""
    ends_s = LEASE_S / holder
    grants = Grants(LEASE_S, -100.0)
    grants.grant("b", granter * flight_s)
    left_s = grants.left_s("b", granter * (flight_s + thinks_s))
    installs_s = flight_s + thinks_s + left_s / proposer
    assert installs_s >= ends_s - 1e-9


# -- in a crowd -----------------------------------------------------------------------


def test_a_grant_that_is_owed_counts_from_when_it_was_given_and_is_told_once() -> None:
    grants = Grants(LEASE_S, 0.0)
    assert grants.is_urgent("b", 10.0, 0.2), "it has none"
    grants.owe("b", 9.9, 10.0)
    assert not grants.is_urgent("b", 10.1, 0.2) and grants.is_urgent("b", 10.3, 0.2)
    assert grants.left_s("b", 10.0) == pytest.approx(LEASE_S * STRETCH)
    assert grants.take_owed() == [("b", 9.9)] and grants.take_owed() == []


def test_a_grant_may_wait_in_the_next_view_too_unless_its_holder_is_another_one() -> None:
    grants, one = Grants(LEASE_S, 0.0), view("a", "b", "c")
    grants.grant("b", 9.9)
    grants.grant("c", 9.9)
    after = view("a", "b", number=2)
    assert grants.of_same(one, after) == {"b": 9.9}
    assert grants.of_same(one, view("a", "b", number=2, incarnation=2)) == {}, "its process is another one"
    assert grants.of_same(one, view("a", "b", number=view_id(1, 1))) == {}, "no lease outlives its generation"
    later = Grants(LEASE_S, 10.0, before=grants.of_same(one, after))
    assert not later.is_urgent("b", 10.0, 0.2) and later.is_urgent("c", 10.0, 0.2)
    assert later.left_s("b", 10.0) == pytest.approx(LEASE_S * STRETCH), "no older than the install"


@pytest.mark.parametrize("is_fenced", [False, True])
def test_what_was_owed_and_never_told_is_urgent_in_the_next_view(is_fenced: bool) -> None:
    grants, one = Grants(LEASE_S, 0.0), view("a", "b", "c")
    for host in "bc":
        grants.owe(host, 9.8, 9.8)
    grants.take_owed()
    grants.owe("b", 9.9, 9.9)
    if is_fenced:
        grants.fence()
        grants.owe("c", 9.9, 9.9)
    assert grants.of_same(one, view("a", "b", "c", number=2)) == {"c": 9.8}
    assert grants.left_s("b", 9.9) == pytest.approx(LEASE_S * STRETCH), "it might have been told"


def test_who_has_a_lease_that_lasts_need_not_be_asked_for_one() -> None:
    held = quorum("a", "b", "c")
    held.granted("b", 1, 1, 10.0, 10.0)
    assert held.lasts("b", 10.0 + LEASE_S) and not held.lasts("b", 10.1 + LEASE_S)
    assert not held.lasts("c", 10.0)


def test_a_grant_that_is_owed_is_not_told_behind_the_fence() -> None:
    grants = Grants(LEASE_S, 0.0)
    grants.owe("b", 9.9, 10.0)
    grants.fence()
    grants.owe("c", 9.9, 10.0)
    assert grants.take_owed() == []


@pytest.mark.parametrize("hosts", [CROWD, CROWD + 10])
def test_in_a_crowd_heartbeats_and_grants_share_a_frame_and_every_heartbeat_is_answered(hosts: int) -> None:
    beats = beats_of(hosts)
    others = hosts - 1
    assert 9 * others <= beats.grants_s <= 10 * others and beats.has_quorum
    frames = 1 if hosts > CROWD else 2
    assert 9 * frames * others <= beats.frames_s <= 10 * frames * others
    assert beats.bytes_s < 10 * others * 100, "whoever is heard is not named"
