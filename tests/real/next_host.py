"""`colony host` of the next version: `python -m tests.real.next_host NEWEST host …`.

What it sends has grown, and it tells all others something that only its own
kind may hear; whoever hears it notes so.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import agents.performer
import agents.server
import colony.host
from agents.cast import Cast
from agents.effects import Note, Received, Send, Ticked
from agents.hosting import Container
from agents.wire import Versions
from colony.cli import main
from tests.next_version import Novelty, decode_as, encode_as, has_come


class NextCast(Cast):
    """Actors that tell news, and hear them."""

    def __init__(self, loop: Any) -> None:
        self.heard: set[str] = set()
        super().__init__(loop)

    def tell_host(self, event: Any) -> None:
        """Note who told news; and tell some with each tick."""
        message: Any = event.message if type(event) is Received else None
        if type(message) is Novelty:
            if event.sender not in self.heard:
                self.heard.add(event.sender)
                self.perform([Note("novelty", "heard something new", host=event.sender)], None)
            return
        super().tell_host(event)
        if type(event) is Ticked:
            view = self._loop.container.view
            for member in view.members if view is not None else ():
                self.perform([Send(member.id, Novelty())], None)  # type: ignore[arg-type]


def upgrade(newest: int) -> None:
    """Make this process one of another version."""
    versions = Versions(newest - 1, newest)
    has_come()
    changes: dict[Any, dict[str, Any]] = {
        agents.performer: {"encode": partial(encode_as, versions)},
        agents.server: {"Cast": NextCast, "decode_link_frame": partial(decode_as, versions)},
        colony.host: {"Container": partial(Container, versions=versions)},
    }
    for module, changed in changes.items():
        for name, value in changed.items():
            assert hasattr(module, name), f"{module} has no {name} to be replaced"
            setattr(module, name, value)


if __name__ == "__main__":
    upgrade(int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
