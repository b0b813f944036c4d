"""`colony lost`: cells that hosts had to drop, to look at and to bring back."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents.snapshot import Loaded, SnapshotRefused
from colony import lost as files
from colony.commands.base import Call, Command, Exit, Failure, Json, Positional, say, warn
from colony.commands.cells import as_text, is_json
from colony.config import Option, UsageError, seconds, text
from colony.errors import ColonyError
from colony.human import human_bytes, human_time
from colony.keys import key_bytes

NAMED_MAX = 20  # colonies in one sentence
SHOWN_MAX = 60  # characters of a value in a line
ACTIONS = ("list", "show", "restore")


def lost(call: Call) -> int:
    """List files, show one, or bring its cells back."""
    if call["action"] != "list" and call["file"] is None:
        raise UsageError(f"colony lost {call['action']}: say which FILE; colony lost list names them")
    return {"list": list_, "show": show, "restore": restore}[call["action"]](call)


def list_(call: Call) -> int:
    """Print the files of a state directory."""
    if call["state_dir"] is None:
        raise UsageError("colony lost list: say which --state-dir DIR")
    folder = Path(call["state_dir"])
    if not folder.is_dir():
        raise Failure(f"no state directory at {folder}")
    found = files.files(folder, time.time())
    call.show(found, *([_line(about) for about in found] or ["nothing was lost here"]))
    return Exit.DONE


def _line(about: Json) -> str:
    if "error" in about:
        return f"{about['file']}  {about['kind']}  {about['error']}"
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(about["at"]))
    return (
        f"{about['file']}  {about['kind']}  of {about['host']}  view {about['view'] & 0xFFFFFFFF}  {at}  "
        f"{human_time(about['age_s'])} old  {about['colonies']} colonies  {about['cells']} cells  "
        f"{human_bytes(about['bytes'])}  {about['reason']}"
    )


def _load(call: Call) -> tuple[Path, Loaded]:
    """Return the file that is meant, read; damage is said, and the rest is there."""
    path = files.located(call["file"], call["state_dir"])
    try:
        loaded = files.load(path, time.time())
    except OSError as error:
        raise Failure(f"can't read {path}: {error.strerror or error}; colony lost list names files") from None
    except SnapshotRefused as error:
        raise Failure(f"{path}: {error}; look for another copy: colony lost list") from None
    if loaded.damaged:
        warn(f"colony: {path} is damaged; not in what follows: {_named(loaded.damaged)}")
    return path, loaded


def _named(colonies: Any) -> str:
    numbers = sorted(colonies)
    more = f" and {len(numbers) - NAMED_MAX} more" if len(numbers) > NAMED_MAX else ""
    return f"colonies {', '.join(map(str, numbers[:NAMED_MAX]))}{more}"


def show(call: Call) -> int:
    """Print the cells of a file: one by its key, or all with a prefix."""
    _, loaded = _load(call)
    wanted = key_bytes(call["key"]) if call["key"] else b""
    found = list(files.cells(loaded, wanted))
    exact = [one for one in found if one.key == wanted]
    if not found and wanted:
        raise Failure(f"no cell {call['key']!r} and none that begins so in this file")
    told = [files.as_json(one, loaded.age_s) for one in exact or found]
    if call["json"]:
        shown = [{**one, "key": as_text(one["key"]), "value": _json_value(one["value"])} for one in told]
        call.show(shown)
    elif exact:
        (one,) = told
        say(f"{as_text(one['key'])}  {_about(one)}")
        say(as_text(one["value"]))
    else:
        for one in told:
            say(f"{as_text(one['key'])}  {_about(one)}  {as_text(one['value'])[:SHOWN_MAX]}")
    return Exit.DONE


def _json_value(value: Any) -> Any:
    return value if is_json(value) else as_text(value)


def _about(one: Json) -> str:
    ttl = {None: "no ttl", 0.0: "expired"}.get(one["ttl_s"]) or f"ttl {human_time(one['ttl_s'])}"
    return f"colony {one['colony']}  version {one['version']}  {human_time(one['age_s'])} old  {ttl}"


def restore(call: Call) -> int:
    """Write the cells of a file that are absent to the connected cluster; say what became of each."""
    path, loaded = _load(call)
    prefix = key_bytes(call["only"]) if call["only"] else b""
    with call.store() as store:
        status = store.admin("status", {"colonies": True})
        if status.get("tag") != loaded.head.tag:
            raise Failure(
                f"{path} is of the cluster {loaded.head.tag}, connected is {status.get('tag') or 'none'}"
            )
        may = _comparable(call, status) if call["overwrite"] == "older" else lambda one: False
        found = files.cells(loaded, prefix)
        tally = files.restore(store, found, comparable=may, timeout_s=call["timeout"])
        told = tally.as_json() | {"file": str(path), "age_s": loaded.age_s, "damaged": list(loaded.damaged)}
        is_stale = path.parent.name == "periodic" or path.stem.endswith("-periodic")
        told |= {"stale": is_stale, "colonies": sorted(tally.colonies)}
        _note(store, told)
    counts = ", ".join(
        f"{told[name]} {name}" for name in ("restored", "overwritten", "present", "expired", "failed")
    )
    call.show(told, counts)
    if told["failed"]:
        raise Failure(f"{told['failed']} cells failed: {'; '.join(tally.reasons)}; run it again")
    if is_stale and tally.colonies:
        warn(
            f"colony: {_named(tally.colonies)}: from a periodic snapshot, {human_time(loaded.age_s)} old: "
            "they may be older than what was acknowledged"
        )
        return Exit.LOST
    return Exit.DONE


def _note(store: Any, told: Json) -> None:
    """Have the cluster's event log say what was brought back."""
    wanted = ("restored", "overwritten", "file", "stale")
    try:
        store.admin("lost_restored", {name: told[name] for name in wanted})
    except ColonyError as error:
        warn(f"colony: done, but not noted in the event log: {error}")


def _comparable(call: Call, status: Json) -> Callable[[files.Found], bool]:
    """Return whether versions tell which of two cells is older: not where a colony began anew in between."""
    anew: set[int] = set()
    seqs: dict[int, int] = {}
    for member in (status.get("view") or {}).get("members") or ():
        try:
            with call.connect(member["address"]) as other:  # who joined later does not know of the loss
                told = other.admin("status", {"colonies": True})
        except ColonyError:
            raise Failure(
                f"{member['name']} does not answer, and it may know of a loss: without it nobody can tell "
                "which cells are older; try again, or without --overwrite older"
            ) from None
        anew |= set(told.get("lost") or ())
        for row in told.get("table") or ():
            seqs[row["colony"]] = max(row["seq"], seqs.get(row["colony"], 0))

    def may(found: files.Found) -> bool:
        return found.held.colony not in anew and seqs.get(found.held.colony, 0) >= found.held.seq

    return may


def _action(value: str) -> str:
    if value not in ACTIONS:
        raise ValueError(f"{value!r} is none of {', '.join(ACTIONS)}")
    return value


def _overwrite(value: str) -> str:
    if value not in ("never", "older"):
        raise ValueError(f"{value!r} is neither never nor older")
    return value


COMMANDS = (
    Command(
        "lost",
        "list, show and bring back what hosts had to drop",
        lost,
        (
            Option("state-dir", text, None, "where to look for files that are given by name", "DIR"),
            Option("only", text, None, "restore: cells whose keys begin like this", "PREFIX"),
            Option(
                "overwrite", _overwrite, "never", "restore: never, or what is older by its version", "WHAT"
            ),
            Option("timeout", seconds, 30.0, "restore: how long a batch of cells may take, seconds", "S"),
        ),
        (
            Positional("ACTION", "list, show or restore", None, _action),
            Positional("FILE", "a path, or a name that list shows", "?"),
            Positional("KEY", "show: one key, or a prefix", "?"),
        ),
    ),
)
