"""`why`: where the peers of a colony are, and what was decided about it."""

from __future__ import annotations

import time
from collections.abc import Iterable

from colony.commands.base import Call, Command, Exit, Json, Positional
from colony.commands.state import place_line
from colony.config import Option, whole, yes_or_no
from colony.everyone import ask_each

SHOWN_MAX = 8  # decisions, the latest
MOVES = ("repel", "migrate", "clone", "hand over")  # a retirement only ends one


def why(call: Call) -> int:
    """Explain where the peers of a colony are, why not on a host, or why it moves or stays."""
    arguments = {"colony": call["colony"], **({"not_host": call["not"]} if call["not"] else {})}
    with call.store() as store:
        answer: Json = store.admin("why", arguments)
        status: Json = store.admin("status", {"colonies": False})
    members = (status.get("view") or {}).get("members") or []
    others = [member for member in members if member.get("name") != answer.get("name")]
    answer = gathered(answer, others, ask_each(call.connect, others, "why", arguments), time.time())
    call.show(answer, *explanation(answer, moves=call["move"]))
    return Exit.DONE


def gathered(answer: Json, others: Iterable[Json], told: Iterable[Json | str], wall_s: float) -> Json:
    """Return the answer of one host with what the others have decided, and what the primary would do.

    Whoever led a colony when something was decided has it in its own ledger.
    """
    found, silent = list(answer.get("decisions") or ()), []
    step = answer.get("next")
    for member, theirs in zip(others, told, strict=True):
        if isinstance(theirs, str):
            silent.append(f"{member.get('name')}: {theirs}")
            continue
        found += theirs.get("decisions") or ()
        step = step or theirs.get("next")
    found = [{**decision, "at": wall_s - (decision.get("age_s") or 0.0)} for decision in found]
    found.sort(key=lambda decision: decision["at"])
    settled: dict[str, Json] = {}
    for decision in found:
        if decision.get("decided") == "settle":  # every host does so for itself, and comes to the same
            settled[str(decision.get("chosen"))] = decision
    kept = {id(one) for one in settled.values()}
    found = [one for one in found if one.get("decided") != "settle" or id(one) in kept]
    return {**answer, "decisions": found, "next": step, "silent": silent}


def explanation(answer: Json, *, moves: bool = False) -> list[str]:
    """Return why a colony is where it is, host by host, and what was decided.

    Args:
        moves: Only what moved it last, candidate by candidate, and what would now.
    """
    decisions = answer.get("decisions") or []
    lines = [place_line(answer)]
    if moves:
        last = max((n for n, one in enumerate(decisions) if one.get("decided") in MOVES), default=None)
        if last is not None:
            lines += ["last moved:", *decision_lines(decisions[last], verbose=True)]
            ended = [one for one in decisions[last + 1 :] if one.get("decided") == "retire"]
            lines += [line for one in ended[:1] for line in decision_lines(one)]
        else:
            lines.append("no move of it is in the ledger of any host that answers")
    else:
        lines += [_verdict_line(verdict) for verdict in answer.get("hosts") or ()]
        lines += _not_lines(answer.get("not"))
        if decisions:
            lines.append("decided:")
        for one in decisions[-SHOWN_MAX:]:
            lines += decision_lines(one, verbose=bool(answer.get("not")))
    lines += _next_lines(answer.get("next"))
    return lines + [f"not asked: {one}" for one in answer.get("silent") or ()]


def _verdict_line(verdict: Json, indent: str = "  ") -> str:
    vetoes, terms = verdict.get("vetoes") or (), verdict.get("terms") or ()
    said = "; ".join(str(part) for part in (vetoes or terms)) or "no reason given"
    return f"{indent}{verdict.get('host', '?')}: {'can not, ' if vetoes else ''}{said}"


def _not_lines(found: Json | None) -> list[str]:
    """Return which veto or term keeps a colony from a host, and by how much."""
    if not found:
        return []
    host, lines = found.get("host"), []
    for veto in found.get("vetoes") or ():
        lines.append(f"not on {host}: vetoed, it {veto}")
    if found.get("against"):
        verb = "would win against" if found.get("wins") else "loses against"
        by = found.get("by") or 0
        figures = (
            "" if found.get("term") == "tie" else f" by {abs(by)} ({found['mine']} to {found['theirs']})"
        )
        lines.append(
            f"not on {host}: {verb} {found['against']} in {found['term']}{figures}: {found['words']}"
        )
        if found.get("wins") and not found.get("vetoes"):
            lines.append("  but what it would gain is less than what a move must gain: see why --move")
    return lines


def decision_lines(decision: Json, *, verbose: bool = False) -> list[str]:
    """Return one decision: when, by whom, what, and why; `verbose`: and how each candidate was judged."""
    clock = time.strftime("%H:%M:%S", time.localtime(decision.get("at") or 0.0))
    what = str(decision.get("decided", "?"))
    if decision.get("from") and what != "stay":
        what += f" {decision.get('kind', 'copy')} {decision['from']} → {decision.get('chosen')}"
    elif decision.get("chosen") is not None:
        what += f" {decision['chosen']}"
    if decision.get("step"):
        what += f" ({decision['step']} first)"
    times = f" ×{decision['times']}" if (decision.get("times") or 1) > 1 else ""
    lines = [
        f"  {clock} {decision.get('by', '?')} view {decision.get('view')} {what}{times}: "
        f"{decision.get('because')}"
    ]
    if verbose:
        lines += [_verdict_line(verdict, "      ") for verdict in decision.get("candidates") or ()]
    return lines


def _next_lines(step: Json | None) -> list[str]:
    """Return what the primary would do now."""
    if not step:
        return ["now: nobody who leads it answers"]
    what = str(step.get("would"))
    if step.get("from") and step.get("to") and what != "stay":
        what += f" {step.get('kind', 'copy')} {step['from']} → {step['to']}"
    elif step.get("to") and what != "stay":
        what += f" {step['to']}"
    held = f"; not yet: {step['held']}" if step.get("held") else ""
    return [f"now: {what}: {step.get('because')}{held}"]


COMMANDS = (
    Command(
        "why",
        "explain where the peers of a colony are, and what was decided about it",
        why,
        (
            Option("not", str, None, "explain why none is on this host", "HOST"),
            Option("move", yes_or_no, False, "why it moved last, and whether it would now"),
        ),
        (Positional("COLONY", "its number", None, whole(0, 65535)),),
    ),
)
