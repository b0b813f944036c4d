"""A cluster's placement as a picture: zones, racks, boxes, hosts, and the colonies in them.

Pure: the answer to `status` comes in, SVG comes out. A full square is a
primary, a framed one a secondary; its colour is the colony's health, and
pointing at it tells which colony it is and where its peers are. With a plan
(how it would be afterwards) what comes is blue, what goes is crossed out, and
a role that moves has a dot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from colony.dash_map import health
from colony.human import human_bytes

Json = Mapping[str, Any]
LEVELS = ("zone", "rack", "box")

CELL, GAP = 9, 3  # of a square, pixels
PER_ROW = 16  # squares
PAD, HEAD = 10, 20
HOST_WIDTH = PER_ROW * (CELL + GAP) + 2 * PAD
ROW_WIDTH_MAX = 1_400
COMES, GOES = "#1f6fd0", "#c0392b"
COLOURS = {"healthy": "#2e8b57", "degraded": "#d9a404", "headless": "#a03bb0", "lost": "#c0392b"}
FRAMES = {"zone": "#f4f6f8", "rack": "#e9edf1", "box": "#dde3e9", "host": "#ffffff"}
_STYLE = "font-family:ui-monospace,Menlo,Consolas,monospace;font-size:11px;fill:#223"


@dataclass(slots=True)
class Frame:
    """A rectangle with a title, and what is in it.

    Attributes:
        kind: zone, rack, box or host.
        title: What stands on it.
        inside: Frames in it.
        squares: SVG of what a host holds, relative to its corner.
    """

    kind: str
    title: str
    inside: list[Frame] = field(default_factory=list)
    squares: list[str] = field(default_factory=list)
    width: int = 0
    height: int = 0
    x: int = 0
    y: int = 0


def drawn(status: Json, plan: Json | None = None) -> str:
    """Return the SVG of a cluster.

    Args:
        status: The answer to `status` with its table of colonies.
        plan: The same as it would be after a plan; None = there is none.
    """
    members = _members(status)
    table: Sequence[Json] = status.get("table") or []
    colonies = status.get("colonies") or {}
    settled = int(colonies.get("settled") or 1)
    after = None if plan is None else {row.get("colony"): row for row in plan.get("table") or ()}
    if plan is not None:
        stay, then = {_name(one) for one in members}, {_name(one) for one in _members(plan)}
        members = [one if _name(one) in then else {**one, "status": "GOES"} for one in members]
        members += [{**one, "status": "COMES"} for one in _members(plan) if _name(one) not in stay]
    tops: list[Frame] = []
    for member in sorted(members, key=_address):
        _enter(tops, _address(member)).append(_host(member, table, settled, after))
    width = max(HOST_WIDTH, *(_measure(frame) for frame in tops)) if tops else HOST_WIDTH
    width = max(width, _arrange(tops, PAD, 3 * HEAD, max(width, ROW_WIDTH_MAX)))
    below = max((frame.y + frame.height for frame in tops), default=3 * HEAD)
    lines = [_text(PAD, 18, _headline(status, plan)), _text(PAD, 34, _legend(plan is not None))]
    for frame in tops:
        lines += _svg(frame)
    gone = [str(row.get("colony")) for row in table if health(row, settled) == "lost"]
    if gone:
        lines.append(_text(PAD, below + HEAD, f"lost: {', '.join(gone)}"))
        below += HEAD
    size = f'width="{width + 2 * PAD}" height="{below + 2 * PAD}"'
    body = "\n".join(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n{body}\n</svg>\n'
    )


def _members(status: Json) -> list[Json]:
    return list((status.get("view") or {}).get("members") or [])


def _name(member: Json) -> str:
    return str(member.get("name"))


def _address(member: Json) -> tuple[str, ...]:
    labels = member.get("labels") or {}
    return (*(str(labels.get(level) or "") for level in LEVELS), str(member.get("name")))


def _enter(tops: list[Frame], address: Sequence[str]) -> list[Frame]:
    """Return the inside of the frame at an address; unknown labels make no frame."""
    inside = tops
    for kind, name in zip(LEVELS, address, strict=False):
        if not name:
            continue
        if not inside or (inside[-1].kind, inside[-1].title) != (kind, f"{kind} {name}"):
            inside.append(Frame(kind, f"{kind} {name}"))
        inside = inside[-1].inside
    return inside


def _host(member: Json, table: Sequence[Json], settled: int, after: Mapping[Any, Json] | None) -> Frame:
    name = str(member.get("name"))
    cpu = member.get("cpu")
    load = f"{human_bytes(member.get('bytes'))}" + ("" if cpu is None else f"  {cpu:.0%} cpu")
    mark = "" if member.get("status") == "ACTIVE" else f" {str(member.get('status')).lower()}"
    witness = " witness" if member.get("witness") else ""
    frame = Frame("host", f"{name}{mark}{witness}  {load}")
    for row in table:
        then = row if after is None else after.get(row.get("colony"), {})
        now_role, then_role = _role(row, name), _role(then, name)
        if now_role or then_role:
            frame.squares.append(_square(len(frame.squares), row, then, settled, now_role, then_role))
    return frame


def _role(row: Json, name: str) -> str:
    if row.get("primary") == name:
        return "primary"
    return "secondary" if name in (row.get("secondaries") or ()) else ""


def _square(place: int, row: Json, then: Json, settled: int, now_role: str, then_role: str) -> str:
    """Return the square of a copy: as it is, and what a plan makes of it."""
    across, down = place % PER_ROW, place // PER_ROW
    x, y = PAD + across * (CELL + GAP), HEAD + GAP + down * (CELL + GAP)
    colour = COMES if not now_role else GOES if not then_role else COLOURS[health(row, settled)]
    fill = colour if "primary" in (now_role or then_role, then_role) and then_role else "none"
    said = f"colony {row.get('colony')}: {_where(row)}"
    if then is not row and _where(then) != _where(row):
        said += f", then {_where(then)}"
    title = escape(f"{said}; {human_bytes(row.get('bytes'))}")
    square = (
        f'<rect x="{x}" y="{y}" width="{CELL}" height="{CELL}" fill="{fill}" stroke="{colour}" '
        f'stroke-width="1.5"><title>{title}</title></rect>'
    )
    if not then_role:
        square += (
            f'<path d="M{x},{y}l{CELL},{CELL}m0,-{CELL}l-{CELL},{CELL}" stroke="{GOES}" stroke-width="1.5"/>'
        )
    elif now_role and now_role != then_role:
        dot = "#ffffff" if then_role == "primary" else colour
        square += f'<circle cx="{x + CELL / 2}" cy="{y + CELL / 2}" r="2" fill="{dot}"/>'
    return square


def _where(row: Json) -> str:
    if not row.get("primary"):
        return "nobody"
    return ", ".join([f"primary {row.get('primary')}", *map(str, row.get("secondaries") or ())])


def _measure(frame: Frame) -> int:
    """Set the size of a frame and of all in it; return its width."""
    if frame.kind == "host":
        rows = -(-len(frame.squares) // PER_ROW)
        frame.width, frame.height = HOST_WIDTH, HEAD + GAP + max(1, rows) * (CELL + GAP) + PAD
        return frame.width
    for inner in frame.inside:
        _measure(inner)
    across = sum(inner.width + PAD for inner in frame.inside)
    limit = ROW_WIDTH_MAX if frame.kind != "box" else 2 * (HOST_WIDTH + PAD)
    frame.width = _arrange(frame.inside, PAD, HEAD + GAP, min(across, limit))
    frame.height = max(inner.y + inner.height for inner in frame.inside) + PAD
    return frame.width


def _arrange(frames: Sequence[Frame], left: int, top: int, width: int) -> int:
    """Put frames side by side, in as many rows as that takes; return the widest row."""
    x, y, row_height, widest = left, top, 0, 0
    for frame in frames:
        if x > left and x + frame.width > left + width:
            x, y, row_height = left, y + row_height + PAD, 0
        frame.x, frame.y = x, y
        x += frame.width + PAD
        row_height, widest = max(row_height, frame.height), max(widest, x)
    return widest


def _svg(frame: Frame) -> list[str]:
    lines = [
        f'<g transform="translate({frame.x},{frame.y})">',
        f'<rect width="{frame.width}" height="{frame.height}" rx="4" fill="{FRAMES[frame.kind]}" '
        f'stroke="#b8c0c8"/>',
        _text(PAD, 15, frame.title),
        *frame.squares,
    ]
    for inner in frame.inside:
        lines += _svg(inner)
    return [*lines, "</g>"]


def _headline(status: Json, plan: Json | None) -> str:
    if plan is not None:
        return str(plan.get("said") or "a plan")
    colonies, view = status.get("colonies") or {}, status.get("view") or {}
    return (
        f"view {view.get('generation', 0)}.{view.get('number', 0)}   "
        f"quorum {'yes' if status.get('quorum') else 'NO'}   safe {'yes' if status.get('safe') else 'NO'}   "
        f"{colonies.get('count', 0)} colonies, {colonies.get('settled', '?')} of "
        f"{colonies.get('wanted', '?')} peers, {colonies.get('degraded', 0)} degraded, "
        f"{colonies.get('lost', 0)} lost"
    )


def _legend(is_plan: bool) -> str:
    if is_plan:
        return "full: primary   framed: secondary   blue: comes   crossed: goes   dot: the role moves"
    return "full: primary   framed: secondary   green: healthy   yellow: degraded   purple: no primary"


def _text(x: int, y: int, text: str) -> str:
    return f'<text x="{x}" y="{y}" style="{_STYLE}" xml:space="preserve">{escape(text)}</text>'
