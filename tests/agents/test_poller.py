"""Looking on before going to sleep: after a run of short waits, and never for long."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from unittest.mock import Mock

import pytest

from agents import poller
from agents.poller import (
    ASK_EVERY_S,
    KEEN,
    KEEN_MAX,
    LOOK_S,
    SHORT_S,
    WATCH_S,
    Poller,
    Vigil,
    Waker,
    is_machine_calm,
    new_vigil,
)

IDLE_S = 0.025  # a loop that has nothing to do wakes up so often


def keen() -> Vigil:
    """Return one that looks on now."""
    vigil = Vigil(lambda: True)
    for _ in range(KEEN):
        vigil.waited(SHORT_S / 2)
    return vigil


def test_only_a_run_of_short_waits_makes_it_look_on() -> None:
    vigil = Vigil(lambda: True)
    for _ in range(KEEN):
        assert vigil.watch_s(1.0) == 0
        vigil.waited(SHORT_S / 2)
    assert vigil.watch_s(1.0) == WATCH_S


def test_one_long_wait_among_many_short_ones_is_forgiven_but_not_two() -> None:
    vigil = keen()
    for _ in range(KEEN_MAX):
        vigil.waited(SHORT_S / 2)
    vigil.waited(IDLE_S)
    assert vigil.watch_s(1.0) == WATCH_S
    vigil.waited(IDLE_S)
    assert vigil.watch_s(1.0) == 0


def test_who_hears_clients_in_between_never_looks_on() -> None:
    vigil = keen()
    vigil.forget()
    for _ in range(KEEN):
        assert vigil.watch_s(1.0) == 0
        vigil.waited(SHORT_S / 2)
    assert vigil.watch_s(1.0) == WATCH_S


def test_a_host_with_nothing_but_heartbeats_never_looks_on() -> None:
    vigil = Vigil(lambda: True)
    for _ in range(1_000):
        for _ in range(6):
            vigil.waited(SHORT_S / 2)  # the others' answers come one soon after the other
            assert vigil.watch_s(1.0) == 0
        for _ in range(3):
            vigil.waited(IDLE_S)


def test_a_look_that_takes_long_lets_others_have_the_core_and_asks_whether_they_want_it_still() -> None:
    """Each tick of the kernel's clock takes as long: to rest after that left a lone writer half its rate."""
    answers = [True, False, True]
    vigil = Vigil(lambda: answers.pop())
    for _ in range(KEEN):
        vigil.waited(SHORT_S / 2)
    assert vigil.watch_s(1.0) == WATCH_S
    assert vigil.looked(LOOK_S / 2) and vigil.watch_s(1.0) == WATCH_S and len(answers) == 2
    assert not vigil.looked(2 * LOOK_S)
    assert vigil.watch_s(1.0) == 0, "they do"
    assert vigil.watch_s(1.0 + ASK_EVERY_S / 2) == 0
    assert vigil.watch_s(1.0 + 2 * ASK_EVERY_S) == WATCH_S


def test_where_more_run_than_there_are_cores_it_sleeps_and_asks_now_and_then() -> None:
    answers = [True, False, False]
    vigil = Vigil(lambda: answers.pop())
    for _ in range(KEEN):
        vigil.waited(SHORT_S / 2)
        assert len(answers) == 3, "who would sleep anyway does not ask"
    assert [vigil.watch_s(at_s) for at_s in (1.0, 1.0 + ASK_EVERY_S / 2)] == [0, 0]
    assert len(answers) == 2
    assert vigil.watch_s(1.0 + 2 * ASK_EVERY_S) == 0
    assert vigil.watch_s(1.0 + 4 * ASK_EVERY_S) == WATCH_S


def test_a_machine_is_calm_when_each_thread_that_runs_has_a_core(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    said = tmp_path / "loadavg"
    monkeypatch.setattr("builtins.open", lambda name, *args, **options: said.open("rb", buffering=0))
    for text, is_calm in (("9.00 5.10 3.00 2/140 77\n", True), ("0.00 0.00 0.00 3/140 77\n", False)):
        said.write_bytes(text.encode())
        assert is_machine_calm() is is_calm
    said.write_bytes(b"?")
    assert not is_machine_calm()
    said.unlink()
    assert not is_machine_calm()


def test_on_one_core_nobody_looks_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert new_vigil() is None
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5}, raising=False)
    assert new_vigil() is not None
    monkeypatch.delattr(os, "sched_getaffinity")
    assert new_vigil() is None


def test_a_ring_that_comes_late_reaches_nobody_who_was_given_the_number() -> None:
    waker = Waker()
    number = waker.fd
    waker.close()
    waker.wake()
    os.fstat(number)  # still its own
    del waker
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_what_has_no_descriptors_any_more_or_got_none_ends_in_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waker = Waker()
    os.close(waker.fd)  # as who becomes a daemon does with all
    del waker
    monkeypatch.setattr(os, "eventfd", Mock(side_effect=OSError(errno.EMFILE, "Too many open files")))
    with pytest.raises(OSError, match="Too many"):
        Waker()


@pytest.mark.skipif(new_vigil() is None, reason="one core")
@pytest.mark.parametrize("watch_s", [WATCH_S, 10.0], ids=["asleep", "still looking"])
def test_who_looks_on_finds_what_is_ready_and_keeps_to_its_time(
    watch_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poller, "WATCH_S", watch_s)
    monkeypatch.setattr(poller, "LOOK_S", 60.0)  # whoever else is busy here
    waker, waits = Waker(), Poller()
    waits.add(waker.fd)
    waits.vigil = keen()
    began_s = time.monotonic()
    assert waits.wait(0.02) == []
    assert time.monotonic() - began_s >= 0.02
    waits.vigil = keen()
    waker.wake()
    assert waits.wait(60) == [waker.fd]
    waker.close()
