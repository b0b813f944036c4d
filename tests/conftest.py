"""Order, time limits and leftovers of the whole suite."""

from __future__ import annotations

import random
from collections.abc import Iterator

import psutil
import pytest

# Cheap findings first; tests with real processes later, and last those that nothing may compete with.
_ORDER = {"sim": 1, "slow": 2, "real": 3, "alone": 4, "bench": 5}
# Seconds a test may take; about ten times what it takes on two busy cores.
_TIMEOUT_S = {"sim": 300, "slow": 180, "real": 180, "bench": 900}


def _rank(item: pytest.Item) -> int:
    return max((_ORDER[mark.name] for mark in item.iter_markers() if mark.name in _ORDER), default=0)


def _company(item: pytest.Item) -> str:
    """Tests of one company run in one process, one after the other."""
    return "faults" if "faults" in item.path.parts else item.path.name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the items by cost, give the costly ones time, keep together what shares a cluster."""
    items.sort(key=_rank)
    for item in items:
        if item.get_closest_marker("real") is not None:
            item.add_marker(pytest.mark.xdist_group(_company(item)))
        if item.get_closest_marker("timeout") is None:
            limits = [_TIMEOUT_S[mark.name] for mark in item.iter_markers() if mark.name in _TIMEOUT_S]
            if limits:
                item.add_marker(pytest.mark.timeout(max(limits)))


@pytest.fixture(autouse=True)
def _fixed_chance() -> None:
    """Whoever draws from the global generator draws the same in every run."""
    random.seed(7)


@pytest.fixture(autouse=True)
def _no_process_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test with real processes that leaves one running fails, and the process is ended."""
    if request.node.get_closest_marker("real") is None:
        yield
        return
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    left = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    _, alive = psutil.wait_procs(left, timeout=5.0)
    names = [f"{child.pid} {child.name()}" for child in alive if child.is_running()]
    for child in alive:
        child.kill()
    assert not names, f"left running: {', '.join(names)}"
