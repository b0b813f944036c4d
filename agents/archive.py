"""The archive of a running host: what its machines want of snapshots, done by a keeper.

Large ones are written on a worker's thread; what is small is done at once,
and a disk that refuses is noted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from agents.effects import Note, SaveSnapshot, SnapshotSaved, TellHost
from agents.keeping import Keeper
from agents.order import Order
from agents.workers import Workers


class Tools(Protocol):
    """What it works with; the server."""

    workers: Workers

    def note(self, note: Note) -> None:
        """Log a note."""


class Archive:
    """Snapshots of one host; belongs to the I/O thread.

    Args:
        order: Where machines are told things.
        keeper: Where snapshots go; None = the host is ephemeral.
    """

    def __init__(self, order: Order, tools: Tools, keeper: Keeper | None) -> None:
        self._order = order
        self._tools = tools
        self._keeper = keeper

    def save(self, effect: SaveSnapshot) -> None:
        """Write a snapshot down; the host is told when it is, or that it can't be."""
        then = partial(self._saved, effect.head.stop, effect.is_periodic)
        if self._keeper is None:
            then(None, OSError("this host has no state directory"))
            return
        job = self._keeper.job(effect)
        if not effect.is_last:
            if not self._tools.workers.submit(job, then):
                then(None, OSError("too many jobs wait on this host"))
            return
        try:  # the process is about to end: nothing else waits for this thread
            path, error = job(), None
        except OSError as caught:
            path, error = "", caught
        then(path, error)

    def _saved(self, stop: str, is_periodic: bool, path: str | None, error: Exception | None) -> None:
        why = "" if error is None else str(error) or repr(error)
        self._note_removed()
        self._order.said.append(TellHost(SnapshotSaved(stop, path or "", why, is_periodic)))
        self._order.tell_all()

    def _note_removed(self) -> None:
        """Say which files of lost and found had to go."""
        for name in self._keeper.take_removed() if self._keeper is not None else ():
            self._tools.note(Note("lost_removed", f"{name}: too many, or too much, is kept there"))

    def keep_periodic(self) -> None:
        """Put the last periodic snapshot of an earlier life aside, for people to look at."""
        if self._keeper is None:
            return
        try:
            path = self._keeper.put_periodic_aside()
        except OSError as error:
            self._tools.note(Note("snapshot_trouble", f"can't keep the last periodic snapshot: {error}"))
            return
        if path:
            reason = f"the last periodic snapshot before this start is kept: colony lost restore {path}"
            self._tools.note(Note("lost_and_found", reason))
        self._note_removed()

    def keep(self, what: str, call: Callable[[Keeper], None]) -> None:
        """Have the keeper do something small at once.

        No harm can come of it: a snapshot without its mark is not restored,
        nor is one of a view that is not the last.
        """
        if self._keeper is None:
            return
        try:
            call(self._keeper)
        except OSError as error:
            self._tools.note(Note("snapshot_trouble", f"can't {what} the snapshot: {error}"))
