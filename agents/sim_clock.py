"""Virtual time: a heap of what happens when, and clocks that drift.

Rules kept here:

* Time only moves when something happens; two things at one instant happen in
  the order in which they were planned. So a run is a function of its seed.
* Each host has a clock of its own, off by any amount and wrong in rate by at
  most `DRIFT_MAX`; machines only ever see that clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Any, Protocol, TypeVar

DRIFT_MAX = 0.05  # the protocol's assumption about clocks: at most 5 % in rate

T = TypeVar("T")


class Chance(Protocol):
    """Seeded chance, handed in by whoever starts a run (`random.Random` fits)."""

    def random(self) -> float:
        """Return a number in [0, 1)."""
        ...

    def uniform(self, a: float, b: float, /) -> float:
        """Return a number in [a, b]."""
        ...

    def randrange(self, start: int, stop: int, /) -> int:
        """Return an integer in [start, stop)."""
        ...

    def choice(self, seq: Sequence[T], /) -> T:
        """Return one of `seq`."""
        ...


Action = Callable[..., None]


class Timeline:
    """What happens when, in virtual seconds.

    Attributes:
        now_s: The present.
        happened: How many actions have run.
    """

    __slots__ = ("_heap", "_order", "happened", "now_s")

    def __init__(self) -> None:
        self.now_s = 0.0
        self.happened = 0
        self._order = 0
        self._heap: list[tuple[float, int, Action, tuple[Any, ...]]] = []

    def at(self, at_s: float, action: Action, *arguments: Any) -> None:
        """Plan an action; one in the past happens at once, after what is planned for now."""
        self._order += 1
        heappush(self._heap, (max(at_s, self.now_s), self._order, action, arguments))

    def after(self, delay_s: float, action: Action, *arguments: Any) -> None:
        """Plan an action `delay_s` from now."""
        self._order += 1
        heappush(self._heap, (self.now_s + delay_s, self._order, action, arguments))

    def step(self) -> bool:
        """Let the next thing happen; return False if nothing is planned."""
        if not self._heap:
            return False
        self.now_s, _, action, arguments = heappop(self._heap)
        self.happened += 1
        action(*arguments)
        return True

    def run_until(self, until_s: float) -> None:
        """Let everything happen up to `until_s`, which is then the present."""
        heap = self._heap
        while heap and heap[0][0] <= until_s:
            self.now_s, _, action, arguments = heappop(heap)
            self.happened += 1
            action(*arguments)
        self.now_s = max(self.now_s, until_s)


class HostClock:
    """One host's monotonic clock, off and drifting against virtual time.

    Args:
        offset_s: What it shows when virtual time begins; any number.
        rate: Its seconds per virtual second; within 1 ± `DRIFT_MAX`.
    """

    __slots__ = ("offset_s", "rate")

    def __init__(self, offset_s: float = 0.0, rate: float = 1.0) -> None:
        self.offset_s = offset_s
        self.rate = 1.0
        self.go_at(rate, 0.0)

    def go_at(self, rate: float, virtual_s: float) -> None:
        """Go at another rate from now on, without a jump: no monotonic clock jumps."""
        if abs(rate - 1.0) > DRIFT_MAX + 1e-9:
            raise ValueError(f"a clock's rate is 1 ± {DRIFT_MAX}, not {rate}")
        self.offset_s += (self.rate - rate) * virtual_s
        self.rate = rate

    def shows(self, virtual_s: float) -> float:
        """Return what the clock shows at a virtual time."""
        return self.offset_s + self.rate * virtual_s

    def when(self, shown_s: float) -> float:
        """Return the virtual time at which the clock shows `shown_s`."""
        return (shown_s - self.offset_s) / self.rate
