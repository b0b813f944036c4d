"""Performs the effects of a host's machines, in order.

Sends gather in one outbox per destination, and answers in one list per
client, until the turn ends: all that one turn produced for one destination
leaves as one message. Whatever a machine is to be told waits in one queue,
so that machines hear things in the order in which they were said.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from agents.bodies import Body, ColonyActor
from agents.effects import (
    Answer,
    ClosureRan,
    Dial,
    DropEverything,
    Halt,
    HangUp,
    HostMessage,
    InstallView,
    LinkCameUp,
    LinkWentDown,
    Note,
    Persist,
    ProbeProcess,
    ProcessGone,
    Received,
    RunClosure,
    Send,
    TellColony,
    TellHost,
    Ticked,
    Wake,
)
from agents.links import ClosePipe, DeliverMessages, OpenPipe, SendFrame
from agents.messages.client import Reply
from agents.messages.replication import Ack
from agents.record import Record
from agents.timers import Timers
from agents.views import Member
from agents.wire import FRAME_BYTES_MAX, encode
from agents.workers import Workers

PROBE_EVERY_S = 0.004  # a killed process is gone within some ms of its sockets
PROBE_FOR_S = 2.0  # one that frees much memory takes its time
EVENTS_MAX = 1_000_000  # consequences of one event: more, and machines go in circles
ALARMS_MAX = 100_000

RunClosureFn = Callable[[bytes | None, bytes], bytes | None]


class ClientCaller(tuple[str, bytes]):
    """`("client", identity)`: whom to answer, and how much is still open.

    One for each frame of requests; those of one client are equal.
    """

    open: int
    size: int
    at_s: float

    def __new__(cls, identity: bytes, requests: int, size: int, at_s: float) -> ClientCaller:
        """Make the token of a frame with so many requests and bytes."""
        caller = super().__new__(cls, ("client", identity))
        caller.open, caller.size, caller.at_s = requests, size, at_s
        return caller


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

    def reply(self, client: bytes, data: bytes) -> bool:
        """Send a frame to a client."""


class Tools(Protocol):
    """What the performer works with; the server."""

    clock: Callable[[], float]
    container: Any
    workers: Workers
    timers: Timers

    @property
    def door(self) -> Pipes:
        """The sockets."""

    def tell_host(self, event: Any) -> None:
        """Have the host's machine handle an event now."""

    def tell_colony(self, colony: int, event: Any) -> None:
        """Have a colony's machine handle an event now."""

    def note(self, note: Note) -> None:
        """Log a note."""


class Performer:
    """The shell's hands; belongs to the I/O thread.

    Args:
        tools: What to work with.
        run_closure: Runs a closure on DNA, on a worker's thread; None = closures are refused.
        persist: Writes the durable record, fsynced; None = the host is ephemeral.
        process_gone: Whether the process of a member on this machine is seen to be gone.
    """

    def __init__(
        self,
        tools: Tools,
        run_closure: RunClosureFn | None,
        persist: Callable[[Record], None] | None,
        process_gone: Callable[[Member], bool] | None,
    ) -> None:
        self.halt: Halt | None = None
        self.clients_gone: list[bytes] = []
        self.backlog = 0
        self.backlog_bytes = 0
        self._tools = tools
        self._run_closure = run_closure
        self._persist = persist
        self._process_gone = process_gone
        self._outbox: dict[str, list[HostMessage]] = {}
        self._acks: dict[tuple[str, int], int] = {}
        self._replies: dict[bytes, list[Reply]] = {}
        self._said: deque[Any] = deque()
        self._callers: deque[ClientCaller] = deque()
        self._mute = False
        self._handlers: dict[type, Callable[[Any, Body | None], None]] = {
            Wake: self._wake,
            RunClosure: self._closure,
            Persist: self._write,
            Dial: self._dial,
            HangUp: self._hang_up,
            ProbeProcess: self._probe,
            Halt: self._stop,
            Note: lambda effect, body: tools.note(effect),
            InstallView: self._pass,
            DropEverything: self._pass,
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
            kind = type(effect)
            if kind is Send:
                self.send(effect.to, effect.message)
            elif kind is Answer:
                self.answer(effect.caller, effect.reply)
            else:
                handler = self._handlers.get(kind)
                if handler is None:  # an event that links or disk have for the host
                    self._said.append(TellHost(effect))
                else:
                    handler(effect, body)
            if self._mute:
                return

    def send(self, to: str, message: HostMessage) -> None:
        """Put a message into the outbox of a host.

        Acks are cumulative: a later one of the same colony and epoch takes
        the place of the one that has not left yet.
        """
        box = self._outbox.get(to)
        if box is None:
            box = self._outbox[to] = []
        if type(message) is Ack:
            key = (to, message.colony)
            at = self._acks.get(key)
            if at is not None:
                before = box[at]
                assert type(before) is Ack
                if before.epoch == message.epoch and before.seq <= message.seq:
                    box[at] = message
                    return
            self._acks[key] = len(box)
        box.append(message)

    def answer(self, caller: Any, reply: Reply) -> None:
        """Put a reply into a client's list, or call back an embedded caller."""
        if type(caller) is ClientCaller:
            if caller.open > 0:
                caller.open -= 1
                self.backlog -= 1
            replies = self._replies.get(caller[1])
            if replies is None:
                self._replies[caller[1]] = [reply]
            else:
                replies.append(reply)
        elif callable(caller):
            try:
                caller(reply)
            except Exception as error:
                self._tools.note(Note("callback_failed", repr(error)))

    def took(self, caller: ClientCaller) -> None:
        """Count a client's frame until it is answered, or long past."""
        self.backlog += caller.open
        self.backlog_bytes += caller.size
        self._callers.append(caller)

    def forget_callers(self, before_s: float) -> None:
        """Let go of frames that are answered, and of those taken before `before_s`.

        Some are never answered: what a primary had pending when it lost its
        role. Their clients have asked again, or have given up.
        """
        callers = self._callers
        while callers and (callers[0].open <= 0 or callers[0].at_s < before_s):
            caller = callers.popleft()
            self.backlog -= max(0, caller.open)
            self.backlog_bytes -= caller.size
            caller.open = 0

    # -- what machines are to be told --------------------------------------------

    @property
    def has_more(self) -> bool:
        """Whether something is to be told or sent."""
        return bool(self._said or self._outbox or self._replies)

    def tell_all(self) -> None:
        """Tell machines what waits for them, until nothing does."""
        said, tools = self._said, self._tools
        for _ in range(EVENTS_MAX):
            if not said or self._mute:
                return
            effect = said.popleft()
            kind = type(effect)
            if kind is TellColony:
                tools.tell_colony(effect.colony, effect.event)
            elif kind is TellHost:
                tools.tell_host(effect.event)
            elif kind is DeliverMessages:
                self._deliver(effect)
        tools.note(Note("events_dropped", f"machines told each other {EVENTS_MAX} things in one go"))
        said.clear()

    def deliver(self, sender: str, messages: tuple[HostMessage, ...]) -> None:
        """Hand messages to their machines; each one's consequences come first."""
        tools = self._tools
        colony_of, said = tools.container.colony_of, self._said
        for message in messages:
            colony = colony_of(message)
            if colony is None:
                tools.tell_host(Received(sender, message))
            else:
                tools.tell_colony(colony, Received(sender, message))
            if said:
                self.tell_all()

    def _deliver(self, effect: DeliverMessages) -> None:
        """Deliver the first of messages that waited their turn; the others keep their place."""
        tools = self._tools
        message, rest = effect.messages[0], effect.messages[1:]
        if rest:
            self._said.appendleft(DeliverMessages(effect.sender, rest))
        colony = tools.container.colony_of(message)
        event = Received(effect.sender, message)
        if colony is None:
            tools.tell_host(event)
        else:
            tools.tell_colony(colony, event)

    # -- the end of a turn -------------------------------------------------------

    def flush_links(self) -> None:
        """Hand the outboxes to the links, stamped with the view as it is now."""
        if self._outbox and not self._mute:
            outbox, self._outbox = self._outbox, {}
            self._acks.clear()
            tools = self._tools
            self.perform(tools.container.links.flush(outbox, tools.clock()), None)

    def flush_replies(self) -> None:
        """Send each client its replies of this turn."""
        if self._replies and not self._mute:
            replies, self._replies = self._replies, {}
            for client, answers in replies.items():
                self._reply(client, answers)

    def _reply(self, client: bytes, answers: list[Reply]) -> None:
        data = encode(answers)
        if len(data) > FRAME_BYTES_MAX // 4 and len(answers) > 1:
            middle = len(answers) // 2
            self._reply(client, answers[:middle])
            self._reply(client, answers[middle:])
        elif not self._tools.door.reply(client, data):
            self.clients_gone.append(client)

    # -- one effect each -----------------------------------------------------------

    def _say(self, effect: Any, body: Body | None) -> None:
        self._said.append(effect)

    def _pass(self, effect: Any, body: Body | None) -> None:
        """The container has done it; nothing is left for the shell."""

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

    def _closure(self, effect: RunClosure, body: Body | None) -> None:
        assert isinstance(body, ColonyActor), "closures run on a colony's cells"
        run = self._run_closure
        if run is None:
            self._said.append(
                TellColony(body.colony, ClosureRan(effect.ticket, None, "this host runs no closures"))
            )
            return
        job = partial(run, effect.dna, effect.closure)
        if not self._tools.workers.submit(job, partial(self._closure_ran, body, effect.ticket)):
            self._refuse_closure(body, effect, "too many closures wait on this host")

    def _refuse_closure(self, body: ColonyActor, effect: RunClosure, why: str) -> None:
        self._said.append(TellColony(body.colony, ClosureRan(effect.ticket, None, why)))

    def _closure_ran(self, body: ColonyActor, ticket: int, dna: Any, error: Exception | None) -> None:
        if body.actor_stopped.is_set():
            return  # its tickets died with it
        if error is None:
            body.turn(ClosureRan(ticket, dna))
        else:
            report = getattr(error, "report", None)
            body.turn(ClosureRan(ticket, None, repr(error), report if isinstance(report, bytes) else None))

    def _write(self, effect: Persist, body: Body | None) -> None:
        if self._persist is None:
            return
        try:
            self._persist(effect.record)
        except OSError as error:
            # What depends on the record must not be said: not now, and not by the next turn.
            self._mute = True
            self.halt = Halt(1, f"can't write the durable record: {error}")

    def _dial(self, effect: Dial, body: Body | None) -> None:
        self.perform(self._tools.container.links.dial(effect.member, self._tools.clock()), None)

    def _hang_up(self, effect: HangUp, body: Body | None) -> None:
        self.flush_links()  # last words
        self.perform(self._tools.container.links.hang_up(effect.host, self._tools.clock()), None)

    def _probe(self, effect: ProbeProcess, body: Body | None) -> None:
        now_s = self._tools.clock()
        self._look(effect.member, now_s + PROBE_FOR_S, now_s)

    def _look(self, member: Member, until_s: float, now_s: float) -> None:
        if self._process_gone is None:
            return
        if self._process_gone(member):
            self._said.append(TellHost(ProcessGone(member.id, member.incarnation)))
        elif now_s < until_s:
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
