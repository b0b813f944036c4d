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

from agents.agreement import Acceptor
from agents.asking import Asking, waiting_for
from agents.contacts import Contacts
from agents.council import Council
from agents.detector import Detector, Verdict
from agents.effects import (
    BallotsHalted,
    DigestIs,
    Emptied,
    EndMissed,
    EvictOrdered,
    FreezeOrdered,
    GivenIn,
    Halt,
    HelloSeen,
    InitOrdered,
    LeaveOrdered,
    LinkCameUp,
    LinkRefused,
    LinkWentDown,
    LoadMeasured,
    LoopWasLate,
    Note,
    Persist,
    ProcessGone,
    ProcessStopped,
    Received,
    RecountNeeded,
    RecoverOrdered,
    SeedFound,
    SeedSilent,
    Send,
    ShareReached,
    Ticked,
)
from agents.encounters import Encounters
from agents.farewell import Farewell
from agents.founding import Foundry, Promised
from agents.heartbeats import Heartbeats
from agents.knocking import Knocking
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
    Meet,
    Prepare,
    Promise,
    Refused,
    WantView,
    Wish,
    Yield,
    YouAreDead,
)
from agents.orders import Orders
from agents.passage import Passage
from agents.record import Record
from agents.reputation import Reputation
from agents.sides import Sides
from agents.stages import EDGES, Settings, Stage, hold_reason
from agents.suspicion import Suspicion
from agents.views import Member, Status, View
from agents.wishes import Wishes
from agents.zombies import Zombies

__all__ = ["EDGES", "Membership", "Settings", "Stage"]

Effect = Any
Handler = Callable[[Any, float], None]
Hearer = Callable[[str, Any, float], None]

LATE_BEATS = 2  # a loop at rest ticks once per heartbeat: one that has missed a tick was stalled

# What means something inside one cluster only; the rest says its tag, or is for anybody.
AMONG_MEMBERS = (Heartbeat, Grant, Prepare, Promise, Accept, Accepted, Refused, Wish, Yield)


def said_tag(message: Any) -> str:
    """Return the cluster tag that a message says its sender bears; "" = none."""
    if isinstance(message, Heartbeat | KnockAnswer):
        return message.tag
    return message.view.tag if isinstance(message, Install | YouAreDead | Meet) else ""


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
        self.peer_digests: dict[str, int] = {}
        self.contacts = Contacts(me.id, settings.contacts_max)
        self.detector = Detector(me.id)
        self.wishes = Wishes()
        self.reputation = Reputation()
        self.grants = Grants(settings.charter.lease_s, now_s, fenced=True)
        self.council = Council(self, Acceptor())
        self.foundry = Foundry(settings.founding_s, settings.founding_forget_s)
        self.farewell: Farewell | None = None
        self.ended: tuple[str, int] = ("", 0)  # a stop that is over, and the view that it was made in
        self.encounters = Encounters(self)
        self.knocking = Knocking(self)
        self.orders = Orders(self)
        self.passage = Passage(self)
        self.zombies = Zombies(self)
        self.sides = Sides(self)
        self.mute = record is not None and record.mute  # it votes on nothing, see `Sides`
        self._listed: tuple[View | None, Member | None, bool] = (None, None, False)
        self.heartbeats = Heartbeats(self, now_s)
        self.suspicion = Suspicion(self, now_s)
        self._had_quorum = False
        self.hold_s: float | None = None
        self._ticked_s = self._started_s = now_s
        self._knock_s = now_s
        self.asking = Asking(me.id, settings.seeds, settings.refused_s)
        self.waiting = ""  # for what, in words; any thread may read it
        self._is_hopeless = False
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
    def is_at_rest(self) -> bool:
        """Whether no ballot of ours is under way, and no proposal accepted that was not installed."""
        return self.council.attempt is None and self.council.acceptor.accepted is None

    @property
    def may_end(self) -> bool:
        """Whether no other view can come of our votes since ballots last rested, if we end now."""
        return self.council.acceptor.accepted is None and not self.council.owes

    @property
    def is_member(self) -> bool:
        """Whether the known view lists exactly this incarnation."""
        known, me, listed = self._listed
        if known is not self.known or me is not self.me:  # colonies ask with every mutation
            listed = self.known is not None and self.known.lists(self.me.id, self.me.incarnation)
            self._listed = (self.known, self.me, listed)
        return listed

    @property
    def view(self) -> View | None:
        """The installed view; None while this host is no member."""
        return self.known if self.is_member else None

    @property
    def ended_stop(self) -> str:
        """The stop, made in the known view, that is known to have come to its end; "" = none."""
        stop, view = self.ended
        return stop if self.known is not None and self.known.id == view else ""

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

    def holds_dead(self, host: str, now_s: float) -> bool:
        """Return whether another member is held dead, view or no view."""
        is_other = host != self.me.id and self.known is not None and self.known.member(host) is not None
        return is_other and self.detector.verdict(host, now_s) is Verdict.DEAD

    def stamp(self) -> tuple[str, int, str]:
        """Return (tag, known view id, stage) for Hellos."""
        return self.tag, self.known.id if self.known else 0, self.stage.value

    def uptime_s(self, host: str, now_s: float) -> float:
        """Return how long a host has been up, as far as it is known here."""
        if host == self.me.id:
            return now_s - self._started_s
        load = self.loads.get(host)
        return load.uptime_s if load is not None else 0.0

    def init_refusal(self) -> str:
        """Return why an init would be refused here now; "" = it would not."""
        if self.tag or self.known is not None:
            return f"already initialised, cluster tag {self.tag}"
        if self.foundry.charter is not None or self.foundry.promised is not None:
            return "a founding is under way"
        return ""

    def rests_until_s(self, now_s: float) -> float:
        """Return when it next needs a tick, if nothing happens before; not later than `now_s` = as ever."""
        known = self.known
        is_quiet = (
            self.stage is Stage.COMMIT
            and known is not None
            and self.is_member
            and self.me.status is Status.ACTIVE
            and not self.sides.are_known
            and not self.suspicion.is_any
            and not self.wishes
            and self.farewell is None
            and self.quorum.held(now_s)
            and self.council.is_idle(now_s)
            and self.detector.is_calm(now_s)
        )
        return self.heartbeats.due_s if is_quiet else now_s

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
        self.waiting = waiting_for(self, self._ticked_s)

    def persist(self, spoiled: str = "") -> None:
        """Write the record, before whatever effect comes next; `spoiled`: it must never be used again."""
        acceptor, promised = self.council.acceptor, self.foundry.promised
        me, tag, known = self.me, self.tag, self.known
        record = Record(me.id, me.incarnation, tag, known, spoiled=spoiled, mute=self.mute)
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
            HelloSeen: self.encounters.on_hello,
            SeedFound: self.encounters.on_seed,
            SeedSilent: self.encounters.on_seed_silent,
            LinkRefused: self.encounters.on_link_refused,
            LinkCameUp: self.encounters.on_link_up,
            LinkWentDown: self.encounters.on_link_down,
            ProcessGone: self.encounters.on_process_gone,
            ProcessStopped: self._process_stopped,
            LoopWasLate: self._on_late,
            InitOrdered: self.zombies.on_init,
            LeaveOrdered: self.orders.on_leave,
            Emptied: self.orders.on_emptied,
            ShareReached: self.orders.on_share,
            RecountNeeded: self.orders.on_recount,
            EvictOrdered: self.orders.on_evict,
            FreezeOrdered: self.orders.on_freeze,
            RecoverOrdered: self.orders.on_recover,
            GivenIn: self.sides.on_given_in,
            LoadMeasured: self.heartbeats.on_load,
            DigestIs: self.heartbeats.on_digest,
            BallotsHalted: self._on_ballots_halted,
            EndMissed: self.passage.on_end_missed,
        }

    def _message_handlers(self) -> dict[type, Hearer]:
        return {
            Heartbeat: self.heartbeats.on_heartbeat,
            Grant: self.heartbeats.on_grant,
            Prepare: self.council.on_prepare,
            Promise: self.council.on_promise,
            Accept: self.council.on_accept,
            Accepted: self.council.on_accepted,
            Refused: self.council.on_refused,
            Install: self.passage.on_install,
            Installed: self.passage.on_installed,
            WantView: self.passage.on_want_view,
            YouAreDead: self.passage.on_you_are_dead,
            Wish: self.orders.on_wish,
            Knock: self.knocking.on_knock,
            KnockAnswer: self.knocking.on_knock_answer,
            Founding: self.zombies.on_founding,
            FoundingAnswer: self.zombies.on_founding_answer,
            Meet: self.sides.on_meet,
            Yield: self.sides.on_yield,
        }

    def _on_received(self, event: Received, now_s: float) -> None:
        hearer = self._hearers.get(type(event.message))
        if hearer is None:
            return
        contact = self.contacts.get(event.sender)
        if contact is not None:
            contact.seen_s = now_s
            contact.tag = said_tag(event.message) or contact.tag
        if isinstance(event.message, AMONG_MEMBERS):
            if contact is None or contact.tag != self.tag:
                return  # two clusters, born of zombies that were linked to each other
            if not contact.up:  # its link came up when it was one too many to be known
                self.encounters.on_link_up(LinkCameUp(event.sender, 0), now_s)
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
        if gap_s > LATE_BEATS * heartbeat_s:
            self.detector.was_late(gap_s, now_s)  # stalled: what the others said is still unread
        if now_s >= self.heartbeats.due_s:
            self.heartbeats.beat(heartbeat_s, now_s)
        if now_s >= self._knock_s:
            self._knock_s = now_s + self.settings.knock_s
            self._repeat(now_s)
        if self.known is None:
            self.zombies.found(now_s)
        elif self.is_member:
            self.detector.note_alone(self._is_alone(now_s), now_s)
            self.suspicion.look(now_s)
        if self.farewell is not None:
            return self.orders.take_leave(now_s)
        self.council.consider(now_s)
        self._rest(now_s)

    def _repeat(self, now_s: float) -> None:
        """Knock, repeat wishes, and bring links in line with what is wanted."""
        self.rewire(now_s)
        self.sides.repeat(now_s)
        if self.known is not None:
            self.wishes.prune(self.known, now_s)
            for wish in self.wishes.mine():
                self.send_all(wish)
        if not self.is_member and self.farewell is None and not self.orders.leaving:
            for contact in self.contacts:
                if contact.up:
                    self.do(Send(contact.member.id, self.knocking.knock(now_s)))
            self._despair(self.asking.verdict(now_s))
        self.waiting = waiting_for(self, now_s)

    def _despair(self, reason: str) -> None:
        """End the process if everybody that it may ask has refused it for good."""
        if reason and not self._is_hopeless:
            self.do(Halt(1, f"refused by all that it asked: {reason}"))
        self._is_hopeless = bool(reason)

    def rewire(self, now_s: float, only: str = "") -> None:
        """Dial whom we want a link to, hang up on the others; `only`: look at one host alone."""
        seeking = not self.is_member or self.stage is Stage.HOLD
        contact_s = self.settings.contact_s
        for effect in self.contacts.rewire(self.known, self.tag, seeking, now_s, contact_s, only):
            self.do(effect)

    def _process_stopped(self, event: ProcessStopped, now_s: float) -> None:
        self.detector.stopped(event.host, event.incarnation)

    def _rest(self, now_s: float) -> None:
        """Be in the stage that fits, when no ballot of ours is under way."""
        if self.council.attempt is not None or self.stage is Stage.ZOMBIE:
            return
        if self.stage is Stage.ELECTION:
            self.enter(Stage.DISCOVERY, "nothing to propose now")
        if not self.is_member:
            return
        assert self.known is not None
        if not self._is_alone(now_s):
            self.hold_s = None
            if self.stage is not Stage.COMMIT:
                self.enter(Stage.COMMIT, "a majority is heard")
            return
        if self.stage is not Stage.HOLD:
            self.enter(Stage.HOLD, "no majority is heard")
            heard = len(self.heard(now_s))
            size = len(self.known.members)
            self.do(Note("hold", f"{heard} of {size} members heard; it waits for {hold_reason(self.known)}"))
        if self.hold_s is None:
            self.hold_s = now_s
        limit_s = self.settings.solitude_limit_s
        if limit_s is not None and now_s - self.hold_s >= limit_s:
            self.hold_s = now_s
            self.do(Note("hold", f"no majority for {limit_s:.0f} s: giving up"))
            self.do(Halt(5, f"no majority for {limit_s:.0f} s"))

    def _is_alone(self, now_s: float) -> bool:
        """Return whether this member hears no majority; that it holds quorum says that it does."""
        assert self.known is not None
        return not self.quorum.held(now_s) and len(self.heard(now_s)) < self.known.majority

    def _on_late(self, event: LoopWasLate, now_s: float) -> None:
        self.detector.was_late(event.late_s, now_s)

    @property
    def wants_to_enter(self) -> bool:
        """Whether this host knocks."""
        return not self.is_member and self.farewell is None and not self.orders.leaving

    def _on_ballots_halted(self, event: BallotsHalted, now_s: float) -> None:
        self.council.halted, self.council.in_doubt = event.halted, event.in_doubt
        if event.halted:
            self.council.owes = False
