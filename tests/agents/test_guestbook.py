"""Whom to ask for cells that are away from home."""

from __future__ import annotations

from agents.guestbook import Guestbook
from agents.keys import colony_of
from agents.surroundings import GuestsChanged
from tests.agents.ward import Ward


def test_a_guest_of_two_colonies_stays_until_both_have_said_that_it_went() -> None:
    book = Guestbook()
    book.changed(GuestsChanged(1, (b"k", b"l"), ()))
    book.changed(GuestsChanged(2, (b"k",), ()))
    assert book == {b"k": (1, 2), b"l": (1,)}
    book.changed(GuestsChanged(1, (), (b"k",)))
    assert book == {b"k": (2,), b"l": (1,)}
    book.changed(GuestsChanged(1, (b"m",), (), anew=True))
    assert book == {b"k": (2,), b"m": (1,)}, "anew: these are all"


def test_only_a_colony_that_is_led_here_is_asked_before_the_home() -> None:
    ward, book = Ward("A", "B"), Guestbook({b"k": (0,)})
    home = colony_of(b"k", 64)
    assert book.owner(b"k", {0: ward.peers["A"]}, 64) == 0
    assert book.owner(b"k", {0: ward.peers["B"]}, 64) == home
    assert book.owner(b"k", {}, 64) == home
    assert book.owner(b"k", {}, 0) is None
