"""Fault plans: what goes wrong when, made from a seed or written by hand.

A plan is a list of faults; each is put right again after its time, and all
are before the settling that ends a run. A line of a written plan reads like
`1.5 pause A for 2`, so that a failure can be told, cut short and kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agents.sim_clock import Chance

KINDS = {
    "crash": "the process ends; with `for` it starts again, its disk kept",
    "kill": "the process ends for good",
    "wipe": "the process ends; with `for` it starts again without its disk",
    "pause": "SIGSTOP, then SIGCONT",
    "cut": "directions that pass nothing: `A|BC`, `A-B`, `A>B`",
    "reset": "the pipes of a direction break: `A>B`",
    "slow": "a direction gets slow: `A>B`",
    "move": "the primary of a colony is told to hand over, clone or retire",
    "stop": "the host is told to stop the whole cluster; each starts again about `for` after its end",
    "leave": "the host is told to leave",
    "join": "a new host starts and knocks",
    "recount": "the host wants a new view of the same members",
    "evict": "an operator has the host held dead",
    "jam": "clients can't reach the host",
    "recover": "an operator has the host go on without a majority",
    "upgrade": "the process ends; with `for` it starts again in the next version of the protocol",
    "go_back": "the same, in the version of today",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        at_s: When, virtual seconds after the cluster serves.
        kind: One of `KINDS`.
        target: A host, a direction, a cut, a colony. Small letters stand for
            hosts by what they are to colony 0 when the faults begin: `p` its
            primary, `s` and `t` its secondaries, `u` and on the others.
        for_s: How long; 0 = it is over at once, or for good.
        when: Kind of note after which it happens, `at_s` at the earliest; "" = none.
    """

    at_s: float
    kind: str
    target: str = ""
    for_s: float = 0.0
    when: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"no such fault: {self.kind}; there are {', '.join(KINDS)}")

    def __str__(self) -> str:
        lasting = f" for {self.for_s:g}" if self.for_s else ""
        waiting = f" when {self.when}" if self.when else ""
        return f"{self.at_s:g} {self.kind} {self.target}{lasting}{waiting}"


def written(text: str) -> list[Fault]:
    """Return the plan in lines such as `1.5 pause A for 2` or `0 crash B when lease_wait`."""
    faults = []
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        for_s, when = 0.0, ""
        if "when" in words:
            when = words[-1]
            words = words[: words.index("when")]
        if "for" in words:
            for_s = float(words[-1])
            words = words[: words.index("for")]
        faults.append(Fault(float(words[0]), words[1], " ".join(words[2:]), for_s, when))
    return faults


@dataclass(frozen=True, slots=True)
class Scene:
    """What a plan is made for."""

    hosts: Sequence[str]
    colonies: int
    peers: int
    length_s: float


Maker = Callable[[Chance, Scene], list[Fault]]


def _times(chance: Chance, scene: Scene, count: tuple[int, int]) -> list[float]:
    return sorted(
        round(chance.uniform(0.2, scene.length_s * 0.8), 3) for _ in range(chance.randrange(*count))
    )


def _two(chance: Chance, scene: Scene) -> tuple[str, str]:
    one = chance.choice(scene.hosts)
    return one, chance.choice([host for host in scene.hosts if host != one])


def _span(chance: Chance, shortest_s: float, longest_s: float) -> float:
    return round(chance.uniform(shortest_s, longest_s), 3)


def pause(chance: Chance, scene: Scene, at_s: float) -> Fault:
    """A stall: shorter than a lease, about one, or long enough to be held dead."""
    longest_s = chance.choice((0.3, 1.0, 2.5, 6.0))
    return Fault(at_s, "pause", chance.choice(scene.hosts), _span(chance, 0.05, longest_s))


def crash(chance: Chance, scene: Scene, at_s: float) -> Fault:
    """A crash and, soon or late, a restart with the disk."""
    return Fault(at_s, "crash", chance.choice(scene.hosts), _span(chance, 0.01, chance.choice((0.5, 4.0))))


def wipe(chance: Chance, scene: Scene, at_s: float) -> Fault:
    """A crash and a restart without the disk."""
    return Fault(at_s, "wipe", chance.choice(scene.hosts), _span(chance, 0.1, 4.0))


def reset(chance: Chance, scene: Scene, at_s: float) -> Fault:
    """A link that resets, one way."""
    one, other = _two(chance, scene)
    return Fault(at_s, "reset", f"{one}>{other}")


def slow(chance: Chance, scene: Scene, at_s: float) -> Fault:
    """A slow direction."""
    one, other = _two(chance, scene)
    return Fault(at_s, "slow", f"{one}>{other}", _span(chance, 0.2, 3.0))


def broken_link(chance: Chance, scene: Scene, at_s: float) -> Fault:
    """Two hosts that can't talk, one way or both ways."""
    one, other = _two(chance, scene)
    return Fault(at_s, "cut", f"{one}{chance.choice('->')}{other}", _span(chance, 0.1, 4.0))


def split(chance: Chance, scene: Scene, at_s: float) -> Fault:
    """A partition in two, or now and then in three."""
    sides: list[list[str]] = [[] for _ in range(3 if chance.random() < 0.2 else 2)]
    for host in scene.hosts:
        chance.choice(sides).append(host)
    name = "|".join("".join(side) for side in sides if side)
    if "|" not in name:
        name = f"{scene.hosts[0]}|{''.join(scene.hosts[1:])}"
    return Fault(at_s, "cut", name, _span(chance, 0.2, 5.0))


def move(chance: Chance, scene: Scene, at_s: float) -> Fault:
    """A hand-over, a clone or a retirement that nobody needs."""
    what = chance.choice(("hand_over", "hand_over", "clone", "retire"))
    return Fault(at_s, "move", f"{what} {chance.randrange(0, scene.colonies)}")


def migrate(chance: Chance, scene: Scene, at_s: float) -> Fault:
    """A cell is told to live in another colony, or in its own again."""
    return Fault(at_s, "move", f"migrate {chance.randrange(0, scene.colonies)} ?{chance.randrange(0, 1000)}")


def recount(chance: Chance, scene: Scene, at_s: float) -> Fault:
    """A new view of the same members, for no reason."""
    return Fault(at_s, "recount", chance.choice(scene.hosts))


def evict(chance: Chance, scene: Scene, at_s: float) -> Fault:
    """An operator's mistake."""
    return Fault(at_s, "evict", chance.choice(scene.hosts))


def stop(chance: Chance, scene: Scene, at_s: float) -> Fault:
    """A whole-cluster stop; a supervisor starts everything again."""
    return Fault(at_s, "stop", chance.choice(scene.hosts), _span(chance, 0.2, 3.0))


def jam(chance: Chance, scene: Scene, at_s: float) -> Fault:
    """Clients can't reach a host."""
    return Fault(at_s, "jam", chance.choice(scene.hosts), _span(chance, 0.2, 3.0))


One = Callable[[Chance, Scene, float], Fault]


def only(*kinds: One, count: tuple[int, int]) -> Maker:
    def make(chance: Chance, scene: Scene) -> list[Fault]:
        return [chance.choice(kinds)(chance, scene, at_s) for at_s in _times(chance, scene, count)]

    return make


def _calm(chance: Chance, scene: Scene) -> list[Fault]:
    return []


def _lives(chance: Chance, scene: Scene) -> list[Fault]:
    """Hosts come and go by order, while moves go on."""
    faults = [move(chance, scene, at_s) for at_s in _times(chance, scene, (2, 8))]
    faults.append(Fault(_span(chance, 0.2, scene.length_s * 0.5), "join", "X"))
    if len(scene.hosts) > 3:
        faults.append(Fault(_span(chance, 0.2, scene.length_s * 0.5), "leave", chance.choice(scene.hosts)))
    if chance.random() < 0.5:
        faults.append(reset(chance, scene, _span(chance, 0.2, scene.length_s * 0.8)))
    return sorted(faults, key=lambda fault: fault.at_s)


def _upgrades(chance: Chance, scene: Scene) -> list[Fault]:
    """Each host in its turn, while other things happen; now and then one goes back."""
    gap_s = scene.length_s * 0.7 / len(scene.hosts)
    longest_s = min(1.0, gap_s / 2)
    faults = [
        Fault(round(0.2 + place * gap_s, 3), "upgrade", host, _span(chance, 0.05, longest_s))
        for place, host in enumerate(scene.hosts)
    ]
    if chance.random() < 0.3:
        at_s = round(scene.length_s * 0.75, 3)
        faults.append(Fault(at_s, "go_back", chance.choice(scene.hosts), _span(chance, 0.05, 0.5)))
    others = (move, move, reset, slow, recount)
    faults += [chance.choice(others)(chance, scene, at_s) for at_s in _times(chance, scene, (0, 6))]
    return sorted(faults, key=lambda fault: fault.at_s)


PLANS: dict[str, Maker] = {
    "calm": _calm,
    "pauses": only(pause, count=(1, 6)),
    "crashes": only(crash, count=(1, 4)),
    "wipes": only(wipe, crash, count=(1, 3)),
    "links": only(reset, broken_link, slow, count=(2, 10)),
    "splits": only(split, count=(1, 4)),
    "moves": only(move, count=(3, 20)),
    "moves_and_links": only(move, move, reset, slow, count=(4, 20)),
    "moves_and_deaths": only(move, move, pause, crash, count=(3, 12)),
    "migrations": only(migrate, count=(10, 60)),
    "migrations_and_links": only(migrate, migrate, migrate, move, reset, slow, broken_link, count=(10, 50)),
    "migrations_and_deaths": only(
        migrate, migrate, migrate, migrate, move, pause, crash, recount, count=(10, 40)
    ),
    "migrations_and_stops": only(migrate, migrate, migrate, migrate, migrate, stop, pause, count=(6, 24)),
    "moves_and_views": only(move, move, move, recount, evict, reset, slow, count=(6, 24)),
    "lives": _lives,
    "upgrades": _upgrades,
    "stops": only(stop, count=(1, 3)),
    "stops_and_faults": only(stop, stop, pause, crash, reset, move, split, count=(2, 8)),
    "everything": only(pause, crash, wipe, reset, broken_link, split, slow, move, move, jam, count=(3, 12)),
}
