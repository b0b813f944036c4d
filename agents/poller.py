"""Waiting for file descriptors, and waking up who waits."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable

# To put a core to sleep and to wake it takes some 50 us, on a virtual machine more. A host near by answers,
# or has its next write for another one, within 150 us: who gives up just before that has paid twice.
WATCH_S = 250e-6
SHORT_S = 350e-6  # what a wait takes that looking on would have shortened
LOOK_S = 20e-6  # one look takes 1 or 2 us, unless somebody else has the core, were it the kernel for a moment
ASK_EVERY_S = 0.01  # whether the machine is calm; to ask takes some 10 us
KEEN, KEEN_MAX = 8, 16  # short waits; one burst of heartbeats has fewer


class Waker:
    """Wakes a poller from any thread: an eventfd, or a socket pair where there is none.

    Attributes:
        fd: Becomes readable when somebody rings.
    """

    def __init__(self) -> None:
        self._pair: tuple[socket.socket, socket.socket] | None = None
        self.fd = self._bell = -1  # if none is to be had
        if hasattr(os, "eventfd"):
            self.fd = self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self._pair = socket.socketpair()
            for end in self._pair:
                end.setblocking(False)
            self.fd, self._bell = self._pair[0].fileno(), self._pair[1].fileno()
        self._is_rung = False

    def wake(self) -> None:
        """Ring. To be called after the work was put where the poller's thread looks for it."""
        # Who finds it rung put its work down before the poller's thread clears the flag, and then looks.
        if not self._is_rung:
            self._is_rung = True
            try:
                os.write(self._bell, _ONE)
            except OSError:
                pass  # full of rings: it will wake up; or closed at this very moment

    def clear(self) -> None:
        """Take note of the rings so far; only the poller's thread may, before it looks for work."""
        try:
            os.read(self.fd, 4096)
        except BlockingIOError:
            pass
        self._is_rung = False

    def close(self) -> None:
        """Let nobody ring any more.

        The descriptors go with the last thread that may be about to ring: what it writes must not
        reach whoever is given their numbers next.
        """
        self._is_rung = True

    def __del__(self) -> None:
        """Free the descriptors."""
        try:
            for end in self._pair or ():
                end.close()
            if self._pair is None:
                os.close(self.fd)
        except OSError:
            pass  # there was none; or a daemon has closed whatever it found open


class Vigil:
    """How long it pays to look again and again before going to sleep.

    After a run of short waits the next one is likely to be short, too: then it looks on for a
    while, and saves the core's falling asleep and waking up. Where waits are long it never does,
    so that idleness costs nothing; nor where others want the core.

    Args:
        is_calm: Returns whether no more threads of this machine run than it has cores.

    Attributes:
        short_waits: How many there were of late, at most `KEEN_MAX`; from `KEEN` on it looks on.
    """

    __slots__ = ("_ask_at_s", "_is_calm", "_may", "short_waits")

    def __init__(self, is_calm: Callable[[], bool]) -> None:
        self._is_calm = is_calm
        self._may = False
        self._ask_at_s = float("-inf")
        self.short_waits = 0

    def watch_s(self, now_s: float) -> float:
        """Return for how long to look on before going to sleep; 0 = not at all."""
        if self.short_waits < KEEN:
            return 0.0
        if now_s >= self._ask_at_s:
            self._ask_at_s = now_s + ASK_EVERY_S
            self._may = self._is_calm()
        return WATCH_S if self._may else 0.0

    def looked(self, took_s: float) -> bool:
        """Take note of one look; return whether to go on: after one that takes long it asks anew."""
        if took_s > LOOK_S:
            self._ask_at_s = float("-inf")
        return took_s <= LOOK_S

    def forget(self) -> None:
        """Begin anew: what comes now says nothing of what comes next, and its sender wants a core, too."""
        self.short_waits = 0

    def waited(self, waited_s: float) -> None:
        """Take note of how long a wait was as a whole."""
        self.short_waits = (
            min(self.short_waits + 1, KEEN_MAX) if waited_s <= SHORT_S else self.short_waits // 2
        )


def new_vigil() -> Vigil | None:
    """Return a vigil; None = it can't help here: there is but one core, or no telling."""
    if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2:
        return None
    return Vigil(is_machine_calm)


def is_machine_calm() -> bool:
    """Return whether no more threads run than there are cores; False: nobody can tell."""
    try:
        with open("/proc/loadavg", "rb", buffering=0) as file:
            return int(file.read(64).split()[3].partition(b"/")[0]) <= (os.cpu_count() or 1)
    except (OSError, ValueError, IndexError):
        return False


class Poller:
    """Waits until one of many descriptors is ready: epoll, or poll where there is none.

    Attributes:
        is_shared: Other threads may change what is waited for while one waits.
        vigil: When to look on for a while; None = never. For a thread that keeps no other of its
            process waiting while it does.
    """

    def __init__(self) -> None:
        self.is_shared = self._is_epoll = hasattr(select, "epoll")
        self._poll = select.epoll() if self._is_epoll else select.poll()
        self.vigil: Vigil | None = None

    @property
    def fd(self) -> int:
        """Readable when one of the descriptors is ready; only of one that `is_shared`."""
        assert self._is_epoll, "there are polls without a descriptor"
        return int(self._poll.fileno())  # type: ignore[union-attr]

    def add(self, fd: int, mask: int = 1) -> None:
        """Wait for this descriptor too, to be readable (1), writable (4), or either (5)."""
        self._poll.register(fd, mask)

    def change(self, fd: int, mask: int) -> None:
        """Wait for something else of this descriptor."""
        self._poll.modify(fd, mask)

    def remove(self, fd: int) -> None:
        """Wait for this descriptor no more."""
        self._poll.unregister(fd)

    def wait(self, timeout_s: float) -> list[int]:
        """Return the ready descriptors; none when `timeout_s` (>= 0) is over."""
        if self.vigil is not None and timeout_s > 0:
            return self._keep(self.vigil, timeout_s)
        return self._look(timeout_s)

    def _keep(self, vigil: Vigil, timeout_s: float) -> list[int]:
        clock = time.monotonic
        began_s = now_s = clock()
        until_s = began_s + min(timeout_s, vigil.watch_s(began_s))
        found: list[int] = []
        while not found and now_s < until_s:
            found = self._look(0)
            before_s, now_s = now_s, clock()
            if not vigil.looked(now_s - before_s):
                break
        if not found:
            found = self._look(max(0.0, began_s + timeout_s - now_s))
            now_s = clock()
        vigil.waited(now_s - began_s)
        return found

    def _look(self, timeout_s: float) -> list[int]:
        timeout = timeout_s if self._is_epoll else timeout_s * 1000
        return [fd for fd, _ in self._poll.poll(timeout)]


_ONE = (1).to_bytes(8, "little")
