"""What others ask of the colonies that a host leads, and what it answers."""

from __future__ import annotations

from typing import Any

import pytest

from agents.admission import SHED
from agents.effects import Received, Send
from agents.messages.replication import Invite, InviteAnswer
from agents.share import RELIEVE
from agents.surroundings import RetireOrdered
from agents.views import Status
from tests.agents.house import House, founded, orders


def asked(house: House, sender: str, message: Invite) -> tuple[InviteAnswer, list[Any]]:
    """Return what the primary of colony 0 answers, and what it orders."""
    out = house.hosts[house.leader(0)].handle(Received(sender * 32, message), house.now_s)
    (answer,) = [e.message for e in out if isinstance(e, Send)]
    assert isinstance(answer, InviteAnswer)
    return answer, orders(out)


def test_an_invitation_is_taken_up_if_it_evens_things_out_and_declined_with_a_reason_else() -> None:
    house = founded("ab", colonies=8)
    house.add("c")
    house.install("abc", c={"status": Status.JOINING})
    house.run()
    name = house.leader(0)
    for message, sender in ((Invite(0, "copy"), "c"), (Invite(0, "copy"), "x"), (Invite(99, "role"), "c")):
        out = house.hosts[name].handle(Received(sender * 32, message), house.now_s)
        answers = [e.message for e in out if isinstance(e, Send)]
        assert len(answers) == 1 and isinstance(answers[0], InviteAnswer)
        assert answers[0].agreed == bool(orders(out)) and bool(answers[0].reason) != answers[0].agreed


def test_while_a_wave_is_under_way_nothing_goes_but_what_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    house = founded("abc", colonies=3, peers=3)
    course = house.hosts[house.leader(0)].governor.course
    monkeypatch.setattr(course, "_wave", object())
    other = house.holders(0).replace(house.leader(0), "")[0]
    for role in ("copy", "role", RELIEVE):
        answer, given = asked(house, other, Invite(0, role))
        assert (answer.agreed, answer.reason, given) == (False, "a wave is under way", [])
    answer, given = asked(house, other, Invite(0, SHED))
    assert answer.agreed and given == [(0, RetireOrdered, other)]


def test_the_last_other_peer_does_not_go_and_nobody_is_relieved_for_nothing() -> None:
    house = founded("ab", colonies=2)
    other = house.holders(0).replace(house.leader(0), "")
    answer, given = asked(house, "x", Invite(0, SHED))
    assert (answer.agreed, answer.reason, given) == (False, "nothing to give up there", [])
    house.run(2.0)
    answer, given = asked(house, other, Invite(0, RELIEVE))
    assert (answer.agreed, answer.reason, given) == (False, "nobody carries so much less", [])
