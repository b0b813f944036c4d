"""The governor: when this host's primaries take their next step.

It decides nothing about where: each primary does, by `population`. It keeps
the order (most endangered first), the pace (bounded moves under way, rests
after a move), and, on a joiner, asks the primaries for a fair share.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from heapq import nsmallest
from typing import Any, Protocol

from agents.causes import Cause
from agents.colony import Colony
from agents.effects import Effect, Note, Send, TellColony
from agents.household import Household
from agents.ledger import HOST, Ledger
from agents.messages.membership import Load
from agents.messages.replication import Invite, InviteAnswer, Located
from agents.population import (
    Facts,
    Lack,
    Order,
    better_step,
    endangered,
    urgent_step,
)
from agents.restoring import Restoring
from agents.surroundings import CloneOrdered, HandOverOrdered, MoveRefused
from agents.views import Status, View
from placement.moves import claims, rebalance
from placement.nearly import nearly
from placement.reasons import Move
from placement.resources import Candidate
from placement.settle import Settled, carriers, fair_share, settled_number

Out = list[Effect]

STEP_S = 0.05  # how often the colonies that need something are looked at
CALM_STEP_S = 0.25  # the same, when all were found well placed twice
URGENT_MAX = 64  # colonies looked at closely per step; one costs some 20 µs
SWEEP_S = 1.0  # how often others are, too: what no event told is found by and by
SWEEP_MAX = 64  # so many of them; one costs some 20 µs
REST_S = 5.0  # between two moves of one colony for balance's sake
REST_APART_S = 0.3  # between two that put its copies apart
CALM_S = 1.0  # no improvements so soon after a change of view
IMPROVE_BUSY, IMPROVE_IDLE = 16, 2  # colonies looked at per step
REFUSED_S = 1.0  # before a refused target is asked again
CLONE_BYTES_MAX = 8 * 1024 * 1024  # under way per host, or one larger clone: writers wait behind them
INVITES_MAX = 8
CLAIM_S, CLAIMS_MAX = 0.25, 64  # looking for claims costs 50 µs a colony
INVITE_S = 1.0  # an invitation that is not answered by then is forgotten
DECLINED_S = 0.25  # one that was declined: its primary was busy with another, or knew later figures
STALLED_S = 1.0  # a joiner whom nobody gives more has its share
NEAR_S = 0.25  # between two looks at what holds a colony where it is: as dear as a look at what moves it


class Host(Household, Protocol):
    """What the governor asks of its host."""

    restoring: Restoring


class Governor:
    """Pace and order of population for the primaries of one host."""

    def __init__(self, container: Host) -> None:
        self.host = container
        self.settled = Settled(0)
        self.moves: dict[int, Move] = {}
        self._dirty: set[int] = set()
        self._step_s = self._sweep_s = self._view_s = float("-inf")
        self._rested_s: dict[int, float] = {}
        self._refused_s: dict[tuple[int, str], float] = {}
        self._lacks: dict[int, str] = {}
        self.missing = 0  # colonies led here that lack a peer that they can have
        self._mine: list[int] = []  # colonies led here, as of the last sweep
        self._swept = 0
        self._cursor = 0
        self._idle_round = 0
        self._turn = 0
        self._invites: dict[int, tuple[str, float]] = {}  # colony -> (kind, "" = declined; when)
        self._claims: deque[Move] = deque()
        self._claimed_s = float("-inf")
        self._grown = (-1, 0.0)
        self._leaving = 0  # the view that marked a member LEAVING last
        self._leavers: frozenset[str] = frozenset()
        self.ledger = Ledger()
        self._near_s = float("-inf")

    # -- what is told -------------------------------------------------------------

    def view_installed(self, view: View) -> None:
        """Look at everything again: hosts came, went, or changed their status."""
        leavers = frozenset(member.id for member in view.members if member.status is Status.LEAVING)
        if leavers - self._leavers:
            self._leaving = view.id
        self._leavers = leavers
        self._view_s = float("nan")  # known at the next tick
        self._sweep_s = float("-inf")
        self._dirty.update(self._mine)
        self._idle_round = 0
        self._invites.clear()
        self._refused_s.clear()

    def location_changed(self, located: Located) -> None:
        """A colony has changed its peers; is there more to do?"""
        if located.primary == self.host.me:
            self._dirty.add(located.colony)
            self._step_s = float("-inf")  # what comes next need not wait
        self._idle_round = 0

    def move_refused(self, event: MoveRefused, now_s: float) -> None:
        """A target did not take a clone: not that one again so soon."""
        self._refused_s[(event.colony, event.target)] = now_s + event.rest_s
        self.moves.pop(event.colony, None)
        self._dirty.add(event.colony)

    # -- what others see -------------------------------------------------------------

    def candidates(self) -> list[Candidate]:
        """Return all members as placement sees them, most senior first."""
        host, view = self.host, self.host.view
        if view is None:
            return []
        loads = host.membership.loads
        flaps = dict(view.flaps)
        return [self._candidate(m, loads.get(m.id) or Load(), flaps) for m in view.members]

    def _candidate(self, member: Any, load: Load, flaps: dict[str, int]) -> Candidate:
        directory = self.host.directory
        full = bool(member.bytes_max) and load.bytes_used >= member.bytes_max
        leaving = member.status is Status.LEAVING
        return Candidate(
            id=member.id,
            name=member.name,
            labels=member.labels,
            memory_free=load.memory_free if load.memory_total else None,
            bytes_max=member.bytes_max,
            bytes_used=directory.bytes_used[member.id],
            cpu=load.cpu,
            copies=directory.copies[member.id],
            primaries=directory.primaries[member.id],
            accepts=not (leaving or member.witness or full),
            joining=member.status is Status.JOINING,
            leaving=leaving,
            witness=member.witness,
            flaps=max(0, flaps.get(member.id, 0) - 1),  # the first return is free: perhaps a restart
        )

    def facts(self, machine: Colony) -> Facts | None:
        """Return what the primary here knows; None = it may not move now."""
        primary = machine.primary
        if primary is None or not machine.is_open:
            return None
        moves = primary.transfers
        return Facts(
            machine.colony,
            self.host.me,
            machine.peers,
            (*moves.clones, *moves.activating),
            tuple(moves.retiring),
            machine.peer.cells.bytes_used,
            self.moves.get(machine.colony),
            moves.fell,
            Cause("view", view=self._leaving) if self._leaving else None,
        )

    @property
    def needy(self) -> list[int]:
        """Colonies led here that may need something, in order of number."""
        return sorted(self._dirty | self._lacks.keys())

    def has_room(self, bytes_used: int) -> bool:
        """Return whether one more clone of this size may leave now."""
        room, bytes_room = self._room()
        return room > 0 and (bytes_room >= bytes_used or room == self.host.limits.clones_max)

    # -- the pace -----------------------------------------------------------------------

    def tick(self, now_s: float, out: Out) -> None:
        """Take the steps that are due."""
        joins = self._is_joining
        calm = not self._dirty and not joins and self._idle_round > 1
        if now_s - self._step_s < (CALM_STEP_S if calm else STEP_S):
            return
        self._step_s = now_s
        if self._view_s != self._view_s:  # a view was installed
            self._view_s = now_s
        machines = self.host.colonies
        if now_s - self._sweep_s >= SWEEP_S:
            self._sweep_s = now_s
            self._mine = sorted(c for c, machine in machines.items() if machine.primary is not None)
            self._swept = 0 if self._swept >= len(self._mine) else self._swept
            self._dirty.update(self._mine[self._swept : self._swept + SWEEP_MAX])
            self._swept += SWEEP_MAX
            self._resettle(now_s, out)
        candidates = self.candidates()
        self._urgent(candidates, now_s, out)
        view = self.host.view
        is_frozen = view is not None and view.is_frozen
        if now_s - self._view_s >= CALM_S and not is_frozen:
            self._improve(candidates, now_s, out)
        if joins and not is_frozen:
            self._ask_for_share(now_s, out)

    def _resettle(self, now_s: float, out: Out) -> None:
        view = self.host.view
        if view is None:
            return
        wanted, colonies = view.charter.peers, view.charter.colonies
        now = self.settled.number or None
        candidates = self.candidates()
        settled = settled_number(wanted, candidates, colonies=colonies, now=now)
        if settled != self.settled:
            given = (wanted, candidates)
            self.ledger.note(now_s, view.id, HOST, settled_number, given, settled, colonies=colonies, now=now)
            reason = str(settled.shortfall) if settled.shortfall else "as many peers as wanted"
            details = {"settled": settled.number, "wanted": wanted}
            out.append(Note("settle", reason, details=details, cause=Cause("view", view=view.id)))
            self.settled = settled

    def _urgent(self, candidates: list[Candidate], now_s: float, out: Out) -> None:
        """Population first: the colonies with the fewest peers before the others."""
        room, bytes_room = self._room() if self._dirty else (0, 0)
        for _, colony, facts in self._most_endangered(candidates, has_room=room > 0):
            given = (facts, self._asked(colony, candidates, now_s), self.settled.number)
            order = urgent_step(*given)
            if isinstance(order, Lack):
                if self._lacks.get(colony) != order.because:
                    self._decided(now_s, colony, urgent_step, given, order)
                self._lacking(colony, order.because, facts.fell, out)
            elif order is None:
                if not facts.coming and not facts.going:
                    self._dirty.discard(colony)
                    self.moves.pop(colony, None)
                    self._lacks.pop(colony, None)
            elif isinstance(order, HandOverOrdered) and (colony, order.target) in self._refused_s:
                continue  # it serves meanwhile: a hand-over that stalls stops reads, too
            elif not isinstance(order, CloneOrdered):
                self._decided(now_s, colony, urgent_step, given, order)
                self._give(colony, order, candidates, out)
            elif room > 0 and (bytes_room >= facts.bytes_used or room == self.host.limits.clones_max):
                room -= 1
                bytes_room -= facts.bytes_used
                self._decided(now_s, colony, urgent_step, given, order)
                self._give(colony, order, candidates, out)

    def _decided(
        self,
        now_s: float,
        colony: int,
        rule: Callable[..., Any],
        given: tuple[Any, ...],
        outcome: Any,
        **named: Any,
    ) -> None:
        """Keep what was decided, by which rule, from what."""
        view = self.host.view
        self.ledger.note(now_s, view.id if view is not None else 0, colony, rule, given, outcome, **named)

    def _most_endangered(
        self, candidates: list[Candidate], *, has_room: bool
    ) -> list[tuple[int, int, Facts]]:
        """Return a bounded number of the colonies that need something, fewest peers first.

        Thousands may: a step must not hold the loop up. Those that need a
        clone wait, unseen, while there is no room for one.
        """
        counted: list[tuple[int, int]] = []
        settled, missing = self.settled.number, 0
        for colony in list(self._dirty):
            machine = self.host.colonies.get(colony)
            primary = machine.primary if machine is not None else None
            if primary is None:
                self._dirty.discard(colony)
                self.moves.pop(colony, None)  # another's to finish; else it counts here for ever
                continue
            have = 1 + len(primary.ack_set) - len(primary.transfers.activating)
            missing += have < settled
            if have >= settled or (has_room and not primary.transfers.clones):
                counted.append((have, colony))
        self.missing = missing
        due: list[tuple[int, int, Facts]] = []
        for _, colony in nsmallest(URGENT_MAX, counted):
            facts = self.facts(self.host.colonies[colony])
            if facts is not None:
                due.append((-endangered(facts, candidates, self.settled.number), colony, facts))
        return sorted(due, key=lambda item: item[:2])

    def _lacking(self, colony: int, because: str, cause: Cause | None, out: Out) -> None:
        """Say once what a colony lacks, and look again with the next sweep."""
        self._dirty.discard(colony)
        if self._lacks.get(colony) != because:
            self._lacks[colony] = because
            out.append(Note("shortfall", because, colony, cause=cause))

    def _room(self) -> tuple[int, int]:
        """Return how many more clones, and bytes of clones, may be under way."""
        clones, weight = self.host.limits.clones_max, CLONE_BYTES_MAX
        for colony in self._mine:
            machine = self.host.colonies.get(colony)
            if machine is not None and machine.primary is not None and machine.primary.transfers.clones:
                for clone in machine.primary.transfers.clones.values():
                    clones -= 1
                    weight -= clone.bytes_whole
        return clones, weight

    def _asked(self, colony: int, candidates: list[Candidate], now_s: float) -> list[Candidate]:
        """Return the candidates without those that refused this colony just now."""
        for key in [k for k, at_s in self._refused_s.items() if now_s - at_s > REFUSED_S]:
            del self._refused_s[key]
        if not self._refused_s:
            return candidates
        return [
            replace(host, accepts=False, because="refused just now")
            if (colony, host.id) in self._refused_s
            else host
            for host in candidates
        ]

    def _give(self, colony: int, order: Order, candidates: list[Candidate], out: Out) -> None:
        """Hand an order to the colony; what it will weigh counts from now on."""
        out.append(TellColony(colony, order))
        for place, host in enumerate(candidates):
            if isinstance(order, CloneOrdered) and host.id == order.target:
                candidates[place] = replace(host, copies=host.copies + 1)
            elif isinstance(order, HandOverOrdered):
                gain = (host.id == order.target) - (host.id == self.host.me)
                candidates[place] = replace(host, primaries=max(0, host.primaries + gain))

    def _improve(self, candidates: list[Candidate], now_s: float, out: Out) -> None:
        """Let some healthy colonies see whether they could stand better."""
        mine = self._mine
        if not mine or len(self.moves) >= self.host.limits.moves_max:
            return
        self._turn += 1
        some = IMPROVE_BUSY if self._idle_round <= 1 else IMPROVE_IDLE
        for _ in range(min(some, len(mine))):
            self._cursor += 1
            if self._cursor % len(mine) == 0:
                self._idle_round += 1
            colony = mine[self._cursor % len(mine)]
            since_s = now_s - self._rested_s.get(colony, float("-inf"))
            if colony in self._dirty or since_s < REST_APART_S:
                continue
            machine = self.host.colonies.get(colony)
            facts = self.facts(machine) if machine is not None else None
            if facts is None or facts.coming or facts.going or len(self.moves) >= self.host.limits.moves_max:
                continue
            hosts = self._asked(colony, candidates, now_s)
            named: dict[str, Any] = {"apart_only": since_s < REST_S, "turn": self._turn}
            found = better_step(facts, hosts, **named)
            if found is not None:
                self._decided(now_s, colony, better_step, (facts, hosts), found, **named)
                self._begin(colony, found, candidates, now_s, out)
            elif not named["apart_only"] and now_s - self._near_s >= NEAR_S:
                self._near_s = now_s
                self._stays(facts, hosts, now_s, **named)

    def _stays(self, facts: Facts, hosts: list[Candidate], now_s: float, **named: Any) -> None:
        """Keep why a colony stays where it is, if something draws it elsewhere."""
        near = nearly(facts.colony, facts.active, hosts, primary=facts.primary, bytes_wanted=facts.bytes_used)
        if near is not None:
            self._decided(now_s, facts.colony, better_step, (facts, hosts), None, near=near, **named)

    def _begin(
        self,
        colony: int,
        found: tuple[Order, Move],
        candidates: list[Candidate],
        now_s: float,
        out: Out,
    ) -> None:
        order, move = found
        details = {"what": move.kind, "from": move.source, "to": move.target}
        out.append(Note(move.rule, move.because, colony, move.target, details, self._joined(move.target)))
        self._rested_s[colony] = now_s
        self._idle_round = 0
        self._dirty.add(colony)
        if isinstance(order, CloneOrdered):
            self.moves[colony] = move
        self._give(colony, order, candidates, out)

    def _joined(self, host: str) -> Cause | None:
        """Return the event by which a joiner entered, for what moves to it; None = it is none."""
        view = self.host.view
        member = view.member(host) if view is not None else None
        if member is None or member.status is not Status.JOINING:
            return None
        return Cause("view", view=member.entered)

    # -- a joiner's share -----------------------------------------------------------------

    @property
    def _is_joining(self) -> bool:
        view = self.host.view
        me = view.member(self.host.me) if view is not None else None
        return me is not None and me.status is Status.JOINING

    def has_share(self, now_s: float) -> bool:
        """Return whether this joiner carries its share, or is offered no more."""
        view, directory = self.host.view, self.host.directory
        waiting = self.host.restoring.waiting
        if view is None or any(e is None and c not in waiting for c, e in enumerate(directory.entries)):
            return False
        me = view.member(self.host.me)
        if me is None or me.witness or view.is_frozen:
            return me is not None
        have = directory.copies[me.id] + directory.primaries[me.id]
        if self._grown[0] != have:
            self._grown = (have, now_s)
        if self._claimed_s < self._view_s or self._view_s != self._view_s:
            return False  # it has not looked around in this view yet
        if any(me.id in entry.learners for entry in directory.entries if entry is not None):
            return False  # what still comes may yet fail
        return not (self._claims or self._invites) or now_s - self._grown[1] > STALLED_S

    def _claim(self, now_s: float) -> None:
        """Find out, now and then, what this host may ask others for."""
        if now_s - self._claimed_s < CLAIM_S:
            return
        self._claimed_s = now_s
        host = self.host
        sizes = {e.colony: e.bytes_used for e in host.directory.entries if e is not None}
        free = [p for p in host.places() if p.colony not in self._invites and not self._comes(p.colony)]
        due = self._due()
        found = claims(host.me, free, self.candidates(), bytes_by_colony=sizes, limit=CLAIMS_MAX)
        self._claims = deque(move for move in found if due[move.kind] > 0)

    def _comes(self, colony: int) -> bool:
        entry = self.host.directory.entries[colony]
        return entry is not None and self.host.me in entry.learners

    def _due(self) -> dict[str, int]:
        """Return how many copies and roles this host may still ask for.

        Many givers agree at once, each without knowing of the others: what
        was asked for counts as had, or too much comes, and most of it goes back.
        """
        host, directory = self.host, self.host.directory
        hosts = len(carriers(self.candidates()))
        share = fair_share(max(1, hosts), len(directory.entries), self.settled.number)
        asked = [kind for kind, _ in self._invites.values()]
        return {
            "copy": share.copies - directory.copies[host.me] - asked.count("copy"),
            "role": share.primaries - directory.primaries[host.me] - asked.count("role"),
        }

    def _is_here(self, colony: int, kind: str) -> bool:
        """Return whether the directory counts already what was asked for."""
        entry, me = self.host.directory.entries[colony], self.host.me
        if entry is None or not kind:
            return False
        return entry.primary == me if kind == "role" else me in entry.peers or me in entry.learners

    def _ask_for_share(self, now_s: float, out: Out) -> None:
        """Ask the primaries of crowded hosts to move something here."""
        for colony, (kind, at_s) in list(self._invites.items()):
            if now_s - at_s > (INVITE_S if kind else DECLINED_S) or self._is_here(colony, kind):
                del self._invites[colony]
        self._claim(now_s)
        due = self._due()
        while self._claims and len(self._invites) < INVITES_MAX:
            move = self._claims.popleft()
            primary = self.host.directory.primary(move.colony)
            if primary and primary != self.host.me and due[move.kind] > 0:
                due[move.kind] -= 1
                self._invites[move.colony] = (move.kind, now_s)
                out.append(Send(primary, Invite(move.colony, move.kind)))

    def invited(self, sender: str, message: Invite, now_s: float, out: Out) -> None:
        """A joiner asks for a copy or a role: move it, if that evens things out."""
        machine = self.host.colonies.get(message.colony)
        facts = self.facts(machine) if machine is not None else None
        reason = "not its primary, or busy"
        if self.host.view is not None and self.host.view.is_frozen:
            reason = "moves are frozen"
        elif facts is not None and not facts.coming and not facts.going and message.colony not in self._dirty:
            candidates = self.candidates()
            given = (facts.colony, facts.active, candidates)
            named: dict[str, Any] = {"primary": facts.primary, "bytes_wanted": facts.bytes_used, "to": sender}
            move = rebalance(*given, **named)
            reason = "it would not even anything out"
            if move is not None:
                self._decided(now_s, facts.colony, rebalance, given, move, **named)
                cause = Cause(move.rule, move.colony, move.target)
                order: Order = CloneOrdered(move.target, move.because, cause, move.source)
                if move.kind == "role":
                    order = HandOverOrdered(move.target, move.because, cause)
                self._begin(message.colony, (order, move), candidates, now_s, out)
                reason = ""
        out.append(Send(sender, InviteAnswer(message.colony, not reason, reason)))

    def invite_answered(self, message: InviteAnswer, now_s: float) -> None:
        """A primary agreed, and the clone comes; or it did not: another is asked."""
        asked = self._invites.get(message.colony)
        if asked is not None and not message.agreed:
            self._invites[message.colony] = ("", asked[1])  # not this one again so soon
