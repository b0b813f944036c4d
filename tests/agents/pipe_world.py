"""A world of `Links` joined by ordered pipes that lose and break, for tests."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from agents.effects import HelloSeen, LinkCameUp, LinkRefused, LinkWentDown, Note
from agents.links import ClosePipe, DeliverMessages, Links, OpenPipe, SendFrame
from agents.views import Charter, Member, View, view_id
from agents.wire import BULK, CONTROL, SPOKEN, Frame, Hello, LinkFrame, Source, Versions

TICK_S = 0.025


def member(letter: str, incarnation: int = 1) -> Member:
    """Return a member whose id is one letter, 32 times."""
    return Member(
        id=letter * 32,
        incarnation=incarnation,
        name=letter,
        address=f"tcp://{letter}:1",
        link=f"tcp://{letter}:2",
    )


def view_of(number: int, *members: Member, tag: str = "") -> View:
    """Return the view with this number and these members."""
    return View(tag or "f" * 32, view_id(0, number), Charter(), members)


@dataclass
class Pipe:
    """One way from a host to another, for one link incarnation."""

    sender: str
    receiver: str
    incarnation: int
    own: tuple[str, int]
    planes: dict[int, deque[LinkFrame]] = field(default_factory=lambda: {CONTROL: deque(), BULK: deque()})
    is_broken: bool = False


class End:
    """One host: its links, and all that they said."""

    def __init__(self, me: Member, first: int = 100, versions: Versions = SPOKEN) -> None:
        self.me = me
        self.tag = ""
        self.view: View | None = None
        self.links = Links(lambda: self.me, self.stamp, first, versions=versions)
        self.got: list[tuple[str, Any]] = []
        self.ups: list[LinkCameUp] = []
        self.downs: list[LinkWentDown] = []
        self.hellos: list[HelloSeen] = []
        self.refused: list[LinkRefused] = []
        self.notes: list[Note] = []

    def stamp(self) -> tuple[str, int, str]:
        """Return what Hellos show."""
        return self.tag, self.view.id if self.view else 0, "HOLD"


class World:
    """Hosts, the pipes between them, and virtual time."""

    def __init__(self, *members: Member, seed: int = 0, versions: dict[str, Versions] | None = None) -> None:
        self.chance = random.Random(seed)
        self.now_s = 0.0
        self.ends = {
            member.id: End(member, 100 + at, (versions or {}).get(member.name, SPOKEN))
            for at, member in enumerate(members)
        }
        self.pipes: list[Pipe] = []
        self.lost_share = 0.0  # chance that a frame is swallowed without a word
        self.sent: list[tuple[Pipe, LinkFrame]] = []

    def end(self, letter: str) -> End:
        """Return a host by its letter."""
        return self.ends[letter * 32]

    def perform(self, end: End, effects: list[Any]) -> None:
        """Do what a host's links want done, in order."""
        for effect in effects:
            if isinstance(effect, OpenPipe):
                assert not any(pipe.incarnation == effect.incarnation for pipe in self._pipes_of(end, effect))
                self.pipes.append(Pipe(end.me.id, effect.host, effect.incarnation, effect.own))
            elif isinstance(effect, ClosePipe):
                for pipe in self._pipes_of(end, effect):
                    if pipe.incarnation == effect.incarnation and effect.linger_s == 0:
                        pipe.is_broken = True
            elif isinstance(effect, SendFrame):
                self._send(end, effect)
            elif isinstance(effect, DeliverMessages):
                assert end.links.is_up(effect.sender), "delivered by a link that is not UP"
                end.got.extend((effect.sender, message) for message in effect.messages)
            elif isinstance(effect, LinkCameUp):
                end.ups.append(effect)
            elif isinstance(effect, LinkWentDown):
                end.downs.append(effect)
            elif isinstance(effect, HelloSeen):
                end.hellos.append(effect)
            elif isinstance(effect, LinkRefused):
                end.refused.append(effect)
            else:
                assert isinstance(effect, Note), effect
                end.notes.append(effect)

    def dial(self, sender: str, receiver: str) -> None:
        """Have a host keep a link to another."""
        end = self.end(sender)
        self.perform(end, end.links.dial(self.end(receiver).me, self.now_s))

    def send(self, sender: str, receiver: str, *messages: Any) -> None:
        """Flush messages from a host to another."""
        end = self.end(sender)
        self.perform(end, end.links.flush({receiver * 32: list(messages)}, self.now_s))

    def install(self, letter: str, view: View) -> None:
        """Have a host install a view."""
        end = self.end(letter)
        end.view, end.tag = view, view.tag
        self.perform(end, end.links.view_installed(view, self.now_s))

    def step(self) -> bool:
        """Deliver one frame of a random pipe and plane; False = there is none."""
        waiting = [(pipe, plane) for pipe in self.pipes for plane, frames in pipe.planes.items() if frames]
        if not waiting:
            return False
        pipe, plane = self.chance.choice(waiting)
        frame = pipe.planes[plane].popleft()
        end = self.ends.get(pipe.receiver)
        if end is not None and not self.chance.random() < self.lost_share:
            source = Source(*pipe.own, pipe.incarnation, plane)
            self.perform(end, end.links.on_frame(source, frame, self.now_s, 100))
        return True

    def tick(self) -> None:
        """Let time pass, and every host tick."""
        self.now_s += TICK_S
        for end in self.ends.values():
            self.perform(end, end.links.tick(self.now_s))

    def run(self, seconds: float = 0.0) -> None:
        """Deliver all there is, and go on for so long."""
        until_s = self.now_s + seconds
        while True:
            while self.step():
                pass
            if self.now_s >= until_s:
                return
            self.tick()

    def break_pipe(self, pipe: Pipe, *, keep_first: int = 0, tell: bool = True) -> None:
        """Break a pipe: but for the first frames of each plane, what is in flight is gone."""
        pipe.is_broken = True
        for plane, frames in pipe.planes.items():
            pipe.planes[plane] = deque(list(frames)[:keep_first])
        end = self.ends.get(pipe.sender)
        if tell and end is not None:
            lost = end.links.on_pipe_lost(pipe.receiver, pipe.incarnation, "broken", self.now_s)
            self.perform(end, lost)

    def pipe(self, sender: str, receiver: str) -> Pipe:
        """Return the newest pipe from a host to another."""
        route = sender * 32, receiver * 32
        return [pipe for pipe in self.pipes if (pipe.sender, pipe.receiver) == route][-1]

    def hellos_sent(self) -> list[Hello]:
        """Return every Hello that was ever sent."""
        return [frame for _, frame in self.sent if isinstance(frame, Hello)]

    def _pipes_of(self, end: End, effect: OpenPipe | ClosePipe) -> list[Pipe]:
        route = end.me.id, effect.host
        return [pipe for pipe in self.pipes if (pipe.sender, pipe.receiver) == route]

    def _send(self, end: End, effect: SendFrame) -> None:
        for pipe in self.pipes:
            if (pipe.sender, pipe.receiver, pipe.incarnation) == (end.me.id, effect.host, effect.incarnation):
                assert not isinstance(effect.frame, Frame) or effect.frame.messages
                self.sent.append((pipe, effect.frame))
                if not pipe.is_broken:
                    pipe.planes[effect.plane].append(effect.frame)
                return
        raise AssertionError(f"a frame for a pipe that was never opened: {effect}")
