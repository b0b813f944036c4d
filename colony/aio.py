"""The asyncio store: the calls of `colony.Store` as coroutines.

    store = colony.aio.connect("tcp://127.0.0.1:7420")
    await store.set("k", 1)

A store belongs to the loop that first used it. All its tasks share one
connection to each host, and what they ask in one turn of the loop leaves as
one frame. Cancelling a call gives up waiting: it may still be applied.
"""

from __future__ import annotations

# ruff: noqa: ASYNC109 - the time-out is the contract of each call: retries happen inside it
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from agents.messages.client import OK, Reply
from colony import drafts
from colony.aio_transport import AioClient
from colony.codecs import Codec, codec_named
from colony.drafts import KEEP, READ_ONLY_COMMANDS, SCAN_LIMIT, Draft, Entry, Ttl
from colony.keyring import client_curve
from colony.keys import K, Key, key_bytes, key_shown, prefix_bytes
from colony.session import Attributes, SessionState
from colony.transport import seeds_in
from colony.watch import Event

TIMEOUT_S = 5.0


def connect(
    addresses: str | Iterable[str],
    *,
    codec: str = "cloudpickle",
    timeout: float = TIMEOUT_S,
    tag: str = "",
    keys: str | os.PathLike[str] | None = None,
    key: str | None = None,
) -> AioStore:
    """Return an asyncio store; arguments as `colony.connect`. Nothing is sent before the first call."""
    curve = client_curve(keys, key) if keys is not None else None
    client = AioClient(seeds_in(addresses), tag=tag, curve=curve)
    return AioStore(client, codec=codec_named(codec), timeout_s=drafts.seconds(timeout))


class AioStore:
    """Cells by key; see `colony.Store` for what each call means."""

    def __init__(self, client: AioClient, *, codec: Codec, timeout_s: float) -> None:
        self._client = client
        self._codec = codec
        self._timeout_s = timeout_s
        self._value_bytes_max = 0

    def _limit(self, timeout: float | None) -> float:
        return self._timeout_s if timeout is None else drafts.seconds(timeout)

    def _mutate(self, draft: Draft, timeout_s: float) -> Awaitable[Reply]:
        if len(draft[2][0]) <= self._value_bytes_max:
            return self._client.mutate(draft, timeout_s)
        return self._checked_mutate(draft, timeout_s)

    async def _checked_mutate(self, draft: Draft, timeout_s: float) -> Reply:
        self._value_bytes_max = (await self._client.learn(timeout_s)).value_bytes_max
        drafts.check_size(draft, self._value_bytes_max)
        return await self._client.mutate(draft, timeout_s)

    # -- one cell --------------------------------------------------------------

    async def set(
        self,
        key: Key,
        value: Any,
        *,
        ttl: Ttl = None,
        only_if: str | None = None,
        timeout: float | None = None,
    ) -> int:
        """Set a cell; return its version, or 0 if the condition failed."""
        draft = drafts.put(self._codec, key, value, ttl, only_if)
        return drafts.version_of(await self._mutate(draft, self._limit(timeout)))

    async def add(self, key: Key, value: Any, *, ttl: Ttl = None, timeout: float | None = None) -> bool:
        """Set a cell that is absent; return whether it was."""
        return await self.set(key, value, ttl=ttl, only_if="absent", timeout=timeout) > 0

    async def replace(
        self, key: Key, value: Any, *, version: int, ttl: Ttl = None, timeout: float | None = None
    ) -> int:
        """Set a cell that still has this version; raises `VersionConflict`."""
        draft = drafts.replace(self._codec, key, value, version, ttl)
        return drafts.replaced(await self._mutate(draft, self._limit(timeout)), version)

    async def get(
        self, key: Key, default: Any = None, *, stale: bool = False, timeout: float | None = None
    ) -> Any:
        """Return the committed value of a cell, or `default` if there is none."""
        reply = await self._client.read(drafts.get(key, stale), self._limit(timeout))
        return drafts.value_of(self._codec, reply, default)

    async def entry(self, key: Key, *, stale: bool = False, timeout: float | None = None) -> Entry | None:
        """Return a cell's value with its version and time to live, or None."""
        reply = await self._client.read(drafts.get(key, stale), self._limit(timeout))
        return drafts.entry_of(self._codec, reply)

    async def contains(self, key: Key, *, timeout: float | None = None) -> bool:
        """Return whether there is such a cell (`key in store` can't be awaited)."""
        return (await self._client.read(drafts.get(key), self._limit(timeout))).code == OK

    async def delete(self, key: Key, *, version: int | None = None, timeout: float | None = None) -> bool:
        """Let a cell die; return whether there was one."""
        draft = drafts.delete(key, version)
        return drafts.deleted(await self._client.mutate(draft, self._limit(timeout)), version)

    async def touch(self, key: Key, *, ttl: Ttl, timeout: float | None = None) -> bool:
        """Give a cell a new time to live; return whether there is one."""
        return drafts.was_there(await self._client.mutate(drafts.touch(key, ttl), self._limit(timeout)))

    async def mutate(
        self,
        key: Key,
        fn: Callable[..., Any],
        *args: Any,
        default: Any = None,
        ttl: Ttl = KEEP,
        timeout: float | None = None,
    ) -> Any:
        """Run `fn(value, *args)` where the cell lives, once; return the new value."""
        draft = drafts.mutate(self._codec, key, fn, args, default, ttl)
        return drafts.value_of(self._codec, await self._mutate(draft, self._limit(timeout)), None)

    async def colocate(self, key: Key, with_key: Key, *, timeout: float | None = None) -> bool:
        """Let a cell live where another one lives; return whether there is one. See `Store.colocate`."""
        limit = self._limit(timeout)
        colony = drafts.colony_in(await self._client.read(drafts.locate(with_key), limit))
        draft = drafts.migrate(key, colony, f"colocate with {key_shown(key_bytes(with_key))!r}"[:200])
        return (await self._client.read(draft, limit)).code == OK

    async def locate(self, key: Key, *, timeout: float | None = None) -> int:
        """Return the number of the colony that a cell lives in, or would be born in."""
        return drafts.colony_in(await self._client.read(drafts.locate(key), self._limit(timeout)))

    # -- many cells ------------------------------------------------------------

    async def get_many(self, keys: Iterable[K], *, timeout: float | None = None) -> dict[K, Any]:
        """Return the values of those cells that exist, by key."""
        wanted = list(dict.fromkeys(keys))
        replies = await self._many(wanted, [drafts.get(key) for key in wanted], timeout, mutating=False)
        pairs = zip(wanted, replies, strict=True)
        return {key: drafts.value_of(self._codec, reply, None) for key, reply in pairs if reply.code == OK}

    async def set_many(
        self,
        mapping: Mapping[K, Any] | Iterable[tuple[K, Any]],
        *,
        ttl: Ttl = None,
        timeout: float | None = None,
    ) -> dict[K, int]:
        """Set many cells, each by itself, in no order; return their versions."""
        pairs: dict[K, Any] = dict(mapping)
        limit = (await self._client.learn(self._limit(timeout))).value_bytes_max
        ready = [drafts.put(self._codec, key, value, ttl) for key, value in pairs.items()]
        for draft in ready:
            drafts.check_size(draft, limit)
        replies = await self._many(list(pairs), ready, timeout, mutating=True)
        return {key: reply.version for key, reply in zip(pairs, replies, strict=True)}

    async def delete_many(self, keys: Iterable[Key], *, timeout: float | None = None) -> int:
        """Let many cells die; return how many there were."""
        wanted = list(dict.fromkeys(keys))
        replies = await self._many(wanted, [drafts.delete(key) for key in wanted], timeout, mutating=True)
        return sum(map(drafts.was_there, replies))

    async def _many(
        self, keys: Sequence[Key], ready: list[Draft], timeout: float | None, *, mutating: bool
    ) -> list[Reply]:
        ended = drafts.Ended(keys)
        await self._client.many(ready, self._limit(timeout), mutating=mutating, then=ended.take)
        return ended.replies()

    # -- all cells -------------------------------------------------------------

    async def keys(self, prefix: Key = "") -> list[Key]:
        """Return the keys with a prefix: str where they are UTF-8, else bytes."""
        return [key async for key in self.scan(prefix)]

    async def scan(self, prefix: Key = "") -> AsyncIterator[Key]:
        """Yield the keys with a prefix, page by page."""
        start = prefix_bytes(prefix)
        for colony in range((await self._client.learn(self._timeout_s)).colonies):
            after = b""
            while True:
                reply = await self._client.read(drafts.scan(colony, start, after), self._timeout_s, colony)
                page = drafts.keys_of(reply)
                for key in page:
                    yield key_shown(key)
                if len(page) < SCAN_LIMIT:
                    break
                after = page[-1]

    def session(
        self, sid: Key, *, ttl: Ttl = KEEP, conflict: str = "merge", timeout: float | None = None
    ) -> AioSession:
        """Return a session for an `async with` block; see `colony.Session`."""
        return AioSession(self._client, self._codec, sid, ttl, conflict, self._limit(timeout))

    async def watch(self, prefix: Key = "") -> AsyncIterator[Event]:
        """Yield the changes of cells with a prefix, without end; see `colony.Watch`."""
        start = prefix_bytes(prefix)
        await self._client.learn(self._timeout_s)
        async for event in self._client.changes(start):
            yield event

    async def admin(
        self, command: str, arguments: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Any:
        """Return a host's answer to an operator's command."""
        once = command not in READ_ONLY_COMMANDS
        draft = drafts.admin(command, dict(arguments or {}))
        return drafts.answer_of(await self._client.order(draft, self._limit(timeout), once=once))

    async def close(self) -> None:
        """Close all connections; calls under way end with an error. A second call does nothing."""
        self._client.close()

    async def __aenter__(self) -> AioStore:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()


class AioSession:
    """One use of a session cell; `async with store.session(sid) as s:`."""

    def __init__(
        self, client: AioClient, codec: Codec, sid: Key, ttl: Ttl, conflict: str, timeout_s: float
    ) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._state = SessionState(codec, sid, ttl, conflict)

    async def __aenter__(self) -> Attributes:
        return self._state.began(await self._client.read(drafts.get(self._state.key), self._timeout_s))

    async def __aexit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None:
            return
        limit = (await self._client.learn(self._timeout_s)).value_bytes_max
        draft = self._state.draft(limit)
        if draft is not None:
            self._state.ended(await self._client.mutate(draft, self._timeout_s), draft)
