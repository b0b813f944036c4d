"""Snapshots in a state directory: written whole or not at all.

* `snapshot` is the last one; it is written to `snapshot.new`, fsynced and renamed.
* `snapshot.clean` says that the stop it belongs to came to its end. Without it
  a snapshot is worth nothing by itself. It is removed, durably, before the
  first cell of the snapshot is served.
* `lost/` holds what a host had to drop, or could not use: bounded in number
  and bytes, the oldest go first.
"""

from __future__ import annotations

import mmap
import os
import secrets
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from agents.effects import SaveSnapshot
from agents.snapshot import (
    Found,
    Loaded,
    Mark,
    SnapshotRefused,
    decode_mark,
    decoded,
    encode_mark,
    encoded,
)

LOST_FILES_MAX = 8
LOST_BYTES_MAX = 4 * 1024**3  # of all of them together
MARK_BYTES_MAX = 4096


class Keeper:
    """The snapshots of one state directory, which is locked by who opened the record.

    The host's own thread calls everything; what `job` returns runs on any thread.

    Args:
        directory: The state directory; it exists.
        wall: Seconds since the epoch.
    """

    def __init__(self, directory: Path, wall: Callable[[], float]) -> None:
        self._path = directory / "snapshot"
        self._temporary = directory / "snapshot.new"
        self._mark = directory / "snapshot.clean"
        self._lost = directory / "lost"
        self._wall = wall
        self._writing = threading.Lock()  # two writers of one file would spoil each other's
        self._wanted = ""  # the stop whose snapshot may still be put in its place

    # -- read ------------------------------------------------------------------

    def load(self, tag: str) -> Found:
        """Return what the last stop left behind; what can't be used is moved to `lost/`, and named."""
        try:
            self._temporary.unlink(missing_ok=True)  # of a host that died while it wrote
            loaded = self._read()
        except FileNotFoundError:
            return Found()
        except OSError as error:
            return Found(None, (f"{self._path}: {error.strerror or error}",))
        except SnapshotRefused as error:
            return Found(None, (self._refuse(f"{error}"),))
        if loaded.head.tag != tag:
            return Found(None, (self._refuse(f"it is of another cluster, {loaded.head.tag}"),))
        if not loaded.damaged:
            return Found(loaded)
        named = ", ".join(map(str, loaded.damaged[:20])) + (", …" if len(loaded.damaged) > 20 else "")
        return Found(loaded, (f"{self._path}: damaged; not restored from it: colonies {named}",))

    def _read(self) -> Loaded:
        with self._path.open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise SnapshotRefused("it is empty")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                loaded = decoded(data)
        mark = self._read_mark()
        head = loaded.head
        is_clean = mark is not None and mark == Mark(head.tag, head.stop, head.view) and bool(head.stop)
        age_s = max(0.0, self._wall() - head.wall_s)
        return replace(loaded, is_clean=is_clean, age_s=age_s)

    def _read_mark(self) -> Mark | None:
        try:
            with self._mark.open("rb") as file:
                return decode_mark(file.read(MARK_BYTES_MAX))
        except OSError:
            return None

    def _refuse(self, why: str) -> str:
        """Put a file that can't be used aside; return what is to be said about it."""
        try:
            path = self._put_aside("refused")
        except OSError as error:
            return f"{self._path}: {why}; it is left there: {error.strerror or error}"
        return f"{self._path}: {why}; it was moved to {path}"

    # -- write -----------------------------------------------------------------

    def job(self, effect: SaveSnapshot) -> Callable[[], str]:
        """Return what writes a snapshot; it returns the path, or raises `OSError`."""
        head = msgspec.structs.replace(effect.head, wall_s=self._wall(), key=secrets.token_bytes(16))
        effect = SaveSnapshot(head, effect.copies, effect.bytes_used, effect.is_last)
        if not head.stop:
            return lambda: str(self._write_lost(effect))
        self._wanted = head.stop
        return lambda: str(self._write_alone(effect))

    def _write_alone(self, effect: SaveSnapshot) -> Path:
        with self._writing:
            return self._write_stop(effect)

    def _write_stop(self, effect: SaveSnapshot) -> Path:
        self._remove(self._mark)  # of an earlier stop: it must never speak for this file
        temporary = self._temporary
        try:
            _write(temporary, effect)
            if self._wanted != effect.head.stop:
                raise OSError(f"the stop {effect.head.stop} was given up")
            temporary.replace(self._path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync(self._path.parent)
        return self._path

    def _write_lost(self, effect: SaveSnapshot) -> Path:
        if effect.bytes_used > LOST_BYTES_MAX:
            raise OSError(f"{effect.bytes_used} bytes of cells are too many for {self._lost}")
        self._lost.mkdir(exist_ok=True)
        path = self._new_name("dropped" if not effect.is_last else "solitude")
        temporary = path.with_suffix(".new")
        try:
            _write(temporary, effect)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self._bound_lost()
        return path

    def confirm(self, mark: Mark) -> None:
        """Say, durably, that the stop came to its end.

        Raises:
            OSError: It could not be said.
        """
        temporary = self._mark.with_suffix(".clean-new")
        with temporary.open("wb") as file:
            file.write(encode_mark(mark))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._mark)
        _sync(self._mark.parent)

    def discard(self) -> None:
        """Forget the snapshot of a stop that was given up, the one being written too."""
        self._wanted = ""
        self._remove(self._mark)
        self._remove(self._path)

    def forget(self, *, keep: bool) -> None:
        """Use a snapshot up: its mark goes first, durably; the file follows, or goes to `lost/`.

        Raises:
            OSError: The disk refuses.
        """
        self._remove(self._mark)
        if keep and self._path.exists():
            self._put_aside("unused")
        else:
            self._remove(self._path)

    # -- inside ----------------------------------------------------------------

    def _remove(self, path: Path) -> None:
        if path.exists():
            path.unlink()
            _sync(path.parent)

    def _put_aside(self, why: str) -> Path:
        self._remove(self._mark)
        self._lost.mkdir(exist_ok=True)
        path = self._new_name(why)
        self._path.replace(path)
        _sync(self._lost)
        _sync(self._path.parent)
        self._bound_lost()
        return path

    def _new_name(self, why: str) -> Path:
        at = datetime.fromtimestamp(self._wall(), UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        return self._lost / f"{at}-{why}.snapshot"

    def _bound_lost(self) -> None:
        """Remove the oldest of what was lost and found, until the rest is within bounds."""
        newest_first = sorted(self._lost.glob("*.snapshot"), reverse=True)
        total = 0
        for place, path in enumerate(newest_first):
            total += path.stat().st_size
            if place >= LOST_FILES_MAX or (place and total > LOST_BYTES_MAX):
                path.unlink(missing_ok=True)


def _write(path: Path, effect: SaveSnapshot) -> None:
    """Write a snapshot's bytes, fsynced."""
    with path.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)  # sessions are nobody else's
        for piece in encoded(effect.head, effect.copies):
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    """Make renames and removals in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
