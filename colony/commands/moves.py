"""`moves`, `freeze`, `thaw`: what is on its way, and whether anything may be."""

from __future__ import annotations

from collections.abc import Sequence

from colony.commands.base import Call, Command, Exit, Failure, Json
from colony.commands.life import statuses
from colony.config import Option, seconds
from colony.everyone import ask_each

_WAIT = Option("wait", seconds, 10.0, "how long to wait until all agree, seconds", "S")


def freeze(call: Call) -> int:
    """Have colonies stay where they are; what lacks peers still gets them."""
    return _pause(call, "freeze")


def thaw(call: Call) -> int:
    """Let colonies move for better places again."""
    return _pause(call, "thaw")


def _pause(call: Call, order: str) -> int:
    wanted = order == "freeze"
    with call.store() as store:
        answer: Json = store.admin(order, {})
        for status in statuses(store, call["wait"]):
            if status is None or bool(status.get("frozen")) is not wanted:
                continue
            view = status.get("view") or {}
            told = f"view {view.get('generation', 0)}.{view.get('number', 0)}"
            already = " already" if answer.get("before") is wanted else ""
            said = "frozen: what lacks peers still gets them; colony thaw ends it" if wanted else "thawed"
            call.show({"frozen": wanted, "view": told}, f"moves are{already} {said} ({told})")
            return Exit.DONE
    raise Failure(
        f"ordered, but no view says so after {call['wait']:g} s: see colony status", Exit.UNAVAILABLE
    )


def moves(call: Call) -> int:
    """Print what is on its way, and what waits for what; each primary's host is asked."""
    with call.store() as store:
        status: Json = store.admin("status", {"colonies": False})
    members = (status.get("view") or {}).get("members") or []
    answer = gathered(status, members, ask_each(call.connect, members, "moves", {}))
    call.show(answer, *lines_of(answer))
    return Exit.DONE


def gathered(status: Json, members: Sequence[Json], told: Sequence[Json | str]) -> Json:
    """Return the moves of all hosts, urgent ones first, then the oldest."""
    found: list[Json] = []
    silent, limits = [], {}
    for member, theirs in zip(members, told, strict=True):
        if isinstance(theirs, str):
            silent.append(f"{member.get('name')}: {theirs}")
        else:
            found += theirs.get("moves") or ()
            limits[str(member.get("name"))] = theirs.get("limits")
    found.sort(key=lambda move: (not move.get("urgent"), -(move.get("age_s") or 0.0), move.get("colony", 0)))
    return {
        "frozen": bool(status.get("frozen")),
        "wave": status.get("wave"),
        "moves": found,
        "limits": limits,
        "silent": silent,
    }


def lines_of(answer: Json) -> list[str]:
    """Return moves as lines for people."""
    lines = []
    if answer.get("frozen"):
        lines.append("moves are FROZEN: only what lacks peers gets them; colony thaw ends it")
    if answer.get("wave"):
        lines.append(wave_line(answer["wave"]))
    found = answer.get("moves") or []
    lines += [move_words(move) for move in found]
    if not found:
        lines.append("nothing moves, and nothing waits")
    return lines + [f"not asked: {one}" for one in answer.get("silent") or ()]


def wave_line(wave: Json) -> str:
    """Return who joins and leaves together, and how far that is."""
    parts = []
    if wave.get("joining"):
        parts.append(
            f"{', '.join(wave['joining'])} join, {wave.get('arrived')} of {wave.get('share')} copies there"
        )
    if wave.get("leaving"):
        parts.append(f"{', '.join(wave['leaving'])} leave, {wave.get('aboard')} copies still aboard")
    return f"wave: {'; '.join(parts)}"


def move_words(move: Json) -> str:
    """Return one move as a line: what goes where, whose it is, how far, how long, and what it waits for."""
    words = [str(move.get("kind", "move")), f"colony {move.get('colony', '?')}"]
    if move.get("from") and move.get("to"):
        words.append(f"{move['from']} → {move['to']}")
    elif move.get("from"):
        words.append(str(move["from"]))
    if isinstance(move.get("progress"), (int, float)):
        words.append(f"{move['progress']:.0%}")
    if move.get("urgent"):
        words.append("urgent")
    times = [f"owner {move.get('owner', '?')}"]
    if move.get("kind") != "wait":
        times.append(f"{move.get('age_s') or 0.0:.1f} s old")
    if isinstance(move.get("deadline_s"), (int, float)):
        times.append(f"given up in {max(0.0, move['deadline_s']):.0f} s")
    because = f" ({move['reason']})" if move.get("reason") else ""
    return f"{' '.join(words)}, {', '.join(times)}: waits for {move.get('waits_for', '?')}{because}"


COMMANDS = (
    Command("moves", "print what is on its way, whose it is, and what it waits for", moves),
    Command(
        "freeze", "have colonies stay where they are; what lacks peers still gets them", freeze, (_WAIT,)
    ),
    Command("thaw", "let colonies move for better places again", thaw, (_WAIT,)),
)
