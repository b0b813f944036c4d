"""Real hosts die by SIGKILL at each step of a cell's move: nothing is lost, nothing done twice."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

import colony
from agents.keys import colony_of
from agents.messages.replication import (
    ARRIVING,
    AWAY,
    DEPARTING,
    DROP,
    HERE,
    HOUSED,
    LEAVING,
    RECALLING,
    SHIFT,
    TAKE,
)
from tests.real.hosts import PATIENCE_S, Hosts, until
from tests.real.mortal_host import sign

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.timeout(180)]

COLONIES = 8
STEPS = {
    "departing": (DEPARTING, SHIFT),
    "arriving": (ARRIVING, TAKE),
    "away": (AWAY, DROP),
    "housed": (HOUSED, SHIFT),
    "recalling": (RECALLING, SHIFT),
    "leaving": (LEAVING, SHIFT),
    "at home": (HERE, TAKE),
    "its stay is over": (HERE, DROP),
}


class Mortals(Hosts):
    """Hosts that die where a sign says so."""

    def _command(self, name: str, arguments: list[str]) -> list[str]:
        return [sys.executable, "-m", "tests.real.mortal_host", self.folder.name, "host", *arguments]

    def dead(self) -> list[str]:
        """Return who has died."""
        return [name for name, process in self.processes.items() if not process.is_alive]


def a_key(home: int) -> str:
    return next(f"cell{n}" for n in range(1000) if colony_of(f"cell{n}".encode(), COLONIES) == home)


def moved_until_somebody_dies(hosts: Mortals, store: colony.Store, key: str, others: list[str]) -> str:
    """Move a cell to and fro until a host has died of it; return which one."""
    end_s = time.monotonic() + PATIENCE_S
    turn = 0
    while not hosts.dead():
        assert time.monotonic() < end_s, "nobody has died: the step was not reached"
        turn += 1
        try:
            store.colocate(key, others[turn % len(others)], timeout=2.0)
        except colony.ColonyError:
            pass  # its primary has just died
    (dead,) = hosts.dead()
    return dead


def test_kill_9_at_each_step_of_a_move() -> None:
    with Mortals(3, boxes=3, peers=2, colonies=COLONIES) as hosts:
        key, others = a_key(1), [a_key(5), a_key(3)]
        with colony.connect(hosts.addresses, timeout=20.0) as store:
            store[key] = []
            everything = sorted({key, *others})
            for other in others:
                store.add(other, "rests")
            versions = [0]
            for number, (step, (state, kind)) in enumerate(STEPS.items()):
                store.mutate(key, lambda done, word: [*done, word], f"before {step}")
                sign(Path(hosts.folder.name), state, kind).touch()
                dead = moved_until_somebody_dies(hosts, store, key, others)
                try:
                    store.mutate(key, lambda done, word: [*done, word], f"after {step}")
                except colony.ColonyError as error:
                    pytest.fail(f"{step}: {error}; lost: {hosts.status()['lost']}\n{hosts.logs()}")
                entry = store.entry(key)
                assert entry is not None and len(entry.value) == 2 * number + 2, entry
                versions.append(entry.version)
                assert sorted(store.keys()) == everything, "each cell is listed once"
                assert store.locate(key) in (1, 3, 5)
                hosts.again(dead)
                hosts.healthy()
            whole = [f"{when} {step}" for step in STEPS for when in ("before", "after")]
            assert store[key] == whole, "each change is there, once, in order"
            assert versions == sorted(set(versions))
            assert store.delete(key) and key not in store
            until(lambda: store.locate(key) == 1, "home has forgotten that it was away")
