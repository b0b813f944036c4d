"""Services: what a supervisor looks after, and how each is brought back.

One that ended is started again after a pause that grows with each failure in
a row; one that ran for long enough has no past. Who fails too often in a row,
or ended in a way that a new start can't mend, is given up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

HOST, SUPERVISOR = "host", "supervisor"
DONE, USAGE, SOLITUDE = 0, 2, 5  # exit statuses of `colony host`
HOPELESS = {
    USAGE: "its options make no sense",
    SOLITUDE: "it gave up; what it held is in lost/, and somebody should look before it starts with nothing",
}

Handle = Mapping[str, Any]  # what a provider knows a process by; plain JSON, for it outlives the supervisor


class Phase(Enum):
    """Where a service is in its life."""

    DUE = "due"  # it is to be started, at a time
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    LEFT = "left"  # it ended in good order: nobody wants it back
    GIVEN_UP = "given up"

    @property
    def is_over(self) -> bool:
        """Whether nothing is done for it any more."""
        return self in (Phase.LEFT, Phase.GIVEN_UP)


EDGES: dict[Phase, frozenset[Phase]] = {
    # RUNNING at once: somebody else was faster to start it.
    Phase.DUE: frozenset({Phase.STARTING, Phase.RUNNING, Phase.LEFT}),
    Phase.STARTING: frozenset({Phase.RUNNING, Phase.DUE, Phase.LEFT, Phase.GIVEN_UP}),
    Phase.RUNNING: frozenset({Phase.STOPPING, Phase.DUE, Phase.LEFT, Phase.GIVEN_UP}),
    Phase.STOPPING: frozenset({Phase.LEFT}),
    Phase.LEFT: frozenset({Phase.DUE, Phase.RUNNING}),
    Phase.GIVEN_UP: frozenset({Phase.DUE, Phase.RUNNING}),
}


@dataclass(frozen=True, slots=True)
class Ladder:
    """How long to wait before each new start, and when to give up.

    Attributes:
        first_s: After the first failure: a crash by chance costs no more; > 0.
        factor: By this the pause grows with each failure in a row; >= 1.
        most_s: It grows no further; a disk that fills up and is cleaned takes about so long.
        failures_max: With the defaults the last one comes after some 70 s.
        steady_s: Who ran for so long has no past: the next failure is the first.
    """

    first_s: float = 0.1
    factor: float = 3.0
    most_s: float = 30.0
    failures_max: int = 8
    steady_s: float = 60.0

    def __post_init__(self) -> None:
        if not (0 < self.first_s <= self.most_s and self.factor >= 1 and self.failures_max >= 1):
            raise ValueError("need 0 < first <= most, a factor of 1 or more, and one failure at least")

    def pause_s(self, failures: int) -> float:
        """Return the pause after so many failures in a row (>= 1); never falls, never above `most_s`."""
        steps = min(failures - 1, 64)  # a float has no room for more
        return float(min(self.most_s, self.first_s * self.factor**steps))


@dataclass(frozen=True, slots=True)
class End:
    """How a process ended.

    Attributes:
        status: Its exit status; None = by a signal, or nobody knows.
        is_certain: It was seen to be gone: a child that was waited for, or a pid with that start
            time that is no more, on this very machine.
    """

    status: int | None
    reason: str
    is_certain: bool = False


@dataclass(slots=True)
class Service:
    """One host, or one neighbouring supervisor.

    Attributes:
        slot: Which of the box's places (ports) a host has; -1 = it needs none.
        folder: State directory of a neighbour: it says how that is started.
        is_added: The cluster asked for it.
        handle: Of its process; None = there is none, or none is known yet.
        starts: How often it was started here.
        failures: In a row.
        due_s: When it is to be started, if it is DUE.
        since_s: When it was started, or adopted.
        is_ready: The cluster lists this very process as ACTIVE.
        reason: Why it is in this phase.
    """

    name: str
    kind: str = HOST
    slot: int = -1
    folder: str = ""
    is_added: bool = False
    phase: Phase = Phase.DUE
    handle: Handle | None = None
    starts: int = 0
    failures: int = 0
    due_s: float = 0.0
    since_s: float = 0.0
    is_ready: bool = False
    reason: str = ""

    def enter(self, phase: Phase, reason: str = "") -> None:
        """Change the phase; the one place where it changes."""
        assert phase in EDGES[self.phase], f"{self.name}: no edge {self.phase.value} -> {phase.value}"
        self.phase, self.reason = phase, reason
        if phase is not Phase.RUNNING:
            self.is_ready = False

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return max(0, self.starts - 1)

    def as_json(self) -> dict[str, Any]:
        """Return it as the registry keeps it: no time of one process's clock."""
        return {
            "name": self.name,
            "kind": self.kind,
            "slot": self.slot,
            "folder": self.folder,
            "added": self.is_added,
            "phase": self.phase.value,
            "handle": None if self.handle is None else dict(self.handle),
            "starts": self.starts,
            "failures": self.failures,
            "ready": self.is_ready,
            "reason": self.reason,
        }


def service_of(kept: Mapping[str, Any]) -> Service:
    """Return a service as the registry kept it; raises `ValueError` or `KeyError` if it makes no sense."""
    handle = kept["handle"]
    if handle is not None and not isinstance(handle, dict):
        raise ValueError("a handle is an object")
    return Service(
        name=str(kept["name"]),
        kind=str(kept["kind"]),
        slot=int(kept["slot"]),
        folder=str(kept["folder"]),
        is_added=bool(kept["added"]),
        phase=Phase(kept["phase"]),
        handle=handle,
        starts=int(kept["starts"]),
        failures=int(kept["failures"]),
        is_ready=bool(kept.get("ready")),
        reason=str(kept.get("reason", "")),
    )


@dataclass(frozen=True, slots=True)
class Kept:
    """What the registry says of the supervisor before this one.

    Attributes:
        is_here: It speaks of processes of this machine, since its last boot.
        ended: That supervisor ended in good order: who starts another one wants all that its options say.
    """

    services: tuple[Service, ...] = ()
    is_here: bool = True
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What the options say.

    Attributes:
        name: This supervisor's.
        hosts: By name; each has a slot, in this order.
        hosts_max: On this box, the added ones included.
        ladder: Of hosts.
        neighbours: Of supervisors on the same machine. Whatever else may start them (systemd) is faster.
        stop_s: How long hosts may take to leave when they are stopped; then they are killed.
    """

    name: str
    hosts: tuple[str, ...]
    hosts_max: int
    ladder: Ladder = Ladder()
    neighbours: Ladder = field(default_factory=lambda: Ladder(first_s=2.0))
    stop_s: float = 45.0

    def __post_init__(self) -> None:
        if len(set(self.hosts)) != len(self.hosts):
            raise ValueError("two hosts have the same name")
        if len(self.hosts) > self.hosts_max:
            raise ValueError(f"{len(self.hosts)} hosts are more than the {self.hosts_max} that may be here")


def taken_over(plan: Plan, kept: Kept) -> dict[str, Service]:
    """Return the services to begin with: what runs is adopted, what is missing is due.

    After a crash of the supervisor, what had left or was given up stays so;
    after an orderly end, or a boot, everything gets its chance again.
    """
    found: dict[str, Service] = {}
    for old in kept.services:
        is_wanted = old.name in plan.hosts or old.is_added
        if not kept.is_here:
            old.handle = None
            old.phase = Phase.DUE if is_wanted and old.kind == HOST else Phase.LEFT
        if kept.ended or not kept.is_here:
            old.failures = 0
            if old.phase.is_over and is_wanted and not (old.is_added and old.phase is Phase.LEFT):
                old.phase = Phase.DUE
        if old.phase is Phase.STOPPING:
            old.phase = Phase.RUNNING  # who was told to leave does so; its end says how
        if is_wanted or not (old.phase.is_over or old.phase is Phase.DUE):
            found[old.name] = old
    for slot, name in enumerate(plan.hosts):
        service = found.setdefault(name, Service(name))
        service.slot = slot
    return found
