"""Views: the agreed, numbered lists of member hosts.

View ids and epochs are single integers, so that order is plain `<`:
`view id = generation << 32 | number`, `epoch = view id << 16 | k`.
"""

from __future__ import annotations

from enum import Enum
from functools import cached_property
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from agents.fields import MEMBERS_MAX, Count, Id, Seconds, Word
from placement.labels import Labels, Level

NUMBER_BITS = 32
COUNT_BITS = 16
GENERATION_MAX = (1 << 15) - 1
SAID_MAX = 64  # of different words on who is heard
FORKS_MAX = 32  # generations remembered: a cluster that was split more often since is another one


def view_id(generation: int, number: int) -> int:
    """Return the id of a view; ordered by generation, then number."""
    if not 0 <= generation <= GENERATION_MAX or not 0 <= number < 1 << NUMBER_BITS:
        raise ValueError(f"no such view: generation {generation}, number {number}")
    return generation << NUMBER_BITS | number


def generation_of(view: int) -> int:
    """Return the generation of a view id."""
    return view >> NUMBER_BITS


def number_of(view: int) -> int:
    """Return the number of a view id inside its generation."""
    return view & ((1 << NUMBER_BITS) - 1)


def epoch_in(view: int, count: int) -> int:
    """Return the `count`-th epoch that begins in a view."""
    if not 0 <= count < 1 << COUNT_BITS:
        raise ValueError(f"epoch count {count} is out of range")
    return view << COUNT_BITS | count


def epoch_view(epoch: int) -> int:
    """Return the id of the view in which an epoch began."""
    return epoch >> COUNT_BITS


def epoch_count(epoch: int) -> int:
    """Return the count of an epoch inside its view."""
    return epoch & ((1 << COUNT_BITS) - 1)


def next_epoch(epoch: int, view: int) -> int:
    """Return the lowest epoch of `view` that is above `epoch`."""
    if epoch_view(epoch) > view:
        raise ValueError("an epoch of a later view can't be followed in this one")
    return epoch + 1 if epoch_view(epoch) == view else epoch_in(view, 0)


class Status(Enum):
    """What a member is doing in the view."""

    JOINING = "JOINING"
    ACTIVE = "ACTIVE"
    LEAVING = "LEAVING"


class Charter(msgspec.Struct, frozen=True, array_like=True):
    """What `init` fixed for the whole life of a cluster.

    Attributes:
        quorum: `majority`: only a majority of the view serves. `available`: a
            side without one goes on by itself, in the next generation.
        apart: No two peers of a colony ever share this, or what is nearer.
    """

    colonies: int = 64
    peers: int = 2
    lease_s: float = 0.5
    heartbeat_s: float = 0.1
    suspect_s: float = 1.0
    quorum: Literal["majority", "available"] = "majority"
    apart: Literal["host", "box", "rack", "zone"] = "host"

    def __post_init__(self) -> None:
        if not 1 <= self.colonies <= 65536:
            raise ValueError("colonies must be 1 to 65,536")
        if not 1 <= self.peers <= 16:
            raise ValueError("peers must be 1 to 16")
        if not 0 < self.heartbeat_s < self.lease_s <= self.suspect_s <= 60:
            raise ValueError("need 0 < heartbeat_s < lease_s <= suspect_s <= 60")
        if self.quorum not in ("majority", "available"):
            raise ValueError(f"quorum is majority or available, not {self.quorum!r}")
        if self.apart not in ("host", "box", "rack", "zone"):
            raise ValueError(f"peers stand apart by host, box, rack or zone, not {self.apart!r}")

    @property
    def hard(self) -> Level:
        """The level that no two peers of a colony may share."""
        return Level[self.apart.upper()]

    @property
    def is_available(self) -> bool:
        """Whether a side without a majority goes on by itself."""
        return self.quorum == "available"


class Member(msgspec.Struct, frozen=True, array_like=True):
    """One host as a view lists it.

    Attributes:
        id: Host id, 32 hexadecimal digits.
        incarnation: Grows at each start of the same host id; > 0.
        name: What people call it; unique among live hosts.
        address: Where clients and joiners connect, `tcp://…`.
        link: Where other hosts connect, `tcp://…`.
        machine: Boot and pid-namespace identity; "" = can't attest deaths.
        pid: Process id inside that namespace.
        started_s: Process start, seconds since boot (wall clocks may be set).
        entered: Id of the view that first listed this incarnation.
        durable: It has a state directory: it can be stopped and come back.
        protocol: The newest version of the wire protocol that it speaks.
        software: Its release.
    """

    id: Id
    incarnation: Count
    name: Word
    address: Word
    link: Word
    labels: Labels = Labels()
    public_key: Word = ""
    machine: Word = ""
    pid: Count = 0
    started_s: Seconds = 0.0
    bytes_max: Count = 0
    witness: bool = False
    status: Status = Status.JOINING
    entered: Count = 0
    durable: bool = False
    protocol: Count = 1
    software: Word = ""


class Fork(msgspec.Struct, frozen=True, array_like=True):
    """Where a side went on by itself, without a majority.

    Attributes:
        base: Id of the last view that it shared with others.
        first: Id of its own first view; names the generation's lineage.
        uptime_s: How long its most senior member had been up then.
    """

    base: Count
    first: Count
    uptime_s: Seconds = 0.0


class View(msgspec.Struct, frozen=True, array_like=True, dict=True):
    """A membership epoch: who is here, in order of seniority.

    Attributes:
        tag: The cluster's UUID, 32 hexadecimal digits.
        id: See `view_id`.
        members: Ordered by (flaps beyond the first, entered, id).
        left: (host id, incarnation) dropped by this view after a clean leave.
        dead: (host id, incarnation) dropped by this view as dead.
        gone: The last drops of all views, newest last, one per host id: no
            incarnation up to one named here is ever admitted again.
        flaps: (host id, how often it was held dead of late), as far as the
            proposer knew. Members that flap are listed last.
        forks: With `quorum = available`: the forced generations that led here, oldest first.
        absent: With it: members dropped as dead, but not surely dead: they may
            be alive on another side, and are looked for.
        freezes: How often moves were frozen and thawed; odd = they are frozen.
    """

    tag: Id
    id: Count
    charter: Charter
    members: Annotated[tuple[Member, ...], Meta(max_length=MEMBERS_MAX)]
    left: Annotated[tuple[tuple[Id, Count], ...], Meta(max_length=MEMBERS_MAX)] = ()
    dead: Annotated[tuple[tuple[Id, Count], ...], Meta(max_length=MEMBERS_MAX)] = ()
    gone: tuple[tuple[str, int], ...] = ()
    flaps: Annotated[tuple[tuple[Id, Count], ...], Meta(max_length=MEMBERS_MAX)] = ()
    forks: Annotated[tuple[Fork, ...], Meta(max_length=FORKS_MAX)] = ()
    absent: Annotated[tuple[Member, ...], Meta(max_length=MEMBERS_MAX)] = ()
    freezes: Count = 0

    def member(self, host: str) -> Member | None:
        """Return the member with this host id, or None."""
        return self._by_id.get(host)

    @cached_property
    def _by_id(self) -> dict[str, Member]:
        """The members by host id; made when first asked for, as `ids` are: heartbeats ask all the time."""
        return {member.id: member for member in reversed(self.members)}

    def lists(self, host: str, incarnation: int) -> bool:
        """Return whether exactly this incarnation is a member."""
        member = self.member(host)
        return member is not None and member.incarnation == incarnation

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Host ids, most senior first."""
        return tuple(member.id for member in self.members)

    def misses(self, heard: tuple[str, ...]) -> bytes:
        """Return the places of all members but these, a bit for each; b"" = none is missing.

        The first member is the lowest bit of the first byte; zero bytes at the end are left out.
        """
        if len(heard) == len(self.members):
            return b""
        there = frozenset(heard)
        bits = sum(1 << place for place, host in enumerate(self.ids) if host not in there)
        return bits.to_bytes((bits.bit_length() + 7) // 8, "little")

    def all_but(self, misses: bytes) -> frozenset[str] | None:
        """Return all members but those at these places; None = there are no such places in this view."""
        said = self._said.get(misses)
        if said is None:
            bits = int.from_bytes(misses, "little")
            if bits >> len(self.members):
                return None
            if len(self._said) >= SAID_MAX:
                self._said.clear()
            said = frozenset(host for place, host in enumerate(self.ids) if not bits >> place & 1)
            self._said[misses] = said
        return said

    @cached_property
    def _said(self) -> dict[bytes, frozenset[str]]:
        """What `all_but` has returned: a thousand members mostly say the same, and each set is large."""
        return {}

    @property
    def root(self) -> int:
        """Id of the first view of this generation's lineage; 0 = nothing was ever forced."""
        return self.forks[-1].first if self.forks else 0

    @property
    def is_frozen(self) -> bool:
        """Whether no colony moves for a better place; what lacks peers still gets them."""
        return self.freezes % 2 == 1

    @property
    def majority(self) -> int:
        """How many members are more than half."""
        return len(self.members) // 2 + 1

    @property
    def protocol(self) -> int:
        """The version that every member speaks: what is agreed or replicated may need no later one."""
        return min((member.protocol for member in self.members), default=1)

    def admitted_here(self, host: str) -> bool:
        """Return whether this very view admitted the member."""
        member = self.member(host)
        return member is not None and member.entered == self.id
