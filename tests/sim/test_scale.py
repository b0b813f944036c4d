"""Recovery, in small: `python -m tests.sim.scale` is the same with a thousand hosts."""

from __future__ import annotations

import pytest

from tests.sim.scale import PEERS, built, recovery


@pytest.mark.sim
def test_when_half_of_all_hosts_die_what_has_a_copy_left_gets_its_peers_again() -> None:
    world = built(24, 8 << 20)
    before = [frozenset(peers.holders) for peers in world.places()]
    told = recovery(world, 12)
    here = frozenset(world.view.ids)
    assert told.lost == sum(not holders & here for holders in before), "those of which all copies died"
    assert 0.4 * told.lost_expected <= told.lost <= 2 * told.lost_expected, told.lost_expected
    assert not told.still_missing and told.seconds < 60.0
    assert told.missing <= told.copies <= 1.25 * told.missing, "each is made once; some moved for evenness"
    assert told.bytes_sent == told.copies * (8 << 20)
    assert {len(peers.holders) for peers in world.places()} <= {0, PEERS}
