"""Planted bugs of leases, agreement, links and views."""

from __future__ import annotations

from typing import Any

import agents.hosting
import agents.leading
import agents.primary
import agents.succession
import agents.transfers
from agents.agreement import Acceptor, Attempt
from agents.colony import Colony
from agents.council import Council
from agents.effects import Send
from agents.heartbeats import Heartbeats
from agents.hosting import Container
from agents.leases import Grants, Quorum
from agents.links import DeliverMessages, Links
from agents.membership import Membership
from agents.messages.membership import Accept, Grant, Heartbeat, Refused
from agents.peer import PeerStatus
from agents.primary import Primary
from agents.sim_network import Shape
from agents.surroundings import ViewInstalled
from agents.wire import Frame
from tests.sim.bugs import FEW, FIVE, SLOW_BULK, THREE, TWO, Bug, charter, nothing
from tests.sim.plans import crash, move, only, pause, reset

BUGS: dict[str, Bug] = {}

# -- leases and agreement ----------------------------------------------------------

BROKEN_LINK = "0.2 cut A-B for 7.5"
BUGS["install without the lease wait"] = Bug(
    [(Attempt, "free_at_s", lambda self, harmless: float("-inf"))], BROKEN_LINK, options=TWO
)
BUGS["an acceptor grants on after it accepted"] = Bug(
    [(Grants, "fence", nothing), (Quorum, "fence", nothing)], BROKEN_LINK, options=TWO
)

_on_heartbeat = Heartbeats.on_heartbeat


def _grants_unlisted(self: Heartbeats, sender: str, beat: Heartbeat, now_s: float) -> None:
    _on_heartbeat(self, sender, beat, now_s)
    here = self._here
    if here.known is not None and not here.is_member and here.known.member(here.me.id):
        listed = here.known.member(here.me.id)
        assert listed is not None
        if beat.view == here.known.id:
            here.do(Send(sender, Grant(here.known.id, beat.sent_s, listed.incarnation)))


BUGS["grants of an incarnation that the view does not list"] = Bug(
    [(Heartbeats, "on_heartbeat", _grants_unlisted)],
    "0.2 cut A-B for 7.5\n0.2 crash C for 0.02 when lease_wait",
    seeds=30,
    options=TWO,
)

# A and B choose a view without C; B is cut off from A before it learns so.
HALF_CHOSEN = "0.2 cut A-C for 15\n0.2 cut A-B for 6 when lease_wait"
_restore = Membership._restore


def _forgetful(self: Membership, record: Any, now_s: float) -> None:
    _restore(self, record, now_s)
    self.council.acceptor = Acceptor()


BUGS["a vote is lost in a restart"] = Bug(
    [(Membership, "_restore", _forgetful)],
    HALF_CHOSEN + "\n0.2 crash B for 0.05 when lease_wait",
    options={**TWO, "length_s": 12.0},
)
BUGS["a proposer ignores accepted values"] = Bug(
    [(Attempt, "adopted", nothing)], HALF_CHOSEN, options={**TWO, "length_s": 12.0}
)


def _forgets_own(self: Membership, record: Any, now_s: float) -> None:
    _restore(self, record, now_s)
    promised = self.council.acceptor.promised
    if promised is not None and promised.host == self.me.id:
        self.council.acceptor = Acceptor()


# A's ballot reaches B; all restart; the same ballot reaches C with another value, and A is gone.
BUGS["a ballot is used again after a restart"] = Bug(
    [(Membership, "_restore", _forgets_own)],
    "0.2 cut A-C for 5\n0.2 crash A for 0.3 when lease_wait\n0.2 crash C for 1.9 when lease_wait\n"
    "0.2 crash B for 5 when lease_wait\n4.6 crash A for 8 when view",
    seeds=30,
    options={**TWO, "length_s": 16.0},
)

_on_accept = Council.on_accept


def _refuses_what_it_hears(self: Council, sender: str, message: Accept, now_s: float) -> None:
    heard = self._host.heard(now_s)
    if any(host in heard for host, _ in message.proposal.dead):
        view = self._host.known
        if view is not None and view.id == message.view:
            self._host.do(Send(sender, Refused(view.id, message.ballot, message.ballot)))
        return
    _on_accept(self, sender, message, now_s)


BUGS["accept is refused for hearing"] = Bug(
    [(Council, "on_accept", _refuses_what_it_hears)],
    "1 pause C for 3.2\n0 reset A>B when confirmed\n0 cut A>B for 1 when confirmed",
    seeds=20,
    options=TWO,
)

_finish = Council._finish


def _waits_for_joiners(self: Council, attempt: Attempt, now_s: float) -> None:
    proposal = attempt.proposal
    assert proposal is not None
    seen = [self._host.contacts.get(m.id) for m in proposal.members if m.entered == proposal.id]
    if all(contact is not None and contact.seen_s > attempt.since_s for contact in seen):
        _finish(self, attempt, now_s)


BUGS["a dead joiner blocks the view"] = Bug(
    [(Council, "_finish", _waits_for_joiners)],
    "0.5 join X\n0.5 kill X when election",
    options=TWO,
    seeds=20,
)

BUGS["more newcomers than members"] = Bug(
    [(agents.succession, "newcomers_max", lambda *_: 99)],
    "0.5 join X\n0.5 join Y\n0.5 join Z\n0.55 kill XYZ when view",
    options=TWO,
    seeds=20,
)

# -- links and views -----------------------------------------------------------------------


def _gate_open(self: Links, link: Any, frame: Frame, size: int, now_s: float, out: list[Any]) -> None:
    out.append(DeliverMessages(link.member.id, frame.messages))


# What p said before it was held dead reaches t after s was promoted, but before s can say so.
BUGS["messages are not gated by view"] = Bug(
    [(Links, "_gate", _gate_open)],
    "1 cut p|stuv for 3.2\n1 cut s-t for 2 when promote",
    options={**FIVE, "charter": charter(3, 1), "attested": False},
    seeds=30,
)

_on_frame = Links.on_frame


def _delivers_old(self: Links, source: Any, frame: Any, now_s: float, size: int = 0) -> list[Any]:
    link = self._links.get(source.host)
    if type(frame) is Frame and link is not None and link.is_up and frame.link < link.heard:
        return [DeliverMessages(source.host, frame.messages)]
    return _on_frame(self, source, frame, now_s, size)


# The word that s holds nothing is late: s is a peer again when it comes.
OLD_WORD = "1 move retire 0 s\n1 reset s>p when freed\n1.6 move clone 0 s\n2 move clone 0 s\n3 move clone 0 s"
BUGS["a link reset delivers old messages"] = Bug(
    [(Links, "on_frame", _delivers_old)],
    OLD_WORD,
    options={**FEW, "shape": Shape(late_share=1.0, late_s=3.0)},
    seeds=30,
)

_moves_view_installed = agents.transfers.view_installed


def _keeps_dropped(primary: Primary, members: frozenset[str], now_s: float, out: list[Any]) -> None:
    _moves_view_installed(primary, members | frozenset(primary.ack_set), now_s, out)


BUGS["dropped hosts stay in the ack set"] = Bug(
    [(agents.transfers, "view_installed", _keeps_dropped), (agents.leading, "check_ack_set", nothing)],
    "1 kill C",
    options=THREE,
)

BUGS["a dropped incarnation comes back with its cells"] = Bug(
    [(Container, "_drop_everything", nothing)], "0.5 pause A for 4\n5 pause B for 4", options=TWO
)


_view_installed = Colony._view_installed


def _learners_are_active(self: Colony, event: ViewInstalled, now_s: float, out: list[Any]) -> None:
    if self.peer.status is PeerStatus.LEARNING:
        self.peer.status = PeerStatus.ACTIVE
        self.peer.cells.end_learning()
        self.learner = None
    _view_installed(self, event, now_s, out)


BUGS["LEARNING peers count as ACTIVE later"] = Bug(
    [(Colony, "_view_installed", _learners_are_active)],
    only(move, move, move, crash, pause, count=(10, 30)),
    options={**TWO, "shape": SLOW_BULK},
    seeds=60,
)
BUGS["a link that comes back sends nothing again"] = Bug(
    [(Colony, "_link_came_up", nothing), (Container, "_link_came_up", nothing)],
    only(reset, count=(20, 40)),
    options=TWO,
)
