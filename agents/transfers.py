"""Transfers: clone, activate, retire and hand over, at the primary.

The order of steps is what keeps the ack set complete: a learner enters it
before it may call itself ACTIVE, and a peer leaves it only after it said
that it is not ACTIVE any more.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import NamedTuple, Protocol

from agents.causes import Cause
from agents.cells import batches, whole
from agents.cloning import Clone
from agents.effects import Effect, Note, Send, TellHost
from agents.messages.replication import (
    Activate,
    CloneAnswer,
    CloneAsk,
    CloneStart,
    HandOver,
    Replicate,
    Retire,
)
from agents.peer import Peer
from agents.pending import Pending
from agents.places import told
from agents.surroundings import CloneOrdered, MoveRefused
from agents.views import COUNT_BITS, epoch_count, next_epoch

Out = list[Effect]
STUCK_S = 30.0  # a target with which a move got stuck is left alone for so long


class Primary(Protocol):
    """A primary, as its transfers see it: see `agents.primary`."""

    ack_set: dict[str, int]
    is_open: bool
    peer: Peer
    pending: deque[Pending]
    transfers: Transfers

    def commit(self, now_s: float, out: Out) -> None:
        """Commit what the whole ack set has acked, if quorum is held."""

    def resend(self, host: str, now_s: float, out: Out) -> None:
        """Send `host` again all that it has not acked; at least a question."""

    def take_waiting(self, now_s: float, out: Out) -> None:
        """Go on with requests that waited, as far as there is room."""


class Handing(NamedTuple):
    """A hand-over that has begun; nothing is sequenced or read meanwhile."""

    target: str
    started_s: float
    reason: str


class Transfers:
    """What a primary has under way.

    Attributes:
        clones: Target -> clone; not yet in the ack set.
        activating: Host in the ack set -> number of the clone it came by;
            it has not answered `activate` yet.
        retiring: Hosts in the ack set that have not answered `retire` yet.
        handing: The hand-over that waits for the last acks.
        fell: The event by which the population fell last, and is not made good yet.
        newest: The host whose peer became ACTIVE last.
        weights: Host that is activating -> bytes that were cloned to it.
        told_s: Host that is activating -> since when.
        stuck: Hosts that let an order to go unanswered for long.
        sources: Target of a clone that is not ACTIVE yet -> the peer that goes in its place.
    """

    __slots__ = (
        "activating",
        "clones",
        "fell",
        "handing",
        "newest",
        "next_clone",
        "retiring",
        "sources",
        "stuck",
        "told_s",
        "weights",
    )

    def __init__(self) -> None:
        self.clones: dict[str, Clone] = {}
        self.activating: dict[str, int] = {}
        self.retiring: dict[str, float] = {}
        self.handing: Handing | None = None
        self.fell: Cause | None = None
        self.newest = ""
        self.weights: dict[str, int] = {}
        self.told_s: dict[str, float] = {}
        self.stuck: set[str] = set()
        self.sources: dict[str, str] = {}
        self.next_clone = 1

    @property
    def under_way(self) -> bool:
        """Return whether a clone, an activate or a retire is unanswered."""
        return bool(self.clones or self.activating or self.retiring)

    @property
    def going(self) -> frozenset[str]:
        """Return the peers that go, or will once another has taken their place."""
        return frozenset((*self.sources.values(), *self.retiring))

    def forget_source(self, host: str) -> None:
        """This peer is gone: nothing is to take its place any more."""
        self.sources = {new: old for new, old in self.sources.items() if host not in (new, old)}


# -- clone ---------------------------------------------------------------------


def order_clone(
    primary: Primary, order: CloneOrdered, now_s: float, out: Out, *, again: bool = False
) -> None:
    """Ask the target to take a copy; `again`: what a link or a view broke off is no new decision."""
    transfers, peer, target = primary.transfers, primary.peer, order.target
    if target in transfers.clones or target in primary.ack_set or transfers.handing is not None:
        return
    cause = order.cause or transfers.fell
    clone = Clone(replace(order, cause=cause), transfers.next_clone, now_s)
    transfers.next_clone += 1
    transfers.clones[target] = clone
    if order.source:
        transfers.sources[target] = order.source
    step = {"step": "again" if again else "asked"}
    out.append(Note("clone", order.reason, peer.colony, target, step, cause))
    weight = peer.cells.bytes_used
    out.append(Send(target, CloneAsk(peer.colony, peer.epoch, clone.number, weight, order.weight_max)))


def clone_answered(primary: Primary, target: str, answer: CloneAnswer, now_s: float, out: Out) -> None:
    """Start the stream, or look elsewhere."""
    clone = primary.transfers.clones.get(target)
    if clone is None or clone.number != answer.clone or clone.started:
        return
    if not answer.admitted:
        drop_clone(primary, target, f"refused: {answer.reason}", out, tell=False)
        return
    peer, limits = primary.peer, primary.peer.host.limits
    clone.start(peer.cells, peer.committed, limits.chunk_bytes)
    clone.touched_s = now_s
    clock_s = peer.clock_s(now_s)
    history = peer.history_state(now_s)
    places = told(peer.cells.places)
    start = CloneStart(peer.colony, peer.epoch, clone.number, peer.committed, clock_s, history, places)
    out.append(Send(target, start))
    for entries in batches(whole(p.entry, p.after) for p in primary.pending):
        out.append(Send(target, Replicate(peer.colony, peer.epoch, peer.committed, clock_s, entries)))
    _send_chunks(primary, clone, now_s, out)


def _send_chunks(primary: Primary, clone: Clone, now_s: float, out: Out) -> None:
    """Send what credit and the host's pace allow now."""
    peer, pace = primary.peer, primary.peer.host.pace
    chunks = clone.chunks(peer.colony, peer.epoch, peer.host.limits.window)
    clone.is_held = True
    while pace.allows(now_s, is_urgent=clone.is_urgent):
        chunk = next(chunks, None)
        if chunk is None:
            clone.is_held = False
            return
        pace.spend(clone.sizes[-1])
        out.append(Send(clone.order.target, chunk))


def chunk_acked(primary: Primary, target: str, number: int, chunk: int, now_s: float, out: Out) -> None:
    """More credit: send on; or the clone is complete."""
    clone = primary.transfers.clones.get(target)
    if clone is None or clone.number != number or not clone.started:
        return
    clone.chunk_acked(chunk, now_s)
    _send_chunks(primary, clone, now_s, out)
    finish_clones(primary, out)


def finish_clones(primary: Primary, out: Out) -> None:
    """Take complete learners into the ack set, *then* activate them."""
    transfers, peer = primary.transfers, primary.peer
    for target, clone in list(transfers.clones.items()):
        if clone.started and clone.is_complete(peer.committed):
            del transfers.clones[target]
            primary.ack_set[target] = clone.acked_seq
            transfers.activating[target] = clone.number
            transfers.told_s[target] = clone.touched_s
            transfers.weights[target] = clone.bytes_whole
            out.append(Send(target, Activate(peer.colony, peer.epoch, clone.number)))


def drop_clone(
    primary: Primary, target: str, reason: str, out: Out, *, tell: bool = True, rest_s: float = 0.0
) -> None:
    """Give a clone up; the population stays what it was."""
    transfers, peer = primary.transfers, primary.peer
    if transfers.clones.pop(target, None) is None:
        return
    transfers.sources.pop(target, None)
    broken = Cause("clone", peer.colony, target)
    out.append(Note("clone", reason, peer.colony, target, {"step": "given up"}, broken))
    out.append(TellHost(MoveRefused(peer.colony, target, reason, rest_s)))
    if tell:
        out.append(Send(target, Retire(peer.colony, peer.epoch)))


def activated(primary: Primary, target: str, number: int, out: Out) -> bool:
    """Return whether a new peer has become ACTIVE by this answer."""
    if primary.transfers.activating.get(target) != number:
        return False
    transfers, colony = primary.transfers, primary.peer.colony
    del transfers.activating[target]
    transfers.told_s.pop(target, None)
    transfers.newest = target
    transfers.sources.pop(target, None)
    if not transfers.clones:
        transfers.fell = None
    details = {"bytes": transfers.weights.pop(target, 0)}
    out.append(
        Note("cloned", "the new peer is ACTIVE", colony, target, details, Cause("clone", colony, target))
    )
    return True


# -- retire --------------------------------------------------------------------


def order_retire(
    primary: Primary, target: str, reason: str, now_s: float, out: Out, cause: Cause | None = None
) -> None:
    """Ask a peer to go; it stays in the ack set until it answered."""
    transfers, peer = primary.transfers, primary.peer
    if target not in primary.ack_set or target in transfers.retiring or transfers.handing:
        return
    transfers.retiring[target] = now_s
    if cause is None and transfers.newest:
        cause = Cause("cloned", peer.colony, transfers.newest)
    out.append(Note("retire", reason, peer.colony, target, cause=cause))
    out.append(Send(target, Retire(peer.colony, peer.epoch)))


def retired(primary: Primary, target: str, now_s: float, out: Out) -> bool:
    """A peer says that it holds nothing; return whether the list of peers changes."""
    transfers = primary.transfers
    clone = transfers.clones.get(target)
    # Before its `clone answer` it speaks of its last life, not of this attempt.
    dropped = clone is not None and clone.started
    if dropped:
        drop_clone(primary, target, "the target has given it up", out, tell=False)
    transfers.activating.pop(target, None)
    transfers.told_s.pop(target, None)
    transfers.stuck.discard(target)
    asked = transfers.retiring.pop(target, None) is not None
    transfers.forget_source(target)
    if primary.ack_set.pop(target, None) is None:
        return dropped
    if not asked:
        transfers.fell = Cause("retired", primary.peer.colony, target)
    primary.commit(now_s, out)
    return True


# -- hand over -----------------------------------------------------------------


def order_hand_over(
    primary: Primary, target: str, reason: str, now_s: float, out: Out, cause: Cause | None = None
) -> bool:
    """Begin a hand-over; return whether it may begin."""
    transfers = primary.transfers
    if transfers.under_way or transfers.handing is not None:
        return False
    if not primary.is_open or target not in primary.ack_set:
        return False
    if epoch_count(primary.peer.epoch) == (1 << COUNT_BITS) - 1:
        return False  # this view has no epoch left for another primary; the next one has
    transfers.handing = Handing(target, now_s, reason)
    out.append(Note("hand_over", reason, primary.peer.colony, target, {"step": "begun"}, cause))
    return True


def hand_over_if_drained(primary: Primary, view: int, now_s: float, out: Out) -> HandOver | None:
    """Return the message that ends this primacy once all is committed."""
    peer, handing = primary.peer, primary.transfers.handing
    if handing is None:
        return None
    if handing.target not in primary.ack_set:
        cancel_hand_over(primary, "its target is no peer any more", now_s, out)
        return None
    if primary.pending or not peer.host.quorum.held(now_s):
        return None
    others = [host for host in primary.ack_set if host != handing.target]
    message = HandOver(
        peer.colony,
        next_epoch(peer.epoch, view),
        peer.last,
        peer.clock_s(now_s),
        (*others, peer.host.me),
    )
    out.append(Send(handing.target, message))
    return message


def cancel_hand_over(primary: Primary, reason: str, now_s: float, out: Out) -> None:
    """Go on as primary: the hand-over was not sent yet."""
    handing = primary.transfers.handing
    if handing is None:
        return
    primary.transfers.handing = None
    colony, target = primary.peer.colony, handing.target
    begun = Cause("hand_over", colony, target)
    out.append(Note("hand_over", reason, colony, target, {"step": "given up"}, begun))
    primary.take_waiting(now_s, out)


def _give_up_the_unanswered(primary: Primary, now_s: float, out: Out) -> None:
    """Let a new peer go that never says that it is ACTIVE; ask again whoever was told to go.

    Both stay in the ack set until they say that they hold nothing: they may hold what is committed.
    """
    transfers, peer = primary.transfers, primary.peer
    patience_s = peer.host.limits.clone_patience_s
    for target, since_s in list(transfers.told_s.items()):
        if now_s - since_s > patience_s and transfers.handing is None:
            reason = f"stuck: it does not say that it is ACTIVE for {now_s - since_s:.0f} s"
            del transfers.told_s[target]
            transfers.sources.pop(target, None)
            order_retire(primary, target, reason, now_s, out, Cause("clone", peer.colony, target))
            out.append(TellHost(MoveRefused(peer.colony, target, reason, STUCK_S)))
    for target, since_s in transfers.retiring.items():
        if now_s - since_s > patience_s:
            transfers.retiring[target] = now_s
            out.append(Send(target, Retire(peer.colony, peer.epoch)))
            if target not in transfers.stuck:
                transfers.stuck.add(target)
                why = f"stuck: it does not say that it has gone for {patience_s:.0f} s; it is asked again"
                asked = Cause("retire", peer.colony, target)
                out.append(Note("retire", why, peer.colony, target, {"step": "again"}, asked))


# -- faults --------------------------------------------------------------------


def link_up(primary: Primary, host: str, now_s: float, out: Out) -> None:
    """Send `host` again what it has not answered; a clone starts over."""
    transfers, peer = primary.transfers, primary.peer
    clone = transfers.clones.pop(host, None)
    if clone is not None:
        order_clone(primary, clone.order, now_s, out, again=True)
    if host not in primary.ack_set:
        return
    if host in transfers.activating:  # before the deltas that follow it
        out.append(Send(host, Activate(peer.colony, peer.epoch, transfers.activating[host])))
    if primary.ack_set[host] < peer.last:
        primary.resend(host, now_s, out)
    if host in transfers.retiring:
        out.append(Send(host, Retire(peer.colony, peer.epoch)))


def view_installed(primary: Primary, members: frozenset[str], now_s: float, out: Out, view: int = 0) -> None:
    """Drop the dropped; send the rest again in the new view (its id: `view`); wait for nobody."""
    transfers = primary.transfers
    for host in [host for host in primary.ack_set if host not in members]:
        del primary.ack_set[host]
        transfers.fell = Cause("view", view=view)
        transfers.activating.pop(host, None)
        transfers.told_s.pop(host, None)
        transfers.retiring.pop(host, None)
        transfers.stuck.discard(host)
        transfers.forget_source(host)
    for host in list(transfers.clones):
        clone = transfers.clones.pop(host)
        if host in members:  # messages of the old view are gone: start over
            order_clone(primary, clone.order, now_s, out, again=True)
    if not primary.is_open:  # the promise of this view, not of the last one
        primary.ack_set = dict.fromkeys(primary.ack_set, 0)
    for host in primary.ack_set:
        link_up(primary, host, now_s, out)
    primary.commit(now_s, out)


def give_up_the_silent(primary: Primary, now_s: float, out: Out) -> None:
    """End what got stuck, back to the state before it: another target is looked for, or another time."""
    limits = primary.peer.host.limits
    for target, clone in list(primary.transfers.clones.items()):
        if clone.is_held:  # by us: the target has nothing to say
            clone.touched_s = now_s
            _send_chunks(primary, clone, now_s, out)
            if clone.is_held:  # nor has it heard anything: it would hold us dead, and free what has come
                peer = primary.peer
                clock_s = peer.clock_s(now_s)
                out.append(Send(target, Replicate(peer.colony, peer.epoch, peer.committed, clock_s, ())))
        if now_s > clone.deadline_s(limits):
            age_s, done = now_s - clone.started_s, clone.progress
            reason = f"stuck: {done:.0%} of it after {age_s:.0f} s"
            drop_clone(primary, target, reason, out, rest_s=STUCK_S)
        elif now_s - clone.touched_s > limits.clone_patience_s:
            drop_clone(primary, target, "the target is silent", out, rest_s=STUCK_S)
    _give_up_the_unanswered(primary, now_s, out)
    handing = primary.transfers.handing
    if handing is not None and now_s - handing.started_s > limits.hand_over_patience_s:
        reason = "the last acks do not come"
        cancel_hand_over(primary, reason, now_s, out)
        out.append(TellHost(MoveRefused(primary.peer.colony, handing.target, reason)))
