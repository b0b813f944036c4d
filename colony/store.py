"""The store: all cells of a cluster as one mapping of keys to values.

A store is safe to share among threads. Values are written and read by its
codec in the calling thread; hosts keep them as bytes. Its calls wait for a
primary that is being replaced, inside their time-out, and apply once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, KeysView, Mapping, MutableMapping, Sequence
from typing import Any

from agents.messages.client import OK, Reply
from colony import drafts
from colony.carriers import Transport
from colony.codecs import Codec, codec_named
from colony.drafts import KEEP, READ_ONLY_COMMANDS, SCAN_LIMIT, Draft, Entry, Ttl
from colony.keyring import client_curve
from colony.keys import K, Key, key_bytes, key_shown, prefix_bytes
from colony.session import Session
from colony.transport import Client, seeds_in
from colony.watch import Watch

TIMEOUT_S = 5.0


def connect(
    addresses: str | Iterable[str],
    *,
    codec: str = "cloudpickle",
    timeout: float = TIMEOUT_S,
    tag: str = "",
    keys: str | os.PathLike[str] | None = None,
    key: str | None = None,
) -> Store:
    """Return a store on the cluster that the hosts at these addresses are in.

    Nothing is sent before the first call.

    Args:
        addresses: Public addresses of some of the hosts, `tcp://…`, comma-separated or several.
        codec: "cloudpickle", "json", "msgpack" or "raw".
        timeout: Seconds that each call may take, unless it says otherwise; > 0, <= 60.
        tag: The cluster's tag, if only that one will do; "" = whichever answers first.
        keys: Directory with host.pub and a secret key (see `colony keygen`), for a cluster that
            demands keys; None = plain connections.
        key: Which secret of that directory, such as "observer"; None = the one that is there.

    Raises:
        TypeError, ValueError: An argument makes no sense.
        ColonyError: The keys can't be read, or are no secret.
    """
    curve = client_curve(keys, key) if keys is not None else None
    client = Client(seeds_in(addresses), tag=tag, curve=curve)
    return Store(client, codec=codec_named(codec), timeout_s=drafts.seconds(timeout))


class Store(MutableMapping[Key, Any]):
    """Cells by key; made by `colony.connect` or `Host.store`."""

    def __init__(self, transport: Transport, *, codec: Codec, timeout_s: float) -> None:
        self._transport = transport
        self._codec = codec
        self._timeout_s = timeout_s
        # The limit is the cluster's: a larger value is refused before it is sent.
        self._value_bytes_max = 0

    def _limit(self, timeout: float | None) -> float:
        return self._timeout_s if timeout is None else drafts.seconds(timeout)

    def _mutate(self, draft: Draft, timeout_s: float) -> Reply:
        limit = self._value_bytes_max
        if not limit or len(draft[2][0]) > limit:
            limit = self._value_bytes_max = self._transport.learn(timeout_s).value_bytes_max
            drafts.check_size(draft, limit)
        return self._transport.mutate(draft, timeout_s)

    # -- one cell --------------------------------------------------------------

    def set(
        self,
        key: Key,
        value: Any,
        *,
        ttl: Ttl = None,
        only_if: str | None = None,
        timeout: float | None = None,
    ) -> int:
        """Set a cell, and return its version once the cluster's promise holds for it.

        Args:
            key: str or bytes, 1 byte to 1 KiB.
            value: Whatever the codec takes.
            ttl: Seconds > 0 to live; None = for ever; `colony.KEEP` = as before.
            only_if: "present" or "absent"; None = in any case.
            timeout: Seconds; None = the store's.

        Returns:
            The version, > 0; 0 if the condition failed.

        Raises:
            Unavailable: No primary in time; nothing was applied.
            OutcomeUnknown: Time ran out after sending.
            TooLarge, Full, CodecError: Nothing was applied.
        """
        draft = drafts.put(self._codec, key, value, ttl, only_if)
        return drafts.version_of(self._mutate(draft, self._limit(timeout)))

    def add(self, key: Key, value: Any, *, ttl: Ttl = None, timeout: float | None = None) -> bool:
        """Set a cell that is absent; return whether it was."""
        return self.set(key, value, ttl=ttl, only_if="absent", timeout=timeout) > 0

    def replace(
        self, key: Key, value: Any, *, version: int, ttl: Ttl = None, timeout: float | None = None
    ) -> int:
        """Set a cell that still has this version; return the new one.

        Raises:
            VersionConflict: It has another version, or is absent.
        """
        draft = drafts.replace(self._codec, key, value, version, ttl)
        return drafts.replaced(self._mutate(draft, self._limit(timeout)), version)

    def get(self, key: Key, default: Any = None, *, stale: bool = False, timeout: float | None = None) -> Any:
        """Return the committed value of a cell, or `default` if there is none.

        Args:
            stale: Take the answer of a host without quorum too; it may be old.
        """
        reply = self._transport.read(drafts.get(key, stale), self._limit(timeout))
        return drafts.value_of(self._codec, reply, default)

    def entry(self, key: Key, *, stale: bool = False, timeout: float | None = None) -> Entry | None:
        """Return a cell's value with its version and time to live, or None."""
        reply = self._transport.read(drafts.get(key, stale), self._limit(timeout))
        return drafts.entry_of(self._codec, reply)

    def delete(self, key: Key, *, version: int | None = None, timeout: float | None = None) -> bool:
        """Let a cell die; return whether there was one.

        Raises:
            VersionConflict: `version` was given, and the cell has another.
        """
        draft = drafts.delete(key, version)
        return drafts.deleted(self._transport.mutate(draft, self._limit(timeout)), version)

    def touch(self, key: Key, *, ttl: Ttl, timeout: float | None = None) -> bool:
        """Give a cell a new time to live; return whether there is one."""
        draft = drafts.touch(key, ttl)
        return drafts.was_there(self._transport.mutate(draft, self._limit(timeout)))

    def mutate(
        self,
        key: Key,
        fn: Callable[..., Any],
        *args: Any,
        default: Any = None,
        ttl: Ttl = KEEP,
        timeout: float | None = None,
    ) -> Any:
        """Run `fn(value, *args)` where the cell lives, once; return the new value.

        Args:
            fn: Travels by value, with what it refers to; must not rely on state of this process.
            default: The value `fn` gets if there is no cell.

        Raises:
            ClosureFailed: `fn` raised; its exception is the `__cause__`.
            Denied: The host takes no closures from this connection.
        """
        draft = drafts.mutate(self._codec, key, fn, args, default, ttl)
        return drafts.value_of(self._codec, self._mutate(draft, self._limit(timeout)), None)

    def colocate(self, key: Key, with_key: Key, *, timeout: float | None = None) -> bool:
        """Let a cell live where another one lives, in the same colony; return whether there is such a cell.

        It moves with all its copies, keeps its version and its time to live, and stays there until it
        dies or is moved again. What is asked of it meanwhile waits for some milliseconds.

        Args:
            with_key: The other cell; if there is none, where it would be born.

        Raises:
            Unavailable: It can't be moved now (a primary is being replaced, hosts are absent, too many
                cells move already); it is where it was, or on its way.
            Full: The host over there has no room for it.
        """
        limit = self._limit(timeout)
        colony = drafts.colony_in(self._transport.read(drafts.locate(with_key), limit))
        draft = drafts.migrate(key, colony, f"colocate with {key_shown(key_bytes(with_key))!r}"[:200])
        return self._transport.read(draft, limit).code == OK

    def locate(self, key: Key, *, timeout: float | None = None) -> int:
        """Return the number of the colony that a cell lives in, or would be born in."""
        return drafts.colony_in(self._transport.read(drafts.locate(key), self._limit(timeout)))

    # -- many cells ------------------------------------------------------------

    def get_many(self, keys: Iterable[K], *, timeout: float | None = None) -> dict[K, Any]:
        """Return the values of those cells that exist, by key."""
        found: dict[K, Any] = {}
        wanted = list(dict.fromkeys(keys))
        replies = self._many(wanted, [drafts.get(key) for key in wanted], timeout, mutating=False)
        for key, reply in zip(wanted, replies, strict=True):
            if reply.code == OK:
                found[key] = drafts.value_of(self._codec, reply, None)
        return found

    def set_many(
        self,
        mapping: Mapping[K, Any] | Iterable[tuple[K, Any]],
        *,
        ttl: Ttl = None,
        timeout: float | None = None,
    ) -> dict[K, int]:
        """Set many cells, each by itself, in no order; return their versions.

        Raises:
            ColonyError: The first of the errors; `failed` has all of them by key. The other cells are set.
        """
        pairs: dict[K, Any] = dict(mapping)
        limit = self._transport.learn(self._limit(timeout)).value_bytes_max
        ready = [drafts.put(self._codec, key, value, ttl) for key, value in pairs.items()]
        for draft in ready:
            drafts.check_size(draft, limit)
        replies = self._many(list(pairs), ready, timeout, mutating=True)
        return {key: reply.version for key, reply in zip(pairs, replies, strict=True)}

    def delete_many(self, keys: Iterable[Key], *, timeout: float | None = None) -> int:
        """Let many cells die; return how many there were."""
        wanted = list(dict.fromkeys(keys))
        replies = self._many(wanted, [drafts.delete(key) for key in wanted], timeout, mutating=True)
        return sum(map(drafts.was_there, replies))

    def _many(
        self, keys: Sequence[Key], ready: list[Draft], timeout: float | None, *, mutating: bool
    ) -> list[Reply]:
        ended = drafts.Ended(keys)
        self._transport.many(ready, self._limit(timeout), mutating=mutating, then=ended.take)
        return ended.replies()

    # -- all cells -------------------------------------------------------------

    def keys(self, prefix: Key = "") -> Keys:
        """Return a view of the keys with a prefix: str where they are UTF-8, else bytes.

        Each walk over it asks the cluster anew, page by page; cells that are
        born or die meanwhile may be missed.
        """
        return Keys(self, prefix)

    def _pages(self, prefix: bytes) -> Iterator[list[bytes]]:
        for colony in range(self._transport.learn(self._timeout_s).colonies):
            after = b""
            while True:
                reply = self._transport.read(drafts.scan(colony, prefix, after), self._timeout_s, colony)
                page = drafts.keys_of(reply)
                if page:
                    yield page
                if len(page) < SCAN_LIMIT:
                    break
                after = page[-1]

    def session(
        self, sid: Key, *, ttl: Ttl = KEEP, conflict: str = "merge", timeout: float | None = None
    ) -> Session:
        """Return a session: a dict of attributes for a `with` block; see `Session`."""
        return Session(self._transport, self._codec, sid, ttl, conflict, self._limit(timeout))

    def watch(self, prefix: Key = "") -> Watch:
        """Return an iterator over the changes of cells with a prefix; see `Watch`."""
        directory = self._transport.learn(self._timeout_s)
        return Watch(
            directory, self._transport.curve, prefix_bytes(prefix), lambda: self._transport.is_closed
        )

    def admin(
        self, command: str, arguments: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Any:
        """Return a host's answer to an operator's command."""
        once = command not in READ_ONLY_COMMANDS
        draft = drafts.admin(command, dict(arguments or {}))
        return drafts.answer_of(self._transport.order(draft, self._limit(timeout), once=once))

    def close(self) -> None:
        """Close all connections; calls after that raise `Closed`. A second call does nothing."""
        self._transport.close()

    # -- a mapping -------------------------------------------------------------

    def __getitem__(self, key: Key) -> Any:
        reply = self._transport.read(drafts.get(key), self._timeout_s)
        if reply.code != OK:
            raise KeyError(key)
        return drafts.value_of(self._codec, reply, None)

    def __setitem__(self, key: Key, value: Any) -> None:
        self.set(key, value)

    def __delitem__(self, key: Key) -> None:
        if not self.delete(key):
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, str | bytes):
            return False
        return self._transport.read(drafts.get(key), self._timeout_s).code == OK

    def __iter__(self) -> Iterator[Key]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def __bool__(self) -> bool:
        return True  # `if store:` asks for the store, and must not walk over the cluster

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def setdefault(self, key: Key, default: Any = None) -> Any:
        """Return the cell's value, which is `default` from now on if there was none."""
        while True:
            try:
                return self[key]
            except KeyError:
                if self.add(key, default):
                    return default

    def update(self, other: Any = (), /, **more: Any) -> None:
        """Set many cells; see `set_many`."""
        self.set_many({**dict(other), **more})

    def clear(self) -> None:
        """Let all cells of the cluster die."""
        self.delete_many(self.keys())

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError("a store can't be pickled; connect where it is needed")


class Keys(KeysView[Key]):
    """A view of the keys with a prefix; walks over the cluster when asked."""

    def __init__(self, store: Store, prefix: Key) -> None:
        self._mapping = store
        self._store = store
        self._prefix = prefix_bytes(prefix)

    def __iter__(self) -> Iterator[Key]:
        for page in self._store._pages(self._prefix):
            yield from map(key_shown, page)

    def __len__(self) -> int:
        return sum(map(len, self._store._pages(self._prefix)))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str | bytes) and key_bytes(key).startswith(self._prefix) and key in self._store
