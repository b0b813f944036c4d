"""A small pool of threads for slow work; results come back by message.

Closures, disk and sampling must not hold up the I/O thread. A job that
never ends keeps its thread: when all threads are kept, further jobs wait,
and over the bound they are refused, so that the host itself goes on.

Most jobs are short, and threads of one interpreter only fight for it. So one
thread does them all, one after another, and another is woken only once jobs
wait behind one that takes long.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any

from agents.cores import HomeCore, go_back, go_near

THREADS_MAX = 2  # slow work beside one I/O thread: more would only fight it for the interpreter
WAITING_MAX = 1024
AGAIN_S = 0.1  # after the machine has refused a thread
LONG_S = 0.005  # what others wait behind a job at most; the interpreter itself lets threads wait so long

Job = Callable[[], Any]
Then = Callable[[Any, Exception | None], None]


class Workers:
    """Runs jobs on threads that start when first needed.

    `submit`, `look`, `drain` and `close` belong to the I/O thread.

    Args:
        wake: Called on a worker's thread when a result has come.
        threads_max: >= 1.
        waiting_max: Jobs that may wait or run at one time; >= 1.
        clock: Monotonic seconds.
        told: Called when the machine has refused a thread, with the reason; once until it gives one.

    Attributes:
        jobs: Those that wait for a thread.
        home: Where its threads wait; None = anywhere.
        results: What came of jobs, for `drain`.
    """

    def __init__(
        self,
        wake: Callable[[], None],
        threads_max: int = THREADS_MAX,
        waiting_max: int = WAITING_MAX,
        clock: Callable[[], float] = time.monotonic,
        told: Callable[[str], None] = lambda reason: None,
    ) -> None:
        if threads_max < 1 or waiting_max < 1:
            raise ValueError("workers need at least one thread and room for one job")
        self._wake = wake
        self._threads_max = threads_max
        self._waiting_max = waiting_max
        self.jobs: deque[tuple[Job, Then]] = deque()
        self.results: deque[tuple[Then, Any, Exception | None]] = deque()
        self._clock = clock
        self._told = told
        self._is_refused = False
        self._lock = threading.Lock()  # of `jobs`, and of who sleeps
        self._asleep: list[threading.Lock] = []  # a released one wakes its thread
        self._awake = 0
        self._taken_s = -inf  # when a thread last took a job, or was woken for one
        self._under_way = 0
        self._threads: list[threading.Thread] = []
        self._closed = False
        self.home: HomeCore | None = None

    @property
    def under_way(self) -> int:
        """How many jobs have not come back yet."""
        return self._under_way

    def submit(self, job: Job, then: Then) -> bool:
        """Run `job` on some worker; `then(result, error)` runs in `drain`.

        Returns:
            False if it is refused: the pool is full, or closed.
        """
        if self._closed or self._under_way >= self._waiting_max:
            return False
        self._under_way += 1
        with self._lock:
            self.jobs.append((job, then))
            if not self._awake:
                self._rouse()
        return True

    @property
    def due_s(self) -> float:
        """When to `look`; infinite = no job waits that another thread could do."""
        can_help = self._asleep or len(self._threads) < self._threads_max
        return self._taken_s + LONG_S if self.jobs and can_help else inf

    def look(self) -> None:
        """Have another thread help if jobs have waited for too long."""
        if self.due_s <= self._clock():
            with self._lock:
                self._rouse()

    def _rouse(self) -> None:
        """Wake or start a thread, if there is one left; with the lock."""
        if self._asleep:
            self._asleep.pop().release()
        elif len(self._threads) >= self._threads_max or not self._is_started():
            return
        self._awake += 1
        self._taken_s = self._clock()

    def _is_started(self) -> bool:
        """Start one more thread; False: the machine has none left, and is asked again soon."""
        thread = threading.Thread(target=self._work, name=f"colony-worker-{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._taken_s = self._clock() + AGAIN_S - LONG_S
            if not self._is_refused:
                self._is_refused = True
                self._told(str(error))
            return False
        self._is_refused = False
        self._threads.append(thread)
        return True

    def drain(self) -> int:
        """Hand the results that have come to who waits; returns how many."""
        handled = 0
        while self.results:
            then, result, error = self.results.popleft()
            self._under_way -= 1
            handled += 1
            then(result, error)
        return handled

    def close(self, patience_s: float = 0.0) -> None:
        """Take no more jobs, and wait up to `patience_s` for the threads.

        Idempotent. A thread that is kept by its job is left behind: it is a
        daemon, and ends with the process.
        """
        if not self._closed:
            with self._lock:
                self._closed = True
                while self._asleep:
                    self._rouse()
        for thread in self._threads:
            thread.join(patience_s)

    def _work(self) -> None:
        if self.home is not None:
            go_back(self.home.cores)  # it began where the loop has to stay
        bell = threading.Lock()
        bell.acquire()
        while (task := self._next(bell)) is not None:
            job, then = task
            result, error = None, None
            try:
                result = job()
            except Exception as caught:
                error = caught
            except BaseException as caught:  # a closure that calls sys.exit() ends itself, not its thread
                error = RuntimeError(repr(caught))
            self.results.append((then, result, error))
            self._wake()

    def _next(self, bell: threading.Lock) -> tuple[Job, Then] | None:
        while True:
            with self._lock:
                if self.jobs:
                    self._taken_s = self._clock()
                    return self.jobs.popleft()
                if self._closed:
                    return None
                self._asleep.append(bell)
                self._awake -= 1
            before = go_near(self.home)
            try:
                bell.acquire()
            finally:
                go_back(before)
