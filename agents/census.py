"""The census: who leads what, computed alike by every member.

With the census of every member that the view did not itself admit, each host
comes to the same result: a colony with a primary keeps the one of the highest
epoch; an orphan gets, of its ACTIVE peers, the one with the highest seq; one
without any ACTIVE peer is lost, and said to be.

A cluster that starts anew (its view admits every member) holds nothing but
what snapshots of the last stop bring back. Then everybody's census counts.
Such a peer is as good as one that lives if the stop came to its end, and was
made in the very view that this start follows; else it is worth nothing. While
hosts of that stop are missing, colonies that nobody holds wait for them.

Where there is no such stop, and people have asked for it, the newest of the
periodic snapshots count; all that they bring back is said to be stale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from agents.messages.replication import Census, Origin
from agents.snapshot import PERIODIC
from agents.views import Status, View, epoch_in, epoch_view, next_epoch, number_of
from placement.birth import first_placement
from placement.resources import Candidate

Found = dict[str, tuple[int, int, bool]]
Outcome = Literal["kept", "promoted", "born", "lost", "waiting"]


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
        self.missing = set(counted(view))
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


def starts_anew(view: View) -> bool:
    """Return whether nobody goes on from the view before: all processes are new."""
    return number_of(view.id) > 1 and all(view.admitted_here(host) for host in view.ids)


def counted(view: View) -> frozenset[str]:
    """Return the hosts whose census counts: those that may hold something."""
    if starts_anew(view):
        return frozenset(view.ids)
    return frozenset(host for host in view.ids if not view.admitted_here(host))


@dataclass(frozen=True, slots=True)
class Return:
    """What a census says of the stop that the cluster comes back from.

    Attributes:
        stop: Its id; snapshots of no other count.
        members: Hosts that bring something back from it: id -> name.
        missing: Those of them that have not had their say, likewise.
        waiting: Colonies that may wait for those; None = all.
        given_up: Nobody waits any longer.
    """

    stop: str
    members: dict[str, str]
    missing: dict[str, str]
    waiting: frozenset[int] | None
    given_up: bool

    def waits(self, colony: int) -> bool:
        """Return whether a colony that nobody holds has to wait."""
        return bool(self.missing) and not self.given_up and (self.waiting is None or colony in self.waiting)


def returning(heard: Mapping[str, Census]) -> Return | None:
    """Return which stop this census comes back from; None = none that counts.

    A snapshot counts only if no view came between its own and this start: all
    that was acknowledged later was acknowledged in a later view. And of no other
    stop than the one that a census of this start went on from, if there was one:
    what has been acknowledged since went to its peers.
    """
    origins = {host: census.origin for host, census in heard.items() if census.origin is not None}
    before = max((origin.before for origin in origins.values()), default=0)
    known = [origin for origin in origins.values() if origin.stop and _follows(origin, before)]
    back_from = {origin.stop for origin in origins.values() if not (origin.before or origin.is_late)} - {""}
    known = [origin for origin in known if not back_from or origin.stop in back_from]
    stops = {origin.stop for origin in known if origin.clean}
    if not stops:
        stops = {origin.stop for origin in known if origin.stop == PERIODIC}
    if not stops:
        return None
    stop = max(stops)
    known = [origin for origin in known if origin.stop == stop]
    members = {host: name for origin in known for host, name in origin.members}
    late = {host for host, origin in origins.items() if origin.is_late}
    decided = [origin for origin in known if origin.waiting]
    is_first = len(origins) == len(heard) and all(origin.before for origin in origins.values())
    waiting = frozenset(colony for origin in decided for colony in origin.waiting)
    missing = {host: name for host, name in members.items() if host not in heard or host in late}
    given_up = any(origin.given_up for origin in origins.values())
    return Return(stop, members, missing, None if is_first else waiting, given_up)


def _follows(origin: Origin, before: int) -> bool:
    """Return whether this start follows the stop, by what the origin says and a census said before."""
    if origin.stop == PERIODIC:
        return bool(origin.waiting) or origin.before > 0
    return bool(origin.waiting) or (origin.before > 0 and origin.view == before)


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
    peers: list[Found] = [{} for _ in range(view.charter.colonies)]
    restored: list[Found] = [{} for _ in range(view.charter.colonies)]
    back = returning(heard)
    for host, census in heard.items():
        stop = census.origin.stop if census.origin is not None else ""
        for peer in census.peers:
            # An epoch of a later view can't be true, and none could follow it.
            if not 0 <= peer.colony < len(peers) or epoch_view(peer.epoch) > view.id:
                continue
            if not peer.restored:
                peers[peer.colony][host] = (peer.epoch, peer.seq, peer.primary)
            elif back is not None and stop == back.stop:
                restored[peer.colony][host] = (peer.epoch, peer.seq, False)
    seniority = {host: place for place, host in enumerate(view.ids)}
    load = dict.fromkeys(view.ids, 0) | {host: c.load for host, c in heard.items()}
    if number_of(view.id) == 1 and not heard:
        return _births(view)
    origins = [census.origin for census in heard.values() if census.origin is not None]
    withheld = any(origin.waits for origin in origins) and not any(origin.given_up for origin in origins)
    heirs = []
    for colony, found in enumerate(peers):
        found = found or _level(restored[colony], by_epoch=back is not None and back.stop == PERIODIC)
        if not found and back is not None and back.waits(colony):
            heirs.append(Heir(colony, "waiting", 0, "", {}))
        elif not found and withheld:
            heirs.append(Heir(colony, "lost", 0, "", {}))
        else:
            heirs.append(_heir(view, colony, found, load, seniority))
    return heirs


def _level(found: Found, *, by_epoch: bool) -> Found:
    """Return the peers that are as far as the furthest: nobody could send the others what they lack.

    Those of one stop are all of one seq. Others (`by_epoch`) may be of any
    time, and a colony that was lost in between began its seqs anew.
    """
    places = {host: (line[0] if by_epoch else 0, line[1]) for host, line in found.items()}
    furthest = max(places.values(), default=(0, 0))
    return {host: line for host, line in found.items() if places[host] == furthest}


def stale(heard: Mapping[str, Census], heirs: list[Heir]) -> dict[int, float]:
    """Return the colonies that go on from periodic snapshots, and how old these are, seconds."""
    found: dict[int, float] = {}
    for host, census in heard.items():
        if census.origin is None or census.origin.stop != PERIODIC:
            continue
        for peer in census.peers:
            if peer.restored and 0 <= peer.colony < len(heirs) and host in heirs[peer.colony].seqs:
                found[peer.colony] = max(census.origin.age_s, found.get(peer.colony, 0.0))
    return found


def _births(view: View) -> list[Heir]:
    """Return where the colonies of a new cluster are born: spread evenly."""
    able = set(bearers(view))
    hosts = [Candidate(m.id, labels=m.labels, accepts=m.id in able) for m in view.members]
    places = first_placement(view.charter.colonies, view.charter.peers, hosts, hard=view.charter.hard)
    epoch = epoch_in(view.id, 0)
    return [Heir(place.colony, "born", epoch, place.primary or "", {}) for place in places]


def _heir(
    view: View,
    colony: int,
    found: Found,
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
