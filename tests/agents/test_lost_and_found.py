"""What a host gives up is written down first."""

from __future__ import annotations

from agents.effects import DropEverything, Effect, Note, SaveSnapshot, SnapshotSaved, Ticked
from agents.messages.client import Put
from tests.agents.house import House, founded, key_of


def saved(house: House) -> list[SaveSnapshot]:
    """Return what was ordered to be written."""
    return [effect for effect in house.others if isinstance(effect, SaveSnapshot)]


def dropped(*, keeps: bool, merged: bool = False, cells: int = 1) -> list[SaveSnapshot]:
    """Have a host with some cells drop everything; return what it saved before."""
    house = founded("ab", colonies=1)
    for number in range(1, cells + 1):
        house.ask(house.leader(0), Put(number, b"lane", number, key_of(house, 0), b"v"))
    house.run()
    house.hosts["a"].keeps = keeps
    house.members["a"].next = [DropEverything("held dead", merged)]
    house.tell("a", Ticked())
    return saved(house)


def test_what_is_here_is_saved_before_it_is_dropped_if_there_is_anything() -> None:
    (save,) = dropped(keeps=True)
    assert save.head.reason == "held dead" and [len(copy.live) for copy in save.copies] == [1]
    assert dropped(keeps=False) == []
    assert dropped(keeps=True, merged=True) == [], "others have it all"
    assert dropped(keeps=True, cells=0) == []


def test_where_it_is_or_why_it_could_not_be_kept_is_noted() -> None:
    house = founded("a", colonies=1)
    out: list[Effect] = []
    box = house.hosts["a"].lost_and_found
    box.saved(SnapshotSaved("", "/state/lost/1"), out)
    box.saved(SnapshotSaved("", "", "no space left"), out)
    reasons = [note.reason for note in out if isinstance(note, Note)]
    assert reasons == [
        "what this host held is kept in /state/lost/1",
        "what this host held could not be kept: no space left",
    ]
