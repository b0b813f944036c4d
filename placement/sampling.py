"""Sampling: which hosts a colony looks at, when there are too many for all.

A colony looks at its holders and at a bounded number of others, drawn anew
each turn by a stable hash: choosing the best of a few dozen is about as good
as the best of all, costs the same whatever the size of the cluster, and
colonies that choose at once don't all see the same one host.

Source: Mitzenmacher, The power of two choices in randomized load balancing (2001).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import gcd

from placement.resources import Candidate

SAMPLE_MAX = 64  # up to so many hosts, all are looked at


def sampled(
    candidates: Sequence[Candidate],
    place_of: Mapping[str, int],
    colony: int,
    holders: Collection[str],
    *,
    turn: int = 0,
    most: int = SAMPLE_MAX,
) -> Sequence[Candidate]:
    """Return the hosts to look at: all of a few, else the holders and some more.

    Args:
        candidates: All member hosts.
        place_of: Host id -> its place among them.
        colony: Its number; colonies look at different hosts.
        holders: Ids of the hosts that are looked at in any case.
        turn: Another number each time.
        most: So many are looked at, where not all are.
    """
    count = len(candidates)
    if count <= SAMPLE_MAX:
        return candidates
    mixed = (colony + 1) * 0x9E3779B97F4A7C15 ^ (turn + 1) * 0xC2B2AE3D27D4EB4F
    mixed = (mixed ^ mixed >> 29) * 0xBF58476D1CE4E5B9 & (1 << 64) - 1
    stride = 1 + (mixed >> 32) % (count - 1)
    while gcd(stride, count) != 1:
        stride = stride % (count - 1) + 1
    at, places = mixed % count, {place_of[host] for host in holders if host in place_of}
    while len(places) < most:
        places.add(at)
        at = (at + stride) % count
    return [candidates[place] for place in sorted(places)]
