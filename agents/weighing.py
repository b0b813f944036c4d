"""Weighing: what a colony's safety asks for now, and from what that follows.

The rules are those of `agents.population`; here is what each is given: the
hosts that the wave's goal speaks of, those that a colony looks at by itself,
or all, if some don't do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agents.course import Course
from agents.population import Facts, Lack, Order, urgent_step, wave_step
from agents.rebuffs import without
from agents.surroundings import CloneOrdered
from agents.survey import Field
from placement.balance import SLACK
from placement.labels import Level
from placement.repulsion import penalty_added
from placement.resources import Candidate
from placement.wave import Goal

REFUSALS_MAX = 4  # so many targets may say that others came first; the next one is not asked

Given = tuple[list[Candidate], dict[str, Any]]  # the hosts, and what else a rule follows from, by name
Weighed = tuple[Callable[..., Any], Order | Lack | None, list[Candidate], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Basis:
    """What the colonies led here are weighed by in one step.

    Attributes:
        field: The members.
        course: Where the wave takes each colony.
        settled: Peers that each is to have.
        hard: The level that no two peers of one may share.
        turn: Which hosts those look at that look at some only.
    """

    field: Field
    course: Course
    settled: int
    hard: Level
    turn: int


def urgent_order(facts: Facts, basis: Basis, refused: set[str], fair_weight: float) -> Weighed:
    """Return what a colony needs, by which rule, and from what that follows.

    The wave's goal comes first, then its own look around.

    Args:
        facts: What its primary knows.
        basis: What is known here.
        refused: Hosts that have just refused it.
        fair_weight: What each host is to carry in the end.
    """
    goal = basis.course.goal(facts.colony)
    if goal is not None:
        hosts, named = wave_given(facts, basis, goal, refused)
        order = wave_step(facts, hosts, basis.settled, **named)
        if order is not None:
            return wave_step, order, hosts, named
    return urgent_step, *_own_order(facts, basis, refused, fair_weight)


def wave_given(facts: Facts, basis: Basis, goal: Goal, refused: set[str]) -> Given:
    """Return the hosts that the wave's goal speaks of, and what else its step follows from.

    The next one that gets a copy may weigh what it weighs on the way; colonies may have grown a bit.
    """
    hosts = without(refused, basis.field.those(dict.fromkeys((*facts.active, *goal.holders))))
    target = next((host for host in goal.holders if host not in facts.active), "")
    # Population comes before balance: what lacks a peer is not refused because others came first.
    peak = basis.course.peak(target) if len(facts.active) >= basis.settled else 0
    weight_max = int(peak * (1 + SLACK)) + facts.bytes_used if peak else 0
    return hosts, {"goal": goal, "weight_max": weight_max}


def _own_order(
    facts: Facts, basis: Basis, refused: set[str], fair_weight: float
) -> tuple[Order | Lack | None, list[Candidate], dict[str, Any]]:
    """Return what a colony needs by its own rules; it looks at all hosts if some don't do."""
    field, settled, holders = basis.field, basis.settled, (*facts.active, *facts.coming)
    if len(refused) >= REFUSALS_MAX:
        fair_weight = 0.0  # everybody has enough: it has to go somewhere
    named: dict[str, Any] = {"fair_weight": fair_weight, "hard": basis.hard}
    some = field.around(facts.colony, holders, basis.turn)
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
