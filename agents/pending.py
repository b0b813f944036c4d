"""Pending mutations: sequenced, and not yet committed."""

from __future__ import annotations

from typing import Any

from agents.cells import Cell
from agents.evaluate import answer
from agents.messages.client import OK, Reply
from agents.messages.replication import Entry


class Pending:
    """A sequenced mutation that is not yet committed."""

    __slots__ = ("after", "callers", "entry", "inherited")

    def __init__(self, entry: Entry, cell: Cell | None, inherited: bool = False) -> None:
        self.entry = entry
        self.after = cell
        self.inherited = inherited  # applied already, when this peer was a secondary
        self.callers: list[tuple[Any, int]] = []


def result_of(entry: Entry, request_id: int) -> Reply:
    """Return what the client of a committed entry is told."""
    if entry.code == OK:
        return Reply(request_id, OK, entry.seq, value=entry.result)
    return answer(request_id, entry.seq, entry.code, entry.result)
