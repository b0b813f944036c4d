"""Is what was foreseen what came? `python -m tests.sim.foresight --changes 100 --seed 1`.

For each random change a simulated cluster is brought to rest, and its status
is all that the rehearsal gets, as `simulate --from-live` does: topology, load
and placement, no cells. The rehearsal has other delays. Then the change is
made in the cluster too, and what both did is compared, move by move.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

from colony.commands.simulate import live
from colony.rehearsal import Actor, NoRest, Outcome, Rehearsal, placed
from placement.labels import Labels

KINDS = ("kill host", "kill box", "drain", "add")
OTHER_DELAYS = 1_000_003  # the rehearsal's seed is another one by so much
BYTES_MEDIAN, BYTES_SIGMA, BYTES_MAX = 300_000, 1.3, 8_000_000  # of a colony: a few are many times as large

# (kind, colony, from, to); "" = nowhere: a copy more or less
Shift = tuple[str, int, str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """One random change of one random cluster.

    Attributes:
        before: What has happened to the cluster earlier: it does not stand as it was born.
        what: What is foreseen, and happens.
    """

    kind: str
    actors: tuple[Actor, ...]
    sizes: tuple[int, ...]
    peers: int
    before: str
    what: str
    seed: int


@dataclass(frozen=True, slots=True)
class Compared:
    """What was foreseen of a change, and what came."""

    change: Change
    unrest: int
    foreseen: Outcome
    came: Outcome
    expected: frozenset[Shift]
    seen: frozenset[Shift]

    @property
    def is_equal(self) -> bool:
        """Return whether each move was foreseen, and no other: the placements reached are equal, then."""
        return self.expected == self.seen


@dataclass(slots=True)
class Tally:
    """What many changes came to."""

    changes: Counter[str] = field(default_factory=Counter)
    equal: Counter[str] = field(default_factory=Counter)
    shifts: Counter[str] = field(default_factory=Counter)  # foreseen, came, both
    figures: Counter[str] = field(default_factory=Counter)  # which figures of the outcome were equal
    bytes_off: list[float] = field(default_factory=list)
    restless: int = 0

    def add(self, one: Compared) -> None:
        """Count one change."""
        kind = one.change.kind
        self.changes[kind] += 1
        self.equal[kind] += one.is_equal
        both = one.expected & one.seen
        self.shifts.update({"foreseen": len(one.expected), "came": len(one.seen), "both": len(both)})
        for name, (told, came) in figures(one).items():
            self.figures[name] += told == came
        sent = max(1, one.came.bytes_sent)
        self.bytes_off.append(abs(one.foreseen.bytes_sent - one.came.bytes_sent) / sent)
        self.restless += bool(one.unrest)

    def lines(self) -> Iterator[str]:
        """Yield the figures, for people."""
        count, equal, shifts = self.changes.total(), self.equal.total(), self.shifts
        kinds = ", ".join(f"{kind} {self.equal[kind]}/{self.changes[kind]}" for kind in self.changes)
        yield f"{equal} of {count} changes foreseen move by move ({kinds})"
        yield (
            f"single moves: {shifts['came']} came, {shifts['foreseen']} were foreseen, {shifts['both']} both; "
            f"precision {shifts['both'] / max(1, shifts['foreseen']):.3f}, "
            f"recall {shifts['both'] / max(1, shifts['came']):.3f}"
        )
        told = ", ".join(f"{name} {self.figures[name]}/{count}" for name in self.figures)
        worst = sorted(self.bytes_off)
        yield (
            f"foreseen exactly: {told}; bytes off by {worst[count // 2]:.1%} (median), {worst[-1]:.1%} (worst)"
        )
        if self.restless:
            yield f"{self.restless} stages moved before anything happened"


def figures(one: Compared) -> dict[str, tuple[object, object]]:
    """Return figures of the outcome: foreseen, and as they came."""
    told, came = one.foreseen, one.came
    return {
        "copies": (_count(told, "copy"), _count(came, "copy")),
        "copies per host": (_per_host(told, "copy"), _per_host(came, "copy")),
        "primaries": (_count(told, "primary"), _count(came, "primary")),
        "at risk": (told.at_risk, came.at_risk),
        "lost": (told.lost, came.lost),
        "settled": (told.settled, came.settled),
    }


def _per_host(outcome: Outcome, kind: str) -> Counter[str]:
    return Counter(move.host for move in outcome.moves if move.kind == kind)


def _count(outcome: Outcome, kind: str) -> int:
    return _per_host(outcome, kind).total()


def shifts(before: Sequence[tuple[str, ...]], after: Sequence[tuple[str, ...]]) -> frozenset[Shift]:
    """Return what moved: each copy from where to where, each primary likewise."""
    found: set[Shift] = set()
    for colony, (old, new) in enumerate(zip(before, after, strict=True)):
        gone, come = sorted(set(old) - set(new)), sorted(set(new) - set(old))
        width = max(len(gone), len(come))
        for source, target in zip(
            gone + [""] * (width - len(gone)), come + [""] * (width - len(come)), strict=True
        ):
            found.add(("copy", colony, source, target))
        if old[:1] != new[:1]:
            found.add(("primary", colony, *old[:1], *new[:1]))  # type: ignore[arg-type]
    return frozenset(found)


def changes(count: int, seed: int, first: int = 0) -> Iterator[Change]:
    """Yield random changes; each is a function of its number and the seed."""
    for number in range(first, first + count):
        yield _change(KINDS[number % len(KINDS)], Random(f"{seed}/{number}"), number)


def _change(kind: str, chance: Random, number: int) -> Change:
    hosts, colonies, peers = chance.randint(5, 12), chance.choice((32, 64, 96, 128)), chance.choice((2, 3))
    boxes = chance.randint(3, min(6, hosts))
    while kind == "kill box" and 2 * -(-hosts // boxes) >= hosts - 1:
        boxes += 1  # a majority has to stay
    actors = tuple(Actor(f"h{n + 1}", Labels(box=f"b{n % boxes + 1}")) for n in range(hosts))
    sizes = tuple(
        min(BYTES_MAX, int(BYTES_MEDIAN * chance.lognormvariate(0.0, BYTES_SIGMA))) for _ in range(colonies)
    )
    before, added = "", ""
    if chance.random() < 0.5:
        added = f"b{chance.randint(1, boxes)}"
        before = f"add 1 box={added}"
    host, box = chance.choice(actors).name, f"b{chance.randint(1, boxes)}"
    grown = chance.choice((f"box={box}", f"box=b{boxes + 1}"))
    what = {
        "kill host": f"kill {host}",
        "kill box": f"kill box={box}",
        "drain": f"drain {host}",
        "add": f"add {chance.choice((1, 1, 2))} {grown}",
    }[kind]
    return Change(kind, actors, sizes, peers, before, what, number)


def compared(change: Change) -> Compared:
    """Foresee a change from the status of a cluster, then make it there.

    Raises:
        NoRest: The cluster, or the rehearsal, did not come to rest.
    """
    actors, peers = change.actors, change.peers
    cluster = Rehearsal(actors, placed(actors, change.sizes, peers), peers=peers, seed=change.seed)
    if change.before:
        cluster.happen(change.before)
    rehearsal, foreseen, expected = foretold(cluster, change)
    before = cluster.placement()
    came = cluster.happen(change.what)
    seen = shifts(before, cluster.placement())
    return Compared(change, len(rehearsal.unrest), foreseen, came, expected, seen)


def foretold(cluster: Rehearsal, change: Change) -> tuple[Rehearsal, Outcome, frozenset[Shift]]:
    """Rehearse a change, from what a host of the cluster answers to `status`."""
    status = cluster.status()
    actors, roles, peers = live(status)
    rehearsal = Rehearsal(actors, roles, peers=peers, seed=change.seed + OTHER_DELAYS)
    before = rehearsal.placement()
    outcome = rehearsal.happen(change.what)
    return rehearsal, outcome, shifts(before, rehearsal.placement())


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, and print; 1 = fewer than `--least` of the changes were foreseen."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--changes", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="number of the first: for slices")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--least", type=float, default=0.0, help="share that must be foreseen move by move")
    parser.add_argument("--verbose", action="store_true")
    asked = parser.parse_args(arguments)
    tally, began_s = Tally(), time.monotonic()
    for change in changes(asked.changes, asked.seed, asked.first):
        try:
            one = compared(change)
        except NoRest as error:
            print(f"{change.seed}: {change.what}: {error}", file=sys.stderr)
            tally.changes[change.kind] += 1
            continue
        tally.add(one)
        if asked.verbose:
            print(line_of(one), flush=True)
    for line in tally.lines():
        print(line)
    print(f"{time.monotonic() - began_s:.0f} s")
    return int(tally.equal.total() < asked.least * tally.changes.total())


def line_of(one: Compared) -> str:
    """Return one change in a line."""
    change = one.change
    missed, wrong = len(one.seen - one.expected), len(one.expected - one.seen)
    cluster = f"{len(change.actors)} hosts, {len(change.sizes)} colonies of {change.peers}"
    said = "as foreseen" if one.is_equal else f"{missed} not foreseen, {wrong} did not come"
    return f"{change.seed}: {cluster}, {change.before or 'as born'}: {change.what}: {len(one.seen)} moves, {said}"


if __name__ == "__main__":
    sys.exit(main())
