"""Simulated clusters for the tests of who uses colony.

The hosts are the real machines, in virtual time: a test kills, stalls, cuts
off and restarts them in the middle of its own code, without a process, a
port or a sleep, and gets the same run each time. Not for threads.

    def test_a_cart_survives_its_host():
        with SimulatedCluster(hosts=3, peers=2) as cluster:
            store = cluster.store()
            store["cart"] = ["tea"]
            cluster.kill(cluster.primary_of("cart"))
            assert store["cart"] == ["tea"]

As a pytest fixture: ``from colony.testing import colony_cluster`` in conftest.py.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from string import ascii_uppercase
from types import TracebackType

from agents.client_link import Curve
from agents.keys import colony_of
from agents.messages.client import Reply
from agents.messages.replication import AWAY, RECALLING
from agents.sim_network import Shape
from agents.sim_settings import SimSettings
from agents.simulator import Simulation
from agents.views import Charter
from colony import drafts
from colony.calls import Call, Finish, GiveUp
from colony.closures import run_closure
from colony.codecs import codec_named
from colony.directory import Directory
from colony.drafts import Draft, outcome
from colony.errors import Closed
from colony.exchange import Exchange
from colony.keys import Key, key_bytes
from colony.lanes import LaneSource
from colony.store import TIMEOUT_S, Store

FOUNDING_S = 30.0
STEP_S = 0.001  # how often a waiting call looks up, in virtual time


class SimulatedCluster:
    """A cluster in virtual time, and what may happen to it.

    Time passes only while a store's call waits, and in `run`.

    Args:
        hosts: How many, called A, B, C, …; at most 26.
        peers: Wanted per colony.
        colonies: How many.
        boxes: Hosts share so many boxes, in turn; 0 = each has its own.
        seed: Of delays and clocks.
    """

    def __init__(
        self, hosts: int = 3, *, peers: int = 2, colonies: int = 8, boxes: int = 0, seed: int = 0
    ) -> None:
        if not 1 <= hosts <= len(ascii_uppercase):
            raise ValueError(f"1 to {len(ascii_uppercase)} hosts, not {hosts}")
        settings = SimSettings(
            charter=Charter(colonies, peers), shape=Shape(delay_s=(0.0002, 0.001)), machines=boxes
        )
        self._simulation = Simulation(ascii_uppercase[:hosts], random.Random(seed), settings, _run)
        self._clients = 0
        for name in self._simulation.homes:
            self._simulation.start(name)
        self.run(1.0)
        self._simulation.init("A")
        self._await(lambda: len(self.primaries()) == colonies and self.is_whole, "be founded")

    @property
    def now_s(self) -> float:
        """Virtual seconds since the beginning."""
        return self._simulation.timeline.now_s

    @property
    def hosts(self) -> list[str]:
        """Names of the hosts whose process runs; a stopped one counts."""
        return [process.home.name for process in self._simulation.processes()]

    @property
    def is_whole(self) -> bool:
        """Whether every colony has all the peers that the hosts can carry."""
        return all(
            process.container.is_settled or process.container.view is None
            for process in self._simulation.processes()
        )

    def store(self, *, codec: str = "cloudpickle", timeout: float = TIMEOUT_S) -> Store:
        """Return a store on the cluster; as `colony.connect`, but its time is virtual."""
        self._clients += 1
        transport = _Transport(self._simulation, f"client-{self._clients}")
        return Store(transport, codec=codec_named(codec), timeout_s=drafts.seconds(timeout))

    def primaries(self) -> dict[int, str]:
        """Return which host serves each colony now; those that nobody serves are missing."""
        found = {}
        for process in self._simulation.processes():
            for number, machine in process.container.colonies.items():
                if machine.primary is not None and machine.is_open and not process.home.paused:
                    if process.container.quorum.held(process.now_s):
                        found[number] = process.home.name
        return found

    def primary_of(self, key: Key) -> str:
        """Return the host that serves a key now; "" = nobody does."""
        data, primaries = key_bytes(key), self.primaries()
        home = colony_of(data, self._simulation.settings.charter.colonies)
        name = primaries.get(home, "")
        process = self._simulation.homes[name].process if name else None
        place = process.container.colonies[home].peer.cells.places.get(data) if process is not None else None
        if place is not None and place.state in (AWAY, RECALLING):
            return primaries.get(place.colony, "")
        return name

    # -- what may happen -----------------------------------------------------------------

    def kill(self, host: str) -> None:
        """End a host's process at once, as by kill -9; its disk stays."""
        self._simulation.crash(self._known(host))

    def start(self, host: str) -> None:
        """Start a killed host again, or a new one."""
        if host not in self._simulation.homes:
            self._simulation.add_home(host)
        self._simulation.start(host)

    def stop(self, host: str) -> None:
        """Stop a host's process, as by SIGSTOP."""
        self._simulation.pause(self._known(host))

    def resume(self, host: str) -> None:
        """Let a stopped host go on."""
        self._simulation.resume(self._known(host))

    def leave(self, host: str) -> None:
        """Order a host to leave: it goes when its colonies are elsewhere."""
        self._simulation.leave(self._known(host))

    def cut(self, where: str) -> None:
        """Cut the network between hosts: `A|BC` parts A from B and C, `A-B` one link, `A>B` one way of it."""
        self._simulation.cut(where)

    def heal(self, where: str = "") -> None:
        """Take back a cut; "" = all of them."""
        if where:
            self._simulation.heal(where)
        else:
            self._simulation.network.heal_all()

    def after(self, seconds: float, happens: Callable[[], object]) -> None:
        """Let something happen later: in the middle of a store's call, say."""

        def happen() -> None:
            happens()

        self._simulation.timeline.after(seconds, happen)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self._simulation.timeline.run_until(self.now_s + seconds)

    def settle(self, timeout: float = 60.0) -> None:
        """Let time pass until every colony has its peers again; raises `TimeoutError`."""
        self._await(lambda: self.is_whole, "settle", timeout)

    def _await(self, is_there: Callable[[], bool], what: str, timeout_s: float = FOUNDING_S) -> None:
        until_s = self.now_s + timeout_s
        while not is_there():
            if self.now_s > until_s:
                raise TimeoutError(f"the cluster did not {what} within {timeout_s:g} virtual seconds")
            self.run(0.05)

    def _known(self, host: str) -> str:
        if host not in self._simulation.homes:
            raise ValueError(f"there is no host {host!r}: there are {', '.join(self._simulation.homes)}")
        return host

    def __enter__(self) -> SimulatedCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; there is nothing to clean up."""


def _run(dna: bytes | None, closure: bytes) -> bytes | None:
    return run_closure(dna, closure)


class _Transport:
    """A store's way into the simulation: the real client's calls, on virtual time."""

    curve: Curve | None = None

    def __init__(self, simulation: Simulation, name: str) -> None:
        self.name = name
        self.is_closed = False
        self._simulation = simulation
        self._directory = Directory(tuple(simulation.addresses()))
        self._exchange = Exchange(self._directory, LaneSource())
        self._came: list[Reply] = []

    def mutate(self, draft: Draft, timeout_s: float) -> Reply:
        """Return the reply to a mutation; raises `ColonyError`."""
        self.learn(timeout_s)
        return self._finished(self._begun(draft, None, timeout_s, mutating=True))

    def read(self, draft: Draft, timeout_s: float, colony: int | None = None) -> Reply:
        """Return the reply to a read."""
        self.learn(timeout_s)
        return self._finished(self._begun(draft, colony, timeout_s, mutating=False))

    def order(self, draft: Draft, timeout_s: float, *, once: bool) -> Reply:
        """Return some host's reply to an operator's command."""
        call = self._begun(draft, -1, timeout_s, mutating=False)
        call.once = once
        return self._finished(call)

    def many(
        self,
        drafts: Iterable[Draft],
        timeout_s: float,
        *,
        mutating: bool,
        then: Callable[[int, Finish | GiveUp], None],
    ) -> None:
        """Run many calls of one kind; `then(place, result)` as they end."""
        self.learn(timeout_s)
        begun = [self._begun(draft, None, timeout_s, mutating=mutating) for draft in drafts]
        for place, call in enumerate(begun):
            then(place, self._ended(call))

    def learn(self, timeout_s: float) -> Directory:
        """Return the directory, filled."""
        if not self._directory.colonies:
            call = self._exchange.greeting(self._now_s + timeout_s)
            self._exchange.begin(call, self._now_s)
            self._finished(call)
        return self._directory

    def close(self) -> None:
        """Take no more calls."""
        self.is_closed = True

    def replied(self, reply: Reply) -> None:
        """Take a reply; the simulation calls it."""
        self._came.append(reply)

    @property
    def _now_s(self) -> float:
        return self._simulation.timeline.now_s

    def _begun(self, draft: Draft, colony: int | None, timeout_s: float, *, mutating: bool) -> Call:
        if self.is_closed:
            raise Closed("the store is closed")
        kind, key, rest = draft
        exchange = self._exchange
        lane = exchange.lanes.take() if mutating else None
        if colony is None:
            colony = self._directory.colony_of(key)
        call = exchange.draft(kind, key, rest, colony, self._now_s + timeout_s, lane)
        exchange.begin(call, self._now_s)
        return call

    def _finished(self, call: Call) -> Reply:
        return outcome(self._ended(call))

    def _ended(self, call: Call) -> Finish | GiveUp:
        exchange, timeline = self._exchange, self._simulation.timeline
        while call.result is None:
            for address, attempts in exchange.take_outbox().items():
                for attempt, other in attempts:
                    self._simulation.ask(self, address, other.request(attempt))
            timeline.run_until(timeline.now_s + STEP_S)
            came, self._came = self._came, []
            exchange.replied(came, timeline.now_s)
            exchange.passed(timeline.now_s)
        return call.result


try:
    import pytest
except ImportError:  # nobody needs pytest to run colony
    pass
else:

    @pytest.fixture
    def colony_cluster() -> Iterator[SimulatedCluster]:
        """A simulated cluster of three hosts, two peers per colony."""
        with SimulatedCluster() as cluster:
            yield cluster
