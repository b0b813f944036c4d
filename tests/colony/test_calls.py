"""One call's life, scenario by scenario: no sockets, virtual seconds.

Hosts are A, B, C; the directory says A is the primary of the one colony.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agents.messages import client as m
from colony.calls import BACKOFF_MAX_S, HOPS_MAX, PATIENCE_S, Ask, Call, Finish, GiveUp
from colony.directory import CONNECT_MIN_S, CONNECT_S, SHUN_S, Directory, ForeignCluster
from colony.exchange import Exchange
from colony.lanes import LANES_MAX, Lanes, LaneSource

A, B, C = "tcp://a:1", "tcp://b:1", "tcp://c:1"
OK = m.Reply(1, m.OK, 7)


def directory(primary: str = A) -> Directory:
    known = Directory((A, B, C))
    known.colonies = 1
    known.primaries = [primary]
    return known


def call(
    known: Directory | None = None, *, mutating: bool = True, deadline_s: float = 5.0, once: bool = False
) -> Call:
    lane = Lanes(LaneSource()).take() if mutating else None
    made = Call(
        m.Put if mutating else m.Get,
        b"k",
        (b"v",) if mutating else (),
        directory=known or directory(),
        colony=0,
        deadline_s=deadline_s,
        lane=lane,
    )
    made.once = once
    return made


def asked(made: Call, effect: Any, attempt: int) -> str:
    """Perform an Ask, and return whom."""
    assert isinstance(effect, Ask)
    made.sent(attempt, effect.address)
    return effect.address


def after(made: Call, now_s: float, attempt: int) -> str:
    """Let time pass until the call asks again, and return whom."""
    while now_s < made.deadline_s:
        now_s = max(now_s, made.wake_s)
        effect = made.passed(now_s)
        if effect is not None:
            return asked(made, effect, attempt)
    raise AssertionError("it asked nobody")


def told(code: int, text: str = "") -> m.Reply:
    return m.Reply(1, code, text=text)


# -- the usual, and who is asked -------------------------------------------------


def test_a_host_that_was_silent_to_another_call_is_asked_last_for_a_while() -> None:
    """A link of ours is cut, but B may know a new primary, or have a copy for a stale read."""
    known = directory()
    known.found_silent(A, 10.0)
    made = call(known, mutating=False)
    assert asked(made, made.began(10.1), 1) in (B, C)
    later = call(known, mutating=False)
    assert asked(later, later.began(10.0 + SHUN_S), 1) == A


def test_after_a_silent_primary_one_that_is_in_reach_is_asked_then_the_others_too() -> None:
    known = directory()
    known.found_open(C)
    made = call(known, mutating=False)
    assert asked(made, made.began(0.0), 1) == A
    assert made.unsent(1, "no connection in time", 0.5) is None
    assert after(made, 0.5, 2) == C
    assert made.replied(2, told(m.UNAVAILABLE), 0.6) is None
    assert after(made, 0.6, 3) in (A, B), "it may know as little as its side"


def test_the_first_attempt_to_connect_is_short_and_each_vain_one_doubles_it() -> None:
    known = directory()
    waits = []
    for _ in range(4):
        waits.append(known.connect_s(A))
        known.found_silent(A, 10.0)
    assert waits == [CONNECT_MIN_S, 2 * CONNECT_MIN_S, CONNECT_S, CONNECT_S]
    known.found_open(A)
    assert known.connect_s(A) == CONNECT_MIN_S
    assert not known.is_silent(A, 10.0)


def test_the_primary_is_asked_and_its_answer_ends_the_call() -> None:
    made = call()
    assert asked(made, made.began(0.0), 1) == A
    assert made.replied(1, OK, 0.1) == Finish(OK)


def test_moved_is_followed_at_once_and_remembered() -> None:
    known = directory()
    made = call(known)
    asked(made, made.began(0.0), 1)
    assert asked(made, made.replied(1, told(m.MOVED, B), 0.1), 2) == B
    assert known.primary_of(0) == B


def test_moved_to_a_host_never_heard_of_is_followed() -> None:
    known = directory()
    made = call(known)
    asked(made, made.began(0.0), 1)
    assert asked(made, made.replied(1, told(m.MOVED, "tcp://new:1"), 0.1), 2) == "tcp://new:1"
    assert "tcp://new:1" in known.addresses


def test_hosts_that_send_us_in_a_circle_get_a_moment_to_agree() -> None:
    made = call()
    effect, where, attempt = made.began(0.0), [B, A], 0
    while effect is not None:
        attempt += 1
        asked(made, effect, attempt)
        effect = made.replied(attempt, told(m.MOVED, where[(attempt + 1) % 2]), 0.0)
    assert attempt == HOPS_MAX + 1
    assert 0.0 < made.wake_s < 0.01


def test_a_repeated_attempt_has_the_same_lane_and_number() -> None:
    made = call()
    asked(made, made.began(0.0), 1)
    first = made.request(1)
    made.lost(A, 0.1)
    after(made, 0.1, 2)
    assert msgspec.structs.replace(made.request(2), id=1) == first


def test_unavailable_backs_off_from_2_to_100_ms() -> None:
    made = call(deadline_s=60.0)
    asked(made, made.began(0.0), 1)
    waits, now_s, attempt = [], 0.0, 1
    for _ in range(9):
        made.replied(attempt, told(m.UNAVAILABLE, "no quorum"), now_s)
        waits.append(made.wake_s - now_s)
        now_s = made.wake_s
        attempt += 1
        asked(made, made.passed(now_s), attempt)
    assert waits[:3] == pytest.approx([0.002, 0.004, 0.008])
    assert waits[-1] == pytest.approx(BACKOFF_MAX_S)


def test_a_primary_cut_off_from_the_majority_is_not_believed_for_ever() -> None:
    # A says UNAVAILABLE as long as the split lasts; B is on the side that goes on.
    made = call()
    asked(made, made.began(0.0), 1)
    made.replied(1, told(m.UNAVAILABLE, "no quorum"), 0.0)
    assert after(made, 0.0, 2) != A


def test_a_dead_primary_that_others_still_name_is_not_asked_at_once() -> None:
    made = call()
    asked(made, made.began(0.0), 1)
    made.lost(A, 0.1)
    assert after(made, 0.1, 2) != A
    assert made.replied(2, told(m.MOVED, A), 0.11) is None
    assert after(made, 0.11, 3) != A


def test_a_silent_primary_makes_it_ask_others_and_wait_on() -> None:
    made = call()
    asked(made, made.began(0.0), 1)
    assert made.passed(PATIENCE_S - 0.01) is None
    assert after(made, PATIENCE_S - 0.01, 2) in (B, C)
    assert made.replied(2, told(m.MOVED, A), 0.4) is None, "A is being asked already"
    assert made.replied(1, OK, 0.5) == Finish(OK)


def test_with_all_hosts_silent_it_waits_without_spinning() -> None:
    made = call(deadline_s=5.0)
    asked(made, made.began(0.0), 1)
    now_s, attempt, turns = 0.0, 1, 0
    while now_s < 4.9:
        turns += 1
        now_s = made.wake_s
        effect = made.passed(now_s)
        if isinstance(effect, Ask):
            attempt += 1
            made.sent(attempt, effect.address)
    assert attempt == 3
    assert turns < 100


# -- how it ends -----------------------------------------------------------------


def test_time_out_with_every_attempt_refused_proves_that_nothing_was_applied() -> None:
    made = call(deadline_s=1.0)
    asked(made, made.began(0.0), 1)
    made.replied(1, told(m.UNAVAILABLE, "no quorum"), 0.9)
    ended = made.passed(1.0)
    assert isinstance(ended, GiveUp) and not ended.is_unknown
    assert "no quorum" in ended.reason


def test_time_out_with_nothing_sent_proves_that_nothing_was_applied() -> None:
    made = call(deadline_s=1.0)
    asked(made, made.began(0.0), 1)
    made.unsent(1, "no connection", 0.5)
    ended = made.passed(1.0)
    assert isinstance(ended, GiveUp) and not ended.is_unknown


def test_time_out_with_an_attempt_unanswered_leaves_the_outcome_unknown() -> None:
    made = call(deadline_s=1.0)
    asked(made, made.began(0.0), 1)
    ended = made.passed(1.0)
    assert isinstance(ended, GiveUp) and ended.is_unknown


def test_after_a_broken_connection_later_refusals_prove_nothing() -> None:
    made = call(deadline_s=1.0)
    asked(made, made.began(0.0), 1)
    made.lost(A, 0.1)
    after(made, 0.1, 2)
    made.replied(2, told(m.UNAVAILABLE, "no quorum"), 0.9)
    ended = made.passed(1.0)
    assert isinstance(ended, GiveUp) and ended.is_unknown


def test_a_refusal_with_an_earlier_attempt_in_doubt_proves_nothing() -> None:
    made = call()
    asked(made, made.began(0.0), 1)
    made.lost(A, 0.1)
    after(made, 0.1, 2)
    ended = made.replied(2, told(m.FULL, "memory"), 0.2)
    assert isinstance(ended, GiveUp) and ended.is_unknown


def test_a_refusal_of_the_only_attempt_is_an_answer() -> None:
    made = call()
    asked(made, made.began(0.0), 1)
    assert made.replied(1, told(m.FULL, "memory"), 0.2) == Finish(told(m.FULL, "memory"))


def test_a_retry_that_succeeds_after_doubt_is_an_answer() -> None:
    made = call()
    asked(made, made.began(0.0), 1)
    made.lost(A, 0.1)
    after(made, 0.1, 2)
    assert made.replied(2, OK, 0.2) == Finish(OK)
    assert made.may_be_applied, "so its lane is not used again: A may still be at it"


def test_a_read_never_leaves_anything_unknown() -> None:
    made = call(mutating=False, deadline_s=1.0)
    asked(made, made.began(0.0), 1)
    made.lost(A, 0.1)
    after(made, 0.1, 2)
    ended = made.passed(1.0)
    assert isinstance(ended, GiveUp) and not ended.is_unknown


def test_an_order_is_sent_to_one_host_only() -> None:
    made = call(mutating=False, deadline_s=2.0, once=True)
    asked(made, made.began(0.0), 1)
    assert made.passed(1.0) is None, "two hosts told to found a cluster would make two"
    ended = made.lost(A, 1.1)
    assert isinstance(ended, GiveUp) and ended.is_unknown


def test_an_order_that_was_refused_for_now_is_given_again() -> None:
    made = call(mutating=False, once=True)
    asked(made, made.began(0.0), 1)
    made.replied(1, told(m.UNAVAILABLE), 0.1)
    after(made, 0.1, 2)
    assert made.replied(2, OK, 0.2) == Finish(OK)


# -- lanes -----------------------------------------------------------------------


def test_a_lane_counts_its_mutations_and_is_used_again() -> None:
    lanes = Lanes(LaneSource())
    first = lanes.take()
    assert (len(first.name), first.number) == (18, 1)
    assert lanes.take() is not first
    lanes.give(first)
    assert lanes.take() is first
    assert first.number == 2


def test_lanes_never_repeat_even_when_a_client_has_used_all() -> None:
    source = LaneSource()
    names = {source.fresh().name for _ in range(LANES_MAX + 10)}
    assert len(names) == LANES_MAX + 10


# -- the directory ---------------------------------------------------------------


def greeting(**fields: Any) -> bytes:
    plain = m.Greeting(
        protocol=m.CLIENT_PROTOCOL,
        software="",
        tag="t",
        view=5,
        stage="COMMIT",
        host="a",
        incarnation=1,
        name="a",
        link="",
        colonies=2,
        value_bytes_max=99,
        hosts=(("a", A), ("b", B)),
        primaries=("a", ""),
    )
    return msgspec.msgpack.encode(msgspec.structs.replace(plain, **fields))


def test_a_greeting_fills_the_directory() -> None:
    known = Directory((C,))
    assert known.greeted(greeting()) == ""
    assert (known.colonies, known.value_bytes_max, known.tag) == (2, 99, "t")
    assert known.primaries == [A, ""]
    assert known.addresses == (A, B, C), "seeds stay, last"


def test_a_greeting_of_the_same_view_overrules_only_what_the_host_says_of_itself() -> None:
    known = Directory((C,))
    known.greeted(greeting())
    known.moved(0, B)
    known.greeted(greeting(host="c", primaries=("a", "b")))
    assert known.primaries == [B, B]
    known.greeted(greeting(host="a", primaries=("a", "a")))
    assert known.primaries == [A, A]


def test_a_greeting_of_a_later_view_overrules_all() -> None:
    known = Directory((C,))
    known.greeted(greeting())
    known.greeted(greeting(view=6, primaries=("b", "b"), host="c"))
    assert known.primaries == [B, B]


def test_a_zombie_is_of_no_use_and_a_foreign_host_is_refused() -> None:
    known = Directory((C,))
    assert "no cluster" in known.greeted(greeting(tag="", colonies=0))
    assert "protocol" in known.greeted(greeting(protocol=99))
    assert known.greeted(b"junk")
    assert known.colonies == 0
    known.greeted(greeting())
    with pytest.raises(ForeignCluster):
        known.greeted(greeting(tag="other"))


# -- the exchange ----------------------------------------------------------------


def begun(exchange: Exchange, now_s: float = 0.0) -> Call:
    made = exchange.draft(m.Put, b"k", (b"v",), 0, now_s + 5.0, exchange.lanes.take())
    exchange.begin(made, now_s)
    return made


def test_calls_to_one_host_share_an_outbox_and_are_answered_by_id() -> None:
    exchange = Exchange(directory(), LaneSource())
    first, second = begun(exchange), begun(exchange)
    outbox = exchange.take_outbox()
    assert [made for _, made in outbox[A]] == [first, second]
    exchange.replied([m.Reply(outbox[A][1][0], m.OK, 9)], 0.1)
    assert first.result is None
    assert isinstance(second.result, Finish) and second.result.reply.version == 9


def test_a_reply_that_nobody_waits_for_is_dropped() -> None:
    exchange = Exchange(directory(), LaneSource())
    made = begun(exchange)
    exchange.replied([m.Reply(999, m.OK)], 0.1)
    assert made.result is None


def test_a_lost_connection_touches_only_calls_asked_there_and_refreshes() -> None:
    exchange = Exchange(directory(), LaneSource())
    made = begun(exchange)
    exchange.take_outbox()
    doubts = []
    for address in (B, A):
        exchange.lost(address, 0.1)
        doubts.append(made.in_doubt)
    assert doubts == [False, True]
    greets = [one for one in exchange.calls if one.kind is m.Greet]
    assert len(greets) == 1, "one refresh at a time"


def test_a_lane_whose_mutation_is_in_doubt_is_never_used_again() -> None:
    exchange = Exchange(directory(), LaneSource())
    made = begun(exchange)
    exchange.take_outbox()
    exchange.lost(A, 0.1)
    exchange.passed(6.0)
    assert isinstance(made.result, GiveUp) and made.result.is_unknown
    assert made.lane is not None
    assert exchange.lanes.take().name != made.lane.name


def test_closing_ends_all_calls() -> None:
    exchange = Exchange(directory(), LaneSource())
    sent, unsent = begun(exchange), begun(exchange)
    exchange.unsent(exchange.take_outbox()[A][1:], "no connection", 0.1)
    exchange.drop_all("closed")
    assert isinstance(sent.result, GiveUp) and sent.result.is_unknown
    assert isinstance(unsent.result, GiveUp) and not unsent.result.is_unknown
    assert not exchange.calls and not exchange.open
