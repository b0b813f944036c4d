"""From the loss of a host to the first write on its keys."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import colony
from tests.bench import cluster as ours
from tests.bench.harness import VALUE, Plan, Row, note

MUST_KILL_S = 0.25
MUST_STALL_S = 2.0
_KEYS = 8
_LIMIT_S = 20.0


def run(plan: Plan) -> None:
    """Measure; adds rows to the plan. Three hosts; each round loses one and starts afresh."""
    killed = [_pause_s(lambda cluster: cluster.kill("h1")) for _ in range(plan.rounds)]
    stalled = [_pause_s(lambda cluster: cluster.stall("h1")) for _ in range(plan.rounds)]
    note(f"kill -9: {killed}; SIGSTOP: {stalled}")
    for what, pauses, must in (
        ("kill -9 to first acknowledged write", killed, MUST_KILL_S),
        ("SIGSTOP to first acknowledged write", stalled, MUST_STALL_S),
    ):
        middle = statistics.median(pauses)
        plan.add(Row(f"{what}, median", f"{middle * 1e3:,.0f} ms", "", middle, must, at_most=True))


def _pause_s(strike: Callable[[ours.Cluster], None]) -> float:
    with ours.Cluster(hosts=3) as cluster:
        store = cluster.store(codec="raw", timeout=_LIMIT_S)
        keys = cluster.keys_of("h1", _KEYS)
        for key in keys:
            store.set(key, VALUE)
        struck = time.perf_counter()
        strike(cluster)
        _write(store, keys[0])
        return time.perf_counter() - struck


def _write(store: Any, key: str) -> None:
    deadline = time.perf_counter() + _LIMIT_S
    while True:
        try:
            store.set(key, VALUE)
            return
        except (colony.Unavailable, colony.OutcomeUnknown):
            if time.perf_counter() > deadline:
                raise
