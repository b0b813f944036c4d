"""Learning: the target's side of making one more peer.

A learner takes chunks in order, and mutations beside them, each with the
whole cell. A link that loses something goes DOWN, and the clone starts over.
"""

from __future__ import annotations

from agents.messages.replication import Activate, Chunk, ChunkAck, CloneStart
from agents.peer import Peer, PeerStatus
from agents.places import learned


class Learner:
    """One clone under way, as its target knows it.

    Attributes:
        source: The primary that sends it.
        number: Names this attempt; unique within the primary's epoch.
        started: The snapshot is taken: mutations that come now belong to it.
        is_whole: The last chunk is here.
        heard_s: When the source was last heard about it.
    """

    __slots__ = ("chunks", "heard_s", "is_whole", "number", "source", "started")

    def __init__(self, source: str, number: int, now_s: float) -> None:
        self.source = source
        self.number = number
        self.heard_s = now_s
        self.chunks = 0
        self.started = False
        self.is_whole = False

    def is_meant(self, peer: Peer, sender: str, message: CloneStart | Chunk | Activate) -> bool:
        """Return whether a message is of this very attempt."""
        return (
            peer.status is PeerStatus.LEARNING
            and self.source == sender
            and self.number == message.clone
            and peer.epoch == message.epoch
        )

    def start(self, peer: Peer, message: CloneStart, now_s: float) -> None:
        """Know from where on mutations come, and what a chunk can't tell of the past."""
        self.started = True
        self.heard_s = now_s
        peer.last = peer.committed = message.start_seq
        peer.offset_s = message.clock_s - now_s
        if message.history is not None:
            peer.recall(message.history, now_s)
        peer.cells.places = learned(message.places)

    def take(self, peer: Peer, message: Chunk, now_s: float) -> ChunkAck | None:
        """Take the next chunk, and return its ack; None = it is not the next."""
        if message.number != self.chunks + 1:
            return None
        cells = peer.cells
        for state in message.cells:
            cells.adopt(state)
        for lane in message.lanes:
            cells.adopt_lane(lane)
        if message.deaths and cells.deaths is not None:
            cells.deaths = dict(message.deaths) | cells.deaths
        self.chunks, self.is_whole = message.number, message.last
        self.heard_s = now_s
        return ChunkAck(peer.colony, message.epoch, message.clone, message.number)
