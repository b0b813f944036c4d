"""The probe: what this machine says about itself.

The one module of this floor that touches the world, and the one door of
psutil. In a container psutil reports the box, so the limits of the control
group (of version 2, or of version 1) come first. All of it may block for some hundred microseconds:
sample once a second, not per message.

Figures that can't be had degrade to harmless ones: an identity of "" attests
no death, and `process_gone` is False when unsure.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import uuid
from dataclasses import dataclass
from hashlib import blake2s
from pathlib import Path
from typing import Literal, NamedTuple

import psutil

from placement.labels import Labels

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
ON_LINUX: bool = sys.platform == "linux"
ENDED = frozenset("ZX")  # zombie, dead: proc(5)
STOPPED = frozenset("Tt")  # by a signal, by a debugger: likewise
# Start times are whole clock ticks, 10 ms apart; half of one is room for the float.
SAME_START_S = 0.005


@dataclass(frozen=True, slots=True)
class Card:
    """A network card that is up, and its IP addresses."""

    name: str
    addresses: tuple[str, ...]
    loopback: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """What a host has, as its heartbeat tells the others.

    Attributes:
        cpu: Share of the CPUs that it may use which is in use, 0 to 1.
        memory_free: Bytes it may still take.
        memory_total: Bytes it may have in all.
        cpu_machine: Share of all CPUs of the machine which is in use.
        cpu_own: Share of these that this process uses.
        cpu_group: Share of a quota of its control group that other processes in it use.
    """

    cpu: float
    memory_free: int
    memory_total: int
    cpu_machine: float = 0.0
    cpu_own: float = 0.0
    cpu_group: float = 0.0


# -- who and where ----------------------------------------------------------------


def machine_identity() -> str:
    """Return what processes share that can see each other die; "" = unknown.

    The boot, the machine, and the namespaces in which process ids and start
    times mean the same. Only between equal, non-empty identities may
    `process_gone` be believed.
    """
    # A foreign /proc (mounted from another pid namespace) speaks of other processes: then no identity.
    if _link(PROC / "self") != str(os.getpid()):
        return ""
    boot = _text(PROC / "sys/kernel/random/boot_id")
    pids = _link(PROC / "self/ns/pid")
    if not boot or not pids:
        return ""
    return "/".join((boot, _machine_id(), pids, _link(PROC / "self/ns/time")))


def default_labels() -> Labels:
    """Return labels with the box this runs on; zone and rack stay unknown.

    Containers of one machine share its boot id while their machine ids are
    those of their images, so the boot id comes first: it calls no two
    processes apart that the same kernel runs.
    """
    identity = _text(PROC / "sys/kernel/random/boot_id") or _machine_id() or f"{uuid.getnode():012x}"
    return Labels(box=blake2s(identity.encode(), digest_size=4).hexdigest())


def network_cards() -> tuple[Card, ...]:
    """Return the cards that are up and have an IP address, by name."""
    up = {name for name, card in psutil.net_if_stats().items() if card.isup}
    cards = []
    for name, entries in sorted(psutil.net_if_addrs().items()):
        addresses = tuple(
            entry.address.partition("%")[0]
            for entry in entries
            if entry.family in (socket.AF_INET, socket.AF_INET6)
        )
        if name in up and addresses:
            loopback = any(address.startswith("127.") or address == "::1" for address in addresses)
            cards.append(Card(name, addresses, loopback))
    return tuple(cards)


# -- processes --------------------------------------------------------------------


def process_started_s(pid: int | None = None) -> float:
    """Return when a process (default: this one) started; 0.0 = unknown.

    On Linux in seconds since boot, as the kernel counts them: unlike a wall
    clock's time it is the same for every reader at any time. Compare it, with
    `process_gone`; don't show it.
    """
    pid = os.getpid() if pid is None else pid
    if ON_LINUX:
        stat = _stat(PROC / str(pid))
        return stat[1] if stat else 0.0
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0


def process_gone(pid: int, started_s: float) -> bool:
    """Return whether the process that had this pid and start time can do nothing any more.

    That is so if no such process exists, if it is a zombie all of whose
    threads have ended, or if its pid now belongs to another process. False
    when unsure. Only for a pid of the same `machine_identity`.

    Args:
        pid: Process id; at most 0 = unknown, never gone.
        started_s: Its `process_started_s`; 0 = unknown, so that a process
            with this pid, whichever it is, counts as that one.
    """
    return process_state(pid, started_s) == "gone"


def process_state(pid: int, started_s: float) -> Literal["runs", "stopped", "gone"]:
    """Return what a process is doing: gone as `process_gone` has it, or stopped (SIGSTOP, a debugger).

    Arguments as of `process_gone`; "runs" when unsure.
    """
    if pid <= 0:
        return "runs"
    try:
        os.kill(pid, 0)  # unlike /proc, which hidepid= can hide, it tells absent from not ours
    except ProcessLookupError:
        return "gone"
    except (PermissionError, OverflowError):
        pass
    stat = _stat(PROC / str(pid)) if ON_LINUX else None
    if stat is None:
        return "runs"
    state, started_now_s = stat
    if started_s > 0 and abs(started_now_s - started_s) > SAME_START_S:
        return "gone"
    # A leader that ended is a zombie while its other threads still run (and may still send).
    if state in ENDED and _threads(PROC / str(pid)) == [pid]:
        return "gone"
    return "stopped" if state in STOPPED else "runs"


def process_with(variable: str, value: str) -> int | None:
    """Return the process that was started with this in its environment, or None.

    Of those that this user may look at; looks at every process, so not often.
    """
    for process in psutil.process_iter():
        try:
            if process.environ().get(variable) == value and not process_gone(process.pid, 0.0):
                return process.pid
        except (psutil.Error, OSError):
            continue
    return None


def _threads(process: Path) -> list[int]:
    try:
        return sorted(int(name) for name in os.listdir(process / "task"))
    except (OSError, ValueError):
        return []


def _stat(process: Path) -> tuple[str, float] | None:
    """Return (state, start in seconds since boot) from /proc/<pid>/stat; None = can't be read."""
    text = _text(process / "stat")
    # The name in parentheses may hold spaces and parentheses: fields count from the last one (proc(5)).
    fields = text[text.rfind(")") + 1 :].split()
    if len(fields) < 20 or not fields[19].isdigit():
        return None
    return fields[0], int(fields[19]) / os.sysconf("SC_CLK_TCK")


# -- resources --------------------------------------------------------------------


class Sampler:
    """Measures this host's resources; one thread at a time, about once a second."""

    def __init__(self, *, cgroups: Path = CGROUPS, proc: Path = PROC) -> None:
        self._groups = _own_groups(cgroups, proc)
        self._usage_s: dict[Path, float] = {}
        self._before_s: float | None = None
        self._own_s = time.process_time()
        psutil.cpu_percent(None)  # the first answer has nothing to compare with

    def sample(self, now_s: float) -> Sample:
        """Return what there is now; CPU is the mean since the sample before (0 at the first).

        Args:
            now_s: Monotonic seconds; later than at the sample before.
        """
        memory = psutil.virtual_memory()
        free, total = int(memory.available), int(memory.total)
        for group in self._groups:
            limit = _number(group.memory / group.names.memory_max)
            if limit is not None:
                total = min(total, limit)
                free = min(free, limit - _working_set(group))
        elapsed_s = 0.0 if self._before_s is None else now_s - self._before_s
        self._before_s = now_s
        before_s, self._own_s = self._own_s, time.process_time()
        own = (self._own_s - before_s) / elapsed_s if elapsed_s > 0 else 0.0  # in CPUs
        machine = psutil.cpu_percent(None) / 100
        quota, others = self._quota_used(elapsed_s, own)
        # A quota that is used up and a box that is busy both leave nothing: the worse of the two counts.
        cpu = _share(max(machine, quota))
        own_share = _share(own / (os.cpu_count() or 1))
        return Sample(cpu, max(0, free), total, _share(machine), own_share, _share(others))

    def _quota_used(self, elapsed_s: float, own: float) -> tuple[float, float]:
        """Return what is used of the tightest quota, and what others than this process use of any."""
        shares, others = [0.0], [0.0]
        for group in self._groups:
            cpus, usage_s = _cpus_allowed(group), _usage_s(group)
            before_s = self._usage_s.get(group.usage)
            self._usage_s[group.usage] = usage_s
            if cpus and before_s is not None and elapsed_s > 0:
                shares.append((usage_s - before_s) / (elapsed_s * cpus))
                others.append(shares[-1] - own / cpus)
        return max(shares), max(others)


def _share(share: float) -> float:
    return min(1.0, max(0.0, share))


class _Names(NamedTuple):
    """What the files of a control group are called."""

    memory_max: str
    memory_now: str
    reclaimable: str


V1 = _Names("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = _Names("memory.max", "memory.current", "inactive_file")


class _Group(NamedTuple):
    """One level of this process' control groups; of version 1 there is one for each controller."""

    memory: Path
    cpu: Path
    usage: Path
    names: _Names


def _own_groups(cgroups: Path, proc: Path) -> list[_Group]:
    """Return the control groups this process is in, leaf first: each may set a limit."""
    found, of_v1 = [], {"memory": "", "cpu": "", "cpuacct": ""}
    for line in _text(proc / "self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if ".." in path or not path.startswith("/"):
            continue
        if line.startswith("0::/"):
            found += [_Group(level, level, level, V2) for level in _chain(cgroups, path)]
        for controller in of_v1.keys() & set(controllers.split(",")):
            of_v1[controller] = path
    roots = {controller: cgroups / controller for controller in of_v1}
    memory, cpu, usage = (_chain(roots[one], of_v1[one]) for one in ("memory", "cpu", "cpuacct"))
    for n in range(max(len(memory), len(cpu))):
        where = [levels[min(n, len(levels) - 1)] for levels in (memory, cpu, usage) if levels]
        if len(where) == 3:
            found.append(_Group(where[0], where[1], where[2], V1))
    return [
        group for group in found if (group.memory / group.names.memory_max).exists() or _limits_cpu(group)
    ]


def _chain(root: Path, path: str) -> list[Path]:
    """Return a group and all above it; in a namespace that hides its path, what is mounted there."""
    leaf = root / path.lstrip("/")
    if not path or not leaf.is_dir():
        return [root] if root.is_dir() and path else []
    chain = [leaf, *leaf.parents]
    return chain[: chain.index(root) + 1]


def _limits_cpu(group: _Group) -> bool:
    return (group.cpu / ("cpu.cfs_quota_us" if group.names is V1 else "cpu.max")).exists()


def _working_set(group: _Group) -> int:
    """Return the memory of a group that can't simply be reclaimed, as the kubelet counts it."""
    used = _number(group.memory / group.names.memory_now) or 0
    return used - _field(group.memory / "memory.stat", group.names.reclaimable)


def _cpus_allowed(group: _Group) -> float:
    """Return how many CPUs the quota of a group amounts to; 0 = no quota."""
    if group.names is V1:
        quota, period = (_text(group.cpu / f"cpu.cfs_{which}_us") for which in ("quota", "period"))
    else:
        quota, _, period = _text(group.cpu / "cpu.max").partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else 0.0


def _usage_s(group: _Group) -> float:
    """Return the CPU time that a group has used."""
    if group.names is V1:
        return (_number(group.usage / "cpuacct.usage") or 0) / 1e9
    return _field(group.usage / "cpu.stat", "usage_usec") / 1e6


def _field(path: Path, name: str) -> int:
    for line in _text(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdigit():
            return int(value)
    return 0


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None


def _machine_id() -> str:
    return _text(Path("/etc/machine-id")) or _text(Path("/var/lib/dbus/machine-id"))


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _link(path: Path) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
