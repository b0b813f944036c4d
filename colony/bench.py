"""`colony bench`: the session workload against the connected cluster.

Closed loop: each thread or task sends its next operation when the last one
is answered. Times are of whole calls, as an application sees them.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import colony
from colony.errors import ColonyError
from colony.latency import Durations, merged

BIRTH_BATCH = 500  # sessions per call while they are born


class Sessions(Protocol):
    """What the workload needs of a store."""

    def get(self, key: str, /) -> Any: ...
    def set(self, key: str, value: Any, /, *, ttl: float | None = None) -> Any: ...
    def set_many(self, mapping: dict[Any, Any], /, *, ttl: float | None = None) -> Any: ...


class AsyncSessions(Protocol):
    """The same as coroutines."""

    def get(self, key: str, /) -> Awaitable[Any]: ...
    def set(self, key: str, value: Any, /, *, ttl: float | None = None) -> Awaitable[Any]: ...


@dataclass(frozen=True, slots=True)
class Load:
    """What kind of load.

    Attributes:
        workers: Threads, or asyncio tasks; each has one operation under way.
        is_async: Tasks of one event loop instead of threads.
        for_s: How long it is measured, seconds; > 0.
        warm_up_s: How long it runs before that; >= 0.
        sessions: How many keys.
        value_bytes: Size of a session.
        reads: Share of reads, 0 to 1.
        ttl_s: Time to live of sessions; None = for ever.
    """

    workers: int = 8
    is_async: bool = False
    for_s: float = 10.0
    warm_up_s: float = 1.0
    sessions: int = 1000
    value_bytes: int = 1024
    reads: float = 0.8
    ttl_s: float | None = 1800.0


@dataclass(slots=True)
class Tally:
    """What one worker measured; it is the only writer."""

    reads: Durations = field(default_factory=Durations)
    writes: Durations = field(default_factory=Durations)
    failed: int = 0

    def took(self, reads: bool, seconds: float) -> None:
        """Count one call."""
        (self.reads if reads else self.writes).add(seconds)


@dataclass(frozen=True, slots=True)
class Result:
    """What the load measured."""

    load: Load
    took_s: float
    reads: Durations
    writes: Durations
    failed: int

    def as_json(self) -> dict[str, Any]:
        """Return the result as `colony bench --json` prints it."""
        both = merged([self.reads, self.writes])
        return {
            "workers": self.load.workers,
            "async": self.load.is_async,
            "sessions": self.load.sessions,
            "value_bytes": self.load.value_bytes,
            "reads_share": self.load.reads,
            "took_s": round(self.took_s, 3),
            "failed": self.failed,
            "all": _figures(both, self.took_s),
            "reads": _figures(self.reads, self.took_s),
            "writes": _figures(self.writes, self.took_s),
        }

    def lines(self) -> list[str]:
        """Return the result as lines for people."""
        kind = "tasks" if self.load.is_async else "threads"
        lines = [
            f"{self.load.workers} {kind}, {self.load.sessions:,} sessions of {self.load.value_bytes:,} B, "
            f"{self.load.reads:.0%} reads, {self.took_s:.1f} s",
            f"{'':8}{'ops/s':>10}{'p50 ms':>10}{'p99 ms':>10}{'p99.9 ms':>10}{'max ms':>10}",
        ]
        told = self.as_json()
        for name in ("all", "reads", "writes"):
            row = told[name]
            lines.append(
                f"{name:8}{row['ops_s']:>10,.0f}{row['p50_ms']:>10.3f}{row['p99_ms']:>10.3f}"
                f"{row['p999_ms']:>10.3f}{row['max_ms']:>10.3f}"
            )
        return lines + ([f"{self.failed} operations failed"] if self.failed else [])


def _figures(durations: Durations, took_s: float) -> dict[str, float]:
    return {
        "ops": durations.count,
        "ops_s": round(durations.count / took_s, 1) if took_s > 0 else 0.0,
        "p50_ms": round(durations.percentile_s(0.5) * 1000, 4),
        "p99_ms": round(durations.percentile_s(0.99) * 1000, 4),
        "p999_ms": round(durations.percentile_s(0.999) * 1000, 4),
        "max_ms": round(durations.longest_s * 1000, 4),
    }


def key_of(session: int) -> str:
    """Return the key of a session."""
    return f"bench/{session:012d}"


def give_birth(store: Sessions, load: Load) -> None:
    """Set every session once, so that reads find something."""
    value = os.urandom(load.value_bytes)
    for start in range(0, load.sessions, BIRTH_BATCH):
        numbers = range(start, min(load.sessions, start + BIRTH_BATCH))
        store.set_many({key_of(number): value for number in numbers}, ttl=load.ttl_s)


def calls_of(load: Load, worker: int) -> Iterator[tuple[str, bool]]:
    """Return the keys of one worker's calls, and whether each is a read; there is no end to them."""
    chance = random.Random(worker)
    while True:
        yield key_of(chance.randrange(load.sessions)), chance.random() < load.reads


def run_threads(store: Sessions, load: Load, clock: Callable[[], float] = time.perf_counter) -> Result:
    """Run the load in threads; returns when its time is over."""
    tallies = [Tally() for _ in range(load.workers)]
    begin_s = clock() + load.warm_up_s
    end_s = begin_s + load.for_s
    threads = [
        threading.Thread(target=_work, args=(store, load, number, tally, begin_s, end_s, clock), daemon=True)
        for number, tally in enumerate(tallies)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return _result(load, tallies, clock() - begin_s)


def _work(
    store: Sessions,
    load: Load,
    number: int,
    tally: Tally,
    begin_s: float,
    end_s: float,
    clock: Callable[[], float],
) -> None:
    value = os.urandom(load.value_bytes)
    for key, reads in calls_of(load, number):
        if (started_s := clock()) >= end_s:
            return
        try:
            if reads:
                store.get(key)
            else:
                store.set(key, value, ttl=load.ttl_s)
        except ColonyError:
            tally.failed += 1
            continue
        if started_s >= begin_s:
            tally.took(reads, clock() - started_s)


async def run_tasks(
    store: AsyncSessions, load: Load, clock: Callable[[], float] = time.perf_counter
) -> Result:
    """Run the load in tasks of this event loop; returns when its time is over."""
    tallies = [Tally() for _ in range(load.workers)]
    begin_s = clock() + load.warm_up_s
    end_s = begin_s + load.for_s
    work = (
        _work_async(store, load, number, tally, begin_s, end_s, clock) for number, tally in enumerate(tallies)
    )
    await asyncio.gather(*work)
    return _result(load, tallies, clock() - begin_s)


async def _work_async(
    store: AsyncSessions,
    load: Load,
    number: int,
    tally: Tally,
    begin_s: float,
    end_s: float,
    clock: Callable[[], float],
) -> None:
    value = os.urandom(load.value_bytes)
    for key, reads in calls_of(load, number):
        if (started_s := clock()) >= end_s:
            return
        try:
            if reads:
                await store.get(key)
            else:
                await store.set(key, value, ttl=load.ttl_s)
        except ColonyError:
            tally.failed += 1
            continue
        if started_s >= begin_s:
            tally.took(reads, clock() - started_s)


def _result(load: Load, tallies: list[Tally], took_s: float) -> Result:
    reads, writes = merged(tally.reads for tally in tallies), merged(tally.writes for tally in tallies)
    return Result(load, took_s, reads, writes, sum(tally.failed for tally in tallies))


def run(addresses: str, load: Load, connect: Callable[..., Any] | None = None) -> Result:
    """Give birth to the sessions, then run the load against a cluster.

    Args:
        addresses: Of hosts, comma-separated.
        connect: What opens a store; None = `colony.connect`.
    """
    store = (connect or colony.connect)(addresses, codec="raw")
    try:
        give_birth(store, load)
        return run_threads(store, load) if not load.is_async else asyncio.run(_run_async(addresses, load))
    finally:
        store.close()


async def _run_async(addresses: str, load: Load) -> Result:
    import colony.aio

    store = colony.aio.connect(addresses, codec="raw")
    try:
        return await run_tasks(store, load)
    finally:
        await store.close()
