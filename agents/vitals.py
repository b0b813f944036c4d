"""The vitals of a host: figures for metrics, gathered when somebody asks.

Nothing here is paid for by the way of a request but one in `SAMPLE_EVERY`
frames of a client, whose requests are timed, and one look a second at the
colonies that are led here. Everything else is counted anyway.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import Any, Protocol

from agents.effects import Note
from agents.messages.client import (
    ABSENT,
    BAD,
    CONFLICT,
    DENIED,
    FAILED,
    FULL,
    MOVED,
    OK,
    TOO_LARGE,
    UNAVAILABLE,
    WRONG_CLUSTER,
    Reply,
)
from agents.peer import PeerStatus
from agents.views import generation_of, number_of

SAMPLE_EVERY = 32  # frames of clients; a busy one sends some thousand a second
BOUNDS_S = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
OUTCOMES = {
    OK: "ok",
    ABSENT: "absent",
    CONFLICT: "conflict",
    MOVED: "moved",
    UNAVAILABLE: "unavailable",
    TOO_LARGE: "too_large",
    FULL: "full",
    DENIED: "denied",
    WRONG_CLUSTER: "wrong_cluster",
    BAD: "bad",
    FAILED: "closure_failed",
}


class Clocked(Protocol):
    """A frame of requests that was picked."""

    at_s: float
    probe: dict[int, str] | None


class Sampler:
    """Times the requests of one frame in some; belongs to the I/O thread.

    Attributes:
        outcomes: (kind of request, outcome) -> how many of those that were picked.
        times: Kind of request -> how many took up to each of `BOUNDS_S`, and longer.
        sums_s: Kind of request -> the time of all of them.
    """

    def __init__(self, every: int = SAMPLE_EVERY) -> None:
        self._every = every
        self._frames = 0
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.times: dict[str, list[int]] = {}
        self.sums_s: Counter[str] = Counter()

    def pick(self, caller: Clocked, requests: list[Any]) -> None:
        """Look at a frame's requests, if it is its turn."""
        self._frames += 1
        if self._frames % self._every == 0:
            caller.probe = {request.id: type(request).__name__.lower() for request in requests}

    def answered(self, caller: Clocked, reply: Reply, now_s: float) -> None:
        """Count the answer to a request of a frame that was picked."""
        kind = caller.probe.pop(reply.id, "") if caller.probe else ""
        if not kind:
            return
        self.outcomes[kind, OUTCOMES.get(reply.code, "other")] += 1
        took_s = max(0.0, now_s - caller.at_s)
        self.sums_s[kind] += took_s  # type: ignore[assignment]
        counts = self.times.setdefault(kind, [0] * (len(BOUNDS_S) + 1))
        counts[bisect_left(BOUNDS_S, took_s)] += 1

    def as_json(self) -> dict[str, Any]:
        """Return all of it: per kind its outcomes, its buckets and its sum."""
        found: dict[str, Any] = {}
        for (kind, outcome), count in self.outcomes.items():
            told = found.setdefault(kind, {"outcomes": {}, "buckets": [], "sum_s": 0.0})
            told["outcomes"][outcome] = count
            told["buckets"], told["sum_s"] = list(self.times[kind]), self.sums_s[kind]
        return found


class Vitals:
    """What is counted for metrics beside what is there anyway; belongs to the I/O thread."""

    def __init__(self) -> None:
        self.sampler = Sampler()
        self.mutations = 0
        self.bytes_cloned = 0
        self._seen: dict[int, int] = {}

    def noted(self, note: Note) -> None:
        """Add what a note says of bytes."""
        if note.kind == "cloned":
            self.bytes_cloned += int(note.details.get("bytes", 0))

    def look(self, container: Any) -> None:
        """Count what was committed here since the last look; about once a second.

        What a primary commits between its promotion and the next look is missed.
        """
        seen: dict[int, int] = {}
        for colony, machine in container.colonies.items():
            if machine.primary is not None:
                seen[colony] = now = machine.peer.committed
                self.mutations += max(0, now - self._seen.get(colony, now))
        self._seen = seen

    def report(self, server: Any) -> dict[str, Any]:
        """Return everything, as of now."""
        host = server.container
        self.look(host)
        now_s = server.clock()
        return {
            **_membership(host, now_s),
            **_colonies(host),
            "load": {name: getattr(host.load, name) for name in host.load.__struct_fields__},
            "bytes_max": host.membership.me.bytes_max,
            "links": {
                "up": sum(state.value == "UP" for state in host.links.states.values()),
                "ups": host.membership.encounters.links_up,
                "downs": host.membership.encounters.links_down,
                "strays": host.links.strays,
                "dropped": host.links.dropped,
            },
            "clients": server.door.clients,
            "strangers": server.door.strangers,
            "refused": server.door.refusals.count,
            "backlog": server.clients.backlog,
            "backlog_bytes": server.clients.backlog_bytes,
            "requests": {"client": server.clients.taken, "embedded": server.submitted},
            "sampled": self.sampler.as_json(),
            "late": {"count": server.late_count, "total_s": server.late_total_s, "now_s": server.late_s},
            "notes": dict(server.notes.counts),
            "mutations": self.mutations,
            "bytes_cloned": self.bytes_cloned,
        }


def _membership(host: Any, now_s: float) -> dict[str, Any]:
    membership, view = host.membership, host.view
    listed = view.members if view is not None else ()
    members: Counter[str] = Counter(member.status.value for member in listed)
    view_id = view.id if view is not None else 0
    me = view.member(host.me) if view is not None else None
    return {
        "name": membership.me.name,
        "host": host.me,
        "incarnation": membership.me.incarnation,
        "tag": membership.tag,
        "stage": membership.stage.value,
        "status": me.status.value if me is not None else "",
        "view": {"generation": generation_of(view_id), "number": number_of(view_id)},
        "quorum": bool(host.quorum.held(now_s)),
        "members": dict(members),
        "heard": len(membership.heard(now_s)),
    }


def _colonies(host: Any) -> dict[str, Any]:
    moves: Counter[str] = Counter(clone=0, activate=0, retire=0, hand_over=0)
    learning = primaries = secondaries = 0
    for machine in host.colonies.values():
        primary = machine.primary
        learning += machine.status is PeerStatus.LEARNING
        if primary is None:
            secondaries += machine.status is PeerStatus.ACTIVE
            continue
        primaries += 1
        under_way = primary.transfers
        if under_way.under_way or under_way.handing is not None:
            moves["clone"] += len(under_way.clones)
            moves["activate"] += len(under_way.activating)
            moves["retire"] += len(under_way.retiring)
            moves["hand_over"] += under_way.handing is not None
    view = host.view
    return {
        "colonies": len(host.directory.entries),
        "peers": {"primary": primaries, "secondary": secondaries, "learning": learning},
        "moves": dict(moves),
        "lost": len(host.lost),
        "waiting": len(host.restoring.waiting),
        "missing": host.governor.missing,
        "wanted": view.charter.peers if view is not None else 0,
        "settled": host.governor.settled.number,
    }
