"""The client plane: replies grouped, backlog counted, dead watchers found."""

from __future__ import annotations

from agents.clients import ABANDONED_S, BACKLOG_BYTES_MAX, BACKLOG_MAX, LATER_MAX, Clients
from agents.messages.client import OK, Reply, Unwatch, Watch
from agents.wire import FRAME_BYTES_MAX, decode_replies


class FakeDoor:
    """Remembers frames; clients in `gone` get none."""

    def __init__(self) -> None:
        self.frames: list[tuple[bytes, list[Reply]]] = []
        self.sizes: list[int] = []
        self.gone: set[bytes] = set()
        self.clogged: set[bytes] = set()

    def reply(self, client: bytes, data: bytes) -> bool:
        """Take a frame."""
        if client in self.gone:
            return False
        self.frames.append((client, decode_replies(data)))
        self.sizes.append(len(data))
        return True

    def drop(self, client: bytes) -> None:
        """Let a client be gone."""
        self.gone.add(client)

    def is_clogged(self, client: bytes) -> bool:
        """Return what the test says."""
        return client in self.clogged


def test_each_client_gets_one_frame_with_its_replies_in_order() -> None:
    door = FakeDoor()
    clients = Clients(door)
    a, b = clients.took(b"a", 2, 10, 0.0), clients.took(b"b", 1, 10, 0.0)
    clients.answer(a, Reply(1, OK))
    clients.answer(b, Reply(1, OK))
    clients.answer(a, Reply(2, OK))
    clients.flush()
    assert [(client, [r.id for r in replies]) for client, replies in door.frames] == [
        (b"a", [1, 2]),
        (b"b", [1]),
    ]
    assert not clients.has_replies


def test_replies_too_big_for_one_frame_leave_in_several_in_order() -> None:
    door = FakeDoor()
    clients = Clients(door)
    caller = clients.took(b"a", 5, 10, 0.0)
    for number in range(5):
        clients.answer(caller, Reply(number, OK, value=bytes(FRAME_BYTES_MAX // 6)))
    while clients.has_replies:
        clients.flush()
    assert len(door.frames) > 1
    assert [reply.id for _, replies in door.frames for reply in replies] == [0, 1, 2, 3, 4]
    assert max(door.sizes) < FRAME_BYTES_MAX


def test_who_does_not_read_waits_and_nothing_is_written_for_it_meanwhile() -> None:
    door = FakeDoor()
    clients = Clients(door)
    slow, other = clients.took(b"slow", 9, 10, 0.0), clients.took(b"other", 1, 10, 0.0)
    for number in range(6):
        clients.answer(slow, Reply(number, OK, value=bytes(700_000)))
    door.clogged.add(b"slow")
    clients.flush()
    assert len(door.frames) == 1 and not clients.has_replies  # it sleeps until there is room
    clients.answer(slow, Reply(6, OK))
    clients.answer(other, Reply(1, OK))
    clients.flush()
    assert [client for client, _ in door.frames] == [b"slow", b"other"]
    door.clogged.clear()
    clients.flush()
    told = [reply.id for client, replies in door.frames for reply in replies if client == b"slow"]
    assert told == list(range(7)) and not clients.later


def test_one_client_gets_no_more_in_a_turn_than_others_can_wait_for() -> None:
    door = FakeDoor()
    clients = Clients(door)
    caller = clients.took(b"a", 30, 10, 0.0)
    for number in range(30):
        clients.answer(caller, Reply(number, OK, value=bytes(1_000_000)))
    turns = 0
    while clients.has_replies:
        before = len(door.frames)
        clients.flush()
        turns += 1
        assert 0 < len(door.frames) - before <= 5
    assert turns >= 6 and [r.id for _, replies in door.frames for r in replies] == list(range(30))


def test_who_never_reads_is_dropped() -> None:
    door = FakeDoor()
    clients = Clients(door)
    caller = clients.took(b"a", 2, 10, 0.0)
    door.clogged.add(b"a")
    for number in range(3):
        clients.answer(caller, Reply(number, OK, value=bytes(700_000)))
    clients.flush()
    for number in range(LATER_MAX):
        clients.answer(caller, Reply(number, OK))
    clients.flush()
    assert not clients.later and door.gone == {b"a"}


def test_the_backlog_grows_with_requests_and_shrinks_with_answers() -> None:
    clients = Clients(FakeDoor())
    caller = clients.took(b"a", BACKLOG_MAX + 1, 10, 0.0)
    over_before = clients.is_over_limit
    clients.answer(caller, Reply(1, OK))
    assert (over_before, clients.is_over_limit) == (True, False)


def test_bytes_count_until_their_frame_is_answered() -> None:
    clients = Clients(FakeDoor())
    caller = clients.took(b"a", 1, BACKLOG_BYTES_MAX + 1, 0.0)
    over_before = clients.is_over_limit
    clients.answer(caller, Reply(1, OK))
    clients.forget_answered(0.1)
    assert (over_before, clients.is_over_limit) == (True, False)
    assert (clients.backlog, clients.backlog_bytes) == (0, 0)


def test_requests_that_are_never_answered_do_not_count_for_ever() -> None:
    clients = Clients(FakeDoor())
    caller = clients.took(b"a", 3, 10, 0.0)
    clients.answer(caller, Reply(1, OK))
    clients.forget_answered(ABANDONED_S / 2)
    assert clients.backlog == 2
    clients.forget_answered(ABANDONED_S + 1)
    assert clients.backlog == 0
    clients.answer(caller, Reply(2, OK))  # late after all: it is said, and not counted twice
    assert clients.backlog == 0


def test_frames_of_one_client_are_one_caller() -> None:
    clients = Clients(FakeDoor())
    first, second = clients.took(b"a", 1, 10, 0.0), clients.took(b"a", 1, 10, 1.0)
    assert first == second != clients.took(b"b", 1, 10, 0.0)
    assert hash(first) == hash(second)


def test_a_watch_is_no_backlog_and_ends_when_its_client_is_found_gone() -> None:
    door = FakeDoor()
    clients = Clients(door)
    caller = clients.took(b"a", 1, 10, 0.0)
    clients.watched(caller, Watch(7))
    assert clients.backlog == 0
    clients.try_watchers(0.0)
    assert clients.orphaned() == []
    door.gone.add(b"a")
    clients.try_watchers(60.0)
    assert clients.orphaned() == [(caller, 7)]
    assert clients.orphaned() == []


def test_a_watch_that_was_ended_is_not_ended_again() -> None:
    door = FakeDoor()
    clients = Clients(door)
    caller = clients.took(b"a", 2, 10, 0.0)
    clients.watched(caller, Watch(7))
    clients.watched(caller, Unwatch(8, 7))
    door.gone.add(b"a")
    clients.try_watchers(0.0)
    assert clients.orphaned() == []
