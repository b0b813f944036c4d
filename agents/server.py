"""The I/O loop of a host: one thread, every socket, all actors.

One turn: take what came from hosts, from embedding threads and from clients
(each bounded, so that none starves another), worker results, ready actors,
due timers; then send one message to each destination, and sleep until the
next deadline. Nothing global is touched (signals, logging, the garbage
collector) unless the process is said to be the host's own.
"""

from __future__ import annotations

import gc
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any

import msgspec

from agents.access import Roster, refusal
from agents.baton import Baton, Caller, Deputy
from agents.cast import Cast
from agents.clients import ClientCaller, Clients
from agents.cores import HomeCore, new_home
from agents.dispatcher import Dispatcher
from agents.effects import (
    Halt,
    LoadMeasured,
    LoopWasLate,
    Note,
    Requested,
)
from agents.guarded import Guarded
from agents.keeping import Keeper
from agents.link import CLIENTS, GREETED, HOSTS, LOST, Door
from agents.links import DeliverMessages
from agents.log import Log, logger
from agents.messages.client import BAD, DENIED, FULL, OK, UNAVAILABLE, Admin, Reply, Unwatch, Watch
from agents.messages.membership import Load
from agents.notes import Noted
from agents.performer import Performer, ProcessStateFn
from agents.record import Record
from agents.seeds import Seeds
from agents.timers import Timers
from agents.user_code import ReportFn, RunClosureFn, RunMergeFn, plain_report
from agents.vitals import Vitals
from agents.wire import Source, WireError, decode_link_frame, decode_requests
from agents.workers import Workers

TICK_S = 0.025
REST_S = 0.1  # between ticks while nothing is under way: a heartbeat
LATE_S = 0.1  # a heartbeat: from here on silence of others may be our own
HOST_FRAMES = 256  # a turn of about 10 ms at the very most
CLIENT_FRAMES = 128  # fewer: clients must not starve replication
SUBMISSIONS, SUBMISSIONS_MIN = 512, 8  # a turn; fewer cost more in frames than sending them early gains
SHARE = 4  # of what is under way: while other hosts work on one part of it, this one works on the next
DEPUTY_SHARE = 2  # alone with the interpreter: fewer and larger frames
SUBMISSIONS_MAX = 65_536
LAST_WORDS_S = 0.2  # what is queued has so long to leave when the door shuts
BROKEN_TURNS_MAX = 100  # in a row

Answered = Callable[[Reply], None]


class Server:
    """A running host: its machines, its actors and its one I/O thread.

    Args:
        container: The pure machines (`agents.hosting.Container`).
        door: Its sockets; from now on the server's alone.
        seeds: Public addresses where other hosts may be.
        run_closure: Runs a closure on DNA, on a worker thread; None = closures are refused.
        report: Returns a closure's exception as text, and as bytes for its client; there too.
        persist: Writes the durable record, fsynced; raises `OSError`. None = an ephemeral host.
        process_state: What a member's process on this machine is seen to be; "" = can't be seen.
        keeper: Where snapshots go; None = an ephemeral host.
        run_merge: Makes one cell's DNA of those of two sides of a split, on a worker thread.
        sample: Measures the host about once a second, on a worker thread.
        read_roster: Returns the list of known keys if it has changed, else None; on a worker's
            thread, once a second. Raises `ValueError` or `OSError` if it can't be read.
        on_note: Called on the I/O thread with each note; must not block.
        owns_process: The process is this host's alone: its garbage collector may be tuned.
        clock: Monotonic seconds.
        wall: Seconds since the epoch, for the event log.
        vitals: Counts what metrics want to know beside; None = nobody asks.
    """

    def __init__(
        self,
        container: Any,
        door: Door,
        *,
        seeds: tuple[str, ...] = (),
        run_closure: RunClosureFn | None = None,
        report: ReportFn = plain_report,
        persist: Callable[[Record], None] | None = None,
        process_state: ProcessStateFn | None = None,
        keeper: Keeper | None = None,
        run_merge: RunMergeFn | None = None,
        sample: Callable[[], Load] | None = None,
        read_roster: Callable[[], Roster | None] | None = None,
        on_note: Callable[[Noted], None] | None = None,
        owns_process: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        vitals: Vitals | None = None,
    ) -> None:
        self.container = container
        self.door = door
        self.clock = clock
        self.log = Log(wall, on_note)
        self.notes = self.log.notes
        self.timers = Timers()
        self.workers = Workers(self._wake, clock=clock, told=self._no_thread)
        self.dispatcher = Dispatcher(self._wake)
        self.clients = Clients(door)
        self.performer = Performer(self, run_closure, report, persist, process_state, keeper, run_merge)
        self._cast = Cast(self)
        self.tell_host, self.tell_colony = self._cast.tell_host, self._cast.tell_colony
        self.colony_broke = self._cast.colony_broke
        self.late_s = 0.0
        self.late_count, self.late_total_s = 0, 0.0
        self.submitted = self._submitted_before = 0  # requests of embedding threads, ever
        self.ticked_s = clock()  # when the loop last took a tick; any thread may read it
        self.vitals = vitals
        if vitals is not None:
            self.clients.on_probe = lambda caller, reply: vitals.sampler.answered(caller, reply, clock())
        self._submissions: deque[tuple[Any, Any]] = deque()
        self._at_turn_end: list[Callable[[], None]] = []
        self._sample = sample
        self._read_roster = read_roster
        self._roster_trouble = ""
        self._seeds = Seeds(seeds)
        self._owns_process = owns_process
        self._asleep = self._holds_clients = False
        self._baton = Baton(self, getattr(door, "incoming", None))
        self._untold = self.log.untold
        self._is_stopping = self._is_over = False
        self._thread: threading.Thread | None = None
        self._tick_due_s = 0.0
        self._sample_due_s = 0.0
        self._has_owned_up = self._is_hurried = False
        self._broken_turns = 0
        self._has_begun = False
        self._ident = 0
        self.home: HomeCore | None = None  # where callers of a shared process wait

    # -- from other threads ------------------------------------------------------

    def start(self) -> None:
        """Run the loop in a daemon thread of its own."""
        if self._thread is not None:
            raise RuntimeError("a server runs once")
        self._has_begun = True
        self._thread = threading.Thread(target=self.run, name="colony-io", daemon=True)
        self._thread.start()

    def stop(self, patience_s: float = 5.0) -> None:
        """End the loop, and wait for its thread; any thread, as often as it likes."""
        self._is_stopping = True
        self.door.wake()
        thread = self._thread
        if not self._has_begun:
            self._end()
        elif thread is not None and thread is not threading.current_thread():
            thread.join(patience_s)

    @property
    def halt(self) -> Halt | None:
        """Why the host ended by itself; None = it has not."""
        return self.performer.halt

    def submit(self, request: Any, callback: Answered, *, wake: bool = True) -> bool:
        """Hand in a request; `callback(reply)` runs in a turn.

        Args:
            wake: Have it looked at; else the caller sees to that: it stands in, or rings.

        Returns:
            False if it was not taken (too many wait, or the host has ended):
            nothing was applied, and the callback is never called.
        """
        if len(self._submissions) >= SUBMISSIONS_MAX or self._is_stopping:
            return False
        handed_in = (request, callback)
        self._submissions.append(handed_in)
        if wake:
            self._wake()
        if self._is_over:  # it ended meanwhile: was this answered with the others, or not?
            try:
                self._submissions.remove(handed_in)
            except ValueError:
                return True
            return False
        return True

    def reread_roster(self) -> None:
        """Look at the list of known keys now; any thread, a signal handler too."""
        self._sample_due_s = 0.0

    def call(self, request: Any, callback: Answered, caller: Caller, timeout_s: float) -> bool:
        """Like `submit`, for a thread that has nothing to do until it is answered: it may help.

        `caller.reply` is set by the callback, which may run on this thread; `leave` follows in any case.
        """
        if not self._baton.enter(caller):
            return self.submit(request, callback)
        self._submissions.append((request, callback))
        self._baton.lead(caller, timeout_s)
        return True

    def leave(self, caller: Caller) -> None:
        """Forget a caller: it waits no more; any thread."""
        self._baton.leave(caller)

    def appoint(self, deputy: Deputy) -> int | None:
        """Have an event loop take turns while its tasks wait: see `Baton.appoint`."""
        return self._baton.appoint(deputy)

    def stand_in(self, deputy: Deputy) -> bool:
        """Take the turns that are due, on a deputy's thread; False: it is none any more."""
        return self._baton.stand_in(deputy)

    def resign(self, deputy: Deputy) -> None:
        """Let a deputy take no more turns."""
        self._baton.resign(deputy)

    def tell(self, event: Any) -> None:
        """Tell the host's machine an event; any thread."""
        self._cast.host.actor_ref.tell(event)

    def read(self, key: bytes) -> Any:
        """Return a committed cell, or why not, without the I/O thread; any thread."""
        return self.container.read(key, self.clock())

    def at_turn_end(self, call: Callable[[], None]) -> None:
        """Call once when this turn is over; on the I/O thread only.

        A callback that gathers replies hands them on in one go that way.
        """
        self._at_turn_end.append(call)

    # -- the loop ------------------------------------------------------------------

    def run(self) -> int:
        """Run the loop in this thread until it halts or is stopped.

        Returns:
            The exit status: 0 when stopped, else what the host halted with.
        """
        self._has_begun = True
        self._baton.acquire()
        self._ident = threading.get_ident()
        self.dispatcher.own(self._ident)
        if self._owns_process:
            self.door.keep_vigil()
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 20, 100)  # a full collection over a large heap stalls heartbeats
        else:
            self.home = self.workers.home = new_home(threading.get_native_id())
        self._tick_due_s = self._sample_due_s = self.clock()
        try:
            while self.performer.halt is None and not self._is_stopping:
                self._try_turn()
        finally:
            self._end()
            self._baton.release()
        return self.performer.halt.status if self.performer.halt is not None else 0

    def _try_turn(self) -> None:
        """Sleep, and take a turn; what breaks outside all machines is noted, and tried again."""
        try:
            self._turn(self._sleep())
            self._broken_turns = 0
        except Exception as error:
            self._turn_broke(error)

    def _turn_broke(self, error: Exception) -> None:
        self.fault("loop", error)
        self._broken_turns += 1
        if self._broken_turns >= BROKEN_TURNS_MAX:
            self.performer.halt = Halt(1, f"the loop is broken: {error!r}")

    def _sleep(self) -> int:
        """Poll until something is ready or due, without the baton; return what is ready."""
        now_s = self.clock()
        timeout_s = 0.0
        if not self.performer.has_more and not self.clients.has_replies:
            timeout_s = self._due_s() - now_s
        if self.clients.is_over_limit is not self._holds_clients:
            self._holds_clients = not self._holds_clients
            self.door.hold_clients(self._holds_clients)
        timeout_s = self.door.prepare(timeout_s)
        timeout_s = max(0.0, min(timeout_s, self._baton.look_after(now_s) - now_s))
        self._asleep = True  # first this, then look: who hands in now wakes us, or is seen
        if self._submissions or self.dispatcher.ready or self.workers.results or self._is_stopping:
            timeout_s = 0.0
        self._baton.sleeps_until_s = now_s + timeout_s
        self._baton.release()
        try:
            fds = self.door.wait(timeout_s)
        finally:
            self._baton.acquire()
            self._asleep = False
        return self.door.note(fds)

    # -- for callers that lead ---------------------------------------------------------

    def is_over(self) -> bool:
        """Return whether no turn may be taken any more."""
        return self._is_stopping or self.performer.halt is not None or not self._ident

    def carry(self, fds: list[int]) -> None:
        """Take a turn on the thread of a caller that holds the baton."""
        was_asleep, self._asleep = self._asleep, False
        self.dispatcher.own(threading.get_ident())
        try:
            self._turn(self.door.note(fds))
            self._broken_turns = 0
        except Exception as error:
            self._turn_broke(error)
        except BaseException as error:
            # A signal's handler raised in the midst of a machine. What that left half done must not be
            # told to anybody: this host ends like one that was killed.
            self.performer.is_mute = True
            self.performer.halt = Halt(1, f"interrupted in the midst of a turn: {error!r}")
            raise
        finally:
            self.dispatcher.own(self._ident)  # its thread may ask and tell like any other again
            self._asleep = was_asleep

    @property
    def is_asked(self) -> bool:
        """Whether requests of this process wait for a turn."""
        return bool(self._submissions)

    def next_s(self) -> float:
        """Return when the loop must be awake again; -inf = at once."""
        performer = self.performer
        if (
            self._submissions
            or self._untold
            or performer.said
            or performer.outbox
            or performer.halt is not None
            or self.clients.has_replies
            or self.dispatcher.ready
            or self.workers.results
            or self.door.has_news
        ):
            return -inf
        return self._due_s()

    def _due_s(self) -> float:
        """Return when a timer, a tick, a chunk or a worker needs the loop."""
        due_s = self.timers.next_s
        if self.performer.bulk.waiting or self.workers.jobs:
            due_s = min(due_s, self.performer.bulk.due_s(), self.workers.due_s)
        return due_s if due_s < self._tick_due_s else self._tick_due_s

    def ring(self) -> None:
        """Wake the I/O thread; any thread."""
        self._wake()

    def _wake(self) -> None:
        if self._asleep:
            self._asleep = False  # one ring is enough
            self.door.wake()

    def _turn(self, ready: int) -> None:
        now_s = self.clock()
        if now_s - self._tick_due_s > LATE_S:
            self._own_up(now_s)
        if self._untold and threading.get_ident() == self._ident:
            self.log.tell()
        if ready & HOSTS:
            self._take_host_frames()
        if ready & LOST:  # after what came before it: last words are often read with the end of their link
            self._take_lost()
        if self._submissions:
            self._take_submissions()
        if ready & CLIENTS:
            self._take_client_frames()
        if ready & GREETED:
            self._take_greetings()
        if self.workers.results:
            self.workers.drain()
        if self.workers.jobs:
            self.workers.look()
        if self.dispatcher.ready:
            self.dispatcher.run_ready()
        now_s = self.clock()
        if now_s >= self.timers.next_s:
            self.timers.run_due(now_s)
        if now_s >= self._tick_due_s and not self._own_up(now_s):
            self._tick(now_s)
        self._flush()

    def _flush(self) -> None:
        """Send what the turn had to say: hosts first, they wait for nobody else."""
        performer = self.performer
        if performer.said:
            performer.tell_all()
        if performer.bulk.waiting:
            performer.release(self.clock())
        if performer.outbox:
            performer.flush_links()
        clients = self.clients
        if (clients.has_replies or clients.later) and not performer.is_mute:
            clients.flush()
        if clients.gone:
            for caller, watch in clients.orphaned():
                self.tell_host(Requested(caller, Unwatch(0, watch)))
        if self._at_turn_end:
            calls, self._at_turn_end = self._at_turn_end, []
            for call in calls:
                self._guard("callback", call)
        self._baton.turned()

    # -- what comes in ---------------------------------------------------------------

    def _take_host_frames(self) -> None:
        for source, data in self.door.receive_host_frames(HOST_FRAMES):
            try:
                self._take_host_frame(source, data)
            except Exception as error:  # links are no actor: this one goes down, the loop doesn't
                self.fault("link", error)
                self._link_effects(self.container.links.on_bad_frame(source, repr(error), self.clock()))

    def _take_host_frame(self, source: Source, data: bytes) -> None:
        links = self.container.links
        try:
            frame = decode_link_frame(data)
        except WireError as error:
            self._link_effects(links.on_bad_frame(source, str(error), self.clock()))
            return
        effects = links.on_frame(source, frame, self.clock(), len(data))
        if len(effects) == 1 and type(effects[0]) is DeliverMessages:
            self.performer.deliver(effects[0].sender, effects[0].messages)
        elif effects:
            self._link_effects(effects)

    def _link_effects(self, effects: list[Any]) -> None:
        self.performer.perform(effects, None)
        self.performer.tell_all()

    def _take_lost(self) -> None:
        for host, incarnation, reason in self.door.lost():
            self._link_effects(self.container.links.on_pipe_lost(host, incarnation, reason, self.clock()))

    def _take_submissions(self) -> None:
        submissions, performer = self._submissions, self.performer
        waiting = len(submissions)
        parts = SHARE if self._baton.deputy is None else DEPUTY_SHARE
        share = (self.submitted - performer.answered + waiting) // parts
        ready = min(waiting, max(SUBMISSIONS_MIN, min(share, SUBMISSIONS)))
        self.submitted += ready
        performer.bulk.asked_s = self.clock()
        for _ in range(ready):
            request, callback = submissions.popleft()
            self._request(callback, request)
            if performer.said:
                performer.tell_all()

    def _take_client_frames(self) -> None:
        clients, performer = self.clients, self.performer
        now_s, guarded = self.clock(), self.door.guarded
        performer.bulk.asked_s = now_s
        for client, data in self.door.receive_client_frames(CLIENT_FRAMES):
            try:
                requests = decode_requests(data)
            except WireError as error:
                clients.answer(ClientCaller(client, 0, 0, now_s), Reply(0, BAD, text=str(error)))
                continue
            if guarded is not None:
                requests = self._allowed(guarded, client, requests)
            if clients.is_crowded and clients.is_greedy(client, now_s):
                self._refuse_all(client, requests)
                continue
            caller = clients.took(client, len(requests), len(data), now_s)
            if self.vitals is not None:
                self.vitals.sampler.pick(caller, requests)
            for request in requests:
                self._request(caller, request)
                if performer.said:
                    performer.tell_all()

    def _refuse_all(self, client: bytes, requests: list[Any]) -> None:
        """Leave room for others: who has filled half of it waits for its answers first."""
        text = "too much that you asked for is under way already"
        caller = ClientCaller(client, 0, 0, 0.0)
        for request in requests:
            self.clients.answer(caller, Reply(request.id, FULL, text=text))

    def _allowed(self, guarded: Guarded, client: bytes, requests: list[Any]) -> list[Any]:
        """Return the requests that this client's role may ask for; the others are answered."""
        holder = guarded.holder(client)
        if holder is None:
            return []  # it is gone
        allowed = []
        for request in requests:
            why = refusal(holder, request)
            if not why:
                allowed.append(request)
                continue
            guarded.denied(client, why)
            self.clients.answer(ClientCaller(client, 0, 0, 0.0), Reply(request.id, DENIED, text=why))
        return allowed

    def _request(self, caller: Any, request: Any) -> None:
        colony = self.container.colony_of(request)
        if colony is not None:
            self.tell_colony(colony, Requested(caller, request))
        elif type(request) is Admin and request.command == "events":
            name = self.container.membership.me.name
            self.performer.answer(caller, self.log.answer(request, name))
        elif type(request) is Admin and request.command == "vitals":
            report = self.vitals.report(self) if self.vitals is not None else {}
            self.performer.answer(caller, Reply(request.id, OK, text=json.dumps(report)))
        else:
            if type(caller) is ClientCaller and type(request) in (Watch, Unwatch):
                self.clients.watched(caller, request)
            self.tell_host(Requested(caller, request))

    def _take_greetings(self) -> None:
        for address, answer in self.door.greetings():
            self.tell_host(self._seeds.heard(address, answer, self.container.membership.me.id))
            self.performer.tell_all()

    # -- time ------------------------------------------------------------------------

    def _tick(self, now_s: float) -> None:
        self._tick_due_s = max(self._tick_due_s + TICK_S, now_s)  # a late loop doesn't catch up
        self._has_owned_up = self._is_hurried = False
        self.ticked_s = now_s
        self._cast.tick()
        self.performer.tell_all()
        self._guard("link", lambda: self._link_effects(self.container.links.tick(now_s)))
        self.clients.forget_answered(now_s)
        membership = self.container.membership
        alone = membership.view is None or not membership.quorum.held(now_s)
        for address in self._seeds.due(now_s, alone):
            self.door.greet(address)
        self.clients.try_watchers(now_s)
        if self.door.refusals.fresh:
            for note in self.door.refusals.take():
                self.note(note)
        if now_s >= self._sample_due_s:
            self._sample_due_s = now_s + 1.0
            if self.submitted == self._submitted_before:
                self.performer.answered = (
                    self.submitted
                )  # what was not answered by now has been asked elsewhere
            self._submitted_before = self.submitted
            if self._sample is not None:
                self.workers.submit(self._sample, self._sampled)
            if self._read_roster is not None:
                self.workers.submit(self._read_roster, self._roster_read)
        if self.home is not None:
            self.home.look(now_s)
        if not self._is_hurried:
            rest_s = min(self.container.rests_until_s(now_s), now_s + REST_S, self._sample_due_s)
            self._tick_due_s = max(self._tick_due_s, rest_s)

    def hurry(self) -> None:
        """Something happened: the next tick must not wait until the host has rested."""
        self._is_hurried = True
        soon_s = self.ticked_s + TICK_S
        if self._tick_due_s > soon_s:
            self._tick_due_s = max(soon_s, self.clock())

    def _own_up(self, now_s: float) -> bool:
        """Tell of a stall before anything is made of the others' silence.

        Returns:
            True if the tick must wait for the next turn: what the others sent
            meanwhile is to be heard first. Never twice in a row.
        """
        late_s = now_s - self._tick_due_s
        if late_s <= LATE_S or self._has_owned_up:
            return False
        self._has_owned_up = True
        self._tick_due_s = now_s
        self.late_s = max(self.late_s, late_s)
        self.late_count += 1
        self.late_total_s += late_s
        self.tell_host(LoopWasLate(late_s))
        self.performer.tell_all()
        return True

    def _sampled(self, load: Any, error: Exception | None) -> None:
        if error is not None:
            self.note(Note("sample_failed", repr(error)))
            return
        self.tell_host(LoadMeasured(msgspec.structs.replace(load, late_s=self.late_s)))
        self.late_s *= 0.5  # an old stall fades
        if self.vitals is not None:
            self.vitals.look(self.container)

    def _no_thread(self, reason: str) -> None:
        then = "closures, snapshots and measurements wait; see the limit of processes (ulimit -u, pids.max)"
        self.note(Note("no_thread", f"{reason}: {then}"))

    def _roster_read(self, roster: Roster | None, error: Exception | None) -> None:
        """Go by a changed list of keys; one that can't be read leaves the old one in force."""
        trouble = "" if error is None else str(error) or repr(error)
        if trouble and trouble != self._roster_trouble:
            self.note(Note("keys_unreadable", f"the list of keys as it was stays in force: {trouble}"))
        self._roster_trouble = trouble
        if roster is not None and self.door.guarded is not None:
            self.note(Note("keys_changed", f"{len(roster)} keys are authorised from now on"))
            self.door.guarded.roster_changed(roster)

    # -- what is noted ---------------------------------------------------------------

    def note(self, note: Note) -> None:
        """Log a note, for events, log and dashboard alike."""
        self.log.add(note)
        if self.vitals is not None:
            self.vitals.noted(note)
        if threading.get_ident() == self._ident or not self._ident:
            self.log.tell()  # never on a caller's thread: who listens may want a lock that it holds

    def fault(self, what: str, error: BaseException, colony: int | None = None) -> None:
        """Log that something broke, with its traceback, and note it."""
        logger.error("%s broke", what, exc_info=error)
        self.note(Note(f"{what}_broke", repr(error), colony))

    def _guard(self, what: str, call: Callable[[], None]) -> None:
        """Call; an exception is noted, and goes no further."""
        try:
            call()
        except Exception as error:
            self.fault(what, error)

    # -- the end -----------------------------------------------------------------------

    def _end(self) -> None:
        """Say what is left to say, answer who waits, and close everything."""
        if self._is_over:
            return
        self._is_stopping = self._is_over = True
        self._cast.end()
        self._guard("flush", self._flush)
        halt = self.performer.halt
        reason = halt.reason if halt is not None else "the host was stopped"
        while self._submissions:
            request, callback = self._submissions.popleft()
            self.performer.answer(callback, Reply(request.id, UNAVAILABLE, text=reason))
        self._guard("flush", self._flush)
        self.dispatcher.close()
        self.dispatcher.own(None)
        self.workers.close()
        self.door.shut(LAST_WORDS_S)
