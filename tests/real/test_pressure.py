"""Memory runs out under --max-bytes: copies move away, then roles, and only then births are refused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

import colony
from tests.real.hosts import Hosts, until

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.timeout(150)]
MIB = 1 << 20
SMALL, VALUE, RATE = "h4", 32 * 1024, 125.0


class Tight(Hosts):
    """Four hosts on four boxes with little room, one with less still."""

    def _command(self, name: str, arguments: list[str]) -> list[str]:
        size = 12 * MIB if name == SMALL else 18 * MIB
        return super()._command(name, [*arguments, "--max-bytes", str(size)])


@pytest.fixture
def hosts() -> Iterator[Tight]:
    """Yield them."""
    with Tight(4, boxes=4, colonies=16) as cluster:
        yield cluster


def test_room_is_made_in_order_before_a_birth_is_refused_and_nobody_dies_of_it(hosts: Tight) -> None:
    ids = {m["name"]: m["id"] for m in hosts.status()["view"]["members"]}
    kept: list[str] = []
    with colony.connect(hosts.addresses, codec="raw", timeout=20.0) as store:
        refused = write_until_full(store, kept)
        assert "memory limit" in refused
        first = store.get(kept[0])
        assert first is not None and store.set(kept[0], b"-" * VALUE) > 0, "what does not grow is not refused"
        store.set(kept[0], first)
        lost = [key for at in range(0, len(kept), 50) for key in missing(store, kept[at : at + 50])]
    assert not lost, f"{len(lost)} of {len(kept)} acknowledged writes are gone"
    assert all(process.is_alive for process in hosts.processes.values())
    told = until(lambda: in_order(hosts, ids[SMALL]), "all of it in the events", within_s=10.0)
    print(f"\n{len(kept)} cells of {VALUE} B; " + "; ".join(f"{e['kind']}: {e['reason']}" for e in told))
    copy, role, full = told
    assert copy["at"] <= role["at"] <= full["at"], told
    assert len(hosts.status()["view"]["members"]) == 4


def write_until_full(store: Any, kept: list[str]) -> str:
    """Write at a steady rate until a birth is refused; return why."""
    began_s = time.monotonic()
    for number in range(20_000):
        time.sleep(max(0.0, began_s + number / RATE - time.monotonic()))
        try:
            store.set(f"key-{number}", number.to_bytes(8) * (VALUE // 8))
        except colony.Full as error:
            return str(error)
        kept.append(f"key-{number}")
    raise AssertionError("nothing was ever refused")


def missing(store: Any, keys: list[str]) -> list[str]:
    """Return the keys that are not what was written."""
    found = store.get_many(keys)
    return [key for key in keys if found.get(key) != int(key[4:]).to_bytes(8) * (VALUE // 8)]


def in_order(hosts: Tight, small: str) -> list[dict[str, Any]]:
    """Return what left the small host first for want of room (copy, role), and the first refusal."""
    events: list[dict[str, Any]] = []
    for process in hosts.processes.values():
        with colony.connect(process.address, timeout=10.0) as store:
            events += store.admin("events", {"limit": 4000})["events"]
    events.sort(key=lambda event: float(event["at"]))

    def first(*whats: str, word: str) -> dict[str, Any] | None:
        for event in events:
            details = event.get("details") or {}
            if details.get("what") in whats and details.get("from") == small and word in event["reason"]:
                return event
        return None

    full = next((event for event in events if event["kind"] == "full"), None)
    found = [first("copy", "shed", word="filled to"), first("role", word="no secondaries left"), full]
    return [event for event in found if event is not None] if all(found) else []
