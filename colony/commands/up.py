"""`colony up`: a cluster of real hosts on this machine, under load."""

from __future__ import annotations

import json

from colony.commands.base import Call, Command, Exit, Failure, say, warn
from colony.config import QUORUM, Option, seconds, whole, yes_or_no


def up(call: Call) -> int:
    """Run until told to end; the exit status is the verdict."""
    from colony import dash_live, up  # rich takes a while to load: only where it draws

    plan = up.Plan(
        hosts=call["hosts"],
        peers=call["peers"],
        colonies=call["colonies"],
        quorum=call["quorum"],
        boxes=call["boxes"],
        sessions=call["sessions"],
        for_s=call["for"],
        base_port=call["base_port"],
        log_level=call["log_level"],
    )
    try:
        dash = call["dash"] and dash_live.on_terminal()
        verdict = up.Up(plan, call.connect, dash, warn if call["json"] else say).run()
    except up.NotReady as error:
        raise Failure(str(error), Exit.UNAVAILABLE) from None
    except OSError as error:
        raise Failure(str(error)) from None
    for line in verdict.lines() if not call["json"] else [json.dumps(verdict.as_json())]:
        say(line)
    return verdict.status


COMMANDS = (
    Command(
        "up",
        "bring up a cluster on this machine, under load, with the dashboard",
        up,
        (
            Option("hosts", whole(1, 32), 5, "host processes", "N"),
            Option("peers", whole(1, 16), 2, "copies of each colony", "N"),
            Option("colonies", whole(1, 65536), 64, "into how many colonies the keys fall", "K"),
            QUORUM,
            Option("boxes", whole(1, 32), 3, "labels: as if on so many machines", "N"),
            Option("sessions", whole(1, 10_000_000), 1000, "sessions of the workload", "N"),
            Option("for", seconds, None, "end after so many seconds; none = when told to", "SECONDS"),
            Option("dash", yes_or_no, True, "draw the dashboard, if there is a terminal"),
            Option(
                "base-port",
                whole(1024, 65000),
                None,
                "of the first host; none = from 7420, the first free",
                "P",
            ),
        ),
    ),
)
