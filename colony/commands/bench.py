"""`colony bench`: ops/s and percentiles of the connected cluster."""

from __future__ import annotations

from colony.commands.base import Call, Command, Exit, Failure
from colony.config import Option, seconds, size, whole, yes_or_no


def bench(call: Call) -> int:
    """Load the cluster for a while; refused if nothing was answered."""
    from colony import bench as bench_module

    load = bench_module.Load(
        workers=call["workers"],
        is_async=call["async"],
        for_s=call["for"],
        warm_up_s=min(1.0, call["for"] / 5),
        sessions=call["sessions"],
        value_bytes=call["value_bytes"],
        reads=call["reads"] / 100,
    )
    result = bench_module.run(",".join(call["connect"]), load, call.connect)
    call.show(result.as_json(), *result.lines())
    if not result.reads.count + result.writes.count:
        raise Failure("no operation was answered: see colony status", Exit.UNAVAILABLE)
    return Exit.DONE


COMMANDS = (
    Command(
        "bench",
        "measure the connected cluster with the session workload",
        bench,
        (
            Option("workers", whole(1, 4096), 8, "threads, or tasks with --async; one operation each", "N"),
            Option("async", yes_or_no, False, "asyncio tasks instead of threads"),
            Option("for", seconds, 10.0, "how long, seconds", "SECONDS"),
            Option("sessions", whole(1, 10_000_000), 1000, "how many keys", "N"),
            Option("value-bytes", size, 1024, "size of a session", "SIZE"),
            Option("reads", whole(0, 100), 80, "share of reads, percent", "PERCENT"),
        ),
    ),
)
