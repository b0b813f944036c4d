"""Random histories under random faults keep every promise.

What is checked after every event stands in `invariants.py`, what clients may
see in `history.py`. A failure prints its plan and the command that replays it.
"""

from __future__ import annotations

import os

import pytest

from agents import heartbeats
from tests.sim.batch import Tally, survey, tasks
from tests.sim.plans import PLANS
from tests.sim.splits import SPLITS

FEW, MANY = 30, 2_000
LONG = ("flapping_link",)  # two minutes each: a sample stands in test_splits, many in `make sim`


def judge(tally: Tally, plans: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{tally}")
    assert not tally.broken, "\n\n".join(tally.broken[:5])
    assert tally.commits and tally.promotions, "nothing happened: the plans hurt nobody"
    assert set(tally.plans) == set(plans)


def test_some_histories(capsys: pytest.CaptureFixture[str]) -> None:
    judge(survey(list(tasks(FEW, tuple(PLANS)))), tuple(PLANS), capsys)


@pytest.mark.sim
def test_some_histories_in_which_grants_wait_as_they_do_in_a_crowd(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(heartbeats, "CROWD", 0)
    judge(survey(list(tasks(FEW, tuple(PLANS), first_seed=20_000))), tuple(PLANS), capsys)


@pytest.mark.sim
@pytest.mark.timeout(1_800)
def test_many_histories(capsys: pytest.CaptureFixture[str]) -> None:
    processes = min(2, os.cpu_count() or 1)
    plans = (*PLANS, *(name for name in SPLITS if name not in LONG))
    judge(survey(list(tasks(MANY, plans, first_seed=FEW)), processes), plans, capsys)
