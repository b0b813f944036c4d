"""What heartbeats cost one host among many, whose members all beat in peace.

The machine is `agents.membership`, as it runs: it is told each heartbeat and
each grant of all others, at moments spread over the interval, and what it
says is encoded as its loop would send it, one frame for each destination of a
turn. CPU is that of machine and encoder; links and sockets cost their own.
"""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from agents.effects import HelloSeen, LinkCameUp, LinkWentDown, LoadMeasured, Received, Send, Ticked
from agents.membership import Membership, Settings
from agents.messages.membership import Grant, Heartbeat, Install, Load
from agents.record import Record
from agents.views import Charter, Member, Status, View
from agents.wire import Frame, encode

TAG = "f" * 32
LOAD = Load(0.3, 1 << 33, 1 << 34, 1 << 25, 1000, 16, 33, 0.001, 1e5, steady_cpu=0.3, steady_free=1 << 33)
LOAD_S, TICK_S = 1.0, 0.025
DIGEST = 1 << 40


@dataclass(slots=True)
class Beats:
    """What one host said in one second of peace.

    Attributes:
        bytes_s: Of frames, per second, to all others together.
        frames_s: How many those were.
        grants_s: How many leases it granted in them.
        cpu: Seconds of CPU per second.
        has_quorum: Whether it held quorum all the time.
    """

    bytes_s: float = 0.0
    frames_s: float = 0.0
    grants_s: float = 0.0
    cpu: float = 0.0
    has_quorum: bool = True


class Crowd:
    """One host's membership among so many members."""

    def __init__(self, hosts: int) -> None:
        members = tuple(
            Member(f"{n:032x}", 1, f"h{n}", f"tcp://h{n}:1", f"tcp://h{n}:2", status=Status.ACTIVE, entered=1)
            for n in range(hosts)
        )
        self.view = View(TAG, 1 << 20, Charter(), members)
        self.now_s = 1000.0
        me = members[0]
        self.others = members[1:]
        settings = Settings(contacts_max=2 * hosts)
        self.machine = Membership(me, settings, Record(me.id, me.incarnation, TAG), self.now_s)
        self.beats = Beats()
        self._tick_s = self.now_s
        self._asked: dict[str, float] = {}  # heartbeats of ours that were not answered yet
        for other in self.others:
            self._tell(HelloSeen(other, TAG, self.view.id, "COMMIT"))
            self._tell(LinkCameUp(other.id, 1))
        self._tell(Received(self.others[0].id, Install(self.view)))
        assert self.machine.view is self.view, "it is a member"
        for other in self.others:
            self._hear(other.id, Heartbeat(self.view.id, 0.0, b"", DIGEST, None, 1, TAG))

    def live(self, seconds: float, silent: frozenset[str] = frozenset()) -> Beats:
        """Let so much time pass; return what it took.

        Args:
            silent: Members that say nothing, and whose links are down.
        """
        beat_s = self.view.charter.heartbeat_s
        for host in silent:
            self._tell(LinkWentDown(host, "gone"))
        self.beats = Beats()
        began_s, load_s = self.now_s, self.now_s
        talking = [other.id for other in self.others if other.id not in silent]
        while self.now_s < began_s + seconds - beat_s / 2:
            if self.now_s >= load_s:
                load_s += LOAD_S
                self._tell(LoadMeasured(LOAD))
            for host in talking:
                self.now_s += beat_s / len(talking)
                if self.now_s >= max(self._tick_s, self.machine.rests_until_s(self.now_s)):
                    self._tick()
                beat = Heartbeat(self.view.id, self.now_s, b"", DIGEST, None, 1)
                grant = Grant(self.view.id, self._asked.pop(host, 0.0), 1)
                self._hear(host, beat, grant)
        said = self.beats
        said.bytes_s, said.frames_s = said.bytes_s / seconds, said.frames_s / seconds
        said.grants_s, said.cpu = said.grants_s / seconds, said.cpu / seconds
        return said

    def _tick(self) -> None:
        self._tick_s = self.now_s + TICK_S
        self.beats.has_quorum &= self.machine.quorum.held(self.now_s)
        self._tell(Ticked())

    def _hear(self, host: str, *messages: Any) -> None:
        for message in messages:
            self._tell(Received(host, message))

    def _tell(self, event: Any) -> None:
        outbox: dict[str, list[Any]] = defaultdict(list)
        began_s = time.thread_time()
        for effect in self.machine.handle(event, self.now_s):
            if type(effect) is Send:
                outbox[effect.to].append(effect.message)
                self.beats.grants_s += type(effect.message) is Grant
                if type(effect.message) is Heartbeat:
                    self._asked[effect.to] = effect.message.sent_s
        for messages in outbox.values():
            self.beats.bytes_s += len(encode(Frame(1, 1, 1 << 20, 0, tuple(messages))))
        self.beats.cpu += time.thread_time() - began_s
        self.beats.frames_s += len(outbox)


def beats_of(hosts: int) -> Beats:
    """Return what heartbeats and leases cost one of so many hosts, per second."""
    crowd = Crowd(hosts)
    crowd.live(1.0)
    return crowd.live(1.0)


def beats_beside_dead(hosts: int) -> Beats:
    """Return the same while one in a hundred of the others has just fallen silent."""
    crowd = Crowd(hosts)
    crowd.live(1.0)
    return crowd.live(1.0, frozenset(other.id for other in crowd.others[-max(1, hosts // 100) :]))
