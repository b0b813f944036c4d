"""Nearness: the hosts that stand best apart, as comparing all pairs finds them."""

from __future__ import annotations

from random import Random

from placement.labels import Labels
from placement.nearness import Nearness
from placement.repulsion import Penalty, penalty_added
from placement.resources import Candidate


def test_it_finds_those_that_comparing_all_finds() -> None:
    chance = Random(3)
    for colony in range(60):
        hosts = [
            Candidate(f"h{n}", labels=Labels(*(chance.choice(("", "a", "b", f"c{n}")) for _ in range(3))))
            for n in range(chance.randint(4, 20))
        ]
        near = chance.sample(range(len(hosts)), chance.randint(0, 3))
        able = {place for place in range(len(hosts)) if chance.random() < 0.7} - set(near)
        nearness = Nearness([host.labels for host in hosts])
        found = nearness.apart(colony, near, able.__contains__, len(hosts))
        others = [hosts[place] for place in near]
        penalties = {place: penalty_added(hosts[place], others) for place in able}
        least = min(penalties.values(), default=Penalty(9))
        assert set(found) == {place for place, penalty in penalties.items() if penalty == least}
        assert nearness.least(near) <= least and nearness.kinds <= len(hosts)
        some = nearness.apart(colony, near, able.__contains__, 2)
        assert len(some) == min(2, len(found)) and set(some) <= set(found)
