"""A ward: the peers of one colony on a few hosts, without membership.

Messages lie in queues until the test delivers or loses them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from agents.colony import Colony
from agents.effects import (
    Answer,
    LinkCameUp,
    Note,
    Received,
    Requested,
    RunClosure,
    Send,
    TellHost,
    Ticked,
    Wake,
)
from agents.messages.client import Get, Put, Reply
from agents.pace import Pace
from agents.peer import PeerStatus, Role
from agents.surroundings import (
    Born,
    CensusDecided,
    CloneOrdered,
    Counted,
    Limits,
    LocationChanged,
    ViewInstalled,
)
from agents.views import Charter, Member, Status, View, epoch_in, next_epoch, view_id


class Held:
    """A quorum that the test gives and takes."""

    def __init__(self) -> None:
        self.is_held = True

    def held(self, now_s: float) -> bool:
        """Return what the test has set."""
        return self.is_held


@dataclass
class Home:
    """The host of one peer."""

    me: str
    view: View
    quorum: Held = field(default_factory=Held)
    limits: Limits = field(default_factory=Limits)
    watched: bool = False
    frozen: bool = False
    policy: str = "latest"
    primary: str = ""
    refuses: str = ""
    room: int = 1 << 60
    pace: Pace = field(default_factory=Pace)

    def where(self, colony: int) -> tuple[str, str]:
        """Return where the last announcement said."""
        return (self.primary, f"tcp://{self.primary}") if self.primary else ("", "")

    def called(self, host: str) -> str:
        """Return a host's name: its id does."""
        return host

    def epoch_of(self, colony: int) -> int:
        return 0

    def absence(self, colony: int) -> str:
        """Return what hosts mostly say."""
        return "no primary is known yet"

    def admits(self, colony: int, sender: str, bytes_wanted: int, weight_max: int = 0) -> str:
        """Admit everybody, unless the test says why not."""
        return self.refuses

    def refused_birth(self) -> None:
        """Nobody is told."""

    def is_full(self, bytes_more: int) -> bool:
        """Return whether the test has left no such room."""
        return bytes_more > self.room


def a_view(number: int, *hosts: str) -> View:
    """Return a view of these hosts."""
    members = tuple(
        Member(host, 1, host, f"tcp://{host}", f"tcp://{host}l", status=Status.ACTIVE) for host in hosts
    )
    return View("t" * 32, view_id(0, number), Charter(colonies=1), members)


class Ward:
    """Hosts A, B, C … with one colony; the first bears it."""

    def __init__(self, *hosts: str) -> None:
        self.now_s = 100.0
        self.view = a_view(1, *hosts)
        self.homes = {host: Home(host, self.view) for host in hosts}
        self.peers = {host: Colony(0, home) for host, home in self.homes.items()}
        self.queues: dict[tuple[str, str], deque[Any]] = {}
        self.replies: list[tuple[Any, Reply]] = []
        self.notes: list[tuple[str, Note]] = []
        self.told: list[tuple[str, Any]] = []
        self.closures: list[tuple[str, RunClosure]] = []
        self.wakes: dict[str, list[float]] = {host: [] for host in hosts}
        self.number = 0
        self.tell(hosts[0], Born(epoch_in(self.view.id, 0)))

    def tell(self, host: str, event: Any) -> None:
        """Hand an event to a peer, and keep what comes of it."""
        for effect in self.peers[host].handle(event, self.now_s):
            if isinstance(effect, Send):
                self.queues.setdefault((host, effect.to), deque()).append(effect.message)
            elif isinstance(effect, Answer):
                self.replies.append((effect.caller, effect.reply))
            elif isinstance(effect, Note):
                self.notes.append((host, effect))
            elif isinstance(effect, RunClosure):
                self.closures.append((host, effect))
            elif isinstance(effect, Wake):
                self.wakes[host].append(effect.at_s)
            elif isinstance(effect, TellHost):
                self.told.append((host, effect.event))
                if isinstance(effect.event, LocationChanged):
                    for home in self.homes.values():
                        home.primary = effect.event.located.primary

    def deliver(self, *, only: tuple[str, str] | None = None, most: int = 10_000) -> None:
        """Deliver what lies in the queues, and what comes of it, in order."""
        while most > 0:
            ready = [pair for pair, queue in self.queues.items() if queue and only in (None, pair)]
            if not ready:
                return
            for sender, receiver in ready:
                message = self.queues[sender, receiver].popleft()
                most -= 1
                if receiver in self.peers and hasattr(self.peers[receiver], "handle"):
                    if type(message).__name__ != "Located":
                        self.tell(receiver, Received(sender, message))

    def lose(self, sender: str, receiver: str) -> None:
        """Lose all that is on the way from one to the other."""
        self.queues.pop((sender, receiver), None)

    def reset(self, a: str, b: str) -> None:
        """Break the link between two hosts, and let it come up again: first at `a`, then at `b`."""
        self.lose(a, b)
        self.lose(b, a)
        self.tell(a, LinkCameUp(b, 2))
        self.tell(b, LinkCameUp(a, 2))

    def later(self, seconds: float) -> None:
        """Let time pass, and ring the alarms that are due; messages stay where they are."""
        until_s = self.now_s + seconds
        while True:
            alive = ((host, at) for host, at in self.wakes.items() if at and host in self.peers)
            due = [(min(alarms), host) for host, alarms in alive]
            at_s, host = min(due, default=(until_s + 1, ""))
            if at_s > until_s:
                break
            self.now_s = max(self.now_s, at_s)
            self.wakes[host].remove(at_s)
            self.tell(host, Ticked())
        self.now_s = until_s

    def kill(self, host: str) -> None:
        """End a host, with all it had sent and was to get."""
        del self.peers[host], self.homes[host]
        self.queues = {pair: queue for pair, queue in self.queues.items() if host not in pair}

    def install(self, *hosts: str) -> dict[str, Any]:
        """Install a view of these hosts on each; all of the old view is gone."""
        self.view = a_view((self.view.id & 0xFFFFFFFF) + 1, *hosts)
        self.queues.clear()
        self.told.clear()
        for host in hosts:
            self.homes[host].view = self.view
            self.tell(host, ViewInstalled(self.view))
        return {h: e.peer for h, e in self.told if isinstance(e, Counted) and e.peer is not None}

    def census(self, *hosts: str) -> str:
        """Install a view, and let the census name an heir; return the primary."""
        counted = self.install(*hosts)
        leads = [host for host, peer in counted.items() if peer.primary]
        heir = leads[0] if leads else max(counted, key=lambda host: counted[host].seq)
        epoch = counted[heir].epoch
        if not leads:
            epoch = next_epoch(max(peer.epoch for peer in counted.values()), self.view.id)
        seqs = {host: peer.seq for host, peer in counted.items()}
        for host in hosts:
            self.tell(host, CensusDecided(epoch, heir, seqs, bool(leads)))
        return heir

    # -- what a peer is (asked anew each time) ---------------------------------------

    def status(self, host: str) -> PeerStatus:
        """Return a peer's status."""
        return self.peers[host].status

    def role(self, host: str) -> Role | None:
        """Return a peer's role."""
        return self.peers[host].role

    def is_open(self, host: str) -> bool:
        """Return whether a peer is a primary that serves."""
        return self.peers[host].is_open

    # -- clients -------------------------------------------------------------------

    def put(self, host: str, key: bytes, dna: bytes, *, lane: bytes = b"lane", **more: Any) -> int:
        """Ask for a put; return the request's number."""
        self.number += 1
        self.tell(host, Requested("client", Put(self.number, lane, self.number, key, dna, **more)))
        return self.number

    def ask(self, host: str, request: Any) -> None:
        """Ask for anything."""
        self.tell(host, Requested("client", request))

    def reply(self, number: int) -> Reply | None:
        """Return the reply to a request, or None."""
        found = [reply for _, reply in self.replies if reply.id == number]
        assert len(found) < 2, "a request is answered once"
        return found[0] if found else None

    def get(self, host: str, key: bytes) -> Reply:
        """Read a cell."""
        self.number += 1
        self.ask(host, Get(self.number, key))
        found = self.reply(self.number)
        assert found is not None, "a read is answered at once"
        return found


def pair() -> Ward:
    """Return A as primary with B as its ACTIVE secondary."""
    ward = Ward("A", "B", "C")
    ward.tell("A", CloneOrdered("B", "test"))
    ward.deliver()
    assert ward.status("B") is PeerStatus.ACTIVE
    return ward
