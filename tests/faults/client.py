"""A client process on a node: a load whose operations are all recorded.

It takes orders as lines of JSON on stdin and answers on stdout; times are of
the machine's one steady clock, so that histories of all clients fit together.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
import traceback
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

import colony
from tests.real.load import Load

STALE_EVERY_S = 0.1
STALE_S = 2.5  # of seven hosts one may be in reach, and each is given 0.3 s before another is asked
ONCE_OF = 5  # puts, one goes to a cell of its own: if it is lost, that is plain to see
ONCE = "once-"
READ_S = 10.0


def connect(system: str, addresses: str, timeout_s: float, keys: Path | None) -> Any:
    """Return a store of a system under test: such as colony's, as far as a load needs one."""
    if system == "redis-cluster":
        from tests.faults.redis_store import RedisStore

        return RedisStore(addresses, timeout_s)
    if system.startswith("pysyncobj"):
        from tests.faults.raft_store import RaftStore

        return RaftStore(addresses, timeout_s, logged=system == "pysyncobj-log")
    return colony.connect(addresses, timeout=timeout_s, keys=keys)


class SideLoad(Load):
    """A load that also writes cells once, and asks colony for stale reads; a thread's own failure is told.

    Attributes:
        stale: (called, returned, key, whether there was an answer) of reads with `stale=True`.
        stale_keys: What is read so; changed while the load runs.
        failures: What ended a thread before its time; must stay empty.
    """

    def __init__(self, addresses: str, *, system: str = "colony", **arguments: Any) -> None:
        super().__init__(addresses, **arguments)
        self.system = system
        self.prefix = arguments.get("prefix", "")
        self.stale: list[tuple[float, float, str, bool]] = []
        self.stale_keys = self.keys
        self.failures: list[str] = []
        if system == "colony":
            self._threads.append(threading.Thread(target=self._ask_stale, daemon=True))

    def _connect(self) -> Any:
        return connect(self.system, self.addresses, self.timeout_s, self.keys_from)

    def _run(self, name: str, writes: bool) -> None:
        try:
            super()._run(name, writes)
        except Exception:
            self.failures.append(traceback.format_exc())

    def _call(self, client: str, key: str, kind: Any, argument: str, call: Any) -> Any:
        if kind == "put" and zlib.crc32(argument.encode()) % ONCE_OF == 0:
            key = f"{self.prefix}{ONCE}{argument}"
            return super()._call(client, key, kind, argument, lambda: self.store.set(key, argument))
        return super()._call(client, key, kind, argument, call)

    def _ask_stale(self) -> None:
        chance = random.Random(self.prefix)
        with colony.connect(self.addresses, timeout=STALE_S, keys=self.keys_from) as store:
            while not self._end.wait(STALE_EVERY_S):
                call_s, key = time.monotonic(), chance.choice(self.stale_keys)
                try:
                    store.entry(key, stale=True)
                    answered = True
                except colony.ColonyError:
                    answered = False
                except Exception:
                    self.failures.append(traceback.format_exc())
                    return
                self.stale.append((call_s, time.monotonic(), key, answered))


class Desk:
    """Carries out orders, one at a time."""

    def __init__(self, system: str, addresses: str, keys: Path | None) -> None:
        self.system, self.addresses, self.keys = system, addresses, keys
        self.load: SideLoad | None = None

    def obey(self, order: dict[str, Any]) -> Any:
        """Return the answer to one order."""
        kind = order.pop("do")
        if kind == "begin":
            self.load = SideLoad(self.addresses, system=self.system, keys_from=self.keys, **order)
            self.load.__enter__()
        elif kind == "stale" and self.load is not None:
            self.load.stale_keys = order["keys"]
        elif kind == "end":
            return self._end()
        elif kind == "read":
            return self._read(order["keys"])
        elif kind == "values":
            return self._values(order["keys"])
        elif kind == "set":
            return self._set(order)
        elif kind == "write":
            return self._write(order["cells"])
        return {}

    def _end(self) -> dict[str, Any]:
        load, self.load = self.load, None
        assert load is not None
        load.__exit__()
        history = [msgspec.to_builtins(operation) for operation in load.history]
        alone = getattr(load.store, "alone", [])
        return {"history": history, "stale": load.stale, "failures": load.failures, "alone": alone}

    def _read(self, keys: list[str]) -> dict[str, Any]:
        """Read these keys, as any reader would; all must be answered."""
        load = Load(self.addresses, name="final-", timeout_s=READ_S)
        history = []
        with closing(connect(self.system, self.addresses, READ_S, self.keys)) as store:
            for key in keys:
                read = load._call("last", key, "get", "", lambda key=key: store.entry(key))
                history.append(msgspec.to_builtins(read))
        return {"history": history}

    def _values(self, keys: list[str]) -> dict[str, Any]:
        with colony.connect(self.addresses, timeout=READ_S, keys=self.keys) as store:
            return {"values": {key: store.get(key) for key in keys}}

    def _write(self, cells: dict[str, str | None]) -> dict[str, Any]:
        """Set cells, or (None) delete them; return those that were refused."""
        refused = []
        with colony.connect(self.addresses, timeout=READ_S, keys=self.keys) as store:
            for key, value in cells.items():
                try:
                    store.delete(key) if value is None else store.set(key, value)
                except colony.ColonyError as error:
                    refused.append(f"{key}: {error}")
        return {"refused": refused}

    def _set(self, order: dict[str, Any]) -> dict[str, Any]:
        with colony.connect(self.addresses, timeout=READ_S, keys=self.keys) as store:
            return {"version": store.set(order["key"], order["value"], ttl=order.get("ttl"))}


def main(arguments: list[str]) -> int:
    """Obey until the orders end."""
    system, addresses, *keys = arguments
    desk = Desk(system, addresses, Path(keys[0]) if keys else None)
    for line in sys.stdin:
        print(json.dumps(desk.obey(json.loads(line))), flush=True)
    return 0
