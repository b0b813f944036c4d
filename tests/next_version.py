"""A made-up next version of the protocol, for tests: all structs have grown, and there is a new message."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from agents import wire
from agents.wire import MESSAGES_MAX, Frame, Goodbye, Hello, HostMessage, LinkFrame, Versions, WireError

NOW, NEXT, AFTER_NEXT = Versions(1, 1), Versions(1, 2), Versions(2, 3)
ADDED = "a field of the next version"


class Novelty(msgspec.Struct, frozen=True, array_like=True, tag=99):
    """A kind of message that the version of today does not know."""

    number: int = 0


class NextFrame(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A frame as the next version reads it."""

    link: int
    heard: int
    number: int
    view: int
    messages: Annotated[tuple[HostMessage | Novelty, ...], Meta(min_length=1, max_length=MESSAGES_MAX)]


_frames: msgspec.msgpack.Decoder[Hello | NextFrame | Goodbye] = msgspec.msgpack.Decoder(
    Hello | NextFrame | Goodbye
)


def has_come() -> None:
    """Let links know since when there is a `Novelty`."""
    wire.SINCE[Novelty] = NEXT.newest


def grown(value: Any) -> Any:
    """Return what a struct becomes on the wire if all structs in it have one more field."""
    if isinstance(value, msgspec.Struct):
        tag = value.__struct_config__.tag
        fields = [grown(getattr(value, name)) for name in value.__struct_fields__]
        return [*([] if tag is None else [tag]), *fields, ADDED]
    if isinstance(value, tuple | list):
        return [grown(item) for item in value]
    if isinstance(value, dict):
        return {key: grown(item) for key, item in value.items()}
    return value.value if isinstance(value, Enum) else value


def encode_as(versions: Versions, frame: LinkFrame) -> bytes:
    """Return the bytes of a frame as a host of these versions sends it, to whomever."""
    return wire.encode(grown(frame) if versions.newest > 1 else frame)


def decode_as(versions: Versions, data: bytes) -> LinkFrame:
    """Return the frame that a host of these versions reads; raises `WireError`."""
    if versions.newest == 1:
        return wire.decode_link_frame(data)
    try:
        frame = _frames.decode(data)
    except msgspec.MsgspecError as error:
        raise WireError(str(error)) from None
    if isinstance(frame, NextFrame):
        messages: Any = frame.messages
        return Frame(frame.link, frame.heard, frame.number, frame.view, messages)
    return frame
