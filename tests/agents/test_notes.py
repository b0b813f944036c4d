"""The event log: bounded, numbered, counted."""

from __future__ import annotations

import pytest

from agents.effects import Note
from agents.notes import Notes


def test_notes_are_numbered_from_one_and_read_from_any_number() -> None:
    notes = Notes()
    for kind in ("a", "b", "c"):
        notes.add(Note(kind), 10.0)
    assert [(noted.number, noted.note.kind) for noted in notes.after(1)] == [(2, "b"), (3, "c")]
    assert notes.after(3) == []
    assert notes.last == 3


def test_the_oldest_go_first_and_the_numbers_show_the_gap() -> None:
    notes = Notes(limit=3)
    for number in range(10):
        notes.add(Note("tick", str(number)), float(number))
    assert [noted.number for noted in notes.after(0)] == [8, 9, 10]
    assert notes.counts["tick"] == 10


def test_a_page_holds_the_oldest_of_what_is_asked_for() -> None:
    notes = Notes()
    for _ in range(10):
        notes.add(Note("tick"), 0.0)
    assert [noted.number for noted in notes.after(4, limit=2)] == [5, 6]
    assert notes.after(4, limit=0) == []


def test_an_empty_log_has_nothing_after_any_number() -> None:
    assert Notes().after(0) == []
    assert Notes().after(99) == []


def test_a_reader_ahead_of_a_restarted_host_sees_nothing_rather_than_everything() -> None:
    notes = Notes()
    notes.add(Note("tick"), 0.0)
    assert notes.after(500) == []


def test_json_leaves_out_what_a_note_does_not_say() -> None:
    notes = Notes()
    plain = notes.add(Note("open", "all acked"), 1.5)
    assert plain.as_json() == {"number": 1, "at": 1.5, "kind": "open", "reason": "all acked"}
    full = notes.add(Note("moved", colony=3, host="h1", details={"to": "h2"}), 2.0)
    assert full.as_json()["colony"] == 3
    assert full.as_json()["host"] == "h1"
    assert full.as_json()["details"] == {"to": "h2"}


def test_a_log_without_room_can_not_be_built() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Notes(limit=0)
