"""What a host is asked to be, checked before anything of it starts."""

from __future__ import annotations

from collections.abc import Mapping

from agents.surroundings import Limits
from placement import probe
from placement.labels import Labels

PERIOD_S_MAX = 366 * 86_400
NAME_CHARS_MAX = 255  # a whole DNS name, and less than what hosts take of each other


def limits(bytes_max: int, moves_max: int, clones_max: int, clone_rate: int) -> Limits:
    """Return the bounds of a host; raises `ValueError`."""
    if bytes_max < 0:
        raise ValueError(f"max_bytes is 0 (memory decides) or more, not {bytes_max}")
    if min(moves_max, clones_max) < 1 or clone_rate < 0:
        raise ValueError("moves_max and clones_max are 1 or more, clone_rate is 0 or more")
    return Limits(bytes_max=bytes_max, moves_max=moves_max, clones_max=clones_max, clone_bytes_s=clone_rate)


def when_lost(value: str) -> str:
    """Return what becomes of a lost colony; raises `ValueError`."""
    if value not in ("start", "wait"):
        raise ValueError(f'when_lost is "start" or "wait", not {value!r}')
    return value


def name(value: str | None) -> str | None:
    """Return what people call a host, None = by its machine; raises `TypeError`, `ValueError`.

    One that no other host takes would found its cluster, and nobody could ever join it.
    """
    if value is not None and not isinstance(value, str):
        raise TypeError(f"name is a text, not {type(value).__name__}")
    if value is not None and len(value) > NAME_CHARS_MAX:
        raise ValueError(f"name has {len(value)} characters; the limit is {NAME_CHARS_MAX}")
    return _text("name", value) if value is not None else None


def _text(what: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} {value!r} is no text: {error.reason}") from None
    return value


def period(name: str, value: float | None) -> float | None:
    """Return seconds, None = no such time; raises `TypeError`, `ValueError`."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is a number of seconds, not {type(value).__name__}")
    if not 0 < value <= PERIOD_S_MAX:
        raise ValueError(f"{name} is > 0 and at most a year, not {value}")
    return float(value)


def labels(given: Mapping[str, str]) -> Labels:
    """Return where a host stands: as given, else as the machine says; raises `ValueError`."""
    unknown = set(given) - {"zone", "rack", "box"}
    if unknown:
        raise ValueError(f"no such label: {', '.join(sorted(unknown))}; there are zone, rack and box")
    for what, value in given.items():
        _text(what, value)
    found = probe.default_labels()
    return Labels(
        given.get("zone") or found.zone, given.get("rack") or found.rack, given.get("box") or found.box
    )
