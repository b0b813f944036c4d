"""Random histories under random faults keep every promise.

What is checked after every event stands in `invariants.py`, what clients may
see in `history.py`. A failure prints its plan and the command that replays it.
"""

from __future__ import annotations

import os

import pytest

from tests.sim.batch import Tally, survey, tasks
from tests.sim.plans import PLANS

FEW, MANY = 100, 2_000


def judge(tally: Tally, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{tally}")
    assert not tally.broken, "\n\n".join(tally.broken[:5])
    assert tally.commits and tally.promotions, "nothing happened: the plans hurt nobody"
    assert set(tally.plans) == set(PLANS)


def test_some_histories(capsys: pytest.CaptureFixture[str]) -> None:
    judge(survey(list(tasks(FEW, tuple(PLANS)))), capsys)


@pytest.mark.sim
@pytest.mark.timeout(1_800)
def test_many_histories(capsys: pytest.CaptureFixture[str]) -> None:
    processes = min(2, os.cpu_count() or 1)
    judge(survey(list(tasks(MANY, tuple(PLANS), first_seed=FEW)), processes), capsys)
