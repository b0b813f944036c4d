"""Admission: what may come to this host, and what was promised a place.

A clone asks first, and streams when it is admitted: from then on its bytes
are reserved, so that ten colonies that choose this host at once don't all
find the same free room. The host judges by its own, fresh figures:

* whoever asks says how heavy this host may be then; who comes too late looks
  elsewhere;
* cells are born, and grow, while there is room: under `--max-bytes`, and in the machine's memory;
* when room is short, copies have a price: a colony with fewer copies outbids
  one with more, whose copy here is given up or asked to go.
"""

from __future__ import annotations

from math import inf
from typing import Protocol

from agents.causes import Cause
from agents.effects import Effect, Note, Send, TellColony
from agents.household import Household
from agents.messages.membership import Load
from agents.messages.replication import Invite
from agents.peer import PeerStatus
from agents.surroundings import Outbid
from agents.views import Status
from placement.attraction import FILL_FULL, FILL_GOOD
from placement.outbid import Tenant, outbid
from placement.resources import COPY_BYTES, format_bytes

COUNT_S = 0.1
ASKED_S = 1.0  # a colony that was asked to go is not asked again so soon
SHED = "shed"
NEAR_BYTES = 256 << 20  # with less than that left by the machine, births are counted against it
GROWN_SHARE = 0.05  # so much more of its limit than it has said
ROOM_S = 5.0  # without a refusal: the spell is over


class Host(Household, Protocol):
    """What admission asks of its host."""

    @property
    def memory_free(self) -> int | None:
        """Bytes that the machine still has for cells; None = not measured."""

    bytes_measured: int  # what this host carried then
    load: Load  # as it was told to others last


class Admission:
    """The door of one host for clones, and its count of bytes."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.bytes_now = 0  # what is here, and what was promised room
        # So much may be here, by the limit and by the machine's memory.
        self.bytes_most: float = host.limits.bytes_max or inf
        self._refused = 0  # births since somebody was told of it
        self._full_s = -inf  # when the last one was refused, of a spell that was noted
        self._counted_s = float("-inf")
        self._promised: dict[int, int] = {}  # colony -> bytes that were admitted
        self._asked_s: dict[int, float] = {}
        self._bids: dict[int, tuple[int, ...]] = {}  # colony that was outbid -> (by which, copies, its own)
        self.bytes_here = 0  # of what is here, as it was counted last

    # -- what is here -----------------------------------------------------------------

    def count(self, now_s: float) -> None:
        """Count anew what is here and what still comes, now and then."""
        if now_s - self._counted_s < COUNT_S:
            return
        self._counted_s = now_s
        self.bytes_most = self._most()
        if not self._promised and self.bytes_most == inf:
            return
        self._forget_ended()
        here = sum(c.peer.cells.bytes_used for c in self.host.colonies.values())
        self.bytes_here, self.bytes_now = here, here + self._still_coming()

    def is_full(self, bytes_more: int) -> bool:
        """Return whether so many bytes more are too many; if not, they count from now on."""
        if self.bytes_most == inf:
            return False
        if self.bytes_now + bytes_more > self.bytes_most:
            return True
        self.bytes_now += bytes_more  # until the next count
        return False

    @property
    def has_grown_tight(self) -> bool:
        """Whether this host fills up faster than its load is measured: others must hear of it now."""
        grown, most = self.bytes_now - self.host.load.bytes_used, self.bytes_most
        return most < inf and self.bytes_now > FILL_GOOD * most and grown > GROWN_SHARE * most

    def refused(self) -> None:
        """Note that a cell was not born, or did not grow, for lack of room."""
        self._refused += 1

    def _most(self) -> float:
        """Return the bytes that this host may carry; inf = it has all the room that it likes."""
        limit: float = self.host.limits.bytes_max or inf
        free = self.host.memory_free
        if free is not None and free < NEAR_BYTES:
            limit = min(limit, self.host.bytes_measured + free)
        return limit

    def _forget_ended(self) -> None:
        self._promised = {c: size for c, size in self._promised.items() if self._learns(c)}

    def _learns(self, colony: int) -> bool:
        machine = self.host.colonies.get(colony)
        return machine is not None and machine.status is PeerStatus.LEARNING

    def _still_coming(self) -> int:
        """Return the bytes that were promised room and have not come yet."""
        colonies = self.host.colonies
        return sum(
            max(0, size - colonies[colony].peer.cells.bytes_used) for colony, size in self._promised.items()
        )

    def _say_if_full(self, now_s: float, out: list[Effect]) -> None:
        if self._refused:
            if self._full_s == -inf:
                have, most = format_bytes(self.bytes_now), format_bytes(int(self.bytes_most))
                text = f"births and growth are refused (Full): {have} of {most} are used"
                out.append(Note("no_room", text, host=self.host.me))
            self._refused, self._full_s = 0, now_s
        elif self._full_s > -inf and now_s - self._full_s >= ROOM_S:
            self._full_s = -inf
            text = f"none was refused for {ROOM_S:.0f} s"
            out.append(Note("room", text, host=self.host.me, cause=Cause("no_room", host=self.host.me)))

    # -- who comes ----------------------------------------------------------------------

    def admits(self, colony: int, sender: str, bytes_wanted: int, weight_max: int = 0) -> str:
        """Return "" if a clone may come in, or why not."""
        view = self.host.view
        me = view.member(self.host.me) if view is not None else None
        if me is None or view is None or view.member(sender) is None:
            return "not a member"
        if me.witness:
            return "a witness holds no cells"
        if me.status is Status.LEAVING:
            return "this host leaves"
        self._promised.pop(colony, None)
        self._forget_ended()
        if len(self._promised) >= self.host.limits.clones_max * max(1, len(view.members)):
            return "too many clones come in already"
        if weight_max and self._weight_soon() + bytes_wanted + COPY_BYTES > weight_max:
            return "others came first"
        if self._is_short(bytes_wanted) or self.is_full(bytes_wanted):
            return self._outbid(colony, bytes_wanted)
        self._promised[colony] = bytes_wanted
        return ""

    def _weight_soon(self) -> int:
        """Return what stays here, those included that were admitted a moment ago."""
        directory, me = self.host.directory, self.host.me
        weight = directory.bytes_used[me] + directory.copies[me] * COPY_BYTES
        for colony, size in self._promised.items():
            entry = directory.entries[colony]
            if entry is None or me not in entry.learners:
                weight += size + COPY_BYTES
        return weight

    def _is_short(self, bytes_wanted: int) -> bool:
        """Return whether the machine has too little memory left, whatever this host may hold."""
        free = self.host.memory_free
        if free is None:
            return False
        used, coming = self.host.directory.bytes_used[self.host.me], self._still_coming()
        return (used + coming + bytes_wanted) > FILL_FULL * (used + free)

    # -- prices ---------------------------------------------------------------------------

    def _outbid(self, colony: int, bytes_wanted: int) -> str:
        """There is no room: see whether copies of colonies that have more of them should go."""
        directory = self.host.directory
        limit = self.bytes_most
        short = int(self.bytes_now + bytes_wanted - limit) if limit < inf else bytes_wanted
        tenants = []
        for other, machine in self.host.colonies.items():
            entry = directory.entries[other] if other < len(directory.entries) else None
            if entry is None or machine.primary is not None or machine.status is PeerStatus.NONE:
                continue
            arrives = machine.status is PeerStatus.LEARNING
            size = self._promised.get(other, 0) if arrives else machine.peer.cells.bytes_used
            tenants.append(Tenant(other, len(entry.peers), size, arrives))
        entry = directory.entries[colony] if colony < len(directory.entries) else None
        have = len(entry.peers) if entry is not None else 1
        found = outbid(colony, have, short, tenants)
        for tenant in found:
            self._bids.setdefault(tenant.colony, (colony, have, tenant.have))
        if found:
            return "this host's memory limit is reached: others are asked to make room"
        return f"this host's memory limit is reached ({format_bytes(bytes_wanted)} wanted)"

    def _come_down(self, now_s: float, out: list[Effect]) -> None:
        """Ask the primaries of some secondaries to give these up, the largest first: they are too much.

        What is written elsewhere grows here unasked, and those who write look at this host some moments
        late. So what it carries beyond its limit is at most what is written until they have answered.
        """
        most, directory = self.host.limits.bytes_max, self.host.directory
        sizes = {c: machine.peer.cells.bytes_used for c, machine in self.host.colonies.items()}
        here = sum(sizes.values())  # some may have gone since the last count
        words = f"{format_bytes(here)} of {format_bytes(most)} are used"
        asked = sum(sizes.get(colony, 0) for colony in self._asked_s)
        excess = here - most - max(asked, directory.bytes_going[self.host.me])
        for colony in sorted(sizes, key=lambda colony: (-sizes[colony], colony)):
            machine, primary = self.host.colonies[colony], directory.primary(colony)
            is_secondary = machine.primary is None and machine.status is PeerStatus.ACTIVE
            if excess <= 0 or not is_secondary or not primary or colony in self._asked_s:
                continue
            excess -= sizes[colony]
            self._asked_s[colony] = now_s
            because = f"{words}: its primary is asked to give this copy up"
            out.append(Note("over", because, colony, self.host.me))
            out.append(Send(primary, Invite(colony, SHED)))

    def ticked(self, now_s: float, out: list[Effect]) -> None:
        """Have those go that were outbid since; say that births are refused, and that they are no more."""
        self._say_if_full(now_s, out)
        is_over = 0 < self.host.limits.bytes_max < self.bytes_here
        if not self._bids and not is_over:
            return
        self._asked_s = {c: at_s for c, at_s in self._asked_s.items() if now_s - at_s < ASKED_S}
        if is_over:
            self._come_down(now_s, out)
        bids, self._bids = self._bids, {}
        for colony, (by, have, theirs) in bids.items():
            if colony in self._asked_s:
                continue
            self._asked_s[colony] = now_s
            because = f"outbid: colony {by} has {have} peers, this one {theirs}"
            cause = Cause("clone", by, self.host.me)
            out.append(Note("outbid", because, colony, self.host.me, cause=cause))
            primary = self.host.directory.primary(colony)
            if self._learns(colony):
                out.append(TellColony(colony, Outbid(because)))
            elif primary:
                out.append(Send(primary, Invite(colony, SHED)))
