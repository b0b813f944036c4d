"""Moves in flight and the event feed of the dashboard."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from rich.text import Text

from colony.dash_hosts import bar
from colony.human import event_words
from colony.outlook import Pull

Json = Mapping[str, Any]

# What only follows from another event: few rows are left, and the event log has it all.
ECHOES = frozenset({"open", "cloned", "retired", "freed", "census", "stage"})

_BAD = (
    "lost",
    "gave_up",
    "confirmed",
    "dead",
    "died",
    "kill",
    "failed",
    "hold",
    "halt",
    "refused",
    "ended",
    "broke",
)
_GOOD = ("promote", "restart", "capacity", "view", "settle", "started", "resumed")


def move_rows(moves: Sequence[Json], height: int, width: int) -> list[Text]:
    """Return the oldest moves in flight, at most `height` rows."""
    rows = []
    for move in sorted(moves, key=lambda move: -(move.get("age_s") or 0.0))[: max(0, height)]:
        progress, age_s = move.get("progress"), move.get("age_s")
        text = Text(f" {move.get('kind', 'move'):<9.9} colony {move.get('colony', '?'):<5} ")
        text.append(f"{move.get('from') or '?'} → {move.get('to') or '?'}  ", style="cyan")
        text.append_text(bar(progress))
        text.append(f" {progress:4.0%}" if isinstance(progress, (int, float)) else "    ?")
        text.append(f"  {age_s:.1f} s" if isinstance(age_s, (int, float)) else "", style="dim")
        rows.append(text)
    return rows


def pull_row(pull: Pull | None, *, frozen: bool = False) -> Text | None:
    """Return the strongest force that moves nothing, and what holds the colony; None = there is none."""
    if pull is None:
        return None
    text = Text(f" {pull.near.force:<9.9} colony {pull.colony:<5} ", style="dim")
    text.append(f"{pull.source} → {pull.target or '?'}  ", style="not dim cyan")
    held = "frozen" if frozen and pull.near.held_by == "turn" else pull.near.held
    return text.append(f"held: {held}", style="not dim")


def event_rows(events: Sequence[Json], height: int) -> list[Text]:
    """Return the latest events that are news, oldest first, at most `height` rows."""
    if height < 1:
        return []
    news = (event for event in reversed(events) if event.get("kind") not in ECHOES)
    return [event_row(event) for event in islice(news, height)][::-1]


def event_row(event: Json) -> Text:
    """Return one event: when, who says it, what, about whom, and why."""
    at = event.get("at")
    clock = time.strftime("%H:%M:%S", time.localtime(at)) if isinstance(at, (int, float)) else "--:--:--"
    kind = str(event.get("kind", "?"))
    text = Text(f" {clock} ", style="dim")
    text.append(f"{event.get('by') or event.get('host') or '-':<5} ", style="not dim cyan")
    what, colon, because = event_words(event).partition(":")
    text.append(what, style=f"not dim {_style(kind)}")
    return text.append(colon + because, style="not dim")


def _style(kind: str) -> str:
    lower = kind.lower()
    if any(word in lower for word in _BAD):
        return "bold red"
    return "bold green" if any(word in lower for word in _GOOD) else "bold"
