"""What many hosts cost: `python -m tests.sim.scale --hosts 10 30 100 300 1000`.

For each size: CPU of one host's decisions in peace and after deaths, bytes,
frames and CPU of heartbeats and leases (`tests.sim.beats`), memory of what a
host knows of all others; then how long it takes until every colony has its
peers again, when a share of all hosts dies at once (`--kill`). Decisions are
those of `tests.sim.placing`; every host would spend what one is measured to
spend here, on a core of its own.
"""

from __future__ import annotations

import argparse
import sys
import time
import tracemalloc
from dataclasses import dataclass

from agents.directory import Directory
from agents.survey import Survey
from tests.sim.beats import beats_beside_dead, beats_of
from tests.sim.placing import Site, World, dealt, site_plan

COLONIES_A_HOST = 16.384
PEERS, COLONY_BYTES = 3, 1 << 20


@dataclass(slots=True)
class Costs:
    """CPU seconds of decision rounds: one governor's tick each."""

    rounds: list[float]

    @property
    def p50_ms(self) -> float:
        """The middle one, ms."""
        return sorted(self.rounds)[len(self.rounds) // 2] * 1e3 if self.rounds else 0.0

    @property
    def p99_ms(self) -> float:
        """One in a hundred is longer, ms."""
        return sorted(self.rounds)[len(self.rounds) * 99 // 100] * 1e3 if self.rounds else 0.0

    @property
    def max_ms(self) -> float:
        """The longest, ms."""
        return max(self.rounds, default=0.0) * 1e3


def built(hosts: int) -> World:
    """Return a cluster of this size."""
    plan = site_plan(hosts, max(3, hosts * 3 // 10), 3)
    colonies = max(64, round(hosts * COLONIES_A_HOST))
    return World(plan, [COLONY_BYTES] * colonies, peers=PEERS, born=dealt(plan, colonies, PEERS))


def timed(world: World) -> Costs:
    """Have each governor's tick timed from now on."""
    costs = Costs([])
    for site in world.sites.values():
        _time(site, costs)
    return costs


def _time(site: Site, costs: Costs) -> None:
    tick = site.governor.tick

    def clocked(now_s: float, out: list[object]) -> None:
        began_s = time.thread_time()
        tick(now_s, out)  # type: ignore[arg-type]
        costs.rounds.append(time.thread_time() - began_s)

    site.governor.tick = clocked  # type: ignore[method-assign,assignment]


def survey_ms(world: World) -> float:
    """Return the CPU of one host's look at all members anew, ms: four times a second."""
    survey = Survey(next(iter(world.sites.values())))  # type: ignore[arg-type]
    began_s = time.thread_time()
    for n in range(5):
        survey.look(world.now_s + n)
    return (time.thread_time() - began_s) / 5 * 1e3


def memory_bytes(world: World) -> int:
    """Return what one host's directory and survey take."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    directory = Directory(len(world.sizes))
    for entry in world.directory.entries:
        if entry is not None:
            directory.learn(type(entry)(*(getattr(entry, name) for name in entry.__struct_fields__)))
    survey = Survey(next(iter(world.sites.values())))  # type: ignore[arg-type]
    survey.look(world.now_s)
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return used


def recovery(hosts: int, share: float) -> str:
    """Return what comes of so many hosts dying at once."""
    world = built(hosts)
    world.run(2.0, step_s=0.5)
    count = max(1, round(hosts * share))
    dead = world.chance.sample(world.view.ids, count)
    whole = sum(len(peers.holders) for peers in world.places())
    lost = world.kill(dead)
    at_risk = sum(len(peers.holders) == 1 for peers in world.places())
    missing = world.missing()
    costs, began_s = timed(world), world.now_s
    while world.missing() and world.now_s - began_s < 600.0:
        world.step(0.25 if hosts > 300 else 0.05)
    took_s = world.now_s - began_s
    figures = (count, whole, len(lost), at_risk, missing, world.tally.copies)
    row = " ".join(f"{figure:>8}" for figure in figures)
    return f"{share:>7.1%} {row} {took_s:>8.1f} {costs.p99_ms:>8.1f} {costs.max_ms:>8.1f}"


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, nargs="*", default=[10, 30, 100, 300, 1000])
    parser.add_argument("--kill", type=float, nargs="*", default=[0.001, 0.01, 0.1, 0.25, 0.33, 0.5])
    parser.add_argument("--of", type=int, default=1000, help="hosts of which a share is killed")
    options = parser.parse_args()
    if options.hosts:
        print(
            "hosts colonies  p50 ms   p99 ms   max ms survey ms  knows MB  kB/s  frames/s  CPU %  beside dead"
        )
    for hosts in options.hosts:
        world = built(hosts)
        world.run(1.0, step_s=0.25)
        costs = timed(world)
        world.kill([world.view.ids[hosts // 2]])
        world.run(1.0, step_s=0.25)
        figures = (costs.p50_ms, costs.p99_ms, costs.max_ms, survey_ms(world))
        row = " ".join(f"{figure:>8.2f}" for figure in figures)
        beats, kept = beats_of(hosts), memory_bytes(world) / 1e6
        said = f"{beats.bytes_s / 1e3:>7.1f} {beats.frames_s:>7.0f} {beats.cpu:>7.2%}"
        beside = f"{beats_beside_dead(hosts).cpu:>7.2%}"
        print(f"{hosts:>5} {len(world.sizes):>8} {row} {kept:>8.1f} {said} {beside}", flush=True)
    if options.kill:
        print("killed    hosts   copies     lost    alone  missing   cloned  seconds   p99 ms   max ms")
        for share in options.kill:
            print(recovery(options.of, share), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
