"""Waiting for file descriptors, and waking up who waits."""

from __future__ import annotations

import os
import select
import socket


class Waker:
    """Wakes a poller from any thread: an eventfd, or a socket pair where there is none.

    Attributes:
        fd: Becomes readable when somebody rings.
    """

    def __init__(self) -> None:
        self._pair: tuple[socket.socket, socket.socket] | None = None
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
            except BlockingIOError:
                pass  # full of rings: it will wake up

    def clear(self) -> None:
        """Take note of the rings so far; only the poller's thread may, before it looks for work."""
        try:
            os.read(self.fd, 4096)
        except BlockingIOError:
            pass
        self._is_rung = False

    def close(self) -> None:
        """Free the descriptors; rings that come later do nothing."""
        self._is_rung = True
        if self._pair is None:
            os.close(self.fd)
        else:
            for end in self._pair:
                end.close()


class Poller:
    """Waits until one of many descriptors is ready: epoll, or poll where there is none.

    Attributes:
        is_shared: Other threads may change what is waited for while one waits.
    """

    def __init__(self) -> None:
        self.is_shared = self._is_epoll = hasattr(select, "epoll")
        self._poll = select.epoll() if self._is_epoll else select.poll()

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
        timeout = timeout_s if self._is_epoll else timeout_s * 1000
        return [fd for fd, _ in self._poll.poll(timeout)]


_ONE = (1).to_bytes(8, "little")
