"""The census: who leads what, computed alike by every member.

With the census of every member that the view did not itself admit, each host
comes to the same result: a colony with a primary keeps the one of the highest
epoch; an orphan gets, of its ACTIVE peers, the one with the highest seq; one
without any ACTIVE peer is lost, and said to be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from agents.messages.replication import Census
from agents.views import Status, View, epoch_in, epoch_view, next_epoch, number_of
from placement.birth import first_placement
from placement.resources import Candidate

Outcome = Literal["kept", "promoted", "born", "lost"]


@dataclass(frozen=True, slots=True)
class Heir:
    """What the census says of one colony.

    Attributes:
        epoch: Of the primary; a new one, unless it is kept.
        primary: Host id; "" = nobody may bear it.
        seqs: Every ACTIVE peer's last seq.
    """

    colony: int
    outcome: Outcome
    epoch: int
    primary: str
    seqs: dict[str, int]


class CensusRound:
    """The censuses of one view, until all that count are in."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.missing = {m.id for m in view.members if not view.admitted_here(m.id)}
        self.heard: dict[str, Census] = {}

    def add(self, host: str, census: Census) -> bool:
        """Take one; return whether it completed the round."""
        if census.view != self.view.id or host not in self.missing:
            return False
        self.heard[host] = census
        self.missing.discard(host)
        return not self.missing

    @property
    def is_complete(self) -> bool:
        """Return whether nobody is missing (so it is, in a cluster's first view)."""
        return not self.missing


def bearers(view: View) -> list[str]:
    """Return the hosts that may bear a colony, most senior first."""
    able = [m for m in view.members if not m.witness]
    ready = [m.id for m in able if m.status is Status.ACTIVE]
    return ready or [m.id for m in able if m.status is Status.JOINING] or [m.id for m in able]


def elect(view: View, heard: Mapping[str, Census]) -> list[Heir]:
    """Return an heir for every colony of the cluster.

    Args:
        view: The view that every census was taken in.
        heard: Complete: one for every member that the view did not admit.
    """
    peers: list[dict[str, tuple[int, int, bool]]] = [{} for _ in range(view.charter.colonies)]
    for host, census in heard.items():
        for peer in census.peers:
            # An epoch of a later view can't be true, and none could follow it.
            if 0 <= peer.colony < len(peers) and epoch_view(peer.epoch) <= view.id:
                peers[peer.colony][host] = (peer.epoch, peer.seq, peer.primary)
    seniority = {host: place for place, host in enumerate(view.ids)}
    load = dict.fromkeys(view.ids, 0) | {host: c.load for host, c in heard.items()}
    if number_of(view.id) == 1 and not heard:
        return _births(view)
    return [_heir(view, c, found, load, seniority) for c, found in enumerate(peers)]


def _births(view: View) -> list[Heir]:
    """Return where the colonies of a new cluster are born: spread evenly."""
    able = set(bearers(view))
    hosts = [Candidate(m.id, labels=m.labels, accepts=m.id in able) for m in view.members]
    places = first_placement(view.charter.colonies, view.charter.peers, hosts)
    epoch = epoch_in(view.id, 0)
    return [Heir(place.colony, "born", epoch, place.primary or "", {}) for place in places]


def _heir(
    view: View,
    colony: int,
    found: dict[str, tuple[int, int, bool]],
    load: dict[str, int],
    seniority: dict[str, int],
) -> Heir:
    """Decide one colony; whoever wins something weighs more for the next one."""
    seqs = {host: seq for host, (_, seq, _) in found.items()}
    primaries = [host for host, (_, _, primary) in found.items() if primary]
    if primaries:
        keeper = max(primaries, key=lambda host: (found[host][0], -seniority[host]))
        return Heir(colony, "kept", found[keeper][0], keeper, seqs)
    if not found:
        able = bearers(view)
        if not able:
            return Heir(colony, "lost", epoch_in(view.id, 0), "", {})
        bearer = min(able, key=lambda host: (load[host], seniority[host]))
        load[bearer] += 1
        return Heir(colony, "lost", epoch_in(view.id, 0), bearer, {})
    heir = min(found, key=lambda host: (-found[host][1], load[host], seniority[host]))
    load[heir] += 1
    epoch = next_epoch(max(epoch for epoch, _, _ in found.values()), view.id)
    return Heir(colony, "promoted", epoch, heir, seqs)
