"""What members say to each other all the time."""

from __future__ import annotations

from agents.effects import LoadMeasured
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
