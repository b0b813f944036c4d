"""Snapshots: what a host held, as bytes that say when they lie.

A file is a head, then the cells and lanes of each colony in parts of about a
megabyte. Every section stands behind a mark and carries its length and a
digest, so that damage costs the colonies it hit and no other: the reader
looks for the next mark, and names what did not come back whole.

The digest of a part is keyed with a secret of the head: bytes that a client
put into a cell are never taken for a section of the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from agents.cells import AnsweredLane, Cell, Cells
from agents.cloning import pieces
from agents.fields import COLONIES_MAX, ColonyId, Count, Finite, Id, NamedHosts, Seconds, Text, Word
from agents.messages.replication import CellState, LaneState, Places
from agents.places import Place, learned, told

MAGIC = b"COLONY SNAPSHOT 1\n"
MARK = b"\x93section"
DIGEST_BYTES = 16
LENGTH_BYTES = 8
PART_BYTES = 1024 * 1024  # a part is about so large, or one cell
GENTLE_PART_BYTES = 64 * 1024  # of what is written beside the service: the loop waits for no part for long
HEAD_BYTES_MAX = 64 * 1024 * 1024  # 65,536 colonies are 2 MB of it

PERIODIC = "periodic"  # stands for the stop, where a snapshot is of none, but one of many

Lanes = dict[bytes, AnsweredLane]


class SnapshotRefused(Exception):
    """Bytes that are no snapshot of this version, or whose head is damaged."""


class Held(msgspec.Struct, frozen=True, array_like=True):
    """One ACTIVE peer as it stood, on its colony's clock at that moment, and how many cells it held."""

    colony: ColonyId
    epoch: Count
    seq: Count
    clock_s: Seconds
    cells: Count = 0


class Head(msgspec.Struct, frozen=True, array_like=True):
    """What a snapshot says of itself.

    Attributes:
        tag: The cluster's.
        stop: Id of the whole-cluster stop; "" = of one host alone (lost and found).
        view: Id of the view in which it was taken.
        host: Host id of its writer.
        name: What people called the writer.
        members: Hosts of the view that bring something back from such a stop.
        peers: What follows.
        wall_s: Wall clock at that moment, seconds since the epoch; set by who writes it.
        key: Secret of the parts' digests; set by who writes it.
        reason: Why it was taken.
    """

    tag: Id
    stop: Id
    view: Count
    host: Id
    name: Word
    members: NamedHosts
    peers: Annotated[tuple[Held, ...], Meta(max_length=COLONIES_MAX)]
    wall_s: Finite = 0.0
    key: Annotated[bytes, Meta(max_length=64)] = b""
    reason: Text = ""


class Part(msgspec.Struct, frozen=True, array_like=True):
    """Piece `number` (from 1) of a colony; the last one has no cells, but says where some are."""

    colony: ColonyId
    number: Count
    last: bool
    cells: tuple[CellState, ...] = ()
    lanes: tuple[LaneState, ...] = ()
    places: Places = ()


@dataclass(frozen=True, slots=True)
class Copy:
    """What is to be written of one peer; nobody changes the three any more."""

    held: Held
    live: dict[bytes, Cell]
    lanes: Lanes
    places: dict[bytes, Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kept:
    """What came back of one peer; `age_s`: so much older than the snapshot is what was loaded for it."""

    held: Held
    cells: Cells
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Loaded:
    """A snapshot that was read.

    Attributes:
        kept: Colony -> what came back whole.
        damaged: Colonies that the head promises, and that did not.
        is_clean: The stop it belongs to came to its end, as far as its writer knows.
        age_s: How long ago it was taken, by the wall clock; >= 0.
    """

    head: Head
    kept: dict[int, Kept]
    damaged: tuple[int, ...] = ()
    is_clean: bool = False
    age_s: float = 0.0

    @property
    def is_periodic(self) -> bool:
        """Whether it is of no stop: what was acknowledged later is not in it."""
        return self.head.stop == PERIODIC


@dataclass(frozen=True, slots=True)
class Found:
    """What a state directory brought: a snapshot or none, and what was refused, in words."""

    loaded: Loaded | None = None
    refused: tuple[str, ...] = ()


class Blob(Protocol):
    """Bytes, or a mapped file."""

    def find(self, sub: bytes, start: int = ..., /) -> int:
        """Return where `sub` is next, or -1."""

    def __getitem__(self, key: slice, /) -> bytes:
        """Return some of the bytes."""

    def __len__(self) -> int:
        """Return how many bytes there are."""


_encode = msgspec.msgpack.Encoder().encode
_heads = msgspec.msgpack.Decoder(Head)
_parts = msgspec.msgpack.Decoder(Part)


def section(body: bytes, key: bytes = b"") -> bytes:
    """Return bytes as a section: mark, length, digest of both, body."""
    length = len(body).to_bytes(LENGTH_BYTES, "big")
    return b"".join((MARK, length, _digest(length, body, key), body))


def _digest(length: bytes, body: bytes, key: bytes) -> bytes:
    digest = hashlib.blake2b(length, digest_size=DIGEST_BYTES, key=key)
    digest.update(body)
    return digest.digest()


def encoded(head: Head, copies: Iterable[Copy], part_bytes: int = PART_BYTES) -> Iterator[bytes]:
    """Yield a snapshot's bytes, in pieces of bounded size."""
    yield MAGIC + section(_encode(head))
    for copy in copies:
        colony, number = copy.held.colony, 0
        lanes = [LaneState(lane, *rest) for lane, rest in copy.lanes.items()]
        for cells, some in pieces(copy.live, lanes, part_bytes):
            number += 1
            yield section(_encode(Part(colony, number, False, cells, some)), head.key)
        last = Part(colony, number + 1, True, places=told(copy.places))
        yield section(_encode(last), head.key)


@dataclass(slots=True)
class _Growing:
    """A colony of which parts have come, in order and without a gap."""

    cells: Cells = field(default_factory=Cells)
    parts: int = 0
    is_whole: bool = False


def decoded(data: Blob) -> Loaded:
    """Return what a snapshot's bytes bring back.

    Raises:
        SnapshotRefused: They are none, or their head is damaged.
    """
    head, at = head_of(data)
    growing = {held.colony: _Growing() for held in head.peers}
    for body in _bodies(data, at, head.key):
        try:
            part = _parts.decode(body)
        except (msgspec.MsgspecError, ValueError):
            continue
        colony = growing.get(part.colony)
        if colony is not None and part.number == colony.parts + 1 and not colony.is_whole:
            colony.parts, colony.is_whole = part.number, part.last
            for cell in part.cells:
                colony.cells.adopt(cell)
            for lane in part.lanes:
                colony.cells.adopt_lane(lane)
            colony.cells.places.update(learned(part.places))
    whole = {held.colony: held for held in head.peers if growing[held.colony].is_whole}
    kept = {colony: Kept(held, growing[colony].cells) for colony, held in whole.items()}
    return Loaded(head, kept, tuple(sorted(growing.keys() - kept.keys())))


def head_of(data: Blob) -> tuple[Head, int]:
    """Return the head of a snapshot's bytes, and where the parts begin.

    Raises:
        SnapshotRefused: There is none of this version, or it is damaged.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise SnapshotRefused("not a snapshot of this version")
    found = _section_at(data, len(MAGIC), b"", HEAD_BYTES_MAX)
    if found is None:
        raise SnapshotRefused("its head is torn or damaged")
    try:
        return _heads.decode(found[0]), found[1]
    except (msgspec.MsgspecError, ValueError) as error:
        raise SnapshotRefused(f"its head makes no sense ({error})") from None


def _bodies(data: Blob, at: int, key: bytes) -> Iterator[bytes]:
    """Yield the bodies of all sound sections; behind damage, from the next mark on."""
    while (at := data.find(MARK, at)) >= 0:
        found = _section_at(data, at, key, len(data))
        if found is None:
            at += 1
        else:
            yield found[0]
            at = found[1]


def _section_at(data: Blob, at: int, key: bytes, bytes_max: int) -> tuple[bytes, int] | None:
    """Return the body of the section at `at`, and where it ends; None = it is not sound."""
    start = at + len(MARK)
    length = data[start : start + LENGTH_BYTES]
    begin = start + LENGTH_BYTES + DIGEST_BYTES
    end = begin + int.from_bytes(length, "big")
    if data[at:start] != MARK or end > len(data) or end - begin > bytes_max:
        return None
    body = data[begin:end]
    if _digest(length, body, key) != data[start + LENGTH_BYTES : begin]:
        return None
    return body, end


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """Says that a stop came to its end: the snapshot beside it may be restored."""

    tag: Id
    stop: Id
    view: Count


_marks = msgspec.msgpack.Decoder(Mark)


def encode_mark(mark: Mark) -> bytes:
    """Return the bytes of a mark's file."""
    return MAGIC + section(_encode(mark))


def decode_mark(data: bytes) -> Mark | None:
    """Return the mark in a file's bytes; None = it is none that can be trusted."""
    found = _section_at(data, len(MAGIC), b"", 4096) if data.startswith(MAGIC) else None
    if found is None:
        return None
    try:
        return _marks.decode(found[0])
    except (msgspec.MsgspecError, ValueError):
        return None
