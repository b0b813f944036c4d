"""Hosts that answer from one shared dict: what clients are tested against.

Each fake host is a ROUTER in a thread. All of them share the cells and the
lanes, as hosts that replicate perfectly would. A test scripts what goes
wrong: `primary` says who serves, `script` may swallow or answer a request.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgspec
import zmq

from agents.keys import colony_of
from agents.messages import client as m
from agents.wire import decode_requests, encode
from colony.closures import report_of, run_closure

SILENCE = object()  # what a script returns to swallow a request
Script = Callable[["FakeHost", Any], object]


class FakeCluster:
    """Fake hosts with cells, lanes and a directory in common."""

    def __init__(self, hosts: int = 1, colonies: int = 8, value_bytes_max: int = 1 << 20) -> None:
        self.colonies = colonies
        self.value_bytes_max = value_bytes_max
        self.tag = "a" * 32
        self.view = 1
        self.cells: dict[bytes, tuple[int, Any, int]] = {}
        self.lanes: dict[bytes, tuple[int, m.Reply]] = {}
        self.lock = threading.Lock()
        self.version = 0
        self.applied = 0
        self.hosts = [FakeHost(self, f"h{number}") for number in range(hosts)]
        self.primary = [number % hosts for number in range(colonies)]
        self.told: list[int] | None = None  # what greetings say, if not the truth
        for host in self.hosts:
            host.start()

    @property
    def addresses(self) -> str:
        return ",".join(host.address for host in self.hosts)

    def greeting(self, host: FakeHost) -> m.Greeting:
        told = self.told or self.primary
        return m.Greeting(
            protocol=m.CLIENT_PROTOCOL,
            software="fake",
            tag=self.tag,
            view=self.view,
            stage="ACTIVE" if self.tag else "ZOMBIE",
            host=host.id,
            incarnation=1,
            name=host.id,
            link="tcp://127.0.0.1:1",
            colonies=self.colonies if self.tag else 0,
            value_bytes_max=self.value_bytes_max,
            hosts=tuple((one.id, one.address) for one in self.hosts),
            primaries=tuple(self.hosts[number].id for number in told),
            closures=True,
        )

    def stop(self) -> None:
        for host in self.hosts:
            host.stop()

    def __enter__(self) -> FakeCluster:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


class FakeHost:
    """One ROUTER in a thread."""

    def __init__(self, cluster: FakeCluster, name: str) -> None:
        self.cluster = cluster
        self.id = name
        self.script: Script | None = None
        self.seen: list[Any] = []
        self.frames = 0
        self._extra: list[m.Reply] = []
        self.is_deaf = False  # takes no frames, like a stopped process
        self._watches: list[tuple[bytes, int, bytes]] = []
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.sndhwm = self._socket.rcvhwm = 0
        port = self._socket.bind_to_random_port("tcp://127.0.0.1")
        self.address = f"tcp://127.0.0.1:{port}"
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End like a killed process: connections break at once."""
        self._stopping = True
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            if self.is_deaf or not self._socket.poll(5):
                if self.is_deaf:
                    threading.Event().wait(0.005)
                continue
            client, frame = self._socket.recv_multipart()
            self.frames += 1
            replies = [
                reply for one in decode_requests(frame) if (reply := self._answer(client, one)) is not None
            ]
            if replies or self._extra:
                self._socket.send_multipart([client, encode([*self._extra, *replies])])
        self._socket.close()
        self._context.destroy(linger=0)

    def also(self, reply: m.Reply) -> object:
        """Send this reply too, before those of the frame; returns None, as a script may."""
        self._extra.append(reply)
        return None

    # -- answers ---------------------------------------------------------------

    def _answer(self, client: bytes, request: Any) -> m.Reply | None:
        if len(self.seen) < 10_000:
            self.seen.append(request)
        if self.script is not None:
            scripted = self.script(self, request)
            if scripted is SILENCE:
                return None
            if isinstance(scripted, m.Reply):
                return scripted
        if isinstance(request, m.Greet):
            if request.tag and request.tag != self.cluster.tag:
                return m.Reply(request.id, m.WRONG_CLUSTER, text="another cluster")
            return m.Reply(request.id, m.OK, value=msgspec.msgpack.encode(self.cluster.greeting(self)))
        if isinstance(request, m.Admin):
            answer = {"command": request.command, "arguments": request.arguments, "host": self.id}
            return m.Reply(request.id, m.OK, value=msgspec.json.encode(answer))
        if isinstance(request, m.Watch):
            self._watches.append((client, request.id, request.prefix))
            return m.Reply(request.id, m.OK)
        return self.serve(request)

    def serve(self, request: Any) -> m.Reply:
        """Answer a request for a cell, or say who does."""
        cluster = self.cluster
        colony = request.colony if isinstance(request, m.Scan) else colony_of(request.key, cluster.colonies)
        primary = cluster.hosts[cluster.primary[colony]]
        if primary is not self:
            return m.Reply(request.id, m.MOVED, value=primary.id.encode(), text=primary.address)
        if isinstance(request, m.Scan):
            return self._scan(request)
        if isinstance(request, m.Get):
            return self._get(request)
        with cluster.lock:
            known = cluster.lanes.get(request.lane)
            if known is not None and known[0] >= request.number:
                return msgspec.structs.replace(known[1], id=request.id)
            before = request.key in cluster.cells
            reply = self._mutate(request)
            if reply.code == m.OK:
                cluster.applied += 1
                cluster.lanes[request.lane] = (request.number, reply)
                if self._watches:
                    self._tell(request.key, before, reply.version)
            return reply

    def _tell(self, key: bytes, before: bool, version: int) -> None:
        kind = "died" if key not in self.cluster.cells else "changed" if before else "born"
        for client, number, prefix in self._watches:
            if key.startswith(prefix):
                change = m.Reply(number, m.OK, value=msgspec.msgpack.encode(m.Change(kind, key, version)))
                self._socket.send_multipart([client, encode([change])])

    def _get(self, request: m.Get) -> m.Reply:
        cell = self.cluster.cells.get(request.key)
        if cell is None:
            return m.Reply(request.id, m.ABSENT)
        version, dna, ttl_ms = cell
        if isinstance(dna, bytes):
            return m.Reply(request.id, m.OK, version, ttl_ms or -1, dna)
        return m.Reply(request.id, m.OK, version, ttl_ms or -1, attributes=tuple(sorted(dna.items())))

    def _scan(self, request: m.Scan) -> m.Reply:
        count = self.cluster.colonies
        keys = sorted(
            key
            for key in list(self.cluster.cells)
            if colony_of(key, count) == request.colony
            and key.startswith(request.prefix)
            and key > request.after
        )
        return m.Reply(request.id, m.OK, value=msgspec.msgpack.encode(keys[: request.limit]))

    def _mutate(self, request: Any) -> m.Reply:
        cells = self.cluster.cells
        cell = cells.get(request.key)
        held = cell[0] if cell else 0
        if isinstance(request, m.Put):
            wanted = {m.IF_ABSENT: held == 0, m.IF_PRESENT: held > 0, m.IF_VERSION: held == request.version}
            if not wanted.get(request.only_if, True):
                return m.Reply(request.id, m.CONFLICT, held)
            return self._store(request, request.dna, request.ttl_ms)
        if isinstance(request, m.Mutate):
            dna = cell[1] if cell else None
            try:
                new = run_closure(dna, request.closure)
            except Exception as error:
                text, report = report_of(error)
                return m.Reply(request.id, m.FAILED, value=report, text=text)
            return msgspec.structs.replace(self._store(request, new, request.ttl_ms), value=new)
        if cell is None and not (isinstance(request, m.Patch) and request.create):
            return m.Reply(request.id, m.ABSENT)
        if cell is not None and getattr(request, "version", 0) not in (0, held):
            return m.Reply(request.id, m.CONFLICT, held)
        if isinstance(request, m.Delete):
            del cells[request.key]
            self.cluster.version += 1
            return m.Reply(request.id, m.OK, self.cluster.version)
        if isinstance(request, m.Touch):
            assert cell is not None
            return self._store(request, cell[1], request.ttl_ms)
        if cell is not None and isinstance(cell[1], bytes):
            return m.Reply(request.id, m.BAD, held, text="this cell holds a plain value, not attributes")
        attributes = dict(cell[1]) if cell else {}
        attributes.update(request.changed)
        for name in request.gone:
            attributes.pop(name, None)
        return self._store(request, attributes, request.ttl_ms)

    def _store(self, request: Any, dna: Any, ttl_ms: int) -> m.Reply:
        cluster = self.cluster
        cluster.version += 1
        old = cluster.cells.get(request.key)
        lasts_ms = (old[2] if old else 0) if ttl_ms == m.TTL_KEEP else ttl_ms
        cluster.cells[request.key] = (cluster.version, dna, lasts_ms)
        return m.Reply(request.id, m.OK, cluster.version)
