"""Cost of a mutation as the number of colonies grows."""

from __future__ import annotations

from tests.bench import cluster as ours
from tests.bench.harness import KEYS, Plan, Row, hammer, median

FEW, MANY = 64, 4_096
THREADS = 8
MUST = 0.8


def run(plan: Plan) -> None:
    """Measure; adds a row to the plan."""
    keys = [f"session:{number:08d}" for number in range(KEYS)]
    with ours.Cluster(colonies=FEW) as few, ours.Cluster(colonies=MANY) as many:
        stores = [few.store(codec="raw"), many.store(codec="raw")]
        rounds = [
            [hammer([ours.setter(store, keys)] * THREADS, plan.seconds) for store in stores]
            for _ in range(plan.rounds)
        ]
    narrow, wide = median([pair[0] for pair in rounds]), median([pair[1] for pair in rounds])
    text = f"{narrow.rate:,.0f}/s -> {wide.rate:,.0f}/s"
    plan.add(Row(f"SET rate, {FEW} -> {MANY} colonies", text, "", wide.rate / narrow.rate, MUST))
