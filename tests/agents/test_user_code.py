"""Closures and merge functions of users, beside the loop."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from agents.effects import ClosureRan, Requested, RunClosure, RunMerge
from agents.messages.client import OK, Get
from tests.agents.serving import ask, serving, until


def test_a_closure_runs_beside_the_loop_and_its_result_comes_back() -> None:
    gate = threading.Event()

    def run(dna: bytes | None, closure: bytes) -> bytes | None:
        gate.wait(5)
        if closure == b"bad":
            raise ValueError("no")
        return (dna or b"") + closure

    with serving(run_closure=run, report=lambda error: (repr(error), b"report")) as server:
        machine = server.container.colony(1)
        machine.script = lambda event, now_s: (
            [RunClosure(1, b"a", b"b"), RunClosure(2, None, b"bad")] if type(event) is Requested else []
        )
        server.submit(Get(1, b"1"), lambda reply: None)
        assert ask(server, Get(2, b"2")).code == OK  # the loop goes on meanwhile
        gate.set()
        until(lambda: machine.kinds().count(ClosureRan) == 2)
        ran = {event.ticket: event for event in machine.heard if type(event) is ClosureRan}
        assert ran[1] == ClosureRan(1, b"ab")
        assert ran[2] == ClosureRan(2, None, repr(ValueError("no")), b"report")


@pytest.mark.parametrize(
    ("words", "told", "report"),
    [
        (TypeError, "ValueError, which can't be told: TypeError", None),
        (SystemExit, "ValueError, which can't be told: SystemExit", None),
        ("half \ud800", "half \\ud800", b"report"),
        ("x" * 70_000, "x" * 10_000, b"report"),
        ("large", "large", b"r" * (2 << 20)),
    ],
)
def test_an_error_that_can_not_be_told_as_it_is_breaks_no_colony(
    words: Any, told: str, report: bytes | None
) -> None:
    """It did: the client tried again at the next primary, until no copy was left."""

    def run(dna: bytes | None, closure: bytes) -> bytes | None:
        raise ValueError

    def in_words(error: Exception) -> tuple[str, bytes | None]:
        if isinstance(words, str):
            return words, report
        raise words

    with serving(run_closure=run, report=in_words) as server:
        machine = server.container.colony(1)
        machine.script = lambda event, now_s: [RunClosure(1, None, b"")] if type(event) is Requested else []
        server.submit(Get(1, b"1"), lambda reply: None)
        until(lambda: ClosureRan in machine.kinds())
        small = report if report == b"report" else None
        assert machine.heard[-1] == ClosureRan(1, None, told, small)


def test_a_host_without_a_runner_refuses_closures() -> None:
    with serving() as server:
        machine = server.container.colony(1)
        machine.script = lambda event, now_s: [RunClosure(1, None, b"")] if type(event) is Requested else []
        server.submit(Get(1, b"1"), lambda reply: None)
        until(lambda: ClosureRan in machine.kinds())
        assert "no closures" in machine.heard[-1].error


def test_without_a_merge_function_a_merge_is_refused_and_one_that_raises_is_told() -> None:
    def fails(key: bytes, winner: Any, loser: Any) -> bytes:
        raise ValueError("not these")

    for run_merge, said in ((None, "no merge function"), (fails, "not these")):
        with serving(run_merge=run_merge) as server:
            colony = server.container.colony(1)
            colony.script = lambda event, now_s: (
                [RunMerge(7, b"k", None, None)] if type(event) is Requested else []
            )
            server.submit(Get(1, b"1"), lambda reply: None)
            until(lambda: ClosureRan in colony.kinds())  # noqa: B023
            (ran,) = [event for event in colony.heard if isinstance(event, ClosureRan)]
            assert ran.ticket == 7 and said in ran.error
