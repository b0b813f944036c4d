"""Cores: threads that wait for the host's loop wait on the core it runs on.

The interpreter's lock lets one thread of a process run at a time. Spread over two cores, each is
woken from afar, from a core that may sleep, and finds what the last one wrote in another core's
cache; on one core the kernel just goes from one to the next. So while callers come in a crowd, the
loop stays on one core, and each caller waits there. A caller that has its answer may run wherever it
likes again, and so may the loop once nobody comes, or others want that core.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable

LOOK_EVERY_S = 1.0
STRANGE_MAX = 0.25  # of a core, for other processes and the machine's own work, where the loop stays
REST_S = 5.0  # after others wanted it; the kernel finds the loop another place meanwhile


def core_of_thread(thread: int) -> int:
    """Return on which core a thread of this process was last."""
    with open(f"/proc/self/task/{thread}/stat", "rb", buffering=0) as file:
        return int(file.read(1024).rpartition(b")")[2].split()[36])


def core_busy_s(core: int) -> float:
    """Return for how many seconds a core has worked since the machine began."""
    with open("/proc/stat", "rb") as file:
        name = b"cpu%d " % core
        line = next((line for line in file if line.startswith(name)), b"")
    user, nice, system, _, _, irq, softirq, steal = map(int, line.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


class HomeCore:
    """On which core a loop stays, and its callers wait.

    Args:
        thread: The loop's, as the kernel numbers it.
        cores: Where it may run; more than one.
        busy_s: Returns for how many seconds a core has worked, ever.
        core_of: Returns on which core a thread was last.
        own_s: Returns for how many seconds this process has worked, ever.

    Attributes:
        cores: Where the loop may run.
        mask: The core, for who waits; None = they stay where they are.
        is_wanted: A caller waits, or did since the last look; set by callers, of any thread.
    """

    def __init__(
        self,
        thread: int,
        cores: set[int],
        *,
        busy_s: Callable[[int], float] = core_busy_s,
        core_of: Callable[[int], int] = core_of_thread,
        own_s: Callable[[], float] = time.process_time,
    ) -> None:
        self.cores = cores
        self.mask: frozenset[int] | None = None
        self.is_wanted = False
        self._thread = thread
        self._busy_s = busy_s
        self._core_of = core_of
        self._own_s = own_s
        self._due_s = float("-inf")
        self._seen = (0.0, 0.0, 0.0)  # when; the core's work and our own until then

    def look(self, now_s: float) -> None:
        """Stay on a core or leave it, if it is time to think of it; raises nothing."""
        if now_s < self._due_s or (not self.is_wanted and self.mask is None):
            return
        is_wanted, self.is_wanted = self.is_wanted, False
        self._due_s = now_s + LOOK_EVERY_S
        try:
            if self.mask is None:
                self._stay(now_s)
            elif not is_wanted:
                self._leave()
            elif self._strange(now_s) > STRANGE_MAX:
                self._leave()
                self._due_s = now_s + REST_S
        except (OSError, ValueError, IndexError):  # the set of cores was changed, or can't be seen
            self.mask = None
            self._due_s = now_s + REST_S

    def _stay(self, now_s: float) -> None:
        core = self._core_of(self._thread)
        if core not in self.cores:
            raise ValueError(f"core {core} was not there when the loop began")
        self._seen = (now_s, self._busy_s(core), self._own_s())
        os.sched_setaffinity(self._thread, {core})
        self.mask = frozenset({core})

    def _leave(self) -> None:
        self.mask = None
        os.sched_setaffinity(self._thread, self.cores)

    def _strange(self, now_s: float) -> float:
        """Return what share of the core was used by others since the last look."""
        assert self.mask is not None, "it stays somewhere"
        before_s, busy_s, own_s = self._seen
        (core,) = self.mask
        self._seen = (now_s, self._busy_s(core), self._own_s())
        return (self._seen[1] - busy_s - (self._seen[2] - own_s)) / (now_s - before_s)


def new_home(thread: int) -> HomeCore | None:
    """Return a home for a loop's thread; None = its process has one core, or needs none of this."""
    if not hasattr(os, "sched_setaffinity") or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return None
    cores = os.sched_getaffinity(thread)
    return HomeCore(thread, cores) if len(cores) > 1 else None


def go_near(home: HomeCore | None) -> set[int] | None:
    """Move this thread to the loop's core before it waits; return where it might run; None = it stays.

    Not the main thread: signals are handled there while it waits, and what a handler starts would
    be kept on that core for good.
    """
    mask = home.mask if home is not None else None
    if mask is None or threading.get_ident() == threading.main_thread().ident:
        return None
    before = os.sched_getaffinity(0)
    if not mask < before:
        return None  # whoever chose its cores has not chosen this one
    try:
        os.sched_setaffinity(0, mask)
    except OSError:
        return None
    return before


def go_back(before: set[int] | None) -> None:
    """Let this thread run where it might before `go_near`."""
    if before is not None:
        try:
            os.sched_setaffinity(0, before)
        except OSError:
            pass  # the machine's cores were changed meanwhile, and the kernel has seen to it
