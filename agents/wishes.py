"""Wishes: changes that somebody wants in the next view.

Whoever wishes repeats the wish to all members until a view shows it done;
whoever hears one keeps it for as long as it is repeated.
"""

from __future__ import annotations

from dataclasses import dataclass

from agents.causes import Cause
from agents.messages.membership import Wish
from agents.views import Status, View

KEPT_S = 3.0  # a dozen repeats: the wisher is gone, or has changed its mind
WISHES_MAX = 4096
WAVE_S = 1.0  # a joiner that has its share waits so long for those that joined with it: one view for all
FREEZES = ("freeze", "thaw")
ABOUT_ALL = ("recount", *FREEZES)  # wishes that are about no host


@dataclass(slots=True)
class Kept:
    """One wish, and how long it counts."""

    wish: Wish
    until_s: float
    mine: bool
    settled_s: float
    by: str = ""  # whose it is, if not ours


class Wishes:
    """What this host wishes itself, and what it heard others wish."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, int], Kept] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, wish: Wish, now_s: float, *, mine: bool, wait_s: float = 0.0, by: str = "") -> bool:
        """Keep a wish, of the host `by` if not our own; True if it is new. It counts after `wait_s`."""
        key = (wish.kind, wish.host, wish.incarnation)
        old = self._kept.get(key)
        if old is not None and (old.wish.view, old.wish.count) >= (wish.view, wish.count):
            old.until_s = now_s + KEPT_S
            old.mine = old.mine or mine
            return False
        if len(self._kept) >= WISHES_MAX and old is None:
            return False
        settled_s = now_s + wait_s
        if old is not None and wish.kind == "active":
            settled_s = min(settled_s, old.settled_s)  # another view is no reason to wait anew
        self._kept[key] = Kept(wish, now_s + KEPT_S, mine, settled_s, by)
        return True

    def cause(self, kind: str, host: str) -> Cause:
        """Return the event by which somebody came to wish this."""
        found = [kept for kept in self._kept.values() if (kept.wish.kind, kept.wish.host) == (kind, host)]
        by = "" if not found or any(kept.mine for kept in found) else found[0].by
        return Cause(kind, by=by) if kind in ABOUT_ALL else Cause(kind, host=host, by=by)

    def prune(self, view: View, now_s: float) -> None:
        """Forget what the view shows done, and what nobody repeats."""
        self._kept = {
            key: kept
            for key, kept in self._kept.items()
            if (kept.mine or now_s < kept.until_s) and not done(kept.wish, view)
        }

    def clear(self) -> None:
        """Forget all: a new incarnation wishes nothing yet."""
        self._kept.clear()

    def mine(self) -> list[Wish]:
        """Return the wishes that this host has to repeat."""
        return [kept.wish for kept in self._kept.values() if kept.mine]

    def open(self, view: View, now_s: float) -> list[Wish]:
        """Return the wishes that a view after this one should fulfil.

        Joiners become ACTIVE together, as far as that takes no longer than `WAVE_S`.
        """
        fresh = [
            kept
            for kept in self._kept.values()
            if (kept.mine or now_s < kept.until_s) and not done(kept.wish, view)
        ]
        joining = {(m.id, m.incarnation) for m in view.members if m.status is Status.JOINING}
        ready = {
            (kept.wish.host, kept.wish.incarnation): kept.settled_s
            for kept in fresh
            if kept.wish.kind == "active"
        }
        together_s = max(ready.values(), default=0.0) if joining <= ready.keys() else float("inf")
        return [
            kept.wish
            for kept in fresh
            if now_s >= kept.settled_s
            and (kept.wish.kind != "active" or now_s >= min(together_s, kept.settled_s + WAVE_S))
        ]


def done(wish: Wish, view: View) -> bool:
    """Return whether a view shows the wish fulfilled (or past)."""
    if wish.kind == "recount":
        return view.id > wish.view
    if wish.kind in FREEZES:
        return view.freezes >= wish.count
    member = view.member(wish.host)
    if member is None or member.incarnation != wish.incarnation:
        return True
    if wish.kind == "leave":
        return member.status is Status.LEAVING
    if wish.kind == "active":
        return member.status is not Status.JOINING
    return False
