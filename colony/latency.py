"""Durations counted in a fixed number of buckets, for percentiles.

However long a run is, it takes the same memory; a percentile is exact to
about two percent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

_GROWTH = math.log(1.02)
_FLOOR_S = 1e-7
_BUCKETS = 1250  # up to about an hour


class Durations:
    """A histogram of durations; one thread adds."""

    def __init__(self) -> None:
        self._counts = [0] * _BUCKETS
        self.count = 0
        self.longest_s = 0.0

    def add(self, duration_s: float) -> None:
        """Count one duration; >= 0."""
        bucket = int(math.log(max(duration_s, _FLOOR_S) / _FLOOR_S) / _GROWTH)
        self._counts[min(bucket, _BUCKETS - 1)] += 1
        self.count += 1
        self.longest_s = max(self.longest_s, duration_s)

    def percentile_s(self, share: float) -> float:
        """Return the duration that `share` (0 to 1) of all stay within; 0 if there are none."""
        wanted, seen = max(1, math.ceil(share * self.count)), 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return min(self.longest_s, _FLOOR_S * math.exp((bucket + 1) * _GROWTH))
        return 0.0


def merged(parts: Iterable[Durations]) -> Durations:
    """Return all durations of the parts as one histogram."""
    whole = Durations()
    for part in parts:
        whole.count += part.count
        whole.longest_s = max(whole.longest_s, part.longest_s)
        whole._counts = [mine + theirs for mine, theirs in zip(whole._counts, part._counts, strict=True)]
    return whole
