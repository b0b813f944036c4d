"""Providers: where a supervisor's hosts come from.

Built in are processes of this machine. A provider of your own (machines of a
cloud, containers) has the four methods of `Provider`, and is named by dotted
name: `colony supervise --provider mypackage.machines:Provider`; it is made
without arguments. Its handles are plain JSON: they are kept in the registry,
and the next supervisor's provider gets them. Calls may block; they come from
threads of the supervisor's, a handle's from one at a time.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import colony
from agents.services import End, Handle
from colony.up_processes import last_words
from placement import probe

Process = tuple[int, float]  # pid and start time: a pid may come to be another's

TOKEN = "COLONY_SUPERVISED"  # in a process's environment: which start it came from
LOG_BYTES_MAX = 8 << 20  # beyond that a start begins a new log; one old one is kept
NOT_INHERITED = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", TOKEN)


@dataclass(frozen=True, slots=True)
class Order:
    """One host to be started.

    Attributes:
        name: What it is called.
        token: Names this very start.
        arguments: Of the `colony` command; they begin with `host`.
        folder: Where its log and the like may be; it is there.
    """

    name: str
    token: str
    arguments: tuple[str, ...]
    folder: Path


class Provider(Protocol):
    """Starts and stops hosts, and sees them end.

    A handle with `machine`, `pid` and `started_s` (see `placement.probe`)
    names a process of this machine: its death can be attested. Others are
    given up by silence.
    """

    def start(self, order: Order) -> Handle:
        """Start a host; raises `OSError` if that can't be done, with the reason."""

    def poll(self, handle: Handle) -> End | None:
        """Return how it ended; None = it has not, as far as anybody can tell."""

    def stop(self, handle: Handle, *, now: bool) -> None:
        """Ask it to leave in good order, or, with `now`, end it at once."""

    def describe(self, handle: Handle) -> str:
        """Return what people find it by, such as `pid 4711`."""


@runtime_checkable
class Alarms(Protocol):
    """A provider that wakes its supervisor up."""

    def alarm(self, handle: Handle) -> int | None:
        """Return a file descriptor that becomes readable when it ends; None = look every now and then."""


@runtime_checkable
class Finds(Protocol):
    """A provider that finds what was started just before a supervisor died."""

    def find(self, order: Order) -> Handle | None:
        """Return the handle of what was started by this order; None = nothing was."""


class Processes:
    """Processes of this machine; what was started by a supervisor before is as good as a child."""

    def __init__(self) -> None:
        self._children: dict[Process, subprocess.Popen[bytes]] = {}
        self._alarms: dict[Process, int] = {}
        self._machine = probe.machine_identity()

    def start(self, order: Order) -> Handle:
        """Start `colony host …`; it outlives this process, and writes to a log of its own."""
        log, ended = order.folder / "log", order.folder / "ended"
        ended.unlink(missing_ok=True)
        return self.spawn(self.command(order, ended), log, {TOKEN: order.token}, ended=str(ended))

    def command(self, order: Order, ended: Path) -> list[str]:
        """Return the command line of a host; it writes its exit status to `ended`."""
        return [sys.executable, "-m", "colony.supervise_child", str(ended), *order.arguments]

    def spawn(
        self,
        command: list[str],
        log: Path,
        environment: Mapping[str, str],
        cwd: str | None = None,
        **more: str,
    ) -> Handle:
        """Start a process in a session of its own; return its handle, with `more` in it."""
        roots = [str(Path(colony.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
        inherited = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
        inherited["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(root for root in roots if root))
        with contextlib.suppress(FileNotFoundError):
            if log.stat().st_size > LOG_BYTES_MAX:
                log.replace(log.with_name(f"{log.name}.1"))
        with log.open("ab") as out:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**inherited, **environment},
                cwd=cwd,
                start_new_session=True,  # ctrl-c is for the supervisor alone
            )
        handle = self.handle_of(child.pid, log=str(log), **more)
        self._children[_process(handle)] = child
        return handle

    def handle_of(self, pid: int, **more: str) -> Handle:
        """Return the handle of a process that is there."""
        return {"machine": self._machine, "pid": pid, "started_s": probe.process_started_s(pid), **more}

    def find(self, order: Order) -> Handle | None:
        """Return the process that bears this token."""
        pid = probe.process_with(TOKEN, order.token)
        if pid is None:
            return None
        return self.handle_of(pid, log=str(order.folder / "log"), ended=str(order.folder / "ended"))

    def poll(self, handle: Handle) -> End | None:
        """Return how a process ended: by waiting for a child, else by what is left of it."""
        process = _process(handle)
        child = self._children.get(process)
        if child is not None:
            status = child.poll()
            if status is None:
                return None
            del self._children[process]
        elif handle["machine"] != self._machine or not probe.process_gone(*process):
            return None
        else:
            status = _written(handle)
        alarm = self._alarms.pop(process, None)
        if alarm is not None:
            os.close(alarm)
        return _end(status, handle)

    def alarm(self, handle: Handle) -> int | None:
        """Return a descriptor of the process, where the kernel has such."""
        process = _process(handle)
        if process not in self._alarms and hasattr(os, "pidfd_open"):
            try:
                self._alarms[process] = os.pidfd_open(process[0])
            except OSError:
                return None
        return self._alarms.get(process)

    def stop(self, handle: Handle, *, now: bool) -> None:
        """Send SIGTERM, or SIGKILL; to nobody if the process is not the one that it was."""
        pid, started_s = _process(handle)
        is_it = abs(probe.process_started_s(pid) - started_s) <= probe.SAME_START_S
        if is_it and handle["machine"] == self._machine:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if now else signal.SIGTERM)

    def describe(self, handle: Handle) -> str:
        """Return its pid and where its log is."""
        return f"pid {handle['pid']}, log {handle.get('log', '-')}"


def _process(handle: Handle) -> Process:
    return int(handle["pid"]), float(handle["started_s"])


def _written(handle: Handle) -> int | None:
    """Return the exit status that a process wrote down; None = it was killed, or nobody knows."""
    try:
        return int(Path(str(handle.get("ended", ""))).read_text())
    except (OSError, ValueError):
        return None


def _end(status: int | None, handle: Handle) -> End:
    if status is None:
        return End(None, "without a word: it was killed, or crashed", is_certain=True)
    if status < 0:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else str(-status)
        return End(None, f"by {name}", is_certain=True)
    said = last_words(Path(str(handle.get("log", ""))))
    return End(status, f"with status {status}" + (f": {said}" if said and status else ""), is_certain=True)


def provider_named(name: str) -> Provider:
    """Return a provider by dotted name, `package.module:Class`; "" = the one that is built in.

    Raises:
        ValueError: There is no such thing, or it lacks a method.
    """
    if not name:
        return Processes()
    module, _, attribute = name.replace(":", ".").rpartition(".")
    try:
        made: Any = getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"no provider {name}: {error}") from None
    missing = [one for one in ("start", "poll", "stop", "describe") if not callable(getattr(made, one, None))]
    if missing:
        raise ValueError(f"{name} is no provider: it lacks {', '.join(missing)}")
    provider: Provider = made
    return provider
