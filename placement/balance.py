"""Balance: what even hosts are, and who gives to whom until they are.

What a host carries is its *weight*: the bytes of its copies, and something
for each copy. A giver must be *crowded*, or a taker *hungry*, and the giver must
stay the heavier one by a margin: noise moves nothing, and each move lowers the
sum of squares. Who is crowded gives until it is about even, not just until it
is not crowded any more: else the next small change would begin it all again.
Roles are evened out by number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from placement.attraction import CPU_WARM, FILL_HIGH, cpu_band
from placement.resources import COPY_BYTES, Candidate

SLACK = 0.05  # of the mean: a giver stays heavier than its taker by half of what balance is held to (1.10)
CROWDED, EVEN = 0.07, 0.02  # of the mean, above it: where giving begins, and where it ends
HUNGRY, FED = 0.25, 0.10  # of the mean, below it: where a host takes from any above, and where that ends
MARGIN_MIN = 2  # roles: a difference of 1 would only swap who has more
ROLE_FACTOR = 3  # a primary is three times as reluctant as a secondary: its clients have to follow
REST_S = 5.0  # of a colony, between two moves for balance's sake
MOVE_BYTES_S = 10e6  # at this rate, what moving it cost is slept off: a hundredth of what a host can send


@dataclass(frozen=True, slots=True)
class Means:
    """What hosts that take copies carry on the average, and who is far from it.

    Attributes:
        weight: Mean weight.
        primaries: Mean number of primaries.
        crowded: Hosts that carry too much.
        hungry: Hosts that carry too little.
    """

    weight: float = 0.0
    primaries: float = 0.0
    crowded: frozenset[str] = frozenset()
    hungry: frozenset[str] = frozenset()

    @classmethod
    def of(cls, candidates: Sequence[Candidate], before: Means | None = None) -> Self:
        """Return the means of the hosts that accept copies; `before`: who was crowded or hungry until now."""
        weights = {host.id: host.weight for host in candidates if host.accepts}
        if not weights:
            return cls()
        primaries = sum(host.primaries for host in candidates if host.accepts)
        mean = sum(weights.values()) / len(weights)
        was_crowded = before.crowded if before is not None else frozenset()
        was_hungry = before.hungry if before is not None else frozenset()
        crowded = {host for host, weight in weights.items() if _is_crowded(weight, mean, host in was_crowded)}
        hungry = {host for host, weight in weights.items() if _is_hungry(weight, mean, host in was_hungry)}
        return cls(mean, primaries / len(weights), frozenset(crowded), frozenset(hungry))

    def after(self, *changed: Candidate) -> Self:
        """Return the means when some hosts that accept copies have given others what these have more now."""
        crowded, hungry = set(self.crowded), set(self.hungry)
        for host in changed:
            for hosts, is_in in ((crowded, _is_crowded), (hungry, _is_hungry)):
                if is_in(host.weight, self.weight, host.id in hosts):
                    hosts.add(host.id)
                else:
                    hosts.discard(host.id)
        return replace(self, crowded=frozenset(crowded), hungry=frozenset(hungry))

    @property
    def slack(self) -> float:
        """The difference in weight that is none; at least one copy."""
        return max(COPY_BYTES, SLACK * self.weight)

    @property
    def role_margin(self) -> int:
        """How many more roles a giver must have than a taker: a tenth of the mean, at least `MARGIN_MIN`."""
        return max(MARGIN_MIN, -(-int(self.primaries) // 10))


def _is_crowded(weight: int, mean: float, was: bool) -> bool:
    return weight > mean * (1 + (EVEN if was else CROWDED))


def _is_hungry(weight: int, mean: float, was: bool) -> bool:
    return weight < mean * (1 - (FED if was else HUNGRY))


def copy_gain(
    source: Candidate, taker: Candidate, bytes_moved: int, means: Means, *, asked: bool = False
) -> float:
    """Return by how much the heavier of two hosts gets lighter if a copy moves; <= 0 = it is not worth it.

    A joiner's coming is reason enough: it takes from any host that stays the
    heavier one by a copy. `asked`: the source says itself that it is crowded.
    """
    gap = source.weight - taker.weight - bytes_moved - COPY_BYTES
    if taker.joining:
        return gap if gap >= COPY_BYTES else 0.0
    feeds = taker.id in means.hungry and source.weight > means.weight
    uneven = asked or feeds or source.id in means.crowded
    return gap if uneven and gap >= means.slack else 0.0


def may_lead_more(giver: Candidate, taker: Candidate, means: Means) -> bool:
    """Return whether a taker of a role leads less enough, and has the CPU and the memory for it."""
    are_saturated = cpu_band(taker.cpu) == cpu_band(giver.cpu) == 2  # alike: it hinders neither
    if taker.fill() > FILL_HIGH or (taker.cpu > CPU_WARM and not are_saturated):
        return False
    return giver.primaries - taker.primaries >= (MARGIN_MIN if taker.joining else means.role_margin)


def rest_s(kind: str, bytes_moved: int) -> float:
    """Return how long a colony rests after a move, seconds: the longer, the more its moving costs."""
    if kind == "role":
        return ROLE_FACTOR * REST_S
    return max(REST_S, bytes_moved / MOVE_BYTES_S)


def fair_weight(hosts: Sequence[Candidate], set_bytes: int, colonies: int, settled: int) -> float:
    """Return what each host carries once every colony has its population, evenly."""
    return (set_bytes + colonies * COPY_BYTES) * settled / len(hosts) if hosts else 0.0
