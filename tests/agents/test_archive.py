"""What a host's machines want of snapshots, and what they are told of it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from agents.archive import Archive
from agents.effects import Note, SaveSnapshot, SnapshotSaved
from agents.order import Order
from agents.snapshot import Head


class FakeKeeper:
    """Stands for the keeper: a disk that works, or does not."""

    def __init__(self, broken: bool) -> None:
        self.broken = broken
        self.removed = ["old"]

    def _work(self) -> str:
        if self.broken:
            raise OSError("no space left")
        return "/state/snapshot"

    def job(self, effect: SaveSnapshot) -> Callable[[], str]:
        """Return what writes."""
        return self._work

    def put_periodic_aside(self) -> str:
        """Put it aside."""
        return self._work()

    def discard(self) -> None:
        """Discard it."""
        self._work()

    def take_removed(self) -> list[str]:
        """Return what had to go, once."""
        removed, self.removed = self.removed, []
        return removed


class Scene:
    """An archive with its tools."""

    def __init__(self, keeper: FakeKeeper | None, *, has_room: bool = True) -> None:
        self.told: list[Any] = []
        self.notes: list[Note] = []
        self.has_room = has_room
        tools: Any = SimpleNamespace(
            workers=SimpleNamespace(submit=self.submit),
            note=self.notes.append,
            tell_host=self.told.append,
        )
        self.archive = Archive(Order(tools, lambda message: None), tools, keeper)  # type: ignore[arg-type]

    def submit(self, job: Callable[[], str], then: Callable[[Any, Any], None]) -> bool:
        """Do a job at once, if there is room."""
        if self.has_room:
            try:
                then(job(), None)
            except OSError as error:
                then(None, error)
        return self.has_room

    def saved(self, *, is_last: bool = False) -> SnapshotSaved:
        """Save, and return what the host is told."""
        head = Head("t", "stop", 1, "a", "a", (), ())
        self.archive.save(SaveSnapshot(head, (), 0, is_last))
        (told,) = self.told
        assert isinstance(told, SnapshotSaved)
        return told


def test_a_host_is_told_where_its_snapshot_is_or_why_there_is_none() -> None:
    assert Scene(FakeKeeper(False)).saved() == SnapshotSaved("stop", "/state/snapshot")
    assert Scene(FakeKeeper(True)).saved().error == "no space left"
    assert Scene(None).saved().error == "this host has no state directory"
    assert "too many jobs" in Scene(FakeKeeper(False), has_room=False).saved().error


def test_last_words_are_written_on_the_spot() -> None:
    assert Scene(FakeKeeper(False), has_room=False).saved(is_last=True).path == "/state/snapshot"
    assert Scene(FakeKeeper(True), has_room=False).saved(is_last=True).error == "no space left"


def test_what_had_to_go_is_noted_and_so_is_a_disk_that_refuses() -> None:
    scene = Scene(FakeKeeper(False))
    scene.archive.keep_periodic()
    scene.archive.keep("discard", lambda keeper: keeper.discard())
    assert [note.kind for note in scene.notes] == ["lost_and_found", "lost_removed"]
    scene = Scene(FakeKeeper(True))
    scene.archive.keep_periodic()
    scene.archive.keep("discard", lambda keeper: keeper.discard())
    assert [note.reason for note in scene.notes] == [
        "can't keep the last periodic snapshot: no space left",
        "can't discard the snapshot: no space left",
    ]
