"""Figures that hosts tell of themselves."""

from __future__ import annotations

from agents.effects import LoadMeasured
from agents.messages.client import Put
from agents.messages.membership import Load
from agents.pulse import Pulse
from tests.agents.house import founded, key_of


def test_little_memory_is_told_at_once_and_more_when_it_has_lasted() -> None:
    pulse, total = Pulse(), 1 << 30
    free = [
        pulse.steadied(Load(memory_free=free, memory_total=total), [], float(at_s)).steady_free / total
        for at_s, free in enumerate([total // 2, total // 2, total // 16, total // 2, *[total // 2] * 30])
    ]
    assert free[1] == 0.5 and free[2] == 1 / 16, "at once"
    assert 1 / 16 < free[3] < 0.2 and free[-1] > 0.45, "by and by"


def test_the_load_that_is_told_counts_what_is_here() -> None:
    house = founded("ab", colonies=2)
    house.ask(house.leader(0), Put(1, b"lane", 1, key_of(house, 0), b"v" * 100))
    house.run()
    house.tell("a", LoadMeasured(Load(cpu=0.5)))
    load = house.members["a"].told(LoadMeasured)[-1].load
    assert (load.cpu, load.primaries + load.secondaries, load.cells) == (0.5, 2, 1)
    assert load.bytes_used > 100 and load.uptime_s > 0
