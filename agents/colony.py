"""A colony, as one host lives it: one peer, primary or secondary.

Events in, effects out. Which peer does what when a view changes:

* a primary goes on at once, with the dropped hosts out of its ack set;
* a learner whose primary is gone frees its cells;
* an orphaned secondary waits for the census, which names one heir for all.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from agents import closures, leading, merging, migration, transfers
from agents.announcing import active, announce, announce_if_news
from agents.causes import Cause
from agents.effects import (
    Answer,
    ClosureRan,
    Effect,
    LinkCameUp,
    LinkWentDown,
    Note,
    Received,
    Requested,
    Send,
    TellHost,
    Ticked,
    Wake,
)
from agents.learning import Learner
from agents.messages.client import DENIED, FAILED, MOVED, UNAVAILABLE, Get, Reply
from agents.messages.replication import (
    Ack,
    Activate,
    Activated,
    CellOffer,
    CensusPeer,
    Chunk,
    CloneAnswer,
    CloneAsk,
    CloneStart,
    GuestOrder,
    GuestReport,
    HandedOver,
    HandOver,
    Missing,
    Replicate,
    Retire,
    Retired,
)
from agents.peer import Peer, PeerStatus, Role, follows
from agents.primary import Primary, read_cell
from agents.surroundings import (
    Born,
    CensusDecided,
    Counted,
    Dropped,
    Outbid,
    PeerGone,
    RecountWanted,
    Restored,
    Surroundings,
    ViewInstalled,
)
from agents.views import epoch_view

Out = list[Effect]
PATIENCE_TICK_S = 0.25  # how often a primary with moves under way looks at them
LANE_TICK_S = 30.0
WAKE_GRAIN_S = 0.02
LETTERS = frozenset((CellOffer, GuestReport, GuestOrder))  # their epoch is that of a stay, not of a primacy
EPOCHLESS = LETTERS | {Retire, Retired}
LATE_S = 1.0  # an alarm that did not ring by then was refused: a host has only so many


# Who takes what. One table for all colonies: thousands of their own would not stay in a core's cache.
_MESSAGES: dict[type, str] = {
    Replicate: "_replicate",
    Ack: "_ack",
    CloneAsk: "_clone_ask",
    CloneStart: "_clone_start",
    Chunk: "_chunk",
    Activate: "_activate",
    Retire: "_retire",
    HandOver: "_hand_over",
    HandedOver: "_handed_over",
    **dict.fromkeys(LETTERS, "_letter"),
    **dict.fromkeys(leading.MESSAGES, "_said_to_primary"),
}
_EVENTS: dict[type, str] = {
    Ticked: "_ticked",
    ClosureRan: "_closure_ran",
    LinkCameUp: "_link_came_up",
    LinkWentDown: "_link_went_down",
    ViewInstalled: "_view_installed",
    CensusDecided: "_census_decided",
    Born: "_born",
    Outbid: "_outbid",
    Dropped: "_dropped",
    Restored: "_restored",
    **dict.fromkeys(leading.EVENTS, "_told_primary"),
}


class Handed(NamedTuple):
    """A hand-over sent and not yet answered."""

    target: str
    message: HandOver


class Colony:
    """The machine of one peer of one colony."""

    def __init__(self, colony: int, host: Surroundings) -> None:
        self.peer = Peer(colony, host)
        self.host = host
        self.primary: Primary | None = None
        self.learner: Learner | None = None
        self.handed: Handed | None = None
        self.restored = False  # a snapshot brought the peer, and no census has had its say yet
        self._wake_s = float("inf")
        self._lanes_s = 0.0
        self._counted: frozenset[str] = frozenset()  # ack set as this view found it

    # -- what others may look at -------------------------------------------------

    @property
    def colony(self) -> int:
        """The colony's number, 0 to K - 1."""
        return self.peer.colony

    @property
    def status(self) -> PeerStatus:
        """NONE, LEARNING or ACTIVE."""
        return self.peer.status

    @property
    def role(self) -> Role | None:
        """PRIMARY, SECONDARY, or None when not ACTIVE."""
        if self.peer.status is not PeerStatus.ACTIVE:
            return None
        return Role.PRIMARY if self.primary is not None else Role.SECONDARY

    @property
    def epoch(self) -> int:
        """The epoch the peer follows or leads."""
        return self.peer.epoch

    @property
    def is_open(self) -> bool:
        """Whether this peer is a primary that serves (given quorum)."""
        primary = self.primary
        return primary is not None and primary.is_open and primary.transfers.handing is None

    @property
    def is_still(self) -> bool:
        """Whether nothing of this peer is under way: all is committed, nothing moves."""
        primary = self.primary
        if primary is None:
            return self.handed is None and self.peer.status is not PeerStatus.LEARNING
        moves = primary.transfers
        return primary.is_open and not (primary.pending or moves.under_way or moves.handing)

    @property
    def peers(self) -> tuple[str, ...]:
        """ACTIVE peers as the primary knows them, itself first."""
        return active(self.primary) if self.primary is not None else ()

    def leads_as(self, primary: Primary) -> bool:
        """Return whether this very primary serves; any thread may call it."""
        return self.primary is primary and self.is_open

    def read(self, key: bytes, now_s: float) -> Reply:
        """Return a committed cell as it stands; any thread may call it."""
        return read_cell(self.peer, Get(0, key), now_s)

    # -- the door ----------------------------------------------------------------

    def handle(self, event: Any, now_s: float) -> Out:
        """Take one event, and return what must be done."""
        out: Out = []
        kind = type(event)
        if kind is Received:
            message = event.message
            if message.epoch > self.peer.epoch and self._is_ahead(message.epoch):
                return out
            if message.epoch >= self.peer.epoch or type(message) in EPOCHLESS:
                getattr(self, _MESSAGES[type(message)])(event.sender, message, now_s, out)
        elif kind is Requested:
            self._request(event.caller, event.request, now_s, out)
        else:
            getattr(self, _EVENTS[kind])(event, now_s, out)
        primary = self.primary
        if primary is not None:
            self._see_to(primary, now_s, out)
        elif self.learner is not None:
            self._wake_by(self.learner.heard_s + 2 * self.host.limits.clone_patience_s, now_s, out)
        return out

    def _is_ahead(self, epoch: int) -> bool:
        """Return whether an epoch began in a view that this host has not installed."""
        view = self.host.view
        return view is None or epoch_view(epoch) > view.id

    def _see_to(self, primary: Primary, now_s: float, out: Out) -> None:
        """What a primary does after each event: finish moves, set its alarm."""
        moves = primary.transfers
        if primary.moves is not None and primary.moves.due:
            migration.go_on(primary, now_s, out)
        if moves.clones:
            transfers.finish_clones(primary, out)
        if moves.handing is not None:
            self._try_to_hand_over(primary, now_s, out)
            if self.primary is None:
                return
        if primary.merges is not None:
            merging.acknowledge(primary, now_s, out)
        patient = moves.under_way or moves.handing or primary.stalled or primary.merges
        expiry_s = primary.next_expiry_s()
        if not patient and expiry_s is None and primary.moves is None:
            return
        at_s = now_s + PATIENCE_TICK_S if patient else float("inf")
        if primary.moves is not None:
            at_s = min(at_s, now_s + primary.moves.patience_s)
        if expiry_s is not None and expiry_s < min(at_s, self._wake_s):
            if expiry_s <= now_s and not primary.may_expire(now_s):
                expiry_s = now_s + PATIENCE_TICK_S
            at_s = min(at_s, expiry_s)
        self._wake_by(at_s, now_s, out)

    def _wake_by(self, at_s: float, now_s: float, out: Out) -> None:
        """Ask for a tick at some time, unless one comes before it anyway."""
        is_late = self._wake_s < now_s - LATE_S and at_s < float("inf")
        if is_late or at_s < self._wake_s - WAKE_GRAIN_S:
            self._wake_s = max(at_s, now_s + WAKE_GRAIN_S)
            out.append(Wake(self._wake_s))

    # -- clients -----------------------------------------------------------------

    def _request(self, caller: Any, request: Any, now_s: float, out: Out) -> None:
        if type(request) is Get and request.stale and self.peer.status is PeerStatus.ACTIVE:
            out.append(Answer(caller, read_cell(self.peer, request, now_s)))
        elif self.primary is not None:
            self.primary.request(caller, request, now_s, out)
        else:
            host, address = self.host.where(self.colony)
            if host and host != self.host.me:
                reply = Reply(request.id, MOVED, self.colony + 1, value=host.encode(), text=address)
            else:
                reply = Reply(request.id, UNAVAILABLE, text=self.host.absence(self.colony))
            out.append(Answer(caller, reply))

    def _closure_ran(self, event: ClosureRan, now_s: float, out: Out) -> None:
        if self.primary is None:
            return
        if self.primary.merges is not None and merging.ran(self.primary, event, now_s, out):
            return
        failure = None
        if event.error:
            code = DENIED if event.is_denied else FAILED
            failure = Reply(0, code, value=event.report, text=event.error)
        dna = event.dna if isinstance(event.dna, bytes) else None  # closures make plain values
        closures.ran(self.primary, event.ticket, dna, failure, now_s, out)

    # -- secondary -----------------------------------------------------------------

    def _replicate(self, sender: str, message: Replicate, now_s: float, out: Out) -> None:
        peer = self.peer
        if message.epoch > peer.epoch:
            self._follow(message.epoch, out)
        if peer.status is PeerStatus.NONE:
            # Its primary still counts on us: it must not wait for our acks.
            out.append(Send(sender, Retired(self.colony, message.epoch, "no such peer here")))
            return
        if peer.status is PeerStatus.LEARNING:
            learner = self.learner
            if learner is None or learner.source != sender or not learner.started:
                return
            learner.heard_s = now_s
        if self.primary is not None:
            return  # an epoch has one primary
        peer.offset_s = message.clock_s - now_s
        for entry in message.entries:
            if entry.seq == peer.last + 1 or (entry.seq > peer.last and follows(entry, peer.last)):
                if not peer.cells.fits(entry):
                    self._give_up(sender, message.epoch, f"entry {entry.seq} makes no sense here", out)
                    return
                peer.apply(entry, now_s)
            elif entry.seq > peer.last:
                out.append(Send(sender, Missing(self.colony, message.epoch, peer.last)))
                return
        peer.commit_to(message.committed)
        out.append(Send(sender, Ack(self.colony, message.epoch, peer.last)))

    def _follow(self, epoch: int, out: Out) -> None:
        """Somebody leads a higher epoch: this peer is its secondary."""
        if self.primary is not None:
            self._step_down("a later epoch has another primary", out)
        elif self.peer.status is PeerStatus.LEARNING:
            self._free("a later epoch counts on what was not learned yet", out)
        self.peer.epoch = epoch
        self.handed = None
        self.restored = False  # it counts on this peer

    def _step_down(self, reason: str, out: Out) -> None:
        """End a primacy that another has succeeded; its tail is not ours to keep."""
        primary = self.primary
        assert primary is not None, "only a primary can step down"
        self.primary = None
        primary.dismiss(MOVED, reason, self.host.where(self.colony), out)
        out.append(Note("step_down", reason, self.colony))
        if primary.pending:
            # Entries that nobody else may know were never applied here: this
            # copy is of no use, and saying so keeps the ack set honest.
            self._free(reason, out)

    def _free(self, reason: str, out: Out) -> None:
        self.peer.wipe(PeerStatus.NONE)
        self.restored = False
        self.learner = None
        self.handed = None
        out.append(Note("freed", reason, self.colony))
        out.append(TellHost(PeerGone(self.colony)))

    def _give_up(self, primary: str, epoch: int, reason: str, out: Out) -> None:
        """This copy is not what it should be: free it, and say so."""
        out.append(Note("alarm", reason, self.colony, primary))
        self._free(reason, out)
        out.append(Send(primary, Retired(self.colony, epoch, reason)))

    # -- primary: what its peers say -------------------------------------------------

    def _ack(self, sender: str, message: Ack, now_s: float, out: Out) -> None:
        primary = self.primary
        if primary is not None and message.epoch == self.peer.epoch:
            primary.acked(sender, message.seq, now_s, out)

    def _said_to_primary(self, sender: str, message: Any, now_s: float, out: Out) -> None:
        primary = self.primary
        if primary is not None and message.epoch == self.peer.epoch:
            leading.MESSAGES[type(message)](primary, sender, message, now_s, out)

    def _told_primary(self, event: Any, now_s: float, out: Out) -> None:
        if self.primary is not None:
            leading.EVENTS[type(event)](self.primary, event, now_s, out)

    def _letter(
        self, sender: str, message: CellOffer | GuestReport | GuestOrder, now_s: float, out: Out
    ) -> None:
        if self.primary is not None:
            migration.heard(self.primary, message, now_s, out)

    # -- clone, at the target --------------------------------------------------------

    def _clone_ask(self, sender: str, message: CloneAsk, now_s: float, out: Out) -> None:
        peer = self.peer
        reason = self.host.admits(self.colony, sender, message.bytes_wanted, message.weight_max)
        if peer.status is PeerStatus.ACTIVE:
            reason = "an ACTIVE peer is here already"
        if reason:
            if peer.status is PeerStatus.LEARNING:  # an earlier attempt, which this one ends
                self._free(reason, out)
            answer = CloneAnswer(self.colony, message.epoch, message.clone, False, reason)
            out.append(Send(sender, answer))
            return
        peer.wipe(PeerStatus.LEARNING)
        peer.epoch = message.epoch
        self.learner = Learner(sender, message.clone, now_s)
        out.append(Send(sender, CloneAnswer(self.colony, message.epoch, message.clone, True)))

    def _learns(self, sender: str, message: CloneStart | Chunk | Activate) -> Learner | None:
        """Return the attempt that a message belongs to; None = it is over."""
        learner = self.learner
        return learner if learner is not None and learner.is_meant(self.peer, sender, message) else None

    def _clone_start(self, sender: str, message: CloneStart, now_s: float, out: Out) -> None:
        learner = self._learns(sender, message)
        if learner is not None:
            learner.start(self.peer, message, now_s)

    def _chunk(self, sender: str, message: Chunk, now_s: float, out: Out) -> None:
        learner = self._learns(sender, message)
        ack = learner.take(self.peer, message, now_s) if learner is not None else None
        if ack is not None:
            out.append(Send(sender, ack))

    def _outbid(self, event: Outbid, now_s: float, out: Out) -> None:
        if self.peer.status is PeerStatus.LEARNING and self.learner is not None:
            source, epoch = self.learner.source, self.peer.epoch
            self._free(event.reason, out)
            out.append(Send(source, Retired(self.colony, epoch, event.reason)))

    def _activate(self, sender: str, message: Activate, now_s: float, out: Out) -> None:
        learner = self._learns(sender, message)
        if learner is not None:
            if not (learner.started and learner.is_whole):
                self._give_up(sender, message.epoch, "activated before all has come", out)
                return
            self.peer.become(PeerStatus.ACTIVE)
            self.peer.cells.end_learning()
            self.learner = None
        if self.peer.status is PeerStatus.ACTIVE:
            out.append(Send(sender, Activated(self.colony, message.epoch, message.clone)))
        else:  # it has lost what it learned: it must not stay in the ack set
            out.append(Send(sender, Retired(self.colony, message.epoch, "not learning this clone")))

    def _retire(self, sender: str, message: Retire, now_s: float, out: Out) -> None:
        if message.epoch < self.peer.epoch:
            return
        if self.primary is not None:
            if message.epoch == self.peer.epoch:
                return  # only a later primary may say so, and it has a later epoch
            self._step_down("a later primary lets this peer go", out)
        if self.peer.status is not PeerStatus.NONE:
            self._free("retired by the primary", out)
        out.append(Send(sender, Retired(self.colony, message.epoch)))

    # -- hand over ---------------------------------------------------------------------

    def _try_to_hand_over(self, primary: Primary, now_s: float, out: Out) -> None:
        view, handing = self.host.view, primary.transfers.handing
        assert view is not None and handing is not None, "a hand-over needs a view"
        message = transfers.hand_over_if_drained(primary, view.id, now_s, out)
        if message is None:
            return
        # From here on this peer is an ACTIVE secondary, whatever becomes of
        # the message: all is committed, and nothing is sequenced any more.
        self.primary = None
        self.handed = Handed(handing.target, message)
        self._wake_s = float("inf")
        where = (handing.target, self._address(handing.target))
        primary.dismiss(MOVED, "handed over", where, out)

    def _address(self, host: str) -> str:
        view = self.host.view
        member = view.member(host) if view is not None else None
        return member.address if member is not None else ""

    def _hand_over(self, sender: str, message: HandOver, now_s: float, out: Out) -> None:
        peer = self.peer
        if peer.epoch == message.epoch:
            # It asks again; and this peer may have handed on since: taken twice, two would lead.
            out.append(Send(sender, HandedOver(self.colony, message.epoch)))
            return
        if self.primary is not None:
            self._step_down("handed a later epoch", out)
        if peer.status is not PeerStatus.ACTIVE or peer.last != message.seq:
            reason = f"handed over to a peer that is {peer.status.value} at {peer.last}"
            out.append(TellHost(RecountWanted(reason)))
            return
        peer.commit_to(message.seq)
        peer.epoch = message.epoch
        peer.offset_s = message.clock_s - now_s
        view = self.host.view
        here = set(view.ids if view is not None else ()) - {self.host.me}
        self._lead({host: message.seq for host in message.ack_set if host in here}, now_s, out)
        out.append(Send(sender, HandedOver(self.colony, message.epoch)))
        giver = Cause("hand_over", self.colony, self.host.me, by=sender)
        reason = f"handed over by {self.host.called(sender)}"
        out.append(Note("promote", reason, self.colony, self.host.me, {"before": sender}, giver))

    def _handed_over(self, sender: str, message: HandedOver, now_s: float, out: Out) -> None:
        handed = self.handed
        if handed is not None and handed.message.epoch == message.epoch:
            self.peer.epoch = max(self.peer.epoch, message.epoch)
            self.handed = None

    def _lead(self, ack_set: dict[str, int], now_s: float, out: Out) -> Primary:
        """Be primary in the peer's (new) epoch."""
        self.handed = None
        self._wake_s = float("inf")
        self.primary = primary = Primary(self.peer, ack_set)
        primary.commit(now_s, out)
        announce(primary, out)
        return primary

    # -- views and the census ----------------------------------------------------------

    def _view_installed(self, event: ViewInstalled, now_s: float, out: Out) -> None:
        members = frozenset(event.view.ids)
        if event.view.charter.is_available and self.peer.status is not PeerStatus.NONE:
            self.peer.follow(event.view, now_s)  # before anything commits without those that are gone
        self.handed = None  # void: the census finds out whether it arrived
        if self.primary is not None:
            transfers.cancel_hand_over(self.primary, "a new view", now_s, out)
            transfers.view_installed(self.primary, members, now_s, out, event.view.id)
            self._counted = frozenset(self.primary.ack_set)
        learner = self.learner
        if learner is not None and learner.source not in members:
            self._free("its primary is gone", out)
        counted = None
        if self.peer.status is PeerStatus.ACTIVE:
            peer = self.peer
            leads = self.primary is not None
            counted = CensusPeer(self.colony, peer.epoch, peer.last, leads, self.restored)
        out.append(TellHost(Counted(event.view.id, self.colony, counted)))

    def _census_decided(self, event: CensusDecided, now_s: float, out: Out) -> None:
        me = self.host.me
        self.restored = False
        others = {host: seq for host, seq in event.seqs.items() if host != me}
        if event.epoch < self.peer.epoch:
            return  # it was handed over since the census was taken
        if event.primary != me:
            if self.primary is not None:
                self._step_down("the census names another primary", out)
            learner = self.learner
            if learner is not None and learner.source != event.primary:
                self._free("the census names another primary", out)
            return
        if self.primary is not None:
            leading.check_ack_set(self.primary, self._counted, others, now_s, out)
            self._counted = frozenset()
            announce_if_news(self.primary, out)
            return
        if event.kept:
            return  # this peer has handed over since; the heir speaks for itself
        if self.peer.status is not PeerStatus.ACTIVE:
            reason = "the census names a peer that is not ACTIVE"
            out.append(TellHost(RecountWanted(reason)))
            return
        self.peer.epoch = event.epoch
        # The view itself: its reason names the dead, whichever of them led this colony.
        view = epoch_view(event.epoch)
        primary = self._lead(others, now_s, out)
        primary.transfers.fell = Cause("view", view=view)
        gone = f"{self.host.called(event.before)}, which led it, is gone; " if event.before else ""
        reason = f"{gone}the census names this peer"
        details = {"before": event.before, "view": view}
        out.append(Note("promote", reason, self.colony, me, details, primary.transfers.fell))
        for host, seq in others.items():
            if seq < self.peer.last:
                primary.resend(host, now_s, out)

    def _born(self, event: Born, now_s: float, out: Out) -> None:
        assert self.peer.status is not PeerStatus.ACTIVE, "a living colony is not born"
        if self.peer.status is PeerStatus.LEARNING:
            self.peer.wipe(PeerStatus.NONE)
        self.learner = None
        self.peer.become(PeerStatus.ACTIVE)
        self.peer.epoch = event.epoch
        self.peer.offset_s = -now_s
        view = self.host.view
        if view is not None and view.charter.is_available:
            self.peer.birth = epoch_view(event.epoch)
            self.peer.follow(view, now_s)
        primary = self._lead({}, now_s, out)
        primary.transfers.fell = Cause("census", view=epoch_view(event.epoch))

    def _restored(self, event: Restored, now_s: float, out: Out) -> None:
        assert self.primary is None, "who leads has cells of its own"
        peer = self.peer
        if peer.status is PeerStatus.ACTIVE:
            return  # whatever lives knows more than what was written down
        if peer.status is PeerStatus.LEARNING:
            self._free("a snapshot brings it back", out)
        peer.become(PeerStatus.ACTIVE)
        peer.cells = event.cells
        peer.epoch = event.epoch
        peer.last = peer.committed = event.seq  # a stop waits until all is committed
        peer.offset_s = event.clock_s - now_s
        self.restored = True

    def _dropped(self, event: Dropped, now_s: float, out: Out) -> None:
        if self.primary is not None:
            self.primary.dismiss(UNAVAILABLE, event.reason, ("", ""), out)
            self.primary = None
        if self.peer.status is not PeerStatus.NONE:
            self._free(event.reason, out)
        self.peer.epoch = 0

    # -- links, quorum, time -------------------------------------------------------------

    def _link_came_up(self, event: LinkCameUp, now_s: float, out: Out) -> None:
        if self.primary is not None:
            transfers.link_up(self.primary, event.host, now_s, out)
            if self.primary.announced is not None:  # what all others know
                out.append(Send(event.host, self.primary.announced))
        elif self.handed is not None and self.handed.target == event.host:
            out.append(Send(event.host, self.handed.message))
        learner = self.learner
        if learner is not None and learner.source == event.host and not learner.is_whole:
            self._free("its clone broke with the link", out)

    def _link_went_down(self, event: LinkWentDown, now_s: float, out: Out) -> None:
        """Nothing to do: what was in flight is sent again when it is UP."""

    def _ticked(self, event: Ticked, now_s: float, out: Out) -> None:
        if now_s >= self._wake_s:  # an alarm that an earlier one replaced starts no chain of its own
            self._wake_s = float("inf")
        primary, learner = self.primary, self.learner
        if primary is not None:
            leading.ticked(primary, now_s, out)
        elif learner is not None and now_s - learner.heard_s >= 2 * self.host.limits.clone_patience_s:
            # Its source has given up by now, and the word of it got lost.
            self._free("its source is silent", out)
        if now_s - self._lanes_s > LANE_TICK_S:
            self._lanes_s = now_s
            self.peer.cells.forget_lanes(self.peer.clock_s(now_s))
