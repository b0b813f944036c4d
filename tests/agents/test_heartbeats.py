"""What members say to each other all the time."""

from __future__ import annotations

import pytest

from agents.effects import FreezeOrdered, LoadMeasured
from agents.messages.membership import Load
from tests.agents.assembly import founded


def test_loads_and_digests_of_others_are_known() -> None:
    world = founded("abc")
    world.tell("b", LoadMeasured(Load(cpu=0.5)))
    world.member("b").heartbeats.digest = 42
    world.run(0.5)
    assert world.member("a").loads[world.site("b").id].cpu == 0.5
    assert world.member("c").peer_digests[world.site("b").id] == 42


def test_a_load_is_said_once_and_a_digest_always() -> None:
    world = founded("ab")
    beats, now_s = world.member("a").heartbeats, world.clock(world.site("a"))
    beats.on_load(LoadMeasured(Load(cpu=0.5)), now_s)
    beats.digest = 7
    said = beats.words(now_s)
    assert said.load is not None and (said.load.cpu, said.digest, said.tag) == (0.5, 7, "")
    beats.beat(0.1, now_s)
    said = beats.words(now_s, "t")
    assert (said.load, said.digest, said.tag) == (None, 7, "t") and beats.due_s == now_s + 0.1


@pytest.mark.parametrize(("seed", "gap_s"), [(1, 0.08), (2, 0.08), (4, 0.05), (5, 0.2), (6, 0.2), (11, 0.1)])
def test_views_in_a_row_and_late_ticks_cost_nobody_its_lease(seed: int, gap_s: float) -> None:
    world = founded("abcd" if seed > 5 else "abc", seed=seed)
    world.run(1.0)
    world.tick_s = 0.09  # as at rest: heartbeats are said at every other moment, or about so
    began_s, before, is_frozen = world.now_s, len(world.views()), False
    while world.now_s < began_s + 3.0:
        is_frozen = not is_frozen
        world.tell("a", FreezeOrdered(is_frozen))
        lapsed = world.run(gap_s, lambda: not all(world.held(site.name) for site in world.running()))
        assert not lapsed, f"after {world.now_s - began_s:.2f} s"
    assert len(world.views()) > before + 5
