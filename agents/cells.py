"""Cells: what one peer of a colony holds, and how entries change it.

A cell is an immutable tuple `(seq, expires_s, dna)`, published whole, so
that a reader in another thread sees the old one or the new one, never a
mixture. Times are on the colony's own clock, which the primary sets and its
successor goes on with: no move or promotion gives a cell a longer life.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agents.messages.replication import (
    DEATH,
    DROP,
    EXPIRED,
    GONE,
    HERE,
    HOUSED,
    PATCH,
    PUT,
    REFUSED,
    SHIFT,
    TAKE,
    TOUCH,
    CellState,
    Dna,
    Entry,
    LaneState,
)
from agents.places import Place

Cell = tuple[int, float, Dna]
AnsweredLane = tuple[int, int, int, bytes | None, float, bytes]
CELL_OVERHEAD_BYTES = 150  # measured: dict slot, tuple, int, float, bytes headers
LANE_KEEP_S = 180.0  # three times the longest a client may retry (60 s)
LANES_MAX = 65_536
DEATHS_MAX = 65_536  # of one colony while hosts are absent; the oldest are forgotten
BATCH_BYTES = 4 * 1024 * 1024  # what one message carries at most, or one entry


def dna_bytes(dna: Dna) -> int:
    """Return how many bytes of payload a DNA carries."""
    if isinstance(dna, bytes):
        return len(dna)
    return sum(len(name) + len(blob) + 16 for name, blob in dna)


def cell_bytes(key: bytes, cell: Cell) -> int:
    """Return what a cell weighs in memory, overhead included."""
    return len(key) + dna_bytes(cell[2]) + CELL_OVERHEAD_BYTES


def patched(dna: Dna | None, changed: Dna | None, gone: tuple[str, ...]) -> Dna:
    """Return mapping DNA with attributes changed and removed, sorted by name."""
    base = {} if dna is None or isinstance(dna, bytes) else dict(dna)
    if changed is not None and not isinstance(changed, bytes):
        base.update(changed)
    for name in gone:
        base.pop(name, None)
    return tuple(sorted(base.items()))


def after(entry: Entry, cell: Cell | None) -> Cell | None:
    """Return the cell as it stands after `entry`; None = dead."""
    kind = entry.kind
    if kind == PUT:
        assert entry.dna is not None, "a PUT carries DNA"
        return (entry.seq, entry.expires_s, entry.dna)
    if kind in (DEATH, EXPIRED, DROP):
        return None
    if kind == PATCH:
        base = cell[2] if cell is not None else None
        return (entry.seq, entry.expires_s, patched(base, entry.dna, entry.gone))
    if kind in (REFUSED, SHIFT):
        return cell
    if kind == TAKE:  # a cell keeps its version where it goes
        assert entry.dna is not None and entry.move is not None, "a TAKE brings a cell"
        return (entry.move.version, entry.expires_s, entry.dna)
    assert kind == TOUCH, f"no such entry kind: {kind}"
    assert cell is not None, "a TOUCH needs the cell it touches"
    return (entry.seq, entry.expires_s, cell[2])


def whole(entry: Entry, cell: Cell | None) -> Entry:
    """Return `entry` as a learner must see it: the whole cell after it.

    A delta's base may not have reached the learner yet.
    """
    if cell is None or entry.kind in (PUT, REFUSED, SHIFT, TAKE):
        return entry
    return Entry(
        seq=entry.seq,
        kind=PUT,
        key=entry.key,
        dna=cell[2],
        expires_s=cell[1],
        lane=entry.lane,
        number=entry.number,
        code=entry.code,
        result=entry.result,
    )


def batches(entries: Iterable[Entry]) -> Iterator[tuple[Entry, ...]]:
    """Yield entries in batches that a frame can carry."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += CELL_OVERHEAD_BYTES + dna_bytes(entry.dna or b"") + len(entry.result or b"")
        if size >= BATCH_BYTES:
            yield tuple(batch)
            batch, size = [], 0
    if batch:
        yield tuple(batch)


class Cells:
    """The cells and client lanes of one peer.

    Attributes:
        live: Key -> cell. Another thread may read it; only one may write.
        lanes: Lane -> (number, seq, code, result, at_s, key): last answered request.
        bytes_used: Weight of all cells, bytes.
        deaths: Key -> seq of its death by order, while hosts are absent; None = none are.
        places: Key -> where its cell is, if that is elsewhere, or if it is a guest.
    """

    __slots__ = ("_lanes_bound", "bytes_used", "deaths", "lanes", "live", "places", "tombs")

    def __init__(self) -> None:
        self._lanes_bound = 0
        self.live: dict[bytes, Cell] = {}
        self.lanes: dict[bytes, AnsweredLane] = {}
        self.bytes_used = 0
        self.tombs: dict[bytes, int] | None = None
        self.deaths: dict[bytes, int] | None = None
        self.places: dict[bytes, Place] = {}

    def clear(self, *, learning: bool = False) -> None:
        """Forget all; a learner also starts to keep tombstones."""
        self.live = {}
        self.lanes = {}
        self.bytes_used = 0
        self.tombs = {} if learning else None
        self.places = {}

    def end_learning(self) -> None:
        """Drop the tombstones: from now on all comes in order."""
        self.tombs = None
        # Cloned lanes came after fresh ones: the oldest must be forgotten first.
        self.lanes = dict(sorted(self.lanes.items(), key=lambda item: item[1][4]))

    def fits(self, entry: Entry) -> bool:
        """Return whether another's entry makes sense on these cells."""
        if entry.kind == PUT:
            return entry.dna is not None
        if entry.kind == TOUCH:
            return entry.key in self.live
        if entry.kind > REFUSED:
            return entry.move is not None and (entry.kind != TAKE or entry.dna is not None)
        return entry.kind in (DEATH, EXPIRED, PATCH, REFUSED)

    def put(self, key: bytes, cell: Cell | None) -> None:
        """Publish a cell (None = it is dead)."""
        old = self.live.get(key)
        if cell is not None:
            self.live[key] = cell
            if old is None:
                self.bytes_used += cell_bytes(key, cell)
                return
            dna, before = cell[2], old[2]
            if type(dna) is bytes and type(before) is bytes:
                self.bytes_used += len(dna) - len(before)
            else:
                self.bytes_used += dna_bytes(dna) - dna_bytes(before)
        elif old is not None:
            self.bytes_used -= cell_bytes(key, old)
            del self.live[key]

    def apply(self, entry: Entry, now_s: float) -> None:
        """Apply one entry in order, and what it says of its client's lane."""
        kind = entry.kind
        if kind < REFUSED:  # else to a learner the cell may still be under way: it is not dead
            cell = after(entry, self.live.get(entry.key))
            self.put(entry.key, cell)
            if cell is None:
                self.died(entry)
            if self.tombs is not None:
                if cell is None:
                    self.tombs[entry.key] = entry.seq
                else:
                    self.tombs.pop(entry.key, None)
        elif kind > REFUSED:
            self.shifted(entry, now_s)
        if entry.lane:
            self.answered(entry, now_s)

    def shifted(self, entry: Entry, now_s: float) -> None:
        """Apply an entry about a cell's place, and the cell's coming or going with it.

        A reader in another thread looks at the place before and after the
        cell: so what comes is here before its place says so, and what goes
        is here until its place has said so.
        """
        key, move = entry.key, entry.move
        assert move is not None, "it says where the cell is"
        if entry.kind == TAKE:
            self.put(key, after(entry, None))
            if self.tombs is not None:
                self.tombs.pop(key, None)
        if move.state == HERE:
            self.places.pop(key, None)
        else:
            self.places[key] = Place(move.state, move.colony, move.epoch, move.seq, move.version)
        if entry.kind == DROP:
            self.put(key, None)
            if self.tombs is not None:
                self.tombs[key] = entry.seq
        for lane in move.lanes:
            self._fence(lane, now_s)
        if len(self.lanes) > LANES_MAX:  # they may go on with another cell, in one message
            self.forget_lanes(now_s)

    def _fence(self, state: LaneState, now_s: float) -> None:
        """Know a lane that was answered elsewhere: what was done there is not done here again."""
        old = self.lanes.get(state.lane)
        if old is None or old[0] < state.number:
            self.lanes.pop(state.lane, None)  # keeps the dict in order of last use
            known = state.number, state.seq, state.code, state.result, now_s, state.key
            self.lanes[state.lane] = known

    def died(self, entry: Entry) -> None:
        """Remember a death by order (an expiry is no change that anybody made); a guest's, for its home."""
        if self.places:
            place = self.places.get(entry.key)
            if place is not None and place.state == HOUSED and entry.kind in (DEATH, EXPIRED):
                self.places[entry.key] = place._replace(state=GONE, version=entry.seq)
        deaths = self.deaths
        if deaths is not None and entry.kind == DEATH:
            deaths.pop(entry.key, None)  # keeps the dict in order of seq
            deaths[entry.key] = entry.seq
            if len(deaths) > DEATHS_MAX:
                del deaths[next(iter(deaths))]

    def answered(self, entry: Entry, now_s: float) -> None:
        """Remember the last request of the entry's lane."""
        lanes, lane = self.lanes, entry.lane
        lanes.pop(lane, None)  # keeps the dict in order of last use
        lanes[lane] = (entry.number, entry.seq, entry.code, entry.result, now_s, entry.key)
        if len(lanes) > self._lanes_bound:  # nobody else may look for long: a quiet colony has no ticks
            self.forget_lanes(now_s)
            self._lanes_bound = min(LANES_MAX, 2 * len(lanes) + 1024)

    def adopt(self, state: CellState) -> None:
        """Take a cloned cell, unless something newer is here already."""
        old = self.live.get(state.key)
        if old is not None and old[0] >= state.seq:
            return
        if self.tombs is not None and self.tombs.get(state.key, -1) >= state.seq:
            return  # it died after the snapshot was taken
        self.put(state.key, (state.seq, state.expires_s, state.dna))

    def adopt_lane(self, state: LaneState) -> None:
        """Take a cloned lane, unless a newer request of it is here already."""
        old = self.lanes.get(state.lane)
        if old is None or old[0] < state.number:
            known = state.number, state.seq, state.code, state.result, state.at_s, state.key
            self.lanes[state.lane] = known

    def forget_lanes(self, clock_s: float) -> int:
        """Forget lanes idle for too long, or the oldest over the bound."""
        gone = 0
        kept_max = LANES_MAX if len(self.lanes) <= LANES_MAX else LANES_MAX - LANES_MAX // 8
        for lane in list(self.lanes):
            over = len(self.lanes) > kept_max
            if not over and clock_s - self.lanes[lane][4] < LANE_KEEP_S:
                break
            del self.lanes[lane]
            gone += 1
        return gone
