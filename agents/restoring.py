"""Restoring: what a host brings back after a whole-cluster stop.

A host that starts with a snapshot offers it once:

* in the first view of a cluster that starts anew, all of it: each peer is
  ACTIVE again, and the census decides, as it always does;
* to a cluster that has started without it, only what this one waits for.

Whatever the first census names is gone on from, the rest is dropped. Before
anything of it may be served the snapshot is used up, durably.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from agents.cells import Cells, cell_bytes
from agents.census import Heir, Return, starts_anew
from agents.effects import Effect, ForgetSnapshot, Note, SaveSnapshot, TellColony
from agents.household import Household
from agents.messages.replication import Origin
from agents.snapshot import PERIODIC, Found, Kept, Loaded
from agents.surroundings import Dropped, Restored
from agents.views import View

Out = list[Effect]
STALE_GAP = 1 << 32  # what comes back may be old: no version that a client may have seen is given again
NAMED_MAX = 20  # colonies or hosts named in one sentence


def some(names: list[str]) -> str:
    """Return names for a sentence: not too many of them."""
    return ", ".join(names[:NAMED_MAX]) + (f" and {len(names) - NAMED_MAX} more" if names[NAMED_MAX:] else "")


class Restoring:
    """One host's part in the return of a stopped cluster.

    Args:
        found: What the state directory brought.
        wait_s: How long colonies wait for missing hosts; None = until these are back.
        waits: Colonies that are lost wait for an operator, too.
        now_s: The host's clock, when the age of the snapshot was taken.

    Attributes:
        waiting: Colonies that nobody holds until a missing host is back.
        loaded: What is offered; None = nothing, or it is used up.
    """

    def __init__(
        self, host: Household, found: Found, wait_s: float | None, now_s: float, *, waits: bool = False
    ) -> None:
        self.host = host
        self.waiting: frozenset[int] = frozenset()
        self.loaded: Loaded | None = found.loaded and self._named(found.loaded)
        self._refused = found.refused
        self._wait_s = wait_s
        self._waits = waits
        self._started_s = now_s
        self._has_installed = False
        self._before = 0  # > 0: a cluster starts anew, and no census of it is complete yet
        self._offered: set[int] = set()
        self._back: Return | None = None
        self._since_s = now_s
        self._has_given_up = False
        self._decided = (
            ""  # the stop that the first census of this start went on from; "" = none, or not known
        )

    def _named(self, loaded: Loaded) -> Loaded:
        """Return a periodic snapshot with the hosts that bring others: those of the view before the start."""
        known = self.host.membership.known
        if not loaded.is_periodic or known is None:
            return loaded
        members = tuple((m.id, m.name) for m in known.members if m.durable and not m.witness)
        return replace(loaded, head=msgspec.structs.replace(loaded.head, members=members))

    # -- views and the census ------------------------------------------------------

    def view_installed(self, view: View, known: int, now_s: float, out: Out) -> list[int]:
        """Bring back what this view may go on from; return these colonies.

        Args:
            known: Id of the view that this host knew before.
        """
        if not self._has_installed and starts_anew(view):
            self._before = max(1, known)
        self._has_installed = True
        loaded = self.loaded
        if loaded is None or self._offered:
            return []
        wanted = set(loaded.kept) if self._before else set(loaded.kept) & self.waiting
        self._offered = {colony for colony in wanted if colony < view.charter.colonies}
        for colony in sorted(self._offered):
            out.append(TellColony(colony, self._restored(loaded, loaded.kept[colony], now_s)))
        return sorted(self._offered)

    def _restored(self, loaded: Loaded, kept: Kept, now_s: float) -> Restored:
        """Return a peer as it stood, on a clock that has run on."""
        cells = Cells()  # of its own: the peer may have to be dropped, and be offered again
        cells.live, cells.lanes = dict(kept.cells.live), dict(kept.cells.lanes)
        cells.places = dict(kept.cells.places)
        cells.bytes_used = kept.cells.bytes_used
        clock_s = kept.held.clock_s + kept.age_s + loaded.age_s + (now_s - self._started_s)
        gap = STALE_GAP if loaded.is_periodic else 0
        return Restored(kept.held.epoch, kept.held.seq + gap, clock_s, cells)

    def _age_s(self, loaded: Loaded, now_s: float) -> float:
        older_s = max((loaded.kept[colony].age_s for colony in self._offered), default=0.0)
        return loaded.age_s + older_s + (now_s - self._started_s)

    def origin(self, now_s: float) -> Origin | None:
        """Return what this host's census says of the stop; None = nothing."""
        told = self._origin(now_s)
        if told is None and self._decided:
            told = Origin(self._decided)  # who has not heard it yet may offer an older one
        return msgspec.structs.replace(told or Origin(), waits=True) if self._waits else told

    def _origin(self, now_s: float) -> Origin | None:
        loaded = self.loaded
        if self._before and loaded is None:
            return Origin(before=self._before)
        if loaded is not None and (self._before or not self._offered) and not self.waiting:
            head = loaded.head
            is_late = not self._before
            told = Origin(head.stop, head.view, self._before, loaded.is_clean, is_late, head.members)
            return msgspec.structs.replace(told, age_s=self._age_s(loaded, now_s))
        back = self._back
        if not self.waiting:
            return None
        waiting = tuple(sorted(self.waiting))
        if back is None:  # they are lost; one that comes late may offer what it wrote by itself
            stop, age_s = ("", 0.0)
            if loaded is not None and loaded.is_periodic and self._offered:
                stop, age_s = PERIODIC, self._age_s(loaded, now_s)
            return Origin(stop, waiting=waiting, given_up=self._has_given_up, age_s=age_s)
        members = tuple(sorted(back.members.items()))
        return Origin(back.stop, 0, 0, True, False, members, waiting, self._has_given_up)

    def decided(self, back: Return | None, heirs: list[Heir], now_s: float, out: Out) -> bool:
        """The census is complete: keep what it names, drop the rest.

        Returns:
            Whether another census is wanted, because this host has more to say.
        """
        me, loaded = self.host.me, self.loaded
        used = {colony for colony in self._offered if me in heirs[colony].seqs}
        for colony in sorted(self._offered - used):
            out.append(TellColony(colony, Dropped("the cluster does not go on from its snapshot")))
        if self._before and back is not None:
            self._decided = back.stop
        self._before = 0
        waited, self.waiting = self.waiting, frozenset(h.colony for h in heirs if not h.primary)
        self._back = back
        offered, self._offered = self._offered, set()
        if self.waiting != waited:
            self._waiting_changed(now_s, out)
        ours = loaded is not None and back is not None and loaded.head.stop == back.stop
        ours = ours or (loaded is not None and loaded.is_periodic)
        may_help = ours and loaded is not None and bool(self.waiting & loaded.kept.keys())
        if loaded is not None and not (may_help and not offered):
            self._used_up(loaded, used, out)
        unheard = back is not None and me in back.missing  # its word was not asked for yet
        return bool(self.waiting) and (self.loaded is not None or unheard)

    def _used_up(self, loaded: Loaded, used: set[int], out: Out) -> None:
        """The snapshot is gone on from, or is of no use: it must not be restored ever again."""
        self.loaded = None
        if loaded.is_periodic:  # it stays, one of many; the census has named what goes on from it
            reason = f"{len(used)} of {len(loaded.kept)} colonies of this host's last periodic snapshot"
            return out.append(Note("restored_periodic", reason, details={"colonies": sorted(used)}))
        out.append(ForgetSnapshot(keep=not used))
        if used:
            reason = (
                f"{len(used)} of {len(loaded.kept)} colonies, as of {loaded.age_s:.0f} s before this start"
            )
            out.append(Note("restored", reason, details={"colonies": len(used), "stop": loaded.head.stop}))
        else:
            reason = (
                "the cluster does not go on from this host's snapshot: it is stale, or others were as good"
            )
            out.append(Note("snapshot_unused", reason, details={"stop": loaded.head.stop}))

    def _waiting_changed(self, now_s: float, out: Out) -> None:
        self._has_given_up = False
        self._since_s = now_s
        if not self.waiting:
            out.append(Note("waiting_over", "every colony has a primary again"))
            return
        colonies = some([str(colony) for colony in sorted(self.waiting)])
        details = {"colonies": len(self.waiting), "missing": self.missing}
        out.append(Note("waiting", f"for {self._whom} with colonies {colonies}", details=details))

    # -- what others ask -------------------------------------------------------------

    @property
    def missing(self) -> list[str]:
        """Names of hosts that some colony waits for."""
        back = self._back
        return sorted(back.missing.values()) if back is not None and self.waiting else []

    @property
    def _whom(self) -> str:
        return some(self.missing) or "an operator"

    def absence(self, colony: int) -> str:
        """Return why a colony has no primary that is known."""
        if colony not in self.waiting:
            return "no primary is known yet"
        if not self.missing:
            return f"colony {colony} is lost, all its copies died: `colony recover --force` starts it empty"
        return f"waiting for a holder of colony {colony}: {self._whom}"

    def give_up(self) -> str:
        """End the wait for the missing; return why, for the census that must follow."""
        self._has_given_up = True
        return f"nobody waits for {self._whom} any longer"

    # -- time, and the end -----------------------------------------------------------

    def ticked(self, now_s: float, out: Out) -> str:
        """Say once what was refused; return why a census is wanted now, "" = none is."""
        refused, self._refused = self._refused, ()
        out.extend(Note("snapshot_refused", reason) for reason in refused)
        late = self._wait_s is not None and now_s - self._since_s >= self._wait_s
        return self.give_up() if late and self.waiting and not self._has_given_up else ""

    def written(self, save: SaveSnapshot, at_s: float, *, is_clean: bool) -> None:
        """Offer what this very process wrote for a stop, as if it had started with it."""
        kept = {}
        for copy in save.copies:
            cells = Cells()
            cells.live, cells.lanes, cells.places = copy.live, copy.lanes, copy.places
            cells.bytes_used = sum(cell_bytes(key, cell) for key, cell in copy.live.items())
            kept[copy.held.colony] = Kept(copy.held, cells)
        self.loaded = Loaded(save.head, kept, is_clean=is_clean)
        self._has_installed = self._has_installed and not is_clean  # then it is like all others that are back
        self._started_s = at_s  # nobody was away meanwhile: the clock ran on

    def dropped(self) -> None:
        """This host is undead: it asks to enter with what it brought, like one that comes late."""
        self._before = 0
        self._offered = set()
        self.waiting = frozenset()
        self._back = None
