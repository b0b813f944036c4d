"""Pooled actors: pykka's promises, kept without a thread for each."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pykka
import pytest

from agents.dispatcher import AskedInTurn, Dispatcher, InboxFull, PooledActor


class Scribe(PooledActor):
    """Remembers what it is told, and on which thread."""

    inbox_max = 8

    def __init__(self, dispatcher: Dispatcher, journal: list[Any] | None = None) -> None:
        super().__init__(dispatcher)
        self.journal = journal if journal is not None else []
        self.threads: set[int] = set()

    def on_receive(self, message: Any) -> Any:
        self.threads.add(threading.get_ident())
        if isinstance(message, Exception):
            raise message
        if callable(message):
            return message()
        self.journal.append(message)
        return message

    def double(self, number: int) -> int:
        return 2 * number


@pytest.fixture
def dispatcher() -> Iterator[Dispatcher]:
    """A dispatcher that nobody runs but the test."""
    made = Dispatcher()
    yield made
    made.close()


@contextmanager
def running(dispatcher: Dispatcher) -> Iterator[threading.Thread]:
    """Run a dispatcher on another thread."""
    over = threading.Event()

    def loop() -> None:
        while not over.is_set():
            dispatcher.run_ready()
            time.sleep(0.0005)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield thread
    finally:
        over.set()
        thread.join()


def settle(dispatcher: Dispatcher) -> None:
    """Run until no actor is ready."""
    while dispatcher.ready:
        dispatcher.run_ready()


def test_what_is_told_is_handled_in_order_when_the_dispatcher_runs(dispatcher: Dispatcher) -> None:
    journal: list[Any] = []
    ref = Scribe.start(dispatcher, journal)
    for number in range(5):
        ref.tell(number)
    assert journal == []
    settle(dispatcher)
    assert journal == [0, 1, 2, 3, 4]


def test_ask_from_another_thread_waits_for_the_answer(dispatcher: Dispatcher) -> None:
    ref = Scribe.start(dispatcher)
    with running(dispatcher) as thread:
        assert ref.ask("hello", timeout=20) == "hello"
        assert ref.proxy().double(21).get(timeout=20) == 42
        assert ref.proxy().threads.get(timeout=20) == {thread.ident}


def test_ask_on_the_actors_own_thread_is_refused_at_once(dispatcher: Dispatcher) -> None:
    other = Scribe.start(dispatcher)
    asker = Scribe.start(dispatcher)
    with running(dispatcher), pytest.raises(AskedInTurn, match="tell"):
        asker.ask(lambda: other.ask("never"), timeout=20)


def test_tell_on_the_actors_own_thread_is_welcome(dispatcher: Dispatcher) -> None:
    journal: list[Any] = []
    other = Scribe.start(dispatcher, journal)
    teller = Scribe.start(dispatcher)
    teller.tell(lambda: other.tell("from a turn"))
    settle(dispatcher)
    assert journal == ["from a turn"]


def test_a_full_inbox_refuses_the_teller_and_still_lets_a_stop_in(dispatcher: Dispatcher) -> None:
    ref = Scribe.start(dispatcher)
    for number in range(8):
        ref.tell(number)
    with pytest.raises(InboxFull, match="8 messages"):
        ref.tell("one too many")
    with pytest.raises(InboxFull):
        ref.ask("likewise")
    stopped = ref.stop(block=False)
    settle(dispatcher)
    assert stopped.get(timeout=20)
    assert not ref.is_alive()


def test_a_busy_actor_does_not_starve_the_others(dispatcher: Dispatcher) -> None:
    journal: list[Any] = []
    busy, quiet = Scribe.start(dispatcher, journal), Scribe.start(dispatcher, journal)
    for _ in range(8):
        busy.tell("busy")
    quiet.tell("quiet")
    dispatcher.run_ready(messages_per_actor=2)
    assert journal == ["busy", "busy", "quiet"]
    settle(dispatcher)
    assert journal.count("busy") == 8


def test_an_actor_that_tells_itself_for_ever_does_not_hold_the_dispatcher(dispatcher: Dispatcher) -> None:
    ref = Scribe.start(dispatcher)

    def again() -> None:
        ref.tell(again)

    ref.tell(again)
    assert dispatcher.run_ready() <= 64
    assert dispatcher.ready


def test_an_exception_ends_its_actor_alone(dispatcher: Dispatcher) -> None:
    journal: list[Any] = []
    bad, good = Scribe.start(dispatcher), Scribe.start(dispatcher, journal)
    bad.tell(ValueError("broken"))
    good.tell("fine")
    settle(dispatcher)
    assert not bad.is_alive()
    assert journal == ["fine"]
    assert dispatcher.failures == 1
    assert bad not in pykka.ActorRegistry.get_all()


def test_an_exception_that_somebody_waits_for_goes_to_them(dispatcher: Dispatcher) -> None:
    ref = Scribe.start(dispatcher)
    with running(dispatcher):
        with pytest.raises(ValueError, match="broken"):
            ref.ask(ValueError("broken"), timeout=20)
        assert ref.ask("still here", timeout=20) == "still here"


def test_a_stopped_actor_answers_nobody_and_says_so(dispatcher: Dispatcher) -> None:
    ref = Scribe.start(dispatcher)
    ref.stop(block=False)
    late = ref.ask("too late", block=False)
    settle(dispatcher)
    with pytest.raises(pykka.ActorDeadError):
        late.get(timeout=20)
    with pytest.raises(pykka.ActorDeadError):
        ref.tell("far too late")


def test_closing_stops_all_actors_and_frees_who_waits() -> None:
    dispatcher = Dispatcher()
    refs = [Scribe.start(dispatcher) for _ in range(3)]
    waiting = refs[0].ask("unanswered", block=False)
    dispatcher.close()
    with pytest.raises(pykka.ActorDeadError):
        waiting.get(timeout=20)
    assert not any(ref.is_alive() for ref in refs)
    assert not set(refs) & set(pykka.ActorRegistry.get_all())


def test_the_registry_finds_and_stops_pooled_actors(dispatcher: Dispatcher) -> None:
    ref = Scribe.start(dispatcher)
    assert pykka.ActorRegistry.get_by_urn(ref.actor_urn) is ref
    assert ref in pykka.ActorRegistry.get_by_class(Scribe)
    with running(dispatcher):
        assert ref.stop(timeout=20)
    assert ref not in pykka.ActorRegistry.get_all()


def test_on_start_runs_on_the_actors_thread_before_the_first_message(dispatcher: Dispatcher) -> None:
    class Starter(Scribe):
        def on_start(self) -> None:
            self.journal.append("started")

    journal: list[Any] = []
    Starter.start(dispatcher, journal).tell("message")
    settle(dispatcher)
    assert journal == ["started", "message"]


def test_tellers_of_other_threads_wake_the_loop_and_the_own_thread_does_not() -> None:
    rings: list[int] = []
    dispatcher = Dispatcher(lambda: rings.append(threading.get_ident()))
    ref = Scribe.start(dispatcher)
    dispatcher.own(threading.get_ident())
    ref.tell("own thread")
    assert rings == []
    settle(dispatcher)
    teller = threading.Thread(target=ref.tell, args=("other thread",))
    teller.start()
    teller.join()
    assert len(rings) == 1
    dispatcher.close()


def test_many_tellers_lose_no_message(dispatcher: Dispatcher) -> None:
    class Counter(PooledActor):
        total = 0

        def on_receive(self, message: Any) -> int:
            self.total += message
            return self.total

    ref = Counter.start(dispatcher)
    with running(dispatcher):

        def tell_many() -> None:
            for _ in range(500):
                ref.tell(1)

        tellers = [threading.Thread(target=tell_many) for _ in range(8)]
        for teller in tellers:
            teller.start()
        for teller in tellers:
            teller.join()
        assert ref.ask(0, timeout=20) == 4000


def test_ten_thousand_actors_are_cheap() -> None:
    dispatcher = Dispatcher()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(1000):
        Scribe.start(dispatcher)
    bytes_each = (tracemalloc.get_traced_memory()[0] - before) / 1000
    tracemalloc.stop()
    assert bytes_each < 3 * 1024 + 300  # a Scribe has a list and a set of its own
    dispatcher.close()
