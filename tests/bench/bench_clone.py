"""A clone of 100,000 cells of 1 KiB, while clients write."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from tests.bench import cluster as ours
from tests.bench.harness import VALUE, Plan, Row, summary

CELLS = 100_000
_BATCH = 1_000
_QUIET_S = 3.0
_SETTLE_S = 1.0
_LOOK_S = 0.02
_WRITERS = 4
MUST_MB_S = 100.0
MUST_P99_TIMES = 3.0


class _Writers:
    """Threads that go on writing; `cut` returns what came since the last cut."""

    def __init__(self, store: Any) -> None:
        self._kept: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(store, slot), daemon=True) for slot in range(_WRITERS)
        ]
        for thread in self._threads:
            thread.start()

    def _work(self, store: Any, slot: int) -> None:
        number = slot
        while not self._stop.is_set():
            before = time.perf_counter()
            store.set(_key(number % CELLS), VALUE)
            self._kept.append((before, time.perf_counter() - before))
            number += _WRITERS

    def p99_ms(self, since_s: float, until_s: float) -> float:
        """Return the 99th percentile of the writes begun in that time."""
        taken = [took for began, took in list(self._kept) if since_s <= began < until_s]
        return summary(taken, until_s - since_s).p99_ms

    def stop(self) -> None:
        """End them."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=10.0)


def run(plan: Plan) -> None:
    """Measure; adds rows to the plan. One host is full, then a second one joins.

    Quiet is when the clone is over: the same writers, replicated by the same two
    hosts, and looked at as often. Before it there is one host, and no replication.
    """
    with ours.Cluster(hosts=1) as cluster:
        store = cluster.store(codec="raw")
        for at in range(0, CELLS, _BATCH):
            store.set_many({_key(number): os.urandom(1_024) for number in range(at, at + _BATCH)})
        writers = _Writers(store)
        alone_from = time.perf_counter()
        time.sleep(_QUIET_S)
        alone_to = time.perf_counter()
        cluster.start(1)
        began, ended = _watch(cluster)
        time.sleep(_SETTLE_S)
        quiet_from = time.perf_counter()
        while time.perf_counter() - quiet_from < _QUIET_S:
            cluster.status(table=True)
            time.sleep(_LOOK_S)
        quiet_to = time.perf_counter()
        writers.stop()
        alone = writers.p99_ms(alone_from, alone_to)
        quiet = writers.p99_ms(quiet_from, quiet_to)
        busy = writers.p99_ms(began, ended)
    rate = CELLS * len(VALUE) / (ended - began) / 1e6
    plan.add(Row("clone of 100,000 x 1 KiB while serving", f"{rate:,.0f} MB/s", "", rate, MUST_MB_S))
    text = f"{quiet:.2f} -> {busy:.2f} ms ({alone:.2f} on one host)"
    plan.add(Row("... writers' p99, times quiet", text, "", busy / quiet, MUST_P99_TIMES, at_most=True))


def _watch(cluster: ours.Cluster) -> tuple[float, float]:
    """Return when the joiner was in the view, and when every colony had its second peer."""
    deadline = time.perf_counter() + 120.0
    began = None
    while time.perf_counter() < deadline:
        state = cluster.status(table=True)
        now = time.perf_counter()
        if began is None and len(state["view"]["members"]) == 2:
            began = now
        if began is not None and all(row["secondaries"] for row in state["table"]):
            return began, now
        time.sleep(_LOOK_S)
    raise RuntimeError("the clone did not end in time")


def _key(number: int) -> str:
    return f"session:{number:029d}"
