"""The ledger: bounded, shared, and the same again when it is played again."""

from __future__ import annotations

from dataclasses import replace

from agents.ledger import HOST, Ledger
from agents.population import Facts, better_step, urgent_step
from placement.labels import Labels
from placement.nearly import nearly
from placement.resources import Candidate
from placement.settle import settled_number


def members(count: int, **more: int) -> list[Candidate]:
    return [
        Candidate(f"h{n}", f"h{n}", Labels(box=f"b{n}"), copies=n, **more)  # type: ignore[arg-type]
        for n in range(count)
    ]


def facts(colony: int) -> Facts:
    return Facts(colony, "h0", ("h0",), (), (), 1000)


def decide(ledger: Ledger, colony: int, seen: list[Candidate], now_s: float = 0.0) -> None:
    given = (facts(colony), seen, 2)
    ledger.note(now_s, 1, colony, urgent_step, given, urgent_step(*given))


def test_what_changes_after_a_decision_is_no_part_of_it() -> None:
    ledger, seen = Ledger(), members(9)
    decide(ledger, 1, seen)
    seen[1] = replace(seen[1], copies=99)
    decide(ledger, 2, seen)
    first, second = ledger
    assert first.sight is second.sight and len(second.patches) == 1, "what is the same is kept once"
    assert first.candidates == members(9) and second.candidates == seen
    assert [entry.replayed() for entry in ledger] == [entry.outcome for entry in ledger]
    assert second.outcome.target != first.outcome.target


def test_a_colony_and_a_host_keep_only_so_much() -> None:
    ledger = Ledger(per_colony=3, entries_max=10, sight_bytes_max=1 << 30)
    for n in range(40):
        decide(ledger, n % 2, members(5), float(n))
    assert [entry.at_s for entry in ledger.of(0)] == [34.0, 36.0, 38.0] and len(ledger) == 6
    for n in range(40):
        decide(ledger, n, members(5))
    assert len(ledger) == 10 and ledger.of(29) == () and len(ledger.of(30)) == 1


def test_what_was_seen_keeps_only_so_many_bytes_and_is_counted_right() -> None:
    ledger = Ledger(sight_bytes_max=100_000)
    for n in range(200):
        decide(ledger, n, members(50, memory_free=10**9 + n))
        assert ledger.sight_bytes <= 100_000 or len(ledger) == 1
    assert 10 < len(ledger) < 100
    held = {id(column): column for entry in ledger for column in entry.sight.columns}
    assert ledger._columns.keys() == held.keys()
    assert ledger._uses.total() == len(ledger)
    decide(Ledger(sight_bytes_max=1), 1, members(50))  # what is decided now is kept all the same


def test_staying_for_the_same_reason_is_one_entry_with_a_count() -> None:
    ledger, seen = Ledger(), members(2)
    at = replace(facts(1), active=("h0", "h1"))
    for now_s, most in ((1.0, 40), (2.0, 41), (3.0, 40)):
        seen = [replace(seen[0], copies=most), replace(seen[1], copies=most), *members(3)[2:]]
        near = nearly(1, at.active, [*seen[:2], replace(seen[2], copies=38)], primary="h0")
        ledger.note(now_s, 1, 1, better_step, (at, seen), None, near, turn=1)
    (entry,) = ledger.of(1)
    assert (entry.times, entry.at_s, entry.last_s) == (3, 1.0, 3.0)


def test_what_concerns_all_is_kept_apart() -> None:
    ledger, seen = Ledger(), members(3)
    settled = settled_number(2, seen, colonies=8, now=None)
    ledger.note(0.0, 1, HOST, settled_number, (2, seen), settled, colonies=8, now=None)
    (entry,) = ledger.of(HOST)
    assert entry.replayed() == settled and ledger.of(0) == ()
