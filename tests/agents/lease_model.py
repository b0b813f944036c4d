"""All that can happen to the leases of one host while views come and go, explored to the end.

The host `X` is listed by each view of a chain but the last. The real `Grants`, `Quorum` and
`Attempt` do what they do; around them the model has hosts that answer heartbeats, accept the
next view, lag, skip views and restart from their records, in every order. When anybody has
installed the view that drops X, X must not hold quorum any more, in whatever view it still is.

What is left out, and why that hides nothing:

- Ballots: one value per view number is what Paxos promises, and other tests check that. An
  acceptance counts at once and the first one alone: a later one only makes the wait longer.
- Drift: a granter's lease is shortened by the stretch that the real code adds.
- Waits for other dropped hosts than X: without them more can happen, not less.

Times are relative to now, and what is older than a lease counts as just that old: so the states
are finite, and no bound on time or depth is needed. In `Chain.late` heartbeats and grants are
under way for any time or get lost; else they arrive at once or never, which gives X the most.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations, product
from math import inf
from typing import NamedTuple

from agents.agreement import Attempt
from agents.leases import STRETCH, Grants, Quorum
from agents.messages.membership import Ballot
from agents.views import Charter, Member, View, view_id

X = "x"
OTHERS = "abc"
TAG = "0" * 32


class Host(NamedTuple):
    """One host: the view that it knows (0 = none), and what it remembers of its grants to X.

    Ages are in ticks; a lease and more is all the same.
    """

    view: int
    incarnation: int
    fenced: bool
    floor: int  # age of the install of the view, or of the start
    last: int  # age of the last grant to X in this view


class Counted(NamedTuple):
    """The last grant of one host that X has counted."""

    host: str
    incarnation: int
    view: int
    left: int  # ticks


class Flying(NamedTuple):
    """A heartbeat of X to a host, or (with who grants) the answer to it."""

    host: str
    view: int
    age: int
    incarnation: int = 0


class State(NamedTuple):
    """All hosts, X first; who accepted the view after the newest, and how long each says to wait."""

    hosts: tuple[Host, ...]
    newest: int  # the last view that anybody has installed
    accepted: tuple[tuple[str, int], ...]
    counted: tuple[Counted, ...]
    flying: tuple[Flying, ...]
    restarts: int


Listed = dict[str, int]  # host -> incarnation


@dataclass(frozen=True)
class Rules:
    """The code under test; a planted fault replaces a part of it."""

    grants: type[Grants] = Grants
    quorum: type[Quorum] = Quorum
    waits: bool = True  # the proposer, before it installs
    start_floor: bool = True  # what a restarted granter has forgotten counts as granted at its start
    restarted_grants: bool = False  # although no view lists it


@dataclass(frozen=True)
class Found:
    """What an exploration found: how many states, and the way into the first wrong one.

    In `carried` of them X holds quorum in a view in which it has heard nobody yet.
    """

    states: int
    carried: int
    trace: tuple[str, ...] = ()


class Chain:
    """Successive views, and every way through them.

    Args:
        listed: The members of each view; one more follows, with all of the last but X.
        lease: Ticks.
        late: Messages may be under way for any time.
    """

    def __init__(
        self,
        listed: Sequence[Listed],
        rules: Rules | None = None,
        *,
        lease: int = 2,
        restarts: int = 0,
        late: bool = False,
    ) -> None:
        self.rules = rules or Rules()
        self.lease, self.late, self.restarts = lease, late, restarts
        last = {host: incarnation for host, incarnation in listed[-1].items() if host != X}
        self.ids = sorted({host for view in listed for host in view}, key=lambda host: (host != X, host))
        self.views = [_view(number, view, lease) for number, view in enumerate((*listed, last), 1)]
        self.held = lru_cache(maxsize=None)(self._held)

    def explore(self, states_max: int = sys.maxsize) -> Found:
        """Look at every state that can be reached; stop at the first in which the promise is broken."""
        start = self._start()
        came: dict[State, tuple[State | None, str]] = {start: (None, "")}
        level, carried = [start], 0
        while level and len(came) < states_max:
            following: list[State] = []
            for state in level:
                for what, after in self._steps(state):
                    if after in came:
                        continue
                    came[after] = state, what
                    is_held = self.held(after.hosts[0], after.counted)
                    if is_held and after.newest == len(self.views):
                        return Found(len(came), carried, _trace(came, after))
                    carried += is_held and all(one.view < after.hosts[0].view for one in after.counted)
                    following.append(after)
            level = following
        return Found(len(came), carried)

    def _start(self) -> State:
        first = self.views[0]
        hosts = tuple(
            Host(int(first.member(host) is not None), 1, fenced=False, floor=0, last=self.lease)
            for host in self.ids
        )
        return State(hosts, 1, (), (), (), self.restarts)

    def _steps(self, state: State) -> Iterator[tuple[str, State]]:
        yield "tick", self._ticked(state)
        for place, (name, host) in enumerate(zip(self.ids, state.hosts, strict=True)):
            for view in range(host.view + 1, state.newest + 1):
                yield f"{name} installs {view}", self._installed(state, place, view)
            if host.view == state.newest < len(self.views):
                yield from self._accepts(state, place)
            if name != X:
                yield from self._talks(state, place)
                if state.restarts and host.view:
                    yield f"{name} restarts", self._restarted(state, place)
        if state.accepted and self._may_install(state):
            yield f"view {state.newest + 1} is chosen", state._replace(newest=state.newest + 1, accepted=())

    # -- time, and views ----------------------------------------------------------------

    def _ticked(self, state: State) -> State:
        lease = self.lease
        return state._replace(
            hosts=tuple(
                host._replace(floor=min(lease, host.floor + 1), last=min(lease, host.last + 1))
                for host in state.hosts
            ),
            accepted=tuple((name, max(0, left - 1)) for name, left in state.accepted),
            counted=tuple(one._replace(left=one.left - 1) for one in state.counted if one.left > 1),
            flying=tuple(one._replace(age=one.age + 1) for one in state.flying if one.age + 1 < lease),
        )

    def _installed(self, state: State, place: int, view: int) -> State:
        """Install, or learn, a view; X hears of no view that drops it: that would be the end of it."""
        name, host = self.ids[place], state.hosts[place]
        if name == X and self.views[view - 1].member(X) is None:
            return state
        is_member = self.views[view - 1].lists(name, host.incarnation)
        return _with(state, place, Host(view, host.incarnation, not is_member, 0, self.lease))

    def _restarted(self, state: State, place: int) -> State:
        """Start from the record: the votes are in it, the grants are not."""
        host = state.hosts[place]
        floor = 0 if self.rules.start_floor else self.lease
        fenced = not self.rules.restarted_grants
        after = Host(host.view, host.incarnation + 1, fenced, floor, self.lease)
        return _with(state, place, after)._replace(restarts=state.restarts - 1)

    def _accepts(self, state: State, place: int) -> Iterator[tuple[str, State]]:
        """Accept the next view: by host id, member or not, but of the view that it knows."""
        name, host = self.ids[place], state.hosts[place]
        known, proposal = self.views[host.view - 1], self.views[host.view]
        if known.member(name) is None or any(name == other for other, _ in state.accepted):
            return
        if any(m.incarnation > state.hosts[self.ids.index(m.id)].incarnation for m in proposal.members):
            return  # it lists an incarnation that has not started
        grants = self._grants(host)
        grants.fence()
        left = round(grants.left_s(X, 0.0), 6)
        assert left == int(left)
        accepted = tuple(sorted((*state.accepted, (name, int(left)))))
        after = _with(state, place, host._replace(fenced=grants.fenced))
        yield f"{name} accepts {host.view + 1}", after._replace(accepted=accepted)

    def _may_install(self, state: State) -> bool:
        """Ask the real proposer whether the next view is chosen, and X's leases have run out."""
        known, proposal = self.views[state.newest - 1], self.views[state.newest]
        attempt = Attempt(known, Ballot(1, "p"), known.majority, 0.0)
        attempt.propose(proposal, 0.0)
        for name, left in state.accepted:
            attempt.accepted(name, {X: float(left)}, 0.0)
        harmless = {host for host in self.ids if host != X}
        return attempt.chosen and (not self.rules.waits or attempt.free_at_s(harmless) <= 0.0)

    # -- heartbeats and leases ----------------------------------------------------------

    def _talks(self, state: State, place: int) -> Iterator[tuple[str, State]]:
        """X sends a heartbeat to a host; it grants; X counts: all at once, or one by one."""
        name, x = self.ids[place], state.hosts[0]
        if x.view and self.views[x.view - 1].member(name) is not None:
            beat = Flying(name, x.view, 0)
            if not self.late:
                yield from self._answers(state, place, beat)
            else:
                yield f"x beats to {name}", _fly(state, beat)
        for one in state.flying:
            if one.host == name and one.incarnation:
                yield f"x hears {name}", self._counts(_land(state, one), one)
            elif one.host == name:
                yield from self._answers(_land(state, one), place, one)

    def _answers(self, state: State, place: int, beat: Flying) -> Iterator[tuple[str, State]]:
        name, host = self.ids[place], state.hosts[place]
        if beat.view != host.view:
            return
        grants = self._grants(host)
        if not grants.grant(X, 0.0):
            return
        after = _with(state, place, host._replace(last=0))
        grant = beat._replace(incarnation=host.incarnation)
        yield f"{name} grants", _fly(after, grant) if self.late else self._counts(after, grant)

    def _counts(self, state: State, grant: Flying) -> State:
        quorum = self._quorum(state.hosts[0], state.counted)
        view = self.views[grant.view - 1].id
        if not quorum.granted(grant.host, grant.incarnation, view, -float(grant.age), 0.0):
            return state
        others = [one for one in state.counted if one.host != grant.host]
        one = Counted(grant.host, grant.incarnation, grant.view, self.lease - grant.age)
        return state._replace(counted=tuple(sorted((*others, one))))

    # -- the real things, brought to where they are ----------------------------------------

    def _grants(self, host: Host) -> Grants:
        grants = self.rules.grants(
            self.lease / STRETCH, -float(host.floor) if host.floor < self.lease else -inf
        )
        if host.last < self.lease:
            grants.grant(X, -float(host.last))
        if host.fenced:
            grants.fence()
        return grants

    def _quorum(self, x: Host, counted: Sequence[Counted]) -> Quorum:
        """Install the views in which X counted something, and the one that it is in."""
        quorum = self.rules.quorum()
        for number in sorted({*(one.view for one in counted), x.view} - {0}):
            view = self.views[number - 1]
            quorum.install(view, X)
            for one in counted:
                if one.view == number:
                    quorum.granted(one.host, one.incarnation, view.id, float(one.left - self.lease), 0.0)
        if x.fenced:
            quorum.fence()
        return quorum

    def _held(self, x: Host, counted: tuple[Counted, ...]) -> bool:
        return self._quorum(x, counted).held(0.0)


def _view(number: int, listed: Listed, lease: int) -> View:
    charter = Charter(lease_s=float(lease), suspect_s=60.0)
    members = tuple(Member(host, incarnation, host, "", "") for host, incarnation in listed.items())
    return View(TAG, view_id(0, number), charter, members)


def _with(state: State, place: int, host: Host) -> State:
    return state._replace(hosts=(*state.hosts[:place], host, *state.hosts[place + 1 :]))


def _fly(state: State, message: Flying) -> State:
    """Put a message on its way; one of a kind and host at a time, for the newest gives X the most."""
    rest = [
        one
        for one in state.flying
        if one.host != message.host or bool(one.incarnation) != bool(message.incarnation)
    ]
    return state._replace(flying=tuple(sorted((*rest, message))))


def _land(state: State, message: Flying) -> State:
    return state._replace(flying=tuple(one for one in state.flying if one != message))


def _trace(came: dict[State, tuple[State | None, str]], state: State) -> tuple[str, ...]:
    steps: list[str] = []
    at: State | None = state
    while at is not None:
        at, what = came[at]
        steps.append(what)
    return tuple(reversed(steps[:-1]))


def chains(others: int, views: int) -> list[list[Listed]]:
    """Return all chains of views that list X and some of so many others, alike ones once.

    Who is gone does not come back: it would be another incarnation.
    """
    names = OTHERS[:others]
    sets = [
        frozenset(n for n, bit in zip(names, bits, strict=True) if bit)
        for bits in product((1, 0), repeat=others)
    ]
    seen: set[tuple[tuple[str, ...], ...]] = set()
    found: list[list[Listed]] = []
    for chain in product(filter(None, sets), repeat=views):
        alike = min(
            tuple(tuple(sorted(order[names.index(name)] for name in view)) for view in chain)
            for order in permutations(names)
        )
        if alike not in seen and not any(_comes_back([name in view for view in chain]) for name in names):
            seen.add(alike)
            found.append([dict.fromkeys((X, *sorted(view)), 1) for view in chain])
    return found


def _comes_back(is_in: Sequence[bool]) -> bool:
    changes = [there for there, before in zip(is_in, (False, *is_in), strict=False) if there != before]
    return changes.count(True) > 1


def main() -> None:
    """Explore all chains of a size.

    `python -m tests.agents.lease_model OTHERS VIEWS LEASE RESTARTS [late]`
    """
    others, views, lease, restarts = (int(word) for word in sys.argv[1:5])
    total, since_s = 0, time.monotonic()
    for listed in chains(others, views):
        found = Chain(listed, lease=lease, restarts=restarts, late="late" in sys.argv).explore()
        total += found.states
        words = " ".join("".join(view) for view in listed)
        print(f"{words}: {found.states} states {'; '.join(found.trace) or 'held'}", flush=True)
    print(f"{total} states, {time.monotonic() - since_s:.0f} s")


if __name__ == "__main__":
    main()
