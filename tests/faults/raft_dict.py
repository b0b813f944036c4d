"""A dict replicated by PySyncObj, in namespaces: a process per node."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.faults.raft_store import Wire
from tests.faults.rival import PORT
from tests.faults.systems import Nodes

RAFT_PORT = PORT + 1
ASK_S = 1.0


class RaftDict(Nodes):
    """A dict on some nodes, each with all of it.

    Args:
        count: Nodes.
        logged: Whether reads go through the log.
    """

    def __init__(self, count: int, *, logged: bool = False) -> None:
        import pysyncobj  # noqa: F401  to say at once that it is missing

        self.kind = "pysyncobj-log" if logged else "pysyncobj"
        super().__init__(count)

    def _raft(self, name: str) -> str:
        return f"{self.network.address(name)}:{RAFT_PORT}"

    def _arguments(self, name: str, folder: Path) -> list[str]:
        others = [self._raft(other) for other in self.names if other != name]
        return [self._raft(name), ",".join(others), str(folder)]

    def _ask(self, name: str) -> dict[str, Any]:
        try:
            with contextlib.closing(Wire(self.address(name), ASK_S)) as wire:
                return wire.call("status", [], ASK_S)
        except (OSError, ValueError):
            return {}

    def _leader(self, names: Iterable[str]) -> str:
        """Return who leads these by the newest term; "" = nobody."""
        told = {name: self._ask(name) for name in names}
        leaders = [name for name, answer in told.items() if answer.get("leads")]
        return max(leaders, key=lambda name: int(told[name]["term"]), default="")

    def leads(self) -> dict[str, list[int]]:
        """Return the one partition, at its leader."""
        leader = self._leader(self.awake)
        return {name: [0] if name == leader else [] for name in self.names}

    def holders(self) -> list[set[str]]:
        """Return that all have all."""
        return [set(self.processes)]

    def partition(self, key: str) -> int:
        """Return the one partition."""
        return 0

    def may_lack(self, names: Iterable[str]) -> bool:
        """Return whether most nodes stay."""
        return 2 * len(set(self.names) - set(names)) > len(self.names)

    def goes_on(self, names: Iterable[str]) -> bool:
        """Return whether one of these leads them all."""
        names = list(names)
        told = [self._ask(name) for name in names]
        leader = self._leader(names)
        return bool(leader) and all(answer.get("leader") == self._raft(leader) for answer in told)

    def view(self) -> int:
        """Return the newest term."""
        return max(int(self._ask(name).get("term", 0)) for name in self.awake)

    def _is_well(self) -> bool:
        self._told = {name: self._ask(name) for name in self.processes}
        told = list(self._told.values())
        if not all(answer.get("mesh") and answer["leader"] for answer in told):
            return False
        applied = [int(answer["applied"]) for answer in told]
        agreed = len({answer["leader"] for answer in told}) == 1 == sum(answer["leads"] for answer in told)
        return agreed and max(applied) - min(applied) < 50  # under load they are never quite level
