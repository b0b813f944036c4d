"""A wild ward: one colony on a few hosts, and everything that may go wrong.

A seeded generator chooses what happens next: a message arrives, a link breaks,
a view is chosen and each host installs it in its own time, a host dies or is
dropped and lives on as if it was not. After each step the truth, which no host
can see, is compared with what the hosts do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any
from unittest.mock import patch

import msgspec

from agents.cells import Cell, after
from agents.census import CensusRound, elect
from agents.colony import Colony
from agents.effects import (
    Answer,
    ClosureRan,
    LinkCameUp,
    QuorumCameBack,
    Received,
    Requested,
    RunClosure,
    Send,
    TellHost,
    Ticked,
    Wake,
)
from agents.messages.client import (
    ABSENT,
    CONFLICT,
    IF_ABSENT,
    IF_VERSION,
    OK,
    Delete,
    Get,
    Mutate,
    Patch,
    Put,
    Reply,
    Touch,
)
from agents.messages.replication import REFUSED, Census, CensusPeer, Chunk, Entry, Located
from agents.pace import Pace
from agents.peer import Peer, PeerStatus
from agents.pending import Pending
from agents.primary import Primary
from agents.surroundings import (
    Born,
    CensusDecided,
    CloneOrdered,
    Counted,
    HandOverOrdered,
    Limits,
    LocationChanged,
    RecountWanted,
    RetireOrdered,
    ViewInstalled,
)
from agents.views import Charter, Member, Status, View, epoch_in, view_id

CONTROL, BULK = 0, 1
Mark = tuple[int, bytes, bytes, int, bool]
Way = tuple[str, str, int]


def mark(entry: Entry) -> Mark:
    """Return what makes an entry the same one, delta or whole cell."""
    return entry.seq, entry.key, entry.lane, entry.number, entry.kind in (1, 2)


@dataclass
class Lease:
    """The quorum of one host, as the run says."""

    run: Run
    me: str
    cut: bool = False

    def held(self, now_s: float) -> bool:
        """Return whether a majority has installed this host's view, and it is the latest."""
        run, view = self.run, self.run.homes[self.me].view
        if self.cut or view is not run.view or view.member(self.me) is None:
            return False
        return sum(run.homes[m].view is view for m in view.ids if m in run.homes) >= view.majority


@dataclass
class Place:
    """The host of one peer: what `Container` does for it, in a few lines."""

    run: Run
    me: str
    view: View
    limits: Limits = field(
        default_factory=lambda: Limits(pending_max=6, waiting_max=8, chunk_bytes=300, window=2)
    )
    watched: bool = False
    frozen: bool = False
    policy: str = "latest"
    pace: Pace = field(default_factory=Pace)
    primary: str = ""
    round: CensusRound | None = None
    census: Census | None = None

    def __post_init__(self) -> None:
        self.quorum = self.lease = Lease(self.run, self.me)  # a planted bug may put another in its place
        self.up: set[str] = set(self.run.names)
        self.wakes: list[float] = []

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
        """Refuse now and then."""
        return "not now" if self.run.chance.random() < 0.1 else ""

    def refused_birth(self) -> None:
        """Nobody is told."""

    def is_full(self, bytes_more: int) -> bool:
        """Never full."""
        return False


class Run:
    """One random history; raises `AssertionError` where a promise breaks."""

    def __init__(self, seed: int, names: str = "ABCD") -> None:
        self.seed = seed
        self.chance = Random(seed)
        self.names = list(names)
        self.now_s = 100.0
        self.view = self._make_view(1, self.names, {})
        self.homes = {name: Place(self, name, self.view) for name in self.names}
        self.peers = {name: Colony(0, home) for name, home in self.homes.items()}
        self.queues: dict[Way, deque[tuple[int, Any]]] = {}
        self.log: list[str] = []
        self.closures: list[tuple[str, RunClosure]] = []
        self.recount = False
        self.losses = 0
        # the truth
        self.top = 0
        self.marks: dict[int, Mark] = {}
        self.entries: dict[int, Entry] = {}
        self.cells: dict[bytes, Cell] = {}
        self.before: dict[bytes, Cell] = {}
        self.turn: list[tuple[bytes, int]] = []
        self.trails: dict[int, dict[int, Mark]] = {}
        # clients
        self.number = dict.fromkeys((b"l1", b"l2", b"l3"), 0)
        self.open: dict[bytes, Any] = {}
        self.copies: list[Any] = []
        self.applied: dict[tuple[bytes, int], int] = {}
        self.refused: set[tuple[bytes, int]] = set()
        self.request = 0
        self.acknowledged = 0
        self.tell(self.names[0], Born(epoch_in(self.view.id, 0)))

    # -- hosts ---------------------------------------------------------------------

    def _make_view(self, number: int, names: list[str], entered: dict[str, int]) -> View:
        vid = view_id(0, number)
        members = tuple(
            Member(n, 1, n, f"tcp://{n}", f"tcp://{n}l", status=Status.ACTIVE, entered=entered.get(n, vid))
            for n in names
        )
        return View("t" * 32, vid, Charter(colonies=1), members)

    def tell(self, host: str, event: Any) -> None:
        """Hand an event to a peer, and perform what comes of it."""
        home = self.homes[host]
        self.before = self.cells.copy()  # a read may come between the commits of one turn
        self.turn = []
        for effect in self.peers[host].handle(event, self.now_s):
            if isinstance(effect, Send):
                self.send(host, effect.to, effect.message)
            elif isinstance(effect, Answer):
                self.answered(host, effect.caller, effect.reply)
            elif isinstance(effect, RunClosure):
                self.closures.append((host, effect))
            elif isinstance(effect, Wake):
                home.wakes.append(effect.at_s)
            elif isinstance(effect, TellHost):
                self.host_told(host, effect.event)

    def send(self, host: str, to: str, message: Any) -> None:
        """Put a message on its way, if the link is up at this end."""
        if to in self.homes[host].up and to in self.homes:
            plane = BULK if isinstance(message, Chunk) else CONTROL
            self.queues.setdefault((host, to, plane), deque()).append((self.homes[host].view.id, message))

    def host_told(self, host: str, event: Any) -> None:
        """Do what the container of a host would."""
        home = self.homes[host]
        if isinstance(event, LocationChanged):
            home.primary = event.located.primary
        elif isinstance(event, RecountWanted):
            self.recount = True
        elif isinstance(event, Counted):
            lines: tuple[CensusPeer, ...] = (event.peer,) if event.peer is not None else ()
            home.census = Census(event.view, lines, len(lines))
            assert home.round is not None, "who counts has a round"
            if not home.view.admitted_here(host):
                home.round.add(host, home.census)
                for other in home.view.ids:
                    if other != host:
                        self.send(host, other, home.census)
            self.decide(host)

    def decide(self, host: str) -> None:
        """Tell the peer what the census of all says, once it is complete."""
        home = self.homes[host]
        if home.round is None or not home.round.is_complete or home.census is None:
            return
        heir = elect(home.view, home.round.heard)[0]
        home.round = None
        home.primary = heir.primary or home.primary
        if heir.outcome == "lost" and heir.primary == host:
            self.losses += 1
            self.top, self.marks, self.entries, self.cells = 0, {}, {}, {}
            self.applied.clear()
            self.refused.clear()
            self.tell(host, Born(heir.epoch))
            return
        self.tell(host, CensusDecided(heir.epoch, heir.primary, heir.seqs, heir.outcome == "kept"))

    def install(self, host: str) -> None:
        """The host installs the view that was chosen."""
        home = self.homes[host]
        home.view, home.round, home.census = self.view, CensusRound(self.view), None
        self.log.append(f"{host} installs {self.view.id}")
        self.tell(host, ViewInstalled(self.view))

    def deliver(self, way: Way) -> bool:
        """Deliver the first message of a way, if the receiver may take it now."""
        sender, receiver, _ = way
        queue = self.queues.get(way)
        if not queue or receiver not in self.homes or sender not in self.homes:
            return False
        home = self.homes[receiver]
        view, message = queue[0]
        if view > home.view.id:
            return False  # kept until the receiver has installed that view
        queue.popleft()
        if sender not in home.up:  # the first frame shows that the link is up
            self.come_up(receiver, sender)
        if view < home.view.id:
            return True
        self.log.append(f"{sender}->{receiver} {type(message).__name__} {message}")
        if isinstance(message, Located):
            home.primary = message.primary
        elif isinstance(message, Census):
            if home.round is not None and home.round.add(sender, message):
                self.decide(receiver)
        else:
            self.tell(receiver, Received(sender, message))
        return True

    def reset(self, a: str, b: str) -> None:
        """Break a link: what is on its way is gone."""
        for way in ((a, b, 0), (b, a, 0), (a, b, 1), (b, a, 1)):
            self.queues.pop(way, None)
        self.homes[a].up.discard(b)
        self.homes[b].up.discard(a)
        self.log.append(f"link {a}-{b} breaks")

    def come_up(self, host: str, other: str) -> None:
        """A link comes up at one end."""
        home = self.homes[host]
        home.up.add(other)
        self.log.append(f"link {host}-{other} is up at {host}")
        self.tell(host, LinkCameUp(other, 1))
        if home.census is not None and not home.view.admitted_here(host) and other in home.view.ids:
            self.send(host, other, home.census)

    def welcome(self, name: str) -> None:
        """A host starts that has no view yet, and nothing else."""
        self.names.append(name)
        self.homes[name] = Place(self, name, self._make_view(0, [], {}))
        self.peers[name] = Colony(0, self.homes[name])
        for home in self.homes.values():
            home.up.add(name)

    def choose_view(self, names: list[str]) -> None:
        """A view is chosen: from now on nobody holds quorum in the one before."""
        entered = {m.id: m.entered for m in self.view.members}
        self.view = self._make_view((self.view.id & 0xFFFFFFFF) + 1, names, entered)
        self.recount = False
        self.log.append(f"view {self.view.id}: {names}")

    # -- clients --------------------------------------------------------------------

    def new_request(self, lane: bytes) -> Any:
        """Return the next thing a client wants."""
        chance = self.chance
        self.number[lane] += 1
        self.request += 1
        names = (self.request, lane, self.number[lane])
        key = chance.choice((b"a", b"b", b"c"))
        token = b"%d" % self.request
        roll = chance.random()
        if roll < 0.4:
            only_if = chance.choice((0, 0, IF_ABSENT, IF_VERSION))
            return Put(*names, key, token, only_if=only_if, version=chance.randrange(4))
        if roll < 0.55:
            return Delete(*names, key)
        if roll < 0.65:
            return Mutate(*names, key, token)
        if roll < 0.7:
            return Touch(*names, key, 0)
        attribute = chance.choice(("x", "y"))
        return Patch(*names, b"m" + key, ((attribute, token),), gone=("x",) if attribute == "y" else ())

    def ask(self, host: str, request: Any) -> None:
        """Send a request to a host."""
        self.log.append(f"client asks {host} {request}")
        self.tell(host, Requested((request.lane, request.number), request))

    def read(self, host: str) -> None:
        """Read a cell, and compare an answer with the truth."""
        key = self.chance.choice((b"a", b"b", b"ma"))
        self.request += 1
        self.tell(host, Requested((b"read", key), Get(self.request, key)))

    def answered(self, host: str, caller: Any, reply: Reply) -> None:
        """Compare an answer with the truth."""
        lane, number = caller
        if lane == b"read":
            if reply.code in (OK, ABSENT):
                assert self.homes[host].quorum.held(self.now_s), f"{host} reads without quorum"
                cell = self.before.get(number)
                versions = [cell[0] if cell is not None else 0, *(v for k, v in self.turn if k == number)]
                assert reply.version in versions, f"{host} reads {reply}, truth {versions}"
            return
        if reply.code == OK:
            assert (lane, number) in self.applied, f"{host} says OK to what is not committed: {caller}"
            assert reply.version == self.applied[lane, number], f"{host} says {reply}"
            self.acknowledged += 1
        elif reply.code in (ABSENT, CONFLICT):
            assert (lane, number) not in self.applied, f"{host} refuses what is committed: {caller}"
            assert reply.version <= self.top, f"{host} refuses for what may vanish: {reply}"
            self.refused.add((lane, number))
        if reply.code in (OK, ABSENT, CONFLICT):
            asked = self.open.get(lane)
            if asked is not None and asked.number == number:
                del self.open[lane]

    # -- the truth --------------------------------------------------------------------

    def committed(self, primary: Primary, entry: Entry) -> None:
        """A primary commits an entry."""
        home: Any = primary.peer.host
        assert home.lease.held(self.now_s), f"{home.me} commits {entry.seq} without quorum"
        known = self.marks.get(entry.seq)
        if known is not None:
            assert known == mark(entry), f"{home.me} commits {mark(entry)}, it was {known}"
        else:
            assert entry.seq == self.top + 1, f"{home.me} commits {entry.seq} after {self.top}"
            self._grow(entry)
        for name, machine in self.in_view():
            if machine.status is PeerStatus.ACTIVE:
                peer = machine.peer
                assert peer.last >= entry.seq, f"{entry.seq} is committed, ACTIVE {name} has {peer.last}"
                held = self.trails.get(id(peer), {}).get(entry.seq, mark(entry))
                assert held == mark(entry), f"{name} holds {held}, {mark(entry)} is committed"

    def _grow(self, entry: Entry) -> None:
        self.top = entry.seq
        self.marks[entry.seq] = mark(entry)
        if entry.lane:
            assert (entry.lane, entry.number) not in self.applied, f"applied twice: {entry}"
            assert (entry.lane, entry.number) not in self.refused, f"refused, then applied: {entry}"
            if entry.kind != REFUSED:
                self.applied[entry.lane, entry.number] = entry.seq
        cell = after(entry, self.cells.get(entry.key))
        self.turn.append((entry.key, cell[0] if cell is not None else 0))
        if cell is None:
            self.cells.pop(entry.key, None)
        else:
            self.cells[entry.key] = cell

    def in_view(self) -> Iterator[tuple[str, Colony]]:
        """Yield the peers of the hosts that have installed the latest view."""
        for name, home in self.homes.items():
            if home.view is self.view and self.view.member(name) is not None:
                yield name, self.peers[name]

    def check(self) -> None:
        """Compare all hosts of the latest view with each other and with the truth."""
        here = dict(self.in_view())
        leads = {name: m.primary for name, m in here.items() if m.primary is not None}
        opened = [name for name in leads if here[name].is_open]
        assert len(opened) < 2, f"open primaries: {opened}"
        for name, primary in leads.items():
            if primary.peer.epoch < max(here[other].epoch for other in leads):
                continue  # the census has not reached it yet
            for other, machine in here.items():
                if other != name and machine.status is PeerStatus.ACTIVE:
                    assert other in primary.ack_set, f"I1: {other} is ACTIVE, not in {name}'s ack set"
        for name in opened:
            self._check_cells(name, here)

    def _check_cells(self, name: str, here: dict[str, Colony]) -> None:
        machine = here[name]
        peer, primary = machine.peer, machine.primary
        assert primary is not None, "it is open"
        if not self.homes[name].quorum.held(self.now_s):
            return
        assert peer.committed == self.top, f"{name} is open at {peer.committed}, truth {self.top}"
        assert peer.cells.live == self.cells, f"{name}: {peer.cells.live} != {self.cells}"
        mine = self.trails.get(id(peer), {})
        for other, theirs in here.items():
            if theirs.status is not PeerStatus.ACTIVE or other == name:
                continue
            assert theirs.peer.last <= peer.last, f"{other} is ahead of {name}"
            trail = self.trails.get(id(theirs.peer), {})
            for seq in mine.keys() & trail.keys():
                assert mine[seq] == trail[seq], f"{other} holds {trail[seq]}, {name} {mine[seq]}"
            if theirs.peer.last == peer.committed:
                assert theirs.peer.cells.live == self.cells, f"{other}: {theirs.peer.cells.live}"
                lanes = {lane: known[:4] for lane, known in theirs.peer.cells.lanes.items()}
                assert lanes == {lane: known[:4] for lane, known in peer.cells.lanes.items()}, other


class Driver:
    """Chooses what happens next in a run."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.chance = run.chance
        self.steps = (
            *[self.deliver] * 40,
            *[self.mutate] * 10,
            *[self.retry] * 4,
            *[self.read] * 3,
            *[self.order] * 7,
            *[self.close_closure] * 4,
            *[self.reset] * 3,
            *[self.come_up] * 5,
            *[self.install] * 6,
            *[self.tick] * 2,
            *[self.flicker] * 2,
            self.choose_view,
            self.kill,
        )

    def play(self, steps: int) -> None:
        """Let a number of things happen, then heal everything."""
        for _ in range(steps):
            self.chance.choice(self.steps)()
            self.run.check()
        self.heal()

    def host(self) -> str:
        """Return any host that runs."""
        return self.chance.choice(list(self.run.homes))

    def deliver(self) -> None:
        ways = [way for way, queue in self.run.queues.items() if queue]
        if ways:
            way = self.chance.choice(ways)
            for _ in range(self.chance.choice((1, 1, 3))):
                self.run.deliver(way)

    def aim(self) -> str:
        """Return mostly the host of the primary."""
        leads = [name for name, machine in self.run.peers.items() if machine.primary is not None]
        return self.chance.choice(leads) if leads and self.chance.random() < 0.8 else self.host()

    def mutate(self) -> None:
        run = self.run
        lane = self.chance.choice(list(run.number))
        if lane in run.open and self.chance.random() < 0.8:
            self.retry()
            return
        request = run.open[lane] = run.new_request(lane)
        run.copies.append(request)
        run.ask(self.aim(), request)

    def retry(self) -> None:
        """Ask again, or an old copy of a request comes late."""
        run = self.run
        if run.copies:
            request = self.chance.choice(run.copies[-6:])
            run.request += 1
            run.ask(self.aim(), msgspec.structs.replace(request, id=run.request))

    def read(self) -> None:
        self.run.read(self.aim())

    def order(self) -> None:
        leads = [name for name, machine in self.run.peers.items() if machine.primary is not None]
        if not leads:
            return
        name = self.chance.choice(leads)
        kind = self.chance.choice((CloneOrdered, CloneOrdered, RetireOrdered, HandOverOrdered))
        others = [n for n in self.run.homes[name].view.ids if n != name]
        if others:
            target = self.chance.choice(others)
            self.run.log.append(f"{name} is ordered {kind.__name__} {target}")
            self.run.tell(name, kind(target, "wild"))

    def close_closure(self) -> None:
        run = self.run
        if run.closures:
            host, ran = run.closures.pop(self.chance.randrange(len(run.closures)))
            if host in run.peers:
                run.log.append(f"{host} closure {ran.ticket}")
                run.tell(host, ClosureRan(ran.ticket, ran.closure))

    def reset(self) -> None:
        if len(self.run.homes) > 1:
            self.run.reset(*self.chance.sample(list(self.run.homes), 2))

    def come_up(self) -> None:
        down = [(a, b) for a, h in self.run.homes.items() for b in self.run.homes if b != a and b not in h.up]
        if down:
            self.run.come_up(*self.chance.choice(down))

    def install(self) -> None:
        behind = [n for n in self.run.view.ids if n in self.run.homes and self.behind(n)]
        if behind:
            self.run.install(self.chance.choice(behind))

    def behind(self, name: str) -> bool:
        """Return whether a member has still to install the latest view."""
        return self.run.homes[name].view is not self.run.view

    def tick(self) -> None:
        """Let time pass, and ring what is due."""
        run = self.run
        run.now_s += self.chance.choice((0.01, 0.3, 1.5))
        for name, home in list(run.homes.items()):
            due = [at_s for at_s in home.wakes if at_s <= run.now_s]
            if due:
                home.wakes = [at_s for at_s in home.wakes if at_s > run.now_s]
                run.tell(name, Ticked())

    def flicker(self) -> None:
        """Quorum goes, or comes back; the host may not see that it was away."""
        name = self.host()
        lease = self.run.homes[name].quorum
        lease.cut = not lease.cut
        if not lease.cut and self.chance.random() < 0.7:
            self.run.tell(name, QuorumCameBack())

    def choose_view(self) -> None:
        """Choose a next view: those who run, but perhaps one that is dropped alive, or a recount."""
        run = self.run
        names = [n for n in run.view.ids if n in run.homes]
        if any(self.behind(n) for n in names) and self.chance.random() < 0.7:
            return
        if len(names) > 2 and self.chance.random() < 0.4:
            names.remove(self.chance.choice(names))
        if self.holders(names):
            if len(names) < 4 and self.chance.random() < 0.5:
                names.append(f"E{len(run.names)}")
                run.welcome(names[-1])
            run.choose_view(names)

    def holders(self, names: list[str]) -> list[str]:
        """Return who of them has an ACTIVE peer."""
        return [n for n in names if self.run.peers[n].status is PeerStatus.ACTIVE]

    def kill(self) -> None:
        """A host dies, if another one has a copy."""
        run = self.run
        name = self.host()
        rest = [n for n in run.view.ids if n in run.homes and n != name]
        if len(rest) > 1 and self.holders(rest):
            run.log.append(f"{name} dies")
            del run.homes[name], run.peers[name]
            run.queues = {way: q for way, q in run.queues.items() if name not in way}

    # -- the end ------------------------------------------------------------------------

    def settle(self) -> None:
        """Deliver, install and bring up until nothing is left to do."""
        run = self.run
        for _ in range(300):
            for name in run.view.ids:
                if name in run.homes and self.behind(name):
                    run.install(name)
            down = [(a, b) for a, h in run.homes.items() for b in run.homes if b != a and b not in h.up]
            for a, b in down:
                run.come_up(a, b)
            moved = False
            for way in list(run.queues):
                while run.deliver(way):
                    moved = True
                    run.check()
            if not moved and not down:
                return
        raise AssertionError("messages go round in circles")

    def heal(self) -> None:
        """End all faults: the colony must open, and commit."""
        run = self.run
        for name in list(run.homes):  # who was dropped is dead by now
            if run.view.member(name) is None:
                del run.homes[name], run.peers[name]
        for home in run.homes.values():
            home.quorum.cut = False
        if any(n not in run.homes for n in run.view.ids) or run.recount:
            run.choose_view([n for n in run.view.ids if n in run.homes])
        self.settle()
        for _ in range(60):  # long enough for every patience
            run.now_s += 0.5
            for name in list(run.homes):
                home = run.homes[name]
                if any(at_s <= run.now_s for at_s in home.wakes):
                    home.wakes = [at_s for at_s in home.wakes if at_s > run.now_s]
                    run.tell(name, Ticked())
            while run.closures:
                self.close_closure()
            self.settle()
            run.check()
            if run.recount:
                run.choose_view([n for n in run.view.ids if n in run.homes])
        leads = [name for name, machine in run.peers.items() if machine.is_open]
        assert len(leads) == 1, f"in the end {leads} are open"
        learners = [name for name, m in run.peers.items() if m.status is PeerStatus.LEARNING]
        assert not learners, f"{learners} learn for ever"
        primary = run.peers[leads[0]].primary
        assert primary is not None and not primary.pending, "something is never committed"
        before = run.top
        run.number[b"l1"] += 1
        run.request += 1
        run.ask(leads[0], Put(run.request, b"l1", run.number[b"l1"], b"last", b"v"))
        self.settle()
        assert run.top == before + 1, "a healed colony commits"
        run.check()


@contextmanager
def watching(run: Run) -> Iterator[None]:
    """Tell the run what peers apply and primaries sequence and commit."""
    apply, wipe = Peer.apply, Peer.wipe
    sequence, commit = Primary.sequence, Primary._committed
    kept: list[Any] = []

    def trail(peer: Peer) -> dict[int, Mark]:
        if id(peer) not in run.trails:
            kept.append(peer)
        return run.trails.setdefault(id(peer), {})

    def watched_apply(peer: Peer, entry: Entry, now_s: float) -> None:
        apply(peer, entry, now_s)
        trail(peer)[entry.seq] = mark(entry)

    def watched_wipe(peer: Peer, status: PeerStatus) -> None:
        wipe(peer, status)
        run.trails.pop(id(peer), None)

    def watched_sequence(primary: Primary, entry: Entry, *args: Any, **kwargs: Any) -> None:
        trail(primary.peer)[entry.seq] = mark(entry)
        run.entries[entry.seq] = entry
        sequence(primary, entry, *args, **kwargs)

    def watched_commit(primary: Primary, done: Pending, *args: Any) -> None:
        run.committed(primary, done.entry)
        commit(primary, done, *args)

    with ExitStack() as patches:
        patches.enter_context(patch.object(Peer, "apply", watched_apply))
        patches.enter_context(patch.object(Peer, "wipe", watched_wipe))
        patches.enter_context(patch.object(Primary, "sequence", watched_sequence))
        patches.enter_context(patch.object(Primary, "_committed", watched_commit))
        yield


def play(seed: int, steps: int = 150) -> Run:
    """Play one history to its end; raises with the last steps if a promise breaks."""
    run = Run(seed)
    with watching(run):
        try:
            Driver(run).play(steps)
        except Exception as error:
            tail = "\n  ".join(run.log[-40:])
            text = f"seed {seed}: {error!r}\n  {tail}\nreplay: python -m tests.agents.wild"
            text = f"{text} {seed} {seed + 1} {steps}"
            raise AssertionError(text) from error
    return run


if __name__ == "__main__":
    import sys
    from collections import Counter

    steps = int(sys.argv[3]) if len(sys.argv) > 3 else 150
    first, last = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else int(sys.argv[1]) + 1
    failures: Counter[str] = Counter()
    acknowledged = 0
    for seed in range(first, last):
        try:
            acknowledged += play(seed, steps).acknowledged
        except AssertionError as broken:
            if last - first == 1:
                raise
            failures[f"{str(broken).splitlines()[0].split(':', 1)[1][:70]}"] += 1
            print(str(broken).splitlines()[0][:150])
    print(f"{last - first} histories, {acknowledged} acknowledged, {sum(failures.values())} broken")
