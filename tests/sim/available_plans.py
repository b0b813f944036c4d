"""Fault plans for clusters whose sides may go on alone, and how they are played."""

from __future__ import annotations

from typing import Any

from agents.sim_clock import Chance
from agents.views import Charter
from tests.sim.available import SideWatch
from tests.sim.clients import Habits
from tests.sim.plans import Fault, Maker, Scene, crash, migrate, move, only, pause, reset
from tests.sim.runs import Run, play


def _parts(chance: Chance, scene: Scene, count: int) -> str:
    """Return a cut of all hosts into so many parts, none of them empty."""
    hosts = sorted(scene.hosts, key=lambda host: chance.random())
    count = min(count, len(hosts))
    sides = [[hosts.pop()] for _ in range(count)]
    for host in hosts:
        chance.choice(sides).append(host)
    return "|".join("".join(sorted(side)) for side in sides)


def _split(chance: Chance, scene: Scene, at_s: float, for_s: float) -> Fault:
    return Fault(round(at_s, 3), "cut", _parts(chance, scene, chance.choice((2, 2, 3))), round(for_s, 3))


def _once(chance: Chance, scene: Scene) -> list[Fault]:
    """One split, long enough for all sides to go on; healed in time to merge, or just before the end."""
    return [_split(chance, scene, chance.uniform(0.2, 1.5), chance.uniform(3.0, scene.length_s - 1.0))]


def _again(chance: Chance, scene: Scene) -> list[Fault]:
    """Split, healed, split again along other lines: now and then while the first is being merged."""
    first = _split(chance, scene, chance.uniform(0.2, 1.0), chance.uniform(3.0, 5.0))
    heal_s = first.at_s + first.for_s + chance.choice((0.2, 0.5, 1.0, 3.0))
    return [first, _split(chance, scene, heal_s, chance.uniform(1.0, 5.0))]


def _flapping(chance: Chance, scene: Scene) -> list[Fault]:
    """One and the same cut that comes and goes."""
    faults, at_s, name = [], 0.3, _parts(chance, scene, 2)
    while at_s < scene.length_s * 0.8:
        for_s = round(chance.choice((0.5, 2.0, 4.0)), 3)
        faults.append(Fault(round(at_s, 3), "cut", name, for_s))
        at_s += for_s + chance.uniform(0.1, 2.0)
    return faults


def _killed(chance: Chance, scene: Scene) -> list[Fault]:
    """A split, and deaths, stalls and resets while it lasts, and while it is merged."""
    split = _split(chance, scene, 0.5, chance.uniform(3.0, 6.0))
    faults = [split]
    for _ in range(chance.randrange(1, 4)):
        at_s = round(chance.uniform(0.5, split.at_s + split.for_s + 2.0), 3)
        faults.append(chance.choice((pause, crash, reset, move))(chance, scene, at_s))
    return sorted(faults, key=lambda fault: fault.at_s)


def _resets(chance: Chance, scene: Scene) -> list[Fault]:
    """A split, and links that reset while it is merged."""
    split = _split(chance, scene, 0.3, chance.uniform(3.0, 5.0))
    healed_s = split.at_s + split.for_s
    resets = [reset(chance, scene, round(healed_s + chance.uniform(0.0, 2.5), 3)) for _ in range(12)]
    return [split, *sorted(resets, key=lambda fault: fault.at_s)]


def _moved(chance: Chance, scene: Scene) -> list[Fault]:
    """Cells that move before a split, while it begins, and after it has healed."""
    split = _split(chance, scene, chance.uniform(1.0, 2.0), chance.uniform(2.5, 4.5))
    healed_s = split.at_s + split.for_s
    before = [migrate(chance, scene, round(chance.uniform(0.3, split.at_s + 1.0), 3)) for _ in range(12)]
    later = [migrate(chance, scene, round(healed_s + chance.uniform(0.0, 2.0), 3)) for _ in range(6)]
    return sorted([split, *before, *later], key=lambda fault: fault.at_s)


SIDE_PLANS: dict[str, Maker] = {
    "split": _once,
    "split_again": _again,
    "flapping": _flapping,
    "split_and_killed": _killed,
    "split_and_resets": _resets,
    "split_and_moved_cells": _moved,
    "stalls": only(pause, count=(1, 5)),
}


def available(peers: int, colonies: int = 4) -> Charter:
    """Return a charter of a cluster whose sides may go on alone."""
    return Charter(colonies, peers, lease_s=0.6, heartbeat_s=0.2, suspect_s=1.2, quorum="available")


def play_sides(seed: int, plan: str, **options: Any) -> Run:
    """Play one run of a plan of `SIDE_PLANS`, or of the faults or the maker given."""
    shape = seed % 6
    given: dict[str, Any] = {
        "names": ("AB", "ABC", "ABC", "ABCD", "ABCD", "ABCDE")[shape],
        "charter": available((2, 3, 2, 3, 4, 5)[shape], (2, 4)[seed // 6 % 2]),
        "policy": ("latest", "latest", "winner", "function")[seed // 2 % 4],
        "habits": Habits(think_s=0.25),
        "operations": 100,
        "length_s": 9.0 if plan != "flapping" else 14.0,
        "attested": seed % 5 == 0,
        "watch": SideWatch,
    } | options
    if "faults" not in given and "maker" not in given:
        given["maker"] = SIDE_PLANS[plan]
    return play(seed, plan, **given)


def play_any(seed: int, plan: str, **options: Any) -> Run:
    """Play one run of any plan: of sides that may go on alone, or of a cluster that keeps to majorities."""
    return (play_sides if plan in SIDE_PLANS else play)(seed, plan, **options)
