"""Links: all links of one host, and the gate that views are for messages.

What a later view sent is kept until that view is installed here; what an
earlier view sent is dropped, and answered with the view that is installed.
Messages about views themselves pass the gate at once. Everything is bounded:
hosts that called without being wanted, what is kept, and how often the same
answer is given.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from agents.effects import HelloSeen, HostMessage, LinkRefused, LinkWentDown, Note
from agents.framing import UNGATED, pack
from agents.messages.membership import Install, WantView
from agents.pairing import (
    HUNG_UP,
    REFUSED_PAUSE_S,
    ClosePipe,
    Home,
    Link,
    OpenPipe,
    Out,
    SendFrame,
    State,
)
from agents.stages import AHEAD_S
from agents.views import Member, View
from agents.wire import (
    CONTROL,
    SPOKEN,
    Frame,
    Goodbye,
    Hello,
    LinkFrame,
    Source,
    Versions,
    spoken,
)

STRANGERS_MAX = 64
STRANGER_S = 2.0  # a stranger that is not UP and says nothing for so long is forgotten
SILENT_S, SILENT_SUSPICIONS = 10.0, 4.0  # an UP link through which nothing came for so long is none
KEPT_FRAMES_MAX = 4_096  # per link
KEPT_BYTES_MAX = 64 * 1024 * 1024  # over all links
NOTED_MAX = 256  # refusals remembered, so that each is noted once
ANSWER_EVERY_S = 0.05  # at most so often is one host sent a view, or asked for one

__all__ = ["ClosePipe", "DeliverMessages", "Links", "OpenPipe", "SendFrame", "State"]


class DeliverMessages(msgspec.Struct, frozen=True, gc=False):
    """Messages came from a host, in order: a `Received` for each."""

    sender: str
    messages: tuple[HostMessage, ...]


class Links:
    """All links of one host.

    Every method returns effects, to be performed in order: OpenPipe, ClosePipe, SendFrame,
    DeliverMessages, LinkCameUp (its incarnation is this end's of the link), LinkWentDown, LinkRefused,
    HelloSeen, Note.

    Args:
        me: Returns this host as it is now (its incarnation may change).
        stamp: Returns (tag, installed view id, stage name) for Hellos.
        first_incarnation: First link incarnation, >= 1; above all that this host incarnation used.
        software: Version that Hellos show.
        versions: Of the protocol, that this host speaks.

    Attributes:
        dropped: Messages to hosts whose link was not UP, or too old for them.
        strays: Frames of no pair of pipes that stands.
    """

    def __init__(
        self,
        me: Callable[[], Member],
        stamp: Callable[[], tuple[str, int, str]],
        first_incarnation: int,
        software: str = "",
        versions: Versions = SPOKEN,
    ) -> None:
        self._home = Home(me, stamp, first_incarnation, software, versions)
        self._newest = versions.newest
        self._own = (me().id, me().incarnation)
        self._links: dict[str, Link] = {}
        self._view: View | None = None
        self._view_id = 0
        self._noted: set[tuple[str, str]] = set()
        self._silent_s = SILENT_S
        self.dropped = 0
        self.strays = 0

    def is_up(self, host: str) -> bool:
        """Return whether messages to this host would leave."""
        link = self._links.get(host)
        return link is not None and link.is_up

    def version(self, host: str) -> int:
        """Return the version of the protocol on the link to a host; 0 = it is not UP."""
        link = self._links.get(host)
        return link.version if link is not None and link.is_up else 0

    @property
    def states(self) -> dict[str, State]:
        """Where each link stands, by host id."""
        return {host: link.state for host, link in self._links.items()}

    # -- orders --------------------------------------------------------------

    def dial(self, member: Member, now_s: float) -> Out:
        """Keep a link to this host (performs `Dial`); nothing changes if there is one already."""
        out: Out = []
        if member.id == self._home.me().id:
            return out
        link = self._links.get(member.id)
        if link is None:
            link = self._add(member, now_s, is_wanted=True)
            link.open(now_s, out)
            return out
        link.is_wanted = True
        if member.incarnation > link.member.incarnation:
            self._adopt(link, member, now_s, out)
            link.tick(now_s, out)
        elif member.incarnation == link.member.incarnation and link.seen is None:
            link.member = member
        return out

    def hang_up(self, host: str, now_s: float) -> Out:
        """Close the link and keep none (performs `HangUp`); the host may still call us."""
        out: Out = []
        link = self._links.get(host)
        if link is not None:
            link.hang_up(out)
            del self._links[host]
        return out

    def flush(self, outbox: dict[str, list[HostMessage]], now_s: float) -> Out:
        """Pack one turn's messages into frames; those to links that are not UP are dropped.

        Gated messages are stamped with the view installed now. So on performing `InstallView`, whoever
        holds the outbox must throw away the gated messages that are in it (see `only_ungated`).
        """
        out: Out = []
        self._see_own_incarnation(now_s, out)
        view = self._view_id
        for host, messages in outbox.items():
            link = self._links.get(host)
            if link is None or not link.is_up:
                self.dropped += len(messages)
                continue
            if link.version != self._newest:  # the other end is older: it can't read what is new
                said, messages = messages, spoken(messages, link.version)
                self.dropped += len(said) - len(messages)
            for plane, is_gated, load in pack(messages):
                if not is_gated:
                    link.send(load, 0, plane, out)
                elif view:
                    link.send(load, view, plane, out)
                else:
                    self.dropped += len(load)
        return out

    # -- what happened -------------------------------------------------------

    def on_frame(self, source: Source, frame: LinkFrame, now_s: float, size: int = 0) -> Out:
        """Take a decoded frame; `size` is its length in bytes."""
        out: Out = []
        if type(frame) is not Frame:
            self._see_own_incarnation(now_s, out)
            if type(frame) is Hello:
                self._greeted(source, frame, now_s, out)
            elif type(frame) is Goodbye:
                self._refused(source, frame, now_s, out)
            return out
        link = self._links.get(source.host)
        if (
            link is None
            or frame.heard != link.own
            or frame.link != link.heard
            or frame.link != source.link
            or source.incarnation != link.member.incarnation
        ):
            self.strays += 1  # of a pair that is gone: it must not be taken for one of this pair
            return out
        if not link.is_up:
            if link.state is not State.PAIRING:
                self.strays += 1
                return out
            # It names both pipes: the other end is UP, though its Hello is still under way on another plane.
            link.come_up(now_s, out)
        plane = source.plane
        number = link.counted[plane] + 1
        if frame.number != number:
            if frame.number > number:
                link.down(f"gap: frame {frame.number} came instead of {number}", now_s, out)
            return out
        link.counted[plane] = number
        view = frame.view
        if view == self._view_id and view and link.is_member:
            out.append(DeliverMessages(source.host, frame.messages))
        elif view:
            self._gate(link, frame, size, now_s, out)
        elif all(type(message) in UNGATED for message in frame.messages):
            out.append(DeliverMessages(source.host, frame.messages))
        else:
            link.down("bad frame: messages that need a view came without one", now_s, out)
        return out

    def on_bad_frame(self, source: Source, reason: str, now_s: float) -> Out:
        """Take the news that bytes from this source were no frame: its link goes DOWN."""
        out: Out = []
        link = self._links.get(source.host)
        if link is None or source.incarnation != link.member.incarnation or source.link < link.heard:
            self.strays += 1
        elif link.state in (State.PAIRING, State.UP):
            out.append(Note("bad_frame", reason, host=source.host))
            link.down(f"bad frame: {reason}", now_s, out)
        return out

    def on_pipe_lost(self, host: str, incarnation: int, reason: str, now_s: float) -> Out:
        """Take the news that a pipe of ours is gone."""
        out: Out = []
        link = self._links.get(host)
        if link is not None and link.own == incarnation:
            link.down(reason, now_s, out)
        return out

    def tick(self, now_s: float) -> Out:
        """Do what is due; to be called about every 25 ms."""
        out: Out = []
        self._see_own_incarnation(now_s, out)
        for host, link in list(self._links.items()):
            if not link.is_wanted and not link.is_up and now_s - link.heard_s >= STRANGER_S:
                out.extend(self.hang_up(host, now_s))
                continue
            if link.is_up:
                self._ask_for_view(link, now_s, out)
                link.listen(self._silent_s, now_s, out)
                continue
            was_refusing = link.state is State.REFUSING
            link.tick(now_s, out)
            if was_refusing and link.state is State.CLOSED and not link.is_wanted:
                del self._links[host]
        return out

    def view_installed(self, view: View, now_s: float) -> Out:
        """Deliver what was kept for this view, drop what was kept for earlier ones."""
        out: Out = []
        self._see_own_incarnation(now_s, out)
        self._view = view
        self._view_id = view.id
        self._silent_s = max(SILENT_S, SILENT_SUSPICIONS * view.charter.suspect_s)
        for host, link in self._links.items():
            link.is_member = view.lists(host, link.member.incarnation)
            for their_view, messages in link.release(view.id):
                if their_view == view.id and link.is_member:
                    out.append(DeliverMessages(host, messages))
        return out

    # -- inside --------------------------------------------------------------

    def _greeted(self, source: Source, hello: Hello, now_s: float, out: Out) -> None:
        member = hello.member
        if (member.id, member.incarnation, hello.link) != source[:3] or source.plane != CONTROL:
            self.strays += 1
            return
        if member.id == self._home.me().id:
            return
        link = self._links.get(member.id)
        if link is None:
            if sum(not link.is_wanted for link in self._links.values()) >= STRANGERS_MAX:
                self.strays += 1
                return
            link = self._add(member, now_s, is_wanted=False)
        elif member.incarnation > link.member.incarnation:
            self._adopt(link, member, now_s, out)
        if member.incarnation < link.member.incarnation or hello.link < link.heard:
            return  # late: from a process, or a pipe, that is gone
        link.heard_s = now_s
        why = self._objection(hello)
        if why:
            self._refuse(link, hello, why, now_s, out)
            return
        link.member = member
        seen = (hello.link, hello.tag, hello.view, hello.stage)
        if link.seen != seen:
            link.seen = seen
            out.append(HelloSeen(member, hello.tag, hello.view, hello.stage))
        link.greeted(hello, now_s, out)

    def _objection(self, hello: Hello) -> str:
        """Return why this Hello can't open a link: "version", "tag", or "" (it can)."""
        if not self._home.versions.common(Versions(hello.oldest, hello.protocol)):
            return "version"
        tag = self._home.stamp()[0]
        return "tag" if tag and hello.tag and hello.tag != tag else ""

    def _refuse(self, link: Link, hello: Hello, why: str, now_s: float, out: Out) -> None:
        """Refuse a link, in words for our own log, and in words for the other end's."""
        if why == "version":
            ours, theirs = self._home.versions, Versions(hello.oldest, hello.protocol)
            about = f"it speaks protocol {theirs}, this host {ours}"
            reason = f"this host speaks protocol {ours}, not {theirs}"
        else:
            tag = self._home.stamp()[0]
            about = f"it belongs to the cluster {hello.tag}, this host to {tag}"
            reason = f"this host belongs to the cluster {tag}, not to {hello.tag}"
        self._note_once("link_refused", link.member.id, about, out)
        out.append(LinkRefused(hello.member, about, why))
        link.refuse(reason, why, now_s, out)

    def _refused(self, source: Source, goodbye: Goodbye, now_s: float, out: Out) -> None:
        link = self._links.get(source.host)
        if link is None or source.incarnation != link.member.incarnation or source.link < link.heard:
            self.strays += 1
            return
        reason = f"refused: {goodbye.reason}"
        if goodbye.reason != HUNG_UP:
            if link.state is not State.REFUSING:  # else we said as much ourselves
                self._note_once("link_refused_by", source.host, goodbye.reason, out)
                out.append(LinkRefused(link.member, goodbye.reason, goodbye.why))
            if not link.is_up:
                out.append(LinkWentDown(source.host, reason))  # who waits for it to come up need not
        link.down(reason, now_s, out, pause_s=REFUSED_PAUSE_S)
        if not link.is_wanted:
            del self._links[source.host]

    def _gate(self, link: Link, frame: Frame, size: int, now_s: float, out: Out) -> None:
        """Keep what came ahead of its view; drop what is late, or from a host that the view doesn't list."""
        if frame.view > self._view_id:
            kept_bytes = size + sum(link.kept_bytes for link in self._links.values())
            if len(link.kept) >= KEPT_FRAMES_MAX or kept_bytes > KEPT_BYTES_MAX:
                link.down("too much came ahead of its view", now_s, out)
                return
            if not link.kept:
                link.asked_s = max(link.asked_s, now_s + AHEAD_S - ANSWER_EVERY_S)
            link.keep(frame.view, frame.messages, size)
            self._ask_for_view(link, now_s, out)
        elif self._view is not None and now_s - link.told_s >= ANSWER_EVERY_S:
            link.told_s = now_s
            link.send((Install(self._view),), 0, CONTROL, out)

    def _ask_for_view(self, link: Link, now_s: float, out: Out) -> None:
        """Ask for the view that what was kept waits for, if anything was and still does."""
        if link.kept and now_s - link.asked_s >= ANSWER_EVERY_S:
            link.asked_s = now_s
            link.send((WantView(self._view_id),), 0, CONTROL, out)

    def _add(self, member: Member, now_s: float, *, is_wanted: bool) -> Link:
        link = Link(self._home, member, is_wanted=is_wanted, now_s=now_s)
        self._links[member.id] = link
        self._see_membership(link)
        return link

    def _adopt(self, link: Link, member: Member, now_s: float, out: Out) -> None:
        link.adopt(member, now_s, out)
        self._see_membership(link)

    def _see_membership(self, link: Link) -> None:
        view, member = self._view, link.member
        link.is_member = view is not None and view.lists(member.id, member.incarnation)

    def _see_own_incarnation(self, now_s: float, out: Out) -> None:
        """A host that took a new incarnation is in no view, and no link of the old one is its own."""
        me = self._home.me()
        if (me.id, me.incarnation) == self._own:
            return
        self._own = me.id, me.incarnation
        self._view, self._view_id = None, 0
        for link in self._links.values():
            link.is_member = False
            link.down("this host took a new incarnation", now_s, out)
            link.tick(now_s, out)

    def _note_once(self, kind: str, host: str, reason: str, out: Out) -> None:
        if (host, reason) not in self._noted:
            if len(self._noted) >= NOTED_MAX:
                self._noted.clear()
            self._noted.add((host, reason))
            out.append(Note(kind, reason, host=host))


def only_ungated(outbox: dict[str, list[HostMessage]]) -> dict[str, list[HostMessage]]:
    """Return an outbox without what is gated by view: what a host that installs a view may still send."""
    return {
        host: rest
        for host, messages in outbox.items()
        if (rest := [message for message in messages if type(message) in UNGATED])
    }
