"""The worker pool: results come back, floods are refused, hangs are survived."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from agents.workers import AGAIN_S, LONG_S, Workers


class Loop:
    """Stands for the I/O thread: waits for the bell, then drains."""

    def __init__(self, **limits: Any) -> None:
        self.bell = threading.Event()
        self.workers = Workers(self.bell.set, **limits)
        self.results: list[tuple[Any, Exception | None]] = []

    def submit(self, job: Callable[[], Any]) -> bool:
        """Hand in a job whose result is kept."""
        return self.workers.submit(job, lambda result, error: self.results.append((result, error)))

    def drain(self, results: int) -> None:
        """Drain until so many results are there."""
        deadline_s = time.monotonic() + 20
        while len(self.results) < results and time.monotonic() < deadline_s:
            self.bell.wait(min(0.1, max(0.0, self.workers.due_s - time.monotonic())))
            self.bell.clear()
            self.workers.drain()
            self.workers.look()


def test_results_come_back_on_the_draining_thread() -> None:
    loop = Loop()
    assert loop.submit(lambda: 6 * 7)
    loop.drain(1)
    assert loop.results == [(42, None)]
    assert loop.workers.under_way == 0
    loop.workers.close()


def test_an_exception_comes_back_as_a_value() -> None:
    loop = Loop()
    loop.submit(lambda: 1 // 0)
    loop.drain(1)
    assert isinstance(loop.results[0][1], ZeroDivisionError)
    loop.workers.close()


def test_a_job_that_calls_exit_ends_itself_and_not_its_thread() -> None:
    loop = Loop(threads_max=1)
    loop.submit(sys.exit)
    loop.submit(lambda: "next")
    loop.drain(2)
    assert isinstance(loop.results[0][1], RuntimeError)
    assert loop.results[1] == ("next", None)
    loop.workers.close()


def test_over_the_bound_a_job_is_refused_and_the_caller_goes_on() -> None:
    loop = Loop(threads_max=1, waiting_max=2)
    gate = threading.Event()
    assert loop.submit(gate.wait)
    assert loop.submit(lambda: None)
    assert not loop.submit(lambda: None)
    gate.set()
    loop.drain(2)
    assert loop.submit(lambda: None)
    loop.workers.close(1.0)


def test_a_job_that_hangs_keeps_one_thread_only() -> None:
    loop = Loop(threads_max=2)
    gate = threading.Event()
    loop.submit(gate.wait)
    loop.submit(lambda: "beside it")
    loop.drain(1)
    assert loop.results == [("beside it", None)]
    gate.set()
    loop.workers.close(1.0)


def test_short_jobs_are_done_by_one_thread_and_a_long_one_gets_help() -> None:
    loop, gate = Loop(threads_max=2), threading.Event()
    assert loop.workers.due_s == float("inf")
    loop.submit(gate.wait)
    loop.submit(threading.get_ident)
    assert loop.workers.due_s <= time.monotonic() + LONG_S
    loop.drain(1)  # helped, once that was due
    assert loop.workers.due_s == float("inf"), "nothing waits"
    for number in range(2, 12):
        loop.submit(threading.get_ident)
        loop.drain(number)
    assert len({result for result, _ in loop.results}) == 1, "the other thread is kept"
    gate.set()
    loop.drain(12)
    loop.workers.close(1.0)


def test_jobs_that_wait_when_the_pool_is_closed_are_done_first() -> None:
    loop, gate = Loop(threads_max=1), threading.Event()
    done: list[int] = []
    loop.submit(gate.wait)
    for number in range(5):
        loop.submit(partial(done.append, number))
    threading.Timer(0.02, gate.set).start()
    loop.workers.close(5.0)
    assert done == [0, 1, 2, 3, 4]


def test_a_closed_pool_refuses() -> None:
    loop = Loop()
    loop.workers.close()
    loop.workers.close()
    assert not loop.submit(lambda: None)


def test_no_thread_starts_before_the_first_job() -> None:
    before = threading.active_count()
    Workers(lambda: None).close()
    assert threading.active_count() == before


def test_a_pool_without_threads_can_not_be_built() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Workers(lambda: None, threads_max=0)


def test_a_thread_that_can_not_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A control group may be short of processes for a while: the jobs wait, and nothing spins or breaks."""
    refusals = [RuntimeError("can't start new thread")] * 3
    start, now_s, told = threading.Thread.start, [100.0], list[str]()

    def refused(thread: threading.Thread) -> None:
        if refusals:
            raise refusals.pop()
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refused)
    loop = Loop(clock=lambda: now_s[0], told=told.append)
    assert loop.submit(lambda: 42), "it waits"
    for _ in range(2):
        assert now_s[0] < loop.workers.due_s <= now_s[0] + AGAIN_S
        loop.workers.look()
        now_s[0] += AGAIN_S
        loop.workers.look()
    assert not loop.results and told == ["can't start new thread"]
    now_s[0] += AGAIN_S
    loop.workers.look()
    deadline_s = time.monotonic() + 20
    while not loop.results and time.monotonic() < deadline_s:
        loop.bell.wait(0.1)
        loop.workers.drain()
    assert loop.results == [(42, None)]
    loop.workers.close()
