"""The steady state: how likely is it that a colony has no peer, at any moment?

Exactly, by going through every combination of failures of what matters, or,
where that is too many, by samples. Both are rows of the same table: which
vertices failed by themselves, and how much the row weighs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy
from numpy.typing import NDArray

from placement.hazard.graph import Graph
from placement.hazard.models import Never

EXACT_MAX = 18  # vertices: a quarter of a million rows
ROWS = 1 << 14  # at a time
SAMPLES = 200_000

Table = NDArray[numpy.bool_]
Weights = NDArray[numpy.float64]


@dataclass(frozen=True, slots=True)
class Steady:
    """What the steady state is like.

    Attributes:
        any_down: Probability that at least one colony has no peer up.
        colonies_down: Expected share of colonies without a peer up.
        exact: Whether that is exact; else it comes from samples.
        error: Standard error of `any_down`; 0 if exact.
        without: Vertex -> `any_down` if that one never failed by itself.
    """

    any_down: float
    colonies_down: float
    exact: bool
    error: float
    without: dict[str, float] = field(default_factory=dict)

    @property
    def availability(self) -> float:
        """Expected share of colonies that have a peer up."""
        return 1.0 - self.colonies_down


def steady(graph: Graph, *, samples: int = SAMPLES, seed: int = 0, exact_max: int = EXACT_MAX) -> Steady:
    """Return the steady state of a graph's colonies.

    Args:
        graph: Its supervisors are not looked at: their work is in the repair times (`Graph.as_mended`).
        samples: Rows where it is too large to be exact; > 0.
        seed: Of the samples.
        exact_max: Up to so many vertices that may fail and matter, the answer is exact.
    """
    if not graph.colonies:
        return Steady(0.0, 0.0, exact=True, error=0.0)
    judge = Judge(graph)
    exact = len(judge.risky) <= exact_max
    rows = every_row(judge) if exact else _some_rows(judge, samples, numpy.random.default_rng(seed))
    any_down = share_down = 0.0
    spared = numpy.zeros(len(judge.risky))
    for failed, weights in rows:
        is_down, share = judge.judge(failed)
        any_down += float(weights[is_down].sum())
        share_down += float((weights * share).sum())
        spared += weights[is_down] @ ~failed[is_down]
    without = dict(zip(judge.names, (spared / (1 - judge.shares)).tolist(), strict=True))
    error = 0.0 if exact else math.sqrt(max(any_down * (1 - any_down), 1 / samples) / samples)
    return Steady(any_down, share_down, exact, error, without)


class Judge:
    """Says, for rows of failures, which colonies have no peer.

    Args:
        graph: What stands where.
        certain: What may fail is a column even if it is never down for long.

    Attributes:
        names: The vertices that matter and may fail, one for each column of a row.
        shares: How likely each is to have failed by itself.
    """

    def __init__(self, graph: Graph, *, certain: bool = False) -> None:
        peers = {host for placed in graph.colonies.values() for host in placed}
        self._relevant = graph.causes(peers)
        column = {name: number for number, name in enumerate(self._relevant)}
        vertices = [graph.vertices[name] for name in self._relevant]
        may_fail = [
            v.failure.down_share > 0 or (certain and not isinstance(v.failure, Never)) for v in vertices
        ]
        self.risky = [n for n, may in enumerate(may_fail) if may]
        self.names = [self._relevant[n] for n in self.risky]
        self.shares: Weights = numpy.array([vertices[n].failure.down_share for n in self.risky])
        self._inputs = [([column[cause] for cause in v.fails_with], v.threshold) for v in vertices]
        # Colonies on the same hosts stand and fall together: judge each such place once.
        counted: dict[tuple[int, ...], int] = {}
        for placed in graph.colonies.values():
            place = tuple(sorted(column[host] for host in placed))
            counted[place] = counted.get(place, 0) + 1
        self._places = list(counted.items())
        self._count = len(graph.colonies)

    def judge(self, failed: Table) -> tuple[Table, Weights]:
        """Return, per row, whether some colony is down, and the share of those that are."""
        rows = failed.shape[0]
        down = numpy.zeros((rows, len(self._relevant)), dtype=numpy.bool_)
        down[:, self.risky] = failed
        for number, (inputs, threshold) in enumerate(self._inputs):
            if inputs:
                down[:, number] |= down[:, inputs].sum(axis=1) >= threshold
        share = numpy.zeros(rows)
        for place, colonies in self._places:
            share += down[:, place].all(axis=1) * (colonies / self._count)
        return share > 0, share


def every_row(judge: Judge) -> Iterator[tuple[Table, Weights]]:
    """Yield every combination of failures, and its probability."""
    width = len(judge.risky)
    for begin in range(0, 1 << width, ROWS):
        numbers = numpy.arange(begin, min(begin + ROWS, 1 << width))
        failed = (numbers[:, None] >> numpy.arange(width)) & 1 == 1
        yield failed, numpy.where(failed, judge.shares, 1 - judge.shares).prod(axis=1)


def _some_rows(
    judge: Judge, samples: int, generator: numpy.random.Generator
) -> Iterator[tuple[Table, Weights]]:
    for begin in range(0, samples, ROWS):
        rows = min(ROWS, samples - begin)
        failed = generator.random((rows, len(judge.risky))) < judge.shares
        yield failed, numpy.full(rows, 1 / samples)
