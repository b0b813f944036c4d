"""Every split scenario, every side of it; and the scenarios' own eyes.

`make sim` plays thousands; these are a sample of each.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest

from agents.leases import Quorum
from tests.sim.runs import Run, play
from tests.sim.splits import SPLITS

SEEDS = 2


@pytest.mark.sim
@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("name", SPLITS)
def test_split(name: str, seed: int) -> None:
    run = play(seed, name)
    assert not run.complaints, str(run)
    assert run.settings.charter.peers == 2 + seed % 2
    assert run.commits, "nothing happened"


def complaints(name: str, seeds: int) -> list[str]:
    """Play a scenario until it finds something."""
    for seed in range(seeds):
        run: Run = play(seed, name)
        if run.complaints:
            return run.complaints
    return []


@pytest.mark.sim
def test_quorum_that_never_ends_is_seen_on_the_silent_side() -> None:
    with patch.object(Quorum, "held", lambda self, now_s: True):
        assert complaints("equal_halves_4", 2)


@pytest.mark.sim
def test_links_that_stay_up_for_ever_at_one_end_are_seen_at_the_end() -> None:
    with patch("agents.pairing.Link.listen", lambda *_: None):
        assert any("not whole" in text for text in complaints("split_and_leave", 6))


@pytest.mark.sim
def test_a_host_that_hears_nobody_and_is_heard_by_all_is_seen() -> None:
    with patch("agents.detector.DEAF_S", 1e9):
        assert any("has the view" in text for text in complaints("one_way_cut", 12))


@pytest.mark.sim
def test_joiners_that_don_t_hear_all_are_seen_to_come_and_go() -> None:
    everybody: Any = patch("agents.drafting.whom_joiners_hear", lambda _: {})
    with patch("agents.electorate.unheard", lambda *_: []), everybody:
        assert complaints("broken_link", 4)


@pytest.mark.sim
def test_hosts_that_flap_and_need_not_wait_are_seen() -> None:
    with patch("agents.reputation.WAIT_MAX_S", 0.0):
        assert complaints("flapping_link", 12)
