"""Answers to why: what was decided about a colony here, and what would be now.

Terms and vetoes of the candidates of a decision come from playing it again:
see `agents.ledger`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from agents.governor import Governor
from agents.household import Household
from agents.ledger import HOST, Entry
from agents.population import Facts, Lack
from agents.surroundings import CloneOrdered, HandOverOrdered, RetireOrdered
from agents.views import generation_of, number_of
from placement.choice import choose_retiree, choose_successor, choose_target
from placement.nearly import Near, nearly
from placement.peers import Peers
from placement.reasons import Move, Verdict
from placement.resources import Candidate
from placement.settle import Settled
from placement.versus import versus
from placement.why import explain

Json = dict[str, Any]


class Host(Household, Protocol):
    """What is asked of a host about its decisions."""

    governor: Governor

    def candidates(self) -> list[Candidate]:
        """Return all members as placement sees them."""


def decisions(host: Host, colony: int, now_s: float, *, only: str = "") -> list[Json]:
    """Return what this host decided about a colony, or about all, the oldest first.

    Args:
        only: Of the candidates, tell this one alone (name or id); "" = all.
    """
    ledger = host.governor.steps.ledger
    entries = sorted((*ledger.of(HOST), *ledger.of(colony)), key=lambda entry: entry.number)
    return [told(entry, now_s, by=host.membership.me.name, only=only) for entry in entries]


def told(entry: Entry, now_s: float, *, by: str, only: str = "") -> Json:
    """Return a decision as people and programs read it; hosts by their names."""
    candidates = entry.candidates
    names = {host.id: host.called for host in candidates}
    verdicts = [v for v in judged(entry, candidates) if not only or only in (v.name, v.host)]
    facts = entry.arguments[0]
    answer: Json = {
        "by": by,
        "age_s": max(0.0, now_s - entry.at_s),
        "view": f"{generation_of(entry.view)}.{number_of(entry.view)}",
        "rule": entry.rule.__name__,
        **_outcome(entry, names),
        "times": entry.times,
        "last_s": max(0.0, now_s - entry.last_s),
        "candidates": [{"host": v.name, "vetoes": list(v.vetoes), "terms": list(v.terms)} for v in verdicts],
    }
    if isinstance(facts, Facts):
        answer["inputs"] = {
            "peers": [names.get(host, host[:8]) for host in facts.active],
            "coming": [names.get(host, host[:8]) for host in facts.coming],
            "going": [names.get(host, host[:8]) for host in facts.going],
            "bytes": facts.bytes_used,
        }
    return answer


def _outcome(entry: Entry, names: dict[str, str]) -> Json:
    """Return what was decided, about whom, and why."""
    outcome = entry.outcome
    if isinstance(outcome, tuple):
        order, move = outcome
        step = _order(order, names)
        return {**_move(move, names), "step": f"{step['decided']} {step['chosen']}"}
    if isinstance(outcome, Move):
        return _move(outcome, names)
    if isinstance(outcome, Lack):
        return {"decided": "lack", "chosen": None, "because": outcome.because}
    if isinstance(outcome, Settled):
        because = str(outcome.shortfall) if outcome.shortfall else "as many peers as wanted"
        return {"decided": "settle", "chosen": outcome.number, "because": because}
    if outcome is None:
        return {"decided": "stay", "chosen": None, **pulled(entry.near, names)}
    return _order(outcome, names)


def _order(order: CloneOrdered | RetireOrdered | HandOverOrdered, names: dict[str, str]) -> Json:
    kinds = {CloneOrdered: "clone", RetireOrdered: "retire", HandOverOrdered: "hand over"}
    chosen = names.get(order.target, order.target[:8])
    return {"decided": kinds[type(order)], "chosen": chosen, "because": order.reason}


def _move(move: Move, names: dict[str, str]) -> Json:
    return {
        "decided": move.rule,
        "kind": move.kind,
        "from": names.get(move.source, move.source[:8]),
        "chosen": names.get(move.target, move.target[:8]),
        "because": move.because,
    }


def pulled(near: Near | None, names: dict[str, str]) -> Json:
    """Return a force that moves nothing, and what holds the colony."""
    if near is None:
        return {"because": "nothing draws it elsewhere"}
    return {
        "force": near.force,
        "kind": near.kind,
        "from": names.get(near.source, near.source[:8]),
        "to": names.get(near.target, near.target[:8]) if near.target else None,
        "held_by": near.held_by,
        "because": f"{near.pull}; but {near.held}",
    }


def judged(entry: Entry, candidates: Sequence[Candidate]) -> tuple[Verdict, ...]:
    """Return how each candidate was judged in a decision, best first where one was chosen."""
    facts, outcome = entry.arguments[0], entry.outcome
    if not isinstance(facts, Facts):
        if not isinstance(outcome, Move):
            return ()
        active, primary = entry.arguments[1], dict(entry.keywords)["primary"]
        facts = Facts(outcome.colony, primary, active, (), (), dict(entry.keywords)["bytes_wanted"])
    colony, size = facts.colony, facts.bytes_used
    if isinstance(outcome, RetireOrdered):
        return choose_retiree(colony, facts.active, candidates, primary=facts.primary).reasons
    if isinstance(outcome, HandOverOrdered):
        return choose_successor(colony, facts.active, candidates, primary=facts.primary).reasons
    if isinstance(outcome, (CloneOrdered, Lack)):
        holders = (*facts.active, *facts.coming)
        return choose_target(colony, holders, candidates, bytes_wanted=size).reasons
    return explain(_peers(facts), candidates, bytes_wanted=size)


def _peers(facts: Facts) -> Peers:
    return Peers(facts.colony, (facts.primary,), tuple(h for h in facts.active if h != facts.primary))


def against(host: Host, peers: Peers, named: str, bytes_wanted: int) -> Json | None:
    """Return why a colony is not on a host: vetoes, or the term that it loses by; None = it is there."""
    candidates = host.candidates()
    names = {one.id: one.called for one in candidates}
    for one in candidates:
        if named in (one.name, one.id) and one.id not in peers.holders:
            found = versus(
                peers.colony, peers.holders, candidates, one, primary=peers.primary, bytes_wanted=bytes_wanted
            )
            return {
                "host": one.called,
                "vetoes": list(found.vetoes),
                "against": names.get(found.against),
                "wins": found.wins,
                "term": found.term,
                "mine": found.mine,
                "theirs": found.theirs,
                "by": found.mine - found.theirs,
                "words": found.words,
            }
    return None


def next_step(host: Host, colony: int, now_s: float) -> Json | None:
    """Return what the primary here would do with a colony now; None = it is not led here."""
    machine = host.colonies.get(colony)
    if machine is None or machine.primary is None:
        return None
    governor, candidates = host.governor, host.candidates()
    facts = governor.facts(machine)
    names = {one.id: one.called for one in candidates}
    if facts is None:
        return {"would": "wait", "because": "it is not open: a hand-over or a census is under way"}
    step, found = governor.weigh(facts, now_s)
    if isinstance(step, Lack):
        return {"would": "wait", "because": f"it lacks a peer: {step.because}"}
    if step is not None:
        told_step = _order(step, names)
        return {"would": told_step["decided"], "to": told_step["chosen"], "because": step.reason}
    if facts.coming or facts.going:
        return {"would": "wait", "because": "a copy comes or goes"}
    if found is not None:
        move = _move(found[1], names)
        return {
            "would": move["decided"], "kind": move["kind"], "from": move["from"], "to": move["chosen"],
            "because": move["because"], "held": governor.held(colony, now_s),
        }  # fmt: skip
    near = nearly(colony, facts.active, candidates, primary=facts.primary, bytes_wanted=facts.bytes_used)
    return {"would": "stay", **pulled(near, names)}
