"""A server on loopback around stand-in machines."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import zmq

from agents.effects import Answer, Requested, Ticked
from agents.link import Door
from agents.messages.client import OK, Get, Reply, Unwatch, Watch
from agents.server import Server

Script = Callable[[Any, float], list[Any]]


class Echo:
    """Stands for a machine: answers requests, and does what a test scripts."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.script: Script = lambda event, now_s: []

    def handle(self, event: Any, now_s: float) -> list[Any]:
        """Remember the event, and return what the script says, or an answer."""
        self.heard.append(event)
        scripted = self.script(event, now_s)
        if scripted or type(event) is not Requested or type(event.request) in (Watch, Unwatch):
            return scripted
        return [Answer(event.caller, Reply(event.request.id, OK, value=getattr(event.request, "key", None)))]

    def kinds(self) -> list[type]:
        """Return the kinds of events heard, ticks left out."""
        return [type(event) for event in self.heard if type(event) is not Ticked]


class FakeLinks:
    """Stands for the links: remembers what is flushed."""

    def __init__(self) -> None:
        self.flushed: list[dict[str, list[Any]]] = []

    def tick(self, now_s: float) -> list[Any]:
        """Nothing is ever due."""
        return []

    def flush(self, outbox: dict[str, list[Any]], now_s: float) -> list[Any]:
        """Remember an outbox."""
        self.flushed.append(outbox)
        return []


class FakeContainer(Echo):
    """Stands for the container of a host with eight colonies."""

    def __init__(self) -> None:
        super().__init__()
        self.links = FakeLinks()
        self.machines: dict[int, Echo] = {}
        quorum = SimpleNamespace(held=lambda now_s: True)
        self.membership = SimpleNamespace(view=None, quorum=quorum, me=SimpleNamespace(name="h1", id="me"))

    def rests_until_s(self, now_s: float) -> float:
        """There is always work."""
        return now_s

    def colony(self, colony: int) -> Echo:
        """Return the machine of a colony."""
        return self.machines.setdefault(colony, Echo())

    def colony_of(self, message: Any) -> int | None:
        """Keys say their colony themselves; messages carry it."""
        if isinstance(message, Get):
            return int(message.key)
        return getattr(message, "colony", None)

    def read(self, key: bytes, now_s: float) -> Any:
        """Return the key itself."""
        return key


@contextmanager
def serving(**options: Any) -> Iterator[Server]:
    """Run a server on loopback, and stop it."""
    server = Server(FakeContainer(), Door("tcp://127.0.0.1:*", "tcp://127.0.0.1:*"), **options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def client_of(server: Server) -> Iterator[zmq.Socket[bytes]]:
    """Connect to a server as a thin client does."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context, context.socket(zmq.DEALER) as dealer:
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.RCVTIMEO, 5000)
        dealer.connect(server.door.address)
        yield dealer


def ask(server: Server, request: Any) -> Reply:
    """Submit a request from this thread, and wait for its reply."""
    replies: queue.SimpleQueue[Reply] = queue.SimpleQueue()
    assert server.submit(request, replies.put)
    return replies.get(timeout=20)


def until(true: Callable[[], Any]) -> None:
    """Wait until something is true."""
    deadline_s = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline_s, "it never came about"
        time.sleep(0.002)
