"""The scenarios with real hosts, played with many seeds.

`python -m tests.faults --seeds 20 --peers 2 3` boots a cluster per scenario
and population, and plays the seeds one after the other on it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from tests.faults.enter import PLANT
from tests.faults.hosts import Cluster
from tests.faults.network import missing
from tests.faults.plays import PLAYS
from tests.faults.rounds import Round
from tests.faults.verdict import Found

COLUMNS = "{:<20} {:>5} {:>5} {:>5} {:>5} {:>5} {:>6} {:>6} {:>6} {:>6} {:>6}"
SHOWN_COMPLAINTS = 4
COMPLAINT_CHARS = 2000


def boot(name: str, peers: int) -> Cluster:
    """Return the cluster that a scenario wants: with state directories where N is 2, else with keys."""
    play = PLAYS[name]
    return Cluster(play.hosts, peers=peers, boxes=play.boxes, durable=peers == 2, encrypted=peers != 2)


def play(cluster: Cluster, name: str, seed: int, *, long: bool = False, brief: bool = False) -> Found:
    """Play one seed; whatever goes wrong is a complaint."""
    round = Round(cluster, seed, long=long, brief=brief)
    try:
        PLAYS[name].scenario(round)
    except Exception:
        round.found.complaints.append(traceback.format_exc())
    try:
        return round.finish()
    except Exception:
        round.found.complaints.append(traceback.format_exc())
        return round.found


class Cast:
    """Clusters for rounds: one is kept as long as it is fit for the next round."""

    def __init__(self, logs: Path | None) -> None:
        self._stack = ExitStack()
        self._cluster: Cluster | None = None
        self._shape: tuple[int, int, int] | None = None
        self._logs = logs

    def ready(self, name: str, peers: int) -> Cluster:
        """Return a healthy cluster."""
        shape = PLAYS[name].hosts, PLAYS[name].boxes, peers
        if shape != self._shape:
            self.over()
        if self._cluster is None:
            self._shape = shape
            self._cluster = self._stack.enter_context(boot(name, peers))
        return self._cluster

    def play(self, name: str, peers: int, seed: int, *, long: bool = False, brief: bool = False) -> Found:
        """Play one seed; a cluster that does not come up is a complaint too."""
        try:
            cluster = self.ready(name, peers)
        except (AssertionError, OSError) as error:
            return Found(complaints=[f"boot: {error}"])
        return play(cluster, name, seed, long=long, brief=brief)

    def over(self, title: str = "") -> None:
        """End the cluster; its logs are kept if it failed."""
        if self._cluster is not None and title and self._logs is not None:
            self._logs.mkdir(parents=True, exist_ok=True)
            (self._logs / f"{title}.log").write_text(self._cluster.chronicle())
        self._cluster = None
        self._stack.close()


def line(name: str, peers: int, seed: int, found: Found) -> str:
    """Return one round on one line."""
    return (
        f"{name} N={peers} seed {seed}: lost {found.lost}, violations {found.violations}, "
        f"duplicates {found.duplicates}, heal {found.heal_s:.2f} s, views {found.views}, "
        f"pause {found.pause_s:.2f} s, {found.operations} operations, load {found.crowding:.1f}"
        + ("" if found.passed else f"; FAILED, {len(found.complaints)} complaints")
    )


def perform(
    names: Iterable[str],
    peers: Iterable[int],
    seeds: Iterable[int],
    tell: Callable[[str], None],
    *,
    long: bool = False,
    logs: Path | None = None,
) -> list[tuple[str, int, list[Found]]]:
    """Play all seeds of all scenarios; return what was found."""
    results = []
    cast = Cast(logs)
    try:
        for name in names:
            for population in peers:
                founds = []
                for seed in seeds:
                    found = cast.play(name, population, seed, long=long)
                    founds.append(found)
                    tell(line(name, population, seed, found))
                    if not found.passed:
                        for complaint in found.complaints[:SHOWN_COMPLAINTS]:
                            tell("    " + complaint.strip()[:COMPLAINT_CHARS].replace("\n", "\n    "))
                        again = f"--scenario {name} --peers {population} --seed {seed}"
                        tell(f"    play it again: {sys.executable} -m tests.faults {again}")
                        if logs is not None:
                            logs.mkdir(parents=True, exist_ok=True)
                            told = "\n\n".join(found.complaints)
                            (logs / f"{name}-{population}-{seed}.txt").write_text(told)
                        cast.over(f"{name}-{population}-{seed}")
                results.append((name, population, founds))
                cast.over()
    finally:
        cast.over()
    return results


def table(results: list[tuple[str, int, list[Found]]]) -> str:
    """Return all results as a table."""
    head = "scenario", "N", "seeds", "fail", "lost", "viol", "dup", "heal", "worst", "views", "pause"
    lines = [COLUMNS.format(*head)]
    for name, peers, founds in results:
        heals = sorted(found.heal_s for found in founds)
        lines.append(
            COLUMNS.format(
                name,
                peers,
                len(founds),
                sum(not found.passed for found in founds),
                sum(found.lost for found in founds),
                sum(found.violations for found in founds),
                sum(found.duplicates for found in founds),
                f"{heals[len(heals) // 2]:.2f}",
                f"{heals[-1]:.2f}",
                max(found.views for found in founds),
                f"{max(found.pause_s for found in founds):.2f}",
            )
        )
    return "\n".join(lines)


def main() -> int:
    """Play what was asked for; exit status 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 1")
    parser.add_argument("--seed", type=int, nargs="+", help="just these seeds")
    parser.add_argument("--peers", type=int, nargs="+", default=[2, 3], help="populations N")
    parser.add_argument("--scenario", nargs="+", choices=list(PLAYS), default=list(PLAYS))
    parser.add_argument("--long", action="store_true", help="let links flap for minutes")
    parser.add_argument("--plant", help="a bug of tests.sim.planted, in every host: is it found here too?")
    parser.add_argument("--logs", type=Path, help="folder for the logs of clusters that failed")
    asked = parser.parse_args()
    if asked.plant:
        os.environ[PLANT] = asked.plant
    lack = missing()
    if lack:
        print(f"can't play: {lack}", file=sys.stderr)
        return 2
    began_s = time.monotonic()
    seeds = asked.seed or range(1, asked.seeds + 1)
    results = perform(
        asked.scenario,
        asked.peers,
        seeds,
        lambda text: print(text, flush=True),
        long=asked.long,
        logs=asked.logs,
    )
    print(f"\n{table(results)}\n{time.monotonic() - began_s:.0f} s")
    return int(any(not found.passed for _, _, founds in results for found in founds))


if __name__ == "__main__":
    sys.exit(main())
