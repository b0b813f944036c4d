"""The governor: when this host's primaries take their next step.

It decides nothing about where: each primary does, by `population`. It keeps
the order (most endangered first) and the pace (bounded moves under way, rests
after a move), and answers joiners that ask for a share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from heapq import nsmallest
from typing import Any, Protocol

from agents.admission import SHED
from agents.causes import Cause
from agents.census import Heir
from agents.colony import Colony
from agents.course import Course
from agents.effects import Effect, Note, Send, TellColony
from agents.household import Household
from agents.ledger import HOST, Ledger
from agents.messages.replication import Census, Invite, InviteAnswer, Located
from agents.population import (
    Facts,
    Lack,
    Order,
    better_step,
    endangered,
    make_room,
    relief,
    urgent_step,
    wave_move,
    wave_step,
)
from agents.primary import Primary
from agents.rebuffs import Rebuffs, without
from agents.restoring import Restoring
from agents.room import Room, room_beside
from agents.share import RELIEVE, Share
from agents.sizes import Sizes
from agents.surroundings import CloneOrdered, HandOverOrdered, MoveRefused, SizeChanged
from agents.survey import Field, Survey
from agents.views import Status, View
from placement.balance import SLACK, rest_s
from placement.labels import Level
from placement.moves import rebalance
from placement.nearly import nearly
from placement.reasons import Move
from placement.repulsion import penalty_added
from placement.resources import Candidate
from placement.settle import Settled, settled_number
from placement.ties import tie_order
from placement.wave import Goal

Out = list[Effect]

STEP_S = 0.05  # how often the colonies that need something are looked at
CALM_STEP_S = 0.25  # the same, when all were found well placed twice
URGENT_MAX = 64  # colonies looked at closely per step; one costs some 20 µs
URGENT_LOOKS_MAX = 1024  # hosts looked at for them, 3 to 10 µs each; the rest waits for the next step
SWEEP_S = 1.0  # how often others are, too: what no event told is found by and by
SWEEP_MAX = 64  # so many of them; one costs some 20 µs
REST_APART_S = 0.3  # between two that put its copies apart
CALM_S = 1.0  # no improvements so soon after a change of view
BACK_S = 0.15  # but after a death joiners get their share as soon as others had the time to come with them
IMPROVE_BUSY, IMPROVE_IDLE = 16, 2  # colonies looked at per step
# How often the host with most to do takes part in a wave's move for a better place, and how long all of
# them take at most: writers wait behind each, so that a second of 30 is felt, and only a fault is worth it.
PLANNED_STEP_S, PLANNED_MOST_S = 0.1, 2.5
BACK_STEP_S, BACK_MOST_S = 0.03, 1.2
PLANNED_S = 0.75  # over so long a host spreads what it does for who leaves: clients are served beside it
PLAN_S = 0.25  # hosts begin to work a wave out within so long, not all at one moment; unless it is urgent
REFUSALS_MAX = 4  # so many targets may say that others came first; the next one is not asked
NEAR_S = 1.0  # between two looks at what holds a colony: some 150 µs, three times a look at what moves it


class Host(Household, Protocol):
    """What the governor asks of its host."""

    restoring: Restoring


class Governor:
    """Pace and order of population for the primaries of one host."""

    def __init__(self, container: Host) -> None:
        self.host = container
        self.settled = Settled(0)
        self.survey = Survey(container)
        self.course = Course()
        self.share = Share(self)
        self.moves: dict[int, Move] = {}
        self._dirty: set[int] = set()
        self._step_s = self._sweep_s = self._view_s = float("-inf")
        self._rests_s: dict[int, tuple[float, float]] = {}  # colony -> (since when, until when)
        self._sizes = Sizes()
        self._rebuffs = Rebuffs()
        self._lacks: dict[int, str] = {}
        self.missing = 0  # colonies led here that lack a peer that they can have
        self._mine: list[int] = []  # colonies led here, as of the last sweep
        self._swept = 0
        self._cursor = 0
        self._idle_round = 0
        self._turn = 0
        self._leaving = 0  # the view that marked a member LEAVING last
        self._leavers: frozenset[str] = frozenset()
        self._installed = 0
        self.ledger = Ledger()
        self._near_s = float("-inf")
        self._followed_s = float("nan")  # when the next step of a wave for a better place may be taken
        self._follow_gap_s = 0.0  # and so long after that the next one
        self._planned_s = float("-inf")  # when the next order for a leaver's sake may be given

    # -- what is told -------------------------------------------------------------

    def view_installed(self, view: View) -> None:
        """Look at everything again: hosts came, went, or changed their status."""
        leavers = frozenset(member.id for member in view.members if member.status is Status.LEAVING)
        if leavers - self._leavers:
            self._leaving = view.id
        self._leavers, self._installed = leavers, view.id
        self._view_s = float("nan")  # known at the next tick
        self._sweep_s = float("-inf")
        self._dirty.update(self._mine)
        self._idle_round = 0
        self.course.view_installed(view)
        if not self.course.is_active:
            self._followed_s = float("nan")
        self.share.view_installed()
        self._rebuffs.clear()

    def counted(self, view: View, heirs: Sequence[Heir], heard: Mapping[str, Census]) -> None:
        """The census is complete: all members know the same now."""
        self.course.counted(view, heirs, heard)

    def location_changed(self, located: Located) -> None:
        """A colony has changed its peers; is there more to do?"""
        self.course.located(located)
        if located.primary == self.host.me:
            self._dirty.add(located.colony)
            self._step_s = float("-inf")  # what comes next need not wait
        self._idle_round = 0

    def move_refused(self, event: MoveRefused, now_s: float) -> None:
        """A target did not take a clone: not that one again so soon."""
        self._rebuffs.note(event.colony, event.target, now_s, event.rest_s)
        self.course.refused(event.colony, event.target)
        self.moves.pop(event.colony, None)
        self._dirty.add(event.colony)
        self._step_s = float("-inf")  # the next one may be asked at once

    # -- what others see -------------------------------------------------------------

    def candidates(self) -> list[Candidate]:
        """Return all members as placement sees them, most senior first."""
        return self.survey.candidates()

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
        return self._room().fits(bytes_used)

    @property
    def is_calm(self) -> bool:
        """Whether no colony led here needs anything, and all were found well placed twice."""
        placed = self._idle_round > 1 or not self._mine
        is_idle = self.share.is_idle and not self.course.is_active
        return placed and not self._dirty and not self.moves and is_idle

    # -- the pace -----------------------------------------------------------------------

    def tick(self, now_s: float, out: Out) -> None:
        """Take the steps that are due."""
        if now_s - self._step_s < (CALM_STEP_S if self.is_calm else STEP_S):
            return
        self._step_s = now_s
        if self._view_s != self._view_s:  # a view was installed
            self._view_s = now_s
            if self._leaving == self._installed:
                # Not all hosts at one moment: with as many orders, the next view, or a client, would wait.
                self._planned_s = now_s + PLANNED_S * _chance(self.host.me, self._leaving)
        machines = self.host.colonies
        if now_s - self._sweep_s >= SWEEP_S:
            self._sweep_s = now_s
            self._mine = sorted(c for c, machine in machines.items() if machine.primary is not None)
            self._swept = 0 if self._swept >= len(self._mine) else self._swept
            self._dirty.update(self._mine[self._swept : self._swept + SWEEP_MAX])
            self._see_sizes(self._mine[self._swept : self._swept + SWEEP_MAX], now_s, out)
            self._swept += SWEEP_MAX
            self._resettle(now_s, out)
        self._see_wave(now_s, out)
        field = self.survey.look(now_s)
        self._urgent(field, now_s, out)
        self._follow(field, now_s, out)
        if now_s - self._view_s >= CALM_S:
            self._improve(field, now_s, out)
        if not (self.is_frozen or self.course.is_active):
            self.share.ask(now_s, out)

    def _see_wave(self, now_s: float, out: Out) -> None:
        """Begin the wave of this view, once all know the same; go on with it."""
        view, course = self.host.view, self.course
        is_urgent = course.is_planning and (self._is_struck or self._lacks_peers())
        begins_s = self._view_s + (0.0 if is_urgent else PLAN_S * _chance(self.host.me, self._installed))
        if course.is_due and view is not None and now_s >= begins_s:
            course.begin(self.survey.listed(), self.settled.number, view, self.host.directory)
        left = len(course.open)
        why = course.advance(self.host.directory, now_s, is_urgent=is_urgent)
        if why:
            out.append(Note("wave_over", f"{why}: each colony decides by itself", details={"left": left}))
        self.survey.in_wave = course.is_active

    def _lacks_peers(self) -> bool:
        """Return whether a colony led here has fewer peers than settled, be they counted yet or not."""
        machines = (self.host.colonies.get(colony) for colony in self._dirty)
        led = (machine.primary for machine in machines if machine is not None)
        return any(primary is not None and _peers(primary) < self.settled.number for primary in led)

    @property
    def is_held(self) -> bool:
        """Whether nobody moves by itself for a better place: moves are frozen, or a wave is under way."""
        return self.is_frozen or self.course.is_active

    @property
    def is_frozen(self) -> bool:
        """Whether nobody moves for a better place, but for memory."""
        return self.host.view is not None and self.host.view.is_frozen

    def weigh(self, facts: Facts, now_s: float) -> tuple[Order | Lack | None, tuple[Order, Move] | None]:
        """Return what a colony would do now: what is urgent, or else what is better; nobody is told."""
        field = self.survey.look(now_s)
        order = self._urgent_order(facts, field, now_s, self.survey.fair_weight(self.settled.number))[1]
        if order is not None or facts.coming or facts.going:
            return order, None
        goal = self.course.goal(facts.colony)
        found = wave_move(facts, field.hosts, goal=goal) if goal is not None else None
        if found is not None:
            return None, found
        hosts, named = self._better_given(facts, field, now_s)
        return None, better_step(facts, hosts, **(named | {"apart_only": False, "frozen": False}))

    def held(self, colony: int, now_s: float) -> str:
        """Return why a colony does not do now what would be better; "" = nothing holds it."""
        until_s = self._rests_until_s(colony)
        if self.is_frozen:
            return "moves are frozen (colony thaw)"
        if self.course.is_active and self.course.goal(colony) is None:
            return "the wave of this view has no other place for it, and is not over"
        if now_s - self._view_s < CALM_S:
            return "the view has just changed"
        if now_s < until_s:
            return f"it rests for {until_s - now_s:.1f} s after its last move"
        if len(self.moves) >= self.host.limits.moves_max:
            return f"{len(self.moves)} moves are under way here (--moves-max)"
        return ""

    def _rests_until_s(self, colony: int) -> float:
        """Return until when a colony rests after its last move."""
        return self._rests_s.get(colony, (0.0, float("-inf")))[1]

    def _better_given(
        self, facts: Facts, field: Field, now_s: float
    ) -> tuple[list[Candidate], dict[str, Any]]:
        """Return the hosts that a colony looks at for a better place, and what else counts."""
        around = field.around(facts.colony, facts.active, self._turn)
        named: dict[str, Any] = {"apart_only": now_s < self._rests_until_s(facts.colony), "turn": self._turn}
        named |= {"means": field.means, "hard": self.hard, "frozen": self.is_held}
        return without(self._rebuffs.hosts(facts.colony, now_s), around), named

    @property
    def hard(self) -> Level:
        """The level that no two peers of a colony may share."""
        view = self.host.view
        return view.charter.hard if view is not None else Level.HOST

    def _see_sizes(self, colonies: list[int], now_s: float, out: Out) -> None:
        """Have colonies that have grown or shrunk tell everybody, noise left out."""
        for colony in colonies:
            machine, entry = self.host.colonies.get(colony), self.host.directory.entries[colony]
            if machine is None or machine.primary is None or entry is None:
                continue
            if self._sizes.has_changed(colony, machine.peer.cells.bytes_used, entry.bytes_used, now_s):
                out.append(TellColony(colony, SizeChanged()))

    def _resettle(self, now_s: float, out: Out) -> None:
        view = self.host.view
        if view is None:
            return
        wanted, colonies = view.charter.peers, view.charter.colonies
        now = self.settled.number or None
        candidates = self.survey.look(now_s).hosts
        named: dict[str, Any] = {"colonies": colonies, "now": now, "hard": self.hard}
        settled = settled_number(wanted, candidates, **named)
        if settled != self.settled:
            self._decided(now_s, HOST, settled_number, (wanted, candidates), settled, **named)
            reason = str(settled.shortfall) if settled.shortfall else "as many peers as wanted"
            details = {"settled": settled.number, "wanted": wanted}
            out.append(Note("settle", reason, details=details, cause=Cause("view", view=view.id)))
            self.settled = settled

    def _urgent(self, field: Field, now_s: float, out: Out) -> None:
        """Population first: the colonies with the fewest peers before the others."""
        if not self._dirty:
            self.missing = 0
            return
        room = self._room()
        fair = self.survey.fair_weight(self.settled.number)
        stays, looks = self.host.me not in self._leavers, URGENT_LOOKS_MAX
        for lacks, colony, facts in self._most_endangered(field, has_room=room.clones > 0):
            if lacks and self.course.is_planning and self.course.goal(colony) is None:
                continue  # a step or two, and it is known where to
            if looks <= 0 or (lacks and stays and not room.fits(facts.bytes_used)):
                continue  # with another step
            rule, order, hosts, named = self._urgent_order(facts, field, now_s, fair)
            given = (facts, hosts, self.settled.number)
            looks -= len(hosts) if isinstance(order, (CloneOrdered, Lack)) else 1
            if self._can_wait(order, facts, now_s):
                continue
            if isinstance(order, Lack):
                if self._lacks.get(colony) != order.because:
                    self._decided(now_s, colony, rule, given, order, **named)
                self._lacking(colony, order.because, facts.fell, out)
            elif order is None:
                if not facts.coming and not facts.going:
                    self._dirty.discard(colony)
                    self.moves.pop(colony, None)
                    self._lacks.pop(colony, None)
            elif isinstance(order, HandOverOrdered) and self._rebuffs.has(colony, order.target):
                continue  # it serves meanwhile: a hand-over that stalls stops reads, too
            elif rule is wave_step and self._is_in_circles(order, colony):
                continue  # with the next step it goes its own way
            elif not isinstance(order, CloneOrdered):
                self._decided(now_s, colony, rule, given, order, **named)
                self._give(colony, order, 0, out)
            elif room.fits(facts.bytes_used):
                room.take(facts.bytes_used)
                self._decided(now_s, colony, rule, given, order, **named)
                self._give(colony, order, facts.bytes_used, out)

    def _is_in_circles(self, order: Order, colony: int) -> bool:
        """Return whether the wave has this host give a role away again and again; then it is given up."""
        return isinstance(order, HandOverOrdered) and not self.course.may_lead_away(colony)

    def _can_wait(self, order: Order | Lack | None, facts: Facts, now_s: float) -> bool:
        """Return whether an order is for a leaver's sake alone, and another such one was given just now."""
        is_planned = isinstance(order, (CloneOrdered, HandOverOrdered)) and order.cause == facts.leaving
        if not is_planned or facts.leaving is None or len(facts.active) < self.settled.number:
            return False
        if now_s < self._planned_s:
            return True
        # The more there is to do, the closer: however much it is, the spreading takes no longer.
        gap_s = PLANNED_S / max(1, len(self._dirty))
        self._planned_s = max(self._planned_s, now_s - STEP_S) + gap_s
        return False

    def _urgent_order(
        self, facts: Facts, field: Field, now_s: float, fair: float
    ) -> tuple[Callable[..., Any], Order | Lack | None, list[Candidate], dict[str, Any]]:
        """Return what a colony needs, and from what that follows: the wave's goal, or its own look around."""
        refused, goal = self._rebuffs.hosts(facts.colony, now_s), self.course.goal(facts.colony)
        if goal is not None:
            hosts, named = self._wave_given(facts, field, goal, refused)
            order = wave_step(facts, hosts, self.settled.number, **named)
            if order is not None:
                return wave_step, order, hosts, named
        return urgent_step, *self._own_order(facts, field, fair, refused)

    def _wave_given(
        self, facts: Facts, field: Field, goal: Goal, refused: set[str]
    ) -> tuple[list[Candidate], dict[str, Any]]:
        """Return the hosts that the wave's goal speaks of, and what else its step follows from.

        The next one that gets a copy may weigh what it weighs on the way; colonies may have grown a bit.
        """
        hosts = without(refused, field.those(dict.fromkeys((*facts.active, *goal.holders))))
        target = next((host for host in goal.holders if host not in facts.active), "")
        # Population comes before balance: what lacks a peer is not refused because others came first.
        peak = self.course.peak(target) if len(facts.active) >= self.settled.number else 0
        weight_max = int(peak * (1 + SLACK)) + facts.bytes_used if peak else 0
        return hosts, {"goal": goal, "weight_max": weight_max}

    def _own_order(
        self, facts: Facts, field: Field, fair: float, refused: set[str]
    ) -> tuple[Order | Lack | None, list[Candidate], dict[str, Any]]:
        """Return what a colony needs by its own rules; it looks at all hosts if some don't do."""
        holders, settled = (*facts.active, *facts.coming), self.settled.number
        if len(refused) >= REFUSALS_MAX:
            fair = 0.0  # everybody has enough: it has to go somewhere
        named: dict[str, Any] = {"fair_weight": fair, "hard": self.hard}
        some = field.around(facts.colony, holders, self._turn)
        hosts = without(refused, some)
        order = urgent_step(facts, hosts, settled, **named)
        if some is field.hosts or not isinstance(order, (Lack, CloneOrdered)):
            return order, hosts, named
        if isinstance(order, CloneOrdered):
            near = [host for host in field.those(holders) if not host.leaving]
            target = field.of(order.target)
            if target is not None and not any(penalty_added(target, near)):
                return order, hosts, named
        hosts = without(refused, field.hosts)
        return urgent_step(facts, hosts, settled, **named), hosts, named

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

    def _most_endangered(self, field: Field, *, has_room: bool) -> list[tuple[int, int, Facts]]:
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
            have = _peers(primary)
            missing += have < settled
            if have >= settled or (has_room and not primary.transfers.clones):
                counted.append((have, colony))
        self.missing = missing
        due: list[tuple[int, int, Facts]] = []
        for _, colony in nsmallest(URGENT_MAX, counted):
            facts = self.facts(self.host.colonies[colony])
            if facts is not None:
                near = field.those((*facts.active, *facts.coming))
                due.append((-endangered(facts, near, self.settled.number), colony, facts))
        return sorted(due, key=lambda item: item[:2])

    def _lacking(self, colony: int, because: str, cause: Cause | None, out: Out) -> None:
        """Say once what a colony lacks, and look again with the next sweep."""
        self._dirty.discard(colony)
        if self._lacks.get(colony) != because:
            self._lacks[colony] = because
            out.append(Note("shortfall", because, colony, cause=cause))

    def _room(self) -> Room:
        """Return how many more clones, and bytes of clones, may be under way."""
        led = (self.host.colonies.get(colony) for colony in self._mine)
        primaries = (machine.primary for machine in led if machine is not None)
        return room_beside((one for one in primaries if one is not None), self.host.limits.clones_max)

    def _give(self, colony: int, order: Order, bytes_used: int, out: Out) -> None:
        """Hand an order to the colony; what it will weigh counts from now on."""
        out.append(TellColony(colony, order))
        if isinstance(order, CloneOrdered):
            self.survey.give(order.target, copies=1, bytes_used=bytes_used)
            if order.source:
                self.survey.give(order.source, copies=-1, bytes_going=bytes_used)
        elif isinstance(order, HandOverOrdered):
            self.survey.give(order.target, primaries=1)
            self.survey.give(self.host.me, primaries=-1)

    def _follow(self, field: Field, now_s: float, out: Out) -> None:
        """Let healthy colonies go where the wave takes them."""
        course, mine = self.course, self.host.colonies
        if not course.is_active or course.is_planning or now_s - self._view_s < self._follow_wait_s:
            return
        if self._followed_s != self._followed_s:  # a new wave: not all hosts at one moment
            self._followed_s = now_s + STEP_S * _chance(self.host.me, self._installed)
            self._follow_gap_s = self._gap_s()
        for colony in sorted(self._led_open()):
            if now_s < self._followed_s:
                return
            machine, goal = mine[colony], course.goal(colony)
            if goal is None or colony in self._dirty:
                continue
            if len(self.moves) >= self.host.limits.moves_max:
                return
            facts = self.facts(machine)
            if facts is None:
                continue
            hosts, named = self._wave_given(facts, field, goal, self._rebuffs.hosts(colony, now_s))
            found = wave_move(facts, hosts, **named)
            if found is not None and not self._is_in_circles(found[0], colony):
                self._followed_s = max(self._followed_s, now_s - STEP_S) + self._follow_gap_s
                self._decided(now_s, colony, wave_move, (facts, hosts), found, **named)
                self._begin(colony, found, facts.bytes_used, now_s, out)

    @property
    def _follow_wait_s(self) -> float:
        """How long after a view its wave begins, but for what is urgent."""
        members = self.host.view.members if self._is_struck and self.host.view is not None else ()
        comes = any(member.status is Status.JOINING for member in members)
        return BACK_S if comes and not self.missing else CALM_S

    @property
    def _is_struck(self) -> bool:
        """Whether somebody was held dead of late: then who comes is wanted soon."""
        return self.host.view is not None and bool(self.host.view.flaps)

    def _gap_s(self) -> float:
        """Return how long after each other steps of this wave are taken here.

        All hosts begin and end at about one time, so that who gets something gets it evenly.
        """
        course, entries = self.course, self.host.directory.entries
        steps = sum(len(course.steps(entries[colony])) for colony in self._led_open())
        step_s, most_s = (BACK_STEP_S, BACK_MOST_S) if self._is_struck else (PLANNED_STEP_S, PLANNED_MOST_S)
        if not steps:
            return step_s  # but it may be given roles that have a way to go yet
        return min(most_s, step_s * course.busiest) / steps

    def _led_open(self) -> list[int]:
        """Return the colonies led here that are not where the wave takes them."""
        mine = self.host.colonies
        return [c for c in mine.keys() & self.course.open if mine[c].primary is not None]

    def _improve(self, field: Field, now_s: float, out: Out) -> None:
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
            since_s, _ = self._rests_s.get(colony, (float("-inf"), float("-inf")))
            if colony in self._dirty or now_s - since_s < REST_APART_S:
                continue
            machine = self.host.colonies.get(colony)
            facts = self.facts(machine) if machine is not None else None
            if facts is None or facts.coming or facts.going or len(self.moves) >= self.host.limits.moves_max:
                continue
            hosts, named = self._better_given(facts, field, now_s)
            found = better_step(facts, hosts, **named)
            if found is not None:
                self._decided(now_s, colony, better_step, (facts, hosts), found, **named)
                self._begin(colony, found, facts.bytes_used, now_s, out)
            elif not named["apart_only"] and now_s - self._near_s >= NEAR_S:
                self._near_s = now_s
                self._stays(facts, hosts, now_s, **named)

    def _stays(self, facts: Facts, hosts: list[Candidate], now_s: float, **named: Any) -> None:
        """Keep why a colony stays where it is, if something draws it elsewhere."""
        near = nearly(facts.colony, facts.active, hosts, primary=facts.primary, bytes_wanted=facts.bytes_used)
        if near is not None and near.held_by == "turn" and self.is_frozen:
            near = replace(near, held_by="frozen", held="moves are frozen")
        if near is not None:
            self._decided(now_s, facts.colony, better_step, (facts, hosts), None, near=near, **named)

    def _begin(
        self,
        colony: int,
        found: tuple[Order, Move],
        bytes_used: int,
        now_s: float,
        out: Out,
    ) -> None:
        order, move = found
        details = {"what": move.kind, "from": move.source, "to": move.target}
        out.append(Note(move.rule, move.because, colony, move.target, details, self._joined(move.target)))
        kind = "role" if isinstance(order, HandOverOrdered) else "copy"
        self._rests_s[colony] = now_s, now_s + rest_s(kind, bytes_used)
        self._idle_round = 0
        self._dirty.add(colony)
        if isinstance(order, CloneOrdered):
            self.moves[colony] = move
        self._give(colony, order, bytes_used, out)

    def _joined(self, host: str) -> Cause | None:
        """Return the event by which a joiner entered, for what moves to it; None = it is none."""
        view = self.host.view
        member = view.member(host) if view is not None else None
        if member is None or member.status is not Status.JOINING:
            return None
        return Cause("view", view=member.entered)

    # -- what others ask for --------------------------------------------------------------

    def invited(self, sender: str, message: Invite, now_s: float, out: Out) -> None:
        """A joiner asks for a copy or a role, a host without room for a peer to go: see whether it may be."""
        machine = self.host.colonies.get(message.colony)
        facts = self.facts(machine) if machine is not None else None
        reason = "not its primary, or busy"
        if facts is not None and message.role == SHED:
            reason = self._asked_to_shed(sender, facts, now_s, out)
        elif self.is_held:
            reason = "moves are frozen" if self.is_frozen else "a wave is under way"
        elif facts is not None and message.role == RELIEVE:
            reason = self._asked_to_relieve(sender, facts, now_s, out)
        elif facts is not None and self._is_content(facts, now_s):
            field = self.survey.look(now_s)
            near = field.those(dict.fromkeys((*facts.active, sender)))
            given = (facts.colony, facts.active, near)
            named: dict[str, Any] = {"primary": facts.primary, "bytes_wanted": facts.bytes_used}
            named |= {"to": sender, "means": field.means}
            move = rebalance(*given, **named)
            reason = "it would not even anything out"
            if move is not None:
                self._decided(now_s, facts.colony, rebalance, given, move, **named)
                cause = Cause(move.rule, move.colony, move.target)
                order: Order = CloneOrdered(move.target, move.because, cause, move.source)
                if move.kind == "role":
                    order = HandOverOrdered(move.target, move.because, cause)
                self._begin(move.colony, (order, move), facts.bytes_used, now_s, out)
                reason = ""
        out.append(Send(sender, InviteAnswer(message.colony, not reason, reason)))

    def _is_content(self, facts: Facts, now_s: float) -> bool:
        """Return whether a colony is free to move; after a new view many have not been looked at yet."""
        if facts.coming or facts.going:
            return False
        if facts.colony not in self._dirty:
            return True
        holders = self.survey.look(now_s).those(facts.active)
        return urgent_step(facts, holders, self.settled.number) is None

    def _asked_to_relieve(self, sender: str, facts: Facts, now_s: float, out: Out) -> str:
        """A host carries too much: its peer moves to one that carries less, if there is any."""
        rests = now_s < self._rests_until_s(facts.colony)
        if facts.coming or facts.going or facts.colony in self._dirty or rests:
            return "busy, or moved just now"
        field = self.survey.look(now_s)
        hosts = field.around(facts.colony, facts.active, self._turn)
        hosts = without(self._rebuffs.hosts(facts.colony, now_s), hosts)
        agrees = self._agrees(relief, (facts, hosts, sender, field.means), now_s, out)
        return "" if agrees else "nobody carries so much less"

    def _asked_to_shed(self, sender: str, facts: Facts, now_s: float, out: Out) -> str:
        """A colony with fewer peers has outbid this one: its peer there goes, if another one stays."""
        given = (facts, self.survey.look(now_s).those(facts.active), sender)
        return "" if self._agrees(make_room, given, now_s, out) else "nothing to give up there"

    def _agrees(
        self,
        rule: Callable[..., tuple[Order, Move] | None],
        given: tuple[Facts, *tuple[Any, ...]],
        now_s: float,
        out: Out,
    ) -> bool:
        """Do what a rule finds for a colony, if it finds anything."""
        found = rule(*given)
        if found is None:
            return False
        facts = given[0]
        self._decided(now_s, facts.colony, rule, given, found)
        self._begin(facts.colony, found, facts.bytes_used, now_s, out)
        return True


def _peers(primary: Primary) -> int:
    """Return how many copies a colony has that may succeed each other."""
    return 1 + len(primary.ack_set) - len(primary.transfers.activating)


def _chance(host: str, view: int) -> float:
    """Return a number from 0 to 1 that is another one for each host and view."""
    return tie_order(view, host) / (1 << 64)
