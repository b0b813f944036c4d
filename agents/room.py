"""Room: how many more clones, and bytes of clones, may leave a host now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agents.primary import Primary

CLONE_BYTES_MAX = 8 * 1024 * 1024  # under way per host, or one larger clone: writers wait behind them


@dataclass(slots=True)
class Room:
    """What is left beside the clones under way.

    Attributes:
        clones: So many more clones.
        bytes_left: So many more bytes of them; < 0: one larger clone is under way.
        clones_max: Clones that the host feeds at a time.
    """

    clones: int
    bytes_left: int
    clones_max: int

    def fits(self, bytes_used: int) -> bool:
        """Return whether a clone may leave beside those under way; alone, one of any size may."""
        return self.clones > 0 and (self.bytes_left >= bytes_used or self.clones == self.clones_max)

    def take(self, bytes_used: int) -> None:
        """One more leaves."""
        self.clones -= 1
        self.bytes_left -= bytes_used


def room_beside(primaries: Iterable[Primary], clones_max: int) -> Room:
    """Return the room that the clones of these primaries leave."""
    room = Room(clones_max, CLONE_BYTES_MAX, clones_max)
    for primary in primaries:
        for clone in primary.transfers.clones.values():
            room.take(clone.bytes_whole)
    return room
