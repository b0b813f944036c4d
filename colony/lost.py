"""Lost and found: snapshots in a state directory, to look at and to bring back.

A file is what one host held at one moment. Bringing it back writes cells one
by one, like any client: what is absent in the cluster is born again, what is
there stays, unless its version tells that it is the older one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agents.cells import Cell, cell_bytes
from agents.keeping import read_head, read_snapshot
from agents.messages.client import CONFLICT, IF_ABSENT, IF_VERSION, OK, TTL_NEVER, Patch, Put
from agents.snapshot import Held, Loaded, SnapshotRefused
from colony import drafts
from colony.calls import Finish, GiveUp
from colony.codecs import shown
from colony.drafts import Draft
from colony.keys import key_shown

FOLDERS = ("lost", "periodic")
BATCH, BATCH_BYTES = 256, 4 * 1024 * 1024
REASONS_MAX = 5
ROUNDS_MAX = 3  # a cell that changes while it is looked at is looked at again so often

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """One cell in a file.

    Attributes:
        left_ms: Time it still has now, milliseconds; `TTL_NEVER` = for ever, < 0 = it has expired.
    """

    held: Held
    key: bytes
    cell: Cell
    left_ms: int


@dataclass(slots=True)
class Tally:
    """What became of the cells of a file.

    Attributes:
        counts: By outcome: restored, overwritten, present, expired, failed.
        colonies: Those that something was brought back to.
        reasons: Why cells failed, each once.
    """

    counts: Counter[str] = field(default_factory=Counter)
    colonies: set[int] = field(default_factory=set)
    reasons: list[str] = field(default_factory=list)

    def add(self, found: Found, outcome: str, reason: str = "") -> None:
        """Count one cell."""
        self.counts[outcome] += 1
        if outcome in ("restored", "overwritten"):
            self.colonies.add(found.held.colony)
        if reason and reason not in self.reasons and len(self.reasons) < REASONS_MAX:
            self.reasons.append(reason)

    def as_json(self) -> Json:
        """Return all counts, the zeros too."""
        names = ("restored", "overwritten", "present", "expired", "failed")
        return {**{name: self.counts[name] for name in names}, "reasons": self.reasons}


# -- files ------------------------------------------------------------------------


def files(state_dir: Path, wall_s: float) -> list[Json]:
    """Return what lies in the folders of a state directory, newest last; only heads are read."""
    found = []
    for folder in FOLDERS:
        for path in sorted((state_dir / folder).glob("*.snapshot")):
            about: Json = {"file": str(path), "kind": path.stem.rpartition("-")[2]}
            try:
                about["bytes"] = path.stat().st_size
                head = read_head(path)
            except (OSError, SnapshotRefused) as error:
                found.append(about | {"error": str(error)})
                continue
            about |= {"host": head.name, "tag": head.tag, "view": head.view, "reason": head.reason}
            about |= {"at": head.wall_s, "age_s": max(0.0, wall_s - head.wall_s)}
            about |= {"colonies": len(head.peers), "cells": sum(held.cells for held in head.peers)}
            found.append(about)
    return sorted(found, key=lambda about: about.get("at", 0.0))


def located(name: str, state_dir: str | None) -> Path:
    """Return the file that is meant: a path, or a name in the folders of the state directory."""
    places = [Path(name)]
    if state_dir is not None:
        places += [Path(state_dir) / folder / name for folder in FOLDERS]
    return next((place for place in places if place.is_file()), places[0])


def load(path: Path, wall_s: float) -> Loaded:
    """Return what a file holds; raises `OSError` or `SnapshotRefused`."""
    return read_snapshot(path, wall_s)


def cells(loaded: Loaded, prefix: bytes = b"") -> Iterator[Found]:
    """Yield the cells of a file whose keys begin like this, in the order of colonies and keys."""
    for _, kept in sorted(loaded.kept.items()):
        now_s = kept.held.clock_s + loaded.age_s
        for key in sorted(key for key in kept.cells.live if key.startswith(prefix)):
            cell = kept.cells.live[key]
            left_ms = TTL_NEVER if cell[1] == 0.0 else round((cell[1] - now_s) * 1000) or -1
            yield Found(kept.held, key, cell, left_ms)


def as_json(found: Found, age_s: float) -> Json:
    """Return a cell as it is shown: key, colony, version, time left, age of the copy, value."""
    dna = found.cell[2]
    value = shown(dna) if isinstance(dna, bytes) else {name: shown(blob) for name, blob in dna}
    return {
        "key": key_shown(found.key),
        "colony": found.held.colony,
        "version": found.cell[0],
        "ttl_s": None if found.left_ms == TTL_NEVER else max(0.0, found.left_ms / 1000),
        "age_s": age_s,
        "value": value,
    }


# -- bringing back -------------------------------------------------------------------


def restore(
    store: Any,
    found: Iterable[Found],
    *,
    comparable: Callable[[Found], bool],
    timeout_s: float,
) -> Tally:
    """Write cells to the connected cluster, each at most once; return what became of them.

    Args:
        store: A `colony.Store`.
        comparable: Whether a cell that is there may be overwritten if its version is lower.
    """
    tally = Tally()
    for batch in _batches(found):
        alive = []
        for one in batch:
            if one.left_ms < 0:
                tally.add(one, "expired")
            else:
                alive.append(one)
        older = _write(store, {one: _birth(one) for one in alive}, "restored", tally, comparable, timeout_s)
        for _ in range(ROUNDS_MAX):
            changes = {one: _change(store, one, version, timeout_s) for one, version in older.items()}
            older = _write(store, changes, "overwritten", tally, comparable, timeout_s)
        for one in older:
            tally.add(one, "failed", "it changed again and again")
    return tally


def _batches(found: Iterable[Found]) -> Iterator[list[Found]]:
    """Yield cells in batches that are sent together: bounded in number and bytes, one cell at least."""
    batch: list[Found] = []
    size = 0
    for one in found:
        batch.append(one)
        size += cell_bytes(one.key, one.cell)
        if len(batch) >= BATCH or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _birth(found: Found) -> Draft:
    """Return what makes a cell that is absent."""
    dna = found.cell[2]
    if isinstance(dna, bytes):
        return Put, found.key, (dna, found.left_ms, IF_ABSENT)
    return Patch, found.key, (dna, (), found.left_ms, True, 0, IF_ABSENT)


def _change(store: Any, found: Found, version: int, timeout_s: float) -> Draft:
    """Return what puts a cell in the place of the older one that is there, if that has not changed."""
    dna = found.cell[2]
    if isinstance(dna, bytes):
        return Put, found.key, (dna, found.left_ms, IF_VERSION, version)
    reply = store._transport.read(drafts.get(found.key), timeout_s)
    gone = sorted({name for name, _ in reply.attributes or ()} - {name for name, _ in dna})
    return Patch, found.key, (dna, tuple(gone), found.left_ms, False, version)


def _write(
    store: Any,
    wanted: Mapping[Found, Draft],
    outcome: str,
    tally: Tally,
    comparable: Callable[[Found], bool],
    timeout_s: float,
) -> dict[Found, int]:
    """Send drafts; return those cells that are older in the cluster, with their versions there."""
    if not wanted:
        return {}
    ones, older = list(wanted), {}
    results: list[Finish | GiveUp | None] = [None] * len(ones)
    store._transport.many(
        [wanted[one] for one in ones], timeout_s, mutating=True, then=lambda n, r: results.__setitem__(n, r)
    )
    for one, result in zip(ones, results, strict=True):
        error = drafts.error_of(result) if result is not None else None
        if error is not None or not isinstance(result, Finish):
            tally.add(one, "failed", str(error))
        elif result.reply.code == OK:
            tally.add(one, outcome)
        elif result.reply.code == CONFLICT and result.reply.version < one.cell[0] and comparable(one):
            older[one] = result.reply.version
        else:
            tally.add(one, "present")
    return older
