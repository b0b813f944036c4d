"""The wave: where all colonies go after a change of the members.

A pure function of what all members know alike (the view, its census, the
figures that the census carries): whoever works it out comes to the same
places, so that what a rehearsal foresees is what comes, whatever the order
and the timing of the moves.

It decides nothing that colonies would not decide by themselves: it plays
their rules (who gets a missing copy, what puts peers apart, what joiners and
hosts that carry too much ask for, who leads) one after another, each on what
the one before has left, until nobody would move any more.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush
from typing import Literal

from placement.attraction import FILL_LOW, attraction_words, cpu_band, has_room
from placement.balance import EVEN, MARGIN_MIN, SLACK, Means, copy_gain, fair_weight, may_lead_more
from placement.choice import choose_retiree, choose_successor, target_ranks
from placement.labels import Level
from placement.moves import better_spread, even_copies
from placement.peers import Peers
from placement.reasons import Move
from placement.repulsion import near_words, penalty_added
from placement.resources import COPY_BYTES, Candidate
from placement.sampling import SAMPLE_MAX, sampled
from placement.settle import carriers, fair_share
from placement.ties import tie_order

ROUNDS_MAX = 4  # of spread, shares, relief and roles: what one leaves to another is nearly always nothing
# Looks at a host for a colony, 5 to 10 µs each; who lacks more than so many at once can't wait.
FILL_MAX = 20_000
WORK_MAX = 200_000  # in all: beyond it, colonies find a better place one by one

Work = Generator[int, None, None]


@dataclass(frozen=True, slots=True)
class Goal:
    """Where a wave puts one colony.

    Attributes:
        colony: Its number.
        primary: Host id.
        holders: Ids of all hosts that hold it then, the primary first.
        because: Why, in words.
        rule: Which rule asked for what moves last.
    """

    colony: int
    primary: str
    holders: tuple[str, ...]
    because: str
    rule: Literal["repel", "migrate"] = "migrate"


class Wave:
    """A wave, worked out bit by bit.

    Args:
        places: Where each colony lives, by number; copies that come, and are not ACTIVE yet, included.
        sizes: Bytes of each, as all know them.
        hosts: All members, in the view's order. What they carry is counted from `places`.
        settled: Peers of each colony.
        hard: No two peers of a colony may share this level.
        frozen: Only what lacks peers or leaves is moved.

    Attributes:
        goals: Colony -> where it goes; only those that don't stand there yet.
        peaks: Host id -> the most that it weighs on the way.
        takers: Ids of hosts that get copies.
        is_done: All goals are known.
    """

    def __init__(
        self,
        places: Sequence[Peers],
        sizes: Sequence[int],
        hosts: Sequence[Candidate],
        settled: int,
        *,
        hard: Level = Level.HOST,
        frozen: bool = False,
    ) -> None:
        self.goals: dict[int, Goal] = {}
        self.peaks: dict[str, int] = {}
        self.takers: set[str] = set()
        self.is_done = False
        self._before = places
        self._sizes = sizes
        self._lightest = min(sizes, default=0) + COPY_BYTES
        self._settled, self._hard, self._frozen = settled, hard, frozen
        self._hosts = list(hosts)
        self._place_of = {host.id: place for place, host in enumerate(hosts)}
        self._holders: list[list[str]] = [list(peers.holders) for peers in places]
        self._here: dict[str, set[int]] = {host.id: set() for host in hosts}
        self._led: dict[str, set[int]] = {host.id: set() for host in hosts}
        self._moved: set[int] = set()  # since they were last put apart
        self._spent = 0
        self._work = self._all()

    def advance(self, budget: int) -> None:
        """Go on; `budget`: about so many looks at a host for a colony."""
        while budget > 0 and not self.is_done:
            spent = next(self._work, None)
            if spent is None:
                self.is_done = True
                return
            budget -= spent
            self._spent += spent
            self.is_done = self._spent > WORK_MAX

    def _all(self) -> Work:
        yield from self._count()
        yield from self._fill()
        if self._frozen or self.is_done:
            return
        joiners = [host.id for host in self._hosts if host.joining]
        opened = range(len(self._holders)) if joiners else ()
        for _ in range(ROUNDS_MAX):
            moved, self._moved = self._moved, set()
            # Those that got a place now, and all others where joiners open a way.
            for colony in sorted(moved.union(opened)):
                yield from self._spread(colony, joiners, moved)
            yield from self._shares()
            yield from self._relieve()
            yield from self._roles()
            if not self._moved:
                return
            opened = ()

    # -- the board ---------------------------------------------------------------------

    def _count(self) -> Work:
        """Find out what each host carries."""
        for colony, holders in enumerate(self._holders):
            holders[:] = [host for host in holders if host in self._place_of]
            for host in holders:
                self._here[host].add(colony)
            if holders:
                self._led[holders[0]].add(colony)
            if colony % 64 == 63:
                yield 8
        for place, seen in enumerate(self._hosts):
            here = self._here[seen.id]
            used = sum(self._sizes[colony] for colony in here)
            self._hosts[place] = seen = replace(
                seen, copies=len(here), primaries=len(self._led[seen.id]), bytes_used=used, bytes_going=0
            )
            self.peaks[seen.id] = seen.weight
            yield 2

    def _of(self, host: str) -> Candidate:
        return self._hosts[self._place_of[host]]

    def _add(self, host: str, *, copies: int = 0, bytes_used: int = 0, primaries: int = 0) -> None:
        seen = self._of(host)
        free = seen.memory_free
        self._hosts[self._place_of[host]] = replace(
            seen,
            copies=seen.copies + copies,
            bytes_used=seen.bytes_used + bytes_used,
            primaries=seen.primaries + primaries,
            memory_free=None if free is None else free - bytes_used,
        )

    def _come(self, colony: int, host: str) -> None:
        size = self._sizes[colony]
        self._holders[colony].append(host)
        self._here[host].add(colony)
        self._add(host, copies=1, bytes_used=size)
        if host not in self._before[colony].holders:
            self.peaks[host] += size + COPY_BYTES
            self.takers.add(host)

    def _go(self, colony: int, host: str) -> None:
        self._holders[colony].remove(host)
        self._here[host].discard(colony)
        self._add(host, copies=-1, bytes_used=-self._sizes[colony])

    def _lead(self, colony: int, host: str) -> None:
        holders = self._holders[colony]
        before = holders[0]
        if before != host:
            self._led[before].discard(colony)
            self._add(before, primaries=-1)
            self._led[host].add(colony)
            self._add(host, primaries=1)
            holders.remove(host)
            holders.insert(0, host)

    def _aim(self, colony: int, because: str, rule: Literal["repel", "migrate"] = "migrate") -> None:
        """Note where a colony goes now; nothing, if that is where it is."""
        self._moved.add(colony)
        holders, before = tuple(self._holders[colony]), self._before[colony].holders
        if holders[:1] == before[:1] and set(holders) == set(before):
            self.goals.pop(colony, None)
        elif holders:
            self.goals[colony] = Goal(colony, holders[0], holders, because, rule)

    def _around(self, colony: int) -> Sequence[Candidate]:
        return sampled(self._hosts, self._place_of, colony, self._holders[colony])

    # -- population --------------------------------------------------------------------

    def _fill(self) -> Work:
        """Find places for copies that are missing, and for those on hosts that leave: the largest first."""
        gone = {host.id for host in self._hosts if host.leaving or host.witness}
        needy = []
        for colony, holders in enumerate(self._holders):
            stay = sum(host not in gone for host in holders)
            if holders and (stay != self._settled or stay < len(holders)):
                needy.append((stay, -self._sizes[colony], colony))
        yield len(self._holders) // 8 + 1
        if len(needy) * min(SAMPLE_MAX, len(self._hosts)) > FILL_MAX:
            self.is_done = True
            return
        hosts = carriers(self._hosts)
        fair = fair_weight(hosts, sum(self._sizes), len(self._sizes), self._settled) * (1 + SLACK / 2)
        for _, _, colony in sorted(needy):
            yield from self._fill_one(colony, gone, fair)

    def _fill_one(self, colony: int, gone: Collection[str], fair: float) -> Work:
        holders, because = self._holders[colony], ""
        stay = [host for host in holders if host not in gone]
        leave = [host for host in holders if host in gone]
        while len(stay) < self._settled:
            yield min(SAMPLE_MAX, len(self._hosts))
            target = self._target(colony, stay, fair)
            if target is None:
                break
            near = [self._of(host) for host in stay]
            words = attraction_words(target, bytes_wanted=self._sizes[colony])
            because = f"{len(stay)} of {self._settled} peers; {near_words(target, near)}; {'; '.join(words)}"
            self._come(colony, target.id)
            stay.append(target.id)
        if not stay:
            return
        if holders[0] in gone:
            heirs = [host for host in stay if host in self._before[colony].holders] or stay
            chosen = choose_successor(colony, heirs, [self._of(host) for host in heirs], primary=None).chosen
            self._lead(colony, chosen or heirs[0])
        for host in leave:
            if len(stay) >= self._settled:
                self._go(colony, host)
        while len(stay) > self._settled:
            present = [self._of(host) for host in stay]
            extra = choose_retiree(colony, stay, present, primary=holders[0]).chosen
            if extra is None or extra == holders[0]:
                break
            because = because or "one peer too many"
            self._go(colony, extra)
            stay.remove(extra)
        self._aim(colony, because or "its host leaves")

    def _target(self, colony: int, stay: Sequence[str], fair: float) -> Candidate | None:
        """Return the host for one more copy, by the rules of `choice.choose_target`."""
        near = [self._of(host) for host in stay]
        some = self._around(colony)
        best = self._best(colony, near, some, fair)
        if best is not None and not any(penalty_added(best, near)):
            return best
        return best if some is self._hosts else self._best(colony, near, self._hosts, fair)

    def _best(
        self, colony: int, near: Sequence[Candidate], some: Sequence[Candidate], fair: float
    ) -> Candidate | None:
        size, holders = self._sizes[colony], self._holders[colony]
        free = [host for host in some if host.accepts and host.id not in holders and has_room(host, size)]
        ranks = target_ranks(colony, near, free, bytes_wanted=size, weight_max=fair)
        free = [host for host in free if not ranks[host.id][0].breaks(self._hard)]
        return min(free, key=lambda host: ranks[host.id], default=None)

    # -- a better place ------------------------------------------------------------------

    def _spread(self, colony: int, joiners: Sequence[str], moved: Collection[int]) -> Work:
        """Put the peers of a colony apart; one that has not moved had its chance of all but joiners."""
        holders, size = self._holders[colony], self._sizes[colony]
        while holders:
            near = [self._of(host) for host in dict.fromkeys((*holders, *joiners))]
            some = list(self._around(colony)) if colony in moved else near
            yield len(some) // 4 + 1
            move = better_spread(colony, holders, some, primary=holders[0], bytes_wanted=size)
            if move is None:
                return
            self._shift(move)

    def _shift(self, move: Move) -> None:
        """Move a copy; where it is the primary's, the role goes to another holder first."""
        colony, holders = move.colony, self._holders[move.colony]
        if holders[0] == move.source and len(holders) > 1:
            present = [self._of(host) for host in holders]
            heir = choose_successor(colony, holders, present, primary=move.source).chosen
            if heir is not None:
                self._lead(colony, heir)
        leads = holders[0] == move.source
        self._come(colony, move.target)
        if leads:
            self._lead(colony, move.target)
        self._go(colony, move.source)
        self._aim(colony, move.because, "repel" if move.rule == "repel" else "migrate")

    def _shares(self) -> Work:
        """Give joiners, and hosts that carry far too little, their share: see `agents.share`."""
        means = Means.of(self._hosts)
        fed: set[str] = set()
        barren: dict[str, set[str]] = {}  # taker -> givers that have nothing for it
        while True:
            takers = [
                host
                for host in self._hosts
                if host.accepts and host.id not in fed and (host.joining or host.id in means.hungry)
            ]
            yield len(self._hosts) // 8 + 1
            if not takers:
                return
            taker = min(takers, key=lambda host: (host.weight, self._place_of[host.id]))
            move = (
                None
                if cpu_band(taker.cpu) == 2
                else (yield from self._claimed(taker, means, barren.setdefault(taker.id, set())))
            )
            if move is None:
                fed.add(taker.id)
            else:
                self._shift(move)
                means = Means.of(self._hosts, means)

    def _claimed(self, taker: Candidate, means: Means, barren: set[str]) -> Generator[int, None, Move | None]:
        """Return the copy that a host would ask for: of the heaviest giver, of the size that is due."""
        hosts = carriers(self._hosts)
        due = fair_share(max(1, len(hosts)), len(self._sizes), self._settled).copies - taker.copies
        fair = fair_weight(hosts, sum(self._sizes), len(self._sizes), self._settled)
        weight_due = int(fair) - taker.weight
        if due <= 0 or self._lightest > 2 * weight_due:
            return None
        for giver in sorted(self._hosts, key=lambda host: (-host.weight, self._place_of[host.id])):
            if giver.leaving or giver.id in barren or copy_gain(giver, taker, 0, means) <= 0:
                continue
            best: tuple[tuple[float, int], int] | None = None
            for colony in self._here[giver.id] - self._here[taker.id]:
                weight = self._sizes[colony] + COPY_BYTES
                if weight <= 2 * weight_due and self._may_go(colony, giver, taker, means):
                    key = abs(weight - weight_due / due), tie_order(colony, taker.id)
                    best = min(best, (key, colony)) if best is not None else (key, colony)
            yield len(self._here[giver.id])
            if best is not None:
                because = f"{_carries(giver)}, {_carries(taker)}"
                return Move(best[1], "copy", giver.id, taker.id, because)
            barren.add(giver.id)
        return None

    def _may_go(self, colony: int, giver: Candidate, taker: Candidate, means: Means) -> bool:
        """Return whether a copy may move for balance's sake: see `moves.even_copies`."""
        holders, size = self._holders[colony], self._sizes[colony]
        if holders[0] == giver.id and len(holders) > 1:
            return False
        if copy_gain(giver, taker, size, means) <= 0 or not has_room(taker, size, FILL_LOW):
            return False
        rest = [self._of(host) for host in holders if host != giver.id]
        return penalty_added(taker, rest) <= penalty_added(giver, rest)

    def _relieve(self) -> Work:
        """Let hosts that carry too much give away as few and as large copies as make up for it."""
        means, stuck = Means.of(self._hosts), set[str]()
        while True:
            yield len(self._hosts) // 8 + 1
            crowded = [h for h in self._hosts if h.id in means.crowded and h.id not in stuck]
            if not crowded:
                return
            giver = min(crowded, key=lambda host: (-host.weight, self._place_of[host.id]))
            excess = giver.weight - means.weight + EVEN * means.weight
            move = None
            for colony in self._first_to_go(giver, excess):
                yield min(SAMPLE_MAX, len(self._hosts))
                holders = self._holders[colony]
                move = even_copies(
                    colony, holders, list(self._around(colony)), means=means, primary=holders[0],
                    bytes_wanted=self._sizes[colony], asked_by=giver.id,
                )  # fmt: skip
                if move is not None:
                    break
            if move is None:
                stuck.add(giver.id)
            else:
                self._shift(move)
                means = Means.of(self._hosts, means)

    def _first_to_go(self, giver: Candidate, excess: float) -> list[int]:
        """Return the secondaries on a host that are not too large for what is too much, the largest first."""
        fitting = [
            (-self._sizes[colony], tie_order(colony, giver.id), colony)
            for colony in self._here[giver.id] - self._led[giver.id]
            if self._sizes[colony] + COPY_BYTES <= excess
        ]
        return [colony for _, _, colony in sorted(fitting)]

    def _roles(self) -> Work:
        """Even out who leads how many, from those that lead most: see `moves.even_roles`."""
        means, gave = Means.of(self._hosts), True
        while gave:
            gave = False
            least = min((host.primaries for host in self._hosts if host.accepts), default=0)
            givers = [(-host.primaries, place) for place, host in enumerate(self._hosts)]
            heapify(givers)
            yield len(givers) // 4 + 1
            while givers and -givers[0][0] - least >= MARGIN_MIN:
                _, place = heappop(givers)
                giver = self._hosts[place]
                yield len(self._led[giver.id])
                found = self._role_of(giver, means)
                if found is not None:
                    colony, taker = found
                    leads = (
                        f"{giver.called} leads {giver.primaries} colonies, {taker.called} {taker.primaries}"
                    )
                    self._lead(colony, taker.id)
                    self._aim(colony, leads)
                    heappush(givers, (-self._hosts[place].primaries, place))
                    gave = True

    def _role_of(self, giver: Candidate, means: Means) -> tuple[int, Candidate] | None:
        """Return which role a host gives away first, and who takes it: the one that leads least."""
        best: tuple[tuple[int, int, int, int], int, Candidate] | None = None
        for colony in sorted(self._led[giver.id]):
            for host in self._holders[colony][1:]:
                taker = self._of(host)
                if taker.leaving or taker.witness or not may_lead_more(giver, taker, means):
                    continue
                key = cpu_band(taker.cpu), taker.primaries, taker.copies, tie_order(colony, host)
                if best is None or key < best[0]:
                    best = key, colony, taker
        return None if best is None else best[1:]


def _carries(host: Candidate) -> str:
    return f"{host.called} holds {host.copies} copies"
