"""`moves`, `freeze`, `thaw`: what is on its way, and whether anything may be."""

from __future__ import annotations

from colony.commands.base import Call, Command, Exit, Failure, Json
from colony.commands.life import statuses
from colony.config import Option, seconds

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


COMMANDS = (
    Command(
        "freeze", "have colonies stay where they are; what lacks peers still gets them", freeze, (_WAIT,)
    ),
    Command("thaw", "let colonies move for better places again", thaw, (_WAIT,)),
)
