"""What must hold after every event of a simulated run.

The watch sees all hosts at once, which no host can: it keeps the true list of
committed mutations of each colony, and the cells that they make.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import msgspec

from agents.cells import Cell, after
from agents.colony import Colony
from agents.effects import InstallView, Note
from agents.keys import colony_of
from agents.messages.replication import DEATH, DEPARTING, EXPIRED, GONE, HERE, HOUSED, Entry, Placing
from agents.peer import Peer, PeerStatus, Role, follows
from agents.pending import Pending
from agents.primary import Primary
from agents.sim_host import Process
from agents.simulator import Simulation
from agents.views import View, epoch_view
from tests.sim.history import Operation, check, check_at_most_once

SWEEP_S = 0.25
Mark = tuple[int, bytes, bytes, int, int]


class Violation(AssertionError):
    """A promise or an invariant is broken."""


def mark(entry: Entry) -> Mark:
    """Return what makes an entry the same one, delta or whole cell."""
    dies = int(entry.kind in (1, 2))
    return entry.seq, entry.key, entry.lane, entry.number, dies


class _Truth:
    """One colony as it truly is: all that was ever committed."""

    def __init__(self) -> None:
        self.top = 0
        self.marks: dict[int, Mark] = {}
        self.cells: dict[bytes, Cell] = {}
        self.places: dict[bytes, Placing] = {}

    def commit(self, entry: Entry) -> None:
        self.top = entry.seq
        self.marks[entry.seq] = mark(entry)
        if entry.move is not None:
            self.places[entry.key] = entry.move
            if entry.move.state == HERE:
                del self.places[entry.key]
        elif entry.kind in (DEATH, EXPIRED) and entry.key in self.places:
            gone = msgspec.structs.replace(self.places[entry.key], state=GONE)
            self.places[entry.key] = gone
        cell = after(entry, self.cells.get(entry.key))
        if cell is None:
            self.cells.pop(entry.key, None)
        else:
            self.cells[entry.key] = cell


class _Trail:
    """What one peer holds: the entries it applied since its copy began."""

    __slots__ = ("marks",)

    def __init__(self) -> None:
        self.marks: dict[int, Mark] = {}


class Watch:
    """Sees every event, and raises `Violation` as soon as something breaks.

    Attributes:
        committed_s: Per host, when it last committed anything.
        first_installed_s: Per view, when the first host installed it.
        elections: When which host began a ballot.
        said: How often which host made which kind of note.
    """

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.truths: dict[int, _Truth] = {}
        self.lost: dict[int, int] = {}
        self.lost_guests: set[bytes] = set()  # keys of cells that were elsewhere in a colony that was lost
        self.checks = 0
        self.commits = 0
        self.promotions = 0
        self.on_note: Callable[[Note], None] | None = None
        self.committed_s: dict[str, float] = {}
        self.first_installed_s: dict[int, float] = {}
        self.elections: list[tuple[float, str]] = []
        self.said: Counter[tuple[str, str]] = Counter()
        self._views: dict[int, View] = {}
        self._known: dict[int, View] = {}
        self._minted: dict[tuple[int, int], tuple[str, int]] = {}
        self._trails: dict[int, _Trail] = {}
        self._owners: dict[int, Process] = {}
        self._kept: list[Any] = []
        simulation.observer = self
        simulation.timeline.after(SWEEP_S, self._sweep)

    def prepare(self, patches: ExitStack) -> None:
        """See more than peers and primaries tell by themselves."""

    def judge(self, history: list[Operation], colonies: int) -> list[str]:
        """Judge what clients saw, except in colonies that were named lost."""
        keys = {op.key.encode() for op in history}
        unfair = {key for key in keys if colony_of(key, colonies) in self.lost} | self.lost_guests
        fair = [op for op in history if op.key.encode() not in unfair]
        return [str(finding) for finding in check(fair)] + check_at_most_once(fair)

    def fail(self, text: str) -> None:
        """Raise a violation with the time of it."""
        raise Violation(f"at {self.simulation.timeline.now_s:.4f}: {text}")

    # -- the simulation tells ----------------------------------------------------

    def host_acted(self, process: Process, event: Any) -> None:
        """A host may also learn of a view without being in it."""
        view = process.container.membership.known
        if view is not None and self._known.get(process.pid) is not view:
            self._known[process.pid] = view
            self._one_per_id(view)

    def colony_acted(self, process: Process, colony: int, event: Any) -> None:
        """Check what the event may have broken in this colony."""
        machine = process.container.colonies[colony]
        if machine.primary is not None:
            self._check_primary(process, machine)

    def installed(self, process: Process, effect: InstallView) -> None:
        """One view per id, and only later ones after it."""
        view = effect.view
        self._one_per_id(view)
        self.first_installed_s.setdefault(view.id, self.simulation.timeline.now_s)
        if effect.before is not None and effect.before.id >= view.id:
            self.fail(f"{process.home.name} went back from view {effect.before.id} to {view.id}")

    def _one_per_id(self, view: View) -> None:
        known = self._views.setdefault(view.id, view)
        if known != view:
            self.fail(f"two views have the id {view.id}:\n  {known}\n  {view}")

    def noted(self, process: Process, note: Note) -> None:
        """A colony is named lost only if nobody in the view holds it."""
        if self.on_note is not None:
            self.on_note(note)
        self.said[process.home.name, note.kind] += 1
        if note.kind == "halt":
            self.said[process.home.name, f"halt {note.details['status']}"] += 1
        if note.kind == "promote":
            self.promotions += 1
        elif note.kind == "election":
            self.elections.append((self.simulation.timeline.now_s, process.home.name))
        if note.kind != "lost" or note.colony is None:
            return
        view = process.container.view
        assert view is not None, "a colony is named lost in a view"
        if self.lost.get(note.colony, -1) >= view.id:
            return
        for other, machine in self._peers(note.colony, view):
            # What a snapshot alone brought is no peer before a census has had its say.
            is_held = machine.status is PeerStatus.ACTIVE and not machine.restored
            if is_held and other.container.view == view:
                self.fail(f"colony {note.colony} is named lost, but {other.home.name} holds it")
        self.lost[note.colony] = view.id
        self.lost_guests.update(self.truths.get(note.colony, _Truth()).places)
        self.truths[note.colony] = _Truth()

    # -- one primary ---------------------------------------------------------------

    def _peers(self, colony: int, view: View) -> Iterator[tuple[Process, Colony]]:
        """Yield the machines of a colony on processes that the view lists."""
        for home in self.simulation.homes.values():
            process = home.process
            if process is not None:
                machine = process.container.colonies.get(colony)
                if machine is not None:
                    me = process.container.membership.me
                    if view.lists(me.id, me.incarnation):
                        yield process, machine

    def _check_primary(self, process: Process, machine: Colony) -> None:
        self.checks += 1
        colony = machine.colony
        me = process.container.membership.me
        minted = self._minted.setdefault((colony, machine.epoch), (me.id, me.incarnation))
        if minted != (me.id, me.incarnation):
            self.fail(f"epoch {machine.epoch:#x} of colony {colony} is minted twice")
        if not machine.is_open or not process.container.membership.quorum.held(process.now_s):
            return
        truth = self.truths.get(colony)
        if truth is not None and machine.peer.last < truth.top:
            self.fail(
                f"{process.home.name} serves colony {colony} up to {machine.peer.last},"
                f" but {truth.top} is committed"
            )
        view = process.container.view
        assert view is not None and machine.primary is not None, "it serves"
        if machine.peer.committed < machine.primary.inherited:
            self.fail(f"{process.home.name} serves colony {colony} before what it inherited is committed")
        for home in self.simulation.homes.values():
            other = home.process
            if other is None or other is process:
                continue
            theirs = other.container.colonies.get(colony)
            if theirs is None or theirs.status is not PeerStatus.ACTIVE or theirs.restored:
                continue  # what a snapshot brought is an offer, until its host knows what all have decided
            if theirs.is_open and other.container.membership.quorum.held(other.now_s):
                self.fail(f"{process.home.name} and {home.name} both serve colony {colony}")
            if home.id not in machine.primary.ack_set:
                them = other.container.membership.me
                if view.lists(them.id, them.incarnation):
                    self.fail(f"I1: {home.name} is ACTIVE, outside the ack set of {process.home.name}")

    # -- one mutation ----------------------------------------------------------------

    def _process(self, peer: Peer) -> Process | None:
        process = self._owners.get(id(peer.host))
        if process is None:
            for process in self.simulation.processes():
                self._owners[id(process.container)] = process
                self._kept.append(process.container)
            process = self._owners.get(id(peer.host))
        return process

    def _trail(self, peer: Peer) -> _Trail:
        trail = self._trails.get(id(peer))
        if trail is None:
            trail = self._trails[id(peer)] = _Trail()
            self._kept.append(peer)  # so that its id is not used again
        return trail

    def applied(self, peer: Peer, entry: Entry) -> None:
        """A peer has applied (or a primary has sequenced) an entry."""
        self._trail(peer).marks[entry.seq] = mark(entry)

    def wiped(self, peer: Peer) -> None:
        """A peer has freed everything."""
        self._trails.pop(id(peer), None)

    def committed(self, primary: Primary, entry: Entry) -> None:
        """A primary has committed an entry."""
        self.commits += 1
        peer, colony = primary.peer, primary.peer.colony
        process = self._process(peer)
        if process is None:
            return
        name = process.home.name
        self.committed_s[name] = self.simulation.timeline.now_s
        if not process.container.membership.quorum.held(process.now_s):
            self.fail(f"{name} commits {entry.seq} of colony {colony} without quorum")
        truth = self.truths.setdefault(colony, _Truth())
        known = truth.marks.get(entry.seq)
        if known is None:
            if not follows(entry, truth.top):
                self.fail(f"{name} commits {entry.seq} of colony {colony} after {truth.top}")
            truth.commit(entry)
            self._lives_once(entry.key)
        elif known != mark(entry):
            self.fail(f"{name} commits another {entry.seq} of colony {colony}: {known}, {mark(entry)}")
        view = process.container.view
        assert view is not None, "who commits has a view"
        for other, machine in self._peers(colony, view):
            if machine.status is PeerStatus.ACTIVE and machine.peer is not peer:
                self._has(other, machine, entry)

    def _lives_once(self, key: bytes) -> None:
        """A cell is in one colony's committed state: never in two, nor in none if it was to be elsewhere."""
        home = colony_of(key, self.simulation.settings.charter.colonies)
        at_home = self.truths[home].places.get(key) if home in self.truths else None
        served = []
        if home in self.truths and key in self.truths[home].cells:
            served.append(home)
        for colony, truth in self.truths.items():
            place = truth.places.get(key)
            if colony != home and place is not None and place.state == HOUSED and key in truth.cells:
                served.append(colony)
            if colony != home and place is None and key in truth.cells:
                self.fail(f"{key!r} lives in colony {colony}, not at home, and nobody knows why")
        if len(served) > 1 and not self.lost.keys() & {home, *served}:
            self.fail(f"{key!r} lives in several colonies: {served}")
        if at_home is None or at_home.state == DEPARTING or at_home.colony in self.lost:
            return
        there = self.truths.setdefault(at_home.colony, _Truth())
        place = there.places.get(key)
        if place is None or (place.epoch, place.seq) != (at_home.epoch, at_home.seq):
            self.fail(f"{key!r} is away from home, and not in colony {at_home.colony}")
        elif key not in there.cells and place.state != GONE:
            self.fail(f"{key!r} is away from home, and no cell of colony {at_home.colony}")

    def _has(self, process: Process, machine: Colony, entry: Entry) -> None:
        name, peer = process.home.name, machine.peer
        if peer.last < entry.seq:
            self.fail(f"{entry.seq} of colony {peer.colony} is committed, ACTIVE {name} has {peer.last}")
        held = self._trail(peer).marks.get(entry.seq)
        if held is not None and held != mark(entry):
            self.fail(f"{name} holds another {entry.seq} of colony {peer.colony}: {held}, {mark(entry)}")
        self._check_cells(process, machine)

    # -- everything ----------------------------------------------------------------------

    def _sweep(self) -> None:
        self.sweep()
        self.simulation.timeline.after(SWEEP_S, self._sweep)

    def sweep(self) -> None:
        """Check all peers of all colonies."""
        for process in self.simulation.processes():
            for machine in process.container.colonies.values():
                if machine.primary is not None:
                    self._check_primary(process, machine)
                    self._check_peer_list(process, machine)
                if machine.status is PeerStatus.ACTIVE:
                    self._check_cells(process, machine)

    def _check_cells(self, process: Process, machine: Colony) -> None:
        """A peer that is up to date holds exactly the cells that were committed."""
        truth = self.truths.get(machine.colony)
        if truth is None or epoch_view(machine.epoch) < self.lost.get(machine.colony, 0):
            return  # or a copy on a side that was held dead when the colony was named lost
        peer, primary = machine.peer, machine.primary
        upto = peer.last if primary is None or peer.committed < primary.inherited else peer.committed
        held = self._trail(peer).marks.get(upto)
        if held is not None and held != truth.marks.get(upto):
            return  # what a side that was held dead had last, and nobody committed
        if upto == truth.top and peer.cells.live != truth.cells:
            self.fail(
                f"{process.home.name} holds other cells of colony {machine.colony} than were committed:\n"
                f"  {sorted(peer.cells.live.items())}\n  {sorted(truth.cells.items())}"
            )

    def _check_peer_list(self, process: Process, machine: Colony) -> None:
        view = process.container.view
        if view is None or not machine.is_open or not process.container.membership.quorum.held(process.now_s):
            return
        told = machine.peers
        for other, theirs in self._peers(machine.colony, view):
            if theirs.status is PeerStatus.LEARNING and other.home.id in told:
                self.fail(f"{process.home.name} counts LEARNING {other.home.name} as a peer")

    # -- the end of a run --------------------------------------------------------------------

    def complaints(self, names: str, peers: int, *, busy: bool = False) -> list[str]:
        """Return what is not yet as it should be once all faults are over; [] = settled.

        Args:
            busy: Clients still write, and copies still move to better places.
        """
        simulation = self.simulation
        found = []
        views = set()
        for name in names:
            process = simulation.homes[name].process
            if process is None:
                found.append(f"{name} does not run")
                continue
            view = process.container.view
            views.add(view.id if view is not None else 0)
            if view is None or not process.container.membership.quorum.held(process.now_s):
                stage = process.container.membership.stage.value
                found.append(f"{name} has no quorum ({stage}, view {view and view.id})")
            elif view.member(process.home.id) is None:
                found.append(f"{name} is no member")
        if len(views) > 1:
            found.append(f"views differ: {sorted(views)}")
        return found or self.population(None, peers, busy=busy)

    def population(
        self, names: str | None, peers: int, *, strict: bool = True, busy: bool = False
    ) -> list[str]:
        """Return what is wrong with the peers on some hosts (None = all of them).

        Args:
            strict: Each colony has as many peers as it should, and nothing is under way.
            busy: Mutations and moves may be under way nevertheless.
        """
        simulation = self.simulation
        found = []
        for colony in range(simulation.settings.charter.colonies):
            machines = [
                machine
                for process in simulation.processes()
                if (names is None or process.home.name in names)
                and (machine := process.container.colonies.get(colony)) is not None
            ]
            active = [m for m in machines if m.status is PeerStatus.ACTIVE]
            leaders = [m for m in active if m.role is Role.PRIMARY]
            if len(leaders) != 1 or not leaders[0].is_open:
                found.append(f"colony {colony} has {len(leaders)} primaries")
            elif not strict:
                continue
            elif busy and len(active) > peers and len(leaders[0].peers) > peers:
                continue  # on its way to a better place
            elif len(active) != peers or len(leaders[0].peers) != peers:
                found.append(f"colony {colony} has {len(active)} peers, should have {peers}")
            elif not busy and leaders[0].primary is not None and leaders[0].primary.pending:
                found.append(f"colony {colony} has mutations that are never committed")
            elif not busy and any(m.status is PeerStatus.LEARNING for m in machines):
                found.append(f"colony {colony} has a learner left")
        return found


@contextmanager
def watching(simulation: Simulation, kind: type[Watch] | None = None) -> Iterator[Watch]:
    """Watch a simulation: peers and primaries tell what they apply and commit."""
    watch = (kind or Watch)(simulation)
    apply, wipe = Peer.apply, Peer.wipe
    sequence, commit = Primary.sequence, Primary._committed

    def watched_apply(peer: Peer, entry: Entry, now_s: float) -> None:
        apply(peer, entry, now_s)
        watch.applied(peer, entry)

    def watched_wipe(peer: Peer, status: PeerStatus) -> None:
        wipe(peer, status)
        watch.wiped(peer)

    def watched_sequence(primary: Primary, entry: Entry, *args: Any, **kwargs: Any) -> None:
        watch.applied(primary.peer, entry)
        sequence(primary, entry, *args, **kwargs)

    def watched_commit(primary: Primary, done: Pending, *args: Any) -> None:
        watch.committed(primary, done.entry)
        commit(primary, done, *args)

    with ExitStack() as patches:
        patches.enter_context(patch.object(Peer, "apply", watched_apply))
        patches.enter_context(patch.object(Peer, "wipe", watched_wipe))
        patches.enter_context(patch.object(Primary, "sequence", watched_sequence))
        patches.enter_context(patch.object(Primary, "_committed", watched_commit))
        watch.prepare(patches)
        yield watch
