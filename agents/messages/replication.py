"""Messages between the peers of one colony, and about where they are.

Each is gated by the view it was sent in (links see to that) and carries the
epoch of the colony; a lower epoch is refused.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from agents.fields import (
    ATTRIBUTES_MAX,
    BATCH_MAX,
    COLONIES_MAX,
    KEY_BYTES_MAX,
    MEMBERS_MAX,
    ColonyId,
    Count,
    Finite,
    Hosts,
    Id,
    Key,
    Lane,
    NamedHosts,
    Seconds,
    Text,
)

Attributes = Annotated[tuple[tuple[str, bytes], ...], Meta(max_length=ATTRIBUTES_MAX)]
Names = Annotated[tuple[str, ...], Meta(max_length=ATTRIBUTES_MAX)]
Dna = bytes | Attributes

PUT, DEATH, EXPIRED, PATCH, TOUCH, REFUSED, SHIFT, TAKE, DROP = range(9)
Kind = Annotated[int, Meta(ge=PUT, le=DROP)]

# Where a cell is that has left home, or is on its way: states of a `agents.places.Place`.
HERE, DEPARTING, AWAY, RECALLING, ARRIVING, HOUSED, LEAVING, GONE = range(8)
PlaceKind = Annotated[int, Meta(ge=HERE, le=GONE)]


class LaneState(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The last answered request of one client lane; `key`: the cell that it was for, b"" = not told."""

    lane: Lane
    number: Count
    seq: Count
    code: Count
    result: bytes | None
    at_s: Seconds
    key: Annotated[bytes, Meta(max_length=KEY_BYTES_MAX)] = b""


Lanes = Annotated[tuple[LaneState, ...], Meta(max_length=BATCH_MAX)]


class Placing(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a SHIFT, TAKE or DROP says of the place of its cell: see `agents.places`.

    Attributes:
        state: HERE = nothing is to be remembered any more.
        colony: The other colony: at home the one that houses it, there its home.
        epoch: With `seq`, the stamp of the stay: epoch and seq of the departure from home.
        version: Of the cell, as it came (TAKE) or died (DROP); the entry's seq is above it.
        prior: The seq before this one, which is not always the one below.
        lanes: What was answered where the cell comes from.
    """

    state: PlaceKind
    colony: ColonyId
    epoch: Count
    seq: Count
    version: Count
    prior: Count
    lanes: Lanes = ()


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One sequenced mutation of a colony.

    Attributes:
        seq: Place in the colony's order; also the cell's new version.
        kind: PUT (whole DNA), DEATH, EXPIRED, PATCH (changed attributes),
            TOUCH (expiry alone), REFUSED (nothing changes: a client was told
            no, and is told so again); of a cell that moves to another colony:
            SHIFT (only its place changes), TAKE (it comes here), DROP (it
            goes, and does not die of that).
        key: The cell, 1 to 1,024 bytes.
        dna: New DNA (PUT), or changed attributes (PATCH).
        gone: Names of removed attributes (PATCH).
        expires_s: Expiry on the colony's clock; 0 = never.
        lane: Client lane of the request; b"" = nobody waits.
        number: The lane's request number.
        code: Result code that the client gets.
        result: Result bytes that the client gets (closures); of a REFUSED
            one, all that it was told (`agents.evaluate.told`).
        move: Of SHIFT, TAKE and DROP: the cell's new place.
    """

    seq: Count
    kind: Kind
    key: Key
    dna: Dna | None = None
    gone: Names = ()
    expires_s: Seconds = 0.0
    lane: Lane = b""
    number: Count = 0
    code: Count = 0
    result: bytes | None = None
    move: Placing | None = None


class CellState(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A cell as a clone or a snapshot carries it."""

    key: Key
    seq: Count
    expires_s: Seconds
    dna: Dna


class PlaceState(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A cell's place as a clone or a snapshot carries it."""

    key: Key
    state: PlaceKind
    colony: ColonyId
    epoch: Count
    seq: Count
    version: Count


Places = Annotated[tuple[PlaceState, ...], Meta(max_length=BATCH_MAX)]


class HistoryState(msgspec.Struct, frozen=True, array_like=True):
    """What a peer remembers of its changes while hosts are absent: see `agents.history`.

    Attributes:
        splits: (absent host, the last seq when it was dropped).
        marks: (seq, how long ago it was the last one).
        birth: Id of the view in which the colony was born, empty.
    """

    splits: Annotated[tuple[tuple[Id, Count], ...], Meta(max_length=MEMBERS_MAX)]
    marks: Annotated[tuple[tuple[Count, Seconds], ...], Meta(max_length=BATCH_MAX)]
    birth: Count = 0


class Replicate(msgspec.Struct, frozen=True, array_like=True, tag=40):
    """Mutations in order; all up to `committed` is committed."""

    colony: ColonyId
    epoch: Count
    committed: Count
    clock_s: Seconds
    entries: Annotated[tuple[Entry, ...], Meta(max_length=BATCH_MAX)]


class Ack(msgspec.Struct, frozen=True, array_like=True, tag=41):
    """All mutations up to `seq` are applied here (cumulative)."""

    colony: ColonyId
    epoch: Count
    seq: Count


class Missing(msgspec.Struct, frozen=True, array_like=True, tag=42):
    """A gap: send again what follows `seq`."""

    colony: ColonyId
    epoch: Count
    seq: Count


class CloneAsk(msgspec.Struct, frozen=True, array_like=True, tag=43):
    """May a copy of this colony live with you? Reserve so many bytes.

    `weight_max`: not if you weighed more than that then; 0 = whatever you weigh.
    """

    colony: ColonyId
    epoch: Count
    clone: Count
    bytes_wanted: Count
    weight_max: Count = 0


class CloneAnswer(msgspec.Struct, frozen=True, array_like=True, tag=44):
    """Admitted (the peer is LEARNING and empty) or refused, and why."""

    colony: ColonyId
    epoch: Count
    clone: Count
    admitted: bool
    reason: Text = ""


class CloneStart(msgspec.Struct, frozen=True, array_like=True, tag=58):
    """A clone begins: chunks tell of `start_seq`, mutations after it follow.

    It travels ahead of those mutations, and with it all places of cells, so
    that no older one comes after a change; chunks come on the bulk plane.
    """

    colony: ColonyId
    epoch: Count
    clone: Count
    start_seq: Count
    clock_s: Seconds
    history: HistoryState | None = None
    places: Places = ()


class Chunk(msgspec.Struct, frozen=True, array_like=True, tag=45):
    """Piece `number` of a clone, counted from 1; `deaths`: (key, seq), while hosts are absent."""

    colony: ColonyId
    epoch: Count
    clone: Count
    number: Count
    cells: Annotated[tuple[CellState, ...], Meta(max_length=BATCH_MAX)]
    lanes: Annotated[tuple[LaneState, ...], Meta(max_length=BATCH_MAX)]
    last: bool
    deaths: Annotated[tuple[tuple[Key, Count], ...], Meta(max_length=BATCH_MAX)] = ()


class ChunkAck(msgspec.Struct, frozen=True, array_like=True, tag=46):
    """All chunks up to `number` are in."""

    colony: ColonyId
    epoch: Count
    clone: Count
    number: Count


class Activate(msgspec.Struct, frozen=True, array_like=True, tag=47):
    """You are in my ack set: be ACTIVE."""

    colony: ColonyId
    epoch: Count
    clone: Count


class Activated(msgspec.Struct, frozen=True, array_like=True, tag=48):
    """I am ACTIVE."""

    colony: ColonyId
    epoch: Count
    clone: Count


class Retire(msgspec.Struct, frozen=True, array_like=True, tag=49):
    """Stop being a peer; free your cells."""

    colony: ColonyId
    epoch: Count


class Retired(msgspec.Struct, frozen=True, array_like=True, tag=50):
    """I hold nothing of this colony any more."""

    colony: ColonyId
    epoch: Count
    reason: Text = ""


class HandOver(msgspec.Struct, frozen=True, array_like=True, tag=51):
    """Be primary in `epoch`; all up to `seq` is committed."""

    colony: ColonyId
    epoch: Count
    seq: Count
    clock_s: Seconds
    ack_set: Hosts


class HandedOver(msgspec.Struct, frozen=True, array_like=True, tag=52):
    """I am primary in `epoch`."""

    colony: ColonyId
    epoch: Count


class Located(msgspec.Struct, frozen=True, array_like=True, tag=53):
    """Where a colony is: the primary, and all ACTIVE peers.

    `change` orders the lists of one epoch; `going` are peers that were asked
    to go, or will be once a learner has taken their place.
    """

    colony: ColonyId
    epoch: Count
    change: Count
    primary: Id
    peers: Hosts
    cells: Count = 0
    bytes_used: Count = 0
    seq: Count = 0
    learners: Hosts = ()
    going: Hosts = ()


class WantLocations(msgspec.Struct, frozen=True, array_like=True, tag=54):
    """Our digests differ: this is what I know, tell me what I don't.

    Per colony: (epoch, change), in order of colony.
    """

    known: Annotated[tuple[tuple[Count, Count], ...], Meta(max_length=COLONIES_MAX)]


class CensusPeer(msgspec.Struct, frozen=True, array_like=True):
    """One ACTIVE peer in a census.

    Attributes:
        restored: From a snapshot, and no census has had its say yet.
        bytes_used: Of its colony, as its primary last told everybody.
        coming: Hosts that its primary is cloning it to.
    """

    colony: ColonyId
    epoch: Count
    seq: Count
    primary: bool
    restored: bool = False
    bytes_used: Count = 0
    coming: Hosts = ()


class Origin(msgspec.Struct, frozen=True, array_like=True):
    """What a member of a census knows of the stop that this cluster comes back from.

    Attributes:
        stop: Id of the stop whose snapshot it has, or that it is back from; "" = none.
        view: Id of the view in which that stop was made.
        before: In a cluster that starts anew: id of the view that this member
            knew before. 0 = a census of this start is past already.
        clean: It knows that the stop came to its end.
        is_late: Its snapshot is not offered yet: it does not know for which colonies.
        members: Hosts that bring something back from that stop.
        waiting: Colonies that wait for a holder, as the last census said.
        given_up: An operator, or the time, has ended the wait.
        age_s: How old the snapshot is.
        waits: It is to be asked before a colony that was lost starts again empty.
    """

    stop: Id = ""
    view: Count = 0
    before: Count = 0
    clean: bool = False
    is_late: bool = False
    members: NamedHosts = ()
    waiting: Annotated[tuple[ColonyId, ...], Meta(max_length=COLONIES_MAX)] = ()
    given_up: bool = False
    age_s: Seconds = 0.0
    waits: bool = False


class Census(msgspec.Struct, frozen=True, array_like=True, tag=55):
    """Every ACTIVE peer that the sender holds in this view, and its load.

    `cpu`, `free`: of its machine, without their noise; `free` < 0 = not measured. `records`: what
    speaks against hosts, and against their boxes, as the sender saw it; of those without a flaw
    nothing is said, and of many the worst alone (`reputation.RECORDS_MAX`). What goes where after
    this view follows from nothing but what all know alike: so it is said here.
    """

    view: Count
    peers: Annotated[tuple[CensusPeer, ...], Meta(max_length=COLONIES_MAX)]
    load: int
    origin: Origin | None = None
    cpu: Finite = 0.0
    free: int = -1
    records: Annotated[tuple[tuple[Id, Count, Count], ...], Meta(max_length=MEMBERS_MAX)] = ()


class Invite(msgspec.Struct, frozen=True, array_like=True, tag=56):
    """Asks a primary to do something for the sender.

    Roles: `copy` or `role`: a host that carries too little asks for one;
    `relieve`: one that carries too much asks for its peer to be moved; `shed`:
    its peer has to go, for colonies with fewer peers need the room.
    """

    colony: ColonyId
    role: Id


class InviteAnswer(msgspec.Struct, frozen=True, array_like=True, tag=57):
    """Whether the primary agrees, and why not."""

    colony: ColonyId
    agreed: bool
    reason: Text = ""


class CellOffer(msgspec.Struct, frozen=True, array_like=True, tag=62):
    """A cell on its way to another colony: from home to where it is to be housed, or back.

    To the primary of `colony`, from that of `origin`; `epoch` and `seq` are the
    stamp of the stay. `left_s` is the time it has to live, 0 = for ever.
    """

    colony: ColonyId
    epoch: Count
    seq: Count
    origin: ColonyId
    key: Key
    version: Count
    left_s: Seconds
    dna: Dna
    lanes: Lanes = ()


class GuestReport(msgspec.Struct, frozen=True, array_like=True, tag=63):
    """How a guest is, from the colony that houses it (`origin`) to its home (`colony`).

    `arrived`, `refused`, `housed`, `gone` (it died, at `version`), `unknown` (there is no such guest).
    """

    colony: ColonyId
    epoch: Count
    seq: Count
    origin: ColonyId
    key: Key
    word: Literal["arrived", "refused", "housed", "gone", "unknown"]
    version: Count = 0
    lanes: Lanes = ()
    reason: Text = ""


class GuestOrder(msgspec.Struct, frozen=True, array_like=True, tag=64):
    """What becomes of a guest, from its home (`origin`) to the colony that houses it (`colony`).

    `yours` (house it), `recall` (send it back), `void` (this stay is over, or never was).
    """

    colony: ColonyId
    epoch: Count
    seq: Count
    origin: ColonyId
    key: Key
    word: Literal["yours", "recall", "void"]


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
    | CellOffer
    | GuestReport
    | GuestOrder
)
