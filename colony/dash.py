"""One frame of the dashboard, from a cluster's own answer.

`render` is pure: the same status, events, size and scene give the same
frame. Nothing is drawn that the screen has no row for: every section is told
how many rows it has before it builds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.text import Text

from colony.dash_feed import event_rows, move_rows, pull_row
from colony.dash_hosts import Absent, host_rows, natural
from colony.dash_map import map_height, map_rows
from colony.outlook import Outlook, survival_words

Json = Mapping[str, Any]

KEYS_TOP = "q quit  ↑↓ scroll"
STALE_S = 2.0  # an answer older than this is no picture of now


class Size(NamedTuple):
    """What fits on the screen, in characters."""

    width: int = 80
    height: int = 24


@dataclass(frozen=True, slots=True)
class Figures:
    """What a workload measured, as far as it is known.

    Attributes:
        ops_s: Operations per second of late.
        p99_ms: 99th percentile of their time of late.
        acked: Acknowledged writes since the start.
        lost: Acknowledged writes that are gone.
        stale: Reads that returned less than was acknowledged before them.
        pause_s: Longest time a write had to wait.
        writes_only: `ops_s` counts nothing but mutations.
    """

    ops_s: float = 0.0
    p99_ms: float | None = None
    acked: int | None = None
    lost: int = 0
    stale: int = 0
    pause_s: float = 0.0
    writes_only: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """What a frame shows besides the cluster's answer.

    Attributes:
        figures: Of the workload; None = there is none.
        selected: Name of the host that keys act on; "" = none.
        states: What happened to hosts by name: killed, stalled, …
        absent: Hosts that should be shown although no view lists them.
        age_s: How old the answer is.
        scroll: First host row that is shown.
        keys: What can be typed.
        message: The latest word to the person in front.
        outlook: What is to be expected.
    """

    figures: Figures | None = None
    selected: str = ""
    states: Mapping[str, str] = field(default_factory=dict)
    absent: tuple[Absent, ...] = ()
    age_s: float = 0.0
    scroll: int = 0
    keys: str = KEYS_TOP
    message: str = ""
    outlook: Outlook = Outlook()


class Heights(NamedTuple):
    """Rows of each section, titles not counted."""

    hosts: int
    colonies: int
    moves: int
    events: int


def share(height: int, hosts: int, colonies: int, moves: int) -> Heights:
    """Return how many rows each section gets.

    Two rows of summary, one of keys and one title a section are set aside.
    Hosts come first, then the map, then moves; events keep three rows at
    least, and get what is left.
    """
    room = max(0, height - 2 - 1 - 3 - 1)  # the hosts' title is also their heading
    events_min = min(3, room)
    room -= events_min
    host_rows = min(hosts, max(room - min(colonies, room // 2), room // 2))
    room -= host_rows
    colony_rows = min(colonies, room)
    room -= colony_rows
    moves_shown = min(moves, 3, room)
    return Heights(host_rows, colony_rows, moves_shown, events_min + room - moves_shown)


def render(
    status: Json | None, events: Sequence[Json], size: Size = Size(), scene: Scene = Scene()
) -> RenderableType:
    """Return one frame.

    Args:
        status: What `colony status --colonies --json` prints; None = no host answers.
        events: The latest events, oldest first.
        size: Of the screen; from 40 by 10.
        scene: What else there is to show.
    """
    return Group(*frame(status or {}, events, size, scene, answered=status is not None))


def frame(
    status: Json, events: Sequence[Json], size: Size, scene: Scene, *, answered: bool = True
) -> list[Text]:
    """Return the rows of one frame: exactly as many as the screen has."""
    members = (status.get("view") or {}).get("members") or []
    names = {str(member.get("name", "?")) for member in members}
    absent = [one for one in scene.absent if one.name not in names]
    keys = host_keys([*names, *(one.name for one in absent)])
    moves = status.get("moves") or []
    table = status.get("table") or []
    wanted = len(members) + len(absent)
    pull = pull_row(scene.outlook.pull, frozen=bool(status.get("frozen")))
    heights = share(
        size.height, wanted, map_height(table, wanted, size.width), len(moves) + (pull is not None)
    )
    rows = [summary(status, scene, answered), numbers(status, scene)]
    rows += host_rows(members, absent, keys, scene.selected, scene.states, scene.scroll, heights.hosts)
    survives = survival_words(scene.outlook.lost)
    note = f"24 h survival {survives}  " if survives else ""
    legend = f"{bounded(table, heights.colonies)}{note}█ primary ░ secondary"
    rows.append(title("colonies", legend, size.width))
    rows += map_rows(table, keys, moves, settled_of(status), size.width, heights.colonies)
    rows.append(title("moves", moves_note(status, moves), size.width))
    rows += move_rows(moves, heights.moves - (pull is not None), size.width)
    rows += [pull] if pull is not None and heights.moves else []
    rows.append(title("events", "", size.width))
    rows += event_rows(events, heights.events)
    rows = rows[: size.height - 1]
    rows += [Text() for _ in range(size.height - 1 - len(rows))]
    rows.append(footer(scene))
    for row in rows:
        row.no_wrap, row.overflow = True, "crop"
        row.truncate(size.width)
    return rows


def host_keys(names: Iterable[str]) -> dict[str, str]:
    """Return the character that stands for each host: h2 before h10, whatever the view's order."""
    characters = "123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    ordered = sorted(set(names), key=natural)
    return {
        name: characters[number] if number < len(characters) else "+" for number, name in enumerate(ordered)
    }


def moves_note(status: Json, moves: Sequence[Json]) -> str:
    """Return how many moves there are, who joins or leaves, and whether anything may move."""
    wave, words = status.get("wave") or {}, []
    if status.get("frozen"):
        words.append("FROZEN")
    if wave.get("joining"):
        words.append(
            f"{len(wave['joining'])} joining, {wave.get('arrived', 0)} of {wave.get('share', 0)} copies there"
        )
    if wave.get("leaving"):
        words.append(f"{len(wave['leaving'])} leaving, {wave.get('aboard', 0)} copies aboard")
    words.append(f"{len(moves)} in flight" if moves else "none")
    return "  ".join(words)


def settled_of(status: Json) -> int:
    """Return how many peers each colony is to have now; at least 1."""
    colonies = status.get("colonies") or {}
    return int(colonies.get("settled") or colonies.get("wanted") or 1)


def bounded(table: Sequence[Json], rows: int) -> str:
    """Return a word where the map has no room at all."""
    return f"{len(table)} hidden, screen too low  " if table and not rows else ""


def title(name: str, note: str, width: int) -> Text:
    """Return the title row of a section."""
    text = Text(f"── {name} ", style="bold")
    text.append("─" * max(0, width - len(text) - len(note) - (4 if note else 0)), style="dim")
    if note:
        text.append(f" {note} ", style="dim not bold")
        text.append("──", style="dim")
    return text


def lamp(lit: Any, yes: str, no: str) -> Text:
    """Return a green or a red lamp with its word."""
    return Text(f"● {yes}", style="bold green") if lit else Text(f"● {no}", style="bold red")


def summary(status: Json, scene: Scene, answered: bool) -> Text:
    """Return the top row: quorum, safety, view, and how fast it goes."""
    text = Text("colony ", style="bold")
    if not answered:
        return text.append_text(Text("● no host answers", style="bold red"))
    view = status.get("view") or {}
    text.append_text(lamp(status.get("quorum"), "quorum", "NO QUORUM")).append("  ")
    text.append_text(lamp(status.get("safe"), "safe", "NOT SAFE")).append("  ")
    text.append(f"view {view.get('generation', 0)}.{view.get('number', 0)}")
    members = view.get("members") or []
    active = sum(member.get("status") == "ACTIVE" for member in members)
    text.append(f"  {len(members)} hosts" + ("" if active == len(members) else f", {active} active"))
    if scene.figures is not None:
        unit = "writes/s" if scene.figures.writes_only else "ops/s"
        text.append(f"  {scene.figures.ops_s:,.0f} {unit}", style="bold cyan")
        if scene.figures.pause_s:
            text.append(f"  longest pause {scene.figures.pause_s:.2f} s")
    if scene.age_s > STALE_S:
        text.append(f"  answer {scene.age_s:.0f} s old", style="bold red")
    return text


def numbers(status: Json, scene: Scene) -> Text:
    """Return the second row: colonies by health, and what the workload found."""
    colonies = status.get("colonies") or {}
    text = Text(f"{colonies.get('count', 0)} colonies")
    for word, style in (("healthy", "green"), ("degraded", "yellow"), ("lost", "red")):
        count = colonies.get(word, 0)
        text.append(f" {count} {word}", style=style if count else "dim")
    settled, wanted = colonies.get("settled", "?"), colonies.get("wanted", "?")
    text.append(f" {settled}/{wanted} peers", style="" if settled == wanted else "yellow")
    kept = sum(
        member.get("lost_and_found") or 0 for member in (status.get("view") or {}).get("members") or []
    )
    if kept:
        text.append(f" {kept} lost+found", style="yellow")
    figures = scene.figures
    if figures is not None and figures.acked is not None:
        text.append(f" │ {figures.acked:,} acked ")
        text.append(f"{figures.lost} lost", style="bold red" if figures.lost else "green")
        if figures.stale:
            text.append(f" {figures.stale} stale", style="bold red")
    return text


def footer(scene: Scene) -> Text:
    """Return the bottom row: the latest word, or else the keys."""
    if scene.message:
        return Text(f" {scene.message}", style="bold black on yellow")
    return Text(f" {scene.keys}", style="reverse dim")
