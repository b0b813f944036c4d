"""Survival: how likely is it that no colony loses all its peers for so long?

A copy that dies with its host is missing until another is made elsewhere: a
*window* of seconds, much shorter than any repair. A colony is lost when its
last copy dies inside the windows of all others. How often that happens is
the frequency of failure of a system of independent parts:

    frequency = sum over vertices v of  rate(v) * P(v is up) * I(v)
    I(v)      = P(lost | v has failed) - P(lost | v has not)

Each colony's places are few, so each is computed exactly; those that fall
with the same vertex are one event, however many they are.

Source: Birnbaum, "On the importance of different components in a
multicomponent system" (1969); the frequency formula is Singh and Billinton's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy

from placement.hazard.graph import Graph, Vertex
from placement.hazard.models import DAY_S, Never, Random, Scheduled
from placement.hazard.steady import Judge, every_row

MATTER_MAX = 18  # vertices below one colony: beyond, its rarest causes are left out


@dataclass(frozen=True, slots=True)
class Survival:
    """What to expect of a time.

    Attributes:
        horizon_s: The time.
        lost: Probability that at least one colony loses all its peers in it.
        frequency: Such events per second.
        by_vertex: Vertex -> its part of `frequency`, greatest first: the most dangerous one leads.
        by_colony: Colony -> events per second that take it.
    """

    horizon_s: float
    lost: float
    frequency: float
    by_vertex: dict[str, float]
    by_colony: dict[str, float]

    @property
    def survives(self) -> float:
        """Probability that no colony is lost."""
        return 1.0 - self.lost


def survival(graph: Graph, *, window_s: float, horizon_s: float = DAY_S) -> Survival:
    """Return how likely it is that nothing is lost.

    Args:
        graph: Where the colonies are now; repair keeps them as well placed.
        window_s: From a host's death to a new copy of what it held, elsewhere; >= 0.
        horizon_s: The time asked about; > 0.
    """
    if window_s < 0 or horizon_s <= 0:
        raise ValueError("window_s is at least 0 and horizon_s above 0")
    rates = {name: _rate(vertex) for name, vertex in graph.vertices.items()}
    windowed = Graph([_windowed(v, window_s) for v in graph.vertices.values()], graph.colonies)
    places: dict[frozenset[str], list[str]] = {}
    for colony, peers in graph.colonies.items():
        places.setdefault(frozenset(peers), []).append(colony)
    blows: dict[str, float] = {}
    by_colony: dict[str, float] = {}
    for hosts, colonies in places.items():
        importance = _importance(windowed, tuple(sorted(hosts)), rates)
        for name, weight in importance.items():
            blows[name] = min(1.0, blows.get(name, 0.0) + weight)
        one = sum(rates[name] * weight for name, weight in importance.items())
        by_colony |= dict.fromkeys(colonies, one)
    by_vertex = {name: rates[name] * weight for name, weight in blows.items() if rates[name] * weight > 0}
    frequency = math.fsum(by_vertex.values())
    ranked = dict(sorted(by_vertex.items(), key=lambda pair: (-pair[1], pair[0])))
    return Survival(horizon_s, -math.expm1(-frequency * horizon_s), frequency, ranked, by_colony)


def _rate(vertex: Vertex) -> float:
    """Return how often a vertex fails by itself, per second that it is up."""
    failure = vertex.failure
    if isinstance(failure, Random):
        return failure.gray / failure.mtbf_s
    if isinstance(failure, Scheduled) and failure.every_s:
        return 1 / (failure.every_s - failure.for_s)
    return 0.0


def _windowed(vertex: Vertex, window_s: float) -> Vertex:
    """Return a vertex that, when it fails, is missed for the window alone."""
    rate = _rate(vertex)
    return replace(vertex, failure=Random(1 / rate, window_s) if rate else Never())


def _importance(graph: Graph, hosts: tuple[str, ...], rates: dict[str, float]) -> dict[str, float]:
    """Return, per vertex, P(it is up) * (P(lost | it failed) - P(lost | it did not)) for one place."""
    relevant = graph.causes(hosts)
    kept = _most_frequent(relevant, rates)
    vertices = [
        graph.vertices[name] if name in kept else replace(graph.vertices[name], failure=Never())
        for name in relevant
    ]
    judge = Judge(Graph(vertices, {"": hosts}), certain=True)
    failed_down = numpy.zeros(len(judge.names))
    spared_down = numpy.zeros(len(judge.names))
    for failed, weights in every_row(judge):
        is_down, _ = judge.judge(failed)
        failed_down += weights[is_down] @ failed[is_down]
        spared_down += weights[is_down] @ ~failed[is_down]
    up = 1 - judge.shares
    # A window of nothing leaves no time to be down in: then what has failed is asked about by itself.
    given_failed = numpy.divide(failed_down, judge.shares, out=numpy.zeros_like(up), where=judge.shares > 0)
    for column in numpy.flatnonzero(judge.shares == 0):
        given_failed[column] = _alone(judge, int(column))
    return dict(zip(judge.names, (up * (given_failed - spared_down / up)).tolist(), strict=True))


def _alone(judge: Judge, column: int) -> float:
    """Return P(lost | this one has failed)."""
    total = 0.0
    for failed, weights in every_row(judge):
        forced = failed.copy()
        forced[:, column] = True
        is_down, _ = judge.judge(forced)
        total += float(weights[is_down].sum())
    return total


def _most_frequent(names: Iterable[str], rates: dict[str, float]) -> frozenset[str]:
    ranked = sorted((name for name in names if rates[name] > 0), key=lambda name: (-rates[name], name))
    return frozenset(ranked[:MATTER_MAX])
