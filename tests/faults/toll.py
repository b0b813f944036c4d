"""What a fault cost by the histories of clients, whatever store they used.

The checker of `tests.sim.history` says whether any order explains a cell's
history; here is counted what plainly went wrong: acknowledged writes that are
gone, reads of what was overwritten, and how long writers had to wait.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.sim.history import Operation

TOKENS = ("append", "patch")
WRITES = ("put", "delete", *TOKENS)


@dataclass
class Toll:
    """The cost of one round, or of many.

    Attributes:
        acknowledged: Writes.
        lost: Acknowledged writes that the last reads do not show, though nothing explains that.
        stale: Earlier reads that do not show what was acknowledged before they were called.
        pause_s: The longest that a writer waited for an acknowledgement, on the side that fared best.
        served_s: The same, with writes that were done but not copied counted as done.
        ills: Cells whose history no order explains.
        unhealed: Rounds after which the system was not well again in time.
    """

    rounds: int = 1
    acknowledged: int = 0
    lost: int = 0
    stale: int = 0
    pause_s: float = 0.0
    served_s: float = 0.0
    ills: int = 0
    unhealed: int = 0

    def __add__(self, other: Toll) -> Toll:
        """Return the cost of both together."""
        return Toll(
            self.rounds + other.rounds,
            self.acknowledged + other.acknowledged,
            self.lost + other.lost,
            self.stale + other.stale,
            max(self.pause_s, other.pause_s),
            max(self.served_s, other.served_s),
            self.ills + other.ills,
            self.unhealed + other.unhealed,
        )


def missing_from(read: Operation, operations: Iterable[Operation]) -> list[Operation]:
    """Return the acknowledged writes of its cell that a read ought to show, and does not.

    Of a cell of tokens these are all that it lacks. Of any other it is at
    most one: the latest that surely came after what was read.
    """
    before = [op for op in operations if op.kind in WRITES and op.outcome != "failed"]
    sure = [op for op in before if op.outcome == "ok" and op.return_s < read.call_s]
    if any(op.kind in TOKENS for op in before):
        shown = (read.value or "").split(",")
        return [op for op in sure if op.kind in TOKENS and op.argument not in shown]
    if read.code == "absent":
        causes = [op for op in before if op.kind == "delete"]
    else:
        causes = [op for op in before if op.kind == "put" and op.argument == read.value]
    causes = [op for op in causes if op.call_s < read.return_s]
    if any(op.outcome == "unknown" for op in causes):
        return []  # it may have come whenever
    since_s = max((op.return_s for op in causes), default=float("-inf"))
    later = [op for op in sure if op.call_s > since_s and op.code == "ok"]
    if read.code == "absent":
        later = [op for op in later if op.kind == "put"]
    return [max(later, key=lambda op: op.call_s)] if later else []


def waits_s(
    writes: Iterable[Operation], done: Iterable[tuple[float, float, str]], partition: Callable[[str], int]
) -> float:
    """Return the longest that a write waited until it, or a later one to its partition, was done.

    Args:
        writes: All, whatever became of them: who failed would have tried again.
        done: (called, returned, key) of those that count.
    """
    writes = list(writes)
    end_s = max((op.return_s for op in writes), default=0.0)
    by_part: dict[int, list[tuple[float, float]]] = {}
    for call_s, return_s, key in done:
        by_part.setdefault(partition(key), []).append((call_s, return_s))
    soonest: dict[int, tuple[list[float], list[float]]] = {}
    for part, calls in by_part.items():
        calls.sort()
        returns = [return_s for _, return_s in calls]
        for place in range(len(returns) - 2, -1, -1):
            returns[place] = min(returns[place], returns[place + 1])
        soonest[part] = [call_s for call_s, _ in calls], returns
    worst_s = 0.0
    for op in writes:
        called, returns = soonest.get(partition(op.key), ([], []))
        place = bisect_left(called, op.call_s)
        worst_s = max(worst_s, (returns[place] if place < len(returns) else end_s) - op.call_s)
    return worst_s


def toll(
    histories: dict[str, list[Operation]],
    last: list[Operation],
    alone: dict[str, list[tuple[float, float, str]]],
    partition: Callable[[str], int],
) -> Toll:
    """Return what one round cost.

    Args:
        histories: Of each client, while there was load.
        last: The reads of all cells when all was well again.
        alone: Of each client, (called, returned, key) of writes that were done but not copied.
    """
    found = Toll()
    cells: dict[str, list[Operation]] = {}
    for history in histories.values():
        for op in history:
            cells.setdefault(op.key, []).append(op)
            found.acknowledged += op.kind in WRITES and op.outcome == "ok"
    for read in last:
        if read.outcome == "ok":
            found.lost += len(missing_from(read, cells.get(read.key, [])))
    for operations in cells.values():
        reads = [op for op in operations if op.kind == "get" and op.outcome == "ok"]
        found.stale += sum(bool(missing_from(read, operations)) for read in reads)
    waits, served = [], []
    for client, history in histories.items():
        writes = [op for op in history if op.kind in WRITES]
        done = [(op.call_s, op.return_s, op.key) for op in writes if op.outcome == "ok"]
        waits.append(waits_s(writes, done, partition))
        served.append(waits_s(writes, [*done, *alone.get(client, [])], partition))
    found.pause_s, found.served_s = min(waits, default=0.0), min(served, default=0.0)
    return found
