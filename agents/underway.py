"""Moves of one host: what its primaries have under way, and what waits, and for what."""

from __future__ import annotations

from itertools import islice
from typing import Any, Protocol

from agents.colony import Colony
from agents.governor import Governor
from agents.household import Household
from agents.population import Lack
from agents.surroundings import CloneOrdered
from agents.views import Status
from placement.resources import Candidate

Json = dict[str, Any]
WAITING_MAX = 64  # that are told; each costs a look of its primary


class Host(Household, Protocol):
    """What is asked of a host about its moves."""

    governor: Governor

    def candidates(self) -> list[Candidate]:
        """Return all members as placement sees them."""


def moves(host: Host, now_s: float) -> list[Json]:
    """Return all that this host's primaries have under way, the oldest first, then what waits.

    Each has its colony, kind, whether it is urgent, from and to (names),
    owner, age and the time left until it is given up, progress, its reason,
    and what it waits for.
    """
    view = host.view
    names = {member.id: member.name for member in view.members} if view is not None else {}
    found: list[Json] = []
    for machine in host.colonies.values():
        if machine.primary is not None:
            for move in _of(machine, now_s):
                for end in ("from", "to"):
                    move[end] = names.get(move[end], str(move[end])[:8]) if move[end] else None
                found.append({"owner": host.membership.me.name, **move})
    found.sort(key=lambda move: -move["age_s"])
    return found + [{"owner": host.membership.me.name, **one} for one in _waiting(host, now_s)]


def _of(machine: Colony, now_s: float) -> list[Json]:
    """Return what one primary has under way; hosts by id."""
    primary = machine.primary
    assert primary is not None, "only a primary moves anything"
    transfers, limits, me = primary.transfers, primary.peer.host.limits, primary.peer.host.me
    found = []
    for target, clone in transfers.clones.items():
        waits = "its cells, which are on their way"
        if not clone.started:
            waits = "its target's word that it takes it"
        elif clone.is_held:
            waits = "the pace of clones (--clone-rate)"
        silent_s = clone.touched_s + limits.clone_patience_s
        due_s = min(clone.deadline_s(limits), silent_s)
        found.append(
            _row(machine, "move" if clone.order.source else "clone", clone.order.source or me, target)
            | {"urgent": clone.is_urgent, "progress": clone.progress, "bytes": clone.bytes_whole}
            | {"age_s": now_s - clone.started_s, "deadline_s": due_s - now_s}
            | {"reason": clone.order.reason, "waits_for": waits}
        )
    for target, since_s in transfers.told_s.items():
        source = transfers.sources.get(target, "")
        found.append(
            _row(machine, "move" if source else "clone", source or me, target)
            | {"urgent": not source, "progress": 1.0, "age_s": now_s - since_s}
            | {"deadline_s": since_s + limits.clone_patience_s - now_s}
            | {"waits_for": "its word that it is ACTIVE"}
        )
    for target, since_s in transfers.retiring.items():
        stuck = " (stuck: it is asked again and again)" if target in transfers.stuck else ""
        found.append(
            _row(machine, "retire", target, "")
            | {"age_s": now_s - since_s, "deadline_s": since_s + limits.clone_patience_s - now_s}
            | {"waits_for": f"its word that it has gone{stuck}"}
        )
    if transfers.handing is not None:
        handing, count = transfers.handing, len(primary.pending)
        acks = f"the acks of {count} change{'' if count == 1 else 's'}" if count else "a majority"
        found.append(
            _row(machine, "hand over", me, handing.target)
            | {"age_s": now_s - handing.started_s, "reason": handing.reason, "waits_for": acks}
            | {"deadline_s": handing.started_s + limits.hand_over_patience_s - now_s}
        )
    return found


def _row(machine: Colony, kind: str, source: str, target: str) -> Json:
    return {
        "colony": machine.colony, "kind": kind, "urgent": False, "from": source, "to": target,
        "progress": None, "reason": "",
    }  # fmt: skip


def _waiting(host: Host, now_s: float) -> list[Json]:
    """Return what colonies led here need and don't get yet, and why, by asking the rules again."""
    governor = host.governor
    found: list[Json] = []
    for colony in islice(governor.needy, WAITING_MAX):
        machine = host.colonies.get(colony)
        facts = governor.facts(machine) if machine is not None else None
        if facts is None or facts.coming or facts.going:
            continue
        step, _ = governor.weigh(facts, now_s)
        if step is None:
            continue
        row: Json = {
            "colony": colony, "kind": "wait", "urgent": True, "from": None, "to": None,
            "progress": None, "age_s": 0.0, "deadline_s": None,
        }  # fmt: skip
        if isinstance(step, Lack):
            row |= {"reason": "it lacks a peer", "waits_for": step.because}
        else:
            waits = "this host's next step"
            if isinstance(step, CloneOrdered) and not governor.has_room(facts.bytes_used):
                waits = f"room: {host.limits.clones_max} clones at a time leave this host"
            row |= {"reason": step.reason, "waits_for": waits}
        found.append(row)
    return found


def wave(host: Host) -> Json | None:
    """Return who joins and leaves now, all together, and how much of that is done; None = nobody."""
    view = host.view
    if view is None:
        return None
    joining = [member for member in view.members if member.status is Status.JOINING]
    leaving = [member for member in view.members if member.status is Status.LEAVING]
    if not joining and not leaving:
        return None
    entries = [entry for entry in host.directory.entries if entry is not None]
    stay = [member for member in view.members if member.status is not Status.LEAVING and not member.witness]
    all_copies = len(host.directory.entries) * host.governor.settled.number
    return {
        "joining": [member.name for member in joining],
        "leaving": [member.name for member in leaving],
        "arrived": sum(member.id in entry.peers for member in joining for entry in entries),
        "share": all_copies * sum(not member.witness for member in joining) // max(1, len(stay)),
        "aboard": sum(member.id in entry.peers for member in leaving for entry in entries),
    }
