"""Callers that take turns themselves: who may, when, and what they leave to the loop."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from agents.baton import DEPUTY_LINKS_MAX, DEPUTY_S, LOOK_S, Baton, Deputy, may_lead
from agents.poller import KEEN_MAX, Poller, Vigil
from agents.tcp_plane import Incoming
from tests.agents.beside import beside

ANY = "tcp://127.0.0.1:*"


class Caller:
    """Waits for an answer."""

    def __init__(self) -> None:
        self.reply: Any = None
        self.thread = threading.get_ident()
        self.has_led = False


class Loop:
    """Stands for the server: counts turns, and does in them what a test wants."""

    def __init__(self) -> None:
        self.turns: list[tuple[int, list[int]]] = []
        self.rings = 0
        self.over = self.is_asked = False
        self.due_s = float("inf")
        self.in_turn: Callable[[], None] = lambda: None

    def carry(self, fds: list[int]) -> None:
        self.turns.append((threading.get_ident(), fds))
        self.in_turn()

    def next_s(self) -> float:
        return self.due_s

    def ring(self) -> None:
        self.rings += 1

    def is_over(self) -> bool:
        return self.over


@pytest.fixture
def house() -> Iterator[SimpleNamespace]:
    """A loop, a baton, and the connections of hosts that it may read."""
    incoming = Incoming(ANY, Poller(), 1_000_000)
    loop = Loop()
    yield SimpleNamespace(loop=loop, baton=Baton(loop, incoming), incoming=incoming)
    incoming.shut(0)


def enter(baton: Baton) -> bool:
    """Enter with a caller of this thread; give the baton back at once."""
    caller = Caller()
    has_it = baton.enter(caller)
    baton.leave(caller)
    if has_it:
        baton.release()
    return has_it


def test_one_that_is_alone_leads_until_it_is_answered(house: SimpleNamespace) -> None:
    def call() -> Caller:
        caller = Caller()
        assert house.baton.enter(caller)

        def answer() -> None:
            if len(house.loop.turns) == 2:
                caller.reply = "answer"

        house.loop.in_turn = answer
        threading.Timer(0.05, house.incoming.bell.wake).start()
        house.baton.lead(caller, 10)
        house.baton.leave(caller)
        return caller

    caller = beside(call)
    assert caller.reply == "answer" and caller.has_led
    assert house.loop.turns == [(caller.thread, []), (caller.thread, [])]
    assert beside(lambda: enter(house.baton)), "it has given the baton back"


def test_one_that_is_not_answered_in_time_gives_up(house: SimpleNamespace) -> None:
    def call() -> Caller:
        caller = Caller()
        assert house.baton.enter(caller)
        house.baton.lead(caller, 0.05)
        return caller

    assert beside(call).reply is None


def test_in_a_crowd_nobody_leads(house: SimpleNamespace) -> None:
    first = Caller()
    assert beside(lambda: house.baton.enter(first))
    house.baton.release()
    assert not beside(lambda: enter(house.baton))
    house.baton.leave(first)
    assert beside(lambda: enter(house.baton))


def test_who_leads_sleeps_when_another_comes(house: SimpleNamespace) -> None:
    def looks_on(others: int) -> bool:
        vigil = house.incoming.poll.vigil = Vigil(lambda: True)
        for _ in range(KEEN_MAX):
            vigil.waited(0.0)
        callers = [Caller() for _ in range(1 + others)]
        assert [house.baton.enter(caller) for caller in callers] == [True] + [False] * others
        house.baton.lead(callers[0], 0.01)
        for caller in callers:
            house.baton.leave(caller)
        return vigil.short_waits > 1

    assert beside(lambda: [looks_on(0)]) == [True]
    assert beside(lambda: [looks_on(1)]) == [False]


def test_nobody_leads_while_a_turn_is_taken_or_after_the_end(house: SimpleNamespace) -> None:
    house.baton.acquire()
    assert not beside(lambda: enter(house.baton))
    house.baton.release()
    house.loop.over = True
    assert not beside(lambda: enter(house.baton))


def test_the_main_thread_never_leads(house: SimpleNamespace) -> None:
    """A signal's handler may raise there, in the midst of a machine."""
    assert signal.getsignal(signal.SIGINT) is not None
    assert not may_lead() and not enter(house.baton)


def test_one_deep_in_its_own_calls_does_not_lead() -> None:
    def deep(levels: int) -> bool:
        return deep(levels - 1) if levels else may_lead()

    assert beside(lambda: deep(10))
    assert not beside(lambda: deep(sys.getrecursionlimit() - 150))


def test_what_is_due_sooner_than_the_loop_wakes_up_rings(house: SimpleNamespace) -> None:
    def call() -> bool:
        caller = Caller()
        assert house.baton.enter(caller)
        house.baton.lead(caller, 0)
        return True

    house.baton.sleeps_until_s = 10.0
    house.loop.due_s = 11.0
    beside(call)
    assert house.loop.rings == 0
    house.baton = Baton(house.loop, house.incoming)
    house.baton.sleeps_until_s = 10.0
    house.loop.due_s = 9.0
    beside(call)
    assert house.loop.rings == 1


def test_a_leader_that_another_threads_turn_answers_is_called(house: SimpleNamespace) -> None:
    callers: list[Caller] = []

    def call() -> float:
        caller = Caller()
        callers.append(caller)
        assert house.baton.enter(caller)
        house.baton.lead(caller, 10)
        return time.monotonic()

    def answer() -> None:
        house.baton.acquire()
        callers[0].reply = "answer"
        house.baton.turned()
        house.baton.release()

    start_s = time.monotonic()
    threading.Timer(0.05, answer).start()
    assert beside(call) - start_s < 5


def test_a_leader_goes_when_the_host_ends(house: SimpleNamespace) -> None:
    def call() -> float:
        caller = Caller()
        assert house.baton.enter(caller)
        house.baton.lead(caller, 10)
        return time.monotonic()

    def end() -> None:
        house.baton.acquire()
        house.loop.over = True
        house.baton.turned()
        house.incoming.shut(0)
        house.baton.release()

    start_s = time.monotonic()
    threading.Timer(0.05, end).start()
    assert beside(call) - start_s < 5


def appointed(house: SimpleNamespace, *waiting: str) -> Deputy:
    """Return a deputy with these tasks that wait."""
    deputy = Deputy(waiting)
    assert house.baton.appoint(deputy) == house.incoming.poll.fd
    return deputy


def is_watched(house: SimpleNamespace) -> bool:
    """Return whether the I/O thread reads the links."""
    return not house.baton.deputy and not house.incoming._lent


def test_a_deputy_takes_turns_until_nothing_is_asked(house: SimpleNamespace) -> None:
    deputy, asked = appointed(house, "task"), [True, True, False]

    def turn() -> None:
        house.loop.is_asked = asked.pop(0)

    house.loop.in_turn = turn
    assert house.baton.stand_in(deputy) and len(house.loop.turns) == 3
    house.loop.in_turn, house.loop.is_asked = lambda: time.sleep(DEPUTY_S / 2), True
    assert house.baton.stand_in(deputy)
    assert 1 <= len(house.loop.turns) - 3 <= 2, (
        "its loop has other things to do, and other hosts are to be heard"
    )
    assert beside(lambda: house.baton._lock.acquire(blocking=False)), "it has given the baton back"


def test_a_deputy_is_looked_after_and_the_loop_is_told(house: SimpleNamespace) -> None:
    assert house.baton.look_after(0.0) == float("inf")
    appointed(house, "task")
    assert house.loop.rings == 1
    now_s = time.monotonic()
    assert now_s - LOOK_S < house.baton.look_after(now_s - 1.0) <= now_s + LOOK_S


@pytest.mark.parametrize("why", ["idle", "elsewhere", "crowd"])
def test_a_deputy_that_is_idle_or_elsewhere_is_dismissed(house: SimpleNamespace, why: str) -> None:
    waiting = ["task"]
    deputy = Deputy(waiting)
    assert house.baton.appoint(deputy) is not None
    now_s = time.monotonic()
    for turn in range(1, 4):
        assert house.baton.stand_in(deputy)
        house.baton.look_after(now_s + turn)
        assert house.baton.deputy is deputy, "it does what it is to do"
    if why != "elsewhere":
        assert house.baton.stand_in(deputy)
    if why == "idle":
        waiting.clear()
    if why == "crowd":
        assert not beside(lambda: house.baton.enter(Caller()))
    assert house.baton.look_after(now_s + 4) == float("inf")
    assert is_watched(house) and not deputy.is_in and not house.baton.stand_in(deputy)


def test_a_deputy_goes_when_a_thread_waits_too_or_the_host_ends(house: SimpleNamespace) -> None:
    caller, deputy = Caller(), appointed(house, "task")
    assert not beside(lambda: house.baton.enter(caller)), "one that is not alone does not lead"
    assert not house.baton.stand_in(deputy) and is_watched(house) and not house.loop.turns
    assert house.baton.appoint(deputy) is None, "it waits still"
    house.baton.leave(caller)
    deputy = appointed(house, "task")
    house.loop.over = True
    assert not house.baton.stand_in(deputy) and not deputy.is_in


def test_one_that_resigns_or_has_a_successor_takes_no_turns(house: SimpleNamespace) -> None:
    first = appointed(house, "task")
    assert house.baton.appoint(Deputy(["task"])) is None
    for _ in range(2):
        house.baton.resign(first)
        assert is_watched(house)
    second = appointed(house, "task")
    assert not house.baton.stand_in(first)
    house.baton.resign(first)
    assert house.baton.deputy is second and house.baton.stand_in(second)


def test_one_that_resigns_in_its_own_turn_does_not_wait_for_itself(house: SimpleNamespace) -> None:
    """A finalizer closes the store: it may run between any two instructions of a turn."""
    deputy = appointed(house, "task")
    house.loop.in_turn = lambda: house.baton.resign(deputy)
    assert beside(lambda: house.baton.stand_in(deputy)) and not deputy.is_in
    assert house.loop.rings == 2 and not house.baton.stand_in(deputy)
    assert house.baton.look_after(0.0) == float("inf") and is_watched(house)


def test_a_deputy_with_company_goes_at_once(house: SimpleNamespace) -> None:
    """The one that came may be its own thread, which will take no turn before it is answered."""
    deputy = appointed(house, "task")
    assert not beside(lambda: house.baton.enter(Caller()))
    assert house.baton.look_after(0.0) == float("inf") and is_watched(house) and not deputy.is_in


def test_what_raises_in_a_deputys_turn_leaves_the_baton_free(house: SimpleNamespace) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    deputy, house.loop.in_turn = appointed(house, "task"), interrupted
    with pytest.raises(KeyboardInterrupt):
        house.baton.stand_in(deputy)
    house.loop.over = True
    assert not house.baton.stand_in(deputy) and is_watched(house)


def test_with_too_many_links_nobody_is_appointed(house: SimpleNamespace) -> None:
    house.incoming._lendable = dict.fromkeys(range(DEPUTY_LINKS_MAX + 1), SimpleNamespace(watched=0, fd=0))
    assert house.baton.appoint(Deputy(["task"])) is None and not house.baton._callers
