"""Snapshots in a state directory: written whole or not at all.

* `snapshot` is the last one; it is written to `snapshot.new`, fsynced and renamed.
* `snapshot.clean` says that the stop it belongs to came to its end. Without it
  a snapshot is worth nothing by itself. It is removed, durably, before the
  first cell of the snapshot is served.
* `lost/` holds what a host had to drop, or could not use: bounded in number
  and bytes, the oldest go first.
* `periodic/` holds the last snapshots of a running host. They are used if
  people ask for it, and never used up.
"""

from __future__ import annotations

import mmap
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from agents.effects import SaveSnapshot
from agents.snapshot import (
    GENTLE_PART_BYTES,
    PART_BYTES,
    PERIODIC,
    Found,
    Head,
    Kept,
    Loaded,
    Mark,
    SnapshotRefused,
    decode_mark,
    decoded,
    encode_mark,
    encoded,
    head_of,
)

LOST_FILES_MAX = 8
LOST_BYTES_MAX = 4 * 1024**3  # of all of them together
PERIODIC_FILES = 3  # a damaged one is no loss while there is one before it
RESTS = 3.0  # so many times as long as a gentle writer works, it rests: the loop needs the interpreter too
REST_S_MAX = 0.05
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
        self._periodic = directory / "periodic"
        self._earlier = sorted(self._periodic.glob("*.snapshot"))  # of the lives before this one
        self._removed: deque[str] = deque()
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
        loaded = read_snapshot(self._path, self._wall())
        mark = self._read_mark()
        head = loaded.head
        is_clean = mark is not None and mark == Mark(head.tag, head.stop, head.view) and bool(head.stop)
        return replace(loaded, is_clean=is_clean)

    def load_periodic(self, tag: str) -> Found:
        """Return the newest whole copy of each colony in the periodic snapshots; files are left alone."""
        newest: Loaded | None = None
        kept: dict[int, Kept] = {}
        refused: list[str] = []
        for path in reversed(self._earlier):
            try:
                loaded = read_snapshot(path, self._wall())
                if loaded.head.tag != tag:
                    raise SnapshotRefused(f"it is of another cluster, {loaded.head.tag}")
            except (OSError, SnapshotRefused) as error:
                refused.append(f"{path}: {error}")
                continue
            if loaded.damaged:
                named = ", ".join(map(str, loaded.damaged[:20]))
                refused.append(f"{path}: damaged; not restored from it: colonies {named}")
            newest = newest or loaded
            missing = {held.colony for held in newest.head.peers} - kept.keys()
            for colony in missing & loaded.kept.keys():
                kept[colony] = replace(loaded.kept[colony], age_s=loaded.age_s - newest.age_s)
            if len(kept) == len(newest.head.peers):
                break
        if newest is None:
            return Found(None, tuple(refused))
        head = msgspec.structs.replace(newest.head, stop=PERIODIC)
        damaged = tuple(sorted({held.colony for held in head.peers} - kept.keys()))
        return Found(replace(newest, head=head, kept=kept, damaged=damaged), tuple(refused))

    def put_periodic_aside(self) -> str:
        """Move the newest periodic snapshot of an earlier life to `lost/`; return where it is, "" = none.

        Raises:
            OSError: The disk refuses.
        """
        there = [path for path in self._earlier if path.exists()]
        if not there:
            return ""
        self._earlier = there[:-1]
        return str(self._move_aside(there[-1], PERIODIC))

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
        effect = replace(effect, head=head)
        if effect.is_periodic:
            return lambda: str(self._write_periodic(effect))
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
        path = self._new_name("dropped" if not effect.is_last else "solitude", self._lost)
        temporary = path.with_suffix(".new")
        try:
            _write(temporary, effect)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self._bound_lost()
        return path

    def _write_periodic(self, effect: SaveSnapshot) -> Path:
        """Write a periodic snapshot, gently; older ones go, but for the last one of an earlier life."""
        self._periodic.mkdir(exist_ok=True)
        for left_over in self._periodic.glob("*.new"):
            left_over.unlink(missing_ok=True)
        path = self._new_name(PERIODIC, self._periodic)
        temporary = path.with_suffix(".new")
        try:
            _write(temporary, effect, is_gentle=True)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync(self._periodic)
        earlier = set(self._earlier)
        ours = [other for other in sorted(self._periodic.glob("*.snapshot")) if other not in earlier]
        for old in (*self._earlier[:-1], *ours[:-PERIODIC_FILES]):
            old.unlink(missing_ok=True)
        return path

    def take_removed(self) -> Iterator[str]:
        """Yield, once, which files of `lost/` had to go since the last call."""
        while self._removed:
            yield self._removed.popleft()

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
        return self._move_aside(self._path, why)

    def _move_aside(self, path: Path, why: str) -> Path:
        self._lost.mkdir(exist_ok=True)
        aside = self._new_name(why, self._lost)
        path.replace(aside)
        _sync(self._lost)
        _sync(path.parent)
        self._bound_lost()
        return aside

    def _new_name(self, why: str, folder: Path) -> Path:
        at = datetime.fromtimestamp(self._wall(), UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        return folder / f"{at}-{why}.snapshot"

    def lost_files(self) -> int:
        """Return how many files are in lost and found; any thread."""
        try:
            return sum(name.endswith(".snapshot") for name in os.listdir(self._lost))
        except OSError:
            return 0

    def _bound_lost(self) -> None:
        """Remove the oldest of what was lost and found, until the rest is within bounds."""
        newest_first = sorted(self._lost.glob("*.snapshot"), reverse=True)
        total = 0
        for place, path in enumerate(newest_first):
            total += path.stat().st_size
            if place >= LOST_FILES_MAX or (place and total > LOST_BYTES_MAX):
                path.unlink(missing_ok=True)
                self._removed.append(str(path))


def read_snapshot(path: Path, wall_s: float) -> Loaded:
    """Return what a file brings back, and how old it is.

    Raises:
        OSError: It can't be read.
        SnapshotRefused: It is no snapshot of this version, or damaged at its head.
    """
    with _mapped(path) as data:
        loaded = decoded(data)
    return replace(loaded, age_s=max(0.0, wall_s - loaded.head.wall_s))


def read_head(path: Path) -> Head:
    """Return what a file says of itself; its cells are not looked at. Raises as `read_snapshot` does."""
    with _mapped(path) as data:
        return head_of(data)[0]


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise SnapshotRefused("it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield data


def _write(path: Path, effect: SaveSnapshot, *, is_gentle: bool = False) -> None:
    """Write a snapshot's bytes, fsynced; gently: in small steps, with rests between them."""
    part_bytes = GENTLE_PART_BYTES if is_gentle else PART_BYTES
    with path.open("wb") as file:
        os.fchmod(file.fileno(), 0o600)  # sessions are nobody else's
        began_s = time.monotonic()
        for piece in encoded(effect.head, effect.copies, part_bytes):
            file.write(piece)
            if is_gentle:
                time.sleep(min(REST_S_MAX, RESTS * (time.monotonic() - began_s)))
                began_s = time.monotonic()
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    """Make renames and removals in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
