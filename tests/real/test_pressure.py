"""Memory runs out under --max-bytes: copies move away, then roles, and only then births are refused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

import colony
from tests.real.hosts import Hosts

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.timeout(150)]
MIB = 1 << 20
SMALL, VALUE, RATE = "h4", 32 * 1024, 80.0
WRITES_MAX = 10_000


class Tight(Hosts):
    """Four hosts on four boxes with little room, one with less still."""

    def _command(self, name: str, arguments: list[str]) -> list[str]:
        size = 6 * MIB if name == SMALL else 18 * MIB
        return super()._command(name, [*arguments, "--max-bytes", str(size)])


@pytest.fixture
def hosts() -> Iterator[Tight]:
    """Yield them."""
    with Tight(4, boxes=4, colonies=16) as cluster:
        yield cluster


def test_room_is_made_in_order_before_a_birth_is_refused_and_nobody_dies_of_it(hosts: Tight) -> None:
    small = next(m["id"] for m in hosts.status()["view"]["members"] if m["name"] == SMALL)
    kept: list[str] = []
    with colony.connect(hosts.addresses, codec="raw", timeout=20.0) as store:
        write(hosts, store, kept, small)
        refused = fill_up(store, kept)
        assert "memory limit" in refused
        first = store.get(kept[0])
        assert first is not None and store.set(kept[0], b"-" * VALUE) > 0, "what does not grow is not refused"
        store.set(kept[0], first)
        lost = [key for at in range(0, len(kept), 50) for key in missing(store, kept[at : at + 50])]
        assert not lost, f"{len(lost)} of {len(kept)} acknowledged writes are gone"
        assert store.delete(kept[0])
    assert all(process.is_alive for process in hosts.processes.values())
    assert len(hosts.status()["view"]["members"]) == 4
    copy, role, full = in_order(hosts.noted(), small)
    print(
        f"\n{len(kept)} cells; " + "; ".join(f"{e['kind']}: {e['reason']}" for e in (copy, role, full) if e)
    )
    assert copy and role and full, "all of it is in the events"
    assert copy["at"] < role["at"] < full["at"]


def write(hosts: Tight, store: Any, kept: list[str], small: str) -> None:
    """Write at a steady rate until the small host has handed over roles for want of room."""
    began_s = time.monotonic()
    while len(kept) % 40 or in_order(hosts.noted(), small)[1] is None:
        put(store, kept)
        time.sleep(max(0.0, began_s + len(kept) / RATE - time.monotonic()))
        assert len(kept) < WRITES_MAX, "no role was ever handed over"


def fill_up(store: Any, kept: list[str]) -> str:
    """Write as fast as it goes until a birth is refused; return why."""
    while len(kept) < WRITES_MAX:
        try:
            put(store, kept)
        except colony.Full as error:
            return str(error)
    raise AssertionError("nothing was ever refused")


def put(store: Any, kept: list[str]) -> None:
    """Write one more cell, and keep its key once that is acknowledged."""
    store.set(f"key-{len(kept)}", value_of(len(kept)))
    kept.append(f"key-{len(kept)}")


def value_of(number: int) -> bytes:
    """Return what is written under a number."""
    return number.to_bytes(8) * (VALUE // 8)


def missing(store: Any, keys: list[str]) -> list[str]:
    """Return the keys that are not what was written."""
    found = store.get_many(keys)
    return [key for key in keys if found.get(key) != value_of(int(key[4:]))]


def in_order(events: list[dict[str, Any]], small: str) -> tuple[dict[str, Any] | None, ...]:
    """Return what left the small host first for want of room (copy, role), and the first refusal."""

    def first(*whats: str, word: str) -> dict[str, Any] | None:
        for event in events:
            details = event.get("details") or {}
            if details.get("what") in whats and details.get("from") == small and word in event["reason"]:
                return event
        return None

    full = next((event for event in events if event["kind"] == "no_room"), None)
    return first("copy", "shed", word="filled to"), first("role", word="no secondaries left"), full
