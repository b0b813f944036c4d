"""A cluster that is not there: answers for the command line and the dashboard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from colony.errors import Unavailable

Json = dict[str, Any]


def member(number: int, box: str, **fields: Any) -> Json:
    """Return one member as `colony status --json` shows it."""
    return {
        "name": f"h{number}",
        "id": f"{number:032x}",
        "incarnation": 1,
        "address": f"tcp://127.0.0.1:{7419 + number}",
        "pid": 4000 + number,
        "status": "ACTIVE",
        "witness": False,
        "labels": {"zone": "", "rack": "", "box": box},
        "primaries": 13,
        "secondaries": 12,
        "cells": 812,
        "bytes": 912_345,
        "cpu": 0.31,
        "memory_free": 6 << 30,
        "memory_total": 8 << 30,
        "uptime_s": 12.3,
        "late_s": 0.003,
        **fields,
    }


def status(hosts: int = 5, colonies: int = 64, boxes: int = 3) -> Json:
    """Return the state of a cluster in which all is well."""
    table = [
        {
            "colony": number,
            "epoch": (7 << 16) + number,
            "primary": f"h{number % hosts + 1}",
            "secondaries": [f"h{(number + 1) % hosts + 1}"],
            "cells": 12,
            "bytes": 13_100,
            "seq": 99,
        }
        for number in range(colonies)
    ]
    return {
        "tag": "0f" * 16,
        "quorum": True,
        "safe": True,
        "view": {
            "generation": 0,
            "number": 7,
            "members": [member(number + 1, f"b{number % boxes + 1}") for number in range(hosts)],
        },
        "colonies": {
            "count": colonies,
            "wanted": 2,
            "settled": 2,
            "healthy": colonies,
            "degraded": 0,
            "lost": 0,
        },
        "moves": [],
        "table": table,
    }


@dataclass
class Entry:
    """A cell as a store shows it."""

    value: Any
    version: int
    ttl_s: float | None = None


class FakeStore:
    """A store of one process, which answers an operator's commands from a table.

    Attributes:
        answers: Command -> answer, or a function of its arguments; exceptions are raised.
        asked: Every command, with its arguments, in order.
    """

    def __init__(self, answers: dict[str, Any] | None = None) -> None:
        self.answers = answers or {}
        self.asked: list[tuple[str, Json]] = []
        self.located = 3
        self.cells: dict[str, Entry] = {}
        self.is_closed = False
        self.is_down = False

    def admin(self, command: str, arguments: Json, *, timeout: float | None = None) -> Json:
        """Answer an operator's command."""
        self.asked.append((command, arguments))
        answer = self.answers.get(command, {})
        if isinstance(answer, Exception):
            raise answer
        found: Json = answer(arguments) if isinstance(answer, Callable) else answer  # type: ignore[arg-type]
        return found

    def locate(self, key: str) -> int:
        """Return the colony that a cell lives in."""
        return self.located

    def entry(self, key: str) -> Entry | None:
        """Return a cell."""
        return self.cells.get(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value."""
        if self.is_down:
            raise Unavailable("down")
        entry = self.cells.get(key)
        return default if entry is None else entry.value

    def set(self, key: str, value: Any, *, ttl: float | None = None) -> int:
        """Set a cell."""
        if self.is_down:
            raise Unavailable("down")
        version = self.cells[key].version + 1 if key in self.cells else 1
        self.cells[key] = Entry(value, version, ttl)
        return version

    def set_many(self, values: dict[str, Any], *, ttl: float | None = None) -> None:
        """Set cells."""
        for key, value in values.items():
            self.set(key, value, ttl=ttl)

    def delete(self, key: str) -> bool:
        """Let a cell die."""
        return self.cells.pop(key, None) is not None

    def keys(self, prefix: str = "") -> list[str]:
        """Return keys."""
        return [key for key in self.cells if key.startswith(prefix)]

    def close(self) -> None:
        """Note that it was closed."""
        self.is_closed = True
