"""Following: when the colonies led here take their steps of the wave of a view.

`agents.course` knows where the wave takes each of them. Hosts begin at other
moments, and take their steps evenly over about the same time: who is given
something by many gets it evenly, and clients are served beside it.
"""

from __future__ import annotations

from collections.abc import Iterator

from agents.colony import Colony
from agents.course import Course
from agents.effects import Effect, Note
from agents.household import Household
from agents.population import Order
from agents.steps import STEP_S
from agents.surroundings import HandOverOrdered
from agents.survey import Survey
from agents.views import Status, View
from placement.ties import tie_portion
from placement.wave import Goal

Out = list[Effect]

CALM_S = 1.0  # no improvements so soon after a change of view
BACK_S = 0.15  # but after a death joiners get their share as soon as others had the time to come with them
# How often the host with most to do takes part in a wave's move for a better place, and how long all of
# them take at most: writers wait behind each, so that a second of 30 is felt, and only a fault is worth it.
PLANNED_STEP_S, PLANNED_MOST_S = 0.1, 2.5
BACK_STEP_S, BACK_MOST_S = 0.03, 1.2
PLAN_S = 0.25  # hosts begin to work a wave out within so long, not all at one moment; unless it is urgent


class Following:
    """One host's part in the wave of its view."""

    def __init__(self, host: Household, survey: Survey, course: Course) -> None:
        self._host, self._survey, self._course = host, survey, course
        self._installed = 0
        self._next_s = float("nan")  # when the next step of a wave for a better place may be taken
        self._gap_s = 0.0  # and so long after that the next one

    def view_installed(self, view: View) -> None:
        """There may be a new wave, or none; the course knows."""
        self._installed = view.id
        if not self._course.is_active:
            self._next_s = float("nan")

    @property
    def is_struck(self) -> bool:
        """Whether somebody was held dead of late: then who comes is wanted soon."""
        return self._host.view is not None and bool(self._host.view.flaps)

    def go_on(self, view_s: float, now_s: float, out: Out, *, settled: int, is_urgent: bool) -> None:
        """Begin the wave of a view, known here since `view_s`, once all know the same; go on with it."""
        course, view = self._course, self._course.due
        begins_s = view_s + (0.0 if is_urgent else PLAN_S * tie_portion(self._installed, self._host.me))
        if view is not None and now_s >= begins_s:
            course.begin(self._survey.listed(view), settled, view, self._host.directory)
        left = len(course.open)
        why = course.advance(self._host.directory, now_s, is_urgent=is_urgent)
        if why:
            out.append(Note("wave_over", f"{why}: each colony decides by itself", details={"left": left}))
        self._survey.in_wave = course.is_active

    def due(self, view_s: float, now_s: float, *, lacks: bool) -> Iterator[tuple[Colony, Goal]]:
        """Yield the colonies that may take a step now, one by one; `lacks`: some here have too few peers.

        Each one that does is to be told by `stepped` before the next one is asked for.
        """
        course, mine = self._course, self._host.colonies
        if not course.is_active or course.is_planning or now_s - view_s < self._wait_s(lacks=lacks):
            return
        if self._next_s != self._next_s:  # a new wave: not all hosts at one moment
            self._next_s = now_s + STEP_S * tie_portion(self._installed, self._host.me)
            self._gap_s = self._gap_between_s()
        for colony in sorted(self._led_open()):
            if now_s < self._next_s:
                return
            goal = course.goal(colony)
            if goal is not None:
                yield mine[colony], goal

    def stepped(self, now_s: float) -> None:
        """A colony has taken a step: the next one waits."""
        self._next_s = max(self._next_s, now_s - STEP_S) + self._gap_s

    def is_in_circles(self, order: Order, colony: int) -> bool:
        """Return whether the wave has this host give a role away again and again; then it is given up."""
        return isinstance(order, HandOverOrdered) and not self._course.may_lead_away(colony)

    def _wait_s(self, *, lacks: bool) -> float:
        """Return how long after a view its wave begins, but for what is urgent."""
        members = self._host.view.members if self.is_struck and self._host.view is not None else ()
        comes = any(member.status is Status.JOINING for member in members)
        return BACK_S if comes and not lacks else CALM_S

    def _gap_between_s(self) -> float:
        """Return how long after each other steps of this wave are taken here.

        All hosts begin and end at about one time, so that who gets something gets it evenly.
        """
        course, entries = self._course, self._host.directory.entries
        steps = sum(len(course.steps(entries[colony])) for colony in self._led_open())
        step_s, most_s = (BACK_STEP_S, BACK_MOST_S) if self.is_struck else (PLANNED_STEP_S, PLANNED_MOST_S)
        if not steps:
            return step_s  # but it may be given roles that have a way to go yet
        return min(most_s, step_s * course.busiest) / steps

    def _led_open(self) -> list[int]:
        """Return the colonies led here that are not where the wave takes them."""
        mine = self._host.colonies
        return [c for c in mine.keys() & self._course.open if mine[c].primary is not None]
