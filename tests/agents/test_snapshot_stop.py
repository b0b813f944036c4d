"""The whole-cluster stop: who is asked what, what ends it early, what comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents.barrier import FREEZE_S, SILENT_S
from agents.effects import BallotsHalted, DropEverything, Halt, Ticked
from agents.messages.client import ABSENT, DENIED, OK, UNAVAILABLE, Put
from agents.messages.replication import Origin
from agents.stopping import END_S
from agents.views import view_id
from tests.agents.assembly import founded
from tests.agents.town import Town

KEYS = [f"k{number}" for number in range(24)]


@pytest.fixture
def town(tmp_path: Path) -> Town:
    """Return three hosts with two copies of everything, and some cells."""
    return settled(Town(tmp_path, "abc"), "abc")


def settled(town: Town, names: str) -> Town:
    """Found a cluster and fill it."""
    town.install(names)
    town.run(4.0)
    for key in KEYS:
        assert town.put(key, key.encode())
    return town


def stop(town: Town, name: str = "a", **arguments: Any) -> None:
    """Stop the cluster; all processes are gone then."""
    assert town.order(name, **arguments).code == OK
    town.run(1.0)
    assert {halt.status for halt in town.halts.values()} == {0} and len(town.halts) == len(town.hosts)
    town.end()


def start(town: Town, names: str) -> None:
    """Start hosts again, all in one view."""
    for name in names:
        town.add(name)
    town.install(names)
    town.run(0.1)


def files(town: Town, name: str) -> list[str]:
    """Return what lies in a host's state directory."""
    return sorted(
        str(p.relative_to(town.folder / name)) for p in (town.folder / name).rglob("*") if p.is_file()
    )


# -- stop and return -----------------------------------------------------------------


def test_all_write_and_end_and_come_back_with_every_cell_and_version(town: Town) -> None:
    versions = {key: town.put(key, b"2") for key in KEYS}
    stop(town)
    assert all(files(town, name) == ["snapshot", "snapshot.clean"] for name in "abc")
    start(town, "abc")
    for key, version in versions.items():
        reply = town.get(key)
        assert reply is not None and (reply.version, reply.value) == (version, b"2")
        assert town.put(key) > version
    assert all(files(town, name) == [] for name in "abc"), "used up"
    assert town.noted("lost") == []


def test_time_to_live_runs_on_while_nobody_runs(town: Town) -> None:
    town.put("long", ttl_ms=60_000)
    town.put("brief", ttl_ms=5_000)
    stop(town)
    town.wall_s += 30
    town.now_s = 5.0  # the machines were restarted too: their clocks begin anew
    start(town, "abc")
    long, brief = town.get("long"), town.get("brief")
    assert long is not None and 27_000 < long.ttl_ms < 31_000
    assert brief is not None and brief.code == ABSENT


def test_a_retry_over_the_stop_is_answered_and_not_applied_again(town: Town) -> None:
    put = Put(900, b"lane", 1, b"once", b"1")
    for name in town.hosts:
        town.ask(name, put)
    town.run()
    first = next(reply for reply in town.replies if reply.id == 900 and reply.code == OK)
    stop(town)
    start(town, "abc")
    assert town.put("once", b"2") == first.version + 1 or town.put("once", b"2")
    town.replies.clear()
    for name in town.hosts:
        town.ask(name, put)
    town.run()
    again = next(reply for reply in town.replies if reply.id == 900 and reply.code == OK)
    assert again.version == first.version
    reply = town.get("once")
    assert reply is not None and reply.value == b"2"


def test_any_majority_that_holds_everything_serves_and_the_last_one_joins_it(town: Town) -> None:
    stop(town)
    start(town, "ab")
    assert all(town.get(key) is not None for key in KEYS)
    newer = {key: town.put(key, b"newer") for key in KEYS}
    town.add("c")
    town.install("abc")
    town.run(3.0)
    for key, version in newer.items():
        reply = town.get(key)
        assert reply is not None and (reply.version, reply.value) == (version, b"newer")
    assert files(town, "c")[0].startswith("lost/") and "snapshot.clean" not in files(town, "c")


# -- frozen, and given up ---------------------------------------------------------------


def test_nothing_is_sequenced_between_the_barrier_and_the_end(town: Town) -> None:
    town.slow_disks = "b"
    assert town.order("a").code == OK
    town.run(0.5)
    assert all(town.put(key) == 0 for key in KEYS) and town.halts == {}
    assert any("being stopped" in reply.text for reply in town.replies if reply.code == UNAVAILABLE)
    reply = town.get(KEYS[0])
    assert reply is not None and reply.code == OK, "reads go on"


def test_a_disk_that_is_full_gives_the_stop_up_by_name_and_all_go_on(town: Town) -> None:
    town.broken_disks = "b"
    stopped = town.order("c")
    town.run(1.0)
    assert town.halts == {}
    (how,) = {str(host.stopping.progress()) for host in town.hosts.values()}
    assert "b: it can't write its snapshot: disk full" in how and stopped.text[10:30] in how
    assert all(town.put(key) for key in KEYS)
    assert all("snapshot" not in files(town, name) for name in "ac")
    town.broken_disks = ""
    stop(town)


def test_a_member_that_dies_gives_it_up_and_is_named(town: Town) -> None:
    town.slow_disks = "b"
    town.order("a")
    town.run(0.5)
    town.kill("b")
    town.number += 1
    town.install("ac")
    town.run(1.0)
    assert all(not host.frozen for host in town.hosts.values()) and town.halts == {}
    assert all(town.put(key) for key in KEYS)


def test_a_member_that_dies_while_ballots_rest_gives_it_up_before_any_view(town: Town) -> None:
    town.slow_disks = "b"
    town.order("a")
    town.run(0.5)
    town.kill("b")
    town.members["a"].dead.add("b" * 32)
    town.run(0.5)
    assert not town.hosts["a"].frozen and not town.hosts["c"].frozen and town.halts == {}
    assert "b died" in str(town.hosts["c"].stopping.progress())


def test_a_leader_that_falls_silent_before_anybody_wrote_is_waited_for_in_vain(town: Town) -> None:
    town.slow_disks = "abc"
    town.order("a")
    town.run(0.5)
    town.break_link("a", "b")
    town.break_link("a", "c")
    town.run(SILENT_S + 0.5)
    assert not town.hosts["b"].frozen and not town.hosts["c"].frozen
    assert "silent" in str(town.hosts["b"].stopping.progress())


def test_who_has_written_and_hears_no_more_votes_again_but_sequences_nothing(town: Town) -> None:
    town.slow_disks = "c"
    town.order("a")
    town.run(0.5)
    assert town.ballots("b") == [True]
    town.break_link("a", "b")
    town.run(SILENT_S + 0.5)
    assert town.ballots("b") == [True, False] and town.hosts["b"].frozen
    town.mend_link("a", "b")
    town.run(1.0)
    assert not any(host.frozen for host in town.hosts.values()), "its word came too late: given up"


def test_whoever_hears_of_the_end_tells_all_others(town: Town) -> None:
    town.slow_disks = "c"
    town.order("a")
    town.run(0.5)
    town.break_link("a", "b")
    town.write("c")
    town.run(END_S + 0.5)
    assert set(town.halts) == {"a", "b", "c"}, "b heard it from c"


def test_who_is_at_the_end_stays_until_all_are(town: Town) -> None:
    town.slow_disks = "c"
    town.order("a")
    town.run(0.5)
    town.write("c")
    assert _until_end(town, "a"), "all have written"
    for near, far in ("ab", "ac", "bc"):
        town.break_link(near, far)  # and whatever is under way through them is gone
    town.run(END_S / 2)
    assert town.halts == {}, "two of them would never hear of it"
    assert town.hosts["a"].stopping.progress()["phase"] == "END"  # type: ignore[index]
    for near, far in ("ab", "ac", "bc"):
        town.mend_link(near, far)
    town.run(0.5)
    assert set(town.halts) == {"a", "b", "c"}


def _until_end(town: Town, name: str) -> bool:
    """Deliver one message after another until a host has come to the end."""
    for _ in range(500):
        if (town.hosts[name].stopping.progress() or {}).get("phase") == "END":
            return True
        town.run(most=1)
    return False


def test_who_does_not_come_to_the_end_is_not_waited_for_long_and_says_why_it_stays(town: Town) -> None:
    town.slow_disks = "c"
    town.order("a")
    town.run(0.5)
    town.write("c")
    assert _until_end(town, "a")
    town.break_link("a", "c")
    town.break_link("b", "c")
    town.run(END_S + 0.5)
    assert set(town.halts) == {"a", "b"}
    town.run(SILENT_S)
    assert "start them again" in str(town.hosts["c"].stopping.progress())


def test_colonies_that_do_not_come_to_rest_give_it_up(town: Town) -> None:
    for scripted in town.members.values():
        scripted.quorum.is_held = True
    town.break_link("b", "c")
    for key in KEYS:
        town.put(key)  # some wait for an ack that can't come
    town.order("a")
    town.run(FREEZE_S + 1)
    assert town.halts == {} and all(not host.frozen for host in town.hosts.values())
    assert "not at rest" in str(town.hosts["a"].stopping.progress())


def test_a_second_order_joins_the_first(town: Town) -> None:
    town.slow_disks = "abc"
    first = town.order("a")
    town.run(0.3)
    assert town.order("b").text == first.text


def test_hosts_without_a_directory_are_named_and_only_force_stops_them(tmp_path: Path) -> None:
    town = settled(Town(tmp_path, "abc", durable="ac"), "abc")
    refused = town.order("a")
    assert refused.code == DENIED and "cells of b would be lost" in refused.text
    stop(town, force=True)
    assert files(town, "a") == ["snapshot", "snapshot.clean"]


def test_a_stop_without_quorum_is_refused(town: Town) -> None:
    town.members["a"].quorum.is_held = False
    assert town.order("a").code == UNAVAILABLE


def test_whoever_has_written_takes_part_in_no_ballot() -> None:
    world = founded("abc")
    for name in "abc":
        world.tell(name, BallotsHalted(True))
    world.crash("c")
    before = len(world.views())
    world.run(10.0)
    assert len(world.views()) == before, "a view now would make what was written worthless"
    for name in "ab":
        world.tell(name, BallotsHalted(False))
    assert world.run(5.0, lambda: world.settled("ab")), world.story()


# -- what may not come back -------------------------------------------------------------


def test_a_snapshot_is_nothing_once_a_view_came_after_it(town: Town) -> None:
    stop(town)
    town.number += 1  # others of them went on in a view that these hosts then learnt
    town.known = dict.fromkeys("abc", view_id(0, town.number))
    start(town, "abc")
    assert len(town.noted("lost")) == 3 * 4 and len(town.noted("snapshot_unused")) == 3
    assert all(reply is not None and reply.code == ABSENT for reply in map(town.get, KEYS))


def test_one_host_that_knows_of_a_later_view_is_enough(town: Town) -> None:
    stop(town)
    town.number += 1
    town.known["c"] = view_id(0, town.number)
    start(town, "abc")
    assert len(town.noted("lost")) == 3 * 4


def test_who_is_back_tells_later_censuses_from_which_stop(town: Town) -> None:
    stop(town)
    start(town, "abc")
    told = {host.restoring.origin(town.now_s) for host in town.hosts.values()}
    (origin,) = told
    assert origin is not None and origin == Origin(origin.stop) and origin.stop


def test_a_stop_that_nobody_confirmed_is_a_crash(town: Town) -> None:
    stop(town)
    for name in "abc":
        (town.folder / name / "snapshot.clean").unlink()
    start(town, "abc")
    assert len(town.noted("lost")) == 3 * 4


def test_one_that_confirmed_speaks_for_all(town: Town) -> None:
    stop(town)
    for name in "ab":
        (town.folder / name / "snapshot.clean").unlink()
    start(town, "abc")
    assert town.noted("lost") == []
    assert all(reply is not None and reply.code == OK for reply in map(town.get, KEYS))


def test_a_crash_after_the_return_brings_nothing_stale(town: Town) -> None:
    stop(town)
    start(town, "ab")
    for key in KEYS:
        town.put(key, b"newer")
    town.end()
    start(town, "abc")  # c still has its clean snapshot, of a view that is over
    assert len(town.noted("lost")) == 3 * 4
    assert all(reply is not None and reply.code == ABSENT for reply in map(town.get, KEYS))


# -- waiting ----------------------------------------------------------------------------


@pytest.fixture
def thin(tmp_path: Path) -> Town:
    """Return three hosts with one copy of everything, stopped; two of them are started again."""
    town = settled(Town(tmp_path, "abc", peers=1), "abc")
    stop(town)
    start(town, "ab")
    return town


def served(town: Town) -> list[str]:
    """Return the keys that come back."""
    return [key for key in KEYS if (reply := town.get(key)) is not None and reply.code == OK]


def test_colonies_of_a_missing_host_wait_and_say_for_whom(thin: Town) -> None:
    there = served(thin)
    assert 0 < len(there) < len(KEYS) and thin.noted("lost") == []
    waits = {reply.text for reply in thin.replies if reply.code == UNAVAILABLE}
    assert any("waiting for a holder of colony" in text and "c" in text.split(": ")[1] for text in waits)
    thin.add("c")
    thin.install("abc")
    thin.run(1.5)
    assert thin.recount("abc"), "who comes back asks to be counted"
    assert served(thin) == KEYS and thin.noted("lost") == [] and thin.noted("waiting_over")
    assert all("snapshot" not in files(thin, name) for name in "abc")


def test_what_serves_already_is_never_overwritten_by_who_comes_late(thin: Town) -> None:
    newer = {key: thin.put(key, b"newer") for key in served(thin)}
    thin.add("c")
    thin.install("abc")
    thin.run(1.5)
    thin.recount("abc")
    for key, version in newer.items():
        reply = thin.get(key)
        assert reply is not None and (reply.version, reply.value) == (version, b"newer")


def test_a_host_that_comes_back_with_nothing_ends_the_wait(thin: Town) -> None:
    (thin.folder / "c" / "snapshot").write_bytes(b"damaged")
    thin.add("c")
    thin.install("abc")
    thin.run(1.5)
    assert thin.noted("snapshot_refused")
    assert thin.recount("abc")
    assert thin.noted("lost") and thin.noted("waiting_over")
    assert all(thin.get(key) is not None for key in KEYS)


def test_a_view_that_changes_before_the_late_one_was_asked_does_not_end_the_wait(thin: Town) -> None:
    thin.add("c")
    thin.install("abc", only="")  # nobody hears of it in time
    view = thin.install("abc", c={})
    assert not view.admitted_here("c" * 32)
    thin.run(1.5)
    assert thin.noted("lost") == []
    assert thin.recount("abc") and served(thin) == KEYS


def test_an_operator_may_give_the_missing_up(thin: Town) -> None:
    refused = thin.order("a", "recover")
    assert refused.code == DENIED
    reply = thin.order("a", "recover", force=True)
    assert reply.code == OK and "lost" in reply.text
    assert thin.recount("ab")
    assert thin.noted("lost") and all(thin.get(key) is not None for key in KEYS)


def test_the_wait_may_be_bounded(tmp_path: Path) -> None:
    town = settled(Town(tmp_path, "abc", peers=1), "abc")
    stop(town)
    town.restore_wait_s = 5.0
    start(town, "ab")
    town.run(4.0)
    assert not town.recount("ab") and town.noted("lost") == []
    town.run(2.0)
    assert town.recount("ab") and town.noted("lost")
    assert all(town.get(key) is not None for key in KEYS)


def test_a_colony_that_is_lost_later_does_not_wait_for_those_who_are_not_back(thin: Town) -> None:
    lost = {c for c, machine in thin.hosts["a"].colonies.items() if machine.is_open}
    thin.kill("a")
    thin.install("b")
    thin.run(0.1)
    assert {note.colony for note in thin.noted("lost")} == lost, "those that waited still do"


# -- lost and found -----------------------------------------------------------------------


def test_an_undead_host_writes_down_what_it_drops(town: Town) -> None:
    town.members["b"].next = [DropEverything("told so")]
    town.tell("b", Ticked())
    (path,) = files(town, "b")
    assert path.startswith("lost/") and path.endswith("-dropped.snapshot")
    (note,) = town.noted("lost_and_found")
    assert path in note.reason
    assert town.holders(0).count("b") == 0


def test_a_host_that_gives_up_alone_writes_first(town: Town) -> None:
    town.members["b"].next = [Halt(5, "no majority for 600 s")]
    town.tell("b", Ticked())
    assert files(town, "b")[0].endswith("-solitude.snapshot") and town.halts["b"].status == 5


def test_a_host_with_nothing_writes_nothing(tmp_path: Path) -> None:
    town = Town(tmp_path, "ab")
    town.install("ab")
    town.run(1.0)
    town.members["b"].next = [DropEverything("told so")]
    town.tell("b", Ticked())
    assert files(town, "b") == []
