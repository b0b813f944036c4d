"""Announcing: what a primary tells all hosts of where its colony is.

Every host's directory keeps, per epoch, what has the highest change: one
change never says two things. So what was told last is kept as it was told,
and repeated to whoever missed it.
"""

from __future__ import annotations

from typing import Any

from agents.effects import Effect, Send, TellHost
from agents.messages.replication import Located
from agents.primary import Primary
from agents.surroundings import LocationChanged

Out = list[Effect]


def active(primary: Primary) -> tuple[str, ...]:
    """Return the ACTIVE peers as their primary knows them, itself first."""
    activating = primary.transfers.activating
    return (primary.peer.host.me, *(host for host in primary.ack_set if host not in activating))


def announce(primary: Primary, out: Out) -> None:
    """Tell every host where the colony is."""
    host, told = primary.peer.host, primary.announced
    if host.view is None:
        return
    primary.announced = located = _located(primary, 1 if told is None else told.change + 1)
    out.extend(Send(other, located) for other in host.view.ids if other != host.me)
    out.append(TellHost(LocationChanged(located)))


def announce_if_news(primary: Primary, out: Out) -> None:
    """After a census: tell all hosts if something is another; else those that the view admitted."""
    host, told = primary.peer.host, primary.announced
    view = host.view
    if view is None or told is None or _place(told) != _place(_located(primary, told.change)):
        announce(primary, out)
        return
    new = [m.id for m in view.members if m.entered == view.id and m.id != host.me]
    out.extend(Send(other, told) for other in new)


def _located(primary: Primary, change: int) -> Located:
    peer, transfers = primary.peer, primary.transfers
    peers, going = active(primary), transfers.going
    return Located(
        peer.colony,
        peer.epoch,
        change,
        peer.host.me,
        peers,
        len(peer.cells.live),
        peer.cells.bytes_used,
        peer.last,
        tuple(transfers.clones) + tuple(transfers.activating),
        tuple(host for host in peers if host in going),
    )


def _place(located: Located) -> tuple[Any, ...]:
    """Return what of an entry of the directory says where a colony is, not what it weighs."""
    return located.epoch, located.primary, located.peers, located.learners, located.going
