"""The host processes of `colony up`, and what can be done to them.

Main thread only: a child is tied to the thread that started it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import colony

DEFAULT_BASE_PORT = 7420
HOSTS_MAX = 32  # on one machine; every one is a Python process
TAIL_BYTES = 4096  # of a log, to find its last line


class State(Enum):
    """What has become of a host process."""

    RUNNING = "running"
    STALLED = "stalled"
    LEAVING = "leaving"
    LEFT = "left"
    KILLED = "killed"
    DIED = "died"

    @property
    def is_alive(self) -> bool:
        """Whether the process exists."""
        return self in (State.RUNNING, State.STALLED, State.LEAVING)


@dataclass(slots=True)
class HostProcess:
    """One host process, its place, and its state; only the fleet changes it."""

    name: str
    box: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    state: State = State.RUNNING

    @property
    def address(self) -> str:
        """Where clients connect."""
        return f"tcp://127.0.0.1:{self.port}"


def is_free(port: int) -> bool:
    """Return whether this port of the loopback address can be listened on."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_block(count: int, wanted: int | None) -> int:
    """Return the first of `count` free ports in a row.

    Args:
        wanted: Where the block must begin; None = the default place, or else
            the first block above that is free.

    Raises:
        OSError: The wanted block, or every one, is in use; the text says which port.
    """
    if wanted is not None:
        for port in range(wanted, wanted + count):
            if not is_free(port):
                raise OSError(f"port {port} is in use; choose another --base-port, or stop what runs there")
        return wanted
    for base in range(DEFAULT_BASE_PORT, 32000, 100):  # below the ephemeral ports
        if all(is_free(port) for port in range(base, base + count)):
            return base
    raise OSError(f"no {count} free ports in a row from {DEFAULT_BASE_PORT} on; give a --base-port")


def child_command(*arguments: str) -> list[str]:
    """Return the command line of a child that ends with this process."""
    return [sys.executable, "-m", "colony.up_child", str(os.getpid()), *arguments]


def child_environment() -> dict[str, str]:
    """Return our environment without options of ours: children get theirs as flags."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COLONY_")}
    roots = [str(Path(colony.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    return {**kept, "PYTHONPATH": os.pathsep.join(root for root in roots if root)}


class Fleet:
    """All host processes of one cluster on loopback.

    Args:
        folder: For state and logs; one below it for each host.
        base_port: Of the first host; the others follow.
        boxes: As if on so many machines; >= 1.
        options: What every host is told besides.
    """

    def __init__(self, folder: Path, base_port: int, boxes: int, options: Sequence[str] = ()) -> None:
        self._folder, self._base_port, self._boxes, self._options = folder, base_port, boxes, list(options)
        self.hosts: dict[str, HostProcess] = {}

    @property
    def addresses(self) -> list[str]:
        """Where live hosts are, those that answer first."""
        live = [host for host in self.hosts.values() if host.state.is_alive]
        return [host.address for host in sorted(live, key=lambda host: host.state is not State.RUNNING)]

    def found(self, count: int) -> None:
        """Start the first hosts, which found the cluster by themselves."""
        addresses = [f"tcp://127.0.0.1:{self._base_port + number}" for number in range(count)]
        for number, address in enumerate(addresses):
            others = [other for other in addresses if other != address]
            self._start(f"h{number + 1}", self._box(number), self._base_port + number, others, expect=count)

    def add(self) -> HostProcess:
        """Start one more host, on the box with the fewest.

        Raises:
            OSError: There are enough on this machine.
        """
        if sum(host.state.is_alive for host in self.hosts.values()) >= HOSTS_MAX:
            raise OSError(f"{HOSTS_MAX} hosts are enough for one machine")
        number = 1 + max(int(name[1:]) for name in self.hosts)
        alive = [host.box for host in self.hosts.values() if host.state.is_alive]
        box = min((self._box(n) for n in range(self._boxes)), key=lambda box: (alive.count(box), box))
        taken = {host.port for host in self.hosts.values()}
        port = next(p for p in range(self._base_port, 65536) if p not in taken and is_free(p))
        return self._start(f"h{number}", box, port, self.addresses)

    def respawn(self, name: str) -> HostProcess:
        """Start a host again that is gone, with what is left on its disk."""
        gone = self.hosts[name]
        return self._start(name, gone.box, gone.port, self.addresses)

    def kill(self, name: str) -> None:
        """End a host with kill -9."""
        self._signal(name, signal.SIGKILL, State.KILLED)

    def stall(self, name: str) -> None:
        """Stop a host's process, as a long pause does, or let it go on."""
        if self.hosts[name].state is State.STALLED:
            self._signal(name, signal.SIGCONT, State.RUNNING)
        else:
            self._signal(name, signal.SIGSTOP, State.STALLED)

    def drain(self, name: str) -> None:
        """Ask a host to leave in an orderly way."""
        self._signal(name, signal.SIGTERM, State.LEAVING)

    def on_box(self, box: str) -> list[str]:
        """Return the names of the live hosts of a box."""
        return [host.name for host in self.hosts.values() if host.box == box and host.state.is_alive]

    def reap(self) -> list[HostProcess]:
        """Return the hosts that ended by themselves since the last call."""
        ended = []
        for host in self.hosts.values():
            if host.state.is_alive and host.process.poll() is not None:
                host.state = State.DIED if host.process.returncode else State.LEFT
                ended.append(host)
        return ended

    def close(self, patience_s: float) -> None:
        """Wait for hosts that are ending; end the others by their own pid."""
        end_s = time.monotonic() + patience_s
        for host in self.hosts.values():
            if host.state is not State.STALLED and host.process.poll() is None:
                try:
                    host.process.wait(max(0.0, end_s - time.monotonic()))
                except subprocess.TimeoutExpired:
                    host.process.kill()
            elif host.process.poll() is None:
                host.process.kill()  # reaches a stopped process too
        for host in self.hosts.values():
            host.process.wait()
            if host.process.stdin is not None:
                host.process.stdin.close()

    def _box(self, number: int) -> str:
        return f"b{number % self._boxes + 1}"

    def _signal(self, name: str, number: signal.Signals, state: State) -> None:
        host = self.hosts[name]
        if host.state.is_alive and host.process.poll() is None:
            host.process.send_signal(number)
            host.state = state

    def _start(self, name: str, box: str, port: int, join: Sequence[str], expect: int = 0) -> HostProcess:
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        address = f"tcp://127.0.0.1:{port}"
        options = [*self._options, *(["--expect", str(expect)] if expect else [])]
        options += ["--join", ",".join(join)] if join else []
        state = ["--state-dir", str(folder / "state"), "--box", box]
        command = child_command("host", "--name", name, "--listen", address, *state, *options)
        log = folder / "log"
        with log.open("ab") as file:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                env=child_environment(),
                start_new_session=True,  # ctrl-c is for us alone
            )
        self.hosts[name] = HostProcess(name, box, port, process, log)
        return self.hosts[name]


def last_words(log: Path) -> str:
    """Return the last line of a log; "" if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1].strip() if lines else ""


def how_it_ended(host: HostProcess) -> str:
    """Return why the process of a host is gone, for people."""
    code = host.process.returncode
    if code is not None and code < 0:
        return f"by signal {-code}"
    return f"with status {code}: {last_words(host.log) or 'it said nothing'}"
