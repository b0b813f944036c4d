"""The primary: sequences, replicates, commits, and answers.

The one invariant: in a view, `ack_set` contains every other member whose
peer of the colony is ACTIVE. A mutation is committed when all of `ack_set`
have acked it *and* the host holds quorum; only then do reads see it, and is
the client answered.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from agents import closures, migration
from agents.causes import Cause
from agents.cells import Cell, after, batches, dna_bytes, patched, whole
from agents.closures import STOPPING, Closures
from agents.effects import Answer, Effect, Note, Send, TellHost
from agents.evaluate import (
    Refusal,
    answer,
    evaluate,
    is_live,
    malformed,
    told,
    ttl_left_ms,
)
from agents.expiry import Expiries
from agents.guests import dying
from agents.merging import Merges
from agents.messages.client import (
    ABSENT,
    FULL,
    MOVED,
    OK,
    UNAVAILABLE,
    Change,
    Get,
    Locate,
    Migrate,
    Mutate,
    Mutation,
    Patch,
    Put,
    Reply,
    Scan,
)
from agents.messages.replication import DEATH, EXPIRED, REFUSED, Entry, Located, Replicate
from agents.moving import Moves
from agents.peer import Peer, follows
from agents.pending import Pending, result_of
from agents.surroundings import CellChanged
from agents.transfers import Transfers

Out = list[Effect]
SCAN_MAX = 10_000
RARE = frozenset((Scan, Locate, Migrate))
CHANGE_KINDS = {DEATH: "died", EXPIRED: "expired"}


class Primary:
    """The primary's own state; it lives as long as its epoch.

    Attributes:
        ack_set: Other hosts whose ack a mutation needs -> highest acked seq.
        is_open: It reads and sequences; a promoted one opens only when its
            inherited entries are acked by the whole ack set.
        stalled: All have acked something that could not be committed for lack
            of quorum; nobody says when a short lack is over.
        transfers: Clones, activations, retirements, hand-over.
        merges: What losing sides hand on; None = nothing is.
        announced: What all hosts were told last of where the colony is; None = nothing yet.
        closures: What runs on its cells.
        moves: Cells that are elsewhere, or guests here; None = there were none in this primacy.
    """

    __slots__ = (
        "_asked",
        "_busy",
        "_expiries",
        "_lanes",
        "_next_ticket",
        "_overlay",
        "_taking",
        "ack_set",
        "announced",
        "closures",
        "inherited",
        "is_open",
        "merges",
        "moves",
        "peer",
        "pending",
        "stalled",
        "transfers",
        "waiting",
    )

    def __init__(self, peer: Peer, ack_set: dict[str, int]) -> None:
        self.peer = peer
        self.ack_set = ack_set
        self.pending: deque[Pending] = deque(Pending(entry, None, True) for entry in peer.log)
        peer.log.clear()
        self.inherited = peer.last
        self.is_open = False
        self.waiting: deque[tuple[Any, Any]] = deque()
        self.announced: Located | None = None
        self.transfers = Transfers()
        self.merges: Merges | None = None
        self.moves: Moves | None = None
        self._overlay: dict[bytes, tuple[int, Cell | None]] = {}
        self._lanes: dict[bytes, Pending] = {}
        self._busy: dict[bytes, deque[tuple[Any, Any]]] = {}
        self.closures = Closures()
        self._asked = self.closures.asked  # looked at with every mutation
        # A closure of an earlier primacy may end in this one: no ticket twice.
        self._next_ticket = peer.epoch << 32
        self._taking = False
        self.stalled = False
        self._expiries = Expiries(peer.cells.live)

    # -- requests --------------------------------------------------------------

    def request(self, caller: Any, request: Any, now_s: float, out: Out) -> None:
        """Take a client's request: answer it, sequence it, or let it wait."""
        peer = self.peer
        if not self.is_open or self.transfers.handing is not None:
            self._wait(caller, request, out)
            return
        if not peer.host.quorum.held(now_s):
            out.append(Answer(caller, Reply(request.id, UNAVAILABLE, text="no quorum")))
            return
        kind = type(request)
        if self.moves is not None and migration.is_elsewhere(self, caller, request, now_s, out):
            return
        if kind is Get:
            self.read(caller, request, now_s, out)
        elif kind in RARE:
            self._rare(caller, request, now_s, out)
        elif len(self.pending) >= peer.host.limits.pending_max:
            self._wait(caller, request, out)
        else:
            self._mutate(caller, request, now_s, out)

    def read(self, caller: Any, request: Get, now_s: float, out: Out) -> None:
        """Answer from committed cells; the caller has seen to the quorum."""
        out.append(Answer(caller, read_cell(self.peer, request, now_s)))

    def _rare(self, caller: Any, request: Scan | Locate | Migrate, now_s: float, out: Out) -> None:
        if type(request) is Scan:
            self._scan(caller, request, now_s, out)
        elif type(request) is Locate:
            migration.locate(self, caller, request, out)
        elif type(request) is Migrate:
            migration.migrate(self, caller, request, now_s, out)

    def _scan(self, caller: Any, request: Scan, now_s: float, out: Out) -> None:
        clock_s = self.peer.clock_s(now_s)
        keys = [
            key
            for key, cell in self.peer.cells.live.items()
            if key.startswith(request.prefix) and key > request.after and is_live(cell, clock_s)
        ]
        if self.moves is not None:
            keys = migration.listed(self, keys, request.prefix, request.after)
        keys.sort()
        page = keys[: max(1, min(request.limit, SCAN_MAX))]
        value = msgspec.msgpack.encode(page)
        out.append(Answer(caller, Reply(request.id, OK, len(keys) - len(page), value=value)))

    def _wait(self, caller: Any, request: Any, out: Out) -> None:
        if len(self.waiting) >= self.peer.host.limits.waiting_max:
            text = "too many requests wait for this colony"
            out.append(Answer(caller, Reply(request.id, UNAVAILABLE, text=text)))
        else:
            self.waiting.append((caller, request))

    def take_waiting(self, now_s: float, out: Out) -> None:
        """Go on with requests that waited, as far as there is room."""
        if self._taking:
            return  # what is taken may commit at once, and come here again
        self._taking = True
        room = self.peer.host.limits.pending_max
        while self.waiting and self.is_open and self.transfers.handing is None and len(self.pending) < room:
            caller, request = self.waiting.popleft()
            self.request(caller, request, now_s, out)
        self._taking = False

    def _mutate(self, caller: Any, request: Mutation, now_s: float, out: Out) -> None:
        if self.is_repeat(caller, request, out):
            return
        peer = self.peer
        if peer.host.frozen:
            out.append(Answer(caller, Reply(request.id, UNAVAILABLE, text=STOPPING)))
            return
        if request.key in self._busy:  # a closure runs on this cell, or it moves: wait for that
            self.wait_for(caller, request, out)
            return
        wrong = malformed(request, peer.host.limits.value_bytes_max)  # type: ignore[arg-type]
        if wrong is not None:
            out.append(Answer(caller, Reply(request.id, wrong.code, text=wrong.text)))
            return
        if type(request) is Mutate:
            closures.run(self, caller, request, now_s, out)
            return
        _, cell = self._latest(request.key)
        entry = evaluate(
            request,  # type: ignore[arg-type]
            cell,
            now_s + peer.offset_s,
            peer.last + 1,
            peer.host.limits.value_bytes_max,
        )
        if isinstance(entry, Refusal):
            reply = Reply(request.id, entry.code, entry.version, text=entry.text)
            self.refuse(caller, request, reply, now_s, out)
        elif self._is_too_much(request):
            text = "this host's memory limit is reached"
            out.append(Answer(caller, Reply(request.id, FULL, text=text)))
        else:
            self.sequence(entry, cell, now_s, out, caller=(caller, request.id))

    def wait_for(self, caller: Any, request: Any, out: Out) -> bool:
        """Let a request wait if its cell is held; return whether it is."""
        busy = self._busy.get(request.key)
        if busy is None:
            return False
        if len(busy) >= self.peer.host.limits.waiting_max:
            text = "too many requests wait for this key"
            out.append(Answer(caller, Reply(request.id, UNAVAILABLE, text=text)))
        else:
            busy.append((caller, request))
        return True

    def _is_too_much(self, request: Mutation) -> bool:
        """Return whether the host has no room for what a request brings."""
        dna = request.dna if type(request) is Put else request.changed if type(request) is Patch else None
        if dna is None or not self.peer.host.is_full(len(request.key) + dna_bytes(dna)):
            return False
        _, cell = self._latest(request.key)
        if cell is not None:  # what grows by nothing needs no room
            new = patched(cell[2], dna, request.gone) if type(request) is Patch else dna
            if dna_bytes(new) <= dna_bytes(cell[2]):
                return False
        self.peer.host.refused_birth()
        return True

    def _latest(self, key: bytes) -> tuple[int, Cell | None]:
        """Return the cell after all that is sequenced; seq 0 = committed."""
        found = self._overlay.get(key)
        return found if found is not None else (0, self.peer.cells.live.get(key))

    def is_repeat(self, caller: Any, request: Mutation, out: Out) -> bool:
        """At most once: answer a retry from what is known of its lane."""
        lane, number = request.lane, request.number
        pending = self._lanes.get(lane)
        if pending is not None and pending.entry.number >= number:
            if pending.entry.number == number:
                pending.callers.append((caller, request.id))
            return True  # a lower number: nobody waits for it any more
        ticket = self._asked.get(lane)
        if ticket is not None and self.closures.is_repeat(ticket, caller, request):
            return True
        known = self.peer.cells.lanes.get(lane)
        if known is not None and known[0] >= number:
            if known[0] == number:
                out.append(Answer(caller, answer(request.id, known[1], known[2], known[3])))
            return True
        return False

    def refuse(self, caller: Any, request: Mutation, reply: Reply, now_s: float, out: Out) -> None:
        """Sequence a refusal: it is answered when it is committed, and with it what it rests on.

        A copy of the request may lie in a host that is promoted later. What was
        refused must not be applied after the client has heard of its refusal.
        """
        seq, lane, number = self.peer.last + 1, request.lane, request.number
        entry = Entry(seq, REFUSED, request.key, None, (), 0.0, lane, number, reply.code, told(reply))
        _, cell = self._latest(request.key)
        self.sequence(entry, cell, now_s, out, caller=(caller, request.id))

    # -- merges: see `agents.merging` -------------------------------------------

    def latest(self, key: bytes) -> tuple[int, Cell | None]:
        """Return the cell after all that is sequenced; seq 0 = committed."""
        return self._latest(key)

    def death_of(self, key: bytes) -> int:
        """Return the seq of a dead cell's death by order, since hosts are absent; 0 = none is known."""
        seq = self._latest(key)[0]
        if seq and any(p.entry.seq == seq and p.entry.kind == DEATH for p in reversed(self.pending)):
            return seq
        return (self.peer.cells.deaths or {}).get(key, 0)

    def is_pending(self, lane: bytes) -> bool:
        """Return whether a lane's last mutation is not committed yet."""
        return lane in self._lanes

    def is_busy(self, key: bytes) -> bool:
        """Return whether a function runs on a cell, or it moves."""
        return key in self._busy

    def hold(self, key: bytes) -> int:
        """Let requests for a cell wait; return the ticket of the function that runs on it."""
        self._busy[key] = deque()
        self._next_ticket += 1
        return self._next_ticket - 1

    def release(self, key: bytes) -> deque[tuple[Any, Any]]:
        """No function runs on a cell any more: return who waited for it."""
        return self._busy.pop(key, deque())

    def let_go(self, key: bytes, now_s: float, out: Out) -> None:
        """Go on with requests that waited for a cell, unless it moves: then they wait for that."""
        if self.moves is not None and key in self.moves.held:
            return
        waited = self.release(key)
        if self.moves is not None:
            migration.freed(self, key, now_s, out)
        for later in waited:
            self.request(*later, now_s, out)

    # -- sequence, replicate, commit -------------------------------------------

    def sequence(
        self,
        entry: Entry,
        before: Cell | None,
        now_s: float,
        out: Out,
        caller: tuple[Any, int] | None = None,
    ) -> None:
        """Give a mutation its place, and send it to every peer."""
        peer = self.peer
        assert entry.seq == peer.last + 1 or follows(entry, peer.last), "the primary alone gives out seqs"
        cell = after(entry, before)
        if cell is None and self.moves is not None:
            dying(self, entry)
        pending = Pending(entry, cell)
        if caller is not None:
            pending.callers.append(caller)
        peer.last = entry.seq
        self.pending.append(pending)
        self._overlay[entry.key] = (entry.seq, cell)
        if entry.lane:
            self._lanes[entry.lane] = pending
        clock_s = now_s + peer.offset_s
        if self.ack_set:
            message = Replicate(peer.colony, peer.epoch, peer.committed, clock_s, (entry,))
            for host in self.ack_set:
                out.append(Send(host, message))
        for clone in self.transfers.clones.values():
            if clone.started:  # whole cells: a delta's base may not have arrived
                full = (whole(entry, cell),)
                out.append(
                    Send(
                        clone.order.target, Replicate(peer.colony, peer.epoch, peer.committed, clock_s, full)
                    )
                )
        if not self.ack_set:
            self.commit(now_s, out)

    def resend(self, host: str, now_s: float, out: Out) -> None:
        """Send `host` again all that it has not acked; at least a question."""
        acked = self.ack_set[host]
        peer = self.peer
        clock_s = peer.clock_s(now_s)
        missing = list(batches(p.entry for p in self.pending if p.entry.seq > acked))
        for entries in missing or [()]:
            out.append(Send(host, Replicate(peer.colony, peer.epoch, peer.committed, clock_s, entries)))

    def acked(self, host: str, seq: int, now_s: float, out: Out) -> None:
        """A peer has applied all up to `seq`."""
        known = self.ack_set.get(host)
        if known is None:
            clone = self.transfers.clones.get(host)
            if clone is not None and seq <= self.peer.last:
                clone.acked_seq = max(clone.acked_seq, seq)
                clone.touched_s = now_s
        elif known < seq <= self.peer.last:
            self.ack_set[host] = seq
            self.commit(now_s, out)

    def commit(self, now_s: float, out: Out) -> None:
        """Commit what the whole ack set has acked, if quorum is held."""
        peer = self.peer
        upto = min(self.ack_set.values()) if self.ack_set else peer.last
        self.stalled = upto > peer.committed and not peer.host.quorum.held(now_s)
        if upto > peer.committed and not self.stalled:
            pending = self.pending
            clock_s = now_s + peer.offset_s
            while pending and pending[0].entry.seq <= upto:
                self._committed(pending.popleft(), clock_s, out)
        if not self.is_open:
            self._open_if_acked(upto, now_s, out)
        if self.waiting:
            self.take_waiting(now_s, out)

    def _committed(self, done: Pending, clock_s: float, out: Out) -> None:
        entry, peer = done.entry, self.peer
        peer.committed = entry.seq
        if not done.inherited:
            born = peer.host.watched and entry.key not in peer.cells.live
            if entry.kind > REFUSED:
                peer.cells.shifted(entry, clock_s)
                migration.committed(self, entry, clock_s - peer.offset_s, out)
            else:
                peer.cells.put(entry.key, done.after)
            if entry.lane:
                peer.cells.answered(entry, clock_s)
                if self._lanes.get(entry.lane) is done:
                    del self._lanes[entry.lane]
            if self._overlay[entry.key][0] == entry.seq:
                del self._overlay[entry.key]
            if done.after is None:
                peer.cells.died(entry)
                if self.moves is not None:
                    self.moves.due[entry.key] = None
            elif done.after[1] and entry.kind != REFUSED:
                self._expiries.add(entry.key, done.after[1])
            if peer.host.watched and entry.kind < REFUSED:
                kind = CHANGE_KINDS.get(entry.kind, "born" if born else "changed")
                out.append(TellHost(CellChanged(Change(kind, entry.key, entry.seq))))
        for caller, request_id in done.callers:
            out.append(Answer(caller, result_of(entry, request_id)))

    def _open_if_acked(self, upto: int, now_s: float, out: Out) -> None:
        # A promoted primary reads nothing before all peers have its inherited
        # entries: what it answered could vanish with it otherwise.
        if upto >= self.inherited and self.peer.committed >= self.inherited:
            self.is_open = True
            self._expiries = Expiries(self.peer.cells.live)
            promoted = Cause("promote", self.peer.colony, self.peer.host.me)
            out.append(Note("open", "all inherited entries are acked", self.peer.colony, cause=promoted))
            migration.opened(self, now_s, out)
            self.take_waiting(now_s, out)

    # -- expiry ----------------------------------------------------------------

    def expire(self, now_s: float, out: Out, *, at_most: int = 256) -> None:
        """Sequence the deaths of cells whose time is over; a bounded number."""
        peer = self.peer
        if not self.may_expire(now_s):
            return
        clock_s = peer.clock_s(now_s)
        later = []
        for key in self._expiries.due(clock_s, at_most):
            _, cell = self._latest(key)
            if cell is None or is_live(cell, clock_s):
                continue
            if key in self._busy or len(self.pending) >= peer.host.limits.pending_max:
                later.append(key)
            else:
                self.sequence(Entry(peer.last + 1, EXPIRED, key), cell, now_s, out)
        for key in later:
            self._expiries.add(key, clock_s + 1.0)

    def may_expire(self, now_s: float) -> bool:
        """Return whether this primary may sequence deaths now."""
        idle = self.is_open and self.transfers.handing is None and not self.peer.host.frozen
        return idle and self.peer.host.quorum.held(now_s)

    def next_expiry_s(self) -> float | None:
        """Return when the next cell may expire, on the host's clock."""
        if not self._expiries.heap:
            return None
        at_s = self._expiries.next_s(self.peer.cells.live)
        return None if at_s is None else at_s - self.peer.offset_s

    # -- the end ---------------------------------------------------------------

    def dismiss(self, reply_code: int, text: str, where: tuple[str, str], out: Out) -> None:
        """Tell all who wait that they must ask elsewhere (or again)."""
        host, address = where
        code = MOVED if host and reply_code == MOVED else UNAVAILABLE
        value = host.encode() if code == MOVED else None
        told = address if code == MOVED else text
        # Pending ones are not answered: their outcome is not known here, and
        # the client's retry (same lane and number) finds out at the next primary.
        # A closure still running has done nothing: its result is thrown away.
        queued = [*self.waiting, *(one for busy in self._busy.values() for one in busy)]
        queued += self.closures.dismissed()
        version = self.peer.colony + 1 if code == MOVED else 0
        for caller, request in queued:
            out.append(Answer(caller, Reply(request.id, code, version, value=value, text=told)))
        if self.moves is not None:
            for caller, request_id in migration.dismissed(self, out):
                out.append(Answer(caller, Reply(request_id, UNAVAILABLE, text=text)))
        self.waiting.clear()
        self._busy.clear()


def read_cell(peer: Peer, request: Get, now_s: float) -> Reply:
    """Return the reply to a read of `peer`'s cells as they stand."""
    cell = peer.cells.live.get(request.key)
    clock_s = peer.clock_s(now_s)
    if cell is None or not is_live(cell, clock_s):
        return Reply(request.id, ABSENT)
    dna = cell[2]
    left_ms = ttl_left_ms(cell, clock_s)
    if isinstance(dna, bytes):
        return Reply(request.id, OK, cell[0], left_ms, dna)
    return Reply(request.id, OK, cell[0], left_ms, attributes=dna)
