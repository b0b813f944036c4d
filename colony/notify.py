"""Telling a service manager how a host is: systemd's notification protocol.

Datagrams to the socket that `NOTIFY_SOCKET` names, sent by nobody's library:
they are lines of text. Where no service manager listens, nothing is sent and
no thread runs. Source: sd_notify(3).
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Mapping

BEAT_S = 1.0  # how often at most something is said without news
EXTEND_S = 15.0  # by so much a start or a leave that goes on may take longer; said anew each beat


class Notifier:
    """Sends lines to the service manager; any thread.

    Args:
        address: Of its socket: a path, or `@name` for an abstract one.
    """

    def __init__(self, address: str) -> None:
        self._address = b"\0" + os.fsencode(address[1:]) if address.startswith("@") else os.fsencode(address)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0))
        self._socket.setblocking(False)

    def say(self, *lines: str) -> bool:
        """Send one notification; False: nobody took it, which is no reason to stop."""
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class Herald:
    """Keeps the service manager informed, in a daemon thread of its own.

    The watchdog is fed from here only while the host's own loop turns: a
    process whose loop is stuck is to be restarted.

    Args:
        notifier: Where it goes; None = nowhere: every call does nothing.
        is_alive: Whether the host's loop turns; asked from the herald's thread.
        watchdog_s: How often the manager wants to hear of that; 0 = it doesn't.
    """

    def __init__(
        self, notifier: Notifier | None, is_alive: Callable[[], bool], watchdog_s: float = 0.0
    ) -> None:
        self._notifier = notifier
        self._is_alive = is_alive
        self._beat_s = min(BEAT_S, watchdog_s / 3) if watchdog_s else BEAT_S
        self._watchdog = watchdog_s > 0
        self._is_busy = True  # starting, or leaving: it may take longer than the manager would wait
        self._status = ""
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        if notifier is not None:
            self._thread = threading.Thread(target=self._run, name="colony-herald", daemon=True)
            self._thread.start()

    def status(self, text: str) -> None:
        """Say in one line what the host does, or waits for; the same twice is said once."""
        line = " ".join(text.split())
        if self._notifier is not None and line != self._status:
            self._status = line
            self._notifier.say(f"STATUS={line}")

    def ready(self) -> None:
        """Say that the host is ACTIVE, once it is."""
        self._is_busy = False
        if self._notifier is not None:
            self._notifier.say("READY=1", f"STATUS={self._status or 'ACTIVE'}")

    def stopping(self, text: str) -> None:
        """Say that the host begins to leave, and ask for the time that it takes."""
        self._is_busy = True
        self._status = text
        if self._notifier is not None:
            self._notifier.say("STOPPING=1", f"STATUS={text}", _extend())

    def close(self) -> None:
        """Say nothing any more."""
        self._end.set()
        if self._thread is not None:
            self._thread.join(BEAT_S)
        if self._notifier is not None:
            self._notifier.close()

    def _run(self) -> None:
        while not self._end.wait(self._beat_s):
            lines = ["WATCHDOG=1"] if self._watchdog else []
            lines += [_extend()] if self._is_busy else []
            if lines and self._notifier is not None and self._is_alive():
                self._notifier.say(*lines)


def _extend() -> str:
    return f"EXTEND_TIMEOUT_USEC={int(EXTEND_S * 1e6)}"


def herald(is_alive: Callable[[], bool], environ: Mapping[str, str]) -> Herald:
    """Return the herald that the environment asks for: one that says nothing, if nobody listens."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return Herald(None, is_alive)
    try:
        notifier = Notifier(address)
    except OSError:
        return Herald(None, is_alive)
    watched, whose = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    is_ours = not whose or whose == str(os.getpid())
    watchdog_s = int(watched) / 1e6 if watched.isdecimal() and is_ours else 0.0
    return Herald(notifier, is_alive, watchdog_s)
