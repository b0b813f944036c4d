"""Balance: means that are carried on say the same as means made anew."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from placement.balance import Means
from placement.resources import COPY_BYTES, Candidate


def test_after_a_move_the_means_are_those_that_looking_at_all_gives() -> None:
    chance = Random(5)
    hosts = [Candidate(f"h{n}", copies=chance.randint(4, 12)) for n in range(12)]
    means = Means.of(hosts)
    assert means.crowded and means.hungry
    for _ in range(200):
        source, target = chance.sample(range(12), 2)
        moved = chance.randint(0, hosts[source].copies)
        hosts[source] = replace(hosts[source], copies=hosts[source].copies - moved)
        hosts[target] = replace(hosts[target], copies=hosts[target].copies + moved)
        means, anew = means.after(hosts[source], hosts[target]), Means.of(hosts, means)
        assert means == anew
    assert means.weight == sum(host.copies for host in hosts) * COPY_BYTES / 12
