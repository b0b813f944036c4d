"""Failure models: how often one thing fails by itself, and for how long.

Times are seconds. Chance comes in as numbers in [0, 1), so that a run is a
function of its seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

HOUR_S = 3_600.0
DAY_S = 24 * HOUR_S


@dataclass(frozen=True, slots=True)
class Never:
    """It never fails by itself."""

    @property
    def down_share(self) -> float:
        """Share of all time in which it is down."""
        return 0.0

    def fails_after_s(self, now_s: float, chance: float) -> float:
        """Return when it fails next; inf = never."""
        return math.inf

    def down_for_s(self, chance: float) -> float:
        """Return how long it then stays down."""
        return 0.0


@dataclass(frozen=True, slots=True)
class Random:
    """It fails at random, at a steady rate, and is mended at a steady rate.

    Attributes:
        mtbf_s: Mean time between a repair and the next failure; > 0.
        mttr_s: Mean time to repair; >= 0.
        gray: Share of its failures that are felt by what stands on it; the
            others make it slow, and nothing falls. 1 = all of them.
    """

    mtbf_s: float
    mttr_s: float
    gray: float = 1.0

    def __post_init__(self) -> None:
        if not (self.mtbf_s > 0 and self.mttr_s >= 0 and math.isfinite(self.mtbf_s + self.mttr_s)):
            raise ValueError("mtbf is above 0 and mttr at least 0")
        if not 0 <= self.gray <= 1:
            raise ValueError("gray is a share, 0 to 1")

    @property
    def down_share(self) -> float:
        """Share of all time in which it is down."""
        return self.gray * self.mttr_s / (self.mtbf_s + self.mttr_s)

    def fails_after_s(self, now_s: float, chance: float) -> float:
        """Return when it fails next."""
        if self.gray == 0:
            return math.inf
        return now_s - math.log1p(-chance) * self.mtbf_s / self.gray

    def down_for_s(self, chance: float) -> float:
        """Return how long it then stays down."""
        return -math.log1p(-chance) * self.mttr_s


@dataclass(frozen=True, slots=True)
class Scheduled:
    """It is down at fixed times, such as for maintenance.

    Attributes:
        first_s: When it goes down first, from the beginning; >= 0.
        for_s: For how long; > 0.
        every_s: From one beginning to the next; 0 = only once.
    """

    first_s: float
    for_s: float
    every_s: float = 0.0

    def __post_init__(self) -> None:
        if self.first_s < 0 or self.for_s <= 0:
            raise ValueError("a schedule begins at 0 s or later, and lasts")
        if self.every_s and self.every_s <= self.for_s:
            raise ValueError("a schedule comes again only after it has ended")

    @property
    def down_share(self) -> float:
        """Share of all time in which it is down."""
        return self.for_s / self.every_s if self.every_s else 0.0

    def fails_after_s(self, now_s: float, chance: float) -> float:
        """Return when it goes down next; inf = never again."""
        if now_s <= self.first_s:
            return self.first_s
        if not self.every_s:
            return math.inf
        return self.first_s + math.ceil((now_s - self.first_s) / self.every_s) * self.every_s

    def down_for_s(self, chance: float) -> float:
        """Return how long it then stays down."""
        return self.for_s


Failure = Never | Random | Scheduled
