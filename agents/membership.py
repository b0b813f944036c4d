"""Membership: the stage machine of one host.

It knows who is here (the installed view), whether this host may speak for
the cluster (`quorum`), and what to do about those that come, go and die.
Events in, effects out; no thread, no socket, no clock.

Rules:

- One method changes the stage, and asserts that the edge is in the table.
- What a vote depends on is persisted before the vote is sent.
- A host is a member only under the very incarnation that the view lists. One
  that restarted, or was told that it is dead, votes under its host id if the
  view that it knows names it, grants nothing, and asks to be admitted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from agents.agreement import Acceptor, dropped
from agents.contacts import Contact, Contacts
from agents.council import Council
from agents.detector import Detector, Verdict
from agents.effects import (
    DigestIs,
    DropEverything,
    Emptied,
    EvictOrdered,
    Halt,
    HelloSeen,
    InitOrdered,
    InstallView,
    LeaveOrdered,
    LinkCameUp,
    LinkWentDown,
    LoadMeasured,
    LoopWasLate,
    Note,
    Persist,
    ProbeProcess,
    ProcessGone,
    Received,
    RecountNeeded,
    RecoverOrdered,
    SeedFound,
    Send,
    ShareReached,
    Ticked,
)
from agents.farewell import Farewell
from agents.founding import Foundry, Promised
from agents.knocking import judge
from agents.leases import Grants, Quorum
from agents.messages.membership import (
    Accept,
    Accepted,
    Founding,
    FoundingAnswer,
    Grant,
    Heartbeat,
    Install,
    Installed,
    Knock,
    KnockAnswer,
    Load,
    Prepare,
    Promise,
    Refused,
    WantView,
    Wish,
    YouAreDead,
)
from agents.record import Record
from agents.reputation import Reputation
from agents.stages import EDGES, MEMBER_STAGES, Settings, Stage
from agents.succession import too_old
from agents.views import Member, Status, View
from agents.wishes import Wishes

__all__ = ["EDGES", "Membership", "Settings", "Stage"]

Effect = Any
Handler = Callable[[Any, float], None]
Hearer = Callable[[str, Any, float], None]

# What means something inside one cluster only; the rest says its tag, or is for anybody.
AMONG_MEMBERS = (Heartbeat, Grant, Prepare, Promise, Accept, Accepted, Refused, Wish)
LAST_HOST = "the last host can't leave: shut the cluster down instead"
TOLD_EVERY_S = 0.2  # so often is one told that it is dead or behind; it sends ten heartbeats a second


def said_tag(message: Any) -> str:
    """Return the cluster tag that a message says its sender bears; "" = none."""
    if isinstance(message, Heartbeat | KnockAnswer):
        return message.tag
    return message.view.tag if isinstance(message, Install | YouAreDead) else ""


class Membership:
    """The membership of one host; everything on the host's own thread.

    `quorum.held` alone may be called from any thread.

    Args:
        me: This host, at the incarnation that was just started.
        record: What the last incarnation left behind; None = nothing.
    """

    def __init__(self, me: Member, settings: Settings, record: Record | None, now_s: float) -> None:
        self.me = me
        self.settings = settings
        self.stage = Stage.ZOMBIE
        self.tag = record.tag if record else ""
        self.known: View | None = record.view if record else None
        self.quorum = Quorum()
        self.loads: dict[str, Load] = {}
        self.directory_digest = 0
        self.peer_digests: dict[str, int] = {}
        self.contacts = Contacts(me.id, settings.contacts_max)
        self.detector = Detector(me.id)
        self.wishes = Wishes()
        self.reputation = Reputation()
        self.grants = Grants(settings.charter.lease_s, now_s, fenced=True)
        self.council = Council(self, Acceptor())
        self.foundry = Foundry(settings.founding_s, settings.founding_forget_s)
        self.farewell: Farewell | None = None
        self._leaving = False
        self._empty = False
        self._renounced = False
        self._had_quorum = False
        self._hold_s: float | None = None
        self._ticked_s = now_s
        self._beat_s = self._knock_s = self._probe_s = now_s
        self._load_news = False
        self.refusal = ""
        self._suspects: frozenset[str] = frozenset()
        self._out: list[Effect] = []
        self._handlers = self._event_handlers()
        self._hearers = self._message_handlers()
        if record is not None:
            self._restore(record, now_s)

    def _restore(self, record: Record, now_s: float) -> None:
        """Honour what the last incarnation recorded."""
        if record.view is None:
            if record.accepted is not None and record.accepted_ballot is not None:
                self.foundry.promised = Promised(record.accepted, record.accepted_ballot, now_s)
            if self.tag:
                self.enter(Stage.DISCOVERY, "the record names a cluster")
            return
        self.council.acceptor = Acceptor(record.promised, record.accepted_ballot, record.accepted)
        self.grants = Grants(record.view.charter.lease_s, now_s, fenced=True)
        self.detector.watch(record.view, frozenset(), now_s, grace=False)
        self.contacts.listed(record.view, now_s)
        self.enter(Stage.DISCOVERY, "the record names a view")

    # -- what others read --------------------------------------------------------

    @property
    def is_member(self) -> bool:
        """Whether the known view lists exactly this incarnation."""
        return self.known is not None and self.known.lists(self.me.id, self.me.incarnation)

    @property
    def view(self) -> View | None:
        """The installed view; None while this host is no member."""
        return self.known if self.is_member else None

    @property
    def gone_for_good(self) -> bool:
        """Whether this host has left, and only waits for confirmation."""
        return self.farewell is not None

    def heard(self, now_s: float) -> tuple[str, ...]:
        """Return the members of the known view that are heard, itself included."""
        if self.known is None:
            return ()
        heard = self.detector.heard(now_s)
        return (self.me.id, *heard) if self.is_member else heard

    def stamp(self) -> tuple[str, int, str]:
        """Return (tag, known view id, stage) for Hellos."""
        return self.tag, self.known.id if self.known else 0, self.stage.value

    def init_refusal(self) -> str:
        """Return why an init would be refused here now; "" = it would not."""
        if self.tag or self.known is not None:
            return f"already initialised, cluster tag {self.tag}"
        if self.foundry.charter is not None or self.foundry.promised is not None:
            return "a founding is under way"
        return ""

    # -- plumbing ------------------------------------------------------------------

    def handle(self, event: Any, now_s: float) -> list[Effect]:
        """Take one event; return effects, to be performed in order."""
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event, now_s)
            self._note_quorum(now_s)
        effects, self._out = self._out, []
        return effects

    def do(self, effect: Effect) -> None:
        """Return this effect from the event that is being handled."""
        self._out.append(effect)

    def send_all(self, message: Any) -> None:
        """Send a message to every other member to which a link is up."""
        if self.known is not None:
            for host in self.known.ids:
                if host != self.me.id and self.contacts.up(host):
                    self.do(Send(host, message))

    def enter(self, stage: Stage, reason: str) -> None:
        """Change the stage; the one place where it changes."""
        assert stage in EDGES[self.stage], f"no edge {self.stage.value} -> {stage.value}: {reason}"
        self.do(Note("stage", reason, details={"from": self.stage.value, "to": stage.value}))
        self.stage = stage

    def persist(self) -> None:
        """Write the record, before whatever effect comes next."""
        acceptor, promised = self.council.acceptor, self.foundry.promised
        record = Record(self.me.id, self.me.incarnation, self.tag, self.known)
        if self.known is not None:
            record = msgspec.structs.replace(
                record,
                promised=acceptor.promised,
                accepted_ballot=acceptor.accepted_ballot,
                accepted=acceptor.accepted,
            )
        elif promised is not None:
            record = msgspec.structs.replace(record, accepted_ballot=promised.ballot, accepted=promised.view)
        self.do(Persist(record))

    def _event_handlers(self) -> dict[type, Handler]:
        return {
            Received: self._on_received,
            Ticked: self._on_ticked,
            HelloSeen: self._on_hello,
            SeedFound: self._on_seed,
            LinkCameUp: self._on_link_up,
            LinkWentDown: self._on_link_down,
            ProcessGone: self._on_process_gone,
            LoopWasLate: self._on_late,
            InitOrdered: self._on_init,
            LeaveOrdered: self._on_leave,
            Emptied: self._on_emptied,
            ShareReached: self._on_share,
            RecountNeeded: self._on_recount,
            EvictOrdered: self._on_evict,
            RecoverOrdered: self._on_recover,
            LoadMeasured: self._on_load,
            DigestIs: self._on_digest,
        }

    def _message_handlers(self) -> dict[type, Hearer]:
        return {
            Heartbeat: self._on_heartbeat,
            Grant: self._on_grant,
            Prepare: self.council.on_prepare,
            Promise: self.council.on_promise,
            Accept: self.council.on_accept,
            Accepted: self.council.on_accepted,
            Refused: self.council.on_refused,
            Install: self._on_install,
            Installed: self._on_installed,
            WantView: self._on_want_view,
            YouAreDead: self._on_you_are_dead,
            Wish: self._on_wish,
            Knock: self._on_knock,
            KnockAnswer: self._on_knock_answer,
            Founding: self._on_founding,
            FoundingAnswer: self._on_founding_answer,
        }

    def _on_received(self, event: Received, now_s: float) -> None:
        hearer = self._hearers.get(type(event.message))
        if hearer is None:
            return
        contact = self.contacts.get(event.sender)
        if contact is not None:
            contact.seen_s = now_s
            contact.tag = said_tag(event.message) or contact.tag
        if isinstance(event.message, AMONG_MEMBERS) and (contact is None or contact.tag != self.tag):
            return  # two clusters, born of zombies that were linked to each other
        hearer(event.sender, event.message, now_s)

    def _note_quorum(self, now_s: float) -> None:
        """Say when quorum comes and goes."""
        held = self.quorum.held(now_s)
        if held is not self._had_quorum:
            self._had_quorum = held
            self.do(Note("quorum", "held" if held else "lost", details={"held": held}))

    # -- time ----------------------------------------------------------------------

    def _on_ticked(self, event: Ticked, now_s: float) -> None:
        gap_s = now_s - self._ticked_s
        self._ticked_s = now_s
        heartbeat_s = self.known.charter.heartbeat_s if self.known else self.settings.charter.heartbeat_s
        if gap_s > heartbeat_s:
            self.detector.was_late(gap_s, now_s)  # stalled: what the others said is still unread
        if now_s >= self._beat_s:
            self._beat_s = now_s + heartbeat_s
            self._beat(now_s)
        if now_s >= self._knock_s:
            self._knock_s = now_s + self.settings.knock_s
            self._repeat(now_s)
        if self.known is None:
            self._found(now_s)
        elif self.is_member:
            self._watch(now_s)
        if self.farewell is not None:
            return self._take_leave(now_s)
        self.council.consider(now_s)
        self._rest(now_s)

    def _beat(self, now_s: float) -> None:
        """Send a heartbeat to every member."""
        if self.is_member:
            message = self._heartbeat(now_s)
            self._load_news = False
            self.send_all(message)

    def _heartbeat(self, now_s: float, tag: str = "") -> Heartbeat:
        """Return what we say ten times a second."""
        assert self.known is not None
        load = self.loads.get(self.me.id) if self._load_news else None
        hears = self.heard(now_s)
        me = self.me.incarnation
        return Heartbeat(self.known.id, now_s, hears, self.directory_digest, load, me, tag)

    def _repeat(self, now_s: float) -> None:
        """Knock, repeat wishes, and bring links in line with what is wanted."""
        self._rewire(now_s)
        if self.known is not None:
            self.wishes.prune(self.known, now_s)
            for wish in self.wishes.mine():
                self.send_all(wish)
        if not self.is_member and self.farewell is None and not self._leaving:
            for contact in self.contacts:
                if contact.up:
                    self.do(Send(contact.member.id, self._knock()))

    def _knock(self) -> Knock:
        """Return what we say while we are in no view."""
        return Knock(self.me, *self.stamp())

    def _rewire(self, now_s: float) -> None:
        """Dial whom we want a link to, hang up on the others."""
        seeking = not self.is_member or self.stage is Stage.HOLD
        for effect in self.contacts.rewire(self.known, self.tag, seeking, now_s, self.settings.contact_s):
            self.do(effect)

    def _watch(self, now_s: float) -> None:
        """Note new suspects, and see whether their processes are gone."""
        assert self.known is not None
        suspects = []
        look = now_s >= self._probe_s
        if look:
            self._probe_s = now_s + self.settings.probe_s
        for member in self.known.members:
            if not self.detector.suspected(member.id, now_s):
                continue
            suspects.append(member.id)
            if member.id not in self._suspects:
                up = self.contacts.up(member.id)
                self.do(Note("suspect", "silent" if up else "its link is down", host=member.id))
            near = member.machine != "" and member.machine == self.me.machine
            if look and near and self.detector.verdict(member.id, now_s) is not Verdict.DEAD:
                self.do(ProbeProcess(member))
        self._suspects = frozenset(suspects)

    def _rest(self, now_s: float) -> None:
        """Be in the stage that fits, when no ballot of ours is under way."""
        if self.council.attempt is not None or self.stage is Stage.ZOMBIE:
            return
        if self.stage is Stage.ELECTION:
            self.enter(Stage.DISCOVERY, "nothing to propose now")
        if not self.is_member:
            return
        assert self.known is not None
        alone = not self.quorum.held(now_s) and len(self.heard(now_s)) < self.known.majority
        if not alone:
            self._hold_s = None
            if self.stage is not Stage.COMMIT:
                self.enter(Stage.COMMIT, "a majority is heard")
            return
        if self.stage is not Stage.HOLD:
            self.enter(Stage.HOLD, "no majority is heard")
            heard = len(self.heard(now_s))
            self.do(Note("hold", f"{heard} of {len(self.known.members)} members heard"))
        if self._hold_s is None:
            self._hold_s = now_s
        limit_s = self.settings.solitude_limit_s
        if limit_s is not None and now_s - self._hold_s >= limit_s:
            self._hold_s = now_s
            self.do(Note("hold", f"no majority for {limit_s:.0f} s: giving up"))
            self.do(Halt(5, f"no majority for {limit_s:.0f} s"))

    def _on_late(self, event: LoopWasLate, now_s: float) -> None:
        self.detector.was_late(event.late_s, now_s)

    # -- links and contacts ----------------------------------------------------------

    def _on_seed(self, event: SeedFound, now_s: float) -> None:
        contact = self.contacts.meet(event.member, now_s)
        if contact is not None:
            contact.seed = True
            self._rewire(now_s)

    def _on_hello(self, event: HelloSeen, now_s: float) -> None:
        member = event.member
        if member.id == self.me.id:
            self.do(Note("refused", "another process bears our host id", host=member.id))
            return
        if event.tag and self.tag and event.tag != self.tag:
            self.do(Note("refused", f"foreign cluster tag {event.tag}", host=member.id))
            return
        self.contacts.hello(member, event.tag, event.view, event.stage, now_s)
        self._found_cluster(event.tag, now_s)
        self._overtaken(member, now_s)
        self._rewire(now_s)

    def _overtaken(self, member: Member, now_s: float) -> None:
        """A later incarnation of a member is here: the listed one is surely gone."""
        if self.known is None:
            return
        listed = self.known.member(member.id)
        if listed is not None and listed.incarnation < member.incarnation:
            reason = "the same host id is back with a later incarnation"
            self._attest(listed, reason, now_s, wait_s=2 * self.settings.settle_s)

    def _attest(self, member: Member, reason: str, now_s: float, *, wait_s: float = 0.0) -> None:
        """A member is dead for sure: tell everybody, and act at once.

        One that came back (`wait_s`) is given the time to knock, so that one
        view drops what it was and admits what it is.
        """
        if not self.detector.attest(member.id, member.incarnation) or not self.is_member:
            return
        assert self.known is not None
        self.do(Note("confirmed", reason, host=member.id))
        wish = Wish("dead", member.id, member.incarnation, reason, self.known.id)
        self.wishes.add(wish, now_s, mine=True, wait_s=wait_s)
        if wait_s == 0.0:
            self.send_all(wish)
            self.council.consider(now_s)

    def _on_process_gone(self, event: ProcessGone, now_s: float) -> None:
        listed = self.known.member(event.host) if self.known else None
        if listed is not None and listed.incarnation == event.incarnation and listed.id != self.me.id:
            self._attest(listed, "its process is gone", now_s)

    def _on_link_up(self, event: LinkCameUp, now_s: float) -> None:
        contact = self.contacts.get(event.host)
        if contact is None:
            return
        contact.up = True
        contact.seen_s = now_s
        contact.introduced.clear()
        if self._wants_to_enter:
            self.do(Send(event.host, self._knock()))
        if self.known is None:
            return
        known = self.known
        member = contact.member
        if known.lists(member.id, member.incarnation):
            self.detector.link_up(event.host)
        if contact.view != known.id:
            self.compare(event.host, contact.view, now_s)
        if known.member(member.id) is None:
            return
        if self.is_member:
            self.do(Send(event.host, self._heartbeat(now_s, self.tag)))
            for wish in self.wishes.mine():
                self.do(Send(event.host, wish))
        self.council.ask_again(event.host)

    @property
    def _wants_to_enter(self) -> bool:
        """Whether this host knocks."""
        return not self.is_member and self.farewell is None and not self._leaving

    def _on_link_down(self, event: LinkWentDown, now_s: float) -> None:
        contact = self.contacts.get(event.host)
        if contact is None:
            return
        contact.up = False
        self.detector.link_down(event.host)
        if self.is_member:
            self._watch(now_s)

    def compare(self, other: str, view: int, now_s: float) -> None:
        """Another host spoke of another view: whoever is behind gets the later one."""
        contact = self.contacts.get(other)
        if contact is None or now_s - contact.told_s < TOLD_EVERY_S:
            return
        known = self.known
        if known is None or view > known.id:
            if view > 0:
                contact.told_s = now_s
                self.do(Send(other, WantView(known.id if known else 0)))
        elif view < known.id:
            contact.told_s = now_s
            self._bring_up_to_date(contact.member, known)

    def _bring_up_to_date(self, member: Member, known: View) -> None:
        """Send our view, to a member as such, to one that it dropped as its death."""
        if known.lists(member.id, member.incarnation) or not self._is_dropped(member):
            self.do(Send(member.id, Install(known)))
        else:
            self.do(Send(member.id, YouAreDead(member.incarnation, known)))

    def _is_dropped(self, member: Member) -> bool:
        """Return whether an incarnation was a member once and is none any more."""
        contact = self.contacts.get(member.id)
        believes = contact is not None and contact.stage in MEMBER_STAGES
        return believes or (self.known is not None and too_old(self.known, member.id, member.incarnation))

    def _found_cluster(self, tag: str, now_s: float) -> None:
        """A zombie that finds an initialised cluster joins it."""
        if tag and not self.tag and self.stage is Stage.ZOMBIE:
            self.tag = tag
            self.enter(Stage.DISCOVERY, "an initialised cluster was found")

    # -- heartbeats and leases ---------------------------------------------------------

    def _on_heartbeat(self, sender: str, beat: Heartbeat, now_s: float) -> None:
        known = self.known
        if known is None or beat.view > known.id:
            self.compare(sender, beat.view, now_s)
        if beat.load is not None:
            self.loads[sender] = beat.load
        self.peer_digests[sender] = beat.digest
        if known is None:
            return
        if not known.lists(sender, beat.incarnation):
            if beat.view <= known.id and (self.is_member or self.farewell is not None):
                self._tell_dead(sender, beat.incarnation, known, now_s)
            return
        anew = self.detector.heard_from(sender, beat.incarnation, now_s)
        if beat.view < known.id:
            self.compare(sender, beat.view, now_s)
        elif beat.view == known.id:
            self.detector.hearsay(sender, beat.hears, now_s)
            if not self.is_member:
                return
            if self.grants.grant(sender, now_s):
                self.do(Send(sender, Grant(known.id, beat.sent_s, self.me.incarnation)))
            if anew:  # it has just installed our view, and needs our grant as we need its
                self.do(Send(sender, self._heartbeat(now_s, self.tag)))
        if self.farewell is not None and beat.view >= self.farewell.view.id:
            self.farewell.confirmed(sender)

    def _tell_dead(self, sender: str, incarnation: int, known: View, now_s: float) -> None:
        """An incarnation that our view does not list holds itself for a member."""
        contact = self.contacts.get(sender)
        if contact is None or now_s - contact.told_s >= TOLD_EVERY_S:
            if contact is not None:
                contact.told_s = now_s
            self.do(Send(sender, YouAreDead(incarnation, known)))

    def _on_grant(self, sender: str, grant: Grant, now_s: float) -> None:
        if not self._renounced:
            self.quorum.granted(sender, grant.incarnation, grant.view, grant.sent_s, now_s)

    def _on_load(self, event: LoadMeasured, now_s: float) -> None:
        self.loads[self.me.id] = event.load
        self._load_news = True

    def _on_digest(self, event: DigestIs, now_s: float) -> None:
        self.directory_digest = event.digest

    # -- views -------------------------------------------------------------------------

    def conclude(self, view: View, now_s: float) -> None:
        """A view is chosen and may be installed: here first, then everywhere."""
        assert self.known is not None
        before = self.known
        if view.lists(self.me.id, self.me.incarnation):
            self.install(view, now_s)
        for member in view.members:
            if member.id != self.me.id and self.contacts.up(member.id):
                self.do(Send(member.id, Install(view)))
        for host, incarnation in dropped(before, view):
            if host != self.me.id and self.contacts.up(host) and view.member(host) is None:
                self.do(Send(host, YouAreDead(incarnation, view)))
        if not view.lists(self.me.id, self.me.incarnation):
            self._not_listed(view, "the view that it proposed itself", now_s)

    def install(self, view: View, now_s: float) -> None:
        """Move to a view that lists this host."""
        assert view.lists(self.me.id, self.me.incarnation)
        assert self.known is None or view.id > self.known.id, "a vote once given must not be forgotten"
        before, old = self.view, self.known
        self.tag = view.tag
        self.known = view
        self.me = view.member(self.me.id) or self.me
        self.council.renew()
        self.foundry.over()
        self.grants = Grants(view.charter.lease_s, now_s)
        if not self._renounced:
            self.quorum.install(view, self.me.id)
        self.detector.watch(view, self.contacts.all_up(), now_s, grace=True)
        self.persist()
        self.do(InstallView(view, before))
        self._note_view(view, old)
        if self.stage is not Stage.COMMIT:
            self.enter(Stage.COMMIT, "a view was installed")
        self._hold_s = None
        self.send_all(self._heartbeat(now_s, self.tag))  # first of all: it says whose word follows
        self._beat_s = now_s + view.charter.heartbeat_s
        self._learn(view, now_s)
        for host, _ in view.left:
            self.do(Send(host, Installed(view.id)))
        if self.me.status is Status.LEAVING:
            self._leaving = True
            self._depart(now_s)

    def _learn(self, view: View, now_s: float) -> None:
        """Keep what a view says of hosts, member of it or not."""
        self.contacts.listed(view, now_s)
        self.reputation.note(view, now_s)
        self.wishes.prune(view, now_s)
        listed = frozenset(view.ids)
        self.loads = {host: load for host, load in self.loads.items() if host in listed or host == self.me.id}
        self.peer_digests = {host: digest for host, digest in self.peer_digests.items() if host in listed}
        for contact in self.contacts:
            self._overtaken(contact.member, now_s)
        self._rewire(now_s)

    def _note_view(self, view: View, old: View | None) -> None:
        """Say who came and went, by name."""
        names = {member.id: member.name for member in (*(old.members if old else ()), *view.members)}
        joined = [member.name for member in view.members if member.entered == view.id]
        left = [names.get(host, host) for host, _ in view.left]
        dead = [names.get(host, host) for host, _ in view.dead]
        details = {"view": view.id, "joined": joined, "left": left, "dead": dead}
        self.do(Note("view", f"{len(view.members)} members", details=details))

    def adopt(self, view: View, now_s: float) -> None:
        """Learn a later view that does not list this incarnation."""
        assert self.known is None or view.id > self.known.id, "a vote once given must not be forgotten"
        self.tag = view.tag
        self.known = view
        self.council.renew()
        self.foundry.over()
        self.grants = Grants(view.charter.lease_s, now_s, fenced=True)
        self.detector.watch(view, self.contacts.all_up(), now_s, grace=False)
        if self.stage is not Stage.DISCOVERY:
            self.enter(Stage.DISCOVERY, "a later view was learnt")
        self.persist()
        self._learn(view, now_s)

    def _on_install(self, sender: str, message: Install, now_s: float) -> None:
        view = message.view
        if self.farewell is not None and view.tag == self.tag and view.id >= self.farewell.view.id:
            self.farewell.confirmed(sender)
        if self.tag and view.tag != self.tag:
            return
        if self.known is not None and view.id <= self.known.id:
            if view.id == self.known.id and self.is_member:
                self.do(Send(sender, Installed(view.id)))
            return
        promised = self.foundry.promised
        if view.lists(self.me.id, self.me.incarnation):
            if not self.tag and promised is not None and promised.view.tag != view.tag:
                return  # a founder that we gave no promise to counts us in: it is mistaken
            self.install(view, now_s)
            self.do(Send(sender, Installed(view.id)))
        else:
            self._not_listed(view, f"told by {sender[:8]}", now_s)

    def _not_listed(self, view: View, reason: str, now_s: float) -> None:
        """A later view does not list this incarnation."""
        if self.farewell is None and self.is_member:
            if self._renounced:
                self.quorum.clear()
                self.farewell = Farewell(view, now_s)
                self.adopt(view, now_s)
                self.do(Note("left", "dropped as left; answering until a majority has installed it"))
            else:
                self._die(view, reason, now_s)
        elif self.farewell is None and self._too_old(view):
            self._die(view, reason, now_s)
        else:
            self.adopt(view, now_s)

    def _too_old(self, view: View) -> bool:
        """Return whether this incarnation can never be admitted any more."""
        return too_old(view, self.me.id, self.me.incarnation)

    def _die(self, view: View, reason: str, now_s: float) -> None:
        """Undead: drop everything, become another incarnation, and ask to enter."""
        self.quorum.clear()
        self.do(Note("undead", reason, host=self.me.id, details={"view": view.id}))
        self.do(DropEverything(reason))
        last = max((gone for host, gone in view.gone if host == self.me.id), default=0)
        listed = view.member(self.me.id)
        incarnation = max(self.me.incarnation, last, listed.incarnation if listed else 0) + 1
        self.me = msgspec.structs.replace(self.me, incarnation=incarnation, status=Status.JOINING, entered=0)
        self.wishes.clear()
        self._empty = self._renounced = False
        self._hold_s = None
        if self.known is None or view.id > self.known.id:
            self.adopt(view, now_s)
        else:
            self.persist()
        for effect in self.contacts.redial():
            self.do(effect)
        if self._leaving:
            self.do(Halt(0, "held dead while it was leaving"))

    def _on_you_are_dead(self, sender: str, message: YouAreDead, now_s: float) -> None:
        view = message.view
        if message.incarnation != self.me.incarnation or (self.tag and view.tag != self.tag):
            return
        if view.lists(self.me.id, self.me.incarnation):
            return
        if self.known is not None and view.id <= self.known.id:
            if view.id == self.known.id and self._wants_to_enter and self._too_old(view):
                self._die(view, f"told by {sender[:8]}", now_s)
            return
        if self.farewell is not None:
            self.farewell.confirmed(sender)
        self._not_listed(view, f"told by {sender[:8]}", now_s)

    def _on_installed(self, sender: str, message: Installed, now_s: float) -> None:
        if self.farewell is not None and message.view >= self.farewell.view.id:
            self.farewell.confirmed(sender)
        trying = self.foundry.trying
        if trying is not None and trying.final is not None and message.view >= trying.final.id:
            trying.installed.add(sender)

    def _on_want_view(self, sender: str, message: WantView, now_s: float) -> None:
        if self.known is not None and self.known.id >= message.view:
            self.do(Send(sender, Install(self.known)))

    # -- wishes, leaving, evicting, recovering -------------------------------------------

    def wish(self, wish: Wish, now_s: float) -> None:
        """Wish something, to everybody, until a view shows it done."""
        self.wishes.add(wish, now_s, mine=True, wait_s=self.settings.settle_s)
        self.send_all(wish)

    def _on_wish(self, sender: str, wish: Wish, now_s: float) -> None:
        if self.known is None or self.known.member(sender) is None:
            return
        if wish.kind in ("left", "active") and sender != wish.host:
            return
        listed = self.known.member(wish.host)
        if wish.kind != "recount" and (listed is None or listed.incarnation != wish.incarnation):
            return
        if wish.kind == "recount" and wish.view != self.known.id:
            return
        if wish.kind == "dead":
            if wish.host != self.me.id and self.detector.attest(wish.host, wish.incarnation):
                self.wishes.add(wish, now_s, mine=False)
                self.council.consider(now_s)
            return
        settle_s = 0.0 if wish.kind in ("left", "evict", "recount") else self.settings.settle_s
        self.wishes.add(wish, now_s, mine=False, wait_s=settle_s)

    def _on_leave(self, event: LeaveOrdered, now_s: float) -> None:
        host = event.host or self.me.id
        if not self.is_member:
            if host == self.me.id:
                self._leaving = True
                self.do(Halt(0, "this host is no member of anything"))
            return
        assert self.known is not None
        member = self.known.member(host)
        if member is None:
            self.do(Note("refused", "no such member can leave", host=host))
        elif self._is_last(host):
            self.do(Note("refused", LAST_HOST, host=host))
        else:
            self._leaving = self._leaving or host == self.me.id
            self.do(Note("leave", "ordered", host=host))
            self.wish(Wish("leave", host, member.incarnation, "ordered", self.known.id), now_s)
            self._depart(now_s)

    def _is_last(self, host: str) -> bool:
        """Return whether nobody would stay if this host left."""
        assert self.known is not None
        return all(other.status is Status.LEAVING for other in self.known.members if other.id != host)

    def _on_emptied(self, event: Emptied, now_s: float) -> None:
        self._empty = True
        self._depart(now_s)

    def _depart(self, now_s: float) -> None:
        """LEAVING and empty: give quorum up for good, then ask to be dropped.

        Quorum goes first: so nobody has to wait for our leases to run out.
        """
        if not (self.is_member and self._empty and self.me.status is Status.LEAVING) or self._renounced:
            return
        assert self.known is not None
        if self._is_last(self.me.id) and self.known.ids[0] == self.me.id:  # if all leave, the senior stays
            self.do(Note("refused", LAST_HOST, host=self.me.id))
            return
        self._renounced = True
        self.quorum.clear()
        self.do(Note("leave", "empty", host=self.me.id))
        self.wish(Wish("left", self.me.id, self.me.incarnation, "empty", self.known.id), now_s)

    def _take_leave(self, now_s: float) -> None:
        """Wait until a majority of the view without us has installed it."""
        farewell = self.farewell
        assert farewell is not None
        late = now_s - farewell.since_s >= self.settings.left_limit_s
        if farewell.complete or late:
            reason = "a majority goes on without it" if farewell.complete else "nobody confirmed it in time"
            self.do(Note("left", reason, host=self.me.id))
            if farewell.complete:
                self.do(Persist(Record(self.me.id, self.me.incarnation)))
            self.do(Halt(0 if farewell.complete else 1, f"left: {reason}"))
            farewell.since_s = now_s
        elif farewell.asks(now_s, self.settings.knock_s):
            for host in farewell.missing():
                if self.contacts.up(host):
                    self.do(Send(host, WantView(farewell.view.id)))

    def _on_share(self, event: ShareReached, now_s: float) -> None:
        if self.is_member and self.me.status is Status.JOINING and self.known is not None:
            self.wish(Wish("active", self.me.id, self.me.incarnation, "", self.known.id), now_s)

    def _on_recount(self, event: RecountNeeded, now_s: float) -> None:
        if self.is_member and self.known is not None:
            self.wish(Wish("recount", self.me.id, self.me.incarnation, event.reason, self.known.id), now_s)

    def _on_evict(self, event: EvictOrdered, now_s: float) -> None:
        listed = self.known.member(event.host) if self.known else None
        if listed is None or not self.is_member or self.known is None:
            self.do(Note("refused", "no such member can be evicted", host=event.host))
        else:
            self.wish(Wish("evict", event.host, listed.incarnation, event.reason, self.known.id), now_s)

    def _on_recover(self, event: RecoverOrdered, now_s: float) -> None:
        refusal = self.council.recover(now_s)
        if refusal:
            self.do(Note("refused", f"recover: {refusal}"))

    # -- joiners and zombies -------------------------------------------------------------

    def _on_knock(self, sender: str, knock: Knock, now_s: float) -> None:
        if self.farewell is not None:
            return
        if sender != knock.member.id:  # introduced by another zombie
            self.contacts.meet(knock.member, now_s)
            return self._rewire(now_s)
        if knock.tag and self.tag and knock.tag != self.tag:
            self.do(Send(sender, KnockAnswer("no", f"this is cluster {self.tag}", self.tag)))
            return
        contact = self.contacts.knock(knock, now_s)
        if contact is None:
            return
        self._found_cluster(knock.tag, now_s)
        self._overtaken(knock.member, now_s)
        if self.known is not None and knock.view > self.known.id:
            self.compare(sender, knock.view, now_s)
        if self.known is not None and self.known.lists(sender, knock.member.incarnation):
            self.do(Send(sender, Install(self.known)))
            return
        if self.is_member and self._is_dropped(knock.member) and self.known is not None:
            self._tell_dead(sender, knock.member.incarnation, self.known, now_s)
            return
        self.do(Send(sender, judge(self, knock, now_s)))
        if self.stage is Stage.ZOMBIE:
            self._introduce(contact)

    def _introduce(self, newcomer: Contact) -> None:
        """Make the zombies that we see see each other."""
        for other in self.contacts:
            if other is newcomer or not other.up or other.stage != Stage.ZOMBIE.value:
                continue
            for one, to in ((newcomer, other), (other, newcomer)):
                key = f"{one.member.id}/{one.member.incarnation}"
                if key not in to.introduced and to.up:
                    to.introduced.add(key)
                    knock = Knock(one.member, one.tag, one.view, one.stage)
                    self.do(Send(to.member.id, knock))

    def _on_knock_answer(self, sender: str, answer: KnockAnswer, now_s: float) -> None:
        if self.is_member or self.farewell is not None:
            return
        if answer.answer == "no":
            if answer.reason != self.refusal:
                self.refusal = answer.reason
                self.do(Note("refused", answer.reason, host=sender))
            return
        if answer.reason != self.refusal:
            self.refusal = answer.reason
            self.do(Note("knock", f"{answer.answer}: {answer.reason}", host=sender))
        self._found_cluster(answer.tag, now_s)
        if answer.tag == self.tag and answer.view > (self.known.id if self.known else 0):
            self.compare(sender, answer.view, now_s)

    def _on_init(self, event: InitOrdered, now_s: float) -> None:
        refusal = self.init_refusal()
        if refusal:
            self.do(Note("refused", f"init: {refusal}"))
            return
        self.foundry.order(event.charter, now_s)
        self._found(now_s)

    def zombies(self, now_s: float) -> dict[str, Member]:
        """Return the zombies that this host sees, itself not included."""
        return {
            contact.member.id: contact.member
            for contact in self.contacts
            if contact.up
            and contact.tag == ""
            and contact.stage == Stage.ZOMBIE.value
            and now_s - contact.seen_s < 1.0
        }

    def _found(self, now_s: float) -> None:
        """Found a cluster if that was ordered, or if as many are here as expected."""
        if self.stage is not Stage.ZOMBIE:
            return
        foundry = self.foundry
        expect = self.settings.expect
        if expect and foundry.charter is None and foundry.promised is None:
            zombies = self.zombies(now_s)
            if len(zombies) + 1 >= expect and self.me.id < min(zombies, default="~"):
                foundry.order(self.settings.charter, now_s)
        if foundry.due(now_s):
            effects = foundry.begin(self.me, self.zombies(now_s), now_s)
            self.persist()
            self._out += effects
        if foundry.forget(now_s):
            self.persist()
        had = foundry.promised
        effects, first = foundry.step(self.me, now_s)
        if had is not None and foundry.promised is None:
            self.persist()
        self._out += effects
        if first is not None:
            trying = foundry.trying
            self.install(first, now_s)
            for host in first.ids:
                if host != self.me.id and trying is not None and host not in trying.installed:
                    self.do(Send(host, Install(first)))

    def _on_founding(self, sender: str, founding: Founding, now_s: float) -> None:
        if self.stage is not Stage.ZOMBIE or sender != founding.ballot.host:
            self.do(Send(sender, FoundingAnswer(self.tag, False, f"this host is {self.stage.value}")))
            return
        answer = self.foundry.asked(founding, now_s)
        if answer.agreed:
            self.persist()
        self.do(Send(sender, answer))

    def _on_founding_answer(self, sender: str, answer: FoundingAnswer, now_s: float) -> None:
        if self.foundry.answered(sender, answer):
            self.persist()
        if self.known is None:
            self._found(now_s)
