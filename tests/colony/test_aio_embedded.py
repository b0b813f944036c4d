"""Event loops that stand in for the host of their own process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any, cast
from unittest import mock

import pytest

from agents import client_link
from agents.baton import Deputy
from agents.poller import Poller, Waker
from colony.aio_embedded import AioEmbedded, is_undisturbed


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


class Host:
    """A host whose links' poll is readable; what its loop does there is written down."""

    def __init__(self) -> None:
        self.poll, self.bell = Poller(), Waker()
        self.poll.add(self.bell.fd)
        self.bell.wake()
        self.stood_in: list[Deputy] = []
        self.resigned: list[Deputy] = []
        self.container: Any = None

    def appoint(self, deputy: Deputy) -> int | None:
        deputy.is_in = True
        return self.poll.fd

    def stand_in(self, deputy: Deputy) -> bool:
        self.stood_in.append(deputy)
        return deputy.is_in

    def resign(self, deputy: Deputy) -> None:
        self.resigned.append(deputy)
        deputy.is_in = False

    def ring(self) -> None:
        pass


def appointed(host: Any, loop: asyncio.AbstractEventLoop) -> AioEmbedded:
    """Return the transport of a store that stands in for the host."""
    client = AioEmbedded(host, "tcp://127.0.0.1:1")
    client._loop = loop
    assert client._is_appointed(loop, loop.time())
    return client


@pytest.mark.usefixtures("quiet_signals")
def test_stores_on_one_loop_read_the_links_each_by_itself() -> None:
    async def main() -> None:
        host, loop = Host(), asyncio.get_running_loop()
        first, second = appointed(host, loop), appointed(host, loop)
        first.close()
        host.stood_in.clear()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert second._deputy in host.stood_in and first._deputy not in host.stood_in
        second.close()

    asyncio.run(main())


@pytest.mark.usefixtures("quiet_signals")
def test_a_child_stands_in_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        host, loop = Host(), asyncio.get_running_loop()
        client = appointed(host, loop)
        with monkeypatch.context() as child:
            child.setattr(client_link, "forks", client_link.forks + 1)
            client._read_links()
            client.close()
            assert not host.stood_in and not host.resigned, "both are the parent's"
        assert client._poll and loop.remove_reader(client._poll), (
            "in the child that would take it from the parent's loop"
        )

    asyncio.run(main())


@pytest.mark.usefixtures("quiet_signals")
@pytest.mark.parametrize("error", [NotImplementedError, OSError, ValueError])
def test_a_loop_that_can_not_read_the_links_is_no_deputy(error: type[Exception]) -> None:
    async def main() -> None:
        host, loop = Host(), asyncio.get_running_loop()
        client = AioEmbedded(cast(Any, host), "tcp://127.0.0.1:1")
        with mock.patch.object(loop, "add_reader", side_effect=error):
            assert not client._is_appointed(loop, loop.time())
        assert host.resigned == [client._deputy] and not client._is_appointed(loop, loop.time() + 1e6)

    asyncio.run(main())
