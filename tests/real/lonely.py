"""A provider of hosts that see no other process: only a supervisor can attest their deaths.

`python -m tests.real.lonely FILE host …` is one of them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from colony.providers import Order, Processes


class Lonely(Processes):
    """Processes of this machine, as if each were in a namespace of its own."""

    def command(self, order: Order, ended: Path) -> list[str]:
        """Return the command line of a host."""
        return [sys.executable, "-m", "tests.real.lonely", str(ended), *order.arguments]


if __name__ == "__main__":
    from colony import machine, supervise_child

    machine.state_of = lambda me, member: ""
    sys.exit(supervise_child.main(sys.argv[1:]))
