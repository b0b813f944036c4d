"""Whom a member says that it suspects, and why."""

from __future__ import annotations

from tests.agents.assembly import founded


def test_a_suspect_is_noted_once_by_each_with_the_reason() -> None:
    world = founded("abc", drift=False)
    world.run(1.0)
    before = len(world.said("suspect"))
    world.stall("c")
    world.run(0.3)
    assert len(world.said("suspect")) == before
    world.run(0.7)
    noted = [(name, note.host, note.reason) for _, name, note in world.said("suspect")]
    assert sorted(noted) == [(name, world.site("c").id, "silent") for name in ("a", "b")]
    world = founded("abc")
    world.crash("c")
    world.run(0.3)
    assert {note.reason.partition(":")[0] for _, _, note in world.said("suspect")} == {"its link is down"}
