"""`colony up`: processes, the workload that knows, and the verdict."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import colony
from colony import bench
from colony.commands.base import Exit
from colony.dash import Size
from colony.dash_live import as_text
from colony.dash_watch import Watcher
from colony.latency import Durations, merged
from colony.up import Plan, Up
from colony.up_processes import Fleet, HostProcess, State, child_environment, free_block, last_words
from colony.up_verdict import Faults, Verdict, longest_pause_s
from colony.up_workload import Ledger, Visitor, Workload, key_of, value_of, verify
from tests.colony.fakes import FakeStore, status

# -- the workload ------------------------------------------------------------


def writer(store: Any, sessions: int = 4) -> Visitor:
    """Return a writer of all sessions, whose sessions were all written once."""
    visitor = Visitor(store, Ledger(sessions), range(sessions), True, threading.Event())
    for session in range(sessions):
        visitor.write(session)
    return visitor


def test_what_is_there_is_neither_lost_nor_stale() -> None:
    store = FakeStore()
    visitor = writer(store)
    visitor.check(1)
    ledger = visitor._ledger
    assert verify(store, ledger) == 0
    assert (ledger.writes, ledger.lost, ledger.stale, ledger.extra) == (4, 0, 0, 0)


def test_a_session_that_went_back_is_lost_write_by_write_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("colony.up_workload.AGAIN_S", 0.01)
    store = FakeStore()
    visitor = writer(store)
    for _ in range(4):
        visitor.write(2)
    store.set(key_of(2), value_of(2, 3))
    visitor.check(2)
    visitor.check(2)
    assert visitor._ledger.lost == 2
    store.delete(key_of(1))
    assert verify(store, visitor._ledger) == 0 and visitor._ledger.lost == 3


def test_a_read_that_lags_behind_is_stale_but_not_lost() -> None:
    class Lagging(FakeStore):
        lag = 0

        def get(self, key: str, default: Any = None) -> Any:
            self.lag -= 1
            return None if self.lag >= 0 else super().get(key, default)

    store = Lagging()
    visitor = writer(store)
    store.lag = 1
    visitor.check(0)
    assert (visitor._ledger.stale, visitor._ledger.lost) == (1, 0)


def test_a_write_that_nobody_made_is_noticed() -> None:
    store = FakeStore()
    visitor = writer(store)
    store.set(key_of(0), value_of(0, 9))
    visitor.check(0)
    assert visitor._ledger.extra == 1


def test_a_write_goes_on_until_it_is_acknowledged_and_its_wait_is_a_pause() -> None:
    store = FakeStore()
    visitor = writer(store)
    store.is_down = True
    threading.Timer(0.1, lambda: setattr(store, "is_down", False)).start()
    visitor.write(3)
    assert visitor._ledger.failed > 0 and visitor._ledger.writes == 5
    assert visitor.pauses[-1][1] >= 0.08
    visitor.check(3)
    assert visitor._ledger.extra == 0, "attempts that failed may have been applied: they are no surprise"


def test_sessions_that_can_not_be_read_at_the_end_are_counted_not_guessed() -> None:
    store = FakeStore()
    visitor = writer(store)
    store.is_down = True
    assert verify(store, visitor._ledger, patience_s=0.02) == 4


def test_all_threads_together_report_what_they_did() -> None:
    workload = Workload(FakeStore(), sessions=8)
    workload.start()
    end_s = time.monotonic() + 20
    while workload.ledger.writes < 12 and time.monotonic() < end_s:
        time.sleep(0.01)
    workload.join(20.0)
    report = workload.report()
    assert report["acked"] >= 12 and report["lost"] == report["stale"] == report["extra"] == 0
    assert report["ops"] >= report["acked"] and report["p99_ms"] > 0


# -- the verdict -------------------------------------------------------------


def test_only_waits_that_a_fault_touched_are_blamed_on_it() -> None:
    pauses = [(10.0, 0.3), (20.0, 0.2), (99.0, 9.0)]
    assert longest_pause_s(pauses, 10.1) == 0.3
    assert longest_pause_s(pauses, 15.0) == 0.2
    assert longest_pause_s(pauses, 50.0) == 0.0
    assert longest_pause_s([(10.0, 0.3), (12.0, 0.9)], 10.1, next_s=11.9) == 0.3


def test_the_verdict_counts_failovers_and_their_longest_pause() -> None:
    faults = Faults()
    faults.hear([(1.0, 0.3)])
    faults.add(["h1"], "killed", 10.1)
    faults.add([], "killed with box b9", 11.0)
    faults.add(["h2", "h5"], "killed with box b2", 40.0)
    faults.hear([(10.0, 0.3)])
    faults.hear([(39.9, 0.7)])
    verdict = Verdict({"acked": 12, "lost": 0, "final": True, "unread": 0}, faults.all(), 60.0)
    told = verdict.as_json()
    assert (told["failovers"], told["longest_pause_s"], told["verified"]) == (2, 0.7, True)
    assert verdict.status is Exit.DONE
    text = "\n".join(verdict.lines())
    assert "acknowledged writes  12" in text and "lost                 0" in text and "h2, h5" in text


@pytest.mark.parametrize(
    ("report", "exit_status"),
    [
        ({"lost": 1, "final": True}, Exit.LOST),
        ({"extra": 1, "final": True}, Exit.LOST),
        ({"acked": 9, "lost": 0, "final": True, "unread": 3}, Exit.UNAVAILABLE),
        ({"acked": 0, "lost": 0, "final": True}, Exit.FAILED),
        ({"lost": 0}, Exit.FAILED),
        ({}, Exit.FAILED),
    ],
)
def test_the_exit_status_is_the_verdict(report: dict[str, Any], exit_status: Exit) -> None:
    verdict = Verdict(report, (), 1.0)
    assert verdict.status is exit_status and verdict.lines()


# -- processes ---------------------------------------------------------------


class SleepyFleet(Fleet):
    """A fleet whose hosts only sleep."""

    def _start(self, name: str, box: str, port: int, join: Any, expect: int = 0) -> HostProcess:
        process = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(60)"], stdin=subprocess.PIPE
        )
        self.hosts[name] = HostProcess(name, box, port, process, self._folder / name)
        return self.hosts[name]


def test_hosts_are_spread_over_boxes_and_can_be_hurt_and_respawned(tmp_path: Path) -> None:
    fleet = SleepyFleet(tmp_path, 7420, boxes=2)
    try:
        fleet.found(3)
        assert [host.box for host in fleet.hosts.values()] == ["b1", "b2", "b1"]
        assert fleet.on_box("b1") == ["h1", "h3"]
        fleet.stall("h2")
        assert fleet.hosts["h2"].state is State.STALLED and fleet.addresses[-1].endswith(":7421")
        fleet.stall("h2")
        fleet.kill("h1")
        assert fleet.hosts["h1"].process.wait(20) == -9 and not fleet.reap()
        assert fleet.add().box == "b1"
        assert fleet.respawn("h1").state is State.RUNNING
        fleet.hosts["h3"].process.kill()
        fleet.hosts["h3"].process.wait()
        assert [host.name for host in fleet.reap()] == ["h3"] and fleet.hosts["h3"].state is State.DIED
    finally:
        fleet.stall("h2")  # a stopped process must end too
        fleet.close(0.0)
    assert all(host.process.poll() is not None for host in fleet.hosts.values())


def test_ports_that_are_in_use_are_named_or_gone_around() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"port {port} is in use"):
            free_block(2, port)
    assert free_block(3, None) >= 7420


def test_children_do_not_inherit_our_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLONY_STATE_DIR", "/one/for/all")
    environment = child_environment()
    assert "COLONY_STATE_DIR" not in environment and environment["PATH"] == os.environ["PATH"]


def test_the_last_words_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_words(log) == ""
    log.write_text("one\ncolony: port in use\n\n")
    assert last_words(log) == "colony: port in use"


@pytest.mark.real
def test_a_child_never_outlives_the_one_that_started_it() -> None:
    """The middle process starts a tethered child, tells its pid, and is killed."""
    body = (
        "import os, time, colony.up_child as c; c.tether(int(os.environ['P'])); "
        "print(1, flush=True); time.sleep(60)"
    )
    middle = (
        "import os, subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {body!r}],\n"
        "    stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, 'P': str(os.getpid())})\n"
        "child.stdout.readline(); print(child.pid, flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", middle], stdout=subprocess.PIPE, env=child_environment()
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.kill()
    process.wait()
    process.stdout.close()
    end_s = time.monotonic() + 20
    while time.monotonic() < end_s and is_there(child):
        time.sleep(0.02)
    assert not is_there(child)


def is_there(pid: int) -> bool:
    """Return whether a process runs; a zombie that init has not yet reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.real
@pytest.mark.slow
def test_a_real_cluster_loses_a_host_and_no_write(tmp_path: Path) -> None:
    """`colony up` on real processes: one host is killed from outside, then the run is told to end."""
    base = free_block(20, None) + 13  # aside from where people's own clusters begin
    words = ["--hosts", "4", "--sessions", "200", "--base-port", str(base), "--no-dash", "--json"]
    environment = {**child_environment(), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "colony", "up", *words]
    with (tmp_path / "events").open("w+") as events:
        up = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=events, env=environment)
        try:
            wait_for(lambda: "ready 4 hosts" in (tmp_path / "events").read_text(), 60)
            time.sleep(2)
            with closing(colony.connect(f"tcp://127.0.0.1:{base}")) as store:
                members = store.admin("status")["view"]["members"]
            os.kill(next(member["pid"] for member in members if member["name"] == "h2"), signal.SIGKILL)
            time.sleep(2)
            up.terminate()
            out, _ = up.communicate(timeout=60)
        finally:
            up.kill()
            up.wait()
    told = json.loads(out)
    assert up.returncode == 0
    assert told["acknowledged"] >= 200 and told["lost"] == told["stale"] == 0 and told["verified"]
    assert told["failovers"] == 1 and told["faults"][0]["hosts"] == ["h2"]
    assert not list(tmp_path.glob("colony-up-*"))


def wait_for(holds: Any, patience_s: float) -> None:
    """Wait until something holds."""
    end_s = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < end_s, "it took too long"
        time.sleep(0.05)


# -- keys --------------------------------------------------------------------


@pytest.fixture
def up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return a run with five sleeping hosts and no cluster."""
    monkeypatch.setattr("colony.up.Fleet", SleepyFleet)
    monkeypatch.setattr("colony.up.STOP_S", 0.0)
    store = FakeStore({"status": status(), "events": {"events": [], "next": 0}})
    run = Up(Plan(), lambda *_, **__: store, dash=True, say=lambda _: None)
    run.fleet.found(5)
    run.watcher = Watcher(run._connect, ["tcp://x:1"])
    run.watcher.look()
    yield run
    run.watcher = None
    run._close()


def test_keys_act_on_the_selected_host(up: Up) -> None:
    def after(*keys: str) -> str:
        """Type keys; return the hosts that are not simply running."""
        for key in keys:
            assert up.press(key)
        odd = [host for host in up.fleet.hosts.values() if host.state is not State.RUNNING]
        return ", ".join(f"{host.name} {host.state.value}" for host in odd)

    assert after("k") == "", "nobody is selected"
    assert after("2", "s") == "h2 stalled"
    assert after("s") == ""
    assert after("down", "k") == "h3 killed"
    assert after("r") == ""
    assert after("1", "b") == "h1 killed, h4 killed"
    assert after("5", "d") == "h1 killed, h4 killed, h5 leaving"
    assert after("a") == "h1 killed, h4 killed, h5 leaving" and up.selected == "h6"
    assert [fault.what for fault in up.faults.all()] == ["stalled", "killed", "killed with box b1"]
    assert not up.press("q")


def test_the_frame_shows_what_was_done(up: Up) -> None:
    up.press("1")
    up.press("k")
    assert up.watcher is not None
    up.watcher.look()
    text = as_text(up.draw(Size()), Size())
    assert "KILLED" in text and "▶1 h1" in text and "kill -9, as you asked" in text and "k kill -9" in text


def test_a_host_that_somebody_else_killed_or_cut_off_is_a_fault_too(up: Up) -> None:
    up.tick()
    up.fleet.hosts["h2"].process.kill()
    up.fleet.hosts["h2"].process.wait()
    assert up.tick()
    assert up.watcher is not None
    gone = status(hosts=4)
    up._connect("x").answers["status"] = gone
    up.watcher.look()
    up.tick()
    assert [(fault.hosts, fault.what) for fault in up.faults.all()] == [
        (("h2",), "died"),
        (("h5",), "held dead"),
    ]


# -- bench -------------------------------------------------------------------


def test_percentiles_are_right_to_two_percent() -> None:
    durations = Durations()
    for number in range(1, 1001):
        durations.add(number / 1000)
    assert durations.percentile_s(0.5) == pytest.approx(0.5, rel=0.02)
    assert durations.percentile_s(0.99) == pytest.approx(0.99, rel=0.02)
    assert merged([durations, durations]).count == 2000 and durations.longest_s == 1.0
    assert Durations().percentile_s(0.5) == 0.0


def test_bench_runs_the_mix_and_reports_it() -> None:
    store = FakeStore()
    load = bench.Load(workers=2, for_s=0.5, warm_up_s=0.0, sessions=10, value_bytes=16)
    result = bench.run("tcp://x:1", load, lambda *_, **__: store)
    told = result.as_json()
    assert told["all"]["ops"] > 10 and told["reads"]["ops"] > told["writes"]["ops"] > 0 == told["failed"]
    assert "80% reads" in result.lines()[0] and store.is_closed and len(store.cells) == 10
