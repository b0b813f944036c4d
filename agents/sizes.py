"""Sizes: when a colony has grown or shrunk by so much that every host should know."""

from __future__ import annotations

from placement.attraction import smoothed

BAND, LEAST_BYTES = 0.125, 64 * 1024  # a colony that has changed by so much tells everybody
HALF_LIFE_S = 10.0


class Sizes:
    """What the colonies led here weigh, noise left out."""

    def __init__(self) -> None:
        self._means: dict[int, tuple[float, float]] = {}  # colony -> (mean of its bytes, as of when)

    def has_changed(self, colony: int, bytes_used: int, told: int, now_s: float) -> bool:
        """Take a look at what a colony weighs; return whether that is far from what all were `told`."""
        before, at_s = self._means.get(colony, (float(bytes_used), now_s))
        mean = smoothed(before, float(bytes_used), elapsed_s=now_s - at_s, half_life_s=HALF_LIFE_S)
        self._means[colony] = mean, now_s
        return abs(mean - told) > max(LEAST_BYTES, BAND * told)
