"""Migration: a cell leaves for another colony with all its peers, and comes back.

Three entries in two logs: home commits that the cell is DEPARTING (it is read
there still, and changed no more), the other colony commits that it is
ARRIVING, home commits that it is AWAY. The last one is the move itself:
before it home has the cell, after it the other colony, whatever dies when.
The way back is the same with the parts exchanged, and home's log still
decides: RECALLING there, LEAVING elsewhere (frozen), and the entry at home
that brings the cell and forgets that it was away.

Every letter may be lost, doubled, or come late: each side repeats what it
waits for, and a stamp says to which stay a letter belongs.
"""

from __future__ import annotations

from itertools import islice
from typing import Any, Literal

from agents import guests
from agents.effects import Answer, TellHost
from agents.evaluate import expiry_at, is_live
from agents.messages.client import (
    ABSENT,
    BAD,
    FULL,
    OK,
    UNAVAILABLE,
    Change,
    Locate,
    Migrate,
    Reply,
    Scan,
)
from agents.messages.replication import (
    AWAY,
    DEPARTING,
    DROP,
    HERE,
    RECALLING,
    SHIFT,
    TAKE,
    CellOffer,
    Entry,
    GuestOrder,
    GuestReport,
)
from agents.moving import (
    AUDIT_S,
    AUDIT_TIMES,
    AUDITS_MAX,
    RESEND_S,
    Letter,
    Moves,
    Out,
    Primary,
    has_room,
    hold,
    home_of,
    is_departing,
    lanes_for,
    may_act,
    moves_of,
    note,
    offer,
    post,
    release,
    rest,
    say,
    send_on,
    tell_guests,
)
from agents.places import GUEST_STATES, HOME_STATES, PLACES_MAX, RESTLESS, SERVED, Place
from agents.surroundings import CellChanged, GuestsChanged

MOVES_MAX = 64  # cells of one colony on their way at a time
REMEMBERED_MAX = 4096  # cells that were moved lately
CALLERS_MAX = 64  # who wait for one of them
GIVE_UP_S = 5.0  # the other colony has not taken it by then: it stays
LANES_BYTES_MAX = 4 * 1024 * 1024  # of answers that must go with a cell

ABSENT_HOSTS = "no cell moves while hosts may be alive on another side"

Refusal = tuple[int, str]
Word = Literal["yours", "recall", "void"]


# -- requests ------------------------------------------------------------------------


def is_elsewhere(primary: Primary, caller: Any, request: Any, now_s: float, out: Out) -> bool:
    """Say where a cell is, or let its request wait, if it is not served here; return whether that is so."""
    if type(request) in (Scan, Locate, Migrate):
        return False
    peer = primary.peer
    place = peer.cells.places.get(request.key)
    if place is not None and place.state in SERVED:
        return False
    if place is None:
        home = home_of(peer.host, request.key)
        if home != peer.colony:  # it was a guest when the request was sent here
            send_on(primary, caller, request, home, out)
        return home != peer.colony
    if place.state in HOME_STATES:
        send_on(primary, caller, request, place.colony, out)
    elif not primary.wait_for(caller, request, out):
        reply = Reply(request.id, UNAVAILABLE, text="the cell is on its way to another colony")
        out.append(Answer(caller, reply))
    return True


def locate(primary: Primary, caller: Any, request: Locate, out: Out) -> None:
    """Answer in which colony a cell is, or would be born."""
    peer = primary.peer
    place = peer.cells.places.get(request.key)
    colony = peer.colony if place is None or place.state == DEPARTING else place.colony
    out.append(Answer(caller, Reply(request.id, OK, colony + 1)))


def migrate(primary: Primary, caller: Any, request: Migrate, now_s: float, out: Out) -> None:
    """Take a client's order to move a cell; it is answered when the cell is there."""
    refusal = order(primary, request.key, request.colony, request.reason, now_s, out, request.cool_s)
    moves = moves_of(primary)
    callers = moves.callers.setdefault(request.key, [])
    if refusal is None and len(callers) >= CALLERS_MAX:
        refusal = UNAVAILABLE, "too many wait for this move"
    if refusal is None:
        callers.append((caller, request.id))
        return
    if not callers:
        del moves.callers[request.key]
    code, text = refusal
    version = request.colony + 1 if code == OK else 0
    out.append(Answer(caller, Reply(request.id, code, version, text=text)))


def order(
    primary: Primary, key: bytes, to: int, reason: str, now_s: float, out: Out, cool_s: float = 0.0
) -> Refusal | None:
    """Begin to move a cell to a colony, or say (OK too) why there is nothing to wait for."""
    peer, moves = primary.peer, moves_of(primary)
    refusal = _refusal(primary, key, to, now_s)
    if refusal is None and now_s - moves.moved_s.get(key, float("-inf")) < cool_s:
        refusal = UNAVAILABLE, "it was moved a moment ago"
    if refusal is not None:
        return refusal
    place = peer.cells.places.get(key)
    if key in moves.sequenced or (place is not None and place.state in RESTLESS):
        there = place.colony if place is not None and place.state == DEPARTING else peer.colony
        wished = moves.wishes[key][0] if key in moves.wishes else there
        return None if wished == to else (UNAVAILABLE, "it is moving already")
    if place is not None:
        if place.colony == to:
            return OK, ""
        if to != peer.colony:
            moves.wishes[key] = to, reason
        note(primary, "recalled", reason, key, to, out)
        say(primary, SHIFT, key, RECALLING, place.colony, place.stamp, now_s, out)
        return None
    if to == peer.colony:
        return OK, ""
    if len(peer.cells.places) >= PLACES_MAX:
        return FULL, f"{PLACES_MAX} cells of this colony are away already"
    return _depart(primary, key, to, reason, now_s, out)


def _refusal(primary: Primary, key: bytes, to: int, now_s: float) -> Refusal | None:
    """Return why no cell may be moved now, or not this one."""
    peer, moves = primary.peer, moves_of(primary)
    view = peer.host.view
    if view is None or not may_act(primary, now_s) or not has_room(primary):
        return UNAVAILABLE, "its colony can't sequence anything now"
    if not 0 <= to < view.charter.colonies or home_of(peer.host, key) != peer.colony:
        return BAD, f"no such colony: {to}"
    if view.absent:
        # Each side would have its own idea of where the cell is.
        return UNAVAILABLE, ABSENT_HOSTS
    if key not in moves.restless and len(moves.restless) >= MOVES_MAX:
        return UNAVAILABLE, f"{MOVES_MAX} cells of this colony are on their way already"
    return None


def _depart(primary: Primary, key: bytes, to: int, reason: str, now_s: float, out: Out) -> Refusal | None:
    """Sequence that a cell departs, if it may."""
    peer = primary.peer
    cell = primary.latest(key)[1]
    if not is_live(cell, peer.clock_s(now_s)):
        return ABSENT, ""
    moves = moves_of(primary)
    if primary.is_busy(key):  # it goes when the function has run, before what waits for that
        other = moves.wanted.setdefault(key, (to, reason)) if len(moves.wanted) < MOVES_MAX else None
        return None if other is not None and other[0] == to else (UNAVAILABLE, "a function runs on it")
    if not peer.host.where(to)[0]:
        return UNAVAILABLE, f"the primary of colony {to} is not known"
    if sum(len(lane.result or b"") for lane in lanes_for(peer, key)) > LANES_BYTES_MAX:
        return UNAVAILABLE, "too many of its clients may ask for their answers again"
    hold(primary, key)
    note(primary, "departing", reason, key, to, out)
    say(primary, SHIFT, key, DEPARTING, to, None, now_s, out)
    return None


def freed(primary: Primary, key: bytes, now_s: float, out: Out) -> None:
    """A function has run on a cell: a move that waited for that begins, before the next one runs."""
    moves = moves_of(primary)
    if key not in moves.wanted:
        return
    wanted, place = moves.wanted.pop(key), primary.peer.cells.places.get(key)
    if wanted is None:
        if place is not None and may_act(primary, now_s) and has_room(primary):
            guests.send_back(primary, key, place, now_s, out)
        return
    refusal = order(primary, key, *wanted, now_s, out)
    if refusal is not None:
        _answer(primary, key, *refusal, out, wanted[0])


def listed(primary: Primary, keys: list[bytes], prefix: bytes, after: bytes) -> list[bytes]:
    """Return the keys of this colony's cells, wherever they live: each cell is listed at home, once."""
    places = primary.peer.cells.places
    own = [key for key in keys if (place := places.get(key)) is None or is_departing(place)]
    away = [key for key, place in places.items() if place.state in (AWAY, RECALLING)]
    return own + [key for key in away if key.startswith(prefix) and key > after]


# -- steps ---------------------------------------------------------------------------


def opened(primary: Primary, now_s: float, out: Out) -> None:
    """A primary opens: what its predecessor began goes on, and what waits must wait again."""
    places = primary.peer.cells.places
    if not places:
        return
    moves = moves_of(primary)
    for key, place in places.items():
        moves.known[place.colony] = -1
        if place.state in RESTLESS:
            moves.due[key] = None
            if place.state != RECALLING:
                hold(primary, key)
    tell_guests(primary, out)


def _remember(moves: Moves, key: bytes, now_s: float) -> None:
    """Know when a cell was moved last, for the latest of them."""
    moves.moved_s.pop(key, None)
    moves.moved_s[key] = now_s
    if len(moves.moved_s) > REMEMBERED_MAX:
        del moves.moved_s[next(iter(moves.moved_s))]


def committed(primary: Primary, entry: Entry, now_s: float, out: Out) -> None:
    """An entry about a cell's place is committed: who must know is told soon."""
    key, move = entry.key, entry.move
    assert move is not None, "it says where the cell is"
    moves, peer = moves_of(primary), primary.peer
    moves.sequenced.discard(key)
    moves.due[key] = None
    if move.state in GUEST_STATES:
        out.append(TellHost(GuestsChanged(peer.colony, (key,), ())))
        return
    if home_of(peer.host, key) != peer.colony:
        out.append(TellHost(GuestsChanged(peer.colony, (), (key,))))
        return
    if move.state == HERE:
        void = GuestOrder(move.colony, move.epoch, move.seq, peer.colony, key, "void")
        post(primary, move.colony, void, out)
    if move.state == AWAY or entry.kind == TAKE:
        to = move.colony if move.state == AWAY else peer.colony
        _remember(moves, key, now_s)
        note(primary, "moved", "home has committed it", key, to, out)
        if peer.host.watched:
            out.append(TellHost(CellChanged(Change("moved", key, move.version or entry.seq))))


def go_on(primary: Primary, now_s: float, out: Out) -> None:
    """Take the next step of every move whose last one is committed."""
    moves = primary.moves
    assert moves is not None, "there are moves"
    while moves.due and may_act(primary, now_s):
        key = next(iter(moves.due))
        del moves.due[key]
        if key not in moves.sequenced:
            _step(primary, key, now_s, out)


def _step(primary: Primary, key: bytes, now_s: float, out: Out) -> None:
    place = primary.peer.cells.places.get(key)
    rest(primary, key, place, now_s)
    if place is None:
        _settled(primary, key, now_s, out)
    elif place.state in GUEST_STATES:
        guests.step(primary, key, place, now_s, out)
    elif place.state == DEPARTING:
        letter = offer(primary, key, place, now_s)
        assert letter is not None, "a cell that departs is held, and does not die"
        post(primary, place.colony, letter, out)
    elif place.state == AWAY:
        release(primary, key, now_s, out)
        _tell(primary, key, place, "yours", out)
    else:
        _tell(primary, key, place, "recall", out)


def _settled(primary: Primary, key: bytes, now_s: float, out: Out) -> None:
    """A cell is where it belongs, is dead, or was no guest for long: whoever waited goes on."""
    moves, peer = moves_of(primary), primary.peer
    code, text = moves.refusals.pop(key, (OK, ""))
    wish = moves.wishes.pop(key, None)
    if wish is not None and code == OK:
        release(primary, key, now_s, out)
        refusal = order(primary, key, *wish, now_s, out)
        if refusal is None:
            return
        code, text = refusal
    elif code == OK and key not in peer.cells.live:
        code = ABSENT
    _answer(primary, key, code, text, out, peer.colony)
    release(primary, key, now_s, out)


def _answer(primary: Primary, key: bytes, code: int, text: str, out: Out, colony: int) -> None:
    for caller, request_id in moves_of(primary).callers.pop(key, ()):
        version = colony + 1 if code == OK else 0
        out.append(Answer(caller, Reply(request_id, code, version, text=text)))


def _tell(primary: Primary, key: bytes, place: Place | CellOffer | GuestReport, word: Word, out: Out) -> None:
    """Write to the colony that houses a cell of ours, or says that it does."""
    to = place.colony if isinstance(place, Place) else place.origin
    letter = GuestOrder(to, place.epoch, place.seq, primary.peer.colony, key, word)
    post(primary, to, letter, out)


def _is_apart(primary: Primary) -> bool:
    """Return whether hosts may be alive on another side."""
    view = primary.peer.host.view
    return view is not None and bool(view.absent)


def _stay(primary: Primary, key: bytes, refusal: Refusal, now_s: float, out: Out) -> None:
    """Give a move up; what the other colony may have taken in is void."""
    place = primary.peer.cells.places[key]
    note(primary, "given up", refusal[1], key, place.colony, out)
    moves_of(primary).refusals[key] = refusal
    say(primary, SHIFT, key, HERE, place.colony, place.stamp, now_s, out)


def dismissed(primary: Primary, out: Out) -> list[tuple[Any, int]]:
    """This primacy ends: return who waited for a move; its host forgets its guests."""
    moves = moves_of(primary)
    out.append(TellHost(GuestsChanged(primary.peer.colony, (), (), anew=True)))
    waiting = [one for callers in moves.callers.values() for one in callers]
    moves.callers.clear()
    return waiting


# -- letters ---------------------------------------------------------------------------


def heard(primary: Primary, letter: Letter, now_s: float, out: Out) -> None:
    """Take a letter of another colony's primary; what can't be taken now is written again."""
    peer = primary.peer
    if not may_act(primary, now_s) or letter.key in moves_of(primary).sequenced:
        return
    if home_of(peer.host, letter.key) != peer.colony:
        if home_of(peer.host, letter.key) != letter.origin:
            return
        if type(letter) is CellOffer:
            guests.offered(primary, letter, now_s, out)
        elif type(letter) is GuestOrder:
            guests.ordered(primary, letter, now_s, out)
    elif type(letter) is CellOffer:
        _came_back(primary, letter, now_s, out)
    elif type(letter) is GuestReport:
        _reported(primary, letter, now_s, out)


def _ours(primary: Primary, letter: CellOffer | GuestReport) -> Place | None:
    """Return the place that a letter speaks of, if the stay that it speaks of is the present one."""
    place = primary.peer.cells.places.get(letter.key)
    stamp = (letter.epoch, letter.seq)
    is_it = place is not None and place.state in HOME_STATES
    if place is not None and is_it and place.colony == letter.origin and place.stamp == stamp:
        return place
    return None


def _is_known(primary: Primary, letter: CellOffer | GuestReport) -> bool:
    """Return whether a stay began in a log that this primary has: else it can't say that it is over."""
    return (letter.epoch, letter.seq) <= (primary.peer.epoch, primary.peer.last)


def _came_back(primary: Primary, letter: CellOffer, now_s: float, out: Out) -> None:
    """A cell of ours is frozen where it was, and offered: with this entry it is here again."""
    peer, place = primary.peer, _ours(primary, letter)
    if place is None or place.state == DEPARTING:
        if _is_known(primary, letter):
            _tell(primary, letter.key, letter, "void", out)
    elif has_room(primary):
        say(
            primary, TAKE, letter.key, HERE, place.colony, place.stamp, now_s, out,
            version=letter.version, dna=letter.dna,
            expires_s=expiry_at(letter.left_s, peer.clock_s(now_s)), lanes=letter.lanes,
        )  # fmt: skip


def _reported(primary: Primary, letter: GuestReport, now_s: float, out: Out) -> None:
    """Another colony says how a guest of its is."""
    key, place = letter.key, _ours(primary, letter)
    if not has_room(primary):
        return
    if place is None:
        _strange(primary, letter, now_s, out)
    elif letter.word in ("arrived", "housed"):
        if place.state == DEPARTING and _is_apart(primary):
            _stay(primary, key, (UNAVAILABLE, ABSENT_HOSTS), now_s, out)
        elif place.state == DEPARTING:
            cell = primary.latest(key)[1]
            version = cell[0] if cell is not None else 0
            say(primary, DROP, key, AWAY, place.colony, place.stamp, now_s, out, version=version)
        elif place.state == RECALLING:
            _tell(primary, key, place, "recall", out)
        elif letter.word == "arrived":
            _tell(primary, key, place, "yours", out)
        else:
            _answer(primary, key, OK, "", out, place.colony)
    elif letter.word == "refused" and place.state == DEPARTING:
        _stay(primary, key, (FULL, f"colony {place.colony}: {letter.reason}"), now_s, out)
    elif letter.word in ("gone", "unknown") and place.state != DEPARTING:
        if letter.word == "unknown":
            note(primary, "lost", f"it was lost with colony {place.colony}", key, place.colony, out)
        say(
            primary, DROP, key, HERE, place.colony, place.stamp, now_s, out,
            version=letter.version, lanes=letter.lanes,
        )  # fmt: skip


def _strange(primary: Primary, letter: GuestReport, now_s: float, out: Out) -> None:
    """A colony speaks of a stay that is over, never was, or was lost with our log."""
    key = letter.key
    if letter.word == "unknown" or not _is_known(primary, letter):
        return
    places = primary.peer.cells.places
    is_free = key not in places and primary.latest(key)[1] is None
    if letter.word == "housed" and is_free:
        if len(places) >= PLACES_MAX:
            return  # it will be said again
        note(
            primary,
            "recalled",
            "this colony was lost, and its cell is a guest still",
            key,
            letter.origin,
            out,
        )
        say(primary, SHIFT, key, RECALLING, letter.origin, (letter.epoch, letter.seq), now_s, out)
    else:
        _tell(primary, key, letter, "void", out)


# -- time --------------------------------------------------------------------------------


def ticked(primary: Primary, now_s: float, out: Out) -> None:
    """Write again what was not answered, give up what takes too long, ask after cells at rest."""
    moves, view = primary.moves, primary.peer.host.view
    if moves is None or view is None or not may_act(primary, now_s):
        return
    places = primary.peer.cells.places
    for key, since_s in list(moves.restless.items()):
        place = places.get(key)
        if key in moves.sequenced or place is None:
            continue
        is_over = now_s - since_s > GIVE_UP_S or bool(view.absent)
        if place.state == DEPARTING and is_over and has_room(primary):
            reason = ABSENT_HOSTS if view.absent else f"colony {place.colony} has not taken it in"
            _stay(primary, key, (UNAVAILABLE, reason), now_s, out)
        elif now_s - moves.sent_s[key] >= RESEND_S:
            _step(primary, key, now_s, out)
    if now_s - moves.audited_s >= AUDIT_S:
        moves.audited_s = now_s
        _audit(primary, now_s, out)


def _audit(primary: Primary, now_s: float, out: Out) -> None:
    """Where another colony has a new primary, make sure that both say the same of where cells are."""
    moves, peer = moves_of(primary), primary.peer
    places, host = peer.cells.places, peer.host
    news = {c for c, epoch in moves.known.items() if host.epoch_of(c) not in (0, epoch)}
    if news:
        moves.known.update((colony, host.epoch_of(colony)) for colony in news)
        moves.asking |= {key: AUDIT_TIMES for key, place in places.items() if place.colony in news}
    for key in list(islice(moves.asking, AUDITS_MAX)):
        place, times = places.get(key), moves.asking.pop(key)
        if place is None:
            continue
        if times > 1:
            moves.asking[key] = times - 1
        if key in moves.sequenced or place.state in RESTLESS:
            continue
        if place.state == AWAY:
            _tell(primary, key, place, "yours", out)
        else:
            guests.report(primary, key, place, "housed", out)
