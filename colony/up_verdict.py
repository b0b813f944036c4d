"""What `colony up` can say at the end, and how it is counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from colony.commands.base import Exit

AFTERMATH_S = 10.0  # a write that began within this time of a fault was perhaps held up by it


@dataclass(frozen=True, slots=True)
class Fault:
    """One failure: hosts that went at the same time.

    Attributes:
        at_s: When, wall clock.
        hosts: Names.
        what: killed, stalled, died, held dead.
        pause_s: The longest time a write waited that it touched.
    """

    at_s: float
    hosts: tuple[str, ...]
    what: str
    pause_s: float = 0.0


class Faults:
    """All faults so far, and how long each held up writes."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, hosts: Sequence[str], what: str, at_s: float) -> None:
        """Note that these hosts went together; nothing for no hosts."""
        if hosts:
            self._faults.append(Fault(at_s, tuple(hosts), what))

    def hear(self, pauses: Sequence[Sequence[float]]) -> None:
        """Take in the waits that the workload saw; it forgets the old ones in time."""
        until_s = [fault.at_s for fault in self._faults[1:]] + [inf]
        self._faults = [
            replace(fault, pause_s=max(fault.pause_s, longest_pause_s(pauses, fault.at_s, next_s)))
            for fault, next_s in zip(self._faults, until_s, strict=False)
        ]

    @property
    def longest_s(self) -> float:
        """The longest wait of all; 0 = none."""
        return max((fault.pause_s for fault in self._faults), default=0.0)

    def all(self) -> tuple[Fault, ...]:
        """Return all, oldest first."""
        return tuple(self._faults)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of a run: what was promised, and what was kept.

    Attributes:
        report: The workload's last report; {} = it gave none.
        faults: Each one is a failover.
        ran_s: How long the workload ran.
    """

    report: Mapping[str, Any]
    faults: tuple[Fault, ...]
    ran_s: float

    @property
    def status(self) -> Exit:
        """The exit status that says the same."""
        if self.report.get("lost") or self.report.get("extra"):
            return Exit.LOST
        if not self.report.get("final") or not self.report.get("acked"):
            return Exit.FAILED  # of no writes none can be lost: that proves nothing
        return Exit.UNAVAILABLE if self.report.get("unread") else Exit.DONE

    def as_json(self) -> dict[str, Any]:
        """Return the verdict as `colony up --json` prints it."""
        report = self.report
        return {
            "acknowledged": report.get("acked", 0),
            "lost": report.get("lost", 0),
            "stale": report.get("stale", 0),
            "unread": report.get("unread", 0),
            "verified": bool(report.get("final")) and not report.get("unread"),
            "operations": report.get("ops", 0),
            "failed": report.get("failed", 0),
            "p50_ms": report.get("p50_ms"),
            "p99_ms": report.get("p99_ms"),
            "failovers": len(self.faults),
            "longest_pause_s": round(max((fault.pause_s for fault in self.faults), default=0.0), 3),
            "faults": [
                {
                    "at": fault.at_s,
                    "hosts": list(fault.hosts),
                    "what": fault.what,
                    "pause_s": round(fault.pause_s, 3),
                }
                for fault in self.faults
            ],
            "ran_s": round(self.ran_s, 1),
        }

    def lines(self) -> list[str]:
        """Return the verdict as lines for people."""
        told = self.as_json()
        lines = [
            f"acknowledged writes  {told['acknowledged']:,} in {told['ran_s']:g} s "
            f"({told['operations']:,} operations, p50 {told['p50_ms']} ms, p99 {told['p99_ms']} ms)",
            f"lost                 {told['lost']}"
            + (f", stale reads {told['stale']}" if told["stale"] else ""),
            f"failovers            {told['failovers']}"
            + (f", longest pause {told['longest_pause_s']:.2f} s" if self.faults else ""),
        ]
        for fault in told["faults"]:
            lines.append(
                f"                     {', '.join(fault['hosts'])} {fault['what']}: {fault['pause_s']:.2f} s"
            )
        if not self.report.get("final"):
            lines.append("the workload ended without its last check: nothing above is verified")
        elif told["unread"]:
            lines.append(f"{told['unread']} sessions could not be read at the end: not verified")
        if self.report.get("extra"):
            lines.append(f"{self.report['extra']} reads showed a write that nobody made")
        return lines


def longest_pause_s(pauses: Sequence[Sequence[float]], at_s: float, next_s: float = inf) -> float:
    """Return the longest wait of a write that a fault at `at_s` may have caused; 0 = none noticed.

    Args:
        pauses: (wall time at which it began, how long it took).
        next_s: When the next fault came: what began after it is its own.
    """
    end_s = min(at_s + AFTERMATH_S, next_s)
    touched = [took_s for began_s, took_s in pauses if began_s < end_s and began_s + took_s > at_s]
    return max(touched, default=0.0)
