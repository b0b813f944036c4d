"""`predict`: what is likely to be lost, and what would change that most."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agents.services import Ladder
from colony.commands.base import Call, Command, Failure, Json, Positional, toml_in
from colony.config import Option, UsageError, text, whole, yes_or_no
from colony.outlook import ASSUMED

if TYPE_CHECKING:
    from placement.hazard.graph import Graph

HORIZON_H = 24.0
RUNS_MAX = 100_000
SUPERVISORS = {"mtbf": "30d", "mttr": "3s"}  # started again by a neighbour, or by systemd
STARTS_S = 2.0  # from a process that begins to an ACTIVE host, on a busy machine of two cores


def predict(call: Call) -> int:
    """Print how likely a loss is, what is most dangerous, and what would help."""
    try:
        from placement.hazard import written
    except ImportError as error:
        raise Failure(
            f"predict needs more packages ({error}): pip install 'colony-engine[predict]'"
        ) from error
    data = toml_in(call["file"]) if call["file"] else {}
    if call["from_live"]:
        data = live(call.ask("status", colonies=True), data)
    elif not call["file"]:
        raise UsageError("predict needs a FILE, or --from-live")
    try:
        graph, window_s = written.graph_of(data)
    except ValueError as error:
        raise Failure(f"{call['file'] or 'the cluster'}: {error}") from error
    if not graph.colonies:
        raise Failure("there is no colony in it: add a [[colony]] with its peers")
    answer = judged(graph, window_s, call["hours"], wish=call["wish"], runs=call["runs"], seed=call["seed"])
    call.show(answer, *lines_of(answer))
    return 0


def live(status: Json, given: Json) -> Json:
    """Return the failure graph of a live cluster; `given` may hold `kind` tables and a window."""
    unknown = sorted(given.keys() - {"kind", "window"})
    if unknown:
        raise Failure(f"with --from-live the file holds kinds and the window alone, not {unknown[0]!r}")
    vertices: dict[str, Json] = {}
    for member in (status.get("view") or {}).get("members") or []:
        above: list[str] = []
        labels = member.get("labels") or {}
        for kind in ("zone", "rack", "box"):
            if labels.get(kind):
                name = f"{kind} {labels[kind]}"
                vertices.setdefault(name, {"name": name, "kind": kind, "fails_with": list(above)})
                above = [name]
        vertices[member["name"]] = {"name": member["name"], "fails_with": above}
    colonies = [
        {"name": str(row["colony"]), "peers": [row["primary"], *row["secondaries"]]}
        for row in status.get("table") or []
        if row.get("primary")
    ]
    watched = supervisors((status.get("view") or {}).get("members") or [], vertices)
    return {
        "window": given.get("window", "20s"),
        "kind": {**ASSUMED, "supervisor": SUPERVISORS, **given.get("kind", {})},
        "vertex": [*vertices.values(), *({"name": s["vertex"], **box} for s, box in watched)],
        "supervisor": [supervisor for supervisor, _ in watched],
        "colony": colonies,
    }


def supervisors(members: Sequence[Json], vertices: Mapping[str, Json]) -> list[tuple[Json, Json]]:
    """Return who restarts which hosts, as hosts say, and on what that stands.

    After the pause that comes first: of failures in a row, for which it grows, each is one that
    the rates know nothing of.
    """
    by_name: dict[str, list[str]] = {}
    for member in members:
        if member.get("supervisor"):
            by_name.setdefault(member["supervisor"], []).append(member["name"])
    found = []
    for name, hosts in sorted(by_name.items()):
        shared = [v for v in vertices[hosts[0]]["fails_with"] if v in vertices[hosts[-1]]["fails_with"]]
        restart = f"{Ladder().first_s + STARTS_S:g}s"
        mender = {"vertex": f"supervisor {name}", "watches": hosts, "restart": restart}
        found.append((mender, {"kind": "supervisor", "fails_with": shared}))
    return found


def judged(graph: Graph, window_s: float, hours: float, *, wish: float | None, runs: int, seed: int) -> Json:
    """Return the verdict on a graph, as JSON."""
    from placement.hazard.advice import best_move, peers_needed
    from placement.hazard.models import HOUR_S
    from placement.hazard.steady import steady
    from placement.hazard.survival import survival
    from placement.hazard.walk import walked

    horizon_s = hours * HOUR_S
    walks, graph = graph, graph.as_mended()
    found, calm = survival(graph, window_s=window_s, horizon_s=horizon_s), steady(graph, seed=seed)
    dangers = [
        {"vertex": name, "share": part / found.frequency, "falls_with_it": len(graph.falls_with(name))}
        for name, part in list(found.by_vertex.items())[:5]
    ]
    move = best_move(graph, window_s=window_s)
    answer: Json = {
        "colonies": len(graph.colonies),
        "hosts": len(graph.hosts),
        "window_s": window_s,
        "hours": hours,
        "lost": found.lost,
        "availability": calm.availability,
        "exact": calm.exact,
        "dangers": dangers,
        "move": None
        if move is None
        else {
            "colony": move.colony,
            "from": move.source,
            "to": move.target,
            "gain": (move.before - move.after) * horizon_s,
        },
    }
    if wish is not None:
        needed, by_peers = peers_needed(graph, wish, window_s=window_s, horizon_s=horizon_s)
        answer["wish"] = {"survives": wish, "peers": needed, "by_peers": by_peers}
    if runs:
        chances = (random.Random(f"{seed}/{run}") for run in range(runs))
        seen = walked(walks, chances, window_s=window_s, horizon_s=horizon_s)
        answer["walks"] = {
            "runs": runs,
            "lost": seen.lost,
            "error": seen.error,
            "copies_made": seen.copies_made,
            "hosts_added": seen.hosts_added,
        }
    return answer


def lines_of(answer: Json) -> list[str]:
    """Return the verdict for people."""
    hours = f"{answer['hours']:g} h"
    lines = [
        f"{answer['colonies']} colonies on {answer['hosts']} hosts; a lost copy is made again within "
        f"{answer['window_s']:g} s",
        f"a colony is lost within {hours}: probability {answer['lost']:.3g}",
        f"availability: {answer['availability']:.9f} ({'exact' if answer['exact'] else 'from samples'})",
    ]
    for place, danger in enumerate(answer["dangers"]):
        what = "most dangerous" if not place else "then"
        below = f"; {danger['falls_with_it']} more may fall with it" if danger["falls_with_it"] else ""
        lines.append(f"{what}: {danger['vertex']}, {danger['share']:.1%} of the danger{below}")
    move = answer["move"]
    if move is None:
        lines.append("best move: none lowers it")
    else:
        lines.append(
            f"best move: colony {move['colony']} from {move['from']} to {move['to']}, "
            f"{move['gain']:.3g} less within {hours}"
        )
    lines += _wish_lines(answer.get("wish")) + _walk_lines(answer.get("walks"), hours)
    return lines


def _wish_lines(wish: Json | None) -> list[str]:
    if wish is None:
        return []
    needed = "no number of peers will do" if wish["peers"] is None else f"{wish['peers']} peers"
    tried = ", ".join(f"{peers}: {survives:.9f}" for peers, survives in wish["by_peers"].items())
    return [f"to survive with {wish['survives']:g}: {needed} ({tried})"]


def _walk_lines(walks: Json | None, hours: str) -> list[str]:
    if walks is None:
        return []
    return [
        f"{walks['runs']} walks through {hours}: lost in {walks['lost']:.3g} (+-{walks['error']:.1g}), "
        f"{walks['copies_made']} copies made, {walks['hosts_added']} hosts added"
    ]


def _hours(value: str) -> float:
    hours = float(value)
    if not 0 < hours <= 24 * 365 * 100:
        raise ValueError("it is above 0, and at most a century")
    return hours


def _wish(value: str) -> float:
    wish = float(value)
    if not 0 < wish < 1:
        raise ValueError("it is a probability above 0 and below 1, such as 0.999999")
    return wish


_OPTIONS: tuple[Any, ...] = (
    Option("from-live", yes_or_no, False, "take hosts, labels and placement from the connected cluster"),
    Option("hours", _hours, HORIZON_H, "the time asked about", "H"),
    Option("wish", _wish, None, "also say how many peers survive with this probability", "P"),
    Option("runs", whole(0, RUNS_MAX), 0, "also walk through the time so often, with supervisors", "N"),
    Option("seed", whole(0, 1 << 32), 0, "of samples and walks", "N"),
)

COMMANDS = (
    Command(
        "predict",
        "how likely a loss is in a graph of failures, and what would help most",
        predict,
        _OPTIONS,
        (Positional("FILE", "TOML: vertices, kinds, colonies, supervisors", "?", text),),
    ),
)
