"""The session workload of `colony up`: it knows what was acknowledged.

Each session counts its own writes. One thread alone writes a session, so
the last acknowledged count is a fact; every read must show at least that,
whoever reads, and at the end every session is read once more. A write is
always preceded by a read of the same session: what a lost colony took away
is found before a new write covers it.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import colony
from colony.errors import ColonyError
from colony.latency import Durations, merged

WRITERS, READERS = 4, 2
WRITE_SHARE = 0.3  # of the visits to a session; the rest only look
PACE_S = 0.008  # between two visits of a thread: a load that leaves room for the hosts, on a laptop too
REPORT_S = 0.5
PAUSE_S = 0.005  # a write that takes longer was perhaps held up by something
PAUSES_KEPT = 500  # of each writer: at its pace, more than are told
PAUSES_TOLD_S = 15.0  # that began within this time: longer than any aftermath
AGAIN_S = 2.0  # a read that shows too little is repeated so long, to tell stale from lost
VERIFY_S = 20.0  # for all sessions at the end, with patience for a cluster in repair
CART = ["a book", "a lamp", "two chairs"] * 8  # some 300 bytes, as sessions have


class Sessions(Protocol):
    """What the workload needs of a store."""

    def get(self, key: str, /) -> Any: ...
    def set(self, key: str, value: Any, /) -> Any: ...


class Ledger:
    """What was tried, and what was acknowledged, session by session.

    A session's writer is the only one that changes its counts; anybody may
    read them.
    """

    def __init__(self, sessions: int) -> None:
        self.tried = [0] * sessions
        self.acked = [0] * sessions
        self._lock = threading.Lock()
        self.writes = 0
        self.lost = 0
        self.stale = 0
        self.extra = 0
        self.failed = 0

    def acknowledge(self, session: int, count: int) -> None:
        """Note that this write of a session is acknowledged."""
        with self._lock:
            self.acked[session] = count
            self.writes += 1

    def lose(self, session: int, seen: int) -> None:
        """Note that a session is back at `seen`: later acknowledged writes are gone."""
        with self._lock:
            self.lost += self.acked[session] - seen
            self.acked[session] = seen

    def tally(self, what: str) -> None:
        """Count one `stale` read, one `failed` operation or one `extra` write."""
        with self._lock:
            setattr(self, what, getattr(self, what) + 1)


def key_of(session: int) -> str:
    """Return the key of a session."""
    return f"session/{session:06d}"


def value_of(session: int, count: int) -> dict[str, Any]:
    """Return what a session holds after its `count`-th write."""
    return {"n": count, "user": f"user-{session}", "cart": CART}


def count_in(value: Any) -> int:
    """Return the count that a session shows; 0 = there is no session."""
    return int(value["n"]) if isinstance(value, dict) else 0


class Visitor(threading.Thread):
    """One thread that visits sessions; a writer owns those that it visits.

    Args:
        mine: Sessions to visit, in turns.
        writes: Whether it also writes.
        stop: Ends it.
    """

    def __init__(
        self, store: Sessions, ledger: Ledger, mine: range, writes: bool, stop: threading.Event
    ) -> None:
        super().__init__(daemon=True)
        self._store, self._ledger, self._mine, self._halt = store, ledger, mine, stop
        self._writes = writes
        self._chance = random.Random(mine.start)
        self.durations = Durations()
        self.visits = 0
        self.pauses: deque[tuple[float, float]] = deque(maxlen=PAUSES_KEPT)

    def run(self) -> None:
        """Give birth to the sessions, if they are its own; then visit until the stop."""
        if self._writes:
            for session in self._mine:
                if self._halt.is_set():
                    return
                self.write(session)
        while not self._halt.is_set():
            session = self._chance.choice(self._mine)
            self.check(session)
            if self._writes and self._chance.random() < WRITE_SHARE:
                self.write(session)
            self._halt.wait(PACE_S)

    def check(self, session: int) -> None:
        """Read a session, and compare it with what was acknowledged before."""
        floor = self._ledger.acked[session]
        seen = self.read(session)
        if seen is None:
            return
        if seen < floor:
            again = self._insist(session, floor)
            if again is None:
                return
            if again >= floor:
                self._ledger.tally("stale")
            elif self._writes:
                self._ledger.lose(session, again)
        elif self._writes and seen > self._ledger.tried[session]:
            self._ledger.tally("extra")

    def read(self, session: int) -> int | None:
        """Return the count that a session shows; None = no answer in time."""
        began_s = time.monotonic()
        try:
            value = self._store.get(key_of(session))
        except ColonyError:
            self._ledger.tally("failed")
            return None
        self._timed(began_s)
        return count_in(value)

    def write(self, session: int) -> None:
        """Write a session until a write is acknowledged, and time it all."""
        began_s, began_wall_s = time.monotonic(), time.time()
        while not self._halt.is_set():
            count = self._ledger.tried[session] + 1
            self._ledger.tried[session] = count
            try:
                self._store.set(key_of(session), value_of(session, count))
            except ColonyError:
                self._ledger.tally("failed")
                self._halt.wait(0.02)
                continue
            self._ledger.acknowledge(session, count)
            took_s = self._timed(began_s)
            if took_s >= PAUSE_S:
                self.pauses.append((began_wall_s, took_s))
            return

    def _insist(self, session: int, floor: int) -> int | None:
        end_s, seen = time.monotonic() + AGAIN_S, None
        while time.monotonic() < end_s and not self._halt.is_set():
            again = self.read(session)
            seen = seen if again is None else again
            if seen is not None and seen >= floor:
                break
            self._halt.wait(0.05)
        return seen

    def _timed(self, began_s: float) -> float:
        took_s = time.monotonic() - began_s
        self.durations.add(took_s)
        self.visits += 1
        return took_s


def verify(store: Sessions, ledger: Ledger, patience_s: float = VERIFY_S) -> int:
    """Read every session once more; count what is lost.

    Returns:
        How many sessions could not be read within the patience.
    """
    open_sessions = [session for session, count in enumerate(ledger.acked) if count]
    end_s = time.monotonic() + patience_s
    while open_sessions and time.monotonic() < end_s:
        again = []
        for session in open_sessions:
            try:
                seen = count_in(store.get(key_of(session))) if time.monotonic() < end_s else None
            except ColonyError:
                seen = None
            if seen is None:
                again.append(session)
            elif seen < ledger.acked[session]:
                ledger.lose(session, seen)
        open_sessions = again
    return len(open_sessions)


class Workload:
    """All threads of the workload, and what they found together."""

    def __init__(self, store: Sessions, sessions: int) -> None:
        self.ledger = Ledger(sessions)
        self.stop = threading.Event()
        self._began_s = self._then_s = time.monotonic()
        self._then_visits = 0
        writers = min(WRITERS, sessions)
        self.visitors = [
            Visitor(store, self.ledger, range(number, sessions, writers), True, self.stop)
            for number in range(writers)
        ]
        self.visitors += [
            Visitor(store, self.ledger, range(sessions), False, self.stop) for _ in range(READERS)
        ]

    def start(self) -> None:
        """Start all threads."""
        for visitor in self.visitors:
            visitor.start()

    def join(self, timeout_s: float) -> None:
        """End all threads; waits for operations under way."""
        self.stop.set()
        end_s = time.monotonic() + timeout_s
        for visitor in self.visitors:
            visitor.join(max(0.0, end_s - time.monotonic()))

    def report(self) -> dict[str, Any]:
        """Return what was found so far, and the rate since the last report."""
        now_s, visits = time.monotonic(), sum(visitor.visits for visitor in self.visitors)
        rate = (visits - self._then_visits) / max(1e-6, now_s - self._then_s)
        self._then_s, self._then_visits = now_s, visits
        durations = merged([visitor.durations for visitor in self.visitors])
        ledger, since_s = self.ledger, time.time() - PAUSES_TOLD_S
        pauses = (pause for visitor in self.visitors for pause in tuple(visitor.pauses))
        return {
            "acked": ledger.writes,
            "lost": ledger.lost,
            "stale": ledger.stale,
            "extra": ledger.extra,
            "failed": ledger.failed,
            "ops": visits,
            "ops_s": round(rate, 1),
            "p50_ms": round(durations.percentile_s(0.5) * 1000, 3),
            "p99_ms": round(durations.percentile_s(0.99) * 1000, 3),
            "pauses": sorted(pause for pause in pauses if pause[0] + pause[1] > since_s),
        }


def reports(
    workload: Workload, finish: threading.Event, verifier: Callable[[], int]
) -> Iterator[dict[str, Any]]:
    """Yield a report again and again, and the last one, verified, when told to finish."""
    while not finish.wait(REPORT_S):
        yield workload.report()
    workload.join(8.0)
    unread = verifier()
    yield {**workload.report(), "unread": unread, "final": True}


def main(arguments: list[str], finish: threading.Event) -> int:
    """Run the workload in this process until told to finish; reports are JSON lines."""
    parser = argparse.ArgumentParser(prog="workload")
    parser.add_argument("--connect", required=True)
    parser.add_argument("--sessions", type=int, required=True)
    values = parser.parse_args(arguments)
    store = colony.connect(values.connect, timeout=5.0)
    workload = Workload(store, values.sessions)
    workload.start()
    for report in reports(workload, finish, lambda: verify(store, workload.ledger)):
        sys.stdout.write(json.dumps(report) + "\n")
        sys.stdout.flush()
    return 0
