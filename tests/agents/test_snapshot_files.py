"""Snapshots on disk: written whole or not at all, used once, kept within bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents import keeping
from agents.effects import SaveSnapshot
from agents.keeping import Keeper
from agents.snapshot import Copy, Head, Held, Mark

TAG = "t" * 32
COPY = Copy(Held(4, 1 << 16, 2, 10.0), {b"k": (2, 40.0, b"v")}, {})


class Wall:
    """A wall clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        """Return what it shows."""
        return self.now_s


def order(stop: str = "s", *, tag: str = TAG, bytes_used: int = 1) -> SaveSnapshot:
    """Return the order to write one colony down."""
    head = Head(tag, stop, 5, "h" * 32, "h1", (("h" * 32, "h1"),), (COPY.held,))
    return SaveSnapshot(head, (COPY,), bytes_used)


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def keeper(tmp_path: Path, wall: Wall) -> Keeper:
    return Keeper(tmp_path, wall)


def names(folder: Path) -> list[str]:
    """Return what is in a folder and in its lost and found."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_what_was_written_and_confirmed_is_clean_and_has_an_age(
    keeper: Keeper, wall: Wall, tmp_path: Path
) -> None:
    assert keeper.job(order())() == str(tmp_path / "snapshot")
    keeper.confirm(Mark(TAG, "s", 5))
    wall.now_s += 75
    loaded = keeper.load(TAG).loaded
    assert loaded is not None and loaded.is_clean and loaded.age_s == 75
    assert loaded.kept[4].cells.live == COPY.live
    assert names(tmp_path) == ["snapshot", "snapshot.clean"]
    assert (tmp_path / "snapshot").stat().st_mode & 0o077 == 0, "sessions are nobody else's to read"


def test_a_wall_clock_that_was_set_back_gives_no_negative_age(keeper: Keeper, wall: Wall) -> None:
    keeper.job(order())()
    wall.now_s -= 1000
    loaded = keeper.load(TAG).loaded
    assert loaded is not None and loaded.age_s == 0


def test_without_its_mark_a_snapshot_is_not_clean(keeper: Keeper) -> None:
    keeper.job(order())()
    loaded = keeper.load(TAG).loaded
    assert loaded is not None and not loaded.is_clean


@pytest.mark.parametrize("mark", [Mark(TAG, "other", 5), Mark(TAG, "s", 6), Mark("u" * 32, "s", 5)])
def test_the_mark_of_another_stop_says_nothing(keeper: Keeper, mark: Mark) -> None:
    keeper.job(order())()
    keeper.confirm(mark)
    loaded = keeper.load(TAG).loaded
    assert loaded is not None and not loaded.is_clean


def test_a_new_snapshot_takes_away_the_mark_of_the_old_one_first(keeper: Keeper, tmp_path: Path) -> None:
    keeper.job(order())()
    keeper.confirm(Mark(TAG, "s", 5))
    (tmp_path / "snapshot.new").mkdir()  # the second can't be written
    with pytest.raises(OSError):
        keeper.job(order("s2"))()
    (tmp_path / "snapshot.new").rmdir()
    loaded = keeper.load(TAG).loaded
    assert loaded is not None and not loaded.is_clean


def test_what_was_used_is_gone_and_what_was_not_is_put_aside(keeper: Keeper, tmp_path: Path) -> None:
    for keep, left in ((False, 0), (True, 1)):
        keeper.job(order())()
        keeper.confirm(Mark(TAG, "s", 5))
        keeper.forget(keep=keep)
        assert keeper.load(TAG).loaded is None
        assert len(names(tmp_path)) == left
    keeper.forget(keep=True)


def test_a_stop_that_is_given_up_leaves_nothing(keeper: Keeper, tmp_path: Path) -> None:
    job = keeper.job(order())
    keeper.discard()
    with pytest.raises(OSError, match="given up"):
        job()
    keeper.job(order())()
    keeper.discard()
    assert names(tmp_path) == []


def test_a_damaged_file_is_put_aside_and_named(keeper: Keeper, tmp_path: Path) -> None:
    keeper.job(order())()
    path = tmp_path / "snapshot"
    path.write_bytes(b"x" + path.read_bytes())
    found = keeper.load(TAG)
    assert found.loaded is None and len(found.refused) == 1
    assert str(path) in found.refused[0] and "lost" in found.refused[0] and not path.exists()
    assert keeper.load(TAG).refused == ()
    path.write_bytes(b"")
    assert "empty" in keeper.load(TAG).refused[0]


def test_a_damaged_colony_is_named(keeper: Keeper, tmp_path: Path) -> None:
    keeper.job(order())()
    path = tmp_path / "snapshot"
    path.write_bytes(path.read_bytes()[:-1])
    found = keeper.load(TAG)
    assert found.loaded is not None and found.loaded.damaged == (4,) and "colonies 4" in found.refused[0]


def test_the_snapshot_of_another_cluster_is_put_aside(keeper: Keeper) -> None:
    keeper.job(order(tag="u" * 32))()
    found = keeper.load(TAG)
    assert found.loaded is None and "another cluster" in found.refused[0]


def test_what_a_dying_host_left_half_written_is_removed(keeper: Keeper, tmp_path: Path) -> None:
    (tmp_path / "snapshot.new").write_bytes(b"half")
    assert keeper.load(TAG).loaded is None and names(tmp_path) == []


def test_lost_and_found_is_bounded_the_oldest_go_first(
    keeper: Keeper, wall: Wall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = []
    for _ in range(keeping.LOST_FILES_MAX + 3):
        wall.now_s += 1
        paths.append(Path(keeper.job(order(""))()))
    left = sorted((tmp_path / "lost").iterdir())
    assert left == paths[3:]
    monkeypatch.setattr(keeping, "LOST_BYTES_MAX", 2 * left[0].stat().st_size + 1)
    wall.now_s += 1
    last = Path(keeper.job(order(""))())
    assert sorted((tmp_path / "lost").iterdir()) == [paths[-1], last]
    with pytest.raises(OSError, match="too many"):
        keeper.job(order("", bytes_used=1 << 40))()
