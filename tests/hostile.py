"""Hostile bytes: every kind of message with something wrong in it, by seed.

A sample of each kind is built from its type, so that a kind that somebody
adds is attacked too. A sample is a tree of plain values; what is done to it
is done to one leaf of the tree, or to its bytes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

from agents.messages.client import Request
from agents.wire import Frame, Goodbye, Hello, HostMessage, encode

Tree = Any
Path = tuple[Any, ...]


def _one(kind: inspect.Type) -> Tree:
    """Return a value of a type that msgspec lets pass."""
    match kind:
        case inspect.StructType():
            tag = [] if kind.tag is None else [kind.tag]
            return [*tag, *map(_field, kind.fields)]
        case inspect.DataclassType():
            return {field.encode_name: _field(field) for field in kind.fields}
        case inspect.UnionType():
            return _one(next(t for t in kind.types if not isinstance(t, inspect.NoneType)))
        case inspect.IntType():
            return max(1, kind.ge or 0)
        case inspect.FloatType():
            return 1.0
        case inspect.StrType():
            return "a" * max(1, kind.min_length or 0)
        case inspect.BytesType():
            return b"b" * max(1, kind.min_length or 0)
        case inspect.BoolType():
            return True
        case inspect.EnumType():
            return next(iter(kind.cls)).value
        case inspect.LiteralType():
            return kind.values[0]
        case inspect.TupleType():
            return [_one(item) for item in kind.item_types]
        case inspect.VarTupleType() | inspect.ListType():
            return [_one(kind.item_type)]
        case inspect.DictType():
            return {_one(kind.key_type): _one(kind.value_type)}
    return None


def _field(field: inspect.Field) -> Tree:
    if isinstance(field.type, inspect.FloatType) and isinstance(field.default, float):
        return field.default  # some floats must fit together
    return _one(field.type)


def request_trees() -> dict[str, Tree]:
    """Return a frame of each kind of request, by its name."""
    return {kind.__name__: [_one(inspect.type_info(kind))] for kind in Request.__args__}


def link_trees() -> dict[str, Tree]:
    """Return a frame of each kind of message between hosts, by its name."""
    found = {kind.__name__: _one(inspect.type_info(kind)) for kind in (Hello, Goodbye)}
    frame = _one(inspect.type_info(Frame))
    for kind in HostMessage.__args__:
        tag = inspect.type_info(kind).tag  # type: ignore[attr-defined]
        for view in (0, 1):
            tree = [*frame[:-1], [_one(inspect.type_info(kind))]]
            tree[4] = view
            found[f"{kind.__name__}-{tag}-{view}"] = tree
    return found


def leaves(tree: Tree, path: Path = ()) -> Iterator[Path]:
    """Yield the way to each leaf."""
    if isinstance(tree, list):
        for place, part in enumerate(tree):
            yield from leaves(part, (*path, place))
    elif isinstance(tree, dict):
        for key, part in tree.items():
            yield from leaves(part, (*path, key))
    else:
        yield path


def planted(tree: Tree, path: Path, value: Any) -> Tree:
    """Return the tree with another value at one leaf."""
    if not path:
        return value
    if isinstance(tree, list):
        return [planted(part, path[1:], value) if at == path[0] else part for at, part in enumerate(tree)]
    return {key: planted(part, path[1:], value) if key == path[0] else part for key, part in tree.items()}


def infected(pickle: bytes) -> Iterator[bytes]:
    """Yield frames with a pickle in every position of every kind of message, and the pickle alone."""
    yield pickle
    yield encode([pickle])
    yield encode({"pickle": pickle})
    yield encode(msgspec.msgpack.Ext(1, pickle))
    for tree in (*request_trees().values(), *link_trees().values()):
        for path in leaves(tree):
            yield encode(planted(tree, path, pickle))
            yield encode(planted(tree, path, pickle.decode("latin-1")))


_ODD: tuple[Any, ...] = (
    0,
    -1,
    1 << 63,
    (1 << 64) - 1,
    2.5,
    float("nan"),
    float("inf"),
    "",
    "\0",
    b"",
    None,
    True,
    [],
    {},
    "x" * 70,
)


class Noise:
    """Frames that no honest peer sends, by seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self._trees = [*request_trees().values(), *link_trees().values()]
        self._paths = [list(leaves(tree)) for tree in self._trees]

    def frame(self) -> bytes:
        """Return one frame: noise, a kind with an odd value, or its bytes flipped, cut or repeated."""
        chance = self.chance
        how = chance.randrange(8)
        if how == 0:
            return chance.randbytes(chance.choice((0, 1, 2, 9, 200, 5_000)))
        number = chance.randrange(len(self._trees))
        tree = self._trees[number]
        if how <= 3 and self._paths[number]:
            for _ in range(chance.randrange(1, 4)):
                tree = planted(tree, chance.choice(self._paths[number]), chance.choice(_ODD))
            try:
                return encode(tree)
            except (OverflowError, msgspec.MsgspecError):
                return b""
        data = bytearray(encode(tree))
        if how == 4:
            for _ in range(chance.randrange(1, 6)):
                data[chance.randrange(len(data))] = chance.randrange(256)
        elif how == 5:
            del data[chance.randrange(len(data)) :]
        elif how == 6:
            data *= chance.randrange(2, 50)
        return bytes(data)

    def stream(self) -> bytes:
        """Return what a stranger may say instead of ZeroMQ's protocol, or after a part of it."""
        chance = self.chance
        greeting = b"\xff" + bytes(8) + b"\x7f\x03" + bytes((chance.randrange(3),))
        mechanism = chance.choice((b"NULL", b"CURVE", b"PLAIN", b"", chance.randbytes(20)))[:20]
        whole = greeting + mechanism.ljust(20, b"\0") + bytes((chance.randrange(2),)) + bytes(31)
        command = chance.choice((b"READY", b"HELLO", b"INITIATE", b"ERROR", b"PING", b"SUBSCRIBE", b"NOPE"))
        body = bytes((len(command),)) + command + chance.randbytes(chance.choice((0, 5, 30, 192, 300)))
        said = (
            whole + bytes((chance.choice((4, 4, 4, 6, 0, 1, 2, 7)),)) + bytes((min(255, len(body)),)) + body
        )
        if chance.random() < 0.2:
            said = whole + b"\x02" + chance.choice((b"\xff" * 8, (1 << 40).to_bytes(8, "big"))) + bytes(100)
        if chance.random() < 0.3:
            said = said[: chance.randrange(len(said))]
        if chance.random() < 0.2:
            said = chance.choice((b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + chance.randbytes(100))) + said
        if chance.random() < 0.2:
            said += chance.randbytes(chance.randrange(20_000))
        return said
