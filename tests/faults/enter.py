"""A process inside a node: its own network, its own process ids, its own wall clock.

`python -m tests.faults.enter NAMESPACE PARENT CLOCK host …` runs one host,
`… client …` a client; other kinds are rivals' nodes. It dies with the process PARENT. Hosts of one
cluster seem to run on machines of their own: none sees the other's process,
so none can attest its death. The wall clock is the real one plus the seconds
in the file CLOCK: Python's `time.time` and `time.time_ns` are replaced before
anything of ours is imported, which are all that the code reads of it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.faults import kernel

LOOK_EVERY_S = 0.05  # at the file that says how wrong the clock is
ORPHANED = 137
PLANT = "COLONY_FAULTS_PLANT"  # the simulator's name of a bug, planted in every host
MERGES = "function"  # as a host's --merge here: `both` decides


def both(winner: str | None, loser: str | None) -> str:
    """Return what a user's function makes of what two sides made of a cell; it has no favourite."""
    return "+".join(sorted(value or "dead" for value in (winner, loser)))


def jumping(clock: Path) -> Callable[[], float]:
    """Return a wall clock that is wrong by what a file says."""
    real, steady = time.time, time.monotonic
    looked_s, wrong_s = float("-inf"), 0.0

    def now() -> float:
        nonlocal looked_s, wrong_s
        now_s = steady()
        if now_s - looked_s >= LOOK_EVERY_S:
            looked_s = now_s
            try:
                wrong_s = float(clock.read_text() or 0.0)
            except (OSError, ValueError):
                pass  # being written: as wrong as before
        return real() + wrong_s

    return now


def bend(clock: Path) -> None:
    """Put the wrong clock in place of Python's."""
    now = jumping(clock)
    time.time = now
    time.time_ns = lambda: int(now() * 1e9)


def _merging(host: Callable[..., Any]) -> Callable[..., Any]:
    """Return how to make a host that merges by `both`, whatever its options say."""

    def decide(key: Any, winner: Any, loser: Any) -> str:
        return both(winner and winner.value, loser and loser.value)

    def made(**options: Any) -> Any:
        return host(**{**options, "merge": decide})

    return made


def live(kind: str, arguments: list[str]) -> int:
    """Be a host, a client or a rival's node."""
    if kind == "host":
        import colony
        from colony import cli

        # Closures show best what was applied twice; these networks are as closed as loopback.
        colony.Host = partial(colony.Host, closures=True)  # type: ignore[assignment, misc]
        if arguments[-2:] == ["--merge", MERGES]:  # no command line takes a function
            arguments = arguments[:-2]
            colony.Host = _merging(colony.Host)  # type: ignore[assignment, misc]
        bug = os.environ.get(PLANT)
        if bug:
            from tests.sim.planted import BUGS

            with BUGS[bug].planted():
                return cli.main(["host", *arguments])
        return cli.main(["host", *arguments])
    if kind == "redis-cluster":
        os.execvp("redis-server", ["redis-server", *arguments])
    if kind.startswith("pysyncobj"):
        from tests.faults import raft_node

        return raft_node.main(arguments)
    from tests.faults import client

    return client.main(arguments)


def main(arguments: list[str]) -> int:
    """Enter the namespaces, and live there; the outer process only waits for the inner one."""
    namespace, parent, clock, kind, *rest = arguments
    kernel.die_with_parent()
    if os.getppid() != int(parent):
        return ORPHANED
    kernel.enter_network(namespace)
    kernel.new_processes()
    inner = os.fork()
    if inner == 0:
        kernel.die_with_parent()
        kernel.mount_proc()
        bend(Path(clock))
        status = 1
        try:
            status = live(kind, rest)
        finally:
            sys.stdout.flush()
            os._exit(status)
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(inner, number))
    _, status = os.waitpid(inner, 0)
    return os.waitstatus_to_exitcode(status) & 0xFF


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
