"""A client of Redis Cluster that asks for a copy of each write, and says what became of it.

redis-py knows who leads what; the two commands of a write, itself and
`WAIT 1`, go out together on one connection. A write is done when it was
answered and WAIT said 1 or more. It was not done if no connection was had, or
if it was answered by an error; then it is tried again while there is time.
Else nobody knows: then it is not tried again, lest it be done twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry

import colony
from tests.faults.rival import AGAIN_S, ATTEMPT_S, CONNECT_S, Read

TOPOLOGY_S = 0.5
COPY_MS = 500  # per second of patience: half of it is for the copy
BEGIN_S = 20.0
GONE = redis.ConnectionError, redis.TimeoutError, OSError


class RedisStore:
    """What `tests.real.load.Load` needs of a store; safe to share among threads.

    Attributes:
        alone: (called, returned, key) of writes that were answered, but not copied in time.
    """

    def __init__(self, addresses: str, timeout_s: float) -> None:
        places = [place.rpartition(":") for place in addresses.split(",")]
        node: Any = ClusterNode  # untyped there
        self._nodes = [node(host, int(port)) for host, _, port in places]
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self.alone: list[tuple[float, float, str]] = []
        end_s = time.monotonic() + BEGIN_S
        while True:
            try:
                self._cluster = self._connect()
                return
            except redis.RedisError:
                if time.monotonic() > end_s:
                    raise
                time.sleep(AGAIN_S)

    def _connect(self) -> Any:
        return RedisCluster(
            startup_nodes=self._nodes,
            retry=Retry(NoBackoff(), 0),
            require_full_coverage=False,
            decode_responses=True,
            socket_timeout=TOPOLOGY_S,
            socket_connect_timeout=CONNECT_S,
        )

    # -- the calls of a load --------------------------------------------------------------

    def set(self, key: str, value: str) -> int:
        """Write a cell."""
        self._write(key, "SET", key, value)
        return 0

    def delete(self, key: str) -> bool:
        """Remove a cell; return whether there was one."""
        return bool(self._write(key, "DEL", key))

    def mutate(self, key: str, change: Callable[..., Any], token: str) -> None:
        """Append a token; `change` is what another store would run for that."""
        self._write(key, "APPEND", key, f",{token}")

    def entry(self, key: str) -> Read | None:
        """Read a cell at its primary."""
        end_s = time.monotonic() + self._timeout_s
        while (left_s := end_s - time.monotonic()) > 0:
            try:
                (told,) = self._exchange(self._pool(key), min(left_s, ATTEMPT_S), ("GET", key))
            except (redis.RedisError, OSError, LookupError):
                self._refresh()
                continue
            if isinstance(told, Exception):
                self._refresh()
                continue
            return None if told is None else Read(str(told).removeprefix(","))
        raise colony.Unavailable("not read in time")

    def close(self) -> None:
        """Close all connections."""
        self._cluster.close()

    # -- one write -------------------------------------------------------------------------

    def _write(self, key: str, *command: Any) -> Any:
        call_s = time.monotonic()
        end_s = call_s + self._timeout_s
        while (left_s := end_s - time.monotonic()) > 0:
            attempt_s = min(left_s, ATTEMPT_S)
            try:
                pool = self._pool(key)
                connection = pool.get_connection()
            except (redis.RedisError, OSError, LookupError):
                self._refresh()
                continue  # nothing was sent
            wait = "WAIT", 1, max(1, int(attempt_s * COPY_MS))
            try:
                told, copies = self._on(pool, connection, attempt_s, command, wait)
            except GONE as error:
                self._refresh()
                raise colony.OutcomeUnknown(str(error)) from None
            if isinstance(told, Exception):
                self._refresh()
                continue  # refused: moved, no quorum, loading, read only
            if isinstance(copies, int) and copies >= 1:
                return told
            self.alone.append((call_s, time.monotonic(), key))
            raise colony.OutcomeUnknown(f"no copy: {copies}")
        raise colony.Unavailable("not written in time")

    def _pool(self, key: str) -> Any:
        node = self._cluster.get_node_from_key(key)
        if node is None:
            raise LookupError(key)
        return self._cluster.get_redis_connection(node).connection_pool

    def _exchange(self, pool: Any, timeout_s: float, *commands: tuple[Any, ...]) -> list[Any]:
        return self._on(pool, pool.get_connection(), timeout_s, *commands)

    def _on(self, pool: Any, connection: Any, timeout_s: float, *commands: tuple[Any, ...]) -> list[Any]:
        """Send commands together on one connection; return each's answer, errors too."""
        answers: list[Any] = []
        end_s = time.monotonic() + timeout_s
        try:
            connection.send_packed_command(connection.pack_commands(commands))
            for _ in commands:
                try:
                    left_s = max(0.001, end_s - time.monotonic())
                    answers.append(connection.read_response(timeout=left_s))
                except redis.ResponseError as error:
                    answers.append(error)
        except BaseException:
            connection.disconnect()
            raise
        finally:
            pool.release(connection)
        return answers

    def _refresh(self) -> None:
        """Ask anew who leads what; one thread does so at a time."""
        time.sleep(AGAIN_S)
        if not self._lock.acquire(blocking=False):
            return
        try:
            self._cluster.nodes_manager.initialize()
        except (redis.RedisError, OSError):
            pass  # nobody told: as before, until the next try
        finally:
            self._lock.release()
