"""Rehearsals: what a cluster would do, by the very agents that do it, in virtual time.

A stage is set with hosts, their labels and resources, and colonies of some
size on some hosts; nothing of the cells themselves is needed. Then something
happens (a box dies, hosts come or go), and the cluster is watched until it
rests. Everything is a function of the stage, what happens, and the seed.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from agents import admin
from agents.effects import SaveSnapshot
from agents.messages.membership import Load
from agents.record import Record
from agents.share import ASKED_S
from agents.sim_host import Process
from agents.sim_network import Shape
from agents.sim_settings import SimSettings
from agents.simulator import Simulation
from agents.snapshot import Copy, Head, Held, Mark
from agents.surroundings import HandOverOrdered
from agents.views import Charter, Member, Status, View, view_id
from placement.birth import first_placement
from placement.labels import UNKNOWN, Labels, in_domain, parse_domain, parse_labels
from placement.resources import Candidate

CELL_BYTES = 64 * 1024  # colonies are made of cells of this size: one object, however many there are
BULK_BYTES_S = 120e6  # what a host sends while it serves: as measured on two cores
REST_MAX_S = 300.0  # virtual seconds in which a cluster must come to rest
HOSTS_MAX = 1_000
REST_S = 3.0  # so long nothing moves: the cluster rests
PATIENCE_S = ASKED_S + 1.0  # longer, if a host still wants to be rid of something
STEP_S = 0.25
_TAG = "0" * 31 + "1"
_STOP = "rehearsal"
_DNA = bytes(CELL_BYTES)


class NoRest(Exception):
    """The cluster did not come to rest in time; the text says what it waits for."""


@dataclass(frozen=True, slots=True)
class Actor:
    """A host on the stage.

    Attributes:
        labels: Where it stands.
        memory_free: Bytes that it may still fill.
        cpu: Share in use, 0 to 1.
        cpu_others: Of this what no host uses.
        id: Host id, which breaks ties; "" = by its place in the list.
    """

    name: str
    labels: Labels = UNKNOWN
    memory_free: int = 1 << 40
    cpu: float = 0.0
    cpu_others: float = 0.0
    id: str = ""


@dataclass(frozen=True, slots=True)
class Role:
    """A colony on the stage: where its peers are (primary first), and its bytes."""

    hosts: tuple[str, ...]
    bytes_used: int = 0


@dataclass(frozen=True, slots=True)
class Move:
    """One peer more, one less, or another primary.

    Attributes:
        kind: "copy" (made on `host`), "gone" (from `host`), or "primary" (now on `host`).
    """

    kind: str
    colony: int
    host: str
    bytes_used: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one happening.

    Attributes:
        what: The happening, in words.
        took_s: Virtual seconds until the cluster rested.
        moves: How the placement differs from before.
        bytes_sent: Of all copies that were made.
        at_risk: Most colonies that had but one peer left at a time, of those that had more.
        lost: Colonies that lost all their peers.
        settled: Peers that colonies have in the end.
        views: Views that were installed meanwhile.
    """

    what: str
    took_s: float
    moves: tuple[Move, ...]
    bytes_sent: int
    at_risk: int
    lost: tuple[int, ...]
    settled: int
    views: int


class Rehearsal:
    """A simulated cluster that is at rest between happenings.

    Args:
        actors: Its hosts; names are unique.
        roles: Its colonies, by number.
        peers: Wanted per colony.
        seed: Of delays.
        bulk_bytes_s: What each host can send of clones, bytes per second.

    Attributes:
        unrest: Moves that the stage itself made before it came to rest: not everything stood where it should.

    Raises:
        ValueError: The stage makes no sense.
        NoRest: It does not come to rest.
    """

    def __init__(
        self,
        actors: Sequence[Actor],
        roles: Sequence[Role],
        *,
        peers: int,
        seed: int = 0,
        bulk_bytes_s: float = BULK_BYTES_S,
    ) -> None:
        names = {actor.name for actor in actors}
        if not names or len(names) != len(actors):
            raise ValueError("a rehearsal needs hosts, each with a name of its own")
        for number, role in enumerate(roles):
            if not role.hosts or set(role.hosts) - names or len(set(role.hosts)) != len(role.hosts):
                raise ValueError(f"colony {number} can't live on {', '.join(role.hosts) or 'no host'}")
        self._seed = seed
        self._bulk_bytes_s = bulk_bytes_s
        self._actors = {actor.name: actor for actor in actors}
        self._set_the_stage(roles, peers)
        self.unrest = self._compared([role.hosts for role in roles])

    # -- the stage ---------------------------------------------------------------------

    def _set_the_stage(self, roles: Sequence[Role], peers: int) -> None:
        """Begin as after a clean stop of the whole cluster, in which every peer stood where it should."""
        self._sizes = [role.bytes_used for role in roles]
        # Heartbeats are most of the work: with many hosts they come more rarely, and so does the rest.
        beat_s = max(0.1, min(5.0, 0.1 * len(self._actors) / 16))
        charter = Charter(len(roles), peers, 5 * beat_s, beat_s, 10 * beat_s)
        shape = Shape(delay_s=(0.0002, 0.0005), jitter_s=0.0002, bulk_bytes_s=self._bulk_bytes_s)
        settings = SimSettings(charter, drift=0.0, offset_s=0.0, shape=shape, attested=False, sample_s=1.0)
        simulation = self._simulation = Simulation(
            (), random.Random(self._seed), settings, lambda dna, closure: dna
        )
        simulation.notes = []
        ids = {name: actor.id or f"{n + 1:032x}" for n, (name, actor) in enumerate(self._actors.items())}
        first, named = view_id(0, 1), tuple((ids[name], name) for name in self._actors)
        members = tuple(
            Member(ids[name], 1, name, f"tcp://{name}", f"link://{name}", actor.labels, status=Status.ACTIVE)
            for name, actor in self._actors.items()
        )
        view = View(_TAG, first, charter, members)
        for name, actor in self._actors.items():
            home = simulation.add_home(name, actor.labels, _load(actor))
            copies = tuple(_copy(n, role) for n, role in enumerate(roles) if name in role.hosts)
            head = Head(_TAG, _STOP, first, ids[name], name, named, tuple(copy.held for copy in copies))
            home.disk.record = Record(ids[name], 1, _TAG, view)
            home.disk.snapshot = SaveSnapshot(head, copies, 0), 0.0
            home.disk.mark = Mark(_TAG, _STOP, first)
        for name in self._actors:
            simulation.start(name)
        self._put_primaries([role.hosts[0] for role in roles])
        self._rest()

    def _put_primaries(self, wanted: Sequence[str]) -> None:
        """Have each colony led by whom the stage names: after a return the census has its own order."""
        timeline = self._simulation.timeline
        while not all(place for place in self.placement()):
            if timeline.now_s > REST_MAX_S:
                raise NoRest("the stage could not be set: some colony has no primary")
            timeline.run_until(timeline.now_s + STEP_S / 5)
        for colony, (place, name) in enumerate(zip(self.placement(), wanted, strict=True)):
            if place[0] != name and name in place:
                order = HandOverOrdered(self._simulation.homes[name].id, "the stage says so")
                self._simulation.order_colony(place[0], colony, order)

    # -- what stands where ---------------------------------------------------------------

    @property
    def hosts(self) -> list[Actor]:
        """The hosts that live."""
        homes = self._simulation.homes
        return [actor for name, actor in self._actors.items() if homes[name].process is not None]

    @property
    def sizes(self) -> list[int]:
        """Bytes of each colony."""
        return list(self._sizes)

    @property
    def bytes_used(self) -> int:
        """Bytes of all colonies, each counted once."""
        return sum(self._sizes)

    def placement(self) -> list[tuple[str, ...]]:
        """Return, per colony, who holds it, primary first; () = nobody leads it now."""
        name_of, process = self._simulation.name_of, self._knowing()
        if process is None:
            return [()] * len(self._sizes)
        return [
            tuple(name_of(host) for host in peers.holders) if peers.primary else ()
            for peers in process.container.places()
        ] or [()] * len(self._sizes)

    def status(self) -> dict[str, Any]:
        """Return what a host of it answers to `status`: all that `simulate --from-live` asks for."""
        process = self._knowing()
        if process is None:
            raise NoRest("no host is left")
        return admin.status(process.container, {"colonies": True}, process.now_s)[1]

    def _knowing(self) -> Process | None:
        """Return the process with the highest view."""
        installed = [p for p in self._simulation.processes() if p.container.view is not None]
        return max(installed, key=_view_of, default=None)

    def _compared(self, before: Sequence[tuple[str, ...]]) -> tuple[Move, ...]:
        moves: list[Move] = []
        for colony, (old, new) in enumerate(zip(before, self.placement(), strict=True)):
            size = self._sizes[colony]
            moves += [Move("copy", colony, host, size) for host in sorted(set(new) - set(old))]
            moves += [Move("gone", colony, host) for host in sorted(set(old) - set(new))]
            if new and old[:1] != new[:1]:
                moves.append(Move("primary", colony, new[0]))
        return tuple(moves)

    # -- happenings ----------------------------------------------------------------------

    def happen(self, what: str) -> Outcome:
        """Let something happen, and wait until the cluster rests.

        Args:
            what: `kill H`, `kill box=B` (or rack, zone), `drain H`, `drain box=B`, `add 2 box=B,zone=Z`,
                or `peers 3`: the same cluster with another population.

        Raises:
            ValueError: It makes no sense here; nothing has happened.
            NoRest: The cluster does not come to rest after it.
        """
        word, _, rest = what.strip().partition(" ")
        happenings = {"kill": self._kill, "drain": self._drain, "add": self._add, "peers": self._peers}
        if word not in happenings:
            raise ValueError(f"{what!r} can't happen: say {', '.join(happenings)}")
        before, views = self.placement(), self._view_id()
        began_s, seen = self._simulation.timeline.now_s, len(self._simulation.notes or ())
        begun = self._simulation
        happenings[word](rest.strip())
        if self._simulation is not begun:  # another population is another stage
            began_s, seen, views = 0.0, 0, self._view_id()
        rested_s, at_risk = self._rest(before)
        notes = [note for _, _, note in (self._simulation.notes or [])[seen:]]
        lost = sorted({note.colony for note in notes if note.kind == "lost" and note.colony is not None})
        moves = self._compared(before)
        return Outcome(
            what.strip(),
            max(0.0, rested_s - began_s),
            moves,
            sum(move.bytes_used for move in moves if move.kind == "copy"),
            at_risk,
            tuple(lost),
            self.settled,
            self._view_id() - views,
        )

    def _named(self, target: str) -> list[str]:
        """Return the live hosts that a name or a domain means."""
        alive = self.hosts
        if "=" in target:
            level, value = parse_domain(target)
            found = [actor.name for actor in alive if in_domain(actor.labels, level, value)]
        else:
            found = [actor.name for actor in alive if actor.name == target]
        if not found:
            raise ValueError(f"{target!r} is no host here: there are {', '.join(a.name for a in alive)}")
        return found

    def _kill(self, target: str) -> None:
        for name in self._named(target):
            self._simulation.crash(name, keep_disk=False)

    def _drain(self, target: str) -> None:
        for name in self._named(target):
            self._simulation.leave(name)

    def _add(self, words: str) -> None:
        count, _, labels = words.partition(" ")
        if not count.isdecimal() or not 1 <= int(count) <= HOSTS_MAX - len(self._actors):
            raise ValueError(f"say how many, and where: add 2 box=b9 (at most {HOSTS_MAX} hosts in all)")
        stands = parse_labels(labels) if labels else UNKNOWN
        for _ in range(int(count)):
            number = len(self._actors) + 1
            while f"new-{number}" in self._actors:
                number += 1
            name = f"new-{number}"
            actor = self._actors[name] = Actor(name, stands, id=_id_of(name))
            home = self._simulation.add_home(actor.name, stands, _load(actor))
            # Its name gives it its id: one that is counted up could be that of a host on the stage.
            home.disk.record = Record(actor.id, 0)
            self._simulation.start(actor.name)

    def _peers(self, count: str) -> None:
        if not count.isdecimal() or not 1 <= int(count) <= 16:
            raise ValueError("say how many peers: 1 to 16")
        alive = {actor.name: actor for actor in self.hosts}
        roles = [Role(hosts, size) for hosts, size in zip(self.placement(), self._sizes, strict=True)]
        if not all(role.hosts for role in roles):
            raise ValueError("some colony has no peer: nothing to begin from")
        self._actors = alive
        self._set_the_stage(roles, int(count))

    # -- rest ----------------------------------------------------------------------------

    def _rest(self, before: Sequence[tuple[str, ...]] = ()) -> tuple[float, int]:
        """Run until nothing has moved for a while; return when the last move was, and the most at risk."""
        timeline = self._simulation.timeline
        began_s = changed_s = timeline.now_s
        state: object = None
        at_risk = 0
        calm_s = REST_S + 20 * self._simulation.settings.charter.heartbeat_s
        while timeline.now_s - changed_s < calm_s + (PATIENCE_S if self._waits() else 0.0):
            timeline.run_until(timeline.now_s + STEP_S)
            now, is_calm = self._state()
            places = self.placement()
            alone = sum(len(new) <= 1 < len(old) for old, new in zip(before, places, strict=False))
            at_risk = max(at_risk, alone)
            if now != state or not is_calm:
                state, changed_s = now, timeline.now_s
            if not self._simulation.processes():
                raise NoRest("no host is left")
            if timeline.now_s - began_s > REST_MAX_S:
                raise NoRest(f"the cluster did not come to rest within {REST_MAX_S:g} s: {self._unrest()}")
        return changed_s, at_risk

    def _waits(self) -> bool:
        """Return whether some host carries too much, was told "not now", and will ask again."""
        return any(p.container.governor.share.is_patient(p.now_s) for p in self._simulation.processes())

    def _state(self) -> tuple[object, bool]:
        """Return what must stay the same for the cluster to rest, and whether it may rest at all."""
        process = self._knowing()
        view = process.container.view if process is not None else None
        if process is None or view is None:
            return None, False
        container = process.container
        running = self._simulation.processes()
        places = container.places()
        learners = any(entry is not None and entry.learners for entry in container.directory.entries)
        settled = container.governor.settled.number
        is_whole = all(len(peers.holders) >= settled and peers.primary for peers in places)
        is_agreed = all(_view_of(other) == view.id for other in running if other.home.id in view.ids)
        is_everybody = len(running) == len(view.members) and all(
            m.status is Status.ACTIVE for m in view.members
        )
        return (view.id, places), is_whole and is_agreed and is_everybody and not learners

    def _unrest(self) -> str:
        process = self._knowing()
        if process is None or not process.container.quorum.held(process.now_s):
            return "there is no majority, so it holds (colony recover --force would go on)"
        short = sum(len(place) < self.settled for place in self.placement())
        return f"{short} colonies lack peers" if short else "it goes on moving"

    @property
    def settled(self) -> int:
        """Peers that colonies have now."""
        process = self._knowing()
        return process.container.governor.settled.number if process is not None else 0

    def _view_id(self) -> int:
        process = self._knowing()
        return _view_of(process) if process is not None else 0


def _view_of(process: Process) -> int:
    view = process.container.view
    return view.id if view is not None else 0


def _id_of(name: str) -> str:
    """Return the id of a host that comes; the real one is drawn when it starts, and breaks ties."""
    return sha256(name.encode()).hexdigest()[:32]


def _load(actor: Actor) -> Load:
    free = actor.memory_free
    others = round(actor.cpu_others * 100)
    return Load(cpu=actor.cpu, group_pct=others, memory_free=free, memory_total=2 * free)


def _copy(colony: int, role: Role) -> Copy:
    """Return a colony of the right size, made of one object."""
    cells = max(1, round(role.bytes_used / CELL_BYTES))
    dna = _DNA if role.bytes_used >= CELL_BYTES else bytes(role.bytes_used)
    live = {b"%d/%d" % (colony, number): (number + 1, 0.0, dna) for number in range(cells)}
    return Copy(Held(colony, 1, cells, 1.0), dict(live), {})


def placed(actors: Sequence[Actor], sizes: Sequence[int], peers: int) -> list[Role]:
    """Return colonies of these sizes, placed as a new cluster places them."""
    hosts = [Candidate(actor.name, labels=actor.labels) for actor in actors]
    born = first_placement(len(sizes), peers, hosts)
    return [Role(place.holders, size) for place, size in zip(born, sizes, strict=True)]
