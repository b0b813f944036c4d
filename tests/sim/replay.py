"""Play one simulated run again: `python -m tests.sim.replay --seed 7 --plan pauses`.

Prints the plan, what the machines noted, and the verdict. The same seed and
plan give the same trace, on any machine.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.sim.available_plans import SIDE_PLANS, play_any
from tests.sim.history import describe
from tests.sim.plans import PLANS, written
from tests.sim.planted import BUGS
from tests.sim.runs import Run
from tests.sim.splits import SPLITS

LOUD = frozenset({"census", "promote", "open", "step_down", "lost", "freed", "view", "alarm", "halt"})


def trace(run: Run, *, everything: bool) -> list[str]:
    """Return a run as lines: its notes and its clients' operations, in order of time."""
    lines = [
        (at_s, f"{at_s:9.4f} {host} {note.kind} {_where(note.colony)}{note.reason} {note.details or ''}")
        for at_s, host, note in run.notes
        if everything or note.kind in LOUD
    ]
    if everything:
        lines += [(op.return_s, f"{op.return_s:9.4f} * {op.key} {describe(op)}") for op in run.history]
    return [line for _, line in sorted(lines, key=lambda pair: pair[0])]


def _where(colony: int | None) -> str:
    return "" if colony is None else f"[{colony}] "


def main(arguments: list[str]) -> int:
    """Play, print, and return 0 if all promises were kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.replay", description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument(
        "--plan", default="planted", help=f"one of: {', '.join((*PLANS, *SPLITS, *SIDE_PLANS))}"
    )
    parser.add_argument("--file", type=Path, help="faults to use in place of the plan's, one a line")
    parser.add_argument("--bug", help="plant this bug, and play its own plan (see tests.sim.planted)")
    parser.add_argument("--sound", action="store_true", help="with --bug: its plan, without the bug")
    parser.add_argument("--all", action="store_true", help="print every note and every operation")
    parser.add_argument("--quiet", action="store_true", help="print the verdict alone")
    asked = parser.parse_args(arguments)
    if asked.bug:
        run = BUGS[asked.bug].play(asked.seed, sound=asked.sound, notes=not asked.quiet)
    else:
        faults = written(asked.file.read_text()) if asked.file else None
        given = {} if faults is None else {"faults": faults}
        run = play_any(asked.seed, asked.plan, notes=not asked.quiet, **given)
    charter = run.settings.charter
    print(f"hosts {run.names}, {charter.colonies} colonies of {charter.peers} peers")
    for fault in run.faults:
        print(f"  {fault}")
    if not asked.quiet:
        print("\n".join(trace(run, everything=asked.all)))
    print(f"{len(run.history)} operations, {run.commits} commits, {run.promotions} promotions")
    for complaint in run.complaints:
        print(complaint)
    print("all promises kept" if not run.complaints else "BROKEN")
    return 1 if run.complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
