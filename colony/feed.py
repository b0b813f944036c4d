"""The event logs of many hosts as one, each piece of news told once.

Every host keeps a log of its own, numbered from 1. A listener asks each
member for what is new there; the feed merges it, puts names in place of host
ids, and counts what repeats.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from colony.errors import ColonyError

Json = Mapping[str, Any]

EVENTS_KEPT = 400  # more than any screen has rows
EVENTS_ASKED = 500  # of one host at one time
HOSTS_HEARD = 16  # whose events are asked for; in a larger cluster they repeat each other
STORES_MAX = 2 * HOSTS_HEARD  # hosts come and go
ASK_TIMEOUT_S = 1.0  # a host that is silent for longer tells its news later
SAME_S = 2.0  # the same news from several hosts within this time is one
SEEN_BY_ALL = ("suspect", "confirmed")
BURST_S = 0.5  # what a host does to many colonies within this time is one thing to people


class Feed:
    """The latest events, whoever told them; any thread.

    Args:
        kept: How many at most; one host's burst of a kind becomes one event with a count.
    """

    def __init__(self, kept: int = EVENTS_KEPT) -> None:
        self._events: deque[dict[str, Any]] = deque(maxlen=kept)
        self._names: dict[str, str] = {}
        self._lock = threading.Lock()

    def learn(self, status: Json) -> None:
        """Remember what hosts are called; also of those that will be gone."""
        members = (status.get("view") or {}).get("members") or []
        names = {str(member.get("id")): str(member.get("name")) for member in members}
        self._names = {**self._names, **names}

    def add(self, source: str, events: Iterable[Json]) -> list[Json]:
        """Add what the host named `source` told, and return the news in it."""
        with self._lock:
            return [fresh for event in events if (fresh := self._added(source, event)) is not None]

    def latest(self) -> tuple[Json, ...]:
        """Return all that is kept, in order of time."""
        with self._lock:
            copies = [dict(event) for event in self._events]
        return tuple(sorted(copies, key=lambda event: event.get("at") or 0.0))

    def _added(self, source: str, event: Json) -> Json | None:
        about = str(event.get("host") or source)
        fresh = {"kind": "?", **event, "host": self._names.get(about, about), "by": source}
        for known in reversed(self._events):
            apart_s = abs((known.get("at") or 0.0) - (fresh.get("at") or 0.0))
            if known["by"] != source and apart_s < SAME_S and _same_news(known, fresh):
                return None  # another host told it already
            if apart_s < BURST_S and _is_burst(known, fresh):
                _fold(known, fresh)
                return None
        self._events.append(fresh)
        return fresh


def _agree(one: Json, other: Json, *keys: str) -> bool:
    return all(one.get(key) == other.get(key) for key in keys)


def _same_news(one: Json, other: Json) -> bool:
    """Return whether two hosts say the same; of one that is doubted each has its own evidence."""
    if not _agree(one, other, "kind", "host", "colony"):
        return False
    return one.get("kind") in SEEN_BY_ALL or _agree(one, other, "reason")


def _is_burst(known: Json, fresh: Json) -> bool:
    """Return whether one host does the same again, to one more colony."""
    both = fresh.get("colony") is not None and (known.get("colony") is not None or known.get("count", 1) > 1)
    return both and _agree(known, fresh, "by", "kind")


def _fold(known: dict[str, Any], fresh: Json) -> None:
    """Count one more of the same kind, and say only what is true of all."""
    known["count"] = known.get("count", 1) + 1
    known["colony"] = None
    if known.get("host") != fresh.get("host"):
        known["host"] = known["by"]
    if known.get("reason") != fresh.get("reason") and not str(known.get("reason")).endswith(" …"):
        known["reason"] = f"{known.get('reason')} …"


class Listener:
    """Asks hosts, one by one, for what is new in their logs; one thread.

    Args:
        connect: Opens a store from addresses, comma-separated.
    """

    def __init__(self, connect: Callable[..., Any]) -> None:
        self._connect = connect
        self._stores: dict[str, Any] = {}
        self._last: dict[str, tuple[str, int]] = {}  # host id -> life of its process, and what was read of it

    def ask(self, addresses: str, command: str, arguments: dict[str, Any]) -> Json | None:
        """Return the answer to one question; None = there was none in time."""
        try:
            if addresses not in self._stores:
                if len(self._stores) >= STORES_MAX:
                    self.drop(next(iter(self._stores)))
                self._stores[addresses] = self._connect(addresses, timeout=ASK_TIMEOUT_S)
            answer: Json = self._stores[addresses].admin(command, arguments)
        except ColonyError:
            self.drop(addresses)
            return None
        return answer

    def news(self, status: Json, feed: Feed, limit: int = EVENTS_ASKED) -> list[Json]:
        """Return the news of all members, and add them to the feed."""
        feed.learn(status)
        members: Sequence[Json] = (status.get("view") or {}).get("members") or []
        news: list[Json] = []
        for member in members[:HOSTS_HEARD]:
            name = str(member.get("name", "?"))
            source = str(member.get("id"))
            life, last = self._last.get(source, ("", 0))
            asked = {"after": last, "limit": limit, **({"life": life} if life else {})}
            address = str(member.get("address") or "")
            answer = self.ask(address, "events", asked) if address else None
            if answer is None:
                continue
            if answer.get("name", name) != name:  # it is silent, and another host answered in its place
                self.drop(address)
                continue
            events = answer.get("events") or []
            if events:
                self._last[source] = str(answer.get("life") or ""), int(events[-1].get("number") or 0)
            news += feed.add(name, events)
        return sorted(news, key=lambda event: event.get("at") or 0.0)

    def close(self) -> None:
        """Close all stores."""
        for addresses in list(self._stores):
            self.drop(addresses)

    def drop(self, addresses: str) -> None:
        """Close a connection; the next question opens another: this one may have settled for another host."""
        store = self._stores.pop(addresses, None)
        if store is not None:
            store.close()
