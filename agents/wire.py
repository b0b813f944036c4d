"""The wire: frames of tagged, versioned structs, validated when decoded.

A frame is one ZeroMQ message: all that one turn of the loop had for one
destination. Decoding never builds anything but the structs named here.

Versions: a host speaks the newest protocol and the one before it, and a link
the highest that both ends speak. Hello and Goodbye come before anything is
agreed, so every version must be able to read them. All structs grow at their
end alone, and each new field has a default: who is older leaves out what it
doesn't know, who is newer takes the default. A new kind of message is named
in `SINCE`, and leaves only through links that speak its version.
"""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from agents.fields import INT_MAX, Count, Id, Text, Word
from agents.messages.client import Greeting, Reply, Request
from agents.messages.membership import Membership
from agents.messages.merging import MergeMessage
from agents.messages.replication import Replication
from agents.messages.stopping import StopMessage
from agents.views import Member

PROTOCOL = 1
PROTOCOL_OLDEST = 1  # PROTOCOL - 1 from the second one on: two neighbours live in one cluster
FRAME_BYTES_MAX = 64 * 1024 * 1024
MESSAGES_MAX = 65_536  # messages of hosts, requests or replies in one frame

CONTROL, BULK = 0, 1  # planes: bulk carries clones, so that they delay nobody


class Versions(NamedTuple):
    """The versions of a protocol that one end speaks."""

    oldest: int
    newest: int

    def common(self, other: Versions) -> int:
        """Return the highest version that both speak; 0 = there is none."""
        version = min(self.newest, other.newest)
        return version if version >= max(self.oldest, other.oldest) else 0

    def __str__(self) -> str:
        return str(self.newest) if self.oldest == self.newest else f"{self.oldest} to {self.newest}"


SPOKEN = Versions(PROTOCOL_OLDEST, PROTOCOL)


class Source(NamedTuple):
    """Where a host's frame came from: the identity of the DEALER that sent it.

    Attributes:
        host: Host id of the sender.
        incarnation: The sender's host incarnation.
        link: The sender's link incarnation.
        plane: CONTROL or BULK.
    """

    host: str
    incarnation: int
    link: int
    plane: int


def identity_of(source: Source) -> bytes:
    """Return the socket identity that says where frames come from."""
    return "/".join(map(str, source)).encode("ascii")


def source_of(identity: bytes) -> Source | None:
    """Return what `identity_of` put in, or None if it is none of ours."""
    match = _IDENTITY.fullmatch(identity)
    if match is None:
        return None
    host, incarnation, link, plane = match.groups()
    return Source(host.decode("ascii"), int(incarnation), int(link), int(plane))


_IDENTITY = re.compile(rb"([0-9a-f]{32})/([1-9][0-9]{0,18})/([1-9][0-9]{0,18})/([01])")

HostMessage = Membership | Replication | StopMessage | MergeMessage

# Kinds of messages that the first version did not have, and the version that brought each.
SINCE: dict[type, int] = {}


def spoken(messages: list[HostMessage], version: int) -> list[HostMessage]:
    """Return the messages that a link of this version may carry."""
    return [message for message in messages if SINCE.get(type(message), 1) <= version]


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Opens a link: who I am, and which of your link incarnations I heard.

    `oldest` to `protocol` are the versions that the sender speaks.
    """

    protocol: Count
    oldest: Count
    software: Word
    tag: Id
    view: Count
    stage: Id
    member: Member
    link: Annotated[int, Meta(ge=1, le=INT_MAX)]
    heard: Count


class Frame(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Messages in order, on one incarnation of a link.

    Attributes:
        link: The sender's incarnation of the link.
        heard: The receiver's incarnation of the link, as the sender knows it.
        number: Counts frames of one plane of this incarnation, from 1.
        view: The view the messages were sent in; 0 = not gated by view.
        messages: At least one.
    """

    link: Count
    heard: Count
    number: Count
    view: Count
    messages: Annotated[tuple[HostMessage, ...], Meta(min_length=1, max_length=MESSAGES_MAX)]


class Goodbye(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Refuses a link, and says why.

    `why`: "tag" (of another cluster) and "version" can't heal by themselves; "" = it may.
    """

    reason: Text
    why: Id = ""


LinkFrame = Hello | Frame | Goodbye


class WireError(ValueError):
    """Bytes from the network that are no frame of this protocol."""


T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_link_frames: msgspec.msgpack.Decoder[LinkFrame] = msgspec.msgpack.Decoder(LinkFrame)
_requests: msgspec.msgpack.Decoder[list[Request]] = msgspec.msgpack.Decoder(
    Annotated[list[Request], Meta(max_length=MESSAGES_MAX)]
)
_replies: msgspec.msgpack.Decoder[list[Reply]] = msgspec.msgpack.Decoder(
    Annotated[list[Reply], Meta(max_length=MESSAGES_MAX)]
)
_greetings = msgspec.msgpack.Decoder(Greeting)
encode = _encoder.encode


def decode_link_frame(data: bytes) -> LinkFrame:
    """Return the frame in `data`; raises `WireError` if it is none."""
    return _decode(_link_frames, data)


def decode_requests(data: bytes) -> list[Request]:
    """Return the requests in a client's frame; raises `WireError`."""
    return _decode(_requests, data)


def decode_replies(data: bytes) -> list[Reply]:
    """Return the replies in a host's frame; raises `WireError`."""
    return _decode(_replies, data)


def decode_greeting(data: bytes) -> Greeting:
    """Return the greeting in a reply's value; raises `WireError`."""
    return _decode(_greetings, data)


def _decode(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    if len(data) > FRAME_BYTES_MAX:
        raise WireError(f"frame of {len(data)} bytes; the limit is {FRAME_BYTES_MAX}")
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError, MemoryError) as error:
        raise WireError(str(error)) from None
