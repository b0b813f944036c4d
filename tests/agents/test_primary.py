"""The primary alone: what it sequences, commits, answers and lets wait."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from agents.effects import Answer, Effect, Send, TellHost
from agents.messages.client import (
    MOVED,
    OK,
    UNAVAILABLE,
    Delete,
    Get,
    Mutate,
    Patch,
    Put,
    Reply,
    Scan,
)
from agents.messages.replication import Entry, Replicate
from agents.peer import Peer, PeerStatus
from agents.primary import Primary
from agents.surroundings import CellChanged, Limits
from tests.agents.ward import Home, a_view

NOW_S = 50.0


def a_primary(*ack_set: str, log: tuple[Entry, ...] = (), **limits: int) -> Primary:
    """Return the primary on A; it is open if it inherits nothing."""
    home = Home("A", a_view(1, "A", *ack_set), limits=replace(Limits(), **limits))
    peer = Peer(0, home)
    peer.become(PeerStatus.ACTIVE)
    peer.epoch = 5
    for entry in log:
        peer.apply(entry, NOW_S)
    primary = Primary(peer, dict.fromkeys(ack_set, 0))
    primary.commit(NOW_S, [])
    return primary


def replies(out: list[Effect]) -> dict[int, Reply]:
    """Return the answers by request."""
    return {effect.reply.id: effect.reply for effect in out if isinstance(effect, Answer)}


def sent(out: list[Effect]) -> list[tuple[str, tuple[int, ...]]]:
    """Return to whom which entries were sent."""
    return [
        (effect.to, tuple(e.seq for e in effect.message.entries))
        for effect in out
        if isinstance(effect, Send) and isinstance(effect.message, Replicate)
    ]


def ask(primary: Primary, request: Any) -> list[Effect]:
    """Take a request, and return what comes of it."""
    out: list[Effect] = []
    primary.request("caller", request, NOW_S, out)
    return out


def ack(primary: Primary, host: str, seq: int) -> list[Effect]:
    """Take an ack, and return what comes of it."""
    out: list[Effect] = []
    primary.acked(host, seq, NOW_S, out)
    return out


def put(number: int, key: bytes = b"k", lane: bytes = b"lane") -> Put:
    """Return a put, whose id is its number."""
    return Put(number, lane, number, key, b"v%d" % number)


def test_all_of_the_ack_set_must_have_acked() -> None:
    primary = a_primary("B", "C", "D")
    assert sent(ask(primary, put(1))) == [("B", (1,)), ("C", (1,)), ("D", (1,))]
    assert not replies(ack(primary, "B", 1)) and not replies(ack(primary, "C", 1))
    assert replies(ack(primary, "D", 1))[1] == Reply(1, OK, 1)


def test_one_cumulative_ack_commits_all_before_it_in_order() -> None:
    primary = a_primary("B")
    for number in (1, 2, 3):
        ask(primary, put(number))
    assert list(replies(ack(primary, "B", 2))) == [1, 2]
    assert primary.peer.committed == 2 and primary.peer.cells.live[b"k"][2] == b"v2"


def test_acks_of_strangers_of_the_past_and_of_the_future_change_nothing() -> None:
    primary = a_primary("B")
    ask(primary, put(1))
    for host, seq in (("X", 1), ("B", 2), ("B", 0), ("B", -1)):
        assert not ack(primary, host, seq)
    assert primary.peer.committed == 0


def test_commit_waits_for_quorum_and_remembers_that_it_does() -> None:
    primary = a_primary("B")
    home: Any = primary.peer.host
    ask(primary, put(1))
    home.quorum.is_held = False
    assert not ack(primary, "B", 1)
    assert (primary.stalled, primary.peer.committed) == (True, 0)
    home.quorum.is_held = True
    out: list[Effect] = []
    primary.commit(NOW_S, out)
    assert (primary.stalled, primary.peer.committed) == (False, 1) and replies(out)[1].code == OK


def test_a_conditional_sees_what_is_sequenced_and_not_yet_committed() -> None:
    primary = a_primary("B")
    ask(primary, put(1))
    ask(primary, Patch(2, b"l2", 1, b"m", (("a", b"1"),)))
    ask(primary, Patch(3, b"l3", 1, b"m", (("b", b"2"),)))
    ack(primary, "B", 3)
    assert primary.peer.cells.live[b"m"][2] == (("a", b"1"), ("b", b"2"))


def test_a_refusal_of_something_committed_is_answered_at_once() -> None:
    primary = a_primary()
    ask(primary, put(1))
    reply = replies(ask(primary, Put(2, b"l", 2, b"k", b"x", only_if=1)))[2]
    assert reply.version == 1


def test_pending_mutations_are_bounded_and_the_rest_waits_in_order() -> None:
    primary = a_primary("B", pending_max=2, waiting_max=2)
    outs = [ask(primary, put(n, lane=b"l%d" % n)) for n in (1, 2, 3, 4, 5)]
    assert [len(sent(out)) for out in outs] == [1, 1, 0, 0, 0]
    assert replies(outs[4])[5].code == UNAVAILABLE, "a named answer where the bound is reached"
    assert sent(ack(primary, "B", 2)) == [("B", (3,)), ("B", (4,))]


def test_an_inherited_tail_is_committed_before_anything_is_read() -> None:
    log = (Entry(1, 0, b"k", b"tail", lane=b"l", number=1),)
    primary = a_primary("B", log=log)
    assert not ask(primary, Get(7, b"k")), "it waits"
    out = ack(primary, "B", 1)
    assert replies(out)[7].value == b"tail"
    assert replies(ask(primary, Put(8, b"l", 1, b"k", b"tail")))[8].version == 1, "its lane is known"


def test_a_repeat_finds_its_first_in_the_overlay_in_the_pool_and_in_the_lanes() -> None:
    primary = a_primary("B")
    ask(primary, put(1))
    assert not ask(primary, put(1))
    assert len(primary.pending) == 1
    ack(primary, "B", 1)
    assert replies(ask(primary, put(1)))[1].version == 1
    ask(primary, Mutate(20, b"m", 1, b"c", b"closure"))
    assert not ask(primary, Mutate(21, b"m", 1, b"c", b"closure"))
    assert not ask(primary, put(0)), "nobody waits for a lower number"


def test_a_scan_pages_through_live_keys_in_order_and_says_how_many_are_left() -> None:
    primary = a_primary()
    for i in range(5):
        ask(primary, put(i + 1, key=b"p%d" % i))
    ask(primary, Put(9, b"lane", 9, b"q", b"v"))
    ask(primary, Put(10, b"lane", 10, b"p0", b"v", ttl_ms=1))
    out: list[Effect] = []
    primary.request("caller", Scan(11, 0, b"p", b"", 2), NOW_S + 1, out)
    page = replies(out)[11]
    assert page.value is not None
    assert (msgspec.msgpack.decode(page.value), page.version) == ([b"p1", b"p2"], 2)
    rest = replies(ask(primary, Scan(12, 0, b"p", b"p2", 10_000_000)))[12]
    assert rest.value is not None and msgspec.msgpack.decode(rest.value) == [b"p3", b"p4"]


def test_a_page_of_a_scan_is_bounded_whatever_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.primary.SCAN_MAX", 3)
    primary = a_primary()
    for i in range(5):
        ask(primary, put(i + 1, key=b"p%d" % i))
    page = replies(ask(primary, Scan(9, 0, b"p", b"", 1_000_000)))[9]
    assert page.value is not None and page.version == 2
    assert msgspec.msgpack.decode(page.value) == [b"p0", b"p1", b"p2"]


def test_watchers_hear_what_became_of_cells_and_nobody_else_pays_for_it() -> None:
    primary = a_primary()
    assert not [e for e in ask(primary, put(1)) if isinstance(e, TellHost)]
    home: Any = primary.peer.host
    home.watched = True
    kinds = []
    requests = (put(2, key=b"n"), put(3, key=b"n"), Delete(4, b"lane", 4, b"n"))
    for request in requests:
        told = [e.event for e in ask(primary, request) if isinstance(e, TellHost)]
        kinds += [event.change.kind for event in told if isinstance(event, CellChanged)]
    assert kinds == ["born", "changed", "died"]


def test_expiry_is_bounded_per_tick_and_goes_on_with_the_next() -> None:
    primary = a_primary()
    for i in range(10):
        ask(primary, Put(i + 1, b"l", i + 1, b"%d" % i, b"v", ttl_ms=1000))
    due_s = primary.next_expiry_s()
    assert due_s is not None and abs(due_s - (NOW_S + 1.0)) < 1e-6
    primary.expire(NOW_S + 0.5, [])
    assert len(primary.peer.cells.live) == 10
    primary.expire(NOW_S + 2, [], at_most=4)
    assert len(primary.peer.cells.live) == 6
    primary.expire(NOW_S + 2, [])
    assert not primary.peer.cells.live and primary.next_expiry_s() is None


def test_who_waits_is_sent_on_and_who_is_pending_is_not_lied_to() -> None:
    primary = a_primary("B", pending_max=1)
    ask(primary, put(1))
    ask(primary, put(2, lane=b"two"))
    ask(primary, Mutate(3, b"m", 1, b"c", b"f"))
    out: list[Effect] = []
    primary.dismiss(MOVED, "handed over", ("B", "tcp://b"), out)
    told = replies(out)
    assert set(told) == {2, 3} and {reply.code for reply in told.values()} == {MOVED}
    assert told[2].text == "tcp://b" and told[2].value == b"B"
    again: list[Effect] = []
    primary.dismiss(MOVED, "handed over", ("B", "tcp://b"), again)
    assert not again, "once is enough"


def test_without_a_known_successor_they_are_told_to_try_again() -> None:
    primary = a_primary("B", pending_max=0)
    ask(primary, put(1))
    out: list[Effect] = []
    primary.dismiss(MOVED, "dropped", ("", ""), out)
    assert replies(out)[1].code == UNAVAILABLE and replies(out)[1].text == "dropped"
