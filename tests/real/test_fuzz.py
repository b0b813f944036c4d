"""A short sample of `python -m tests.fuzz`."""

from __future__ import annotations

import pytest

from tests import fuzz

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


def test_strangers_harm_nobody() -> None:
    for result in fuzz.run(10.0, seed=7):
        assert result["problems"] == [], result
        assert result["done"]["frame"] > 100 and result["honest_calls"] > 100
