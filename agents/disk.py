"""The durable record on disk: one small file, replaced atomically.

Written to a temporary file, fsynced, renamed over the old one, and the
directory fsynced: after a crash there is the old record or the new one. A
torn, damaged or foreign file is refused: a host that forgot what it promised
must never vote again under the same host id.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import uuid
from pathlib import Path

import msgspec

from agents.record import Record

MAGIC = b"COLONY RECORD 1\n"
DIGEST_BYTES = 16
RECORD_BYTES_MAX = 16 * 1024 * 1024  # a view of 10,000 hosts is a third of it

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Record)


class RecordRefused(Exception):
    """The state directory can't be used; the message says why, and what to do."""


def encode_record(record: Record) -> bytes:
    """Return the bytes of a record's file: magic, digest, msgpack."""
    body = _encoder.encode(record)
    return MAGIC + hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest() + body


def decode_record(data: bytes, name: str) -> Record:
    """Return the record in a file's bytes.

    Raises:
        RecordRefused: It is torn, damaged, or no record of this version.
    """
    advice = f"{name}: restore it, or move the directory away and join as a new host"
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
    return record


class RecordFile:
    """The record of one state directory, locked for this process.

    Only the host's own thread may `save`.
    """

    def __init__(self, directory: Path) -> None:
        """Lock the directory, which is made if missing.

        Raises:
            RecordRefused: Another process uses it, or it can't be written.
        """
        self._directory = directory
        self._path = directory / "record"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise RecordRefused(f"{directory}: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise RecordRefused(f"{directory}: another host process uses it") from None

    def load(self) -> Record | None:
        """Return the record; None if there is none yet.

        Raises:
            RecordRefused: There is one, and it can't be trusted.
        """
        try:
            with self._path.open("rb") as file:
                data = file.read(RECORD_BYTES_MAX + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RecordRefused(f"{self._path}: {error.strerror}") from None
        if len(data) > RECORD_BYTES_MAX:
            raise RecordRefused(f"{self._path}: over {RECORD_BYTES_MAX} bytes, so no record")
        return decode_record(data, str(self._path))

    def save(self, record: Record) -> None:
        """Replace the record; on return it is durable.

        Raises:
            OSError: It is not; the host must stop, for it can't keep its word.
        """
        temporary = self._path.with_suffix(".new")
        with temporary.open("wb") as file:
            file.write(encode_record(record))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Let the directory go; twice is harmless."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def load_or_create(state_dir: str | Path) -> tuple[RecordFile, Record]:
    """Open a state directory and start a new incarnation of its host.

    Returns:
        The open file and the record, already saved with the new incarnation;
        a fresh host id and incarnation 1 if the directory was empty.

    Raises:
        RecordRefused: It is in use, or its record can't be trusted.
    """
    file = RecordFile(Path(state_dir))
    try:
        old = file.load()
        if old is None:
            record = Record(host=uuid.uuid4().hex, incarnation=1)
        else:
            record = msgspec.structs.replace(old, incarnation=old.incarnation + 1)
        file.save(record)
    except BaseException:
        file.close()
        raise
    return file, record


def ephemeral() -> Record:
    """Return the first record of a host that keeps none: a new host id."""
    return Record(host=uuid.uuid4().hex, incarnation=1)
