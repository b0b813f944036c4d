"""Codecs: how values become DNA, and DNA values.

The first byte of DNA names the codec that wrote it: a cell written with
another codec gives `CodecError`, never garbage.
"""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cloudpickle
import msgspec

from colony.errors import CodecError

PICKLE_PROTOCOL = 5


@dataclass(frozen=True, slots=True)
class Codec:
    """One way to write values.

    Attributes:
        name: What users call it.
        tag: The first byte of its DNA.
        write: Value -> bytes.
        read: Bytes -> value.
    """

    name: str
    tag: bytes
    write: Callable[[Any], bytes]
    read: Callable[[Any], Any]

    def encode(self, value: Any) -> bytes:
        """Return the DNA of a value.

        Raises:
            TypeError: The codec takes no values of this type (raw).
            CodecError: The value can't be written.
        """
        if self.tag == b"R" and not isinstance(value, bytes | bytearray | memoryview):
            raise TypeError(f"the raw codec takes bytes, not {type(value).__name__}")
        try:
            return self.tag + self.write(value)
        except Exception as error:  # a value's own __reduce__ may raise anything
            shown = f"{type(error).__name__}: {error}"
            raise CodecError(f"{self.name} can't write this {type(value).__name__}: {shown}") from error

    def decode(self, dna: bytes) -> Any:
        """Return the value in DNA; raises `CodecError`."""
        if dna[:1] != self.tag:
            raise CodecError(f"this cell was not written with {self.name}, but with {writer_of(dna)}")
        try:
            return self.read(memoryview(dna)[1:])
        except Exception as error:  # unpickling may run into anything
            shown = f"{type(error).__name__}: {error}"
            raise CodecError(f"{self.name} can't read this cell: {shown}") from error


class _NotPlain(Exception):
    """A value holds something that the plain pickler must not judge."""


class _PlainPickler(pickle.Pickler):
    """Writes built-in values fast, and refuses all others.

    `pickle` takes classes by reference, also those that only this process
    has; so everything but plain data is left to cloudpickle.
    """

    def reducer_override(self, value: Any) -> Any:
        raise _NotPlain


_SCALARS = frozenset({str, bytes, int, float, bool, type(None)})


def pickled(value: Any) -> bytes:
    """Return a value pickled: plain data fast, all else by cloudpickle."""
    if type(value) in _SCALARS:
        return pickle.dumps(value, PICKLE_PROTOCOL)
    buffer = io.BytesIO()
    try:
        _PlainPickler(buffer, PICKLE_PROTOCOL).dump(value)
    except _NotPlain:
        return bytes(cloudpickle.dumps(value, PICKLE_PROTOCOL))
    return buffer.getvalue()


_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))

CLOUDPICKLE = Codec("cloudpickle", b"P", pickled, pickle.loads)
JSON = Codec("json", b"J", lambda value: _json.encode(value).encode(), lambda data: json.loads(bytes(data)))
MSGPACK = Codec("msgpack", b"M", msgspec.msgpack.encode, msgspec.msgpack.decode)
RAW = Codec("raw", b"R", bytes, bytes)

CODECS = {codec.name: codec for codec in (CLOUDPICKLE, JSON, MSGPACK, RAW)}
_BY_TAG = {codec.tag: codec for codec in CODECS.values()}


def codec_named(name: str) -> Codec:
    """Return a codec; raises `ValueError` if there is none of that name."""
    if not isinstance(name, str):
        raise TypeError(f"a codec is given by name, not as {type(name).__name__}")
    try:
        return CODECS[name]
    except KeyError:
        raise ValueError(f"no codec {name!r}; there are {', '.join(CODECS)}") from None


class _PlainUnpickler(pickle.Unpickler):
    """Reads built-in values, and runs nothing."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it refers to {module}.{name}")


def shown(dna: bytes) -> Any:
    """Return what DNA holds, for people; of a stranger's objects only that they are there. Runs no code."""
    body = memoryview(dna)[1:]
    try:
        if dna[:1] == CLOUDPICKLE.tag:
            return _PlainUnpickler(io.BytesIO(body)).load()
        return _BY_TAG[dna[:1]].read(body)
    except Exception as error:
        return f"<{len(dna)} bytes by {writer_of(dna)}, not opened: {error}>"


def writer_of(dna: bytes) -> str:
    """Return the name of the codec that wrote DNA, for people."""
    codec = _BY_TAG.get(dna[:1])
    return codec.name if codec else "no codec of colony"
