"""Check: every fault is named, and none that can't be helped."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placement.check import Fault, check, hosts_in, is_safe, safe
from placement.labels import Level, distance_between
from placement.peers import Peers
from placement.reasons import Move
from tests.placement.worlds import World, host, hosts_on, worlds

HOSTS = hosts_on("b1", "b1", "b2", "b3")


def faults(peers: Peers, settled: int = 2) -> list[Fault]:
    return [violation.fault for violation in check([peers], HOSTS, settled)]


@pytest.mark.parametrize(
    ("primaries", "secondaries", "found"),
    [
        (("h1",), ("h3",), []),
        ((), (), [Fault.LOST]),
        (("gone",), ("too",), [Fault.LOST]),
        ((), ("h1", "h3"), [Fault.NO_PRIMARY]),
        (("gone",), ("h1", "h3"), [Fault.NO_PRIMARY]),
        (("h1", "h3"), (), [Fault.MANY_PRIMARIES]),
        (("h1",), ("h1",), [Fault.SAME_HOST, Fault.BELOW]),
        (("h1",), (), [Fault.BELOW]),
        (("h1",), ("h3", "h4"), [Fault.ABOVE]),
        (("h1",), ("h2",), [Fault.SHARED_BOX]),
    ],
)
def test_faults_are_found(
    primaries: tuple[str, ...], secondaries: tuple[str, ...], found: list[Fault]
) -> None:
    assert faults(Peers(7, primaries, secondaries)) == found


@pytest.mark.parametrize(
    ("labels", "fault"),
    [
        (("b2", "r1", "z1"), Fault.SHARED_BOX),
        (("b2", "r2", "z1"), Fault.SHARED_BOX),
        (("b2", "r2", "z2"), Fault.SHARED_BOX),
    ],
)
def test_the_nearest_domain_shared_is_the_one_named(labels: tuple[str, str, str], fault: Fault) -> None:
    hosts = [host("h1", "b1", "r1", "z1"), host("h2", "b1", "r1", "z1"), host("h3", *labels)]
    assert [one.fault for one in check([Peers(1, ("h1",), ("h2",))], hosts, 2)] == [fault]


def test_a_shared_rack_and_zone_are_faults_where_they_can_be_helped() -> None:
    h1, h2 = host("h1", "b1", "r1", "z1"), host("h2", "b2", "r1", "z1")
    peers = [Peers(1, ("h1",), ("h2",))]
    assert check(peers, [h1, h2], 2) == []
    assert [one.fault for one in check(peers, [h1, h2, host("h3", "b3", "r2", "z1")], 2)] == [
        Fault.SHARED_RACK
    ]
    other = host("h2", "b2", "r2", "z1")
    assert [one.fault for one in check(peers, [h1, other, host("h3", "b3", "r3", "z2")], 2)] == [
        Fault.SHARED_ZONE
    ]


def test_a_shared_box_is_no_fault_if_the_other_box_has_no_room() -> None:
    hosts = [*HOSTS[:2], host("h3", "b2", bytes_max=100, bytes_used=80)]
    peers = [Peers(1, ("h1",), ("h2",))]
    assert check(peers, hosts, 2, bytes_by_colony={1: 50}) == []
    (violation,) = check(peers, hosts, 2, bytes_by_colony={1: 1})
    assert str(violation) == "colony 1: peers on h1 and h2 share a box, though h3 could take one"


def test_faults_have_words() -> None:
    found = check([Peers(1, ("h1", "h3"), ("h3",)), Peers(2), Peers(3, (), ("h1",))], HOSTS, 2)
    assert [str(one) for one in found] == [
        "colony 1: has 2 primaries: h1, h3",
        "colony 1: has 2 peers on h3",
        "colony 2: has no peer left",
        "colony 3: has peers, but none is primary",
        "colony 3: has 1 of 2 peers",
    ]


@settings(max_examples=40, deadline=None)
@given(worlds())
def test_once_moves_have_stopped_nothing_is_wrong(world: World) -> None:
    world.run()
    assert check(world.peers.values(), world.candidates(), len(world.peers[0].holders)) == []


# -- what a death would cost ------------------------------------------------------

PLACED = [Peers(0, ("h1",), ("h2",)), Peers(1, ("h3",), ("h1",)), Peers(2, ("h4",), ("h3",))]


def test_a_set_of_hosts_takes_the_colonies_that_are_only_there() -> None:
    assert safe(PLACED, {"h1"}).survivable
    blow = safe(PLACED, {"h1", "h2", "h3"})
    assert blow.lost == (0, 1)
    assert str(blow) == "3 hosts must not die: no other host holds colonies 0, 1"
    assert str(safe(PLACED, ["h1"], named="host h1")) == "host h1 can die: every colony keeps a peer"


def test_a_colony_lost_before_is_not_held_against_anybody() -> None:
    assert safe([Peers(0)], {"h1"}).survivable
    assert is_safe([Peers(0)], HOSTS).safe


def test_safety_names_the_box_that_must_not_die() -> None:
    safety = is_safe(PLACED, HOSTS)
    assert not safety.safe
    (blow,) = safety.blows
    assert blow.hosts == {"h1", "h2"}
    assert str(blow) == "the box of h1 (h1, h2) must not die: no other host holds colony 0"
    assert is_safe(PLACED[1:], HOSTS).safe


def test_a_lonely_copy_makes_its_host_the_one_that_must_not_die() -> None:
    assert "host h4" in [blow.named for blow in is_safe([Peers(0, ("h4",))], HOSTS).blows]


@settings(max_examples=40, deadline=None)
@given(worlds())
def test_a_cluster_is_safe_if_every_colony_has_peers_on_two_boxes(world: World) -> None:
    members = {one.id: one for one in world.hosts}

    def covers(hub: str, other: str) -> bool:
        return distance_between(hub, members[hub].labels, other, members[other].labels) <= Level.BOX

    one_blow = any(
        all(covers(hub, holder) for holder in peers.holders)
        for hub in members
        for peers in world.peers.values()
    )
    assert is_safe(list(world.peers.values()), world.hosts).safe == (not one_blow)


def test_hosts_are_meant_by_name_id_or_domain() -> None:
    assert hosts_in(HOSTS, "box=b1") == ("h1", "h2")
    assert hosts_in(HOSTS, "h3") == ("h3",)
    assert hosts_in(HOSTS, "nobody") == hosts_in(HOSTS, "zone=z") == ()
    with pytest.raises(ValueError):
        hosts_in(HOSTS, "room=1")


# -- peers ------------------------------------------------------------------------


@given(st.permutations(["a", "b", "c"]))
def test_peers_after_a_move(order: list[str]) -> None:
    first, second, new = order
    peers = Peers(1, (first,), (second,))
    assert peers.after(Move(1, "role", first, second, "")) == Peers(1, (second,), (first,))
    assert peers.after(Move(1, "copy", second, new, "")) == Peers(1, (first,), (new,))
    assert peers.after(Move(1, "copy", first, new, "")) == Peers(1, (new,), (second,))
    for wrong in (Move(2, "copy", first, new, ""), Move(1, "copy", new, first, "")):
        with pytest.raises(ValueError):
            peers.after(wrong)
