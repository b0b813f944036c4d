"""Leading: what only the primary of a colony takes, from its peers and its host.

Who does not lead hears none of it. What changes where the colony is, all
hosts are told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agents import merging, migration, transfers
from agents.announcing import announce
from agents.causes import Cause
from agents.effects import Effect, Note, QuorumCameBack, Send
from agents.messages.replication import Activated, ChunkAck, CloneAnswer, Missing, Retire, Retired
from agents.primary import Primary
from agents.surroundings import (
    CloneOrdered,
    Frozen,
    HandOverOrdered,
    MergeAsked,
    MergeCame,
    MigrateOrdered,
    RetireOrdered,
    SizeChanged,
)

Out = list[Effect]

# -- what its peers say, in its own epoch ------------------------------------------


def _missing(primary: Primary, sender: str, message: Missing, now_s: float, out: Out) -> None:
    if sender in primary.ack_set and message.seq < primary.peer.committed:
        # Nobody has that part any more: asking again would never end.
        transfers.order_retire(primary, sender, "it lacks what is committed", now_s, out)
    elif sender in primary.ack_set:
        primary.acked(sender, message.seq, now_s, out)
        primary.resend(sender, now_s, out)
    elif sender in primary.transfers.clones:  # a learner starts over
        transfers.link_up(primary, sender, now_s, out)


def _clone_answer(primary: Primary, sender: str, message: CloneAnswer, now_s: float, out: Out) -> None:
    transfers.clone_answered(primary, sender, message, now_s, out)
    if not message.admitted:
        announce(primary, out)


def _chunk_ack(primary: Primary, sender: str, message: ChunkAck, now_s: float, out: Out) -> None:
    transfers.chunk_acked(primary, sender, message.clone, message.number, now_s, out)


def _activated(primary: Primary, sender: str, message: Activated, now_s: float, out: Out) -> None:
    if transfers.activated(primary, sender, message.clone, out):
        announce(primary, out)


def _retired(primary: Primary, sender: str, message: Retired, now_s: float, out: Out) -> None:
    if transfers.retired(primary, sender, now_s, out):
        colony = primary.peer.colony
        reason = message.reason or "it has freed its cells"
        out.append(Note("retired", reason, colony, sender, cause=Cause("retire", colony, sender)))
        announce(primary, out)


MESSAGES: dict[type, Callable[[Primary, str, Any, float, Out], None]] = {
    Missing: _missing,
    CloneAnswer: _clone_answer,
    ChunkAck: _chunk_ack,
    Activated: _activated,
    Retired: _retired,
}

# -- what its host orders and tells ------------------------------------------------


def _clone_ordered(primary: Primary, event: CloneOrdered, now_s: float, out: Out) -> None:
    if primary.is_open:
        transfers.order_clone(primary, event, now_s, out)
        announce(primary, out)


def _retire_ordered(primary: Primary, event: RetireOrdered, now_s: float, out: Out) -> None:
    if primary.is_open:
        transfers.order_retire(primary, event.target, event.reason, now_s, out, event.cause)


def _hand_over_ordered(primary: Primary, event: HandOverOrdered, now_s: float, out: Out) -> None:
    transfers.order_hand_over(primary, event.target, event.reason, now_s, out, event.cause)


def _migrate_ordered(primary: Primary, event: MigrateOrdered, now_s: float, out: Out) -> None:
    if primary.is_open:
        migration.order(primary, event.key, event.to, event.reason, now_s, out, event.cool_s)


def _size_changed(primary: Primary, event: SizeChanged, now_s: float, out: Out) -> None:
    announce(primary, out)


def _merge_asked(primary: Primary, event: MergeAsked, now_s: float, out: Out) -> None:
    merging.asked(primary, event.sender, event.ask, now_s, out)


def _merge_came(primary: Primary, event: MergeCame, now_s: float, out: Out) -> None:
    merging.came(primary, event.sender, event.batch, now_s, out)


def _quorum_came_back(primary: Primary, event: QuorumCameBack, now_s: float, out: Out) -> None:
    primary.commit(now_s, out)


def _frozen(primary: Primary, event: Frozen, now_s: float, out: Out) -> None:
    transfers.cancel_hand_over(primary, "the cluster stops", now_s, out)
    if primary.transfers.clones:
        for target in list(primary.transfers.clones):
            transfers.drop_clone(primary, target, "the cluster stops", out)
        announce(primary, out)


EVENTS: dict[type, Callable[[Primary, Any, float, Out], None]] = {
    CloneOrdered: _clone_ordered,
    RetireOrdered: _retire_ordered,
    HandOverOrdered: _hand_over_ordered,
    MigrateOrdered: _migrate_ordered,
    SizeChanged: _size_changed,
    MergeAsked: _merge_asked,
    MergeCame: _merge_came,
    QuorumCameBack: _quorum_came_back,
    Frozen: _frozen,
}

# -- time, and the census ------------------------------------------------------------


def ticked(primary: Primary, now_s: float, out: Out) -> None:
    """Go on with what waits for a time: commits, expiries, merges, moves; give up what got stuck."""
    if primary.stalled:
        primary.commit(now_s, out)
    primary.expire(now_s, out)
    if primary.merges is not None:
        merging.go_on(primary, now_s, out)
    if primary.moves is not None:
        migration.ticked(primary, now_s, out)
    before = primary.transfers.going, len(primary.transfers.clones)
    transfers.give_up_the_silent(primary, now_s, out)
    if (primary.transfers.going, len(primary.transfers.clones)) != before:
        announce(primary, out)


def check_ack_set(
    primary: Primary, counted: frozenset[str], found: dict[str, int], now_s: float, out: Out
) -> None:
    """Let peers go that the census did not find (their copy was given up).

    Args:
        counted: The ack set as this view found it: whoever came since, no census speaks of.
        found: All other ACTIVE peers by the census, and their seqs.
    """
    peer, view = primary.peer, primary.peer.host.view
    census = Cause("census", view=view.id) if view is not None else None
    for host in counted.intersection(primary.ack_set):
        if host not in found and host not in primary.transfers.activating:
            # By asking, not by dropping: it may have come back meanwhile.
            transfers.order_retire(primary, host, "not in the census", now_s, out, census)
    for host in found:
        if host not in counted and host not in primary.ack_set:
            reason = "an ACTIVE peer outside the ack set"
            out.append(Note("alarm", reason, peer.colony, host))
            out.append(Send(host, Retire(peer.colony, peer.epoch)))
