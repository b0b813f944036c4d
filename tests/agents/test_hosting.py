"""The composite of one host: its machines, and the ways between them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from agents.directory import Directory
from agents.effects import (
    DropEverything,
    Emptied,
    LinkCameUp,
    LoadMeasured,
    Received,
    RecountNeeded,
    Requested,
    ShareReached,
    Ticked,
)
from agents.hosting import Container
from agents.messages.client import (
    FULL,
    MOVED,
    OK,
    UNAVAILABLE,
    Get,
    Greet,
    Greeting,
    Put,
    Scan,
    Unwatch,
    Watch,
)
from agents.messages.membership import Load
from agents.messages.replication import Ack, Census, CensusPeer, CloneAsk, Located, Replicate, WantLocations
from agents.order import Order
from agents.peer import PeerStatus
from agents.surroundings import Limits, RecountWanted, RetireOrdered
from agents.views import Status, epoch_in, view_id
from placement.resources import COPY_BYTES
from tests.agents.house import House, founded, key_of


def is_counting(host: Container) -> bool:
    """Return whether a host still waits for censuses."""
    return host.counting.is_under_way


# -- birth, census, promotion ---------------------------------------------------------


def test_a_first_view_bears_every_colony_and_population_follows() -> None:
    house = founded(colonies=6, peers=2)
    assert all(len(house.holders(colony)) == 2 for colony in range(6))
    leaders = [house.leader(colony) for colony in range(6)]
    assert {leaders.count(name) for name in "abc"} == {2}


def test_every_host_knows_where_everything_is() -> None:
    house = founded(colonies=6)
    digests = {host.directory.digest for host in house.hosts.values()}
    assert len(digests) == 1
    for colony in range(6):
        assert {host.directory.primary(colony)[0] for host in house.hosts.values()} == {house.leader(colony)}


def test_after_a_death_the_census_promotes_and_the_cells_are_there() -> None:
    house = founded()
    dead = house.leader(0)
    key = key_of(house, 0)
    house.ask(dead, Put(1, b"lane", 1, key, b"v"))
    house.run()
    house.kill(dead)
    house.install("abc".replace(dead, ""))
    house.run(3.0)
    heir = house.leader(0)
    reply = house.ask(heir, Get(2, key))
    assert reply is not None and reply.value == b"v"
    assert len(house.holders(0)) == 2, "and the population is whole again"


def test_no_colony_is_promoted_before_every_member_has_been_counted() -> None:
    house = founded()
    dead = house.leader(0)
    orphan = house.holders(0).replace(dead, "")
    third = "abc".replace(dead, "").replace(orphan, "")
    house.kill(dead)
    view = house.install(orphan + third, only=orphan)
    house.run()
    assert house.hosts[orphan].colonies[0].primary is None
    house.adopt(third, view)
    house.tell(orphan, LinkCameUp(third * 32, 2))
    house.run()
    assert house.leader(0) == orphan


def test_a_census_that_was_lost_is_sent_again_when_the_link_is_back() -> None:
    house = founded("ab")
    house.break_link("a", "b")
    house.install("ab")
    house.run(0.5)
    assert all(is_counting(host) for host in house.hosts.values())
    house.mend_link("a", "b")
    house.run(0.5)
    assert not any(is_counting(host) for host in house.hosts.values())
    assert all(len(house.holders(colony)) == 2 for colony in range(4))


def test_a_colony_without_any_peer_is_named_lost_by_everybody_and_born_again() -> None:
    house = founded("abc", colonies=4, peers=1)
    dead = house.leader(2)
    house.kill(dead)
    rest = "abc".replace(dead, "")
    house.install(rest)
    house.run(1.0)
    lost = [note.colony for note in house.noted("lost")]
    assert lost.count(2) == 2 and all(2 in house.hosts[name].lost for name in rest)
    assert house.leader(2) in rest


def test_who_joins_counts_for_nothing_and_is_waited_for_by_nobody() -> None:
    house = founded("ab")
    house.add("c")
    house.install("abc", only="ab", c={"status": Status.JOINING})
    house.run(0.2)
    assert not is_counting(house.hosts["a"]), "c has not even installed the view"


# -- failures of a machine -----------------------------------------------------------------


def test_a_primary_whose_machine_breaks_leads_to_a_census_and_an_heir() -> None:
    house = founded()
    name = house.leader(0)
    house.fail(name, 0)
    assert house.members[name].told(RecountNeeded)
    house.install("abc")
    house.run(3.0)
    assert len(house.holders(0)) == 2 and house.leader(0)


def test_a_secondary_whose_machine_breaks_is_missed_without_any_write() -> None:
    house = founded()
    leader = house.leader(0)
    other = house.holders(0).replace(leader, "")
    house.fail(other, 0)
    assert house.members[other].told(RecountNeeded)
    house.install("abc")
    house.run(3.0)
    assert len(house.holders(0)) == 2
    primary = house.hosts[house.leader(0)].colonies[0].primary
    assert primary is not None and {h[0] for h in primary.ack_set} < set(house.holders(0))


def test_a_learner_that_breaks_needs_no_census() -> None:
    house = founded("ab", colonies=1, peers=1)
    name = "a" if house.leader(0) == "b" else "b"
    house.fail(name, 0)
    assert not house.members[name].told(RecountNeeded)


def test_a_wish_for_a_census_that_comes_too_soon_waits_and_is_not_lost() -> None:
    house = founded()
    house.tell("a", RecountWanted("first"))
    house.tell("a", RecountWanted("second"))
    assert [event.reason for event in house.members["a"].told(RecountNeeded)] == ["first"]
    house.run(1.5)
    assert [event.reason for event in house.members["a"].told(RecountNeeded)] == ["first", "second"]
    house.run(3.0)
    assert len(house.members["a"].told(RecountNeeded)) == 2


# -- joining and leaving ----------------------------------------------------------------------


def test_a_joiner_gets_its_share_and_says_so_and_no_colony_is_ever_short() -> None:
    house = founded("ab", colonies=8)
    house.add("c")
    house.install("abc", c={"status": Status.JOINING})
    for _ in range(200):
        house.run(0.1)
        assert all(len(house.holders(colony)) >= 2 for colony in range(8))
        if house.members["c"].told(ShareReached):
            break
    share = sum("c" in house.holders(colony) for colony in range(8))
    assert house.members["c"].told(ShareReached) and 4 <= share <= 6


def test_a_leaver_gets_empty_says_so_once_and_no_colony_is_ever_short() -> None:
    house = founded("abc", colonies=6)
    house.install("abc", b={"status": Status.LEAVING})
    for _ in range(200):
        house.run(0.1)
        assert all(len(house.holders(colony).replace("b", "")) >= 1 for colony in range(6))
        if house.members["b"].told(Emptied):
            break
    house.run(1.0)
    assert len(house.members["b"].told(Emptied)) == 1
    assert all(house.holders(colony) == "ac" for colony in range(6))
    assert all(machine.status is PeerStatus.NONE for machine in house.hosts["b"].colonies.values())


def test_with_hosts_and_load_steady_moves_stop() -> None:
    house = founded("abcd", colonies=12)
    house.run(12.0)
    before = len(house.notes)
    house.run(10.0)
    assert [note.kind for _, note in house.notes[before:]] == []


def test_the_undead_drop_everything_and_come_back_with_nothing() -> None:
    house = founded()
    house.members["a"].next = [DropEverything("told that it is dead")]
    house.members["a"].view = None
    house.tell("a", Ticked())
    assert all(machine.status is PeerStatus.NONE for machine in house.hosts["a"].colonies.values())
    assert not house.hosts["a"].directory.entries
    reply = house.ask("a", Get(1, b"k"))
    assert reply is not None and reply.code == UNAVAILABLE


# -- messages that make no sense -------------------------------------------------------------------


def test_no_message_of_a_stranger_raises() -> None:
    house = founded("ab")
    far = 1 << 62
    messages: list[Any] = [
        Census(house.number, (CensusPeer(0, far, far, True), CensusPeer(99, 1, 1, False)), -1),
        Census(far, (), 0),
        Located(99, 1, 1, "x", ()),
        Located(-1, 1, 1, "", ("", "")),
        WantLocations(()),
        WantLocations(((far, far),) * 100),
        Replicate(99, far, 0, 0.0, ()),
        Replicate(-5, far, 0, 0.0, ()),
        Replicate(0, far, 0, 0.0, ()),
    ]
    for message in messages:
        colony = house.hosts["a"].colony_of(message)
        assert colony is None or 0 <= colony < 4
        house.tell("a", Received("x" * 32, message), colony)
    house.run(1.0)
    assert house.leader(0)


def test_a_census_of_nonsense_does_not_keep_a_host_from_counting() -> None:
    house = founded("abc")
    house.install("abc")
    view = house.hosts["a"].view
    assert view is not None
    lie = Census(view.id, (CensusPeer(0, epoch_in(view_id(0, 999), 0), 1 << 40, False),), 0)
    for name in "bc":
        house.tell("a", Received(name * 32, lie))
    assert not is_counting(house.hosts["a"])


# -- clients -----------------------------------------------------------------------------------------


def test_requests_find_the_primary_from_any_host() -> None:
    house = founded()
    leader, key = house.leader(0), key_of(house, 0)
    other = "abc".replace(leader, "")[0]
    reply = house.ask(other, Put(1, b"lane", 1, key, b"v"))
    assert reply is not None and reply.code == MOVED
    assert (reply.value, reply.text) == (leader.encode() * 32, f"tcp://{leader}")


def test_before_there_is_a_cluster_every_request_is_told_so() -> None:
    house = House("a")
    for request in (Get(1, b"k"), Put(2, b"l", 1, b"k", b"v"), Scan(3, 0)):
        reply = house.ask("a", request)
        assert reply is not None and reply.code == UNAVAILABLE and "no cluster" in reply.text


def test_a_colony_that_does_not_exist_is_named() -> None:
    reply = founded().ask("a", Scan(3, 77))
    assert reply is not None and reply.code == UNAVAILABLE and "77" in reply.text


def test_who_greets_learns_where_everything_is() -> None:
    house = founded()
    reply = house.ask("a", Greet(1))
    assert reply is not None and reply.value is not None
    greeting = msgspec.msgpack.decode(reply.value, type=Greeting)
    assert (greeting.host, greeting.colonies, greeting.link) == ("a" * 32, 4, "tcp://al")
    assert dict(greeting.hosts)["b" * 32] == "tcp://b"
    assert [host[0] for host in greeting.primaries] == [house.leader(colony) for colony in range(4)]


def test_a_watch_hears_of_its_prefix_until_it_ends_and_there_are_only_so_many() -> None:
    house = founded()
    leader, key = house.leader(0), key_of(house, 0)
    house.ask(leader, Watch(50, key))
    house.ask(leader, Watch(51, b"elsewhere"))
    house.ask(leader, Put(1, b"lane", 1, key, b"v"))
    house.run()
    assert [reply.id for reply in house.replies].count(50) == 1
    assert [reply.id for reply in house.replies].count(51) == 0
    for watch in (50, 51):
        ended = house.ask(leader, Unwatch(52, watch))
        assert ended is not None and ended.code == OK
    assert not house.hosts[leader].watched
    for watch in range(100, 100 + 257):
        house.ask(leader, Watch(watch))
    assert house.replies[-1].code == FULL


def test_reads_from_other_threads_are_answered_by_an_open_primary_with_quorum_alone() -> None:
    house = founded()
    leader, key = house.leader(0), key_of(house, 0)
    house.ask(leader, Put(1, b"lane", 1, key, b"v"))
    house.run()
    host = house.hosts[leader]
    reply = host.read(key, house.now_s)
    assert reply is not None and reply.value == b"v"
    house.members[leader].quorum.is_held = False
    assert host.read(key, house.now_s) is None
    other = "abc".replace(leader, "")[0]
    assert house.hosts[other].read(key, house.now_s) is None
    assert House("a").hosts["a"].read(key, 1.0) is None


def test_quorum_that_comes_back_lets_what_waited_commit() -> None:
    house = founded()
    leader, key = house.leader(0), key_of(house, 0)
    house.tell(leader, Requested("client", Put(7, b"lane", 1, key, b"v")), 0)
    house.members[leader].quorum.is_held = False
    house.run()
    house.tell(leader, Ticked())
    assert not [reply for reply in house.replies if reply.id == 7]
    house.members[leader].quorum.is_held = True
    house.tell(leader, Ticked())
    assert [reply.code for reply in house.replies if reply.id == 7] == [OK]


# -- room -----------------------------------------------------------------------------------------------


def test_clones_are_admitted_by_members_with_room_alone() -> None:
    house = founded("abc", limits=Limits(bytes_max=1000))
    host = house.hosts["a"]
    assert host.admits(0, "b" * 32, 10) == ""
    assert "member" in host.admits(0, "x" * 32, 10)
    assert "memory" in host.admits(0, "b" * 32, 10_000)
    weight = (host.directory.copies[host.me] + 1) * COPY_BYTES + host.directory.bytes_used[host.me]
    assert "came first" in host.admits(1, "b" * 32, 10, weight)
    assert host.admits(1, "b" * 32, 10, weight + 10) == ""
    house.install("abc", a={"status": Status.LEAVING})
    assert "leaves" in host.admits(0, "b" * 32, 10)
    house.install("abc", a={"witness": True})
    assert "witness" in host.admits(0, "b" * 32, 10)


def test_of_ten_colonies_that_choose_one_host_at_once_it_admits_what_it_has_room_for() -> None:
    house = founded("abc", colonies=30, peers=1, limits=Limits(bytes_max=1000))
    host = house.hosts["a"]
    others = [colony for colony in range(30) if house.leader(colony) != "a"]
    for colony in others[:10]:
        host.admission.count(house.now_s)
        ask = CloneAsk(colony, epoch_in(1, 9), 1, 300)
        host.colony(colony).handle(Received("b" * 32, ask), house.now_s)
        house.now_s += 0.2  # it counts what is here in between: nothing has come yet
    learning = [c for c in host.colonies.values() if c.status is PeerStatus.LEARNING]
    assert len(learning) == 3, "what was promised room keeps it until it comes, or is given up"


def test_room_that_was_given_away_is_gone_until_the_next_count() -> None:
    house = founded("ab", limits=Limits(bytes_max=1000))
    host = house.hosts["a"]
    assert [host.is_full(400) for _ in range(3)] == [False, False, True]
    house.now_s += 0.2
    house.tell("a", Ticked())
    assert not host.is_full(400), "nothing of it has come"
    assert not founded("ab").hosts["a"].is_full(1 << 50), "without a bound memory decides"


def test_a_machine_short_of_memory_refuses_births_and_says_so_until_there_is_room() -> None:
    house = founded("ab", colonies=1)
    leader = house.leader(0)
    number = 0

    def put(key: bytes, size: int) -> int:
        nonlocal number
        number += 1
        house.ask(leader, Put(number, b"lane", number, key, b"v" * size))
        house.run(0.2)
        return next(reply.code for reply in house.replies if reply.id == number)

    def measured(free: int) -> None:
        house.tell(leader, LoadMeasured(Load(memory_free=free, memory_total=1 << 30)))
        house.run(0.2)

    measured(1 << 29)
    assert put(b"old", 100) == OK
    measured((1 << 30) // 20 + 1000)
    assert put(b"a", 500) == OK and put(b"b", 5000) == FULL, (
        "a thousand bytes beyond the reserve, and no more"
    )
    assert put(b"old", 100) == OK and put(b"old", 50) == OK, "what does not grow is not refused"
    (full,) = house.noted("no_room")
    assert "births and growth are refused" in full.reason and not house.noted("room")
    measured(1 << 29)
    assert put(b"b", 5000) == OK
    house.run(6.0)
    assert len(house.noted("no_room")) == len(house.noted("room")) == 1


def test_a_host_that_fills_up_fast_says_so_before_it_is_measured_again() -> None:
    house = founded("ab", colonies=1, limits=Limits(bytes_max=10_000))
    leader = house.leader(0)
    house.tell(leader, LoadMeasured(Load()))
    for number in range(1, 9):
        before = len(house.members[leader].told(LoadMeasured))
        house.ask(leader, Put(number, b"lane", number, b"%d" % number, b"v" * 900))
        house.run(0.3)
        said = house.members[leader].told(LoadMeasured)[before:]
        assert bool(said) is (number > 5), "from 60 % on"
    assert said[-1].load.bytes_used > 7000


def test_after_a_view_that_changes_nothing_only_those_it_admitted_are_told_where_colonies_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house = founded("abc", colonies=2)
    house.run(2.0)
    told: list[Directory] = []
    learn = Directory.learn

    def learnt(directory: Directory, located: Located) -> bool:
        if located.change:  # by its primary's word; a census says 0
            told.append(directory)
        return learn(directory, located)

    monkeypatch.setattr(Directory, "learn", learnt)
    house.install("abc")
    house.run(0.5)
    assert not told
    house.add("d")
    house.install("abcd", d={"status": Status.JOINING})
    house.run()
    assert {id(one) for one in told} == {id(house.hosts["d"].directory)}
    assert house.hosts["d"].directory.digest == house.hosts["a"].directory.digest


def test_a_late_word_of_where_a_colony_was_is_no_move(monkeypatch: pytest.MonkeyPatch) -> None:
    """C hears of the heir first, then B's answer about the time before: nobody has led it back."""
    house = founded("abc", colonies=1)
    host = house.hosts["c"]
    before = host.directory.entries[0]
    assert before is not None
    told: list[Located] = []
    monkeypatch.setattr(host.governor, "location_changed", told.append)
    heir = msgspec.structs.replace(before, epoch=before.epoch + 1, change=1, primary=before.peers[-1])
    for located in (heir, before, heir):
        house.tell("c", Received("b" * 32, located))
    assert told == [heir] and host.directory.entries[0] == heir


def test_a_number_that_no_colony_has_costs_the_link_and_makes_no_machine() -> None:
    """Acks and mutations go to their colonies past `colony_of`: one of a number too high made a machine for
    good, and a crowded host that looked for its place in the directory raised with each tick until it ended.
    """
    house = founded("ab", colonies=4)
    host = house.hosts["a"]
    machines = SimpleNamespace(
        tell_colony=lambda colony, event: host.colony(colony).handle(event, house.now_s)
    )
    order = Order(machines, host.colony_of)
    for message in (Ack(60_000, 1, 1), Replicate(4, 1, 0, 0.0, ())):
        with pytest.raises(LookupError, match="no such colony"):
            order.deliver("b" * 32, (message,))
    assert set(host.colonies) <= set(range(4))


def test_orders_of_the_host_reach_the_colony_in_the_order_in_which_they_were_given() -> None:
    house = founded("abc", colonies=1)
    leader = house.leader(0)
    other = house.holders(0).replace(leader, "")
    house.tell(leader, RetireOrdered(other * 32, "test"), 0)
    house.run(3.0)
    assert len(house.holders(0)) == 2, "what was taken is made good"


def test_a_host_that_grew_beyond_its_limit_has_just_what_is_too_much_given_up() -> None:
    house = founded("abcd", colonies=4, peers=3, limits=Limits(bytes_max=10_000))
    host = next(h for h in house.hosts.values() if sum(c.primary is None for c in h.colonies.values()) > 1)
    followed = [
        c for c, one in host.colonies.items() if one.primary is None and one.status is PeerStatus.ACTIVE
    ]
    for colony, size in zip(followed, (6_000, 5_000), strict=False):
        host.colonies[colony].peer.cells.bytes_used = size
    house.now_s += 0.2
    house.tell(host.me[0], Ticked())
    house.run(0.5)
    (over,) = house.noted("over")
    assert (over.colony, over.host) == (followed[0], host.me) and "are used" in over.reason
    assert host.colonies[followed[0]].status is not PeerStatus.ACTIVE
    assert host.colonies[followed[1]].status is PeerStatus.ACTIVE


def test_a_colony_with_fewer_peers_outbids_one_with_more() -> None:
    house = founded("abcd", colonies=4, peers=3, limits=Limits(bytes_max=10_000))
    host = next(h for h in house.hosts.values() if any(c.primary is None for c in h.colonies.values()))
    rich = next(
        c for c, one in host.colonies.items() if one.primary is None and one.status is PeerStatus.ACTIVE
    )
    host.colonies[rich].peer.cells.bytes_used = 9_000
    house.now_s += 0.2
    house.tell(host.me[0], Ticked())
    assert host.view is not None
    sender = host.view.ids[-1]
    poor = next(c for c in range(4) if c != rich)
    host.directory.entries[poor] = Located(poor, 1 << 60, 1, "x" * 32, ("x" * 32,))
    assert "make room" in host.admits(poor, sender, 5_000)
    house.run(1.0)
    assert house.noted("outbid") and f"colony {poor} has 1 peers" in house.noted("outbid")[0].reason
    assert [note.host for note in house.noted("shed")] == [host.me], "its primary let it go"
    assert "make room" not in host.admits(rich, sender, 1 << 40), "not the other way round"
