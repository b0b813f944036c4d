"""`colony map`: the placement as a picture."""

from __future__ import annotations

from pathlib import Path

from colony.commands.base import Call, Command, Exit, Failure, say
from colony.config import Option, text


def draw(call: Call) -> int:
    """Write the picture of the connected cluster."""
    from colony.drawing import drawn

    picture = drawn(call.ask("status", colonies=True))
    if call["svg"] == "-":
        say(picture.rstrip())
        return Exit.DONE
    try:
        Path(call["svg"]).write_text(picture, encoding="utf-8")
    except OSError as error:
        raise Failure(f"can't write {call['svg']}: {error.strerror}") from None
    call.show({"svg": call["svg"]}, f"written: {call['svg']}")
    return Exit.DONE


COMMANDS = (
    Command(
        "map",
        "draw where colonies are, by zone, rack, box and host",
        draw,
        (Option("svg", text, "colony-map.svg", "where to; - = stdout", "FILE"),),
    ),
)
