"""The directory: where every colony is, as far as this host knows.

Per colony the entry of the highest (epoch, change) stands. A digest of all
entries travels in heartbeats, and finds what a lost message left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from agents.messages.replication import Located
from placement.peers import Peers

_MASK = (1 << 48) - 1


def _mark(located: Located) -> int:
    """Return a number that mixes what orders an entry; same on all hosts."""
    mixed = (located.colony + 1) * 0x9E3779B97F4A7C15 ^ located.epoch * 0xC2B2AE3D27D4EB4F
    mixed ^= (located.change + 1) * 0x165667B19E3779F9
    return (mixed ^ mixed >> 29) & _MASK


class Directory:
    """Located entries of `colonies` colonies, with counts per host.

    Attributes:
        digest: Equal on two hosts that know the same.
        copies: Host -> ACTIVE peers and learners there that stay.
        primaries: Host -> primaries there.
        bytes_used: Host -> bytes of cells there.
        bytes_going: Host -> bytes of cells there that are to go.
        set_bytes: Of one copy of each colony.
        touched: Hosts whose figures have changed since somebody looked and cleared it.
    """

    def __init__(self, colonies: int) -> None:
        self.entries: list[Located | None] = [None] * colonies
        self.digest = 0
        self.copies: Counter[str] = Counter()
        self.primaries: Counter[str] = Counter()
        self.bytes_used: Counter[str] = Counter()
        self.bytes_going: Counter[str] = Counter()
        self.set_bytes = 0
        self.touched: set[str] = set()

    def learn(self, located: Located) -> bool:
        """Take an entry if it is newer than what is known; return whether it was."""
        if not 0 <= located.colony < len(self.entries):
            return False
        known = self.entries[located.colony]
        if known is not None and (known.epoch, known.change) >= (located.epoch, located.change):
            return False
        if known is not None:
            self.digest ^= _mark(known)
            self._count(known, -1)
        self.entries[located.colony] = located
        self.digest ^= _mark(located)
        self._count(located, 1)
        return True

    def _count(self, located: Located, sign: int) -> None:
        self.set_bytes += sign * located.bytes_used
        hosts = {*located.peers, *located.learners}
        self.touched |= hosts
        for host in hosts:
            self.copies[host] += sign * (host not in located.going)
            self.bytes_used[host] += sign * located.bytes_used
            if host in located.going:
                self.bytes_going[host] += sign * located.bytes_used
        self.primaries[located.primary] += sign
        if sign < 0:  # of hosts that come and go, each with an id of its own, nothing stays behind
            for counts in (self.copies, self.bytes_used, self.bytes_going, self.primaries):
                for host in (*hosts, located.primary):
                    if not counts[host]:
                        del counts[host]

    def primary(self, colony: int) -> str:
        """Return the host id of a colony's primary, "" = unknown."""
        if not 0 <= colony < len(self.entries):
            return ""
        entry = self.entries[colony]
        return entry.primary if entry is not None else ""

    def place(self, colony: int, members: Collection[str]) -> Peers:
        """Return where a colony lives, by its entry; who is no member does not count."""
        entry = self.entries[colony]
        if entry is None:
            return Peers(colony)
        primaries = (entry.primary,) if entry.primary in members else ()
        return Peers(
            colony, primaries, tuple([p for p in entry.peers if p != entry.primary and p in members])
        )

    def known(self) -> tuple[tuple[int, int], ...]:
        """Return (epoch, change) per colony, for those who know more."""
        return tuple((e.epoch, e.change) if e is not None else (0, 0) for e in self.entries)

    def newer_than(self, known: Iterable[tuple[int, int]]) -> Iterator[Located]:
        """Yield the entries that another's `known` lacks."""
        for entry, theirs in zip(self.entries, known, strict=False):
            if entry is not None and (entry.epoch, entry.change) > tuple(theirs):
                yield entry
