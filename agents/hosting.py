"""The container of one host: its machines, and the ways between them.

Pure, like the machines in it: the simulator and the runtime drive the very
same object. Host-level events go to `handle`; a colony's own go to the
machine that `colony(c)` returns. What one tells the other comes out as
`TellHost` and `TellColony`, so that each shell can keep its own order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from agents.access import Access
from agents.admin import answer_admin
from agents.admission import Admission
from agents.anti_entropy import AntiEntropy
from agents.causes import Cause
from agents.colony import Colony
from agents.counting import Counting
from agents.directory import Directory
from agents.effects import (
    Answer,
    Dial,
    DigestIs,
    DropEverything,
    Effect,
    Emptied,
    GiveIn,
    Halt,
    HangUp,
    InstallView,
    LinkCameUp,
    LinkWentDown,
    LoadMeasured,
    Note,
    PeerFailed,
    QuorumCameBack,
    Received,
    Requested,
    Send,
    ShareReached,
    SnapshotSaved,
    StopEnded,
    TellColony,
    Ticked,
)
from agents.governor import Governor
from agents.guestbook import Guestbook
from agents.keys import colony_of
from agents.links import Links
from agents.lost_and_found import LostAndFound
from agents.membership import Membership, Settings
from agents.merging import Policy
from agents.messages import client
from agents.messages.client import (
    Admin,
    Delete,
    Get,
    Locate,
    Migrate,
    Mutate,
    Patch,
    Put,
    Reply,
    Scan,
    Touch,
)
from agents.messages.membership import Load
from agents.messages.membership import Membership as MembershipMessage
from agents.messages.merging import (
    MergeAnswer,
    MergeAsk,
    MergeCells,
    MergedHere,
    MergeNews,
    MergeTaken,
)
from agents.messages.replication import (
    Census,
    Invite,
    InviteAnswer,
    Located,
    WantLocations,
)
from agents.messages.replication import Replication as ReplicationMessage
from agents.messages.stopping import StopAnswer, StopOrder
from agents.moving import is_served
from agents.pace import Pace
from agents.peer import PeerStatus
from agents.periodic import Periodic
from agents.pulse import Pulse, counted
from agents.reception import Reception
from agents.record import Record
from agents.restoring import Restoring
from agents.reunion import Reunion
from agents.snapshot import Found
from agents.stopping import Stopping
from agents.surroundings import (
    CellChanged,
    Counted,
    Dropped,
    GuestsChanged,
    Limits,
    LocationChanged,
    MergeCounted,
    MoveRefused,
    PeerGone,
    RecountWanted,
    Surroundings,
    ViewInstalled,
)
from agents.views import Member, Status, View
from agents.wandering import Urges, Wandering
from agents.wire import SPOKEN, Versions
from placement.peers import Peers
from placement.resources import Candidate, spare

SOFTWARE = "0.1.0"
HOST_KINDS = frozenset((Census, Located, WantLocations, Invite, InviteAnswer))
COLONY_KINDS = (
    frozenset(kind for kind in (*ReplicationMessage.__args__, Scan) if "colony" in kind.__struct_fields__)
    - HOST_KINDS
)
KEYED_KINDS = frozenset((Get, Put, Delete, Touch, Patch, Mutate))
HOME_KINDS = frozenset((Locate, Migrate))  # keyed too, but answered at home alone
MEMBERSHIP_KINDS = frozenset(MembershipMessage.__args__)
SOLITUDE = 5  # exit status of a host that waited too long for a majority

Out = list[Effect]


class Container(Surroundings):
    """Everything that one host is, without a socket, a thread or a clock.

    Args:
        me: This host as it would stand in a view.
        settings: Of membership.
        record: What it must not forget; None = it is new or ephemeral.
        now_s: The host's clock.
        limits: Bounds of this host.
        first_link: Number above every link incarnation used before.
        closures: Whether clients may send closures.
        keeps: It has a state directory to write snapshots to.
        found: The snapshot that a whole-cluster stop left there.
        policy: What becomes of cells that two sides of a split have changed: see `agents.merging`.
        restore_wait_s: How long colonies wait for hosts of that stop that are
            not back; None = until they are.
        urges: What moves cells to other colonies by itself; None = nothing does.
        snapshot_every_s: Time between periodic snapshots; None = none.
        waits_when_lost: A colony that is lost starts again only when an operator says so.
        versions: Of the protocol among hosts, that this one speaks.
    """

    def __init__(
        self,
        me: Member,
        settings: Settings,
        record: Record | None,
        now_s: float,
        *,
        limits: Limits | None = None,
        first_link: int = 1,
        closures: bool = True,
        keeps: bool = False,
        found: Found | None = None,
        restore_wait_s: float | None = None,
        snapshot_every_s: float | None = None,
        waits_when_lost: bool = False,
        versions: Versions = SPOKEN,
        policy: Policy = "latest",
        urges: Urges | None = None,
    ) -> None:
        self.limits = limits or Limits(bytes_max=me.bytes_max)
        self.pace = Pace(self.limits.clone_bytes_s)
        me = msgspec.structs.replace(me, protocol=versions.newest, software=SOFTWARE)
        self.membership = Membership(me, settings, record, now_s)
        stamp = self.membership.stamp
        self.links = Links(lambda: self.membership.me, stamp, first_link, SOFTWARE, versions)
        self.directory = Directory(0)
        self.colonies: dict[int, Colony] = {}
        self.governor = Governor(self)
        self.lost: set[int] = set()
        self.closures = closures
        self.watched = False
        self.guests = Guestbook()
        self.reception = Reception(self)
        self.access = Access()
        self.keeps = keeps
        self.frozen = False
        self.stopping = Stopping(self)
        self.policy, self.reunion = policy, Reunion(self)
        self.restoring = Restoring(self, found or Found(), restore_wait_s, now_s, waits=waits_when_lost)
        loaded = self.restoring.loaded
        if loaded is not None and loaded.is_clean:
            self.membership.ended = loaded.head.stop, loaded.head.view
        self.periodic = Periodic(self, snapshot_every_s, now_s)
        self.wandering = Wandering(self, urges or Urges(), now_s)
        self.stale: dict[int, float] = {}
        self.counting = Counting(self)
        self.load = Load()
        self._started_s = now_s
        self.lost_and_found = LostAndFound(self)
        self._names: dict[str, str] = {}  # of the last view and the one before: of those that it dropped
        self._had_quorum = False
        self._anti_entropy = AntiEntropy()
        self.bytes_measured = 0  # what this host carried when its machine's memory was measured
        self.admission = Admission(self)
        self.pulse = Pulse()
        self._leaving_emptied = False
        self._own = self._event_handlers()
        self._messages = self._message_handlers()

    def _event_handlers(self) -> dict[type, Callable[[Any, float, Out], None]]:
        return {
            Ticked: self._ticked,
            Requested: self._requested,
            LinkCameUp: self._link_came_up,
            LinkWentDown: self._link_went_down,
            LoadMeasured: self._load_measured,
            Counted: self.counting.colony_counted,
            LocationChanged: self._location_changed,
            PeerGone: self._peer_gone,
            MoveRefused: self._move_refused,
            RecountWanted: self.counting.recount_wanted,
            CellChanged: self._cell_changed,
            PeerFailed: self._peer_failed,
            SnapshotSaved: self._snapshot_saved,
            MergeCounted: self.reunion.counted,
            GuestsChanged: self._guests_changed,
        }

    def _message_handlers(self) -> dict[type, Callable[[str, Any, float, Out], None]]:
        return {
            Census: self.counting.heard,
            Located: self._located,
            WantLocations: self._locations_wanted,
            Invite: self._invited,
            InviteAnswer: self._invite_answered,
            StopOrder: self.stopping.ordered,
            StopAnswer: self.stopping.answered,
            MergeAsk: self.reunion.asked,
            MergeAnswer: self.reunion.answered,
            MergeCells: self.reunion.came,
            MergeTaken: self.reunion.taken,
            MergedHere: self.reunion.others_done,
            MergeNews: self.reunion.news,
        }

    # -- what colonies see of their host -----------------------------------------

    @property
    def me(self) -> str:
        """This host's id."""
        return self.membership.me.id

    @property
    def view(self) -> View | None:
        """The installed view."""
        return self.membership.view

    @property
    def quorum(self) -> Any:
        """See `agents.leases.Quorum`."""
        return self.membership.quorum

    def where(self, colony: int) -> tuple[str, str]:
        """Return (host id, public address) of a primary; ("", "") = unknown."""
        view, host = self.view, self.directory.primary(colony)
        member = view.member(host) if view is not None and host else None
        return (host, member.address) if member is not None else ("", "")

    def called(self, host: str) -> str:
        """Return what people call a host of this view or the one before; else the start of its id."""
        return self._names.get(host, host[:8])

    def epoch_of(self, colony: int) -> int:
        """Return the highest epoch of a colony that is known; 0 = none is."""
        entries = self.directory.entries
        entry = entries[colony] if 0 <= colony < len(entries) else None
        return entry.epoch if entry is not None else 0

    def absence(self, colony: int) -> str:
        """Return why a colony has no primary that is known."""
        return self.restoring.absence(colony)

    def admits(self, colony: int, sender: str, bytes_wanted: int, weight_max: int = 0) -> str:
        """Return "" if a clone may come in, or why not."""
        return self.admission.admits(colony, sender, bytes_wanted, weight_max)

    def refused_birth(self) -> None:
        """Note that a cell was not born, or did not grow, for lack of room."""
        self.admission.refused()

    def is_full(self, bytes_more: int) -> bool:
        """Return whether so many bytes more are too many."""
        return self.admission.is_full(bytes_more)

    @property
    def memory_free(self) -> int | None:
        """Bytes that the machine still has for cells; None = not measured."""
        load = self.load
        return spare(load.memory_free, load.memory_total) if load.memory_total else None

    @property
    def is_settled(self) -> bool:
        """Whether each colony led here has the peers that it can have; any thread may ask."""
        return self.governor.settled.number > 0 and not self.governor.missing

    # -- ways in -------------------------------------------------------------------

    def colony(self, colony: int) -> Colony:
        """Return the machine of a colony; it is made when first asked for.

        Raises:
            LookupError: No colony has this number; what names it is no frame of this cluster.
        """
        machine = self.colonies.get(colony)
        if machine is None:
            if not 0 <= colony < len(self.directory.entries):
                raise LookupError(f"no such colony: {colony}")
            machine = self.colonies[colony] = Colony(colony, self)
        return machine

    def colony_of(self, message: Any) -> int | None:
        """Return whose a message or a request is; None = the host's."""
        kind, colonies = type(message), len(self.directory.entries)
        if kind in KEYED_KINDS:
            if self.guests:
                return self.guests.owner(message.key, self.colonies, colonies)
            return colony_of(message.key, colonies) if colonies else None
        if kind in HOME_KINDS:
            return colony_of(message.key, colonies) if colonies else None
        if kind in COLONY_KINDS:
            number: int = message.colony
            return number if 0 <= number < colonies else None
        return None

    def owner(self, key: bytes) -> int | None:
        """Return the colony to ask for a cell: see `Guestbook.owner`."""
        return self.guests.owner(key, self.colonies, len(self.directory.entries))

    def handle(self, event: Any, now_s: float) -> Out:
        """Take one host-level event, and return what must be done."""
        out: Out = []
        kind = type(event)
        if kind is Received and type(event.message) in self._messages:
            self._messages[type(event.message)](event.sender, event.message, now_s, out)
            return out
        own = self._own.get(kind)
        if own is None or kind in (Ticked, LinkCameUp, LinkWentDown):
            if kind is not Received or type(event.message) in MEMBERSHIP_KINDS:
                self._absorb(self.membership.handle(event, now_s), now_s, out)
        if own is not None:
            own(event, now_s, out)
        self._see_quorum(now_s, out)
        return out

    def read(self, key: bytes, now_s: float) -> Reply | None:
        """Read a committed cell; None = this host can't answer it now.

        Any thread may call it: the cell is read first, and only then is it
        checked that this host served the colony, and held quorum, all along.
        """
        colonies = len(self.directory.entries)
        if self.guests:
            colony = self.guests.owner(key, self.colonies, colonies)
        else:
            colony = colony_of(key, colonies) if colonies else None
        machine = self.colonies.get(colony) if colony is not None else None
        primary = machine.primary if machine is not None else None
        if machine is None or primary is None or not machine.is_open:
            return None
        reply = machine.read(key, now_s)
        if primary.moves is not None:
            # Some cells are elsewhere: the place must be the same before the cell is read and after.
            place = machine.peer.cells.places.get(key)
            if not is_served(machine.peer, key):
                return None
            reply = machine.read(key, now_s)
            if machine.peer.cells.places.get(key) is not place:
                return None
        if not machine.leads_as(primary) or not self.quorum.held(now_s):
            return None
        return reply

    # -- membership's word ------------------------------------------------------------

    def _absorb(self, effects: list[Effect], now_s: float, out: Out) -> None:
        """Do what is the container's to do, and pass the rest on in order."""
        for effect in effects:
            if isinstance(effect, Dial):
                out.extend(self.links.dial(effect.member, now_s))
            elif isinstance(effect, HangUp):
                out.extend(self.links.hang_up(effect.host, now_s))
            elif isinstance(effect, InstallView):
                out.append(effect)
                self.stopping.view_installed(effect.view, effect.before, now_s, out)
                self._view_installed(effect.view, effect.known, now_s, out)
            elif isinstance(effect, StopEnded):
                self.stopping.ended_elsewhere(effect.stop, now_s, out)
            elif isinstance(effect, GiveIn):
                self.reunion.give_in(effect, now_s, out)
            elif isinstance(effect, DropEverything):
                if not effect.merged:
                    self.lost_and_found.save(effect.reason, now_s, out)
                out.append(effect)
                self._drop_everything(effect.reason, now_s, out)
            else:
                if isinstance(effect, Halt) and effect.status == SOLITUDE:
                    self.lost_and_found.save(effect.reason, now_s, out, is_last=True)
                out.append(effect)

    def tell_membership(self, event: Any, now_s: float, out: Out) -> None:
        """Have membership take an event, and do what comes of it."""
        self._absorb(self.membership.handle(event, now_s), now_s, out)

    def _view_installed(self, view: View, known: int, now_s: float, out: Out) -> None:
        if len(self.directory.entries) != view.charter.colonies:
            self.directory = Directory(view.charter.colonies)
        for listed in (self.lost_and_found.view, view):
            named = {m.id: m.name for m in listed.members} if listed is not None else {}
            self._names = {**self._names, **named} if listed is view else named
        self.lost_and_found.view = view
        self._anti_entropy.forget()
        self.counting.begin(view)
        self.governor.view_installed(view)
        back = [self.colony(colony) for colony in self.restoring.view_installed(view, known, now_s, out)]
        alive = [c for c in self.colonies.values() if c.status is not PeerStatus.NONE or c in back]
        self.counting.await_lines({machine.colony for machine in alive})
        for machine in alive:
            out.append(TellColony(machine.colony, ViewInstalled(view)))
        # What links kept for this view comes after every colony has moved to it.
        out.extend(self.links.view_installed(view, now_s))
        self.counting.take(now_s, out)
        self.reunion.view_installed(view, now_s, out)

    def _snapshot_saved(self, event: SnapshotSaved, now_s: float, out: Out) -> None:
        if event.is_periodic:
            self.periodic.saved(event, now_s, out)
        elif event.stop:
            self.stopping.saved(event, now_s, out)
        else:
            self.lost_and_found.saved(event, out)

    def _drop_everything(self, reason: str, now_s: float, out: Out) -> None:
        self.stopping.dropped(now_s, out)
        self.restoring.dropped()
        self.periodic.dropped()
        self.reunion.dropped()
        self.counting.end()
        self._leaving_emptied = False
        self.directory = Directory(0)
        out.extend(TellColony(colony, Dropped(reason)) for colony in self.colonies)

    def _guests_changed(self, event: GuestsChanged, now_s: float, out: Out) -> None:
        self.guests.changed(event)

    def _see_quorum(self, now_s: float, out: Out) -> None:
        held = self.quorum.held(now_s)
        if held and not self._had_quorum:
            for machine in self.colonies.values():
                if machine.primary is not None:
                    out.append(TellColony(machine.colony, QuorumCameBack()))
        self._had_quorum = held

    def _peer_failed(self, event: PeerFailed, now_s: float, out: Out) -> None:
        """A machine broke: a new, empty one takes its place, and others are told."""
        broken = self.colonies.pop(event.colony, None)
        broke = Cause("colony_broke", event.colony)
        out.append(Note("peer_failed", event.reason, event.colony, self.me, cause=broke))
        self.counting.colony_broke(event.colony)
        if broken is not None and broken.status is PeerStatus.ACTIVE:
            # A primary waits for the acks of a peer that is no more, or the
            # others wait for a primary: the next census finds either out.
            self.counting.recount_wanted(
                RecountWanted(f"the peer of colony {event.colony} failed"), now_s, out
            )
        self.counting.take(now_s, out)

    # -- the directory -------------------------------------------------------------------

    def _location_changed(self, event: LocationChanged, now_s: float, out: Out) -> None:
        before = self.directory.primary(event.located.colony)
        self.directory.learn(event.located)
        self.governor.location_changed(event.located)
        if before != event.located.primary:
            self.reception.tell_watchers(client.Change("moved", b"", event.located.colony), out)

    def _located(self, sender: str, message: Located, now_s: float, out: Out) -> None:
        if self.directory.learn(message):  # a late word of how things were tells nobody of a move
            self.governor.location_changed(message)

    def _locations_wanted(self, sender: str, message: WantLocations, now_s: float, out: Out) -> None:
        out.extend(Send(sender, located) for located in self.directory.newer_than(message.known))

    def _peer_gone(self, event: PeerGone, now_s: float, out: Out) -> None:
        """Nothing to keep: the machine stays, empty, and answers for itself."""

    # -- population -----------------------------------------------------------------------

    def _move_refused(self, event: MoveRefused, now_s: float, out: Out) -> None:
        self.governor.move_refused(event, now_s)

    def _invited(self, sender: str, message: Invite, now_s: float, out: Out) -> None:
        self.governor.invites.asked(sender, message, now_s, out)

    def _invite_answered(self, sender: str, message: InviteAnswer, now_s: float, out: Out) -> None:
        self.governor.share.answered(message, now_s)

    def candidates(self) -> list[Candidate]:
        """Return all members as placement sees them."""
        return self.governor.candidates()

    def places(self) -> list[Peers]:
        """Return where every colony lives, as the directory and the view say."""
        here = set(self.view.ids) if self.view is not None else set[str]()
        return [self.directory.place(colony, here) for colony in range(len(self.directory.entries))]

    # -- links, time, load -------------------------------------------------------------------

    def _link_came_up(self, event: LinkCameUp, now_s: float, out: Out) -> None:
        for machine in self.colonies.values():
            if machine.status is not PeerStatus.NONE:
                out.append(TellColony(machine.colony, event))
        self.counting.link_came_up(event.host, out)

    def _link_went_down(self, event: LinkWentDown, now_s: float, out: Out) -> None:
        for machine in self.colonies.values():
            if machine.status is not PeerStatus.NONE:
                out.append(TellColony(machine.colony, event))

    def rests_until_s(self, now_s: float) -> float:
        """Return when a tick is next needed if the host is told nothing but heartbeats before.

        Returns:
            `now_s`: there is work under way, tick as often as ever. Later: nothing is due before that.
        """
        is_busy = (
            self.counting.is_busy
            or self.frozen
            or self.stopping.is_under_way
            or self.reunion.winner is not None
            or self.periodic.is_copying
            or self.wandering.is_sampling
            or bool(self.restoring.waiting)
            or self._anti_entropy.is_under_way
            or not self.governor.is_calm
        )
        return now_s if is_busy else self.membership.rests_until_s(now_s)

    def _ticked(self, event: Ticked, now_s: float, out: Out) -> None:
        self.admission.count(now_s)
        if self.admission.has_grown_tight:
            self._tell_load(self.load, now_s, out)
        self.reunion.ticked(now_s, out)
        view = self.view
        if view is None or view.member(self.me) is None:
            return
        self._absorb(self.membership.handle(DigestIs(self.directory.digest), now_s), now_s, out)
        self._anti_entropy.compare(self.directory, self.membership.peer_digests, view, now_s, out)
        self.stopping.ticked(now_s, out)
        wish = self.restoring.ticked(now_s, out)
        if wish:
            self.counting.recount_wanted(RecountWanted(wish), now_s, out)
        self.counting.recount_if_due(now_s, out)
        if self.counting.is_under_way or self.frozen or self.reunion.winner is not None:
            return
        self.periodic.ticked(now_s, out)
        if not self.quorum.held(now_s):
            return  # a side that holds keeps what it has, where it is
        self.admission.ticked(now_s, out)
        self.governor.tick(now_s, out)
        self.wandering.ticked(now_s, out)
        self._see_own_status(view, now_s, out)

    def _see_own_status(self, view: View, now_s: float, out: Out) -> None:
        """Tell membership when a leaver is empty, or a joiner has its share."""
        me = view.member(self.me)
        if me is None or me.status is Status.ACTIVE:
            return
        if me.status is Status.LEAVING and not self._leaving_emptied:
            if all(c.status is PeerStatus.NONE for c in self.colonies.values()):
                self._leaving_emptied = True
                self._absorb(self.membership.handle(Emptied(), now_s), now_s, out)
        elif me.status is Status.JOINING and self.governor.share.is_reached(now_s):
            self._absorb(self.membership.handle(ShareReached(), now_s), now_s, out)

    def _load_measured(self, event: LoadMeasured, now_s: float, out: Out) -> None:
        """Tell what the probe has measured, and what is counted here."""
        self._tell_load(self.pulse.steadied(event.load, self.colonies.values(), now_s), now_s, out)
        self.bytes_measured = self.load.bytes_used

    def _tell_load(self, load: Load, now_s: float, out: Out) -> None:
        """Add what is counted here to a load, and have all others hear of it."""
        self.load = counted(load, self.colonies.values(), now_s - self._started_s)
        self._absorb(self.membership.handle(LoadMeasured(self.load), now_s), now_s, out)

    # -- clients ------------------------------------------------------------------------------

    def _requested(self, event: Requested, now_s: float, out: Out) -> None:
        caller, request = event.caller, event.request
        if type(request) is Admin:
            effects, reply = answer_admin(self, request, now_s)
            self._absorb(effects, now_s, out)
            out.append(Answer(caller, reply))
        else:
            self.reception.requested(caller, request, out)

    def _cell_changed(self, event: CellChanged, now_s: float, out: Out) -> None:
        self.reception.tell_watchers(event.change, out)
