"""Requests of clients, and what hosts reply.

A frame of the client plane is one msgpack array of requests (or of replies),
so that many callers can share a trip. `id` pairs a reply with its request on
one connection. A *lane* has one mutation under way at a time, and `number`
grows by one with each new mutation of that lane: a retry repeats both, and
is applied at most once.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from agents.fields import Count, Finite, Id, Lane, Milliseconds, Seconds, Text, Word
from agents.messages.replication import Attributes, Names

CLIENT_PROTOCOL = 1
CLIENT_PROTOCOL_OLDEST = 1  # clients may be one version behind hosts, or ahead of them

# Result codes of a reply.
OK = 0
ABSENT = 1  # no such (live) cell
CONFLICT = 2  # the condition failed; `version` is the cell's, 0 = absent
MOVED = 3  # the primary is elsewhere: `text` = its address, `value` = host id, `version` = colony + 1
UNAVAILABLE = 4  # nothing was applied; `text` says why; worth a retry
TOO_LARGE = 5
FULL = 6
DENIED = 7
WRONG_CLUSTER = 8
BAD = 9  # the request makes no sense; `text` says why
FAILED = 10  # the closure raised; `value` = the codec's report, `text` = repr

# only_if
ANY, IF_ABSENT, IF_PRESENT, IF_VERSION = 0, 1, 2, 3

# ttl_ms
TTL_NEVER, TTL_KEEP = 0, -1


Scalar = bool | int | Finite | Text | None
# Flat, so that a small frame can't become a large heap of empty lists.
Arguments = Annotated[
    dict[Id, Scalar | Annotated[list[Scalar], Meta(max_length=1_024)]],
    Meta(max_length=64),
]


class Greet(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """First words of a client or a joiner: who are you, and where is what?

    `oldest` to `protocol` are the versions that the client speaks, `oldest` 0
    = that one alone. `protocol` 0: a host asks, which speaks none of them.
    """

    id: int
    protocol: int = CLIENT_PROTOCOL
    tag: Id = ""
    oldest: int = 0


class Get(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Read one cell; `stale` allows an answer without quorum."""

    id: int
    key: bytes
    stale: bool = False


class Put(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Set the DNA of one cell."""

    id: int
    lane: Lane
    number: Count
    key: bytes
    dna: bytes
    ttl_ms: Milliseconds = TTL_NEVER
    only_if: int = ANY
    version: Count = 0


class Delete(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Let one cell die (`version` > 0: only that version)."""

    id: int
    lane: Lane
    number: Count
    key: bytes
    version: Count = 0


class Touch(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Give one cell a new time to live."""

    id: int
    lane: Lane
    number: Count
    key: bytes
    ttl_ms: Milliseconds


class Patch(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Change attributes of a mapping cell; it is born if `create`. `only_if`: ANY or IF_ABSENT."""

    id: int
    lane: Lane
    number: Count
    key: bytes
    changed: Attributes = ()
    gone: Names = ()
    ttl_ms: Milliseconds = TTL_KEEP
    create: bool = True
    version: Count = 0
    only_if: int = ANY


class Mutate(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Run a pickled closure on the DNA where the cell lives, once."""

    id: int
    lane: Lane
    number: Count
    key: bytes
    closure: bytes
    ttl_ms: Milliseconds = TTL_KEEP


class Scan(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """Keys of one colony with a prefix, after `after`, at most `limit`."""

    id: int
    colony: Count
    prefix: bytes = b""
    after: bytes = b""
    limit: Count = 1000


class Watch(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """Follow the changes of cells with a prefix whose primaries are here."""

    id: int
    prefix: bytes = b""


class Unwatch(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """Stop the watch that was asked for with the id `watch`."""

    id: int
    watch: int


class Admin(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """An operator's command by name; arguments (flat) and answer are JSON.

    `status`, `events`, `where`, `why`, `init`, `leave`, `shutdown`,
    `recover`, `evict`, `safe_to_kill`, `lost_restored`; of supervisors
    `attest`, `report`, `capacity`.
    """

    id: int
    command: Id
    arguments: Arguments = {}


class Locate(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """In which colony is this cell, or would it be born? `version` of the reply: that colony + 1."""

    id: int
    key: bytes


class Migrate(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """Let this cell live in that colony; to be asked twice does no harm.

    Answered by its home, with the colony + 1 as `version`, when the cell is
    there; ABSENT = there is no such cell. `reason` says who wants it, and why;
    refused if it was moved less than `cool_s` ago.
    """

    id: int
    key: bytes
    colony: Count
    reason: Word = ""
    cool_s: Seconds = 0.0


Request = (
    Greet | Get | Put | Delete | Touch | Patch | Mutate | Scan | Watch | Unwatch | Admin | Locate | Migrate
)
Mutation = Put | Delete | Touch | Patch | Mutate


class Reply(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The answer to the request with the same `id`.

    Attributes:
        code: One of the result codes.
        version: The cell's version (seq of its last mutation), 0 = none.
        ttl_ms: Time the cell still has; -1 = for ever, -2 = not told.
        value: DNA, or what the code says.
        text: For people, or what the code says.
        attributes: DNA of a mapping cell.
    """

    id: int
    code: int
    version: Count = 0
    ttl_ms: int = -2
    value: bytes | None = None
    text: str = ""
    attributes: Attributes | None = None


class Greeting(msgspec.Struct, frozen=True, array_like=True):
    """The answer to `Greet`, as msgpack in `Reply.value`.

    Attributes:
        protocol: The highest version of requests and replies that both ends
            speak; the client may use no later one on this connection.
        host: The answering host's id.
        link: Where other hosts connect to it.
        hosts: (host id, public address) of every member.
        primaries: Per colony, the host id of its primary, "" = unknown.
        stage: The answering host's stage.
        closures: Whether it takes closures from this connection.
    """

    protocol: int
    software: str
    tag: Id
    view: int
    stage: str
    host: str
    incarnation: int
    name: str
    link: str
    colonies: int
    value_bytes_max: int
    hosts: tuple[tuple[str, str], ...]
    primaries: tuple[str, ...]
    closures: bool = False


class Change(msgspec.Struct, frozen=True, array_like=True):
    """One watched change, as msgpack in `Reply.value` of the watch's id.

    Kinds: born, changed, died, expired, moved (to another colony; with an empty key: the primary of
    colony `version` moved).
    """

    kind: str
    key: bytes
    version: Count
