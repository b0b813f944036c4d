"""Pipelined writes of one client: many cells in one call."""

from __future__ import annotations

from typing import Any

from tests.bench import cluster as ours
from tests.bench.harness import KEYS, VALUE, Plan, Row, Sample, duel, hammer
from tests.bench.redis_pair import RedisPair

BATCH = 1_000
MUST_PER_S = 60_000.0


def run(plan: Plan) -> None:
    """Measure; adds a row to the plan."""
    keys = [f"session:{number:08d}" for number in range(KEYS)]
    batches = [dict.fromkeys(keys[at : at + BATCH], VALUE) for at in range(0, KEYS - BATCH, BATCH)]
    with RedisPair() as redis, ours.Cluster() as cluster:
        store = cluster.store(codec="raw")
        pipe = redis.client().pipeline(transaction=False)

        def mine(number: int) -> None:
            store.set_many(batches[number % len(batches)])

        def other(number: int) -> None:
            _redis_batch(pipe, batches[number % len(batches)])

        fought = duel(plan, lambda: hammer([mine], plan.seconds), lambda: hammer([other], plan.seconds))
    _row(plan, fought.ours, fought.theirs)


def _redis_batch(pipe: Any, batch: dict[str, bytes]) -> None:
    for key, value in batch.items():
        pipe.set(key, value)
    pipe.execute_command("WAIT", 1, 1_000)
    if pipe.execute()[-1] < 1:
        raise RuntimeError("the replica did not acknowledge")


def _row(plan: Plan, mine: Sample, other: Sample) -> None:
    rate = mine.rate * BATCH
    ours_text, theirs_text = f"{rate:,.0f}/s", f"{other.rate * BATCH:,.0f}/s"
    plan.add(Row("pipelined writes (set_many), 1 client", ours_text, theirs_text, rate, MUST_PER_S))
