"""A short day of a small cluster; the long one is `make endurance`."""

from __future__ import annotations

import pytest

from tests.sim.endurance import live


@pytest.mark.sim
@pytest.mark.parametrize("peers", [2])
def test_an_hour_of_twenty_hosts(peers: int) -> None:
    day = live(20, 1.0, peers, 1, colonies=64, rate=0.15)
    assert not day.complaints, str(day)
    assert day.deaths and day.returns and day.views > 2 and day.bulk_bytes > 0, str(day)
