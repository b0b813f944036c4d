"""Roles, the list of keys, the turnstile, and what is noted of refusals."""

from __future__ import annotations

from typing import Any

import pytest

from agents.access import LOOKS, Holder, Role, is_name, needed_for, read_roster, refusal
from agents.admin import COMMANDS
from agents.messages.client import (
    Admin,
    Delete,
    Get,
    Greet,
    Locate,
    Migrate,
    Mutate,
    Patch,
    Put,
    Request,
    Scan,
    Touch,
    Unwatch,
    Watch,
)
from agents.refusals import NOTE_EVERY_S, Refusals
from agents.turnstile import Bounds, Turnstile

KEY, OTHER = "k" * 40, "o" * 40
READS = [
    Greet(1),
    Get(1, b"k"),
    Scan(1, 0),
    Watch(1),
    Unwatch(1, 1),
    Locate(1, b"k"),
    Admin(1, "status"),
    Admin(1, "events"),
]
WRITES = [
    Put(1, b"l" * 16, 1, b"k", b"v"),
    Delete(1, b"l" * 16, 1, b"k"),
    Touch(1, b"l" * 16, 1, b"k", 5),
    Patch(1, b"l" * 16, 1, b"k"),
    Mutate(1, b"l" * 16, 1, b"k", b"c"),
    Migrate(1, b"k", 3),
]
ORDERS = [
    Admin(1, name) for name in ("init", "leave", "shutdown", "evict", "recover", "freeze", "nobody knows")
]


@pytest.mark.parametrize("request_", [*READS, *WRITES, *ORDERS], ids=repr)
def test_each_role_may_what_it_may_and_no_more(request_: Any) -> None:
    needed = Role.OBSERVER if request_ in READS else Role.CLIENT if request_ in WRITES else Role.OPERATOR
    for role in Role:
        why = refusal(Holder(role, "x"), request_)
        assert (why == "") == (role >= needed)
        if why:
            assert needed.word in why and role.word in why


def test_every_kind_of_request_is_judged() -> None:
    """A request that somebody adds is an operator's until somebody says otherwise."""
    kinds = {type(request) for request in [*READS, *WRITES, *ORDERS]}
    assert set(Request.__args__) == kinds
    assert needed_for(object()) is Role.OPERATOR


def test_a_list_of_keys_is_read() -> None:
    text = f"# who\n\n{KEY} client web1\n{OTHER}   host host\n"
    assert read_roster(text) == {KEY: Holder(Role.CLIENT, "web1"), OTHER: Holder(Role.HOST, "host")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{KEY} client", "line 1"),
        (f"{KEY} king web1", "no role"),
        ("short client web1", "line 1"),
        (f"{KEY} client a/b", "line 1"),
        (f"\n{KEY} client a\n{KEY} host b", "line 3"),
    ],
)
def test_a_line_that_makes_no_sense_is_named(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_roster(text)


def test_names_of_keys_are_names_of_files() -> None:
    assert is_name("web-1.eu_west")
    assert not any(map(is_name, ("", "a/b", "..", ".hidden", "-rf", "a b", "x" * 65, "ü")))


# -- the turnstile -----------------------------------------------------------------


def test_one_address_has_its_own_bounds() -> None:
    gate = Turnstile(Bounds(connections_max=5, per_source_max=3, burst=100, per_s=1))
    assert [gate.enter("10.0.0.1", 0) for _ in range(3)] == ["", "", ""]
    assert "3 connections from 10.0.0.1" in gate.enter("10.0.0.1", 0)
    assert gate.enter("10.0.0.2", 0) == "" and gate.enter("10.0.0.3", 0) == ""
    assert "5 connections" in gate.enter("10.0.0.4", 0)
    gate.leave("10.0.0.1")
    assert gate.enter("10.0.0.1", 0) == "" and gate.open == 5


def test_who_knocks_too_fast_waits() -> None:
    gate = Turnstile(Bounds(burst=2, per_s=10))
    for _ in range(2):
        assert gate.enter("a", 0) == ""
        gate.leave("a")
    assert "10 new connections a second" in gate.enter("a", 0)
    assert gate.enter("b", 0) == ""
    assert gate.enter("a", 0.11) == ""
    assert gate.enter("a", 0.11) != ""


def test_a_network_of_ipv6_is_one_source() -> None:
    gate = Turnstile(Bounds(per_source_max=1))
    assert gate.enter("2001:db8::1", 0) == ""
    assert "2001:db8::/64" in gate.enter("2001:db8::2", 0)
    assert gate.enter("2001:db8:0:1::1", 0) == ""
    assert gate.enter("::ffff:10.0.0.1", 0) == ""
    assert gate.enter("10.0.0.1", 0) != ""


def test_leaving_twice_makes_no_room() -> None:
    gate = Turnstile(Bounds(connections_max=1))
    gate.leave("a")
    assert gate.enter("a", 0) == "" and gate.enter("b", 0) != ""


def test_many_sources_that_are_gone_are_forgotten() -> None:
    gate = Turnstile(Bounds())
    for number in range(40_000):
        gate.enter(str(number), 0)
        gate.leave(str(number))
    assert len(gate._sources) < 20_000


# -- refusals ----------------------------------------------------------------------


def test_one_address_is_noted_once_in_a_while() -> None:
    refusals = Refusals()
    for _ in range(100):
        refusals.add("10.0.0.9", "its key is not authorised", 5.0)
    refusals.add("10.0.0.8", "likewise", 5.0)
    notes = refusals.take()
    assert [note.kind for note in notes] == ["denied", "denied"] and refusals.take() == []
    assert refusals.count == 101
    refusals.add("10.0.0.9", "again", 5.0 + NOTE_EVERY_S)
    assert refusals.take()[0].details == {"address": "10.0.0.9", "more": 99}


def test_what_is_remembered_of_refusals_is_bounded() -> None:
    refusals = Refusals()
    for number in range(5_000):
        refusals.add(str(number), "no", 0.0)
    assert refusals.count == 5_000 and len(refusals.take()) == 64 and len(refusals._noted) <= 1_024


def test_what_observers_may_order_changes_nothing() -> None:
    assert set(COMMANDS) | {"events", "vitals"} >= LOOKS
    assert needed_for(Admin(1, "attest")) is Role.HOST, "a false word takes a host's leases from it"
    assert needed_for(Admin(1, "report")) is Role.OPERATOR
    assert not LOOKS & {"init", "leave", "shutdown", "evict", "recover", "lost_restored"}
