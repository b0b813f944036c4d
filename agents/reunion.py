"""Reunion: one host's part in making one cluster of two sides again.

On the losing side each host answers for its own ACTIVE peers: it hands on
what the colonies that it leads have changed since the split, and, if the host
that leads another one falls silent, that one's changes too: an ACTIVE peer
has all that was ever acknowledged. When nothing of what is aboard is left to
hand on, the host crosses over. When the winner is out of reach before that,
it goes on as before; what was handed on once is known there by its number.

On the winning side it says who leads a colony, and what merges came to.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Protocol

from agents.cells import cell_bytes
from agents.colony import Colony
from agents.effects import Effect, GiveIn, GivenIn, Note, Send, TellColony
from agents.evaluate import is_live
from agents.history import MARK_EVERY_S
from agents.household import Household
from agents.lineage import parted
from agents.lost_and_found import LostAndFound
from agents.messages.merging import (
    MergeAnswer,
    MergeAsk,
    MergeCell,
    MergeCells,
    MergedHere,
    MergeNews,
    MergeTaken,
)
from agents.messages.replication import ARRIVING, LEAVING
from agents.peer import PeerStatus
from agents.surroundings import MergeAsked, MergeCame, MergeCounted
from agents.views import View

Out = list[Effect]
JOBS_MAX = 8  # colonies handed on at a time
WINDOW = 4  # batches under way for each
SAY_EVERY_S = 0.25
ASK_EVERY_S = 0.5
STUCK_S = 2.0  # no answer for so long: a link was reset, or the primary has changed
SILENT_S = 3.0  # three times the default suspicion: the winner is out of reach
LIMIT_S = 60.0  # nothing could be handed on for so long: the winner can't take it
COUNTS_MAX = 4096  # merges that `status` tells of
TOLD_AGAIN_S = 30.0  # after a merge here: who enters so soon hears of it, and who was between two views


class Host(Household, Protocol):
    """What a reunion asks of its host."""

    lost_and_found: LostAndFound


@dataclass(slots=True)
class Job:
    """One colony on its way to the winner.

    Attributes:
        target: Whom it is handed to; "" = not known.
        changes: (seq, key) that are left to send, the last first.
    """

    colony: int
    lane: bytes
    attempt: int = 0
    target: str = ""
    asked_s: float = float("-inf")
    heard_s: float = float("-inf")
    ready: bool = False
    changes: list[tuple[int, bytes]] = field(default_factory=list)
    sent: int = 0
    taken: int = 0
    ended: bool = False


class Reunion:
    """Hands on, and says who takes in, for one host.

    Attributes:
        winner: The view of the side that this host gives in to; None = it doesn't.
        counts: (colony, lane) -> cells merged, and changes overridden, on this side.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.winner: View | None = None
        self.counts: dict[tuple[int, bytes], tuple[int, int]] = {}
        self._root = 0
        self._jobs: dict[int, Job] = {}
        self._done: set[int] = set()
        self._by_others: set[int] = set()
        self._others_s: dict[str, float] = {}
        self._attempts = 0
        self._tally = [0, 0, 0]  # colonies, merged, overridden
        self._fresh: dict[tuple[int, bytes], tuple[float, MergeNews]] = {}
        self._marked_s = float("-inf")
        self._since_s = self._said_s = self._winner_s = self._moved_s = 0.0

    # -- the losing side -------------------------------------------------------------

    def give_in(self, order: GiveIn, now_s: float, out: Out) -> None:
        """Begin to hand on, or follow the winner to its next view."""
        is_same = self.winner is not None and self.winner.root == order.winner.root
        self.winner = order.winner
        view = self.host.view
        if is_same or view is None:
            return
        self._root = view.root
        self._jobs, self._done, self._by_others, self._others_s = {}, set(), set(), {}
        self._tally = [0, 0, 0]
        self._since_s = self._winner_s = self._moved_s = now_s
        self._said_s = float("-inf")

    def dropped(self) -> None:
        """The host has no cells any more: there is nothing to hand on."""
        self.winner = None
        self._jobs = {}

    def ticked(self, now_s: float, out: Out) -> None:
        """Go on, see whether it is over, and tell the others of this side."""
        view = self.host.view
        if view is not None and view.absent and now_s - self._marked_s >= MARK_EVERY_S:
            self._mark(now_s)
        if self.winner is None or view is None:
            return
        if self.host.membership.sides.hears_winner(now_s):
            self._winner_s = now_s
        if now_s - self._winner_s > SILENT_S:
            return self._end(GivenIn(False, "the winner is out of reach"), now_s, out)
        if now_s - self._said_s >= SAY_EVERY_S:
            self._say(view, now_s, out)
        left = [m for m in self._aboard() if m.colony not in self._done | self._by_others]
        for machine in left:
            if machine.colony not in self._jobs and len(self._jobs) < JOBS_MAX:
                if self._is_ours(machine, now_s):
                    self._jobs[machine.colony] = Job(machine.colony, self._lane(machine.colony))
        for job in list(self._jobs.values()):
            self._push(job, now_s, out)
        if not left:
            colonies, merged, overridden = self._tally
            told = f"{colonies} colonies handed on: {merged} cells merged, {overridden} overridden"
            self._say(view, now_s, out)
            self._end(GivenIn(True, told), now_s, out)
        elif now_s - self._moved_s > LIMIT_S:
            self._abandon([m.colony for m in left], now_s, out)

    def _mark(self, now_s: float) -> None:
        """Remember which seqs were given by now, while a host may be alive on another side."""
        self._marked_s = now_s
        for machine in self.host.colonies.values():
            if machine.peer.history is not None:
                machine.peer.history.mark(machine.peer.last, now_s)

    def _aboard(self) -> list[Colony]:
        return [m for m in self.host.colonies.values() if m.status is PeerStatus.ACTIVE]

    def _is_ours(self, machine: Colony, now_s: float) -> bool:
        """Return whether this host is to hand a colony on: it leads it, or who does is silent."""
        if machine.primary is not None:
            return True
        leader = self.host.directory.primary(machine.colony)
        if leader in self.host.membership.detector.attested():
            # It is dead; or it has crossed, and its last word went with the link. Asking again harms nobody.
            return True
        return now_s - self._others_s.get(leader, self._since_s) > STUCK_S

    def _lane(self, colony: int) -> bytes:
        """Return the lane of a merge: the same for every host that gave in as part of this side."""
        what = f"merge/{self.host.membership.tag}/{self._root}/{colony}".encode()
        return b"\0merge" + hashlib.blake2b(what, digest_size=16).digest()

    def _say(self, view: View, now_s: float, out: Out) -> None:
        self._said_s = now_s
        word = MergedHere(self._root, tuple(sorted(self._done)))
        out.extend(Send(host, word) for host in view.ids if host != self.host.me)

    def _end(self, event: GivenIn, now_s: float, out: Out) -> None:
        self.winner = None
        self._jobs = {}
        self.host.tell_membership(event, now_s, out)

    def _abandon(self, colonies: list[int], now_s: float, out: Out) -> None:
        """The winner can't take these in: keep them for people to look at, and cross over."""
        named = ", ".join(map(str, colonies[:20])) + (", …" if len(colonies) > 20 else "")
        reason = f"nothing could be handed on for {LIMIT_S:.0f} s: changes in colonies {named} are dropped"
        out.append(Note("merge_abandoned", reason, details={"colonies": colonies}))
        self.host.lost_and_found.save(reason, now_s, out)
        self._end(GivenIn(True, reason), now_s, out)

    # -- one colony ------------------------------------------------------------------

    def _push(self, job: Job, now_s: float, out: Out) -> None:
        """Ask, ask again, or send what the credit allows."""
        is_stuck = job.ready and now_s - job.heard_s > STUCK_S
        if job.ready and not is_stuck:
            self._send(job, now_s, out)
        elif now_s - job.asked_s >= ASK_EVERY_S:
            self._ask(job, now_s, out)

    def _ask(self, job: Job, now_s: float, out: Out) -> None:
        winner, view = self.winner, self.host.view
        assert winner is not None and view is not None, "it gives in"
        up = self.host.membership.contacts.up
        if not job.target or winner.member(job.target) is None or not up(job.target):
            able = [host for host in winner.ids if up(host)]
            if not able:
                return
            job.target = able[job.attempt % len(able)]
        self._attempts += 1
        job.attempt, job.ready, job.asked_s = self._attempts, False, now_s
        peer, since = self.host.colonies[job.colony].peer, parted(view, winner)
        # In the very view that both come from nothing was changed apart; nor where nobody was ever dropped.
        history = peer.history if view.id != since else None
        apart = history.since(winner.ids) if history is not None else peer.last
        ask = MergeAsk(job.colony, job.lane, job.attempt, since, apart, peer.birth > since)
        out.append(Send(job.target, ask))

    def answered(self, sender: str, answer: MergeAnswer, now_s: float, out: Out) -> None:
        """The winner says from where on, or whom to ask."""
        job = self._job(sender, answer.colony, answer.attempt)
        if job is None or job.ready:
            return
        if not answer.ready:
            if answer.primary:
                job.target, job.asked_s = answer.primary, float("-inf")
            elif self.host.colonies[job.colony].status is PeerStatus.ACTIVE:
                job.target = ""
            return
        job.ready, job.heard_s = True, now_s
        job.changes = self._changes(job.colony, answer.number)
        job.sent = job.taken = 0
        job.ended = False
        self._send(job, now_s, out)

    def _job(self, sender: str, colony: int, attempt: int) -> Job | None:
        job = self._jobs.get(colony) if self.winner is not None else None
        return job if job is not None and (job.target, job.attempt) == (sender, attempt) else None

    def _changes(self, colony: int, since: int) -> list[tuple[int, bytes]]:
        """Return what the winner lacks, the last change first."""
        peer = self.host.colonies[colony].peer
        changes = [(cell[0], key) for key, cell in peer.cells.live.items() if cell[0] > since]
        places = peer.cells.places
        if places:  # a copy on its way is not this colony's to hand on
            under_way = {key for key, place in places.items() if place.state in (ARRIVING, LEAVING)}
            changes = [change for change in changes if change[1] not in under_way]
        for key, seq in (peer.cells.deaths or {}).items():
            if seq > since and key not in peer.cells.live:
                changes.append((seq, key))
        return sorted(changes, reverse=True)

    def _send(self, job: Job, now_s: float, out: Out) -> None:
        while not job.ended and job.sent - job.taken < WINDOW:
            cells = self._batch(job, now_s)
            job.ended = not job.changes
            job.sent += 1
            batch = MergeCells(job.colony, job.lane, job.attempt, job.sent, cells, job.ended)
            out.append(Send(job.target, batch))

    def _batch(self, job: Job, now_s: float) -> tuple[MergeCell, ...]:
        """Return the next changes, about a chunk of them."""
        peer = self.host.colonies[job.colony].peer
        clock_s, size = peer.clock_s(now_s), 0
        cells: list[MergeCell] = []
        while job.changes and size < self.host.limits.chunk_bytes:
            seq, key = job.changes.pop()
            at_s = peer.history.changed_s(key, seq, now_s) if peer.history is not None else now_s
            age_s = max(0.0, min(now_s - at_s, 1e12))
            cell = peer.cells.live.get(key)
            if cell is None or cell[0] != seq:  # a death
                cells.append(MergeCell(key, seq, age_s, 0.0, None))
                size += len(key) + 64
            elif is_live(cell, clock_s):
                left_s = cell[1] - clock_s if cell[1] else 0.0
                cells.append(MergeCell(key, seq, age_s, left_s, cell[2]))
                size += cell_bytes(key, cell)
        return tuple(cells)

    def taken(self, sender: str, message: MergeTaken, now_s: float, out: Out) -> None:
        """The winner has committed some more."""
        job = self._job(sender, message.colony, message.attempt)
        if job is None or not job.ready:
            return
        job.taken = max(job.taken, message.number)
        job.heard_s = self._moved_s = now_s
        if message.done:
            del self._jobs[job.colony]
            self._done.add(job.colony)
            for place, more in enumerate((1, message.merged, message.overridden)):
                self._tally[place] += more
        else:
            self._send(job, now_s, out)

    def others_done(self, sender: str, message: MergedHere, now_s: float, out: Out) -> None:
        """Another host of this side tells how far it is."""
        if self.winner is not None and message.root == self._root:
            self._others_s[sender] = now_s
            self._by_others.update(message.colonies)

    # -- the winning side --------------------------------------------------------------

    def asked(self, sender: str, ask: MergeAsk, now_s: float, out: Out) -> None:
        """Pass the question on to the colony, or say why not now."""
        host, view = self.host, self.host.view
        machine = host.colonies.get(ask.colony)
        reason, primary = "", ""
        if view is None or self.winner is not None or not host.quorum.held(now_s):
            reason = "this host serves nobody now"
        elif view.member(sender) is not None:
            reason = "the view still lists you: it has to drop you first"
        elif machine is None or machine.primary is None:
            leader = host.directory.primary(ask.colony)
            reason, primary = "it leads elsewhere", leader if leader != host.me else ""
        else:
            out.append(TellColony(ask.colony, MergeAsked(sender, ask)))
            return
        answer = MergeAnswer(ask.colony, ask.lane, ask.attempt, False, primary=primary, reason=reason)
        out.append(Send(sender, answer))

    def came(self, sender: str, batch: MergeCells, now_s: float, out: Out) -> None:
        """Pass changes on to the colony."""
        if self.winner is None and batch.colony in self.host.colonies:
            out.append(TellColony(batch.colony, MergeCame(sender, batch)))

    def counted(self, event: MergeCounted, now_s: float, out: Out) -> None:
        """A merge is complete here: tell people, and the other hosts."""
        host, view = self.host, self.host.view
        news = MergeNews(event.colony, event.lane, event.merged, event.overridden)
        if view is not None:
            out.extend(Send(other, news) for other in view.ids if other != host.me)
        is_new = self._count(news)
        self._fresh[news.colony, news.lane] = now_s, news
        if is_new and (event.merged or event.overridden):
            reason = f"{event.merged} cells of another side merged, {event.overridden} overridden"
            details = {"merged": event.merged, "overridden": event.overridden}
            out.append(Note("merged", reason, event.colony, event.sender, details))

    def view_installed(self, view: View, now_s: float, out: Out) -> None:
        """Tell again what was counted here of late: what was on its way in an earlier view is gone."""
        if not self._fresh:
            return
        self._fresh = {key: told for key, told in self._fresh.items() if now_s - told[0] < TOLD_AGAIN_S}
        for _, news in self._fresh.values():
            out.extend(Send(other, news) for other in view.ids if other != self.host.me)

    def news(self, sender: str, news: MergeNews, now_s: float, out: Out) -> None:
        """Another host of this side has merged something."""
        if self.host.view is not None and self.host.view.member(sender) is not None:
            self._count(news)

    def _count(self, news: MergeNews) -> bool:
        """Keep what a merge came to; return whether that is news."""
        key, counts = (news.colony, news.lane), (news.merged, news.overridden)
        is_new = self.counts.get(key) != counts
        self.counts[key] = counts
        if len(self.counts) > COUNTS_MAX:
            del self.counts[next(iter(self.counts))]
        return is_new

    def told(self) -> dict[str, int | list[list[int]]]:
        """Return what `status` says of merges since this host started."""
        colonies: dict[int, list[int]] = {}
        for (colony, _), counts in self.counts.items():
            sums = colonies.setdefault(colony, [0, 0])
            sums[0] += counts[0]
            sums[1] += counts[1]
        rows = [[colony, *sums] for colony, sums in sorted(colonies.items())]
        return {"merged": sum(r[1] for r in rows), "overridden": sum(r[2] for r in rows), "colonies": rows}
