"""A steady mix of writers and readers whose every operation is recorded.

The history is checked as a whole when the load ends: linearizable per key,
each token applied at most once, and once if its append was acknowledged.
"""

from __future__ import annotations

import random
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import colony
from agents.keys import colony_of
from tests.sim.history import Operation, Verdict, check, check_at_most_once

TIMEOUT_S = 8.0


def append_token(value: str | None, token: str) -> str:
    """Add a token to the comma-separated ones in a cell; runs where it lives."""
    return token if not value else f"{value},{token}"


class Load:
    """Threads that write and read; start and end it with `with`.

    Args:
        addresses: Hosts to connect to.
        keys: How many cells; a history per cell.
        rate: Operations per second and thread.
        name: Sets this load's clients apart from another's on the same keys.
        prefix: Of the keys.
        timeout_s: Of each call.
        keys_from: Folder with the keys of encrypted connections; None = plain ones.
    """

    def __init__(
        self,
        addresses: str,
        *,
        keys: int = 48,
        writers: int = 3,
        readers: int = 2,
        rate: float = 40.0,
        name: str = "",
        prefix: str = "cell-",
        timeout_s: float = TIMEOUT_S,
        keys_from: Path | None = None,
    ) -> None:
        self.keys_from = keys_from
        self.addresses, self.rate, self.timeout_s = addresses, rate, timeout_s
        self.keys = [f"{prefix}{number}" for number in range(keys)]
        self.history: list[Operation] = []
        self._lock = threading.Lock()
        self._end = threading.Event()
        roles = ["w"] * writers + ["r"] * readers
        self._threads = [
            threading.Thread(target=self._run, args=(f"{name}{role}{place}", role == "w"), daemon=True)
            for place, role in enumerate(roles)
        ]

    def __enter__(self) -> Load:
        self.store = self._connect()
        for thread in self._threads:
            thread.start()
        return self

    def _connect(self) -> Any:
        return colony.connect(self.addresses, timeout=self.timeout_s, keys=self.keys_from)

    def __exit__(self, *error: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(self.timeout_s + 5)
        self.store.close()

    def _run(self, name: str, writes: bool) -> None:
        chance = random.Random(name)
        number = 0
        while not self._end.wait(chance.expovariate(self.rate)):
            number += 1
            key = chance.choice(self.keys)
            token = f"{name}-{number}"
            if not writes or chance.random() < 0.2:
                operation = self._call(name, key, "get", "", lambda key=key: self.store.entry(key))
            elif chance.random() < 0.75 and not key.endswith(("0", "5")):
                operation = self._call(
                    name, key, "put", token, lambda key=key, token=token: self.store.set(key, token)
                )
            elif key.endswith(("0", "5")):  # cells of tokens: at most once shows here
                operation = self._call(
                    name,
                    key,
                    "append",
                    token,
                    lambda key=key, token=token: self.store.mutate(key, append_token, token),
                )
            else:
                operation = self._call(name, key, "delete", "", lambda key=key: self.store.delete(key))
            with self._lock:
                self.history.append(operation)

    def _call(self, client: str, key: str, kind: Any, argument: str, call: Any) -> Operation:
        """Run one call, and return what became of it."""
        call_s = time.monotonic()
        try:
            answer = call()
        except colony.OutcomeUnknown:
            return self._op(client, key, kind, argument, call_s, outcome="unknown")
        except colony.Unavailable:
            return self._op(client, key, kind, argument, call_s, outcome="failed")
        if kind == "get":
            if answer is None:
                return self._op(client, key, kind, argument, call_s, code="absent")
            return self._op(client, key, kind, argument, call_s, value=answer.value, version=answer.version)
        if kind == "put":
            return self._op(client, key, kind, argument, call_s, version=answer)
        if kind == "delete":
            return self._op(client, key, kind, argument, call_s, code="ok" if answer else "absent")
        return self._op(client, key, kind, argument, call_s)

    def _op(self, client: str, key: str, kind: Any, argument: str, call_s: float, **told: Any) -> Operation:
        return Operation(
            client=client,
            key=key,
            kind=kind,
            call_s=call_s,
            return_s=time.monotonic(),
            argument=argument,
            **told,
        )

    # -- what came of it ---------------------------------------------------------------

    def verify(self) -> dict[str, int]:
        """Assert that the whole history holds; return how much of what there was."""
        history = sorted(self.history, key=lambda op: op.call_s)
        wrong = [finding for finding in check(history) if finding.verdict is not Verdict.LINEARIZABLE]
        assert not wrong, "\n\n".join(str(finding) for finding in wrong[:5])
        complaints = check_at_most_once(history)
        assert not complaints, "\n".join(complaints[:10])
        tally = {
            outcome: sum(op.outcome == outcome for op in history) for outcome in ("ok", "failed", "unknown")
        }
        assert tally["ok"] > 50, f"hardly anything was done: {tally}"
        return tally


class Probe:
    """One writer that writes without rest to the cells of one colony.

    It measures the pause that a fault makes: from the last success before
    it to the first success after it.
    """

    def __init__(self, addresses: str, lead: int, colonies: int) -> None:
        self.key = next(
            key for key in (f"probe-{n}" for n in range(100_000)) if colony_of(key.encode(), colonies) == lead
        )
        self.successes: list[float] = []
        self._store = colony.connect(addresses, timeout=TIMEOUT_S)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        number = 0
        while not self._end.is_set():
            number += 1
            try:
                self._store.set(self.key, number)
            except colony.ColonyError:
                continue
            self.successes.append(time.monotonic())
            time.sleep(0.001)

    def __enter__(self) -> Probe:
        self._thread.start()
        while len(self.successes) < 20:
            time.sleep(0.005)
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join(TIMEOUT_S + 5)
        self._store.close()

    def pause_s(self, fault_s: float, within_s: float = 10.0) -> float:
        """Wait for a success after `fault_s`; return the longest gap since just before it."""
        end_s = time.monotonic() + within_s
        while not self.successes or self.successes[-1] < fault_s + 0.3:
            assert time.monotonic() < end_s, "no write succeeded after the fault"
            time.sleep(0.01)
        after = [at_s for at_s in self.successes if at_s > fault_s - 0.2]
        return max(b - a for a, b in pairwise(after))
