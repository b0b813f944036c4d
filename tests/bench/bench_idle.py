"""What an idle host costs: 1,000 colonies in a cluster of five."""

from __future__ import annotations

import time

import psutil

from tests.bench import cluster as ours
from tests.bench.harness import Plan, Row, note

HOSTS = 5
COLONIES = 1_000
MUST_CORE = 0.03
MUST_MB = 80.0
_WATCH_S = 10.0
_CALM_S = 3.0


def run(plan: Plan) -> None:
    """Measure; adds rows to the plan. The worst host counts."""
    with ours.Cluster(hosts=HOSTS, colonies=COLONIES) as cluster:
        time.sleep(_CALM_S)
        processes = [psutil.Process(pid) for pid in cluster.pids()]
        before = [_cpu_s(process) for process in processes]
        time.sleep(_WATCH_S)
        shares = [(_cpu_s(p) - cpu) / _WATCH_S for p, cpu in zip(processes, before, strict=True)]
        sizes = [process.memory_info().rss / 1e6 for process in processes]
    note(f"idle hosts: {', '.join(f'{share:.1%}' for share in shares)}")
    what = f"idle host, {COLONIES} colonies, {HOSTS} hosts: core"
    plan.add(Row(what, f"{max(shares):.1%}", "", max(shares), MUST_CORE, at_most=True))
    plan.add(Row("... resident memory, MB", f"{max(sizes):.0f} MB", "", max(sizes), MUST_MB, at_most=True))


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
