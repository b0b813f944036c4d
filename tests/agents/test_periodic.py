"""Periodic snapshots: when they are written, which are kept, and what comes back of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agents.census import elect, returning, stale
from agents.effects import Note, SaveSnapshot, SnapshotSaved
from agents.keeping import PERIODIC_FILES, Keeper
from agents.messages.replication import Census, CensusPeer, Origin
from agents.peer import PeerStatus
from agents.periodic import CELLS_PER_TURN, Periodic
from agents.snapshot import PERIODIC, Copy, Head, Held
from agents.views import Charter, Member, Status, View, epoch_in, view_id

TAG = "t" * 32


class Wall:
    """A wall clock that is set by hand."""

    now_s = 1_000_000.0

    def __call__(self) -> float:
        """Return what it shows."""
        return self.now_s


@pytest.fixture
def wall() -> Wall:
    """Return a clock."""
    return Wall()


# -- files ------------------------------------------------------------------------------


def order(seq: int, *colonies: int, tag: str = TAG) -> SaveSnapshot:
    """Return the order to write colonies down, each with one cell of that version."""
    copies = tuple(Copy(Held(c, 1 << 16, seq, 10.0), {b"k": (seq, 0.0, b"v")}, {}) for c in colonies)
    head = Head(tag, "", 5, "h" * 32, "h1", (), tuple(c.held for c in copies), reason=PERIODIC)
    return SaveSnapshot(head, copies, 1, is_periodic=True)


def write(folder: Path, wall: Wall, *orders: SaveSnapshot) -> list[Path]:
    """Write snapshots a second apart, in one life of a host; return the paths."""
    keeper, paths = Keeper(folder, wall), []
    for effect in orders:
        wall.now_s += 1
        paths.append(Path(keeper.job(effect)()))
    return paths


def test_the_last_few_are_kept_and_the_last_one_of_an_earlier_life(tmp_path: Path, wall: Wall) -> None:
    earlier = write(tmp_path, wall, *(order(n, 1) for n in range(2)))
    later = write(tmp_path, wall, *(order(n, 1) for n in range(PERIODIC_FILES + 2)))
    assert sorted((tmp_path / "periodic").iterdir()) == [earlier[-1], *later[-PERIODIC_FILES:]]


def test_of_each_colony_the_newest_whole_copy_comes_back(tmp_path: Path, wall: Wall) -> None:
    old, new = write(tmp_path, wall, order(3, 1, 2), order(7, 1, 2))
    data = new.read_bytes()
    new.write_bytes(data[:-1])  # colony 2 is the last in it
    wall.now_s += 10
    found = Keeper(tmp_path, wall).load_periodic(TAG)
    assert found.loaded is not None and found.loaded.is_periodic and found.loaded.damaged == ()
    kept = found.loaded.kept
    assert (kept[1].held.seq, kept[2].held.seq) == (7, 3)
    assert (found.loaded.age_s, kept[1].age_s, kept[2].age_s) == (10, 0, 1)
    assert len(found.refused) == 1 and str(new) in found.refused[0] and "colonies 2" in found.refused[0]
    assert old.exists() and new.exists(), "nothing is used up"


def test_files_of_another_cluster_and_no_files_are_named(tmp_path: Path, wall: Wall) -> None:
    (path,) = write(tmp_path, wall, order(3, 1, tag="u" * 32))
    torn = path.with_name("99-periodic.snapshot")
    torn.write_bytes(b"COLONY SNAPSHOT 1\nand no more")
    found = Keeper(tmp_path, wall).load_periodic(TAG)
    assert found.loaded is None and "torn" in found.refused[0] and "another cluster" in found.refused[1]


def test_the_last_one_of_an_earlier_life_goes_to_lost_and_found_once(tmp_path: Path, wall: Wall) -> None:
    _, last = write(tmp_path, wall, order(3, 1), order(7, 1))
    keeper = Keeper(tmp_path, wall)
    data = last.read_bytes()
    aside = Path(keeper.put_periodic_aside())
    assert aside.parent == tmp_path / "lost" and aside.read_bytes() == data and not last.exists()
    assert Keeper(tmp_path / "none", wall).put_periodic_aside() == ""


# -- when ----------------------------------------------------------------------------------


class Land:
    """A host with colonies of so many cells each."""

    def __init__(self, *sizes: int) -> None:
        self.me, self.keeps = "h" * 32, True
        self.held = True
        self.quorum = SimpleNamespace(held=lambda now_s: self.held)
        self.view = View(TAG, 5, Charter(), ())
        self.membership = SimpleNamespace(me=SimpleNamespace(id=self.me, name="h1"))
        self.colonies = {place: self._machine(place, size) for place, size in enumerate(sizes)}
        self.colony = self.colonies.__getitem__

    def _machine(self, colony: int, size: int) -> Any:
        live = {b"%d" % n: (n + 1, 0.0, b"v") for n in range(size)}
        cells = SimpleNamespace(live=live, lanes={}, places={}, bytes_used=size)
        peer = SimpleNamespace(epoch=1, last=size, cells=cells, clock_s=lambda now_s: now_s + 500)
        return SimpleNamespace(colony=colony, peer=peer, status=PeerStatus.ACTIVE, restored=False)


def run(periodic: Periodic, from_s: float, to_s: float) -> list[tuple[float, Any]]:
    """Tick 40 times a second; return what was wanted, and when."""
    found, now_s = [], from_s
    while now_s < to_s:
        out: list[Any] = []
        periodic.ticked(now_s, out)
        found += [(now_s, effect) for effect in out]
        now_s += 0.025
    return found


def test_a_turn_copies_a_bounded_number_of_cells_and_the_clocks_agree() -> None:
    land: Any = Land(CELLS_PER_TURN, CELLS_PER_TURN, 3)
    periodic = Periodic(land, 10.0, 0.0)
    ((at_s, save),) = run(periodic, 0.0, 11.0)
    assert [copy.held.colony for copy in save.copies] == [0, 1, 2] and save.is_periodic
    assert {round(copy.held.clock_s - at_s, 6) for copy in save.copies} == {500.0}
    assert 5.0 <= at_s <= 10.1


def test_one_at_a_time_and_none_without_quorum() -> None:
    land: Any = Land(3)
    periodic = Periodic(land, 2.0, 0.0)
    assert len(run(periodic, 0.0, 20.0)) == 1, "the first is not written yet"
    out: list[Any] = []
    periodic.saved(SnapshotSaved("", "/some/where", is_periodic=True), 20.0, out)
    assert len(run(periodic, 20.0, 21.0)) == 1
    assert isinstance(out[0], Note) and "/some/where" in out[0].reason
    periodic.saved(SnapshotSaved("", "/some/where", is_periodic=True), 21.0, out)
    assert len(out) == 1, "no news"
    land.held = False
    assert run(periodic, 21.0, 40.0) == []
    periodic.saved(SnapshotSaved("", "", "disk full", is_periodic=True), 40.0, out)
    assert out[-1].kind == "snapshot_failed" and "disk full" in out[-1].reason
    told = periodic.progress(41.0)
    assert told is not None and told["error"] == "disk full" and told["path"] == "/some/where"


# -- the census -----------------------------------------------------------------------------

BEFORE, NOW = view_id(0, 4), view_id(0, 5)


def anew(hosts: str) -> View:
    """Return the first view of a cluster that starts anew, with one colony."""
    members = tuple(
        Member(host, 2, host, f"tcp://{host}", "", status=Status.JOINING, entered=NOW) for host in hosts
    )
    return View(TAG, NOW, Charter(colonies=1), members)


def brought(epoch: int, seq: int, stop: str = PERIODIC, *, clean: bool = False, age_s: float = 9.0) -> Census:
    """Return the census of a host that brings colony 0 back."""
    origin = Origin(stop, BEFORE, BEFORE, clean, age_s=age_s)
    return Census(NOW, (CensusPeer(0, epoch, seq, False, True),), 0, origin)


def test_the_newest_of_periodic_snapshots_is_gone_on_from_and_named_stale() -> None:
    reborn = epoch_in(view_id(0, 3), 0)  # the colony was lost then, and its seqs began anew
    heard = {
        "A": brought(epoch_in(1, 0), 900, age_s=80.0),
        "B": brought(reborn, 5, age_s=3.0),
        "C": Census(NOW, (), 0, Origin(before=BEFORE)),
    }
    (heir,) = heirs = elect(anew("ABC"), heard)
    assert (heir.outcome, heir.primary, heir.seqs) == ("promoted", "B", {"B": 5})
    assert stale(heard, heirs) == {0: 3.0}


def test_a_stop_that_came_to_its_end_beats_them_and_nothing_is_stale() -> None:
    heard = {"A": brought(epoch_in(1, 0), 900), "B": brought(epoch_in(1, 0), 5, "s1", clean=True)}
    (heir,) = heirs = elect(anew("AB"), heard)
    assert (heir.primary, heir.seqs) == ("B", {"B": 5}) and stale(heard, heirs) == {}


@pytest.mark.parametrize(("told", "outcome"), [("s1", "promoted"), ("s2", "lost"), ("", "promoted")])
def test_what_another_stop_left_is_nothing_once_this_start_has_gone_on_from_one(
    told: str, outcome: str
) -> None:
    """B did not hear how the first census ended, and who held what that named has died since."""
    decided = Census(NOW, (), 0, Origin(told) if told else None)
    heard = {"B": brought(epoch_in(1, 0), 5, "s1", clean=True), "C": decided}
    (heir,) = elect(anew("BC"), heard)
    assert heir.outcome == outcome


def test_a_peer_that_lives_beats_them_all() -> None:
    lives = Census(NOW, (CensusPeer(0, epoch_in(1, 0), 2, False),), 0)
    heard = {"A": brought(epoch_in(2, 0), 900), "B": lives}
    (heir,) = heirs = elect(anew("AB"), heard)
    assert (heir.primary, heir.seqs) == ("B", {"B": 2}) and stale(heard, heirs) == {}


def test_a_lost_colony_waits_where_one_host_says_so_until_somebody_gives_it_up() -> None:
    nothing = Census(NOW, (), 0, Origin(before=BEFORE))
    says = Census(NOW, (), 0, Origin(before=BEFORE, waits=True))
    gives_up = Census(NOW, (), 0, Origin(waiting=(0,), given_up=True))
    for heard, waits in (
        ({"A": nothing, "B": nothing}, False),
        ({"A": nothing, "B": says}, True),
        ({"A": gives_up, "B": says}, False),
    ):
        (heir,) = elect(anew("AB"), heard)
        assert heir.outcome == "lost" and (heir.primary == "") is waits


def test_one_that_comes_late_may_end_the_wait_with_its_own() -> None:
    offers = Origin(PERIODIC, waiting=(0,), age_s=7.0, waits=True)
    late = Census(NOW, (CensusPeer(0, epoch_in(1, 0), 5, False, True),), 0, offers)
    heard = {"A": Census(NOW, (), 0, Origin(waiting=(0,), waits=True)), "B": late}
    (heir,) = heirs = elect(anew("AB"), heard)
    assert (heir.outcome, heir.primary) == ("promoted", "B") and stale(heard, heirs) == {0: 7.0}


def test_in_a_cluster_that_goes_on_they_count_for_nothing() -> None:
    late = Origin(PERIODIC, BEFORE, 0, False, True)
    heard = {"A": Census(NOW, (CensusPeer(0, epoch_in(1, 0), 2, True),), 0), "B": Census(NOW, (), 0, late)}
    assert returning(heard) is None
