"""Many simulated runs: `python -m tests.sim.batch --count 200 --plans pauses,links`.

Prints each run that broke something, the command that replays it, and counts.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing import get_context

from tests.sim.available_plans import SIDE_PLANS, play_any
from tests.sim.plans import PLANS
from tests.sim.splits import SPLITS

PART = 50  # runs that one process plays before it tells
Task = tuple[int, str]


@dataclass(slots=True)
class Tally:
    """What many runs came to.

    Attributes:
        broken: For each run that broke something: how to replay it, and what.
    """

    runs: int = 0
    operations: int = 0
    commits: int = 0
    promotions: int = 0
    lost: int = 0
    plans: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add what other runs came to."""
        self.runs += other.runs
        self.operations += other.operations
        self.commits += other.commits
        self.promotions += other.promotions
        self.lost += other.lost
        self.plans += other.plans
        self.broken += other.broken

    def __str__(self) -> str:
        return (
            f"{self.runs} histories, {self.operations} operations, {self.commits} commits, "
            f"{self.promotions} promotions, {self.lost} colonies named lost, {len(self.broken)} broken"
        )


def tasks(count: int, plans: tuple[str, ...], first_seed: int = 0) -> Iterator[Task]:
    """Yield `count` runs, plan after plan, seed after seed."""
    for number in range(count):
        yield first_seed + number // len(plans), plans[number % len(plans)]


def play_all(todo: list[Task]) -> Tally:
    """Play runs one after the other."""
    tally = Tally()
    for seed, plan in todo:
        tally.runs += 1
        tally.plans[plan] += 1
        run = play_any(seed, plan)
        tally.operations += len(run.history)
        tally.commits += run.commits
        tally.promotions += run.promotions
        tally.lost += len(run.lost)
        if run.complaints:
            tally.broken.append(str(run))
    return tally


def survey(todo: list[Task], processes: int = 1, told: Callable[[Tally, Tally], None] | None = None) -> Tally:
    """Play runs in so many processes, and add up what they came to.

    Args:
        told: Called with each part, and with the whole so far.
    """
    parts = [todo[start : start + PART] for start in range(0, len(todo), PART)]
    whole = Tally()
    with ExitStack() as stack:
        done: Iterable[Tally] = map(play_all, parts)
        if processes > 1:
            pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
            done = stack.enter_context(pool).map(play_all, parts)
        for part in done:
            whole.add(part)
            if told is not None:
                told(part, whole)
    return whole


def show(part: Tally, whole: Tally) -> None:
    """Print what broke at once, and the counts now and then."""
    for text in part.broken:
        print(text, flush=True)
    if whole.runs >= 1000 and whole.runs % 1000 < PART:
        print(whole, flush=True)


def main(arguments: list[str]) -> int:
    """Play, print, and return 0 if nothing broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.batch", description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--plans", default=",".join((*PLANS, *SPLITS, *SIDE_PLANS)))
    parser.add_argument("--processes", type=int, default=1)
    asked = parser.parse_args(arguments)
    began_s = time.perf_counter()
    plans = tuple(asked.plans.split(","))
    tally = survey(list(tasks(asked.count, plans, asked.first)), asked.processes, show)
    print(tally)
    print(f"{tally.runs / (time.perf_counter() - began_s):.1f} histories per second")
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
