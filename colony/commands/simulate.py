"""`simulate`: what a cluster would do, before it does it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colony.commands.base import Call, Command, Exit, Failure, Json, Positional, say, toml_in, warn
from colony.config import Option, size, text, whole, yes_or_no
from colony.human import human_bytes

if TYPE_CHECKING:
    from colony.rehearsal import Actor, Outcome, Rehearsal, Role

MOVES_SHOWN = 20


def simulate(call: Call) -> int:
    """Set the stage, let things happen one after the other, and print what comes of each."""
    from colony.rehearsal import NoRest, Rehearsal

    try:
        actors, roles, peers = _stage(call)
        rehearsal = Rehearsal(actors, roles, peers=peers, seed=call["seed"], bulk_bytes_s=call["bandwidth"])
        before = as_status(rehearsal)
        outcomes = _played(call, rehearsal)
    except NoRest as error:
        raise Failure(str(error), Exit.FAILED) from error
    except ValueError as error:
        raise Failure(f"can't simulate that: {error}") from error
    if call["svg"]:
        _draw(call["svg"], before, as_status(rehearsal), outcomes)
    if call["json"]:
        call.show({"unrest": len(rehearsal.unrest), "outcomes": [as_json(outcome) for outcome in outcomes]})
    lost = sum(len(outcome.lost) for outcome in outcomes)
    if lost:
        warn(f"colony: {lost} colonies would be lost")
        return Exit.LOST
    return Exit.DONE


def _played(call: Call, rehearsal: Rehearsal) -> list[Outcome]:
    if not call["json"]:
        for line in stage_lines(rehearsal):
            say(line)
    outcomes = []
    for what in call["do"]:
        outcomes.append(rehearsal.happen(what))
        if not call["json"]:
            for line in lines_of(outcomes[-1], verbose=call["moves"]):
                say(line)
    return outcomes


def as_status(rehearsal: Rehearsal) -> Json:
    """Return where everything is, as `status` of a live cluster has it."""
    table: list[Json] = []
    used: Counter[str] = Counter()
    for colony, (place, size_bytes) in enumerate(zip(rehearsal.placement(), rehearsal.sizes, strict=True)):
        first = place[0] if place else None
        row = {"colony": colony, "primary": first, "secondaries": list(place[1:]), "bytes": size_bytes}
        table.append(row)
        used.update(dict.fromkeys(place, size_bytes))
    members = []
    for actor in rehearsal.hosts:
        labels = {"zone": actor.labels.zone, "rack": actor.labels.rack, "box": actor.labels.box}
        stands = {"name": actor.name, "labels": labels, "status": "ACTIVE"}
        members.append({**stands, "cpu": actor.cpu, "bytes": used[actor.name]})
    return {"view": {"members": members}, "table": table, "colonies": {"settled": rehearsal.settled}}


def _draw(path: str, before: Json, after: Json, outcomes: list[Outcome]) -> None:
    """Write what the whole of it would change, as a picture."""
    from colony.drawing import drawn

    moves = [move for outcome in outcomes for move in outcome.moves]
    what = "; ".join(outcome.what for outcome in outcomes) or "nothing happens"
    picture = drawn(before, {**after, "said": f"{what}: {_counts(moves)}"})
    if path == "-":
        say(picture.rstrip())
        return
    try:
        Path(path).write_text(picture, encoding="utf-8")
    except OSError as error:
        raise Failure(f"can't write {path}: {error.strerror}") from None


# -- the stage -----------------------------------------------------------------


def _stage(call: Call) -> tuple[list[Actor], list[Role], int]:
    """Return hosts, colonies and the peers wanted: of the live cluster, of a file, or of the options."""
    from colony.rehearsal import Actor, placed
    from placement.labels import Labels

    if call["from_live"]:
        return live(call.ask("status", colonies=True))
    if call["file"]:
        return written(toml_in(call["file"]))
    boxes = call["boxes"] or call["hosts"]
    actors = [
        Actor(f"h{n + 1}", Labels(f"z{n % boxes % call['zones'] + 1}", box=f"b{n % boxes + 1}"))
        for n in range(call["hosts"])
    ]
    each = call["bytes"] // call["colonies"]
    return actors, placed(actors, [each] * call["colonies"], call["peers"]), call["peers"]


def live(status: Json) -> tuple[list[Actor], list[Role], int]:
    """Return the stage of a live cluster; its cells are not needed."""
    from colony.rehearsal import Actor, Role
    from placement.labels import Labels

    members = (status.get("view") or {}).get("members") or []
    actors = []
    for member in members:
        if member.get("status") != "ACTIVE" or member.get("witness"):
            raise ValueError(f"{member['name']} joins, leaves or is a witness: simulate a cluster at rest")
        labels = {level: str(name or "") for level, name in (member.get("labels") or {}).items()}
        used, limit = int(member.get("bytes") or 0), int(member.get("bytes_max") or 0)
        free = int(member.get("memory_free") or 1 << 40)
        room = min(free, max(0, limit - used)) if limit else free
        actors.append(
            Actor(
                member["name"],
                Labels(**labels),
                room + used,
                float(member.get("cpu") or 0.0),
                float(member.get("cpu_others") or 0.0),
                member.get("id", ""),
            )
        )
    roles = []
    for row in status.get("table") or []:
        if not row.get("primary"):
            raise ValueError(f"colony {row.get('colony')} has no primary: simulate a cluster at rest")
        roles.append(Role((row["primary"], *row["secondaries"]), int(row.get("bytes") or 0)))
    if not roles:
        raise ValueError("the cluster has no colonies yet: run colony init")
    return actors, roles, int((status.get("colonies") or {}).get("wanted") or 1)


def written(data: Json) -> tuple[list[Actor], list[Role], int]:
    """Return the stage that a file describes: `peers`, `[[host]]`, and `[[colony]]` or `colonies`."""
    from colony.rehearsal import Actor, Role, placed
    from placement.labels import parse_labels

    unknown = sorted(data.keys() - {"peers", "colonies", "bytes", "host", "colony"})
    if unknown:
        raise ValueError(f"{unknown[0]!r} is unknown; known are peers, colonies, bytes, host, colony")
    actors = []
    for table in _tables(data, "host"):
        more = sorted(table.keys() - {"name", "labels", "memory_free", "cpu"})
        if more or not isinstance(table.get("name"), str):
            raise ValueError(
                f"a host has a name, labels, memory_free and cpu{', not ' + more[0] if more else ''}"
            )
        free = size(str(table.get("memory_free", 1 << 40)))
        labels = parse_labels(str(table.get("labels", "")))
        actors.append(Actor(table["name"], labels, free, float(table.get("cpu", 0.0))))
    peers = _number(data, "peers", 2)
    colonies = _tables(data, "colony")
    if not colonies:
        count = _number(data, "colonies", 64)
        each = size(str(data.get("bytes", 0))) // count
        return actors, placed(actors, [each] * count, peers), peers
    roles = [
        Role(tuple(map(str, table.get("peers", ()))), size(str(table.get("bytes", 0)))) for table in colonies
    ]
    return actors, roles, peers


def _tables(data: Json, key: str) -> list[Json]:
    found = data.get(key, [])
    if not isinstance(found, list) or not all(isinstance(table, dict) for table in found):
        raise ValueError(f"{key} is a list of tables: [[{key}]]")
    return found


def _number(data: Json, key: str, default: int) -> int:
    value = data.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{key} is a whole number above 0")
    return value


# -- what is printed -------------------------------------------------------------


def stage_lines(rehearsal: Rehearsal) -> list[str]:
    """Return what the stage is like, for people."""
    places, hosts = rehearsal.placement(), rehearsal.hosts
    boxes = {actor.labels.box or actor.name for actor in hosts}
    lines = [
        f"{len(hosts)} hosts on {len(boxes)} boxes, {len(places)} colonies of {rehearsal.settled} peers, "
        f"{human_bytes(rehearsal.bytes_used)}"
    ]
    if rehearsal.unrest:
        lines.append(f"not at rest yet: {_counts(rehearsal.unrest)} before anything happens")
    return lines


def lines_of(outcome: Outcome, *, verbose: bool) -> list[str]:
    """Return what came of one happening, for people."""
    lines = [
        f"{outcome.what}:",
        f"  {_counts(outcome.moves)}, {human_bytes(outcome.bytes_sent)} sent, at rest after "
        f"{outcome.took_s:.1f} s and {outcome.views} views, {outcome.settled} peers",
    ]
    if outcome.at_risk:
        lines.append(f"  at risk: up to {outcome.at_risk} colonies with one peer left")
    if outcome.lost:
        lines.append(f"  LOST: {', '.join(map(str, outcome.lost))}")
    shown = outcome.moves if verbose else ()
    lines += [f"  colony {move.colony}: {_WORDS[move.kind]} {move.host}" for move in shown[:MOVES_SHOWN]]
    if len(shown) > MOVES_SHOWN:
        lines.append(f"  … and {len(shown) - MOVES_SHOWN} more: --json has all")
    return lines


_WORDS = {"copy": "a copy on", "gone": "no more on", "primary": "led by"}


def _counts(moves: Any) -> str:
    kinds = Counter(move.kind for move in moves)
    return f"{kinds['copy']} copies made, {kinds['gone']} gone, {kinds['primary']} primaries moved"


def as_json(outcome: Outcome) -> Json:
    """Return what came of one happening."""
    return {
        "what": outcome.what,
        "took_s": outcome.took_s,
        "bytes_sent": outcome.bytes_sent,
        "at_risk": outcome.at_risk,
        "lost": list(outcome.lost),
        "settled": outcome.settled,
        "views": outcome.views,
        "moves": [
            {"kind": move.kind, "colony": move.colony, "host": move.host, "bytes": move.bytes_used}
            for move in outcome.moves
        ],
    }


def _happenings(value: str) -> list[str]:
    """Return what stands between semicolons: labels have commas of their own."""
    return [part.strip() for part in value.split(";") if part.strip()]


COMMANDS = (
    Command(
        "simulate",
        "what the cluster would do if hosts died, came or went, in virtual time",
        simulate,
        (
            Option(
                "from-live", yes_or_no, False, "begin from hosts, load and placement of the connected cluster"
            ),
            Option(
                "do",
                _happenings,
                [],
                "what happens, in order: kill H; kill box=B; drain H; add 2 box=B,zone=Z; peers 3",
                "WHAT;…",
            ),
            Option("moves", yes_or_no, False, "list every move"),
            Option("svg", text, None, "draw what all of it would change; - = stdout", "FILE"),
            Option("hosts", whole(1, 1_000), 5, "without file or live cluster: so many hosts", "N"),
            Option("boxes", whole(0, 1_000), 0, "on so many boxes; 0 = one each", "N"),
            Option("zones", whole(1, 100), 1, "in so many zones", "N"),
            Option("peers", whole(1, 16), 2, "peers of each colony", "N"),
            Option("colonies", whole(1, 65_536), 64, "so many colonies", "K"),
            Option("bytes", size, 0, "of all colonies together", "SIZE"),
            Option("bandwidth", size, 120_000_000, "bytes that a host can clone per second", "SIZE"),
            Option("seed", whole(0, 1 << 32), 0, "of delays", "N"),
        ),
        (Positional("FILE", "TOML: peers, hosts, colonies", "?", text),),
    ),
)
