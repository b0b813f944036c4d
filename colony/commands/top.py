"""`colony top`: the live dashboard."""

from __future__ import annotations

from pathlib import Path

from colony.commands.base import Call, Command, Exit, Failure, say
from colony.config import Option, text, whole


def top(call: Call) -> int:
    """Show the dashboard; without a terminal, or with --svg, one frame of it."""
    from colony import dash, dash_live  # rich takes a while to load: only where it draws

    screen = dash_live.Top(call.connect, call["connect"])
    if call["svg"] is None and dash_live.on_terminal():
        screen.run()
        return Exit.DONE
    size = dash.Size(call["width"], call["height"])
    frame = screen.once(size)
    if frame is None:
        raise Failure(f"no host answers at {','.join(call['connect'])}: see --connect", Exit.UNAVAILABLE)
    if call["svg"] is None:
        say(dash_live.as_text(frame, size).rstrip())
        return Exit.DONE
    try:
        Path(call["svg"]).write_text(dash_live.as_svg(frame, size), encoding="utf-8")
    except OSError as error:
        raise Failure(f"can't write {call['svg']}: {error.strerror}") from None
    return Exit.DONE


COMMANDS = (
    Command(
        "top",
        "show the live dashboard",
        top,
        (
            Option("svg", text, None, "write one frame as a picture, and end", "FILE"),
            Option("width", whole(40, 400), 80, "of that one frame, characters", "N"),
            Option("height", whole(10, 200), 24, "of that one frame, rows", "N"),
        ),
    ),
)
