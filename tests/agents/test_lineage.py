"""Of two views of one cluster anybody can tell which descends from which."""

from __future__ import annotations

import msgspec

from agents.lineage import Kin, forced_id, forked, kin, parted, rank
from agents.views import Charter, Member, View, generation_of, view_id

A, B = (Member(name * 32, 1, name, f"tcp://{name}", f"tcp://{name}l") for name in "ab")
BASE = View("t" * 32, view_id(0, 5), Charter(quorum="available"), (A, B))


def later(view: View, count: int = 1) -> View:
    """Return a view that follows in the same lineage."""
    return msgspec.structs.replace(view, id=view.id + count)


def alone(view: View, host: str, uptime_s: float = 1.0) -> View:
    """Return the view with which a host goes on by itself."""
    first = msgspec.structs.replace(view, id=forced_id(view, host, 1, 1))
    return msgspec.structs.replace(first, forks=forked(view, first, uptime_s))


def test_in_one_lineage_the_higher_id_is_ahead() -> None:
    assert kin(BASE, later(BASE)) is Kin.AHEAD
    assert kin(later(BASE), BASE) is Kin.BEHIND
    assert kin(BASE, BASE) is Kin.BEHIND
    assert kin(alone(BASE, "a"), later(alone(BASE, "a"))) is Kin.AHEAD


def test_a_base_may_go_on_beside_what_was_forced_from_it() -> None:
    side = alone(BASE, "a")
    assert kin(BASE, side) is Kin.FORKED and kin(side, BASE) is Kin.BASE
    assert kin(BASE, later(side)) is Kin.FORKED
    assert kin(later(BASE), side) is Kin.APART and kin(side, later(BASE)) is Kin.APART
    older = msgspec.structs.replace(BASE, id=BASE.id - 1)
    assert kin(older, side) is Kin.AHEAD and kin(side, older) is Kin.BEHIND


def test_two_sides_are_apart_whatever_their_numbers() -> None:
    one, other = alone(BASE, "a"), alone(BASE, "b")
    assert generation_of(one.id) == generation_of(other.id) == 1 and one.id != other.id
    assert kin(one, other) is Kin.APART
    twice = alone(later(other), "b")
    assert kin(one, twice) is Kin.APART and kin(other, twice) is Kin.AHEAD
    assert parted(one, twice) == BASE.id and parted(twice, other) == other.id


def test_the_lower_generation_ranks_first_then_who_is_up_longest() -> None:
    junior, senior = alone(BASE, "a", 1.0), alone(BASE, "b", 2.0)
    assert sorted([alone(senior, "b", 9.0), junior, later(BASE), senior], key=rank) == [
        later(BASE),
        senior,
        junior,
        alone(senior, "b", 9.0),
    ]
