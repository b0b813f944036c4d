"""`get`, `set`, `del`, `keys`: cells by hand, as text or JSON."""

from __future__ import annotations

import json
from typing import Any

from colony.commands.base import Call, Command, Exit, Failure, Positional, say, warn
from colony.config import Option, seconds


def as_value(text: str) -> Any:
    """Return the JSON value that the text is, or else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def as_text(value: Any) -> str:
    """Return a value as people read it: text plain, JSON where it fits."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return repr(value)


def get(call: Call) -> int:
    """Print the value of a cell; refused if there is none."""
    with call.store() as store:
        entry = store.entry(call["key"])
    if entry is None:
        raise Failure(f"no cell {call['key']!r}")
    answer = {
        "key": call["key"],
        "value": entry.value if is_json(entry.value) else as_text(entry.value),
        "version": entry.version,
        "ttl_s": entry.ttl_s,
    }
    call.show(answer, as_text(entry.value))
    return Exit.DONE


def is_json(value: Any) -> bool:
    """Return whether JSON can carry the value unchanged in meaning."""
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def set_(call: Call) -> int:
    """Set a cell; prints its new version."""
    with call.store() as store:
        version = store.set(call["key"], as_value(call["value"]), ttl=call["ttl"])
    call.show({"key": call["key"], "version": version}, f"version {version}")
    return Exit.DONE


def delete(call: Call) -> int:
    """Let cells die; refused, after all were tried, if one was not there."""
    with call.store() as store:
        gone = {key: bool(store.delete(key)) for key in call["key"]}
    call.show({"deleted": [key for key, was in gone.items() if was]}, f"deleted {sum(gone.values())}")
    missing = [key for key, was in gone.items() if not was]
    for key in missing:
        warn(f"colony: no cell {key!r}")
    return Exit.FAILED if missing else Exit.DONE


def keys(call: Call) -> int:
    """Print the keys with a prefix, one on a line, in no order."""
    with call.store() as store:
        found = store.keys(call["prefix"] or "")
        if call["json"]:
            call.show([as_text(key) for key in found])
        else:
            for key in found:
                say(as_text(key))
    return Exit.DONE


_KEY = Positional("KEY", "the cell's key")

COMMANDS = (
    Command("get", "print the value of a cell", get, positionals=(_KEY,)),
    Command(
        "set",
        "set a cell; the value is JSON, or else text",
        set_,
        (Option("ttl", seconds, None, "time to live in seconds; none = for ever", "S"),),
        (_KEY, Positional("VALUE", "JSON, or else taken as text")),
    ),
    Command("del", "delete cells", delete, positionals=(Positional("KEY", "the cells' keys", "+"),)),
    Command(
        "keys",
        "list the keys with a prefix",
        keys,
        positionals=(Positional("PREFIX", "none = all keys", "?"),),
    ),
)
