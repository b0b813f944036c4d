"""The journal: every host's log, merged by time, each event exactly once.

A host's log is numbered from 1 for each life of its process. What was read
is remembered per life, so that nothing comes twice, whoever answers in whose
place, and whatever fell out of a log before it was read leaves a `gap`. An
event is told when every host that answers has been asked since it happened:
only then nobody can have an earlier one. Hosts stamp events by their own wall
clocks: the order is as good as these are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from colony.feed import Listener

Json = Mapping[str, Any]
Held = tuple[float, str, int, float, Json]  # when it happened, life, number, when it was heard, the event

PAGE = 1000  # events asked for at one time
PAGES_MAX = 20  # of one host in one round: more than a log holds
HOLD_S = 1.5  # a clock ahead of ours delays its host's events by no more
FIRST_S, AGAIN_MAX_S = 0.5, 5.0  # a host that is silent is asked more and more rarely
FORGET_S = 120.0  # a host that is in no view any more is asked for so long: it may have last words
HOSTS_MAX = 10_000


@dataclass(slots=True)
class Source:
    """One host whose log is read.

    Attributes:
        life: Of its process, as last heard; "" = not heard yet.
        listed_s: When a view listed it last.
        due_s: When it is to be asked again.
        wait_s: How long it is left alone after the next silence.
    """

    name: str
    address: str
    life: str = ""
    listed_s: float = 0.0
    due_s: float = 0.0
    wait_s: float = FIRST_S


class Merge:
    """Events of many logs, on their way into one order; no clock, no connection."""

    def __init__(self) -> None:
        self._read: dict[str, int] = {}  # life -> the last number that was read
        self._held: list[Held] = []
        self.names: dict[str, str] = {}  # host id -> name

    def read(self, life: str) -> int:
        """Return the number of the last event that was read of a life."""
        return self._read.get(life, 0)

    def heard(self, source: str, life: str, events: Iterable[Json], now_s: float) -> int:
        """Take what the host `source` told of one life; return how many of them were news."""
        news = 0
        for event in events:
            number, last = int(event.get("number") or 0), self._read.get(life, 0)
            if number <= last:
                continue
            at_s = float(event.get("at") or 0.0)
            if last and number > last + 1:
                reason = f"{number - last - 1} events fell out of its log before they were read"
                lost = {"number": number, "at": at_s, "kind": "gap", "host": source, "by": source}
                self._held.append((at_s, life, number - 1, now_s, {**lost, "reason": reason}))
            self._read[life] = number
            self._held.append((at_s, life, number, now_s, self._named(source, event)))
            news += 1
        return news

    def due(self, asked_s: float, now_s: float) -> list[Json]:
        """Return, in order, what can't be preceded by anything still unread.

        Args:
            asked_s: Wall clock before the last round of questions began.
            now_s: Wall clock; what is held for too long goes anyway.
        """
        ready: list[Held] = []
        kept: list[Held] = []
        for held in self._held:
            is_due = held[0] <= asked_s or now_s - held[3] >= HOLD_S
            (ready if is_due else kept).append(held)
        self._held = kept
        return [held[4] for held in sorted(ready, key=lambda held: held[:3])]

    def _named(self, source: str, event: Json) -> Json:
        about = str(event.get("host") or source)
        shown: dict[str, Any] = {"kind": "?", **event, "host": self.names.get(about, about), "by": source}
        cause = event.get("cause")
        if isinstance(cause, Mapping):
            named = {
                key: self.names.get(str(cause[key]), cause[key]) for key in ("host", "by") if key in cause
            }
            shown["cause"] = {**cause, **named}
        return shown


class Journal:
    """Reads the logs of all hosts; one thread.

    Args:
        connect: Opens a store from addresses, comma-separated.
        addresses: Of hosts to ask first.
    """

    def __init__(
        self,
        connect: Callable[..., Any],
        addresses: Iterable[str],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._listener = Listener(connect)
        self._first = ",".join(addresses)
        self._guide = self._first  # whoever answered last knows who is there
        self._wall = wall
        self._sources: dict[str, Source] = {}
        self._merge = Merge()

    def look(self, *, all_of_it: bool = False) -> list[Json] | None:
        """Ask every host once, and return what may be told now, in order.

        Args:
            all_of_it: Hold nothing back: nobody looks again.

        Returns:
            None if no host that is known answers.
        """
        asked_s = self._wall()
        is_answered = self._learn(asked_s)
        for source in list(self._sources.values()):
            if asked_s >= source.due_s:
                is_answered = self._read(source, asked_s) or is_answered
        now_s = float("inf") if all_of_it else self._wall()
        news = self._merge.due(asked_s, now_s)
        return news if is_answered or news else None

    def close(self) -> None:
        """Close all connections."""
        self._listener.close()

    def _learn(self, now_s: float) -> bool:
        """Find out who is there, from whoever answers."""
        known = [source.address for source in self._sources.values()]
        for addresses in dict.fromkeys((self._guide, self._first, *known)):
            status = self._listener.ask(addresses, "status", {})
            if status is not None:
                self._guide = addresses
                members = (status.get("view") or {}).get("members")
                self._listed(members or [status], now_s)  # in no cluster: it has a log of its own
                return True
        return False

    def _listed(self, members: Iterable[Json], now_s: float) -> None:
        for member in members:
            host, name, address = (str(member.get(key) or "") for key in ("id", "name", "address"))
            self._merge.names[host] = name
            source = self._sources.get(host)
            if source is None:
                if len(self._sources) >= HOSTS_MAX:
                    continue
                source = self._sources[host] = Source(name, address)
            elif source.address != address:
                source.address, source.due_s = address, 0.0
            source.name, source.listed_s = name, now_s
        for host, source in list(self._sources.items()):
            if now_s - source.listed_s > FORGET_S:
                del self._sources[host]

    def _read(self, source: Source, now_s: float) -> bool:
        """Read a host's log to its end; return whether it answered."""
        for _ in range(PAGES_MAX):
            asked: dict[str, Any] = {"after": self._merge.read(source.life), "limit": PAGE}
            if source.life:
                asked["life"] = source.life
            answer = self._listener.ask(source.address, "events", asked) if source.address else None
            if answer is None or answer.get("name", source.name) != source.name:
                self._listener.drop(source.address)  # it may have settled for another host
                source.due_s = now_s + source.wait_s
                source.wait_s = min(AGAIN_MAX_S, 2 * source.wait_s)
                return False
            source.life, source.wait_s = str(answer.get("life") or source.name), FIRST_S
            events = answer.get("events") or []
            self._merge.heard(source.name, source.life, events, now_s)
            if len(events) < PAGE:
                return True
        return True


def wanted(
    kinds: Iterable[str] = (),
    colony: int | None = None,
    host: str | None = None,
    since_s: float | None = None,
) -> Callable[[Json], bool]:
    """Return whether an event is asked for; nothing given = each is.

    Args:
        kinds: Any of these.
        host: By this host or about it, or caused by what happened to it.
        since_s: Wall clock; not before.
    """
    of = frozenset(kinds)

    def is_wanted(event: Json) -> bool:
        if event.get("kind") == "gap":
            return host in (None, event.get("by"))
        cause = event.get("cause") or {}
        return (
            (not of or event.get("kind") in of)
            and (colony is None or event.get("colony") == colony)
            and (host is None or host in (event.get("by"), event.get("host"), cause.get("host")))
            and (since_s is None or float(event.get("at") or 0.0) >= since_s)
        )

    return is_wanted
