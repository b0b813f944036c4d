"""What operators are answered, and what their orders become."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from agents.admin import COMMANDS
from agents.effects import EvictOrdered, InitOrdered, LeaveOrdered, ProcessGone, RecoverOrdered
from agents.keys import colony_of
from agents.messages.client import BAD, DENIED, OK, UNAVAILABLE, Admin, Put
from agents.surroundings import Limits
from agents.views import Charter, Status
from placement.settle import Settled
from tests.agents.house import House, founded


def asked(house: House, command: str, name: str = "a", **arguments: Any) -> tuple[int, Any]:
    """Return the code and the answer (or the text of the refusal)."""
    house.number += 1
    reply = house.ask(name, Admin(10_000 + house.number, command, arguments))
    assert reply is not None, "an operator is answered at once"
    return reply.code, json.loads(reply.text) if reply.code == OK else reply.text


def test_status_shows_the_view_the_colonies_and_that_all_is_well() -> None:
    house = founded(colonies=6)
    code, answer = asked(house, "status", colonies=True)
    assert code == OK and answer["quorum"] and answer["safe"]
    assert [m["name"] for m in answer["view"]["members"]] == ["a", "b", "c"]
    counts = answer["colonies"]
    assert (counts["count"], counts["healthy"], counts["degraded"], counts["lost"]) == (6, 6, 0, 0)
    assert sum(m["primaries"] for m in answer["view"]["members"]) == 6
    assert [row["primary"] for row in answer["table"]] == [house.leader(colony) for colony in range(6)]
    assert answer["moves"] == []


def test_status_of_a_host_without_a_cluster_is_no_error() -> None:
    code, answer = asked(House("a"), "status", colonies=True)
    assert code == OK and not answer["safe"] and answer["view"]["members"] == []


def test_status_shows_what_is_lost_and_what_is_short() -> None:
    house = founded("abc", colonies=6, peers=1)
    house.kill("c")
    house.install("ab")
    house.run(0.2)
    _, answer = asked(house, "status")
    assert answer["colonies"]["lost"] == 2


def test_before_a_host_has_settled_on_a_number_one_peer_is_not_healthy() -> None:
    house = House("abc", colonies=6, peers=2)
    house.install("abc")
    house.hosts["a"].governor.settled = Settled(0)  # as it is until it has looked at its colonies
    _, answer = asked(house, "status")
    assert answer["colonies"]["settled"] == 0 and answer["colonies"]["healthy"] == 0


def test_a_clone_under_way_is_shown_where_it_starts_and_elsewhere() -> None:
    house = House("a", colonies=1)
    house.install("a")
    house.run(0.2)
    for i in range(40):
        house.ask("a", Put(i, b"l", i + 1, b"%d" % i, b"x" * 50_000))
    house.add("b")
    house.install("ab")
    while not house.hosts["a"].directory.copies["b" * 32]:
        house.run(0.05, most=1)
    _, answer = asked(house, "status")
    (move,) = answer["moves"]
    assert (move["kind"], move["from"], move["to"]) == ("clone", "a", "b") and "reason" in move


def test_moves_say_whose_they_are_and_what_they_wait_for_and_who_joins() -> None:
    house = founded("a", colonies=3)
    assert asked(house, "moves")[1]["moves"] == [] and asked(house, "moves")[1]["wave"] is None
    house.add("b")
    house.install("ab", b={"status": Status.JOINING})
    while not house.hosts["a"].governor.needy:
        house.run(0.05, most=1)
    house.run(0.05, most=1)
    _, answer = asked(house, "moves")
    assert answer["wave"] == {"joining": ["b"], "leaving": [], "arrived": 0, "share": 3, "aboard": 0}
    move = answer["moves"][0]
    assert (move["kind"], move["urgent"], move["owner"], move["from"], move["to"]) == (
        "clone", True, "a", "a", "b"
    )  # fmt: skip
    assert 0 < move["deadline_s"] <= 5 and "word that it takes it" in move["waits_for"] and move["reason"]
    house.run()
    assert asked(house, "moves")[1]["moves"] == [] and asked(house, "status")[1]["wave"]["arrived"] == 3


def test_what_waits_says_for_what() -> None:
    house = founded("ab", colonies=4, peers=2, limits=Limits(clones_max=1))
    name = house.leader(0)
    governor = house.hosts[name].governor
    for colony in range(4):
        machine = house.hosts[name].colonies.get(colony)
        if machine is not None and machine.primary is not None:
            machine.primary.ack_set.clear()
            governor._dirty.add(colony)
    house.hosts[name].limits = replace(house.hosts[name].limits, clones_max=0)
    code, reply = asked(house, "moves", name)
    waits = [move["waits_for"] for move in reply["moves"] if move["kind"] == "wait"]
    assert code == OK and waits and all("clones at a time" in text for text in waits)


def test_where_names_the_colony_of_a_key_and_its_hosts() -> None:
    house = founded(colonies=6)
    code, answer = asked(house, "where", key="user:7")
    colony = colony_of(b"user:7", 6)
    assert (code, answer["colony"], answer["primary"]) == (OK, colony, house.leader(colony))
    assert sorted([answer["primary"], *answer["secondaries"]]) == sorted(house.holders(colony))
    assert asked(House("a"), "where", key="k")[0] == UNAVAILABLE


def test_why_explains_every_host_and_why_not_one() -> None:
    house = founded()
    _, answer = asked(house, "why", colony=1)
    assert {verdict["host"] for verdict in answer["hosts"]} == {"a", "b", "c"}
    outside = "abc".replace(house.holders(1)[0], "").replace(house.holders(1)[1], "")
    _, answer = asked(house, "why", colony=1, not_host=outside)
    assert [verdict["host"] for verdict in answer["hosts"]] == [outside]
    assert asked(house, "why", colony=99)[0] == BAD and asked(house, "why", colony=1, not_host="x")[0] == BAD


def test_why_says_which_term_keeps_a_colony_away_what_was_decided_and_what_would_be_now() -> None:
    house = founded(colonies=3)
    house.run(3.0)
    leader = house.leader(1)
    outside = "abc".replace(house.holders(1)[0], "").replace(house.holders(1)[1], "")
    _, answer = asked(house, "why", leader, colony=1, not_host=outside)
    held = answer["not"]
    assert held["host"] == outside and held["against"] in "abc" and held["term"] and held["words"]
    assert held["by"] == held["mine"] - held["theirs"]
    decided = [one["decided"] for one in answer["decisions"]]
    assert decided[0] == "settle" and "clone" in decided
    clone = answer["decisions"][decided.index("clone")]
    assert clone["chosen"] in "abc" and clone["inputs"]["peers"] == [leader] and clone["because"]
    assert {v["host"] for one in answer["decisions"] for v in one["candidates"]} <= {outside}
    assert answer["next"]["would"] == "stay" and answer["next"]["because"]
    elsewhere = next(name for name in "abc" if name != leader)
    assert asked(house, "why", elsewhere, colony=1)[1]["next"] is None, "who leads it knows"


def test_safe_to_kill_counts_copies_and_the_majority() -> None:
    house = founded(colonies=6)
    code, one = asked(house, "safe_to_kill", hosts=["a"])
    assert code == OK and one["safe"] and (one["lost"], one["reasons"], one["hosts"]) == ([], [], ["a"])
    _, two = asked(house, "safe_to_kill", hosts=["a", "b"])
    assert not two["safe"] and two["lost"] and "majority" in " ".join(two["reasons"])
    _, box = asked(house, "safe_to_kill", box="b")
    assert box["safe"]
    assert asked(house, "safe_to_kill", hosts=["box=b"])[1] == box
    assert asked(house, "safe_to_kill", hosts=["rack=b"])[0] == BAD, "they stand in no rack"
    assert asked(house, "safe_to_kill")[0] == BAD and asked(house, "safe_to_kill", hosts=["x"])[0] == BAD


def test_init_is_passed_on_once_and_refused_where_a_cluster_is() -> None:
    house = House("a")
    assert asked(house, "init", colonies=16, peers=3) == (OK, {"founding": True})
    assert house.members["a"].told(InitOrdered) == [InitOrdered(Charter(16, 3))]
    assert asked(founded(), "init")[0] == DENIED


def test_leave_marks_the_named_or_this_one_and_never_all() -> None:
    house = founded()
    assert asked(house, "leave") == (OK, {"leaving": ["a"]})
    assert asked(house, "leave", hosts=["b", "c"]) == (OK, {"leaving": ["b", "c"]})
    left = [event.host for event in house.members["a"].told(LeaveOrdered)]
    assert left == ["a" * 32, "b" * 32, "c" * 32]
    assert asked(house, "leave", hosts=["a", "b", "c"])[0] == DENIED
    assert asked(house, "leave", hosts=["nobody"])[0] == BAD


def test_orders_that_destroy_something_must_be_forced() -> None:
    house = founded()
    assert asked(house, "evict", host="b")[0] == DENIED
    assert asked(house, "evict", host="b", force=True)[0] == OK
    assert house.members["a"].told(EvictOrdered) == [EvictOrdered("b" * 32)]
    assert asked(house, "recover")[0] == DENIED
    assert asked(house, "recover", force=True)[0] == DENIED, "quorum is held"
    house.members["a"].quorum.is_held = False
    assert asked(house, "recover", force=True)[0] == OK
    assert len(house.members["a"].told(RecoverOrdered)) == 1


def test_an_unknown_command_is_told_which_there_are() -> None:
    code, text = asked(founded(), "destroy")
    assert code == BAD and all(command in text for command in COMMANDS)


@pytest.mark.parametrize("command", sorted(COMMANDS))
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"colony": "x", "hosts": 5, "key": None, "host": [], "box": {}, "colonies": "many", "force": True},
        {
            "colony": float("inf"),
            "hosts": [{}],
            "key": 7,
            "host": None,
            "colonies": float("inf"),
            "peers": -1,
        },
        {"colony": -1, "hosts": {"a": 1}, "key": "", "host": "a" * 99, "colonies": 1 << 70, "force": 1},
        {"colony": None, "hosts": "abc", "not_host": [], "host": 3, "colonies": float("nan")},
    ],
)
@pytest.mark.parametrize("names", ["", "abc"])
def test_whatever_an_operator_sends_is_answered(command: str, arguments: dict[str, Any], names: str) -> None:
    house = founded(names) if names else House("a")
    code, answer = asked(house, command, **arguments)
    assert code == OK or isinstance(answer, str)


def test_safe_to_kill_says_what_is_on_the_move_and_who_is_silent() -> None:
    house = founded("abcd", colonies=8)
    leader, holder = house.leader(0), next(h for h in house.holders(0) if h != house.leader(0))
    _, calm = asked(house, "safe_to_kill", name=leader, hosts=[holder])
    assert calm["safe"]
    primary = house.hosts[leader].colonies[0].primary
    assert primary is not None
    primary.transfers.retiring[holder * 32] = house.now_s
    _, moving = asked(house, "safe_to_kill", name=leader, hosts=[leader])
    assert moving["moving"] == [0] and "on the move" in " ".join(moving["reasons"])
    assert 0 in moving["lost"], "the other copy may be gone already: it was asked to go"
    primary.transfers.retiring.clear()
    other = next(name for name in "abcd" if name not in house.holders(0))
    house.members[leader].dead = {other * 32}
    _, silent = asked(house, "safe_to_kill", name=leader, hosts=[holder])
    assert not silent["safe"] and f"{other} is silent" in " ".join(silent["reasons"])
    assert silent["quorum"] == {
        "members": 4,
        "stay": 2,
        "needed": 3,
        "why": "2 of 4 members are no majority: nothing would be served (1 more is silent already)",
    }


def with_process(house: House, name: str, **process: Any) -> None:
    """Give a member a process, as every host's view lists it."""
    for scripted in house.members.values():
        view = scripted.view
        assert view is not None
        listed = tuple(msgspec.structs.replace(m, **process) if m.name == name else m for m in view.members)
        scripted.view = msgspec.structs.replace(view, members=listed)


def test_a_death_is_attested_of_the_process_that_the_view_lists() -> None:
    house = founded()
    with_process(house, "c", machine="m", pid=7, started_s=12.5)
    seen: dict[str, Any] = {"machine": "m", "pid": 7, "started_s": 12.5, "by": "s1", "reason": "signal 9"}
    code, answer = asked(house, "attest", host="c", **seen)
    assert (code, answer) == (OK, {"attested": True, "incarnation": 1})
    (gone,) = house.members["a"].told(ProcessGone)
    assert (gone.host, gone.incarnation) == (
        "c" * 32,
        1,
    ) and "s1 saw its process end: signal 9" in gone.reason
    for other in ({"machine": "n"}, {"pid": 8}, {"started_s": 12.51}, {"machine": ""}, {"pid": 0}):
        assert asked(house, "attest", host="c", **seen | other)[0] == DENIED, other
    assert "pid 7 of incarnation 1" in asked(house, "attest", host="c", **seen | {"pid": 8})[1]
    assert asked(house, "attest", "c", host="c", **seen)[0] == DENIED, "it is alive: it answers"
    assert asked(house, "attest", host="x", **seen)[1] == {
        "attested": False,
        "why": "x is in the view no more",
    }
    assert asked(house, "attest", host="c", machine="m", pid="seven", started_s=1.0)[0] == BAD
    assert asked(House("a"), "attest", host="c", **seen)[0] == UNAVAILABLE
    assert len(house.members["a"].told(ProcessGone)) == 1


def test_what_supervisors_do_is_noted_and_nothing_else() -> None:
    house = founded()
    assert asked(house, "report", kind="restart", host="b", reason="signal 9\nagain", by="s1")[0] == OK
    note = house.notes[-1][1]
    assert (note.kind, note.host, note.reason) == ("restart", "b" * 32, "signal 9 again")
    assert note.details == {"supervisor": "s1"}
    assert asked(house, "report", kind="view", reason="made up")[0] == BAD


def test_more_hosts_are_wanted_when_there_are_too_few_and_nobody_joins() -> None:
    house = founded("ab", peers=3)
    _, answer = asked(house, "capacity")
    assert (answer["wanted"], answer["because"], answer["quorum"]) == (1, "2 hosts can hold peers", True)
    assert [(m["name"], m["status"], m["heard"]) for m in answer["members"]] == [
        ("a", "ACTIVE", True),
        ("b", "ACTIVE", True),
    ]
    house.add("c")
    house.install("abc", c={"status": Status.JOINING})
    _, answer = asked(house, "capacity")
    assert (answer["wanted"], answer["joining"]) == (0, 1)
    assert asked(founded("abc"), "capacity")[1]["wanted"] == 0
    assert asked(House("a"), "capacity")[1] == {
        "quorum": False,
        "wanted": 0,
        "because": "",
        "joining": 0,
        "members": [],
    }
