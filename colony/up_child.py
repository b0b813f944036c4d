"""A process that never outlives the one that started it.

`python -m colony.up_child PARENT …` runs `colony …` (or the workload), and
ends at once when the process PARENT is gone: the kernel says so where it
can, which reaches even a stopped process, and the pipe on stdin everywhere.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading

_PR_SET_PDEATHSIG = 1  # Linux, prctl(2)
ORPHANED = 137


def tether(parent: int, on_line: threading.Event | None = None) -> None:
    """Tie this process to its parent; stdin must be a pipe from it.

    Args:
        parent: Its process id.
        on_line: Set when the parent writes a line.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we were tied
        os._exit(ORPHANED)
    threading.Thread(target=_listen, args=(on_line,), name="colony-tether", daemon=True).start()


def _listen(on_line: threading.Event | None) -> None:
    while True:
        data = os.read(0, 64)
        if not data:
            os._exit(ORPHANED)
        if on_line is not None:
            on_line.set()


def main(arguments: list[str]) -> int:
    """Run what the parent wants, tied to it."""
    parent, rest = int(arguments[0]), arguments[1:]
    if rest[0] == "workload":
        from colony import up_workload

        finish = threading.Event()
        tether(parent, finish)
        return int(up_workload.main(rest[1:], finish))
    from colony import cli

    tether(parent)
    return cli.main(rest)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
