"""Drafts: requests before they have a lane and an id, and their outcomes.

Both stores, blocking and asyncio, say here what a call means on the wire,
and what its reply means to the caller. Wrong arguments are refused here,
before anything is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

import msgspec

from agents.access import LOOKS
from agents.messages.client import (
    ABSENT,
    ANY,
    BAD,
    CONFLICT,
    DENIED,
    FAILED,
    FULL,
    IF_ABSENT,
    IF_PRESENT,
    IF_VERSION,
    OK,
    TOO_LARGE,
    TTL_KEEP,
    TTL_NEVER,
    UNAVAILABLE,
    WRONG_CLUSTER,
    Admin,
    Delete,
    Get,
    Locate,
    Migrate,
    Mutate,
    Put,
    Reply,
    Scan,
    Touch,
)
from colony.calls import TIMEOUT_MAX_S, Finish, GiveUp
from colony.closures import build_closure, error_in
from colony.codecs import Codec
from colony.errors import (
    ClosureFailed,
    ColonyError,
    Denied,
    Full,
    OutcomeUnknown,
    Refused,
    TooLarge,
    Unavailable,
    VersionConflict,
    WrongCluster,
)
from colony.keys import Key, key_bytes

Draft = tuple[Any, Any, tuple[Any, ...]]
TTL_S_MAX = 100 * 365 * 86_400  # a century; longer is a mistake
SCAN_LIMIT = 1000
READ_ONLY_COMMANDS = LOOKS


class Keep:
    """The type of `KEEP`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "colony.KEEP"


KEEP: Final = Keep()  # ttl=KEEP: the time to live stays as it is
Ttl = float | Keep | None
_CONDITIONS = {None: ANY, "absent": IF_ABSENT, "present": IF_PRESENT}
_ERRORS: dict[int, type[ColonyError]] = {
    UNAVAILABLE: Unavailable,
    TOO_LARGE: TooLarge,
    FULL: Full,
    DENIED: Denied,
    WRONG_CLUSTER: WrongCluster,
    BAD: Refused,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A cell as it was read.

    Attributes:
        value: The value; of a session cell, a dict of its attributes.
        version: > 0; grows with each change of the cell.
        ttl_s: Time it still has, seconds; None = it never expires.
        is_mapping: It is a session cell, with attributes of its own.
    """

    value: Any
    version: int
    ttl_s: float | None
    is_mapping: bool = False


# -- arguments -----------------------------------------------------------------


def ttl_ms(ttl: Ttl) -> int:
    """Return a time to live as it travels.

    Raises:
        TypeError: It is neither a number, None nor KEEP.
        ValueError: It is not > 0, or longer than a century.
    """
    if ttl is None:
        return TTL_NEVER
    if isinstance(ttl, Keep):
        return TTL_KEEP
    if isinstance(ttl, bool) or not isinstance(ttl, int | float):
        raise TypeError(f"ttl is a number of seconds, None or KEEP, not {type(ttl).__name__}")
    if not isfinite(ttl) or not 0 < ttl <= TTL_S_MAX:
        raise ValueError(f"ttl is > 0 and at most {TTL_S_MAX} seconds, not {ttl}")
    return max(1, round(ttl * 1000))


def seconds(timeout: float) -> float:
    """Return a time-out; raises `TypeError` or `ValueError` for a wrong one."""
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout is a number of seconds, not {type(timeout).__name__}")
    if not 0 < timeout <= TIMEOUT_MAX_S:
        raise ValueError(f"timeout is > 0 and at most {TIMEOUT_MAX_S:g} seconds, not {timeout}")
    return timeout


def version_number(version: int) -> int:
    """Return a version; raises `TypeError` or `ValueError` for a wrong one."""
    if isinstance(version, bool) or not isinstance(version, int):
        raise TypeError(f"version is an int, not {type(version).__name__}")
    if not 0 < version < 1 << 63:
        raise ValueError(f"version is > 0, not {version}")
    return version


def check_size(draft: Draft, value_bytes_max: int) -> None:
    """Raise `TooLarge` if the draft's value has more bytes than allowed."""
    size = len(draft[2][0])
    if size > value_bytes_max:
        raise TooLarge(f"the value has {size} bytes; the limit is {value_bytes_max}")


# -- requests ------------------------------------------------------------------


def get(key: Key, stale: bool = False) -> Draft:
    """Read a cell."""
    return Get, key_bytes(key), (stale,)


def put(codec: Codec, key: Key, value: Any, ttl: Ttl, only_if: str | None = None) -> Draft:
    """Set a cell, on a condition or not."""
    try:
        condition = _CONDITIONS[only_if]
    except (KeyError, TypeError):
        raise ValueError(f'only_if is "present", "absent" or None, not {only_if!r}') from None
    data, lasts_ms = key_bytes(key), ttl_ms(ttl)
    return Put, data, (codec.encode(value), lasts_ms, condition)


def replace(codec: Codec, key: Key, value: Any, version: int, ttl: Ttl) -> Draft:
    """Set a cell if it still has this version."""
    number, data, lasts_ms = version_number(version), key_bytes(key), ttl_ms(ttl)
    return Put, data, (codec.encode(value), lasts_ms, IF_VERSION, number)


def delete(key: Key, version: int | None = None) -> Draft:
    """Let a cell die."""
    return Delete, key_bytes(key), (0 if version is None else version_number(version),)


def touch(key: Key, ttl: Ttl) -> Draft:
    """Give a cell a new time to live."""
    return Touch, key_bytes(key), (ttl_ms(ttl),)


def mutate(
    codec: Codec, key: Key, fn: Callable[..., Any], args: tuple[Any, ...], default: Any, ttl: Ttl
) -> Draft:
    """Run a function where the cell lives."""
    data, lasts_ms = key_bytes(key), ttl_ms(ttl)
    return Mutate, data, (build_closure(fn, args, default, codec), lasts_ms)


def scan(colony: int, prefix: bytes, after: bytes) -> Draft:
    """List keys of one colony."""
    return Scan, colony, (prefix, after, SCAN_LIMIT)


def locate(key: Key) -> Draft:
    """Ask in which colony a cell lives."""
    return Locate, key_bytes(key), ()


def migrate(key: Key, colony: int, reason: str, cool_s: float = 0.0) -> Draft:
    """Let a cell live in a colony, unless it was moved less than `cool_s` ago."""
    return Migrate, key_bytes(key), (colony, reason, cool_s)


def admin(command: str, arguments: dict[str, Any]) -> Draft:
    """Give an operator's command."""
    return Admin, command, (arguments,)


# -- outcomes ------------------------------------------------------------------


def error_of(result: Finish | GiveUp) -> ColonyError | None:
    """Return the error that a call ended with, or None."""
    if isinstance(result, GiveUp):
        if result.is_unknown:
            return OutcomeUnknown(f"no answer in time: {result.reason}")
        return Unavailable(f"nothing was applied: {result.reason}")
    reply = result.reply
    if reply.code <= CONFLICT:
        return None
    if reply.code == FAILED:
        error = ClosureFailed(reply.text or "the closure raised")
        error.__cause__ = error_in(reply.value)
        return error
    return _ERRORS.get(reply.code, Refused)(reply.text or f"refused with code {reply.code}")


def outcome(result: Finish | GiveUp) -> Reply:
    """Return the reply that a call ended with: OK, ABSENT or CONFLICT; else raise."""
    error = error_of(result)
    if error is not None:
        raise error
    assert isinstance(result, Finish), "what gave up is an error"
    return result.reply


def version_of(reply: Reply) -> int:
    """Return the new version, 0 = the condition failed."""
    return reply.version if reply.code == OK else 0


def replaced(reply: Reply, expected: int) -> int:
    """Return the new version; raises `VersionConflict`."""
    if reply.code == OK:
        return reply.version
    found = f"is at version {reply.version}" if reply.version else "does not exist"
    raise VersionConflict(f"expected version {expected}, but the cell {found}", reply.version)


def was_there(reply: Reply) -> bool:
    """Return whether a delete or a touch found its cell."""
    return reply.code == OK


def value_of(codec: Codec, reply: Reply, default: Any) -> Any:
    """Return the value that was read, or the default."""
    if reply.code != OK:
        return default
    if reply.value is not None:
        return codec.decode(reply.value)
    return {name: codec.decode(dna) for name, dna in reply.attributes or ()}


def entry_of(codec: Codec, reply: Reply) -> Entry | None:
    """Return the cell that was read, or None."""
    if reply.code == ABSENT:
        return None
    left_s = reply.ttl_ms / 1000 if reply.ttl_ms >= 0 else None
    return Entry(value_of(codec, reply, None), reply.version, left_s, reply.value is None)


def keys_of(reply: Reply) -> list[bytes]:
    """Return a page of keys."""
    if reply.value is None:
        return []
    return msgspec.msgpack.decode(reply.value, type=list[bytes])


def colony_in(reply: Reply) -> int:
    """Return the colony that a cell lives in."""
    return reply.version - 1


def answer_of(reply: Reply) -> Any:
    """Return the JSON answer to an operator's command."""
    data = reply.value if reply.value is not None else reply.text.encode()
    return msgspec.json.decode(data) if data else {}


def deleted(reply: Reply, version: int | None) -> bool:
    """Return whether there was a cell to delete; raises `VersionConflict`."""
    if reply.code == CONFLICT:
        raise VersionConflict(
            f"expected version {version}, but the cell is at {reply.version}", reply.version
        )
    return reply.code == OK


class Ended:
    """Collects how the calls of one call for many keys ended."""

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = keys
        self._results: list[Finish | GiveUp | None] = [None] * len(keys)

    def take(self, place: int, result: Finish | GiveUp) -> None:
        """The call for the key at this place ended."""
        self._results[place] = result

    def replies(self) -> list[Reply]:
        """Return all replies; raises the first error, with all in `failed`."""
        failed: dict[Any, ColonyError] = {}
        replies: list[Reply] = []
        for key, result in zip(self._keys, self._results, strict=True):
            assert result is not None, "all calls have ended"
            error = error_of(result)
            if error is not None:
                failed[key] = error
            elif isinstance(result, Finish):
                replies.append(result.reply)
        if failed:
            first = next(iter(failed.values()))
            raised = type(first)(f"{len(failed)} of {len(self._keys)} keys: {first}")
            raised.failed = failed
            raise raised from first
        return replies
