"""Answers to operators: status, places, reasons, and orders passed on.

Every host answers from what it knows itself: the installed view, the loads
in heartbeats, and the directory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any, Protocol

import msgspec

from agents import safety, testimony, underway, whys
from agents.access import Access
from agents.effects import (
    Effect,
    EvictOrdered,
    FreezeOrdered,
    InitOrdered,
    LeaveOrdered,
    Note,
    RecountNeeded,
    RecoverOrdered,
)
from agents.keys import colony_of
from agents.messages.client import BAD, DENIED, OK, UNAVAILABLE, Admin, Reply
from agents.messages.membership import Load
from agents.periodic import Periodic
from agents.reunion import Reunion
from agents.stopping import Stopping
from agents.views import Charter, Member, Status, generation_of, number_of
from placement.check import check, is_safe
from placement.why import explain

Answered = tuple[list[Effect], dict[str, Any]]


class Host(safety.Host, Protocol):
    """What operators ask of a host."""

    access: Access
    load: Load
    lost: set[int]
    periodic: Periodic
    reunion: Reunion
    stale: dict[int, float]
    stopping: Stopping


class AdminError(ValueError):
    """An order that can't be carried out, with a result code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def answer_admin(host: Host, request: Admin, now_s: float) -> tuple[list[Effect], Reply]:
    """Return the effects of an operator's order, and the reply to it."""
    command = COMMANDS.get(request.command)
    try:
        if command is None:
            known = ", ".join(sorted(COMMANDS))
            raise AdminError(BAD, f"no such command: {request.command} (there are {known})")
        effects, answer = command(host, request.arguments, now_s)
    except AdminError as error:
        return [], Reply(request.id, error.code, text=str(error))
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        return [], Reply(request.id, BAD, text=f"{request.command}: {error}")
    return effects, Reply(request.id, OK, text=json.dumps(answer))


def status(host: Host, arguments: dict[str, Any], now_s: float) -> Answered:
    """Return what `colony status --json` shows."""
    view, membership = host.view, host.membership
    heard = membership.heard(now_s)
    candidates = host.candidates()
    peers = host.places()
    settled = host.governor.settled.number
    wanted = view.charter.peers if view is not None else 0
    # Before it has settled on a number nothing less than what is wanted is healthy.
    faulty = {v.colony for v in check(peers, candidates, settled or max(1, wanted))} if peers else set()
    answer: dict[str, Any] = {
        "tag": membership.tag,
        "stage": membership.stage.value,
        "waiting_for": membership.waiting,
        "asked": [] if view is not None else membership.asking.as_json(now_s),
        "quorum": bool(host.quorum.held(now_s)),
        "safe": bool(peers) and all(p.holders for p in peers) and is_safe(peers, candidates).safe,
        "name": membership.me.name,
        "id": membership.me.id,
        "address": membership.me.address,
        "quorum_of": view.charter.quorum if view is not None else "",
        "view": {
            "generation": generation_of(view.id) if view is not None else 0,
            "number": number_of(view.id) if view is not None else 0,
            "protocol": view.protocol if view is not None else 0,
            "members": [
                {**_member(host, m, heard, now_s), "cpu_others": seen.cpu_others}
                for m, seen in zip(view.members if view is not None else (), candidates, strict=True)
            ],
        },
        "frozen": view is not None and view.is_frozen,
        "colonies": {
            "count": len(peers),
            "wanted": wanted,
            "settled": settled,
            "healthy": len(peers) - len(faulty),
            "degraded": len(faulty),
            "lost": len(host.lost),
            "waiting": len(host.restoring.waiting),
            "stale": len(host.stale),
        },
        "lost": sorted(host.lost),
        "stale": {"colonies": sorted(host.stale), "age_s": max(host.stale.values(), default=0.0)},
        "snapshots": host.periodic.progress(now_s),
        "missing": host.restoring.missing,
        "keys": host.access.is_keyed,
        "insecure": host.access.is_insecure,
        "refused": host.access.refusals.count,
        "merges": host.reunion.told(),
        "stopping": host.stopping.progress(),
        "moves": _moves(host, now_s),
        "wave": underway.wave(host),
    }
    if arguments.get("colonies"):
        answer["table"] = [_row(host, colony) for colony in range(len(peers))]
    return [], answer


def _member(host: Host, member: Member, heard: Collection[str], now_s: float) -> dict[str, Any]:
    load = host.load if member.id == host.me else host.membership.loads.get(member.id) or Load()
    directory = host.directory
    primaries = directory.primaries[member.id]
    return {
        "name": member.name,
        "id": member.id,
        "incarnation": member.incarnation,
        "address": member.address,
        "link": member.link,
        "pid": member.pid,
        "status": member.status.value,
        "witness": member.witness,
        "labels": {"zone": member.labels.zone, "rack": member.labels.rack, "box": member.labels.box},
        "primaries": primaries,
        "secondaries": max(0, directory.copies[member.id] - primaries),
        "cells": load.cells,
        "bytes": load.bytes_used,
        "bytes_max": member.bytes_max,
        "cpu": load.cpu,
        "memory_free": load.memory_free,
        "memory_total": load.memory_total,
        "late_s": load.late_s,
        "protocol": member.protocol,
        "software": member.software,
        "uptime_s": load.uptime_s,
        "machine": member.machine,
        "started_s": member.started_s,
        "lost_and_found": load.kept,
        "restarts": load.restarts,
        "supervisor": load.supervisor,
        "flaps": round(host.membership.reputation.level(member.id, now_s), 2),
        "ready": member.status is Status.ACTIVE and not load.draining and member.id in heard,
    }


def _name(host: Host, host_id: str) -> str:
    member = host.view.member(host_id) if host.view is not None else None
    return member.name if member is not None else host_id[:8]


def _moves(host: Host, now_s: float) -> list[dict[str, Any]]:
    """Return clones and hand-overs under way: in detail where they start here."""
    found = [move for move in underway.moves(host, now_s) if move["kind"] != "wait"]
    here = {(move["colony"], move["to"]) for move in found}
    for entry in host.directory.entries:
        for learner in entry.learners if entry is not None else ():
            assert entry is not None, "only an entry has learners"
            move = {
                "colony": entry.colony,
                "kind": "clone",
                "from": _name(host, entry.primary),
                "to": _name(host, learner),
            }
            if (move["colony"], move["to"]) not in here:
                found.append({"owner": move["from"], **move})
    return found


def moves(host: Host, arguments: dict[str, Any], now_s: float) -> Answered:
    """Return what this host's primaries have under way, what waits for what, and who joins or leaves."""
    view = host.view
    return [], {
        "name": host.membership.me.name,
        "frozen": view is not None and view.is_frozen,
        "moves": underway.moves(host, now_s),
        "wave": underway.wave(host),
        "limits": {
            "moves": host.limits.moves_max,
            "clones": host.limits.clones_max,
            "bytes_s": host.limits.clone_bytes_s,
        },
    }


def _row(host: Host, colony: int) -> dict[str, Any]:
    entry = host.directory.entries[colony]
    if entry is None:
        nothing = {"cells": 0, "bytes": 0, "seq": 0}
        return {"colony": colony, "epoch": 0, "primary": None, "secondaries": [], **nothing}
    machine = host.colonies.get(colony)
    cells, size, seq = entry.cells, entry.bytes_used, entry.seq
    if machine is not None and machine.role is not None:
        cells, size = len(machine.peer.cells.live), machine.peer.cells.bytes_used
        seq = machine.peer.last
    view = host.view
    here = set(view.ids) if view is not None else set()
    return {
        "colony": colony,
        "epoch": entry.epoch,
        "primary": _name(host, entry.primary) if entry.primary in here else None,
        "secondaries": [_name(host, p) for p in entry.peers if p != entry.primary and p in here],
        "cells": cells,
        "bytes": size,
        "seq": seq,
    }


def where(host: Host, arguments: dict[str, Any], now_s: float) -> Answered:
    """Return the colony of a key (text), or the one that is named, and where that is."""
    count = len(host.directory.entries)
    if not count:
        raise AdminError(UNAVAILABLE, "this host is in no cluster yet: run `colony init`")
    colony = int(arguments.get("colony", colony_of(str(arguments["key"]).encode(), count)))
    if not 0 <= colony < count:
        raise AdminError(BAD, f"no such colony: {colony} (there are {count})")
    row = _row(host, colony)
    return [], {"key": arguments["key"], **row}


def why(host: Host, arguments: dict[str, Any], now_s: float) -> Answered:
    """Return, host by host, why a colony lives there or does not."""
    colony = int(arguments["colony"])
    peers = host.places()
    if not 0 <= colony < len(peers):
        raise AdminError(BAD, f"no such colony: {colony} (there are {len(peers)})")
    entry = host.directory.entries[colony]
    size = entry.bytes_used if entry is not None else 0
    verdicts = explain(peers[colony], host.candidates(), bytes_wanted=size)
    wanted = arguments.get("not_host")
    if wanted:
        verdicts = tuple(v for v in verdicts if wanted in (v.name, v.host))
        if not verdicts:
            raise AdminError(BAD, f"no such host: {wanted}")
    answer = {
        "name": host.membership.me.name,
        **_row(host, colony),
        "hosts": [{"host": v.name, "vetoes": list(v.vetoes), "terms": list(v.terms)} for v in verdicts],
        "decisions": whys.decisions(host, colony, now_s, only=str(wanted or "")),
        "next": whys.next_step(host, colony, now_s),
    }
    if wanted:
        answer["not"] = whys.against(host, peers[colony], str(wanted), size)
    return [], answer


def safe_to_kill(host: Host, arguments: dict[str, Any], now_s: float) -> Answered:
    """Return whether some hosts may die at once without loss, and what would be lost."""
    asked = [str(h) for h in arguments.get("hosts", [])]
    if arguments.get("box"):
        asked.append(f"box={arguments['box']}")
    try:
        return [], safety.blow(host, asked, now_s)
    except (LookupError, ValueError) as error:
        raise AdminError(BAD, str(error.args[0] if error.args else error)) from None


def _member_named(host: Host, name: str) -> Member:
    for member in host.view.members if host.view is not None else ():
        if name in (member.name, member.id):
            return member
    raise AdminError(BAD, f"no such host: {name}")


def init(host: Host, arguments: dict[str, Any], now_s: float) -> Answered:
    """Found a cluster of the zombies that this host sees."""
    refusal = host.membership.init_refusal()
    if refusal:
        raise AdminError(DENIED, refusal)
    quorum = str(arguments.get("quorum", "majority"))
    if quorum not in ("majority", "available"):
        raise AdminError(BAD, f"quorum is majority or available, not {quorum!r}")
    apart = str(arguments.get("apart", "host"))
    if apart not in ("host", "box", "rack", "zone"):
        raise AdminError(BAD, f"peers stand apart by host, box, rack or zone, not {apart!r}")
    colonies, peers = int(arguments.get("colonies", 64)), int(arguments.get("peers", 2))
    charter = msgspec.structs.replace(Charter(colonies, peers), quorum=quorum, apart=apart)
    return host.membership.handle(InitOrdered(charter), now_s), {"founding": True}


def leave(host: Host, arguments: dict[str, Any], now_s: float) -> Answered:
    """Mark hosts LEAVING; none named = this one."""
    if host.frozen:
        raise AdminError(UNAVAILABLE, "the whole cluster is being stopped")
    names = arguments.get("hosts") or [host.membership.me.name]
    members = [_member_named(host, str(name)) for name in names]
    stay = [m for m in host.view.members if m not in members] if host.view is not None else []
    if not [m for m in stay if not m.witness]:
        raise AdminError(DENIED, "the last hosts can't leave: the cells would have no place; use shutdown")
    effects: list[Effect] = []
    for member in members:
        effects += host.membership.handle(LeaveOrdered(member.id), now_s)
    return effects, {"leaving": [m.name for m in members]}


def shutdown(host: Host, arguments: dict[str, Any], now_s: float) -> Answered:
    """Stop the whole cluster; `status` says how far that is."""
    if host.view is None or not host.quorum.held(now_s):
        raise AdminError(UNAVAILABLE, "no quorum: there is nobody to agree on a stop with")
    force = bool(arguments.get("force"))
    refusal = host.stopping.refusal(force=force)
    if refusal:
        raise AdminError(DENIED, refusal)
    effects: list[Effect] = []
    stop = host.stopping.order(force=force, now_s=now_s, out=effects)
    return effects, {"stop": stop}


def evict(host: Host, arguments: dict[str, Any], now_s: float) -> Answered:
    """Hold a host for dead, whoever hears it."""
    if not arguments.get("force"):
        raise AdminError(DENIED, "evict kills a member for the cluster: say --force")
    member = _member_named(host, str(arguments["host"]))
    return host.membership.handle(EvictOrdered(member.id), now_s), {"evicting": member.name}


def freeze(host: Host, arguments: dict[str, Any], now_s: float) -> Answered:
    """Have colonies stay where they are, cluster-wide; what lacks peers still gets them."""
    return _freeze(host, now_s, frozen=True)


def thaw(host: Host, arguments: dict[str, Any], now_s: float) -> Answered:
    """Let colonies move for better places again."""
    return _freeze(host, now_s, frozen=False)


def _freeze(host: Host, now_s: float, *, frozen: bool) -> Answered:
    if host.view is None or not host.quorum.held(now_s):
        raise AdminError(UNAVAILABLE, "no quorum: there is nobody to agree on it with")
    if host.frozen:
        raise AdminError(UNAVAILABLE, "the whole cluster is being stopped")
    before = host.view.is_frozen
    effects = host.membership.handle(FreezeOrdered(frozen), now_s)
    return effects, {"frozen": frozen, "before": before, "view": number_of(host.view.id)}


def lost_restored(host: Host, arguments: dict[str, Any], now_s: float) -> Answered:
    """Note that cells of a file were brought back: all hosts' clients see them from now on."""
    counts = ", ".join(f"{int(arguments.get(name, 0))} {name}" for name in ("restored", "overwritten"))
    text = f"{counts}, from {str(arguments.get('file', '?'))[:300]}"
    if arguments.get("stale"):
        text += "; they may be older than what was acknowledged"
    return [Note("lost_restored", text)], {"noted": True}


def recover(host: Host, arguments: dict[str, Any], now_s: float) -> Answered:
    """Let a holding side go on in a new generation, or colonies start without those that they wait for."""
    if not arguments.get("force"):
        raise AdminError(DENIED, "recover gives up what the others may hold: say --force")
    if host.quorum.held(now_s):
        waiting = sorted(host.restoring.waiting)
        if not waiting:
            raise AdminError(DENIED, "quorum is held: there is nothing to recover from")
        reason = host.restoring.give_up()
        effects: list[Effect] = []
        host.tell_membership(RecountNeeded(reason), now_s, effects)
        return effects, {"recovering": True, "lost": waiting, "text": f"{reason}; lost: colonies {waiting}"}
    effects = host.membership.handle(RecoverOrdered(), now_s)
    refusals = [effect.reason for effect in effects if isinstance(effect, Note) and effect.kind == "refused"]
    if refusals:
        raise AdminError(DENIED, refusals[0])
    return effects, {"recovering": True}


def attest(host: Host, arguments: dict[str, Any], now_s: float) -> Answered:
    """Take a supervisor's word that a member's process is gone; see `agents.testimony`."""
    if host.view is None:
        raise AdminError(UNAVAILABLE, "this host is no member: tell one that is")
    name = str(arguments["host"])
    member = next((m for m in host.view.members if name in (m.name, m.id)), None)
    if member is None:
        return [], {"attested": False, "why": f"{name} is in the view no more"}
    event, refusal = testimony.attested(host.me, member, arguments)
    if event is None:
        raise AdminError(DENIED, refusal)
    effects = host.membership.handle(event, now_s)
    return effects, {"attested": True, "incarnation": member.incarnation}


def report(host: Host, arguments: dict[str, Any], now_s: float) -> Answered:
    """Note what a supervisor did."""
    return [testimony.reported(host, arguments)], {"noted": True}


def capacity(host: Host, arguments: dict[str, Any], now_s: float) -> Answered:
    """Return whether more hosts are wanted, and who is there."""
    return [], testimony.capacity(host, now_s)


COMMANDS: dict[str, Callable[[Host, dict[str, Any], float], Answered]] = {
    "status": status,
    "where": where,
    "why": why,
    "moves": moves,
    "safe_to_kill": safe_to_kill,
    "init": init,
    "leave": leave,
    "shutdown": shutdown,
    "evict": evict,
    "recover": recover,
    "lost_restored": lost_restored,
    "attest": attest,
    "report": report,
    "capacity": capacity,
    "freeze": freeze,
    "thaw": thaw,
}
