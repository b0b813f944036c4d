"""The guestbook of a host: which colonies led here say something of cells away from home.

Hints: a primary knows; this finds the one to ask.
"""

from __future__ import annotations

from collections.abc import Mapping

from agents.colony import Colony
from agents.keys import colony_of
from agents.surroundings import GuestsChanged


class Guestbook(dict[bytes, tuple[int, ...]]):
    """Cells away from home -> colonies that may be led here and say something of them."""

    def changed(self, event: GuestsChanged) -> None:
        """Write down who came to a colony, and who went."""
        colony = event.colony
        for key in (*event.went, *(key for key, there in self.items() if event.anew and colony in there)):
            rest = tuple(other for other in self.get(key, ()) if other != colony)
            if rest:
                self[key] = rest
            else:
                self.pop(key, None)
        for key in event.came:
            there = self.get(key, ())
            if colony not in there:
                self[key] = (*there, colony)

    def owner(self, key: bytes, machines: Mapping[int, Colony], colonies: int) -> int | None:
        """Return the colony to ask for a cell: its home, unless it is a guest of one that is led here.

        A colony that comes to be led here may speak of a stay that is long over, while the cell is a
        guest of another one: who serves it goes first.

        Args:
            machines: Of the colonies that this host has dealings with.
            colonies: How many there are; 0 = no cluster yet, and no colony.
        """
        found = None
        for colony in self.get(key, ()):
            machine = machines.get(colony)
            if machine is None or machine.primary is None:
                continue
            place = machine.peer.cells.places.get(key)
            if place is not None and place.is_served:
                return colony
            found = colony
        if found is not None:
            return found
        return colony_of(key, colonies) if colonies else None
