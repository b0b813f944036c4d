"""Moves of single cells among containers: letters lost and late, who reads what, what watchers hear."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec
import pytest

from agents import guests, migration
from agents.effects import Note, Requested
from agents.keys import colony_of
from agents.messages.client import (
    ABSENT,
    MOVED,
    OK,
    UNAVAILABLE,
    Change,
    Delete,
    Get,
    Locate,
    Migrate,
    Put,
    Scan,
    Watch,
)
from agents.messages.replication import (
    ARRIVING,
    AWAY,
    HOUSED,
    LEAVING,
    CellOffer,
    GuestOrder,
    GuestReport,
)
from agents.moving import AUDIT_TIMES
from agents.places import Place
from agents.surroundings import GuestsChanged, HandOverOrdered
from tests.agents.house import House, founded

HOME, OTHER = 1, 2
KEY = next(b"cell%d" % n for n in range(1000) if colony_of(b"cell%d" % n, 4) == HOME)
LANE = b"lane"


@pytest.fixture
def house() -> House:
    """Return a cluster whose colonies HOME and OTHER are led by different hosts, with a cell in HOME."""
    for names in ("abc", "abcd", "abcde"):
        house = founded(names)
        if house.leader(HOME) != house.leader(OTHER):
            break
    house.tell(house.leader(HOME), Requested("client", Put(1, LANE, 1, KEY, b"v1")), HOME)
    house.run()
    return house


def order(house: House, to: int, number: int = 7) -> None:
    """Let a client order a move; nothing is delivered yet."""
    house.ask(house.leader(HOME), Migrate(number, KEY, to, "a test"))


def state(house: House, colony: int) -> int | None:
    """Return the state of the cell's place at a colony's primary."""
    place = house.hosts[house.leader(colony)].colonies[colony].peer.cells.places.get(KEY)
    return place.state if place is not None else None


def moved(house: House) -> House:
    """Return the cluster with the cell in OTHER."""
    order(house, OTHER)
    house.run()
    assert (state(house, HOME), state(house, OTHER)) == (AWAY, HOUSED)
    assert [reply.version for reply in house.replies if reply.id == 7] == [OTHER + 1]
    return house


def answer(house: House, name: str, request: object) -> tuple[int, bytes | None, int]:
    """Return a host's answer: code, value, version."""
    house.ask(name, request)  # type: ignore[arg-type]
    house.run()
    reply = [reply for reply in house.replies if reply.id == request.id][-1]  # type: ignore[attr-defined]
    return reply.code, reply.value, reply.version


def test_home_says_where_it_is_and_the_other_colony_serves_it(house: House) -> None:
    moved(house)
    home, other = house.leader(HOME), house.leader(OTHER)
    code, value, version = answer(house, home, Get(20, KEY))
    assert (code, version) == (MOVED, OTHER + 1) and value == (other * 32).encode()
    assert answer(house, other, Get(21, KEY))[:2] == (OK, b"v1"), "asked by key alone"
    assert answer(house, home, Locate(22, KEY)) == (OK, None, OTHER + 1)
    found = house.hosts[other].read(KEY, house.now_s)
    assert found is not None and found.value == b"v1", "and so reads the application that is this host"
    assert house.hosts[home].read(KEY, house.now_s) is None
    page = answer(house, home, Scan(23, HOME))[1]
    assert KEY in msgspec.msgpack.decode(page or b"")
    page = answer(house, other, Scan(24, OTHER))[1]
    assert KEY not in msgspec.msgpack.decode(page or b""), "it is listed at home"


def test_a_retry_is_answered_where_the_cell_went(house: House) -> None:
    moved(house)
    other = house.leader(OTHER)
    first = answer(house, other, Put(30, LANE, 1, KEY, b"v1"))
    assert first[0] == OK and answer(house, other, Get(31, KEY))[2] == first[2], "it was not done again"
    assert answer(house, other, Put(32, LANE, 2, KEY, b"v2"))[2] > first[2]


def test_watchers_hear_that_it_moved_and_of_no_birth_and_no_death(house: House) -> None:
    for number, name in enumerate(house.hosts):
        house.ask(name, Watch(60 + number, b"cell"))
        house.ask(name, Watch(80 + number, b"elsewhere"))
    moved(house)
    heard = [
        msgspec.msgpack.decode(reply.value, type=Change)
        for reply in house.replies
        if reply.id >= 60 and reply.value
    ]
    assert [(change.kind, change.key) for change in heard if change.key] == [("moved", KEY)]


@pytest.mark.parametrize("lost", [CellOffer, GuestReport, GuestOrder])
def test_a_letter_that_is_lost_is_written_again(house: House, lost: type) -> None:
    home, other = house.leader(HOME), house.leader(OTHER)
    dropped: list[Any] = []
    for to in (OTHER, HOME):
        order(house, to)
        for _ in range(200):  # lose the first letter of this kind on each way
            house.run(most=1)
            for pair in ((home, other), (other, home)):
                for letter in [m for m in house.queues.get(pair, ()) if type(m) is lost]:
                    if len(dropped) < (1 if to == OTHER else 2):
                        house.queues[pair].remove(letter)
                        dropped.append(letter)
        house.run(3.0)
        wanted = (AWAY, HOUSED) if to == OTHER else (None, None)
        assert (state(house, HOME), state(house, OTHER)) == wanted
    assert dropped, "no such letter was written"


@pytest.mark.parametrize("asks", [HOME, OTHER])
def test_a_new_primary_is_asked_about_cells_at_rest_some_times_for_a_letter_may_be_lost(
    house: House, asks: int
) -> None:
    moved(house)
    host = house.leader(asks)
    primary = house.hosts[host].colonies[asks].primary
    assert primary is not None and primary.moves is not None
    house.run(3.0)
    primary.moves.known[HOME + OTHER - asks] = -1
    lost = 0
    for _ in range(300):
        house.run(0.05, most=0)
        for (sender, _), queue in house.queues.items():
            letters = [m for m in queue if type(m) in (GuestOrder, GuestReport) and sender == host]
            lost += len(letters)
            for letter in letters:
                queue.remove(letter)
        house.run()
    assert lost == AUDIT_TIMES and not primary.moves.asking


def test_letters_of_an_earlier_stay_change_nothing(house: House) -> None:
    moved(house)
    home, other = house.leader(HOME), house.leader(OTHER)
    place = house.hosts[home].colonies[HOME].peer.cells.places[KEY]
    old: dict[str, Any] = {
        "colony": HOME,
        "epoch": place.epoch,
        "seq": place.seq,
        "origin": OTHER,
        "key": KEY,
    }
    assert answer(house, other, Delete(40, b"other", 1, KEY))[0] == OK
    house.run(1.0)
    assert answer(house, home, Put(41, b"other", 2, KEY, b"later"))[0] == OK, "born at home again"
    order(house, OTHER, 42)
    house.run()
    late = [
        GuestReport(**old, word="gone", version=1),
        GuestReport(**old, word="unknown"),
        GuestReport(**old, word="refused"),
        CellOffer(**old, version=1, left_s=0.0, dna=b"v1"),
    ]
    for letter in late:
        house.queues.setdefault((other, home), deque()).append(letter)
    there = {**old, "colony": OTHER, "origin": HOME}
    for word in ("void", "recall", "yours"):
        house.queues[home, other].append(GuestOrder(**there, word=word))
    house.queues[home, other].append(CellOffer(**there, version=1, left_s=0.0, dna=b"v1"))
    house.run(1.0)
    assert (state(house, HOME), state(house, OTHER)) == (AWAY, HOUSED)
    assert answer(house, other, Get(43, KEY))[:2] == (OK, b"later")


@pytest.mark.parametrize("is_full", [False, True])
def test_guests_of_a_colony_that_was_lost_are_recalled_as_long_as_there_is_room(
    house: House, is_full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    primary = house.hosts[house.leader(HOME)].colonies[HOME].primary
    assert primary is not None
    if is_full:
        monkeypatch.setattr(migration, "PLACES_MAX", 0)
    out: list[Any] = []
    key = next(b"old%d" % n for n in range(1000) if colony_of(b"old%d" % n, 4) == HOME)
    letter = GuestReport(HOME, primary.peer.epoch, 0, OTHER, key, word="housed")
    migration.heard(primary, letter, house.now_s, out)
    notes = [effect for effect in out if isinstance(effect, Note)]
    assert [note.kind for note in notes] == ([] if is_full else ["cell_move"])
    assert not (is_full and out), "it is reported again"


def test_a_full_host_takes_nobody_in_and_the_cell_stays(house: House) -> None:
    house.hosts[house.leader(OTHER)].is_full = lambda bytes_more: True  # type: ignore[method-assign]
    order(house, OTHER)
    house.run()
    (refused,) = [reply.text for reply in house.replies if reply.id == 7]
    assert refused.endswith("memory limit is reached")
    assert (state(house, HOME), state(house, OTHER)) == (None, None)
    assert answer(house, house.leader(HOME), Get(44, KEY))[:2] == (OK, b"v1")


def test_what_nobody_takes_in_stays_and_what_waited_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = house.leader(HOME)
    monkeypatch.setattr(guests, "offered", lambda *given: None)
    order(house, OTHER)
    house.ask(home, Put(45, b"other", 1, KEY, b"v2"))
    house.run(6.0)
    assert [reply.code for reply in house.replies if reply.id == 7] == [UNAVAILABLE]
    assert [reply.code for reply in house.replies if reply.id == 45] == [OK]


def test_nothing_is_read_of_a_cell_on_its_way(house: House) -> None:
    home, other = house.leader(HOME), house.leader(OTHER)
    order(house, OTHER)
    while state(house, OTHER) != ARRIVING:
        house.run(most=1)
    assert house.hosts[other].read(KEY, house.now_s) is None
    house.run()
    order(house, HOME, 8)
    while state(house, OTHER) != LEAVING:
        house.run(most=1)
    assert house.hosts[other].read(KEY, house.now_s) is None
    assert house.ask(other, Get(46, KEY)) is None, "it waits"
    house.run()
    assert [reply.code for reply in house.replies if reply.id == 46] == [MOVED]
    assert answer(house, home, Get(47, KEY))[:2] == (OK, b"v1")
    assert answer(house, home, Migrate(48, b"nobody" + KEY, OTHER))[0] in (ABSENT, MOVED)


def test_a_guest_is_found_though_another_colony_led_here_speaks_of_an_earlier_stay() -> None:
    house = founded("ab")
    late = next(colony for colony in (0, 3) if house.leader(colony) != house.leader(HOME))
    leader = house.leader(late)
    house.tell(house.leader(OTHER), HandOverOrdered(house.hosts[leader].me, "a test"), OTHER)
    house.tell(house.leader(HOME), Requested("client", Put(1, LANE, 1, KEY, b"v1")), HOME)
    house.run(1.0)
    host = moved(house).hosts[leader]
    assert house.leader(OTHER) == leader
    places = host.colonies[late].peer.cells.places
    places[KEY] = Place(LEAVING, HOME, 1, 1)  # as a peer has it that was not told of the end
    host.handle(GuestsChanged(late, (KEY,), (), anew=True), house.now_s)
    assert answer(house, leader, Get(8, KEY))[:2] == (OK, b"v1")
    del places[KEY]
    host.handle(GuestsChanged(late, (), (KEY,)), house.now_s)
    assert answer(house, leader, Get(9, KEY))[:2] == (OK, b"v1")
