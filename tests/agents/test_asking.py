"""What a joiner was told: each change once, in words, and when it is hopeless."""

from __future__ import annotations

import pytest

from agents.asking import FRESH_S, HINTS, LATE_S, SHOWN_MAX, TOLD_MAX, Asking
from agents.effects import Note
from agents.views import Member

PATIENCE_S = 5.0


def member(name: str, address: str = "") -> Member:
    """Return a host, at an address that is its name."""
    return Member(name * 4, 1, name, address or f"tcp://{name}", f"tcp://{name}-link")


def asking(*seeds: str) -> Asking:
    """Return what a host that was given these addresses asks."""
    return Asking("me" * 4, seeds, PATIENCE_S)


def repeated(ask: Asking, name: str, answer: str, reason: str, why: str, until_s: float) -> list[Note]:
    """Have one host say the same every half second."""
    notes: list[Note] = []
    for half in range(int(2 * until_s) + 1):
        ask.found(member(name), half / 2)
        notes += ask.answered(member(name), answer, reason, half / 2, why)
    return notes


def test_each_answer_is_noted_when_it_changes_and_not_when_it_is_repeated() -> None:
    ask = asking("tcp://a")
    notes = repeated(ask, "a", "not_yet", "no cluster here", "", 4.0)
    notes += ask.answered(member("a"), "not_yet", "no quorum", 4.5)
    notes += ask.answered(member("a"), "come_in", "by the next view", 5.0)
    notes += ask.answered(member("a"), "no", "the name is taken", 5.5, "name")
    assert [(note.kind, note.reason) for note in notes] == [
        ("knock", "asked a at tcp://a: not yet: no cluster here"),
        ("knock", "asked a at tcp://a: not yet: no quorum"),
        ("knock", "asked a at tcp://a: come in: by the next view"),
        ("refused", "asked a at tcp://a: no: the name is taken"),
    ]


def test_answers_of_two_hosts_do_not_take_turns_in_the_log() -> None:
    ask = asking("tcp://a", "tcp://b")
    notes = [
        note
        for half in range(10)
        for name in "ab"
        for note in ask.answered(member(name), "not_yet", f"says {name}", half / 2)
    ]
    assert len(notes) == 2
    assert ask.text(5.0) == "a at tcp://a: not yet: says a; b at tcp://b: not yet: says b"


def test_hosts_that_say_the_same_share_a_line_and_there_are_few_lines() -> None:
    ask = asking()
    for name in "abc":
        ask.answered(member(name), "not_yet", "no quorum", 0.0)
    assert ask.text(0.0) == "a at tcp://a, b at tcp://b, c at tcp://c: not yet: no quorum"
    for number in range(9):
        ask.answered(member(f"x{number}"), "not_yet", f"reason {number}", 0.0)
    assert ask.text(0.0).endswith("; and 7 other answers") and ask.text(0.0).count(";") == SHOWN_MAX


def test_silence_is_told_once_when_it_lasts_with_a_hint() -> None:
    ask = asking("tcp://a", "tcp://b")
    notes = []
    for half in range(12):
        reason = "connection refused" if half % 2 == 0 else "no answer in time"
        notes += ask.silent("tcp://a", reason, half / 2) + ask.silent("tcp://b", "no host", half / 2)
        if half / 2 < LATE_S:
            assert ask.text(half / 2) == ""
    assert [note.reason for note in notes] == [
        "asked tcp://a: no answer: connection refused",
        "asked tcp://b: no answer: no host",
    ]
    assert ask.text(5.5).endswith(HINTS[""])
    ask.answered(member("c"), "not_yet", "wait", 5.5)
    assert HINTS[""] not in ask.text(5.5)
    for half in range(5):
        ask.silent("tcp://b", "handshake failed", 20 + half / 2)
    assert ask.text(22.0) == f"tcp://b: no answer: handshake failed; {HINTS['keys']}"
    assert ask.silent("tcp://elsewhere", "never asked", 5.5) == []


def test_a_seed_without_a_link_is_told_by_its_link_address() -> None:
    ask = asking("tcp://a")
    for half in range(8):
        ask.found(member("a"), half / 2)
    assert ask.text(3.5) == "a at tcp://a: no link: does tcp://a-link let links in?"
    ask.linked(member("a").id)
    assert ask.text(3.5) == ""


def test_words_grow_old() -> None:
    ask = asking("tcp://a")
    ask.answered(member("a"), "not_yet", "wait", 0.0)
    assert ask.text(FRESH_S - 0.1) and not ask.text(FRESH_S)


def test_who_asked_too_many_remembers_the_last_ones() -> None:
    ask = asking()
    for number in range(TOLD_MAX + 5):
        ask.answered(member(f"x{number}"), "not_yet", "wait", 0.0)
    assert len(ask.words(0.0)) == TOLD_MAX


# -- hopeless, or not --------------------------------------------------------------


@pytest.mark.parametrize("why", ["tag", "version", "name"])
def test_refused_by_all_for_some_seconds_is_hopeless_and_says_what_to_do(why: str) -> None:
    ask = asking("tcp://a")
    repeated(ask, "a", "no", "because", why, PATIENCE_S - 0.5)
    assert ask.verdict(PATIENCE_S - 0.5) == ""
    repeated(ask, "a", "no", "because", why, PATIENCE_S)
    assert ask.verdict(PATIENCE_S) == f"a at tcp://a: no: because; {HINTS[why]}"


def test_a_no_that_may_heal_is_waited_out() -> None:
    ask = asking("tcp://a")
    repeated(ask, "a", "no", "for now", "", 20.0)
    assert ask.verdict(20.0) == ""


@pytest.mark.parametrize("other", ["silent", "not_yet", "come_in", "found", "nothing"])
def test_while_another_seed_may_say_yes_it_waits(other: str) -> None:
    ask = asking("tcp://a", "tcp://b")
    for half in range(20):
        ask.found(member("a"), half / 2)
        ask.answered(member("a"), "no", "foreign", half / 2, "tag")
        if other == "silent":
            ask.silent("tcp://b", "refused", half / 2)
        elif other == "found":
            ask.found(member("b"), half / 2)
        elif other != "nothing":
            ask.found(member("b"), half / 2)
            ask.answered(member("b"), other, "", half / 2)
    assert ask.verdict(9.5) == ""


def test_a_host_beside_the_seeds_that_may_say_yes_counts_too() -> None:
    ask = asking("tcp://a")
    repeated(ask, "a", "no", "foreign", "tag", 10.0)
    ask.answered(member("c"), "not_yet", "no quorum", 10.0)
    assert ask.verdict(10.0) == ""


def test_a_no_that_was_interrupted_begins_anew() -> None:
    ask = asking("tcp://a")
    repeated(ask, "a", "no", "taken", "name", 4.0)
    ask.answered(member("a"), "not_yet", "it is silent", 4.5)
    for half in range(10, 18):
        ask.answered(member("a"), "no", "taken", half / 2, "name")
        assert ask.verdict(half / 2) == ""


def test_ones_own_address_refuses_nobody() -> None:
    ask = asking("tcp://me", "tcp://a")
    ask.found(Member("me" * 4, 1, "me", "tcp://me", ""), 0.0)
    repeated(ask, "a", "no", "foreign", "tag", 10.0)
    assert ask.verdict(10.0)


def test_without_addresses_nobody_is_hopeless() -> None:
    ask = asking()
    repeated(ask, "a", "no", "foreign", "tag", 10.0)
    assert ask.verdict(10.0) == ""
