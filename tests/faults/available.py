"""Both sides of a split serve, and become one again: `--quorum available` on real hosts.

Cells are told apart by who changed them while the sides were apart, and in
which order. What each must be afterwards follows from the merge policy; which
side stays is the hosts' own affair. Every host has a copy of everything, so
that no side lacks a colony. Beside that each side's client writes cells of
its own: of those nothing may be lost, whichever side stays.
"""

from __future__ import annotations

import time
from functools import partial

from tests.faults.enter import both
from tests.faults.hosts import Cluster
from tests.faults.rounds import PATIENT_S, Round
from tests.real.hosts import until

HOSTS = 4
CELLS = 4  # of each kind
GAP_S = 1.0  # between two sides' changes of one cell: more than what `latest` may err by
GO_ON_S = 15.0
BASE, LEFT, RIGHT, DEAD = "base", "left", "right", None
SIDES = ("c1", "c2")
Steps = tuple[tuple[int, str | None], ...]  # (side, what it makes of the cell), in order of time

KINDS: dict[str, Steps] = {
    "kept": (),
    "by_left": ((0, LEFT),),
    "by_right": ((1, RIGHT),),
    "left_first": ((0, LEFT), (1, RIGHT)),
    "right_first": ((1, RIGHT), (0, LEFT)),
    "dies_left": ((0, DEAD),),
    "dies_right": ((1, DEAD),),
    "dies_after": ((0, LEFT), (1, DEAD)),
    "dies_before": ((1, DEAD), (0, LEFT)),
    "born_left": ((0, LEFT),),
    "born_right": ((1, RIGHT),),
    "born_twice": ((0, LEFT), (1, RIGHT)),
}


def outcome(kind: str, policy: str, winner: int) -> str | None:
    """Return what a cell of a kind must be when one of the two sides has taken in the other."""
    last = dict(KINDS[kind])  # by side
    if not last:
        return BASE
    if len(last) == 1 or policy == "latest":
        return KINDS[kind][-1][1]
    if policy == "winner":
        return last[winner]
    return both(last[winner], last[1 - winner])


def tally(policy: str, winner: int) -> tuple[int, int]:
    """Return how many cells must be told of as merged and as overridden."""
    loser = 1 - winner
    merged = overridden = 0
    for steps in KINDS.values():
        if loser not in dict(steps):
            continue
        is_taken = len(steps) == 1 or policy == "function" or (policy == "latest" and steps[-1][0] == loser)
        merged += is_taken
        overridden += not is_taken
    return merged * CELLS, overridden * CELLS


class Apart:
    """Two sides of one cluster, and the cells that they change."""

    def __init__(self, round: Round, policy: str) -> None:
        self.round, self.policy = round, policy
        self.cluster: Cluster = round.hosts()
        cut = round.chance.randint(1, HOSTS - 1)
        self.sides = round.names[:cut], round.names[cut:]
        self.before = self._incarnations()
        self.merges = self._merges()
        self.prefix = f"apart{round.seed}-{int(time.monotonic() * 1000)}-"

    def _incarnations(self) -> dict[str, int]:
        status = self.cluster.status()
        return {member["name"]: member["incarnation"] for member in status["view"]["members"]}

    def _merges(self) -> dict[str, tuple[int, int]]:
        """Return how many cells were merged and overridden since they started, by the word of each host."""
        told = {name: self.cluster.ask(name) for name in self.round.names}
        counts = {name: status["merges"] for name, status in told.items() if status is not None}
        return {name: (count["merged"], count["overridden"]) for name, count in counts.items()}

    def key(self, kind: str, number: int) -> str:
        """Return the key of a cell."""
        return f"{self.prefix}{kind}-{number}"

    def write(self, side: int, cells: dict[str, str | None]) -> None:
        """Let a side's client write cells; all must be acknowledged."""
        refused = self.cluster.clients[SIDES[side]].call("write", cells=cells)["refused"]
        self.round.require(not refused, f"{SIDES[side]}: refused on a side that goes on: {refused[:3]}")

    def begin(self) -> None:
        """Write what both sides know of."""
        kinds = [kind for kind in KINDS if not kind.startswith("born")]
        self.write(0, {self.key(kind, number): BASE for kind in kinds for number in range(CELLS)})

    def change(self, step: int) -> None:
        """Take the first steps of all kinds, or the second ones."""
        for side in range(2):
            made = {
                kind: steps[step][1]
                for kind, steps in KINDS.items()
                if steps[step : step + 1]
                if steps[step][0] == side
            }
            self.write(
                side,
                {self.key(kind, number): value for kind, value in made.items() for number in range(CELLS)},
            )

    def winner(self) -> int:
        """Return the side whose hosts kept their incarnations."""
        now = self._incarnations()
        kept = [all(now.get(name) == self.before[name] for name in side) for side in self.sides]
        self.round.require(
            sum(kept) == 1, f"not one side stayed and the other joined it: {self.before}, {now}"
        )
        return kept.index(True) if any(kept) else 0

    def judge(self) -> None:
        """Compare all cells, and the counts, with what the policy promises."""
        winner = self.winner()
        keys = {self.key(kind, number): kind for kind in KINDS for number in range(CELLS)}
        for client in SIDES:
            found = self.cluster.clients[client].call("values", keys=list(keys))["values"]
            for key, kind in keys.items():
                wanted = outcome(kind, self.policy, winner)
                self.round.require(found[key] == wanted, f"{client}: {key} is {found[key]}, not {wanted}")
        wanted_told, after = tally(self.policy, winner), self._merges()
        own = len({op.key for op in self.round.histories[SIDES[1 - winner]]})
        for name, (merged, overridden) in self.merges.items():
            told = after[name][0] - merged, after[name][1] - overridden
            is_so = wanted_told[0] <= told[0] <= wanted_told[0] + own and told[1] == wanted_told[1]
            what = f"{name}: (merged, overridden) {told}, not {wanted_told} and up to {own} more merged"
            self.round.require(is_so, what)


def available_split(round: Round, policy: str) -> None:
    """Both sides go on, each by itself; when they meet, one takes in the other's changes by a policy."""
    apart = Apart(round, policy)
    apart.begin()
    left, right = apart.sides
    round.split([*left, "c1"], [*right, "c2"])
    for side in apart.sides:
        until(partial(round.hosts().goes_on, side), f"{side} go on alone", within_s=GO_ON_S)
    round.load(c1=PATIENT_S, c2=PATIENT_S, apart=True)
    apart.change(0)
    round.wait(GAP_S, 2 * GAP_S)
    apart.change(1)
    round.unload()
    round.heal()
    round.healed()
    apart.judge()
