"""What a colony's machine sees of its host, and what the two tell each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from agents.causes import Cause
from agents.cells import Cells
from agents.messages.client import Change
from agents.messages.merging import MergeAsk, MergeCells
from agents.messages.replication import CensusPeer, Located
from agents.pace import Pace
from agents.views import View


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one host; each has a named answer when it is reached.

    Attributes:
        value_bytes_max: Largest DNA of a cell.
        bytes_max: Weight of all cells of the host; 0 = memory decides.
        pending_max: Mutations of one colony that wait for acks.
        waiting_max: Requests of one colony that wait for it to open.
        chunk_bytes: About the size of a clone's chunk; 64 KiB measured best.
        window: Chunks under way per clone; 8 measured best.
        clones_max: Clones that one host feeds or takes at a time.
        moves_max: Moves for a better place that one host has under way at a time.
        clone_bytes_s: Bytes of clones that one host sends per second; 0 = no limit.
        clone_patience_s: Longest silence of a clone's target; of who was told to be ACTIVE, or to go.
        clone_deadline_s: Longest time of a clone, beside a second per MiB of it.
        hand_over_patience_s: Longest wait for the last acks.
    """

    value_bytes_max: int = 16 * 1024 * 1024
    bytes_max: int = 0
    pending_max: int = 1024
    waiting_max: int = 1024
    chunk_bytes: int = 64 * 1024
    window: int = 8
    clones_max: int = 16
    moves_max: int = 8
    clone_bytes_s: int = 0
    clone_patience_s: float = 5.0
    clone_deadline_s: float = 60.0
    hand_over_patience_s: float = 1.0


class Quorum(Protocol):
    """Whether this host may acknowledge anything now."""

    def held(self, now_s: float) -> bool:
        """Return whether a majority's leases are unexpired."""


class Surroundings(Protocol):
    """The host, as its colonies see it; all reads, no writes."""

    limits: Limits
    watched: bool
    frozen: bool  # the cluster stops: nothing is sequenced any more
    policy: str  # of merges: `latest`, `winner` or `function`
    pace: Pace

    @property
    def me(self) -> str:
        """This host's id."""

    @property
    def view(self) -> View | None:
        """The installed view."""

    @property
    def quorum(self) -> Quorum:
        """See `Quorum`."""

    def where(self, colony: int) -> tuple[str, str]:
        """Return (host id, public address) of a primary; ("", "") = unknown."""

    def called(self, host: str) -> str:
        """Return what people call a host of this view or the one before; else the start of its id."""

    def epoch_of(self, colony: int) -> int:
        """Return the highest epoch of a colony that is known; 0 = none is."""

    def absence(self, colony: int) -> str:
        """Return why a colony has no primary that is known."""

    def admits(self, colony: int, sender: str, bytes_wanted: int, weight_max: int = 0) -> str:
        """Return "" if a clone may come in, or why not."""

    def refused_birth(self) -> None:
        """Note that a cell was not born, or did not grow, for lack of room."""

    def is_full(self, bytes_more: int) -> bool:
        """Return whether so many bytes more are too many."""


# -- a host tells its colony ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class ViewInstalled:
    """The host has moved to `view`; answer `Counted`."""

    view: View


@dataclass(frozen=True, slots=True)
class CensusDecided:
    """All members know the census: the primary, and every ACTIVE peer's seq.

    `kept`: it was primary already when the census was taken.
    """

    epoch: int
    primary: str
    seqs: dict[str, int]
    kept: bool
    before: str = ""  # who led it before, as far as this host knew


@dataclass(frozen=True, slots=True)
class Born:
    """This host bears the colony, empty, in `epoch`."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Restored:
    """A snapshot brings this host's peer back, ACTIVE as it was; `clock_s` is the colony's clock now."""

    epoch: int
    seq: int
    clock_s: float
    cells: Cells


@dataclass(frozen=True, slots=True)
class Frozen:
    """The cluster stops: give up all moves that can be given up."""


@dataclass(frozen=True, slots=True)
class MergeAsked:
    """A host of a losing side wants to hand on what changed."""

    sender: str
    ask: MergeAsk


@dataclass(frozen=True, slots=True)
class MergeCame:
    """A host of a losing side hands on some changes."""

    sender: str
    batch: MergeCells


@dataclass(frozen=True, slots=True)
class CloneOrdered:
    """Make one more peer, on `target`.

    `source`: the peer that goes once it is there. `weight_max`: the target
    refuses if it would weigh more than that; 0 = it may weigh anything.
    """

    target: str
    reason: str
    cause: Cause | None = None
    source: str = ""
    weight_max: int = 0


@dataclass(frozen=True, slots=True)
class RetireOrdered:
    """Let the peer on `target` go."""

    target: str
    reason: str
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class HandOverOrdered:
    """Make the ACTIVE secondary on `target` the primary."""

    target: str
    reason: str
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class MigrateOrdered:
    """Let a cell of this colony live in another one, unless it was moved less than `cool_s` ago."""

    key: bytes
    to: int
    reason: str
    cool_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Outbid:
    """The room that this LEARNING peer was promised goes to a colony that has fewer."""

    reason: str


@dataclass(frozen=True, slots=True)
class SizeChanged:
    """The colony has grown or shrunk by so much that every host should know."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """The host is undead or the peer has failed: free everything."""

    reason: str


# -- a colony tells its host ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class Counted:
    """This colony's line of the census in `view`; None = no ACTIVE peer."""

    view: int
    colony: int
    peer: CensusPeer | None


@dataclass(frozen=True, slots=True)
class LocationChanged:
    """The primary here has a new list of peers, or is new itself."""

    located: Located


@dataclass(frozen=True, slots=True)
class PeerGone:
    """The peer here is no more (retired, wiped, given up)."""

    colony: int


@dataclass(frozen=True, slots=True)
class MoveRefused:
    """A clone, a retirement or a hand-over did not come about.

    `rest_s`: so much longer than usual the target is not asked again.
    """

    colony: int
    target: str
    reason: str
    rest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class MergeCounted:
    """All that a losing side changed in this colony is merged: what it came to."""

    colony: int
    lane: bytes
    sender: str
    merged: int
    overridden: int


@dataclass(frozen=True, slots=True)
class GuestsChanged:
    """Cells of other colonies came to live in this one, which is led here, or went; `anew`: these are all."""

    colony: int
    came: tuple[bytes, ...]
    went: tuple[bytes, ...]
    anew: bool = False


@dataclass(frozen=True, slots=True)
class RecountWanted:
    """The colony needs a new census."""

    reason: str


@dataclass(frozen=True, slots=True)
class CellChanged:
    """A committed change of a cell, for those who watch."""

    change: Change
