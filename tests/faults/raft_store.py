"""A client of a dict that PySyncObj replicates.

A write that nobody knows of is not tried again, lest it be done twice; one
that surely failed, and any read, is, while there is time. Who does not answer
is left for another node.
"""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import colony
from tests.faults.rival import AGAIN_S, ATTEMPT_S, CONNECT_S, PORT, Read


class Wire:
    """One connection to one node."""

    def __init__(self, address: str, connect_s: float = CONNECT_S) -> None:
        host, _, port = address.partition(":")
        self.address = address
        self._socket = socket.create_connection((host, int(port)), timeout=connect_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answers = self._socket.makefile("rb")

    def call(self, call: str, arguments: list[str], timeout_s: float) -> dict[str, Any]:
        """Return the answer; OSError: there is none, and nobody knows."""
        self._socket.settimeout(timeout_s + 0.3)
        self._socket.sendall(json.dumps([call, arguments, timeout_s]).encode() + b"\n")
        line = self._answers.readline()
        if not line:
            raise ConnectionError("closed")
        told = json.loads(line)
        assert isinstance(told, dict)
        return told

    def close(self) -> None:
        """Close it."""
        self._answers.close()
        self._socket.close()


class RaftStore:
    """What `tests.real.load.Load` needs of a store; each thread has a connection of its own.

    Args:
        logged: Whether reads go through the log.
    """

    def __init__(self, addresses: str, timeout_s: float, *, logged: bool) -> None:
        self._addresses = addresses.split(",")
        self._timeout_s, self._logged = timeout_s, logged
        self._own = threading.local()
        self.alone: list[tuple[float, float, str]] = []

    def set(self, key: str, value: str) -> int:
        """Write a cell."""
        self._try("set", [key, value], writes=True)
        return 0

    def delete(self, key: str) -> bool:
        """Remove a cell; return whether there was one."""
        return bool(self._try("delete", [key], writes=True))

    def mutate(self, key: str, change: Callable[..., Any], token: str) -> None:
        """Append a token; `change` is what another store would run for that."""
        self._try("append", [key, token], writes=True)

    def entry(self, key: str) -> Read | None:
        """Read a cell."""
        value = self._try("get" if self._logged else "read", [key], writes=False)
        return None if value is None else Read(value)

    def close(self) -> None:
        """Close this thread's connection; others end with their threads."""
        self._leave()

    def _leave(self, prefer: str = "") -> None:
        wire: Wire | None = getattr(self._own, "wire", None)
        if wire is not None:
            wire.close()
        self._own.wire = None
        self._own.prefer = prefer

    def _wire(self) -> Wire:
        wire: Wire | None = getattr(self._own, "wire", None)
        if wire is None:
            prefer = getattr(self._own, "prefer", "")
            wire = self._own.wire = Wire(prefer or random.choice(self._addresses))
        return wire

    def _try(self, call: str, arguments: list[str], *, writes: bool) -> Any:
        end_s = time.monotonic() + self._timeout_s
        while (left_s := end_s - time.monotonic()) > 0:
            try:
                wire = self._wire()
            except OSError:
                self._leave()
                continue  # nothing was sent
            try:
                told = wire.call(call, arguments, min(left_s, ATTEMPT_S))
            except OSError as error:
                self._leave()
                told = {"outcome": "unknown", "why": str(error)}
            if told["outcome"] == "ok":
                return told["value"]
            if told["outcome"] == "unknown" and writes:
                self._leave()
                raise colony.OutcomeUnknown(told["why"])
            time.sleep(AGAIN_S)
            leader = str(told.get("leader", "")).partition(":")[0]
            self._leave(f"{leader}:{PORT}" if leader else "")
        raise colony.Unavailable("not done in time")
