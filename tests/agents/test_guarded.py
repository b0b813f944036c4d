"""Endpoints with keys, on real loopback sockets: who is let in, and how much."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest
import zmq

from agents import guarded as guardeds
from agents.access import Holder, Role
from agents.client_link import Curve, ZmqLink
from agents.curve import HostKeys, new_pair, public_of
from agents.link import CLIENTS, Door
from agents.turnstile import Bounds, Turnstile
from agents.wire import CONTROL

HOST, CLIENT, OBSERVER, STRANGER = (new_pair() for _ in range(4))
ROSTER = {
    HOST[0]: Holder(Role.HOST, "host"),
    CLIENT[0]: Holder(Role.CLIENT, "web"),
    OBSERVER[0]: Holder(Role.OBSERVER, "eye"),
}
A, B = "a" * 32, "b" * 32


class Keyed:
    """A door with keys, turned by hand, and what was said to it."""

    def __init__(self) -> None:
        self.door = Door("tcp://127.0.0.1:*", "tcp://127.0.0.1:*", HostKeys(HOST[1], dict(ROSTER)))
        assert self.door.guarded is not None
        self.desk = self.door.guarded
        self.said: list[tuple[bytes, bytes]] = []
        self.links: list[ZmqLink] = []

    def turn(self, timeout_s: float = 0.01) -> None:
        if self.door.poll(timeout_s) & CLIENTS:
            self.said += self.door.receive_client_frames(128)
        self.door.receive_host_frames(128)

    def until(self, is_so: Callable[[], bool], within_s: float = 20.0) -> None:
        until_s = time.monotonic() + within_s
        while not is_so():
            assert time.monotonic() < until_s, "not in time"
            self.turn()

    def dial(self, pair: tuple[str, str] = CLIENT, server: str = HOST[0]) -> ZmqLink:
        keys = [part.encode() for part in (*pair, server)]
        link = ZmqLink(self.door.address, Curve(*keys))
        self.links.append(link)
        return link

    def opened(self, pair: tuple[str, str] = CLIENT, said: bytes = b"hello") -> ZmqLink:
        """Return a link that has said something."""
        link = self.dial(pair)
        self.until(lambda: link._opened() == "")
        assert link.send(said)
        before = len(self.said)
        self.until(lambda: len(self.said) > before)
        return link

    def verdict(self, link: ZmqLink) -> str:
        """Return how a link's opening ends."""
        found: list[str] = []

        def is_over() -> bool:
            verdict = link._opened()
            if verdict is not None:
                found.append(verdict)
            return bool(found)

        self.until(is_over)
        return found[0]


@pytest.fixture
def keyed() -> Iterator[Keyed]:
    """Yield a door with keys."""
    found = Keyed()
    yield found
    for link in found.links:
        link.close()
    found.door.shut()


def test_a_secret_key_knows_its_public_one() -> None:
    assert public_of(CLIENT[1]) == CLIENT[0]
    for wrong in ("", "x", "ü" * 40, "x" * 41):
        with pytest.raises(ValueError, match="no secret key"):
            public_of(wrong)


def test_who_is_known_gets_in_and_is_told_apart(keyed: Keyed) -> None:
    keyed.opened(CLIENT, b"from web")
    keyed.opened(OBSERVER, b"from eye")
    holders = {data: keyed.desk.holder(identity) for identity, data in keyed.said}
    assert holders == {b"from web": ROSTER[CLIENT[0]], b"from eye": ROSTER[OBSERVER[0]]}
    assert keyed.door.clients == 2 and keyed.door.refusals.count == 0


def test_who_is_not_known_stays_outside(keyed: Keyed) -> None:
    assert "does not know our key" in keyed.verdict(keyed.dial(STRANGER))
    assert "host.pub" in keyed.verdict(keyed.dial(CLIENT, server=STRANGER[0]))
    with zmq.Context() as context, context.socket(zmq.DEALER) as plain:
        plain.linger = 0
        plain.connect(keyed.door.address)
        plain.send(b"let me in")
        for _ in range(20):
            keyed.turn()
    assert keyed.said == [] and keyed.desk.sessions == {}
    assert keyed.door.refusals.count == 1
    assert "not authorised" in keyed.door.refusals.take()[0].reason


@pytest.mark.parametrize(("pair", "is_in"), [(HOST, True), (CLIENT, False), (STRANGER, False)])
def test_only_hosts_speak_where_hosts_speak(keyed: Keyed, pair: tuple[str, str], is_in: bool) -> None:
    other = Door("tcp://127.0.0.1:*", "tcp://127.0.0.1:*", HostKeys(HOST[1], dict(ROSTER)))
    keys = other._sockets._keys
    assert keys is not None
    keys.public, keys._secret = pair
    keys.connect = lambda socket, public_key: HostKeys.connect(keys, socket, HOST[0])  # type: ignore[method-assign]
    other.open(B, keyed.door.link_address, 7, (A, 3))
    other.send(B, 7, CONTROL, b"as one of you")
    heard: list[bytes] = []
    until_s = time.monotonic() + 20.0
    while not heard and not keyed.door.refusals.count and time.monotonic() < until_s:
        other.poll(0.01)
        keyed.door.poll(0.01)
        heard += [data for _, data in keyed.door.receive_host_frames(10)]
    other.shut()
    assert heard == ([b"as one of you"] if is_in else [])
    assert (keyed.door.refusals.count > 0) is not is_in


def test_who_is_struck_off_is_cut_and_others_stay(keyed: Keyed) -> None:
    web, eye = keyed.opened(CLIENT), keyed.opened(OBSERVER)
    keyed.desk.roster_changed({key: holder for key, holder in ROSTER.items() if key != CLIENT[0]})
    keyed.until(lambda: web.is_lost)
    assert not eye.is_lost and eye.send(b"still here")
    keyed.until(lambda: keyed.said[-1][1] == b"still here")
    assert "does not know our key" in keyed.verdict(keyed.dial(CLIENT))
    keyed.desk.roster_changed({**ROSTER, OBSERVER[0]: Holder(Role.CLIENT, "eye")})
    keyed.until(lambda: eye.is_lost)  # it comes back with its new role
    assert keyed.opened(OBSERVER) is not None


def test_one_address_has_its_own_bounds(keyed: Keyed) -> None:
    keyed.desk.gate._turnstile.bounds = Bounds(per_source_max=2)
    for _ in range(2):
        keyed.opened()
    third = keyed.dial()
    assert keyed.verdict(third) != ""
    keyed.links[0].close()
    keyed.until(lambda: keyed.door.clients == 1)
    assert keyed.opened() is not None
    assert "2 connections from 127.0.0.1" in keyed.door.refusals.take()[0].reason


def test_who_knocks_too_fast_is_sent_away(keyed: Keyed) -> None:
    keyed.desk.gate._turnstile = Turnstile(Bounds(burst=2, per_s=0.001))
    for _ in range(2):
        keyed.opened()
    assert keyed.verdict(keyed.dial()) != ""


def test_half_open_connections_are_bounded(keyed: Keyed) -> None:
    keyed.desk.gate._turnstile = Turnstile(Bounds(young_max=3))
    port = int(keyed.door.address.rpartition(":")[2])
    raws = [socket.create_connection(("127.0.0.1", port)) for _ in range(8)]
    keyed.until(lambda: keyed.door.refusals.count >= 5 and keyed.door.clients <= 3)
    keyed.until(lambda: keyed.door.clients == 0)  # ZeroMQ gives a handshake a second
    assert keyed.opened() is not None
    for raw in raws:
        raw.close()


def test_who_sends_faster_than_it_is_served_is_cut(keyed: Keyed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guardeds, "INBOX_BYTES_MAX", 1_000_000)
    link = keyed.opened()
    for _ in range(40):
        link.send(bytes(100_000))
    until_s = time.monotonic() + 10
    while not link.is_lost:  # nobody takes anything
        keyed.door.poll(0.01)
        assert time.monotonic() < until_s
    assert keyed.desk.sessions == {} and keyed.desk._bytes == 0
    assert keyed.opened() is not None


def test_who_does_not_read_is_cut_and_what_it_held_is_freed(
    keyed: Keyed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guardeds, "UNSENT_BYTES_MAX", 20_000_000)
    link = keyed.opened()
    identity = keyed.said[-1][0]
    link._socket.rcvhwm = 1
    replies = 0
    while keyed.door.reply(identity, bytes(2_000_000)):
        replies += 1
        keyed.turn(0)
        assert replies < 2_000
    keyed.until(lambda: link.is_lost or bool(link.take_all()))
    assert keyed.desk.sessions == {} and keyed.desk._bytes == 0


def test_all_together_have_a_quota_and_the_largest_goes(
    keyed: Keyed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guardeds, "QUOTA_BYTES", 30_000_000)
    small, large = keyed.opened(said=b"small"), keyed.opened(said=b"large")
    by_name = {data: identity for identity, data in keyed.said}
    keyed.door.reply(by_name[b"small"], bytes(1_000_000))
    for _ in range(20):
        if not keyed.door.reply(by_name[b"large"], bytes(4_000_000)):
            break
    assert list(keyed.desk.sessions) == [by_name[b"small"]]
    keyed.until(lambda: bool(large.take_all()) or large.is_lost)
    assert not small.is_lost


def test_a_large_answer_arrives_whole_and_in_order(keyed: Keyed) -> None:
    link = keyed.opened()
    identity = keyed.said[-1][0]
    sent = [bytes([number]) * 700_000 for number in range(40)]
    for data in sent:
        assert keyed.door.reply(identity, data)
    got: list[bytes] = []

    def is_all() -> bool:
        got.extend(link.take_all())
        return len(got) == len(sent)

    keyed.until(is_all)
    assert got == sent
    assert keyed.desk._bytes == sum(keyed.desk.sessions[identity].sent)


def test_held_clients_wait_and_lose_nothing(keyed: Keyed) -> None:
    link = keyed.opened()
    keyed.door.hold_clients(True)
    for number in range(500):
        assert link.send(b"%d" % number)
    for _ in range(10):
        assert not keyed.door.poll(0.01) & CLIENTS
    keyed.door.hold_clients(False)
    keyed.until(lambda: len(keyed.said) == 501)
    assert [data for _, data in keyed.said[1:]] == [b"%d" % number for number in range(500)]


def test_an_identity_of_ones_own_choice_is_none(keyed: Keyed) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.identity = b"somebody else's"
        dealer.curve_publickey, dealer.curve_secretkey = CLIENT[0].encode(), CLIENT[1].encode()
        dealer.curve_serverkey = HOST[0].encode()
        dealer.connect(keyed.door.address)
        dealer.send(b"hello")
        keyed.until(lambda: keyed.door.strangers > 0)
    assert keyed.said == []


def test_a_message_of_many_parts_is_dropped_and_one_too_large_costs_the_connection(keyed: Keyed) -> None:
    link = keyed.opened()
    link._socket.send_multipart([b"many", b"parts"])
    link.send(b"one")
    keyed.until(lambda: keyed.said[-1][1] == b"one")
    assert [data for _, data in keyed.said] == [b"hello", b"one"]
    link.send(bytes(guardeds.FRAME_BYTES_MAX + 1))
    keyed.until(lambda: link.is_lost)


def test_garbage_before_the_handshake_is_survived(keyed: Keyed) -> None:
    for address in (keyed.door.address, keyed.door.link_address):
        port = int(address.rpartition(":")[2])
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 5_000, b"\xff" + bytes(8) + b"\x7f\x03\x00CURVE"):
            with socket.create_connection(("127.0.0.1", port)) as raw:
                raw.sendall(data)
                keyed.turn()
    assert keyed.opened() is not None
    keyed.until(lambda: keyed.door.clients == 1)


def test_a_connection_that_ends_is_forgotten(keyed: Keyed) -> None:
    for _ in range(5):
        keyed.opened().close()
    keyed.until(lambda: keyed.door.clients == 0)
    assert keyed.desk.sessions == {} and keyed.desk._by_fd == {} and keyed.desk._bytes == 0
    assert not keyed.door.reply(keyed.said[0][0], b"too late")
