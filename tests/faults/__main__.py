"""The scenarios with real hosts, played with many seeds.

`python -m tests.faults --seeds 20 --peers 2 3` boots a cluster per scenario
and population, and plays the seeds one after the other on it. With `--system`
others than colony play, too, or in its place, and a table compares them.
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

from tests.faults.adapters import SYSTEMS, Shape, boot, comparison, lacks, shape, unplayable
from tests.faults.enter import PLANT
from tests.faults.network import missing
from tests.faults.plays import PLAYS
from tests.faults.rounds import STEADY, Pace, Round
from tests.faults.systems import System
from tests.faults.toll import Toll
from tests.faults.verdict import Found

COLUMNS = "{:<20} {:>5} {:>5} {:>5} {:>5} {:>5} {:>6} {:>6} {:>6} {:>6} {:>6}"
SHOWN_COMPLAINTS = 4
COMPLAINT_CHARS = 2000


def play(cluster: System, name: str, seed: int, pace: Pace = STEADY) -> Found:
    """Play one seed; whatever goes wrong is a complaint."""
    round = Round(cluster, seed, pace)
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
        self._cluster: System | None = None
        self._shape: Shape | None = None
        self._logs = logs

    def ready(self, name: str, peers: int, system: str = "colony") -> System:
        """Return a healthy cluster."""
        wanted = shape(system, name, peers)
        if wanted != self._shape or (self._cluster is not None and not self._cluster.is_rested()):
            self.over()
        if self._cluster is None:
            self._shape = wanted
            self._cluster = self._stack.enter_context(boot(system, name, peers))
        return self._cluster

    def play(self, name: str, peers: int, seed: int, pace: Pace = STEADY, system: str = "colony") -> Found:
        """Play one seed; a cluster that does not come up is a complaint too."""
        try:
            cluster = self.ready(name, peers, system)
        except (AssertionError, OSError) as error:
            return Found(complaints=[f"boot: {error}"], toll=Toll(unhealed=1))
        return play(cluster, name, seed, pace)

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


def complain(title: str, again: str, found: Found, tell: Callable[[str], None], logs: Path | None) -> None:
    """Tell what was wrong with a round, and how to see it again."""
    for complaint in found.complaints[:SHOWN_COMPLAINTS]:
        tell("    " + complaint.strip()[:COMPLAINT_CHARS].replace("\n", "\n    "))
    tell(f"    play it again: {sys.executable} -m tests.faults {again}")
    if logs is not None:
        logs.mkdir(parents=True, exist_ok=True)
        (logs / f"{title}.txt").write_text("\n\n".join(found.complaints))


def perform(
    names: Iterable[str],
    peers: Iterable[int],
    seeds: Iterable[int],
    tell: Callable[[str], None],
    *,
    pace: Pace = STEADY,
    logs: Path | None = None,
    system: str = "colony",
) -> list[tuple[str, int, list[Found]]]:
    """Play all seeds of all scenarios; return what was found."""
    results = []
    cast = Cast(logs)
    is_ours = system == "colony"
    try:
        for name in names:
            if why := unplayable(system, name):
                tell(f"{system} {name}: not played: {why}")
                continue
            for population in peers:
                founds = []
                for seed in seeds:
                    found = cast.play(name, population, seed, pace, system)
                    founds.append(found)
                    tell(
                        line(name, population, seed, found)
                        if is_ours
                        else f"{system} {name} {seed}: {found.toll}"
                    )
                    if not found.passed:
                        title = f"{system}-{name}-{population}-{seed}"
                        again = f"--system {system} --scenario {name} --peers {population} --seed {seed}"
                        complain(title, again, found, tell, logs)
                        if is_ours or found.heal_s < 0:
                            cast.over(title)
                results.append((name, population, founds))
                if is_ours:
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


def asked_for() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 1")
    parser.add_argument("--seed", type=int, nargs="+", help="just these seeds")
    parser.add_argument("--peers", type=int, nargs="+", default=[2, 3], help="populations N")
    parser.add_argument("--scenario", nargs="+", choices=list(PLAYS), default=list(PLAYS))
    parser.add_argument("--system", nargs="+", choices=SYSTEMS, default=["colony"], help="who plays")
    parser.add_argument("--hold", type=float, default=0.0, help="seconds that each fault lasts longer")
    parser.add_argument("--long", action="store_true", help="let links flap for minutes")
    parser.add_argument("--plant", help="a bug of tests.sim.planted, in every host: is it found here too?")
    parser.add_argument("--logs", type=Path, help="folder for the logs of clusters that failed")
    return parser.parse_args()


def main() -> int:
    """Play what was asked for; exit status 1 if colony failed in anything."""
    asked = asked_for()
    if asked.plant:
        os.environ[PLANT] = asked.plant
    lack = missing() or next(filter(None, map(lacks, asked.system)), "")
    if lack:
        print(f"can't play: {lack}", file=sys.stderr)
        return 2
    began_s = time.monotonic()
    seeds = asked.seed or range(1, asked.seeds + 1)
    tolls: dict[tuple[str, str], Toll] = {}
    failed = False
    for system in asked.system:
        results = perform(
            asked.scenario,
            asked.peers if system == "colony" else asked.peers[:1],
            seeds,
            lambda text: print(text, flush=True),
            pace=Pace(long=asked.long, hold_s=asked.hold),
            logs=asked.logs,
            system=system,
        )
        for name, _, founds in results:
            tolls[system, name] = sum((found.toll for found in founds), tolls.get((system, name), Toll(0)))
        if system == "colony":
            failed = any(not found.passed for _, _, founds in results for found in founds)
            print(f"\n{table(results)}")
    print(f"\nlost / stale reads / cells that no order explains, longest pause\n{comparison(tolls)}")
    print(f"{time.monotonic() - began_s:.0f} s")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
