"""Joins and leaves while serving: what a client's p99 is during the wave, beside quiet.

Eight hosts on four boxes, a moderate and steady load whose whole history is
checked. In turns: quiet, one host joins; quiet, two join; quiet, one leaves
by SIGTERM; quiet, two leave. A wave lasts from the joiners' first word (or the
signal) until nothing has moved any more. To start Python takes half a second of
a core, which elsewhere is on another box than that of those who serve: until
its first word a joiner stands back behind all others.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import colony
from tests.bench.harness import Plan, Row, Sample, note, summary
from tests.real.hosts import PATIENCE_S, Hosts, until
from tests.real.load import Load

HOSTS, BOXES, COLONIES, PEERS = 8, 4, 64, 2
CELLS, CELL_BYTES = 20_000, 1_024  # what there is to move, beside the cells of the load
RATE, THREADS = 400.0, 5  # operations per second in all: a third of a core here
QUIET_S = 10.0
STILL_S = 2.0  # nothing has moved for so long: the wave is over
LOOK_S = 0.25  # between two looks, in waves and in quiet alike
MUST_TIMES = 2.0


class Boxes(Hosts):
    """Hosts that end with this process, whatever becomes of it."""

    def _command(self, name: str, arguments: list[str]) -> list[str]:
        return [sys.executable, "-m", "colony.up_child", str(os.getpid()), "host", *arguments]


@dataclass
class Wave:
    """One wave, and the quiet before it.

    Attributes:
        what: In words.
        quiet_s: How long each operation took before it.
        busy_s: The same during it.
        lasted_s: How long it lasted.
        moved: Copies that came to stand elsewhere.
    """

    what: str
    quiet_s: list[float]
    busy_s: list[float]
    lasted_s: float
    moved: int


@dataclass
class Scene:
    """A cluster under load, and what is measured of it."""

    hosts: Hosts
    load: Load
    waves: list[Wave] = field(default_factory=list)

    def quiet(self, seconds: float) -> tuple[float, float]:
        """Let some time go by, looked at as often as waves are; return its beginning and end."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            self._look()
            time.sleep(LOOK_S)
        return began, time.monotonic()

    def wave(self, what: str, strike: Callable[[], Any], *, quiet_s: float) -> Wave:
        """Measure quiet, then what `strike` brings about (from when it says), until all is still."""
        quiet = self.quiet(quiet_s)
        before, began = _holders(self._look()), time.monotonic()
        began = strike() or began
        ended, after = self._still(before)
        moved = sum(len(after[colony] - before[colony]) for colony in before)
        wave = Wave(what, self._took(*quiet), self._took(began, ended), ended - began, moved)
        self.waves.append(wave)
        return wave

    def _took(self, since_s: float, until_s: float) -> list[float]:
        return [op.return_s - op.call_s for op in list(self.load.history) if since_s <= op.call_s < until_s]

    def _look(self) -> dict[str, Any]:
        """Return the status with its table; {} if nobody answers."""
        try:
            return self.hosts.status(table=True)
        except colony.ColonyError:
            return {}

    def _still(self, before: dict[int, frozenset[str]]) -> tuple[float, dict[int, frozenset[str]]]:
        """Wait until the wave is over; return when it was, and who holds what then."""
        seen, changed_s = before, time.monotonic()
        end_s = changed_s + PATIENCE_S
        while time.monotonic() < end_s:
            time.sleep(LOOK_S)
            status = self._look()
            if not status:
                continue
            table = _holders(status)
            here = {name for name, process in self.hosts.processes.items() if process.is_alive}
            active = {m["name"] for m in status["view"]["members"] if m["status"] == "ACTIVE"}
            healthy = status["colonies"]["healthy"] == self.hosts.colonies
            if table != seen or active != here or not healthy:
                seen, changed_s = table, time.monotonic()
            elif time.monotonic() - changed_s >= STILL_S:
                return changed_s, seen
        raise RuntimeError(f"not still in {PATIENCE_S:g} s: {active} of {here}, {status['colonies']}")


def run(plan: Plan) -> None:
    """Measure; adds rows to the plan.

    A figure is of the operations of all rounds together: of one wave p99 is its tenth slowest.
    """
    waves: list[Wave] = []
    with Boxes(HOSTS, boxes=BOXES, peers=PEERS, colonies=COLONIES) as hosts:
        fill(hosts)
        with Load(hosts.addresses, keys=300, writers=3, readers=2, rate=RATE / THREADS) as load:
            scene = Scene(hosts, load)
            for _ in range(plan.rounds):
                one_round(scene)
        note(f"history of {len(load.history)} operations: {load.verify()}")
        waves = scene.waves
    for what in dict.fromkeys(wave.what for wave in waves):
        _row(plan, what, [wave for wave in waves if wave.what == what])


def one_round(scene: Scene, quiet_s: float = QUIET_S) -> None:
    """One host joins, two join, one leaves, two leave: after it there are as many as before."""
    hosts = scene.hosts
    names: list[str] = []
    for what, strike in (
        ("one host joins", lambda: join(hosts, 1, names)),
        ("two hosts join at once", lambda: join(hosts, 2, names)),
        ("one host leaves", lambda: leave(hosts, names[:1])),
        ("two hosts leave at once", lambda: leave(hosts, names[1:])),
    ):
        wave = scene.wave(what, strike, quiet_s=quiet_s)
        quiet, busy = _samples([wave])
        note(
            f"{what}: {wave.lasted_s:.1f} s, {wave.moved} copies; p50 {quiet.p50_ms:.2f} -> "
            f"{busy.p50_ms:.2f}, p99 {quiet.p99_ms:.2f} -> {busy.p99_ms:.2f} ms "
            f"({busy.p99_ms / quiet.p99_ms:.2f} times), worst {max(wave.busy_s) * 1e3:.0f} ms"
        )


def join(hosts: Hosts, count: int, names: list[str]) -> float:
    """Start hosts, and wait for the first word of each; return when the first one came."""
    started = [hosts.start() for _ in range(count)]
    names += [process.name for process in started]
    silent, first_s = {process.name: process for process in started}, 0.0
    for process in started:
        be_nice(process.popen.pid, 19)

    def has_spoken() -> bool:
        nonlocal first_s
        for name in [name for name, process in silent.items() if process.log.stat().st_size]:
            first_s = first_s or time.monotonic()
            be_nice(silent.pop(name).popen.pid, 0)
        return not silent

    until(has_spoken, "the joiners' first words")
    return first_s


def be_nice(pid: int, nice: int) -> None:
    """Let all threads of a process stand back behind others, or no more."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.setpriority(os.PRIO_PROCESS, int(thread), nice)


def leave(hosts: Hosts, names: list[str]) -> None:
    """SIGTERM hosts, and wait until each has left by itself."""
    gone = [hosts.processes.pop(name) for name in names]
    for process in gone:
        process.popen.send_signal(signal.SIGTERM)
    for process in gone:
        status = process.popen.wait(PATIENCE_S)
        assert status == 0, f"{process.name} left with status {status}:\n{process.log.read_text()[-2000:]}"


def fill(hosts: Hosts, cells: int = CELLS, size: int = CELL_BYTES, prefix: str = "bulk-") -> None:
    """Write cells that have something to move."""
    value = random.Random(1).randbytes(size)
    with colony.connect(hosts.addresses, codec="raw", timeout=20.0) as store:
        for at in range(0, cells, 500):
            store.set_many({f"{prefix}{number}": value for number in range(at, min(at + 500, cells))})
    until(lambda: hosts.healthy(), "healthy after the first writes")


def _holders(status: dict[str, Any]) -> dict[int, frozenset[str]]:
    rows = status.get("table", ())
    return {row["colony"]: frozenset([row["primary"], *row["secondaries"]]) for row in rows}


def _samples(waves: list[Wave]) -> tuple[Sample, Sample]:
    """Return quiet and busy operations of some waves, each taken together."""
    lasted_s = sum(wave.lasted_s for wave in waves)
    quiet_s = [took for wave in waves for took in wave.quiet_s]
    busy_s = [took for wave in waves for took in wave.busy_s]
    return summary(quiet_s, lasted_s), summary(busy_s, lasted_s)


def _row(plan: Plan, what: str, waves: list[Wave]) -> None:
    quiet, busy = _samples(waves)
    single = sorted(b.p99_ms / q.p99_ms for q, b in (_samples([wave]) for wave in waves))
    lasted_s = statistics.median(wave.lasted_s for wave in waves)
    text = f"p99 {quiet.p99_ms:.2f} -> {busy.p99_ms:.2f} ms, {lasted_s:.1f} s"
    figure, spread = busy.p99_ms / quiet.p99_ms, (single[0], single[-1])
    plan.add(Row(f"{what}, p99 times quiet", text, "", figure, MUST_TIMES, True, spread))
