"""Colonies of the dashboard as a map, coloured by health.

While it fits, one row a host and one column a colony: █ primary, ░ secondary.
Else one character a colony: the key of its primary's host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from rich.text import Text

Json = Mapping[str, Any]

HOSTS_MAX = 12  # with more rows than these the short map says more
MARGIN = 9  # columns for the host's name
STYLES = {"healthy": "green", "degraded": "yellow", "lost": "bold red", "headless": "bold magenta"}


def is_wide(table: Sequence[Json], hosts: int, width: int) -> bool:
    """Return whether one row a host and one column a colony fits."""
    return hosts <= HOSTS_MAX and len(table) + MARGIN <= width


def map_height(table: Sequence[Json], hosts: int, width: int) -> int:
    """Return how many rows the whole map takes."""
    if not table:
        return 0
    return hosts if is_wide(table, hosts, width) else -(-len(table) // max(1, width - 2))


def health(row: Json, settled: int) -> str:
    """Return healthy, degraded, lost, or headless (peers, but no primary yet)."""
    if row.get("health"):
        return str(row["health"])
    secondaries = len(row.get("secondaries") or ())
    if not row.get("primary"):
        return "headless" if secondaries else "lost"
    return "healthy" if 1 + secondaries >= settled else "degraded"


def map_rows(
    table: Sequence[Json],
    keys: Mapping[str, str],
    moves: Sequence[Json],
    settled: int,
    width: int,
    height: int,
) -> list[Text]:
    """Return the map in at most `height` rows.

    Args:
        table: One row a colony, in order of number.
        keys: The key of each host by name, in the order of the rows.
        moves: Moves in flight; their colonies are underlined.
        settled: Peers that a healthy colony has.
    """
    if height < 1 or not table:
        return []
    moving = {move.get("colony") for move in moves}
    if is_wide(table, len(keys), width):
        return [_host_row(name, table, moving, settled) for name in islice(keys, height)]
    across = max(1, width - 2)
    starts = range(0, min(len(table), across * height), across)
    return [_short_row(table[start : start + across], keys, moving, settled) for start in starts]


def _host_row(name: str, table: Sequence[Json], moving: set[Any], settled: int) -> Text:
    text = Text(f" {name:<7.7} ")
    for row in table:
        if row.get("primary") == name:
            mark = "█"
        elif name in (row.get("secondaries") or ()):
            mark = "░"
        else:
            mark = "×" if health(row, settled) == "lost" else "·"
        text.append(mark, style=_style(row, mark, moving, settled))
    return text


def _style(row: Json, mark: str, moving: set[Any], settled: int) -> str:
    if mark == "·":
        return "bright_black"
    style = STYLES.get(health(row, settled), "white")
    return f"{style} underline" if row.get("colony") in moving else style


def _short_row(rows: Sequence[Json], keys: Mapping[str, str], moving: set[Any], settled: int) -> Text:
    text = Text(" ")
    for row in rows:
        state = health(row, settled)
        mark = "×" if state == "lost" else keys.get(str(row.get("primary") or ""), "?")
        text.append(mark, style=_style(row, mark, moving, settled))
    return text
