"""Orders and wishes: what people and this host want of the next view."""

from __future__ import annotations

from typing import Literal, Protocol

from agents.causes import Cause
from agents.effects import (
    Emptied,
    EvictOrdered,
    FreezeOrdered,
    Halt,
    LeaveOrdered,
    Note,
    Persist,
    RecountNeeded,
    RecoverOrdered,
    Send,
    ShareReached,
)
from agents.messages.membership import WantView, Wish
from agents.record import Record
from agents.standing import Standing
from agents.views import Status
from agents.wishes import FREEZES

LAST_HOST = "the last host can't leave: shut the cluster down instead"


class Voters(Protocol):
    """The council: see `agents.council`."""

    def consider(self, now_s: float) -> None:
        """See whether a change of the view is due."""

    def recover(self, now_s: float) -> str:
        """Force a view of those that are here; return why not, "" = it is under way."""


class Here(Standing, Protocol):
    """What orders ask of a host's membership."""

    @property
    def council(self) -> Voters:
        """Who votes on the next view."""


class Orders:
    """Leaving, evicting, recounting, recovering, for one host's membership.

    Attributes:
        leaving: This host was ordered to leave, or its view says so.
        empty: It holds no peer any more.
        postponed: It will be leaving once a view lists it again.
        renounced: It gave its quorum up for good, and asked to be dropped.
    """

    def __init__(self, here: Here) -> None:
        self._here = here
        self.leaving = self.empty = self.renounced = self.postponed = False

    def wish(self, wish: Wish, now_s: float) -> None:
        """Wish something, to everybody, until a view shows it done."""
        here = self._here
        here.wishes.add(wish, now_s, mine=True, wait_s=here.settings.settle_s)
        here.send_all(wish)

    def on_wish(self, sender: str, wish: Wish, now_s: float) -> None:
        here = self._here
        if here.known is None or here.known.member(sender) is None:
            return
        if wish.kind in ("left", "active") and sender != wish.host:
            return
        listed = here.known.member(wish.host)
        if wish.kind != "recount" and (listed is None or listed.incarnation != wish.incarnation):
            return
        if wish.kind == "recount" and wish.view != here.known.id:
            return
        if wish.kind == "dead":
            if wish.host != here.me.id and here.detector.attest(wish.host, wish.incarnation):
                seen = Cause("confirmed", host=wish.host, by=sender)
                here.do(Note("confirmed", wish.reason or "attested", host=wish.host, cause=seen))
                here.wishes.add(wish, now_s, mine=False, by=sender)
                here.council.consider(now_s)
            return
        settle_s = 0.0 if wish.kind in ("left", "evict", "recount", *FREEZES) else here.settings.settle_s
        here.wishes.add(wish, now_s, mine=False, wait_s=settle_s, by=sender)

    def on_leave(self, event: LeaveOrdered, now_s: float) -> None:
        here = self._here
        host = event.host or here.me.id
        if not here.is_member:
            if host != here.me.id:
                here.do(Note("refused", "this host is no member: ask one that is", host=host))
            elif here.known is not None and here.known.member(host) is not None:
                # It is still an acceptor: if it just ended, the others might never be a majority again.
                self.postponed = True
                here.do(Note("leave", "once it is a member again", host=host))
            else:
                self.leaving = True
                here.do(Halt(0, "this host is no member of anything"))
            return
        assert here.known is not None
        member = here.known.member(host)
        if member is None:
            here.do(Note("refused", "no such member can leave", host=host))
        elif self._is_last(host):
            here.do(Note("refused", LAST_HOST, host=host))
        else:
            self.leaving = self.leaving or host == here.me.id
            here.do(Note("leave", "ordered", host=host))
            self.wish(Wish("leave", host, member.incarnation, "ordered", here.known.id), now_s)
            self.depart(now_s)

    def resume(self, now_s: float) -> None:
        """A view that lists this host was installed: go on with a leave."""
        if self._here.me.status is Status.LEAVING:
            self.leaving = True
            self.depart(now_s)
        elif self.postponed:
            self.postponed = False
            self.on_leave(LeaveOrdered(), now_s)

    def _is_last(self, host: str) -> bool:
        """Return whether nobody would stay if this host left."""
        here = self._here
        assert here.known is not None
        return all(other.status is Status.LEAVING for other in here.known.members if other.id != host)

    def on_emptied(self, event: Emptied, now_s: float) -> None:
        self.empty = True
        self.depart(now_s)

    def depart(self, now_s: float) -> None:
        """LEAVING and empty: give quorum up for good, then ask to be dropped.

        Quorum goes first: so nobody has to wait for our leases to run out.
        """
        here = self._here
        if not (here.is_member and self.empty and here.me.status is Status.LEAVING) or self.renounced:
            return
        assert here.known is not None
        if self._is_last(here.me.id) and here.known.ids[0] == here.me.id:  # if all leave, the senior stays
            here.do(Note("refused", LAST_HOST, host=here.me.id))
            return
        self.renounced = True
        here.quorum.clear()
        leave = Cause("view", view=here.known.id)
        here.do(Note("leave", "empty: it asks to be dropped", host=here.me.id, cause=leave))
        self.wish(Wish("left", here.me.id, here.me.incarnation, "empty", here.known.id), now_s)

    def take_leave(self, now_s: float) -> None:
        """Wait until a majority of the view without us has installed it."""
        here = self._here
        farewell = here.farewell
        assert farewell is not None
        late = now_s - farewell.since_s >= here.settings.left_limit_s
        if farewell.complete or late:
            reason = "a majority goes on without it" if farewell.complete else "nobody confirmed it in time"
            here.do(Note("left", reason, host=here.me.id, cause=Cause("leave", host=here.me.id)))
            if farewell.complete:
                here.do(Persist(Record(here.me.id, here.me.incarnation)))
            here.do(Halt(0 if farewell.complete else 1, f"left: {reason}"))
            farewell.since_s = now_s
        elif farewell.asks(now_s, here.settings.knock_s):
            for host in farewell.missing():
                if here.contacts.up(host):
                    here.do(Send(host, WantView(farewell.view.id)))

    def on_share(self, event: ShareReached, now_s: float) -> None:
        here = self._here
        if here.is_member and here.me.status is Status.JOINING and here.known is not None:
            self.wish(Wish("active", here.me.id, here.me.incarnation, "", here.known.id), now_s)

    def on_recount(self, event: RecountNeeded, now_s: float) -> None:
        here = self._here
        if here.is_member and here.known is not None:
            here.do(Note("recount", event.reason, details={"of": here.known.id}))
            self.wish(Wish("recount", here.me.id, here.me.incarnation, event.reason, here.known.id), now_s)

    def on_freeze(self, event: FreezeOrdered, now_s: float) -> None:
        """Have the next view say that moves stop, or that they go on."""
        here = self._here
        kind: Literal["freeze", "thaw"] = "freeze" if event.frozen else "thaw"
        if not here.is_member or here.known is None:
            here.do(Note("refused", f"{kind}: this host is no member: ask one that is"))
        elif here.known.is_frozen is not event.frozen:
            here.do(Note(kind, "ordered: what lacks peers still gets them" if event.frozen else "ordered"))
            me, known = here.me, here.known
            self.wish(Wish(kind, me.id, me.incarnation, "ordered", known.id, known.freezes + 1), now_s)

    def on_evict(self, event: EvictOrdered, now_s: float) -> None:
        here = self._here
        listed = here.known.member(event.host) if here.known else None
        if listed is None or not here.is_member or here.known is None:
            here.do(Note("refused", "no such member can be evicted", host=event.host))
        else:
            here.do(Note("evict", f"ordered: {event.reason}", host=event.host))
            self.wish(Wish("evict", event.host, listed.incarnation, event.reason, here.known.id), now_s)

    def on_recover(self, event: RecoverOrdered, now_s: float) -> None:
        here = self._here
        refusal = here.council.recover(now_s)
        if refusal:
            here.do(Note("refused", f"recover: {refusal}"))
