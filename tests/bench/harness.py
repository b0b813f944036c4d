"""Load loops, duels in turns, and the table of results."""

from __future__ import annotations

import asyncio
import statistics
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

VALUE = bytes(range(256)) * 4  # 1 KiB that no codec can shorten to nothing
KEYS = 4_096  # distinct keys per load: more than one colony has, less than a cache holds
WARM_UP_S = 0.3

Call = Callable[[int], object]
AsyncCall = Callable[[int], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one contestant.

    Attributes:
        rate: Calls per second.
        p50_ms: Median latency, milliseconds.
        p99_ms: 99th percentile, milliseconds.
    """

    rate: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        what: What was measured.
        ours: Our number, with its unit.
        theirs: Redis's number, or "" where there is none.
        measured: The figure that is compared with `must`.
        must: The bound, as a number.
        at_most: True when `measured` must not exceed `must`; else it must reach it.
        spread: Least and greatest `measured` of the rounds; far apart = a noisy machine.
    """

    what: str
    ours: str
    theirs: str = ""
    measured: float | None = None
    must: float | None = None
    at_most: bool = False
    spread: tuple[float, float] | None = None

    @property
    def verdict(self) -> str:
        """Return "met", "MISSED", or "" where nothing is demanded."""
        if self.measured is None or self.must is None:
            return ""
        good = self.measured <= self.must if self.at_most else self.measured >= self.must
        return "met" if good else "MISSED"


@dataclass(slots=True)
class Plan:
    """How long and how often; what the command line says."""

    seconds: float = 2.0
    rounds: int = 3
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        """Keep a row and show it at once: a long run is watched."""
        self.rows.append(row)
        print(render_row(row), flush=True)


def summary(latencies_s: list[float], elapsed_s: float) -> Sample:
    """Return rate and percentiles of one round."""
    if not latencies_s:
        return Sample(0.0, float("nan"), float("nan"))
    ordered = sorted(latencies_s)
    last = len(ordered) - 1
    p50_s, p99_s = (ordered[min(last, int(len(ordered) * share))] for share in (0.50, 0.99))
    return Sample(len(ordered) / elapsed_s, p50_s * 1e3, p99_s * 1e3)


def hammer(calls: Sequence[Call], seconds: float) -> Sample:
    """Run each of `calls` in a thread of its own, as fast as it answers; return the joint sample.

    A call gets a number that no other call of the round gets. Its exceptions end the round.
    """
    kept: list[list[float]] = [[] for _ in calls]
    failures: list[BaseException] = []
    stop = threading.Event()
    start = threading.Barrier(len(calls) + 1)

    def work(slot: int) -> None:
        call, mine, clock = calls[slot], kept[slot], time.perf_counter
        number = slot
        start.wait()
        try:
            while not stop.is_set():
                before = clock()
                call(number)
                mine.append(clock() - before)
                number += len(calls)
        except BaseException as error:
            failures.append(error)
            stop.set()

    threads = [threading.Thread(target=work, args=(slot,), daemon=True) for slot in range(len(calls))]
    for thread in threads:
        thread.start()
    start.wait()
    stop.wait(WARM_UP_S)
    skipped = [len(mine) for mine in kept]
    began = time.perf_counter()
    stop.wait(seconds)
    counted = [mine[skip : len(mine)] for mine, skip in zip(kept, skipped, strict=True)]
    elapsed_s = time.perf_counter() - began
    stop.set()
    for thread in threads:
        thread.join(timeout=30.0)
    if failures:
        raise failures[0]
    return summary([latency for mine in counted for latency in mine], elapsed_s)


async def hammer_async(calls: Sequence[AsyncCall], seconds: float) -> Sample:
    """As `hammer`, with tasks of this loop in place of threads."""
    kept: list[float] = []
    done = False

    async def work(slot: int) -> None:
        call, clock = calls[slot], time.perf_counter
        number = slot
        while not done:
            before = clock()
            await call(number)
            kept.append(clock() - before)
            number += len(calls)

    tasks = [asyncio.create_task(work(slot)) for slot in range(len(calls))]
    await asyncio.sleep(WARM_UP_S)
    skipped = len(kept)
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    counted, elapsed_s = kept[skipped:], time.perf_counter() - began
    done = True
    await asyncio.gather(*tasks)
    return summary(counted, elapsed_s)


@dataclass(frozen=True, slots=True)
class Duel:
    """Rounds of two sides, taken in turns: `pairs` are (ours, theirs), next to each other in time."""

    pairs: tuple[tuple[Sample, Sample], ...]

    @property
    def ours(self) -> Sample:
        """Our medians."""
        return median([ours for ours, _ in self.pairs])

    @property
    def theirs(self) -> Sample:
        """Their medians."""
        return median([theirs for _, theirs in self.pairs])

    def ratios(self, figure: Callable[[Sample], float]) -> list[float]:
        """Return ours : theirs of each pair, in order of size.

        A noisy neighbour changes both sides of a pair, but not their ratio as much.
        """
        return sorted(figure(ours) / figure(theirs) for ours, theirs in self.pairs)


def duel(plan: Plan, ours: Callable[[], Sample], theirs: Callable[[], Sample]) -> Duel:
    """Run both sides in turns, `plan.rounds` times each."""
    return Duel(tuple((ours(), theirs()) for _ in range(plan.rounds)))


def median(samples: Sequence[Sample]) -> Sample:
    """Return the field-wise median."""
    return Sample(
        statistics.median(sample.rate for sample in samples),
        statistics.median(sample.p50_ms for sample in samples),
        statistics.median(sample.p99_ms for sample in samples),
    )


def compare(plan: Plan, what: str, fought: Duel, must: float | None) -> None:
    """Add the row of a duel of rates: `must` is the least ratio ours : theirs."""
    ours, theirs = fought.ours, fought.theirs
    ratios = fought.ratios(lambda sample: sample.rate)
    plan.add(
        Row(
            what,
            f"{ours.rate:,.0f}/s p50 {ours.p50_ms:.2f} p99 {ours.p99_ms:.2f} ms",
            f"{theirs.rate:,.0f}/s p50 {theirs.p50_ms:.2f} p99 {theirs.p99_ms:.2f} ms",
            statistics.median(ratios),
            must,
            spread=(ratios[0], ratios[-1]),
        )
    )


def render_row(row: Row) -> str:
    """Return one fixed-width line."""
    bound = "" if row.must is None else f"{'≤' if row.at_most else '≥'} {row.must:g}"
    measured = "" if row.measured is None else f"{row.measured:.3g}"
    spread = "" if row.spread is None else f"{row.spread[0]:.3g}-{row.spread[1]:.3g}"
    figures = f"{row.ours:<38} {row.theirs:<38} {measured:>8} {spread:>11} {bound:>8}"
    return f"{row.what:<44} {figures} {row.verdict}".rstrip()


def heading() -> str:
    """Return the line above the rows."""
    return f"{'what':<44} {'colony':<38} {'redis':<38} {'measured':>8} {'spread':>11} {'must':>8}"


def note(text: str) -> None:
    """Say what is going on, beside the table."""
    print(f"# {text}", file=sys.stderr, flush=True)
