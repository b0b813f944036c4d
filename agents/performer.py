"""Performs the effects of a host's machines, in order.

Sends gather in one outbox per destination until the turn ends: all that one
turn produced for one destination leaves as one message. Whatever a machine is to be told waits in one queue,
so that machines hear things in the order in which they were said.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Protocol

from agents.archive import Archive
from agents.bodies import Body, ColonyActor
from agents.bulk import Bulk
from agents.clients import ClientCaller, Clients
from agents.disk import remedy
from agents.effects import (
    Answer,
    ConfirmSnapshot,
    Dial,
    DiscardSnapshot,
    DropEverything,
    ForgetSnapshot,
    Halt,
    HangUp,
    HostMessage,
    InstallView,
    KeepPeriodic,
    LinkCameUp,
    LinkWentDown,
    Note,
    Persist,
    ProbeProcess,
    ProcessGone,
    ProcessStopped,
    RunClosure,
    RunMerge,
    SaveSnapshot,
    Send,
    TellColony,
    TellHost,
    Ticked,
    Wake,
)
from agents.framing import dna_bytes
from agents.keeping import Keeper
from agents.links import ClosePipe, DeliverMessages, OpenPipe, SendFrame, only_ungated
from agents.messages.client import Reply
from agents.messages.replication import Ack, Chunk, Replicate
from agents.order import Order
from agents.record import Record
from agents.timers import Timers
from agents.user_code import ReportFn, RunClosureFn, RunMergeFn, UserCode
from agents.views import Member
from agents.wire import encode
from agents.workers import Workers

PROBE_EVERY_S = 0.004  # a killed process is gone within some ms of its sockets
PROBE_FOR_S = 2.0  # one that frees much memory takes its time
ALARMS_MAX = 100_000
# Mutations of one colony that leave as one message: enough for a full pipeline, and far below a frame.
ENTRIES_MAX, ENTRIES_BYTES_MAX = 256, 256 * 1024

ProcessStateFn = Callable[[Member], Literal["runs", "stopped", "gone", ""]]


class Pipes(Protocol):
    """What the performer needs of the door."""

    def open(
        self, host: str, address: str, incarnation: int, own: tuple[str, int], public_key: str = ""
    ) -> None:
        """Connect to a host."""

    def close(self, host: str, incarnation: int, linger_s: float = 0.0) -> None:
        """Close a connection."""

    def send(self, host: str, incarnation: int, plane: int, data: bytes) -> bool:
        """Send a frame to a host."""


class Tools(Protocol):
    """What the performer works with; the server."""

    clock: Callable[[], float]
    container: Any
    workers: Workers
    timers: Timers
    clients: Clients

    @property
    def door(self) -> Pipes:
        """The sockets."""

    def tell_host(self, event: Any) -> None:
        """Have the host's machine handle an event now."""

    def tell_colony(self, colony: int, event: Any) -> None:
        """Have a colony's machine handle an event now."""

    def note(self, note: Note) -> None:
        """Log a note."""

    def colony_broke(self, colony: int, event: Any, error: BaseException) -> None:
        """Give up a colony's peer."""


class Batch:
    """Mutations of one colony for one host that will leave as one message.

    Attributes:
        entries: In order, without a gap.
        at: The place of the message in the outbox.
    """

    __slots__ = ("_bytes", "_last", "at", "entries")

    def __init__(self, message: Replicate, at: int) -> None:
        self.entries = list(message.entries)
        self.at = at
        self._last = message
        self._bytes = 0

    def took(self, message: Replicate) -> bool:
        """Take in the entry that follows; False = it must have a message of its own."""
        entries, more = self.entries, message.entries
        if len(more) != 1 or not entries or message.epoch != self._last.epoch:
            return False
        entry = more[0]
        self._bytes += dna_bytes(entry.dna)
        if entry.seq != entries[-1].seq + 1 or len(entries) >= ENTRIES_MAX or self._bytes > ENTRIES_BYTES_MAX:
            return False
        entries.append(entry)
        self._last = message
        return True

    def message(self) -> Replicate:
        """Return the one message: what its last part says of commits holds for all."""
        last = self._last
        return Replicate(last.colony, last.epoch, last.committed, last.clock_s, tuple(self.entries))


class Performer(Order):
    """The shell's hands; belongs to the I/O thread.

    Attributes:
        halt: Why the host is to end; None = it isn't.
        said: What machines are still to be told, in order.
        is_mute: The durable record could not be written: nothing more may be said.
        bulk: Chunks of clones that have not left.
        outbox: What this turn has said to other hosts.
        answered: Requests of embedding threads, ever; those given up count in time, too.

    Args:
        tools: What to work with.
        run_closure: Runs a closure on DNA, on a worker's thread; None = closures are refused.
        report: Returns a closure's exception as text, and as bytes for its client.
        persist: Writes the durable record, fsynced; None = the host is ephemeral.
        process_state: What the process of a member on this machine is seen to be; "" = can't be seen.
        keeper: Where snapshots go; None = the host is ephemeral.
        run_merge: Makes one cell's DNA of a winner's and a loser's, on a worker's thread.
    """

    def __init__(
        self,
        tools: Tools,
        run_closure: RunClosureFn | None,
        report: ReportFn,
        persist: Callable[[Record], None] | None,
        process_state: ProcessStateFn | None,
        keeper: Keeper | None = None,
        run_merge: RunMergeFn | None = None,
    ) -> None:
        super().__init__(tools, tools.container.colony_of)
        self.halt: Halt | None = None
        self.answered = 0
        self._tools = tools
        self._clients = tools.clients
        self._persist = persist
        self._process_state = process_state
        self.bulk = Bulk()
        self.outbox: dict[str, list[HostMessage]] = {}
        self._acks: dict[tuple[str, int], int] = {}
        self._batches: dict[tuple[str, int], Batch] = {}
        user_code = UserCode(self, tools, run_closure, run_merge, report)
        archive = Archive(self, tools, keeper)
        self._handlers: dict[type, Callable[[Any, Body | None], None]] = {
            Wake: self._wake,
            RunClosure: user_code.closure,
            RunMerge: user_code.merge,
            Persist: self._write,
            Dial: self._dial,
            HangUp: self._hang_up,
            ProbeProcess: self._probe,
            Halt: self._stop,
            Note: lambda effect, body: tools.note(effect),
            InstallView: self._installed,
            DropEverything: self._dropped,
            SaveSnapshot: lambda effect, body: archive.save(effect),
            ConfirmSnapshot: lambda effect, body: archive.keep("confirm", lambda k: k.confirm(effect.mark)),
            DiscardSnapshot: lambda effect, body: archive.keep("discard", lambda k: k.discard()),
            ForgetSnapshot: lambda effect, body: archive.keep("forget", lambda k: k.forget(keep=effect.keep)),
            KeepPeriodic: lambda effect, body: archive.keep_periodic(),
            TellHost: self._say,
            TellColony: self._say,
            LinkCameUp: self._say,
            LinkWentDown: self._say,
            DeliverMessages: self._say,
            OpenPipe: self._open,
            ClosePipe: self._close,
            SendFrame: self._send_frame,
        }

    # -- effects ---------------------------------------------------------------

    def perform(self, effects: list[Any], body: Body | None) -> None:
        """Perform effects in order; `body` is the actor they came from."""
        for effect in effects:
            if self.is_mute:
                return
            kind = type(effect)
            if kind is Send:
                self.send(effect.to, effect.message)
            elif kind is Answer:
                self.answer(effect.caller, effect.reply)
            else:
                handler = self._handlers.get(kind)
                if handler is None:  # an event that links or disk have for the host
                    self.said.append(TellHost(effect))
                else:
                    handler(effect, body)

    def send(self, to: str, message: HostMessage) -> None:
        """Put a message into the outbox of a host.

        Acks are cumulative: a later one of the same colony and epoch takes
        the place of the one that has not left yet. And the mutations of one
        turn go as one: what follows upon the last one joins its message,
        unless the colony has had something else to say to that host since.
        """
        box = self.outbox.get(to)
        if box is None:
            box = self.outbox[to] = []
        if type(message) is Replicate:
            key = (to, message.colony)
            batch = self._batches.get(key)
            if batch is not None:
                if batch.took(message):
                    return
                self._put_batch(key, batch)
            self._batches[key] = Batch(message, len(box))
        elif type(message) is Ack:
            key = (to, message.colony)
            at = self._acks.get(key)
            if at is not None:
                before = box[at]
                assert type(before) is Ack
                if before.epoch == message.epoch and before.seq <= message.seq:
                    box[at] = message
                    return
            self._acks[key] = len(box)
        elif type(message) is Chunk:
            self.bulk.put(to, message)  # on a plane of its own: what it is among others means nothing
            return
        elif self._batches:
            self._close_batches(to)
        box.append(message)

    def _close_batches(self, to: str) -> None:
        """Let nothing that is sent later overtake what is sent now."""
        for key in [key for key in self._batches if key[0] == to]:
            self._put_batch(key, self._batches.pop(key))

    def _put_batch(self, key: tuple[str, int], batch: Batch) -> None:
        if len(batch.entries) > 1:
            self.outbox[key[0]][batch.at] = batch.message()

    def answer(self, caller: Any, reply: Reply) -> None:
        """Put a reply into a client's list, or call back an embedded caller."""
        if type(caller) is ClientCaller:
            self._clients.answer(caller, reply)
        elif callable(caller):
            self.answered += 1
            try:
                caller(reply)
            except Exception as error:
                self._tools.note(Note("callback_failed", repr(error)))

    def say_first(self, event: Any) -> None:
        """Have the host told an event before all that waits to be told."""
        self.said.appendleft(TellHost(event))

    # -- what machines are to be told --------------------------------------------

    @property
    def has_more(self) -> bool:
        """Whether something is to be told or sent."""
        return bool(self.said or self.outbox)

    def release(self, now_s: float) -> None:
        """Put chunks into the outboxes that may leave in this turn."""
        for to, chunk in self.bulk.take(now_s):
            self.outbox.setdefault(to, []).append(chunk)

    # -- the end of a turn -------------------------------------------------------

    def flush_links(self) -> None:
        """Hand the outboxes to the links, stamped with the view as it is now."""
        if self.outbox and not self.is_mute:
            for key, batch in self._batches.items():
                if len(batch.entries) > 1:
                    self._put_batch(key, batch)
            outbox, self.outbox = self.outbox, {}
            self._forget_places()
            tools = self._tools
            self.perform(tools.container.links.flush(outbox, tools.clock()), None)

    # -- one effect each -----------------------------------------------------------

    def _say(self, effect: Any, body: Body | None) -> None:
        self.said.append(effect)

    def _dropped(self, effect: Any, body: Body | None) -> None:
        """The container has done it; its clones are over."""
        self.bulk.clear()

    def _installed(self, effect: InstallView, body: Body | None) -> None:
        """Throw away what was said in the view before and has not left: it would be stamped with this one."""
        self.outbox = only_ungated(self.outbox)
        self.bulk.clear()
        self._forget_places()

    def _forget_places(self) -> None:
        self._acks.clear()
        self._batches.clear()

    def _wake(self, effect: Wake, body: Body | None) -> None:
        if len(self._tools.timers) < ALARMS_MAX:
            self._tools.timers.at(effect.at_s, partial(self._ring, body))
        else:
            self._tools.note(Note("alarm_refused", f"{ALARMS_MAX} alarms are set already"))

    def _ring(self, body: Body | None, now_s: float) -> None:
        if isinstance(body, ColonyActor):
            if not body.actor_stopped.is_set():
                body.turn(Ticked())
        else:
            self._tools.tell_host(Ticked())
        self.tell_all()

    def _write(self, effect: Persist, body: Body | None) -> None:
        if self._persist is None:
            return
        try:
            self._persist(effect.record)
        except Exception as error:
            # What depends on the record must not be said: not now, and not by the next turn.
            self.is_mute = True
            hint = remedy(error) if isinstance(error, OSError) else "that is a bug"
            reason = f"can't write the durable record, so it can't keep its word: {error}; {hint}"
            self._tools.note(Note("record_failed", reason))
            self.halt = Halt(1, f"{reason}, and start the host again")

    def _dial(self, effect: Dial, body: Body | None) -> None:
        self.perform(self._tools.container.links.dial(effect.member, self._tools.clock()), None)

    def _hang_up(self, effect: HangUp, body: Body | None) -> None:
        self.flush_links()  # last words
        self.perform(self._tools.container.links.hang_up(effect.host, self._tools.clock()), None)

    def _probe(self, effect: ProbeProcess, body: Body | None) -> None:
        now_s = self._tools.clock()
        self._look(effect.member, now_s + PROBE_FOR_S, now_s)

    def _look(self, member: Member, until_s: float, now_s: float) -> None:
        state = self._process_state(member) if self._process_state is not None else ""
        if state == "gone":
            self.said.append(TellHost(ProcessGone(member.id, member.incarnation)))
            return
        if state == "stopped":
            self.said.append(TellHost(ProcessStopped(member.id, member.incarnation)))
        if state and now_s < until_s:
            self._tools.timers.at(now_s + PROBE_EVERY_S, partial(self._look, member, until_s))

    def _stop(self, effect: Halt, body: Body | None) -> None:
        if self.halt is None:
            self.halt = effect

    def _open(self, effect: OpenPipe, body: Body | None) -> None:
        self._tools.door.open(effect.host, effect.address, effect.incarnation, effect.own, effect.public_key)

    def _close(self, effect: ClosePipe, body: Body | None) -> None:
        self._tools.door.close(effect.host, effect.incarnation, effect.linger_s)

    def _send_frame(self, effect: SendFrame, body: Body | None) -> None:
        self._tools.door.send(effect.host, effect.incarnation, effect.plane, encode(effect.frame))
