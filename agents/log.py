"""The log of a running host: notes with their time, for `events`, log and dashboard alike.

Turns may run on any caller's thread, who listens may want a lock that such a
caller holds: so notes are added at once, and told later, on the I/O thread.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections import deque
from collections.abc import Callable

from agents.effects import Note
from agents.messages.client import BAD, OK, Admin, Reply
from agents.notes import Noted, Notes

logger = logging.getLogger("colony")


class Log:
    """Notes of one host; whoever holds the baton adds, the I/O thread tells.

    Args:
        wall: Seconds since the epoch.
        on_note: Called with each note; must not block. None = nobody listens.

    Attributes:
        untold: What nobody has been told of yet.
    """

    def __init__(self, wall: Callable[[], float], on_note: Callable[[Noted], None] | None) -> None:
        self.notes = Notes(life=secrets.token_hex(4))
        self.untold: deque[tuple[Note, Noted]] = deque()
        self._wall = wall
        self._on_note = on_note

    def add(self, note: Note) -> None:
        """Take a note down."""
        self.untold.append((note, self.notes.add(note, self._wall())))

    def tell(self) -> None:
        """Tell who listens what was added."""
        while self.untold:
            note, noted = self.untold.popleft()
            if logger.isEnabledFor(logging.INFO):
                logger.info("%s: %s %s", note.kind, note.reason, note.details or "")
            if self._on_note is not None:
                self._on_note(noted)

    def answer(self, request: Admin, name: str) -> Reply:
        """Return the answer to `events` of the host `name`: what is above `after`, at most `limit`."""
        notes, after = self.notes, request.arguments.get("after", 0)
        limit = request.arguments.get("limit", 1000)
        if not isinstance(after, int) or not isinstance(limit, int):
            return Reply(request.id, BAD, text="after and limit are numbers")
        if request.arguments.get("life", notes.life) != notes.life:
            after = 0  # that was another process's log
        events = [noted.as_json() for noted in notes.after(after, limit)]
        told = {"name": name, "life": notes.life, "events": events, "last": notes.last}
        return Reply(request.id, OK, text=json.dumps(told, default=str))
