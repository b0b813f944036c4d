"""Messages between the peers of one colony, and about where they are.

Each is gated by the view it was sent in (links see to that) and carries the
epoch of the colony; a lower epoch is refused.
"""

from __future__ import annotations

import msgspec

Attributes = tuple[tuple[str, bytes], ...]
Dna = bytes | Attributes

PUT, DEATH, EXPIRED, PATCH, TOUCH = 0, 1, 2, 3, 4


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One sequenced mutation of a colony.

    Attributes:
        seq: Place in the colony's order; also the cell's new version.
        kind: PUT (whole DNA), DEATH, EXPIRED, PATCH (changed attributes),
            TOUCH (expiry alone).
        key: The cell, 1 to 1,024 bytes.
        dna: New DNA (PUT), or changed attributes (PATCH).
        gone: Names of removed attributes (PATCH).
        expires_s: Expiry on the colony's clock; 0 = never.
        lane: Client lane of the request; b"" = nobody waits.
        number: The lane's request number.
        code: Result code that the client gets.
        result: Result bytes that the client gets (closures).
    """

    seq: int
    kind: int
    key: bytes
    dna: Dna | None = None
    gone: tuple[str, ...] = ()
    expires_s: float = 0.0
    lane: bytes = b""
    number: int = 0
    code: int = 0
    result: bytes | None = None


class CellState(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A cell as a clone or a snapshot carries it."""

    key: bytes
    seq: int
    expires_s: float
    dna: Dna


class LaneState(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The last answered request of one client lane."""

    lane: bytes
    number: int
    seq: int
    code: int
    result: bytes | None
    at_s: float


class Replicate(msgspec.Struct, frozen=True, array_like=True, tag=40):
    """Mutations in order; all up to `committed` is committed."""

    colony: int
    epoch: int
    committed: int
    clock_s: float
    entries: tuple[Entry, ...]


class Ack(msgspec.Struct, frozen=True, array_like=True, tag=41):
    """All mutations up to `seq` are applied here (cumulative)."""

    colony: int
    epoch: int
    seq: int


class Missing(msgspec.Struct, frozen=True, array_like=True, tag=42):
    """A gap: send again what follows `seq`."""

    colony: int
    epoch: int
    seq: int


class CloneAsk(msgspec.Struct, frozen=True, array_like=True, tag=43):
    """May a copy of this colony live with you? Reserve so many bytes."""

    colony: int
    epoch: int
    clone: int
    bytes_wanted: int


class CloneAnswer(msgspec.Struct, frozen=True, array_like=True, tag=44):
    """Admitted (the peer is LEARNING and empty) or refused, and why."""

    colony: int
    epoch: int
    clone: int
    admitted: bool
    reason: str = ""


class CloneStart(msgspec.Struct, frozen=True, array_like=True, tag=58):
    """A clone begins: chunks tell of `start_seq`, mutations after it follow.

    It travels ahead of those mutations; chunks come on the bulk plane.
    """

    colony: int
    epoch: int
    clone: int
    start_seq: int
    clock_s: float


class Chunk(msgspec.Struct, frozen=True, array_like=True, tag=45):
    """Piece `number` of a clone, counted from 1."""

    colony: int
    epoch: int
    clone: int
    number: int
    cells: tuple[CellState, ...]
    lanes: tuple[LaneState, ...]
    last: bool


class ChunkAck(msgspec.Struct, frozen=True, array_like=True, tag=46):
    """All chunks up to `number` are in."""

    colony: int
    epoch: int
    clone: int
    number: int


class Activate(msgspec.Struct, frozen=True, array_like=True, tag=47):
    """You are in my ack set: be ACTIVE."""

    colony: int
    epoch: int
    clone: int


class Activated(msgspec.Struct, frozen=True, array_like=True, tag=48):
    """I am ACTIVE."""

    colony: int
    epoch: int
    clone: int


class Retire(msgspec.Struct, frozen=True, array_like=True, tag=49):
    """Stop being a peer; free your cells."""

    colony: int
    epoch: int


class Retired(msgspec.Struct, frozen=True, array_like=True, tag=50):
    """I hold nothing of this colony any more."""

    colony: int
    epoch: int
    reason: str = ""


class HandOver(msgspec.Struct, frozen=True, array_like=True, tag=51):
    """Be primary in `epoch`; all up to `seq` is committed."""

    colony: int
    epoch: int
    seq: int
    clock_s: float
    ack_set: tuple[str, ...]


class HandedOver(msgspec.Struct, frozen=True, array_like=True, tag=52):
    """I am primary in `epoch`."""

    colony: int
    epoch: int


class Located(msgspec.Struct, frozen=True, array_like=True, tag=53):
    """Where a colony is: the primary, and all ACTIVE peers.

    `change` orders the lists of one epoch.
    """

    colony: int
    epoch: int
    change: int
    primary: str
    peers: tuple[str, ...]
    cells: int = 0
    bytes_used: int = 0
    seq: int = 0
    learners: tuple[str, ...] = ()


class WantLocations(msgspec.Struct, frozen=True, array_like=True, tag=54):
    """Our digests differ: this is what I know, tell me what I don't.

    Per colony: (epoch, change), in order of colony.
    """

    known: tuple[tuple[int, int], ...]


class CensusPeer(msgspec.Struct, frozen=True, array_like=True):
    """One ACTIVE peer in a census."""

    colony: int
    epoch: int
    seq: int
    primary: bool


class Census(msgspec.Struct, frozen=True, array_like=True, tag=55):
    """Every ACTIVE peer that the sender holds in this view, and its load."""

    view: int
    peers: tuple[CensusPeer, ...]
    load: int


class Invite(msgspec.Struct, frozen=True, array_like=True, tag=56):
    """A joiner asks a primary to move a copy (or the primary role) to it."""

    colony: int
    role: str


class InviteAnswer(msgspec.Struct, frozen=True, array_like=True, tag=57):
    """Whether the primary agrees, and why not."""

    colony: int
    agreed: bool
    reason: str = ""


Replication = (
    Replicate
    | Ack
    | Missing
    | CloneAsk
    | CloneAnswer
    | CloneStart
    | Chunk
    | ChunkAck
    | Activate
    | Activated
    | Retire
    | Retired
    | HandOver
    | HandedOver
    | Located
    | WantLocations
    | Census
    | Invite
    | InviteAnswer
)
