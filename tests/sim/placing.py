"""Placing: the governors of many hosts at work, without the protocol beneath.

What decides is the production code: one `Governor` and one `Admission` for
each host, with all that they call. What is left out is what carries their
decisions out: heartbeats, elections, replication. A clone takes as long as
its bytes take, a retirement and a hand-over are done at once, a death is
followed by the promotions that the census would choose.

All hosts decide at once, from what was true at the beginning of the step:
that is staler than life, where the word goes round in a millisecond.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from types import SimpleNamespace
from typing import Any

import msgspec

from agents.admission import Admission
from agents.census import Heir
from agents.course import Course
from agents.directory import Directory
from agents.effects import Note, Send, TellColony
from agents.governor import Governor
from agents.messages.membership import Load
from agents.messages.replication import Census, CensusPeer, Invite, InviteAnswer, Located
from agents.peer import PeerStatus
from agents.reputation import Reputation
from agents.surroundings import (
    CloneOrdered,
    HandOverOrdered,
    Limits,
    MoveRefused,
    Outbid,
    RetireOrdered,
    SizeChanged,
)
from agents.survey import Field, Survey
from agents.views import Charter, Member, Status, View, view_id
from placement.birth import first_placement
from placement.labels import Labels
from placement.peers import Peers
from placement.repulsion import penalty_of
from placement.resources import Candidate

STEP_S = 0.05
BULK_BYTES_S = 120e6  # what a host sends while it serves: as measured on two cores
MEMORY_BYTES = 1 << 36


class Transfers:
    """What a primary has under way."""

    def __init__(self) -> None:
        self.clones: dict[str, Any] = {}
        self.activating: dict[str, int] = {}
        self.retiring: dict[str, float] = {}
        self.sources: dict[str, str] = {}
        self.handing = None
        self.fell = None


class Copy:
    """One peer of one colony, as the governor and the door of its host see it."""

    def __init__(self, colony: int, host: str, size: int) -> None:
        self.colony = colony
        self.host = host
        self.status = PeerStatus.ACTIVE
        self.is_open = True
        self.primary: Any = None
        self.peer = SimpleNamespace(cells=SimpleNamespace(bytes_used=size), last=0)

    def lead(self, others: Iterable[str]) -> None:
        """Be primary."""
        self.primary = SimpleNamespace(ack_set=dict.fromkeys(others, 0), transfers=Transfers(), is_open=True)

    @property
    def peers(self) -> tuple[str, ...]:
        """ACTIVE peers, itself first."""
        return (self.host, *self.primary.ack_set) if self.primary is not None else ()


class SharedSurvey(Survey):
    """A host's survey that is made once per step for all: they know the same."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)  # type: ignore[arg-type]
        self._site = site
        self._step = -1

    def look(self, now_s: float) -> Field:
        """Return the members as of the beginning of this step, and what this host has ordered since."""
        world = self._site.world
        if self._step != world.steps:
            self._step = world.steps
            base = world.base
            seen = object.__new__(Field)
            seen.hosts, seen.place_of, seen.means = base.hosts.copy(), base.place_of, base.means
            self._field = seen
        self._given.clear()
        return self._field


class SharedCourse(Course):
    """The wave as all hosts know it: what each would work out for itself, one does for all."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self._step = -1

    def advance(self, directory: Directory, now_s: float, *, is_urgent: bool = True) -> str:
        """Go on, once in each step."""
        if self._step == self._world.steps:
            return ""
        self._step = self._world.steps
        return super().advance(directory, now_s, is_urgent=is_urgent)


class Site:
    """One host, as its governor and its door see it."""

    def __init__(self, world: World, member: Member) -> None:
        self.world = world
        self.me = member.id
        self.limits = Limits(bytes_max=member.bytes_max)
        self.colonies: dict[int, Any] = {}
        self.restoring = SimpleNamespace(waiting=frozenset())
        self.keeps = self.frozen = False
        self.quorum = SimpleNamespace(held=lambda now_s: True)
        self.bytes_measured, self.load = 0, Load()
        self.admission = Admission(self)  # type: ignore[arg-type]
        self.governor = Governor(self, SharedSurvey(self), world.course)  # type: ignore[arg-type]

    @property
    def view(self) -> View:
        """The view, the same for all."""
        return self.world.view

    @property
    def directory(self) -> Directory:
        """The directory, the same for all."""
        return self.world.directory

    @property
    def membership(self) -> Any:
        """Loads and reputations, the same for all."""
        return self.world.membership

    @property
    def memory_free(self) -> int | None:
        """Bytes that its machine still has."""
        return None

    def places(self) -> list[Peers]:
        """Return where every colony lives."""
        return self.world.places()


@dataclass(slots=True)
class Tally:
    """What has moved since somebody began to count."""

    copies: int = 0
    bytes_sent: int = 0
    roles: int = 0
    retired: int = 0
    refused: int = 0
    rules: Counter[str] = field(default_factory=Counter)


class World:
    """Many hosts, their colonies, and virtual time.

    Args:
        hosts: (name, labels, most bytes; 0 = no limit).
        sizes: Bytes of each colony.
        peers: Wanted of each.
        seed: Of the order in which hosts decide, and of nothing else.
        born: Where colonies begin; None = where those of a new cluster do.
    """

    def __init__(
        self,
        hosts: Sequence[tuple[str, Labels, int]],
        sizes: Sequence[int],
        *,
        peers: int = 3,
        seed: int = 0,
        born: Sequence[Peers] | None = None,
    ) -> None:
        self.chance = random.Random(seed)
        self.now_s = 1000.0
        self.steps = 0
        self.sizes = list(sizes)
        self.tally = Tally()
        self.notes: list[tuple[float, Note]] = []
        self.epochs = [1] * len(sizes)
        self.charter = Charter(colonies=len(sizes), peers=peers)
        self.membership = SimpleNamespace(loads={}, reputation=Reputation())
        self.directory = Directory(len(sizes))
        self.sites: dict[str, Site] = {}
        self.course = SharedCourse(self)
        self.view = View("t" * 32, view_id(0, 1), self.charter, ())
        self.noise: Callable[[str, Load], Load] = lambda host, load: load
        self._done: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._sends_s: dict[str, float] = {}
        self._changes = [0] * len(sizes)
        self._measured_s = float("-inf")
        self._places: list[Peers] | None = None
        self.base = Field([])
        self._survey: Survey | None = None
        self.cpu_s: list[float] = []
        members = [self._member(name, labels, limit, Status.ACTIVE) for name, labels, limit in hosts]
        self._install(members)
        candidates = [Candidate(member.id, labels=member.labels) for member in members]
        self._bear(born or first_placement(len(sizes), peers, candidates))

    # -- hosts -------------------------------------------------------------------------

    def _member(self, name: str, labels: Labels, limit: int, status: Status) -> Member:
        entered = self.view.id
        return Member(
            name,
            1,
            name,
            f"tcp://{name}",
            f"link://{name}",
            labels,
            bytes_max=limit,
            status=status,
            entered=entered,
        )

    def _install(self, members: Sequence[Member], dead: Sequence[str] = (), left: Sequence[str] = ()) -> None:
        stood = {member.id: member.labels for member in self.view.members}
        gone = tuple((name, 1) for name in dead)
        number = (self.view.id & (1 << 32) - 1) + 1
        went = tuple((name, 1) for name in left)
        self.view = View("t" * 32, view_id(0, number), self.charter, tuple(members), went, gone)
        self.membership.reputation.note(self.view, self.now_s, stood)
        for member in members:
            if member.id not in self.sites:
                self.sites[member.id] = Site(self, member)
        listed = set(self.view.ids)
        for name in [name for name in self.sites if name not in listed]:
            del self.sites[name]
        self._survey = Survey(next(iter(self.sites.values())))  # type: ignore[arg-type]
        self._places = None
        for site in self.sites.values():
            site.governor.view_installed(self.view)

    def _bear(self, born: Sequence[Peers]) -> None:
        for place in born:
            size = self.sizes[place.colony]
            for host in place.holders:
                self.sites[host].colonies[place.colony] = Copy(place.colony, host, size)
            machine = self.leader(place.colony, place.primary or "")
            machine.lead(place.secondaries)
            self._announce(machine)

    def join(self, name: str, labels: Labels, limit: int = 0) -> None:
        """Let a host join."""
        self.join_all([(name, labels, limit)])

    def join_all(self, hosts: Iterable[tuple[str, Labels, int]]) -> None:
        """Let hosts join at once."""
        joiners = [self._member(*host, Status.JOINING) for host in hosts]
        self._install([*self.view.members, *joiners])
        self._take_census()

    def leave(self, name: str) -> None:
        """Let a host begin to leave."""
        self._install([self._with(m, Status.LEAVING) if m.id == name else m for m in self.view.members])
        self._take_census()

    @staticmethod
    def _with(member: Member, status: Status) -> Member:
        return msgspec.structs.replace(member, status=status)

    def kill(self, names: Iterable[str]) -> list[int]:
        """Let hosts die at once; return the colonies that have no peer left."""
        dead = set(names)
        before = self.places()
        self._install([m for m in self.view.members if m.id not in dead], sorted(dead))
        load = Counter(peers.primary for peers in before if peers.primary not in dead)
        seniority = {host: place for place, host in enumerate(self.view.ids)}
        lost = []
        for peers in before:
            left = [host for host in peers.holders if host not in dead]
            entry = self.directory.entries[peers.colony]
            assert entry is not None
            for host in entry.learners:
                if peers.primary in dead and host not in dead:
                    self.sites[host].colonies.pop(peers.colony, None)
            if not left:
                lost.append(peers.colony)
                self._forget(peers.colony)
            elif peers.primary in dead:
                heir = min(left, key=lambda host: (load[host], seniority[host]))
                load[heir] += 1
                self.epochs[peers.colony] += 1
                self._changes[peers.colony] = 0
                machine = self.leader(peers.colony, heir)
                machine.lead(host for host in left if host != heir)
                self._announce(machine)
            elif len(left) < len(peers.holders) or dead.intersection(entry.learners):
                machine = self.leader(peers.colony, peers.primary or "")
                for host in dead:
                    machine.primary.ack_set.pop(host, None)
                    machine.primary.transfers.clones.pop(host, None)
                self._announce(machine)
        self._take_census()
        return lost

    def _take_census(self) -> None:
        """Let all hosts know the same of all colonies, as they do after each view."""
        heirs, lines = [], dict[str, list[CensusPeer]]()
        for peers in self.places():
            colony, entry = peers.colony, self.directory.entries[peers.colony]
            if not peers.primary or entry is None:
                heirs.append(Heir(colony, "lost", 0, "", {}))
                continue
            coming = tuple(self.leader(colony, peers.primary).primary.transfers.clones)
            heirs.append(Heir(colony, "kept", 1, peers.primary, dict.fromkeys(peers.holders, 0)))
            line = CensusPeer(colony, 1, 0, True, False, entry.bytes_used, coming)
            lines.setdefault(peers.primary, []).append(line)
        heard, records = {}, self.membership.reputation.records(self.view, self.now_s)
        for host in self.view.ids:
            load = self.membership.loads.get(host) or Load()
            free = load.memory_free if load.memory_total else -1
            heard[host] = Census(self.view.id, tuple(lines.get(host, ())), 0, None, load.cpu, free, records)
        self.course.counted(self.view, heirs, heard)

    def _forget(self, colony: int) -> None:
        """A colony is lost: nobody counts it any more."""
        entry = self.directory.entries[colony]
        if entry is not None:
            self.directory.learn(Located(colony, entry.epoch + 1, 0, "", ()))

    # -- what is where -----------------------------------------------------------------

    def leader(self, colony: int, host: str) -> Any:
        """Return the copy of a colony on a host."""
        return self.sites[host].colonies[colony]

    def places(self) -> list[Peers]:
        """Return where every colony lives."""
        if self._places is None:
            here = set(self.sites)
            self._places = [
                self.directory.place(colony, here) for colony in range(len(self.directory.entries))
            ]
        return self._places

    def loads(self) -> tuple[Counter[str], Counter[str], Counter[str]]:
        """Return copies, primaries and bytes of each host, as they truly are."""
        copies, primaries, bytes_used = (Counter(dict.fromkeys(self.sites, 0)) for _ in range(3))
        for peers in self.places():
            for host in peers.holders:
                copies[host] += 1
                bytes_used[host] += self.sizes[peers.colony]
            primaries[peers.primary or ""] += 1
        return copies, primaries, bytes_used

    def missing(self) -> int:
        """Return how many copies are missing."""
        wanted = next(iter(self.sites.values())).governor.settled.number
        return sum(max(0, wanted - len(peers.holders)) for peers in self.places() if peers.holders)

    def violations(self) -> int:
        """Return how many pairs of peers share a box, rack or zone."""
        labels = {m.id: Candidate(m.id, labels=m.labels) for m in self.view.members}
        return sum(sum(penalty_of([labels[h] for h in peers.holders])) for peers in self.places())

    # -- time --------------------------------------------------------------------------

    def run(self, seconds: float, *, step_s: float = STEP_S) -> None:
        """Let time pass."""
        until_s = self.now_s + seconds
        while self.now_s < until_s - 1e-9:
            self.step(step_s)

    def rest(self, *, most_s: float = 600.0, calm_s: float = 30.0) -> float:
        """Run until nothing has moved for a while; return how long it moved."""
        began_s = changed_s = self.now_s
        seen: Any = None
        while self.now_s - changed_s < calm_s and self.now_s - began_s < most_s:
            self.step(STEP_S if self.now_s - changed_s < 3.0 else 0.25)
            tally = self.tally
            now = (
                tally.copies,
                tally.roles,
                tally.retired,
                len(self._done),
                self.missing() if self._places is None else 0,
            )
            if now[:4] != (seen or ())[:4]:
                seen, changed_s = now, self.now_s
            self._see_statuses()
        return changed_s - began_s

    def _see_statuses(self) -> None:
        """Let joiners with their share be ACTIVE, and empty leavers go."""
        members = list(self.view.members)
        for place, member in enumerate(members):
            site = self.sites[member.id]
            if member.status is Status.JOINING and site.governor.share.is_reached(self.now_s):
                members[place] = self._with(member, Status.ACTIVE)
            elif member.status is Status.LEAVING and not site.colonies:
                members[place] = self._with(member, Status.LEAVING)
                self._install([m for m in members if m.id != member.id], left=[member.id])
                self._take_census()
                return
        if members != list(self.view.members):
            self._install(members)
            self._take_census()

    def step(self, step_s: float = STEP_S) -> None:
        """Let all hosts decide at once, and carry out what they decide."""
        self.now_s += step_s
        self.steps += 1
        while self._done and self._done[0][0] <= self.now_s:
            heappop(self._done)[2]()
        if self.now_s - self._measured_s >= 1.0:
            self._measure()
        assert self._survey is not None
        self._survey.in_wave = self.course.is_active
        self.base = self._survey.look(self.now_s)
        said: list[tuple[str, Any]] = []
        sites = list(self.sites.values())
        for site in sites:
            out: list[Any] = []
            site.admission.count(self.now_s)
            site.admission.ticked(self.now_s, out)
            site.governor.tick(self.now_s, out)
            said += [(site.me, effect) for effect in out]
        self.chance.shuffle(said)
        todo = deque(said)
        while todo:
            host, effect = todo.popleft()
            if host in self.sites:
                todo.extend((to, more) for to, more in self._perform(host, effect))

    def _measure(self) -> None:
        self._measured_s = self.now_s
        bytes_used = self.directory.bytes_used
        for member in self.view.members:
            used = bytes_used[member.id]
            free = MEMORY_BYTES - used
            self.membership.loads[member.id] = self.noise(
                member.id, Load(memory_free=free, memory_total=MEMORY_BYTES, bytes_used=used)
            )

    # -- carrying out --------------------------------------------------------------------

    def _perform(self, host: str, effect: Any) -> list[tuple[str, Any]]:
        if isinstance(effect, Note):
            self.notes.append((self.now_s, effect))
        elif isinstance(effect, TellColony):
            machine = self.sites[host].colonies.get(effect.colony)
            if machine is not None:
                self._tell(machine, effect.event)
        elif isinstance(effect, Send) and effect.to in self.sites:
            out: list[Any] = []
            governor = self.sites[effect.to].governor
            if isinstance(effect.message, Invite):
                governor.invites.asked(host, effect.message, self.now_s, out)
            elif isinstance(effect.message, InviteAnswer):
                governor.share.answered(effect.message, self.now_s)
            return [(effect.to, more) for more in out]
        return []

    def _tell(self, machine: Any, event: Any) -> None:
        if isinstance(event, Outbid):
            self._give_up(machine, event.reason)
        elif machine.primary is None:
            return
        elif isinstance(event, CloneOrdered):
            self._ask(machine, event)
        elif isinstance(event, RetireOrdered):
            self._retire(machine, event.target)
        elif isinstance(event, HandOverOrdered):
            self._hand_over(machine, event.target)
        elif isinstance(event, SizeChanged):
            self._announce(machine)

    def _announce(self, machine: Any) -> None:
        colony, moves = machine.colony, machine.primary.transfers
        self._changes[colony] += 1
        learners = tuple(moves.clones)
        going = tuple(moves.sources[target] for target in learners if target in moves.sources)
        size = machine.peer.cells.bytes_used
        located = Located(
            colony,
            self.epochs[colony],
            self._changes[colony],
            machine.host,
            machine.peers,
            1,
            size,
            0,
            learners,
            going,
        )
        self.directory.learn(located)
        self._places = None
        for name, site in self.sites.items():
            if name == machine.host:
                site.governor.location_changed(located)  # all know of one course: it is told once
            else:
                site.governor.rounds.stirred()

    def _ask(self, machine: Any, order: CloneOrdered) -> None:
        colony, target, moves = machine.colony, order.target, machine.primary.transfers
        if target in moves.clones or target in machine.peers:
            return
        site, size = self.sites.get(target), self.sizes[colony]
        refusal = "gone"
        if site is not None:
            refusal = site.admission.admits(colony, machine.host, size, order.weight_max)
        if refusal or site is None:
            self.tally.refused += 1
            refused = MoveRefused(colony, target, refusal)
            self.sites[machine.host].governor.move_refused(refused, self.now_s)
            return
        learner = Copy(colony, target, 0)
        site.colonies[colony] = learner
        learner.status = PeerStatus.LEARNING
        moves.clones[target] = SimpleNamespace(bytes_whole=size)
        if order.source:
            moves.sources[target] = order.source
        begins_s = max(self.now_s, self._sends_s.get(machine.host, 0.0))
        self._sends_s[machine.host] = ends_s = begins_s + 0.005 + size / BULK_BYTES_S
        self._count += 1
        rule = order.cause.kind if order.cause is not None else ""
        heappush(self._done, (ends_s, self._count, lambda: self._cloned(machine, learner, size, rule)))
        self._announce(machine)

    def _cloned(self, machine: Any, learner: Any, size: int, rule: str) -> None:
        target = learner.host
        if machine.primary is None or machine.primary.transfers.clones.get(target) is None:
            return
        if self.sites.get(machine.host, None) is None or target not in self.sites:
            return
        if machine.colony not in self.sites[target].colonies or learner.status is not PeerStatus.LEARNING:
            return
        del machine.primary.transfers.clones[target]
        machine.primary.transfers.sources.pop(target, None)
        machine.primary.ack_set[target] = 0
        learner.status = PeerStatus.ACTIVE
        learner.peer.cells.bytes_used = self.sizes[machine.colony]
        self.tally.copies += 1
        self.tally.bytes_sent += size
        self.tally.rules[rule] += 1
        self._announce(machine)

    def _give_up(self, learner: Any, reason: str) -> None:
        colony, target = learner.colony, learner.host
        if learner.status is not PeerStatus.LEARNING:
            return
        learner.status = PeerStatus.NONE
        self.sites[target].colonies.pop(colony, None)
        entry = self.directory.entries[colony]
        machine = (
            self.sites[entry.primary].colonies.get(colony) if entry and entry.primary in self.sites else None
        )
        if (
            machine is not None
            and machine.primary is not None
            and machine.primary.transfers.clones.pop(target, None)
        ):
            machine.primary.transfers.sources.pop(target, None)
            self.sites[machine.host].governor.move_refused(MoveRefused(colony, target, reason), self.now_s)
            self._announce(machine)

    def _retire(self, machine: Any, target: str) -> None:
        if machine.primary.ack_set.pop(target, None) is None:
            return
        self.sites[target].colonies.pop(machine.colony, None)
        self.tally.retired += 1
        self._announce(machine)

    def _hand_over(self, machine: Any, target: str) -> None:
        if target not in machine.primary.ack_set or machine.primary.transfers.clones:
            return
        others = [host for host in machine.peers if host != target]
        machine.primary = None
        self.epochs[machine.colony] += 1
        self._changes[machine.colony] = 0
        heir = self.leader(machine.colony, target)
        heir.lead(others)
        self.tally.roles += 1
        self._announce(heir)


def skewed(colonies: int, *, mean_bytes: int, seed: int = 0, sigma: float = 0.75) -> list[int]:
    """Return sizes of colonies, skewed: log-normal, as sessions of all kinds of users add up."""
    chance = random.Random(f"sizes {seed}")
    drawn = [chance.lognormvariate(0.0, sigma) for _ in range(colonies)]
    return [int(mean_bytes * one * colonies / sum(drawn)) for one in drawn]


def site_plan(hosts: int, boxes: int, zones: int) -> list[tuple[str, Labels, int]]:
    """Return hosts on so many boxes in so many zones, in turn."""
    return [(f"{n + 1:032x}", Labels(f"z{n % boxes % zones}", "", f"b{n % boxes}"), 0) for n in range(hosts)]


def unevenness(figures: Counter[str]) -> float:
    """Return max / mean."""
    return max(figures.values()) * len(figures) / max(1, sum(figures.values()))


def dealt(hosts: Sequence[tuple[str, Labels, int]], colonies: int, peers: int) -> list[Peers]:
    """Return colonies dealt to hosts in turn, each peer in another zone: like a birth, but quick."""
    zones: dict[str, list[str]] = {}
    for name, labels, _ in hosts:
        zones.setdefault(labels.zone, []).append(name)
    piles = [zones[zone] for zone in sorted(zones)]
    found = []
    for colony in range(colonies):
        turn = [piles[(colony + n) % len(piles)] for n in range(peers)]
        holders = tuple(
            pile[(colony // len(piles) + n * (colony // len(piles) // len(pile) + 1)) % len(pile)]
            for n, pile in enumerate(turn)
        )
        found.append(Peers(colony, holders[:1], holders[1:]))
    return found
