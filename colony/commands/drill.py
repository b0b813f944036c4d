"""`colony drill`: kill a box on purpose, and see that nothing is lost."""

from __future__ import annotations

import sys

from colony.commands.base import Call, Command, Exit, Failure, warn
from colony.commands.state import verdict
from colony.config import Option, seconds, text, yes_or_no
from colony.drill import Refused, hold, victims


def drill(call: Call) -> int:
    """Ask whether it is safe, kill, measure, and say what came of it."""
    what = [f"box={call['box']}"] if call["box"] else []
    what += [call["host"]] if call["host"] else []
    if len(what) != 1:
        raise Failure("say which box (--box B) or which host (--host H) is to die", Exit.USAGE)
    answer = verdict(call, what)
    if not answer.get("safe"):
        reasons = "; ".join(str(reason) for reason in answer.get("reasons") or ()) or "it gives no reason"
        raise Failure(f"no drill, for it would not be safe: {reasons}")
    with call.store() as store:
        try:
            doomed = victims(store.admin("status", {"colonies": False}), answer.get("hosts") or ())
            names = ", ".join(f"{victim.name} (pid {victim.pid})" for victim in doomed)
            if not call["yes"] and not confirmed(
                f"kill -9 {names} now? Nothing will be lost, by all that is known."
            ):
                raise Failure("nothing was killed")
            outcome = hold(store, doomed, call["within"], warn)
        except Refused as error:
            raise Failure(f"no drill: {error}") from None
    call.show(outcome.as_json(), *outcome.lines())
    return outcome.status


def confirmed(question: str) -> bool:
    """Return whether somebody at a terminal says yes; without one, only --yes does."""
    if not sys.stdin.isatty():
        raise Failure("there is no terminal to ask at: say --yes if it is meant")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


COMMANDS = (
    Command(
        "drill",
        "kill the hosts of a box on purpose, and measure what that does",
        drill,
        (
            Option("box", text, None, "whose hosts are killed", "B"),
            Option("host", text, None, "or one host, by name", "H"),
            Option("yes", yes_or_no, False, "do not ask"),
            Option("within", seconds, 60.0, "how long the copies may take to be there again, seconds", "S"),
        ),
    ),
)
