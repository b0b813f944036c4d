"""One link: two pipes, one each way, that are UP as a pair or not at all.

Each end numbers its own pipe; a number is never used again. A Hello shows
the sender's number and the one that it heard. A host's end is UP once the
other has shown that it heard exactly this pipe. Every frame names both
numbers, and counts: so nothing of one pair is ever taken for another's.

Why an end that is not UP may pair the pipe it has with any newer pipe of the
other: nothing has left through it yet but Hellos. One that is UP may not: it
throws its pipe away, with all that was in it, and begins anew.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec

from agents.effects import HostMessage, LinkCameUp, LinkWentDown
from agents.views import Member
from agents.wire import BULK, CONTROL, SPOKEN, Frame, Goodbye, Hello, LinkFrame, Versions

HELLO_EVERY_S = 0.1  # while the other end hasn't answered
PAIR_WITHIN_S = 2.0  # then the pipe is given up: a fresh one needs two one-way trips
BACK_OFF_S, BACK_OFF_MAX_S = 0.005, 0.5
STEADY_S = 1.0  # a link that was UP for so long may come back without back-off growing
REFUSED_PAUSE_S = 1.0
HUNG_UP = "hung up"
GOODBYE_LINGER_S = 0.2  # what a last word may take to leave

Out = list[Any]


@dataclass(frozen=True, slots=True)
class OpenPipe:
    """Connect to a host's link address; `own` = (host id, host incarnation) of this end.

    The receiving end gets each frame with `Source(*own, incarnation, plane)`.
    """

    host: str
    address: str
    incarnation: int
    own: tuple[str, int]
    public_key: str = ""


@dataclass(frozen=True, slots=True)
class ClosePipe:
    """Close a pipe; what is queued has `linger_s` to leave."""

    host: str
    incarnation: int
    linger_s: float = 0.0


class SendFrame(msgspec.Struct, frozen=True, gc=False):
    """Send a frame over an open pipe (encoded by `agents.wire.encode`)."""

    host: str
    incarnation: int
    plane: int
    frame: LinkFrame


class State(Enum):
    """Where one end of a link stands."""

    CLOSED = "CLOSED"  # no pipe; one is opened when the back-off is over
    PAIRING = "PAIRING"  # a pipe is open, and says Hello
    UP = "UP"
    REFUSING = "REFUSING"  # a pipe is open to let a Goodbye out


EDGES: dict[State, frozenset[State]] = {
    State.CLOSED: frozenset({State.PAIRING, State.REFUSING}),
    State.PAIRING: frozenset({State.UP, State.CLOSED, State.REFUSING}),
    State.UP: frozenset({State.CLOSED, State.REFUSING}),
    State.REFUSING: frozenset({State.CLOSED}),
}


class Home:
    """What all links of one host share.

    Attributes:
        me: Returns this host as it is now.
        stamp: Returns (tag, installed view id, stage name).
        software: Version that Hellos show.
        versions: Of the protocol, that this host speaks.
    """

    def __init__(
        self,
        me: Callable[[], Member],
        stamp: Callable[[], tuple[str, int, str]],
        first_incarnation: int,
        software: str,
        versions: Versions = SPOKEN,
    ) -> None:
        if first_incarnation < 1:
            raise ValueError("link incarnations begin at 1 or above")
        self.me = me
        self.stamp = stamp
        self.software = software
        self.versions = versions
        self._next = first_incarnation

    def mint(self) -> int:
        """Return a link incarnation that was never used before."""
        self._next += 1
        return self._next - 1


class Link:
    """One end of a link.

    Attributes:
        member: The other host, as far as known.
        is_wanted: Membership wants it; else the other host is a stranger that called.
        is_member: The view lists this very incarnation of the other host.
        own: This end's link incarnation; 0 = no pipe.
        heard: The other end's newest link incarnation; 0 = none yet.
        counted: Per plane, the number of the last frame taken.
        heard_s: When the other end was last heard of, by Hello.
        seen: What its last Hello said of itself.
        version: Of the protocol: the highest that both ends speak; 0 = not known yet.
        kept: (view, messages, bytes) of frames that came ahead of their view.
    """

    __slots__ = (
        "_attempts",
        "_close_s",
        "_hello_s",
        "_home",
        "_opened_s",
        "_retry_s",
        "_sent",
        "_shown",
        "_state",
        "_taken",
        "_taken_s",
        "_up_s",
        "asked_s",
        "counted",
        "heard",
        "heard_s",
        "is_member",
        "is_wanted",
        "kept",
        "kept_bytes",
        "member",
        "own",
        "seen",
        "told_s",
        "version",
    )

    def __init__(self, home: Home, member: Member, *, is_wanted: bool, now_s: float) -> None:
        self._home = home
        self.member = member
        self.is_wanted = is_wanted
        self.is_member = False
        self._state = State.CLOSED
        self.own = 0
        self.heard = 0
        self.heard_s = now_s
        self.seen: tuple[int, str, int, str] | None = None
        self.version = 0
        self.counted = [0, 0]
        self.kept: deque[tuple[int, tuple[HostMessage, ...], int]] = deque()
        self.kept_bytes = 0
        self.asked_s = self.told_s = float("-inf")
        self._sent = [0, 0]
        self._shown = 0
        self._attempts = 0
        self._retry_s = now_s
        self._opened_s = self._up_s = self._hello_s = self._close_s = self._taken_s = now_s
        self._taken = 0

    @property
    def state(self) -> State:
        """Where this end stands."""
        return self._state

    @property
    def is_up(self) -> bool:
        """Whether frames may be sent."""
        return self._state is State.UP

    def open(self, now_s: float, out: Out) -> None:
        """Begin a new incarnation, and say Hello."""
        self._open_pipe(now_s, out)
        self._turn(State.PAIRING)
        self._say_hello(now_s, out)

    def greeted(self, hello: Hello, now_s: float, out: Out) -> None:
        """Take a Hello that is not stale (`hello.link >= heard`), and speaks a version of ours."""
        self.version = self._home.versions.common(Versions(hello.oldest, hello.protocol))
        if hello.link > self.heard:
            if self.is_up:
                self.down("the other end began anew", now_s, out)
                self._retry_s = now_s  # the other end has done the waiting
            self.heard = hello.link
            self.counted = [0, 0]
            if self._state is State.CLOSED and now_s >= self._retry_s:
                self.open(now_s, out)
        if self._state is State.PAIRING and hello.heard == self.own:
            self.come_up(now_s, out)
        elif self._state in (State.PAIRING, State.UP) and hello.heard != self.own:
            if self._shown != self.heard or now_s >= self._hello_s:
                self._say_hello(now_s, out)

    def come_up(self, now_s: float, out: Out) -> None:
        """The other end has heard this pipe: the pair stands."""
        self._turn(State.UP)
        self._up_s = self._taken_s = now_s
        self._taken = 0
        self.counted = [0, 0]
        self._sent = [0, 0]
        out.append(LinkCameUp(self.member.id, self.own))
        if self._shown != self.heard:
            self._say_hello(now_s, out)

    def send(self, messages: tuple[HostMessage, ...], view: int, plane: int, out: Out) -> None:
        """Send a frame; the link must be UP. `view` 0 = not gated."""
        assert self._state is State.UP, "frames leave through links that are UP"
        number = self._sent[plane] + 1
        self._sent[plane] = number
        frame = Frame(self.own, self.heard, number, view, messages)
        out.append(SendFrame(self.member.id, self.own, plane, frame))

    def down(self, reason: str, now_s: float, out: Out, *, pause_s: float = 0.0) -> None:
        """Close the pipe; all that was in flight or kept is gone."""
        if self.is_up:
            out.append(LinkWentDown(self.member.id, reason))
            if now_s - self._up_s >= STEADY_S:
                self._attempts = 0
        if self._state is not State.CLOSED:
            out.append(ClosePipe(self.member.id, self.own))
            self._turn(State.CLOSED)
        self._forget()
        self._retry_s = now_s + max(pause_s, self._back_off_s())
        self._attempts += 1

    def refuse(self, reason: str, why: str, now_s: float, out: Out) -> None:
        """Say Goodbye, and close the pipe once that had time to leave."""
        if self._state is State.REFUSING:
            return
        if self.is_up:
            out.append(LinkWentDown(self.member.id, reason))
        if self._state is State.CLOSED:
            self._open_pipe(now_s, out)
        self._turn(State.REFUSING)
        self._say_goodbye(reason, why, out)
        self._close_s = now_s + REFUSED_PAUSE_S

    def hang_up(self, out: Out) -> None:
        """Close for good, with a last word to the other end; the link is not used after that."""
        if self.is_up:
            self._say_goodbye(HUNG_UP, "", out)
            out.append(LinkWentDown(self.member.id, HUNG_UP))
        if self._state is not State.CLOSED:
            out.append(ClosePipe(self.member.id, self.own, GOODBYE_LINGER_S))
            self._turn(State.CLOSED)
        self._forget()

    def tick(self, now_s: float, out: Out) -> None:
        """Do what is due."""
        state = self._state
        if state is State.CLOSED:
            if now_s >= self._retry_s:
                self.open(now_s, out)
        elif state is State.REFUSING:
            if now_s >= self._close_s:
                self.down("refused", now_s, out, pause_s=REFUSED_PAUSE_S)
        elif now_s - self._opened_s >= PAIR_WITHIN_S:
            self.down("no answer to our Hello", now_s, out)
        elif now_s >= self._hello_s:
            self._say_hello(now_s, out)

    def listen(self, silent_s: float, now_s: float, out: Out) -> None:
        """Give up a link that is UP here alone: nothing has come through it for long.

        B hung up on A while they were cut off from each other: A never heard the last word, and what
        it goes on sending through this pair reaches nobody.
        """
        taken = self.counted[0] + self.counted[1]
        if taken != self._taken:
            self._taken, self._taken_s = taken, now_s
        elif now_s - self._taken_s >= silent_s:
            self.down(f"nothing came for {silent_s:.0f} s", now_s, out)

    def adopt(self, member: Member, now_s: float, out: Out) -> None:
        """Take a later incarnation of the other host: nothing of the earlier one counts any more."""
        self.down("the host started anew", now_s, out)
        self.member = member
        self.heard = 0
        self.seen = None
        self._attempts = 0
        self._retry_s = now_s

    def keep(self, view: int, messages: tuple[HostMessage, ...], size: int) -> None:
        """Keep the messages of a frame that came ahead of its view."""
        self.kept.append((view, messages, size))
        self.kept_bytes += size

    def release(self, view: int) -> list[tuple[int, tuple[HostMessage, ...]]]:
        """Take out and return (view, messages), in order, of what was kept for views up to this one."""
        due = [(their_view, messages) for their_view, messages, _ in self.kept if their_view <= view]
        self.kept = deque(frame for frame in self.kept if frame[0] > view)
        self.kept_bytes = sum(size for _, _, size in self.kept)
        return due

    # -- inside --------------------------------------------------------------

    def _turn(self, state: State) -> None:
        assert state in EDGES[self._state], f"no edge {self._state} -> {state}"
        self._state = state

    def _open_pipe(self, now_s: float, out: Out) -> None:
        self.own = self._home.mint()
        self._opened_s = now_s
        self._shown = -1
        me, member = self._home.me(), self.member
        out.append(OpenPipe(member.id, member.link, self.own, (me.id, me.incarnation), member.public_key))

    def _forget(self) -> None:
        self.own = 0
        self.counted = [0, 0]
        self.kept.clear()
        self.kept_bytes = 0

    def _say_hello(self, now_s: float, out: Out) -> None:
        home = self._home
        newest, oldest = home.versions.newest, home.versions.oldest
        hello = Hello(newest, oldest, home.software, *home.stamp(), home.me(), self.own, self.heard)
        out.append(SendFrame(self.member.id, self.own, CONTROL, hello))
        self._shown = self.heard
        self._hello_s = now_s + HELLO_EVERY_S

    def _say_goodbye(self, reason: str, why: str, out: Out) -> None:
        out.append(SendFrame(self.member.id, self.own, CONTROL, Goodbye(reason, why)))

    def _back_off_s(self) -> float:
        doubled_s = min(BACK_OFF_MAX_S, BACK_OFF_S * (1 << min(self._attempts, 10)))
        chance = zlib.crc32(f"{self._home.me().id}/{self.member.id}/{self._attempts}".encode()) / (1 << 32)
        return doubled_s * (1 - chance / 2)


assert (CONTROL, BULK) == (0, 1), "planes index the counts of frames"
