"""Event loops that stand in for the host of their own process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any

import pytest

from colony.aio_embedded import is_undisturbed


@pytest.fixture
def quiet_signals() -> Any:
    """No handlers but Python's own for Ctrl-C; the test's runner has one for its time-outs."""
    before = {number: signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGINT, signal.SIGUSR1)}
    for number in before:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def handler(*_: object) -> None:
    raise TimeoutError


@pytest.mark.usefixtures("quiet_signals")
def test_handlers_that_may_raise_keep_the_main_thread_out() -> None:
    assert is_undisturbed()
    for bad in (handler, signal.default_int_handler):
        signal.signal(signal.SIGUSR1, bad)
        assert not is_undisturbed()
        assert asyncio.run(asyncio.to_thread(is_undisturbed)), "in another thread no handler runs"
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    assert is_undisturbed()


@pytest.mark.usefixtures("quiet_signals")
def test_what_asyncio_sets_does_not() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)

    async def main(call: Callable[[], bool]) -> bool:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, lambda: None)
        return call()

    assert asyncio.run(main(is_undisturbed))
    assert not is_undisturbed(), "Python's own for Ctrl-C raises"
