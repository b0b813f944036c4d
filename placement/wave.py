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
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Literal

from placement.attraction import FILL_LOW, cpu_band, has_room, too_busy_for
from placement.balance import EVEN, MARGIN_MIN, SLACK, Means, copy_gain, fair_weight, may_lead_more
from placement.board import Board, Work
from placement.choice import best_target, choose_retiree, choose_successor, target_words
from placement.labels import Level
from placement.moves import better_spread, even_copies
from placement.peers import Peers
from placement.reasons import Move
from placement.repulsion import penalty_added, penalty_of
from placement.resources import COPY_BYTES, Candidate
from placement.sampling import SAMPLE_MAX
from placement.settle import carriers, fair_share
from placement.ties import tie_order

ROUNDS_MAX = 4  # of spread, shares, relief and roles: what one leaves to another is nearly always nothing
FILL_LOOKS = 25  # what finding one place costs
SAMPLE = 24  # hosts that are looked at for a copy, of more than 64: one after another, none is stormed
# Looks at a host for a colony, some 3 µs each, for better places; then colonies go one by one.
WORK_MAX = 500_000


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
    """A wave, worked out bit by bit: the bits may be taken at any time, and come to the same.

    Args:
        places: Where each colony lives, by number; copies that come, and are not ACTIVE yet, included.
        sizes: Bytes of each, as all know them.
        hosts: All members, in the view's order. What they carry is counted from `places`.
        settled: Peers of each colony.
        hard: No two peers of a colony may share this level.
        frozen: Only what lacks peers or leaves is moved.

    Attributes:
        goals: Colony -> where it goes; only those that don't stand there yet.
        work: What is left to do; yields about how many looks at a host for a colony each bit took.
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
        self._board = Board(places, sizes, hosts)
        self._settled, self._hard, self._frozen = settled, hard, frozen
        self._fair, self._due = 0.0, 0  # weight and copies of each host in the end
        self._moved: set[int] = set()  # since they were last put apart
        self._closed: dict[str, set[str]] = {}  # zone -> hosts that have nothing for it
        self._spent = 0  # on better places
        self.work = self._all()

    def peak(self, host: str) -> int:
        """Return the most that a host weighs on the way; 0 = it is none of them."""
        return self._board.peaks.get(host, 0)

    def _all(self) -> Work:
        yield from self._board.take_stock()
        hosts = carriers(self._board.hosts)
        colonies, set_bytes = len(self._board.sizes), sum(self._board.sizes)
        self._fair = fair_weight(hosts, set_bytes, colonies, self._settled)
        self._due = fair_share(max(1, len(hosts)), colonies, self._settled).copies
        # However much is missing: the most endangered know soon where to go.
        yield from self._fill()
        better = self._better()
        for spent in better:
            yield spent
            self._spent += spent
            if self._spent > WORK_MAX:
                return

    def _better(self) -> Work:
        if self._frozen:
            return
        joiners = [host.id for host in self._board.hosts if host.joining]
        opened = range(len(self._board.holders)) if joiners else ()
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

    def _aim(self, colony: int, because: str, rule: Literal["repel", "migrate"] = "migrate") -> None:
        """Note where a colony goes now; nothing, if that is where it is."""
        self._moved.add(colony)
        holders, before = tuple(self._board.holders[colony]), self._board.before[colony].holders
        if holders[:1] == before[:1] and set(holders) == set(before):
            self.goals.pop(colony, None)
        elif holders:
            self.goals[colony] = Goal(colony, holders[0], holders, because, rule)

    # -- population --------------------------------------------------------------------

    def _fill(self) -> Work:
        """Find places for copies that are missing, and for those on hosts that leave: the largest first."""
        board = self._board
        gone = {host.id for host in board.hosts if host.leaving or host.witness}
        needy = []
        for colony, holders in enumerate(board.holders):
            stay = len(holders) - sum([host in gone for host in holders]) if gone else len(holders)
            if holders and (stay != self._settled or stay < len(holders)):
                needy.append((stay, -board.sizes[colony], colony))
            if colony % 128 == 127:
                yield 10
        needy.sort()
        yield len(needy) // 16
        for _, _, colony in needy:
            yield from self._fill_one(colony, gone)

    def _fill_one(self, colony: int, gone: Collection[str]) -> Work:
        board, because = self._board, ""
        holders = board.holders[colony]
        stay = [host for host in holders if host not in gone]
        leave = [host for host in holders if host in gone]
        while len(stay) < self._settled:
            near = [board.of(host) for host in stay]
            target = yield from self._target(colony, near)
            if target is None:
                break
            words = target_words(target, near, bytes_wanted=board.sizes[colony])
            because = f"{len(stay)} of {self._settled} peers; {'; '.join(words)}"
            board.come(colony, target.id)
            stay.append(target.id)
        if not stay:
            return
        if holders[0] in gone:
            heirs = [host for host in stay if host in board.before[colony].holders] or stay
            present = [board.of(host) for host in heirs]
            chosen = choose_successor(colony, heirs, present, primary=None).chosen
            board.lead(colony, chosen or heirs[0])
        for host in leave:
            if len(stay) >= self._settled:
                board.go(colony, host)
        while len(stay) > self._settled:
            yield FILL_LOOKS
            present = [board.of(host) for host in stay]
            extra = choose_retiree(colony, stay, present, primary=holders[0]).chosen
            if extra is None or extra == holders[0]:
                break
            because = because or "one peer too many"
            board.go(colony, extra)
            stay.remove(extra)
        self._aim(colony, because or "its host leaves")

    def _target(self, colony: int, near: Sequence[Candidate]) -> Generator[int, None, Candidate | None]:
        """Return the host for one more copy: of some, or of all if others stand better apart."""
        board, some = self._board, self._board.around(colony, SAMPLE)
        yield FILL_LOOKS
        best = self._best(colony, some)
        if some is board.hosts or (best is not None and not any(penalty_added(best, near))):
            return best
        yield board.kinds_looks
        if best is not None and penalty_added(best, near) <= board.least(near):
            return best
        yield len(board.hosts) // 8
        return self._best(colony, [*near, *board.apart(colony, near, SAMPLE)])

    def _best(self, colony: int, some: Sequence[Candidate]) -> Candidate | None:
        board, fair = self._board, self._fair * (1 + SLACK / 2)
        size, holders = board.sizes[colony], board.holders[colony]
        return best_target(colony, holders, some, bytes_wanted=size, hard=self._hard, weight_max=fair)

    # -- a better place ------------------------------------------------------------------

    def _spread(self, colony: int, joiners: Sequence[str], moved: Collection[int]) -> Work:
        """Put the peers of a colony apart; one that has not moved had its chance of all but joiners."""
        board = self._board
        holders, size = board.holders[colony], board.sizes[colony]
        while True:
            yield 1 + len(holders)
            if not any(penalty_of([board.of(host) for host in holders])):
                return  # nearly always so
            yield len(holders) * board.kinds_looks
            if not board.may_part(colony):
                return
            near = [board.of(host) for host in dict.fromkeys((*holders, *joiners))]
            some = list(board.around(colony)) if colony in moved else near
            yield len(some) * len(holders) // 4 + 1
            move = better_spread(colony, holders, some, primary=holders[0], bytes_wanted=size)
            if move is None:
                return
            self._shift(move)

    def _shift(self, move: Move) -> None:
        """Move a copy; where it is the primary's, the role goes to another holder first."""
        board, colony = self._board, move.colony
        holders = board.holders[colony]
        if holders[0] == move.source and len(holders) > 1:
            present = [board.of(host) for host in holders]
            heir = choose_successor(colony, holders, present, primary=move.source).chosen
            if heir is not None:
                board.lead(colony, heir)
        leads = holders[0] == move.source
        board.come(colony, move.target)
        if leads:
            board.lead(colony, move.target)
        board.go(colony, move.source)
        self._aim(colony, move.because, "repel" if move.rule == "repel" else "migrate")

    def _evened(self, means: Means, move: Move) -> Means:
        """Return the means after a move for balance's sake."""
        self._shift(move)
        source, target = self._board.of(move.source), self._board.of(move.target)
        if source.accepts and target.accepts:
            return means.after(source, target)
        return Means.of(self._board.hosts, means)

    def _shares(self) -> Work:
        """Give joiners, and hosts that carry far too little, their share: see `agents.share`."""
        board = self._board
        yield len(board.hosts) // 4 + 1
        means = Means.of(board.hosts)
        joiners = {host.id for host in board.hosts if host.joining and host.accepts}
        fed: set[str] = set()
        barren: dict[str, set[str]] = {}  # taker -> givers that have nothing for it
        while True:
            takers = [board.of(host) for host in (joiners | means.hungry) - fed]
            yield len(takers) // 8 + 1
            if not takers:
                return
            taker = min(takers, key=lambda host: (host.weight, board.place_of[host.id]))
            move = yield from self._claimed(taker, means, barren.setdefault(taker.id, set()))
            if move is None:
                fed.add(taker.id)
            else:
                means = self._evened(means, move)

    def _claimed(self, taker: Candidate, means: Means, barren: set[str]) -> Generator[int, None, Move | None]:
        """Return the copy that a host would ask for: of the heaviest giver, of the size that is due."""
        board, due = self._board, self._due - taker.copies
        weight_due = int(self._fair) - taker.weight
        closed = self._closed.setdefault(taker.labels.zone, set())
        if due <= 0 or board.lightest > 2 * weight_due:
            return None
        for _, place in board.heaviest:
            giver = board.hosts[place]
            if copy_gain(giver, taker, 0, means) <= 0:
                return None  # nor will lighter ones
            if giver.id in barren or giver.id in closed or giver.leaving or too_busy_for(taker, giver):
                continue
            best: tuple[tuple[float, int], int] | None = None
            for colony in board.here[giver.id] - board.here[taker.id]:
                weight = board.sizes[colony] + COPY_BYTES
                if weight <= 2 * weight_due and self._may_go(colony, giver, taker, means):
                    key = abs(weight - weight_due / due), tie_order(colony, taker.id)
                    best = min(best, (key, colony)) if best is not None else (key, colony)
            yield len(board.here[giver.id]) + 1
            if best is not None:
                because = f"{_carries(giver)}, {_carries(taker)}"
                return Move(best[1], "copy", giver.id, taker.id, because)
            barren.add(giver.id)
            if all(self._keeps_zone(colony, giver, taker.labels.zone) for colony in board.here[giver.id]):
                closed.add(giver.id)
        return None

    def _keeps_zone(self, colony: int, giver: Candidate, zone: str) -> bool:
        """Return whether a copy goes to no host of a zone, as its primary is here or another one there."""
        holders = self._board.holders[colony]
        if holders[0] == giver.id and len(holders) > 1:
            return True
        rest = [self._board.of(host) for host in holders if host != giver.id]
        is_taken = bool(zone) and any(host.labels.zone == zone for host in rest)
        return is_taken and not any(penalty_added(giver, rest))

    def _may_go(self, colony: int, giver: Candidate, taker: Candidate, means: Means) -> bool:
        """Return whether a copy may move for balance's sake: see `moves.even_copies`."""
        holders, size = self._board.holders[colony], self._board.sizes[colony]
        if holders[0] == giver.id and len(holders) > 1:
            return False
        if copy_gain(giver, taker, size, means) <= 0 or not has_room(taker, size, FILL_LOW):
            return False
        rest = [self._board.of(host) for host in holders if host != giver.id]
        return penalty_added(taker, rest) <= penalty_added(giver, rest)

    def _relieve(self) -> Work:
        """Let hosts that carry too much give away as few and as large copies as make up for it."""
        board, stuck = self._board, set[str]()
        yield len(board.hosts) // 4 + 1
        means = Means.of(board.hosts)
        while True:
            crowded = [board.of(host) for host in means.crowded - stuck]
            yield len(crowded) // 8 + 1
            if not crowded:
                return
            giver = min(crowded, key=lambda host: (-host.weight, board.place_of[host.id]))
            excess = giver.weight - means.weight + EVEN * means.weight
            move = None
            for colony in self._first_to_go(giver, excess):
                yield min(SAMPLE_MAX, len(board.hosts))
                holders = board.holders[colony]
                move = even_copies(
                    colony, holders, list(board.around(colony)), means=means, primary=holders[0],
                    bytes_wanted=board.sizes[colony], asked_by=giver.id,
                )  # fmt: skip
                if move is not None:
                    break
            if move is None:
                stuck.add(giver.id)
            else:
                means = self._evened(means, move)

    def _first_to_go(self, giver: Candidate, excess: float) -> list[int]:
        """Return the secondaries on a host that are not too large for what is too much, the largest first."""
        sizes = self._board.sizes
        fitting = [
            (-sizes[colony], tie_order(colony, giver.id), colony)
            for colony in self._board.here[giver.id] - self._board.led[giver.id]
            if sizes[colony] + COPY_BYTES <= excess
        ]
        return [colony for _, _, colony in sorted(fitting)]

    def _roles(self) -> Work:
        """Even out who leads how many, from those that lead most: see `moves.even_roles`."""
        board, gave = self._board, True
        yield len(board.hosts) // 4 + 1
        means = Means.of(board.hosts)
        while gave:
            gave = False
            least = min((host.primaries for host in board.hosts if host.accepts), default=0)
            givers = [(-host.primaries, place) for place, host in enumerate(board.hosts)]
            heapify(givers)
            yield len(givers) // 4 + 1
            while givers and -givers[0][0] - least >= MARGIN_MIN:
                _, place = heappop(givers)
                giver = board.hosts[place]
                yield len(board.led[giver.id]) + 1
                found = self._role_of(giver, means)
                if found is not None:
                    colony, taker = found
                    leads = (
                        f"{giver.called} leads {giver.primaries} colonies, {taker.called} {taker.primaries}"
                    )
                    board.lead(colony, taker.id)
                    self._aim(colony, leads)
                    heappush(givers, (-board.hosts[place].primaries, place))
                    gave = True

    def _role_of(self, giver: Candidate, means: Means) -> tuple[int, Candidate] | None:
        """Return which role a host gives away first, and who takes it: the one that leads least."""
        best: tuple[tuple[int, int, int, int], int, Candidate] | None = None
        for colony in sorted(self._board.led[giver.id]):
            for host in self._board.holders[colony][1:]:
                taker = self._board.of(host)
                if taker.leaving or taker.witness or not may_lead_more(giver, taker, means):
                    continue
                key = cpu_band(taker.cpu), taker.primaries, taker.copies, tie_order(colony, host)
                if best is None or key < best[0]:
                    best = key, colony, taker
        return None if best is None else best[1:]


def _carries(host: Candidate) -> str:
    return f"{host.called} holds {host.copies} copies"
