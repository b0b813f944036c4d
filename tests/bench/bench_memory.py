"""Memory per 1 KiB session and copy."""

from __future__ import annotations

import os
from typing import Any

import psutil

from tests.bench import cluster as ours
from tests.bench.harness import Plan, Row
from tests.bench.redis_pair import RedisPair

SESSIONS = 100_000
COPIES = 2
_BATCH = 1_000
MUST_BYTES = 1.5 * 1_024


def run(plan: Plan) -> None:
    """Measure; adds a row to the plan. Keys have 37 characters, values are random."""
    with ours.Cluster() as cluster:
        store = cluster.store(codec="raw")
        before = cluster.rss_bytes()
        for at in range(0, SESSIONS, _BATCH):
            store.set_many({_key(number): os.urandom(1_024) for number in range(at, at + _BATCH)})
        mine = (cluster.rss_bytes() - before) / SESSIONS / COPIES
    with RedisPair() as redis:
        before = _rss(redis)
        pipe: Any = redis.client().pipeline(transaction=False)
        for at in range(0, SESSIONS, _BATCH):
            for number in range(at, at + _BATCH):
                pipe.set(_key(number), os.urandom(1_024))
            pipe.execute_command("WAIT", 1, 5_000)
            pipe.execute()
        other = (_rss(redis) - before) / SESSIONS / COPIES
    what = "memory per 1 KiB session and copy"
    plan.add(Row(what, f"{mine:,.0f} B", f"{other:,.0f} B", mine, MUST_BYTES, at_most=True))


def _key(number: int) -> str:
    return f"session:{number:029d}"


def _rss(redis: RedisPair) -> int:
    return sum(psutil.Process(pid).memory_info().rss for pid in redis.pids())
