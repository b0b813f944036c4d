"""What a service manager is told, on a socket of the test's own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from colony.commands import host as host_command
from colony.notify import Herald, herald
from tests.colony.test_cli import FakeHost

PATIENCE_S = 20.0
BEATS = ("WATCHDOG=1", "EXTEND_TIMEOUT_USEC")

ROOT = Path(__file__).resolve().parent.parent.parent


class Manager:
    """A datagram socket that keeps what it is told."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(PATIENCE_S)

    def next(self) -> list[str]:
        """Return the lines of the next notification."""
        return self.socket.recv(4096).decode().split("\n")

    def news(self) -> list[str]:
        """Return the next notification that is more than a beat: on a busy machine any may come between."""
        lines = self.next()
        while all(line.startswith(BEATS) for line in lines):
            lines = self.next()
        return lines

    def until_just(self, *lines: str) -> None:
        """Wait for a notification of just these lines; one that was under way may come before it."""
        while self.next() != list(lines):
            pass

    def until(self, line: str) -> list[list[str]]:
        """Return all notifications up to the one with this line."""
        told = [self.next()]
        while line not in told[-1]:
            told.append(self.next())
        return told

    def quiet(self, for_s: float) -> bool:
        """Return whether nothing comes for so long; what came before is forgotten."""
        self.socket.setblocking(False)
        try:
            while True:
                self.socket.recv(4096)
        except BlockingIOError:
            pass
        self.socket.settimeout(for_s)
        try:
            self.socket.recv(4096)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(PATIENCE_S)
        return False


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    """Yield a service manager at either kind of address."""
    address = (
        str(tmp_path / "notify")
        if request.param == "path"
        else f"@colony-test-{os.getpid()}-{time.time_ns()}"
    )
    made = Manager(address)
    yield made
    made.socket.close()


def told(manager: Manager, is_alive: bool = True, **environ: str) -> Herald:
    """Return a herald with this manager's environment."""
    return herald(lambda: is_alive, {"NOTIFY_SOCKET": manager.address, **environ})


def test_a_whole_life_is_told(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_command, "POLL_S", 0.0)
    teller = told(manager)
    host = FakeHost("ZOMBIE", "ACTIVE", "ACTIVE", halted=(5, "solitude"))
    assert host_command.serve(host, host_command.Signals(), 30.0, teller) == 5
    assert manager.news() == ["STATUS=ZOMBIE"]
    assert manager.news() == ["STATUS=ACTIVE"]
    assert manager.news() == ["READY=1", "STATUS=ACTIVE"]
    signals = host_command.Signals()
    signals.asked = True
    host_command.serve(FakeHost("ACTIVE"), signals, 7.0, teller)
    assert manager.news() == [
        "STOPPING=1",
        "STATUS=leaving; its peers move away within 7 s",
        "EXTEND_TIMEOUT_USEC=15000000",
    ]
    teller.close()


def test_the_watchdog_is_fed_only_while_the_loop_turns(manager: Manager) -> None:
    alive = told(manager, WATCHDOG_USEC="60000", WATCHDOG_PID=str(os.getpid()))
    alive.ready()
    fed = [lines for lines in (manager.next() for _ in range(4)) if "WATCHDOG=1" in lines]
    alive.close()
    assert len(fed) >= 3
    stuck = told(manager, is_alive=False, WATCHDOG_USEC="60000")
    assert manager.quiet(0.2)
    stuck.close()


def test_the_time_to_start_or_leave_is_extended_only_while_it_lasts(manager: Manager) -> None:
    teller = told(manager, WATCHDOG_USEC="60000")
    manager.until_just("WATCHDOG=1", "EXTEND_TIMEOUT_USEC=15000000")
    teller.ready()
    manager.until_just("WATCHDOG=1")
    assert [manager.next() for _ in range(3)] == [["WATCHDOG=1"]] * 3
    teller.stopping("leaving")
    manager.until("STOPPING=1")
    manager.until_just("WATCHDOG=1", "EXTEND_TIMEOUT_USEC=15000000")
    teller.close()


def test_another_process_watchdog_is_not_ours(manager: Manager) -> None:
    teller = told(manager, WATCHDOG_USEC="60000", WATCHDOG_PID="1")
    teller.ready()
    assert manager.news() == ["READY=1", "STATUS=ACTIVE"] and manager.quiet(0.15)
    teller.close()


@pytest.mark.parametrize("address", ["", "/no/such/socket", "nonsense", "@nobody"])
def test_without_anybody_who_listens_nothing_is_sent_and_nothing_breaks(address: str) -> None:
    teller = herald(lambda: True, {"NOTIFY_SOCKET": address} if address else {})
    teller.status("COMMIT")
    teller.ready()
    teller.stopping("leaving")
    teller.close()


@pytest.mark.real
def test_a_host_process_tells_when_it_is_ready_that_it_turns_and_that_it_leaves(tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "notify"))
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    environ |= {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "300000"}
    command = [sys.executable, "-m", "colony", "host", "--listen", "tcp://127.0.0.1:0", "--expect", "1"]
    process = subprocess.Popen(command, env=environ, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        lines = [line for lines in manager.until("READY=1") for line in lines]
        assert lines[-1] == "STATUS=ACTIVE"
        manager.until("WATCHDOG=1")
        process.send_signal(signal.SIGSTOP)
        # The signal may find it sending; one that runs beats five times in half a second.
        assert any(manager.quiet(0.5) for _ in range(3)), "a stopped process feeds no watchdog"
        process.send_signal(signal.SIGCONT)
        manager.until("WATCHDOG=1")
        process.send_signal(signal.SIGTERM)
        manager.until("STOPPING=1")
        assert process.wait(30.0) == 4, "the last one can't leave"
    finally:
        process.kill()
        process.wait()
        manager.socket.close()
