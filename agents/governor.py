"""The governor: when this host's primaries take their next step.

It decides nothing about where: each primary does, by `population`. It keeps
the order (most endangered first) and the pace (bounded moves under way, rests
after a move).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from heapq import nsmallest
from typing import Any, Protocol

from agents.causes import Cause
from agents.census import Heir
from agents.colony import Colony
from agents.course import Course
from agents.effects import Effect, Note, TellColony
from agents.following import CALM_S, Following
from agents.household import Household
from agents.invites import Invites
from agents.leavers import Leavers
from agents.ledger import HOST
from agents.messages.replication import Census, Located
from agents.population import (
    Facts,
    Lack,
    Order,
    better_step,
    endangered,
    wave_move,
    wave_step,
)
from agents.primary import Primary
from agents.rebuffs import Rebuffs, without
from agents.restoring import Restoring
from agents.room import Room, room_beside
from agents.rounds import Rounds
from agents.share import Share
from agents.sizes import Sizes
from agents.steps import STEP_S, Steps
from agents.surroundings import CloneOrdered, HandOverOrdered, MoveRefused, SizeChanged
from agents.survey import Field, Survey
from agents.views import View
from agents.weighing import Basis, urgent_order, wave_given
from placement.labels import Level
from placement.nearly import nearly
from placement.reasons import Move
from placement.resources import Candidate
from placement.settle import Settled, settled_number

Out = list[Effect]

CALM_STEP_S = 0.25  # how often the colonies are looked at when all were found well placed twice
URGENT_MAX = 64  # colonies looked at closely per step; one costs some 20 µs
URGENT_LOOKS_MAX = 1024  # hosts looked at for them, 3 to 10 µs each; the rest waits for the next step
REST_APART_S = 0.3  # between two that put its copies apart
NEAR_S = 1.0  # between two looks at what holds a colony: some 150 µs, three times a look at what moves it


class Host(Household, Protocol):
    """What the governor asks of its host."""

    restoring: Restoring


class Governor:
    """Pace and order of population for the primaries of one host."""

    def __init__(self, container: Host, survey: Survey | None = None, course: Course | None = None) -> None:
        self.host = container
        self.settled = Settled(0)
        self.survey = survey or Survey(container)
        self.course = course or Course()
        self.steps = Steps(container, self.survey)
        self.share = Share(self)
        self.invites = Invites(self)
        self.rounds = Rounds()
        self._following = Following(container, self.survey, self.course)
        self._leavers = Leavers(container)
        self._dirty: set[int] = set()
        self._step_s = self._view_s = self._near_s = float("-inf")
        self._sizes = Sizes()
        self._rebuffs = Rebuffs()
        self._lacks: dict[int, str] = {}
        self.missing = 0  # colonies led here that lack a peer that they can have

    # -- what is told -------------------------------------------------------------

    def view_installed(self, view: View) -> None:
        """Look at everything again: hosts came, went, or changed their status."""
        self._leavers.view_installed(view)
        self._view_s = float("nan")  # known at the next tick
        self.rounds.view_installed()
        self._dirty.update(self.rounds.mine)
        self.course.view_installed(view)
        self._following.view_installed(view)
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
        self.rounds.stirred()

    def move_refused(self, event: MoveRefused, now_s: float) -> None:
        """A target did not take a clone: not that one again so soon."""
        self._rebuffs.note(event.colony, event.target, now_s, event.rest_s)
        self.course.refused(event.colony, event.target)
        self.steps.over(event.colony)
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
            self.steps.moves.get(machine.colony),
            moves.fell,
            self._leavers.cause,
        )

    @property
    def needy(self) -> list[int]:
        """Colonies led here that may need something, in order of number."""
        return sorted(self._dirty | self._lacks.keys())

    def is_due(self, colony: int) -> bool:
        """Return whether a colony led here is to be looked at: it may need something."""
        return colony in self._dirty

    def has_room(self, bytes_used: int) -> bool:
        """Return whether one more clone of this size may leave now."""
        return self._room().fits(bytes_used)

    @property
    def is_calm(self) -> bool:
        """Whether no colony led here needs anything, and all were found well placed twice."""
        is_idle = self.share.is_idle and not self.course.is_active
        return self.rounds.is_settled and not self._dirty and not self.steps.moves and is_idle

    # -- the pace -----------------------------------------------------------------------

    def tick(self, now_s: float, out: Out) -> None:
        """Take the steps that are due."""
        if now_s - self._step_s < (CALM_STEP_S if self.is_calm else STEP_S):
            return
        self._step_s = now_s
        if self._view_s != self._view_s:  # a view was installed
            self._view_s = now_s
            self._leavers.begin(now_s)
        if self.rounds.is_due(now_s):
            swept = self.rounds.sweep(self.host.colonies, now_s)
            self._dirty.update(swept)
            self._see_sizes(swept, now_s, out)
            self._resettle(now_s, out)
        is_urgent = self.course.is_planning and (self._following.is_struck or self._lacks_peers())
        settled = self.settled.number
        self._following.go_on(self._view_s, now_s, out, settled=settled, is_urgent=is_urgent)
        field = self.survey.look(now_s)
        self._urgent(field, now_s, out)
        self._follow(field, now_s, out)
        if now_s - self._view_s >= CALM_S:
            self._improve(field, now_s, out)
        if not (self.is_frozen or self.course.is_active):
            self.share.ask(now_s, out)

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
        fair = self.survey.fair_weight(self.settled.number)
        refused = self._rebuffs.hosts(facts.colony, now_s)
        _, order, _, _ = urgent_order(facts, self._basis(field), refused, fair)
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
        until_s = self.steps.rests_until_s(colony)
        if self.is_frozen:
            return "moves are frozen (colony thaw)"
        if self.course.is_active and self.course.goal(colony) is None:
            return "the wave of this view has no other place for it, and is not over"
        if now_s - self._view_s < CALM_S:
            return "the view has just changed"
        if now_s < until_s:
            return f"it rests for {until_s - now_s:.1f} s after its last move"
        if self.steps.is_full:
            return f"{len(self.steps.moves)} moves are under way here (--moves-max)"
        return ""

    def _better_given(
        self, facts: Facts, field: Field, now_s: float
    ) -> tuple[list[Candidate], dict[str, Any]]:
        """Return the hosts that a colony looks at for a better place, and what else counts."""
        rests = now_s < self.steps.rests_until_s(facts.colony)
        named: dict[str, Any] = {"apart_only": rests, "turn": self.rounds.turn}
        named |= {"means": field.means, "hard": self.hard, "frozen": self.is_held}
        return self.around(facts, field, now_s), named

    def around(self, facts: Facts, field: Field, now_s: float) -> list[Candidate]:
        """Return the hosts that a colony looks at for a better place."""
        hosts = field.around(facts.colony, facts.active, self.rounds.turn)
        return without(self._rebuffs.hosts(facts.colony, now_s), hosts)

    def _basis(self, field: Field) -> Basis:
        return Basis(field, self.course, self.settled.number, self.hard, self.rounds.turn)

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
            self.steps.decided(now_s, HOST, settled_number, (wanted, candidates), settled, **named)
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
        basis, fair = self._basis(field), self.survey.fair_weight(self.settled.number)
        stays, looks = self.host.me not in self._leavers, URGENT_LOOKS_MAX
        for lacks, colony, facts in self._most_endangered(field, has_room=room.clones > 0):
            if lacks and self.course.is_planning and self.course.goal(colony) is None:
                continue  # a step or two, and it is known where to
            if looks <= 0 or (lacks and stays and not room.fits(facts.bytes_used)):
                continue  # with another step
            refused = self._rebuffs.hosts(colony, now_s)
            rule, order, hosts, named = urgent_order(facts, basis, refused, fair)
            given = (facts, hosts, basis.settled)
            looks -= len(hosts) if isinstance(order, (CloneOrdered, Lack)) else 1
            if self._leavers.can_wait(order, facts, now_s, settled=basis.settled, needy=len(self._dirty)):
                continue
            if isinstance(order, Lack):
                if self._lacks.get(colony) != order.because:
                    self.steps.decided(now_s, colony, rule, given, order, **named)
                self._lacking(colony, order.because, facts.fell, out)
            elif order is None:
                if not facts.coming and not facts.going:
                    self._dirty.discard(colony)
                    self.steps.over(colony)
                    self._lacks.pop(colony, None)
            elif isinstance(order, HandOverOrdered) and self._rebuffs.has(colony, order.target):
                continue  # it serves meanwhile: a hand-over that stalls stops reads, too
            elif rule is wave_step and self._following.is_in_circles(order, colony):
                continue  # with the next step it goes its own way
            elif not isinstance(order, CloneOrdered):
                self.steps.decided(now_s, colony, rule, given, order, **named)
                self.steps.give(colony, order, 0, out)
            elif room.fits(facts.bytes_used):
                room.take(facts.bytes_used)
                self.steps.decided(now_s, colony, rule, given, order, **named)
                self.steps.give(colony, order, facts.bytes_used, out)

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
                self.steps.over(colony)  # another's to finish; else it counts here for ever
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
        led = (self.host.colonies.get(colony) for colony in self.rounds.mine)
        primaries = (machine.primary for machine in led if machine is not None)
        return room_beside((one for one in primaries if one is not None), self.host.limits.clones_max)

    def _follow(self, field: Field, now_s: float, out: Out) -> None:
        """Let healthy colonies go where the wave takes them."""
        basis = self._basis(field)
        for machine, goal in self._following.due(self._view_s, now_s, lacks=bool(self.missing)):
            colony = machine.colony
            if colony in self._dirty:
                continue
            if self.steps.is_full:
                return
            facts = self.facts(machine)
            if facts is None:
                continue
            hosts, named = wave_given(facts, basis, goal, self._rebuffs.hosts(colony, now_s))
            found = wave_move(facts, hosts, **named)
            if found is not None and not self._following.is_in_circles(found[0], colony):
                self._following.stepped(now_s)
                self.steps.decided(now_s, colony, wave_move, (facts, hosts), found, **named)
                self.begin(colony, found, facts.bytes_used, now_s, out)

    def _improve(self, field: Field, now_s: float, out: Out) -> None:
        """Let some healthy colonies see whether they could stand better."""
        if self.steps.is_full:
            return
        for colony in self.rounds.few():
            if colony in self._dirty or now_s - self.steps.rests_since_s(colony) < REST_APART_S:
                continue
            machine = self.host.colonies.get(colony)
            facts = self.facts(machine) if machine is not None else None
            if facts is None or facts.coming or facts.going or self.steps.is_full:
                continue
            hosts, named = self._better_given(facts, field, now_s)
            found = better_step(facts, hosts, **named)
            if found is not None:
                self.steps.decided(now_s, colony, better_step, (facts, hosts), found, **named)
                self.begin(colony, found, facts.bytes_used, now_s, out)
            elif not named["apart_only"] and now_s - self._near_s >= NEAR_S:
                self._near_s = now_s
                self._stays(facts, hosts, now_s, **named)

    def _stays(self, facts: Facts, hosts: list[Candidate], now_s: float, **named: Any) -> None:
        """Keep why a colony stays where it is, if something draws it elsewhere."""
        near = nearly(facts.colony, facts.active, hosts, primary=facts.primary, bytes_wanted=facts.bytes_used)
        if near is not None and near.held_by == "turn" and self.is_frozen:
            near = replace(near, held_by="frozen", held="moves are frozen")
        if near is not None:
            self.steps.decided(now_s, facts.colony, better_step, (facts, hosts), None, near=near, **named)

    def begin(
        self,
        colony: int,
        found: tuple[Order, Move],
        bytes_used: int,
        now_s: float,
        out: Out,
    ) -> None:
        """Begin a move, and look at the colony again."""
        self.rounds.stirred()
        self._dirty.add(colony)
        self.steps.begin(colony, found, bytes_used, now_s, out)


def _peers(primary: Primary) -> int:
    """Return how many copies a colony has that may succeed each other."""
    return 1 + len(primary.ack_set) - len(primary.transfers.activating)
