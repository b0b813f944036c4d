"""The probe: identities, processes and limits, read as the kernel writes them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from placement import probe

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
MIB = 1 << 20


def wait_until(met: Callable[[], bool], *, for_s: float = 5.0) -> bool:
    deadline_s = time.monotonic() + for_s
    while time.monotonic() < deadline_s:
        if met():
            return True
        time.sleep(0.002)
    return False


# -- who and where ----------------------------------------------------------------


@linux
def test_processes_of_one_machine_and_namespace_share_an_identity() -> None:
    ours = probe.machine_identity()
    script = "from placement import probe; print(probe.machine_identity(), probe.default_labels().box)"
    root = Path(probe.__file__).parents[1]
    theirs = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    assert theirs.stdout.split() == [ours, probe.default_labels().box]
    assert "pid:[" in ours


@linux
def test_without_boot_id_or_with_a_foreign_proc_there_is_no_identity(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(probe, "PROC", tmp_path)
    assert probe.machine_identity() == ""
    (tmp_path / "self").symlink_to("1")  # somebody else's
    assert probe.machine_identity() == ""


def test_the_default_box_is_short_and_the_rest_unknown() -> None:
    labels = probe.default_labels()
    assert len(labels.box) == 8
    assert (labels.zone, labels.rack) == ("", "")


def test_loopback_is_among_the_network_cards() -> None:
    assert any(card.loopback and "127.0.0.1" in card.addresses for card in probe.network_cards())


# -- processes --------------------------------------------------------------------


def test_a_running_process_is_not_gone() -> None:
    me = os.getpid()
    assert not probe.process_gone(me, probe.process_started_s())
    assert not probe.process_gone(me, 0.0)


@pytest.mark.parametrize("pid", [0, -1])
def test_an_unknown_process_is_not_gone(pid: int) -> None:
    assert not probe.process_gone(pid, 1.0)


@linux
def test_a_pid_that_belongs_to_another_start_is_gone() -> None:
    assert probe.process_gone(os.getpid(), probe.process_started_s() - 0.01)


@linux
def test_start_times_agree_with_psutil_by_the_boot() -> None:
    since_epoch = psutil.Process().create_time()
    assert probe.process_started_s() == pytest.approx(since_epoch - psutil.boot_time(), abs=2.0)


@linux
def test_a_killed_process_is_gone_before_and_after_it_is_reaped() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        started_s = probe.process_started_s(child.pid)
        assert started_s > 0
        assert not probe.process_gone(child.pid, started_s)
        child.kill()
        assert wait_until(
            lambda: probe.process_gone(child.pid, started_s)
        )  # a zombie: nobody has waited for it
    finally:
        child.kill()
        child.wait()
    assert probe.process_gone(child.pid, started_s)
    assert probe.process_started_s(child.pid) == 0.0


@linux
def test_a_stopped_process_is_not_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        started_s = probe.process_started_s(child.pid)
        os.kill(child.pid, 19)
        assert wait_until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_STOPPED)
        assert not probe.process_gone(child.pid, started_s)
        assert probe.process_state(child.pid, started_s) == "stopped"
        os.kill(child.pid, 18)
        assert wait_until(lambda: probe.process_state(child.pid, started_s) == "runs")
    finally:
        child.kill()
        child.wait()
    assert probe.process_state(child.pid, started_s) == "gone"


@linux
def test_a_zombie_leader_whose_threads_still_run_is_not_gone() -> None:
    # The leader ends by the exit system call, which ends one thread; another one lives on.
    script = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "ctypes.CDLL(None).syscall(60 if __import__('os').uname().machine == 'x86_64' else 93, 0)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script])
    try:
        assert wait_until(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
        assert not probe.process_gone(child.pid, probe.process_started_s(child.pid))
    finally:
        child.kill()
        child.wait()


@linux
@pytest.mark.parametrize(
    ("stat", "threads", "gone"),
    [
        ("42 (a b) c) R 1 {} 100 0", ["42"], False),
        ("42 (a b) c) Z 1 {} 100 0", ["42"], True),
        ("42 (python) X 1 {} 100 0", ["42"], True),
        ("42 (python) Z 1 {} 100 0", ["42", "43"], False),
        ("42 (python) Z 1 {} 100 0", [], False),
        ("42 (python) R 1 {} 200 0", ["42"], True),
        ("42 (python) R", ["42"], False),
        ("", ["42"], False),
    ],
)
def test_a_process_is_judged_by_its_stat_and_threads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stat: str, threads: list[str], gone: bool
) -> None:
    for thread in threads:
        (tmp_path / "42/task" / thread).mkdir(parents=True)
    (tmp_path / "42").mkdir(exist_ok=True)
    (tmp_path / "42/stat").write_text(stat.format(" ".join("0" * 17)))
    monkeypatch.setattr(probe, "PROC", tmp_path)
    monkeypatch.setattr(os, "kill", lambda pid, signal: None)
    assert probe.process_gone(42, 100 / os.sysconf("SC_CLK_TCK")) is gone


@linux
def test_a_process_that_is_hidden_from_us_is_not_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(probe, "PROC", tmp_path)
    monkeypatch.setattr(os, "kill", refuse)
    assert not probe.process_gone(42, 1.0)


# -- resources --------------------------------------------------------------------


def group(at: Path, **files: str) -> None:
    at.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (at / name.replace("_", ".", 1)).write_text(text)


def sampler(tmp_path: Path, own: str) -> probe.Sampler:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(f"4:memory:/nowhere\n0::{own}\n")
    return probe.Sampler(cgroups=tmp_path / "cg", proc=tmp_path / "proc")


def test_without_control_groups_the_host_is_reported(tmp_path: Path) -> None:
    sample = sampler(tmp_path, "/nowhere").sample(1.0)
    assert sample.memory_total == psutil.virtual_memory().total
    assert 0 < sample.memory_free <= sample.memory_total
    assert 0 <= sample.cpu <= 1


def test_the_tightest_memory_limit_up_the_tree_counts_and_page_cache_is_free(tmp_path: Path) -> None:
    group(tmp_path / "cg/pod", memory_max=str(64 * MIB), memory_current=str(40 * MIB))
    (tmp_path / "cg/pod/memory.stat").write_text(f"anon 1\ninactive_file {10 * MIB}\n")
    group(tmp_path / "cg/pod/box", memory_max="max", memory_current=str(30 * MIB))
    sample = sampler(tmp_path, "/pod/box").sample(1.0)
    assert sample.memory_total == 64 * MIB
    assert sample.memory_free == 34 * MIB


def test_a_group_over_its_limit_has_nothing_free(tmp_path: Path) -> None:
    group(tmp_path / "cg", memory_max="1000", memory_current="2000")
    assert sampler(tmp_path, "/").sample(1.0).memory_free == 0


def test_a_quota_counts_by_what_is_used_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: 10.0)
    group(tmp_path / "cg/a", cpu_max="50000 100000", cpu_stat="usage_usec 1000000\nuser_usec 5")
    probed = sampler(tmp_path, "/a")
    assert probed.sample(10.0).cpu == pytest.approx(0.1)
    group(tmp_path / "cg/a", cpu_stat="usage_usec 1400000")
    assert probed.sample(11.0).cpu == pytest.approx(0.8)  # 0.4 s of the half CPU it may use
    group(tmp_path / "cg/a", cpu_stat="usage_usec 9400000")
    assert probed.sample(12.0).cpu == 1.0
    group(tmp_path / "cg/a", cpu_max="max 100000", cpu_stat="usage_usec 9900000")
    assert probed.sample(13.0).cpu == pytest.approx(0.1)


def test_what_others_use_of_a_quota_is_not_what_this_process_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used_s = iter((5.0, 5.0, 5.1))
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: 30.0)
    monkeypatch.setattr(time, "process_time", lambda: next(used_s))
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    group(tmp_path / "cg/a", cpu_max="50000 100000", cpu_stat="usage_usec 0")
    probed = sampler(tmp_path, "/a")
    assert probed.sample(10.0).cpu_group == 0.0
    group(tmp_path / "cg/a", cpu_stat="usage_usec 450000")
    last = probed.sample(11.0)
    assert (last.cpu, last.cpu_group) == pytest.approx((0.9, 0.7))  # 0.45 s, 0.1 s of them ours
    assert (last.cpu_machine, last.cpu_own) == pytest.approx((0.3, 0.025))


def test_limits_of_version_1_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval: 10.0)
    files = {
        "memory/memory.limit_in_bytes": str((1 << 63) - 4096),  # none
        "memory/v1/memory.limit_in_bytes": str(64 * MIB),
        "memory/v1/memory.usage_in_bytes": str(40 * MIB),
        "memory/v1/memory.stat": f"inactive_file 1\ntotal_inactive_file {10 * MIB}\n",
        "cpu/cpu.cfs_quota_us": "-1",
        "cpu/cpu.cfs_period_us": "100000",
        "cpu/a/b/cpu.cfs_quota_us": "50000",
        "cpu/a/b/cpu.cfs_period_us": "100000",
        "cpuacct/a/b/cpuacct.usage": "1000000000",
        "cpuacct/a/cpuacct.usage": "1000000000",
    }
    for name, text in files.items():
        (tmp_path / "cg" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cg" / name).write_text(text)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("4:memory:/v1\n3:cpuacct,cpu:/a/b\n0::/\n")
    probed = probe.Sampler(cgroups=tmp_path / "cg", proc=tmp_path / "proc")
    first = probed.sample(10.0)
    assert (first.memory_total, first.memory_free) == (64 * MIB, 34 * MIB)
    assert first.cpu == pytest.approx(0.1)
    (tmp_path / "cg/cpuacct/a/b/cpuacct.usage").write_text("1400000000")
    assert probed.sample(11.0).cpu == pytest.approx(0.8)


def test_sampling_is_cheap_enough_for_once_a_second() -> None:
    sampler = probe.Sampler()
    costs = []
    for _ in range(20):
        before = time.thread_time()
        sampler.sample(time.monotonic())
        costs.append(time.thread_time() - before)
    assert sorted(costs)[10] < 0.005  # measured 40 µs; 5 ms would be half a percent of a core
