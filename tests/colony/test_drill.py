"""Drills: who is killed, who is not, and that a loss would be seen."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from agents.keys import colony_of
from colony import drill
from colony.commands import drill as command
from colony.commands.base import Exit, Failure
from colony.drill import Outcome, Refused, Victim, hold, keys_for, kill, victims
from colony.errors import Unavailable
from placement import probe


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process that does nothing."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def member(process: subprocess.Popen[bytes], **fields: Any) -> dict[str, Any]:
    """Return how a view would list a process."""
    started_s = probe.process_started_s(process.pid)
    told = {"name": "h1", "id": "a", "incarnation": 1, "pid": process.pid, "started_s": started_s}
    return {**told, "machine": probe.machine_identity(), **fields}


def state(*members: dict[str, Any], **colonies: int) -> dict[str, Any]:
    """Return a cluster's state."""
    counts = {"count": 4, "healthy": 4, "settled": 2, "lost": 0, **colonies}
    view = {"generation": 0, "number": 7, "members": list(members)}
    return {"quorum": True, "view": view, "colonies": counts, "moves": []}


def test_a_process_is_killed_only_if_it_is_the_one_of_the_view(sleeper: subprocess.Popen[bytes]) -> None:
    (victim,) = victims(state(member(sleeper)), ["h1"])
    with pytest.raises(Refused, match="another by now"):
        kill([replace(victim, started_s=victim.started_s + 1.0)])
    assert sleeper.poll() is None, "a pid alone is nobody"
    kill([victim])
    assert sleeper.wait(20.0) == -9
    with pytest.raises(Refused):
        kill([victim])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"machine": "another"}, "not a process of this machine"),
        ({"machine": ""}, "not a process of this machine"),
        ({"started_s": 1.0}, "surely this host's"),
        ({"started_s": 0.0}, "surely this host's"),
        ({"pid": 0}, "surely this host's"),
    ],
)
def test_who_runs_elsewhere_or_is_not_surely_a_host_is_left_alone(
    sleeper: subprocess.Popen[bytes], fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(Refused, match=said):
        victims(state(member(sleeper, **fields)), ["h1"])
    with pytest.raises(Refused, match="nobody of that name"):
        victims(state(member(sleeper)), ["h2"])


def test_each_colony_has_a_key_of_the_drills_own() -> None:
    keys = keys_for("ab", 64)
    assert sorted(colony_of(key.encode(), 64) for key in keys) == list(range(64))
    assert all(key.startswith(drill.PREFIX) for key in keys)
    assert len(keys_for("ab", 4096)) == drill.COLONIES_MAX


class FakeCluster:
    """A store that may forget, and a view from which the killed are gone."""

    def __init__(self, *, forgets: int = 0, heals: bool = True, lost: int = 0) -> None:
        self.cells: dict[str, int] = {}
        self.forgets, self.heals, self.lost, self.is_dead = forgets, heals, lost, False

    def admin(self, name: str, arguments: Any) -> dict[str, Any]:
        if not self.is_dead:
            return state({"name": "h1", "id": "a", "incarnation": 1})
        return state({"name": "h2", "id": "b"}, healthy=4 if self.heals else 3, lost=self.lost)

    def set(self, key: str, value: int, ttl: float) -> int:
        self.cells[key] = value
        return 1

    def get(self, key: str, default: int) -> int:
        return self.cells.get(key, default) - self.forgets

    def delete(self, key: str) -> bool:
        return self.cells.pop(key, None) is not None


def held(monkeypatch: pytest.MonkeyPatch, cluster: FakeCluster, within_s: float = 2.0) -> Outcome:
    """Hold a drill at once on a cluster that is not there."""
    for name in ("WARM_S", "SETTLED_S", "POLL_S"):
        monkeypatch.setattr(drill, name, 0.02)

    def die(doomed: Any) -> None:
        cluster.is_dead = True

    monkeypatch.setattr(drill, "kill", die)
    return hold(cluster, [Victim("h1", "a", 1, 1, 1.0)], within_s, lambda line: None)


def test_a_drill_that_loses_nothing_passes_and_removes_its_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = FakeCluster()
    outcome = held(monkeypatch, cluster)
    assert outcome.status is Exit.DONE and outcome.acknowledged >= 4 and not cluster.cells
    assert outcome.lines()[-1] == "passed" and outcome.as_json()["passed"] is True


def test_a_loss_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = held(monkeypatch, FakeCluster(forgets=1))
    assert (outcome.status, outcome.lost) == (Exit.LOST, 4) and "lost" in outcome.lines()[-1]
    assert held(monkeypatch, FakeCluster(lost=1)).status is Exit.LOST, "the cluster names a colony"


def test_nobody_is_killed_where_nothing_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = FakeCluster()

    def unavailable(key: str, value: int, ttl: float) -> int:
        raise Unavailable("no quorum")

    cluster.set = unavailable  # type: ignore[method-assign]
    monkeypatch.setattr(drill, "CALL_S", 0.1)
    with pytest.raises(Refused, match="before anybody was killed"):
        held(monkeypatch, cluster)
    assert not cluster.is_dead


def test_copies_that_do_not_come_back_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = held(monkeypatch, FakeCluster(heals=False), within_s=0.2)
    assert outcome.status is Exit.FAILED and "not in time" in "\n".join(outcome.lines())


def test_cells_that_can_not_be_read_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = FakeCluster()

    def unavailable(key: str, default: int) -> int:
        raise Unavailable("nobody")

    monkeypatch.setattr(drill, "READ_S", 0.01)
    cluster.get = unavailable  # type: ignore[method-assign]
    outcome = held(monkeypatch, cluster)
    assert outcome.status is Exit.FAILED and outcome.unread == 4


def test_without_a_terminal_somebody_must_have_said_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(Failure, match="--yes"):
        command.confirmed("kill?")
