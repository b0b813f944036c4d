"""When cells leave their colony without having been told to: for named reasons, seldom, to better places."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from agents.cells import CELL_OVERHEAD_BYTES, Cells
from agents.effects import TellColony
from agents.messages.membership import Load
from agents.messages.replication import AWAY, Located
from agents.places import Place
from agents.wandering import LOOK_S, SAMPLES_MIN, Urges, Wandering
from colony.affinity import CALLS_MIN, WITHIN_S, Affinity

KIB = 1024


def a_colony(number: int, sizes: dict[bytes, int], busy: bytes | None = None) -> Any:
    """Return a colony led here: its cells, and whose change waits for acks."""
    cells = Cells()
    for key, size in sizes.items():
        cells.put(key, (1, 0.0, bytes(size)))
    pending = [SimpleNamespace(entry=SimpleNamespace(key=busy))] if busy else []
    primary = SimpleNamespace(pending=pending)
    peer = SimpleNamespace(cells=cells)
    return SimpleNamespace(colony=number, primary=primary, peer=peer, is_open=True, role="PRIMARY")


class Home:
    """A host that leads colonies, beside another one called `b` that leads colony 9."""

    def __init__(self, *machines: Any, cpu: float = 0.9, there: float = 0.1) -> None:
        self.me = "a"
        self.colonies = {machine.colony: machine for machine in machines}
        self.load = Load(cpu=cpu)
        self.membership = SimpleNamespace(loads={"b": Load(cpu=there)})
        self.directory = SimpleNamespace(entries=[Located(9, 1, 1, "b", ("b", "a")), None])


def moves(home: Home, urges: Urges, *, for_s: float = LOOK_S) -> list[tuple[int, bytes, int, str]]:
    """Return what is ordered: (colony, cell, where to, why)."""
    wandering = Wandering(home, urges, 0.0)  # type: ignore[arg-type]
    out: list[Any] = []
    for tick in range(int(for_s / 0.05) + 2):
        wandering.ticked(tick * 0.05, out)
    assert all(type(effect) is TellColony for effect in out)
    return [(e.colony, e.event.key, e.event.to, e.event.reason) for e in out]


def test_nothing_moves_as_it_comes() -> None:
    home = Home(a_colony(0, {b"hot": 10, b"other": 1 << 30}, b"hot"))
    assert moves(home, Urges()) == []


def test_a_hot_cell_goes_to_a_host_with_cpu_to_spare_and_says_why() -> None:
    home = Home(a_colony(0, {b"hot": 10, b"other": 10}, b"hot"))
    ((colony, key, to, reason),) = moves(home, Urges(hot_share=0.5))
    assert (colony, key, to) == (0, b"hot", 9)
    assert "of" in reason and "CPU 90% here, 10% there" in reason


@pytest.mark.parametrize(
    "home",
    [
        Home(a_colony(0, {b"hot": 10, b"other": 10}, b"hot"), there=0.8),
        Home(a_colony(0, {b"hot": 10}, b"hot")),
        Home(a_colony(0, {b"hot": 10, b"other": 10})),
    ],
    ids=["the other host has no more to spare", "it is alone in its colony", "nothing is changed"],
)
def test_a_hot_cell_stays_where_a_move_is_worth_nothing(home: Home) -> None:
    assert moves(home, Urges(hot_share=0.5)) == []


def test_what_is_seen_seldom_or_away_already_is_not_hot() -> None:
    assert SAMPLES_MIN * 0.05 <= LOOK_S, "a busy colony is seen often enough"
    away = a_colony(0, {b"hot": 10, b"other": 10}, b"hot")
    away.peer.cells.places[b"hot"] = Place(AWAY, 3, 1, 1)
    assert moves(Home(away), Urges(hot_share=0.5)) == []
    assert moves(Home(a_colony(0, {b"hot": 10, b"other": 10}, b"hot")), Urges(hot_share=0.5), for_s=2.0) == []


def test_too_large_a_colony_sends_its_largest_cells_to_small_ones_until_it_fits() -> None:
    sizes = {b"k%d" % n: (n + 1) * KIB for n in range(8)}  # 36 KiB and more
    home = Home(a_colony(0, sizes), a_colony(1, {b"x": 2 * KIB}), a_colony(2, {b"y": 30 * KIB}))
    found = moves(home, Urges(bytes_max=30 * KIB))
    assert [(key, to) for _, key, to, _ in found] == [(b"k7", 1)], "the largest, to the smallest"
    assert moves(home, Urges(bytes_max=64 * KIB)) == []
    full = Home(a_colony(0, sizes), a_colony(1, {b"x": 29 * KIB + CELL_OVERHEAD_BYTES}))
    assert moves(full, Urges(bytes_max=30 * KIB)) == [], "nobody has room for them"


def test_moves_are_bounded_in_rate() -> None:
    sizes = {b"k%02d" % n: KIB for n in range(50)}
    home = Home(a_colony(0, sizes), a_colony(1, {}))
    assert len(moves(home, Urges(bytes_max=30 * KIB, per_minute=5), for_s=4 * LOOK_S)) <= 5 + 2
    with pytest.raises(ValueError, match="no such urges"):
        Urges(hot_share=1.5)


def test_affinity_fetches_what_is_asked_for_again_and_again_and_nothing_else() -> None:
    affinity = Affinity(Home(a_colony(4, {b"x": 1}), a_colony(5, {})))
    assert [affinity.left(b"k", 0.1 * n) for n in range(CALLS_MIN)] == [None] * (CALLS_MIN - 1) + [5]
    assert all(affinity.left(b"rare", n * WITHIN_S) is None for n in range(2 * CALLS_MIN))
    at_once = [affinity.left(b"%d" % key, 9999.0) for key in range(5) for _ in range(CALLS_MIN)]
    assert sum(to is not None for to in at_once) == 1, "the others come later"
