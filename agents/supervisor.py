"""A supervisor: keeps the hosts of one box running, and its neighbours.

Events in, effects out; no process, no socket, no clock.

- What runs is adopted, never started twice: the registry names process and
  start time, and before a process is started its token is written down, by
  which it is found if the supervisor dies in between.
- A death is attested only if it was seen: see `agents.services.End`.
- Supervisors watch each other, and start each other again on one machine.
- Hosts outlive their supervisor; only `--stop-hosts` makes it stop them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from agents import recruiting
from agents.neighbours import Beat, Heard, Neighbours
from agents.recruiting import Recruiter
from agents.services import (
    DONE,
    HOPELESS,
    HOST,
    SUPERVISOR,
    End,
    Handle,
    Kept,
    Phase,
    Plan,
    Service,
    taken_over,
)

EXIT_GAVE_UP = 5  # as a host that gave up: somebody should look before it starts again

Effect = Any


@dataclass(frozen=True, slots=True)
class Start:
    """Start a process; the registry holds its token already."""

    service: str
    token: str
    slot: int
    restarts: int


@dataclass(frozen=True, slots=True)
class Find:
    """Look for the process of this token: whether it was started nobody wrote down."""

    service: str
    token: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask a process to end in good order; `now`: it is to end at once."""

    service: str
    handle: Handle
    now: bool = False


@dataclass(frozen=True, slots=True)
class Attest:
    """Tell the cluster's hosts that this process of a host is gone for sure."""

    host: str
    handle: Handle
    reason: str


@dataclass(frozen=True, slots=True)
class Tell:
    """Say this on the console, and, if it has a kind, in the cluster's event log."""

    kind: str
    reason: str
    host: str = ""


@dataclass(frozen=True, slots=True)
class Save:
    """Write the registry, before whatever effect comes next."""


@dataclass(frozen=True, slots=True)
class Finish:
    """End the supervisor with this exit status."""

    status: int
    reason: str


class Supervisor:
    """One box's supervisor; all calls from one thread.

    Args:
        kept: What the registry says of the one before.
        machine: Identity of this machine; "" = unknown.
        life: Names this run; greater than those before.
        patience_s: How long more hosts must be wanted before one is added.
    """

    def __init__(
        self, plan: Plan, kept: Kept, *, machine: str, life: int, now_s: float, patience_s: float = 20.0
    ) -> None:
        self.plan = plan
        self.services = taken_over(plan, kept)
        self.neighbours = Neighbours(plan.name, machine)
        self._recruiter = Recruiter(patience_s)
        self._life = life
        self._stop_by_s = inf  # hosts are being stopped until then
        self._is_finished = False
        self._out: list[Effect] = []
        for service in self.services.values():
            service.since_s = service.due_s = now_s

    # -- what others read --------------------------------------------------------------

    @property
    def hosts(self) -> list[Service]:
        """The hosts of this box, by slot."""
        return sorted((s for s in self.services.values() if s.kind == HOST), key=lambda s: s.slot)

    @property
    def is_stopping(self) -> bool:
        """Whether its hosts are being stopped."""
        return self._stop_by_s < inf

    def due_s(self) -> float:
        """Return when `tick` has something to do at the latest; recruiting aside."""
        starts = [s.due_s for s in self.services.values() if s.phase is Phase.DUE]
        return min([*starts, self._stop_by_s, self.neighbours.next_s()])

    # -- events ------------------------------------------------------------------------

    def begin(self, now_s: float) -> list[Effect]:
        """Take up the work."""
        running = [s.name for s in self.hosts if s.phase is Phase.RUNNING]
        if running:
            self._tell("supervisor", f"takes over {', '.join(running)}, which went on without a supervisor")
        for service in self.services.values():
            if service.phase is Phase.STARTING:
                self._out.append(Find(service.name, self._token(service)))
        self._out.append(Save())
        return self.tick(now_s)

    def tick(self, now_s: float) -> list[Effect]:
        """Do what is due."""
        if self._is_finished:
            return self._done()
        for service in list(self.services.values()):
            if service.phase is Phase.DUE and now_s >= service.due_s:
                self._start(service)
        for beat in self.neighbours.gone_silent(now_s):
            self._fell_silent(beat)
        if now_s >= self._stop_by_s:
            self._stop_by_s = now_s + self.plan.stop_s
            for service in self.hosts:
                if service.phase is Phase.STOPPING and service.handle is not None:
                    self._out.append(Stop(service.name, service.handle, now=True))
        if not self.is_stopping:
            running = sum(not s.phase.is_over for s in self.hosts)
            is_busy = any(s.phase in (Phase.DUE, Phase.STARTING) for s in self.hosts)
            name = self._next_name()
            self._recruit(self._recruiter.tick(name, running, now_s, is_busy=is_busy), now_s)
        return self._done()

    def started(self, name: str, token: str, handle: Handle, now_s: float) -> list[Effect]:
        """A process was started, or found by its token."""
        service = self.services.get(name)
        if service is None or service.phase is not Phase.STARTING or token != self._token(service):
            return self._done()
        service.enter(Phase.RUNNING)
        service.handle, service.since_s = dict(handle), now_s
        self._out.append(Save())
        if self.is_stopping and service.kind == HOST:
            self._stop(service)
        return self._done()

    def not_started(self, name: str, token: str, reason: str, now_s: float) -> list[Effect]:
        """A process could not be started; or none bears that token, so it never was."""
        service = self.services.get(name)
        if service is not None and service.phase is Phase.STARTING and token == self._token(service):
            self._failed(service, End(None, reason), now_s)
        return self._done()

    def ended(self, name: str, handle: Handle, end: End, now_s: float) -> list[Effect]:
        """A process ended."""
        service = self.services.get(name)
        if (
            service is None
            or service.handle != handle
            or service.phase not in (Phase.RUNNING, Phase.STOPPING)
        ):
            return self._done()  # that of a life before
        if service.kind == HOST and end.is_certain and end.status != DONE:
            self._out.append(Attest(name, handle, end.reason))  # first of all: somebody waits for a lease
        service.handle = None
        if service.phase is Phase.STOPPING or end.status == DONE:
            service.enter(Phase.LEFT, end.reason)
            order = "in good order" if end.status == DONE else f"{end.reason}: its colonies fail over"
            self._tell("supervisor", f"ended {order}; not started again", service)
            self._over(service, now_s)
        else:
            self._failed(service, end, now_s)
        return self._done()

    def members(self, active: Collection[str], now_s: float) -> list[Effect]:
        """The cluster lists these hosts of ours as ACTIVE, by the very processes that run here."""
        for service in self.hosts:
            is_ready = service.name in active and service.phase is Phase.RUNNING
            if is_ready and not service.is_ready:
                self._tell("", "ACTIVE", service)
                if service.name == self._recruiter.host:
                    self._recruit(self._recruiter.settled(now_s), now_s)
            if is_ready is not service.is_ready:
                self._out.append(Save())
            service.is_ready = is_ready
        return self._done()

    def wanted(self, hosts: int, because: str, asked_s: float, now_s: float) -> list[Effect]:
        """The cluster said, to a question of `asked_s`, how many more hosts it wants."""
        if not self.is_stopping:
            self._recruit(self._recruiter.wanted(hosts, because, asked_s, now_s), now_s)
        return self._done()

    def claimed(self, won: bool, now_s: float) -> list[Effect]:
        """A claim was won, or not."""
        self._recruit(self._recruiter.claimed(won, now_s), now_s)
        return self._done()

    def beat(self, beat: Beat, now_s: float) -> list[Effect]:
        """Another supervisor said something."""
        news = self.neighbours.heard(beat, now_s)
        if news is not None:
            self._heard(news, now_s)
        return self._done()

    def look_again(self, now_s: float) -> list[Effect]:
        """Somebody asks to try again with what had left or was given up."""
        for service in self.services.values():
            if service.phase.is_over and service.kind == HOST:
                service.enter(Phase.DUE, "somebody asked for it")
                service.failures, service.due_s = 0, now_s
        return self.tick(now_s)

    def stop(self, now_s: float, *, hosts: bool) -> list[Effect]:
        """End; with `hosts`, they leave first, in good order. Who says it twice waits for nobody."""
        if self.is_stopping:
            leaving = [s.name for s in self.hosts if s.phase is Phase.STOPPING]
            self._finish(DONE, f"asked for twice: {', '.join(leaving)} leave by themselves")
        elif not hosts:
            running = [s.name for s in self.hosts if s.phase is Phase.RUNNING]
            said = f"{', '.join(running)} go on" if running else "nothing runs here"
            self._finish(DONE, f"{said} without a supervisor, until the next one takes over")
        else:
            self._stop_by_s = now_s + self.plan.stop_s
            for service in self.hosts:
                if service.phase is Phase.DUE:
                    service.enter(Phase.LEFT, "the supervisor ends")
                elif service.phase is Phase.RUNNING:
                    self._stop(service)
            self._look_around()
        return self._done()

    # -- hosts -------------------------------------------------------------------------

    def _token(self, service: Service) -> str:
        """Return what marks the process of the latest start: no two of one registry are alike."""
        return f"{self.plan.name}/{service.name}/{service.starts}"

    def _start(self, service: Service) -> None:
        service.enter(Phase.STARTING, service.reason)
        service.starts += 1
        self._out += [Save(), Start(service.name, self._token(service), service.slot, service.restarts)]

    def _stop(self, service: Service) -> None:
        assert service.handle is not None, "what runs has a handle"
        service.enter(Phase.STOPPING, "the supervisor ends")
        self._out.append(Stop(service.name, service.handle))

    def _failed(self, service: Service, end: End, now_s: float) -> None:
        """A service ended, and nobody had asked it to: again after a pause, or never."""
        ladder = self.plan.ladder if service.kind == HOST else self.plan.neighbours
        if self.is_stopping and service.kind == HOST:
            service.enter(Phase.LEFT, end.reason)
            return self._over(service, now_s)
        if service.phase is Phase.RUNNING and now_s - service.since_s >= ladder.steady_s:
            service.failures = 0
        service.failures += 1
        hopeless = HOPELESS.get(end.status, "") if end.status is not None else ""
        if hopeless or service.failures >= ladder.failures_max:
            often = f"{service.failures} failures in a row, the last one " if not hopeless else ""
            because = f"{often}{end.reason}" + (f": {hopeless}" if hopeless else "")
            service.enter(Phase.GIVEN_UP, because)
            todo = "look at its log, mend it, then send SIGHUP to the supervisor, or start it anew"
            self._tell("gave_up", f"given up after {because}; {todo}", service)
            self._over(service, now_s)
        else:
            pause_s = ladder.pause_s(service.failures)
            service.enter(Phase.DUE, end.reason)
            service.due_s = now_s + pause_s
            row = f", failure {service.failures} of {ladder.failures_max} in a row" * (service.failures > 1)
            self._tell("restart", f"ended {end.reason}; started again in {pause_s:g} s{row}", service)
            self._out.append(Save())

    def _over(self, service: Service, now_s: float) -> None:
        """Nothing is done for a service any more."""
        self._out.append(Save())
        if service.name == self._recruiter.host:
            self._recruit(self._recruiter.settled(now_s), now_s)
        self._look_around()

    def _look_around(self) -> None:
        """End if there is nothing left to look after."""
        hosts = self.hosts
        if self._is_finished or any(not s.phase.is_over for s in hosts):
            return
        given_up = [s for s in hosts if s.phase is Phase.GIVEN_UP]
        if self.is_stopping:
            self._finish(DONE, "its hosts have ended")
        elif given_up:
            why = "; ".join(f"{s.name}: {s.reason}" for s in given_up)
            self._finish(EXIT_GAVE_UP, f"gave up all that it had to look after: {why}")
        elif self.plan.hosts:
            self._finish(DONE, "all its hosts have left")

    # -- more hosts --------------------------------------------------------------------

    def _next_name(self) -> str:
        """Return what one more host would be called; "" = there is room for none."""
        here = [s for s in self.hosts if not (s.is_added and s.phase is Phase.LEFT)]
        slots, names = {s.slot for s in here}, {s.name for s in here}
        free = (f"{self.plan.name}-{slot + 1}" for slot in range(self.plan.hosts_max) if slot not in slots)
        return next((name for name in free if name not in names), "")

    def _recruit(self, orders: list[recruiting.Order], now_s: float) -> None:
        for order in orders:
            if isinstance(order, recruiting.Recruit):
                name, before = order.host, self.services.get(order.host)
                slot, starts = int(name.rpartition("-")[2]) - 1, before.starts if before is not None else 0
                service = self.services[name] = Service(name, slot=slot, is_added=True, starts=starts)
                self._tell(
                    "capacity", f"one more host, for the cluster asks for it: {order.because}", service
                )
                self._start(service)
            elif isinstance(order, recruiting.NoRoom):
                room = f"{self.plan.hosts_max} host{'s' * (self.plan.hosts_max != 1)} may be here"
                why = f"the cluster asks for one more host ({order.because}), and there is no room: {room}"
                self._tell("capacity", f"{why}; raise --max-hosts, or add a box")
            else:
                self._out.append(order)

    # -- other supervisors -------------------------------------------------------------

    def _heard(self, news: Heard, now_s: float) -> None:
        beat = news.beat
        name = f"supervisor:{beat.name}"
        if news.silent_s and not news.is_new:
            self._tell("supervisor", f"{beat.name} is heard again after {news.silent_s:.0f} s")
        if news.is_new and beat.gave_up:
            self._tell("", f"{beat.name} has given up {', '.join(beat.gave_up)}")
        if not self.neighbours.is_near(beat):
            return
        service = self.services.setdefault(name, Service(name, SUPERVISOR, phase=Phase.LEFT))
        service.folder = beat.folder
        if beat.is_last:
            if service.phase is not Phase.LEFT and service.phase is not Phase.STARTING:
                service.enter(Phase.LEFT, "it ended in good order")
            service.handle = None
        elif service.phase is not Phase.STARTING:
            handle = {
                "machine": beat.machine,
                "pid": beat.pid,
                "started_s": beat.started_s,
                "folder": beat.folder,
            }
            if service.handle != handle:
                if service.phase is not Phase.RUNNING:
                    service.enter(Phase.RUNNING)  # whoever started it was faster than we
                service.handle, service.since_s = handle, now_s
        self._out.append(Save())

    def _fell_silent(self, beat: Beat) -> None:
        service = self.services.get(f"supervisor:{beat.name}")
        if service is None:
            hosts = ", ".join(beat.hosts) or "no hosts"
            self._tell(
                "supervisor",
                f"{beat.name} is silent, on another machine: look there; nobody may be watching {hosts}",
            )
        elif service.phase is Phase.RUNNING:
            self._tell("supervisor", f"{beat.name} is silent, though its process runs: stopped, or stuck?")

    # -- plumbing ----------------------------------------------------------------------

    def _tell(self, kind: str, reason: str, service: Service | None = None) -> None:
        self._out.append(Tell(kind, reason, service.name if service is not None else ""))

    def _finish(self, status: int, reason: str) -> None:
        self._is_finished = True
        self._out += [Save(), Finish(status, reason)]

    def _done(self) -> list[Effect]:
        effects, self._out = self._out, []
        return effects


def active_here(
    services: Mapping[str, Service], members: Collection[Mapping[str, Any]], machine: str
) -> frozenset[str]:
    """Return our hosts that the cluster lists as ACTIVE, by the very process that runs here.

    A provider whose handles name no process of this machine is believed by name alone.
    """
    found = set()
    for member in members:
        service = services.get(str(member.get("name")))
        if service is None or service.handle is None or member.get("status") != "ACTIVE":
            continue
        pid = service.handle.get("pid") if service.handle.get("machine") == machine else None
        if member.get("heard") and pid in (None, member.get("pid")):
            found.add(service.name)
    return frozenset(found)
