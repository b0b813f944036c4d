"""The logs of many hosts as one: nothing twice, nothing missing, in order."""

from __future__ import annotations

import random
from typing import Any

import pytest

from agents.effects import Note
from agents.notes import Notes
from colony.errors import Unavailable
from colony.journal import Journal, Merge, wanted


class World:
    """Hosts with logs, a wall clock, and what connects to them."""

    def __init__(self, names: str, limit: int = 4096) -> None:
        self.now_s = 1000.0
        self.limit = limit
        self.lives = 0
        self.logs: dict[str, Notes] = {}
        self.silent: set[str] = set()
        self.known = names
        self.said: list[tuple[str, int]] = []
        for name in names:
            self.start(name)

    def start(self, name: str) -> None:
        """Begin a new life of a host, with an empty log."""
        self.lives += 1
        self.logs[name] = Notes(self.limit, life=f"life{self.lives}")

    def note(self, name: str, kind: str = "tick") -> None:
        """Have a host note something, now."""
        self.now_s += 0.001
        log = self.logs[name]
        log.add(Note(kind, "because"), self.now_s)
        self.said.append((log.life, log.last))

    def connect(self, addresses: str, **options: Any) -> Any:
        """Return what asks one host."""
        return Asked(self, addresses.split(",", maxsplit=1)[0])

    def journal(self) -> Journal:
        """Return a journal that knows the first host."""
        return Journal(self.connect, [self.known[0]], lambda: self.now_s)


class Asked:
    """A connection to one host of the world."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name

    def admin(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        world, name = self.world, self.name
        world.now_s += 0.0001
        if name not in world.logs or name in world.silent:
            raise Unavailable("no connection")
        if command == "status":
            here = [other for other in world.logs if other not in world.silent]
            return {
                "view": {"members": [{"id": other * 32, "name": other, "address": other} for other in here]}
            }
        log = world.logs[name]
        after = arguments["after"] if arguments.get("life", log.life) == log.life else 0
        events = [noted.as_json() for noted in log.after(after, arguments["limit"])]
        return {"name": name, "life": log.life, "events": events, "last": log.last}

    def close(self) -> None:
        pass


def ids(events: list[Any] | None) -> list[tuple[str, int]]:
    """Return which events these are."""
    return [(event["id"].split(".")[0], event["number"]) for event in events or [] if "id" in event]


def test_every_event_is_told_once_and_in_order_while_hosts_come_die_and_fall_silent() -> None:
    for seed in range(10):
        chance, world = random.Random(seed), World("abcd")
        journal = world.journal()
        told: list[Any] = []
        for _ in range(60):
            for _ in range(chance.randrange(12)):
                world.note(chance.choice(sorted(world.logs)))
            told += journal.look() or []
            what = chance.random()
            if what < 0.05 and len(world.logs) > 2:
                told += journal.look() or []  # what a host took to its grave nobody can tell
                del world.logs[chance.choice(sorted(world.logs))]
            elif what < 0.15:
                world.silent ^= {chance.choice("bcd")}
            elif what < 0.25:
                world.start(chance.choice("abcdef"))
                world.said = [said for said in world.said if said[0] in ids_of(world) or said in ids(told)]
            world.now_s += 0.3
        world.silent.clear()
        world.now_s += 10.0
        for _ in range(3):
            told += journal.look() or []
            world.now_s += 10.0
        living = [said for said in world.said if said[0] in ids_of(world)]
        assert len(ids(told)) == len(set(ids(told))), f"seed {seed}: something was told twice"
        assert set(living) <= set(ids(told)), f"seed {seed}: something is missing"


def ids_of(world: World) -> set[str]:
    """Return the lives that run."""
    return {log.life for log in world.logs.values()}


def test_events_of_all_hosts_come_in_the_order_of_time() -> None:
    world = World("abc")
    journal = world.journal()
    told: list[Any] = []
    for place in range(50):
        world.note("abc"[place % 3])
        if place % 4 == 0:
            told += journal.look() or []
    world.now_s += 1.0
    told += journal.look() or []
    assert len(told) == 50 and [e["at"] for e in told] == sorted(e["at"] for e in told)


def test_the_death_of_the_host_that_was_asked_first_ends_nothing() -> None:
    world = World("abc")
    journal = world.journal()
    world.note("a")
    assert len(journal.look() or []) == 1
    del world.logs["a"]
    world.note("b")
    world.now_s += 1.0
    assert [event["by"] for event in journal.look() or []] == ["b"]
    world.logs.clear()
    world.now_s += 10.0
    assert journal.look() is None


def test_a_host_that_starts_again_is_read_from_its_first_event() -> None:
    world = World("ab")
    journal = world.journal()
    for _ in range(5):
        world.note("b")
    assert len(journal.look(all_of_it=True) or []) == 5
    world.start("b")
    world.note("b")
    assert [event["number"] for event in journal.look(all_of_it=True) or []] == [1]


def test_what_fell_out_of_a_log_unread_leaves_a_gap_that_says_how_much() -> None:
    world = World("a", limit=10)
    journal = world.journal()
    world.note("a")
    journal.look(all_of_it=True)
    for _ in range(30):
        world.note("a")
    told = journal.look(all_of_it=True) or []
    assert told[0]["kind"] == "gap" and told[0]["reason"].startswith("20 events")
    assert [event["number"] for event in told[1:]] == list(range(22, 32))


def test_a_host_that_answers_in_anothers_place_tells_nothing_twice() -> None:
    merge = Merge()
    events = [{"number": number, "at": float(number)} for number in (1, 2)]
    assert merge.heard("h1", "x", events, now_s=9.0) == 2
    assert merge.heard("h2", "x", events, now_s=9.0) == 0
    assert len(merge.due(10.0, 10.0)) == 2


def test_a_log_longer_than_a_page_is_read_to_its_end() -> None:
    world = World("a")
    for _ in range(3_500):
        world.note("a")
    assert len(world.journal().look(all_of_it=True) or []) == 3_500


def test_a_clock_that_is_ahead_delays_its_events_a_little_and_loses_none() -> None:
    merge = Merge()
    merge.heard("h1", "x", [{"number": 1, "at": 1_000.0}], now_s=10.0)
    assert merge.due(10.0, 10.5) == []
    assert len(merge.due(10.0, 12.0)) == 1 and merge.due(10.0, 99.0) == []


@pytest.mark.parametrize("host, is_shown", [("h1", True), ("h2", True), ("h3", True), ("h4", False)])
def test_a_host_is_looked_for_as_who_says_it_whom_it_is_about_and_as_the_cause(
    host: str, is_shown: bool
) -> None:
    event = {"kind": "promote", "by": "h1", "host": "h2", "cause": {"kind": "suspect", "host": "h3"}}
    assert wanted(host=host)(event) is is_shown


def test_a_connection_that_settled_for_another_host_is_made_anew() -> None:
    world = World("ab")

    class Sticky(Asked):
        """Goes over to host a when its own is silent, and stays there."""

        def admin(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
            if self.name in self.world.silent:
                self.name = "a"
            return super().admin(command, arguments)

    journal = Journal(lambda addresses, **options: Sticky(world, addresses), ["a"], lambda: world.now_s)
    journal.look(all_of_it=True)
    world.note("b")
    world.silent = {"b"}
    assert journal.look(all_of_it=True) == []
    world.silent = set()
    world.now_s += 10.0
    assert [event["by"] for event in journal.look(all_of_it=True) or []] == ["b"]
