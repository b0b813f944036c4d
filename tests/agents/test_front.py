"""The public endpoint without keys, on real loopback sockets."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterator

import pytest
import zmq

from agents import front as fronts
from agents.front import Front
from agents.poller import Poller
from agents.tcp_link import TcpLink
from agents.turnstile import Bounds, Turnstile
from agents.zmtp import HOST_GREETING, framed, greeting, ready

LIMIT = 20 * 1024 * 1024
ANY = "tcp://127.0.0.1:*"


class Host:
    """A front, and the poller that it lies in, turned by hand."""

    def __init__(self, endpoint: str = ANY) -> None:
        self.poller = Poller()
        self.front = Front(endpoint, self.poller, LIMIT)

    def turn(self, timeout_s: float = 0.01) -> None:
        """Do what a door's poll does."""
        if self.front.is_busy:
            self.front.expire()
        for fd in self.poller.wait(0 if self.front.ready else timeout_s):
            if fd == self.front.fd:
                self.front.accept()
            elif fd in self.front.connections:
                self.front.see(self.front.connections[fd])

    def until(self, is_so: Callable[[], bool], within_s: float = 20.0) -> None:
        until_s = time.monotonic() + within_s
        while not is_so():
            assert time.monotonic() < until_s, "not in time"
            self.turn()

    def take(self, count: int) -> list[tuple[bytes, bytes]]:
        """Return messages as soon as there are so many."""
        taken: list[tuple[bytes, bytes]] = []

        def is_enough() -> bool:
            taken.extend(self.front.take(128))
            return len(taken) >= count

        self.until(is_enough)
        return taken

    def dial(self, said: bytes = b"") -> socket.socket:
        """Return a raw connection that has said something."""
        host, _, port = self.front.address.removeprefix("tcp://").rpartition(":")
        raw = socket.create_connection((host.strip("[]"), int(port)), 5)
        raw.settimeout(5)
        raw.sendall(said)
        return raw


@pytest.fixture
def host() -> Iterator[Host]:
    """A front of its own."""
    made = Host()
    yield made
    made.front.shut(0)


@pytest.fixture
def dealer() -> Iterator[zmq.Socket[bytes]]:
    """A DEALER of ZeroMQ's, not connected yet."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context.socket(zmq.DEALER)
    context.destroy(linger=0)


HELLO = greeting() + ready(b"DEALER")


def is_closed(raw: socket.socket) -> bool:
    """Read all that is left; return whether the other side has hung up."""
    try:
        while raw.recv(1 << 20):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("size", [0, 1, 255, 256, 70_000, 17 * 1024 * 1024])
def test_zeromqs_dealer_is_answered_in_any_size(host: Host, dealer: zmq.Socket[bytes], size: int) -> None:
    dealer.connect(host.front.address)
    dealer.send(bytes(size))
    ((who, data),) = host.take(1)
    assert data == bytes(size)
    assert host.front.reply(who, data)
    host.until(lambda: bool(dealer.poll(0)))
    assert dealer.recv() == data


def test_our_own_client_is_answered(host: Host) -> None:
    raw = host.dial(HELLO + framed(b"a") + framed(b"b" * 300))
    taken = host.take(2)
    assert [data for _, data in taken] == [b"a", b"b" * 300]
    assert host.front.reply(taken[0][0], b"c")
    host.turn()
    assert raw.recv(1000)[:64] == HOST_GREETING
    raw.close()


def test_many_small_ones_come_in_order_and_never_more_than_the_budget(
    host: Host, dealer: zmq.Socket[bytes]
) -> None:
    dealer.set_hwm(0)
    dealer.connect(host.front.address)
    for number in range(5_000):
        dealer.send(b"%d" % number)
    host.until(lambda: bool(host.front.ready))
    assert len(host.front.take(7)) == 7
    assert [data for _, data in host.take(4_993)] == [b"%d" % number for number in range(7, 5_000)]


def test_one_that_sends_much_lets_others_have_their_turn(host: Host) -> None:
    loud, quiet = host.dial(HELLO + framed(b"x") * 20_000), host.dial(HELLO + framed(b"quiet"))
    host.until(lambda: len(host.front.ready) == 2)
    assert b"quiet" in [data for _ in range(3) for _, data in host.front.take(100)]
    loud.close()
    quiet.close()


def test_identities_are_never_used_again(host: Host) -> None:
    seen = set()
    for _ in range(5):
        with host.dial(HELLO + framed(b"x")):
            seen.add(host.take(1)[0][0])
        host.until(lambda: host.front.take(1) == [] and not host.front.connections)
    assert len(seen) == 5
    assert not any(host.front.reply(who, b"late") for who in seen)


def test_one_that_does_not_read_is_closed_and_the_others_are_not(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fronts, "UNSENT_BYTES_MAX", 1_000_000)
    slow, other = host.dial(HELLO + framed(b"slow")), host.dial(HELLO + framed(b"other"))
    who = {data: identity for identity, data in host.take(2)}
    assert any(not host.front.reply(who[b"slow"], bytes(500_000)) for _ in range(100))
    assert not host.front.reply(who[b"slow"], b"")
    assert host.front.reply(who[b"other"], b"still")
    slow.close()
    other.close()


def test_one_that_reads_late_gets_all_of_it_and_is_not_read_meanwhile(host: Host) -> None:
    raw = host.dial(HELLO + framed(b"x"))
    ((who, _),) = host.take(1)
    for _ in range(40):
        assert host.front.reply(who, bytes(500_000))
    raw.sendall(framed(b"later"))
    for _ in range(5):
        host.turn(0.001)
    assert not host.front.ready
    left = 40 * 500_009 + len(HOST_GREETING) + len(ready(b"ROUTER"))
    while left:
        host.turn(0)
        left -= len(raw.recv(min(left, 1 << 20)))
    assert host.take(1) == [(who, b"later")]
    raw.close()


def test_what_is_held_waits_without_spinning(host: Host) -> None:
    raw = host.dial(HELLO + framed(b"x"))
    ((who, _),) = host.take(1)
    host.front.hold(True)
    raw.sendall(framed(b"y"))
    assert host.poller.wait(0.05) == []
    assert host.front.reply(who, b"an answer leaves all the same")
    host.front.hold(False)
    assert host.take(1) == [(who, b"y")]
    raw.close()


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        bytes(64),
        b"\xff" * 100,
        greeting(b"CURVE"),
        greeting() + ready(b"SUB"),
        greeting() + framed(b"too early"),
        HELLO + b"\x02" + (LIMIT + 1).to_bytes(8, "big"),
        HELLO + b"\x07\x00",
    ],
)
def test_strangers_are_hung_up_on(host: Host, said: bytes) -> None:
    raw = host.dial(said)
    host.until(lambda: host.front.strangers == 1)
    assert not host.front.connections and is_closed(raw)
    raw.close()


def test_noise_never_breaks_anything(host: Host) -> None:
    chance = random.Random(1)
    for _ in range(200):
        said = bytearray(HELLO + framed(b"abc") * 3)
        for _ in range(chance.randrange(4)):
            said[chance.randrange(len(said))] = chance.randrange(256)
        with host.dial(bytes(said[: chance.randrange(len(said) + 1)])):
            host.turn(0)
        host.turn(0)
        host.front.take(100)
    host.until(lambda: host.front.take(100) == [] and not host.front.connections)


def test_messages_of_several_frames_are_dropped(host: Host, dealer: zmq.Socket[bytes]) -> None:
    dealer.connect(host.front.address)
    dealer.send_multipart([b"a", b"b", b"c"])
    dealer.send(b"whole")
    assert [data for _, data in host.take(1)] == [b"whole"]
    assert host.front.strangers == 1


def test_a_handshake_has_its_time(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fronts, "HANDSHAKE_S", 0.05)
    raw = host.dial(HELLO[:70])
    host.until(lambda: host.front.strangers == 1)
    assert is_closed(raw) and not host.front.is_busy
    raw.close()


def test_one_too_many_is_told_so(host: Host) -> None:
    host.front._turnstile.bounds = Bounds(connections_max=1)
    first = host.dial(HELLO)
    host.until(lambda: len(host.front.connections) == 1)
    second = host.dial()
    host.until(lambda: host.front.strangers == 1)
    assert b"1 connections are open already" in second.recv(1000)
    first.close()
    second.close()


def test_one_address_has_its_own_bounds_and_is_noted_once(host: Host) -> None:
    host.front._turnstile.bounds = Bounds(per_source_max=2)
    raws = [host.dial() for _ in range(5)]
    host.until(lambda: host.front.strangers == 3)
    assert b"2 connections from 127.0.0.1" in raws[4].recv(1000)
    assert host.front.refusals.count == 3 and len(host.front.refusals.take()) == 1
    raws[0].close()
    host.until(lambda: len(host.front.connections) == 1)
    raws.append(host.dial())
    host.until(lambda: len(host.front.connections) == 2)
    for raw in raws:
        raw.close()


def test_who_knocks_too_fast_is_sent_away(host: Host) -> None:
    host.front._turnstile = Turnstile(Bounds(burst=3, per_s=0.001))
    raws = [host.dial() for _ in range(5)]
    host.until(lambda: host.front.strangers == 2)
    assert b"new connections a second" in raws[4].recv(1000)
    for raw in raws:
        raw.close()


def test_half_open_connections_make_room_for_others(host: Host) -> None:
    host.front._turnstile = Turnstile(Bounds(young_max=2))
    raws = [host.dial(b"\xff") for _ in range(4)]
    host.until(lambda: host.front.strangers == 2)
    good = host.dial(HELLO)
    host.until(lambda: any(connection.talk.is_open for connection in host.front.connections.values()))
    assert len(host.front._young) <= 2
    for raw in (*raws, good):
        raw.close()


def test_large_frames_half_sent_have_a_quota_together(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fronts, "QUOTA_BYTES", 3_000_000)
    raws = [host.dial(HELLO) for _ in range(3)]
    host.until(lambda: sum(c.talk.is_open for c in host.front.connections.values()) == 3)
    for raw, size in zip(raws, (500_000, 1_900_000, 900_000), strict=True):
        raw.setblocking(False)
        left = memoryview(b"\x02" + (10_000_000).to_bytes(8, "big") + bytes(size))
        while left:
            try:
                left = left[raw.send(left) :]
            except BlockingIOError:
                pass
            host.turn(0.001)
            host.front.take(10)
    host.until(lambda: host.front.strangers == 1 or bool(host.front.take(1)))
    halves = sorted(connection.half for connection in host.front.connections.values())
    assert len(halves) == 2 and halves[-1] < 1_500_000 and host.front._bytes == sum(halves) <= 3_000_000
    for raw in raws:
        raw.close()
    host.until(lambda: not host.front.connections or bool(host.front.take(1)))
    assert host.front._bytes == 0


def test_unsent_replies_have_a_quota_together(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fronts, "QUOTA_BYTES", 30_000_000)
    raws = [host.dial(HELLO + framed(b"x")) for _ in range(3)]
    identities = [identity for identity, _ in host.take(3)]
    for _ in range(10):
        for identity in identities:
            host.front.reply(identity, bytes(2_000_000))
            assert host.front._bytes <= 30_000_000
    assert 1 <= len(host.front.connections) < 3 and host.front.refusals.count >= 1
    for raw in raws:
        raw.close()


def test_a_clients_link_opens(host: Host) -> None:
    link = TcpLink(host.front.address)
    link._socket = host.dial(HELLO)  # its handshake waits for a host that turns
    host.until(lambda: len(host.front.connections) == 1 and not host.front.is_busy)
    assert link._try_read(0) > 0
    link.close()


def test_ipv6_and_what_can_not_be_listened_on() -> None:
    host = Host("tcp://[::1]:0")
    assert host.front.address.startswith("tcp://[::1]:")
    with pytest.raises(OSError, match="can't listen on"):
        Host(host.front.address)
    for endpoint in ("nonsense", "ipc:///tmp/x", "tcp://127.0.0.1:99999", "tcp://:1", "tcp://127.0.0.1"):
        with pytest.raises(OSError, match="can't listen on"):
            Host(endpoint)
    host.front.shut(0)


def test_last_words_leave_before_it_shuts(host: Host) -> None:
    raw = host.dial(HELLO + framed(b"x"))
    ((who, _),) = host.take(1)
    assert host.front.reply(who, b"goodbye")
    host.front.shut(0.2)
    data = b""
    while piece := raw.recv(1000):
        data += piece
    assert data.endswith(framed(b"goodbye"))
    raw.close()
