"""The board: who holds what in a wave, as its moves so far have left it."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Generator, Sequence
from dataclasses import replace

from placement.attraction import has_room
from placement.nearness import Nearness
from placement.peers import Peers
from placement.repulsion import Penalty, penalty_of
from placement.resources import COPY_BYTES, Candidate
from placement.sampling import SAMPLE_MAX, sampled

Work = Generator[int, None, None]  # yields about how many hosts were looked at


class Board:
    """All colonies and hosts; nothing is on it before `take_stock`.

    Args:
        before: Where each colony lives, by number.
        sizes: Bytes of each.
        hosts: All members, in the view's order. What they carry is counted.

    Attributes:
        hosts: As they are by now.
        place_of: Host id -> its place among them.
        heaviest: (-weight, place) of all hosts, in order.
        holders: Ids of each colony's hosts, by number, the primary first.
        here: Host id -> colonies that it holds.
        led: Host id -> colonies that it leads.
        lightest: What the smallest colony weighs.
        peaks: Host id -> the most that it weighs on the way.
    """

    def __init__(self, before: Sequence[Peers], sizes: Sequence[int], hosts: Sequence[Candidate]) -> None:
        self.before, self.sizes = before, sizes
        self.hosts = list(hosts)
        self.place_of = {host.id: place for place, host in enumerate(hosts)}
        self.heaviest: list[tuple[int, int]] = []
        self.holders: list[list[str]] = []
        self.here: dict[str, set[int]] = {host.id: set() for host in hosts}
        self.led: dict[str, set[int]] = {host.id: set() for host in hosts}
        self.lightest = COPY_BYTES
        self.peaks: dict[str, int] = {}
        self._nearness = Nearness([host.labels for host in hosts])

    def take_stock(self) -> Work:
        """Find out what each host carries."""
        self.lightest = min(self.sizes, default=0) + COPY_BYTES
        for colony, peers in enumerate(self.before):
            holders = [host for host in peers.holders if host in self.place_of]
            self.holders.append(holders)
            for host in holders:
                self.here[host].add(colony)
            if holders:
                self.led[holders[0]].add(colony)
            if colony % 64 == 63:
                yield 20
        for place, seen in enumerate(self.hosts):
            here = self.here[seen.id]
            used = sum([self.sizes[colony] for colony in here])
            self.hosts[place] = seen = replace(
                seen, copies=len(here), primaries=len(self.led[seen.id]), bytes_used=used, bytes_going=0
            )
            self.peaks[seen.id] = seen.weight
            yield 1 + len(here) // 32
        self.heaviest = sorted((-host.weight, place) for place, host in enumerate(self.hosts))
        yield len(self.hosts) // 8

    def of(self, host: str) -> Candidate:
        """Return a member as it is by now."""
        return self.hosts[self.place_of[host]]

    def around(self, colony: int, most: int = SAMPLE_MAX) -> Sequence[Candidate]:
        """Return the hosts that a colony looks at: all of a few, else its holders and some more."""
        return sampled(self.hosts, self.place_of, colony, self.holders[colony], most=most)

    def apart(self, colony: int, near: Sequence[Candidate], most: int) -> list[Candidate]:
        """Return some hosts with room for a copy: of all that have it, those that stand best apart."""
        hosts, holders, size = self.hosts, self.holders[colony], self.sizes[colony]

        def is_able(place: int) -> bool:
            host = hosts[place]
            return host.accepts and host.id not in holders and has_room(host, size)

        places = [self.place_of[host.id] for host in near]
        return [hosts[place] for place in self._nearness.apart(colony, places, is_able, most)]

    def least(self, near: Sequence[Candidate]) -> Penalty:
        """Return a penalty that one more copy brings along at least, wherever it stands."""
        return self._nearness.least([self.place_of[host.id] for host in near])

    @property
    def kinds_looks(self) -> int:
        """What it takes to look at all kinds of hosts for one copy, as looks at a host."""
        return 1 + self._nearness.kinds // 32

    def may_part(self, colony: int) -> bool:
        """Return whether any host at all could be a better place for one of a colony's copies."""
        present = [self.of(host) for host in self.holders[colony]]
        before = penalty_of(present)
        for source in present:
            rest = [host for host in present if host is not source]
            if penalty_of(rest).plus(self.least(rest)) < before:
                return True
        return False

    # -- what changes --------------------------------------------------------------------

    def _add(self, host: str, *, copies: int = 0, bytes_used: int = 0, primaries: int = 0) -> None:
        place = self.place_of[host]
        seen = self.hosts[place]
        free = seen.memory_free
        self.hosts[place] = now = replace(
            seen,
            copies=seen.copies + copies,
            bytes_used=seen.bytes_used + bytes_used,
            primaries=seen.primaries + primaries,
            memory_free=None if free is None else free - bytes_used,
        )
        if now.weight != seen.weight:
            del self.heaviest[bisect_left(self.heaviest, (-seen.weight, place))]
            insort(self.heaviest, (-now.weight, place))

    def come(self, colony: int, host: str) -> None:
        """One more host holds a colony."""
        size = self.sizes[colony]
        self.holders[colony].append(host)
        self.here[host].add(colony)
        self._add(host, copies=1, bytes_used=size)
        if host not in self.before[colony].holders:
            self.peaks[host] += size + COPY_BYTES

    def go(self, colony: int, host: str) -> None:
        """A host holds a colony no more."""
        self.holders[colony].remove(host)
        self.here[host].discard(colony)
        self._add(host, copies=-1, bytes_used=-self.sizes[colony])

    def lead(self, colony: int, host: str) -> None:
        """Another holder leads a colony."""
        holders = self.holders[colony]
        before = holders[0]
        if before != host:
            self.led[before].discard(colony)
            self._add(before, primaries=-1)
            self.led[host].add(colony)
            self._add(host, primaries=1)
            holders.remove(host)
            holders.insert(0, host)
