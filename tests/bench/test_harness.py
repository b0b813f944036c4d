"""The benchmarks' own arithmetic, and the Redis pair where there is one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import psutil
import pytest

from tests.bench.harness import (
    Duel,
    Plan,
    Row,
    Sample,
    compare,
    duel,
    hammer,
    hammer_async,
    median,
    render_row,
    summary,
)
from tests.bench.redis_pair import RedisMissing, RedisPair, require


def test_summary_orders_before_it_takes_percentiles() -> None:
    sample = summary([0.003, 0.001, 0.002], elapsed_s=0.5)
    assert (sample.rate, sample.p50_ms, sample.p99_ms) == (6.0, 2.0, 3.0)


def test_no_call_at_all_is_a_rate_of_nothing() -> None:
    assert summary([], 1.0).rate == 0.0


def test_a_bound_is_met_from_its_own_side() -> None:
    assert Row("rate", "", measured=2.0, must=1.5).verdict == "met"
    assert Row("rate", "", measured=1.0, must=1.5).verdict == "MISSED"
    assert Row("pause", "", measured=1.0, must=1.5, at_most=True).verdict == "met"
    assert Row("pause", "", measured=2.0, must=1.5, at_most=True).verdict == "MISSED"
    assert Row("no bound", "", measured=2.0).verdict == ""


def test_median_is_taken_of_each_figure_by_itself() -> None:
    samples = [Sample(1.0, 9.0, 5.0), Sample(2.0, 8.0, 7.0), Sample(3.0, 7.0, 6.0)]
    assert median(samples) == Sample(2.0, 8.0, 6.0)


def test_sides_take_turns() -> None:
    turns: list[str] = []

    def side(name: str) -> Callable[[], Sample]:
        def play() -> Sample:
            turns.append(name)
            return Sample(1.0, 1.0, 1.0)

        return play

    duel(Plan(rounds=2), side("A"), side("B"))
    assert turns == ["A", "B", "A", "B"]


def test_a_duel_becomes_a_row_with_its_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    plan = Plan()
    rounds = [(300.0, 100.0), (40.0, 10.0), (900.0, 450.0)]
    fought = Duel(tuple((Sample(mine, 1.0, 2.0), Sample(other, 1.0, 2.0)) for mine, other in rounds))
    compare(plan, "writes", fought, must=2.5)
    assert (plan.rows[0].measured, plan.rows[0].spread) == (3.0, (2.0, 4.0))
    assert capsys.readouterr().out.rstrip() == render_row(plan.rows[0])


def test_threads_share_no_number_and_a_failure_ends_the_round() -> None:
    seen: list[int] = []

    def call(number: int) -> None:
        seen.append(number)
        time.sleep(0.001)

    assert hammer([call, call], 0.05).rate > 0
    assert len(seen) == len(set(seen))

    def broken(number: int) -> None:
        raise ValueError(number)

    with pytest.raises(ValueError):
        hammer([broken], 0.05)


def test_tasks_share_no_number() -> None:
    seen: list[int] = []

    async def call(number: int) -> None:
        seen.append(number)
        await asyncio.sleep(0.001)

    assert asyncio.run(hammer_async([call, call], 0.05)).rate > 0
    assert len(seen) == len(set(seen))


@pytest.mark.slow
def test_a_redis_pair_replicates_and_leaves_nothing_behind() -> None:
    try:
        require()
    except RedisMissing as error:
        pytest.skip(str(error))
    with RedisPair() as redis:
        pids = redis.pids()
        redis.setter(8)(1)
        redis.counter(8)(1)
        redis.mixer(8)(5)
        assert redis.client(redis.replica_port).exists("session:00000001", "count:00000001") == 2
    assert not any(psutil.pid_exists(pid) for pid in pids)
