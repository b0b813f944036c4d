"""Packing one turn's messages to one host into frames.

Messages about views, and between sides of a split, travel ungated; all others are gated by the view they
are sent in; chunks of clones, and of merges, take the bulk plane. Inside each of these
kinds the order is kept; between them there is none.
"""

from __future__ import annotations

from typing import get_args

from agents.effects import HostMessage
from agents.messages.membership import Membership
from agents.messages.merging import MergeCells, MergeMessage
from agents.messages.replication import (
    Ack,
    Attributes,
    CellOffer,
    Chunk,
    GuestReport,
    LaneState,
    Replicate,
)
from agents.wire import BULK, CONTROL, MESSAGES_MAX

FRAME_WEIGHT_MAX = 4 * 1024 * 1024  # large enough to be cheap, far below what a frame may be
ENTRY_BYTES = 128  # about what an entry or a small message takes beside its DNA

UNGATED = frozenset(get_args(Membership) + get_args(MergeMessage))

OF_EVERY_WRITE = frozenset((Replicate, Ack))  # alone nearly always, and of their colony: nothing to look for

Load = tuple[int, bool, tuple[HostMessage, ...]]


def pack(messages: list[HostMessage]) -> list[Load]:
    """Return the messages as loads of frames: (plane, whether gated by the view, messages)."""
    if len(messages) == 1 and type(messages[0]) in OF_EVERY_WRITE:
        return [(CONTROL, True, (messages[0],))]
    ungated: list[HostMessage] = []
    gated: list[HostMessage] = []
    bulk: list[HostMessage] = []
    merges: list[HostMessage] = []
    for message in messages:
        kind = type(message)
        if kind in UNGATED:
            (merges if kind is MergeCells else ungated).append(message)
        elif kind is Chunk:
            bulk.append(message)
        else:
            gated.append(message)
    loads: list[Load] = []
    if ungated:
        loads.extend((CONTROL, False, part) for part in _parts(ungated))
    if gated:
        loads.extend((CONTROL, True, part) for part in _parts(gated))
    if bulk:
        loads.extend((BULK, True, (chunk,)) for chunk in bulk)  # one each: its receiver must not stall
    if merges:
        loads.extend((BULK, False, (batch,)) for batch in merges)
    return loads


def _parts(messages: list[HostMessage]) -> list[tuple[HostMessage, ...]]:
    """Cut a list where a frame would become too large; nearly always into one part."""
    if len(messages) == 1:
        return [tuple(messages)]
    parts: list[tuple[HostMessage, ...]] = []
    start, total = 0, 0
    for at, message in enumerate(messages):
        weight = _weight(message)
        if at > start and (total + weight > FRAME_WEIGHT_MAX or at - start == MESSAGES_MAX):
            parts.append(tuple(messages[start:at]))
            start, total = at, 0
        total += weight
    parts.append(tuple(messages[start:]))
    return parts


def _weight(message: HostMessage) -> int:
    """Return about how many bytes a message takes; only what carries DNA is looked at closely."""
    if type(message) is Replicate:
        weight = 0
        for entry in message.entries:
            dna = entry.dna
            weight += ENTRY_BYTES + (len(dna) if type(dna) is bytes else dna_bytes(dna))
            if entry.result:
                weight += len(entry.result)
            if entry.move is not None:
                weight += _lanes_bytes(entry.move.lanes)
        return weight
    if type(message) is Chunk:
        weight = _lanes_bytes(message.lanes)
        for cell in message.cells:
            weight += ENTRY_BYTES + dna_bytes(cell.dna)
        return weight
    if type(message) is CellOffer:
        return ENTRY_BYTES + dna_bytes(message.dna) + _lanes_bytes(message.lanes)
    if type(message) is GuestReport:
        return ENTRY_BYTES + _lanes_bytes(message.lanes)
    return ENTRY_BYTES


def _lanes_bytes(lanes: tuple[LaneState, ...]) -> int:
    return sum(ENTRY_BYTES + len(lane.result or b"") for lane in lanes)


def dna_bytes(dna: bytes | Attributes | None) -> int:
    """Return about how many bytes the DNA of an entry or a cell takes on the wire."""
    if dna is None:
        return 0
    if isinstance(dna, bytes):
        return len(dna)
    return sum(len(name) + len(part) for name, part in dna)
