"""The event log of a host: its latest notes, and how many of each.

Log lines, `colony events`, metrics and the dashboard all read the same
notes. The log is bounded: the oldest go first, the counters stay.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from itertools import islice
from typing import Any

from agents.effects import Note

NOTES_MAX = 4096  # some hours of a busy cluster; about a megabyte


@dataclass(frozen=True, slots=True)
class Noted:
    """One note in the log.

    Attributes:
        number: Counts all notes of this process life, from 1, without gaps.
        wall_s: When, by the host's wall clock, seconds since the epoch.
    """

    number: int
    wall_s: float
    note: Note

    def as_json(self) -> dict[str, Any]:
        """Return the note as `colony events --json` shows it."""
        note = self.note
        shown: dict[str, Any] = {
            "number": self.number,
            "at": self.wall_s,
            "kind": note.kind,
            "reason": note.reason,
        }
        if note.colony is not None:
            shown["colony"] = note.colony
        if note.host is not None:
            shown["host"] = note.host
        if note.details:
            shown["details"] = note.details
        return shown


class Notes:
    """The latest notes, oldest first; one thread adds, any may read.

    Args:
        limit: Notes kept; >= 1.
    """

    def __init__(self, limit: int = NOTES_MAX) -> None:
        if limit < 1:
            raise ValueError("a log keeps at least one note")
        self.counts: Counter[str] = Counter()
        self._log: deque[Noted] = deque(maxlen=limit)
        self._last = 0

    @property
    def last(self) -> int:
        """The number of the latest note; 0 = none yet."""
        return self._last

    def add(self, note: Note, wall_s: float) -> Noted:
        """Log a note, and return it with its number."""
        noted = Noted(self._last + 1, wall_s, note)
        self._log.append(noted)
        self._last = noted.number
        self.counts[note.kind] += 1
        return noted

    def after(self, number: int, limit: int = 1000) -> list[Noted]:
        """Return the notes above `number`, oldest first, at most `limit`.

        What fell out of the log is skipped: the numbers show the gap.
        """
        log = self._log.copy()  # one step under the interpreter's locks: the writer may be another thread
        fresh = max(0, min(log[-1].number - number, len(log))) if log else 0
        start = len(log) - fresh
        return list(islice(log, start, start + max(0, limit)))
