"""A plain link against a real ROUTER of ZeroMQ, and against what is none."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import zmq

from agents.client_link import Links
from agents.tcp_link import TcpLink, endpoint_of


@pytest.fixture
def router() -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as made:
        made.linger = 0
        made.sndhwm = made.rcvhwm = 0
        made.set(zmq.RCVTIMEO, 20_000)
        made.bind("tcp://127.0.0.1:*")
        yield made


def address_of(router: zmq.Socket[bytes]) -> str:
    return str(router.getsockopt_string(zmq.LAST_ENDPOINT))


def opened(router: zmq.Socket[bytes]) -> TcpLink:
    link = TcpLink(address_of(router))
    assert link.open(20.0) == ""
    return link


def received(link: TcpLink, within_s: float = 20.0) -> bytes | None:
    end_s = time.monotonic() + within_s
    while time.monotonic() < end_s and not link.is_lost:
        frame = link.receive()
        if frame is not None:
            return frame
    return None


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_536, 3_000_000])
def test_frames_of_any_size_go_both_ways(router: zmq.Socket[bytes], size: int) -> None:
    link, links = opened(router), Links()
    links.add(link)
    frame = bytes(range(256)) * (size // 256) + bytes(size % 256)
    done: list[list[bytes]] = []
    server = threading.Thread(target=lambda: done.append(router.recv_multipart()))
    server.start()
    assert link.send(frame)
    while server.is_alive():
        links.wait(0.01)  # what finds no room leaves as room comes
    client, came = done[0]
    assert came == frame
    router.send_multipart([client, frame])
    assert received(link) == frame
    links.close()


def test_each_link_has_an_identity_of_its_own(router: zmq.Socket[bytes]) -> None:
    links = [opened(router) for _ in range(5)]
    for link in links:
        link.send(b"hello")
    assert len({router.recv_multipart()[0] for _ in links}) == 5


def test_many_frames_come_in_order(router: zmq.Socket[bytes]) -> None:
    link = opened(router)
    link.send(b"hello")
    client = router.recv_multipart()[0]
    for number in range(2_000):
        router.send_multipart([client, b"%d" % number])
    taken: list[bytes] = []
    end_s = time.monotonic() + 20.0
    while len(taken) < 2_000 and time.monotonic() < end_s:
        taken += link.take_all()
    assert taken == [b"%d" % number for number in range(2_000)]


def test_pings_are_answered_while_somebody_reads(router: zmq.Socket[bytes]) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as strict:
        strict.linger = 0
        strict.set(zmq.HEARTBEAT_IVL, 50)
        strict.set(zmq.HEARTBEAT_TIMEOUT, 400)  # far longer than a busy machine lets us wait for our turn
        strict.bind("tcp://127.0.0.1:*")
        link = opened(strict)
        assert received(link, 0.6) is None and not link.is_lost
        time.sleep(0.6)  # nobody reads: the host gives it up
        assert not link.is_lost
        link._heard_s = 0.0
        assert link.is_stale
        assert not link.send(b"never sent")


def test_a_silent_host_is_asked_and_then_given_up(router: zmq.Socket[bytes]) -> None:
    link = opened(router)
    now_s = time.monotonic()
    link.look_after(now_s + 1.5)
    assert received(link, 0.2) is None  # ZeroMQ's thread answers for the host
    link.look_after(now_s + 10.0)
    assert not link.is_lost, "it had answered, and is asked again"
    link.look_after(now_s + 11.0)
    assert link.send(b"patience")
    link.look_after(now_s + 12.1)
    assert not link.send(b"lost")


def test_a_broken_connection_shows_at_once() -> None:
    with zmq.Context() as context:
        router = context.socket(zmq.ROUTER)
        router.bind("tcp://127.0.0.1:*")
        link = opened(router)
        router.close(linger=0)
    assert received(link, 30.0) is None and link.is_lost
    assert not link.send(b"x") and link.take_all() == []


def test_nobody_there_is_told_at_once() -> None:
    link = TcpLink("tcp://127.0.0.1:1")
    begun_s = time.monotonic()
    assert "no connection" in link.open(30.0)
    assert time.monotonic() - begun_s < 15.0


@pytest.mark.parametrize("address", ["", "tcp://", "tcp://:1", "tcp://host", "ipc:///tmp/x", "tcp://h:x"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(OSError, match="address"):
        TcpLink(address)


def test_addresses() -> None:
    assert endpoint_of("tcp://127.0.0.1:7420") == ("127.0.0.1", 7420)
    assert endpoint_of("tcp://[::1]:7420") == ("::1", 7420)


@pytest.mark.parametrize(
    ("kind", "why"), [(zmq.DEALER, "no host"), (zmq.PUB, "no host|our protocol"), (zmq.STREAM, "in time")]
)
def test_other_sockets_are_no_hosts(kind: int, why: str) -> None:
    with zmq.Context() as context, context.socket(kind) as other:
        other.linger = 0
        other.bind("tcp://127.0.0.1:*")
        assert re.search(why, TcpLink(address_of(other)).open(0.3))


def test_a_host_that_demands_keys_is_named_so() -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as guarded:
        guarded.linger = 0
        guarded.curve_server = True
        guarded.curve_publickey, guarded.curve_secretkey = zmq.curve_keypair()
        guarded.bind("tcp://127.0.0.1:*")
        assert "CURVE" in TcpLink(address_of(guarded)).open(2.0)


def test_another_service_is_told_from_a_host() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            with server.accept()[0] as one:
                one.sendall(b"220 mail.example.org ESMTP\r\n")
                one.recv(1_000)

        thread = threading.Thread(target=serve)
        thread.start()
        assert "our protocol" in TcpLink(f"tcp://127.0.0.1:{port}").open(2.0)
        thread.join()


def test_on_a_loop(router: zmq.Socket[bytes]) -> None:
    large = bytes(5_000_000)

    async def main() -> None:
        link = TcpLink(address_of(router))
        assert await link.open_soon(20.0) == ""
        link.send(b"hello")
        client, _ = await asyncio.to_thread(router.recv_multipart)
        router.send_multipart([client, b"first"])
        assert await link.take_soon(20.0) == b"first"
        loop = asyncio.get_running_loop()
        came: list[bytes] = []
        told = asyncio.Event()

        def readable() -> None:
            came.extend(link.take_all())
            if came:
                told.set()

        link.follow(loop, readable)
        assert link.send(large) and link.send(b"after")
        assert (await asyncio.to_thread(router.recv_multipart))[1] == large
        assert (await asyncio.to_thread(router.recv_multipart))[1] == b"after"
        router.send_multipart([client, large])
        await asyncio.wait_for(told.wait(), 20.0)
        assert came == [large]
        link.close(loop)
        link.close(loop)

    asyncio.run(main())


def test_nobody_there_is_told_at_once_on_a_loop() -> None:
    assert "no connection" in asyncio.run(TcpLink("tcp://127.0.0.1:1").open_soon(2.0))
