"""The loop's core: when the loop stays there, who waits there, and that nobody is kept there."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator

import pytest

from agents.cores import (
    LOOK_EVERY_S,
    REST_S,
    HomeCore,
    core_busy_s,
    core_of_thread,
    go_back,
    go_near,
    new_home,
)
from agents.workers import Workers
from tests.agents.beside import beside

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs two cores and a kernel that lets threads choose",
)


class Machine:
    """A loop's thread, and figures as a test wants them."""

    def __init__(self) -> None:
        self.cores = os.sched_getaffinity(0)
        self.core = min(self.cores)
        self.busy_s = self.own_s = 0.0
        self.at: Callable[[int], int] = lambda _: self.core
        self._over = threading.Event()
        self._begun = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        assert self._begun.wait(10)
        self.home = HomeCore(
            self.native,
            self.cores,
            busy_s=lambda _: self.busy_s,
            core_of=lambda thread: self.at(thread),
            own_s=lambda: self.own_s,
        )

    def _run(self) -> None:
        self.native = threading.get_native_id()
        self._begun.set()
        self._over.wait(60)

    def allowed(self) -> set[int]:
        """Return where the loop may run, as the kernel has it."""
        return os.sched_getaffinity(self.native)

    def end(self) -> None:
        """End the thread."""
        self._over.set()
        self.thread.join(10)


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine()
    yield made
    made.end()


def test_the_loop_stays_where_it_is_once_a_caller_waits(machine: Machine) -> None:
    machine.home.look(0.0)
    assert machine.home.mask is None and machine.allowed() == machine.cores, "nobody waits"
    machine.home.is_wanted = True
    machine.home.look(0.1)
    assert machine.home.mask == machine.allowed() == {machine.core}


def test_it_is_free_again_when_nobody_has_waited_for_a_while(machine: Machine) -> None:
    machine.home.is_wanted = True
    machine.home.look(0.0)
    machine.home.look(LOOK_EVERY_S / 2)
    assert machine.home.mask is not None, "too early to tell"
    machine.home.look(LOOK_EVERY_S)
    assert machine.allowed() == machine.cores


def test_it_stays_while_its_process_alone_uses_the_core(machine: Machine) -> None:
    for second in range(5):
        machine.home.is_wanted = True
        machine.home.look(second * LOOK_EVERY_S)
        machine.busy_s += 0.9
        machine.own_s += 0.8
    assert machine.home.mask is not None


def test_it_gives_way_to_others_and_comes_back_later(machine: Machine) -> None:
    machine.home.is_wanted = True
    machine.home.look(0.0)
    machine.home.is_wanted = True
    machine.busy_s, machine.own_s = 1.0, 0.5
    machine.home.look(1.0)
    assert machine.allowed() == machine.cores
    machine.home.is_wanted = True
    machine.home.look(1.0 + REST_S / 2)
    assert machine.home.mask is None
    machine.home.look(1.0 + REST_S)
    assert machine.home.mask is not None


def test_what_cannot_be_seen_leaves_it_free(machine: Machine) -> None:
    def gone(thread: int) -> int:
        raise FileNotFoundError(thread)

    machine.at = gone
    machine.home.is_wanted = True
    machine.home.look(0.0)
    assert machine.home.mask is None
    machine.at = lambda _: max(machine.cores) + 1  # a core that came later
    machine.home.is_wanted = True
    machine.home.look(REST_S)
    assert machine.allowed() == machine.cores


def test_who_waits_is_on_the_core_only_while_it_waits(machine: Machine) -> None:
    machine.home.is_wanted = True
    machine.home.look(0.0)

    def call() -> tuple[set[int], set[int]]:
        before = go_near(machine.home)
        near = os.sched_getaffinity(0)
        go_back(before)
        return near, os.sched_getaffinity(0)

    assert beside(call) == ({machine.core}, machine.cores)


def test_who_may_not_run_there_stays_where_it_is(machine: Machine) -> None:
    machine.home.is_wanted = True
    machine.home.look(0.0)
    elsewhere = machine.cores - {machine.core}

    def call() -> tuple[set[int] | None, set[int]]:
        os.sched_setaffinity(0, elsewhere)
        return go_near(machine.home), os.sched_getaffinity(0)

    assert beside(call) == (None, elsewhere)
    assert go_near(machine.home) is None, "nor is the main thread moved: its handlers may start others"
    assert beside(lambda: go_near(None)) is None


def test_a_worker_that_begins_on_the_loops_core_works_anywhere(machine: Machine) -> None:
    machine.home.is_wanted = True
    machine.home.look(0.0)
    bell = threading.Event()
    workers = Workers(bell.set)
    workers.home = machine.home
    seen: list[set[int]] = []

    def begin() -> bool:
        os.sched_setaffinity(0, {machine.core})  # as the loop's thread
        for _ in range(3):
            workers.submit(lambda: os.sched_getaffinity(0), lambda result, _: seen.append(result))
        return True

    assert beside(begin)
    while len(seen) < 3 and bell.wait(10):
        bell.clear()
        workers.drain()
    workers.close(10)
    assert seen == [machine.cores] * 3


def test_the_kernels_own_figures_can_be_read() -> None:
    core = core_of_thread(threading.get_native_id())
    assert core in os.sched_getaffinity(0)
    assert core_busy_s(core) > 0
    with pytest.raises(ValueError):
        core_busy_s(1_000_000)


def test_a_home_is_for_processes_with_more_than_one_core() -> None:
    def call() -> tuple[bool, HomeCore | None]:
        several = new_home(threading.get_native_id()) is not None
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        return several, new_home(threading.get_native_id())

    assert beside(call) == (True, None)
