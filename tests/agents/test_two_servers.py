"""Servers in processes of their own: founded, written to, read, and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq

from agents.keys import colony_of
from agents.messages.client import MOVED, OK, UNAVAILABLE, Admin, Get, Greet, Greeting, Put, Reply
from agents.wire import decode_replies, encode
from tests.ports import free_port

pytestmark = [pytest.mark.real, pytest.mark.timeout(60)]
ROOT = Path(__file__).resolve().parents[2]

CHILD = """
import os, sys, time
from agents.hosting import Container
from agents.link import Door
from agents.membership import Settings
from agents.server import Server
from agents.views import Member
from placement import probe
from placement.labels import Labels

number, listen, seeds = int(sys.argv[1]), sys.argv[2], tuple(sys.argv[3:])
door = Door(listen, "tcp://127.0.0.1:*")
me = Member(
    f"{number:032x}", 1, f"h{number}", door.address, door.link_address, Labels(box=f"b{number}"),
    machine=probe.machine_identity(), pid=os.getpid(), started_s=probe.process_started_s(),
)
container = Container(me, Settings(), None, time.monotonic())
server = Server(
    container, door, seeds=seeds, owns_process=True,
    process_state=lambda member: probe.process_state(member.pid, member.started_s),
)
print("listening", flush=True)
sys.exit(server.run())
"""


class Client:
    """The simplest client there can be: one DEALER for each host, one request at a time."""

    def __init__(self, addresses: list[str]) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._dealers = [self._context.socket(zmq.DEALER) for _ in addresses]
        for dealer, address in zip(self._dealers, addresses, strict=True):
            dealer.setsockopt(zmq.LINGER, 0)
            dealer.setsockopt(zmq.RCVTIMEO, 500)
            dealer.connect(address)
        self._number = 0

    def ask(self, host: int, request: Any) -> Reply:
        """Return a host's reply; UNAVAILABLE if it gives none in half a second."""
        self._dealers[host].send(encode([request]))
        try:
            while True:
                for reply in decode_replies(self._dealers[host].recv()):
                    if reply.id == request.id:
                        return reply
        except zmq.Again:
            return Reply(request.id, UNAVAILABLE, text="no answer")

    def order(self, host: int, command: str, **arguments: Any) -> dict[str, Any]:
        """Return a host's answer to an operator's command; one without a core for a while is asked again."""
        reply = self.ask(host, Admin(self._next(), command, arguments))
        for _ in range(20):
            if reply.code != UNAVAILABLE:
                break
            reply = self.ask(host, Admin(self._next(), command, arguments))
        assert reply.code == OK, reply.text
        answer: dict[str, Any] = json.loads(reply.text)
        return answer

    def greeting(self, host: int) -> Greeting:
        """Return what a host says of itself and of the others."""
        reply = self.ask(host, Greet(self._next()))
        return msgspec.msgpack.decode(reply.value or b"", type=Greeting)

    def put(self, key: bytes, dna: bytes, within_s: float = 30.0) -> Reply:
        """Write a cell, wherever it lives; a retry repeats its lane and number."""
        self._number += 1
        return self._anywhere(Put(self._next(), b"lane", self._number, key, dna), within_s)

    def get(self, key: bytes, within_s: float = 30.0) -> Reply:
        """Read a cell, wherever it lives."""
        return self._anywhere(Get(self._next(), key), within_s)

    def close(self) -> None:
        """Close all connections."""
        self._context.destroy(linger=0)

    def _anywhere(self, request: Any, within_s: float) -> Reply:
        deadline_s = time.monotonic() + within_s
        reply = Reply(0, UNAVAILABLE, text="nobody was asked")
        while time.monotonic() < deadline_s:
            for host in range(len(self._dealers)):
                reply = self.ask(host, request)
                if reply.code not in (MOVED, UNAVAILABLE):
                    return reply
            time.sleep(0.01)
        return reply

    def _next(self) -> int:
        self._number += 1
        return self._number


class Fleet:
    """Hosts in processes of their own, on free ports of the loopback."""

    def __init__(self, hosts: int) -> None:
        self.addresses = [f"tcp://127.0.0.1:{free_port()}" for _ in range(hosts)]
        self.processes = [self._start(number) for number in range(hosts)]
        for process in self.processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"listening\n"
        self.client = Client(self.addresses)

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", CHILD, str(number + 1), self.addresses[number], *self.addresses]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=ROOT)

    def found(self, colonies: int = 8) -> None:
        """Init a cluster of all hosts, and wait until each colony has two peers."""
        deadline_s = time.monotonic() + 40
        time.sleep(0.3)  # until the zombies see each other; a lone one would found a cluster of one
        while not self._is_founded(colonies):
            assert time.monotonic() < deadline_s, "no healthy cluster came about"
            time.sleep(0.05)

    def _is_founded(self, colonies: int) -> bool:
        answers = [self.client.order(host, "status") for host in range(len(self.processes))]
        if not any(answer["tag"] for answer in answers):
            self.client.ask(0, Admin(1, "init", {"colonies": colonies, "peers": 2}))
        return all(
            len(answer["view"]["members"]) == len(self.processes)
            and answer["quorum"]
            and answer["colonies"]["healthy"] == colonies
            for answer in answers
        )

    def end(self) -> None:
        """Kill what still runs."""
        self.client.close()
        for process in self.processes:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """So many hosts as the test asks for."""
    made = Fleet(request.param)
    try:
        yield made
    finally:
        made.end()


@pytest.mark.parametrize("fleet", [2], indirect=True)
def test_two_hosts_are_founded_and_what_is_set_on_one_is_read(fleet: Fleet) -> None:
    fleet.found()
    client = fleet.client
    written = {b"key%d" % number: b"dna%d" % number for number in range(50)}
    for key, dna in written.items():
        assert client.put(key, dna).code == OK
    assert {key: client.get(key).value for key in written} == written
    primaries = client.greeting(0).primaries
    assert len({primaries[colony_of(key, 8)] for key in written}) == 2  # both do their share
    assert client.greeting(1).primaries == primaries


@pytest.mark.parametrize("fleet", [3], indirect=True)
def test_one_of_three_hosts_is_killed_and_nothing_acknowledged_is_lost(fleet: Fleet) -> None:
    fleet.found()
    client = fleet.client
    written = {b"key%d" % number: b"before" for number in range(50)}
    for key, dna in written.items():
        assert client.put(key, dna).code == OK
    fleet.processes[2].send_signal(signal.SIGKILL)
    assert {key: client.get(key).value for key in written} == written
    for key in written:
        assert client.put(key, b"after").code == OK
    assert all(client.get(key).value == b"after" for key in written)
    kinds = {event["kind"] for event in client.order(0, "events", limit=4000)["events"]}
    assert "view" in kinds


@pytest.mark.parametrize("fleet", [3], indirect=True)
def test_a_host_that_stalls_serves_nothing_stale_when_it_wakes(fleet: Fleet) -> None:
    fleet.found()
    client = fleet.client
    keys = [b"key%d" % number for number in range(20)]
    for key in keys:
        assert client.put(key, b"before").code == OK
    stalled = fleet.processes[2]
    stalled.send_signal(signal.SIGSTOP)
    try:
        for key in keys:
            assert client.put(key, b"after").code == OK
        for key in keys:  # these wait in the stalled host's socket until it wakes
            client._dealers[2].send(encode([Get(900_000 + keys.index(key), key)]))
    finally:
        stalled.send_signal(signal.SIGCONT)
    deadline_s, answered = time.monotonic() + 20, 0
    while answered < len(keys) and time.monotonic() < deadline_s:
        try:
            replies = decode_replies(client._dealers[2].recv())
        except zmq.Again:
            continue
        for reply in replies:
            if reply.id >= 900_000:
                answered += 1
                assert reply.code in (MOVED, UNAVAILABLE) or reply.value == b"after"
    assert answered
