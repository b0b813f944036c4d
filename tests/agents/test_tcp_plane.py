"""Links without keys over plain TCP, on real loopback sockets."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import zmq

from agents import tcp_plane
from agents.link import HOSTS, LOST, Door
from agents.tcp_plane import place_of
from agents.wire import BULK, CONTROL, Source, identity_of
from agents.zmtp import HOST_GREETING, framed, greeting, ready

A, B = "a" * 32, "b" * 32
ANY = "tcp://127.0.0.1:*"


class Pair:
    """Two doors, turned by hand, and a pipe from the first to the second."""

    def __init__(self) -> None:
        self.a, self.b = Door(ANY, ANY), Door(ANY, ANY)
        self.frames: list[tuple[Source, bytes]] = []

    def open(self, address: str = "") -> None:
        self.a.open(B, address or self.b.link_address, 7, (A, 3))

    def turn(self, timeout_s: float = 0.002) -> None:
        self.a.poll(timeout_s)
        if self.b.poll(timeout_s) & HOSTS:
            self.frames += self.b.receive_host_frames(256)

    def until(self, is_so: Callable[[], bool], within_s: float = 20.0) -> None:
        until_s = time.monotonic() + within_s
        while not is_so():
            assert time.monotonic() < until_s, "not in time"
            self.turn()

    def connect(self) -> None:
        self.open()
        self.until(lambda: self.a.is_connected(B))

    def lost(self, within_s: float = 20.0) -> str:
        """Return why the pipe was lost; "" if it was not."""
        until_s = time.monotonic() + within_s
        while time.monotonic() < until_s:
            if self.a.poll(0.01) & LOST:
                ((_, _, reason),) = self.a.lost()
                return reason
        return ""


slow = pytest.mark.slow  # waits for seconds


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two doors."""
    made = Pair()
    yield made
    made.a.shut()
    made.b.shut()


@pytest.fixture
def stranger() -> Iterator[socket.socket]:
    """A service that is no host."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        yield server


def address_of(server: socket.socket) -> str:
    """Return where a service listens."""
    return f"tcp://127.0.0.1:{server.getsockname()[1]}"


def test_frames_of_any_size_come_whole_and_in_order(pair: Pair) -> None:
    pair.open()
    sizes = [0, 1, 255, 256, 65_536, 65_537, 3_000_000, 1, 20_000_000, 2]
    chance = random.Random(1)
    sent = [chance.randbytes(min(size, 100)).ljust(size, b".") for size in sizes]
    for data in sent:
        assert pair.a.send(B, 7, CONTROL, data)
    pair.until(lambda: len(pair.frames) == len(sent))
    assert pair.frames == [(Source(A, 3, 7, CONTROL), data) for data in sent]


def test_control_does_not_wait_for_bulk(pair: Pair) -> None:
    pair.connect()
    for _ in range(40):
        pair.a.send(B, 7, BULK, bytes(500_000))
    pair.until(lambda: len(pair.frames) >= 3)
    pair.a.send(B, 7, CONTROL, b"heartbeat")
    before = len(pair.frames)
    pair.until(lambda: any(source.plane == CONTROL for source, _ in pair.frames))
    assert len(pair.frames) - before <= 4, "what was read already, and no more"
    pair.until(lambda: len(pair.frames) == 41)


def test_a_caller_that_waits_for_its_ack_is_told_of_control_planes_only(pair: Pair) -> None:
    pair.connect()
    pair.a.send(B, 7, BULK, b"chunk")
    pair.until(lambda: len(pair.frames) == 1)
    incoming = pair.b.incoming
    assert incoming is not None and len(incoming.connections) == 2
    assert incoming.lend()
    pair.a.send(B, 7, BULK, b"chunk")
    assert incoming.poll.wait(0.02) == [], "the loop reads it, as always"
    pair.until(lambda: len(pair.frames) == 2)
    pair.a.send(B, 7, CONTROL, b"ack")
    (fd,) = incoming.poll.wait(5)
    assert incoming.connections[fd].identity == Source(A, 3, 7, CONTROL)
    pair.turn()
    assert len(pair.frames) == 2, "the loop is not told of it"
    incoming.take_back()
    pair.until(lambda: len(pair.frames) == 3)
    pair.a.close(B, 7)
    pair.until(lambda: not incoming.connections)
    assert incoming.lend() and incoming.poll.wait(0) == []


def test_one_that_does_not_read_is_lost_when_too_much_waits(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp_plane, "UNSENT_BYTES_MAX", 4_000_000)
    pair.connect()
    sent = 0
    while pair.a.send(B, 7, CONTROL, bytes(1_000_000)):
        sent += 1
        assert sent < 100
    assert pair.lost() == "it doesn't take what we send"
    assert not pair.a.send(B, 7, CONTROL, b"x")


def test_what_waits_is_gone_with_its_pipe(pair: Pair) -> None:
    pair.connect()
    for _ in range(40):
        pair.a.send(B, 7, CONTROL, bytes(1_000_000))
    pair.a.close(B, 7)
    pair.a.open(B, pair.b.link_address, 8, (A, 3))
    pair.a.send(B, 8, CONTROL, b"new")
    pair.until(lambda: (Source(A, 3, 8, CONTROL), b"new") in pair.frames)
    assert len(pair.frames) < 41, "some of it had left"
    assert {len(data) for source, data in pair.frames if source.link == 7} <= {1_000_000}, "whole or not"


def test_last_words_leave_though_much_waits_before_them(pair: Pair) -> None:
    pair.connect()
    for _ in range(20):
        pair.a.send(B, 7, CONTROL, bytes(1_000_000))
    pair.a.send(B, 7, CONTROL, b"goodbye")
    pair.a.close(B, 7, linger_s=5)
    assert not pair.a.send(B, 7, CONTROL, b"x")
    pair.until(lambda: len(pair.frames) == 21)
    assert pair.frames[-1][1] == b"goodbye"
    assert pair.a.lost() == []


def test_last_words_leave_a_door_that_shuts_and_never_wait_for_longer(pair: Pair) -> None:
    pair.connect()
    for _ in range(20):
        pair.a.send(B, 7, CONTROL, bytes(1_000_000))
    thread = threading.Thread(target=pair.a.shut, args=(5,))
    thread.start()
    until_s = time.monotonic() + 10
    while len(pair.frames) < 20 and time.monotonic() < until_s:
        if pair.b.poll(0.01) & HOSTS:
            pair.frames += pair.b.receive_host_frames(256)
    thread.join()
    assert len(pair.frames) == 20
    other = Door(ANY, ANY)
    other.open(B, pair.b.link_address, 8, (A, 3))
    other.send(B, 8, CONTROL, b"x")
    start_s = time.monotonic()
    other.shut(0.2)  # nobody shakes its hand
    assert time.monotonic() - start_s < 10


def test_zeromqs_dealer_still_gets_through(pair: Pair) -> None:
    """A host whose address is a name is dialled by ZeroMQ, which looks it up in its own thread."""
    pair.open(pair.b.link_address.replace("127.0.0.1", "localhost"))
    pair.a.send(B, 7, CONTROL, b"x")
    pair.until(lambda: bool(pair.frames))
    assert pair.frames == [(Source(A, 3, 7, CONTROL), b"x")]


def test_who_says_no_name_of_ours_or_one_used_again_is_hung_up_on(pair: Pair) -> None:
    pair.connect()
    again = identity_of(Source(A, 3, 7, CONTROL))
    for name in (b"", b"junk", f"{A}/1/2/9".encode(), f"{A}/1/2".encode(), b"x" * 255, again):
        before = pair.b.strangers
        raw = socket.create_connection(("127.0.0.1", int(pair.b.link_address.rpartition(":")[2])), 5)
        raw.sendall(greeting() + ready(b"DEALER", name) + framed(b"no"))
        pair.until(lambda before=before: pair.b.strangers > before)  # type: ignore[misc]
        raw.close()
    pair.a.send(B, 7, CONTROL, b"yes")
    pair.until(lambda: bool(pair.frames))
    assert [data for _, data in pair.frames] == [b"yes"]


def test_garbage_from_who_is_dialled_loses_the_pipe(pair: Pair, stranger: socket.socket) -> None:
    for said in (
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        greeting(b"CURVE"),
        HOST_GREETING + ready(b"PUB"),
        HOST_GREETING + ready(b"ROUTER") + framed(b"talks back"),
        HOST_GREETING + ready(b"ROUTER") + b"\x02" + bytes(6) + b"\xff\xff",
        random.Random(5).randbytes(300),
    ):
        pair.open(address_of(stranger))
        pair.a.poll(0.01)
        peer, _ = stranger.accept()
        peer.sendall(said)
        assert pair.lost(), said
        peer.close()


@slow
def test_a_connection_that_is_not_made_has_its_time(
    pair: Pair, stranger: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.open(address_of(stranger))
    start_s = time.monotonic()
    assert pair.lost() == "handshake failed: no answer in time"
    assert time.monotonic() - start_s > 0.8
    # Where nobody answers: a machine that is off. Here: a queue that is full.
    monkeypatch.setattr(tcp_plane, "CONNECT_S", 0.2)
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    crowd = [socket.socket() for _ in range(4)]
    for each in crowd:
        each.setblocking(False)
        each.connect_ex(full.getsockname())
    pair.open(address_of(full))
    assert pair.lost() == "can't connect"
    for each in (*crowd, full):
        each.close()


@slow
def test_silence_is_noticed_and_our_own_stall_is_forgiven(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp_plane, "PING_EVERY_S", 0.1)
    monkeypatch.setattr(tcp_plane, "SILENCE_S", 0.5)
    pair.connect()
    until_s = time.monotonic() + 1.0
    while time.monotonic() < until_s:
        pair.turn()
    assert pair.a.is_connected(B), "each PING is answered"
    time.sleep(0.8)  # neither side did anything
    pair.turn()
    assert pair.a.is_connected(B) and pair.a.lost() == []
    start_s = time.monotonic()
    assert pair.lost() == "silent"
    assert time.monotonic() - start_s > 0.3


@slow
def test_a_machine_that_is_off_is_noticed_before_one_that_stalls(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.connect()
    start_s = time.monotonic()
    monkeypatch.setattr(tcp_plane, "_is_machine_gone", lambda connection: True)
    assert pair.lost() == "its machine does not answer"
    assert time.monotonic() - start_s > 0.9


@slow
def test_a_machine_on_which_a_process_stalls_still_answers(pair: Pair) -> None:
    pair.connect()
    connection = pair.a._pipes[B].planes[CONTROL]._socket  # type: ignore[union-attr]
    until_s = time.monotonic() + 1.6
    while time.monotonic() < until_s:
        pair.a.send(B, 7, CONTROL, bytes(50_000))  # its buffers are full long before the end
        assert pair.a.poll(0.01) & LOST == 0
    assert not tcp_plane._is_machine_gone(connection)


def test_places() -> None:
    assert place_of("tcp://127.0.0.1:1") == (socket.AF_INET, ("127.0.0.1", 1))
    assert place_of("tcp://[::1]:1") == (socket.AF_INET6, ("::1", 1))
    assert place_of("tcp://somewhere:1") is None
    for nonsense in ("", "tcp://", "tcp://x", "ipc:///tmp/x:1", "tcp://127.0.0.1:99999", "tcp://:1"):
        with pytest.raises(OSError):
            place_of(nonsense)


def test_a_host_is_reached_by_ipv6() -> None:
    try:
        b = Door(ANY, "tcp://[::1]:*")
    except OSError:
        pytest.skip("no IPv6 here")
    a = Door(ANY, ANY)
    try:
        a.open(B, b.link_address, 7, (A, 3))
        a.send(B, 7, CONTROL, b"x")
        until_s = time.monotonic() + 5
        while not b.poll(0.01) & HOSTS and time.monotonic() < until_s:
            a.poll(0.01)
        assert b.receive_host_frames(1) == [(Source(A, 3, 7, CONTROL), b"x")]
    finally:
        a.shut()
        b.shut()


def test_zeromqs_dealer_is_dropped_when_it_sends_several_frames(pair: Pair) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.setsockopt(zmq.IDENTITY, identity_of(Source(A, 3, 7, CONTROL)))
    dealer.connect(pair.b.link_address)
    dealer.send_multipart([b"", b"many", b"parts"])
    dealer.send(b"one")
    pair.until(lambda: bool(pair.frames))
    assert [data for _, data in pair.frames] == [b"one"]
    assert pair.b.strangers == 1
    context.destroy(linger=0)


@pytest.mark.parametrize("identity", [b"", b"junk"])
def test_a_stranger_that_is_gone_before_it_is_answered_has_said_nothing(pair: Pair, identity: bytes) -> None:
    """The answer to its handshake finds it gone; what it said with it is still nobody's."""
    ip, _, port = pair.b.link_address.removeprefix("tcp://").rpartition(":")
    incoming = pair.b._plane.incoming  # type: ignore[union-attr]
    with socket.create_connection((ip, int(port))) as raw:
        pair.until(lambda: len(incoming.connections) == 1)
        raw.sendall(greeting() + ready(b"DEALER", identity) + framed(b"from nobody"))
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    pair.until(lambda: not incoming.connections)
    for _ in range(5):
        pair.turn()
    assert pair.frames == []


def test_a_stranger_whose_handshake_ends_in_nonsense_has_said_nothing(pair: Pair) -> None:
    ip, _, port = pair.b.link_address.removeprefix("tcp://").rpartition(":")
    incoming = pair.b._plane.incoming  # type: ignore[union-attr]
    with socket.create_connection((ip, int(port))) as raw:
        pair.until(lambda: len(incoming.connections) == 1)
        raw.sendall(greeting() + ready(b"DEALER") + framed(b"from nobody") + b"\xff\xff")
        pair.until(lambda: not incoming.connections)
        for _ in range(5):
            pair.turn()
    assert pair.frames == []
