"""Why: every host gets words, whether it holds the colony or not."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings

from placement.labels import Level
from placement.peers import Peers
from placement.resources import Candidate
from placement.why import explain
from tests.placement.worlds import World, host, hosts_on, worlds

HOSTS = hosts_on("b1", "b2", "b1", "b2")


def words(peers: Peers, hosts: list[Candidate], hard: Level = Level.HOST) -> dict[str, str]:
    return {verdict.name: str(verdict) for verdict in explain(peers, hosts, bytes_wanted=5, hard=hard)}


def test_holders_say_what_they_hold_and_how_they_stand() -> None:
    said = words(Peers(1, ("h1",), ("h2",)), HOSTS)
    assert said["h1"].startswith("h1: holds the primary; may share a rack with h2 (label unknown)")
    assert said["h2"].startswith("h2: holds a secondary")


def test_others_say_why_not() -> None:
    full = host("h5", "b3", bytes_max=10, bytes_used=9)
    leaver = host("h6", "b4", accepts=False, leaving=True)
    said = words(Peers(1, ("h1",), ("h2",)), [*HOSTS, full, leaver])
    assert said["h3"].endswith("could hold it as well; a move would not gain enough")
    assert said["h5"] == "h5: is full (1 B of room, 5 B wanted)"
    assert said["h6"] == "h6: is leaving"


def test_worse_spread_and_hard_levels_are_named() -> None:
    hosts = [host("h1", "b1"), host("h2", "b2"), host("h3", "b3"), host("h4")]
    said = words(Peers(1, ("h1",), ("h2", "h3")), hosts)
    assert "a move to it would be worse for repulsion (3 pairs share a rack now)" in said["h4"]
    said = words(Peers(1, ("h1",), ("h2",)), hosts_on("b1", "b1", "b1"), Level.BOX)
    assert "would share a box, which is forbidden" in said["h3"]


def test_a_move_to_come_is_announced_at_both_ends() -> None:
    said = words(Peers(1, ("h1",), ("h3",)), HOSTS[:3])
    assert "would give up its copy: apart is safer: 1 pair shares a box now" in said["h3"]
    assert said["h2"].startswith("h2: would get a copy: apart is safer")
    led = [replace(one, primaries=9 if one.id == "h1" else 0) for one in HOSTS[:2]]
    assert "would give up its role: h1 leads 9 colonies, h2 0" in words(Peers(1, ("h1",), ("h2",)), led)["h1"]


def test_a_leaving_holder_says_so() -> None:
    leaver = host("h1", "b1", accepts=False, leaving=True)
    assert "is leaving: its copy will move" in words(Peers(1, ("h1",), ("h2",)), [leaver, *HOSTS[1:]])["h1"]


@settings(max_examples=30, deadline=None)
@given(worlds())
def test_nobody_is_left_without_words(world: World) -> None:
    for peers in (*world.peers.values(), Peers(99)):
        said = explain(peers, world.candidates())
        assert [verdict.host for verdict in said] == [one.id for one in world.hosts]
        assert all(verdict.vetoes or verdict.terms for verdict in said)
