"""Passage: how a host gets from one view to the next.

It installs a view that lists it, adopts (for its votes alone) one that does
not, and is undead, or has left, when it was dropped. A view is never gone
back on: with it would go the votes on its successor.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from agents.agreement import dropped
from agents.causes import Cause
from agents.council import Council
from agents.effects import DropEverything, EndMissed, Halt, InstallView, Note, Send
from agents.encounters import Encounters
from agents.farewell import Farewell
from agents.founding import Foundry
from agents.heartbeats import Heartbeats
from agents.leases import Grants
from agents.messages.membership import Install, Installed, Load, WantView, YouAreDead
from agents.orders import Orders
from agents.stages import Stage
from agents.standing import Standing
from agents.succession import too_old
from agents.views import Member, Status, View, generation_of
from placement.labels import Labels


class Sorter(Protocol):
    """What is known of other sides: see `agents.sides`."""

    winner: View | None

    def sort(self, sender: str, view: View, now_s: float) -> bool:
        """Return whether a view is one of our own lineage, to be taken as such."""


class Here(Standing, Protocol):
    """What passage asks of a host's membership, and changes in it."""

    council: Council
    encounters: Encounters
    ended: tuple[str, int]
    foundry: Foundry
    grants: Grants
    heartbeats: Heartbeats
    hold_s: float | None
    loads: dict[str, Load]
    orders: Orders
    peer_digests: dict[str, int]

    @property
    def view(self) -> View | None:
        """The installed view; None while this host is no member."""

    @property
    def sides(self) -> Sorter:
        """Who tells our own lineage from others."""


def told_by(sender: str, view: View) -> str:
    """Return who told of a view, in words."""
    member = view.member(sender)
    return f"told by {member.name if member is not None else sender[:8]}"


def _said(dead: list[str], left: list[str], joined: list[str]) -> tuple[tuple[str, list[str]], ...]:
    return ("dead", dead), ("left", left), ("joined", joined)


class Passage:
    """Installs, adopts, dies and leaves, for one host's membership."""

    def __init__(self, here: Here) -> None:
        self._here = here
        self._stood: dict[str, Labels] = {}  # members of the last view, where they stand

    def conclude(self, view: View, now_s: float) -> None:
        """A view is chosen and may be installed: here first, then everywhere."""
        here = self._here
        assert here.known is not None
        before = here.known
        if view.lists(here.me.id, here.me.incarnation):
            self.install(view, now_s, Cause("election", view=before.id))
        for member in view.members:
            if member.id != here.me.id and here.contacts.up(member.id):
                here.do(Send(member.id, Install(view)))
        for host, incarnation in dropped(before, view):
            if host != here.me.id and here.contacts.up(host) and view.member(host) is None:
                here.do(Send(host, YouAreDead(incarnation, view)))
        if not view.lists(here.me.id, here.me.incarnation):
            self.not_listed(view, "the view that it proposed itself", now_s)

    def install(self, view: View, now_s: float, cause: Cause, *, crossing: bool = False) -> None:
        """Move to a view that lists this host; `cause`: who made it, or from whom it came."""
        here = self._here
        assert view.lists(here.me.id, here.me.incarnation)
        later = here.known is None or view.id > here.known.id
        assert later or crossing, "a vote once given must not be forgotten"
        before, old = here.view, here.known
        here.tag = view.tag
        here.known = view
        here.me = view.member(here.me.id) or here.me
        here.mute = False
        here.council.renew()
        here.foundry.over()
        granted = here.grants.of_same(old, view) if old is not None else {}
        here.grants = Grants(view.charter.lease_s, now_s, before=granted)
        if not here.orders.renounced and here.sides.winner is None:
            here.quorum.install(view, here.me.id)
        here.detector.watch(view, here.contacts.all_up(), now_s, grace=True)
        here.persist()
        self._note_view(view, old, cause)  # before all that follows from it
        here.do(InstallView(view, before, old.id if old is not None else 0))
        if here.stage is not Stage.COMMIT:
            here.enter(Stage.COMMIT, "a view was installed")
        here.hold_s = None
        here.heartbeats.introduce(view, now_s)  # first of all: it says whose word follows
        self._learn(view, now_s, is_entry=before is None)
        for host, _ in view.left:
            here.do(Send(host, Installed(view.id)))
        here.orders.resume(now_s)

    def _learn(self, view: View, now_s: float, *, is_entry: bool = False) -> None:
        """Keep what a view says of hosts, member of it or not."""
        here = self._here
        here.contacts.listed(view, now_s)
        if is_entry:
            here.reputation.learn(view, now_s)
        here.reputation.note(view, now_s, self._stood)
        self._stood = {member.id: member.labels for member in view.members}
        here.wishes.prune(view, now_s)
        listed = frozenset(view.ids)
        here.loads = {host: load for host, load in here.loads.items() if host in listed or host == here.me.id}
        here.peer_digests = {host: digest for host, digest in here.peer_digests.items() if host in listed}
        for contact in here.contacts:
            here.encounters.overtaken(contact.member, now_s)
        here.rewire(now_s)

    def _note_view(self, view: View, old: View | None, cause: Cause) -> None:
        """Say who came and went, by name."""
        here = self._here
        names = {member.id: member.name for member in (*(old.members if old else ()), *view.members)}
        joined = [member.name for member in view.members if member.entered == view.id]
        left = [names.get(host, host) for host, _ in view.left]
        dead = [names.get(host, host) for host, _ in view.dead]
        details = {"view": view.id, "joined": joined, "left": left, "dead": dead}
        before = {member.id: member.status for member in old.members} if old is not None else {}
        changed = [m for m in view.members if m.entered != view.id and before.get(m.id, m.status) != m.status]
        words = [f"{len(view.members)} members"]
        words += [f"{', '.join(who)} {how}" for how, who in _said(dead, left, joined) if who]
        words += [f"{member.name} {member.status.value}" for member in changed]
        if view.is_frozen or (old is not None and old.is_frozen):
            words.append("moves are frozen" if view.is_frozen else "moves are thawed")
        here.do(Note("view", "; ".join(words), details=details, cause=cause))
        if old is not None and generation_of(view.id) > generation_of(old.id):
            generation = generation_of(view.id)
            text = (
                f"generation {generation}, without a majority: who is not in it is undead when it comes back"
            )
            here.do(Note("generation", text, details={"view": view.id, "generation": generation}))

    def _is_outlived(self, view: View) -> bool:
        """Return whether a view knows more of this host's past than the host itself; if so, end.

        Each start is recorded before anybody hears of it. So whoever reads of
        a later life of its own, or of another process under its own number,
        goes on from an old record, or shares it with somebody: what it, or
        the other, has promised meanwhile it does not know.
        """
        here = self._here
        me, listed = here.me, view.member(here.me.id)
        last = max((gone for host, gone in view.gone if host == me.id), default=0)
        last = max(last, listed.incarnation if listed is not None else 0)
        if last < me.incarnation or (here.tag and view.tag != here.tag):
            return False
        if last == me.incarnation and (listed is None or _process(listed) == _process(me)):
            return False
        reason = (
            f"this host's record is old, or a copy: it starts as incarnation {me.incarnation} "
            f"and the cluster has seen {last}"
        )
        here.quorum.clear()
        here.grants.fence()
        here.do(Note("record_outlived", reason, host=me.id, details={"view": view.id}))
        here.persist(spoiled=reason)
        here.do(Halt(1, f"{reason}; move the state directory away and join as a new host"))
        return True

    def change_sides(self, view: View, now_s: float) -> None:
        """No member of anything: ask another side than before to be admitted.

        It was asked, then a third one, and now it is heard again: it may list this very incarnation.
        """
        if view.lists(self._here.me.id, self._here.me.incarnation):
            self.install(view, now_s, Cause("view", view=view.id), crossing=True)
        else:
            self.adopt(view, now_s, crossing=True)

    def adopt(self, view: View, now_s: float, *, crossing: bool = False) -> None:
        """Learn a later view that does not list this incarnation; or (`crossing`) another side's."""
        here = self._here
        later = here.known is None or view.id > here.known.id
        assert later or crossing, "a vote once given must not be forgotten"
        assert not view.lists(here.me.id, here.me.incarnation), "who is listed installs, or never serves"
        here.mute = here.mute or crossing
        here.tag = view.tag
        here.known = view
        here.council.renew()
        here.foundry.over()
        here.grants = Grants(view.charter.lease_s, now_s, fenced=True)
        here.detector.watch(view, here.contacts.all_up(), now_s, grace=False)
        if here.stage is not Stage.DISCOVERY:
            here.enter(Stage.DISCOVERY, "a later view was learnt")
        here.persist()
        self._learn(view, now_s)

    def on_install(self, sender: str, message: Install, now_s: float) -> None:
        here = self._here
        view = message.view
        if here.farewell is not None and view.tag == here.tag and view.id >= here.farewell.view.id:
            here.farewell.confirmed(sender)
        if here.tag and view.tag != here.tag:
            return
        if not here.sides.sort(sender, view, now_s):
            return
        if here.known is not None and view.id <= here.known.id:
            if view.id == here.known.id and here.is_member:
                here.do(Send(sender, Installed(view.id)))
            return
        if self._is_outlived(view):
            return
        promised = here.foundry.promised
        if view.lists(here.me.id, here.me.incarnation):
            if not here.tag and promised is not None and promised.view.tag != view.tag:
                return  # a founder that we gave no promise to counts us in: it is mistaken
            self.install(view, now_s, Cause("view", view=view.id, by=sender))
            here.do(Send(sender, Installed(view.id)))
        else:
            self.not_listed(view, told_by(sender, view), now_s, sender)

    def not_listed(self, view: View, reason: str, now_s: float, by: str = "") -> None:
        """A later view does not list this incarnation; `by`: from whom it came."""
        here = self._here
        if here.farewell is None and here.is_member:
            if here.orders.renounced:
                here.quorum.clear()
                here.farewell = Farewell(view, now_s)
                self.adopt(view, now_s)
                cause = Cause("leave", host=here.me.id)
                here.do(
                    Note("left", "dropped as left; answering until a majority has installed it", cause=cause)
                )
            else:
                self._die(view, reason, now_s, by)
        elif here.farewell is None and self._too_old(view):
            self._die(view, reason, now_s, by)
        else:
            self.adopt(view, now_s)

    def _too_old(self, view: View) -> bool:
        """Return whether this incarnation can never be admitted any more."""
        here = self._here
        return too_old(view, here.me.id, here.me.incarnation)

    def cross(self, view: View, reason: str, now_s: float) -> None:
        """All that was changed here is with the winner: become one of its joiners."""
        self._die(view, reason, now_s, "", crossing=True)

    def _die(self, view: View, reason: str, now_s: float, by: str, *, crossing: bool = False) -> None:
        """Undead: drop everything, become another incarnation, and ask to enter."""
        here = self._here
        here.quorum.clear()
        why = reason if crossing else f"a later view was made without this incarnation: {reason}"
        later = here.known is not None and generation_of(view.id) > generation_of(here.known.id)
        if later and not crossing:
            why += (
                f"; generation {generation_of(view.id)} went on without a majority, and it is the later one"
            )
        details = {"view": view.id, "incarnation": here.me.incarnation}
        cause = Cause("view", view=view.id, by=by) if by else Cause("election", view=view.id - 1)
        cause = Cause("give_in") if crossing else cause
        here.do(Note("undead", why, host=here.me.id, details=details, cause=cause))
        here.do(DropEverything(reason, merged=crossing))
        last = max((gone for host, gone in view.gone if host == here.me.id), default=0)
        listed = view.member(here.me.id)
        incarnation = max(here.me.incarnation, last, listed.incarnation if listed else 0) + 1
        here.me = msgspec.structs.replace(here.me, incarnation=incarnation, status=Status.JOINING, entered=0)
        here.wishes.clear()
        here.orders.empty = here.orders.renounced = False
        here.hold_s = None
        if crossing or here.known is None or view.id > here.known.id:
            self.adopt(view, now_s, crossing=crossing)
        else:
            here.persist()
        for effect in here.contacts.redial():
            here.do(effect)
        if here.orders.leaving:
            here.do(Halt(0, "held dead while it was leaving"))

    def on_end_missed(self, event: EndMissed, now_s: float) -> None:
        """Nobody else goes on from the known view: be what a host is that has restarted."""
        here = self._here
        assert here.known is not None and here.is_member, "only a member can miss the end"
        here.ended = event.stop, here.known.id
        here.council.give_up()
        here.grants = Grants(here.known.charter.lease_s, now_s, fenced=True)
        here.detector.watch(here.known, here.contacts.all_up(), now_s, grace=False)
        if here.stage is not Stage.DISCOVERY:
            here.enter(Stage.DISCOVERY, "the others are back from the stop")
        self._die(here.known, "it missed the end of a stop that the others are back from", now_s, "")

    def on_you_are_dead(self, sender: str, message: YouAreDead, now_s: float) -> None:
        here = self._here
        view = message.view
        if message.incarnation != here.me.incarnation or (here.tag and view.tag != here.tag):
            return
        if self._is_outlived(view):
            return
        if view.lists(here.me.id, here.me.incarnation) or not here.sides.sort(sender, view, now_s):
            return
        if here.known is not None and view.id <= here.known.id:
            if view.id == here.known.id and here.wants_to_enter and self._too_old(view):
                self._die(view, told_by(sender, view), now_s, sender)
            return
        if here.farewell is not None:
            here.farewell.confirmed(sender)
        self.not_listed(view, told_by(sender, view), now_s, sender)

    def on_installed(self, sender: str, message: Installed, now_s: float) -> None:
        here = self._here
        if here.farewell is not None and message.view >= here.farewell.view.id:
            here.farewell.confirmed(sender)
        trying = here.foundry.trying
        if trying is not None and trying.final is not None and message.view >= trying.final.id:
            trying.installed.add(sender)

    def on_want_view(self, sender: str, message: WantView, now_s: float) -> None:
        here = self._here
        if here.known is not None and here.known.id >= message.view:
            here.do(Send(sender, Install(here.known)))


def _process(member: Member) -> tuple[str, int, float, str]:
    """Return what tells one process from another that bears the same name and number."""
    return member.machine, member.pid, member.started_s, member.link
