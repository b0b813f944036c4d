"""Merge functions: what users' own code makes of a cell that two sides changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agents.effects import Seen
from agents.merging import Policy
from agents.messages.replication import Dna
from colony.codecs import CODECS, Codec, writer_of
from colony.drafts import Entry
from colony.keys import Key, key_shown

MergeFn = Callable[[Key, Entry | None, Entry | None], Any]
Merge = str | MergeFn


def policy_of(merge: Merge) -> Policy:
    """Return how a host merges.

    Raises:
        TypeError, ValueError: It is neither a policy's name nor a function.
    """
    if callable(merge):
        return "function"
    if merge == "latest":
        return "latest"
    if merge == "winner":
        return "winner"
    if not isinstance(merge, str):
        raise TypeError(f"merge is latest, winner or a function, not {type(merge).__name__}")
    raise ValueError(f"merge is latest, winner or a function, not {merge!r}")


def run_merge(fn: MergeFn, key: bytes, winner: Seen | None, loser: Seen | None) -> Dna | None:
    """Return the DNA that a user's function makes of two sides' cells; any thread.

    Args:
        fn: Gets the key and both entries (None = dead on that side); returns
            one of the two as it is, or a new value, or None: the cell dies.
        winner: The cell on the side that stays.
        loser: The cell on the side that joins it.

    Raises:
        CodecError: A cell can't be read, or the value not be written.
        Exception: Whatever the function raises.
    """
    ours, theirs = _entry(winner), _entry(loser)
    made = fn(key_shown(key), ours, theirs)
    if made is None:
        return None
    for entry, seen in ((ours, winner), (theirs, loser)):
        if made is entry and seen is not None:
            return seen[2]
    example = winner or loser
    assert example is not None, "one of the two lives"
    codec = _codec(example[2])
    if isinstance(example[2], tuple) and isinstance(made, dict):
        return tuple(sorted((str(name), codec.encode(value)) for name, value in made.items()))
    return codec.encode(made)


def _entry(seen: Seen | None) -> Entry | None:
    if seen is None:
        return None
    version, ttl_s, dna = seen
    codec = _codec(dna)
    if isinstance(dna, bytes):
        return Entry(codec.decode(dna), version, ttl_s)
    return Entry({name: codec.decode(blob) for name, blob in dna}, version, ttl_s, True)


def _codec(dna: Dna) -> Codec:
    """Return the codec that wrote a cell: its first byte says so."""
    written = dna if isinstance(dna, bytes) else next((blob for _, blob in dna), b"P")
    return CODECS.get(writer_of(written), CODECS["cloudpickle"])
