"""`status`, `events`, `where`, `safe-to-kill`: what is."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from colony.commands.base import Call, Command, Exit, Failure, Json, Positional, say, warn
from colony.config import Option, moment, text, whole, words, yes_or_no
from colony.errors import Unavailable
from colony.feed import EVENTS_KEPT
from colony.human import event_line, human_bytes, human_epoch, human_time, move_line
from colony.journal import Journal, wanted
from colony.safety import ask_all

NAMED_MAX = 20  # colonies in one sentence
FOLLOW_S = 0.3  # as often as people read


def status(call: Call) -> int:
    """Print the state of the cluster; the exit status tells the worst of it."""
    answer = call.ask("status", colonies=call["colonies"])
    call.show(answer, *status_lines(answer))
    if not answer.get("quorum"):
        in_view = (answer.get("view") or {}).get("members")
        lack = "no quorum: nothing is served until a majority of the view is back"
        warn(f"colony: {lack if in_view else 'this host is in no cluster: nothing is served there'}")
        return Exit.UNAVAILABLE
    colonies = answer.get("colonies") or {}
    lost, stale = colonies.get("lost", 0), answer.get("stale") or {}
    if lost:
        named = _named(answer.get("lost"))
        warn(f"colony: {lost} colonies have lost all their copies{named}: see colony events")
    if stale.get("colonies"):
        named, age = _named(stale["colonies"]), human_time(stale.get("age_s"))
        warn(
            f"colony: {len(stale['colonies'])} colonies{named} go on from periodic snapshots, "
            f"up to {age} old: they may be older than what was acknowledged"
        )
    return Exit.LOST if lost or stale.get("colonies") else Exit.DONE


def _named(colonies: Any) -> str:
    """Return colonies for a sentence: not too many of them."""
    if not colonies:
        return ""
    more = f" and {len(colonies) - NAMED_MAX} more" if len(colonies) > NAMED_MAX else ""
    return f" ({', '.join(map(str, colonies[:NAMED_MAX]))}{more})"


def status_lines(answer: Json) -> list[str]:
    """Return the state of a cluster as lines for people."""
    view, colonies = answer.get("view") or {}, answer.get("colonies") or {}
    if answer.get("stage") and not view.get("members"):
        cluster = f"of cluster {answer['tag']}, " if answer.get("tag") else ""
        return [
            f"host {answer.get('name', '?')}: {cluster}{answer['stage']}",
            *([f"waiting for {answer['waiting_for']}"] if answer.get("waiting_for") else []),
        ]
    lines = [
        f"cluster {answer.get('tag') or '-'}  view {view.get('generation', 0)}.{view.get('number', 0)}  "
        f"quorum {_yes(answer.get('quorum'))}  safe {_yes(answer.get('safe'))}",
        f"{colonies.get('count', 0)} colonies, "
        f"{colonies.get('settled', '?')} of {colonies.get('wanted', '?')} peers: "
        f"{colonies.get('healthy', 0)} healthy, {colonies.get('degraded', 0)} degraded, "
        f"{colonies.get('lost', 0)} lost",
    ]
    if answer.get("frozen"):
        lines.append("moves are FROZEN: colony thaw lets colonies move again")
    if answer.get("insecure"):
        lines.append("INSECURE: no keys are demanded where strangers can connect")
    if answer.get("refused"):
        lines.append(f"{answer['refused']} connections or requests were refused here: see colony events")
    merges = answer.get("merges") or {}
    if merges.get("colonies"):
        lines.append(
            f"merged from other sides of a split: {merges.get('merged', 0)} cells, "
            f"{merges.get('overridden', 0)} overridden, in {len(merges['colonies'])} colonies"
        )
    if answer.get("waiting_for"):
        lines.append(f"waiting for {answer['waiting_for']}")
    members = view.get("members") or []
    if members:
        lines += ["", *_table(_HOST_COLUMNS, [_host_row(member) for member in members])]
    if answer.get("moves"):
        lines += ["", *(f"move: {move_line(move)}" for move in answer["moves"])]
    if answer.get("table"):
        rows = [_colony_row(row) for row in answer["table"]]
        lines += ["", *_table(("COLONY", "EPOCH", "PRIMARY", "SECONDARIES", "CELLS", "SIZE", "SEQ"), rows)]
    return lines


_HOST_COLUMNS = (
    "HOST",
    "STATUS",
    "WHERE",
    "ADDRESS",
    "PID",
    "PRIM",
    "SEC",
    "CELLS",
    "SIZE",
    "CPU",
    "MEM FREE",
    "UP",
)


def _host_row(member: Json) -> tuple[str, ...]:
    labels = member.get("labels") or {}
    cpu = member.get("cpu")
    return (
        str(member.get("name", "?")),
        " ".join((str(member.get("status", "?")), *_besides(member))),
        "/".join(labels[level] for level in ("zone", "rack", "box") if labels.get(level)) or "-",
        str(member.get("address", "-")),
        str(member.get("pid", "-")),
        str(member.get("primaries", "-")),
        str(member.get("secondaries", "-")),
        str(member.get("cells", "-")),
        human_bytes(member.get("bytes")),
        "-" if cpu is None else f"{cpu:.0%}",
        human_bytes(member.get("memory_free")),
        human_time(member.get("uptime_s")),
    )


def _besides(member: Json) -> list[str]:
    """Return what is worth a word beside a host's status."""
    words = ["witness"] if member.get("witness") else []
    if member.get("status") == "ACTIVE" and member.get("ready") is False:
        words.append("not ready")
    if member.get("lost_and_found"):
        words.append(f"{member['lost_and_found']} lost+found")
    if member.get("restarts"):
        words.append(f"restarted ×{member['restarts']}")
    return words


def _colony_row(row: Json) -> tuple[str, ...]:
    return (
        str(row.get("colony", "?")),
        human_epoch(row.get("epoch")),
        str(row.get("primary") or "LOST" if not row.get("secondaries") else row.get("primary") or "-"),
        ",".join(row.get("secondaries") or ()) or "-",
        str(row.get("cells", "-")),
        human_bytes(row.get("bytes")),
        str(row.get("seq", "-")),
    )


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[n]) for row in (columns, *rows)) for n in range(len(columns))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (columns, *rows)
    ]


def _yes(value: Any) -> str:
    return "yes" if value else "NO"


def events(call: Call) -> int:
    """Print the event logs of all hosts, merged; with --follow for ever."""
    journal = Journal(call.connect, call["connect"])
    is_wanted = wanted(call["kind"], call["colony"], call["host"], call["since"])
    limit: int | None = call["limit"]
    try:
        while True:
            news = journal.look(all_of_it=not call["follow"])
            if news is None and not call["follow"]:
                raise Failure(
                    f"no host answers at {','.join(call['connect'])}: see --connect", Exit.UNAVAILABLE
                )
            for event in [event for event in news or () if is_wanted(event)][-limit if limit else 0 :]:
                say(json.dumps(event, ensure_ascii=False, default=str) if call["json"] else event_line(event))
            if not call["follow"]:
                return Exit.DONE
            limit = None if news else limit  # of what was there before; all that is new is told
            time.sleep(FOLLOW_S)
    finally:
        journal.close()


def where(call: Call) -> int:
    """Print where the cell with a key lives, also when it has left the colony that its key names."""
    with call.store() as store:
        answer: Json = store.admin("where", {"key": call["key"]})
        home = answer["colony"]
        try:
            colony = store.locate(call["key"])
        except Unavailable:  # nobody leads its home now: where that is is all that can be said
            colony = home
        if colony != home:
            answer = {**store.admin("where", {"key": call["key"], "colony": colony}), "home": home}
    call.show(answer, place_line(answer) + (f"  home: colony {home}" if colony != home else ""))
    return Exit.DONE


def place_line(answer: Json) -> str:
    """Return where a colony is, as a line."""
    secondaries = ", ".join(answer.get("secondaries") or ()) or "none"
    return (
        f"colony {answer.get('colony')}  epoch {human_epoch(answer.get('epoch'))}  "
        f"primary {answer.get('primary') or 'none'}  secondaries {secondaries}"
    )


def safe_to_kill(call: Call) -> int:
    """Say whether these hosts, boxes, racks or zones may die now without loss: exit 0 or 1."""
    answer = verdict(call, call["what"])
    safe = bool(answer.get("safe"))
    reasons = [str(reason) for reason in answer.get("reasons") or ()]
    call.show(answer, "yes" if safe else "NO", *(f"  {reason}" for reason in reasons))
    return Exit.DONE if safe else Exit.FAILED


def verdict(call: Call, what: Sequence[str]) -> Json:
    """Return what all hosts say to the death of some."""
    with call.store() as store:
        first = store.admin("safe_to_kill", {"hosts": list(what)})
        status = store.admin("status", {"colonies": False})
    return ask_all(call.connect, status, first, what)


COMMANDS = (
    Command(
        "status",
        "print the state of the cluster",
        status,
        (Option("colonies", yes_or_no, False, "each colony too"),),
    ),
    Command(
        "events",
        "print the event log",
        events,
        (
            Option("follow", yes_or_no, False, "go on as events happen"),
            Option("limit", whole(1, 1_000_000), EVENTS_KEPT, "how many at most, the latest", "COUNT"),
            Option("kind", words, [], "only these kinds, such as promote,clone", "KIND[,KIND…]"),
            Option("colony", whole(0, 65_535), None, "only about this colony", "COLONY"),
            Option("host", text, None, "only by this host, or about it", "HOST"),
            Option("since", moment, None, "not before: 90s, 10m, 2h ago, or 2026-01-31T12:00", "WHEN"),
        ),
    ),
    Command("where", "say where the cell with a key lives", where, positionals=(Positional("KEY", "a key"),)),
    Command(
        "safe-to-kill",
        "say whether hosts, a box, a rack or a zone may die now without loss",
        safe_to_kill,
        positionals=(Positional("WHAT", "hosts by name, box=B, rack=R, zone=Z: all at once", "+"),),
    ),
)
