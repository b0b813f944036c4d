"""The ZeroMQ door, on real loopback sockets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from agents import sockets, tcp_plane
from agents.link import CLIENTS, GREETED, HOSTS, LOST, WOKEN, Door
from agents.messages.client import OK, UNAVAILABLE, Greeting, Reply
from agents.poller import KEEN, Poller, Vigil, Waker
from agents.wire import BULK, CONTROL, Source, decode_requests, encode

A, B = "a" * 32, "b" * 32
ANY = "tcp://127.0.0.1:*"
ROOT = Path(__file__).resolve().parents[2]

Doors = Callable[[], Door]


@pytest.fixture
def doors() -> Iterator[Doors]:
    """Make doors that are shut at the end."""
    made: list[Door] = []

    def make() -> Door:
        made.append(Door(ANY, ANY))
        return made[-1]

    yield make
    for door in made:
        door.shut()


@pytest.fixture
def client() -> Iterator[zmq.Socket[bytes]]:
    """A client's DEALER, not connected yet."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context.socket(zmq.DEALER)
    context.destroy(linger=0)


def host_frames(door: Door, count: int, *others: Door, within_s: float = 20.0) -> list[tuple[Source, bytes]]:
    """Return frames of hosts as soon as there are so many."""
    frames: list[tuple[Source, bytes]] = []
    until_s = time.monotonic() + within_s
    while len(frames) < count and time.monotonic() < until_s:
        for other in others:
            other.poll(0)
        if door.poll(0.01) & HOSTS:
            frames += door.receive_host_frames(1_000)
    return frames


def client_frames(door: Door, count: int, within_s: float = 20.0) -> list[tuple[bytes, bytes]]:
    """Return frames of clients as soon as there are so many."""
    frames: list[tuple[bytes, bytes]] = []
    until_s = time.monotonic() + within_s
    while len(frames) < count and time.monotonic() < until_s:
        if door.poll(0.1) & CLIENTS:
            frames += door.receive_client_frames(1_000)
    return frames


def lost(door: Door, within_s: float = 20.0) -> list[tuple[str, int, str]]:
    """Return the first pipes that a door loses."""
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s:
        if door.poll(0.1) & LOST:
            return door.lost()
    return []


def connect(door: Door, address: str, *others: Door) -> None:
    """Open a pipe, and wait until it stands."""
    door.open(B, address, 7, (A, 3))
    until_s = time.monotonic() + 20
    while not door.is_connected(B) and time.monotonic() < until_s:
        door.poll(0.01)
        for other in others:
            other.poll(0.01)
    assert door.is_connected(B)


# -- host plane --------------------------------------------------------------


def test_frames_arrive_in_order_with_the_pipe_that_they_came_through(doors: Doors) -> None:
    a, b = doors(), doors()
    a.open(B, b.link_address, 7, (A, 3))
    for number in range(500):
        assert a.send(B, 7, CONTROL, b"%d" % number)
    frames = host_frames(b, 500, a)
    assert frames == [(Source(A, 3, 7, CONTROL), b"%d" % number) for number in range(500)]


def test_the_bulk_plane_is_a_connection_of_its_own(doors: Doors) -> None:
    a, b = doors(), doors()
    a.open(B, b.link_address, 7, (A, 3))
    assert a.send(B, 7, BULK, b"bulk") and a.send(B, 7, CONTROL, b"control")
    assert sorted(host_frames(b, 2, a)) == [
        (Source(A, 3, 7, CONTROL), b"control"),
        (Source(A, 3, 7, BULK), b"bulk"),
    ]


def test_a_new_incarnation_closes_the_one_before(doors: Doors) -> None:
    a, b = doors(), doors()
    a.open(B, b.link_address, 7, (A, 3))
    a.open(B, b.link_address, 8, (A, 3))
    assert not a.send(B, 7, CONTROL, b"old")
    assert a.send(B, 8, CONTROL, b"new")
    assert host_frames(b, 1, a) == [(Source(A, 3, 8, CONTROL), b"new")]
    assert a.lost() == []


def test_a_closed_pipe_takes_nothing_and_is_not_lost(doors: Doors) -> None:
    a, b = doors(), doors()
    a.open(B, b.link_address, 7, (A, 3))
    a.close(B, 6)
    assert a.send(B, 7, CONTROL, b"x")
    a.close(B, 7)
    a.close(B, 7)
    assert not a.send(B, 7, CONTROL, b"y")
    assert a.poll(0.1) & LOST == 0


def test_last_words_may_leave_after_closing(doors: Doors) -> None:
    a, b = doors(), doors()
    a.open(B, b.link_address, 7, (A, 3))
    a.send(B, 7, CONTROL, b"hello")
    host_frames(b, 1, a)
    a.send(B, 7, CONTROL, b"goodbye")
    a.close(B, 7, linger_s=0.5)
    assert host_frames(b, 1, a) == [(Source(A, 3, 7, CONTROL), b"goodbye")]


@pytest.mark.parametrize(
    "address",
    [
        "tcp://127.0.0.1:1",
        "ipc:///tmp/x",
        "inproc://x",
        "tcp://nonsense",
        "tcp://127.0.0.1:99999",
        "",
        "tcp://",
    ],
)
def test_an_address_that_leads_nowhere_is_a_pipe_lost(doors: Doors, address: str) -> None:
    a = doors()
    a.open(B, address, 7, (A, 3))
    a.send(B, 7, CONTROL, b"x")
    assert [(host, incarnation) for host, incarnation, _ in lost(a)] == [(B, 7)]


def test_a_service_that_does_not_answer_is_a_pipe_lost(doors: Doors) -> None:
    a = doors()
    with socket.create_server(("127.0.0.1", 0)) as server:
        a.open(B, f"tcp://127.0.0.1:{server.getsockname()[1]}", 7, (A, 3))
        connection, _ = server.accept()
        assert [(host, incarnation) for host, incarnation, _ in lost(a)] == [(B, 7)]
        connection.close()


def test_more_than_may_wait_for_a_connection_is_a_pipe_lost(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = doors(), doors()
    monkeypatch.setattr(tcp_plane, "WAITING_FRAMES_MAX", 5)
    a.open(B, b.link_address, 7, (A, 3))
    assert [a.send(B, 7, CONTROL, b"x") for _ in range(6)] == [True] * 5 + [False]
    assert [(host, incarnation) for host, incarnation, _ in a.lost()] == [(B, 7)]


def test_the_other_end_shut_is_noticed_in_milliseconds(doors: Doors) -> None:
    a, b = doors(), doors()
    a.open(B, b.link_address, 7, (A, 3))
    a.send(B, 7, CONTROL, b"x")
    host_frames(b, 1, a)
    start_s = time.monotonic()
    b.shut()
    assert lost(a) == [(B, 7, "disconnected")]
    assert time.monotonic() - start_s < 1.5  # 1 ms is usual; its silence would tell after 2 s
    assert not a.send(B, 7, CONTROL, b"y")


def test_a_drain_takes_no_more_than_its_budget_and_the_next_poll_does_not_sleep(doors: Doors) -> None:
    a, b = doors(), doors()
    connect(a, b.link_address, b)
    for number in range(10):
        a.send(B, 7, CONTROL, b"%d" % number)
    assert b.poll(1) & HOSTS
    time.sleep(0.05)
    assert len(b.receive_host_frames(4)) == 4
    start_s = time.monotonic()
    assert b.poll(30) & HOSTS
    assert time.monotonic() - start_s < 15
    assert len(b.receive_host_frames(100)) == 6
    b.receive_client_frames(1)
    assert b.poll(0.01) == 0


# -- garbage -----------------------------------------------------------------


def test_garbage_of_any_kind_is_survived(doors: Doors, client: zmq.Socket[bytes]) -> None:
    a, b = doors(), doors()
    strangers = []  # one that is let go of is closed at once
    for address in (b.address, b.link_address):
        raw = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))
        raw.sendall(os.urandom(2_000))
        raw.close()
        for identity in (b"junk", b"x" * 255, f"{A}/1/2/9".encode(), b"\xff" * 40):
            stranger = client.context.socket(zmq.DEALER)
            strangers.append(stranger)
            stranger.setsockopt(zmq.LINGER, 0)  # what nobody wants any more would keep its thread for ever
            stranger.setsockopt(zmq.IDENTITY, identity)
            stranger.connect(address)
            stranger.send(os.urandom(100))
            stranger.send_multipart([b"", b"many", b"parts"])
            stranger.send(b"")
    a.open(B, b.link_address, 7, (A, 3))
    a.send(B, 7, CONTROL, b"good")
    assert host_frames(b, 1, a) == [(Source(A, 3, 7, CONTROL), b"good")]
    # The decoder is there to refuse these; and the oldest ZeroMQ protocol finds more frames in noise.
    assert len(client_frames(b, 8)) >= 8
    assert b.strangers >= 8


def test_a_frame_over_the_limit_costs_its_sender_the_connection(
    client: zmq.Socket[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "FRAME_BYTES_MAX", 1_000)
    door = Door(ANY, ANY)
    try:
        client.setsockopt(zmq.RECONNECT_IVL, -1)
        client.connect(door.address)
        client.send(bytes(2_000))
        assert client_frames(door, 1, within_s=0.3) == []
        client.setsockopt(zmq.SNDTIMEO, 500)
        with pytest.raises(zmq.Again):
            client.send(bytes(100))
    finally:
        door.shut()


# -- clients -----------------------------------------------------------------


def test_a_client_is_answered(doors: Doors, client: zmq.Socket[bytes]) -> None:
    door = doors()
    client.connect(door.address)
    client.send(b"question")
    ((who, data),) = client_frames(door, 1)
    assert data == b"question"
    assert door.reply(who, b"answer")
    assert client.recv() == b"answer"


def test_where_clients_ask_nobody_stays_awake(doors: Doors, client: zmq.Socket[bytes]) -> None:
    door = doors()
    vigil = door._poller.vigil = Vigil(lambda: True)
    for _ in range(KEEN):
        vigil.waited(0.0)
    assert vigil.watch_s(1.0) > 0
    client.connect(door.address)
    client.send(b"question")
    assert client_frames(door, 1)
    assert vigil.watch_s(1.0) == 0


def test_a_client_that_is_gone_is_no_error(doors: Doors) -> None:
    assert not doors().reply(b"nobody", b"answer")


def test_what_arrives_while_replies_leave_is_not_forgotten(doors: Doors, client: zmq.Socket[bytes]) -> None:
    """A send takes note of arrivals, and the poller's descriptor falls silent about them."""
    door = doors()
    client.connect(door.address)
    client.send(b"0")
    ((who, _),) = client_frames(door, 1)
    got = 1
    for number in range(1, 300):
        client.send(b"%d" % number)
        if number % 3 == 0:
            time.sleep(0.0005)
        assert door.reply(who, b"x")
        if door.poll(0) & CLIENTS:
            got += len(door.receive_client_frames(100))
    got += len(client_frames(door, 300 - got))
    assert got == 300


# -- greeting ----------------------------------------------------------------


def greet(a: Door, b: Door, reply: Reply | bytes) -> list[tuple[str, Greeting | str]]:
    """Have A greet B, B reply, and return what A made of it."""
    a.greet(b.address, tag="f" * 32)
    a.greet(b.address)
    until_s = time.monotonic() + 20
    while time.monotonic() < until_s:
        a.poll(0.01)
        if b.poll(0.01) & CLIENTS:
            for who, data in b.receive_client_frames(10):
                assert decode_requests(data)[0].id == 0
                b.reply(who, reply if isinstance(reply, bytes) else encode([reply]))
        if a.poll(0) & GREETED:
            break
    return a.greetings()


def test_a_greeting_is_answered(doors: Doors) -> None:
    a, b = doors(), doors()
    greeting = Greeting(1, "0.1", "", 0, "ZOMBIE", B, 1, "b", b.link_address, 0, 1, (), ())
    assert greet(a, b, Reply(0, OK, value=encode(greeting))) == [(b.address, greeting)]
    assert greet(a, b, Reply(0, OK, value=encode(greeting))) == [(b.address, greeting)], "and again"


def test_a_greeting_may_be_refused_and_answered_with_junk(doors: Doors) -> None:
    a, b = doors(), doors()
    assert greet(a, b, Reply(0, UNAVAILABLE, text="later")) == [(b.address, "later")]
    for junk in (b"junk", encode([]), encode([Reply(0, OK, value=b"junk")])):
        ((_, answer),) = greet(a, b, junk)
        assert isinstance(answer, str) and answer.startswith("no greeting")


def test_a_greeting_that_nobody_answers_ends_in_time(doors: Doors) -> None:
    a, b = doors(), doors()
    a.greet("tcp://127.0.0.1:1")
    a.greet("nonsense")
    a.greet(b.address, timeout_s=0.2)
    answers: dict[str, Greeting | str] = {}
    until_s = time.monotonic() + 20
    while len(answers) < 3 and time.monotonic() < until_s:
        a.poll(10)
        answers.update(a.greetings())
    assert answers == {
        "tcp://127.0.0.1:1": "can't connect",
        "nonsense": "'nonsense' is no tcp:// address",
        b.address: "no answer in time",
    }


# -- waking and shutting -----------------------------------------------------


def test_another_thread_wakes_the_poller_once_for_many_rings(doors: Doors) -> None:
    door = doors()
    door.receive_host_frames(1)
    door.receive_client_frames(1)

    def ring_often() -> None:
        for _ in range(1_000):
            door.wake()

    thread = threading.Timer(0.05, ring_often)
    thread.start()
    assert door.poll(5) == WOKEN
    thread.join()
    door.poll(0)
    assert door.poll(0) == 0


def test_without_eventfd_and_epoll_it_works_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.eventfd", raising=False)
    monkeypatch.delattr("select.epoll", raising=False)
    waker, poller = Waker(), Poller()
    poller.add(waker.fd)
    assert poller.wait(0.001) == []
    for _ in range(3):
        waker.wake()
    assert poller.wait(1) == [waker.fd]
    waker.clear()
    waker.clear()
    assert poller.wait(0) == []
    waker.wake()
    assert poller.wait(0) == [waker.fd]
    poller.remove(waker.fd)
    waker.close()
    waker.wake()


def test_an_address_in_use_is_said(doors: Doors) -> None:
    door = doors()
    with pytest.raises(OSError, match="can't listen on tcp://127"):
        Door(door.address, ANY)
    with pytest.raises(OSError, match="can't listen on"):
        Door("nonsense", ANY)


def test_shutting_twice_and_waking_after_it_do_nothing(doors: Doors) -> None:
    door = doors()
    door.greet("tcp://127.0.0.1:1")
    door.open(B, "tcp://127.0.0.1:1", 1, (A, 1))
    door.shut()
    door.shut()
    door.wake()


def test_nothing_is_left_open_after_many_incarnations(doors: Doors) -> None:
    a, b = doors(), doors()
    before = len(os.listdir("/proc/self/fd"))
    for incarnation in range(1, 60):
        a.open(B, b.link_address, incarnation, (A, 1))
        a.send(B, incarnation, CONTROL, b"x")
        host_frames(b, 1, a)
    a.close(B, 59)
    until_s = time.monotonic() + 20
    while len(os.listdir("/proc/self/fd")) > before + 5 and time.monotonic() < until_s:
        a.poll(0.01)
        b.poll(0.01)
    assert len(os.listdir("/proc/self/fd")) <= before + 5


# -- processes that die and stall ---------------------------------------------

CHILD = """
import sys
from agents.link import Door
door = Door("tcp://127.0.0.1:*", "tcp://127.0.0.1:*")
print(door.link_address, flush=True)
while True:
    if door.poll(1):
        door.receive_host_frames(100)
        door.receive_client_frames(100)
"""


@pytest.fixture
def child() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process with a door, and its link address."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
    )
    assert process.stdout is not None
    yield process, process.stdout.readline().strip()
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.real
def test_a_killed_process_is_noticed_at_once(doors: Doors, child: tuple[subprocess.Popen[str], str]) -> None:
    process, address = child
    door = doors()
    connect(door, address)
    start_s = time.monotonic()
    process.kill()
    assert lost(door) == [(B, 7, "disconnected")]
    assert time.monotonic() - start_s < 1.5  # 2 ms is usual; its silence would tell after 2 s


@pytest.mark.real
def test_a_stalled_process_is_noticed_by_its_silence(
    doors: Doors, child: tuple[subprocess.Popen[str], str]
) -> None:
    process, address = child
    door = doors()
    connect(door, address)
    assert door.poll(0.5) & LOST == 0, "while it lives, its silence is none"
    start_s = time.monotonic()
    process.send_signal(signal.SIGSTOP)
    assert lost(door, 20) == [(B, 7, "silent")]
    # Not before the failure detector would say so of a host whose link stands: it may be but busy.
    assert time.monotonic() - start_s > 1.9
