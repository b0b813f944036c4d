"""Whole clusters in virtual time: the same machines, a made-up world.

Everything a host is (`agents.hosting.Container`) runs here unchanged; only
what is around it is simulated: clocks, pipes, disks, crashes and stalls. A
run is a function of the seeded chance that comes in: nothing else decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec

from agents.cells import dna_bytes
from agents.effects import (
    Halt,
    InitOrdered,
    InstallView,
    LeaveOrdered,
    LoadMeasured,
    Note,
    SeedFound,
    SeedSilent,
)
from agents.hosting import Container
from agents.links import ClosePipe, OpenPipe, SendFrame
from agents.messages.client import Reply, Request
from agents.messages.membership import Load
from agents.messages.replication import Chunk, Dna
from agents.record import Record
from agents.sim_clock import Chance, HostClock, Timeline
from agents.sim_disk import Disk
from agents.sim_host import Home, Observer, Process
from agents.sim_network import Network, Pipe, routes_named
from agents.sim_settings import SimSettings
from agents.views import Member
from agents.wire import Source
from placement.labels import Labels

ROOMY = Load(memory_free=1 << 40, memory_total=1 << 41)


class Caller(Protocol):
    """A simulated client."""

    name: str

    def replied(self, reply: Reply) -> None:
        """Take a reply."""
        ...


class Simulation:
    """A cluster, its network and its clients, in virtual time.

    Args:
        names: One for each host; of one letter, if the network is to be cut by names.
        chance: Seeded chance; everything comes from it.
        settings: How the cluster is made.
        run_closure: What a closure does to DNA.
        run_merge: What a merge function makes of a winner's DNA and a loser's.
    """

    def __init__(
        self,
        names: Iterable[str],
        chance: Chance,
        settings: SimSettings,
        run_closure: Callable[[bytes | None, bytes], bytes | None],
        run_merge: Callable[[Dna | None, Dna | None], Dna | None] = lambda winner, loser: None,
    ) -> None:
        self.chance = chance
        self.settings = settings
        self.run_closure = run_closure
        self.run_merge = run_merge
        self.timeline = Timeline()
        self.network = Network(
            self.timeline,
            chance,
            settings.shape,
            deliver=self._deliver,
            lost=self._lost,
            is_up=lambda name: self.homes[name].process is not None,
        )
        self.homes: dict[str, Home] = {}
        self.observer: Observer | None = None
        self.notes: list[tuple[float, str, Note]] | None = None
        self.on_halt: Callable[[str], None] | None = None
        self.jammed: dict[str, int] = {}
        self._pids = 0
        self._ids = 0
        self._names: dict[str, str] = {}
        self._callers: dict[bytes, Caller] = {}
        for name in names:
            self.add_home(name)

    # -- hosts -----------------------------------------------------------------

    def add_home(self, name: str, labels: Labels | None = None, load: Load | None = None) -> Home:
        """Make a host, without a process yet.

        Args:
            name: One letter, if the network is to be cut by names.
            labels: Where it stands; None = each machine is a box.
            load: What it measures of its machine; None = memory without end.
        """
        chance, settings = self.chance, self.settings
        rate = 1.0 + chance.uniform(-settings.drift, settings.drift)
        place = len(self.homes)
        number = place % settings.machines if settings.machines else place
        clock = HostClock(chance.uniform(0.0, settings.offset_s), rate)
        home = Home(name, "", f"m{number}", clock, labels, load or ROOMY)
        self.homes[name] = home
        return home

    def start(self, name: str) -> None:
        """Start a host's process: with what is on its disk, or as a new host."""
        home = self.homes[name]
        if home.process is not None:
            return
        disk = home.disk
        if disk.record is None:
            self._ids += 1
            disk.record = Record(f"{ord(name[0]) % 256:02x}{self._ids:030x}", 1)
        else:
            disk.record = msgspec.structs.replace(disk.record, incarnation=disk.record.incarnation + 1)
        home.id = disk.record.host
        self._names[home.id] = name
        self._pids += 1
        now_s = home.clock.shows(self.timeline.now_s)
        member = Member(
            home.id,
            disk.record.incarnation,
            name,
            f"tcp://{name}",
            f"link://{name}",
            labels=home.labels if home.labels is not None else Labels(box=home.machine),
            machine=home.machine if self.settings.attested else "",
            pid=self._pids,
            started_s=now_s,
            durable=True,
        )
        first_link = int(self.timeline.now_s * 1000) + 1
        settings = self.settings
        container = Container(
            member,
            home.settings or settings.membership,
            disk.record,
            now_s,
            limits=settings.limits,
            first_link=first_link,
            keeps=True,
            found=disk.found(self.timeline.now_s),
            versions=home.versions,
            policy=settings.policy,
        )
        home.process = Process(self, home, container, self._pids)
        home.paused = False
        home.process.take(home.process.tell_host, LoadMeasured(home.load))
        home.process.tick()

    def crash(self, name: str, *, keep_disk: bool = True, gently: bool = False) -> None:
        """End a host's process at once; `gently`: its last words still leave."""
        home = self.homes[name]
        process = home.process
        if process is not None:
            process.end()
            home.process = None
            home.paused = False
            self.network.host_died(name, gently=gently)
        if not keep_disk:
            home.disk = Disk()

    def pause(self, name: str) -> None:
        """Stop a host's process; its clock and its sockets' buffers go on."""
        self.homes[name].paused = True

    def resume(self, name: str) -> None:
        """Let a stopped process go on: all that came meanwhile is waiting."""
        home = self.homes[name]
        if home.paused:
            home.paused = False
            if home.process is not None:
                home.process.plan_turn()

    def processes(self) -> list[Process]:
        """Return the running processes, stopped ones included."""
        return [home.process for home in self.homes.values() if home.process is not None]

    def name_of(self, host_id: str) -> str:
        """Return the letter of a host id, "?" if there is none."""
        return self._names.get(host_id, "?")

    def pid_is_gone(self, pid: int) -> bool:
        """Return whether no process with this number runs."""
        return all(process.pid != pid for process in self.processes())

    def pid_is_stopped(self, pid: int) -> bool:
        """Return whether the process with this number is stopped."""
        return any(process.pid == pid and process.home.paused for process in self.processes())

    def order(self, name: str, event: Any) -> None:
        """Hand an operator's order to a host, if it runs."""
        process = self.homes[name].process
        if process is not None:
            process.take(process.tell_host, event)

    def order_colony(self, name: str, colony: int, event: Any) -> None:
        """Hand an order to one colony of a host, if it runs."""
        process = self.homes[name].process
        if process is not None:
            process.take(process.tell_colony, colony, event)

    def init(self, name: str) -> None:
        """Order a host to found the cluster."""
        self.order(name, InitOrdered(self.settings.charter))

    def stop_all(self, name: str) -> None:
        """Order a host to stop the whole cluster."""
        process = self.homes[name].process
        if process is not None:
            process.take(process.stop_all)

    def leave(self, name: str) -> None:
        """Order a host to leave."""
        self.order(name, LeaveOrdered())

    # -- what processes ask for ------------------------------------------------------

    def greet_seeds(self, process: Process) -> None:
        """Let a lonely host ask its seeds who they are."""
        name, seeds = process.home.name, process.home.seeds
        for other, home in self.homes.items():
            if other == name if seeds is None else other not in seeds:
                continue
            is_cut = self.network.is_cut(name, other) or self.network.is_cut(other, name)
            answer: SeedFound | SeedSilent = SeedSilent(f"tcp://{other}", "nobody there")
            if home.runs and home.process is not None and not is_cut:
                answer = SeedFound(home.process.container.membership.me)
            elif seeds is None:
                continue
            delay_s = self.network.delay_s((name, other)) + self.network.delay_s((other, name))
            self.timeline.after(delay_s, process.take, process.seed_answered, answer)

    def open_pipe(self, process: Process, effect: OpenPipe) -> None:
        """Open a pipe to whoever lives at the address."""
        target = effect.address.removeprefix("link://")
        if target in self.homes:
            own = (effect.own, process, effect.host)
            self.network.open(process.home.name, target, effect.incarnation, own)

    def close_pipe(self, process: Process, effect: ClosePipe) -> None:
        """Close a pipe; with a linger, what is queued still leaves."""
        target = self.name_of(effect.host)
        if effect.linger_s:
            self.timeline.after(
                effect.linger_s, self.network.close, process.home.name, target, effect.incarnation
            )
        else:
            self.network.close(process.home.name, target, effect.incarnation)

    def send_frame(self, process: Process, effect: SendFrame) -> None:
        """Put a frame on its way."""
        frame: Any = effect.frame
        if self.settings.encoded:
            frame = self.settings.encode(process.versions, frame)
        size = _bulk_bytes(effect.frame) if effect.plane and self.settings.shape.bulk_bytes_s else 0
        self.network.send(
            process.home.name, self.name_of(effect.host), effect.incarnation, effect.plane, frame, size
        )

    def _deliver(self, target: str, pipe: Pipe, plane: int, frame: Any) -> None:
        process = self.homes[target].process
        if process is None:
            return
        if self.settings.encoded:
            frame = self.settings.decode(process.versions, frame)
        (host, incarnation), _, _ = pipe.own
        process.take(process.frame_came, Source(host, incarnation, pipe.incarnation, plane), frame)

    def _lost(self, pipe: Pipe) -> None:
        _, process, dialled = pipe.own
        if not process.over:
            process.take(process.pipe_lost, dialled, pipe.incarnation)

    def halted(self, process: Process, effect: Halt) -> None:
        """End a process that wants to end."""
        self.noted(process, Note("halt", effect.reason, details={"status": effect.status}))
        self.timeline.after(0.0, self._end_halted, process)

    def _end_halted(self, process: Process) -> None:
        if process.home.process is process:
            self.crash(process.home.name, gently=self.chance.random() < 0.9)
            if self.on_halt is not None:
                self.on_halt(process.home.name)

    def noted(self, process: Process, note: Note) -> None:
        """Write a note down, and show it to the observer."""
        if self.notes is not None:
            self.notes.append((self.timeline.now_s, process.home.name, note))
        if self.observer is not None:
            self.observer.noted(process, note)

    def installed(self, process: Process, effect: InstallView) -> None:
        """Show a view that was installed to the observer."""
        if self.observer is not None:
            self.observer.installed(process, effect)

    # -- clients ---------------------------------------------------------------------

    def addresses(self) -> list[str]:
        """Return every public address, whoever is there."""
        return [f"tcp://{name}" for name in self.homes]

    def ask(self, client: Caller, address: str, request: Request) -> None:
        """Send a client's request; a late one may come after a retry of it."""
        name = address.removeprefix("tcp://")
        token = client.name.encode()
        self._callers[token] = client
        self.timeline.after(self._client_delay_s(), self._request_came, name, token, request)

    def _client_delay_s(self) -> float:
        chance = self.chance
        late_s = 0.5 * chance.random() if chance.random() < 0.02 else 0.0
        return 0.0005 + 0.003 * chance.random() + late_s

    def _request_came(self, name: str, token: bytes, request: Request) -> None:
        home = self.homes.get(name)
        if home is not None and home.process is not None and not self.jammed.get(name):
            home.process.take(home.process.request_came, ("client", token), request)

    def answer(self, process: Process, caller: Any, reply: Reply) -> None:
        """Send a host's reply to a client; it is lost if the client can't be reached."""
        client = self._callers.get(caller[1])
        if client is not None and not self.jammed.get(process.home.name):
            self.timeline.after(self._client_delay_s(), client.replied, reply)

    # -- faults ----------------------------------------------------------------------

    def cut(self, name: str) -> None:
        """Cut the directions that a name means, see `routes_named`."""
        for route in routes_named(name):
            self.network.cut(*route)

    def heal(self, name: str) -> None:
        """Take back a cut."""
        for route in routes_named(name):
            self.network.heal(*route)

    def end_all_faults(self) -> None:
        """Heal the network, let stopped processes go on; the dead stay dead."""
        self.network.heal_all()
        self.jammed.clear()
        for name in self.homes:
            self.resume(name)


def _bulk_bytes(frame: Any) -> int:
    """Return how much a frame of the bulk plane carries."""
    chunks = (message for message in getattr(frame, "messages", ()) if isinstance(message, Chunk))
    return sum(len(cell.key) + dna_bytes(cell.dna) for chunk in chunks for cell in chunk.cells)
