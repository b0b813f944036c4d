"""The systems that scenarios can be played on, and how they compare.

colony is judged by all that it promises; the others only by what their
clients saw, and so is colony where it stands beside them.
"""

from __future__ import annotations

import importlib.util
import shutil
from contextlib import AbstractContextManager

from tests.faults.hosts import Cluster
from tests.faults.plays import PLAYS
from tests.faults.raft_dict import RaftDict
from tests.faults.redis_cluster import RedisCluster
from tests.faults.systems import System
from tests.faults.toll import Toll

SYSTEMS = ("colony", "redis-cluster", "redis-cluster-15s", "pysyncobj", "pysyncobj-log")
Shape = tuple[str, int, int, int, tuple[str, ...]]
SLOW_S = 15.0  # cluster-node-timeout as Redis comes; the other runs have 1 s

JOIN = "who joins or leaves is an operator's affair there"
UNPLAYABLE: dict[tuple[str, str], str] = {
    **{
        (kind, name): JOIN
        for kind in ("redis", "pysyncobj")
        for name in ("split_and_join", "split_and_leave")
    },
    ("redis", "equal_halves_4"): "three primaries with replicas are six nodes",
    ("redis", "clock_jumps"): "only Python's clocks can be bent here",
}


def unplayable(system: str, name: str) -> str:
    """Return why a scenario can't be played on a system; "" = it can."""
    if name.startswith("available") and system != "colony":
        return "no two sides go on there, to be merged later"
    return UNPLAYABLE.get((system.partition("-")[0], name), "")


def lacks(system: str) -> str:
    """Return what is not installed that a system needs; "" = nothing."""
    needs = {"redis": ("redis", "hiredis"), "pysyncobj": ("pysyncobj",)}.get(system.partition("-")[0], ())
    if any(importlib.util.find_spec(package) is None for package in needs):
        return f"{system} needs {' and '.join(needs)}: pip install '.[rivals]'"
    if "redis" in needs and not (shutil.which("redis-server") and shutil.which("redis-cli")):
        return f"{system} needs redis-server and redis-cli: apt install redis-server (and stop its service)"
    return ""


def shape(system: str, name: str, peers: int) -> Shape:
    """Return what two rounds must have in common to be played on one cluster."""
    play = PLAYS[name]
    if system.startswith("redis"):
        return system, 6, 0, 0, ()
    if system.startswith("pysyncobj"):
        return system, play.hosts, 0, 0, ()
    return system, play.hosts, play.boxes, peers, play.options


def boot(system: str, name: str, peers: int) -> AbstractContextManager[System]:
    """Return the cluster that a scenario wants; colony's has state directories where N is 2, else keys."""
    play = PLAYS[name]
    if system.startswith("redis"):
        return RedisCluster(node_timeout_s=SLOW_S if system.endswith("15s") else 1.0)
    if system.startswith("pysyncobj"):
        return RaftDict(play.hosts, logged=system.endswith("log"))
    kept = {"durable": peers == 2, "encrypted": peers != 2}
    return Cluster(play.hosts, peers=play.peers or peers, boxes=play.boxes, options=play.options, **kept)


# -- side by side ------------------------------------------------------------------------


def cell(toll: Toll) -> str:
    """Return what a system's rounds cost, in few characters."""
    pause = f"{toll.pause_s:.1f}"
    if toll.served_s < toll.pause_s - 0.05:
        pause += f" ({toll.served_s:.1f})"
    ill = f", {toll.unhealed} ill" if toll.unhealed else ""
    return f"{toll.lost} / {toll.stale} / {toll.ills}, {pause} s{ill}"


def comparison(tolls: dict[tuple[str, str], Toll]) -> str:
    """Return all as a table of reStructuredText.

    Args:
        tolls: By system and scenario.
    """
    systems = [system for system in SYSTEMS if any(key[0] == system for key in tolls)]
    lines = [["scenario", *systems]]
    for name in PLAYS:
        row = [cell(tolls[system, name]) if (system, name) in tolls else "-" for system in systems]
        if set(row) != {"-"}:
            lines.append([name, *row])
    sums = [sum(toll.acknowledged for key, toll in tolls.items() if key[0] == system) for system in systems]
    lines.append(["writes acknowledged", *(f"{total:,}" for total in sums)])
    widths = [max(len(line[place]) for line in lines) for place in range(len(systems) + 1)]
    rule = " ".join("=" * width for width in widths)
    texts = [" ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines]
    return "\n".join([rule, texts[0].rstrip(), rule, *(text.rstrip() for text in texts[1:]), rule])
