"""One simulated run: found a cluster, break things, settle, judge.

A run is a function of its seed and its plan. `play` returns what happened;
nothing is printed and nothing global is left behind.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from agents.effects import EvictOrdered, Note, RecountNeeded, RecoverOrdered, Send
from agents.keys import colony_of
from agents.sim_clock import Chance
from agents.sim_host import Process
from agents.sim_network import Shape
from agents.sim_settings import SimSettings
from agents.simulator import Simulation
from agents.surroundings import CloneOrdered, HandOverOrdered, MigrateOrdered, RetireOrdered
from agents.views import Charter
from tests.next_version import NEXT, NOW, Novelty, decode_as, encode_as, has_come
from tests.sim.clients import Client, Habits, run_closure, run_merge
from tests.sim.history import Operation
from tests.sim.invariants import Violation, Watch, watching
from tests.sim.plans import PLANS, Fault, Maker, Scene
from tests.sim.sides import Neighbour, Script, Trial
from tests.sim.splits import SPLITS

FOUNDING_S = 30.0  # a cluster that is not born by then never will be
SETTLING_S = 40.0  # for everything that went wrong to be made good
FINAL_READ_S = 15.0  # a reader that knows nothing may ask the dead, again and again
NEWS_S = 0.3


@dataclass(slots=True)
class Run:
    """What a run is made of, and what came of it.

    Attributes:
        faults: The plan as it was drawn.
        complaints: What is wrong; [] = all promises kept.
        history: What clients did and saw.
        notes: (virtual second, host, note), if asked for.
        lost: Colonies that were named lost.
    """

    seed: int
    plan: str
    names: str = ""
    settings: SimSettings = field(default_factory=SimSettings)
    faults: list[Fault] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    history: list[Operation] = field(default_factory=list)
    notes: list[tuple[float, str, Note]] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    commits: int = 0
    promotions: int = 0
    virtual_s: float = 0.0
    events: int = 0

    @property
    def replay(self) -> str:
        """The command that plays this run again."""
        return f"python -m tests.sim.replay --seed {self.seed} --plan {self.plan}"

    def __str__(self) -> str:
        lines = [self.replay, *(f"  {fault}" for fault in self.faults), *self.complaints[:8]]
        return "\n".join(lines)


class _Unsettled(Exception):
    """The cluster did not come to rest in time."""


class Director:
    """Lets faults happen, and puts them right again."""

    def __init__(self, simulation: Simulation, names: str, keys: Sequence[str] = ()) -> None:
        self.simulation = simulation
        self.keys = keys
        self.expected = names
        self._waiting: list[tuple[float, Fault]] = []
        self._down_s = 1.0
        simulation.on_halt = self._halted

    def schedule(self, faults: Sequence[Fault], began_s: float) -> None:
        """Plan all faults."""
        roles = str.maketrans(self._roles())
        for drawn in faults:
            words = drawn.target.split()
            if drawn.kind == "move":  # what, colony, to whom (or which cell)
                words[2:] = [w if words[0] == "migrate" else w.translate(roles) for w in words[2:]]
            else:
                words = [word.translate(roles) for word in words]
            fault = replace(drawn, target=" ".join(words))
            if fault.when:
                self._waiting.append((began_s + fault.at_s, fault))
            else:
                self.simulation.timeline.at(began_s + fault.at_s, self._happen, fault)

    def _roles(self) -> dict[str, str]:
        """Return who is what to colony 0 now: p(rimary), s, t, and others from u on."""
        leader = self._leader(0)
        holders: list[str] = []
        if leader is not None:
            machine = leader.container.colonies[0]
            holders = [self.simulation.name_of(host) for host in machine.peers]
        others = [name for name in self.simulation.homes if name not in holders]
        return dict(zip("pst", holders, strict=False)) | dict(zip("uvwxyz", others, strict=False))

    def _leader(self, colony: int) -> Process | None:
        for process in self.simulation.processes():
            machine = process.container.colonies.get(colony)
            if machine is not None and machine.primary is not None and machine.is_open:
                return process
        return None

    def noted(self, note: Note) -> None:
        """Let happen what waited for such a note."""
        now_s = self.simulation.timeline.now_s
        for waiting in [each for each in self._waiting if each[1].when == note.kind and each[0] <= now_s]:
            self._waiting.remove(waiting)
            self.simulation.timeline.after(0.0, self._happen, waiting[1])

    def _happen(self, fault: Fault) -> None:
        self._begin(fault)
        if fault.for_s:
            self.simulation.timeline.after(fault.for_s, self._end, fault)

    def _begin(self, fault: Fault) -> None:
        simulation, target = self.simulation, fault.target
        if fault.kind in ("crash", "wipe"):
            for name in target:
                keep_disk = fault.kind == "crash" or not self._may_lose_disk(name)
                simulation.crash(name, keep_disk=keep_disk)
        elif fault.kind in ("upgrade", "go_back"):
            simulation.homes[target].versions = NEXT if fault.kind == "upgrade" else NOW
            simulation.crash(target)
            has_come()
            self._tell_news(target)
        elif fault.kind == "kill":
            for name in target:
                simulation.crash(name)
                self.expected = self.expected.replace(name, "")
        elif fault.kind == "pause":
            for name in target:
                simulation.pause(name)
        elif fault.kind == "recount":
            simulation.order(target, RecountNeeded("the plan says so"))
        elif fault.kind == "evict":
            for name in simulation.homes:
                simulation.order(name, EvictOrdered(simulation.homes[target].id))
        elif fault.kind == "recover":
            simulation.order(target, RecoverOrdered())
        elif fault.kind == "cut":
            simulation.cut(target)
        elif fault.kind == "reset":
            simulation.network.reset(target[0], target[2])
        elif fault.kind == "slow":
            simulation.network.slow_s[target[0], target[2]] = simulation.chance.uniform(0.05, 0.5)
        elif fault.kind == "jam":
            simulation.jammed[target] = simulation.jammed.get(target, 0) + 1
        elif fault.kind == "move":
            self._move(*target.split())
        elif fault.kind == "stop":
            self._down_s = fault.for_s
            simulation.stop_all(target)
        elif fault.kind == "leave":
            self.expected = self.expected.replace(target, "")
            simulation.leave(target)
        elif fault.kind == "join":
            if target not in self.expected:
                self.expected += target
            simulation.add_home(target)
            simulation.start(target)

    def _tell_news(self, name: str) -> None:
        """Let a host of the next version say now and then what no other may hear."""
        process = self.simulation.homes[name].process
        if process is not None and process.versions == NEXT and process.container.view is not None:
            news = [Send(host, Novelty()) for host in process.container.view.ids]  # type: ignore[arg-type]
            process.take(process.perform, news, -1)
        self.simulation.timeline.after(NEWS_S, self._tell_news, name)

    def _may_lose_disk(self, name: str) -> bool:
        """Return whether a majority of every view that counts keeps its record.

        Without one nobody can go on, and nobody has promised that.
        """
        records = [
            home.disk.record for home in self.simulation.homes.values() if home.disk.record is not None
        ]
        views = {view.id: view for record in records if (view := record.view) is not None}
        # What was accepted may have been agreed on, and be in force somewhere.
        accepted = [view for record in records if (view := record.accepted) is not None]
        if not views:
            return False
        newest = [view for view in (*views.values(), *accepted) if view.id + 1 >= max(views)]
        left = {record.host for record in records} - {self.simulation.homes[name].id}
        return all(sum(host in left for host in view.ids) >= view.majority for view in newest)

    def _end(self, fault: Fault) -> None:
        simulation, target = self.simulation, fault.target
        if fault.kind in ("crash", "wipe", "upgrade", "go_back"):
            for name in target:
                simulation.start(name)
        elif fault.kind == "pause":
            for name in target:
                simulation.resume(name)
        elif fault.kind == "cut":
            simulation.heal(target)
        elif fault.kind == "slow":
            simulation.network.slow_s.pop((target[0], target[2]), None)
        elif fault.kind == "jam" and simulation.jammed.get(target):
            simulation.jammed[target] -= 1

    def _migrate(self, to: int, key: bytes) -> None:
        """Order the primary of a cell's home to let it live in a colony."""
        home = colony_of(key, self.simulation.settings.charter.colonies)
        process = self._leader(home)
        if process is not None:
            process.take(process.tell_colony, home, MigrateOrdered(key, to, "the plan says so"))

    def _move(self, what: str, colony_text: str, to: str = "") -> None:
        """Order the primary of a colony to do something; nothing happens without one."""
        colony, simulation = int(colony_text), self.simulation
        if what == "migrate":  # `?7` is one of the clients' keys
            number = int(to[1:]) if to.startswith("?") else -1
            self._migrate(colony, (self.keys[number % len(self.keys)] if number >= 0 else to).encode())
            return
        process = self._leader(colony)
        primary = process.container.colonies[colony].primary if process is not None else None
        if process is None or primary is None:
            return
        peers = [host for host in primary.ack_set if to in ("", simulation.name_of(host))]
        others = self._strangers(process, [process.home.id, *primary.ack_set], to)
        event: Any = None
        if what == "hand_over" and peers:
            event = HandOverOrdered(simulation.chance.choice(peers), "the plan says so")
        elif what == "retire" and peers:
            event = RetireOrdered(simulation.chance.choice(peers), "the plan says so")
        elif what == "clone" and others:
            event = CloneOrdered(simulation.chance.choice(others), "the plan says so")
        if event is not None:
            process.take(process.tell_colony, colony, event)

    def _strangers(self, process: Process, holders: list[str], to: str) -> list[str]:
        view = process.container.view
        ids = view.ids if view is not None else ()
        return [host for host in ids if host not in holders and to in ("", self.simulation.name_of(host))]

    def _halted(self, name: str) -> None:
        """Somebody starts again what ended by itself, after a while, if it should run."""
        if name in self.expected:
            delay_s = self._down_s * (0.5 + self.simulation.chance.random())
            self.simulation.timeline.after(delay_s, self.simulation.start, name)

    def put_right(self) -> None:
        """End every fault, and start what is down and should be up."""
        self._waiting.clear()
        self.simulation.end_all_faults()
        for name in self.expected:
            self.simulation.start(name)


def settings_for(chance: Chance, **changes: Any) -> SimSettings:
    """Return the make of a cluster, drawn from the seed."""
    slow = chance.choice((0.002, 0.004, 0.02))
    made: dict[str, Any] = {
        "charter": Charter(
            colonies=chance.choice((2, 4, 8)),
            peers=chance.choice((2, 2, 3)),
            heartbeat_s=0.2,
            lease_s=0.6,
            suspect_s=1.2,
        ),
        "shape": Shape(
            delay_s=(0.0002, slow),
            jitter_s=chance.choice((0.0005, 0.002, 0.02)),
            bulk_s=chance.choice((0.0, 0.02, 0.4)),
        ),
        "turn_s": chance.choice((0.0, 0.0002, 0.002)),
        "encoded": chance.random() < 0.1,
        "encode": encode_as,
        "decode": decode_as,
        "machines": chance.choice((0, 2, 3)),
        "attested": chance.random() < 0.5,
    }
    return SimSettings(**{**made, **changes})


def for_split(settings: SimSettings, peers: int, solitude_s: float | None) -> SimSettings:
    """Return the make of a cluster for a split scenario: so many copies, and quick links.

    What must be back in time is said of a network on which a chunk does not take half a second.
    """
    quick = replace(settings.shape, bulk_s=min(settings.shape.bulk_s, 0.02))
    charter = msgspec.structs.replace(settings.charter, peers=peers)
    membership = replace(settings.membership, solitude_limit_s=solitude_s)
    return replace(settings, charter=charter, shape=quick, membership=membership)


KEYS = tuple(f"{kind}{number}" for kind in "aks" for number in range(4))


# Length of a run, longest pause of its clients, cells they work on: all at leisure, or much at once.
PACES = (
    (12.0, 1.2, KEYS),
    (8.0, 0.6, KEYS),
    (5.0, 0.3, ("a0", "a1", "k0", "k1", "k2", "s0")),
    (3.0, 0.1, ("a0", "k0", "k1", "s0")),
)


class Stage:
    """A run while it is played."""

    def __init__(
        self,
        run: Run,
        chance: Chance,
        *,
        clients: int,
        operations: int,
        habits: Habits,
        keys: Sequence[str],
        script: Script | None = None,
    ) -> None:
        self.run = run
        self.keys = keys
        self.chance = chance
        self.script = script
        self.simulation = Simulation(run.names, chance, run.settings, run_closure, run_merge)
        self.director = Director(self.simulation, run.names, keys)
        self.clients = [
            Client(f"c{number}", self._hosts_for(number), chance, keys, run.history, operations, habits)
            for number in range(clients)
        ]
        self.watch: Watch | None = None

    def _hosts_for(self, number: int) -> Simulation | Neighbour:
        """Return what a client sees of the hosts: in a split, only its own side."""
        if self.script is None:
            return self.simulation
        return Neighbour(self.simulation, self.run.names[number % len(self.run.names)])

    def found(self) -> None:
        """Start all hosts, and wait until they serve."""
        simulation = self.simulation
        for name in self.run.names:
            simulation.start(name)
        simulation.timeline.run_until(0.8)
        simulation.init(self.run.names[0])
        self._settle("the cluster was not born", FOUNDING_S)

    def _settle(self, what: str, patience_s: float) -> None:
        simulation, watch = self.simulation, self.watch
        assert watch is not None, "a run is watched"
        until_s = simulation.timeline.now_s + patience_s
        found = [""]
        while found and simulation.timeline.now_s < until_s:
            simulation.timeline.run_until(simulation.timeline.now_s + 0.25)
            expected = self.director.expected
            found = watch.complaints(expected, min(self.run.settings.charter.peers, len(expected)))
        if found:
            raise _Unsettled(f"{what} within {patience_s:g} s: {'; '.join(found[:4])}")

    def trouble(self, length_s: float) -> None:
        """Let clients work and faults happen; then put everything right."""
        simulation = self.simulation
        began_s = simulation.timeline.now_s
        trial = None
        if self.script is not None:
            assert self.watch is not None, "a run is watched"
            trial = Trial(simulation, self.director, self.watch, self.run.names, self.chance, self.script)
            self.run.faults, length_s = trial.faults, trial.length_s + 0.01
        self.director.schedule(self.run.faults, began_s)
        for client in self.clients:
            client.start()
        simulation.timeline.run_until(began_s + length_s)
        if trial is not None:
            self.run.complaints += trial.complaints
        self.director.put_right()
        for client in self.clients:
            client.stop()
        self._settle("the cluster did not recover", SETTLING_S)

    def read_all(self) -> None:
        """Read every key once more: what was acknowledged must be there."""
        simulation = self.simulation
        until_s = simulation.timeline.now_s + FINAL_READ_S
        while not all(client.is_done for client in self.clients) and simulation.timeline.now_s < until_s:
            simulation.timeline.run_until(simulation.timeline.now_s + 0.05)
        reader = Client("last", simulation, simulation.chance, self.keys, self.run.history, 0)
        reader.read(self.keys, FINAL_READ_S)
        until_s = simulation.timeline.now_s + FINAL_READ_S * len(self.keys)
        while len(reader.reads) < len(self.keys) and simulation.timeline.now_s < until_s:
            simulation.timeline.run_until(simulation.timeline.now_s + 0.05)
        unread = [op.key for op in reader.reads if op.outcome != "ok"]
        if unread or len(reader.reads) < len(self.keys):
            raise _Unsettled(f"the cluster has settled, yet cells can't be read: {unread}")

    def play(self, length_s: float) -> None:
        """Play it all; what goes wrong is a complaint."""
        try:
            self.found()
            self.trouble(length_s)
            self.read_all()
            self.judge()
        except (Violation, _Unsettled) as error:
            self.run.complaints.append(f"{type(error).__name__.strip('_')}: {error}")
        except Exception:
            self.run.complaints.append(f"a machine broke: {traceback.format_exc(limit=-6)}")

    def judge(self) -> None:
        """Judge what the clients saw, except in colonies that were named lost."""
        run, watch = self.run, self.watch
        assert watch is not None, "a run is watched"
        watch.sweep()
        run.complaints += watch.judge(run.history, run.settings.charter.colonies)


def play(
    seed: int,
    plan: str,
    *,
    faults: Sequence[Fault] | None = None,
    maker: Maker | None = None,
    names: str = "",
    notes: bool = False,
    clients: int = 5,
    operations: int = 20,
    length_s: float = 0.0,
    habits: Habits | None = None,
    keys: Sequence[str] = (),
    script: Script | None = None,
    watch: type[Watch] | None = None,
    **settings: Any,
) -> Run:
    """Play one run, and return what came of it.

    Args:
        seed: Decides everything that is not said here.
        plan: Name of the plan (see `plans.PLANS` and `splits.SPLITS`), or any name if `faults`, a `maker`
            of them or a `script` are given.
        names: The hosts; "" = drawn from the seed.
        notes: Keep all notes of all machines.
        length_s: How long faults may happen; 0 = drawn, like `habits` and `keys`.
        watch: What is to hold; None = all promises of `quorum = majority`.
        settings: Fields of `SimSettings` that are not to be drawn.
    """
    chance = random.Random(f"{seed}/{plan}")
    drawn = chance.choice(("ABC", "ABC", "ABCD", "ABCDE"))
    split = SPLITS.get(plan) if faults is None and maker is None else None
    if split is not None:
        script, drawn = split.script, chance.choice(split.casts)
    if plan == "upgrades":  # what versions differ in is seen on the wire alone
        settings = {"encoded": True} | settings
    run = Run(seed, plan, names or drawn, settings_for(chance, **settings))
    if split is not None:
        run.settings = for_split(run.settings, 2 + seed % 2, split.solitude_s)
        # Many calls of unknown outcome on one cell are more orders than can be looked at.
        keys, habits = keys or KEYS, habits or Habits(think_s=chance.choice((0.6, 1.2)))
    charter = run.settings.charter
    drawn_length_s, think_s, drawn_keys = chance.choice(PACES)
    length_s = length_s or drawn_length_s
    habits, keys = habits or Habits(think_s=think_s), keys or drawn_keys
    scene = Scene(run.names, charter.colonies, charter.peers, length_s)
    if script is None:
        run.faults = (maker or PLANS[plan])(chance, scene) if faults is None else list(faults)
    stage = Stage(
        run, chance, clients=clients, operations=operations, habits=habits, keys=keys, script=script
    )
    simulation = stage.simulation
    simulation.notes = run.notes if notes else None
    with watching(simulation, watch) as stage.watch:
        stage.watch.on_note = stage.director.noted
        stage.play(length_s)
        run.lost = sorted(stage.watch.lost)
        run.commits, run.promotions = stage.watch.commits, stage.watch.promotions
    run.virtual_s, run.events = simulation.timeline.now_s, simulation.timeline.happened
    return run
