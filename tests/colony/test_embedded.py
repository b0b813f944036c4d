"""Threads that wait for the host of their own process."""

from __future__ import annotations

import random
import threading
import time

from agents.messages.client import OK, Reply
from colony.embedded import WOKEN_AT_ONCE, Crowd, Waiter


def wait_in(crowd: Crowd, waiter: Waiter, timeout_s: float, came: list[float]) -> None:
    """Do what a call does, and note when it was over."""
    try:
        waiter.wait(timeout_s)
    finally:
        crowd.pass_on()
    came.append(time.monotonic())


def started(
    crowd: Crowd, waiters: list[Waiter], timeout_s: float
) -> tuple[list[threading.Thread], list[float]]:
    """Return the threads of so many calls, and where they note their ends."""
    came: list[float] = []
    threads = [
        threading.Thread(target=wait_in, args=(crowd, each, timeout_s, came), daemon=True) for each in waiters
    ]
    for thread in threads:
        thread.start()
    return threads, came


def test_all_of_a_crowd_are_woken() -> None:
    crowd, waiters = Crowd(), [Waiter() for _ in range(50)]
    threads, came = started(crowd, waiters, 300)
    for waiter in waiters:
        waiter.reply = Reply(1, OK)
    crowd.wake(waiters)
    for thread in threads:
        thread.join(3)
    assert len(came) == 50
    assert not any(waiter.is_gone for waiter in waiters)


def test_who_has_waited_long_enough_keeps_nobody_asleep() -> None:
    crowd = Crowd()
    gone = [Waiter() for _ in range(20)]
    for waiter in gone:
        waiter.wait(0)
    here = [Waiter() for _ in range(5)]
    threads, came = started(crowd, here, 300)
    crowd.wake(gone[:10] + here[:1] + gone[10:] + here[1:])
    for thread in threads:
        thread.join(3)
    assert len(came) == 5


def test_times_that_run_out_just_as_replies_come_keep_nobody_asleep() -> None:
    """Each round, some threads give up at about the moment at which all are woken."""
    chance = random.Random(3)
    for _ in range(30):
        crowd = Crowd()
        patient, hasty = [Waiter() for _ in range(4)], [Waiter() for _ in range(8)]
        slow, came = started(crowd, patient, 300)
        quick, _ = started(crowd, hasty, 0.003)
        time.sleep(0.003)
        everybody = patient + hasty
        chance.shuffle(everybody)
        crowd.wake(everybody)
        for thread in (*slow, *quick):
            thread.join(3)
        assert len(came) == 4


def test_few_are_woken_at_once() -> None:
    crowd, waiters = Crowd(), [Waiter() for _ in range(10)]
    crowd.wake(waiters)
    assert [waiter._lock.locked() for waiter in waiters].count(False) == WOKEN_AT_ONCE
    for at in range(WOKEN_AT_ONCE, 10):
        crowd.pass_on()
        assert not waiters[at]._lock.locked()
    crowd.pass_on()
