"""Places: which cells of a colony live in another one, and which are its guests.

A cell's *home* is the colony that its key's hash names. Home decides where
the cell is: its log holds the one entry by which a cell is handed to another
colony, and the one by which it is back. What the other colony knows follows.

    at home     DEPARTING -> AWAY -> RECALLING -> (nothing: it is here, or dead)
    elsewhere   ARRIVING -> HOUSED -> LEAVING or GONE -> (nothing)

While it is DEPARTING home serves it; from AWAY on the other colony does, once
it is HOUSED there. A stay is named by its *stamp*, epoch and seq of the
departure in the log of home: no stay ever has the stamp of another.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from agents.messages.replication import (
    ARRIVING,
    AWAY,
    DEPARTING,
    GONE,
    HERE,
    HOUSED,
    LEAVING,
    RECALLING,
    PlaceState,
)

PLACES_MAX = 65_536  # of one colony; then no cell leaves or comes any more

HOME_STATES = frozenset((DEPARTING, AWAY, RECALLING))
GUEST_STATES = frozenset((ARRIVING, HOUSED, LEAVING, GONE))
RESTLESS = frozenset((DEPARTING, RECALLING, ARRIVING, LEAVING, GONE))  # somebody's answer is waited for
SERVED = frozenset((DEPARTING, HOUSED))  # who holds it in such a state reads it

PLACE_EDGES = {
    (HERE, DEPARTING): "home sends it away",
    (DEPARTING, HERE): "the move is given up",
    (DEPARTING, AWAY): "the other colony has committed it: home hands it over",
    (AWAY, RECALLING): "home wants it back",
    (AWAY, HERE): "it died there, or was lost there",
    (RECALLING, HERE): "it is back, died there, or was lost there",
    (HERE, RECALLING): "home was lost, and hears of a guest elsewhere that it knows nothing of",
    (HERE, ARRIVING): "the other colony takes it in",
    (ARRIVING, ARRIVING): "another departure, another stamp",
    (ARRIVING, HOUSED): "home has handed it over",
    (ARRIVING, HERE): "home has given the move up",
    (ARRIVING, LEAVING): "home wants it back at once",
    (HOUSED, LEAVING): "home wants it back",
    (HOUSED, GONE): "it died",
    (HOUSED, HERE): "home was lost, and has another cell of that key",
    (LEAVING, HERE): "it is back at home",
    (GONE, HERE): "home has forgotten it",
    (HOUSED, ARRIVING): "an old copy of the colony was restored, and home sends another",
    (LEAVING, ARRIVING): "home has it, and sends it here again",
    (GONE, ARRIVING): "home has forgotten it, and sends another",
}


class Place(NamedTuple):
    """Where a cell is that is not simply at home.

    Attributes:
        state: One of the states above.
        colony: At home the colony that houses it, there its home.
        epoch: With `seq`, the stamp of the stay.
        version: Of the cell when it died; else as it came.
    """

    state: int
    colony: int
    epoch: int
    seq: int
    version: int = 0

    @property
    def stamp(self) -> tuple[int, int]:
        """The stay's name; of two, the later one is higher."""
        return self.epoch, self.seq

    @property
    def is_served(self) -> bool:
        """Whether this colony reads the cell."""
        return self.state in SERVED


def told(places: dict[bytes, Place]) -> tuple[PlaceState, ...]:
    """Return places as clones and snapshots carry them."""
    return tuple(PlaceState(key, *place) for key, place in places.items())


def learned(states: Iterable[PlaceState]) -> dict[bytes, Place]:
    """Return places that a clone or a snapshot has brought."""
    return {s.key: Place(s.state, s.colony, s.epoch, s.seq, s.version) for s in states}
