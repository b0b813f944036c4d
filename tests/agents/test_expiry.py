"""Hints of expiry: soonest first, never lost, never more than a bound."""

from __future__ import annotations

from agents.cells import Cell
from agents.expiry import Expiries


def test_hints_come_soonest_first_and_once() -> None:
    live: dict[bytes, Cell] = {b"b": (1, 2.0, b""), b"a": (2, 1.0, b""), b"never": (3, 0.0, b"")}
    hints = Expiries(live)
    hints.add(b"c", 1.5)
    assert hints.next_s(live) == 1.0
    assert list(hints.due(2.0, 10)) == [b"a", b"c", b"b"]
    assert list(hints.due(2.0, 10)) == [] and hints.next_s(live) is None


def test_no_more_hints_than_asked_for_come_at_once_and_the_rest_stay() -> None:
    hints = Expiries({b"%d" % i: (1, 1.0, b"") for i in range(10)})
    assert len(list(hints.due(1.0, 4))) == 4
    assert len(list(hints.due(1.0, 100))) == 6


def test_what_is_not_due_stays() -> None:
    live: dict[bytes, Cell] = {b"k": (1, 5.0, b"")}
    hints = Expiries(live)
    assert list(hints.due(4.99, 10)) == []
    assert hints.next_s(live) == 5.0


def test_touches_leave_no_endless_trail_of_hints() -> None:
    live: dict[bytes, Cell] = {b"k": (1, 1.0, b"")}
    hints = Expiries(live)
    for second in range(10_000):
        live[b"k"] = (second, 1.0 + second, b"")
        hints.add(b"k", 1.0 + second)
        hints.next_s(live)
    assert len(hints.heap) < 2000
    assert b"k" in list(hints.due(20_000.0, 5000)), "the last touch is still known"
