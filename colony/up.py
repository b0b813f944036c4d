"""`colony up`: a whole cluster on this machine, under load, to be hurt.

Real host processes on loopback, labelled as if on several boxes; a session
workload in a process of its own that knows what was acknowledged; the
dashboard in front, whose keys kill, stall, add and drain hosts.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import RenderableType

from colony.commands.base import say, warn
from colony.dash import Figures, Scene, Size, host_keys, render
from colony.dash_hosts import Absent
from colony.dash_live import show
from colony.dash_watch import Json, Watcher
from colony.errors import ColonyError
from colony.human import event_line
from colony.up_load import Load
from colony.up_processes import Fleet, HostProcess, State, free_block, how_it_ended, last_words
from colony.up_verdict import Faults, Verdict

READY_S = 30.0  # for all first hosts to be in service, on a slow machine
VERIFY_S = 40.0  # the workload's own patience, and what it takes to stop it
STOP_S = 5.0  # for an orderly stop of all hosts
HELD_DEAD_S = 2.0  # silence before a host is held dead, and the time until we see it
TICK_S = 0.2
LINE_EVERY_S = 10.0  # without the dashboard: how often the figures are told
MESSAGE_S = 3.0
KEYS = "1-9 host  k kill -9  s stall  a add  d drain  b kill box  r respawn  q quit"


@dataclass(frozen=True, slots=True)
class Plan:
    """What kind of cluster to bring up."""

    hosts: int = 5
    peers: int = 2
    quorum: str = "majority"
    colonies: int = 64
    boxes: int = 3
    sessions: int = 1000
    for_s: float | None = None
    base_port: int | None = None
    log_level: str = "warning"


class NotReady(Exception):
    """The cluster did not come up; the text says what is known of why."""


class Up:
    """One run of `colony up`; main thread only.

    Args:
        plan: What to bring up.
        connect: Opens a store from addresses.
        dash: Whether to draw; else one line per event.
        say: Takes lines for people.
    """

    def __init__(
        self, plan: Plan, connect: Callable[..., Any], dash: bool, say: Callable[[str], None] = say
    ) -> None:
        self.plan, self._connect, self._dash, self._say = plan, connect, dash, say
        self.folder = Path(tempfile.mkdtemp(prefix="colony-up-"))
        base = free_block(plan.hosts, plan.base_port)
        options = [
            "--peers",
            str(plan.peers),
            "--colonies",
            str(plan.colonies),
            "--quorum",
            plan.quorum,
            "--log-level",
            plan.log_level,
        ]
        self.fleet = Fleet(self.folder, base, plan.boxes, options)
        self.faults = Faults()
        self.load: Load | None = None
        self.watcher: Watcher | None = None
        self.selected = ""
        self._seen: set[str] = set()
        self._looked_s = time.time()  # what is found now happened after this
        self._message, self._message_until_s = "", 0.0
        self._asked_to_end = False
        self._began_s = self._line_s = time.monotonic()

    # -- the run -------------------------------------------------------------

    def run(self) -> Verdict:
        """Bring it up, keep it up until told to end, and judge.

        Raises:
            NotReady: It never came into service.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        try:
            self._start()
            if self._dash:
                show(self.draw, self.press, self.tick)
            else:
                while self.tick():
                    time.sleep(TICK_S)
            return self._judge()
        finally:
            self._close()

    def _start(self) -> None:
        plan = self.plan
        self._say(f"starting {plan.hosts} hosts on {plan.boxes} boxes, logs in {self.folder}")
        self.fleet.found(plan.hosts)
        addresses = self.fleet.addresses
        self.watcher = Watcher(
            self._connect, addresses, None if self._dash else lambda event: self._say(event_line(event))
        )
        self.watcher.start()
        self._await_ready()
        self._say(f"ready {plan.hosts} hosts, --connect {','.join(addresses)}")
        self.load = Load(addresses, plan.sessions, self.folder / "workload.log")
        self._began_s = time.monotonic()

    def _await_ready(self) -> None:
        end_s = time.monotonic() + READY_S
        while not self._asked_to_end:
            time.sleep(TICK_S / 2)
            for host in self.fleet.reap():
                raise NotReady(f"{host.name} ended at its start: {how_it_ended(host)}")
            if self._active() >= self.plan.hosts:
                return
            if time.monotonic() > end_s:
                words = last_words(next(iter(self.fleet.hosts.values())).log)
                few = f"only {self._active()} of {self.plan.hosts} hosts were ACTIVE after {READY_S:g} s"
                raise NotReady(f"{few}; h1 says: {words}")
        raise NotReady("told to end before it was ready")

    def _active(self) -> int:
        status = self._status()
        if not status.get("quorum"):
            return 0
        return sum(member.get("status") == "ACTIVE" for member in self._members())

    def tick(self) -> bool:
        """Look after the processes; returns whether to go on."""
        now_s = time.monotonic()
        for host in self.fleet.reap():
            if host.state is State.LEFT:
                self.note(host, "left", "in an orderly way")
            else:
                self.faults.add([host.name], "died", self._looked_s)
                self.note(host, "process_ended", how_it_ended(host))
        self._find_held_dead()
        self._looked_s = time.time()
        if self.load is not None:
            self.faults.hear(self.load.report.get("pauses") or ())
            if not self.load.is_running:
                self._tell(f"the workload ended: {last_words(self.folder / 'workload.log')}")
                return False
        if not self._dash and now_s - self._line_s >= LINE_EVERY_S:
            self._line_s = now_s
            self._tell_figures()
        ended = self.plan.for_s is not None and now_s - self._began_s >= self.plan.for_s
        return not ended and not self._asked_to_end

    def _find_held_dead(self) -> None:
        """Note a fault for each running host that fell out of the view: somebody outside hurt it."""
        names = {str(member.get("name")) for member in self._members()}
        for name in self._seen - names:
            host = self.fleet.hosts.get(name)
            if host is not None and host.state is State.RUNNING and names:
                self.faults.add([name], "held dead", time.time() - HELD_DEAD_S)
        self._seen = names or self._seen

    def _judge(self) -> Verdict:
        ran_s = time.monotonic() - self._began_s
        for host in self.fleet.hosts.values():
            if host.state is State.STALLED:
                self.fleet.stall(host.name)  # goes on: what it would say late must not count
        if self.load is None:
            return Verdict({}, self.faults.all(), ran_s)
        self._say(f"checking every session of {self.plan.sessions:,} once more")
        self.load.finish()
        end_s = time.monotonic() + VERIFY_S
        while self.load.is_running and time.monotonic() < end_s:
            time.sleep(0.05)
        self.load.close()
        self.faults.hear(self.load.report.get("pauses") or ())
        return Verdict(self.load.report, self.faults.all(), ran_s)

    def _close(self) -> None:
        if self.load is not None:
            self.load.close()
        if self.watcher is not None:
            self.watcher.close()
        patience_s = STOP_S if self._shut_down() else 0.0
        self.fleet.close(patience_s)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _shut_down(self) -> bool:
        try:
            store = self._connect(",".join(self.fleet.addresses), timeout=1.0)
            try:
                store.admin("shutdown", {"force": True})  # nobody wants these cells back
            finally:
                store.close()
        except (ColonyError, ValueError):  # no quorum to agree on a stop, or no host at all
            return False
        return True

    def _end(self, number: int, frame: FrameType | None) -> None:
        if self._asked_to_end:
            raise KeyboardInterrupt  # the second: no verdict, but no child stays either
        self._asked_to_end = True

    # -- what is shown -------------------------------------------------------

    def draw(self, size: Size) -> RenderableType:
        """Return the frame of now."""
        assert self.watcher is not None
        picture, now_s = self.watcher.picture, time.monotonic()
        hosts = self.fleet.hosts.values()
        shown = {State.RUNNING: "starting", State.LEAVING: "leaving", State.STALLED: "stalled, held dead"}
        absent = [
            Absent(host.name, host.box, shown.get(host.state, host.state.value))
            for host in hosts
            if host.state is not State.LEFT
        ]
        marked = {State.STALLED: "STALLED", State.KILLED: "KILLED", State.DIED: "DIED"}
        scene = Scene(
            figures=self._figures(),
            selected=self.selected,
            states={host.name: marked[host.state] for host in hosts if host.state in marked},
            absent=tuple(absent),
            age_s=picture.age_s(now_s),
            outlook=picture.outlook,
            keys=KEYS,
            message=self._message if now_s < self._message_until_s else "",
        )
        return render(picture.status, picture.events, size, scene)

    def note(self, host: HostProcess, kind: str, reason: str) -> None:
        """Put what was done to a host, or what it did, into the event feed."""
        event: Json = {"at": time.time(), "host": host.name, "kind": kind, "reason": reason}
        if self.watcher is not None:
            self.watcher.note(event)
        if not self._dash:
            self._say(event_line(event))

    def _tell(self, message: str) -> None:
        self._message, self._message_until_s = message, time.monotonic() + MESSAGE_S
        if not self._dash:
            warn(message)

    def _tell_figures(self) -> None:
        figures = self._figures()
        if figures is not None and figures.acked is not None:
            self._say(f"{figures.acked:,} acknowledged, {figures.lost} lost, {figures.ops_s:,.0f} ops/s")

    def _figures(self) -> Figures | None:
        figures = self.load.figures if self.load is not None else None
        return None if figures is None else replace(figures, pause_s=self.faults.longest_s)

    def _status(self) -> Json:
        picture = self.watcher.picture if self.watcher is not None else None
        return {} if picture is None or picture.status is None else picture.status

    def _members(self) -> list[Json]:
        return list((self._status().get("view") or {}).get("members") or ())

    # -- keys ----------------------------------------------------------------

    def press(self, key: str) -> bool:
        """Do what a key says; returns whether to go on."""
        if key in ("q", "Q"):
            return False
        if key.isdigit():
            named = [name for name, its_key in self._keys().items() if its_key == key]
            self.selected = next(iter(named), self.selected)
        elif key in ("up", "down"):
            self._step(1 if key == "down" else -1)
        elif key == "a":
            self._add()
        elif key in "ksdbr":
            self._act(key)
        return True

    def _keys(self) -> dict[str, str]:
        """Return the key of each host, as the screen shows them."""
        there = {name for name, host in self.fleet.hosts.items() if host.state is not State.LEFT}
        return host_keys(there | {str(member.get("name")) for member in self._members()})

    def _step(self, by: int) -> None:
        names = list(self._keys())
        here = names.index(self.selected) if self.selected in names else -1 if by > 0 else 0
        self.selected = names[(here + by) % len(names)]

    def _add(self) -> None:
        try:
            host = self.fleet.add()
        except OSError as error:
            self._tell(str(error))
            return
        self.selected = host.name
        self.note(host, "started", f"on box {host.box}, as you asked")

    def _act(self, key: str) -> None:
        host = self.fleet.hosts.get(self.selected)
        if host is None:
            self._tell("choose a host first: 1 to 9, or the arrow keys")
        elif key == "r":
            self._respawn(host)
        elif key == "b":
            self._kill_box(host)
        elif not host.state.is_alive:
            self._tell(f"{host.name} is gone: r starts it again")
        elif key == "k":
            self.fleet.kill(host.name)
            self.faults.add([host.name], "killed", time.time())
            self.note(host, "killed", "kill -9, as you asked")
        elif key == "s":
            self._stall(host)
        else:
            self.fleet.drain(host.name)
            self.note(host, "draining", "SIGTERM, as you asked: it leaves when its peers have moved")

    def _stall(self, host: HostProcess) -> None:
        self.fleet.stall(host.name)
        if host.state is State.STALLED:
            self.faults.add([host.name], "stalled", time.time())
            self.note(host, "stalled", "SIGSTOP, as you asked: s again lets it go on")
        else:
            self.note(host, "resumed", "SIGCONT, as you asked")

    def _kill_box(self, host: HostProcess) -> None:
        names = self.fleet.on_box(host.box)
        for name in names:
            self.fleet.kill(name)
        self.faults.add(names, f"killed with box {host.box}", time.time())
        self.note(
            host, "box_killed", f"kill -9 of {', '.join(names) or 'nobody'} on {host.box}, as you asked"
        )

    def _respawn(self, host: HostProcess) -> None:
        if host.state.is_alive:
            self._tell(f"{host.name} is alive")
            return
        self.note(self.fleet.respawn(host.name), "started", "again, as you asked")
