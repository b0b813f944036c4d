"""Rehearsals: what the agents would do, told before they do it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from colony.commands import simulate
from colony.commands.base import Call, Exit, Failure
from colony.rehearsal import Actor, NoRest, Outcome, Rehearsal, Role, placed
from placement.labels import Labels
from tests.colony.asked import Asked

pytestmark = pytest.mark.slow
MB = 1 << 20


def hosts(count: int, boxes: int = 0) -> list[Actor]:
    return [Actor(f"h{n}", Labels(box=f"b{n % (boxes or count)}")) for n in range(count)]


def rehearsal(
    count: int = 5, *, boxes: int = 0, colonies: int = 20, peers: int = 2, **more: Any
) -> Rehearsal:
    actors = hosts(count, boxes)
    return Rehearsal(actors, placed(actors, [MB] * colonies, peers), peers=peers, **more)


def kinds(outcome: Outcome) -> Counter[str]:
    return Counter(move.kind for move in outcome.moves)


def test_a_stage_stands_as_it_was_set() -> None:
    actors = hosts(4)
    roles = placed(actors, [MB] * 16, 2)
    stage = Rehearsal(actors, roles, peers=2)
    assert stage.unrest == ()
    assert stage.placement() == [role.hosts for role in roles]
    assert (stage.settled, stage.bytes_used) == (2, 16 * MB)


def test_a_death_promotes_and_clones_what_lay_there_and_nothing_is_lost() -> None:
    stage = rehearsal()
    there = [place for place in stage.placement() if "h1" in place]
    led = [place for place in there if place[0] == "h1"]
    outcome = stage.happen("kill h1")
    assert kinds(outcome)["gone"] >= len(there)
    assert kinds(outcome)["copy"] == kinds(outcome)["gone"]
    assert kinds(outcome)["primary"] >= len(led)
    assert outcome.bytes_sent == kinds(outcome)["copy"] * MB
    assert (outcome.lost, outcome.settled) == ((), 2)
    assert all("h1" not in place and len(place) == 2 for place in stage.placement())


def test_a_box_with_every_peer_of_a_colony_takes_it_along() -> None:
    actors = [Actor("h0", Labels(box="b0")), Actor("h1", Labels(box="b0")), *hosts(5)[2:]]
    roles = [Role(("h0", "h1"), MB), Role(("h2", "h3"), MB), Role(("h3", "h4"), MB)]
    stage = Rehearsal(actors, roles, peers=2)
    assert stage.unrest, "the first colony has parted at once"
    apart = stage.happen("kill box=b0")
    assert apart.lost == ()
    alone = Rehearsal(hosts(3), [Role(("h0",), MB), Role(("h1",), MB)], peers=1)
    assert alone.happen("kill h0").lost == (0,)


def test_a_drained_host_is_empty_and_no_colony_was_at_risk() -> None:
    stage = rehearsal()
    outcome = stage.happen("drain h2")
    assert outcome.at_risk == 0
    assert "h2" not in {host for place in stage.placement() for host in place}
    assert [actor.name for actor in stage.hosts] == ["h0", "h1", "h3", "h4"]


def test_a_new_host_gets_its_share() -> None:
    stage = rehearsal(4, colonies=24)
    outcome = stage.happen("add 1 box=b9")
    got = [move for move in outcome.moves if move.kind == "copy" and move.host == "new-5"]
    assert len(got) in range(7, 13), "about a fifth of 48 copies"


def test_hosts_that_join_or_leave_together_are_one_wave() -> None:
    stage = rehearsal(6, colonies=24)
    joined = stage.happen("add 3 box=b9")
    assert joined.views == 2, "they enter by one view, and are ACTIVE by another"
    left = stage.happen("drain box=b9")
    assert left.at_risk == 0
    assert 2 <= left.views <= 1 + 3, "one view has all of them leave; each is dropped once it is empty"
    assert {move.host for move in left.moves if move.kind == "copy"} <= {f"h{n}" for n in range(6)}


def test_another_population_is_another_stage() -> None:
    stage = rehearsal()
    outcome = stage.happen("peers 3")
    assert (outcome.settled, stage.settled) == (3, 3)
    assert all(len(place) == 3 for place in stage.placement())


def test_the_same_stage_and_seed_give_the_same_outcome() -> None:
    assert rehearsal(seed=1).happen("kill h1") == rehearsal(seed=1).happen("kill h1")


def test_more_bytes_take_longer() -> None:
    slow = rehearsal(bulk_bytes_s=3e5).happen("kill h1").took_s
    assert slow > rehearsal(bulk_bytes_s=1e8).happen("kill h1").took_s + 1.0


def test_a_cluster_without_a_majority_does_not_rest_and_says_why() -> None:
    with pytest.raises(NoRest, match="no majority"):
        rehearsal(2).happen("kill h0")
    with pytest.raises(NoRest, match="no host is left"):
        rehearsal(1, peers=1).happen("kill h0")


@pytest.mark.parametrize(
    "what", ["sleep 3", "kill", "kill h9", "kill box=b9", "add", "add x", "peers 99", "drain floor=1"]
)
def test_what_can_not_happen_is_refused_and_nothing_happens(what: str) -> None:
    stage = rehearsal(3, colonies=3)
    before = stage.placement()
    with pytest.raises(ValueError, match=r"say|no host|no label"):
        stage.happen(what)
    assert stage.placement() == before


@pytest.mark.parametrize("roles", [[Role(())], [Role(("h9",))], [Role(("h0", "h0"))]])
def test_a_stage_that_makes_no_sense_is_refused(roles: list[Role]) -> None:
    with pytest.raises(ValueError, match="colony 0 can't live on"):
        Rehearsal(hosts(2), roles, peers=1)


# -- the command ----------------------------------------------------------------

STATUS = {
    "view": {
        "members": [
            {"name": f"h{n}", "id": f"{n:032x}", "status": "ACTIVE", "labels": {"box": f"b{n}"}, "bytes": MB}
            for n in range(1, 4)
        ]
    },
    "colonies": {"wanted": 2},
    "table": [
        {"colony": 0, "primary": "h1", "secondaries": ["h2"], "bytes": MB},
        {"colony": 1, "primary": "h2", "secondaries": ["h3"], "bytes": MB},
        {"colony": 2, "primary": "h3", "secondaries": ["h1"], "bytes": MB},
    ],
}
VALUES: dict[str, Any] = {
    "file": None, "from_live": False, "do": [], "moves": False, "svg": None, "hosts": 3, "boxes": 0,
    "zones": 1,
    "peers": 2, "colonies": 6, "bytes": 0, "bandwidth": 1 << 27, "seed": 0, "json": True, "connect": ["tcp://nowhere"],
}  # fmt: skip


def call(**values: Any) -> Call:
    return Call({**VALUES, **values}, lambda *a, **k: Asked(STATUS))


def test_a_live_cluster_is_played_from_its_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "plan.svg"
    assert simulate.simulate(call(from_live=True, do=["kill h1"], svg=str(path))) == Exit.DONE
    picture = path.read_text()
    assert "h1 goes" in picture and picture.count("<path") == 2 and "kill h1: " in picture
    answer = json.loads(capsys.readouterr().out)
    assert answer["unrest"] == 0
    moves = {(move["kind"], move["colony"], move["host"]) for move in answer["outcomes"][0]["moves"]}
    assert {("gone", 0, "h1"), ("primary", 0, "h2"), ("copy", 0, "h3"), ("copy", 2, "h2")} <= moves


def test_a_loss_is_named_and_is_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate.simulate(call(peers=1, do=["kill h1"], json=False)) == Exit.LOST
    told = capsys.readouterr()
    assert "LOST: " in told.out
    assert "would be lost" in told.err


def test_a_file_sets_the_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "stage.toml"
    path.write_text(
        'peers = 2\n[[host]]\nname = "a"\nlabels = "box=x"\n[[host]]\nname = "b"\nlabels = "box=y"\n'
        '[[host]]\nname = "c"\n[[colony]]\npeers = ["a", "b"]\nbytes = "1M"\n'
    )
    assert simulate.simulate(call(file=str(path), do=["drain a"], json=False, moves=True)) == Exit.DONE
    assert "colony 0: a copy on c" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("hosts = 3", "'hosts' is unknown"),
        ("[[host]]\ncpu = 1", "a host has a name"),
        ("peers = 0", "peers is a whole number"),
        ("host = 1", "list of tables"),
        ("[[host]]\nname = 'a'\nlabels = 'floor=1'", "no label"),
        ("nonsense", "is no TOML"),
        ("", "needs hosts"),
    ],
)
def test_a_file_that_is_of_no_use_is_refused_in_one_line(
    tmp_path: Path, content: str, complaint: str
) -> None:
    path = tmp_path / "stage.toml"
    path.write_text(content)
    with pytest.raises(Failure, match=complaint):
        simulate.simulate(call(file=str(path)))


@pytest.mark.parametrize(("what", "fair"), [("add 1 box=b9", 64 * 2 / 9), ("drain h3", 16), ("kill h3", 16)])
def test_hardly_more_copies_move_than_must(what: str, fair: float) -> None:
    """Many primaries see the same crowded host at once; they must not all leave it."""
    outcome = rehearsal(8, colonies=64).happen(what)
    assert kinds(outcome)["copy"] <= 1.6 * fair
    assert outcome.took_s < 20


def test_when_a_second_box_comes_peers_that_shared_one_part_by_themselves() -> None:
    actors = [Actor(f"h{n}", Labels(box="b1")) for n in range(3)]
    stage = Rehearsal(actors, placed(actors, [1 << 20] * 24, 2), peers=2)
    outcome = stage.happen("add 2 box=b2")
    box = {actor.name: actor.labels.box for actor in stage.hosts}
    assert all({box[host] for host in hosts} == {"b1", "b2"} for hosts in stage.placement())
    assert outcome.took_s < 60.0 and not outcome.lost and not outcome.at_risk
