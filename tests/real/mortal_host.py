"""`colony host` that dies at a step of a cell's move: `python -m tests.real.mortal_host FOLDER host …`.

Whoever commits the step of which a sign lies in the folder takes the sign
away, and is gone by SIGKILL before it can tell anybody.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import agents.migration
from agents.messages.replication import Entry
from agents.moving import Primary
from colony.cli import main


def sign(folder: Path, state: int, kind: int) -> Path:
    """Return the file that says: whoever commits such an entry dies."""
    return folder / f"die-{state}-{kind}"


def make_mortal(folder: Path) -> None:
    """Let this process die at the next step of which there is a sign."""
    real = agents.migration.committed

    def committed(primary: Primary, entry: Entry, *rest: Any) -> None:
        assert entry.move is not None
        try:
            sign(folder, entry.move.state, entry.kind).unlink()
        except FileNotFoundError:
            real(primary, entry, *rest)
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    agents.migration.__dict__["committed"] = committed


if __name__ == "__main__":
    make_mortal(Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
