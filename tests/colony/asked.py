"""A connection to a cluster in a given state, for commands that ask for it."""

from __future__ import annotations

from typing import Any


class Asked:
    """A store on a cluster in the state `status`; that, with its colonies, is all that it is asked for."""

    def __init__(self, status: dict[str, Any]) -> None:
        self._status = status

    def admin(self, command: str, arguments: dict[str, Any]) -> Any:
        assert (command, arguments) == ("status", {"colonies": True})
        return self._status

    def close(self) -> None: ...
