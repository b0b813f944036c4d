"""Hosts in these tests live longer than one test: their cluster ends them, and they die with it."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _no_process_left_behind() -> None:
    """In place of the one for all tests, which ends what a test leaves behind."""
