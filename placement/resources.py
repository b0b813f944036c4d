"""Resources: sizes, and a host as placement sees it.

A host's *room* is what its own limit and its machine's memory both still
allow; its *fill* is the part of what it could hold that it does hold.
Figures that are not known yet are None, and count as enough.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from placement.labels import UNKNOWN, Labels

UNITS = {"": 1, "B": 1}
UNITS |= {f"{letter}iB": 1 << 10 * n for n, letter in enumerate("KMGTP", 1)}
UNITS |= {f"{letter}B": 1000**n for n, letter in enumerate("KMGTP", 1)}
# A bare letter means what it means to docker, systemd and the JVM: a power of two.
UNITS |= {letter: 1 << 10 * n for n, letter in enumerate("KMGTP", 1)}
_UNIT_BY_NAME = {name.lower(): size for name, size in UNITS.items()}
# What a copy weighs besides its bytes: acks, lanes, a line in each census. With less data than
# this in a colony, hosts are evened out by the number of copies rather than by bytes.
COPY_BYTES = 1 << 20
RESERVE_SHARE, RESERVE_MAX = 20, 256 << 20  # of all memory one part in so many, at most so much
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def parse_bytes(text: str) -> int:
    """Return the bytes that `512MiB`, `2G`, `1.5GB` or `4096` mean.

    `KiB, MiB …` and bare letters are powers of two, `KB, MB …` of ten; case
    does not matter.

    Raises:
        ValueError: It is no size.
    """
    match = _SIZE.fullmatch(text)
    unit = _UNIT_BY_NAME.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f"{text!r} is no size: write something like 512MiB, 2GB or 4096")
    whole = int(match[1]) * unit if match[1].isdigit() else float(match[1]) * unit
    return int(whole)


def format_bytes(size_bytes: int) -> str:
    """Return a size for people, such as `512.0 MiB`; below 1 KiB, `17 B`."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    size = float(size_bytes)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        size /= 1024
        if size < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} PiB"


def reserve(total: int) -> int:
    """Return the bytes of a machine's memory that cells leave free: for buffers, and for others."""
    return min(total // RESERVE_SHARE, RESERVE_MAX)


def spare(free: int, total: int) -> int:
    """Return the bytes that cells may still take of a machine with so much memory free."""
    return max(0, free - reserve(total))


@dataclass(frozen=True, slots=True)
class Candidate:
    """One member host as placement sees it, holder or not.

    Whoever builds it counts what is already under way: a copy that is being
    cloned to the host is one of its `copies`, and its bytes are used.

    Attributes:
        id: Host id.
        name: What people call it; reasons speak of it by this name.
        memory_free: Bytes its machine still has for cells (`spare`); None = not measured yet.
        bytes_max: Most bytes of cells that it may hold; 0 = no limit.
        bytes_used: Bytes of cells that it holds.
        bytes_going: Of these, bytes of copies that are to go.
        cpu: Share of its CPUs in use, 0 to 1, smoothed (`attraction.smoothed`).
        cpu_others: Of this what neither it nor other hosts of its machine use, as far as is known.
        copies: Peers on it, primaries included.
        primaries: Primary peers on it.
        accepts: May take new copies: ACTIVE or JOINING, and no witness.
        joining: Is to be given a share, and waits for it.
        leaving: Is to be emptied: its copies count as going.
        witness: Holds no peers, ever.
        flaps: How often it was lost of late (reputation).
        box_flaps: How often its box lost hosts of late.
        traffic: Mutations per second that its primaries take, smoothed.
        because: Why it does not accept, in words; "" = nothing to add.
    """

    id: str
    name: str = ""
    labels: Labels = UNKNOWN
    memory_free: int | None = None
    bytes_max: int = 0
    bytes_used: int = 0
    bytes_going: int = 0
    cpu: float = 0.0
    cpu_others: float = 0.0
    copies: int = 0
    primaries: int = 0
    accepts: bool = True
    joining: bool = False
    leaving: bool = False
    witness: bool = False
    flaps: int = 0
    box_flaps: int = 0
    traffic: float = 0.0
    because: str = ""

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("a candidate needs a host id")
        if not (0 <= self.cpu <= 1 and 0 <= self.cpu_others <= 1):
            raise ValueError(f"cpu is a share from 0 to 1, not {self.cpu} or {self.cpu_others}")
        if min(self.bytes_max, self.bytes_used, self.copies, self.primaries, self.flaps) < 0:
            raise ValueError("sizes and counts are not negative")
        if self.accepts and (self.leaving or self.witness):
            raise ValueError("a leaving host or a witness accepts no copy")

    @property
    def called(self) -> str:
        """The name for people, or the start of the id."""
        return self.name or self.id[:8]

    @property
    def weight(self) -> int:
        """What it carries, once all is gone that is going: its bytes, and something for each copy."""
        return self.bytes_used - self.bytes_going + self.copies * COPY_BYTES

    @property
    def room(self) -> int | None:
        """Bytes it can still take; None = as many as one likes."""
        free = None if self.memory_free is None else max(0, self.memory_free)
        if not self.bytes_max:
            return free
        left = max(0, self.bytes_max - self.bytes_used)
        return left if free is None else min(left, free)

    def fill(self, more_bytes: int = 0) -> float:
        """Return its fill, 0 to 1, once it holds `more_bytes` more."""
        room = self.room
        if room is None:
            return 0.0
        could_hold = self.bytes_used + room
        return min(1.0, (self.bytes_used + more_bytes) / could_hold) if could_hold else 1.0

    @property
    def refusal(self) -> str:
        """Why it takes no new copy, whatever its size; "" = it does."""
        if self.accepts:
            return ""
        if self.because:
            return self.because
        if self.leaving:
            return "is leaving"
        return "is a witness and holds no cells" if self.witness else "accepts no copies now"
