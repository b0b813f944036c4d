"""A simulated disk: what of a host outlives its processes."""

from __future__ import annotations

from agents.cells import Cells
from agents.effects import SaveSnapshot
from agents.record import Record
from agents.snapshot import Found, Kept, Loaded, Mark


class Disk:
    """What outlives a process, unless it is wiped.

    Attributes:
        record: The durable record.
        snapshot: What the last stop left behind, and when.
        mark: Says that the stop of a snapshot came to its end.
        wanted: The stop whose snapshot may still be put in its place.
    """

    def __init__(self) -> None:
        self.record: Record | None = None
        self.snapshot: tuple[SaveSnapshot, float] | None = None
        self.mark: Mark | None = None
        self.wanted = ""

    def found(self, now_s: float) -> Found:
        """Return what a starting host finds; `now_s` on the clock that stamped it."""
        if self.snapshot is None:
            return Found()
        effect, saved_s = self.snapshot
        head = effect.head
        kept = {}
        for copy in effect.copies:
            cells = Cells()
            for key, cell in copy.live.items():
                cells.put(key, cell)
            cells.lanes = dict(copy.lanes)
            cells.places = dict(copy.places)
            kept[copy.held.colony] = Kept(copy.held, cells)
        is_clean = self.mark == Mark(head.tag, head.stop, head.view)
        return Found(Loaded(head, kept, is_clean=is_clean, age_s=now_s - saved_s))

    def forget(self) -> None:
        """Remove the snapshot."""
        self.snapshot, self.mark, self.wanted = None, None, ""
