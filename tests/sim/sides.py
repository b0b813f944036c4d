"""A split as it is played: what is cut when, and what each side must do then.

A scenario is a function that writes on a `Trial`: faults, and for each group
of hosts what must hold of it from when to when. Seconds count from the
moment at which the cluster serves and its clients begin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from agents.keys import colony_of
from agents.messages.client import ABSENT, MOVED, OK, UNAVAILABLE, Get, Put, Reply, Request
from agents.peer import PeerStatus
from agents.sim_clock import DRIFT_MAX, Chance, Timeline
from agents.sim_network import routes_named
from agents.simulator import Caller, Simulation
from tests.sim.plans import Fault

if TYPE_CHECKING:
    from tests.sim.invariants import Watch
    from tests.sim.runs import Director

LOOK_S = 0.25
MINUTE_S, QUIET_S = 60.0, 25.0  # of view changes: how long a spell may go on as it likes, and what ends one
ANSWER_S = 1.6  # a client's message is late by up to half a second each way, and may be moved once

Script = Callable[["Trial"], None]


class Neighbour:
    """A client's way to the hosts, from beside one of them: a cut holds for it, too.

    Args:
        home: The host beside which the client is.
    """

    def __init__(self, simulation: Simulation, home: str) -> None:
        self.simulation = simulation
        self.home = home
        self.timeline: Timeline = simulation.timeline

    def reaches(self, host: str) -> bool:
        """Return whether words pass both ways now."""
        network = self.simulation.network
        return not network.is_cut(self.home, host) and not network.is_cut(host, self.home)

    def addresses(self) -> list[str]:
        """Return the addresses on this side of whatever is cut now."""
        return [f"tcp://{name}" for name in self.simulation.homes if self.reaches(name)]

    def ask(self, client: Caller, address: str, request: Request) -> None:
        """Ask a host, if it can be reached."""
        host = address.removeprefix("tcp://")
        if self.reaches(host):
            self.simulation.ask(_Ear(self, host, client), address, request)


class _Ear:
    """Hears a reply, unless the way back was cut meanwhile."""

    def __init__(self, way: Neighbour, host: str, client: Caller) -> None:
        self.name = f"{client.name}@{host}"
        self._way = way
        self._host = host
        self._client = client

    def replied(self, reply: Reply) -> None:
        """Pass a reply on."""
        if self._way.reaches(self._host):
            self._client.replied(reply)


class Probe:
    """One question to one host, and what it answered."""

    def __init__(
        self, trial: Trial, host: str, request: Request, allowed: Sequence[int], until_s: float, must: bool
    ) -> None:
        self.name = f"probe{request.id}"
        self.request = request
        self._trial = trial
        self._host = host
        self._allowed = allowed
        self._until_s = until_s
        self._must = must
        self._told: Reply | None = None
        self._ask()
        trial.after(ANSWER_S, self._judge)

    def _ask(self) -> None:
        self._trial.simulation.ask(self, f"tcp://{self._host}", self.request)

    def replied(self, reply: Reply) -> None:
        """Take the answer."""
        is_first, self._told = self._told is None, reply
        if reply.code in self._allowed or self._trial.now_s >= self._until_s:
            return
        if is_first and self._must and reply.code == UNAVAILABLE:  # in the middle of a hand-over, perhaps
            self._trial.after(LOOK_S, self._ask)
        else:
            self._trial.complain(f"{self._host} answered {self.request} with {reply}")

    def _judge(self) -> None:
        if self._must and self._told is None:
            self._trial.complain(f"{self._host} never answered {self.request}")


class Trial:
    """A scenario while it is played.

    Attributes:
        names: The hosts, most senior first.
        chance: Seeded chance, for what the scenario leaves open.
        faults: What the scenario cuts, kills and starts.
        length_s: How long it takes.
        complaints: What went wrong on any side.
    """

    def __init__(
        self,
        simulation: Simulation,
        director: Director,
        watch: Watch,
        names: str,
        chance: Chance,
        script: Script,
    ) -> None:
        self.simulation = simulation
        self.director = director
        self.watch = watch
        self.chance = chance
        self.names = "".join(sorted(names, key=lambda name: simulation.homes[name].id))
        self.faults: list[Fault] = []
        self.length_s = 1.0
        self.complaints: list[str] = []
        self.began_s = simulation.timeline.now_s
        charter = simulation.settings.charter
        self.peers = charter.peers
        self.lease_s = charter.lease_s / (1 - DRIFT_MAX)
        self._probes = 0
        script(self)

    # -- what the scenario says ------------------------------------------------------

    def fault(self, at_s: float, kind: str, target: str, for_s: float = 0.0) -> None:
        """Let something go wrong."""
        self.faults.append(Fault(at_s, kind, target, for_s))
        self.length_s = max(self.length_s, at_s + for_s)

    def some(self, count: int, among: str = "") -> tuple[str, str]:
        """Return so many hosts by chance, and the others."""
        left = list(among or self.names)
        taken = [left.pop(self.chance.randrange(0, len(left))) for _ in range(count)]
        return "".join(sorted(taken)), "".join(left)

    def leader(self, colony: int = 0) -> str:
        """Return who leads a colony now."""
        return next(
            process.home.name
            for process in self.simulation.processes()
            if (machine := process.container.colonies.get(colony)) is not None and machine.primary is not None
        )

    def silent(self, hosts: str, from_s: float, until_s: float, *, keeps: bool = True) -> None:
        """These serve nothing: no quorum, no acknowledgement.

        Args:
            keeps: They keep all data, too, and answer stale reads of it; not so one that hears it is dead.
        """
        held: dict[str, set[int]] = {}

        def remember() -> None:
            held.update((name, self._holds(name) if keeps else set()) for name in hosts)

        def look() -> None:
            for name in hosts:
                if self._runs(name):
                    self._look_at_silent(name, held.get(name, set()))

        self.at(max(0.0, from_s - LOOK_S), remember)

        def ask() -> None:
            for name in hosts:
                self._ask_silent(name, held.get(name, set()), until_s)

        self._each(from_s, until_s, look)
        self._each(from_s, until_s - ANSWER_S, ask, every_s=4 * LOOK_S)
        self.at(until_s, self._no_commit_since, hosts, from_s)

    def serves(self, hosts: str, from_s: float, until_s: float) -> None:
        """These are the view, have quorum, and take reads and writes of every colony.

        At one moment a hand-over may leave a colony without a primary; not at the next one, too.
        """
        before: list[str] = []

        def look() -> None:
            for name in hosts:
                process = self.simulation.homes[name].process
                view = process.container.view if process is not None else None
                seen = "" if view is None else "".join(sorted(member.name for member in view.members))
                if seen != "".join(sorted(hosts)):
                    self.complain(f"{name} has the view {seen or 'of nobody'}, should have {hosts}")
                elif not self._has_quorum(name):
                    self.complain(f"{name} has no quorum among {hosts}")
            found = self.watch.population(hosts, min(self.peers, len(hosts)), strict=False)
            if found and before:
                self.complain(f"{hosts} do not serve: {found}")
            before[:] = found

        def write() -> None:
            for name in hosts:
                self.ask(name, Get(0, b"k0"), (OK, ABSENT, MOVED), until_s, must=True)

        self._each(from_s, until_s, look)
        self._each(from_s, until_s - ANSWER_S, write, every_s=4 * LOOK_S)

    def quiet(self, hosts: str, from_s: float, until_s: float) -> None:
        """These propose nothing."""

        def look() -> None:
            for at_s, name in self.watch.elections:
                if name in hosts and from_s <= at_s - self.began_s < until_s:
                    self.complain(f"{name} proposed at {at_s - self.began_s:.3f}")

        self.at(until_s, look)

    def same_views(self, hosts: str, from_s: float, until_s: float) -> None:
        """These install no view."""
        before: dict[str, int] = {}

        def view_of(name: str) -> int:
            process = self.simulation.homes[name].process
            view = process.container.view if process is not None else None
            return view.id if view is not None else 0

        self.at(from_s, lambda: before.update((name, view_of(name)) for name in hosts))

        def look() -> None:
            for name in hosts:
                if view_of(name) != before[name]:
                    self.complain(f"{name} went from view {before[name]} to {view_of(name)}")

        self.at(until_s, look)

    def whole(self, by_s: float) -> None:
        """All that should run are members again, and every colony has N peers.

        It is looked for within the last second: at one moment of it the next view, which makes a
        joiner ACTIVE, or a copy's move to a better place may just be under way.
        """
        found = ["not looked at"]

        def look() -> None:
            if found:
                expected = self.director.expected
                found[:] = self.watch.complaints(expected, min(self.peers, len(expected)), busy=True)

        def judge() -> None:
            look()
            if found:
                self.complain(f"not whole: {'; '.join(found[:4])}")

        self._each(by_s - 1.0, by_s - 0.05, look, every_s=0.1)
        self.at(by_s, judge)

    def at_most_views(self, count: int, within_s: float, until_s: float) -> None:
        """After the first minute of a spell of changes, at most so many views are installed in such a time.

        A cut that nobody is given up for is none of a spell: one ends where no view came for a while.
        """

        def look() -> None:
            seen = sorted(s - self.began_s for s in self.watch.first_installed_s.values())
            spell_s = before_s = 0.0
            for at_s in seen:
                spell_s = at_s if at_s - before_s > QUIET_S else spell_s
                before_s, from_s = at_s, at_s - within_s
                made = sum(from_s < other_s <= at_s for other_s in seen)
                if from_s >= spell_s + MINUTE_S and made > count:
                    self.complain(f"{made} views from {from_s:.1f} to {at_s:.1f} s, at most {count} are well")
                    return

        self.at(until_s, look)

    def survivors(self, cut: str) -> str:
        """Return the largest set of hosts that no cut parts, if it is a majority; of equals, the senior."""
        routes = routes_named(cut)
        for size in range(len(self.names), len(self.names) // 2, -1):
            for some in combinations(self.names, size):  # in order of seniority, so the first is the senior
                if not any(a in some and b in some for a, b in routes):
                    return "".join(some)
        return ""

    def warp(self, name: str, rate: float) -> None:
        """Let a host's clock go at another rate from now on."""
        self.simulation.homes[name].clock.go_at(rate, self.simulation.timeline.now_s)

    def expect_said(self, hosts: str, kinds: Sequence[str]) -> None:
        """Complain if any of these hosts has not said, by a note, each of these things."""
        for name in hosts:
            for kind in kinds:
                if not self.watch.said[name, kind]:
                    self.complain(f"{name} has never said {kind!r}")

    # -- how it is looked at ----------------------------------------------------------

    def at(self, at_s: float, action: Callable[..., None], *arguments: object) -> None:
        """Plan an action; the scenario is not over before it."""
        self.length_s = max(self.length_s, at_s)
        self.simulation.timeline.at(self.began_s + at_s, action, *arguments)

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Plan an action from now."""
        self.simulation.timeline.after(delay_s, action)

    @property
    def now_s(self) -> float:
        """Seconds since the scenario began."""
        return self.simulation.timeline.now_s - self.began_s

    def complain(self, text: str) -> None:
        """Note what went wrong on some side."""
        self.complaints.append(f"at {self.now_s:.3f} s of the scenario: {text}")

    def ask(
        self, host: str, request: Request, allowed: Sequence[int], until_s: float, *, must: bool = False
    ) -> None:
        """Ask a host something, and complain of an answer that is not allowed before `until_s`."""
        self._probes += 1
        fields = [getattr(request, name) for name in request.__struct_fields__[1:]]
        Probe(self, host, type(request)(self._probes, *fields), allowed, until_s, must)

    def _each(self, from_s: float, until_s: float, look: Callable[[], None], every_s: float = LOOK_S) -> None:
        at_s = from_s
        while at_s < until_s:
            self.at(at_s, look)
            at_s += every_s

    def _runs(self, name: str) -> bool:
        return self.simulation.homes[name].runs

    def _has_quorum(self, name: str) -> bool:
        process = self.simulation.homes[name].process
        return process is not None and process.container.membership.quorum.held(process.now_s)

    def _holds(self, name: str) -> set[int]:
        process = self.simulation.homes[name].process
        machines = process.container.colonies if process is not None else {}
        return {colony for colony, machine in machines.items() if machine.status is PeerStatus.ACTIVE}

    def _look_at_silent(self, name: str, held: set[int]) -> None:
        if self._has_quorum(name):
            self.complain(f"{name} holds quorum on the silent side")
        gone = held - self._holds(name)
        if gone:
            self.complain(f"{name} threw away its peers of colonies {sorted(gone)}")

    def _ask_silent(self, name: str, held: set[int], until_s: float) -> None:
        if not self._runs(name):
            return
        colonies = self.simulation.settings.charter.colonies
        for key in (b"k0", b"k1"):
            refused = (UNAVAILABLE, MOVED)
            self.ask(name, Get(0, key), refused, until_s)
            self.ask(name, Put(0, b"probe", self._probes + 1, b"probe " + key, b"never"), refused, until_s)
            if colony_of(key, colonies) in held:
                self.ask(name, Get(0, key, stale=True), (OK, ABSENT), until_s, must=True)

    def _no_commit_since(self, hosts: str, since_s: float) -> None:
        for name in hosts:
            last_s = self.watch.committed_s.get(name, 0.0) - self.began_s
            if last_s > since_s:
                self.complain(f"{name} committed something at {last_s:.3f}")
