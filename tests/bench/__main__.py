"""Command line of the benchmarks: ``python -m tests.bench [names]``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from tests.bench.harness import Plan, heading, note
from tests.bench.redis_pair import RedisMissing

GROUPS = {
    path.stem.removeprefix("bench_"): f"tests.bench.{path.stem}"
    for path in sorted(Path(__file__).parent.glob("bench_*.py"))
}


def main() -> int:
    """Run the groups asked for; 0 if every bound is met, 1 if one is missed, 2 without Redis."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"groups to run: {', '.join(GROUPS)}")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=3, help="of each side")
    parser.add_argument("--json", metavar="FILE", help="write the rows there, too")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(GROUPS))
    if unknown:
        parser.error(f"no group {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    plan = Plan(seconds=options.seconds, rounds=options.rounds)
    print(heading(), flush=True)
    failed = []
    for name in options.names or GROUPS:
        note(f"{name} ...")
        began = time.monotonic()
        try:
            import_module(GROUPS[name]).run(plan)
        except RedisMissing as error:
            note(str(error))
            return 2
        except Exception as error:
            failed.append(name)
            note(f"{name} failed: {type(error).__name__}: {error}")
        note(f"{name} took {time.monotonic() - began:.0f} s")
    if options.json:
        Path(options.json).write_text(json.dumps([asdict(row) for row in plan.rows], indent=1))
    return 1 if failed or any(row.verdict == "MISSED" for row in plan.rows) else 0


if __name__ == "__main__":
    sys.exit(main())
