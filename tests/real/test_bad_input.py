"""What strangers and careless users send to a live host: refused, and nothing lost."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

import colony
from agents.messages.client import BAD, Get, Greet, Put
from agents.messages.replication import Retire
from agents.views import Member
from agents.wire import Frame, Hello, decode_replies, encode
from placement.labels import Labels
from tests.real.hosts import ROOT, Hosts, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    """Yield two hosts that hold a cell."""
    with Hosts(2, boxes=2, colonies=8) as cluster:
        yield cluster


@pytest.fixture
def store(hosts: Hosts) -> Iterator[colony.Store]:
    """Yield a store; what it held before must be there, and the hosts alive, after."""
    with colony.connect(",".join(hosts.seeds)) as found:
        found.set("kept", "safe")
        yield found
        assert found.get("kept") == "safe"
        assert all(process.is_alive for process in hosts.processes.values())
        assert len(hosts.status()["view"]["members"]) == 2


def link_of(hosts: Hosts) -> str:
    """Return where the first host takes links."""
    return str(hosts.status()["view"]["members"][0]["link"])


def send_all(address: str, frames: list[list[bytes]], identity: bytes = b"") -> None:
    """Send multipart messages from one DEALER."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 500
        dealer.sndtimeo = 1000
        if identity:
            dealer.identity = identity
        dealer.connect(address)
        for frame in frames:
            try:
                dealer.send_multipart(frame)
            except zmq.Again:
                return  # the host has closed on us, as it may
        time.sleep(0.2)


def garbage(seed: int, valid: list[bytes]) -> list[list[bytes]]:
    """Return random and mutated frames, bounded."""
    chance = random.Random(seed)
    frames = []
    for _ in range(1500):
        kind = chance.randrange(4)
        if kind == 0:
            frames.append([chance.randbytes(chance.randrange(200))])
        elif kind == 1:
            frames.append([chance.randbytes(8) for _ in range(chance.randrange(1, 6))])
        else:
            data = bytearray(chance.choice(valid))
            for _ in range(chance.randrange(1, 6)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            frames.append([bytes(data[: chance.randrange(1, len(data) + 1)] if kind == 3 else data)])
    return frames


def test_garbage_and_mutated_frames_to_the_client_port(hosts: Hosts, store: colony.Store) -> None:
    valid = [encode([Greet(1)]), encode([Get(2, b"kept")]), encode([Put(3, b"l", 1, b"other", b"v" * 50)])]
    for seed, address in enumerate(hosts.seeds * 2):
        send_all(address, garbage(seed, valid))


def test_garbage_and_mutated_frames_to_the_link_port(hosts: Hosts, store: colony.Store) -> None:
    tag = str(hosts.status()["tag"])
    member = Member("f" * 32, 1, "stranger", "tcp://127.0.0.1:9", "tcp://127.0.0.1:9", Labels())
    hello = Hello(1, 1, "0", tag, 1, "COMMIT", member, 1, 0)
    valid = [encode(hello), encode(Frame(1, 1, 1, 1, (Retire(0, 1 << 40),)))]
    for seed in range(3):
        send_all(link_of(hosts), garbage(seed, valid))


def test_a_members_identity_does_not_make_a_strangers_frame_count(hosts: Hosts, store: colony.Store) -> None:
    members = hosts.status()["view"]["members"]
    other = members[1]
    frames = [
        [encode(Frame(link, heard, 1, view, tuple(Retire(colony_, 1 << 50) for colony_ in range(8))))]
        for link in (1, 2, int(time.time()))
        for heard in (0, 1)
        for view in (0, 1)
    ]
    for plane in (0, 1):
        identity = f"{other['id']}/{other['incarnation']}/1/{plane}".encode()
        send_all(link_of(hosts), frames, identity)


def test_raw_tcp_bytes_to_every_port(hosts: Hosts, store: colony.Store) -> None:
    for address in (*hosts.seeds, link_of(hosts)):
        ip, port = address.removeprefix("tcp://").rsplit(":", 1)
        for data in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"\xff" * 100_000,
            b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f",
        ):
            with socket.create_connection((ip, int(port)), timeout=2) as raw:
                try:
                    raw.sendall(data)
                except OSError:
                    pass  # it has hung up on us


def test_an_oversized_frame_is_cut_off(hosts: Hosts, store: colony.Store) -> None:
    send_all(hosts.seeds[0], [[b"\x00" * (80 * 1024 * 1024)]])


def test_a_wrong_protocol_version_is_told_so(hosts: Hosts, store: colony.Store) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.rcvtimeo = 3000
        dealer.connect(hosts.seeds[0])
        dealer.send(encode([Greet(1, protocol=99)]))
        reply = decode_replies(dealer.recv())[0]
        assert reply.code == BAD and "protocol" in reply.text


def test_an_oversized_value_is_refused_before_it_is_sent(store: colony.Store) -> None:
    with pytest.raises(colony.TooLarge):
        store.set("big", b"x" * (17 * 1024 * 1024))


@pytest.mark.parametrize("key", [7, None, "", "k" * 1025, 1.5])
def test_a_key_of_the_wrong_type_or_length_is_refused(store: colony.Store, key: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        store.set(key, "v")  # type: ignore[arg-type]


def run_host(*arguments: str) -> tuple[int, str]:
    """Run `colony host` with arguments that must end it; return status and output."""
    command = [sys.executable, "-m", "colony", "host", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_taken_port_is_one_clear_line(hosts: Hosts, store: colony.Store) -> None:
    status, said = run_host("--name", "x", "--listen", hosts.seeds[0])
    assert status == 1 and said.count("\n") == 1 and "in use" in said


def test_a_duplicate_name_waits_outside_and_says_why(
    hosts: Hosts, store: colony.Store, tmp_path: Path
) -> None:
    name = next(iter(hosts.processes))
    command = [sys.executable, "-m", "colony", "host", "--name", name, "--listen", "tcp://127.0.0.1:0"]
    command += ["--join", ",".join(hosts.seeds)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    log = tmp_path / "twin.log"
    with log.open("wb") as out:
        twin = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
    try:
        until(lambda: f"name {name} is taken" in log.read_text(), "it says why")
        time.sleep(1)
    finally:
        twin.kill()
        twin.wait()
    assert "ready" not in log.read_text()


def test_a_full_host_says_so_and_keeps_what_it_has() -> None:
    with colony.Host(listen="tcp://127.0.0.1:*", expect=1, colonies=4, peers=1, max_bytes=200_000) as host:
        host.wait_ready(10)
        store = host.store()
        store.set("before", "kept")
        with pytest.raises(colony.Full):
            for number in range(400):
                store.set(f"fill-{number}", b"x" * 1000)
        assert store.get("before") == "kept"
        assert store.delete("fill-0")
