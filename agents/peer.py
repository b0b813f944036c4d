"""A peer's own state: what one host holds of one colony.

Both roles share it: the secondary's log is a prefix of the primary's, and a
promoted secondary goes on with the very same object.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from agents.cells import Cells
from agents.history import History, restored
from agents.messages.replication import DEATH, Entry, HistoryState
from agents.surroundings import Surroundings
from agents.views import View


def follows(entry: Entry, last: int) -> bool:
    """Return whether an entry is the next after seq `last`; one about a cell's place may leave seqs out."""
    return entry.seq == last + 1 or (entry.move is not None and entry.move.prior == last < entry.seq)


class PeerStatus(Enum):
    """Local status of a peer."""

    NONE = "NONE"
    LEARNING = "LEARNING"
    ACTIVE = "ACTIVE"


class Role(Enum):
    """Role of an ACTIVE peer."""

    SECONDARY = "SECONDARY"
    PRIMARY = "PRIMARY"


PEER_EDGES = {
    (PeerStatus.NONE, PeerStatus.LEARNING): "admitted a clone",
    (PeerStatus.NONE, PeerStatus.ACTIVE): "born, or restored from a snapshot",
    (PeerStatus.LEARNING, PeerStatus.LEARNING): "a clone starts over",
    (PeerStatus.LEARNING, PeerStatus.ACTIVE): "activated",
    (PeerStatus.LEARNING, PeerStatus.NONE): "its primary is gone, or it is retired",
    (PeerStatus.ACTIVE, PeerStatus.NONE): "retired or given up",
    (PeerStatus.NONE, PeerStatus.NONE): "nothing to free",
}


class Peer:
    """State of one peer.

    Attributes:
        epoch: Highest epoch it has followed or led.
        last: Seq of the last mutation it has (primary: has sequenced).
        committed: Highest seq that it knows committed; <= `last`.
        log: Entries above `committed`, in order (secondary and learner).
        offset_s: The colony's clock minus the host's.
        birth: Id of the view in which the colony was born, empty.
        history: What it remembers while hosts are absent; None = none are.
    """

    __slots__ = (
        "birth",
        "cells",
        "colony",
        "committed",
        "epoch",
        "history",
        "host",
        "last",
        "log",
        "offset_s",
        "status",
    )

    def __init__(self, colony: int, host: Surroundings) -> None:
        self.colony = colony
        self.host = host
        self.status = PeerStatus.NONE
        self.epoch = 0
        self.last = 0
        self.committed = 0
        self.log: deque[Entry] = deque()
        self.cells = Cells()
        self.offset_s = 0.0
        self.birth = 0
        self.history: History | None = None

    def clock_s(self, now_s: float) -> float:
        """Return the colony's clock, seconds since its birth."""
        return now_s + self.offset_s

    def become(self, status: PeerStatus) -> None:
        """Change the status along an edge of `PEER_EDGES`."""
        assert (self.status, status) in PEER_EDGES, f"{self.status} -> {status}"
        self.status = status

    def follow(self, view: View, now_s: float) -> None:
        """Remember changes while a view says that somebody is absent; before any commit in it."""
        if not view.absent:
            self.history = self.cells.deaths = None
            return
        if self.history is None:
            self.history = History(self.last, now_s)
            self.cells.deaths = {}
            for entry in self.log:  # what may be committed on this side alone
                if entry.kind == DEATH:
                    self.cells.died(entry)
        self.history.follow(view, self.last)

    def history_state(self, now_s: float) -> HistoryState | None:
        """Return what a clone must know of the past; None = nothing."""
        if self.history is not None:
            return self.history.state(self.birth, now_s)
        return HistoryState((), (), self.birth) if self.birth else None

    def recall(self, state: HistoryState, now_s: float) -> None:
        """Know what a clone brought of the past."""
        self.birth = state.birth
        if state.splits:
            self.history = restored(state, now_s)
            self.cells.deaths = {}

    def wipe(self, status: PeerStatus) -> None:
        """Free everything, and become `status` (NONE or LEARNING)."""
        self.become(status)
        self.cells.clear(learning=status is PeerStatus.LEARNING)
        self.log.clear()
        self.last = self.committed = self.birth = 0
        self.history = self.cells.deaths = None

    def apply(self, entry: Entry, now_s: float) -> None:
        """Apply the next entry as a secondary or a learner."""
        assert entry.seq == self.last + 1 or follows(entry, self.last), "entries are applied in order"
        self.last = entry.seq
        self.cells.apply(entry, self.clock_s(now_s))
        self.log.append(entry)

    def commit_to(self, seq: int) -> None:
        """Learn that all up to `seq` is committed (secondary and learner)."""
        if seq > self.committed:
            self.committed = min(seq, self.last)
            log = self.log
            while log and log[0].seq <= self.committed:
                log.popleft()
