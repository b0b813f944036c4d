"""Counting: one host's part in the census of each view.

Every colony here says its line once it has moved to the view; then all
members are told, and whoever has heard all of them knows the heirs.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from agents.causes import Cause
from agents.census import CensusRound, Heir, counted, elect, returning, stale
from agents.effects import Effect, KeepPeriodic, Note, RecountNeeded, Send, TellColony
from agents.governor import Governor
from agents.household import Household
from agents.messages.membership import Load
from agents.messages.replication import Census, CensusPeer, Located
from agents.restoring import Restoring, some
from agents.surroundings import Born, CensusDecided, Counted, RecountWanted
from agents.views import View

RECOUNT_EVERY_S, RECOUNT_EVERY_MAX_S = 1.0, 60.0

Out = list[Effect]


class Host(Household, Protocol):
    """What the census asks of its host, and finds out for it.

    Attributes:
        lost: Colonies of which no peer was left.
        stale: Colonies that periodic snapshots brought back -> how old those were.
    """

    governor: Governor
    load: Load
    lost: set[int]
    restoring: Restoring
    stale: dict[int, float]


class Counting:
    """The census of the installed view, as one host takes it."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._round: CensusRound | None = None
        self._uncounted: set[int] = set()
        self._counted: list[CensusPeer] = []
        self._census: Census | None = None
        self._recount_s = float("-inf")
        self._recount_gap_s = RECOUNT_EVERY_S
        self._recount_reason = ""

    @property
    def is_under_way(self) -> bool:
        """Whether the heirs of this view are not known yet."""
        return self._round is not None

    @property
    def is_busy(self) -> bool:
        """Whether the heirs are not known yet, or another census is wanted."""
        return self._round is not None or bool(self._recount_reason)

    def begin(self, view: View) -> None:
        """A view is installed: everybody is to be counted anew."""
        self._round = CensusRound(view)
        self._census = None
        self._counted = []

    def await_lines(self, colonies: set[int]) -> None:
        """These colonies were asked for their lines."""
        self._uncounted = colonies

    def end(self) -> None:
        """This host is undead: there is nothing to count."""
        self._round = None
        self._census = None
        self._uncounted = set()

    def colony_broke(self, colony: int) -> None:
        """A colony will not say its line."""
        self._uncounted.discard(colony)

    def link_came_up(self, host: str, out: Out) -> None:
        """Say again what a member may not have heard."""
        view = self._host.view
        if self._census is None or view is None or view.member(host) is None:
            return
        if self._host.me in counted(view):
            out.append(Send(host, self._census))

    def colony_counted(self, event: Counted, now_s: float, out: Out) -> None:
        """A colony says its line."""
        view = self._host.view
        if view is None or event.view != view.id or event.colony not in self._uncounted:
            return
        self._uncounted.discard(event.colony)
        if event.peer is not None:
            self._counted.append(event.peer)
        self.take(now_s, out)

    def take(self, now_s: float, out: Out) -> None:
        """Tell all members what is here, once every colony has said its line."""
        view = self._host.view
        if view is None or self._round is None or self._uncounted or self._census is not None:
            return
        load, steady = sum(peer.primary for peer in self._counted), self._host.load
        self._census = Census(
            view.id,
            tuple(map(self._with_size, self._counted)),
            load,
            self._host.restoring.origin(now_s),
            max(0.0, steady.steady_cpu),
            steady.steady_free if steady.memory_total else -1,
            self._host.membership.reputation.records(view, now_s),
        )
        if self._host.me in counted(view):
            out.extend(Send(host, self._census) for host in view.ids if host != self._host.me)
            self._round.add(self._host.me, self._census)
        self._decide_if_complete(now_s, out)

    def _with_size(self, peer: CensusPeer) -> CensusPeer:
        """Return a line with the colony's size as everybody was told it, and with the copies that come."""
        entry, machine = self._host.directory.entries[peer.colony], self._host.colonies.get(peer.colony)
        primary = machine.primary if machine is not None and peer.primary else None
        moves = primary.transfers if primary is not None else None
        coming = (*moves.clones, *moves.activating) if moves is not None else ()
        size = entry.bytes_used if entry is not None else 0
        return msgspec.structs.replace(peer, bytes_used=size, coming=coming)

    def heard(self, sender: str, message: Census, now_s: float, out: Out) -> None:
        """Another member tells what is there."""
        if self._round is not None and self._round.add(sender, message):
            self._decide_if_complete(now_s, out)

    def _decide_if_complete(self, now_s: float, out: Out) -> None:
        round_ = self._round
        # Our own colonies must have moved to this view first, even where our
        # own census counts for nothing.
        if round_ is None or not round_.is_complete or self._uncounted:
            return
        self._round = None
        heirs = elect(round_.view, round_.heard)
        self._note_stale(stale(round_.heard, heirs), out)
        if self._host.restoring.decided(returning(round_.heard), heirs, now_s, out):
            self.recount_wanted(RecountWanted("hosts of the stop are back"), now_s, out)
        self._host.governor.counted(round_.view, heirs, round_.heard)
        for heir in heirs:
            self._settle_heir(heir, round_.view.id, out)
        if any(heir.outcome == "lost" for heir in heirs):
            out.append(KeepPeriodic())
        tally = {kind: sum(h.outcome == kind for h in heirs) for kind in ("kept", "promoted", "born", "lost")}
        reason, details = (
            f"the census of {len(round_.heard)} hosts is complete",
            {**tally, "view": round_.view.id},
        )
        out.append(Note("census", reason, details=details, cause=Cause("view", view=round_.view.id)))

    def _note_stale(self, found: dict[int, float], out: Out) -> None:
        """Name, before they are served, the colonies that periodic snapshots bring back."""
        self._host.stale |= found
        if found:
            colonies, age_s = sorted(found), max(found.values())
            named = some([str(colony) for colony in colonies])
            reason = (
                f"colonies {named}: from periodic snapshots, up to {age_s:.0f} s old; "
                "they may be older than what was acknowledged"
            )
            out.append(Note("stale", reason, details={"colonies": colonies, "age_s": age_s}))

    def _settle_heir(self, heir: Heir, view: int, out: Out) -> None:
        before = self._host.directory.primary(heir.colony)
        peers = (heir.primary, *(host for host in heir.seqs if host != heir.primary))
        seq = max(heir.seqs.values(), default=0)
        located = Located(heir.colony, heir.epoch, 0, heir.primary, peers, seq=seq)
        if heir.outcome == "waiting":
            return
        if heir.primary:
            self._host.directory.learn(located)
        if heir.outcome == "lost":
            is_known = heir.colony in self._host.lost and not heir.primary
            self._host.lost.add(heir.colony)
            then = "it starts again empty" if heir.primary else "it waits for an operator"
            reason = f"every host with an active peer of it is gone; {then}"
            if not is_known:
                out.append(Note("lost", reason, heir.colony, heir.primary, cause=Cause("view", view=view)))
        if heir.outcome in ("born", "lost"):
            if heir.primary == self._host.me:
                out.append(TellColony(heir.colony, Born(heir.epoch)))
                return
        if heir.colony in self._host.colonies:
            kept = heir.outcome == "kept"
            decided = CensusDecided(heir.epoch, heir.primary, heir.seqs, kept, before)
            out.append(TellColony(heir.colony, decided))

    def recount_wanted(self, event: RecountWanted, now_s: float, out: Out) -> None:
        """Somebody needs another census."""
        self._recount_reason = event.reason
        self.recount_if_due(now_s, out)

    def recount_if_due(self, now_s: float, out: Out) -> None:
        """Pass a wish for a census on; one that comes too soon waits for its time."""
        since_s = now_s - self._recount_s
        if not self._recount_reason or since_s < self._recount_gap_s:
            return
        reason, self._recount_reason = self._recount_reason, ""
        self._recount_s = now_s
        # What breaks again and again must not keep everybody changing views.
        calm = since_s > 4 * self._recount_gap_s
        self._recount_gap_s = RECOUNT_EVERY_S if calm else min(2 * self._recount_gap_s, RECOUNT_EVERY_MAX_S)
        self._host.tell_membership(RecountNeeded(reason), now_s, out)
