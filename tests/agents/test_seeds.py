"""Seeds: asked while the host is alone, told apart from oneself."""

from __future__ import annotations

from agents.effects import SeedFound, SeedSilent
from agents.messages.client import Greeting
from agents.seeds import EVERY_S, Seeds


def greeting(host: str) -> Greeting:
    """Return the words of a zombie."""
    return Greeting(1, "0", "", 0, "ZOMBIE", host, 3, host, f"tcp://link-of-{host}", 0, 0, (), ())


def test_seeds_are_asked_again_and_again_while_the_host_is_alone() -> None:
    seeds = Seeds(("a", "b", "a"))
    assert seeds.due(0.0, alone=True) == ("a", "b")
    assert seeds.due(EVERY_S / 2, alone=True) == ()
    assert seeds.due(EVERY_S, alone=True) == ("a", "b")


def test_in_company_no_seed_is_asked() -> None:
    assert Seeds(("a",)).due(0.0, alone=False) == ()


def test_a_seed_that_answers_is_a_host_with_a_link_address() -> None:
    heard = Seeds(("a",)).heard("a", greeting("h2"), me="h1")
    assert isinstance(heard, SeedFound)
    found = heard.member
    assert (found.id, found.incarnation, found.address, found.link) == ("h2", 3, "a", "tcp://link-of-h2")


def test_ones_own_address_is_never_asked_again() -> None:
    seeds = Seeds(("a", "b"))
    for _ in range(2):
        heard = seeds.heard("a", greeting("h1"), me="h1")
        assert isinstance(heard, SeedFound) and heard.member.id == "h1"
    assert seeds.due(0.0, alone=True) == ("b",)


def test_an_address_at_which_nobody_answers_is_asked_again() -> None:
    seeds = Seeds(("a",))
    assert seeds.heard("a", "connection refused", me="h1") == SeedSilent("a", "connection refused")
    assert seeds.due(0.0, alone=True) == ("a",)
