"""Moving cells: what both colonies of a move share.

A primary has `Moves` from the first moment on in which a cell of its colony
is elsewhere, or one of another colony is here: until then no request looks
at more than whether it has.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from agents.cells import Cell
from agents.effects import Answer, Effect, Note, Received, Send, TellColony, TellHost
from agents.keys import colony_of
from agents.messages.client import MOVED, UNAVAILABLE, Reply
from agents.messages.replication import (
    DEPARTING,
    HERE,
    CellOffer,
    Dna,
    Entry,
    GuestOrder,
    GuestReport,
    LaneState,
    Placing,
)
from agents.peer import Peer
from agents.pending import Pending
from agents.places import GUEST_STATES, PLACE_EDGES, RESTLESS, Place
from agents.surroundings import GuestsChanged, Surroundings
from agents.transfers import Transfers

Out = list[Effect]
Stamp = tuple[int, int]
Letter = CellOffer | GuestReport | GuestOrder
RESEND_S = 0.5  # no answer for so long: a link was reset, or the other primary has changed
LOOK_S = 0.25  # how soon it is looked at what waits for an answer
AUDIT_S = 2.0  # how often it is looked whether another colony has a new primary
SHOWN_BYTES = 8  # of a key
AUDITS_MAX = 256  # letters about cells at rest in one go
AUDIT_TIMES = (
    5  # letters about each of these, one per look: any may be lost, and if all is well nobody answers
)
MERGE_LANES = b"\0merge"  # belong to their colony, wherever its cells go


class Primary(Protocol):
    """A primary, as the moves of its cells see it: see `agents.primary`."""

    is_open: bool
    moves: Moves | None
    peer: Peer
    pending: deque[Pending]
    transfers: Transfers

    def latest(self, key: bytes) -> tuple[int, Cell | None]:
        """Return the cell after all that is sequenced; seq 0 = committed."""

    def is_busy(self, key: bytes) -> bool:
        """Return whether requests for a cell wait."""

    def hold(self, key: bytes) -> int:
        """Let requests for a cell wait."""

    def let_go(self, key: bytes, now_s: float, out: Out) -> None:
        """Go on with requests that waited for a cell."""

    def wait_for(self, caller: Any, request: Any, out: Out) -> bool:
        """Let a request wait if its cell is held; return whether it is."""

    def sequence(self, entry: Entry, before: Cell | None, now_s: float, out: Out) -> None:
        """Give a mutation its place, and send it to every peer."""


class Moves:
    """What a primary knows of moving cells beside their places.

    Attributes:
        due: Keys whose place has changed: somebody must hear of it.
        sequenced: Keys with an entry about their place that is not committed.
        held: Keys whose requests wait here for the move.
        restless: Key -> since when somebody's answer is waited for.
        sent_s: Key -> when that was last asked for.
        callers: Key -> who asked for the move and waits: (caller, request id).
        wishes: Key -> (colony, reason): where it goes on to from home.
        wanted: Key on which a function runs -> where it goes after that, and why; None = home wants it.
        refusals: Key -> (result code, why): a move that came to nothing.
        moved_s: Key -> when it was last moved.
        known: Colony -> its epoch when what lies there was last asked about.
        asking: Keys at rest that are to be asked about -> how many times more.
    """

    __slots__ = (
        "asking",
        "audited_s",
        "callers",
        "due",
        "held",
        "known",
        "moved_s",
        "refusals",
        "restless",
        "sent_s",
        "sequenced",
        "wanted",
        "wishes",
    )

    def __init__(self) -> None:
        self.due: dict[bytes, None] = {}
        self.sequenced: set[bytes] = set()
        self.held: set[bytes] = set()
        self.restless: dict[bytes, float] = {}
        self.sent_s: dict[bytes, float] = {}
        self.callers: dict[bytes, list[tuple[Any, int]]] = {}
        self.wishes: dict[bytes, tuple[int, str]] = {}
        self.wanted: dict[bytes, tuple[int, str] | None] = {}
        self.refusals: dict[bytes, tuple[int, str]] = {}
        self.moved_s: dict[bytes, float] = {}
        self.known: dict[int, int] = {}
        self.asking: dict[bytes, int] = {}
        self.audited_s = float("-inf")

    @property
    def patience_s(self) -> float:
        """How long its primary may sleep: cells at rest cost next to nothing."""
        return LOOK_S if self.restless or self.asking else AUDIT_S


def moves_of(primary: Primary) -> Moves:
    """Return a primary's moves; from the first call on it has some."""
    if primary.moves is None:
        primary.moves = Moves()
    return primary.moves


def home_of(host: Surroundings, key: bytes) -> int:
    """Return the colony that a key's hash names."""
    view = host.view
    assert view is not None, "who leads is a member"
    return colony_of(key, view.charter.colonies)


def is_served(peer: Peer, key: bytes) -> bool:
    """Return whether this colony is where a cell is, dead or alive."""
    place = peer.cells.places.get(key)
    if place is None:
        return home_of(peer.host, key) == peer.colony
    return place.is_served


def may_act(primary: Primary, now_s: float) -> bool:
    """Return whether this primary may sequence, or tell others what is committed, now."""
    host = primary.peer.host
    free = primary.is_open and primary.transfers.handing is None and not host.frozen
    return free and host.quorum.held(now_s)


def has_room(primary: Primary) -> bool:
    """Return whether one more mutation may wait for acks."""
    return len(primary.pending) < primary.peer.host.limits.pending_max


def hold(primary: Primary, key: bytes) -> None:
    """Let requests for a cell wait until its place is settled."""
    moves = moves_of(primary)
    if key not in moves.held:
        moves.held.add(key)
        if not primary.is_busy(key):  # a merge function's result may be the cell's death
            primary.hold(key)


def release(primary: Primary, key: bytes, now_s: float, out: Out) -> None:
    """Go on with what waited for a cell: here, or by saying where it is."""
    moves = moves_of(primary)
    if key in moves.held:
        moves.held.discard(key)
        primary.let_go(key, now_s, out)


def say(
    primary: Primary,
    kind: int,
    key: bytes,
    state: int,
    colony: int,
    stamp: Stamp | None,
    now_s: float,
    out: Out,
    *,
    version: int = 0,
    dna: Dna | None = None,
    expires_s: float = 0.0,
    lanes: tuple[LaneState, ...] = (),
) -> None:
    """Sequence an entry about a cell's place; no stamp: it is the entry's own."""
    peer, moves = primary.peer, moves_of(primary)
    old = peer.cells.places.get(key)
    edge = (old.state if old is not None else HERE), state
    assert edge in PLACE_EDGES, f"no such step: {edge}"
    seq = seq_above(peer.last, version)
    epoch, number = stamp or (peer.epoch, seq)
    move = Placing(state, colony, epoch, number, version, peer.last, lanes)
    moves.sequenced.add(key)
    entry = Entry(seq, kind, key, dna, (), expires_s, move=move)
    primary.sequence(entry, primary.latest(key)[1], now_s, out)


def seq_above(last: int, version: int) -> int:
    """Return the next seq of a colony that hears of a cell's version elsewhere.

    Like a Lamport clock it goes on above all that it has heard of: so a
    cell's versions grow wherever it lives, and no later cell of its key has
    one of them.
    """
    return max(last, version) + 1


def post(primary: Primary, to: int, letter: Letter, out: Out) -> None:
    """Send a letter to the primary of another colony, as far as it is known where that is."""
    host = primary.peer.host
    where = host.where(to)[0]
    if where == host.me:
        out.append(TellColony(to, Received(host.me, letter)))
    elif where:
        out.append(Send(where, letter))


def offer(primary: Primary, key: bytes, place: Place, now_s: float) -> CellOffer | None:
    """Return the letter that carries a cell to the other colony; None = it is no more."""
    peer = primary.peer
    cell = peer.cells.live.get(key)
    if cell is None:
        return None
    left_s = max(0.001, cell[1] - peer.clock_s(now_s)) if cell[1] else 0.0
    lanes = lanes_for(peer, key)
    return CellOffer(place.colony, *place.stamp, peer.colony, key, cell[0], left_s, cell[2], lanes)


def lanes_for(peer: Peer, key: bytes) -> tuple[LaneState, ...]:
    """Return what the other colony must know of requests that were answered here.

    Of a lane whose last request was for the cell: all of it, for its retry is
    answered there. Of any other: that those before its last one are done. A
    copy of one of those, for this cell, may lie in some host's queue still.
    """
    lanes = []
    for lane, (number, seq, code, result, at_s, about) in peer.cells.lanes.items():
        if lane.startswith(MERGE_LANES):
            continue
        if about == key:
            lanes.append(LaneState(lane, number, seq, code, result, at_s, about))
        elif number > 1:
            lanes.append(LaneState(lane, number - 1, 0, 0, None, at_s))
    return tuple(lanes)


def send_on(primary: Primary, caller: Any, request: Any, colony: int, out: Out) -> None:
    """Tell a client in which colony its cell is, and where that one's primary is."""
    host, address = primary.peer.host.where(colony)
    if host:
        reply = Reply(request.id, MOVED, colony + 1, value=host.encode(), text=address)
    else:
        text = f"its cell is in colony {colony}, whose primary is not known"
        reply = Reply(request.id, UNAVAILABLE, text=text)
    out.append(Answer(caller, reply))


def rest(primary: Primary, key: bytes, place: Place | None, now_s: float) -> None:
    """Keep account of whether somebody's answer is waited for."""
    moves = moves_of(primary)
    if place is not None and place.state in RESTLESS:
        moves.restless.setdefault(key, now_s)
        moves.sent_s[key] = now_s
    else:
        moves.restless.pop(key, None)
        moves.sent_s.pop(key, None)
    if place is not None:
        moves.known.setdefault(place.colony, -1)


def tell_guests(primary: Primary, out: Out) -> None:
    """Tell the host which guests are in this colony: it is asked for them by key alone."""
    peer = primary.peer
    keys = tuple(key for key, place in peer.cells.places.items() if place.state in GUEST_STATES)
    out.append(TellHost(GuestsChanged(peer.colony, keys, (), anew=True)))


def note(primary: Primary, step: str, reason: str, key: bytes, colony: int, out: Out) -> None:
    """Say what happens to a cell, and why; not all of its key, which may be a session's secret."""
    start = key[:SHOWN_BYTES].decode(errors="backslashreplace")
    shown = start if len(key) <= SHOWN_BYTES else f"{start}…"
    details = {"step": step, "key": shown, "to": colony}
    text = f"{shown} {step}, colony {colony}: {reason}"
    out.append(Note("cell_move", text, primary.peer.colony, details=details))


def is_departing(place: Place | None) -> bool:
    """Return whether home still serves a cell that is on its way out."""
    return place is not None and place.state == DEPARTING
