"""Numbers, moves and events as people read them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

Json = Mapping[str, Any]


def human_epoch(epoch: Any) -> str:
    """Return an epoch as view number and count: `7.0`; others as they are."""
    if not isinstance(epoch, int) or epoch < 1 << 16:
        return str(epoch if epoch is not None else "-")
    return f"{epoch >> 16 & 0xFFFFFFFF}.{epoch & 0xFFFF}"


def human_bytes(count: Any) -> str:
    """Return a number of bytes in three digits and a unit."""
    if not isinstance(count, (int, float)):
        return "-"
    amount = float(count)
    for unit in ("B", "K", "M", "G"):
        if amount < 1000:
            return f"{amount:.0f}{unit}" if unit == "B" or amount >= 10 else f"{amount:.1f}{unit}"
        amount /= 1024
    return f"{amount:.1f}T"


def human_time(duration_s: Any) -> str:
    """Return a duration in its largest unit."""
    if not isinstance(duration_s, (int, float)):
        return "-"
    for size_s, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if duration_s >= 2 * size_s:
            return f"{duration_s / size_s:.0f}{unit}"
    return f"{duration_s:.0f}s"


def move_line(move: Json) -> str:
    """Return one move in flight as a line: what goes where, how far it is."""
    progress = move.get("progress")
    done = f" {progress:.0%}" if isinstance(progress, (int, float)) else ""
    way = f"{move.get('from') or '?'} → {move.get('to') or '?'}"
    return f"{move.get('kind', 'move')} colony {move.get('colony', '?')} {way}{done}"


def event_line(event: Json) -> str:
    """Return one event as a line: when, who says it, what, about whom, why, and what it followed from."""
    at = event.get("at")
    clock = "--:--:--.---"
    if isinstance(at, (int, float)):
        clock = time.strftime("%H:%M:%S", time.localtime(at)) + f".{int(at * 1000) % 1000:03d}"
    cause = event.get("cause")
    followed = f"  ← {cause_words(cause)}" if isinstance(cause, Mapping) else ""
    return f"{clock} {event.get('by') or event.get('host') or '-':<4} {event_words(event)}{followed}"


def cause_words(cause: Json) -> str:
    """Return from what an event followed: `view 0.7`, `suspect h3`, `hand over colony 5 at h2`."""
    text = str(cause.get("kind", "?")).replace("_", " ")
    if cause.get("colony") is not None:
        text += f" colony {cause['colony']}"
    if cause.get("host"):
        text += f" {cause['host']}"
    if isinstance(cause.get("view"), int):
        text += f" {cause['view'] >> 32}.{cause['view'] & 0xFFFFFFFF}"
    return f"{text} at {cause['by']}" if cause.get("by") else text


def event_words(event: Json) -> str:
    """Return what an event says, without when and who."""
    text = str(event.get("kind", "?")).replace("_", " ")
    if event.get("colony") is not None:
        text += f" colony {event['colony']}"
    if event.get("count", 1) > 1:
        text += f" ×{event['count']}"
    if event.get("host") and event["host"] != event.get("by", event["host"]):
        text += f" {event['host']}"
    return f"{text}: {event['reason']}" if event.get("reason") else text
