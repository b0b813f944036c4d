"""A node of a dict that PySyncObj replicates, and its door for clients.

It answers a line of JSON with a line of JSON. Writes are calls with
`sync=True`, which the library passes to its leader. A read is one of the dict
of a node that holds itself for the leader, as there is nothing nearer to a
primary; or it goes through the log like a write.
"""

from __future__ import annotations

import contextlib
import json
import socketserver
from pathlib import Path
from typing import Any

from tests.faults.rival import PORT

SURELY_NOT = ("QUEUE_FULL", "MISSING_LEADER", "REQUEST_DENIED")  # of its reasons to fail


def cells(own: str, others: list[str], folder: Path) -> Any:
    """Return a node: a dict that PySyncObj replicates, all settings as they come but for a journal."""
    from pysyncobj import SyncObj, SyncObjConf, replicated

    class Cells(SyncObj):  # type: ignore[misc]
        def __init__(self) -> None:
            self.cells: dict[str, str] = {}
            super().__init__(own, others, conf=SyncObjConf(journalFile=str(folder / "journal")))

        @replicated  # type: ignore[untyped-decorator]
        def set(self, key: str, value: str) -> None:
            self.cells[key] = value

        @replicated  # type: ignore[untyped-decorator]
        def delete(self, key: str) -> bool:
            return self.cells.pop(key, None) is not None

        @replicated  # type: ignore[untyped-decorator]
        def append(self, key: str, token: str) -> None:
            old = self.cells.get(key)
            self.cells[key] = f"{old},{token}" if old else token

        @replicated  # type: ignore[untyped-decorator]
        def get(self, key: str) -> str | None:
            return self.cells.get(key)

    return Cells()


def why(error: Any) -> str:
    """Return the name of a reason of PySyncObj's; what has none was a time-out."""
    from pysyncobj import FAIL_REASON

    names = {value: name for name, value in vars(FAIL_REASON).items() if name.isupper()}
    return str(names.get(error, "TIMEOUT"))


def serve(node: Any, call: str, arguments: list[str], timeout_s: float) -> dict[str, Any]:
    """Carry out one call of a client."""
    from pysyncobj import SyncObjException

    leader = str(node._getLeader() or "")
    if call == "status":
        status = node.getStatus()
        mesh = all(value == 2 for key, value in status.items() if key.startswith("partner_node_status"))
        told = {"term": status["raft_term"], "applied": status["last_applied"], "mesh": mesh}
        return {"leader": leader, "leads": status["state"] == 2, **told}
    if call == "read":
        if not (node._isLeader() and node.isReady()):
            return {"outcome": "elsewhere", "leader": leader}
        return {"outcome": "ok", "value": node.cells.get(arguments[0])}
    try:
        value = getattr(node, call)(*arguments, sync=True, timeout=timeout_s)
    except SyncObjException as error:
        reason = why(error.errorCode)
        return {"outcome": "failed" if reason in SURELY_NOT else "unknown", "why": reason}
    return {"outcome": "ok", "value": value}


def main(arguments: list[str]) -> int:
    """Be a node, until killed."""
    own, others, folder = arguments
    node = cells(own, others.split(","), Path(folder))

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                for line in self.rfile:
                    self.wfile.write(json.dumps(serve(node, *json.loads(line))).encode() + b"\n")

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server((own.partition(":")[0], PORT), Handler) as server:
        print("ready", flush=True)
        server.serve_forever()
    return 0
