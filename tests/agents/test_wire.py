"""What comes out of bytes: a frame within its limits, or `WireError`."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.fields import ATTRIBUTES_MAX, INT_MAX, KEY_BYTES_MAX, MEMBERS_MAX, Lane
from agents.framing import UNGATED
from agents.messages.client import OK, Admin, Get, Greet, Patch, Put, Reply, Request
from agents.messages.membership import Accepted, Ballot, Heartbeat, Install, Membership, Wish
from agents.messages.merging import MergeMessage
from agents.messages.replication import CellState, Chunk, Entry, Replicate, Replication
from agents.views import Charter, Member, View
from agents.wire import (
    FRAME_BYTES_MAX,
    MESSAGES_MAX,
    PROTOCOL,
    Frame,
    Goodbye,
    Hello,
    Source,
    WireError,
    decode_greeting,
    decode_link_frame,
    decode_replies,
    decode_requests,
    encode,
    identity_of,
    source_of,
)

MEMBER = Member("a" * 32, 1, "h1", "tcp://127.0.0.1:1", "tcp://127.0.0.1:2")
ENTRY = Entry(1, 0, b"key", b"dna")
VIEW = View("f" * 32, 1, Charter(), (MEMBER,))
LINK_FRAMES = [
    Hello(PROTOCOL, PROTOCOL, "0.1", "f" * 32, 3, "HOLD", MEMBER, 1, 2),
    Goodbye("no"),
    Frame(1, 2, 3, 4, (Replicate(0, 1, 2, 0.5, (ENTRY, Entry(2, 3, b"k", (("a", b"1"),), ("b",)))),)),
    Frame(1, 2, 3, 0, (Heartbeat(1, 2.0, b"\x05"), Install(VIEW), Wish("leave", "a", 1))),
    Frame(1, 2, 3, 0, (Accepted(1, Ballot(1, "a"), {"a" * 32: 0.5}),)),
    Frame(1, 2, 3, 1, (Chunk(0, 1, 1, 1, (CellState(b"k", 1, 0.0, b"x"),), (), last=True),)),
]
REQUESTS: list[list[Any]] = [
    [Greet(1), Get(2, b"key"), Put(3, b"lane", 1, b"key", b"dna", 1000)],
    [Patch(1, b"lane", 2, b"key", (("a", b"1"),), ("b",)), Admin(2, "leave", {"hosts": ["h1"]})],
]
DECODERS: list[Callable[[bytes], Any]] = [decode_link_frame, decode_requests, decode_replies, decode_greeting]


@pytest.mark.parametrize("frame", LINK_FRAMES, ids=lambda frame: type(frame).__name__)
def test_a_link_frame_comes_out_as_it_went_in(frame: Any) -> None:
    assert decode_link_frame(encode(frame)) == frame


@pytest.mark.parametrize("requests", REQUESTS, ids=["cells", "others"])
def test_requests_come_out_as_they_went_in(requests: list[Any]) -> None:
    assert decode_requests(encode(requests)) == requests


def test_replies_come_out_as_they_went_in() -> None:
    replies = [Reply(1, OK, 2, -2, b"dna", "text", (("a", b"1"),))]
    assert decode_replies(encode(replies)) == replies


def _with(message: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(message, **changes)


@pytest.mark.parametrize(
    "message",
    [
        Heartbeat(-1, 0.0, b""),
        Heartbeat(1, float("nan"), b""),
        Heartbeat(1, float("inf"), b""),
        Heartbeat(1, 0.0, b"x" * (MEMBERS_MAX // 8 + 1)),
        Accepted(1, Ballot(1, "a"), {"a": float("nan")}),
        Install(_with(VIEW, id=INT_MAX + 1)),
        Install(_with(VIEW, members=(_with(MEMBER, incarnation=-5),))),
        Install(_with(VIEW, members=(_with(MEMBER, address="x" * 513),))),
        Wish("dance", "a", 1),  # type: ignore[arg-type]
        Replicate(-1, 1, 0, 0.0, (ENTRY,)),
        Replicate(65_536, 1, 0, 0.0, (ENTRY,)),
        Replicate(0, 1, 0, float("-inf"), (ENTRY,)),
        Replicate(0, 1, 0, 0.0, (_with(ENTRY, seq=-1),)),
        Replicate(0, 1, 0, 0.0, (_with(ENTRY, kind=9),)),
        Replicate(0, 1, 0, 0.0, (_with(ENTRY, key=b""),)),
        Replicate(0, 1, 0, 0.0, (_with(ENTRY, key=b"x" * (KEY_BYTES_MAX + 1)),)),
        Replicate(0, 1, 0, 0.0, (_with(ENTRY, dna="text"),)),
        Replicate(0, 1, 0, 0.0, (_with(ENTRY, expires_s=float("nan")),)),
        Replicate(0, 1, 0, 0.0, (_with(ENTRY, lane=b"x" * 65),)),
        Replicate(0, 1, 0, 0.0, (_with(ENTRY, gone=("x",) * (ATTRIBUTES_MAX + 1)),)),
        Chunk(0, 1, 1, -1, (), (), last=True),
        Get(1, b"key"),
        7,
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_value_out_of_its_range_is_refused(message: Any) -> None:
    with pytest.raises(WireError):
        decode_link_frame(encode(Frame(1, 2, 3, 4, (message,))))


def test_a_frame_holds_a_message_at_least_and_no_more_than_the_limit() -> None:
    with pytest.raises(WireError):
        decode_link_frame(encode(Frame(1, 2, 3, 4, ())))
    with pytest.raises(WireError):
        decode_link_frame(encode(Frame(1, 2, 3, 4, (Heartbeat(1, 0.0, b""),) * (MESSAGES_MAX + 1))))
    with pytest.raises(WireError):
        decode_requests(encode([Greet(1)] * (MESSAGES_MAX + 1)))


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_frame_larger_than_the_limit_is_not_even_looked_at(decoder: Callable[[bytes], Any]) -> None:
    with pytest.raises(WireError, match="the limit is"):
        decoder(bytes(FRAME_BYTES_MAX + 1))


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x91" * 100_000,
    ],
    ids=["nothing", "no type", "4 G items", "4 G pairs", "4 GiB", "nested"],
)
def test_sizes_that_are_only_said_cost_nothing(decoder: Callable[[bytes], Any], data: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            decoder(data)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_every_float_on_the_wire_is_a_finite_number() -> None:
    """Checked on the types: NaN would make leases and expiries neither over nor not over."""
    bare = [
        f"{info.cls.__name__}.{field.name}"
        for kind in (
            *get_args(Membership),
            *get_args(Replication),
            *get_args(Request),
            Entry,
            CellState,
            Member,
        )
        for info in [msgspec.inspect.type_info(kind)]
        if isinstance(info, msgspec.inspect.StructType)
        for field in info.fields
        if isinstance(field.type, msgspec.inspect.FloatType)
        and (field.type.ge is None or field.type.le is None)
    ]
    assert bare == []


def test_what_a_client_may_send_hosts_accept_of_each_other() -> None:
    entry = {field.name: field.type for field in _fields(Entry)}
    for kind in get_args(Request):
        for field in _fields(kind):
            if field.name in ("lane", "number", "gone"):
                assert field.type == entry[field.name], f"{kind.__name__}.{field.name}"
    assert Lane is not None


def _fields(kind: Any) -> tuple[msgspec.inspect.Field, ...]:
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)
    return info.fields


def test_all_messages_are_either_gated_or_about_views() -> None:
    assert set(get_args(Membership) + get_args(MergeMessage)) == UNGATED
    assert not UNGATED & set(get_args(Replication))


# -- any bytes ---------------------------------------------------------------

SAMPLES = [encode(sample) for sample in (*LINK_FRAMES, *REQUESTS, [Reply(1, OK, value=b"x" * 50)])]
TELLING = [0, 1, 0x7F, 0x80, 0x90, 0xC0, 0xC1, 0xC6, 0xCB, 0xCF, 0xDD, 0xFF]  # bytes that begin types


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Return a good frame with some bytes changed, cut out or put in."""
    data = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        deed = draw(st.integers(0, 2))
        if deed == 0 and data:
            data[at] = draw(
                st.sampled_from([0, 1, 0x7F, 0x80, 0x90, 0xC0, 0xC1, 0xC6, 0xCB, 0xCF, 0xDD, 0xFF])
            )
        elif deed == 1:
            del data[at : at + draw(st.integers(1, 8))]
        else:
            data[at:at] = draw(st.binary(min_size=1, max_size=9))
    return bytes(data)


@given(st.one_of(st.binary(max_size=300), mutated()))
@settings(max_examples=1500, deadline=None)
def test_out_of_any_bytes_comes_a_frame_or_a_wire_error(data: bytes) -> None:
    tracemalloc.start()
    try:
        for decoder in DECODERS:
            try:
                decoded = decoder(data)
            except WireError:
                continue
            assert decoder(encode(decoded)) == decoded, "what was let in can be passed on"
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


# -- identities --------------------------------------------------------------


def test_a_source_survives_as_an_identity() -> None:
    source = Source("0123456789abcdef" * 2, 17, 2**60, 1)
    assert source_of(identity_of(source)) == source
    assert len(identity_of(source)) < 256, "the longest identity that a socket takes"


@given(st.binary(max_size=80))
def test_other_identities_are_nobodys(identity: bytes) -> None:
    source = source_of(identity)
    assert source is None or identity_of(source) == identity
