"""Many simulated runs: `python -m tests.sim.batch --count 200 --plans pauses,links`.

Prints each run that broke something, the command that replays it, and counts.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context

from tests.sim.plans import PLANS
from tests.sim.runs import play
from tests.sim.splits import SPLITS

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
        run = play(seed, plan)
        tally.operations += len(run.history)
        tally.commits += run.commits
        tally.promotions += run.promotions
        tally.lost += len(run.lost)
        if run.complaints:
            tally.broken.append(str(run))
    return tally


def survey(todo: list[Task], processes: int = 1) -> Tally:
    """Play runs in so many processes, and add up what they came to."""
    if processes <= 1:
        return play_all(todo)
    shares = [todo[start::processes] for start in range(processes)]
    whole = Tally()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for part in pool.map(play_all, shares):
            whole.runs += part.runs
            whole.operations += part.operations
            whole.commits += part.commits
            whole.promotions += part.promotions
            whole.lost += part.lost
            whole.plans += part.plans
            whole.broken += part.broken
    return whole


def main(arguments: list[str]) -> int:
    """Play, print, and return 0 if nothing broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.batch", description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--plans", default=",".join((*PLANS, *SPLITS)))
    parser.add_argument("--processes", type=int, default=1)
    asked = parser.parse_args(arguments)
    began_s = time.perf_counter()
    plans = tuple(asked.plans.split(","))
    tally = survey(list(tasks(asked.count, plans, asked.first)), asked.processes)
    for text in tally.broken:
        print(text)
    print(tally)
    print(f"{tally.runs / (time.perf_counter() - began_s):.1f} histories per second")
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
