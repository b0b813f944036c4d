"""A small pool of threads for slow work; results come back by message.

Closures, disk and sampling must not hold up the I/O thread. A job that
never ends keeps its thread: when all threads are kept, further jobs wait,
and over the bound they are refused, so that the host itself goes on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from agents.cores import HomeCore, go_back, go_near

THREADS_MAX = 2  # slow work beside one I/O thread: more would only fight it for the interpreter
WAITING_MAX = 1024

Job = Callable[[], Any]
Then = Callable[[Any, Exception | None], None]


class Workers:
    """Runs jobs on threads that start when first needed.

    `submit`, `drain` and `close` belong to the I/O thread.

    Args:
        wake: Called on a worker's thread when a result has come.
        threads_max: >= 1.
        waiting_max: Jobs that may wait or run at one time; >= 1.

    Attributes:
        home: Where its threads wait; None = anywhere.
        results: What came of jobs, for `drain`.
    """

    def __init__(
        self,
        wake: Callable[[], None],
        threads_max: int = THREADS_MAX,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        if threads_max < 1 or waiting_max < 1:
            raise ValueError("workers need at least one thread and room for one job")
        self._wake = wake
        self._threads_max = threads_max
        self._waiting_max = waiting_max
        self._jobs: SimpleQueue[tuple[Job, Then] | None] = SimpleQueue()
        self.results: deque[tuple[Then, Any, Exception | None]] = deque()
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
        self._jobs.put((job, then))
        if len(self._threads) < min(self._threads_max, self._under_way):
            thread = threading.Thread(
                target=self._work, name=f"colony-worker-{len(self._threads)}", daemon=True
            )
            self._threads.append(thread)
            thread.start()
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
            self._closed = True
            for _ in self._threads:
                self._jobs.put(None)
        for thread in self._threads:
            thread.join(patience_s)

    def _work(self) -> None:
        if self.home is not None:
            go_back(self.home.cores)  # it began where the loop has to stay
        while (task := self._next()) is not None:
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

    def _next(self) -> tuple[Job, Then] | None:
        try:
            return self._jobs.get_nowait()
        except Empty:
            before = go_near(self.home)
        try:
            return self._jobs.get()
        finally:
            go_back(before)
