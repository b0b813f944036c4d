"""The thin client: writes and reads by threads, hosts elsewhere."""

from __future__ import annotations

from tests.bench import cluster as ours
from tests.bench.harness import KEYS, Plan, compare, duel, hammer
from tests.bench.redis_pair import RedisPair

MUST_SET = {1: 0.4, 8: 1.0, 32: 2.0, 128: 3.0}
MUST_GET = {1: 0.6, 8: 1.0, 32: 1.5}


def run(plan: Plan) -> None:
    """Measure; adds rows to the plan."""
    keys = [f"session:{number:08d}" for number in range(KEYS)]
    with RedisPair() as redis, ours.Cluster() as cluster:
        store = cluster.store(codec="raw")
        for threads, must in MUST_SET.items():
            fought = duel(
                plan,
                lambda n=threads: hammer([ours.setter(store, keys)] * n, plan.seconds),  # type: ignore[misc]
                lambda n=threads: hammer([redis.setter(KEYS) for _ in range(n)], plan.seconds),  # type: ignore[misc]
            )
            compare(plan, f"thin client replicated SET, {threads} threads", fought, must)
        for threads, must in MUST_GET.items():
            fought = duel(
                plan,
                lambda n=threads: hammer([ours.getter(store, keys)] * n, plan.seconds),  # type: ignore[misc]
                lambda n=threads: hammer([redis.getter(KEYS) for _ in range(n)], plan.seconds),  # type: ignore[misc]
            )
            compare(plan, f"thin client GET, {threads} threads", fought, must)
