"""Guests: cells of other colonies that live in this one, at its primary.

A guest is served only while it is HOUSED: home has committed that it is
away, and this colony has committed that it knows. A guest that dies, or that
home wants back, is frozen until home's log says what became of it.
"""

from __future__ import annotations

from typing import Literal

from agents.evaluate import expiry_at
from agents.messages.replication import (
    ARRIVING,
    DEATH,
    DROP,
    EXPIRED,
    GONE,
    HERE,
    HOUSED,
    LEAVING,
    SHIFT,
    TAKE,
    CellOffer,
    Entry,
    GuestOrder,
    GuestReport,
)
from agents.moving import (
    Out,
    Primary,
    has_room,
    hold,
    home_of,
    lanes_for,
    moves_of,
    note,
    offer,
    post,
    release,
    say,
)
from agents.places import PLACES_MAX, Place

Word = Literal["arrived", "refused", "housed", "gone", "unknown"]


def step(primary: Primary, key: bytes, place: Place, now_s: float, out: Out) -> None:
    """Tell home how a guest is, or go on with what waited for it."""
    if place.state == HOUSED:
        release(primary, key, now_s, out)
        report(primary, key, place, "housed", out)  # who wants it here waits for that
        return
    hold(primary, key)
    if place.state == LEAVING:
        letter = offer(primary, key, place, now_s)
        assert letter is not None, "a frozen cell does not die"
        post(primary, place.colony, letter, out)
    else:
        report(primary, key, place, "arrived" if place.state == ARRIVING else "gone", out)


def report(
    primary: Primary,
    key: bytes,
    place: Place | GuestOrder | CellOffer,
    word: Word,
    out: Out,
    reason: str = "",
) -> None:
    """Write to home how a guest is."""
    peer = primary.peer
    home = home_of(peer.host, key)
    died = isinstance(place, Place) and place.state == GONE
    version = place.version if isinstance(place, Place) and died else 0
    lanes = lanes_for(peer, key) if died else ()
    letter = GuestReport(home, place.epoch, place.seq, peer.colony, key, word, version, lanes, reason)
    post(primary, home, letter, out)


def dying(primary: Primary, entry: Entry) -> None:
    """A guest's death is sequenced: nothing is born under its key here; home must forget it first."""
    place = primary.peer.cells.places.get(entry.key)
    if place is not None and place.state == HOUSED and entry.kind in (DEATH, EXPIRED):
        hold(primary, entry.key)


# -- letters from home ---------------------------------------------------------------


def offered(primary: Primary, letter: CellOffer, now_s: float, out: Out) -> None:
    """Home offers a cell: take it in, and say so when that is committed."""
    peer, key = primary.peer, letter.key
    place = peer.cells.places.get(key)
    stamp = (letter.epoch, letter.seq)
    if place is not None and place.stamp >= stamp:
        if place.stamp == stamp and place.state == ARRIVING:
            report(primary, key, place, "arrived", out)
        return
    moves = moves_of(primary)
    if not has_room(primary) or (primary.is_busy(key) and key not in moves.held):
        return  # it is offered again soon
    reason = ""
    if place is None and len(peer.cells.places) >= PLACES_MAX:
        reason = f"{PLACES_MAX} cells are guests there, or away from there, already"
    elif peer.host.is_full(len(key) + 150 + len(letter.dna)):
        reason = "its host's memory limit is reached"
    if reason:
        report(primary, key, letter, "refused", out, reason)
        return
    hold(primary, key)
    expires_s = expiry_at(letter.left_s, peer.clock_s(now_s))
    say(
        primary, TAKE, key, ARRIVING, letter.origin, stamp, now_s, out,
        version=letter.version, dna=letter.dna, expires_s=expires_s, lanes=letter.lanes,
    )  # fmt: skip


def ordered(primary: Primary, letter: GuestOrder, now_s: float, out: Out) -> None:
    """Home says what becomes of a guest."""
    place = primary.peer.cells.places.get(letter.key)
    stamp = (letter.epoch, letter.seq)
    if letter.word != "void" and (place is None or place.stamp < stamp):
        # Home handed it over after it had arrived: who knows nothing of it has lost it.
        report(primary, letter.key, letter, "unknown", out)
        return
    if place is None or place.stamp != stamp or not has_room(primary):
        return
    if letter.word == "void":
        _leave(primary, letter.key, place, now_s, out)
    elif place.state in (LEAVING, GONE):
        step(primary, letter.key, place, now_s, out)
    elif letter.word == "recall":
        send_back(primary, letter.key, place, now_s, out)
    elif place.state == ARRIVING:
        say(primary, SHIFT, letter.key, HOUSED, place.colony, stamp, now_s, out)


def _is_free(primary: Primary, key: bytes) -> bool:
    """Return whether no function runs on a cell; else home asks again soon."""
    return key in moves_of(primary).held or not primary.is_busy(key)


def send_back(primary: Primary, key: bytes, place: Place, now_s: float, out: Out) -> None:
    """Freeze a guest that home wants; if a function runs on it, as soon as that has run."""
    view = primary.peer.host.view
    if place.state not in (ARRIVING, HOUSED) or (view is not None and view.absent):
        return  # while hosts are absent nothing moves: home asks again
    if not _is_free(primary, key):
        moves_of(primary).wanted[key] = None
    elif primary.latest(key)[1] is not None:
        hold(primary, key)
        say(primary, SHIFT, key, LEAVING, place.colony, place.stamp, now_s, out)


def _leave(primary: Primary, key: bytes, place: Place, now_s: float, out: Out) -> None:
    """A stay is over: free the cell; it is at home, or dead, or never was here in truth."""
    if not _is_free(primary, key):
        return
    if place.state == HOUSED:
        reason = "its home was lost, and has another cell of this key"
        note(primary, "overridden", reason, key, place.colony, out)
    hold(primary, key)
    say(primary, DROP, key, HERE, place.colony, place.stamp, now_s, out)
