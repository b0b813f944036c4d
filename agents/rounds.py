"""Rounds: in which order the colonies led here are looked at, told of by an event or not.

What no event told is found by and by. When all were found well placed twice,
fewer at a time are asked whether they could stand better.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agents.colony import Colony

SWEEP_S = 1.0  # how often some are looked at that no event told of
SWEEP_MAX = 64  # so many of them; one costs some 20 µs
IMPROVE_BUSY, IMPROVE_IDLE = 16, 2  # colonies looked at per step


class Rounds:
    """The way round the colonies that one host leads.

    Attributes:
        mine: Colonies led here, as of the last sweep.
        turn: How often some were asked whether they could stand better.
    """

    def __init__(self) -> None:
        self.mine: list[int] = []
        self.turn = 0
        self._sweep_s = float("-inf")
        self._swept = 0
        self._cursor = 0
        self._idle = 0  # times round since anything moved

    def view_installed(self) -> None:
        """Hosts came, went, or changed their status: sweep at once."""
        self._sweep_s = float("-inf")
        self._idle = 0

    def stirred(self) -> None:
        """Something moves: what was found well placed may be so no longer."""
        self._idle = 0

    @property
    def is_settled(self) -> bool:
        """Whether all were found well placed twice."""
        return self._idle > 1 or not self.mine

    def is_due(self, now_s: float) -> bool:
        """Return whether it is time for the next sweep."""
        return now_s - self._sweep_s >= SWEEP_S

    def sweep(self, colonies: Mapping[int, Colony], now_s: float) -> list[int]:
        """Find out which colonies are led here; return those of them that are to be looked at."""
        self._sweep_s = now_s
        self.mine = sorted(c for c, machine in colonies.items() if machine.primary is not None)
        start = 0 if self._swept >= len(self.mine) else self._swept
        self._swept = start + SWEEP_MAX
        return self.mine[start : self._swept]

    def few(self) -> Iterator[int]:
        """Yield the colonies that are asked next whether they could stand better."""
        mine = self.mine
        if not mine:
            return
        self.turn += 1
        some = IMPROVE_BUSY if self._idle <= 1 else IMPROVE_IDLE
        for _ in range(min(some, len(mine))):
            self._cursor += 1
            if self._cursor % len(mine) == 0:
                self._idle += 1
            yield mine[self._cursor % len(mine)]
