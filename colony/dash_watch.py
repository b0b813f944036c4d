"""A watcher that asks the cluster for its state beside the screen's thread.

So that no host that is slow to answer, or gone, ever holds up a frame or a
key. The watcher is the only writer; what it publishes is never changed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from colony.feed import Feed, Listener
from colony.outlook import Outlook, Seer

Json = Mapping[str, Any]

PERIOD_S = 0.5  # a picture twice a second is as live as people can read
OUTLOOK_S = 2.0  # between two looks ahead: each takes some milliseconds


@dataclass(frozen=True, slots=True)
class Picture:
    """What was last known of the cluster.

    Attributes:
        status: Its answer; None = none yet.
        at_s: When it was given, monotonic.
        events: The latest, oldest first.
        writes_s: Mutations per second, between the last two answers.
        outlook: What is to be expected, as of some seconds ago.
    """

    status: Json | None = None
    at_s: float = 0.0
    events: tuple[Json, ...] = ()
    writes_s: float = 0.0
    outlook: Outlook = Outlook()

    def age_s(self, now_s: float) -> float:
        """Return how old the answer is; 0 if there is none."""
        return max(0.0, now_s - self.at_s) if self.status is not None else 0.0


def writes_of(status: Json) -> int | None:
    """Return how many mutations the cluster has sequenced; None = not told."""
    table: Sequence[Json] = status.get("table") or ()
    return sum(int(row.get("seq") or 0) for row in table) if table else None


class Watcher:
    """Asks for status and events, twice a second, in a thread of its own.

    Args:
        connect: Opens a store from addresses, comma-separated.
        addresses: Of hosts to ask first.
        on_news: Called in the watcher's thread with each new event.
    """

    def __init__(
        self,
        connect: Callable[..., Any],
        addresses: Sequence[str],
        on_news: Callable[[Json], None] | None = None,
    ) -> None:
        self._addresses, self._on_news = ",".join(addresses), on_news
        self._feed, self._listener = Feed(), Listener(connect)
        self._picture = Picture()
        self._seer, self._looked_s = Seer(), float("-inf")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="colony-watcher", daemon=True)

    @property
    def picture(self) -> Picture:
        """What was last known; any thread."""
        return self._picture

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def close(self) -> None:
        """Stop asking; waits a little for a question under way."""
        self._stop.set()
        self._thread.join(1.0)

    def note(self, event: Json) -> None:
        """Add an event of our own, say a key that was typed."""
        self._feed.add("you", [event])

    def _run(self) -> None:
        while not self._stop.is_set():
            began_s = time.monotonic()
            self.look()
            self._stop.wait(max(0.05, PERIOD_S - (time.monotonic() - began_s)))
        self._listener.close()

    def look(self) -> None:
        """Ask once for everything, and publish the new picture."""
        before = self._picture
        status = self._listener.ask(self._addresses, "status", {"colonies": True})
        if status is not None:
            for event in self._listener.news(status, self._feed):
                if self._on_news is not None:
                    self._on_news(event)
        at_s = before.at_s if status is None else time.monotonic()
        outlook = before.outlook
        if status is not None and at_s - self._looked_s >= OUTLOOK_S:
            self._looked_s, outlook = at_s, self._seer.look(status)
        self._picture = Picture(
            before.status if status is None else status,
            at_s,
            self._feed.latest(),
            _rate(before, status, at_s),
            outlook,
        )


def _rate(before: Picture, status: Json | None, at_s: float) -> float:
    if status is None or before.status is None or at_s <= before.at_s:
        return before.writes_s if status is None else 0.0
    now, then = writes_of(status), writes_of(before.status)
    if now is None or then is None:
        return 0.0
    return max(0.0, (now - then) / (at_s - before.at_s))
