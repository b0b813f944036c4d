"""What primaries are told to do leaves a note and an entry, and counts at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from agents.causes import Cause
from agents.effects import Note, TellColony
from agents.population import relief
from agents.steps import Steps
from agents.surroundings import CloneOrdered, HandOverOrdered, Limits
from agents.views import Status
from placement.reasons import Move


class Figures:
    """A survey that only takes."""

    def __init__(self) -> None:
        self.given: list[tuple[str, dict[str, int]]] = []

    def give(self, host: str, **what: int) -> None:
        self.given.append((host, what))


def steps_of(**more: Any) -> tuple[Steps, Figures]:
    status = {"b": Status.JOINING, "c": Status.ACTIVE}
    members = {host: SimpleNamespace(status=one, entered=5) for host, one in status.items()}
    host: Any = SimpleNamespace(me="a", limits=Limits(**more), view=SimpleNamespace(id=7, member=members.get))
    figures = Figures()
    return Steps(host, figures), figures  # type: ignore[arg-type]


def test_a_copy_that_moves_leaves_a_note_counts_at_both_ends_and_rests() -> None:
    steps, figures = steps_of(moves_max=1)
    out: list[Any] = []
    move = Move(3, "copy", "c", "b", "emptier")
    assert (steps.rests_since_s(3), steps.rests_until_s(3)) == (float("-inf"), float("-inf"))
    steps.begin(3, (CloneOrdered("b", "emptier", None, "c"), move), 500, 10.0, out)
    note, told = out
    assert isinstance(note, Note) and (note.reason, note.details["what"]) == ("emptier", "copy")
    assert note.cause == Cause("view", view=5), "it moves to a joiner, as it has come"
    assert isinstance(told, TellColony) and told.colony == 3
    assert figures.given == [
        ("b", {"copies": 1, "bytes_used": 500}),
        ("c", {"copies": -1, "bytes_going": 500}),
    ]
    assert steps.rests_since_s(3) == 10.0 < steps.rests_until_s(3)
    assert steps.moves == {3: move} and steps.is_full
    steps.over(3)
    steps.over(3)
    assert not steps.moves and not steps.is_full


def test_a_role_is_no_move_of_a_copy() -> None:
    steps, figures = steps_of(moves_max=1)
    out: list[Any] = []
    steps.begin(3, (HandOverOrdered("c", "even"), Move(3, "role", "a", "c", "even")), 500, 10.0, out)
    assert out[0].cause is None and not steps.moves and not steps.is_full
    assert figures.given == [("c", {"primaries": 1}), ("a", {"primaries": -1})]


def test_what_is_decided_is_kept_with_its_rule_and_its_view() -> None:
    steps, _ = steps_of()
    steps.decided(10.0, 3, relief, ([],), None)
    (entry,) = steps.ledger.of(3)
    assert (entry.rule, entry.view, entry.at_s) == (relief, 7, 10.0)
