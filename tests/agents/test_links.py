"""The rules of links: pairs of pipes, order, gates and bounds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.effects import HelloSeen, Note
from agents.links import (
    KEPT_FRAMES_MAX,
    SILENT_S,
    STRANGERS_MAX,
    DeliverMessages,
    Links,
    SendFrame,
    State,
    only_ungated,
)
from agents.messages.membership import Heartbeat, Install, Installed, WantView
from agents.messages.replication import Ack, Chunk, Entry, Replicate
from agents.pairing import EDGES, HELLO_EVERY_S, PAIR_WITHIN_S
from agents.stages import AHEAD_S
from agents.views import Member
from agents.wire import BULK, CONTROL, Frame, Goodbye, Hello, Source
from tests.agents.pipe_world import End, Pipe, World, member, view_of

A, B = member("a"), member("b")


def up(seed: int = 0, *, in_view: bool = False) -> World:
    """Return a world of two hosts with an UP link, perhaps both in view 1."""
    world = World(A, B, seed=seed)
    world.dial("a", "b")
    world.dial("b", "a")
    world.run()
    if in_view:
        for letter in "ab":
            world.install(letter, view_of(1, A, B))
    assert pair(world) is not None
    return world


def pair(world: World) -> tuple[int, int] | None:
    """Return the pair of incarnations that both ends are UP with, if they agree."""
    a, b = world.end("a").links._links.get("b" * 32), world.end("b").links._links.get("a" * 32)
    if a is None or b is None or not (a.is_up and b.is_up):
        return None
    return (a.own, b.own) if (a.own, a.heard) == (b.heard, b.own) else None


def ack(number: int) -> Ack:
    """Return a gated message that carries a number."""
    return Ack(0, 0, number)


def numbers(end: End) -> list[int]:
    """Return the numbers of the acks that a host got."""
    return [message.seq for _, message in end.got if isinstance(message, Ack)]


# -- the handshake -----------------------------------------------------------


def test_two_that_dial_each_other_agree_on_the_pair() -> None:
    world = up()
    assert [len(end.ups) for end in world.ends.values()] == [1, 1]
    assert not any(end.downs for end in world.ends.values())


def test_one_that_is_called_by_a_stranger_calls_back() -> None:
    world = World(A, B)
    world.dial("a", "b")
    world.run()
    assert pair(world) is not None
    assert world.end("b").hellos == [HelloSeen(A, "", 0, "HOLD")]


def test_nothing_leaves_before_the_link_is_up() -> None:
    world = World(A, B)
    world.dial("a", "b")
    world.send("a", "b", Installed(1))
    assert world.end("a").links.dropped == 1
    world.run()
    assert world.end("b").got == []


def test_a_frame_that_names_both_pipes_brings_the_link_up_before_the_hello_does() -> None:
    world = World(A, B)
    a, b = world.end("a").links, world.end("b").links
    world.dial("a", "b")
    world.perform(
        world.end("b"), b.on_frame(Source(*own(A), 100, 0), world.pipe("a", "b").planes[0].popleft(), 0)
    )
    hello = world.pipe("b", "a").planes[0].popleft()
    assert isinstance(hello, Hello)
    world.perform(world.end("a"), a.on_frame(Source(*own(B), hello.link, 0), hello, 0))
    assert a.is_up(B.id) and not b.is_up(A.id)
    frame = Frame(100, hello.link, 1, 0, (Installed(7),))
    world.perform(world.end("b"), b.on_frame(Source(*own(A), 100, 0), frame, 0))
    assert b.is_up(A.id) and world.end("b").got == [(A.id, Installed(7))]


def own(host: Member) -> tuple[str, int]:
    return host.id, host.incarnation


def test_duplicated_and_late_hellos_do_no_harm() -> None:
    world = up()
    before = pair(world)
    old = [(pipe, frame) for pipe, frame in world.sent if isinstance(frame, Hello)]
    world.break_pipe(world.pipe("a", "b"))
    world.run(1.0)
    after = pair(world)
    assert after is not None and before is not None and after > before
    downs = [len(end.downs) for end in world.ends.values()]
    for pipe, hello in old * 3 + [(world.pipe(*route), h) for route, h in newest_hellos(world)] * 3:
        end = world.ends[pipe.receiver]
        source = Source(*pipe.own, pipe.incarnation, CONTROL)
        world.perform(end, end.links.on_frame(source, hello, world.now_s))
        world.run()
    assert pair(world) == after
    assert [len(end.downs) for end in world.ends.values()] == downs


def newest_hellos(world: World) -> list[tuple[str, Hello]]:
    """Return (route, Hello) of the Hellos that left through the newest pipes."""
    return [
        (route, frame)
        for route in ("ab", "ba")
        for pipe, frame in world.sent
        if pipe is world.pipe(*route) and isinstance(frame, Hello)
    ]


def test_hellos_are_few_however_often_the_other_end_repeats_its_own() -> None:
    world = World(A)
    world.dial("a", "a")  # itself: nothing
    assert world.end("a").links.states == {}
    world.perform(world.end("a"), world.end("a").links.dial(B, 0.0))
    hello = Hello(1, 1, "", "", 0, "", B, 50, 0)
    for _ in range(1_000):
        world.perform(world.end("a"), world.end("a").links.on_frame(Source(*own(B), 50, 0), hello, 0.0))
    assert len(world.hellos_sent()) == 2  # one as the pipe opened, one to show that B was heard
    assert len(world.end("a").hellos) == 1


def test_a_pipe_that_nobody_answers_is_given_up_and_dialled_again() -> None:
    world = World(A)
    end = world.end("a")
    world.perform(end, end.links.dial(B, 0.0))
    world.run(PAIR_WITHIN_S + 0.6)
    assert len(world.pipes) == 2
    assert len(world.hellos_sent()) <= (PAIR_WITHIN_S + 0.6) / HELLO_EVERY_S + 2


def test_back_off_doubles_from_5_to_500_ms() -> None:
    world = World(A)
    end = world.end("a")
    world.perform(end, end.links.dial(B, 0.0))
    for _ in range(200):
        world.now_s += 0.005
        world.perform(end, end.links.tick(world.now_s))
        if end.links.states[B.id] is State.PAIRING:
            lost = end.links.on_pipe_lost(B.id, world.pipe("a", "b").incarnation, "refused", world.now_s)
            world.perform(end, lost)
    assert 5 <= len(world.pipes) <= 10  # in a second: 5, 10, 20 ... ms, less up to half of each by chance


def test_a_pipe_lost_takes_the_link_down_at_once_on_one_end_and_by_hello_on_the_other() -> None:
    world = up()
    world.break_pipe(world.pipe("a", "b"))
    assert [down.reason for down in world.end("a").downs] == ["broken"]
    assert not world.end("b").downs
    world.run(0.1)
    assert [down.reason for down in world.end("b").downs] == ["the other end began anew"]
    assert pair(world) is not None


def test_the_loss_of_an_old_pipe_is_no_news() -> None:
    world = up()
    old = world.pipe("a", "b")
    world.break_pipe(old)
    world.run(0.1)
    before = pair(world)
    world.break_pipe(old)
    assert pair(world) == before


def test_a_restarted_host_takes_the_place_of_its_earlier_incarnation() -> None:
    world = up(in_view=True)
    reborn = member("b", incarnation=2)
    world.ends[B.id] = End(reborn, 5)  # link incarnations of another process: lower, and no matter
    world.perform(world.end("b"), world.end("b").links.dial(A, world.now_s))
    world.run(0.1)
    assert pair(world) is not None
    assert [down.reason for down in world.end("a").downs] == ["the host started anew"]
    assert world.end("a").hellos[-1].member == reborn
    world.perform(world.end("a"), world.end("a").links.dial(B, world.now_s))
    assert pair(world) is not None, "an order to dial the earlier incarnation is late"


def test_a_host_that_takes_a_new_incarnation_begins_all_links_anew() -> None:
    world = up(in_view=True)
    world.end("a").me = member("a", incarnation=2)
    world.end("a").view = None
    world.run(0.2)
    assert pair(world) is not None
    assert world.pipe("a", "b").own == (A.id, 2)
    assert world.end("b").hellos[-1].member.incarnation == 2


def test_every_edge_that_is_walked_is_in_the_table() -> None:
    assert set(EDGES) == set(State)
    assert all(State.CLOSED in EDGES[state] for state in State if state is not State.CLOSED)


# -- refusals ----------------------------------------------------------------


def test_a_foreign_cluster_is_refused_and_both_ends_note_it_once() -> None:
    world = World(A, B)
    world.end("a").tag, world.end("b").tag = "1" * 32, "2" * 32
    world.dial("a", "b")
    world.run(5.0)
    assert pair(world) is None
    assert not world.end("a").ups and not world.end("b").ups and not world.end("b").hellos
    assert [note.kind for note in world.end("b").notes] == ["link_refused"]
    assert "link_refused_by" in [note.kind for note in world.end("a").notes]
    assert len(world.end("a").notes) <= 2
    assert world.end("a").downs[0].reason.startswith("refused: this host belongs to the cluster")
    assert len(world.pipes) < 40, "refusals are rare"


def test_a_host_without_a_cluster_may_talk_to_any() -> None:
    world = World(A, B)
    world.end("b").tag = "2" * 32
    world.dial("a", "b")
    world.run()
    assert pair(world) is not None


def test_too_old_a_protocol_is_refused() -> None:
    world = World(A, B)
    end = world.end("a")
    effects = end.links.on_frame(Source(*own(B), 5, 0), Hello(0, 0, "", "", 0, "", B, 5, 0), 0.0)
    frames = [effect.frame for effect in effects if isinstance(effect, SendFrame)]
    assert frames == [Goodbye("this host speaks protocol 1, not 0", "version")]
    assert [note.reason for note in effects if isinstance(note, Note)] == [
        "it speaks protocol 0, this host 1"
    ]


def test_a_refused_stranger_is_forgotten() -> None:
    world = World(A, B)
    end = world.end("a")
    world.perform(end, end.links.on_frame(Source(*own(B), 5, 0), Hello(0, 0, "", "", 0, "", B, 5, 0), 0.0))
    world.run(1.5)
    assert end.links.states == {}


@pytest.mark.parametrize(
    "source",
    [
        Source("c" * 32, 1, 50, CONTROL),
        Source(B.id, 2, 50, CONTROL),
        Source(B.id, 1, 51, CONTROL),
        Source(B.id, 1, 50, BULK),
    ],
)
def test_a_hello_of_somebody_else_is_none(source: Source) -> None:
    end = World(A).end("a")
    assert end.links.on_frame(source, Hello(1, 1, "", "", 0, "", B, 50, 0), 0.0) == []
    assert end.links.states == {}


def test_strangers_are_few_and_soon_forgotten() -> None:
    world = World(A)
    end = world.end("a")
    for number in range(STRANGERS_MAX + 10):
        stranger = Member(f"{number:032x}", 1, "", "", "tcp://x:1")
        hello = Hello(1, 1, "", "", 0, "", stranger, 50, 0)
        world.perform(end, end.links.on_frame(Source(*own(stranger), 50, 0), hello, 0.0))
    assert len(end.links.states) == STRANGERS_MAX
    world.dial("a", "a")
    world.perform(end, end.links.dial(B, 0.0))
    assert B.id in end.links.states
    world.run(3.0)
    assert set(end.links.states) == {B.id}


def test_hanging_up_ends_the_link_at_both_ends() -> None:
    world = up()
    world.perform(world.end("a"), world.end("a").links.hang_up(B.id, world.now_s))
    world.run()
    assert world.end("a").links.states == {}
    assert [down.reason for down in world.end("b").downs] == ["refused: hung up"]
    assert not world.end("b").notes


# -- order, gaps, bad frames -------------------------------------------------


def test_a_gap_takes_the_link_down_and_nothing_after_it_is_delivered() -> None:
    world = up(in_view=True)
    world.send("a", "b", ack(1))
    world.send("a", "b", ack(2))
    world.send("a", "b", ack(3))
    del world.pipe("a", "b").planes[CONTROL][1]
    world.run(0.2)
    assert numbers(world.end("b")) == [1]
    assert world.end("b").downs[0].reason == "gap: frame 3 came instead of 2"
    assert pair(world) is not None


def test_a_repeated_frame_is_delivered_once() -> None:
    world = up(in_view=True)
    world.send("a", "b", ack(1))
    frames = world.pipe("a", "b").planes[CONTROL]
    frames.append(frames[0])
    world.run()
    assert numbers(world.end("b")) == [1]


def test_chunks_travel_on_the_bulk_plane_with_numbers_of_their_own() -> None:
    world = up(in_view=True)
    chunk = Chunk(0, 0, 1, 1, (), (), last=True)
    world.send("a", "b", ack(1), chunk, Heartbeat(1, 0.0, b""), ack(2))
    planes = world.pipe("a", "b").planes
    assert [(f.number, f.view, f.messages) for f in planes[BULK] if isinstance(f, Frame)] == [
        (1, 1, (chunk,))
    ]
    assert [(f.number, f.view) for f in planes[CONTROL] if isinstance(f, Frame)] == [(1, 0), (2, 1)]
    world.run()
    assert len(world.end("b").got) == 4
    assert numbers(world.end("b")) == [1, 2]


def test_a_frame_grows_no_larger_than_it_should() -> None:
    world = up(in_view=True)
    entry = Entry(1, 0, b"key", b"x" * (1 << 20))
    world.send("a", "b", *(Replicate(number, 0, 0, 0.0, (entry,)) for number in range(20)))
    frames = [f for f in world.pipe("a", "b").planes[CONTROL] if isinstance(f, Frame)]
    assert len(frames) > 5 and all(len(frame.messages) <= 4 for frame in frames)
    world.run()
    assert [message.colony for _, message in world.end("b").got] == list(range(20))


def test_bytes_that_are_no_frame_take_the_link_down() -> None:
    world = up()
    pipe = world.pipe("b", "a")
    end = world.end("a")
    assert end.links.on_bad_frame(Source(*pipe.own, pipe.incarnation - 1, 0), "old", world.now_s) == []
    world.perform(end, end.links.on_bad_frame(Source(*pipe.own, pipe.incarnation, 0), "junk", world.now_s))
    assert end.downs[0].reason == "bad frame: junk"
    world.run(0.1)
    assert pair(world) is not None


def test_a_message_that_needs_a_view_can_not_come_without_one() -> None:
    world = up(in_view=True)
    pipe, (a, b) = world.pipe("a", "b"), pair(world) or (0, 0)
    end = world.end("b")
    frame = Frame(a, b, 1, 0, (ack(1),))
    world.perform(end, end.links.on_frame(Source(*pipe.own, a, 0), frame, world.now_s))
    assert end.got == [] and "need a view" in end.downs[0].reason


@pytest.mark.parametrize("off", [(-1, 0), (0, -1), (1, 0), (0, 1)])
def test_a_frame_of_any_other_pair_is_not_delivered(off: tuple[int, int]) -> None:
    world = up(in_view=True)
    a, b = pair(world) or (0, 0)
    frame = Frame(a + off[0], b + off[1], 1, 0, (Installed(1),))
    end = world.end("b")
    for link in (a, a + off[0]):
        assert end.links.on_frame(Source(*own(A), link, CONTROL), frame, world.now_s) == []
    assert end.links.strays == 2


def test_a_hello_of_an_earlier_pipe_is_no_news_even_if_it_names_ours() -> None:
    world = World(A)
    end = world.end("a")
    world.perform(end, end.links.dial(B, 0.0))
    for link, heard in ((50, 0), (49, 100)):
        hello = Hello(1, 1, "", "", 0, "", B, link, heard)
        world.perform(end, end.links.on_frame(Source(*own(B), link, CONTROL), hello, 0.0))
    assert not end.links.is_up(B.id) and len(end.hellos) == 1


# -- the gate ----------------------------------------------------------------


def test_a_frame_of_an_earlier_view_is_dropped_and_answered_with_the_view() -> None:
    world = up(in_view=True)
    later = view_of(2, A, B)
    world.install("b", later)
    for number in range(50):
        world.send("a", "b", ack(number))
    world.run()
    assert numbers(world.end("b")) == []
    assert world.end("a").got == [(B.id, Install(later))], "once, not fifty times"


def test_a_frame_of_a_later_view_is_kept_until_that_view_is_installed() -> None:
    world = up(in_view=True)
    world.install("a", view_of(2, A, B))
    world.send("a", "b", ack(1))
    world.install("a", view_of(3, A, B))
    world.send("a", "b", ack(2))
    world.send("a", "b", ack(3), Installed(3))
    world.run()
    assert world.end("a").got == [], "mostly the view is under way, too"
    world.run(AHEAD_S)
    assert world.end("a").got == [(B.id, WantView(1))]
    assert world.end("b").got == [(A.id, Installed(3))], "what is about views passes the gate"
    world.install("b", view_of(2, A, B))
    assert numbers(world.end("b")) == [1]
    world.install("b", view_of(3, A, B))
    assert numbers(world.end("b")) == [1, 2, 3]
    world.send("a", "b", ack(4))
    world.run()
    assert numbers(world.end("b")) == [1, 2, 3, 4]


def test_what_was_kept_dies_with_the_link() -> None:
    world = up(in_view=True)
    world.install("a", view_of(2, A, B))
    world.send("a", "b", ack(1))
    world.run()
    world.break_pipe(world.pipe("b", "a"))
    world.run(0.1)
    world.install("b", view_of(2, A, B))
    assert numbers(world.end("b")) == []


def test_what_was_kept_for_a_view_that_is_passed_over_is_dropped() -> None:
    world = up(in_view=True)
    world.install("a", view_of(2, A, B))
    world.send("a", "b", ack(1))
    world.run()
    world.install("b", view_of(3, A, B))
    assert numbers(world.end("b")) == []


def test_too_much_that_came_ahead_of_its_view_takes_the_link_down() -> None:
    world = up(in_view=True)
    world.install("a", view_of(2, A, B))
    for number in range(KEPT_FRAMES_MAX + 1):
        world.send("a", "b", ack(number))
    world.run(0.2)
    assert world.end("b").downs[0].reason == "too much came ahead of its view"
    assert pair(world) is not None


def test_a_host_that_the_view_does_not_list_is_sent_the_view_and_not_listened_to() -> None:
    world = up()
    world.install("a", view_of(1, A, B))
    alone = view_of(1, B)
    world.install("b", alone)
    world.send("a", "b", ack(1))
    world.run()
    assert numbers(world.end("b")) == []
    assert world.end("a").got == [(B.id, Install(alone))]


def test_without_a_view_nothing_gated_leaves() -> None:
    world = up()
    world.send("a", "b", ack(1), Installed(0))
    world.run()
    assert world.end("b").got == [(A.id, Installed(0))]


def test_an_outbox_that_outlives_its_view_keeps_only_what_is_about_views() -> None:
    assert only_ungated({A.id: [ack(1), Installed(1)], B.id: [ack(2)]}) == {A.id: [Installed(1)]}


# -- all of it at once -------------------------------------------------------


def play(seed: int, steps: int) -> World:
    """Play faults for some steps, then peace; return the world."""
    world = World(A, B, seed=seed)
    chance = world.chance
    world.dial("a", "b")
    world.dial("b", "a")
    for letter in "ab":
        world.install(letter, view_of(1, A, B))
    count = 0
    for _ in range(steps):
        world.lost_share = chance.choice((0.0, 0.0, 0.0, 0.05, 0.3))
        deed = chance.random()
        if deed < 0.45:
            world.step()
        elif deed < 0.75:
            sender, receiver = chance.choice(("ab", "ba"))
            count += 1
            world.send(sender, receiver, ack(count))
        elif deed < 0.85:
            world.tick()
        elif deed < 0.93:
            pipe = chance.choice(world.pipes)
            world.break_pipe(pipe, keep_first=chance.randrange(4), tell=chance.random() < 0.7)
        elif deed < 0.97:
            replay(world)
        else:
            letter = chance.choice("ab")
            end = world.end(letter)
            number = (end.view.id if end.view else 0) + chance.randrange(2)
            world.install(letter, view_of(number, A, B))
        check_order(world)
    world.lost_share = 0.0
    for pipe in world.pipes:
        if pipe.is_broken:
            lose_quietly(world, pipe)
    top = max(end.view.id for end in world.ends.values() if end.view)
    for letter in "ab":
        world.install(letter, view_of(top, A, B))
    return world


def replay(world: World) -> None:
    """Let a Hello of the past arrive once more."""
    hellos = [(pipe, frame) for pipe, frame in world.sent if isinstance(frame, Hello)]
    pipe, hello = world.chance.choice(hellos)
    end = world.ends[pipe.receiver]
    source = Source(*pipe.own, pipe.incarnation, CONTROL)
    world.perform(end, end.links.on_frame(source, hello, world.now_s))


def lose_quietly(world: World, pipe: Pipe) -> None:
    """The opener notices at last."""
    world.break_pipe(pipe)


def check_order(world: World) -> None:
    """Each host got what it got in the order in which it was sent, and once."""
    for end in world.ends.values():
        got = numbers(end)
        assert got == sorted(set(got))


def check_pairs(world: World) -> None:
    """Two ends that are both UP, with pipes that name each other, name the same pair."""
    a, b = (world.end(letter).links._links for letter in "ab")
    one, two = a.get(B.id), b.get(A.id)
    if one is not None and two is not None and one.is_up and two.is_up and one.heard == two.own:
        assert two.heard <= one.own


@given(st.integers(0, 2**32), st.integers(1, 250))
@settings(max_examples=150, deadline=None)
def test_order_holds_under_any_faults_and_the_link_comes_up_again_after_them(seed: int, steps: int) -> None:
    world = play(seed, steps)
    check_pairs(world)
    for _ in range(3):  # heartbeats find a silent loss at the end of a pipe, as they would in life
        for route in ("ab", "ba"):
            world.send(*route, Heartbeat(1, 0.0, b""))
        world.run(PAIR_WITHIN_S + 1.0)
    agreed = pair(world)
    assert agreed is not None
    world.run(5.0)
    assert pair(world) == agreed, "it stays UP"
    for at, route in enumerate(("ab", "ba")):
        world.send(*route, ack(10**9 + at))
    world.run()
    assert numbers(world.end("b"))[-1] == 10**9 and numbers(world.end("a"))[-1] == 10**9 + 1
    check_order(world)


def test_a_link_that_is_up_at_one_end_alone_is_given_up_and_made_anew() -> None:
    """A hung up while both were cut off from each other: its last word never came."""
    world = up()
    before = pair(world)
    world.break_pipe(world.pipe("a", "b"), tell=False)
    world.perform(world.end("a"), world.end("a").links.hang_up(B.id, world.now_s))
    world.run(SILENT_S - 1.0)
    assert world.end("b").links.is_up(A.id) and not world.end("a").links.is_up(B.id)
    world.run(2.0)
    assert pair(world) not in (None, before)


def test_first_incarnations_are_positive() -> None:
    with pytest.raises(ValueError, match="begin at 1"):
        Links(lambda: A, lambda: ("", 0, ""), 0)


def test_delivery_is_one_effect() -> None:
    world = up(in_view=True)
    (a, b), pipe = pair(world) or (0, 0), world.pipe("a", "b")
    frame = Frame(a, b, 1, 1, (ack(1), ack(2)))
    effects = world.end("b").links.on_frame(Source(*pipe.own, a, 0), frame, world.now_s, 50)
    assert effects == [DeliverMessages(A.id, (ack(1), ack(2)))]
