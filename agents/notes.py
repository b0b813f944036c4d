"""The event log of a host: its latest notes, how many of each, and which led to which.

Log lines, `colony events`, metrics and the dashboard all read the same
notes. The log is bounded: the oldest go first, the counters stay. An event's
id is `LIFE.NUMBER`: the life of one process, and its place in that log.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from itertools import islice
from typing import Any

from agents.causes import Cause
from agents.effects import Note

NOTES_MAX = 4096  # some hours of a busy cluster; about a megabyte

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Noted:
    """One note in the log.

    Attributes:
        number: Counts all notes of this process life, from 1, without gaps.
        wall_s: When, by the host's wall clock, seconds since the epoch.
        life: Which process life; "" = it is not told apart from others.
        cause: Number of the causing event in the same log; 0 = it is not there.
    """

    number: int
    wall_s: float
    note: Note
    life: str = ""
    cause: int = 0

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
        if self.life:
            shown["id"] = f"{self.life}.{self.number}"
        if note.cause is not None:
            shown["cause"] = self._cause_as_json(note.cause)
        return shown

    def _cause_as_json(self, cause: Cause) -> dict[str, Any]:
        parts = {
            "colony": cause.colony,
            "host": cause.host,
            "view": cause.view or None,
            "by": cause.by or None,
        }
        told = {"kind": cause.kind, **{name: part for name, part in parts.items() if part is not None}}
        if self.cause:
            told["id"] = f"{self.life}.{self.cause}"
        return told


def _keys(note: Note) -> list[Key]:
    """Return what a later note may call this one by."""
    view = note.details.get("view")
    keys: list[Key] = [(note.kind, note.colony, note.host)]
    return [*keys, (note.kind, view)] if view else keys


def _named(cause: Cause) -> Key:
    return (cause.kind, cause.view) if cause.view else (cause.kind, cause.colony, cause.host)


class Notes:
    """The latest notes, oldest first; one thread adds, any may read.

    Args:
        limit: Notes kept; >= 1.
        life: Names this process life among all of all hosts.
    """

    def __init__(self, limit: int = NOTES_MAX, life: str = "") -> None:
        if limit < 1:
            raise ValueError("a log keeps at least one note")
        self.life = life
        self.counts: Counter[str] = Counter()
        self._latest: dict[Key, int] = {}  # the oldest first
        self._log: deque[Noted] = deque(maxlen=limit)
        self._last = 0

    @property
    def last(self) -> int:
        """The number of the latest note; 0 = none yet."""
        return self._last

    def add(self, note: Note, wall_s: float) -> Noted:
        """Log a note, and return it with its number."""
        number = self._last + 1
        caused = (
            self._latest.get(_named(note.cause), 0) if note.cause is not None and not note.cause.by else 0
        )
        noted = Noted(number, wall_s, note, self.life, caused)
        for key in _keys(note):
            self._latest.pop(key, None)
            self._latest[key] = number
        while len(self._latest) > 2 * (self._log.maxlen or 1):
            del self._latest[next(iter(self._latest))]
        self._log.append(noted)
        self._last = number
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
