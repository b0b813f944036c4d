"""Evaluation: what a client's mutation does to the cell as it stands.

Pure functions of the request, the cell that is sequenced last, and the
colony's clock. Either an entry comes out, or a refusal.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from agents.cells import Cell, dna_bytes, patched
from agents.fields import ATTRIBUTES_MAX
from agents.messages.client import (
    ABSENT,
    BAD,
    CONFLICT,
    IF_ABSENT,
    IF_PRESENT,
    IF_VERSION,
    OK,
    TOO_LARGE,
    TTL_KEEP,
    TTL_NEVER,
    Delete,
    Patch,
    Put,
    Reply,
    Touch,
)
from agents.messages.replication import DEATH, PATCH, PUT, TOUCH, Attributes, Dna, Entry

KEY_BYTES_MAX = 1024
TTL_MS_MAX = 100 * 365 * 86_400_000  # a century; longer is a mistake


class Refusal(NamedTuple):
    """Why a mutation does nothing."""

    code: int
    version: int = 0
    text: str = ""


def told(reply: Reply) -> bytes:
    """Return a refusal as the log and the lanes keep it."""
    return msgspec.msgpack.encode((reply.version, reply.value, reply.text))


def answer(request_id: int, seq: int, code: int, result: bytes | None) -> Reply:
    """Return what a client is told of an answered request: the same each time."""
    if code == OK:
        return Reply(request_id, OK, seq, value=result)
    version, value, text = msgspec.msgpack.decode(result or b"", type=tuple[int, bytes | None, str])
    return Reply(request_id, code, version, value=value, text=text)


def is_live(cell: Cell | None, clock_s: float) -> bool:
    """Return whether a cell exists and has not expired."""
    return cell is not None and (cell[1] == 0.0 or clock_s < cell[1])


def ttl_left_ms(cell: Cell, clock_s: float) -> int:
    """Return the time a cell has left, milliseconds; -1 = for ever."""
    return -1 if cell[1] == 0.0 else max(1, int((cell[1] - clock_s) * 1000))


def expiry_at(left_s: float, clock_s: float) -> float:
    """Return the expiry of a cell that has so long to live; 0 = never, in both."""
    return clock_s + left_s if left_s else 0.0


def expiry(ttl_ms: int, cell: Cell | None, clock_s: float) -> float:
    """Return the expiry that a ttl means; 0 = never."""
    if ttl_ms == TTL_KEEP:
        return cell[1] if cell is not None else 0.0
    return 0.0 if ttl_ms == TTL_NEVER else clock_s + ttl_ms / 1000


def malformed(request: Put | Delete | Touch | Patch, value_bytes_max: int) -> Refusal | None:
    """Return why a request makes no sense by itself, or None."""
    if not 1 <= len(request.key) <= KEY_BYTES_MAX:
        return Refusal(BAD, text=f"a key has 1 to {KEY_BYTES_MAX} bytes, this has {len(request.key)}")
    if not 1 <= len(request.lane) <= 32 or request.number < 1:
        return Refusal(BAD, text="a mutation needs a lane of 1 to 32 bytes and a number > 0")
    ttl_ms = getattr(request, "ttl_ms", 0)
    if not TTL_KEEP <= ttl_ms <= TTL_MS_MAX:
        return Refusal(BAD, text=f"ttl of {ttl_ms} ms is out of range")
    size = len(request.dna) if type(request) is Put else dna_bytes(getattr(request, "changed", b""))
    if size > value_bytes_max:
        return Refusal(TOO_LARGE, text=f"value of {size} bytes; the limit is {value_bytes_max}")
    if type(request) is Patch:
        wrong = misnamed(request.changed) or misnamed(tuple((name, b"") for name in request.gone))
        return Refusal(BAD, text=wrong) if wrong else None
    return None


def misnamed(dna: Dna) -> str:
    """Return why attributes can't be told to another host, or "".

    Clients of this very process, and functions, are held to it here: what no frame can carry, or no host
    takes, would be sent again and again, and break the link each time.
    """
    if isinstance(dna, bytes):
        return ""
    if len(dna) > ATTRIBUTES_MAX:
        return f"{len(dna)} attributes; the limit is {ATTRIBUTES_MAX}"
    try:
        "".join([name for name, _ in dna]).encode()
    except UnicodeEncodeError as error:
        return f"an attribute's name is no text: {error.reason}"
    return ""


def evaluate(
    request: Put | Delete | Touch | Patch,
    cell: Cell | None,
    clock_s: float,
    seq: int,
    value_bytes_max: int,
) -> Entry | Refusal:
    """Return the entry that a request becomes, or its refusal.

    Args:
        request: What the client wants.
        cell: The cell after all that is sequenced before, dead or alive.
        clock_s: The colony's clock.
        seq: The place the entry will have.
        value_bytes_max: What patches may grow a cell to.
    """
    live = cell if is_live(cell, clock_s) else None
    if isinstance(request, Put):
        return _put(request, live, clock_s, seq)
    if live is None and not (isinstance(request, Patch) and request.create and not request.version):
        return Refusal(ABSENT)
    if isinstance(request, Patch) and request.only_if == IF_ABSENT and live is not None:
        return Refusal(CONFLICT, live[0])
    version = getattr(request, "version", 0)
    if version and live is not None and live[0] != version:
        return Refusal(CONFLICT, live[0])
    if isinstance(request, Delete):
        return Entry(seq, DEATH, request.key, lane=request.lane, number=request.number, code=OK)
    expires_s = expiry(request.ttl_ms, live, clock_s)
    if isinstance(request, Touch):
        return Entry(seq, TOUCH, request.key, expires_s=expires_s, lane=request.lane, number=request.number)
    return _patch(request, live, expires_s, seq, value_bytes_max)


def _put(request: Put, live: Cell | None, clock_s: float, seq: int) -> Entry | Refusal:
    only_if = request.only_if
    version = live[0] if live is not None else 0
    if only_if:
        if not 0 <= only_if <= IF_VERSION:
            return Refusal(BAD, text=f"no such condition: {only_if}")
        if only_if == IF_ABSENT and live is not None:
            return Refusal(CONFLICT, version)
        if only_if == IF_PRESENT and live is None:
            return Refusal(CONFLICT, 0)
        if only_if == IF_VERSION and version != request.version:
            return Refusal(CONFLICT, version)
    expires_s = expiry(request.ttl_ms, live, clock_s)
    return Entry(seq, PUT, request.key, request.dna, (), expires_s, request.lane, request.number)


def _patch(
    request: Patch, live: Cell | None, expires_s: float, seq: int, value_bytes_max: int
) -> Entry | Refusal:
    if live is not None and isinstance(live[2], bytes):
        return Refusal(BAD, live[0], "this cell holds a plain value, not attributes")
    kind = PATCH
    dna: Attributes = request.changed
    gone = request.gone
    if live is None:  # born: whole, since an expired cell may still lie there
        kind, dna, gone = PUT, tuple(sorted(dict(request.changed).items())), ()
    else:
        bytes_most, most = dna_bytes(live[2]) + dna_bytes(dna), len(live[2]) + len(dna)
        if bytes_most > value_bytes_max or most > ATTRIBUTES_MAX:  # perhaps: some of it is replaced
            after = patched(live[2], dna, gone)
            size, wrong = dna_bytes(after), misnamed(after)
            if size > value_bytes_max:
                wrong = f"all attributes would have {size} bytes; the limit is {value_bytes_max}"
            if wrong:
                return Refusal(TOO_LARGE, live[0], wrong)
    return Entry(seq, kind, request.key, dna, gone, expires_s, request.lane, request.number)
