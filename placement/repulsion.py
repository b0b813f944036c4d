"""Repulsion: how badly peers of one colony stand too near.

Two peers on one host are never allowed. Pairs of peers that share a box
outweigh any number of pairs that share but a rack, and these any number that
share but a zone: penalties are compared as tuples, there are no weights to
tune. A `hard` level makes sharing it (or anything nearer) as forbidden as
sharing a host.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

from placement.labels import Labels, Level, distance, distance_between
from placement.resources import Candidate


class Penalty(NamedTuple):
    """Pairs of peers by the nearest domain that they share; less is better."""

    host: int = 0
    box: int = 0
    rack: int = 0
    zone: int = 0

    def plus(self, other: Penalty) -> Penalty:
        """Return both together."""
        return Penalty(
            self.host + other.host, self.box + other.box, self.rack + other.rack, self.zone + other.zone
        )

    def breaks(self, hard: Level) -> bool:
        """Return whether any pair shares the `hard` level or a nearer one."""
        return any(self[: hard + 1])

    @property
    def words(self) -> str:
        """The penalty for people, such as `2 pairs share a box`."""
        parts = []
        for level, pairs in zip(self._fields, self, strict=True):
            if pairs:
                parts.append(
                    f"{pairs} pair{'' if pairs == 1 else 's'} share{'s' if pairs == 1 else ''} a {level}"
                )
        return " and ".join(parts) or "no two share a domain"


NO_PENALTY = Penalty()


def penalty_of(holders: Sequence[Candidate]) -> Penalty:
    """Return the penalty of peers of one colony on these hosts."""
    total = NO_PENALTY
    for n, holder in enumerate(holders):
        if n:
            total = total.plus(penalty_added(holder, holders[:n]))
    return total


def penalty_added(newcomer: Candidate, holders: Iterable[Candidate]) -> Penalty:
    """Return the penalty that one more peer, on `newcomer`, brings along."""
    pairs = [0] * (Level.APART + 1)
    for holder in holders:
        pairs[distance_between(newcomer.id, newcomer.labels, holder.id, holder.labels)] += 1
    return Penalty(*pairs[: Level.APART])


def nearest(host: Candidate, holders: Iterable[Candidate]) -> tuple[Level, Candidate] | None:
    """Return the holder that stands nearest to a host, and how near; None = no holders."""
    levels = [
        (distance_between(host.id, host.labels, holder.id, holder.labels), holder.id, holder)
        for holder in holders
    ]
    if not levels:
        return None
    level, _, holder = min(levels, key=lambda found: found[:2])
    return level, holder


def near_words(host: Candidate, holders: Iterable[Candidate]) -> str:
    """Return how near a host stands to its nearest holder, such as `shares box b1 with h2`."""
    found = nearest(host, holders)
    if found is None:
        return "the only one"
    level, holder = found
    if level is Level.HOST:
        return "holds a copy already"
    if level is Level.APART:
        return "shares no domain with the others"
    name = level.name.lower()
    mine, theirs = getattr(host.labels, name), getattr(holder.labels, name)
    if mine and theirs:
        return f"shares {name} {mine} with {holder.called}"
    return f"may share a {name} with {holder.called} (label unknown)"


def apart_at_most(hosts: Sequence[Candidate], hard: Level) -> int:
    """Return how many peers of one colony can stand on these hosts.

    With `hard` above HOST this is a greedy answer, exact when all labels are
    known: hosts with an unknown label, which may be near to any other, are
    tried last.
    """
    if hard is Level.HOST:
        return len({host.id for host in hosts})

    names = ("box", "rack", "zone")[hard - 1 :]
    first: dict[tuple[str, ...], tuple[str, Labels]] = {}  # of each domain, the host with the lowest id
    count: Counter[tuple[str, ...]] = Counter()
    for host in hosts:
        domain = tuple([getattr(host.labels, name) for name in names])
        first[domain] = min(
            first.get(domain, (host.id, host.labels)), (host.id, host.labels), key=itemgetter(0)
        )
        count[domain] += 1
    if all(all(domain) for domain in first):
        return len(first)
    return _apart_at_most(tuple((*first[domain], count[domain]) for domain in sorted(first)), hard)


@lru_cache(maxsize=8)  # members don't change within a view
def _apart_at_most(domains: tuple[tuple[str, Labels, int], ...], hard: Level) -> int:
    """Return how many of these can be taken together: (lowest host id, labels, hosts) of each domain."""
    conflicts = {
        host: sum([many for _, other, many in domains if distance(labels, other) <= hard])
        for host, labels, _ in domains
    }
    chosen: list[Labels] = []
    for _, labels, _ in sorted(domains, key=lambda one: (conflicts[one[0]], one[0])):
        if all(distance(labels, other) > hard for other in chosen):
            chosen.append(labels)
    return len(chosen)
