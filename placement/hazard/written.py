"""Failure graphs as plain data: what a TOML file says, checked.

window = 20                         # from a death to a new copy elsewhere
[kind.host]                         # what holds for every vertex of a kind
mtbf = "30d"
mttr = "2m"
[[vertex]]
name = "box-1"
kind = "box"
mtbf = "180d"
mttr = "4h"
[[vertex]]
name = "h1"
fails_with = ["box-1"]
[[colony]]
name = "0"
peers = ["h1", "h2"]
[[supervisor]]
vertex = "h2"
watches = ["h1"]
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from placement.hazard.graph import HOST, KINDS, Graph, Supervisor, Vertex
from placement.hazard.models import DAY_S, HOUR_S, Failure, Never, Random, Scheduled

WINDOW_S = 20.0
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": HOUR_S, "d": DAY_S, "y": 365 * DAY_S}
_TIME = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([smhdy]?)\s*")
_FAILURE_KEYS = {"mtbf", "mttr", "gray", "first", "lasts", "every"}
_TOP = {"window", "kind", "vertex", "colony", "supervisor"}


def parse_seconds(value: Any) -> float:
    """Return the seconds that 20, "20s", "5m", "4h", "30d" or "1y" mean; raises `ValueError`."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is no time: write 20, 20s, 5m, 4h, 30d or 1y")
    return float(match[1]) * _UNITS[match[2]]


def graph_of(data: Mapping[str, Any]) -> tuple[Graph, float]:
    """Return (the graph, its window in seconds).

    Raises:
        ValueError: Something in it is unknown, missing or makes no sense; the text says where.
    """
    _only(data, _TOP, "the file")
    kinds = _tables(data.get("kind", {}))
    for kind, table in kinds.items():
        if kind not in KINDS:
            raise ValueError(f"kind.{kind}: a kind is one of {', '.join(KINDS)}")
        _only(table, _FAILURE_KEYS, f"kind.{kind}")
    vertices = [_vertex(table, kinds) for table in _list(data, "vertex")]
    colonies: dict[str, tuple[str, ...]] = {}
    for number, table in enumerate(_list(data, "colony")):
        _only(table, {"name", "peers"}, f"colony {number}")
        name = str(table.get("name", number))
        if name in colonies:
            raise ValueError(f"two colonies are called {name}")
        colonies[name] = _names(table, "peers", f"colony {name}")
    supervisors = [_supervisor(table) for table in _list(data, "supervisor")]
    return Graph(vertices, colonies, supervisors), parse_seconds(data.get("window", WINDOW_S))


def _vertex(table: Mapping[str, Any], kinds: Mapping[str, Mapping[str, Any]]) -> Vertex:
    name = table.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError("a vertex has no name")
    _only(table, {"name", "kind", "fails_with", "threshold", *_FAILURE_KEYS}, name)
    kind = table.get("kind", HOST)
    own = {key: value for key, value in table.items() if key in _FAILURE_KEYS}
    threshold = table.get("threshold", 1)
    if not isinstance(threshold, int):
        raise ValueError(f"{name}: threshold is a whole number")
    try:
        failure = failure_of(own or kinds.get(kind, {}))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return Vertex(name, kind, failure, _names(table, "fails_with", name), threshold)


def failure_of(table: Mapping[str, Any]) -> Failure:
    """Return the failure model that a table describes; an empty one never fails."""
    if not table:
        return Never()
    if "mtbf" in table:
        if table.keys() - {"mtbf", "mttr", "gray"}:
            raise ValueError("mtbf, mttr and gray go together, or first, lasts and every")
        if "mttr" not in table:
            raise ValueError("mtbf needs mttr, too")
        gray = table.get("gray", 1.0)
        if not isinstance(gray, int | float):
            raise ValueError("gray is a share, 0 to 1")
        return Random(parse_seconds(table["mtbf"]), parse_seconds(table["mttr"]), gray)
    if "lasts" not in table or table.keys() - {"first", "lasts", "every"}:
        raise ValueError("a failure is mtbf and mttr, or first, lasts and every")
    times = (parse_seconds(table.get(key, 0)) for key in ("first", "lasts", "every"))
    return Scheduled(*times)


def _supervisor(table: Mapping[str, Any]) -> Supervisor:
    name = str(table.get("vertex", ""))
    _only(table, {"vertex", "watches", "restart", "adds", "add"}, f"supervisor {name}")
    return Supervisor(
        name,
        _names(table, "watches", f"supervisor {name}"),
        parse_seconds(table.get("restart", 2.0)),
        _names(table, "adds", f"supervisor {name}"),
        parse_seconds(table.get("add", 30.0)),
    )


def _list(data: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = data.get(key, [])
    if not isinstance(found, list) or not all(isinstance(table, Mapping) for table in found):
        raise ValueError(f"{key} is a list of tables: [[{key}]]")
    return found


def _tables(found: Any) -> Mapping[str, Mapping[str, Any]]:
    if not isinstance(found, Mapping) or not all(isinstance(table, Mapping) for table in found.values()):
        raise ValueError("kind is a table of tables: [kind.host]")
    return found


def _names(table: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    found = table.get(key, [])
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise ValueError(f"{where}: {key} is a list of names")
    return tuple(found)


def _only(table: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(table.keys() - known)
    if unknown:
        raise ValueError(f"{where}: {unknown[0]!r} is unknown; known are {', '.join(sorted(known))}")
