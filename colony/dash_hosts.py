"""Hosts of the dashboard, by box, with bars for CPU and memory."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from colony.human import human_bytes, human_time

Json = Mapping[str, Any]

BAR_CELLS = 5
HEADING = "── hosts ───  status   cpu        mem free    prim  sec  cells  size  late   up"


@dataclass(frozen=True, slots=True)
class Absent:
    """A host that is not in the view, but that somebody here looks after."""

    name: str
    box: str
    state: str


def natural(name: str) -> list[tuple[int, str]]:
    """Return a sort key by which h2 comes before h10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def host_rows(
    members: Sequence[Json],
    absent: Sequence[Absent],
    keys: Mapping[str, str],
    selected: str,
    states: Mapping[str, str],
    scroll: int,
    height: int,
) -> list[Text]:
    """Return the heading and at most `height` rows, hosts of one box together.

    Args:
        keys: The character that stands for each host.
        selected: Name of the host that is marked; "" = none.
        states: What else is known of hosts by name, in place of their status.
        scroll: The first row that is shown.
    """
    entries: list[tuple[str, str, Json | Absent]] = [
        (str((member.get("labels") or {}).get("box", "")), _name(member), member) for member in members
    ]
    entries += [(gone.box, gone.name, gone) for gone in absent]
    entries.sort(key=lambda entry: (natural(entry[0]), natural(entry[1])))
    start = max(0, min(scroll, len(entries) - height))
    rows, above = [Text(HEADING, style="bold")], None
    for box, name, entry in entries[start : start + height]:
        text = Text(f"{box if box != above else '':<4.4}", style="magenta")
        above = box
        text.append("▶" if name == selected else " ", style="bold yellow")
        text.append(
            f"{keys.get(name, ' ')} {name:<6.6} ", style="bold" if name == selected else "not bold white"
        )
        if isinstance(entry, Absent):
            text.append(entry.state, style="bold red")
        else:
            _describe(text, entry, states.get(name, ""))
        rows.append(text)
    return rows


def _name(member: Json) -> str:
    return str(member.get("name", "?"))


def _describe(text: Text, member: Json, state: str) -> None:
    word = state or str(member.get("status", "?"))
    if word == "ACTIVE" and member.get("ready") is False:
        word = "NOTREADY"  # silent to who answers, or about to leave
    flaps = round(member.get("flaps") or 0)
    style = (
        "yellow"
        if flaps and word == "ACTIVE"
        else {"ACTIVE": "green", "JOINING": "cyan", "LEAVING": "yellow", "NOTREADY": "yellow"}.get(
            word, "bold red"
        )
    )
    text.append(f"{f'{word}~{flaps}' if flaps else word:<8.8} ", style=style)  # how often it was lost of late
    cpu = member.get("cpu")
    text.append_text(bar(cpu))
    text.append(f"{'-' if cpu is None else f'{cpu:.0%}':>5} ")
    text.append_text(bar(memory_used(member)))
    text.append(f"{human_bytes(member.get('memory_free')):>6} ")
    if member.get("witness"):
        text.append(f"{'witness':<23}", style="cyan")
    else:
        text.append(f"{member.get('primaries', '-'):>4} {member.get('secondaries', '-'):>4} ")
        text.append(f"{member.get('cells', '-'):>6} {human_bytes(member.get('bytes')):>5} ")
    late = member.get("late_s")
    shown = f"{late * 1000:.0f}ms" if isinstance(late, (int, float)) else "-"
    text.append(f"{shown:>5} ", style="red" if isinstance(late, (int, float)) and late > 0.5 else "")
    text.append(f"{human_time(member.get('uptime_s')):>4}")


def memory_used(member: Json) -> float | None:
    """Return the used share of a host's memory, 0 to 1; None = not known."""
    total, free = member.get("memory_total"), member.get("memory_free")
    if not total or free is None:
        return None
    return float(1 - free / total)


def bar(share: Any) -> Text:
    """Return a share of 0 to 1 as a bar; None = an empty one."""
    if not isinstance(share, (int, float)):
        return Text("·" * BAR_CELLS, style="dim")
    full = max(0, min(BAR_CELLS, round(share * BAR_CELLS)))
    style = "green" if share < 0.6 else "yellow" if share < 0.85 else "red"
    return Text("█" * full, style=style).append("·" * (BAR_CELLS - full), style="dim")
