"""One seed of each scenario with real hosts; `python -m tests.faults` plays many."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.__main__ import Cast, line
from tests.faults.network import missing
from tests.faults.plays import PLAYS
from tests.faults.rounds import Pace

SEED = 1
LEFT_OUT = ("equal_halves_6", "available_winner", "available_function")  # each has its like here
TOGETHER = sorted(
    set(PLAYS) - set(LEFT_OUT), key=lambda name: (PLAYS[name].hosts != 5, list(PLAYS).index(name))
)

pytestmark = [pytest.mark.real, pytest.mark.timeout(150)]


@pytest.fixture(scope="module")
def cast() -> Iterator[Cast]:
    """Yield what boots clusters, where namespaces are allowed."""
    lack = missing()
    if lack:
        pytest.skip(lack)
    cast = Cast(None)
    yield cast
    cast.over()


@pytest.mark.parametrize("name", TOGETHER)
def test_scenario(cast: Cast, name: str) -> None:
    """Times are promised of a machine that has time: what was but late is played again, on fresh hosts."""
    peers = 2
    seed = SEED + TOGETHER.index(name)  # or else it would be the same hosts each time
    found = cast.play(name, peers, seed, Pace(brief=True))
    print(f"\n{line(name, peers, seed, found)}")
    if not found.passed and found.is_safe:
        print("\n".join(found.complaints))
        cast.over()
        found = cast.play(name, peers, seed, Pace(brief=True))
    if not found.passed:
        cast.over()
    assert found.passed, "\n".join(found.complaints)
