"""Merging: the winning primary takes in what another side changed.

Each change that is taken becomes a mutation like any other: sequenced,
replicated, acknowledged by all peers. Its lane names the losing side and the
colony, its number is the seq that it had there, and its result the tally so
far. So what is sent again is known again, at this primary or its successor.

Policies: a cell that only the losing side changed is taken. Of one that both
changed (a death by order is a change, an expiry is none) `latest` keeps the
younger change, `winner` the winner's; a function makes one of both.

Ages travel, not times: nobody's wall clock need be right. They are as exact
as the marks of `History` and the delay of a message.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Literal, NamedTuple, Protocol

import msgspec

from agents.cells import Cell, dna_bytes
from agents.effects import ClosureRan, Effect, Note, RunMerge, Seen, Send, TellHost
from agents.evaluate import is_live, misnamed
from agents.messages.client import OK
from agents.messages.merging import MergeAnswer, MergeAsk, MergeCell, MergeCells, MergeTaken
from agents.messages.replication import DEATH, PUT, Dna, Entry
from agents.moving import is_served
from agents.peer import Peer
from agents.pending import Pending
from agents.surroundings import MergeCounted
from agents.transfers import Transfers

Out = list[Effect]
Policy = Literal["latest", "winner", "function"]
QUEUE_MAX = 16  # batches that wait here; the sender has fewer under way
ABANDONED_S = 30.0  # the sender asks again every other second
INTAKES_MAX = 64  # merges of one colony under way: as many sides could not serve
SAME_EXPIRY_S = 1.0  # expiries so close are the same one, seen over a network


class Primary(Protocol):
    """A primary, as its merges see it: see `agents.primary`."""

    is_open: bool
    merges: Merges | None
    peer: Peer
    pending: deque[Pending]
    transfers: Transfers

    def latest(self, key: bytes) -> tuple[int, Cell | None]:
        """Return the cell after all that is sequenced; seq 0 = committed."""

    def death_of(self, key: bytes) -> int:
        """Return the seq of a dead cell's death by order, since hosts are absent; 0 = none is known."""

    def is_pending(self, lane: bytes) -> bool:
        """Return whether a lane's last mutation is not committed yet."""

    def is_busy(self, key: bytes) -> bool:
        """Return whether a function runs on a cell."""

    def hold(self, key: bytes) -> int:
        """Let requests for a cell wait; return the ticket of the function that runs on it."""

    def let_go(self, key: bytes, now_s: float, out: Out) -> None:
        """Go on with requests that waited for a cell."""

    def sequence(self, entry: Entry, before: Cell | None, now_s: float, out: Out) -> None:
        """Give a mutation its place, and send it to every peer."""


class Tally(NamedTuple):
    """What became of the changes so far."""

    merged: int = 0
    overridden: int = 0


class Waiting(NamedTuple):
    """A batch whose changes are sequenced: it is acknowledged once `seq` is committed."""

    number: int
    seq: int
    tally: Tally
    last: bool


class Intake:
    """One merge under way at the winning primary.

    Attributes:
        since: Up to this seq the winner's log is also the loser's.
        expected: The batch that comes next.
        batches: Batches that came and are not merged yet.
        place: How many cells of the first of them are.
        waiting: Batches that are merged, and not committed yet.
        ticket: Of the function that runs; 0 = none does.
    """

    __slots__ = (
        "attempt",
        "batches",
        "expected",
        "number",
        "place",
        "sender",
        "since",
        "tally",
        "ticket",
        "touched_s",
        "waiting",
    )

    def __init__(
        self, sender: str, attempt: int, number: int, tally: Tally, since: int, now_s: float
    ) -> None:
        self.sender = sender
        self.attempt = attempt
        self.number = number
        self.tally = tally
        self.since = since
        self.expected = 1
        self.batches: deque[MergeCells] = deque()
        self.place = 0
        self.waiting: deque[Waiting] = deque()
        self.ticket = 0
        self.touched_s = now_s


class Merges:
    """All merges of one primary, by lane, and functions that run for them, by ticket."""

    __slots__ = ("intakes", "running")

    def __init__(self) -> None:
        self.intakes: dict[bytes, Intake] = {}
        self.running: dict[int, tuple[bytes, MergeCell]] = {}


# -- what comes in -----------------------------------------------------------------


def asked(primary: Primary, sender: str, ask: MergeAsk, now_s: float, out: Out) -> None:
    """Tell a losing peer from where on to hand on; a new attempt ends an earlier one."""
    merges = primary.merges
    if merges is None:
        merges = primary.merges = Merges()
    reason = _refusal(primary, ask.lane, now_s)
    if not reason and ask.lane not in merges.intakes and len(merges.intakes) >= INTAKES_MAX:
        reason = "too many merges at a time"
    if reason:
        answer = MergeAnswer(ask.colony, ask.lane, ask.attempt, False, reason=reason)
        out.append(Send(sender, answer))
        return
    number, tally = _so_far(primary, ask.lane)
    since, number = _parted(primary, sender, ask, number)
    merges.intakes[ask.lane] = Intake(sender, ask.attempt, number, tally, since, now_s)
    out.append(Send(sender, MergeAnswer(ask.colony, ask.lane, ask.attempt, True, number)))


def _parted(primary: Primary, sender: str, ask: MergeAsk, number: int) -> tuple[int, int]:
    """Return the seq above which cells were changed here alone, and the one above which changes are wanted.

    Both logs go back to one primary's, so they are the same as far as the
    shorter one went when the sides parted. A log that began anew since then
    has nothing in common with the other.
    """
    peer = primary.peer
    last = peer.history.since((sender,)) if peer.history is not None else 0
    if peer.birth > ask.since:
        return 0, number
    if ask.reborn:
        return last, number
    return min(last, ask.apart), max(number, min(last, ask.apart))


def _refusal(primary: Primary, lane: bytes, now_s: float) -> str:
    """Return why a merge can't begin now; "" = it can."""
    if not _may_sequence(primary, now_s):
        return "its primary can't take anything in now"
    if primary.is_pending(lane):
        return "what was handed on before is not committed yet"
    merges = primary.merges
    if merges is not None and any(running[0] == lane for running in merges.running.values()):
        return "a merge function runs"
    return ""


def _so_far(primary: Primary, lane: bytes) -> tuple[int, Tally]:
    """Return the last number that a lane has brought, at this primary or before it, and the tally then."""
    known = primary.peer.cells.lanes.get(lane)
    return (known[0], _tally(known[3])) if known is not None else (0, Tally())


def _may_sequence(primary: Primary, now_s: float) -> bool:
    host = primary.peer.host
    free = primary.is_open and primary.transfers.handing is None and not host.frozen
    return free and host.quorum.held(now_s)


def came(primary: Primary, sender: str, batch: MergeCells, now_s: float, out: Out) -> None:
    """Take a batch, if it is the next of the present attempt."""
    merges = primary.merges
    intake = merges.intakes.get(batch.lane) if merges is not None else None
    if intake is None or (intake.sender, intake.attempt) != (sender, batch.attempt):
        return
    if batch.number != intake.expected or len(intake.batches) >= QUEUE_MAX:
        return  # of a link that was reset: the sender will ask again
    intake.expected += 1
    intake.touched_s = now_s
    intake.batches.append(batch)
    go_on(primary, now_s, out)


# -- merge ---------------------------------------------------------------------------


def go_on(primary: Primary, now_s: float, out: Out) -> None:
    """Merge what has come, as far as there is room; acknowledge what is committed."""
    merges = primary.merges
    assert merges is not None, "somebody has asked"
    for lane, intake in merges.intakes.items():
        while intake.batches and not intake.ticket and _may_sequence(primary, now_s):
            batch = intake.batches[0]
            if intake.place < len(batch.cells):
                if not _merge(primary, lane, intake, batch.cells[intake.place], now_s, out):
                    break
                continue
            intake.batches.popleft()
            intake.place = 0
            intake.waiting.append(Waiting(batch.number, primary.peer.last, intake.tally, batch.last))
    acknowledge(primary, now_s, out)


def _merge(primary: Primary, lane: bytes, intake: Intake, theirs: MergeCell, now_s: float, out: Out) -> bool:
    """Merge one cell; False: not now."""
    peer = primary.peer
    is_new, is_here = theirs.seq > intake.number, is_served(peer, theirs.key)
    if is_new and is_here:
        if len(primary.pending) >= peer.host.limits.pending_max or primary.is_busy(theirs.key):
            return False
        if theirs.dna is not None and peer.host.is_full(len(theirs.key) + dna_bytes(theirs.dna)):
            return False  # the sender's time runs out, and then it says so
    intake.place += 1
    if not is_new:
        return True  # merged before
    if not is_here:
        # A move that ended on one side only, or that rests until all are one again: see docs/protocol.rst
        intake.tally = Tally(intake.tally.merged, intake.tally.overridden + 1)
        return True
    cell = primary.latest(theirs.key)[1]
    mine = cell if is_live(cell, peer.clock_s(now_s)) else None
    changed = cell[0] if cell is not None else primary.death_of(theirs.key)
    if _is_same(primary, mine, theirs, now_s):
        return True
    if changed <= intake.since:
        _take(primary, lane, intake, theirs, theirs.dna, now_s, out)
    elif peer.host.policy == "function":
        _ask_function(primary, lane, intake, mine, theirs, now_s, out)
    elif peer.host.policy == "latest" and _is_younger(primary, theirs, changed, now_s):
        _take(primary, lane, intake, theirs, theirs.dna, now_s, out)
    else:
        intake.tally = Tally(intake.tally.merged, intake.tally.overridden + 1)
    return True


def _is_same(primary: Primary, mine: Cell | None, theirs: MergeCell, now_s: float) -> bool:
    """Return whether there is nothing to merge."""
    if mine is None or theirs.dna is None:
        return mine is None and theirs.dna is None
    left_s = mine[1] - primary.peer.clock_s(now_s) if mine[1] else 0.0
    is_same_time = bool(left_s) == bool(theirs.left_s) and abs(left_s - theirs.left_s) < SAME_EXPIRY_S
    return mine[2] == theirs.dna and is_same_time


def _is_younger(primary: Primary, theirs: MergeCell, changed: int, now_s: float) -> bool:
    """Return whether the losing side changed a cell later than this one; a draw is the winner's."""
    history = primary.peer.history
    if history is None:
        return False
    at_s = history.changed_s(theirs.key, changed, now_s)
    return at_s == -inf or theirs.age_s < now_s - at_s


def _take(
    primary: Primary,
    lane: bytes,
    intake: Intake,
    theirs: MergeCell,
    dna: Dna | None,
    now_s: float,
    out: Out,
) -> None:
    """Sequence the losing side's change (or what a function made of both)."""
    peer = primary.peer
    intake.tally = Tally(intake.tally.merged + 1, intake.tally.overridden)
    kind = PUT if dna is not None else DEATH
    expires_s = peer.clock_s(now_s) + theirs.left_s if theirs.left_s and dna is not None else 0.0
    seq = peer.last + 1
    result = msgspec.msgpack.encode(intake.tally)
    entry = Entry(seq, kind, theirs.key, dna, (), expires_s, lane, theirs.seq, OK, result)
    if peer.history is not None:
        peer.history.took(theirs.key, seq, now_s - theirs.age_s)
    primary.sequence(entry, primary.latest(theirs.key)[1], now_s, out)


def acknowledge(primary: Primary, now_s: float, out: Out) -> None:
    """Tell senders which batches are merged for good, and the host what a merge came to."""
    merges, peer = primary.merges, primary.peer
    assert merges is not None, "somebody has asked"
    for lane, intake in list(merges.intakes.items()):
        over = now_s - intake.touched_s > ABANDONED_S and not intake.ticket
        while intake.waiting and intake.waiting[0].seq <= peer.committed:
            number, _, tally, last = intake.waiting.popleft()
            taken = MergeTaken(peer.colony, lane, intake.attempt, number, last, *tally)
            out.append(Send(intake.sender, taken))
            if last:
                over = True
                out.append(TellHost(MergeCounted(peer.colony, lane, intake.sender, *tally)))
        if over:
            del merges.intakes[lane]
    if not merges.intakes and not merges.running:
        primary.merges = None


def _tally(result: bytes | None) -> Tally:
    try:
        return Tally(*msgspec.msgpack.decode(result or b"", type=tuple[int, int]))
    except msgspec.MsgspecError:
        return Tally()


# -- merge functions -------------------------------------------------------------------


def _ask_function(
    primary: Primary,
    lane: bytes,
    intake: Intake,
    mine: Cell | None,
    theirs: MergeCell,
    now_s: float,
    out: Out,
) -> None:
    """Have a function make one cell of two; the key waits meanwhile, and so does this merge."""
    merges = primary.merges
    assert merges is not None, "somebody has asked"
    intake.ticket = primary.hold(theirs.key)
    merges.running[intake.ticket] = (lane, theirs)
    ours: Seen | None = None
    if mine is not None:
        ours = (mine[0], mine[1] - primary.peer.clock_s(now_s) if mine[1] else None, mine[2])
    other = (theirs.seq, theirs.left_s or None, theirs.dna) if theirs.dna is not None else None
    out.append(RunMerge(intake.ticket, theirs.key, ours, other))


def _longer(primary: Primary, theirs: MergeCell, now_s: float) -> MergeCell:
    """Return the losing side's cell with the longer one of both lives."""
    mine = primary.latest(theirs.key)[1]
    if mine is None:
        return theirs
    if not mine[1] or (theirs.dna is not None and not theirs.left_s):
        return msgspec.structs.replace(theirs, left_s=0.0)
    left_s = max(theirs.left_s, mine[1] - primary.peer.clock_s(now_s))
    return msgspec.structs.replace(theirs, left_s=left_s)


def _unfit(primary: Primary, dna: Dna | None) -> str:
    """Return why what a function made can't be a cell, or ""."""
    size, most = dna_bytes(dna or b""), primary.peer.host.limits.value_bytes_max
    return f"it made {size} bytes; the limit is {most}" if size > most else misnamed(dna or b"")


def ran(primary: Primary, event: ClosureRan, now_s: float, out: Out) -> bool:
    """Take a merge function's result; False: the ticket is none of a merge."""
    merges = primary.merges
    running = merges.running.pop(event.ticket, None) if merges is not None else None
    if merges is None or running is None:
        return False
    lane, theirs = running
    intake = merges.intakes.get(lane)
    if intake is not None and intake.ticket == event.ticket:
        intake.ticket = 0
        error = event.error or _unfit(primary, event.dna)
        if error:
            reason = f"the merge function failed, the winner's cell stays: {error}"
            out.append(Note("merge_failed", reason, primary.peer.colony))
            intake.tally = Tally(intake.tally.merged, intake.tally.overridden + 1)
        elif event.dna is None and primary.latest(theirs.key)[1] is None:
            pass  # dead on both sides
        elif _may_sequence(primary, now_s):
            _take(primary, lane, intake, _longer(primary, theirs, now_s), event.dna, now_s, out)
        else:
            intake.place -= 1  # once more, when it may be sequenced
    primary.let_go(theirs.key, now_s, out)
    if primary.merges is not None:
        go_on(primary, now_s, out)
    return True
