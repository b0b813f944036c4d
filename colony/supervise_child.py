"""A host's process under a supervisor: it writes down how it ended.

`python -m colony.supervise_child FILE host …` runs `colony host …`, and puts
its exit status into FILE. A supervisor that did not start the process itself
(the one that did is gone) learns from it whether the host had left. Whoever
was killed wrote nothing.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Run the command, and leave its exit status behind."""
    from colony import cli

    status = cli.main(arguments[1:])
    path = Path(arguments[0])
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        fresh.write_text(f"{status}\n")
        fresh.replace(path)
    except OSError as error:
        print(f"colony host: can't write {path}: {error.strerror}", file=sys.stderr)
    return int(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
