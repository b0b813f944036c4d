"""What must hold when sides go on alone, and become one cluster again.

With `quorum = available` there is one truth per lineage of views:

- of one colony no two primaries serve at a time in views of which one leads
  to the other;
- what clients saw on each side is linearizable, with the merges of other
  sides as writes among theirs;
- what a losing side changed is taken by a merge, or counted as overridden,
  and no host drops its cells before that: nothing is lost without a word.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from copy import copy
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import msgspec

from agents.cells import Cell, after
from agents.colony import Colony
from agents.effects import InstallView, Note
from agents.keys import colony_of
from agents.lineage import Kin, kin
from agents.messages.client import Reply
from agents.messages.merging import MergeAnswer, MergeCells
from agents.messages.replication import REFUSED, TAKE, Entry
from agents.peer import Peer, PeerStatus, follows
from agents.primary import Primary
from agents.reunion import Reunion
from agents.sim_host import Process
from agents.simulator import Simulation
from agents.surroundings import MergeCounted
from agents.views import View, epoch_view
from tests.sim.clients import Client
from tests.sim.history import Operation, Verdict, check_key
from tests.sim.invariants import Mark, Watch, mark

MERGE_LANE = b"\0merge"
ONE_ATTEMPT_S = 0.4  # an operation that took longer may have been applied on two sides
Root = tuple[int, int]  # colony, root of the lineage


class Truth:
    """One colony in one lineage: all that was committed there, and before it."""

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        self.top = 0
        self.own: dict[bytes, int] = {}  # keys changed in this very lineage -> seq
        self.changed_s: dict[bytes, float] = {}
        self.cells: dict[bytes, Cell] = {}
        self.reborn = False

    def commit(self, entry: Entry, now_s: float) -> None:
        """Note an entry that was committed in this lineage."""
        self._put(entry)
        if entry.kind < REFUSED:  # a move is no change
            self.own[entry.key] = entry.seq
            self.changed_s[entry.key] = now_s

    def _put(self, entry: Entry) -> None:
        self.top = entry.seq
        self.entries[entry.seq] = entry
        cell = after(entry, self.cells.get(entry.key))
        if cell is None:
            self.cells.pop(entry.key, None)
        else:
            self.cells[entry.key] = cell

    def upto(self, seq: int) -> Truth:
        """Return what a side that forks off after `seq` begins with."""
        truth = Truth()
        for number in sorted(self.entries):
            if number <= seq:
                truth._put(self.entries[number])
        return truth


def root_of(process: Process) -> int:
    """Return the root of the lineage that a process is in."""
    known = process.container.membership.known
    return known.root if known is not None else 0


class SideWatch(Watch):
    """Watches a cluster whose sides may go on alone."""

    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self.sides: dict[Root, Truth] = {}
        self.parents: dict[int, tuple[int, int, float]] = {}  # root -> (parent's root, base, when)
        self.answers: dict[tuple[str, int], View] = {}
        self.answered: dict[int, View] = {}
        self.merges: list[tuple[int, int, Entry, float]] = []  # (colony, root it came to, entry, when)
        self.began_s: dict[bytes, float] = {}
        self.counted: dict[bytes, tuple[int, int]] = {}
        self.lanes: dict[bytes, tuple[int, int]] = {}
        self.handed: dict[bytes, set[bytes]] = {}  # lane -> keys that were handed on, committed or not
        self.reunions = 0
        self.forced = 0
        self._losses: set[tuple[Root, int]] = set()
        self._before: dict[
            Root, list[tuple[int, Truth | None]]
        ] = {}  # (view of a loss, what it had until then)
        self._guests: dict[int, set[bytes]] = {}  # colony -> cells of others that have ever been there

    def prepare(self, patches: ExitStack) -> None:
        """See who answers whom, and which lane belongs to which side."""
        answer, replied, lane_of = Simulation.answer, Client.replied, Reunion._lane

        def watched_answer(simulation: Simulation, process: Process, caller: Any, reply: Reply) -> None:
            view = process.container.view
            if view is not None:
                self.answers[caller[1].decode(), reply.id] = view
            answer(simulation, process, caller, reply)

        def watched_replied(client: Client, reply: Reply) -> None:
            before = len(client._history)
            replied(client, reply)
            view = self.answers.get((client.name, reply.id))
            if len(client._history) > before and view is not None:
                self.answered[id(client._history[-1])] = view

        def watched_lane(reunion: Reunion, colony: int) -> bytes:
            lane = lane_of(reunion, colony)
            self.lanes[lane] = (colony, reunion._root)
            return lane

        patches.enter_context(patch.object(Simulation, "answer", watched_answer))
        patches.enter_context(patch.object(Client, "replied", watched_replied))
        patches.enter_context(patch.object(Reunion, "_lane", watched_lane))

    # -- views ---------------------------------------------------------------------

    def installed(self, process: Process, effect: InstallView) -> None:
        """One view per id; and none that leads back, or to another side, without a new incarnation."""
        view, before = effect.view, effect.before
        self._one_per_id(view)
        if before is not None and (kin(before, view) not in (Kin.AHEAD, Kin.FORKED) or before == view):
            self.fail(f"{process.home.name} went from view {before.id} to {view.id}, which is another side's")
        if view.forks and view.root not in self.parents:
            parent = view.forks[-2].first if len(view.forks) > 1 else 0
            self.parents[view.root] = (parent, view.forks[-1].base, self.simulation.timeline.now_s)
            self.forced += 1

    def _path(self, root: int) -> list[int]:
        path = [root]
        while path[-1] in self.parents:
            path.append(self.parents[path[-1]][0])
        return path

    def noted(self, process: Process, note: Note) -> None:
        """A colony is lost in one lineage; in another it lives on."""
        if self.on_note is not None:
            self.on_note(note)
        if note.kind == "promote":
            self.promotions += 1
        if note.kind == "undead":
            self._crossed(process, note.details["view"])
        if note.kind != "lost" or note.colony is None:
            return
        view = process.container.view
        assert view is not None, "a colony is named lost in a view"
        key = note.colony, view.root
        self.lost[note.colony] = max(view.id, self.lost.get(note.colony, -1))
        self.lost_guests |= self._guests.get(note.colony, set())
        if not self._was_lost_in(key, view.id):
            self._before.setdefault(key, []).append((view.id, self.sides.get(key)))
            self.merges = [one for one in self.merges if one[:2] != key]  # what they brought is lost, too
            truth = self.sides[key] = Truth()
            truth.reborn = True

    def _was_lost_in(self, key: Root, view: int) -> bool:
        """Return whether this very loss was seen already, from another host."""
        if (key, view) in self._losses:
            return True
        self._losses.add((key, view))
        return False

    # -- primaries -------------------------------------------------------------------

    def _peers(self, colony: int, view: View) -> Iterator[tuple[Process, Colony]]:
        """Yield those that the view lists; but a host that two sides have admitted is only on one."""
        for process, machine in super()._peers(colony, view):
            theirs = process.container.view
            if theirs is None or kin(view, theirs) in (Kin.AHEAD, Kin.BEHIND):
                yield process, machine

    def _check_primary(self, process: Process, machine: Colony) -> None:
        self.checks += 1
        colony, me = machine.colony, process.container.membership.me
        minted = self._minted.setdefault((colony, machine.epoch), (me.id, me.incarnation))
        if minted != (me.id, me.incarnation):
            self.fail(f"epoch {machine.epoch:#x} of colony {colony} is minted twice")
        if not _serves(process, machine):
            return
        view = process.container.view
        assert view is not None and machine.primary is not None, "it serves"
        truth = self.sides.get((colony, view.root))
        if truth is not None and machine.peer.last < truth.top:
            self.fail(f"{process.home.name} serves colony {colony} up to {machine.peer.last} of {truth.top}")
        for home in self.simulation.homes.values():
            other = home.process
            if other is None or other is process:
                continue
            theirs, them = other.container.colonies.get(colony), other.container.view
            if theirs is None or them is None or theirs.status is not PeerStatus.ACTIVE:
                continue
            ours = kin(view, them) in (Kin.AHEAD, Kin.BEHIND)
            if ours and _serves(other, theirs):
                self.fail(f"{process.home.name} and {home.name} both serve colony {colony} on one side")
            member = other.container.membership.me
            if ours and home.id not in machine.primary.ack_set and view.lists(member.id, member.incarnation):
                self.fail(f"I1: {home.name} is ACTIVE, outside the ack set of {process.home.name}")

    # -- mutations -------------------------------------------------------------------

    def _truth(self, colony: int, root: int, prior: int) -> Truth:
        truth = self.sides.get((colony, root))
        if truth is None:
            older = (self._at_fork(colony, child, parent) for child, parent in pairwise(self._path(root)))
            found = next((one for one in older if one is not None), None)  # some side committed nothing
            truth = self.sides[colony, root] = found.upto(prior) if found is not None else Truth()
        return truth

    def _at_fork(self, colony: int, child: int, parent: int) -> Truth | None:
        """Return what a side had when another one forked off: it may have lost that colony since."""
        base, key = self.parents[child][1], (colony, parent)
        return next((t for view, t in self._before.get(key, ()) if view > base), self.sides.get(key))

    def committed(self, primary: Primary, entry: Entry) -> None:
        """A primary has committed an entry, in its lineage."""
        self.commits += 1
        colony, process = primary.peer.colony, self._process(primary.peer)
        if process is None:
            return
        name, view = process.home.name, process.container.view
        assert view is not None, "who commits has a view"
        if not process.container.membership.quorum.held(process.now_s):
            self.fail(f"{name} commits {entry.seq} of colony {colony} without quorum")
        if entry.kind == TAKE:
            self._guests.setdefault(colony, set()).add(entry.key)
        truth = self._truth(colony, view.root, entry.move.prior if entry.move else entry.seq - 1)
        known = truth.entries.get(entry.seq)
        now_s = self.simulation.timeline.now_s
        if known is None:
            if truth.top and not follows(entry, truth.top):
                self.fail(f"{name} commits {entry.seq} of colony {colony} after {truth.top}")
            truth.commit(entry, now_s)
            if entry.lane.startswith(MERGE_LANE):
                self._merged(colony, view.root, entry, now_s)
        elif mark(known) != mark(entry):
            self.fail(f"{name} commits another {entry.seq} of colony {colony}: {known}, {entry}")
        for other, machine in self._peers(colony, view):
            if other.container.view is not None and other.container.view.root == view.root:
                if machine.status is PeerStatus.ACTIVE and machine.peer is not primary.peer:
                    if machine.peer.last < entry.seq:
                        self.fail(f"{entry.seq} of {colony} is committed, ACTIVE {other.home.name} lacks it")

    def _check_cells(self, process: Process, machine: Colony) -> None:
        """A peer that is up to date holds exactly the cells that were committed on its side."""
        truth = self.sides.get((machine.colony, root_of(process)))
        view = process.container.view
        if truth is None or view is None or epoch_view(machine.epoch) < self.lost.get(machine.colony, 0):
            return
        peer, primary = machine.peer, machine.primary
        upto = peer.last if primary is None or peer.committed < primary.inherited else peer.committed
        marks = self._trail(peer).marks
        for seq in range(peer.committed, upto + 1):
            held: Mark | None = marks.get(seq)
            if held is not None and (seq not in truth.entries or held != mark(truth.entries[seq])):
                return  # what another side has last, or one that was held dead had, and nobody committed
        if upto == truth.top and peer.cells.live != truth.cells:
            self.fail(
                f"{process.home.name} holds other cells of colony {machine.colony} than were committed:\n"
                f"  {sorted(peer.cells.live.items())}\n  {sorted(truth.cells.items())}"
            )

    # -- merges ------------------------------------------------------------------------

    def host_acted(self, process: Process, event: Any) -> None:
        """A merge has begun, or is complete."""
        super().host_acted(process, event)
        message = getattr(event, "message", None)
        if type(message) is MergeAnswer and message.ready:
            self.began_s.setdefault(message.lane, self.simulation.timeline.now_s)
        if type(message) is MergeCells:
            self.handed.setdefault(message.lane, set()).update(cell.key for cell in message.cells)
        if type(event) is MergeCounted and process.container.view is not None:
            self._complete(event, process, process.container.view)

    def _merged(self, colony: int, root: int, entry: Entry, now_s: float) -> None:
        self.merges.append((colony, root, entry, now_s))

    def _changed_in(self, colony: int, loser: int, winner: int) -> tuple[set[bytes], Truth | None]:
        """Return the keys that a losing lineage changed since it parted from the winner's."""
        keys: set[bytes] = set()
        path = self._path(winner)
        truth: Truth | None = None
        for root in self._path(loser):
            found = self.sides.get((colony, root))
            truth = truth or found
            if root in path:
                break
            if found is not None:
                keys.update(found.own)
                if found.reborn:
                    break
        return keys, truth

    def _complete(self, event: MergeCounted, process: Process, view: View) -> None:
        """The counts that a merge reports must be those of what it did."""
        colony, loser = self.lanes[event.lane]
        self.reunions += 1
        path = self._path(view.root)  # what was handed on to another winner before this one is not its own
        merged = [e for c, r, e, _ in self.merges if e.lane == event.lane and c == colony and r in path]
        numbers = {entry.number for entry in merged}
        if event.merged != len(numbers):
            self.fail(f"a merge of colony {colony} tells of {event.merged} cells, but took {len(numbers)}")
        keys, theirs = self._changed_in(colony, loser, view.root)
        ours = self.sides.get((colony, view.root))
        peer = process.container.colonies[colony].peer
        taken = {entry.key for entry in merged}
        began_s = self.began_s.get(event.lane, 0.0)
        differing = set()
        for key in keys - taken:
            if theirs is None or self._is_shared(key, theirs, peer, view.root):
                continue
            a, b = theirs.cells.get(key), peer.cells.live.get(key)
            changed_s = ours.changed_s.get(key, 0.0) if ours is not None else 0.0
            if (a and a[2]) != (b and b[2]) and changed_s < began_s:
                differing.add(key)
        # A secondary hands on what it has, and can't know that the last of it was never committed.
        everything = set(self.handed.get(event.lane, ()))
        everything |= {entry.key for entry in theirs.entries.values()} if theirs is not None else set()
        if not len(differing) <= event.overridden <= len(everything):
            self.fail(
                f"a merge of colony {colony} overrode {sorted(differing)} silently:"
                f" it tells of {event.overridden}; {sorted(keys)} changed, {sorted(taken)} taken"
            )
        self.counted[event.lane] = (event.merged, event.overridden)

    def _is_shared(self, key: bytes, truth: Truth, peer: Peer, root: int) -> bool:
        """Return whether the last change of a key in one lineage is one that another one has, too."""
        entries = truth.entries.items()
        seq = max(seq for seq, entry in entries if entry.key == key and entry.kind < REFUSED)
        known = mark(truth.entries[seq])
        if self._trail(peer).marks.get(seq) == known:
            return True
        ours = [self.sides.get((peer.colony, one)) for one in self._path(root)]  # a clone has no trail
        return any(t is not None and seq in t.entries and mark(t.entries[seq]) == known for t in ours)

    def _crossed(self, process: Process, into: int) -> None:
        """A host drops its cells: what only its side knows must be merged by now."""
        reunion, known = process.container.reunion, process.container.lost_and_found.view
        later = self._views.get(into)
        if known is None or later is None or kin(known, later) is Kin.AHEAD:
            return  # it was held dead, and all that it acknowledged is known to those that go on
        for machine in process.container.colonies.values():
            if machine.status is not PeerStatus.ACTIVE:
                continue
            lane = Reunion._lane(reunion, machine.colony)
            if lane not in self.counted:
                self.fail(f"{process.home.name} drops colony {machine.colony} before it is merged")

    # -- what clients saw ----------------------------------------------------------------

    def judge(self, history: list[Operation], colonies: int) -> list[str]:
        """Each side's history is linearizable, merges among it, in colonies that were never lost."""
        complaints = []
        roots = {0, *self.parents}
        touched = {op.key.encode() for op in history}
        unfair = {key for key in touched if colony_of(key, colonies) in self.lost} | self.lost_guests
        for root in sorted(roots):
            keys: dict[str, list[Operation]] = {}
            for op in self._of_side(history, root, colonies):
                if op.key.encode() not in unfair:
                    keys.setdefault(op.key, []).append(op)
            for key, operations in sorted(keys.items()):
                finding = check_key(key, operations, configurations_max=20_000)
                if finding.verdict is Verdict.VIOLATION:
                    complaints.append(f"on side {root:#x}: {finding}")
        return complaints

    def _of_side(self, history: list[Operation], root: int, colonies: int) -> Iterator[Operation]:
        path = self._path(root)
        until: dict[int, tuple[int, float]] = {root: (1 << 62, float("inf"))}
        for child, parent in pairwise(path):
            _, base, when_s = self.parents[child]
            until[parent] = base, min(when_s, until[child][1])
        for op in history:
            view = self.answered.get(id(op))
            own = view is not None and view.root in until and view.id <= until[view.root][0]
            if view is not None and own and op.return_s <= until[view.root][1]:
                yield op
                continue
            again = op.return_s - op.call_s > ONE_ATTEMPT_S
            if op.kind != "get" and (op.outcome == "unknown" or own or again):
                unsure = copy(op)
                unsure.outcome = "unknown"
                yield unsure
        seen = set()  # a side may commit again what it inherited
        for colony, where, entry, at_s in self.merges:
            known = (colony, entry.seq, entry.lane)
            if known in seen or colony in self.lost:
                continue
            if where in until and at_s <= until[where][1]:
                seen.add(known)
                yield _as_operation(colony, entry, at_s)


def _serves(process: Process, machine: Colony) -> bool:
    return machine.is_open and process.container.membership.quorum.held(process.now_s)


def _as_operation(colony: int, entry: Entry, at_s: float) -> Operation:
    """Return a merge's mutation as a client's."""
    key = entry.key.decode()
    if entry.dna is None:
        return Operation(client="merge", key=key, kind="delete", call_s=at_s, return_s=at_s)
    dna = entry.dna.decode() if isinstance(entry.dna, bytes) else ",".join(name for name, _ in entry.dna)
    op = Operation(client="merge", key=key, kind="put", call_s=at_s, return_s=at_s, argument=dna)
    return msgspec.structs.replace(op, version=entry.seq)
