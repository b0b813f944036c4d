"""Machines: hosts that share one have the same CPUs, however each has measured them.

Each samples at moments of its own, so that their figures differ in a burst; no
role is to move for that. And what a host's neighbours on its machine use is the
cluster's own work, which would follow whatever moves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from agents.messages.membership import Load
from agents.views import Member


class Shared(NamedTuple):
    """The CPUs of one machine: the share in use (mean over its hosts), and what its hosts use."""

    used: float
    by_hosts: float


def machines(members: Iterable[Member], loads: Mapping[str, Load]) -> dict[str, Shared]:
    """Return the CPUs of all machines whose hosts say what they measure, by `machine_of`."""
    told: defaultdict[str, list[Load]] = defaultdict(list)
    for member in members:
        load = loads.get(member.id)
        if load is not None and load.machine_pct >= 0:
            told[machine_of(member)].append(load)
    return {
        machine: Shared(
            sum(load.machine_pct for load in of_it) / len(of_it) / 100,
            sum(load.own_pct for load in of_it) / 100,
        )
        for machine, of_it in told.items()
    }


def machine_of(member: Member) -> str:
    """Return what hosts of one machine have in common: its boot, whatever container they are in."""
    return member.machine.partition("/")[0] or member.id


def cpu_seen(load: Load, shared: Shared | None) -> tuple[float, float]:
    """Return how busy a host's CPUs are, and by what part others than hosts of its machine keep them so.

    The worse of its machine and of the quota of its control group, if it has one.
    """
    cpu = load.steady_cpu if load.steady_cpu >= 0 else load.cpu
    others = load.group_pct / 100
    if shared is None:
        return _share(cpu), _share(others)
    if cpu <= (load.machine_pct + 1) / 100:  # no quota, or one that is not what it lacks
        cpu = shared.used
    return _share(max(cpu, shared.used)), _share(max(others, shared.used - shared.by_hosts))


def _share(share: float) -> float:
    return min(1.0, max(0.0, share))
