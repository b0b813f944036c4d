"""The names of the split scenarios that are played in more than one world.

The simulator plays them in virtual time, the tests with network namespaces
between real processes: what each means stands where it is played.
"""

from __future__ import annotations

SCENARIOS: tuple[str, ...] = (
    "majority_minority",
    "equal_halves_4",
    "equal_halves_6",
    "isolated_primary",
    "one_way_cut",
    "broken_link",
    "ring_of_cuts",
    "flapping_link",
    "split_and_kill",
    "split_and_join",
    "split_and_leave",
    "pause_across_split",
    "clock_jumps",
)
