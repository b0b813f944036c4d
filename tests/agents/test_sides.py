"""What two sides call changed apart, and who changes sides."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from agents.effects import GivenIn, HelloSeen, InstallView, LinkCameUp, Received, Send
from agents.history import History
from agents.leases import Grants, Quorum
from agents.membership import Membership, Settings
from agents.messages.membership import Grant, Heartbeat, Meet, Yield
from agents.record import Record
from agents.reunion import TOLD_AGAIN_S, Job, Reunion
from agents.sides import Sides
from agents.surroundings import MergeCounted
from agents.views import Charter, Member, View
from tests.agents.test_lineage import alone, later

CHARTER = Charter(quorum="available")


def member(host: str) -> Member:
    return Member(host * 32, 1, host, f"tcp://{host}:1", f"tcp://{host}:2")


BASE = View("f" * 32, 1, CHARTER, tuple(member(host) for host in "abc"))


@pytest.mark.parametrize("moved", [False, True])
def test_in_the_view_that_both_come_from_nothing_was_changed_apart(moved: bool) -> None:
    """Somebody was dropped before it, and has entered the winner's side since."""
    history = History(3, 0.0)
    history.splits = {"b" * 32: 3}
    peer = SimpleNamespace(history=history, last=8, birth=1)
    winner = later(alone(BASE, "a" * 32))
    host: Any = SimpleNamespace(
        view=alone(BASE, "c" * 32) if moved else BASE,
        colonies={0: SimpleNamespace(peer=peer)},
        membership=SimpleNamespace(contacts=SimpleNamespace(up=lambda other: True)),
    )
    reunion, out = Reunion(host), []  # type: ignore[var-annotated]
    reunion.winner = winner
    reunion._ask(Job(0, b"lane"), 0.0, out)
    (asked,) = (effect.message for effect in out)
    assert asked.apart == (3 if moved else 8)


def test_counts_of_merges_are_told_again_in_the_next_view_to_all_of_its_members() -> None:
    """A host that entered meanwhile, or had not installed the earlier view, tells the same as others."""
    host: Any = SimpleNamespace(view=BASE, me="a" * 32)
    reunion, out = Reunion(host), []  # type: ignore[var-annotated]
    reunion.counted(MergeCounted(3, b"lane", "x", 5, 1), 1.0, out)
    out.clear()
    reunion.view_installed(BASE, 2.0, out)
    assert [(effect.to, effect.message.merged) for effect in out] == [("b" * 32, 5), ("c" * 32, 5)]
    out.clear()
    reunion.view_installed(BASE, 2.0 + TOLD_AGAIN_S, out)
    assert out == []


def test_who_comes_back_to_a_side_that_has_admitted_it_meanwhile_installs_its_view() -> None:
    """B asked the side of C, then that of A; C is heard again, and has admitted it meanwhile."""
    me = msgspec.structs.replace(member("b"), incarnation=2)
    third = alone(BASE, "a" * 32)
    winner = later(alone(BASE, "c" * 32, 2.0))
    winner = msgspec.structs.replace(winner, members=(member("c"), me))
    machine = Membership(me, Settings(), Record(me.id, 2, BASE.tag, third, mute=True), 0.0)
    c = member("c")
    machine.handle(HelloSeen(c, BASE.tag, winner.id, "COMMIT"), 0.1)
    machine.handle(LinkCameUp(c.id, 1), 0.1)
    effects = machine.handle(Received(c.id, Meet(winner, True)), 0.2)
    assert winner in [effect.view for effect in effects if type(effect) is InstallView]
    beat = Heartbeat(winner.id, 0.2, b"", 0, None, 1, BASE.tag, winner.root)
    said = machine.handle(Received(c.id, beat), 0.3)
    assert Grant in [type(effect.message) for effect in said if type(effect) is Send], "it grants, and serves"


class Half:
    """A side of one host, as its `Sides` sees it."""

    def __init__(self, known: View, me: str, *, serves: bool) -> None:
        self.said: list[Any] = []
        contact = SimpleNamespace(told_s=float("-inf"), up=True)
        self.here: Any = SimpleNamespace(
            known=known,
            me=member(me),
            tag=known.tag,
            is_member=True,
            farewell=None,
            hold_s=None if serves else 0.0,
            quorum=SimpleNamespace(held=lambda now_s: serves, clear=lambda: None),
            detector=SimpleNamespace(attested=frozenset),
            contacts=SimpleNamespace(
                get=lambda host: contact, up=lambda host: True, listed=lambda view, now_s: None
            ),
            do=self.said.append,
            send_all=self.said.append,
        )
        self.sides = Sides(self.here)


def test_two_sides_give_in_to_each_other_while_their_words_cross_but_spread_it_no_further() -> None:
    """Each hears that the other serves, as it did when it said so. B has lost its majority since."""
    went_on = msgspec.structs.replace(alone(BASE, "a" * 32), members=(member("a"),))
    a, b = Half(went_on, "a", serves=True), Half(BASE, "b", serves=False)
    a.sides.on_meet("b" * 32, Meet(BASE, True), 10.0)
    b.sides.on_meet("a" * 32, Meet(went_on, True), 10.0)
    assert (a.sides.winner, b.sides.winner) == (BASE, went_on), "by words that were true once"
    a.sides.on_meet("b" * 32, Meet(BASE, False), 10.1)
    b.sides.on_meet("a" * 32, Meet(went_on, False), 10.1)
    for half in (a, b):
        half.said.clear()
        half.sides.repeat(10.2)
        assert not half.sides.hears_winner(10.2), "so both end it, 3 s later, and A serves again"
        assert Yield not in [type(word) for word in half.said], "or it would go on for ever"


def test_who_is_gone_for_so_long_that_nobody_knows_it_is_no_side() -> None:
    half = Half(alone(BASE, "a" * 32), "a", serves=False)
    half.sides.on_meet("b" * 32, Meet(alone(BASE, "b" * 32), False), 10.0)
    half.sides.repeat(10.1)
    assert half.sides.are_known
    half.here.contacts.get = lambda host: None
    half.here.known = msgspec.structs.replace(half.here.known, absent=())
    half.sides.repeat(10.2)
    assert not half.sides.are_known


@pytest.mark.parametrize("has_accepted", [False, True])
def test_who_goes_on_after_giving_in_counts_itself_unless_it_has_accepted_another_view(
    has_accepted: bool,
) -> None:
    """With its own grant and that of one who lags, it would serve beside the view that it accepted."""
    half = Half(BASE, "a", serves=True)
    here, me, lagging = half.here, "a" * 32, "c" * 32
    here.quorum, here.grants = Quorum(), Grants(0.5, 0.0)
    here.orders = SimpleNamespace(renounced=False)
    here.quorum.install(BASE, me)
    if has_accepted:
        here.grants.fence()
        here.quorum.fence()
    half.sides.give_in(later(alone(BASE, "b" * 32)), "it is larger")
    half.sides.on_given_in(GivenIn(False, "its hosts are out of reach"), 1.0)
    here.quorum.granted(lagging, 1, BASE.id, 1.0, 1.1)
    assert here.quorum.held(1.2) is not has_accepted
