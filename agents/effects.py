"""Events that machines take, and effects that they return.

Events are past tense, effects imperative. A shell (the runtime's actors, or
the simulator) performs effects in the order in which they were returned.
Those that come with every request are structs: made in a fifth of the time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from agents.causes import Cause
from agents.messages.client import Reply
from agents.messages.membership import Load
from agents.messages.membership import Membership as MembershipMessage
from agents.messages.merging import MergeMessage
from agents.messages.replication import Dna, Replication
from agents.messages.stopping import StopMessage
from agents.record import Record
from agents.snapshot import Copy, Head, Mark
from agents.views import Charter, Member, View

HostMessage = MembershipMessage | Replication | StopMessage | MergeMessage

Seen = tuple[int, float | None, Dna]


# -- effects -----------------------------------------------------------------


class Send(msgspec.Struct, frozen=True, gc=False):
    """Send a message over the link to the host with this id."""

    to: str
    message: HostMessage


@dataclass(frozen=True, slots=True)
class Persist:
    """Write the durable record, fsynced, before any later effect."""

    record: Record


class Answer(msgspec.Struct, frozen=True, gc=False):
    """Reply to a request; `caller` is the token that came with it."""

    caller: Any
    reply: Reply


class Wake(msgspec.Struct, frozen=True, gc=False):
    """Hand a `Ticked` event to this machine at `at_s` (host's clock)."""

    at_s: float


@dataclass(frozen=True, slots=True)
class RunClosure:
    """Run a closure on DNA in the worker pool; answer `ClosureRan`."""

    ticket: int
    dna: bytes | None
    closure: bytes


@dataclass(frozen=True, slots=True)
class RunMerge:
    """Run the merge function on two cells in the worker pool; answer `ClosureRan`.

    A cell is (version, time left, DNA); None = it is dead on that side.
    """

    ticket: int
    key: bytes
    winner: Seen | None
    loser: Seen | None


@dataclass(frozen=True, slots=True)
class Dial:
    """Keep a link to this host, at this incarnation."""

    member: Member


@dataclass(frozen=True, slots=True)
class HangUp:
    """Close the link to this host, and keep none."""

    host: str


@dataclass(frozen=True, slots=True)
class ProbeProcess:
    """See whether the process of a member on this machine is gone."""

    member: Member


@dataclass(frozen=True, slots=True)
class Halt:
    """End the process with this exit status."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Note:
    """A decision or an event, with its reason and its cause; log, events and metrics read it."""

    kind: str
    reason: str = ""
    colony: int | None = None
    host: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    cause: Cause | None = None


@dataclass(frozen=True, slots=True)
class InstallView:
    """The host has moved to this view: peers, links and directory follow."""

    view: View
    before: View | None
    known: int = 0  # id of the view that was known until now, member of it or not


@dataclass(frozen=True, slots=True)
class GiveIn:
    """Hand on what this side changed to the one of this view; then say `GivenIn`."""

    winner: View


@dataclass(frozen=True, slots=True)
class DropEverything:
    """The host is undead: save lost and found (unless all is `merged`), drop all cells."""

    reason: str
    merged: bool = False


@dataclass(frozen=True, slots=True)
class SaveSnapshot:
    """Write down what this host holds; of a stop, periodic, or (neither) lost and found.

    On a worker's thread, and `SnapshotSaved` follows; `is_last`: at once, for
    the process is about to end.
    """

    head: Head
    copies: tuple[Copy, ...]
    bytes_used: int
    is_last: bool = False
    is_periodic: bool = False


@dataclass(frozen=True, slots=True)
class ConfirmSnapshot:
    """Say durably, before any later effect, that the stop came to its end."""

    mark: Mark


@dataclass(frozen=True, slots=True)
class DiscardSnapshot:
    """Remove the snapshot of a stop that was given up."""


@dataclass(frozen=True, slots=True)
class ForgetSnapshot:
    """Use the snapshot up, durably, before any later effect; `keep`: it goes to lost and found."""

    keep: bool


@dataclass(frozen=True, slots=True)
class KeepPeriodic:
    """Put the last periodic snapshot of the life before this one into lost and found."""


class TellHost(msgspec.Struct, frozen=True, gc=False):
    """A colony tells its host something (an event of this module)."""

    event: Any


class TellColony(msgspec.Struct, frozen=True, gc=False):
    """A host tells one of its colonies something."""

    colony: int
    event: Any


Effect = (
    Send
    | Persist
    | Answer
    | Wake
    | RunClosure
    | RunMerge
    | Dial
    | HangUp
    | ProbeProcess
    | Halt
    | Note
    | InstallView
    | GiveIn
    | DropEverything
    | SaveSnapshot
    | ConfirmSnapshot
    | DiscardSnapshot
    | ForgetSnapshot
    | KeepPeriodic
    | TellHost
    | TellColony
)


# -- events ------------------------------------------------------------------


class Received(msgspec.Struct, frozen=True, gc=False):
    """A message came over the link from a host."""

    sender: str
    message: HostMessage


class Requested(msgspec.Struct, frozen=True, gc=False):
    """A client's request came; `caller` says whom to answer."""

    caller: Any
    request: Any


class Ticked(msgspec.Struct, frozen=True, gc=False):
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class LinkCameUp:
    """A new incarnation of the link to a host is up; resend the unanswered."""

    host: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class LinkWentDown:
    """The link to a host is down; what was in flight is gone."""

    host: str
    reason: str


@dataclass(frozen=True, slots=True)
class ClosureRan:
    """A closure is done: new DNA (None = the cell dies), or an error."""

    ticket: int
    dna: Dna | None
    error: str = ""
    report: bytes | None = None
    is_denied: bool = False  # it was not run at all


@dataclass(frozen=True, slots=True)
class ProcessGone:
    """The process of this incarnation was seen to be gone: attested."""

    host: str
    incarnation: int
    reason: str = "its process is gone"


@dataclass(frozen=True, slots=True)
class ProcessStopped:
    """The process of this incarnation was seen to be stopped: it is no busy interpreter."""

    host: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class LoopWasLate:
    """The host's own loop woke up late by this much."""

    late_s: float


@dataclass(frozen=True, slots=True)
class QuorumCameBack:
    """`quorum.held` is true again: what waited may commit."""


@dataclass(frozen=True, slots=True)
class PeerFailed:
    """A colony's machine broke (an exception): its peer is given up."""

    colony: int
    reason: str


@dataclass(frozen=True, slots=True)
class SnapshotSaved:
    """A snapshot is written, or (`error`) it is not; no stop named = lost and found."""

    stop: str
    path: str
    error: str = ""
    is_periodic: bool = False


# -- events of membership ----------------------------------------------------


@dataclass(frozen=True, slots=True)
class BallotsHalted:
    """This host takes part in no ballot until it is told otherwise: the cluster stops.

    `in_doubt`: it votes again, but the others may have ended: it must not go on alone.
    """

    halted: bool
    in_doubt: bool = False


@dataclass(frozen=True, slots=True)
class StopEnded:
    """Membership heard that a whole-cluster stop came to its end, from one who is back from it."""

    stop: str


@dataclass(frozen=True, slots=True)
class EndMissed:
    """This member missed the end of a stop that the others are back from: it is a new incarnation now."""

    stop: str


@dataclass(frozen=True, slots=True)
class HelloSeen:
    """The link layer accepted a Hello; `view` and `stage` are its sender's."""

    member: Member
    tag: str
    view: int
    stage: str


@dataclass(frozen=True, slots=True)
class SeedFound:
    """An address given at the start turned out to be this host."""

    member: Member


@dataclass(frozen=True, slots=True)
class SeedSilent:
    """Nobody of ours answers at an address given at the start."""

    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class LinkRefused:
    """One end of a link refuses the other; `why` as in `agents.wire.Goodbye`."""

    member: Member
    reason: str
    why: str


@dataclass(frozen=True, slots=True)
class InitOrdered:
    """An operator wants a cluster to be born of the zombies seen from here."""

    charter: Charter


@dataclass(frozen=True, slots=True)
class LeaveOrdered:
    """A host is to leave cleanly; "" is the host that gets the order."""

    host: str = ""


@dataclass(frozen=True, slots=True)
class Emptied:
    """This leaving host holds no peer any more, and will admit none."""


@dataclass(frozen=True, slots=True)
class ShareReached:
    """This joiner holds its share and the directory."""


@dataclass(frozen=True, slots=True)
class RecountNeeded:
    """The census must run again: a view of the same members is wanted."""

    reason: str


@dataclass(frozen=True, slots=True)
class EvictOrdered:
    """An operator holds a host for dead, whoever hears it."""

    host: str
    reason: str = "operator"


@dataclass(frozen=True, slots=True)
class FreezeOrdered:
    """An operator wants no colony to move for a better place, or (not `frozen`) lets them move again."""

    frozen: bool


@dataclass(frozen=True, slots=True)
class RecoverOrdered:
    """An operator lets a side without a majority go on: `recover --force`."""


@dataclass(frozen=True, slots=True)
class GivenIn:
    """What `GiveIn` asked for is done; or (not `done`) the winner is out of reach."""

    done: bool
    reason: str


@dataclass(frozen=True, slots=True)
class LoadMeasured:
    """What heartbeats tell of this host from now on."""

    load: Load


@dataclass(frozen=True, slots=True)
class DigestIs:
    """The digest of this host's directory."""

    digest: int
