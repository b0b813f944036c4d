"""Periodic snapshots: what a host holds, written down beside its service.

For the day when all hosts die at once: cells are in memory only, and what
was acknowledged since the last of these snapshots is gone then. So nothing
of them is ever restored unless people ask for it.

A turn of the loop copies a bounded number of cells, colony by colony; the
writing itself is a worker's. A colony's own clock says how old its copy is.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from agents.effects import Effect, Note, SaveSnapshot, SnapshotSaved
from agents.household import Household
from agents.peer import PeerStatus
from agents.snapshot import PERIODIC, Copy, Head, Held

Out = list[Effect]
CELLS_PER_TURN = 20_000  # their dicts are copied in half a millisecond


class Periodic:
    """When a host writes down what it holds, and how that went.

    Args:
        every_s: Time from one snapshot to the next; None = never.
    """

    def __init__(self, host: Household, every_s: float | None, now_s: float) -> None:
        self.host = host
        self.every_s = every_s
        self._due_s = now_s + (every_s or 0.0) * (0.5 + _share(host.me) / 2)  # not all disks at one moment
        self._rest: list[int] | None = None
        self._copies: list[tuple[Copy, float]] = []
        self._is_writing = False
        self._asked_s = 0.0
        self._saved_s: float | None = None
        self._path = self._error = ""

    @property
    def is_copying(self) -> bool:
        """Whether a snapshot is being gathered."""
        return self._rest is not None

    def ticked(self, now_s: float, out: Out) -> None:
        """Copy some more, or begin when it is time."""
        if self.every_s is None or not self.host.keeps:
            return
        if self._rest is not None:
            self._copy_some(now_s, out)
        elif now_s >= self._due_s and not self._is_writing and self.host.quorum.held(now_s):
            self._due_s = now_s + self.every_s
            self._rest = sorted(self.host.colonies, reverse=True)

    def _copy_some(self, now_s: float, out: Out) -> None:
        """Copy colonies until enough cells are copied; when all are, have them written."""
        rest, copied = self._rest, 0
        while rest and copied < CELLS_PER_TURN:
            machine = self.host.colonies.get(rest.pop())
            if machine is None or machine.status is not PeerStatus.ACTIVE or machine.restored:
                continue
            peer = machine.peer
            cells = len(peer.cells.live)
            held = Held(machine.colony, peer.epoch, peer.last, peer.clock_s(now_s), cells)
            kept = peer.cells
            copy = Copy(held, kept.live.copy(), kept.lanes.copy(), kept.places.copy())
            self._copies.append((copy, now_s))
            copied += cells
        if not rest:
            self._write(now_s, out)

    def _write(self, now_s: float, out: Out) -> None:
        host, view = self.host, self.host.view
        gathered, self._rest, self._copies = self._copies, None, []
        if view is None or not any(copy.live for copy, _ in gathered):
            return
        copies = tuple(_at(copy, now_s - copied_s) for copy, copied_s in gathered)
        me = host.membership.me
        held = tuple(copy.held for copy in copies)
        head = Head(view.tag, "", view.id, me.id, me.name, (), held, reason=PERIODIC)
        self._is_writing, self._asked_s = True, now_s
        size = sum(host.colony(copy.held.colony).peer.cells.bytes_used for copy in copies)
        out.append(SaveSnapshot(head, copies, size, is_periodic=True))

    def saved(self, event: SnapshotSaved, now_s: float, out: Out) -> None:
        """A snapshot is on disk, or can't be; only what is news is noted."""
        self._is_writing = False
        is_news = self._saved_s is None or bool(event.error) != bool(self._error)
        self._error = event.error
        if event.error:
            if is_news:
                out.append(Note("snapshot_failed", f"no periodic snapshot: {event.error}"))
            return
        self._saved_s, self._path = self._asked_s, event.path
        if is_news:
            out.append(Note("snapshot", f"every {self.every_s:g} s, the first of them in {event.path}"))

    def dropped(self) -> None:
        """This host is undead: what was copied is not its own any more."""
        self._rest, self._copies = None, []

    def progress(self, now_s: float) -> dict[str, Any] | None:
        """Return what `status` says; None = none are asked for."""
        if self.every_s is None:
            return None
        age_s = None if self._saved_s is None else now_s - self._saved_s
        return {"every_s": self.every_s, "age_s": age_s, "path": self._path, "error": self._error}


def _at(copy: Copy, later_s: float) -> Copy:
    """Return a copy as of a later moment: its cells are as they were, its clock ran on."""
    held = msgspec.structs.replace(copy.held, clock_s=copy.held.clock_s + later_s)
    return Copy(held, copy.live, copy.lanes, copy.places)


def _share(host: str) -> float:
    """Return a number in [0, 1) that differs from host to host."""
    return int.from_bytes(hashlib.blake2b(host.encode(), digest_size=4).digest(), "big") / 2**32
