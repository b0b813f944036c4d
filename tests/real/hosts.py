"""Host processes on loopback, and what can be done to them.

Every process is ended by its own pid, whatever becomes of the test.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import colony
from tests.ports import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE_S = 60.0  # ten times what it takes, and more: a machine may be busy


@dataclass
class Process:
    """One host process."""

    name: str
    box: str
    port: int
    popen: subprocess.Popen[bytes]
    log: Path
    state_dir: Path | None = None
    ip: str = "127.0.0.1"

    @property
    def address(self) -> str:
        """Where clients connect."""
        return f"tcp://{self.ip}:{self.port}"

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self.popen.poll() is None


def until(true: Callable[[], Any], what: str, *, within_s: float = PATIENCE_S) -> Any:
    """Wait until something is true, and return it; fail when it does not become so."""
    end_s = time.monotonic() + within_s
    while True:
        found = true()
        if found:
            return found
        assert time.monotonic() < end_s, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.02)


def bound_s(quiet_s: float) -> float:
    """Return a bound for this machine as it is: what holds on a quiet one, stretched by what else runs."""
    return quiet_s * max(1.0, 2 * os.getloadavg()[0] / (os.cpu_count() or 1))


class Hosts:
    """A cluster of real host processes, as if on so many boxes."""

    def __init__(
        self,
        count: int = 5,
        *,
        boxes: int = 3,
        peers: int = 2,
        colonies: int = 32,
        durable: bool = False,
        keys: Path | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        self.options = options  # of every host that is started from now on
        self.peers, self.colonies, self.boxes, self.durable = peers, colonies, boxes, durable
        self.keys = keys
        self.folder = tempfile.TemporaryDirectory(prefix="colony-real-")
        self.processes: dict[str, Process] = {}
        self._number = 0
        places = [self._place(f"h{number}") for number in range(1, count + 1)]
        self.seeds = [f"tcp://{ip}:{port}" for ip, port in places]
        try:
            for _, port in places:
                self.start(port=port, expect=count)
            self.admin = colony.connect(",".join(self.seeds), timeout=20.0, keys=keys)
            self.healthy()
        except BaseException:
            self.close()
            raise

    # -- life and death ------------------------------------------------------------

    def start(
        self,
        *,
        name: str = "",
        box: str = "",
        port: int = 0,
        expect: int = 0,
        state_dir: Path | None = None,
    ) -> Process:
        """Start one more host; it joins whoever is there."""
        self._number += 1
        name = name or f"h{self._number}"
        box = box or f"b{(self._number - 1) % self.boxes + 1}"
        ip, free = self._place(name)
        port = port or free
        log = Path(self.folder.name) / f"{name}-{self._number}.log"
        living = [process.address for process in self.processes.values() if process.is_alive]
        arguments = ["--name", name, "--box", box, "--listen", f"tcp://{ip}:{port}"]
        arguments += ["--join", ",".join(sorted({*self.seeds, *living}))]
        arguments += ["--peers", str(self.peers), "--colonies", str(self.colonies)]
        if self.keys is not None:
            arguments += ["--keys", str(self.keys)]
        if expect:
            arguments += ["--expect", str(expect)]
        if state_dir is None and self.durable:
            state_dir = Path(self.folder.name) / f"state-{name}"
        if state_dir is not None:
            arguments += ["--state-dir", str(state_dir)]
        arguments += self.options
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with log.open("wb") as out:
            command = self._command(name, arguments)
            popen = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=out, stderr=out, env=environment, cwd=ROOT
            )
        process = Process(name, box, port, popen, log, state_dir, ip)
        self.processes[name] = process
        return process

    def _place(self, name: str) -> tuple[str, int]:
        """Return the address and a port for a host."""
        return "127.0.0.1", free_port()

    def _command(self, name: str, arguments: list[str]) -> list[str]:
        """Return the command that runs a host."""
        return [sys.executable, "-m", "colony", "host", *arguments]

    def _signal(self, name: str, number: int) -> None:
        """Send a signal to a host's process."""
        self.processes[name].popen.send_signal(number)

    def kill(self, *names: str) -> None:
        """SIGKILL hosts, all at once."""
        for name in names:
            self._signal(name, signal.SIGKILL)
        for name in names:
            self.processes[name].popen.wait(PATIENCE_S)
            del self.processes[name]

    def stop(self, name: str) -> None:
        """SIGSTOP a host."""
        self._signal(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """SIGCONT a host."""
        self._signal(name, signal.SIGCONT)

    def terminate(self, name: str) -> int:
        """SIGTERM a host, and wait until it has left; return its exit status."""
        process = self.processes[name]
        self._signal(name, signal.SIGTERM)
        status = process.popen.wait(PATIENCE_S + 10)
        del self.processes[name]
        return status

    def ended(self) -> dict[str, int]:
        """Wait until all processes have ended by themselves; return their exit statuses."""
        return {name: process.popen.wait(PATIENCE_S) for name, process in self.processes.items()}

    def again(self, *names: str) -> None:
        """Start ended hosts again as they were, all at once."""
        for name in names:
            old = self.processes[name]
            self.start(name=name, box=old.box, port=old.port, state_dir=old.state_dir)

    def close(self) -> None:
        """End all that is left."""
        admin = getattr(self, "admin", None)
        if admin is not None:
            admin.close()
        for name, process in self.processes.items():
            if process.is_alive:
                self._signal(name, signal.SIGCONT)
                self._signal(name, signal.SIGKILL)
        for process in self.processes.values():
            process.popen.wait(PATIENCE_S)
        self.folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # -- what they say ---------------------------------------------------------------

    @property
    def addresses(self) -> str:
        """Where clients may begin."""
        return ",".join(process.address for process in self.processes.values())

    def status(self, *, table: bool = False) -> dict[str, Any]:
        """Return the cluster's status, from whoever answers."""
        found = self.admin.admin("status", {"colonies": table})
        assert isinstance(found, dict)
        return found

    def noted(self, kind: str = "") -> list[dict[str, Any]]:
        """Return what the living hosts have noted, each of its own, in order of time; "" = of any kind."""
        found: list[dict[str, Any]] = []
        for process in self.processes.values():
            if process.is_alive:
                with colony.connect(process.address, timeout=10.0) as store:
                    found += store.admin("events", {"limit": 4000})["events"]
        return sorted(
            (event for event in found if kind in ("", event["kind"])), key=lambda event: event["at"]
        )

    def healthy(self, *, within_s: float = PATIENCE_S) -> dict[str, Any]:
        """Wait until just the living hosts are ACTIVE members, and every colony is well."""

        def look() -> dict[str, Any] | None:
            try:
                status = self.status()
            except colony.ColonyError:  # all that it knew of may have been replaced
                self.admin.close()
                self.admin = colony.connect(self.addresses, timeout=20.0, keys=self.keys)
                return None
            active = {m["name"] for m in status["view"]["members"] if m["status"] == "ACTIVE"}
            colonies = status["colonies"]
            well = colonies["count"] and colonies["healthy"] == colonies["count"]
            here = {process.name for process in self.processes.values() if process.is_alive}
            return status if active == here and well and status["quorum"] else None

        return until(look, "all hosts ACTIVE members, all colonies healthy", within_s=within_s)  # type: ignore[no-any-return]

    def leads(self) -> dict[str, list[int]]:
        """Return the colonies that each host is primary of."""
        found: dict[str, list[int]] = {name: [] for name in self.processes}
        for row in self.status(table=True)["table"]:
            found.setdefault(row["primary"], []).append(row["colony"])
        return found

    def logs(self) -> str:
        """Return the tails of all logs, for a failing test."""
        return "\n".join(
            f"-- {path.name}\n{path.read_text(errors='replace')[-2000:]}"
            for path in sorted(Path(self.folder.name).glob("*.log"))
        )
