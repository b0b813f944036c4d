"""A hundred hosts for a day, some always dying: `python -m tests.sim.endurance --hosts 100 --hours 24`.

Every hour one host in a hundred dies without a word, and comes back after 5
to 30 minutes, one in five without its disk. A few clients read and write all
along. In the end nothing may be lost, and every history must be linearizable.

What is not as it would be, and why: a hundred hosts at ten heartbeats a
second say 200,000 words a second, which no simulation in Python plays for a
day. So

- heartbeats, leases, suspicion and the loop's tick are slower: 15, 50, 50
  and 3 s, in place of 0.1, 0.5, 1.0 and 0.025: 150, 100, 50 and 120 times as
  long. So a death is noticed 50 times later than in life, and its colonies
  are in danger for as much longer;
- the hosts' clocks stand still while nothing happens: whenever all hosts are
  members, every colony has its N peers, and that has been so for twenty
  seconds, the calendar goes on to the next death or return. What that leaves
  out is heartbeats, and the clients' part of peace. How much of the day was
  lived is printed.

Everything else is as it is: the machines, links, elections, censuses, clones.
How far it is, and when something was lost, goes to stderr as it happens.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from agents.effects import InstallView, Note
from agents.keys import colony_of
from agents.links import SendFrame
from agents.membership import Settings
from agents.messages.client import OK, Put, Reply
from agents.peer import PeerStatus, Role
from agents.sim_host import Process
from agents.sim_network import Shape
from agents.sim_settings import SimSettings
from agents.simulator import Simulation
from agents.views import Charter, Status
from agents.wire import BULK, encode
from placement.labels import Labels
from tests.sim.clients import Client, Habits, run_closure
from tests.sim.history import Operation, check, check_at_most_once

# One letter for each host: those of Latin-1, so that their ids have 32 digits.
LETTERS = "".join(chr(code) for code in (*range(0x30, 0x3A), *range(0x41, 0x5B), *range(0x61, 0x7B)))
LETTERS += "".join(chr(code) for code in range(0xC0, 0x100))
HEARTBEAT_S, LEASE_S, SUSPECT_S, TICK_S = 15.0, 50.0, 50.0, 3.0
CELLS, CELL_BYTES = 2_000, 1_024  # besides those that the clients work on
IN_LIFE_S = 0.1, 0.5, 1.0, 0.025
DOWN_S = (300.0, 1800.0)
WIPED = 0.2
ZONES, RACKS = 4, 5  # racks in each; every host is a machine of its own
PEACE_S = 20.0
LOOK_S = 4.0
BIRTH_S = 1200.0
SETTLE_S = 1200.0
KEYS = tuple(f"{kind}{number}" for kind in "aks" for number in range(40))


@dataclass(slots=True)
class Day:
    """What came of it.

    Attributes:
        rate: Deaths per host and hour.
        lived_s: How long the hosts' clocks went.
        bulk_bytes: What clones carried, encoded.
        complaints: What is wrong; [] = nothing.
    """

    hosts: int
    hours: float
    peers: int
    colonies: int
    rate: float
    deaths: int = 0
    returns: int = 0
    views: int = 0
    lived_s: float = 0.0
    bulk_bytes: int = 0
    events: int = 0
    history: list[Operation] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        told = Counter(op.outcome for op in self.history)
        return "\n".join(
            (
                f"{self.hosts} hosts, {self.colonies} colonies of {self.peers} peers, {self.hours:g} h "
                f"(of which {self.lived_s / 3600:.2f} h lived, {self.events} events)",
                "stretched, s: " + ", ".join(_stretched()),
                f"{self.deaths} deaths, {self.returns} returns, {self.notes['lost']} colonies lost",
                f"{self.views} views installed, {self.notes['promote']} promotions, "
                f"{self.notes['cloned']} clones, {self.bulk_bytes / 1e6:.1f} MB moved by them",
                f"operations: {', '.join(f'{count} {what}' for what, count in sorted(told.items()))}",
                *self.complaints[:8],
            )
        )


def _stretched() -> list[str]:
    """Return what is slower than in life, and by how much."""
    names = "heartbeat", "lease", "suspicion", "tick"
    pairs = zip(names, (HEARTBEAT_S, LEASE_S, SUSPECT_S, TICK_S), IN_LIFE_S, strict=True)
    return [f"{name} {here:g} (x{here / life:.0f})" for name, here, life in pairs]


class Counting(Simulation):
    """A simulation that counts what clones carry."""

    bulk_bytes = 0

    def send_frame(self, process: Process, effect: SendFrame) -> None:
        """Put a frame on its way."""
        if effect.plane == BULK:
            self.bulk_bytes += len(encode(effect.frame))
        super().send_frame(process, effect)


class Endurance:
    """A cluster, its clients, and a calendar of deaths and returns."""

    def __init__(self, day: Day, seed: int) -> None:
        self.day = day
        self.chance = random.Random(f"endurance {seed}")
        self.fate = random.Random(f"deaths {seed}")  # the same, however many peers there are
        charter = Charter(day.colonies, day.peers, LEASE_S, HEARTBEAT_S, SUSPECT_S)
        settings = SimSettings(
            charter=charter,
            shape=Shape(delay_s=(0.0002, 0.004), jitter_s=0.002),
            tick_s=TICK_S,
            turn_s=0.02,
            attested=False,
            membership=Settings(expect=day.hosts, charter=charter, solitude_limit_s=None),
        )
        self.simulation = Counting((), self.chance, settings, run_closure)
        for place, name in enumerate(LETTERS[: day.hosts]):
            zone, rack = f"z{place % ZONES}", f"r{place // ZONES % RACKS}"
            self.simulation.add_home(name, Labels(zone, rack, f"b{place}"))
        self.simulation.observer = self
        self.skipped_s = 0.0
        self.name = "filler"
        self._written = 0
        self._views: set[int] = set()
        self._deaths_s: list[float] = []
        self._told_h = 0
        habits = Habits(think_s=8.0, attempt_s=5.0, give_up_s=300.0)
        self.clients = [
            Client(f"c{number}", self.simulation, self.chance, KEYS, day.history, 1 << 30, habits)
            for number in range(6)
        ]

    # -- what the simulation tells -------------------------------------------------

    def host_acted(self, process: Process, event: Any) -> None:
        """Nothing to see."""

    def colony_acted(self, process: Process, colony: int, event: Any) -> None:
        """Nothing to see."""

    def installed(self, process: Process, effect: InstallView) -> None:
        """Count views, not installs."""
        self._views.add(effect.view.id)

    def noted(self, process: Process, note: Note) -> None:
        """Count what was noted; each host names a lost colony, so those count once."""
        if note.kind != "lost" or note.host == process.home.id:
            self.day.notes[note.kind] += 1
            if note.kind == "lost":
                since = ", ".join(f"{self.calendar_s - at_s:.0f} s" for at_s in self._deaths_s[-3:])
                self._tell(f"colony {note.colony} was lost; the last deaths were {since} before")

    # -- the day ---------------------------------------------------------------------

    @property
    def calendar_s(self) -> float:
        """Seconds since the cluster was founded, skipped ones included."""
        return self.simulation.timeline.now_s + self.skipped_s

    def live(self) -> None:
        """Let the whole day happen."""
        day, simulation = self.day, self.simulation
        for name in simulation.homes:
            simulation.start(name)
        self._settle(BIRTH_S, "the cluster was not born")
        self._fill()
        for client in self.clients:
            client.start()
        until_s = self.calendar_s + day.hours * 3600.0
        calendar = self._deaths(self.calendar_s, until_s)
        while calendar:
            at_s, kind, name = calendar.pop(0)
            self._wait(min(at_s, until_s))
            if self.calendar_s // 3600 > self._told_h:
                self._told_h = int(self.calendar_s // 3600)
                self._tell(
                    f"{day.deaths} deaths, {len(self._views)} views, {simulation.bulk_bytes / 1e6:.1f} MB"
                )
            if kind == "return":
                simulation.start(name)
                day.returns += 1
            elif simulation.homes[name].process is not None:
                self._deaths_s.append(self.calendar_s)
                simulation.crash(name, keep_disk=self.fate.random() >= WIPED)
                day.deaths += 1
                calendar.append((at_s + self.fate.uniform(*DOWN_S), "return", name))
                calendar.sort()
        self._wait(until_s)
        for client in self.clients:
            client.stop()
        self._settle(SETTLE_S, "the cluster did not come to rest")
        day.views, day.bulk_bytes = len(self._views), simulation.bulk_bytes
        day.lived_s, day.events = simulation.timeline.now_s, simulation.timeline.happened
        day.complaints += [str(finding) for finding in check(day.history)]
        day.complaints += check_at_most_once(day.history)
        self._find_all()
        if day.notes["lost"]:
            day.complaints.append(f"{day.notes['lost']} colonies were lost")

    def _tell(self, what: str) -> None:
        hours, lived = self.calendar_s / 3600, self.simulation.timeline.now_s / 3600
        print(f"{hours:.2f} h ({lived:.2f} h lived): {what}", file=sys.stderr, flush=True)

    def _fill(self) -> None:
        """Write the cells that nobody changes any more."""
        for number in range(CELLS):
            key = b"cell%d" % number
            leader = self._leader(colony_of(key, self.day.colonies))
            assert leader is not None, "the cluster is at peace"
            put = Put(number, b"lane%d" % number, 1, key, b"%d" % number * (CELL_BYTES // len(str(number))))
            self.simulation.ask(self, f"tcp://{leader.home.name}", put)
        self.simulation.timeline.run_until(self.simulation.timeline.now_s + LOOK_S)
        if self._written != CELLS:
            self.day.complaints.append(f"{self._written} of {CELLS} cells were written")

    def replied(self, reply: Reply) -> None:
        """Count a cell that was written."""
        self._written += reply.code == OK

    def _leader(self, colony: int) -> Process | None:
        for process in self.simulation.processes():
            machine = process.container.colonies.get(colony)
            if machine is not None and machine.role is Role.PRIMARY and machine.is_open:
                return process
        return None

    def _find_all(self) -> None:
        """Look whether the cells that nobody changed are all there."""
        gone = 0
        for number in range(CELLS):
            key = b"cell%d" % number
            colony = colony_of(key, self.day.colonies)
            leader = self._leader(colony)
            cells = leader.container.colonies[colony].peer.cells.live if leader is not None else {}
            gone += key not in cells or not str(cells[key][2]).startswith(f"b'{number}")
        if gone:
            self.day.complaints.append(f"{gone} cells that were acknowledged are gone")

    def _deaths(self, from_s: float, until_s: float) -> list[tuple[float, str, str]]:
        found: list[tuple[float, str, str]] = []
        at_s = from_s
        while True:
            at_s += self.fate.expovariate(self.day.hosts * self.day.rate / 3600.0)
            if at_s >= until_s:
                return found
            found.append((at_s, "death", self.fate.choice(tuple(self.simulation.homes))))

    def _wait(self, until_s: float) -> None:
        """Live until the calendar says so much; skip what is left once all is at peace."""
        timeline = self.simulation.timeline
        peace_s = 0.0
        while self.calendar_s < until_s:
            timeline.run_until(timeline.now_s + min(LOOK_S, until_s - self.calendar_s))
            peace_s = peace_s + LOOK_S if not self.unrest() else 0.0
            if peace_s >= PEACE_S:
                self.skipped_s += max(0.0, until_s - self.calendar_s)

    def _settle(self, patience_s: float, what: str) -> None:
        timeline = self.simulation.timeline
        end_s = timeline.now_s + patience_s
        while self.unrest() and timeline.now_s < end_s:
            timeline.run_until(timeline.now_s + LOOK_S)
        if self.unrest():
            self.day.complaints.append(f"{what} within {patience_s:g} s: {self.unrest()}")

    def unrest(self) -> str:
        """Return why the cluster is not at peace; "" = all are ACTIVE members, all colonies have N peers."""
        running = {process.home.id for process in self.simulation.processes()}
        for process in self.simulation.processes():
            view = process.container.view
            if view is None or {member.id for member in view.members} != running:
                return f"{process.home.name} has another view"
            if any(member.status is not Status.ACTIVE for member in view.members):
                return "not all members are ACTIVE"
            if not process.container.membership.quorum.held(process.now_s):
                return f"{process.home.name} has no quorum"
        active: Counter[int] = Counter()
        leaders: Counter[int] = Counter()
        for process in self.simulation.processes():
            for colony, machine in process.container.colonies.items():
                if machine.status is PeerStatus.LEARNING:
                    return f"colony {colony} is being cloned"
                active[colony] += machine.status is PeerStatus.ACTIVE
                leaders[colony] += machine.role is Role.PRIMARY and machine.is_open
        for colony in range(self.day.colonies):
            if leaders[colony] != 1 or active[colony] != self.day.peers:
                return f"colony {colony} has {active[colony]} peers, {leaders[colony]} of them primary"
        return ""


def live(hosts: int, hours: float, peers: int, seed: int, *, colonies: int = 256, rate: float = 0.01) -> Day:
    """Play one such day, and return what came of it."""
    day = Day(hosts, hours, peers, colonies, rate)
    Endurance(day, seed).live()
    return day


def main(arguments: list[str]) -> int:
    """Play, print, and return 0 if nothing was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.endurance", description=__doc__)
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--peers", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--colonies", type=int, default=256)
    parser.add_argument("--rate", type=float, default=0.01, help="deaths per host and hour")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    gc.set_threshold(50_000, 20, 100)  # as hosts do: a hundred of them keep a lot, and make no cycles
    status = 0
    for peers in asked.peers:
        began_s = time.process_time()
        rest = {"colonies": asked.colonies, "rate": asked.rate}
        day = live(asked.hosts, asked.hours, peers, asked.seed, **rest)
        print(day)
        print(f"{time.process_time() - began_s:.0f} s of CPU", flush=True)
        status |= bool(day.complaints)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
