"""`colony supervise`: the shell around a supervisor's core.

One thread runs the core; a second one watches processes; the desk has its
own. All of them tell the first by its inbox. Whatever the core decides is
performed in order: the registry is written before the process is started.
"""

from __future__ import annotations

import os
import queue
import select
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agents.neighbours import BEAT_S, Beat
from agents.recruiting import AskCapacity, Claim, Keep
from agents.services import HOST, SUPERVISOR, End, Handle, Phase, Plan, Service
from agents.supervisor import Attest, Find, Finish, Save, Start, Stop, Supervisor, Tell, active_here
from colony.control import ControlLink
from colony.desk import Answered, Attested, ClaimAnswered, Desk, is_attestable
from colony.notify import Herald
from colony.providers import Alarms, Finds, Order, Processes, Provider
from colony.registry import Card, Registry, RegistryError, kept_of, read
from placement import probe

TURN_S = 0.2  # how soon a signal is obeyed
LOOK_S = 0.5  # how often processes are looked at that raise no alarm
KEPT_VARIABLES = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "HOME", "LANG")  # and COLONY_*: what starts it again

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Setup:
    """What the command line says, besides the plan.

    Attributes:
        arguments_of: Returns what a host is started with: its name, slot, restarts, and where others are.
        addresses: Where hosts of the cluster may be.
        own: Those of them that are, or may be, on this box.
        patience_s: How long more hosts must be wanted.
        command: What starts this supervisor again.
    """

    folder: Path
    provider: Provider
    connect: Callable[..., Any]
    arguments_of: Callable[[str, int, int, list[str]], tuple[str, ...]]
    addresses: tuple[str, ...]
    own: tuple[str, ...]
    link: ControlLink | None
    patience_s: float
    command: list[str]


@dataclass(frozen=True, slots=True)
class Ended:
    """A process ended."""

    service: str
    handle: Handle
    end: End


@dataclass(frozen=True, slots=True)
class Started:
    """A process was started, or found; without a handle it was not, and `reason` says why."""

    service: str
    token: str
    handle: Handle | None
    reason: str = ""


class NextDoor:
    """Starts a neighbouring supervisor by what its own registry says, and sees it end."""

    def __init__(self) -> None:
        self._processes = Processes()

    def start(self, order: Order) -> Handle:
        """Start the one of `order.folder`; raises `OSError` with the reason if that can't be done."""
        folder = str(order.folder)
        try:
            found = read(Path(folder))
        except RegistryError as error:
            raise OSError(str(error)) from None
        if found is None or not found[0].command:
            raise OSError(f"{folder} does not say how it is started")
        card, log = found[0], Path(folder) / "log"
        handle = self._processes.spawn(card.command, log, card.environment, card.cwd or None)
        return {**{key: handle[key] for key in ("machine", "pid", "started_s")}, "folder": folder}

    def poll(self, handle: Handle) -> End | None:
        """Return how it ended; one that ended in good order wrote so down."""
        end = self._processes.poll({"log": str(Path(str(handle["folder"])) / "log"), **handle})
        if end is None or end.status is not None:
            return end
        try:
            found = read(Path(str(handle["folder"])))
        except RegistryError:
            return end
        if found is not None and found[0].pid == handle["pid"] and found[0].ended is not None:
            return replace(end, status=found[0].ended, reason=f"with status {found[0].ended}")
        return end

    def alarm(self, handle: Handle) -> int | None:
        """Return a descriptor of its process, where the kernel has such."""
        return self._processes.alarm(handle)


class Watcher:
    """Sees processes end; one thread of its own."""

    def __init__(self, provider: Provider, next_door: NextDoor, inbox: Callable[[Any], None]) -> None:
        self._provider, self._next_door, self._inbox = provider, next_door, inbox
        self._watched: dict[str, tuple[str, Handle]] = {}  # service -> kind, handle
        self._lock = threading.Lock()
        self._hear, self._tell = socket.socketpair()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="colony-watcher", daemon=True)
        self._thread.start()

    def watch(self, services: Iterable[Service]) -> None:
        """Watch just the processes of these services."""
        found = {s.name: (s.kind, dict(s.handle)) for s in services if s.handle is not None}
        with self._lock:
            if found == self._watched:
                return
            self._watched = dict(found)
        self._tell.send(b"w")

    def close(self) -> None:
        """End the thread."""
        self._is_over = True
        self._tell.send(b"w")
        self._thread.join(1.0)
        self._hear.close()
        self._tell.close()

    def _run(self) -> None:
        while not self._is_over:
            with self._lock:
                watched = dict(self._watched)
            for name, (kind, handle) in watched.items():
                end = self._look(kind, handle)
                if end is not None:
                    with self._lock:
                        if self._watched.get(name) == (kind, handle):
                            del self._watched[name]
                    self._inbox(Ended(name, handle, end))
            self._sleep()

    def _look(self, kind: str, handle: Handle) -> End | None:
        try:
            return self._next_door.poll(handle) if kind == SUPERVISOR else self._provider.poll(handle)
        except (OSError, ValueError, KeyError):
            return None  # nobody can tell now

    def _sleep(self) -> None:
        """Wait until one of them ends, or there are others to watch, or it is time to look anyway."""
        with self._lock:
            watched = list(self._watched.values())
        alarms = [self._hear.fileno()]
        for kind, handle in watched:
            source: Any = self._next_door if kind == SUPERVISOR else self._provider
            alarm = source.alarm(handle) if isinstance(source, Alarms) else None
            if alarm is not None:
                alarms.append(alarm)
        poll = select.poll()
        for alarm in alarms:
            poll.register(alarm, select.POLLIN)
        if any(fd == self._hear.fileno() for fd, _ in poll.poll(LOOK_S * 1000)):
            self._hear.recv(64)


class Shell:
    """Runs one supervisor until it finishes.

    Args:
        tell: Says a line on the console.
        asked: What signals ask for: returns "", "stop", or "again".
        is_stopping_hosts: Whether they leave when it is to stop.

    Raises:
        RegistryError: The state directory can't be used.
    """

    def __init__(
        self,
        plan: Plan,
        setup: Setup,
        *,
        tell: Say,
        asked: Callable[[], str],
        is_stopping_hosts: bool,
        herald: Herald,
    ) -> None:
        self.setup, self._tell, self._asked = setup, tell, asked
        self._is_stopping_hosts, self._herald = is_stopping_hosts, herald
        self._registry = Registry(setup.folder)
        found = read(setup.folder)
        self._machine = probe.machine_identity()
        before = found[0].life if found is not None else 0
        self._card = _card(plan.name, setup.command, self._machine, max(before + 1, int(time.time())))
        kept = kept_of(found, self._machine)
        now_s = time.monotonic()
        life, patience_s = self._card.life, setup.patience_s
        self.core = Supervisor(
            plan, kept, machine=self._machine, life=life, now_s=now_s, patience_s=patience_s
        )
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._hear, self._wake = socket.socketpair()
        self._hear.setblocking(False)
        self._wake.setblocking(False)
        self._next_door = NextDoor()
        self._watcher = Watcher(setup.provider, self._next_door, self._put)
        self._desk = Desk(setup.connect, plan.name, setup.addresses, setup.own, self._put)
        self._starters = ThreadPoolExecutor(8, thread_name_prefix="colony-start")
        self._beats, self._beat_s = 0, 0.0
        self._finished: Finish | None = None
        self._status = ""

    def run(self, ready: Callable[[], None]) -> Finish:
        """Look after everything until there is an end; `ready` is called once all is taken up."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._hear, selectors.EVENT_READ)
            if self.setup.link is not None:
                selector.register(self.setup.link.socket, selectors.EVENT_READ)
            try:
                self._perform(self.core.begin(time.monotonic()))
                ready()
                while self._finished is None:
                    selector.select(self._pause_s())
                    self._turn(time.monotonic())
            finally:
                self._close()
        return self._finished

    # -- one turn ------------------------------------------------------------------------

    def _put(self, news: Any) -> None:
        """Take news from another thread."""
        self._inbox.put(news)
        try:
            self._wake.send(b"n")
        except OSError:
            pass  # it is awake, or over

    def _pause_s(self) -> float:
        now_s = time.monotonic()
        return max(0.0, min(TURN_S, self.core.due_s() - now_s, self._beat_s - now_s))

    def _turn(self, now_s: float) -> None:
        try:
            self._hear.recv(4096)
        except BlockingIOError:
            pass
        while self._finished is None and not self._inbox.empty():
            self._perform(self._heard(self._inbox.get(), now_s))
        if self.setup.link is not None:
            for beat in self.setup.link.heard():
                self._perform(self.core.beat(beat, now_s))
        asked = self._asked()
        if asked == "stop":
            self._herald.stopping("ends")
            self._perform(self.core.stop(now_s, hosts=self._is_stopping_hosts))
        elif asked == "again":
            self._perform(self.core.look_again(now_s))
        self._perform(self.core.tick(now_s))
        if now_s >= self._beat_s:
            self._beat_s = now_s + BEAT_S
            self._say_beat()
        self._watcher.watch(s for s in self.core.services.values() if s.handle is not None)
        self._say_status()

    def _heard(self, news: Any, now_s: float) -> list[Any]:
        """Return the effects of what another thread told."""
        if isinstance(news, Ended):
            return self.core.ended(news.service, news.handle, news.end, now_s)
        if isinstance(news, Started):
            if news.handle is None:
                return self.core.not_started(news.service, news.token, news.reason, now_s)
            self._describe(news.service, news.handle)
            return self.core.started(news.service, news.token, news.handle, now_s)
        if isinstance(news, Answered):
            answer = news.answer
            active = active_here(self.core.services, answer.get("members") or (), self._machine)
            wanted = int(answer.get("wanted") or 0) if answer.get("quorum") else 0
            because = str(answer.get("because") or "")
            effects = self.core.members(active, now_s)
            return effects + self.core.wanted(wanted, because, news.asked_s, now_s)
        if isinstance(news, ClaimAnswered):
            return self.core.claimed(news.won, now_s)
        assert isinstance(news, Attested), "nobody else tells"
        self._tell(f"{news.host}: death told to the cluster: {news.outcome}")
        return []

    def _say_beat(self, *, is_last: bool = False) -> None:
        if self.setup.link is None:
            return
        self._beats += 1
        card, hosts = self._card, self.core.hosts
        running = tuple(s.name for s in hosts if s.phase is Phase.RUNNING)
        gave_up = tuple(s.name for s in hosts if s.phase is Phase.GIVEN_UP)
        self.setup.link.say(
            Beat(
                card.name,
                card.machine,
                card.pid,
                card.started_s,
                card.life,
                self._beats,
                str(self.setup.folder.absolute()),
                running,
                gave_up,
                is_last,
            )
        )

    def _say_status(self) -> None:
        """Tell the service manager; ask the cluster more often while somebody is on the way."""
        hosts = self.core.hosts
        self._desk.is_hasty = any(not s.is_ready and not s.phase.is_over for s in hosts)
        told = ", ".join(f"{s.name} {'ACTIVE' if s.is_ready else s.phase.value}" for s in hosts)
        if told != self._status:
            self._status = told
            self._herald.status(told)

    # -- effects -------------------------------------------------------------------------

    def _perform(self, effects: Iterable[Any]) -> None:
        for effect in effects:
            if isinstance(effect, Save):
                self._registry.save(self._card, self.core.services.values())
            elif isinstance(effect, Tell):
                self._say(effect)
            elif isinstance(effect, Attest):
                if is_attestable(effect.handle):
                    self._desk.attest(effect)
            elif isinstance(effect, Start):
                self._starters.submit(self._start, effect, self._order(effect))
            elif isinstance(effect, Find):
                self._starters.submit(self._find, effect, self._order(effect))
            elif isinstance(effect, Stop):
                self._starters.submit(self._stop, effect)
            elif isinstance(effect, Claim | Keep):
                self._desk.order(effect)
            elif isinstance(effect, AskCapacity):
                self._desk.ask_soon()
            else:
                assert isinstance(effect, Finish), f"nobody performs {effect}"
                self._finished = effect
                self._card.ended = effect.status
                self._registry.save(self._card, self.core.services.values())

    def _say(self, tell: Tell) -> None:
        self._tell(" ".join(part for part in (f"{tell.host}:" if tell.host else "", tell.reason) if part))
        if tell.kind:
            self._desk.report(tell)

    def _describe(self, name: str, handle: Handle) -> None:
        if self.core.services[name].kind == HOST:
            self._tell(f"{name}: started, {self.setup.provider.describe(handle)}")

    def _order(self, effect: Start | Find) -> Order:
        service = self.core.services[effect.service]
        if service.kind == SUPERVISOR:
            return Order(service.name, effect.token, (), Path(service.folder))
        folder = self.setup.folder / "hosts" / service.name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        others = self._desk.addresses
        arguments = self.setup.arguments_of(service.name, service.slot, service.restarts, others)
        return Order(service.name, effect.token, arguments, folder)

    def _start(self, effect: Start, order: Order) -> None:
        try:
            handle = (self.setup.provider if order.arguments else self._next_door).start(order)
        except Exception as error:  # a provider is somebody else's code
            said = " ".join(str(error).split()) or type(error).__name__
            self._put(Started(effect.service, effect.token, None, f"before it began: {said}"))
        else:
            self._put(Started(effect.service, effect.token, handle))

    def _find(self, effect: Find, order: Order) -> None:
        provider = self.setup.provider
        found = provider.find(order) if order.arguments and isinstance(provider, Finds) else None
        reason = "" if found is not None else "before anybody knew that it began"
        self._put(Started(effect.service, effect.token, found, reason))

    def _stop(self, effect: Stop) -> None:
        try:
            self.setup.provider.stop(effect.handle, now=effect.now)
        except Exception as error:  # likewise
            self._tell(f"{effect.service}: can't be stopped: {error}")

    def _close(self) -> None:
        self._say_beat(is_last=True)
        self._desk.close()
        self._watcher.close()
        self._starters.shutdown(wait=False, cancel_futures=True)
        if self.setup.link is not None:
            self.setup.link.close()
        self._registry.close()
        self._hear.close()
        self._wake.close()


def _card(name: str, command: list[str], machine: str, life: int) -> Card:
    """Return what this supervisor's registry says of itself."""
    kept = {n: v for n, v in os.environ.items() if n in KEPT_VARIABLES or n.startswith("COLONY_")}
    return Card(
        name,
        machine=machine,
        pid=os.getpid(),
        started_s=probe.process_started_s(),
        life=life,
        command=command,
        cwd=os.getcwd(),
        environment=kept,
    )


def own_command() -> list[str]:
    """Return the command line that started this process."""
    return [sys.executable, *sys.orig_argv[1:]]


def services_of(folder: Path) -> list[dict[str, Any]]:
    """Return what a registry lists, each with what its process does now; raises `RegistryError`."""
    found = read(folder)
    if found is None:
        raise RegistryError(f"no supervisor has ever looked after {folder}")
    card, services = found
    rows = [service.as_json() for service in services]
    me = {"machine": card.machine, "pid": card.pid, "started_s": card.started_s}
    phase = "running" if card.ended is None else f"ended with status {card.ended}"
    rows.insert(0, {"name": card.name, "kind": "this supervisor", "phase": phase, "handle": me, "starts": 0})
    here = probe.machine_identity()
    return [{**row, "process": _process_of(row["handle"], here)} for row in rows]


def _process_of(handle: Mapping[str, Any] | None, here: str) -> str:
    """Return what a process does now, in a word."""
    if not handle or "pid" not in handle:
        return "-"
    if handle.get("machine") != here:
        return "elsewhere"
    return probe.process_state(int(handle["pid"]), float(handle["started_s"]))
