"""The durable record on disk: one small file, replaced atomically.

Written to a temporary file, fsynced, renamed over the old one, and the
directory fsynced: after a crash there is the old record or the new one. A
torn, damaged or foreign file is refused: a host that forgot what it promised
must never vote again under the same host id. For the same reason a record
that could not be written is not tried again: the host ends.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import uuid
from pathlib import Path

import msgspec

from agents.record import Record

MAGIC = b"COLONY RECORD 1\n"
_FORMAT = re.compile(rb"COLONY RECORD (\d{1,9})\n")
DIGEST_BYTES = 16
RECORD_BYTES_MAX = 16 * 1024 * 1024  # a view of 10,000 hosts is a third of it

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Record)


class RecordRefused(Exception):
    """The state directory can't be used; the message says why, and what to do."""


def remedy(error: OSError) -> str:
    """Return what to do about a state directory that can't be used."""
    return {
        errno.ENOSPC: "free some space there",
        errno.EDQUOT: "free some space there, or raise the quota",
        errno.EROFS: "mount it writable",
        errno.EACCES: "run the host as the user that owns it, or give it to this user (chown -R)",
        errno.EPERM: "run the host as the user that owns it, or give it to this user (chown -R)",
    }.get(error.errno or 0, "see to the disk, or choose another --state-dir")


def _why(place: Path, error: OSError) -> str:
    return f"{place}: {error.strerror or error}; {remedy(error)}"


class Files:
    """What the record asks of a file system; a test gives it one that fails."""

    def read(self, path: Path) -> bytes:
        """Return the bytes of a file, or one more than a record may have."""
        with path.open("rb") as file:
            return file.read(RECORD_BYTES_MAX + 1)

    def write(self, path: Path, data: bytes) -> None:
        """Write a file anew; on return its bytes are on the disk."""
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def replace(self, path: Path, by: Path) -> None:
        """Put one file in the place of another: after a crash it is either."""
        by.replace(path)

    def sync(self, directory: Path) -> None:
        """Return when the names in a directory are on the disk."""
        descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def encode_record(record: Record) -> bytes:
    """Return the bytes of a record's file: magic, digest, msgpack."""
    body = _encoder.encode(record)
    return MAGIC + hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest() + body


def decode_record(data: bytes, name: str) -> Record:
    """Return the record in a file's bytes.

    Raises:
        RecordRefused: It is torn, damaged, or no record of this version.
    """
    advice = f"{name}: move the directory away and join as a new host (a backup would break its word)"
    version = _FORMAT.match(data)
    if version is not None and int(version[1]) > 1:
        raise RecordRefused(
            f"{name}: written by a later version of colony (format {int(version[1])}, this one reads 1); "
            "start that version, or move the directory away and join as a new host"
        )
    if not data.startswith(MAGIC):
        raise RecordRefused(f"not a record of this version; {advice}")
    digest, body = data[len(MAGIC) : len(MAGIC) + DIGEST_BYTES], data[len(MAGIC) + DIGEST_BYTES :]
    if hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest() != digest:
        raise RecordRefused(f"the record is torn or damaged; {advice}")
    try:
        record = _decoder.decode(body)
    except (msgspec.MsgspecError, ValueError) as error:
        raise RecordRefused(f"the record makes no sense ({error}); {advice}") from None
    if not record.host or record.incarnation < 1:
        raise RecordRefused(f"the record names no host; {advice}")
    if record.spoiled:
        raise RecordRefused(f"{name}: {record.spoiled}; move the directory away and join as a new host")
    return record


class RecordFile:
    """The record of one state directory, locked for this process.

    Only the host's own thread may `save`.
    """

    def __init__(self, directory: Path, files: Files | None = None) -> None:
        """Lock the directory, which is made if missing.

        Raises:
            RecordRefused: Another process uses it, or it can't be written.
        """
        self._directory = directory
        self._path = directory / "record"
        self._files = files or Files()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RecordRefused(_why(directory, error)) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise RecordRefused(
                f"{directory}: another host process uses it; end that one, or give each its own --state-dir"
            ) from None

    @property
    def was_used(self) -> bool:
        """Whether a host kept something here before, whatever became of its record."""
        return any((self._directory / name).exists() for name in ("snapshot", "lost", "periodic"))

    def load(self) -> Record | None:
        """Return the record; None if there is none yet.

        Raises:
            RecordRefused: There is one, and it can't be trusted.
        """
        try:
            data = self._files.read(self._path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RecordRefused(_why(self._path, error)) from None
        if len(data) > RECORD_BYTES_MAX:
            raise RecordRefused(f"{self._path}: over {RECORD_BYTES_MAX} bytes, so no record")
        return decode_record(data, str(self._path))

    def save(self, record: Record) -> None:
        """Replace the record; on return it is durable.

        Raises:
            OSError: It is not; the host must stop, for it can't keep its word.
        """
        temporary = self._path.with_suffix(".new")
        self._files.write(temporary, encode_record(record))
        self._files.replace(self._path, temporary)
        self._files.sync(self._directory)

    def close(self) -> None:
        """Let the directory go; twice is harmless."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def load_or_create(state_dir: str | Path, files: Files | None = None) -> tuple[RecordFile, Record]:
    """Open a state directory and start a new incarnation of its host.

    Returns:
        The open file and the record, already saved with the new incarnation;
        a fresh host id and incarnation 1 if the directory was empty.

    Raises:
        RecordRefused: It is in use, can't be written, or its record can't be trusted.
    """
    file = RecordFile(Path(state_dir), files)
    try:
        old = file.load()
        if old is None:
            record = Record(host=uuid.uuid4().hex, incarnation=1)
        else:
            record = msgspec.structs.replace(old, incarnation=old.incarnation + 1)
        file.save(record)
    except OSError as error:
        file.close()
        raise RecordRefused(_why(Path(state_dir), error)) from None
    except BaseException:
        file.close()
        raise
    return file, record


def ephemeral() -> Record:
    """Return the first record of a host that keeps none: a new host id."""
    return Record(host=uuid.uuid4().hex, incarnation=1)
