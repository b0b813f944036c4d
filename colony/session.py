"""Sessions: cells with attributes, of which only the changed ones travel.

Within `with store.session(sid) as s`, `s` is a dict of attributes, read once
when the block begins. At its end what differs is sent as one patch: also a
value that was changed in place, since encoded bytes are compared. Nothing is
sent if the block raised.

Conflicts: with "merge" (the default) attributes are independent: of two
blocks that change the same one, the later wins; other attributes of both
stay. With "raise" the cell must not have changed since the block began. In
both, a session that died meanwhile (a logout, expiry) is not brought back.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from agents.messages.client import ABSENT, IF_VERSION, OK, TTL_KEEP, TTL_NEVER, Patch, Put, Reply, Touch
from colony import drafts
from colony.carriers import Transport
from colony.codecs import Codec
from colony.drafts import Draft, Ttl
from colony.errors import CodecError, TooLarge, VersionConflict
from colony.keys import Key, key_bytes

FRESH = 0.95  # a session with this share of its ttl left needs no new one: reads stay reads
_CONSTANT = frozenset({str, bytes, int, float, bool, complex, type(None)})


class Attributes(MutableMapping[str, Any]):
    """The attributes of one session, and what became of them.

    Values are decoded when first asked for. One thread at a time.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._stored: dict[str, bytes] = {}  # as the cluster has them
        self._seen: dict[
            str, bytes
        ] = {}  # as they encoded when handed out: bytes of today, not of who wrote them
        self._values: dict[str, Any] = {}
        self._gone: set[str] = set()

    def load(self, stored: dict[str, bytes]) -> None:
        """Start from what the cluster has."""
        self._stored = stored
        self._seen, self._values, self._gone = {}, {}, set()

    def changes(self) -> tuple[dict[str, bytes], tuple[str, ...]]:
        """Return what to send: changed attributes, and names of removed ones."""
        changed: dict[str, bytes] = {}
        for name, value in self._values.items():
            data = self._codec.encode(value)
            if data != self._seen.get(name, self._stored.get(name)):
                changed[name] = data
        return changed, tuple(sorted(self._gone & self._stored.keys() - self._values.keys()))

    def encoded(self) -> dict[str, bytes]:
        """Return all attributes as they stand."""
        kept = {name: data for name, data in self._stored.items() if name not in self._gone}
        return kept | {name: self._codec.encode(value) for name, value in self._values.items()}

    def __getitem__(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        if name in self._gone or name not in self._stored:
            raise KeyError(name)
        value = self._values[name] = self._codec.decode(self._stored[name])
        self._seen[name] = self._stored[name] if type(value) in _CONSTANT else self._codec.encode(value)
        return value

    def __setitem__(self, name: str, value: Any) -> None:
        if not isinstance(name, str):
            raise TypeError(f"an attribute's name is str, not {type(name).__name__}")
        self._values[name] = value
        self._seen.pop(name, None)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._values.pop(name, None)
        self._seen.pop(name, None)
        self._gone.add(name)

    def __contains__(self, name: object) -> bool:
        return name in self._values or (name in self._stored and name not in self._gone)

    def __iter__(self) -> Iterator[str]:
        yield from [name for name in self._stored if name not in self._gone or name in self._values]
        yield from [name for name in self._values if name not in self._stored]

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"Attributes({dict(self)!r})"


class SessionState:
    """What one `with` block read, and what it has to send; no I/O.

    Raises:
        TypeError, ValueError: The arguments make no sense.
    """

    def __init__(self, codec: Codec, sid: Key, ttl: Ttl, conflict: str) -> None:
        if conflict not in ("merge", "raise"):
            raise ValueError(f'conflict is "merge" or "raise", not {conflict!r}')
        self.key = key_bytes(sid)
        self.attributes = Attributes(codec)
        self._codec = codec
        self._ttl_ms = drafts.ttl_ms(ttl)
        self._is_strict = conflict == "raise"
        self._version = 0
        self._left_ms = -1
        self._is_plain = False

    def began(self, reply: Reply) -> Attributes:
        """Take the cell as it was read."""
        self._version = reply.version if reply.code == OK else 0
        self._left_ms = reply.ttl_ms
        self._is_plain = reply.code == OK and reply.value is not None
        stored = dict(reply.attributes or ()) if reply.code == OK else {}
        if reply.value is not None and self._is_plain:
            stored = self._plain(reply.value)
        self.attributes.load(stored)
        return self.attributes

    def _plain(self, dna: bytes) -> dict[str, bytes]:
        value = self._codec.decode(dna)
        if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
            raise CodecError("this cell holds a plain value, not the attributes of a session")
        return {name: self._codec.encode(one) for name, one in value.items()}

    def draft(self, value_bytes_max: int) -> Draft | None:
        """Return what must be sent at the end of the block, if anything; raises `TooLarge`."""
        changed, gone = self.attributes.changes()
        if not changed and not gone:
            return self._refresh()
        size = sum(map(len, changed.values()))
        if size > value_bytes_max:
            raise TooLarge(f"the changed attributes have {size} bytes; the limit is {value_bytes_max}")
        if self._is_plain:  # set as a whole before: it can only be set as a whole again
            dna = self._codec.encode(dict(self.attributes))
            return Put, self.key, (dna, self._ttl_ms, IF_VERSION, self._version)
        version = self._version if self._is_strict else 0
        rest = (tuple(sorted(changed.items())), gone, self._ttl_ms, self._version == 0, version)
        return Patch, self.key, rest

    def _refresh(self) -> Draft | None:
        if self._version == 0 or self._ttl_ms == TTL_KEEP:
            return None
        if self._ttl_ms == TTL_NEVER and self._left_ms < 0:
            return None
        if self._ttl_ms != TTL_NEVER and self._left_ms >= FRESH * self._ttl_ms:
            return None
        return Touch, self.key, (self._ttl_ms,)

    def ended(self, reply: Reply, sent: Draft) -> None:
        """Take the answer to what was sent; raises `VersionConflict`."""
        if reply.code == OK or sent[0] is Touch:
            return
        if reply.code == ABSENT or reply.version == 0:
            raise VersionConflict("the session died meanwhile; its changes are dropped")
        raise VersionConflict(
            f"the session is at version {reply.version}, not {self._version}", reply.version
        )


class Session:
    """One use of a session cell; `with store.session(sid) as s:`.

    The same object may be used for one block after another. `s` is an
    `Attributes`: a mutable mapping of str to whatever the codec takes.
    To end a session, `store.delete(sid)`.

    Args:
        ttl: Seconds to live from the end of each block; None = for ever; KEEP (the default) = as before.
        conflict: "merge" or "raise"; see the module.

    Raises:
        VersionConflict: At the end of the block: the session died meanwhile, or with "raise" has changed.
    """

    def __init__(
        self, transport: Transport, codec: Codec, sid: Key, ttl: Ttl, conflict: str, timeout_s: float
    ) -> None:
        self._transport = transport
        self._timeout_s = timeout_s
        self._state = SessionState(codec, sid, ttl, conflict)

    def __enter__(self) -> Attributes:
        return self._state.began(self._transport.read(drafts.get(self._state.key), self._timeout_s))

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None:
            return
        limit = self._transport.learn(self._timeout_s).value_bytes_max
        draft = self._state.draft(limit)
        if draft is not None:
            self._state.ended(self._transport.mutate(draft, self._timeout_s), draft)
