"""Lost and found: what a host is about to give up is written down first.

People may look at it, and bring it back; nobody else does.
"""

from __future__ import annotations

from agents.causes import Cause
from agents.effects import Effect, Note, SaveSnapshot, SnapshotSaved
from agents.household import Household
from agents.peer import PeerStatus
from agents.snapshot import Copy, Head, Held
from agents.views import View

Out = list[Effect]


def snapshot_of(
    host: Household,
    view: View,
    now_s: float,
    *,
    stop: str = "",
    members: tuple[tuple[str, str], ...] = (),
    reason: str = "",
    is_last: bool = False,
) -> SaveSnapshot:
    """Return the order to write down every ACTIVE peer of this host as it stands."""
    active = [m for m in host.colonies.values() if m.status is PeerStatus.ACTIVE]
    copies = tuple(
        Copy(
            Held(m.colony, m.epoch, m.peer.last, m.peer.clock_s(now_s), len(m.peer.cells.live)),
            m.peer.cells.live.copy(),
            m.peer.cells.lanes.copy(),
            m.peer.cells.places.copy(),
        )
        for m in sorted(active, key=lambda machine: machine.colony)
    )
    me = host.membership.me
    head = Head(
        view.tag, stop, view.id, me.id, me.name, members, tuple(c.held for c in copies), reason=reason
    )
    return SaveSnapshot(head, copies, sum(m.peer.cells.bytes_used for m in active), is_last)


class LostAndFound:
    """Saves what one host gives up.

    Attributes:
        view: The last view that was installed here; None = none ever was.
    """

    def __init__(self, host: Household) -> None:
        self._host = host
        self.view: View | None = None

    def save(self, reason: str, now_s: float, out: Out, *, is_last: bool = False) -> None:
        """Write down what is here, if there is anything, and a state directory to keep it in."""
        if not self._host.keeps or self.view is None:
            return
        save = snapshot_of(self._host, self.view, now_s, reason=reason, is_last=is_last)
        if any(copy.live for copy in save.copies):
            out.append(save)

    def saved(self, event: SnapshotSaved, out: Out) -> None:
        """Note where it is, or why it could not be kept."""
        reason = f"what this host held is kept in {event.path}"
        if event.error:
            reason = f"what this host held could not be kept: {event.error}"
        out.append(Note("lost_and_found", reason, cause=Cause("undead", host=self._host.me)))
