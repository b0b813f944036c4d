"""History: what a peer remembers of its changes while hosts are absent.

Only with `quorum = available`, and only while some host was dropped that may
be alive on another side. Every ACTIVE peer keeps it, for each may be promoted.
It costs the path of a mutation nothing: a cell's version is its seq, and marks
set now and then tell when a seq was given.
"""

from __future__ import annotations

from bisect import bisect_left
from math import inf

from agents.messages.replication import HistoryState
from agents.views import View

MARK_EVERY_S = 0.1  # how exactly it is known when a cell was changed
MARKS_MAX = 1024  # then every second one is forgotten: in long splits, older times are coarser
MERGED_MAX = 65_536  # cells taken over from other sides whose true time is still known


class History:
    """Since when hosts are absent, and when what was changed, in one colony.

    Attributes:
        splits: Absent host -> the last seq here when it was dropped.
        merged: Key -> (seq here, time of the change on the side it came from).
    """

    __slots__ = ("_marks", "merged", "splits")

    def __init__(self, seq: int, now_s: float) -> None:
        self.splits: dict[str, int] = {}
        self.merged: dict[bytes, tuple[int, float]] = {}
        self._marks: list[tuple[int, float]] = [(seq, now_s)]

    def follow(self, view: View, last: int) -> None:
        """Note who is absent in a view that was just installed; before anything commits in it."""
        absent = {member.id for member in view.absent}
        self.splits = {host: seq for host, seq in self.splits.items() if host in absent}
        for host in absent:
            self.splits.setdefault(host, last)

    def mark(self, seq: int, now_s: float) -> None:
        """Note which seq was given last, now."""
        marks = self._marks
        if seq > marks[-1][0]:
            marks.append((seq, now_s))
            if len(marks) > MARKS_MAX:
                self._marks = [*marks[:-1:2], marks[-1]]

    def changed_s(self, key: bytes, seq: int, now_s: float) -> float:
        """Return when a change was made, on the host's clock; -inf = before the history began."""
        known = self.merged.get(key)
        if known is not None and known[0] == seq:
            return known[1]
        marks = self._marks
        if seq <= marks[0][0]:
            return -inf
        place = bisect_left(marks, (seq, -inf))
        return marks[place][1] if place < len(marks) else now_s

    def took(self, key: bytes, seq: int, at_s: float) -> None:
        """Note that a change was taken over from another side, and when it was made there."""
        self.merged[key] = (seq, at_s)
        if len(self.merged) > MERGED_MAX:
            del self.merged[next(iter(self.merged))]

    def since(self, hosts: tuple[str, ...]) -> int:
        """Return the last seq here when these hosts were dropped, or a lower one."""
        known = [self.splits[host] for host in hosts if host in self.splits]
        return min(known or self.splits.values(), default=0)

    def state(self, birth: int, now_s: float) -> HistoryState:
        """Return it as a clone carries it."""
        marks = tuple((seq, now_s - at_s) for seq, at_s in self._marks)
        return HistoryState(tuple(self.splits.items()), marks, birth)


def restored(state: HistoryState, now_s: float) -> History:
    """Return the history that a clone brought."""
    history = History(0, now_s)
    history.splits = dict(state.splits)
    history._marks = [(seq, now_s - age_s) for seq, age_s in state.marks] or history._marks
    return history
