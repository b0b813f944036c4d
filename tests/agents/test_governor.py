"""When a host's primaries take their next step: order, pace, and rest."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from agents.effects import Emptied, ShareReached
from agents.messages.membership import Load
from agents.messages.replication import CloneAsk, Invite, Located
from agents.peer import PeerStatus
from agents.surroundings import CloneOrdered, HandOverOrdered, Limits, MoveRefused
from agents.views import Status
from placement.labels import Labels
from placement.reasons import Move
from tests.agents.house import House, founded, orders


def ticked(house: House, name: str) -> list[tuple[int, type, str]]:
    """Let some time pass for one host's governor alone, and return what it orders."""
    house.now_s += 0.3
    out: list[Any] = []
    house.hosts[name].governor.tick(house.now_s, out)
    return orders(out)


def all_on(name: str, others: str = "b", **more: Any) -> House:
    """Return a house in which one host leads everything alone, and others come."""
    house = House(name, **more)
    house.install(name)
    house.run(0.2)
    for other in others:
        house.add(other)
    house.install(name + others)
    house.run()
    return house


def test_missing_peers_are_cloned_at_once_but_no_more_than_the_bound() -> None:
    house = all_on("a", colonies=8, limits=Limits(clones_max=3))
    given = ticked(house, "a")
    assert [(kind, target) for _, kind, target in given] == [(CloneOrdered, "b")] * 3


def test_the_most_endangered_colonies_come_first() -> None:
    house = founded("abcd", colonies=8, peers=3, limits=Limits(clones_max=2))
    name = "a"
    mine = [colony for colony in range(8) if house.leader(colony) == name]
    worst = mine[-1]
    primary = house.hosts[name].colonies[worst].primary
    assert primary is not None and len(mine) > 1
    primary.ack_set.clear()
    first = house.hosts[name].colonies[mine[0]].primary
    assert first is not None
    first.ack_set.popitem()
    house.hosts[name].governor._dirty.update(mine)
    assert [colony for colony, _, _ in ticked(house, name)][:2] == [worst, mine[0]]


def test_a_target_that_refused_is_left_alone_for_a_while() -> None:
    house = all_on("a", colonies=1)
    governor = house.hosts["a"].governor
    governor.move_refused(MoveRefused(0, "b" * 32, "is full"), house.now_s)
    assert ticked(house, "a") == []
    house.now_s += 1.5
    assert ticked(house, "a") == [(0, CloneOrdered, "b")]


def test_a_hand_over_that_stalled_is_not_ordered_again_at_once() -> None:
    house = founded("ab", colonies=1)
    name = house.leader(0)
    other = "ab".replace(name, "")
    changed: dict[str, Any] = {name: {"status": Status.LEAVING}}
    house.install("ab", **changed)
    house.run()
    house.hosts[name].governor.move_refused(MoveRefused(0, other * 32, "no acks"), house.now_s)
    assert ticked(house, name) == []
    house.now_s += 1.5
    assert ticked(house, name) == [(0, HandOverOrdered, other)]


def test_a_move_whose_colony_is_led_elsewhere_by_now_counts_no_more() -> None:
    house = founded("abc", colonies=3)
    name = house.leader(0)
    other = house.holders(0).replace(name, "")
    governor = house.hosts[name].governor
    house.tell(name, HandOverOrdered(other * 32, "test"), 0)
    house.run()
    assert house.leader(0) == other
    governor.steps.moves[0] = Move(0, "copy", other * 32, "x" * 32, "test")
    governor._dirty.add(0)
    ticked(house, name)
    assert 0 not in governor.steps.moves


def test_a_closed_or_busy_primary_takes_no_step() -> None:
    house = founded("ab", colonies=1)
    machine = house.hosts[house.leader(0)].colonies[0]
    governor = house.hosts[house.leader(0)].governor
    facts = governor.facts(machine)
    assert facts is not None and len(facts.active) == 2
    assert machine.primary is not None
    machine.primary.is_open = False
    assert governor.facts(machine) is None


def test_leavers_witnesses_and_full_hosts_are_no_targets() -> None:
    house = House("abcd")
    house.install(
        "abcd",
        b={"status": Status.LEAVING},
        c={"witness": True},
        d={"bytes_max": 100, "status": Status.JOINING},
    )
    house.members["a"].loads["d" * 32] = Load(bytes_used=100)
    found = {c.id[0]: c for c in house.hosts["a"].governor.candidates()}
    assert [found[name].accepts for name in "abcd"] == [True, False, False, False]
    assert found["b"].leaving and found["c"].witness and found["d"].joining


def test_with_too_few_hosts_all_settle_on_fewer_peers_and_say_so_once() -> None:
    house = founded("ab", peers=3)
    house.run(5.0)
    settled = house.noted("settle")
    assert {note.details["settled"] for note in settled[-2:]} == {2} and len(settled) <= 6
    assert not house.noted("shortfall"), "what is settled is no lack"


def test_a_lack_is_said_once_as_long_as_it_is_the_same() -> None:
    house = all_on("a", colonies=1)
    house.hosts["b"].limits = replace(house.hosts["b"].limits, bytes_max=1)
    house.hosts["b"].admission.bytes_now = 10
    house.break_link("a", "b")
    house.run(20.0)
    lacks = [note.reason for note in house.noted("shortfall")]
    assert 1 <= len(lacks) == len(set(lacks)) <= 2


# -- a joiner -------------------------------------------------------------------------------


def test_a_joiner_does_not_get_more_than_its_share_however_many_agree_at_once() -> None:
    house = founded("ab", colonies=8)
    house.add("c")
    house.install("abc", c={"status": Status.JOINING})
    most = 0
    for _ in range(100):
        house.run(0.05)
        most = max(most, sum("c" in house.holders(colony) for colony in range(8)))
    assert house.members["c"].told(ShareReached)
    assert most in (5, 6), "5 are its due; what came on top would have to go back"


def test_a_joiner_is_not_done_while_a_copy_still_comes() -> None:
    house = founded("ab")
    house.add("c")
    house.install("abc", c={"status": Status.JOINING})
    for _ in range(60):
        house.run(0.05, most=2)
        learns = any(m.status is PeerStatus.LEARNING for m in house.hosts["c"].colonies.values())
        if house.members["c"].told(ShareReached):
            assert not learns
            return
    raise AssertionError("it is never done")


def test_a_witness_that_joins_has_its_share_from_the_beginning() -> None:
    house = founded("ab")
    house.add("w")
    house.install("abw", w={"status": Status.JOINING, "witness": True})
    house.run(2.0)
    assert house.members["w"].told(ShareReached)


def test_a_joiner_that_nobody_gives_anything_still_gets_done() -> None:
    house = founded("ab", colonies=2)
    house.add("c")
    house.install("abc", c={"status": Status.JOINING})
    for name in "ab":
        house.hosts[name].governor.invites.asked = lambda *more: None  # type: ignore[method-assign]
        house.hosts[name].governor.tick = lambda *more: None  # type: ignore[method-assign]
    house.run(10.0)
    assert house.members["c"].told(ShareReached)


def test_a_joiner_waits_until_it_knows_where_everything_is() -> None:
    house = founded("ab")
    house.add("c")
    house.install("abc", c={"status": Status.JOINING})
    for colony in range(4):
        house.hosts["c"].directory.entries[colony] = None
    house.break_link("a", "c")
    house.break_link("b", "c")
    house.run(5.0)
    assert not house.members["c"].told(ShareReached)


# -- all together ------------------------------------------------------------------------------


def _view_of(house: House, gone: str, leaving: str, joining: str) -> None:
    names = "".join(name for name in house.hosts if name not in gone)
    changed: dict[str, Any] = {name: {"status": Status.LEAVING} for name in leaving if name in names}
    changed |= {name: {"status": Status.JOINING} for name in joining if name in names}
    house.install(names, **changed)


@pytest.mark.parametrize("seed", range(12))
def test_after_joins_leaves_deaths_and_broken_links_all_comes_to_rest(seed: int) -> None:
    chance = Random(seed)
    house = founded("abcd", colonies=10)
    house.add("e")
    leaving, joining = chance.choice("abcd"), "e"
    _view_of(house, "", leaving, joining)
    for _ in range(6):
        house.run(chance.choice((0.05, 0.2, 0.6)))
        a, b = chance.sample(sorted(house.hosts), 2)
        house.break_link(a, b)
        house.run(chance.choice((0.0, 0.1, 1.5)))
        house.mend_link(a, b)
    dead = chance.choice([name for name in "abcd" if name != leaving])
    house.kill(dead)
    _view_of(house, dead, leaving, joining)
    house.run(30.0)
    assert house.members[leaving].told(Emptied), "the leaver gets empty"
    assert house.members["e"].told(ShareReached), "the joiner gets its share"
    stay = sorted(name for name in house.hosts if name != leaving)
    for colony in range(10):
        holders = house.holders(colony)
        assert house.leader(colony) in holders and len(holders) == 2 and leaving not in holders
    copies = [sum(name in house.holders(c) for c in range(10)) for name in stay]
    assert max(copies) - min(copies) <= 4
    before = len(house.notes)
    house.run(10.0)
    assert [str(note) for _, note in house.notes[before:]] == [], "and nothing moves any more"


def test_where_a_colony_is_reaches_who_was_away() -> None:
    house = founded("abc", colonies=2)
    house.break_link("a", "c")
    house.break_link("b", "c")
    name = house.leader(0)
    other = house.holders(0).replace(name, "")
    if "c" not in (name, other):
        house.tell(name, HandOverOrdered(other * 32, "test"), 0)
    house.run(1.0)
    house.mend_link("a", "c")
    house.mend_link("b", "c")
    house.run(1.0)
    assert {host.directory.primary(0)[0] for host in house.hosts.values()} == {house.leader(0)}


def test_no_message_of_moving_is_sent_in_a_house_at_rest() -> None:
    house = founded("abc", colonies=6)
    house.run(15.0)
    house.queues.clear()
    for _ in range(100):
        for name in "abc":
            ticked(house, name)
    sent = [m for queue in house.queues.values() for m in queue]
    assert not [m for m in sent if isinstance(m, (CloneAsk, Located, Invite))]


def test_peers_that_may_not_share_a_box_are_fewer_if_boxes_are() -> None:
    house = House("abcd", colonies=4, peers=3, apart="box")
    boxes: dict[str, Any] = {name: {"labels": Labels(box=f"b{n % 2}")} for n, name in enumerate("abcd")}
    house.install("abcd", **boxes)
    house.run(8.0)
    for colony in range(4):
        held = [("abcd".index(name)) % 2 for name in house.holders(colony)]
        assert sorted(held) == [0, 1]
    assert "without sharing a box" in house.noted("settle")[-1].reason
