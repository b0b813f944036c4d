"""A Redis primary with one replica, on loopback, for one run."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from types import TracebackType
from typing import Any

from tests.bench.harness import VALUE, AsyncCall, Call
from tests.ports import free_port

_START_S = 10.0  # a replica syncs an empty primary in well under a second
_WAIT_MS = 1_000

# Read-modify-write on the server: decode, count, encode. What `mutate` does, in Redis's way.
_COUNT = """
local value = redis.call('GET', KEYS[1])
local session = value and cjson.decode(value) or {n = 0, pad = ARGV[1]}
session.n = session.n + 1
redis.call('SET', KEYS[1], cjson.encode(session))
return session.n
"""


class RedisMissing(Exception):
    """Redis or its client is not installed; the message says how to get it."""


def require() -> None:
    """Raise RedisMissing unless server, redis-py and hiredis are here."""
    if shutil.which("redis-server") is None:
        raise RedisMissing("redis-server is missing: apt install redis-server (and stop its service)")
    try:
        import hiredis  # noqa: F401
        import redis  # noqa: F401
    except ImportError as error:
        raise RedisMissing("redis-py or hiredis is missing: pip install '.[bench]'") from error


class RedisPair:
    """Two redis-server processes of ours: no disk, one replicates the other."""

    def __init__(self) -> None:
        require()
        self._folder = tempfile.mkdtemp(prefix="colony-bench-redis-")
        self.port = free_port()
        self._processes = [self._serve(self.port)]
        self.replica_port = free_port()
        self._processes.append(self._serve(self.replica_port, "--replicaof", f"127.0.0.1 {self.port}"))
        self._await_replica()

    def _serve(self, port: int, *extra: str) -> subprocess.Popen[bytes]:
        flags = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        flags += ["--repl-diskless-sync-delay", "0", "--dir", self._folder, "--loglevel", "warning"]
        return subprocess.Popen(["redis-server", *flags, *extra], stdout=subprocess.DEVNULL)

    def _await_replica(self) -> None:
        deadline_s = time.monotonic() + _START_S
        client: Any = None
        while time.monotonic() < deadline_s:
            try:
                client = client or self.client()
                if client.info("replication").get("connected_slaves") == 1 and client.wait(1, 100) == 1:
                    return
            except OSError:
                pass
            except Exception as error:  # redis-py's own ConnectionError is no OSError
                if "connect" not in str(error).lower():
                    raise
            time.sleep(0.05)
        self.close()
        raise RuntimeError("the Redis replica did not come up")

    def client(self, port: int | None = None) -> Any:
        """Return a client with one connection of its own."""
        import redis

        return redis.Redis(host="127.0.0.1", port=port or self.port, socket_timeout=10.0)

    def pids(self) -> list[int]:
        """Return primary and replica."""
        return [process.pid for process in self._processes]

    # -- contestants -------------------------------------------------------------------------------

    def setter(self, keys: int) -> Call:
        """Return a call: SET of 1 KiB, then WAIT 1, in one round trip; on a connection of its own."""
        pipe = self.client().pipeline(transaction=False)

        def call(number: int) -> None:
            pipe.set(f"session:{number % keys:08d}", VALUE)
            pipe.execute_command("WAIT", 1, _WAIT_MS)
            if pipe.execute()[1] < 1:
                raise RuntimeError("the replica did not acknowledge")

        return call

    def getter(self, keys: int) -> Call:
        """Return a call: GET of what `setter` wrote."""
        client = self.client()

        def call(number: int) -> None:
            client.get(f"session:{number % keys:08d}")

        return call

    def counter(self, keys: int) -> Call:
        """Return a call: read-modify-write of a 1 KiB session by a Lua script, then WAIT 1."""
        client = self.client()
        script = client.script_load(_COUNT)
        pipe = client.pipeline(transaction=False)
        pad = "x" * 1_000

        def call(number: int) -> None:
            pipe.evalsha(script, 1, f"count:{number % keys:08d}", pad)
            pipe.execute_command("WAIT", 1, _WAIT_MS)
            if pipe.execute()[1] < 1:
                raise RuntimeError("the replica did not acknowledge")

        return call

    def mixer(self, keys: int) -> Call:
        """Return a call: four of five read a session (a hash), one writes an attribute and its expiry."""
        client = self.client()
        pipe = client.pipeline(transaction=False)
        most = VALUE[:248]

        def call(number: int) -> None:
            key = f"hash:{number % keys:08d}"
            if (number // keys + number) % 5:
                client.hgetall(key)
                return
            pipe.hset(key, f"a{number % 4}", most + number.to_bytes(8))
            pipe.pexpire(key, 1_800_000)
            pipe.execute_command("WAIT", 1, _WAIT_MS)
            if pipe.execute()[2] < 1:
                raise RuntimeError("the replica did not acknowledge")

        return call

    def async_client(self, connections: int) -> Any:
        """Return an asyncio client with a pool; close it with ``await client.aclose()``."""
        import redis.asyncio

        return redis.asyncio.Redis(
            host="127.0.0.1", port=self.port, max_connections=connections, socket_timeout=10.0
        )

    @staticmethod
    def async_setter(client: Any, keys: int) -> AsyncCall:
        """Return a coroutine function: SET of 1 KiB, then WAIT 1, in one round trip."""

        async def call(number: int) -> None:
            async with client.pipeline(transaction=False) as pipe:
                pipe.set(f"session:{number % keys:08d}", VALUE)
                pipe.execute_command("WAIT", 1, _WAIT_MS)
                if (await pipe.execute())[1] < 1:
                    raise RuntimeError("the replica did not acknowledge")

        return call

    # -- end ---------------------------------------------------------------------------------------

    def close(self) -> None:
        """End both processes, by their own ids; safe to call twice."""
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
        for process in self._processes:
            try:
                process.wait(timeout=5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> RedisPair:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
