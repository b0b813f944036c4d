"""Health: whether a host lives, whether it is ready, and its metrics, over HTTP.

`/livez`: its loop turns. `/readyz`: it is ACTIVE, holds quorum and is not
about to leave. `/metrics`: figures for Prometheus. Served by daemon threads,
never by the host's loop; a connection is one request, and there are few at a
time, each with little time: who talks slowly holds up nobody.
"""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Protocol

CONNECTIONS_MAX = 8  # at a time; more are closed unheard
REQUEST_BYTES_MAX = 8192
PATIENCE_S = 2.0  # for a whole request, and for a whole answer
STUCK_S = 10.0  # a loop that did not turn for so long: no garbage collection takes that

Page = Callable[[], tuple[int, str, bytes]]


class Health:
    """An HTTP server of a few pages.

    Args:
        ip: Where to listen.
        port: 0 = any free one.
        pages: Path -> what makes its page: status, content type, body.

    Raises:
        OSError: The address is in use, or not ours.
    """

    def __init__(self, ip: str, port: int, pages: dict[str, Page]) -> None:
        self._server = _Server(ip, port, pages)
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="colony-health", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        """Accept and answer; it sleeps, without ever waking up for nothing, until somebody comes."""
        while not self._is_closed:
            self._server.handle_request()

    @property
    def address(self) -> str:
        """Where it listens, `http://IP:PORT`."""
        ip, port = self._server.server_address[:2]
        name = ip.decode() if isinstance(ip, (bytes, bytearray)) else ip
        return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"

    def close(self) -> None:
        """Stop serving."""
        self._is_closed = True
        try:
            socket.create_connection(
                self._server.socket.getsockname()[:2], timeout=0.5
            ).close()  # it wakes up
        except OSError:
            pass
        self._thread.join(1.0)
        self._server.server_close()


class _Server(HTTPServer):
    request_queue_size = 16

    def __init__(self, ip: str, port: int, pages: dict[str, Page]) -> None:
        self.address_family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        self.pages = pages
        self._free = threading.Semaphore(CONNECTIONS_MAX)
        super().__init__((ip, port), _Handler)

    def server_bind(self) -> None:
        """Bind, without asking the resolver for our name as the base class does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "localhost", self.server_address[1]

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; where that fails, mostly for want of descriptors, not at once again."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(0.1)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, if there are not too many already."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        threading.Thread(target=self._answer, args=(request, client_address), daemon=True).start()

    def _answer(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except Exception:
            pass  # a peer that went, or spoke nonsense: there is nobody to tell
        finally:
            self.shutdown_request(request)
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: strangers must not fill the log."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"
    server: _Server

    def setup(self) -> None:
        """Read the whole head within the time that there is, however slowly it comes."""
        super().setup()
        self.rfile = io.BytesIO(_head(self.connection))
        self.connection.settimeout(PATIENCE_S)

    def do_GET(self) -> None:
        """Answer with the page of this path."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer without the page."""
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        page = self.server.pages.get(self.path.partition("?")[0])
        if page is None:
            status, kind, body = 404, TEXT, f"there are {', '.join(sorted(self.server.pages))}\n".encode()
        else:
            status, kind, body = page()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def version_string(self) -> str:
        """Return what is said of the software: its name."""
        return "colony"

    def log_message(self, format: str, *args: Any) -> None:
        """Log no requests: probes come every second."""


TEXT = "text/plain; charset=utf-8"
JSON = "application/json"


def _head(connection: socket.socket) -> bytes:
    """Return a request's head; raises `OSError` if it is too long, or takes too long."""
    end_s = time.monotonic() + PATIENCE_S
    head = b""
    while b"\r\n\r\n" not in head and b"\n\n" not in head:
        left_s = end_s - time.monotonic()
        if left_s <= 0 or len(head) > REQUEST_BYTES_MAX:
            raise TimeoutError("no whole request in time")
        connection.settimeout(left_s)
        some = connection.recv(REQUEST_BYTES_MAX)
        if not some:
            raise ConnectionError("it hung up")
        head += some
    return head


class Probed(Protocol):
    """What health asks of a host: `colony.Host`."""

    @property
    def name(self) -> str: ...
    @property
    def stage(self) -> str: ...
    @property
    def waiting_for(self) -> str: ...
    @property
    def halted(self) -> tuple[int, str] | None: ...
    @property
    def is_draining(self) -> bool: ...
    @property
    def loop_age_s(self) -> float: ...
    @property
    def server(self) -> Any: ...


def stuck(host: Probed) -> list[str]:
    """Return why a host is as good as dead; [] = it lives."""
    if host.halted is not None:
        return [f"it has ended: {host.halted[1]}"]
    age_s = host.loop_age_s
    return [f"its loop has not turned for {age_s:.0f} s"] if age_s > STUCK_S else []


def unready(host: Probed) -> list[str]:
    """Return why a host should get no new clients; [] = it is ready."""
    problems = stuck(host)
    if host.is_draining:
        problems.append("it is about to leave")
    stage = host.stage
    if stage != "ACTIVE":
        waits = host.waiting_for
        problems.append(f"it is {stage}" + (f", waits for {waits}" if waits else ""))
    return problems


def serve(host: Probed, listen: str, state_dir: Path | None) -> Health:
    """Serve a host's health and metrics at `tcp://IP:PORT`.

    Raises:
        OSError: The address can't be had.
        ColonyError: prometheus_client is missing.
    """
    from colony.metrics import Exposition, ask_vitals  # a heavy library: only where it is asked for

    def state() -> dict[str, Any]:
        return {"ready": not unready(host), "loop_age_s": host.loop_age_s}

    ip, _, port = listen.removeprefix("tcp://").rpartition(":")
    metrics = Exposition(lambda: ask_vitals(host.server), state, state_dir)
    pages: dict[str, Page] = {
        "/livez": lambda: verdict(stuck(host), name=host.name, loop_age_s=round(host.loop_age_s, 3)),
        "/readyz": lambda: verdict(unready(host), name=host.name, stage=host.stage),
        "/metrics": metrics.page,
    }
    try:
        return Health(ip.strip("[]"), 0 if port == "*" else int(port), pages)
    except OSError as error:
        raise OSError(error.errno, f"can't serve metrics at {listen}: {error.strerror or error}") from None


def verdict(problems: list[str], **told: Any) -> tuple[int, str, bytes]:
    """Return a page that says ok (200), or what is wrong (503)."""
    said = {"ok": not problems, "problems": problems, **told}
    return (503 if problems else 200), JSON, json.dumps(said).encode() + b"\n"
