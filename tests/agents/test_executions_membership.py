"""Executions of membership and of the whole-cluster stop that once broke a promise, or could have.

Each is a history that a hostile network, a stall or a late message can make;
the name says what must hold.
"""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from agents.barrier import FREEZE_S, SILENT_S, WRITE_S
from agents.effects import BallotsHalted, DropEverything, Received, SaveSnapshot, Ticked
from agents.keeping import Keeper
from agents.messages.membership import Ballot, Prepare
from agents.messages.stopping import END, FREEZE, StopOrder
from agents.snapshot import Copy, Head, Held
from agents.stopping import END_S
from tests.agents.assembly import founded
from tests.agents.test_snapshot_stop import KEYS, served, settled
from tests.agents.town import Town


@pytest.fixture
def town(tmp_path: Path) -> Town:
    """Return three hosts with two copies of everything, and some cells."""
    return settled(Town(tmp_path, "abc"), "abc")


def under_way(town: Town, name: str) -> str:
    """Return the id of the stop that a host obeys."""
    progress = town.hosts[name].stopping.progress()
    assert progress is not None
    return str(progress["stop"])


# -- a stop on its way ------------------------------------------------------------------


def test_a_late_order_does_not_freeze_again_who_has_gone_on(town: Town) -> None:
    # a's orders reach b late: b gives up, serves, and would then write what the others wrote without.
    town.slow_disks = "abc"
    town.order("a")
    town.run(0.5)
    stop = under_way(town, "b")
    town.break_link("a", "b")
    town.run(SILENT_S + 0.5)
    b = town.hosts["b"]
    thawed = not b.frozen
    town.tell("b", Received("a" * 32, StopOrder(stop, FREEZE)))
    assert thawed and not b.frozen


def test_a_ballot_that_cannot_end_gives_the_stop_up_soon(town: Town) -> None:
    # b accepted its own proposal while the others' ballots rested already: nobody will ever answer it.
    town.members["b"].is_at_rest = False
    town.order("a")
    town.run(FREEZE_S + 2.0)
    assert FREEZE_S + 2.0 < WRITE_S and not any(host.frozen for host in town.hosts.values())
    assert all(town.put(key) for key in KEYS)


def test_a_member_that_only_its_leader_cannot_hear_gives_the_stop_up_soon(town: Town) -> None:
    town.slow_disks = "b"
    town.order("a")
    town.run(0.5)
    town.break_link("a", "b")  # c hears both: nobody is held dead
    town.run(2 * SILENT_S + 1.0)
    assert not any(host.frozen for host in town.hosts.values())


def test_who_doubts_still_ends_with_the_others_while_its_ballot_found_nobody(town: Town) -> None:
    town.slow_disks = "c"
    town.order("a")
    town.run(0.5)
    town.break_link("a", "b")
    town.run(SILENT_S + 0.5)
    town.members["b"].is_at_rest = False  # it asks for promises, and c's ballots rest
    town.write("c")
    town.run(END_S + 0.5)
    assert set(town.halts) == {"a", "b", "c"}


def test_who_gave_another_a_promise_does_not_end(town: Town) -> None:
    town.slow_disks = "c"
    town.order("a")
    town.run(0.5)
    town.members["b"].may_end = False
    town.tell("b", Received("a" * 32, StopOrder(under_way(town, "b"), END)))
    assert "b" not in town.halts and "snapshot.clean" not in str(list((town.folder / "b").iterdir()))


def test_a_promise_since_the_ballots_rested_may_make_a_view() -> None:
    # With b's promise c proposes; had b ended meanwhile, c alone would bear a view to be gone on from.
    world = founded("abc")
    b, c = world.member("b"), world.member("c")
    assert b.known is not None
    world.tell("b", BallotsHalted(True))
    before = b.may_end
    world.tell("b", BallotsHalted(False))
    world.tell("b", Received(c.me.id, Prepare(b.known.id, Ballot(50, c.me.id))))
    assert (before, b.may_end) == (True, False)
    assert world.run(10.0, lambda: world.settled("abc")), world.story()


# -- the return from a stop ---------------------------------------------------------------


def test_who_missed_the_end_and_is_undead_brings_what_it_wrote(tmp_path: Path) -> None:
    # Cut off from a and b when these end and start again, c still lives: only it holds some colonies.
    town = settled(Town(tmp_path, "abc", peers=1), "abc")
    town.slow_disks = "a"
    town.order("a")
    town.run(0.5)
    town.break_link("a", "c")
    town.break_link("b", "c")
    town.write("a")
    town.run(SILENT_S + 0.5)
    assert set(town.halts) == {"a", "b"}
    town.members["c"].quorum.is_held = False
    for name in "ab":
        town.kill(name)
        town.add(name)
    town.entered.clear()
    town.install("ab")
    town.run(0.1)
    assert len(served(town)) < len(KEYS) and town.noted("waiting")
    town.members["c"].next = [DropEverything("told so")]
    town.tell("c", Ticked())
    town.lost_links.clear()
    town.members["c"].quorum.is_held = True
    town.install("abc")
    town.run(1.5)
    assert town.recount("abc")
    assert town.noted("lost") == [] and served(town) == KEYS and not town.hosts["c"].frozen
    assert all("snapshot" not in [p.name for p in (tmp_path / name).iterdir()] for name in "abc")


# -- disks ------------------------------------------------------------------------------


def test_a_stop_that_was_given_up_does_not_write_into_the_next_ones_file(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, lambda: 1.0)
    inside, go_on = threading.Event(), threading.Event()

    class Slow(dict):  # type: ignore[type-arg]
        """Cells that take their time to be read."""

        def items(self):  # type: ignore[no-untyped-def]
            inside.set()
            go_on.wait(5.0)
            return super().items()

    def effect(stop: str, live: dict[bytes, tuple[int, float, bytes]]) -> SaveSnapshot:
        held = Held(0, 1, 1, 0.0)
        head = Head("t", stop, 7, "h", "a", (("h", "a"),), (held,))
        return SaveSnapshot(head, (Copy(held, live, {}),), 10, False)  # type: ignore[arg-type]

    failed: list[str] = []

    def first() -> None:
        try:
            slow()
        except OSError as error:
            failed.append(str(error))

    slow = keeper.job(effect("one", Slow({b"k": (1, 0.0, b"old")})))
    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(5.0)
    keeper.discard()
    quick = keeper.job(effect("two", {b"k": (1, 0.0, b"new")}))
    threading.Timer(0.05, go_on.set).start()
    quick()
    thread.join(5.0)
    loaded = keeper.load("t").loaded
    assert failed and loaded is not None and loaded.head.stop == "two" and loaded.kept
