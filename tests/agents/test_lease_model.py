"""No host outlives its leases, in any order of things; and each rule that sees to it is needed.

More than fits here: `python -m tests.agents.lease_model 3 2 2 1`.
"""

from __future__ import annotations

from math import inf

import pytest

from agents.leases import Grants, Quorum
from agents.views import View
from tests.agents.lease_model import Chain, Listed, Rules, chains

THREE = {"x": 1, "a": 1, "b": 1}
FOUR = THREE | {"c": 1}
REPLACED = THREE | {"b": 2}
JOINED = {"a": 1, "b": 1}


class NoFloor(Grants):
    """Knows of the grants of this view alone."""

    def __init__(self, lease_s: float, floor_s: float, *, fenced: bool = False) -> None:
        super().__init__(lease_s, -inf, fenced=fenced)


class NoFence(Grants):
    """Grants on after it has accepted."""

    def fence(self) -> None:
        """Do nothing."""


class KeepsAll(Quorum):
    """Counts what it was granted in earlier views, also by those that the new one does not list."""

    def install(self, view: View, me: str) -> None:
        """Forget nothing."""
        kept = {host: expiry_s for host, expiry_s in self._expiry_s.items() if host != me}
        super().install(view, me)
        self._expiry_s = {**kept, me: inf}
        self._sorted = sorted(self._expiry_s.values())
        self._recount()


class AnyIncarnation(Quorum):
    """Counts a grant of any incarnation."""

    def granted(self, host: str, incarnation: int, view: int, sent_s: float, now_s: float) -> bool:
        """Take it for the listed one's."""
        return super().granted(host, self._incarnations.get(host, 0), view, sent_s, now_s)


class HearsItself(Quorum):
    """Counts itself after it has accepted."""

    def fence(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize("chain", [*chains(2, 1), *chains(2, 2), [JOINED, THREE]], ids=str)
def test_who_is_dropped_holds_nothing_when_the_view_without_it_is_installed(chain: list[Listed]) -> None:
    found = Chain(chain).explore()
    assert found.trace == ()
    assert len(chain) < 2 or len(chain[0]) < 3 or found.carried  # the leases did count on in the next view


def test_messages_under_way_restarts_and_replaced_hosts_change_nothing() -> None:
    assert Chain([THREE], late=True).explore().trace == ()
    assert Chain([THREE, REPLACED], restarts=1).explore().trace == ()
    assert Chain([THREE, THREE], restarts=1).explore(8_000).trace == ()


def test_grants_of_a_restarted_host_do_not_count_even_if_it_makes_some() -> None:
    assert Chain([THREE], Rules(restarted_grants=True), restarts=1).explore().trace == ()


@pytest.mark.parametrize(
    ("chain", "rules", "restarts"),
    [
        ([THREE, THREE], Rules(grants=NoFloor), 0),
        ([FOUR, THREE], Rules(quorum=KeepsAll), 0),
        ([THREE], Rules(waits=False), 0),
        ([THREE, THREE], Rules(waits=False), 0),
        ([THREE], Rules(grants=NoFence), 0),
        ([THREE], Rules(quorum=HearsItself), 0),
        ([THREE], Rules(start_floor=False), 1),
        ([THREE], Rules(restarted_grants=True, quorum=AnyIncarnation), 1),
    ],
    ids=["floor", "strangers", "wait", "late wait", "fence", "own fence", "start", "incarnation"],
)
def test_without_one_of_the_rules_it_does(chain: list[Listed], rules: Rules, restarts: int) -> None:
    assert Chain(chain, rules, restarts=restarts).explore().trace
