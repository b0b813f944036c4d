"""The whole-cluster stop: one barrier for all, then each writes, then all end.

Whoever gets the operator's order leads. FREEZE: all stop sequencing; what is
pending commits; everybody says how far each of its peers is. Only when all
peers of every colony are at the same seq: WRITE. Only when all have written:
END. Until then anything that goes wrong gives the stop up, and says why.

Whoever ends says END to all, and stays until it has heard the same of all, or
`END_S`: END may be lost with the links of those that are quicker. (A ends; C's
link to A breaks before C has read what came through it. B, who ended with A,
is gone too. C, alone, would wait for them for ever.)

Whoever has written takes part in no ballot: so from the barrier to the end
there is no other view, and what was written is all that there is. (A, B and C
stop; A ends first. If B and C now made a view without it, the snapshots
would be of a view that is over.) When the leader falls silent this ends too,
and the next view gives the stop up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from agents.barrier import FREEZE_S, SILENT_S, Barrier
from agents.effects import (
    BallotsHalted,
    ConfirmSnapshot,
    DiscardSnapshot,
    Effect,
    EndMissed,
    Halt,
    Note,
    SaveSnapshot,
    Send,
    SnapshotSaved,
    TellColony,
)
from agents.household import Household
from agents.lost_and_found import snapshot_of
from agents.messages.replication import CensusPeer
from agents.messages.stopping import END, FREEZE, GIVE_UP, WRITE, StopAnswer, StopOrder
from agents.peer import PeerStatus
from agents.restoring import Restoring
from agents.snapshot import Mark
from agents.surroundings import Frozen
from agents.views import View

Out = list[Effect]

ORDER_EVERY_S = 0.2
END_S = 2.0  # a link that broke is UP again within a tenth of it
PHASES = {FREEZE: "FREEZE", WRITE: "WRITE"}


class Host(Household, Protocol):
    """What a stop asks of its host."""

    restoring: Restoring


@dataclass(slots=True)
class Task:
    """A stop as a member obeys it.

    Attributes:
        heard_s: When its leader was last heard about it.
        is_held: What must be written is; ballots rest.
        is_doubted: The leader fell silent after that: only it, or a view, can end this.
        is_ended: It came to its end without this host, which heard of that later.
        restless_s: Since when only a ballot is waited for.
        written: What was written, and when; None = this host has no state directory.
        over: Who has come to the end.
        over_s: When this host came to it; inf = it has not.
    """

    stop: str
    leader: str
    heard_s: float
    phase: int = FREEZE
    is_saving: bool = False
    is_saved: bool = False
    is_held: bool = False
    is_doubted: bool = False
    is_ended: bool = False
    refusal: str = ""
    answered_s: float = float("-inf")
    restless_s: float = float("inf")
    written: tuple[SaveSnapshot, float] | None = None
    over: set[str] = field(default_factory=set)
    over_s: float = float("inf")


class Stopping:
    """One host's part in a whole-cluster stop, as its leader and as a member."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._task: Task | None = None
        self._lead: Barrier | None = None
        self._count = 0
        self._failed: tuple[str, str] | None = None
        self._is_over = False

    # -- the operator ----------------------------------------------------------------

    def refusal(self, *, force: bool) -> str:
        """Return why the cluster is not stopped, "" = it may be."""
        view = self.host.view
        if view is None or force:
            return ""
        missing = self.host.restoring.missing
        if missing:
            who = ", ".join(missing)
            return f"colonies wait for {who}: start them first, or say --force to give these colonies up"
        brief = [m.name for m in view.members if not m.durable and not m.witness]
        if brief:
            who = ", ".join(sorted(brief))
            return f"without a state directory the cells of {who} would be lost; if so be it, say --force"
        durable = sum(m.durable for m in view.members)
        if durable < view.majority:
            return (
                f"{durable} of {len(view.members)} hosts keep a state directory: no majority could come back"
            )
        return ""

    def order(self, *, force: bool, now_s: float, out: Out) -> str:
        """Lead a stop, unless one is under way; return its id."""
        view = self.host.view
        assert view is not None, "only a member is given such an order"
        if self._task is not None:
            return self._task.stop
        self._count += 1
        stop = f"{view.id:x}.{self._count}.{self.host.me}"
        self._lead = Barrier(stop, force, now_s)
        out.append(Note("stop", "an operator stops the whole cluster", details={"stop": stop}))
        self._order_all(now_s, out)
        return stop

    def progress(self) -> dict[str, Any] | None:
        """Return what `status` says of it; None = nothing is under way, nothing failed."""
        task, lead = self._task, self._lead
        if task is None:
            return {"stop": self._failed[0], "failed": self._failed[1]} if self._failed else None
        leader = self._name(task.leader)
        phase = "END" if self._is_over else PHASES[task.phase]
        told: dict[str, Any] = {"stop": task.stop, "phase": phase, "by": leader}
        if task.is_doubted:
            told["waiting_for"] = [f"{leader} (silent; if the others have ended, start them again)"]
        elif lead is not None and not self._is_over:
            told["waiting_for"] = self._lagging(lead)
        return told

    # -- the leader ------------------------------------------------------------------

    def _order_all(self, now_s: float, out: Out) -> None:
        lead, view = self._lead, self.host.view
        assert lead is not None and view is not None
        lead.ordered_s = now_s
        order = StopOrder(lead.stop, lead.phase)
        out.extend(Send(host, order) for host in view.ids if host != self.host.me)
        self.ordered(self.host.me, order, now_s, out)

    def answered(self, sender: str, answer: StopAnswer, now_s: float, out: Out) -> None:
        """Take a member's answer."""
        lead = self._lead
        if self._is_over:
            return
        if lead is None or lead.stop != answer.stop:
            out.append(Send(sender, StopOrder(answer.stop, GIVE_UP, "its leader knows nothing of this stop")))
            return
        if answer.refusal:
            self._give_up(f"{self._name(sender)}: {answer.refusal}", now_s, out)
            return
        view = self.host.view
        assert view is not None
        if lead.took(sender, answer, now_s) and lead.goes_on(view, now_s):
            self._order_all(now_s, out)

    def _lead_on(self, lead: Barrier, now_s: float, out: Out) -> None:
        others = self._others()
        holds_dead = self.host.membership.holds_dead
        dead = [self._name(host) for host in lead.undone(others) if holds_dead(host, now_s)]
        if dead:  # ballots rest, so no view will ever say so
            self._give_up(f"{', '.join(dead)} died", now_s, out)
            return
        silent = [self._name(host) for host in lead.silent(others, now_s)]
        if silent:  # it doubts by now, or goes on already
            self._give_up(f"{', '.join(silent)} can't be heard", now_s, out)
        elif lead.is_late(now_s):
            self._give_up("; ".join(self._lagging(lead)) or lead.odd, now_s, out)
        elif now_s - lead.ordered_s >= ORDER_EVERY_S:
            self._order_all(now_s, out)

    def _others(self) -> list[str]:
        view = self.host.view
        return [host for host in (view.ids if view is not None else ()) if host != self.host.me]

    def _lagging(self, lead: Barrier) -> list[str]:
        """Return who has not done what is asked, and what it waits for."""
        hosts = self.host.view.ids if self.host.view is not None else ()
        return [f"{self._name(host)} ({lead.waits_for(host)})" for host in lead.undone(hosts)]

    def _give_up(self, reason: str, now_s: float, out: Out) -> None:
        lead, view = self._lead, self.host.view
        assert lead is not None and view is not None
        self._lead = None
        order = StopOrder(lead.stop, GIVE_UP, reason)
        out.extend(Send(host, order) for host in view.ids if host != self.host.me)
        self.ordered(self.host.me, order, now_s, out)

    # -- every member ----------------------------------------------------------------

    def ordered(self, sender: str, order: StopOrder, now_s: float, out: Out) -> None:
        """Obey an order, or say why not."""
        task = self._task
        if self._is_over:
            if order.phase == END and task is not None and task.stop == order.stop:
                task.over.add(sender)
                self._part(task, now_s, out)
            return
        has_failed = self._failed is not None and self._failed[0] == order.stop
        if task is None and order.phase == FREEZE and not has_failed:
            task = self._freeze(order.stop, sender, now_s, out)
        if task is None or task.stop != order.stop:
            if order.phase in PHASES:
                # A late order must not freeze it again: what it acknowledged since, others have not written.
                why = "it obeys another stop" if task is not None else "it does not obey this stop any more"
                out.append(Send(sender, StopAnswer(order.stop, order.phase, False, why)))
        elif order.phase == GIVE_UP:
            self._thaw(order.reason, now_s, out)
        elif order.phase == END:
            task.over.add(sender)
            self._end(task, now_s, out)
        elif not task.is_doubted:
            task.heard_s = now_s
            task.phase = max(task.phase, order.phase)
            if order.phase == WRITE and not task.is_saving:
                self._write(task, now_s, out)
            self._answer(task, now_s, out)

    def _freeze(self, stop: str, leader: str, now_s: float, out: Out) -> Task:
        self._task = task = Task(stop, leader, now_s)
        self._failed = None
        self.host.frozen = True
        machines = self.host.colonies.values()
        out.extend(TellColony(m.colony, Frozen()) for m in machines if m.primary is not None)
        out.append(Note("stopping", f"ordered by {self._name(leader)}", details={"stop": stop}))
        return task

    def _write(self, task: Task, now_s: float, out: Out) -> None:
        view, host = self.host.view, self.host
        assert view is not None
        task.is_saving = True
        if not host.keeps:
            task.is_saved = True
            return
        members = tuple((m.id, m.name) for m in view.members if m.durable and not m.witness)
        save = snapshot_of(host, view, now_s, stop=task.stop, members=members, reason="whole-cluster stop")
        task.written = save, now_s
        out.append(save)

    def saved(self, event: SnapshotSaved, now_s: float, out: Out) -> None:
        """The snapshot is on disk, or can't be."""
        task = self._task
        if task is None or task.stop != event.stop or task.phase != WRITE:
            return
        if event.error:
            task.refusal = f"it can't write its snapshot: {event.error}"
        task.is_saved = not event.error
        self._answer(task, now_s, out)

    def _answer(self, task: Task, now_s: float, out: Out) -> None:
        """Tell the leader how far this host is."""
        task.answered_s = now_s
        if task.phase == FREEZE:
            answer = self._frozen_answer(task)
        else:
            if task.is_saved and not task.is_doubted and self.host.membership.is_at_rest:
                if not task.is_held:
                    task.is_held = True
                    self.host.tell_membership(BallotsHalted(True), now_s, out)
            waits = "" if task.is_held else "a ballot is under way" if task.is_saved else "it writes"
            refusal = "its leader was silent for too long" if task.is_doubted else task.refusal
            if task.is_saved and not task.is_held:
                task.restless_s = min(task.restless_s, now_s)
                if now_s - task.restless_s > FREEZE_S:  # others rest already: it can't end
                    refusal = refusal or "a ballot is under way that does not end"
            answer = StopAnswer(task.stop, WRITE, task.is_held and not refusal, refusal, waits)
        if task.leader == self.host.me:
            self.answered(self.host.me, answer, now_s, out)
        else:
            out.append(Send(task.leader, answer))

    def _frozen_answer(self, task: Task) -> StopAnswer:
        machines = self.host.colonies.values()
        restless = [machine.colony for machine in machines if not machine.is_still]
        if restless:
            waits = f"{len(restless)} colonies are not at rest, {min(restless)} among them"
            return StopAnswer(task.stop, FREEZE, False, waits=waits)
        peers = tuple(
            CensusPeer(m.colony, m.epoch, m.peer.last, m.primary is not None, m.restored)
            for m in machines
            if m.status is PeerStatus.ACTIVE
        )
        return StopAnswer(task.stop, FREEZE, True, peers=peers)

    def _end(self, task: Task, now_s: float, out: Out) -> None:
        """All have written: say so to everybody, whoever of them the leader may not reach, and end."""
        view, host = self.host.view, self.host
        if view is None or not task.is_held or not host.membership.may_end:
            return  # it has voted for another view since: that one gives the stop up
        self._is_over = True
        task.over_s = now_s
        task.over.add(host.me)
        self._say_end(task, now_s, out)
        if host.keeps:
            out.append(ConfirmSnapshot(Mark(view.tag, task.stop, view.id)))
        out.append(Note("stopped", "all hosts have written what they hold", details={"stop": task.stop}))
        self._part(task, now_s, out)

    def _say_end(self, task: Task, now_s: float, out: Out) -> None:
        task.answered_s = now_s
        view, me = self.host.view, self.host.me
        assert view is not None, "who has dropped it has gone"
        out.extend(Send(host, StopOrder(task.stop, END)) for host in view.ids if host != me)

    def _part(self, task: Task, now_s: float, out: Out) -> None:
        """Go once all are known to be at the end; whoever stays silent is not waited for long."""
        view = self.host.view
        if view is None or task.over.issuperset(view.ids) or now_s - task.over_s >= END_S:
            out.append(Halt(0, "the whole cluster was stopped"))
        elif now_s - task.answered_s >= ORDER_EVERY_S:
            self._say_end(task, now_s, out)

    def ended_elsewhere(self, stop: str, now_s: float, out: Out) -> None:
        """A member is back from the stop: it came to its end, and this host missed that.

        As one that has restarted it offers what it wrote, and the others are
        restored beside it. Not if it has accepted a view since: that one may be chosen.
        """
        task, view, host = self._task, self.host.view, self.host
        if task is None or task.stop != stop or not task.is_held or view is None or self._is_over:
            return
        if host.membership.council.acceptor.accepted is not None:
            return
        if task.written is None:  # it keeps nothing, and so brings nothing back
            self._is_over, task.over_s = True, float("-inf")
            self._part(task, now_s, out)
            return
        task.is_ended = True
        out.append(ConfirmSnapshot(Mark(view.tag, task.stop, view.id)))
        out.append(Note("stop_missed", "the others have ended and are back", details={"stop": stop}))
        host.tell_membership(EndMissed(stop), now_s, out)

    def _thaw(self, reason: str, now_s: float, out: Out) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        self._lead = None
        self._failed = (task.stop, reason)
        self.host.frozen = False
        self.host.tell_membership(BallotsHalted(False), now_s, out)
        if task.is_saving and self.host.keeps:
            out.append(DiscardSnapshot())
        out.append(Note("stop_given_up", reason, details={"stop": task.stop}))

    # -- what may come between -------------------------------------------------------

    def view_installed(self, view: View, before: View | None, now_s: float, out: Out) -> None:
        """Another view: whatever was frozen goes on in it."""
        if self._task is None:
            return
        if (
            self._is_over
        ):  # who missed the end goes on: what was written here is as it would be if it were gone
            out.append(Halt(0, "the whole cluster was stopped"))
            return
        names = {member.id: member.name for member in (before.members if before is not None else ())}
        dead = [names.get(host, host[:8]) for host, _ in view.dead]
        self._thaw(f"{some_died(dead)} before the end", now_s, out)

    def dropped(self, now_s: float, out: Out) -> None:
        """This host is undead: if the others ended, they are back, and may wait for what it wrote."""
        task = self._task
        if self._is_over:
            out.append(Halt(0, "the whole cluster was stopped"))
            return
        if task is not None and task.is_held and task.written is not None:
            self.host.restoring.written(*task.written, is_clean=task.is_ended)
            task.is_saving = False  # what is on disk stays there, for a census to judge
        self._thaw("this host was held dead", now_s, out)

    @property
    def is_under_way(self) -> bool:
        """Whether the cluster is being stopped, as far as is known here."""
        return self._task is not None

    def ticked(self, now_s: float, out: Out) -> None:
        """Repeat orders; see whether the leader has fallen silent."""
        task, lead = self._task, self._lead
        if task is None:
            return
        if self._is_over:
            self._part(task, now_s, out)
        elif lead is not None:
            self._lead_on(lead, now_s, out)
        elif now_s - task.heard_s > SILENT_S:
            if not task.is_held:
                self._thaw(f"{self._name(task.leader)}, who led it, is silent", now_s, out)
                return
            if not task.is_doubted:
                task.is_doubted = True
                self.host.tell_membership(BallotsHalted(False, in_doubt=True), now_s, out)
                reason = f"{self._name(task.leader)} is silent: did the others end?"
                out.append(Note("stop_in_doubt", reason, details={"stop": task.stop}))
            if now_s - task.answered_s >= ORDER_EVERY_S:
                self._answer(task, now_s, out)

    def _name(self, host: str) -> str:
        member = self.host.view.member(host) if self.host.view is not None else None
        return member.name if member is not None else host[:8]


def some_died(names: list[str]) -> str:
    """Return who died, or that somebody came or left."""
    return f"{', '.join(names)} died" if names else "the members changed"
