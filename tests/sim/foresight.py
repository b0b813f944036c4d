"""Is what was foreseen what came? `python -m tests.sim.foresight --changes 100 --seed 1`.

For each random change a simulated cluster is brought to rest, and its status
is all that the rehearsal gets, as `simulate --from-live` does: topology, load
and placement, no cells. The rehearsal has other delays. Then the change is
made in the cluster too, and what both did is compared, move by move.

A move is what has become of a copy or a role in the end, from where to where:
the placement at rest before the change, beside that at rest after it. What
stops on its way (a role that is with another host until a copy has come), and
who moves first, is no difference; each colony's primary and set of holders is.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from random import Random
from typing import Any

from colony.commands.simulate import live
from colony.rehearsal import Actor, NoRest, Outcome, Rehearsal, placed
from placement.labels import Labels

KINDS = ("kill host", "kill box", "drain", "add")
HOSTS, COLONIES, BOXES = (5, 12), (32, 64, 96, 128), (3, 6)
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


Row = dict[str, Any]  # one change in figures; JSON, so that slices of a long run can be added up


def row_of(one: Compared) -> Row:
    """Return what came of one comparison, in figures."""
    told, came = one.foreseen, one.came
    copies = abs(_count(told, "copy") - _count(came, "copy"))
    uneven = _per_host(told, "copy"), _per_host(came, "copy")
    off = max((abs(uneven[0][host] - uneven[1][host]) for host in {*uneven[0], *uneven[1]}), default=0)
    # A move begins with who goes: which copies and which roles leave their place, wherever to.
    leaves = {(kind, colony, source) for kind, colony, source, _ in one.expected}
    left = {(kind, colony, source) for kind, colony, source, _ in one.seen}
    return {
        "number": one.change.seed,
        "kind": one.change.kind,
        "said": line_of(one),
        "equal": one.is_equal,
        "unrest": one.unrest,
        "whole": [len(one.expected), len(one.seen), len(one.expected & one.seen)],
        "leave": [len(leaves), len(left), len(leaves & left)],
        "copies off": copies / max(1, _count(came, "copy")),
        "copies of a host off": off,
        "bytes off": abs(told.bytes_sent - came.bytes_sent) / max(1, came.bytes_sent),
        "settled": told.settled == came.settled,
        "lost": told.lost == came.lost,
        "at risk off": abs(told.at_risk - came.at_risk),
    }


def sums(rows: Sequence[Row]) -> Iterator[str]:
    """Yield what many changes came to, for people."""
    everything, rows = rows, [row for row in rows if "whole" in row]
    if not rows:
        return
    count = len(rows)
    kinds: dict[str, list[bool]] = {}
    for row in rows:
        kinds.setdefault(row["kind"], []).append(row["equal"])
    each = ", ".join(f"{kind} {sum(equal)}/{len(equal)}" for kind, equal in kinds.items())
    yield f"{sum(row['equal'] for row in rows)} of {count} changes foreseen move by move ({each})"
    for name, words in (("whole", "moves, from where to where"), ("leave", "what leaves, wherever to")):
        told, came, both = (sum(row[name][part] for row in rows) for part in range(3))
        precision, recall = both / max(1, told), both / max(1, came)
        yield f"{words}: {told} foreseen, {came} came; precision {precision:.3f}, recall {recall:.3f}"
    for name in ("copies off", "bytes off", "copies of a host off", "at risk off"):
        worst = sorted(row[name] for row in rows)
        shown = [worst[count // 2], worst[min(count - 1, count * 9 // 10)], worst[-1]]
        shape = "{:.1%}" if "host" not in name and "risk" not in name else "{}"
        median, most, last = (shape.format(value) for value in shown)
        yield f"{name}: {median} (median), {most} (90 %), {last} (worst)"
    for name in ("settled", "lost"):
        yield f"{name} as foreseen: {sum(row[name] for row in rows)} of {count}"
    yield f"clusters that came to no rest: {len(everything) - count}"
    yield f"stages that moved before anything happened: {sum(bool(row['unrest']) for row in rows)}"


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


def changes(count: int, seed: int, first: int = 0, *, small: bool = False) -> Iterator[Change]:
    """Yield random changes; each is a function of its number and the seed.

    `small`: of the smallest clusters only, as they were born.
    """
    for number in range(first, first + count):
        yield _change(KINDS[number % len(KINDS)], Random(f"{seed}/{number}"), number, small=small)


def _change(kind: str, chance: Random, number: int, *, small: bool) -> Change:
    hosts, colonies, peers = chance.randint(*HOSTS), chance.choice(COLONIES), chance.choice((2, 3))
    if small:
        hosts, colonies = HOSTS[0], COLONIES[0]
    boxes = chance.randint(BOXES[0], min(BOXES[1], hosts))
    while kind == "kill box" and 2 * -(-hosts // boxes) >= hosts - 1:
        boxes += 1  # a majority has to stay
    actors = tuple(Actor(f"h{n + 1}", Labels(box=f"b{n % boxes + 1}")) for n in range(hosts))
    sizes = tuple(
        min(BYTES_MAX, int(BYTES_MEDIAN * chance.lognormvariate(0.0, BYTES_SIGMA))) for _ in range(colonies)
    )
    before, added = "", ""
    if not small and chance.random() < 0.5:
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
    cluster = stood(change)
    rehearsal, foreseen, expected = foretold(cluster, change)
    return made(cluster, change, rehearsal, foreseen, expected)


def stood(change: Change) -> Rehearsal:
    """Return the cluster before the change, at rest."""
    roles = placed(change.actors, change.sizes, change.peers)
    cluster = Rehearsal(change.actors, roles, peers=change.peers, seed=change.seed)
    if change.before:
        cluster.happen(change.before)
    return cluster


def made(
    cluster: Rehearsal,
    change: Change,
    rehearsal: Rehearsal,
    foreseen: Outcome,
    expected: frozenset[Shift],
) -> Compared:
    """Make the change in the cluster, and put beside it what was foreseen."""
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
    """Compare, and print; 1 = fewer than `--least` of the changes were foreseen, or some came to no rest."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--changes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--least", type=float, default=0.0, help="share that must be foreseen move by move")
    parser.add_argument("--keep", type=Path, help="rows of JSON: go on where the last run ended")
    parser.add_argument("--for", type=float, default=inf, dest="for_s", help="seconds, then stop")
    asked = parser.parse_args(arguments)
    until_s = time.monotonic() + asked.for_s
    rows: list[Row] = []
    if asked.keep is not None and asked.keep.exists():
        rows = [json.loads(line) for line in asked.keep.read_text().splitlines()]
    for change in changes(asked.changes - len(rows), asked.seed, len(rows)):
        if time.monotonic() > until_s:
            break
        try:
            rows.append(row_of(compared(change)))
        except NoRest as error:
            said = f"{change.seed}: {change.what}: {error}"
            rows.append({"number": change.seed, "kind": change.kind, "said": said, "equal": False})
        print(rows[-1]["said"], flush=True)
        if asked.keep is not None:
            with asked.keep.open("a") as kept:
                kept.write(json.dumps(rows[-1]) + "\n")
    if rows:
        print("\n".join(sums(rows)))
    missed = sum(row["equal"] for row in rows) < asked.least * len(rows)
    return int(any("whole" not in row for row in rows) or missed)


def line_of(one: Compared) -> str:
    """Return one change in a line."""
    change = one.change
    missed, wrong = len(one.seen - one.expected), len(one.expected - one.seen)
    cluster = f"{len(change.actors)} hosts, {len(change.sizes)} colonies of {change.peers}"
    said = "as foreseen" if one.is_equal else f"{missed} not foreseen, {wrong} did not come"
    happened = f"{change.before or 'as born'}: {change.what}"
    return f"{change.seed}: {cluster}, {happened}: {len(one.seen)} moves, {said}"


if __name__ == "__main__":
    sys.exit(main())
