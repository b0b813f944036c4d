"""One round: a fault made and mended under load, and what came of it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from tests.faults.hosts import Cluster
from tests.faults.systems import System
from tests.faults.toll import toll
from tests.faults.verdict import Found, acknowledged, crowding, judge
from tests.sim.history import Operation

PATIENT_S, HASTY_S = 8.0, 1.0  # time-outs of clients: on a side that goes on, and on one that refuses
KEYS = 24
RATE = 15.0  # operations per second and thread: many rounds share two cores with others
CALM_S = 0.4  # of load before the fault
SPLITS_MAX, SETTLE_S = 8, 0.3  # tries to cut between copies, and how far apart
HEAL_MAX_S = 3.0
HEAL_PATIENCE_S = 30.0
VIEWS_MAX = 1_000  # in a round; more: a side went on alone, and numbers its views from elsewhere
RIVAL_PATIENCE_S = 60.0  # they promise no time
LEASE_S = 0.5  # of the default charter
FIRST_READS = 2  # stale ones may be over before the client has found out whom it still reaches
DRIFT = 1.05
Calls = list[Operation]


@dataclass(frozen=True)
class Window:
    """A time in which the clients of a side must get nothing but refusals and stale reads."""

    client: str
    from_s: float
    until_s: float
    stale: bool


@dataclass(frozen=True)
class Pace:
    """How long a round takes.

    Attributes:
        long: Whether links flap for minutes.
        brief: Whether nothing lasts longer than the least that makes sense.
        hold_s: How much later than that the network is mended.
    """

    long: bool = False
    brief: bool = False
    hold_s: float = 0.0


STEADY = Pace()


class Round:
    """The stage on which a scenario is played once.

    Attributes:
        cluster: The hosts; well at the beginning, and again at the end.
        chance: All that a scenario draws comes from here.
        names: The hosts, shuffled by chance.
        view: The number of the view at the beginning.
    """

    def __init__(self, cluster: System, seed: int, pace: Pace = STEADY) -> None:
        self.cluster, self.seed, self.pace = cluster, seed, pace
        self.chance = random.Random(seed)
        self.names = sorted(cluster.processes)
        self.chance.shuffle(self.names)
        self.found = Found()
        self.histories: dict[str, Calls] = {}
        self.stale: dict[str, list[tuple[float, float, str, bool]]] = {}
        self.alone: dict[str, list[tuple[float, float, str]]] = {}
        self.cut_s = 0.0
        self.apart = False
        self._side: dict[str, float] = {}
        self._windows: list[Window] = []
        self._loaded: list[str] = []
        self.view = cluster.view()
        self._prefix = f"r{seed}-{int(time.monotonic() * 1000)}-"

    # -- what scenarios use ------------------------------------------------------------

    def load(self, *, apart: bool = False, **patience_s: float) -> None:
        """Let clients write and read from now on, each with its time-out; the same cells, or own ones.

        Args:
            apart: Each has its own, and they are merged later: that gives them other versions.
        """
        self.apart = apart
        for client, timeout_s in patience_s.items():
            prefix = f"{self._prefix}{client}-" if apart else self._prefix
            arguments = {"name": client, "prefix": prefix, "keys": KEYS, "rate": RATE}
            self.cluster.clients[client].call("begin", timeout_s=timeout_s, writers=3, readers=1, **arguments)
            self._loaded.append(client)
        self._side = patience_s
        self.wait(CALM_S)

    def unload(self) -> None:
        """End the load, and keep what was done."""
        for client in self._loaded:
            told = self.cluster.clients[client].call("end")
            self.histories[client] = _operations(told["history"])
            self.stale[client] = told["stale"]
            self.alone[client] = [tuple(call) for call in told["alone"]]
            self.found.complaints += told["failures"]
        self._loaded = []

    def wait(self, least_s: float, most_s: float = 0.0) -> None:
        """Let time pass: as long as chance says, between two bounds; the least of it in a brief round."""
        drawn_s = self.chance.uniform(least_s, most_s) if most_s else least_s
        time.sleep(least_s if self.pace.brief else drawn_s)

    def split(self, *sides: Iterable[str], asleep: Iterable[str] = ()) -> None:
        """Cut all paths between the sides; their clients then ask for stale reads of what is there.

        Args:
            asleep: Hosts that are stopped, so of no use to their side.
        """
        parts = [set(side) for side in sides]
        holders = self.cluster.holders()
        for _ in range(SPLITS_MAX):
            self.cluster.network.split(*parts)
            self.cut_s = time.monotonic()
            if not (stranded := self._stranded(parts, set(asleep))):
                break
            # A copy moved after the sides were chosen. Nobody is given up so soon: let the move end.
            self.cluster.network.heal()
            time.sleep(SETTLE_S)
        else:
            raise AssertionError(f"the side that goes on never had a copy of colonies {stranded}")
        for client in self._loaded:
            side = next((part for part in parts if client in part), set())
            keys = [f"{self._prefix}{number}" for number in range(KEYS)]
            there = [key for key in keys if holders[self.cluster.partition(key)] & side]
            if there:
                self.cluster.clients[client].call("stale", keys=there)

    def _stranded(self, parts: list[set[str]], asleep: set[str]) -> list[int]:
        """Return the colonies that the side with most hosts has no copy of, if it is to go on."""
        side = max(parts, key=lambda part: len(part & set(self.names)))
        here = side & set(self.names) - asleep
        return self.cluster.stranded(here) if 2 * len(here) > len(self.names) else []

    def heal(self) -> None:
        """Mend the network, once the fault has been held."""
        time.sleep(self.pace.hold_s)
        self.cluster.network.heal()

    def refused(self, client: str, *, stale: bool = True) -> None:
        """From the lease's end after the last cut until now, a client's side must have refused all.

        Args:
            stale: Whether all that was there is there still, and so stale reads of it are answered.
        """
        from_s = self.cut_s + LEASE_S * DRIFT
        self._windows.append(Window(client, from_s, time.monotonic(), stale))

    def require(self, is_so: bool, what: str) -> None:
        """Note a complaint unless something is so that colony promises."""
        if self.cluster.promises and not is_so:
            self.found.complaints.append(what)

    def hosts(self) -> Cluster:
        """Return the cluster where only colony's hosts can play."""
        assert isinstance(self.cluster, Cluster)
        return self.cluster

    def few(self, most: int = 2) -> list[str]:
        """Return a minority of hosts without which no colony is lost."""
        for size in sorted(range(1, most + 1), key=lambda _: self.chance.random()):
            for _ in range(20):
                picked = self.chance.sample(self.names, size)
                if self.cluster.may_lack(picked):
                    return picked
        raise AssertionError("every host alone holds some colony")

    def others(self, *names: str) -> list[str]:
        """Return all living hosts but these."""
        return [name for name in sorted(self.cluster.processes) if name not in names]

    # -- the end -----------------------------------------------------------------------

    def healed(self) -> None:
        """The network is whole and all hosts run: wait until all is well, and note how long it took."""
        self.found.crowding = crowding()
        most_s = HEAL_MAX_S * self.found.crowding
        try:
            patience_s = HEAL_PATIENCE_S if self.cluster.promises else RIVAL_PATIENCE_S
            self.found.heal_s = self.cluster.healed(within_s=patience_s)
        except AssertionError as error:
            self.found.complaints.append(f"heal: {error}")
            return
        self.require(
            self.found.heal_s <= most_s, f"heal: took {self.found.heal_s:.1f} s, not {most_s:.1f} or less"
        )

    def finish(self) -> Found:
        """End the load, read everything once more, and judge."""
        self.unload()
        if self.found.heal_s < 0:
            self.cluster.network.heal()
            self.healed()
        history = [op for calls in self.histories.values() for op in calls]
        keys = sorted({op.key for op in history})
        last = _operations(self.cluster.clients["c1"].call("read", keys=keys)["history"])
        for read in last if self.apart else ():
            read.version = 0
        judge([*history, *last], self.found)
        views = self.cluster.view() - self.view
        self.found.views = views if 0 <= views < VIEWS_MAX else 0
        self.found.toll = toll(self.histories, last, self.alone, self.cluster.partition)
        self.found.toll.ills = self.found.ills
        self.found.toll.unhealed = int(self.found.heal_s < 0)
        if self.cluster.promises:
            self._judge_sides()
        return self.found

    def _judge_sides(self) -> None:
        found = self.found
        lost = self.hosts().lost()
        self.require(not lost, f"colonies {lost} are named lost, though some host on the right side had each")
        for window in self._windows:
            self._judge_window(window)
        for client, timeout_s in self._side.items():
            if timeout_s < PATIENT_S:
                continue
            calls = self.histories[client]
            found.pause_s = max([found.pause_s, *(op.return_s - op.call_s for op in calls)])
            failed = [op for op in calls if op.outcome != "ok"]
            self.require(
                not failed, f"{client}: {len(failed)} calls failed on a side that goes on: {failed[:1]}"
            )
            self.require(len(calls) > 20, f"{client}: hardly anything was done: {len(calls)} calls")

    def _judge_window(self, window: Window) -> None:
        wrong = acknowledged(self.histories[window.client], window.from_s, window.until_s)
        self.found.breaches += len(wrong)
        self.require(not wrong, f"{window.client}: acknowledged on a side without quorum: {wrong[:3]}")
        if window.until_s - window.from_s < 1.0:
            return
        tried = [
            op
            for op in self.histories[window.client]
            if op.call_s > self.cut_s and window.from_s < op.return_s <= window.until_s
        ]
        self.require(bool(tried), f"{window.client}: never tried on its side")
        stale = [
            is_told
            for called_s, returned_s, _, is_told in self.stale[window.client]
            if window.from_s < called_s and returned_s <= window.until_s
        ]
        told = sum(stale)
        self.require(
            not window.stale or len(stale) - told <= told + FIRST_READS,
            f"{window.client}: {told} of {len(stale)} stale reads were answered, of what is on its side",
        )


def _operations(told: list[dict[str, Any]]) -> Calls:
    return [msgspec.convert(operation, Operation) for operation in told]


Scenario = Callable[[Round], None]
