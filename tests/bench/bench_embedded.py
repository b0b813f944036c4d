"""The embedded store: writes by threads and tasks, and local reads."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from typing import Any

from tests.bench import cluster as ours
from tests.bench.harness import KEYS, Duel, Plan, Row, Sample, compare, duel, hammer, hammer_async
from tests.bench.redis_pair import RedisPair

MUST = {1: 0.9, 8: 2.5, 32: 3.5}
MUST_ASYNC = {32: 3.0, 128: 4.0}
READ_P50_US_MAX = 5.0
READ_TIMES_REDIS = 20.0
_READS = 20_000  # of one round; some 0.1 s


def run(plan: Plan) -> None:
    """Measure; adds rows to the plan."""
    with RedisPair() as redis, ours.Cluster(embedded=True) as cluster:
        store = cluster.local_store(codec="raw")
        # A session's requests come to the host that holds it: that is what embedding is for.
        local = cluster.keys_of("h0", KEYS)
        for threads, must in MUST.items():
            fought = duel(
                plan,
                lambda n=threads: hammer([ours.setter(store, local)] * n, plan.seconds),  # type: ignore[misc]
                lambda n=threads: hammer([redis.setter(KEYS) for _ in range(n)], plan.seconds),  # type: ignore[misc]
            )
            compare(plan, f"embedded replicated SET, {threads} threads", fought, must)
            if threads == 32:
                _tail(plan, fought)
        everywhere = [f"session:{number:08d}" for number in range(KEYS)]
        fought = duel(
            plan,
            lambda: hammer([ours.setter(store, everywhere)] * 8, plan.seconds),
            lambda: hammer([redis.setter(KEYS) for _ in range(8)], plan.seconds),
        )
        compare(plan, "embedded SET, any host's keys, 8 threads", fought, None)
        _tasks(plan, cluster, redis, local)
        _reads(plan, store, redis, local)


def _tail(plan: Plan, fought: Duel) -> None:
    ratios = fought.ratios(lambda sample: sample.p99_ms)
    plan.add(
        Row(
            "p99 at 32 threads, embedded",
            f"{fought.ours.p99_ms:.2f} ms",
            f"{fought.theirs.p99_ms:.2f} ms",
            statistics.median(ratios),
            1.0,
            at_most=True,
            spread=(ratios[0], ratios[-1]),
        )
    )


def _tasks(plan: Plan, cluster: ours.Cluster, redis: RedisPair, keys: list[str]) -> None:
    for tasks, must in MUST_ASYNC.items():
        fought = duel(plan, _ours_async(plan, cluster, keys, tasks), _theirs_async(plan, redis, tasks))
        compare(plan, f"embedded asyncio SET, {tasks} tasks", fought, must)


def _ours_async(plan: Plan, cluster: ours.Cluster, keys: list[str], tasks: int) -> Callable[[], Sample]:
    async def main() -> Sample:
        store: Any = cluster.host.aio_store(codec="raw")
        sample = await hammer_async([ours.async_setter(store, keys)] * tasks, plan.seconds)
        await store.close()
        return sample

    return lambda: asyncio.run(main())


def _theirs_async(plan: Plan, redis: RedisPair, tasks: int) -> Callable[[], Sample]:
    async def main() -> Sample:
        client = redis.async_client(tasks)
        sample = await hammer_async([redis.async_setter(client, KEYS)] * tasks, plan.seconds)
        await client.aclose()
        return sample

    return lambda: asyncio.run(main())


def _reads(plan: Plan, store: Any, redis: RedisPair, keys: list[str]) -> None:
    """Time single reads: at microseconds each, the clock's own cost is taken off."""
    for key in keys:
        store.set(key, b"x" * 1_024)
    mine = statistics.median(_read_p50_us(lambda n: store.get(keys[n % KEYS])) for _ in range(plan.rounds))
    call = redis.getter(KEYS)
    other = statistics.median(_read_p50_us(call, 2_000) for _ in range(plan.rounds))
    plan.add(
        Row(
            "embedded read of a local primary, p50",
            f"{mine:.2f} µs",
            f"{other:.1f} µs",
            mine,
            READ_P50_US_MAX,
            at_most=True,
        )
    )
    plan.add(Row("... times faster than Redis GET", "", "", other / mine, READ_TIMES_REDIS))


def _read_p50_us(call: Callable[[int], object], count: int = _READS) -> float:
    clock = time.perf_counter_ns
    taken, idle = [], []
    for number in range(count):
        before = clock()
        call(number)
        after = clock()
        taken.append(after - before)
        idle.append(clock() - after)
    return (statistics.median(taken) - statistics.median(idle)) / 1e3
