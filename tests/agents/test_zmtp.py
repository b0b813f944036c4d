"""ZeroMQ's protocol in Python: byte by byte, against nonsense, and against ZeroMQ."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.zmtp import (
    OPENING,
    PING,
    READY,
    Conversation,
    ZmtpError,
    command,
    framed,
    greeting,
    properties_in,
    ready,
)

HOST = greeting() + ready(b"ROUTER")
LIMIT = 1 << 20


def open_one(limit: int = LIMIT) -> Conversation:
    talk = Conversation(limit)
    talk.received(HOST)
    assert talk.is_open
    talk.answers = b""
    return talk


# -- golden bytes ------------------------------------------------------------------


def test_the_handshake_is_what_the_specification_says() -> None:
    assert bytes.fromhex("ff 00 00 00 00 00 00 00 00 7f 03 01") == OPENING
    talk = Conversation(LIMIT)
    talk.received(HOST)
    assert talk.answers == b"NULL" + bytes(48) + bytes.fromhex(
        "04 29 05 52 45 41 44 59"
        "0b 53 6f 63 6b 65 74 2d 54 79 70 65 00 00 00 06 44 45 41 4c 45 52"
        "08 49 64 65 6e 74 69 74 79 00 00 00 00"
    )


def test_short_and_long_frames() -> None:
    assert framed(b"") == b"\x00\x00"
    assert framed(b"abc") == b"\x00\x03abc"
    assert framed(b"x" * 255)[:2] == b"\x00\xff"
    assert framed(b"x" * 256)[:9] == b"\x02\0\0\0\0\0\0\x01\x00"


def test_commands() -> None:
    assert PING == b"\x04\x07\x04PING\x00\x00"
    assert command(b"X", bytes(300))[:9] == b"\x06\0\0\0\0\0\0\x01\x2e"


def test_a_ping_is_answered_with_its_context() -> None:
    talk = open_one()
    talk.received(command(b"PING", b"\x00\x0acontext") + framed(b"m"))
    assert talk.answers == b"\x04\x0c\x04PONGcontext"
    assert list(talk.messages) == [b"m"]


def test_a_pong_and_unknown_commands_say_nothing() -> None:
    talk = open_one()
    talk.received(command(b"PONG", b"") + command(b"NEWS", b"data"))
    assert not talk.messages and not talk.answers


# -- in pieces ---------------------------------------------------------------------


@settings(deadline=None)  # a busy machine is no bug
@given(
    st.lists(st.binary(max_size=600), max_size=12),
    st.lists(st.integers(1, 700), min_size=1, max_size=20),
)
def test_messages_come_out_whole_however_they_are_cut(messages: list[bytes], cuts: list[int]) -> None:
    data = HOST + b"".join(framed(one) + command(b"PING", b"\0\0") for one in messages)
    talk = Conversation(LIMIT)
    at, turn = 0, 0
    while at < len(data):
        size = cuts[turn % len(cuts)]
        talk.received(data[at : at + size])
        assert talk.missing <= max(64, 9, *map(len, messages), 8) + 9
        at, turn = at + size, turn + 1
    assert list(talk.messages) == messages
    assert talk.answers == READY + b"\x04\x05\x04PONG" * len(messages)


def test_it_says_how_much_of_a_large_frame_is_missing() -> None:
    talk = open_one()
    whole = framed(bytes(100_000))
    talk.received(whole[:5])
    assert talk.missing == 4
    talk.received(whole[5:1_009])
    assert talk.missing == 99_000
    talk.received(whole[1_009:])
    assert talk.missing == 0 and list(talk.messages) == [bytes(100_000)]


# -- what is refused ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"-ERR unknown command\r\n", "does not speak our protocol"),
        (b"HTTP/1.1 400 Bad Request\r\n", "does not speak our protocol"),
        (b"\xff" + bytes(8) + b"\x7e", "does not speak our protocol"),
        (b"\xff" + bytes(8) + b"\x7f\x02", "version 2"),
        (greeting(b"CURVE"), "demands CURVE"),
        (greeting() + ready(b"DEALER"), "no host"),
        (greeting() + ready(b""), "no host"),
        (greeting() + command(b"HELLO", b""), "handshake"),
        (greeting() + framed(b"early"), "before the handshake"),
        (greeting() + command(b"ERROR", b"\x04busy"), "refuses: busy"),
        (greeting() + b"\x04\x0a\x05READY\x0bSoc", "handshake"),
        (greeting() + b"\x04\x00", "without a name"),
        (greeting() + b"\x04\x02\x09A", "without a name"),
        (HOST + b"\x01\x01a", "several frames"),
        (HOST + b"\x05\x01a", "flags 0x5"),
        (HOST + b"\x08\x01a", "flags 0x8"),
        (HOST + b"\x02" + (LIMIT + 1).to_bytes(8, "big"), "the limit"),
        (HOST + b"\x06" + (9_000).to_bytes(8, "big"), "the limit"),
        (HOST + command(b"PING", b"\0"), "PING"),
        (HOST + command(b"PING", bytes(19)), "PING"),
        (HOST + command(b"ERROR", b"\x03bad"), "refuses: bad"),
    ],
)
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_what_no_host_sends_ends_the_conversation(data: bytes, why: str, step: int) -> None:
    talk = Conversation(LIMIT)
    with pytest.raises(ZmtpError, match=why):
        for at in range(0, len(data), step):
            talk.received(data[at : at + step])


def test_a_whole_frame_over_the_limit_is_refused_too() -> None:
    with pytest.raises(ZmtpError, match="the limit"):
        open_one(limit=1_000).received(framed(bytes(1_001)))


@settings(deadline=None)  # a busy machine is no bug
@given(st.lists(st.binary(max_size=80), max_size=8), st.booleans())
def test_nonsense_raises_nothing_else_and_is_not_kept(pieces: list[bytes], opened: bool) -> None:
    talk = open_one() if opened else Conversation(LIMIT)
    try:
        for piece in pieces:
            talk.received(piece)
    except ZmtpError:
        return
    assert talk.missing <= LIMIT + 9


@settings(deadline=None)  # a busy machine is no bug
@given(st.binary(max_size=60))
def test_properties_are_read_or_refused(data: bytes) -> None:
    try:
        found = properties_in(data)
    except ZmtpError:
        return
    assert sum(len(name) + len(value) + 5 for name, value in found.items()) <= len(data)
