"""Session work: a mix of reads and writes, and read-modify-write."""

from __future__ import annotations

from typing import Any

from tests.bench import cluster as ours
from tests.bench.harness import KEYS, Plan, compare, duel, hammer
from tests.bench.redis_pair import RedisPair

THREADS = (8, 32)
MUST = 1.0


def run(plan: Plan) -> None:
    """Measure; adds rows to the plan."""
    with RedisPair() as redis, ours.Cluster(embedded=True) as cluster:
        _measure(plan, redis, "embedded", cluster.local_store(codec="raw"), cluster.local_store(), cluster)
    with RedisPair() as redis, ours.Cluster() as cluster:
        _measure(plan, redis, "thin", cluster.store(codec="raw"), cluster.store(), None)


def _measure(
    plan: Plan, redis: RedisPair, kind: str, raw: Any, pickled: Any, local: ours.Cluster | None
) -> None:
    def keys(prefix: str) -> list[str]:
        if local is not None:
            return local.keys_of("h0", KEYS, prefix)
        return [f"{prefix}:{number:08d}" for number in range(KEYS)]

    hashes, counts = keys("hash"), keys("count")
    for threads in THREADS:
        fought = duel(
            plan,
            lambda n=threads: hammer([ours.mixer(raw, hashes)] * n, plan.seconds),  # type: ignore[misc]
            lambda n=threads: hammer([redis.mixer(KEYS) for _ in range(n)], plan.seconds),  # type: ignore[misc]
        )
        compare(plan, f"session mix 80/20, {kind}, {threads} threads", fought, MUST)
    for threads in THREADS:
        fought = duel(
            plan,
            lambda n=threads: hammer([ours.counter(pickled, counts)] * n, plan.seconds),  # type: ignore[misc]
            lambda n=threads: hammer([redis.counter(KEYS) for _ in range(n)], plan.seconds),  # type: ignore[misc]
        )
        compare(plan, f"mutate versus Lua, {kind}, {threads} threads", fought, MUST)
