"""Worlds for placement tests: hosts, colonies on them, and moves played out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

from placement.attraction import FILL_HIGH
from placement.labels import Labels
from placement.moves import improve
from placement.peers import Peers
from placement.reasons import Move
from placement.repulsion import NO_PENALTY, penalty_of
from placement.resources import Candidate

Potential = tuple[tuple[int, ...], int, int, int, int]


def host(name: str, box: str = "", rack: str = "", zone: str = "", **more: object) -> Candidate:
    """Return a candidate whose id is its name."""
    return replace(Candidate(id=name, name=name, labels=Labels(zone, rack, box)), **more)  # type: ignore[arg-type]


def hosts_on(*boxes: str) -> list[Candidate]:
    """Return hosts h1, h2 … on these boxes."""
    return [host(f"h{n}", box=box) for n, box in enumerate(boxes, 1)]


@st.composite
def topologies(draw: st.DrawFn, *, least: int = 1, most: int = 7, unknowns: bool = True) -> list[Candidate]:
    """Draw hosts in a tree of zones, racks and boxes; some labels may be unknown."""
    count = draw(st.integers(least, most))
    hosts = []
    for n in range(count):
        zone, rack, box = draw(st.tuples(st.integers(0, 1), st.integers(0, 1), st.integers(0, 2)))
        names = [f"z{zone}", f"z{zone}r{rack}", f"z{zone}r{rack}b{box}"]
        if unknowns:
            names = [name if draw(st.booleans()) or draw(st.booleans()) else "" for name in names]
        hosts.append(host(f"h{n}", names[2], names[1], names[0]))
    return hosts


@dataclass
class World:
    """Colonies on hosts, with every host's counts kept right.

    Attributes:
        hosts: As they are without any colony.
        peers: Where each colony is.
        size_bytes: Of one copy of any colony.
        seen: How placement sees the true figures (noise).
    """

    hosts: Sequence[Candidate]
    peers: dict[int, Peers]
    size_bytes: int = 0
    seen: Callable[[Candidate], Candidate] = field(default=lambda host: host)

    def candidates(self) -> list[Candidate]:
        """Return the hosts with what they hold now."""
        copies = Counter(holder for peers in self.peers.values() for holder in peers.holders)
        primaries = Counter(peers.primary for peers in self.peers.values())
        return [
            self.seen(
                replace(
                    one,
                    copies=copies[one.id],
                    primaries=primaries[one.id],
                    bytes_used=one.bytes_used + copies[one.id] * self.size_bytes,
                )
            )
            for one in self.hosts
        ]

    def next_move(self, choose: Callable[..., Move | None] = improve) -> Move | None:
        """Return the first move that any colony wants."""
        candidates = self.candidates()
        for colony, peers in self.peers.items():
            move = choose(
                colony, peers.holders, candidates, primary=peers.primary, bytes_wanted=self.size_bytes
            )
            if move is not None:
                return move
        return None

    def perform(self, move: Move) -> None:
        """Do what a move says, as a primary would."""
        self.peers[move.colony] = self.peers[move.colony].after(move)

    def potential(self) -> Potential:
        """Return what every move is to lower (placement/moves.py)."""
        candidates = self.candidates()
        total = NO_PENALTY
        for peers in self.peers.values():
            total = total.plus(penalty_of([one for one in candidates if one.id in peers.holders]))
        over = 0
        for one in candidates:
            if one.bytes_max:
                over += max(0, one.bytes_used - int(FILL_HIGH * one.bytes_max))
        return (
            tuple(total),
            over,
            sum(one.primaries for one in candidates if one.fill() > FILL_HIGH),
            sum(one.weight**2 for one in candidates),
            sum(one.primaries**2 for one in candidates),
        )

    def run(self, *, moves_max: int = 2000) -> int:
        """Play moves until there are none; return how many there were."""
        for done in range(moves_max):
            move = self.next_move()
            if move is None:
                return done
            self.perform(move)
        raise AssertionError(f"still moving after {moves_max} moves")


@st.composite
def worlds(draw: st.DrawFn, *, colonies_max: int = 10, size_bytes: int = 0) -> World:
    """Draw hosts and colonies, each on different hosts, anyhow."""
    hosts = draw(topologies(least=2, most=6))
    number = draw(st.integers(1, min(3, len(hosts))))
    ids = [one.id for one in hosts]
    peers = {}
    for colony in range(draw(st.integers(1, colonies_max))):
        holders = draw(st.permutations(ids))[:number]
        peers[colony] = Peers(colony, (holders[0],), tuple(holders[1:]))
    return World(hosts, peers, size_bytes)


def spread(world: World) -> Mapping[str, int]:
    """Return copies per host."""
    return {one.id: one.copies for one in world.candidates()}


def no_two_on_one_host(world: World) -> bool:
    """Return whether every colony's peers are on different hosts."""
    return all(len(set(peers.holders)) == len(peers.holders) for peers in world.peers.values())


def of(peers: Collection[Peers]) -> dict[int, Peers]:
    """Return peers by colony."""
    return {one.colony: one for one in peers}
