"""The I/O loop: real sockets and threads around stand-in machines."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from typing import Any, Literal

import pykka
import pytest

from agents import clients as clients_module
from agents import server as server_module
from agents.baton import Deputy
from agents.bodies import ColonyActor, HostActor
from agents.effects import (
    Answer,
    Effect,
    Halt,
    LinkCameUp,
    LinkWentDown,
    LoopWasLate,
    Note,
    Persist,
    Requested,
    SeedFound,
    Send,
    TellColony,
    TellHost,
    Ticked,
    Wake,
)
from agents.link import HOSTS, LOST, Door
from agents.links import DeliverMessages
from agents.messages.client import (
    BAD,
    FULL,
    OK,
    UNAVAILABLE,
    Get,
    Greet,
    Greeting,
    Reply,
    Unwatch,
    Watch,
)
from agents.messages.replication import PUT, Ack, Entry, Replicate, Retire
from agents.performer import ENTRIES_BYTES_MAX
from agents.record import Record
from agents.server import Server
from agents.wire import decode_replies, encode
from tests.agents.serving import FakeContainer, ask, client_of, serving, until

# -- requests -------------------------------------------------------------------


def test_a_client_gets_one_frame_for_one_frame_of_requests() -> None:
    with serving() as server, client_of(server) as dealer:
        dealer.send(encode([Get(1, b"3"), Get(2, b"5"), Greet(3)]))
        replies = decode_replies(dealer.recv())
        assert [(reply.id, reply.value) for reply in replies] == [(1, b"3"), (2, b"5"), (3, None)]
        assert Requested in server.container.machines[3].kinds()
        assert Requested in server.container.kinds()


def test_an_embedded_caller_is_called_back_with_its_reply() -> None:
    with serving() as server:
        assert ask(server, Get(7, b"4")) == Reply(7, OK, value=b"4")


def test_many_threads_hand_in_and_none_waits_for_the_next_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "TICK_S", 2.0)
    with serving() as server:
        rounds, threads, slow = 50, [], []

        def work() -> None:
            for number in range(rounds):
                began_s = time.monotonic()
                ask(server, Get(number, b"1"))
                slow.append(time.monotonic() - began_s)

        for _ in range(4):
            threads.append(threading.Thread(target=work))
            threads[-1].start()
        for thread in threads:
            thread.join()
        assert len(slow) == 4 * rounds
        assert sorted(slow)[len(slow) // 2] < 0.5


def test_bytes_that_are_no_requests_are_answered_and_the_host_goes_on() -> None:
    with serving() as server, client_of(server) as dealer:
        dealer.send(b"\xc1 nonsense")
        assert decode_replies(dealer.recv())[0].code == BAD
        dealer.send(encode([Get(1, b"3")]))
        assert decode_replies(dealer.recv())[0].code == OK


def test_replies_of_one_turn_are_handed_on_together_at_its_end() -> None:
    with serving() as server:
        batches: list[list[Reply]] = []
        gathered: list[Reply] = []

        def hand_on() -> None:
            batches.append(gathered[:])
            gathered.clear()

        def take(reply: Reply) -> None:
            if not gathered:
                server.at_turn_end(hand_on)
            gathered.append(reply)

        for number in range(100):
            server.submit(Get(number, b"1"), take)
        until(lambda: sum(map(len, batches)) == 100)
        assert len(batches) <= 100


def test_a_read_does_not_enter_the_loop() -> None:
    server = Server(FakeContainer(), Door("tcp://127.0.0.1:*", "tcp://127.0.0.1:*"))
    assert server.read(b"key") == b"key"
    server.stop()


# -- effects --------------------------------------------------------------------


def test_what_one_turn_says_to_one_host_leaves_as_one_outbox() -> None:
    with serving() as server:
        machine = server.container.colony(2)
        machine.script = lambda event, now_s: (
            [Send("b", Ack(2, 1, 5)), Send("b", Ack(2, 1, 6)), Send("c", Ack(2, 1, 6))]
            if type(event) is Requested
            else []
        )
        server.submit(Get(1, b"2"), lambda reply: None)
        until(lambda: server.container.links.flushed)
        # The second ack says all that the first one said.
        assert server.container.links.flushed == [{"b": [Ack(2, 1, 6)], "c": [Ack(2, 1, 6)]}]


@pytest.mark.parametrize(("handed_in", "turns"), [(100, [25, 25, 25, 25]), (20, [8, 8, 4]), (3, [3])])
def test_a_turn_takes_its_share_of_what_is_under_way_that_others_begin_early(
    handed_in: int, turns: list[int]
) -> None:
    server = Server(FakeContainer(), Door("tcp://127.0.0.1:*", "tcp://127.0.0.1:*"))
    machine = server.container.colony(2)
    machine.script = lambda event, now_s: [Send("b", Retire(2, 1))] if type(event) is Requested else []
    for number in range(handed_in):
        assert server.submit(Get(number, b"2"), lambda reply: None)
    server.start()
    try:
        until(lambda: server.submitted == handed_in and len(server.container.links.flushed) == len(turns))
        assert [len(outbox["b"]) for outbox in server.container.links.flushed] == turns
    finally:
        server.stop()


def test_what_is_never_answered_does_not_count_as_under_way_for_good() -> None:
    with serving() as server:
        server.container.colony(2).script = lambda event, now_s: [Send("b", Retire(2, 1))]
        server.submit(Get(1, b"2"), lambda reply: None)
        until(lambda: server.submitted == 1 == server.performer.answered)


def test_mutations_of_one_turn_leave_as_one_message_for_each_host() -> None:
    def mutation(seq: int, committed: int = 0, epoch: int = 1, colony: int = 2) -> Replicate:
        return Replicate(colony, epoch, committed, 0.0, (Entry(seq, PUT, b"k", b"v"),))

    retire = Retire(2, 1)
    said: list[Any] = [
        mutation(1),
        mutation(1, colony=3),
        mutation(2, 1),
        retire,
        mutation(3),
        mutation(5),
        mutation(6, epoch=2),
    ]
    with serving() as server:
        machine = server.container.colony(2)
        machine.script = lambda event, now_s: (
            [Send("b", message) for message in said] + [Send("c", mutation(2))]
            if type(event) is Requested
            else []
        )
        server.submit(Get(1, b"2"), lambda reply: None)
        until(lambda: server.container.links.flushed)
        [outbox] = server.container.links.flushed
        # Two that follow upon each other are one, but none overtakes a retirement, a gap or an epoch.
        both = Replicate(2, 1, 1, 0.0, (*said[0].entries, *said[2].entries))
        assert outbox == {"b": [both, said[1], retire, *said[4:]], "c": [mutation(2)]}


def test_mutations_that_are_large_together_leave_as_several_messages() -> None:
    size = ENTRIES_BYTES_MAX // 3
    said = [Replicate(2, 1, 0, 0.0, (Entry(seq, PUT, b"k", bytes(size)),)) for seq in range(1, 9)]
    with serving() as server:
        server.container.colony(2).script = lambda event, now_s: (
            [Send("b", message) for message in said] if type(event) is Requested else []
        )
        server.submit(Get(1, b"2"), lambda reply: None)
        until(lambda: server.container.links.flushed)
        sent = server.container.links.flushed[0]["b"]
        assert [entry.seq for message in sent for entry in message.entries] == list(range(1, 9))
        assert 1 < len(sent) < 8


def test_host_and_colony_hear_each_other_in_the_order_of_the_telling() -> None:
    with serving() as server:
        server.container.script = lambda event, now_s: (
            [TellColony(1, "first"), TellColony(2, "second"), TellColony(1, "third")]
            if type(event) is Requested
            else []
        )
        server.container.colony(1).script = lambda event, now_s: (
            [TellHost("heard")] if isinstance(event, str) else []
        )
        server.submit(Greet(1), lambda reply: None)
        until(lambda: server.container.heard.count("heard") == 2)
        assert server.container.colony(1).heard == ["first", "third"]
        assert server.container.colony(2).heard == ["second"]


def test_messages_are_sent_in_the_view_they_were_said_in() -> None:
    with serving() as server:
        flushed_before: list[int] = []

        def see(event: Any, now_s: float) -> list[Any]:
            if type(event) is SeedFound:  # stands for any event that may install a view
                flushed_before.append(len(server.container.links.flushed))
            return []

        server.container.script = see
        server.container.colony(1).script = lambda event, now_s: (
            [Send("b", Ack(1, 1, 1)), TellHost(SeedFound(None))]  # type: ignore[arg-type]
            if type(event) is Requested
            else []
        )
        server.submit(Get(1, b"1"), lambda reply: None)
        until(lambda: flushed_before)
        assert flushed_before == [1]


def test_a_colony_is_woken_when_it_asked_to_be() -> None:
    with serving() as server:
        machine = server.container.colony(1)
        machine.script = lambda event, now_s: [Wake(now_s + 0.03)] if type(event) is Requested else []
        server.submit(Get(1, b"1"), lambda reply: None)
        until(lambda: Ticked in [type(event) for event in machine.heard])


def test_the_host_is_ticked_all_the_time() -> None:
    with serving() as server:
        until(lambda: server.container.heard.count(Ticked()) >= 4)


def test_what_depends_on_a_record_that_can_not_be_written_is_never_said() -> None:
    def full(record: Record) -> None:
        raise OSError("no space left")

    with serving(persist=full) as server:
        promise: list[Effect] = [Persist(Record("me", 1)), Send("b", Ack(1, 1, 1))]
        server.container.script = lambda event, now_s: promise if type(event) is Requested else []
        server.submit(Greet(1), lambda reply: None)
        until(lambda: server.halt)
        assert server.halt is not None
        assert "no space left" in server.halt.reason
        server.stop()
        assert server.container.links.flushed == []


def test_the_record_is_written_before_what_follows_it() -> None:
    order: list[str] = []
    with serving(persist=lambda record: order.append("written")) as server:
        server.container.script = lambda event, now_s: (
            [Persist(Record("me", 1)), Answer(event.caller, Reply(1, OK))] if type(event) is Requested else []
        )
        server.submit(Greet(1), lambda reply: order.append("said"))
        until(lambda: len(order) == 2)
        assert order == ["written", "said"]


def test_a_process_that_is_gone_is_reported_once_it_is_seen() -> None:
    from agents.effects import ProbeProcess, ProcessGone, ProcessStopped
    from agents.views import Member

    looks: list[str] = []

    def state(member: Member) -> Literal["stopped", "gone"]:
        looks.append(member.id)
        return "gone" if len(looks) >= 3 else "stopped"

    with serving(process_state=state) as server:
        dead = Member("b", 4, "b", "", "")
        server.container.script = lambda event, now_s: (
            [ProbeProcess(dead)] if type(event) is Requested else []
        )
        server.submit(Greet(1), lambda reply: None)
        until(lambda: ProcessGone("b", 4) in server.container.heard)
        assert len(looks) == 3
        assert ProcessStopped("b", 4) in server.container.heard


# -- what breaks ------------------------------------------------------------------


def test_a_callback_that_raises_harms_nobody_else() -> None:
    with serving() as server:

        def bad(reply: Reply) -> None:
            raise ValueError("not my reply")

        server.submit(Get(1, b"1"), bad)
        assert ask(server, Get(2, b"1")).code == OK
        assert server.notes.counts["callback_failed"] == 1


def test_links_that_break_take_one_link_down_and_not_the_loop() -> None:
    with serving() as server:

        def tick(now_s: float) -> list[Any]:
            raise RuntimeError("a bug in a link")

        server.container.links.tick = tick
        until(lambda: server.notes.counts["link_broke"])
        assert ask(server, Get(2, b"1")).code == OK


def test_a_host_whose_deputy_is_interrupted_in_a_machine_ends_without_another_word() -> None:
    """A signal's handler raises in the main thread: what the machine left half done is told to nobody."""

    def interrupted(event: Any, now_s: float) -> list[Any]:
        raise KeyboardInterrupt

    with serving() as server:
        until(lambda: server.is_over() is False)
        deputy = Deputy(["task"])
        assert server.appoint(deputy) is not None
        server.container.colony(1).script = interrupted
        replies: list[Reply] = []
        server.submit(Get(1, b"1"), replies.append, wake=False)
        server.container.links.flushed.clear()
        server.performer.send("other", Ack(2, 1, 1))
        with pytest.raises(KeyboardInterrupt):
            server.stand_in(deputy)
        until(lambda: not server._thread.is_alive())  # type: ignore[union-attr]
        assert server.halt is not None and server.halt.status == 1
        assert not server.container.links.flushed and not replies and not server.stand_in(deputy)


# -- time and end -----------------------------------------------------------------


def kinds_after(kind: type, kinds: list[type]) -> list[type]:
    """Return what kinds of events came after the first one of a kind."""
    return kinds[kinds.index(kind) + 1 :] if kind in kinds else []


def test_what_came_through_a_link_is_heard_before_the_end_of_the_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Last words are often read together with it, and a link that is DOWN delivers nothing."""
    server = Server(FakeContainer(), Door("tcp://127.0.0.1:*", "tcp://127.0.0.1:*"))
    taken: list[str] = []
    monkeypatch.setattr(server, "_take_lost", lambda: taken.append("lost"))
    monkeypatch.setattr(server, "_take_host_frames", lambda: taken.append("frames"))
    server._turn(HOSTS | LOST)
    server.stop()
    assert taken == ["frames", "lost"]


def test_a_loop_that_was_held_up_owns_up_before_anything_else() -> None:
    with serving() as server:

        def stall(event: Any, now_s: float) -> list[Any]:
            time.sleep(0.25)
            return []

        server.container.colony(1).script = stall
        ask(server, Get(1, b"1"))
        until(lambda: Ticked in kinds_after(LoopWasLate, [type(event) for event in server.container.heard]))
        late = next(event for event in server.container.heard if type(event) is LoopWasLate)
        assert late.late_s > 0.1
        heard = [event for event in server.container.heard if type(event) in (Ticked, LoopWasLate)]
        assert type(heard[heard.index(late) + 1]) is Ticked


def test_halt_ends_the_loop_with_its_status_and_frees_who_waits() -> None:
    container = FakeContainer()
    server = Server(container, Door("tcp://127.0.0.1:*", "tcp://127.0.0.1:*"))
    container.script = lambda event, now_s: (
        [Halt(5, "solitude"), Answer(event.caller, Reply(1, OK))] if type(event) is Requested else []
    )
    replies: list[Reply] = []
    for number in range(600):
        server.submit(Greet(number), replies.append)
    assert server.run() == 5
    assert replies[0].code == OK
    assert len(replies) == 600
    assert replies[-1].code == UNAVAILABLE and replies[-1].text == "solitude"
    assert not server.submit(Greet(1), replies.append)


def test_a_stopped_server_leaves_no_actor_and_no_thread() -> None:
    with serving() as server:
        ask(server, Get(1, b"1"))
        assert pykka.ActorRegistry.get_by_class(ColonyActor)
    assert not pykka.ActorRegistry.get_by_class(ColonyActor)
    assert not pykka.ActorRegistry.get_by_class(HostActor)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("colony-")]
    server.stop()


def test_an_embedding_process_keeps_its_own_collector() -> None:
    import gc

    before = gc.get_threshold(), gc.get_freeze_count()
    with serving() as server:
        ask(server, Get(1, b"1"))
    assert (gc.get_threshold(), gc.get_freeze_count()) == before


# -- joining, watching ---------------------------------------------------------------


def test_a_seed_that_answers_is_found_and_ones_own_address_is_not() -> None:
    import msgspec

    greeting = Greeting(1, "0", "", 0, "ZOMBIE", "other", 1, "o", "tcp://127.0.0.1:9", 0, 0, (), ())
    with serving() as seed:
        seed.container.script = lambda event, now_s: (
            [Answer(event.caller, Reply(event.request.id, OK, value=msgspec.msgpack.encode(greeting)))]
            if type(event) is Requested
            else []
        )
        with serving(seeds=(seed.door.address,)) as server:
            until(lambda: SeedFound in server.container.kinds())
            found = next(event for event in server.container.heard if type(event) is SeedFound)
            assert (found.member.id, found.member.address) == ("other", seed.door.address)


def test_the_watches_of_a_client_that_is_gone_are_ended() -> None:
    with serving() as server:
        with client_of(server) as dealer:
            dealer.send(encode([Watch(4, b""), Get(5, b"1")]))
            dealer.recv()
            assert server.clients.backlog == 0

        def told(event: Any, now_s: float) -> list[Any]:
            watch = next((e for e in server.container.heard if type(e) is Requested), None)
            return [Answer(watch.caller, Reply(4, OK))] if type(event) is Ticked and watch else []

        server.container.script = told
        until(lambda: Unwatch(0, 4) in [e.request for e in server.container.heard if type(e) is Requested])


def test_over_the_backlog_limit_clients_wait_and_embedded_callers_do_not() -> None:
    with serving() as server, client_of(server) as dealer, ExitStack() as stack:
        others = [stack.enter_context(client_of(server)) for _ in range(5)]
        held: list[Any] = []

        def hold(event: Any, now_s: float) -> list[Any]:
            if type(event) is not Requested:
                return []
            held.append(event.caller)
            return [Wake(now_s + 60)]

        server.container.script = hold
        for other in others:
            other.send(encode([Greet(number) for number in range(4000)]))
        until(lambda: server.clients.is_over_limit)
        dealer.send(encode([Get(9, b"1")]))
        assert ask(server, Get(1, b"1")).code == OK
        assert server.container.colony(1).kinds().count(Requested) == 1
        server.container.script = lambda event, now_s: (
            [Answer(caller, Reply(0, OK)) for caller in (held.pop() for _ in range(min(len(held), 4000)))]
            if type(event) is Ticked
            else []
        )
        until(lambda: server.container.colony(1).kinds().count(Requested) == 2)


def test_one_client_can_not_take_all_the_room() -> None:
    with serving() as server, client_of(server) as greedy, client_of(server) as modest:
        taken: list[Any] = []

        def swallow(event: Any, now_s: float) -> list[Any]:
            if type(event) is not Requested:
                return []
            taken.append(event)
            return [Wake(now_s + 60)]

        server.container.script = swallow
        for _ in range(10):
            greedy.send(encode([Greet(number) for number in range(4000)]))
        refused = [reply for reply in decode_replies(greedy.recv()) if reply.code == FULL]
        while not refused:
            refused = [reply for reply in decode_replies(greedy.recv()) if reply.code == FULL]
        assert "under way" in refused[0].text
        assert not server.clients.is_over_limit
        before = len(taken)
        modest.send(encode([Greet(1)]))
        until(lambda: len(taken) > before)


def test_replies_leave_in_pieces_however_much_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients_module, "PIECE_BYTES_MAX", 10_000)
    with serving() as server, client_of(server) as dealer:
        server.container.script = lambda event, now_s: (
            [Answer(event.caller, Reply(event.request.id, OK, value=b"x" * 4_000))]
            if type(event) is Requested
            else []
        )
        dealer.send(encode([Greet(number) for number in range(9)]))
        frames: list[bytes] = []
        while sum(len(decode_replies(frame)) for frame in frames) < 9:
            frames.append(dealer.recv())
        assert max(map(len, frames)) < 10_000 and len(frames) >= 5


def test_kept_messages_are_delivered_after_what_was_said_before_them() -> None:
    with serving() as server:
        server.container.script = lambda event, now_s: (
            [TellColony(1, "view installed"), DeliverMessages("b", (Ack(1, 1, 1), Ack(1, 1, 2)))]
            if type(event) is Requested
            else []
        )
        server.submit(Greet(1), lambda reply: None)
        until(lambda: len(server.container.colony(1).heard) == 3)
        assert server.container.colony(1).heard[0] == "view installed"


def test_what_links_say_reaches_the_host_as_it_is() -> None:
    with serving() as server:
        news = [LinkCameUp("b", 3), LinkWentDown("b", "reset")]
        server.container.script = lambda event, now_s: news if type(event) is Requested else []
        server.submit(Greet(1), lambda reply: None)
        until(lambda: LinkWentDown in server.container.kinds())
        heard = [event for event in server.container.heard if type(event) in (LinkCameUp, LinkWentDown)]
        assert heard == news


class Caller:
    """Waits for an answer, and may take turns meanwhile."""

    def __init__(self) -> None:
        self.reply: Reply | None = None
        self.thread = threading.get_ident()
        self.has_led = False

    def took(self, reply: Reply) -> None:
        """Take the answer."""
        self.reply = reply


def test_a_caller_that_is_alone_runs_the_machines_itself_and_who_listens_hears_of_it_elsewhere() -> None:
    ran: list[int] = []
    owners: list[int | None] = []
    heard: list[tuple[str, int]] = []

    def script(event: Any, now_s: float) -> list[Any]:
        if type(event) is Requested:
            ran.append(threading.get_ident())
            return [Note("seen", "a caller"), Wake(now_s + 0.001), Answer(event.caller, Reply(1, OK))]
        return []

    with serving(on_note=lambda noted: heard.append((noted.note.kind, threading.get_ident()))) as server:
        for colony in range(3):
            server.container.colony(colony).script = script
        until_s = time.monotonic() + 20
        callers: list[Caller] = []

        def call() -> None:
            while not any(caller.has_led for caller in callers) and time.monotonic() < until_s:
                caller = Caller()
                callers.append(caller)
                assert server.call(Get(1, b"1"), caller.took, caller, 5.0)
                owners.append(server.dispatcher.thread)
                while caller.reply is None and time.monotonic() < until_s:
                    time.sleep(0.001)
                server.leave(caller)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        while not heard and time.monotonic() < until_s:
            time.sleep(0.001)
    assert callers[-1].has_led and callers[-1].reply == Reply(1, OK)
    assert ran[-1] == callers[-1].thread
    assert callers[-1].thread not in owners, "then it may ask and tell as any other thread"
    assert {kind for kind, _ in heard} == {"seen"}
    assert callers[-1].thread not in {ident for _, ident in heard}


def test_what_breaks_on_a_callers_thread_is_noted_and_the_host_goes_on() -> None:
    def script(event: Any, now_s: float) -> list[Any]:
        if type(event) is Requested:
            raise ValueError("planted")
        return []

    with serving() as server:
        server.container.colony(1).script = script
        caller = Caller()

        def call() -> None:
            server.call(Get(1, b"1"), caller.took, caller, 5.0)
            server.leave(caller)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        until_s = time.monotonic() + 20
        while caller.reply is None and time.monotonic() < until_s:
            time.sleep(0.001)
        assert caller.reply is not None and caller.reply.code == BAD
        assert ask(server, Get(1, b"2")).code == OK
