"""Whether a cluster at rest stays there: `python -m tests.sim.steady --hours 1`.

A hundred hosts on 30 boxes in 3 zones, 1,024 colonies of three peers, sizes
skewed. The governors and doors of all hosts decide (`tests.sim.placing`), once
a second of virtual time; figures of hosts go through the `Pulse` that theirs
go through. No move may come in an hour of peace, and none in an hour in which
everything that is measured is shaken by a tenth: CPU, memory, mutations per
second, and the size of every copy. That moves would be seen, a last part
shows: something else eats a host's CPUs, and it is to lose its roles, and then its copies.

What is left out is the protocol beneath: heartbeats, views, clones' messages.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter

import msgspec

from agents.messages.membership import Load
from agents.pulse import Pulse
from tests.sim.balance import grown
from tests.sim.placing import Tally, World

BUSY_CPU, HOG_CPU = 0.5, 0.99
OWN_CPU = 0.2  # of this a host's own
MUTATIONS_S_A_MIB = 4.0  # a primary's, on average: some 130 a second for a colony of the mean size


class Shaking:
    """What is measured of a cluster, shaken by a share of it, and smoothed as hosts smooth it.

    Args:
        noise: 0.1 = every figure lies anywhere within a tenth around its mean.

    Attributes:
        hog: A host whose CPUs are all in use; "" = none.
    """

    def __init__(self, world: World, noise: float, seed: int = 0) -> None:
        self.world = world
        self.noise = noise
        self.hog = ""
        self._chance = random.Random(f"noise {seed}")
        self._pulses = {name: Pulse() for name in world.sites}
        self._sizes = list(world.sizes)
        self._written = [0.0] * len(self._sizes)
        world.noise = self.measured

    def measured(self, host: str, load: Load) -> Load:
        """Return what a host tells of itself."""
        site = self.world.sites[host]
        cpu = HOG_CPU if host == self.hog else BUSY_CPU
        cpu, free = min(1.0, cpu * self._factor()), int(load.memory_free * self._factor())
        own = round(100 * OWN_CPU * self._factor())
        load = msgspec.structs.replace(
            load, memory_free=free, cpu=cpu, machine_pct=round(100 * cpu), own_pct=own
        )
        return self._pulses[host].steadied(load, site.colonies.values(), self.world.now_s)

    def live(self, seconds: float, step_s: float = 1.0) -> Counter[str]:
        """Let time pass; return what moved, by kind."""
        self.world.tally = tally = Tally()
        until_s = self.world.now_s + seconds
        while self.world.now_s < until_s:
            self._write(step_s)
            self.world.step(step_s)
        return +Counter({"copies": tally.copies, "roles": tally.roles, "retired": tally.retired})

    def _write(self, seconds: float) -> None:
        """Let clients write: colonies that are led grow older, sizes go up and down."""
        for site in self.world.sites.values():
            for colony, machine in site.colonies.items():
                size = self._sizes[colony]
                if self.noise:
                    machine.peer.cells.bytes_used = int(size * self._factor())
                if machine.primary is not None:
                    self._written[colony] += size / 2**20 * MUTATIONS_S_A_MIB * seconds * self._factor()
                    machine.peer.last = int(self._written[colony])

    def _factor(self) -> float:
        return self._chance.uniform(1 - self.noise, 1 + self.noise) if self.noise else 1.0


def shown(world: World, seconds: float, *, seed: int = 0, step_s: float = 1.0) -> dict[str, Counter[str]]:
    """Return what moved in so much peace, in so much noise, and while one host is really busy."""
    told = {"peace": Shaking(world, 0.0, seed).live(seconds, step_s)}
    shaking = Shaking(world, 0.1, seed)
    shaking.live(60.0, step_s)  # the smoothed figures find where they belong: they have known nothing before
    told["noise"] = shaking.live(seconds, step_s)
    shaking.hog = world.view.ids[len(world.view.ids) // 2]
    told["a busy host"] = shaking.live(120.0, step_s)
    return told


def main(arguments: list[str]) -> int:
    """Print what moved; 1 if anything did that should not have, or nothing at all."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.steady", description=__doc__)
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--boxes", type=int, default=30)
    parser.add_argument("--colonies", type=int, default=1024)
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    began_s = time.process_time()
    world = grown(asked.hosts, asked.boxes, asked.colonies, asked.seed)
    spent_s = time.process_time() - began_s
    print(f"{asked.hosts} hosts, {asked.colonies} colonies; at rest after {spent_s:.0f} s of CPU", flush=True)
    told = shown(world, asked.hours * 3600.0, seed=asked.seed)
    for what, moves in told.items():
        print(f"{what}: {', '.join(f'{count} {kind}' for kind, count in moves.items()) or 'no moves'}")
    print(f"{time.process_time() - began_s:.0f} s of CPU")
    return 0 if not told["peace"] and not told["noise"] and told["a busy host"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
