"""A simulated host: one process at a time, and the home that outlives it.

`Process` does for a container what the runtime's I/O loop does: what came in
since the last turn is handled in order, each machine's effects are performed
in order, and all that one turn has for one destination leaves as one frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any, Protocol

import msgspec

from agents.effects import (
    Answer,
    ClosureRan,
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
    LoadMeasured,
    LoopWasLate,
    Note,
    Persist,
    ProbeProcess,
    ProcessGone,
    ProcessStopped,
    Received,
    Requested,
    RunClosure,
    RunMerge,
    SaveSnapshot,
    SeedFound,
    SeedSilent,
    Send,
    SnapshotSaved,
    TellHost,
    Ticked,
    Wake,
)
from agents.hosting import Container
from agents.links import ClosePipe, DeliverMessages, OpenPipe, SendFrame
from agents.messages.client import Reply
from agents.messages.membership import Grant, Heartbeat, Load
from agents.messages.replication import Dna
from agents.order import Order
from agents.sim_clock import Chance, HostClock, Timeline
from agents.sim_disk import Disk
from agents.sim_settings import SimSettings
from agents.stages import Settings
from agents.surroundings import CellChanged, Counted, GuestsChanged, LocationChanged, MoveRefused
from agents.views import Member
from agents.wire import SPOKEN, LinkFrame, Source
from placement.labels import Labels

LATE_S = 0.1  # as in the runtime's loop: from here on silence of others may be our own
PROBE_EVERY_S = 0.05
PROBE_FOR_S = 2.0
SEEDS_EVERY_S = 0.5

# As in the runtime's loop: before any other event the host's outboxes leave, so
# that messages are stamped with the view they were said in.
CALM = frozenset({Heartbeat, Grant, CellChanged, Counted, GuestsChanged, LocationChanged, MoveRefused})


# Also as there: no tick need follow these soon.
QUIET = frozenset({Heartbeat, Grant, LoadMeasured, CellChanged, Ticked})


class Home:
    """Where a host lives: its name, machine, clock and disk; it outlives processes.

    Attributes:
        name: One letter.
        id: Host id; a wiped disk brings a new one.
        disk: What is kept when the process ends.
        process: The running process, or None.
        paused: Whether the process is stopped (SIGSTOP).
        labels: Where it stands; None = its machine is its box.
        load: What it measures of its machine.
        seeds: The hosts that it was told of at the start; None = all there are.
        settings: Of its membership; None = those of the simulation.
        versions: Of the protocol, that its next process speaks.
    """

    def __init__(
        self, name: str, host_id: str, machine: str, clock: HostClock, labels: Labels | None, load: Load
    ) -> None:
        self.name = name
        self.id = host_id
        self.machine = machine
        self.clock = clock
        self.disk = Disk()
        self.process: Process | None = None
        self.paused = False
        self.labels = labels
        self.load = load
        self.seeds: str | None = None
        self.settings: Settings | None = None
        self.versions = SPOKEN

    def measured(self, bytes_used: int) -> Load:
        """Return what its machine shows while so many bytes of cells are on it."""
        return msgspec.structs.replace(self.load, memory_free=max(0, self.load.memory_free - bytes_used))

    @property
    def runs(self) -> bool:
        """Whether a process exists and is not stopped."""
        return self.process is not None and not self.paused


class Observer(Protocol):
    """Whoever watches a run, after every event."""

    def host_acted(self, process: Process, event: Any) -> None:
        """The host-level machines of a process took an event."""

    def colony_acted(self, process: Process, colony: int, event: Any) -> None:
        """A colony's machine took an event."""

    def installed(self, process: Process, effect: InstallView) -> None:
        """A process installed a view."""

    def noted(self, process: Process, note: Note) -> None:
        """A machine of a process made a note."""


class World(Protocol):
    """The simulation, as the processes in it see it: see `agents.simulator`."""

    chance: Chance
    observer: Observer | None
    run_closure: Callable[[bytes | None, bytes], bytes | None]
    run_merge: Callable[[Dna | None, Dna | None], Dna | None]
    settings: SimSettings
    timeline: Timeline

    def answer(self, process: Process, caller: Any, reply: Reply) -> None:
        """Send a host's reply to a client; it is lost if the client can't be reached."""

    def greet_seeds(self, process: Process) -> None:
        """Let a lonely host ask its seeds who they are."""

    def halted(self, process: Process, effect: Halt) -> None:
        """End a process that wants to end."""

    def noted(self, process: Process, note: Note) -> None:
        """Write a note down, and show it to the observer."""

    def installed(self, process: Process, effect: InstallView) -> None:
        """Show a view that was installed to the observer."""

    def open_pipe(self, process: Process, effect: OpenPipe) -> None:
        """Open a pipe to whoever lives at the address."""

    def close_pipe(self, process: Process, effect: ClosePipe) -> None:
        """Close a pipe; with a linger, what is queued still leaves."""

    def send_frame(self, process: Process, effect: SendFrame) -> None:
        """Put a frame on its way."""

    def pid_is_gone(self, pid: int) -> bool:
        """Return whether no process with this number runs."""

    def pid_is_stopped(self, pid: int) -> bool:
        """Return whether the process with this number is stopped."""


class Process:
    """One life of a host: a container, and a loop that drives it."""

    def __init__(self, simulation: World, home: Home, container: Container, pid: int) -> None:
        self.simulation = simulation
        self.home = home
        self.container = container
        self.pid = pid
        self.versions = home.versions
        self.over = False
        self.halt: Halt | None = None
        self._timeline = simulation.timeline
        self._clock = home.clock
        self._inbox: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._turn_planned = False
        self._sample_due_s = 0.0
        self._outbox: dict[str, list[HostMessage]] = {}
        self._order = Order(self, container.colony_of)
        self._tick_due_s = self._ticked_s = self.now_s
        self._tick_planned_s = inf  # on the host's clock
        self._is_hurried = False
        self._seeds_due_s = 0.0
        self._performers: dict[type, Callable[[Any, int], None]] = {
            Wake: self._wake,
            RunClosure: self._closure,
            RunMerge: self._merge,
            Persist: self._write,
            Dial: self._dial,
            HangUp: self._hang_up,
            ProbeProcess: self._probe,
            Halt: self._halt,
            Note: self._note,
            InstallView: self._installed,
            DropEverything: self._pass,
            SaveSnapshot: self._save,
            ConfirmSnapshot: self._confirm,
            DiscardSnapshot: self._forget,
            ForgetSnapshot: self._forget,
            KeepPeriodic: self._pass,
            OpenPipe: self._open,
            ClosePipe: self._close,
            SendFrame: self._send_frame,
        }

    @property
    def now_s(self) -> float:
        """The host's clock."""
        return self._clock.shows(self._timeline.now_s)

    # -- the loop ----------------------------------------------------------------

    def take(self, handler: Callable[..., None], *arguments: Any) -> None:
        """Put something into a socket's buffer, a worker's results, a timer's ring."""
        self._inbox.append((handler, arguments))
        self.plan_turn()

    def end(self) -> None:
        """Tell its machines nothing more."""
        self.over = self._order.is_mute = True

    def plan_turn(self) -> None:
        """See to it that a turn comes soon, unless the process is stopped."""
        if not self._turn_planned and not self.home.paused and not self.over:
            self._turn_planned = True
            self._timeline.after(self.simulation.settings.turn_s, self._turn)

    def _turn(self) -> None:
        self._turn_planned = False
        if self.home.paused or self.over:
            return
        late_s = self.now_s - self._tick_due_s
        if late_s > LATE_S:
            self._tick_due_s = self.now_s
            self.tell_host(LoopWasLate(late_s))
            self._order.tell_all()
        inbox = self._inbox
        for _ in range(len(inbox)):
            handler, arguments = inbox.popleft()
            handler(*arguments)
            self._order.tell_all()
            if self.home.process is not self:
                return
        self._flush()
        if inbox:
            self.plan_turn()

    def tick(self) -> None:
        """Take a tick; each plans the next."""
        self.take(self._ticked)

    def _plan_tick(self, at_s: float) -> None:
        if at_s < self._tick_planned_s:
            self._tick_planned_s = at_s
            self._timeline.at(self._clock.when(at_s), self._tick_came, at_s)

    def _tick_came(self, at_s: float) -> None:
        if self.over or at_s != self._tick_planned_s:
            return  # an earlier one has taken its place
        self._tick_planned_s = inf
        if self.home.paused:
            self._plan_tick(self.now_s + self.simulation.settings.tick_s)
        else:
            self.take(self._ticked)

    def _hurry(self) -> None:
        """Something happened: the next tick must not wait until the host has rested."""
        self._is_hurried = True
        soon_s = self._ticked_s + self.simulation.settings.tick_s
        if self._tick_due_s > soon_s:
            self._tick_due_s = max(soon_s, self.now_s)
            self._plan_tick(self._tick_due_s)

    def _ticked(self) -> None:
        now_s = self._ticked_s = self.now_s
        self._is_hurried = False
        self._tick_due_s = now_s + self.simulation.settings.tick_s
        self._take_tick(now_s)
        if not self._is_hurried:
            self._tick_due_s = max(self._tick_due_s, self.container.rests_until_s(now_s))
        self._plan_tick(self._tick_due_s)

    def _take_tick(self, now_s: float) -> None:
        self.tell_host(Ticked())
        self._order.tell_all()
        self.perform(self.container.links.tick(now_s), -1)
        sample_s = self.simulation.settings.sample_s
        if sample_s and now_s >= self._sample_due_s:
            self._sample_due_s = now_s + sample_s
            self.tell_host(LoadMeasured(self.home.measured(self.container.load.bytes_used)))
        if now_s >= self._seeds_due_s:
            self._seeds_due_s = now_s + SEEDS_EVERY_S
            membership = self.container.membership
            if membership.view is None or not membership.quorum.held(now_s):
                self.simulation.greet_seeds(self)

    # -- what comes in -------------------------------------------------------------

    def frame_came(self, source: Source, frame: LinkFrame) -> None:
        """Take a frame of another host."""
        effects = self.container.links.on_frame(source, frame, self.now_s)
        if len(effects) == 1 and type(effects[0]) is DeliverMessages:
            self._order.deliver(effects[0].sender, effects[0].messages)
        else:
            self.perform(effects, -1)

    def pipe_lost(self, host: str, incarnation: int) -> None:
        """Take the news that a pipe of ours is broken."""
        effects = self.container.links.on_pipe_lost(host, incarnation, "connection lost", self.now_s)
        self.perform(effects, -1)

    def request_came(self, caller: Any, request: Any) -> None:
        """Take a client's request."""
        colony = self.container.colony_of(request)
        if colony is None:
            self.tell_host(Requested(caller, request))
        else:
            self.tell_colony(colony, Requested(caller, request))

    def seed_answered(self, answer: SeedFound | SeedSilent) -> None:
        """Take a seed's answer, or that there is none."""
        self.tell_host(answer)

    def stop_all(self) -> None:
        """Take an operator's order to stop the whole cluster."""
        container = self.container
        if container.view is not None and not container.stopping.refusal(force=False):
            out: list[Any] = []
            container.stopping.order(force=False, now_s=self.now_s, out=out)
            self.perform(out, -1)

    def tell_host(self, event: Any) -> None:
        """Have the host handle an event now."""
        kind = type(event.message) if type(event) is Received else type(event)
        if kind not in CALM:
            self._flush()
        if kind not in QUIET:
            self._hurry()
        effects = self.container.handle(event, self.now_s)
        if effects:
            self.perform(effects, -1)
        observer = self.simulation.observer
        if observer is not None:
            observer.host_acted(self, event)

    def tell_colony(self, colony: int, event: Any) -> None:
        """Have a colony handle an event now."""
        effects = self.container.colony(colony).handle(event, self.now_s)
        if effects:
            self.perform(effects, colony)
        observer = self.simulation.observer
        if observer is not None:
            observer.colony_acted(self, colony, event)

    # -- effects ---------------------------------------------------------------------

    def perform(self, effects: list[Any], colony: int) -> None:
        """Perform effects in order; `colony` says whose they are, -1 = the host's."""
        for effect in effects:
            kind = type(effect)
            if kind is Send:
                box = self._outbox.get(effect.to)
                if box is None:
                    self._outbox[effect.to] = [effect.message]
                else:
                    box.append(effect.message)
            elif kind is Answer:
                self.simulation.answer(self, effect.caller, effect.reply)
            else:
                performer = self._performers.get(kind)
                if performer is None:
                    self._order.said.append(effect)
                else:
                    performer(effect, colony)

    def _flush(self) -> None:
        if self._outbox and not self.over:
            outbox, self._outbox = self._outbox, {}
            self.perform(self.container.links.flush(outbox, self.now_s), -1)

    def _pass(self, effect: Any, colony: int) -> None:
        """The container has done it."""

    def _wake(self, effect: Wake, colony: int) -> None:
        self._timeline.at(self._clock.when(effect.at_s), self.take, self._ring, colony)

    def _ring(self, colony: int) -> None:
        if colony < 0:
            self.tell_host(Ticked())
        else:
            self.tell_colony(colony, Ticked())

    def _closure(self, effect: RunClosure, colony: int) -> None:
        simulation = self.simulation
        try:
            event = ClosureRan(effect.ticket, simulation.run_closure(effect.dna, effect.closure))
        except Exception as error:  # a client's function: its client hears of it
            event = ClosureRan(effect.ticket, None, f"{type(error).__name__}: {error}")
        delay_s = simulation.chance.random() * simulation.settings.closure_s
        self._timeline.after(delay_s, self.take, self.tell_colony, colony, event)

    def _merge(self, effect: RunMerge, colony: int) -> None:
        simulation = self.simulation
        winner, loser = (seen[2] if seen is not None else None for seen in (effect.winner, effect.loser))
        dna = simulation.run_merge(winner, loser)
        delay_s = simulation.chance.random() * simulation.settings.closure_s
        self._timeline.after(delay_s, self.take, self.tell_colony, colony, ClosureRan(effect.ticket, dna))

    def _write(self, effect: Persist, colony: int) -> None:
        self.home.disk.record = effect.record

    def _save(self, effect: SaveSnapshot, colony: int) -> None:
        simulation, disk = self.simulation, self.home.disk
        if not effect.head.stop:  # lost and found: kept for people, read by no host
            self._order.said.append(TellHost(SnapshotSaved("", "lost")))
            return
        disk.wanted, disk.mark = effect.head.stop, None
        delay_s = simulation.chance.random() * simulation.settings.save_s
        self._timeline.after(delay_s, self._saved, effect)

    def _saved(self, effect: SaveSnapshot) -> None:
        disk, stop = self.home.disk, effect.head.stop
        if self.over:
            return
        if disk.wanted == stop:
            disk.snapshot = effect, self._timeline.now_s
        error = "" if disk.wanted == stop else "the stop was given up"
        self.take(self.tell_host, SnapshotSaved(stop, "snapshot", error))

    def _confirm(self, effect: ConfirmSnapshot, colony: int) -> None:
        self.home.disk.mark = effect.mark

    def _forget(self, effect: DiscardSnapshot | ForgetSnapshot, colony: int) -> None:
        self.home.disk.forget()

    def _dial(self, effect: Dial, colony: int) -> None:
        self.perform(self.container.links.dial(effect.member, self.now_s), -1)

    def _hang_up(self, effect: HangUp, colony: int) -> None:
        self._flush()
        self.perform(self.container.links.hang_up(effect.host, self.now_s), -1)

    def _probe(self, effect: ProbeProcess, colony: int) -> None:
        self._look(effect.member, self.now_s + PROBE_FOR_S)

    def _look(self, member: Member, until_s: float) -> None:
        if member.machine != self.home.machine or not member.machine:
            return
        if self.simulation.pid_is_gone(member.pid):
            self._order.said.append(TellHost(ProcessGone(member.id, member.incarnation)))
            return
        if self.simulation.pid_is_stopped(member.pid):
            self._order.said.append(TellHost(ProcessStopped(member.id, member.incarnation)))
        if self.now_s < until_s:
            self._timeline.after(PROBE_EVERY_S, self.take, self._look, member, until_s)

    def _halt(self, effect: Halt, colony: int) -> None:
        self.simulation.halted(self, effect)

    def note(self, note: Note) -> None:
        """Write a note down."""
        self.simulation.noted(self, note)

    def _note(self, effect: Note, colony: int) -> None:
        self.note(effect)

    def _installed(self, effect: InstallView, colony: int) -> None:
        self.simulation.installed(self, effect)

    def _open(self, effect: OpenPipe, colony: int) -> None:
        self.simulation.open_pipe(self, effect)

    def _close(self, effect: ClosePipe, colony: int) -> None:
        self.simulation.close_pipe(self, effect)

    def _send_frame(self, effect: SendFrame, colony: int) -> None:
        self.simulation.send_frame(self, effect)
