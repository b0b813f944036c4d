"""Health and metrics over HTTP: what they say, and what they put up with."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

import colony
from colony import health
from colony.health import CONNECTIONS_MAX, Health, serve, unready
from colony.metrics import HostCollector


class FakeHost:
    """A host that is as the test says."""

    name, stage, waiting_for = "h1", "ACTIVE", ""
    halted: tuple[int, str] | None = None
    is_draining = False
    loop_age_s = 0.01
    server: Any = None


def get(page: str, address: str, method: str = "GET") -> tuple[int, str]:
    """Return a page's status and body."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=20.0)
    connection.request(method, page)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


@pytest.fixture
def served() -> Iterator[tuple[FakeHost, str]]:
    """Yield a host and where its health is."""
    host = FakeHost()
    server = serve(host, "tcp://127.0.0.1:0", None)
    yield host, server.address
    server.close()


def test_ready_is_false_for_each_reason_and_alive_only_for_a_stuck_loop(served: tuple[FakeHost, str]) -> None:
    host, address = served
    assert get("/readyz", address)[0] == get("/livez", address)[0] == 200
    host.is_draining = True
    status, body = get("/readyz", address)
    assert status == 503 and json.loads(body)["problems"] == ["it is about to leave"]
    assert get("/livez", address)[0] == 200, "who leaves lives"
    host.is_draining, host.stage, host.waiting_for = False, "HOLD", "a majority of its view"
    assert "it is HOLD, waits for a majority of its view" in get("/readyz", address)[1]
    host.stage, host.loop_age_s = "ACTIVE", 11.0
    assert get("/livez", address)[0] == get("/readyz", address)[0] == 503
    host.loop_age_s, host.halted = 0.0, (5, "no majority")
    assert "it has ended: no majority" in get("/livez", address)[1]


def test_other_pages_and_methods_are_refused_and_head_has_no_body(served: tuple[FakeHost, str]) -> None:
    _, address = served
    assert get("/", address)[0] == 404 and "/livez" in get("/nothing", address)[1]
    assert get("/livez?verbose=1", address)[0] == 200
    assert get("/livez", address, "HEAD") == (200, "")
    assert get("/livez", address, "POST")[0] == 501


def test_who_talks_slowly_or_nonsense_holds_up_nobody(
    served: tuple[FakeHost, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PATIENCE_S", 0.3)
    _, address = served
    ip, _, port = address.removeprefix("http://").rpartition(":")
    idle = [socket.create_connection((ip, int(port))) for _ in range(CONNECTIONS_MAX - 1)]
    assert get("/livez", address)[0] == 200
    idle += [socket.create_connection((ip, int(port))) for _ in range(2 * CONNECTIONS_MAX)]
    for one in idle:
        try:
            one.sendall(b"\x00nonsense")
        except OSError:
            pass
    end_s = time.monotonic() + 20.0
    status = 0
    while (
        status != 200 and time.monotonic() < end_s
    ):  # too many at a time: hung up on, until the slow ones are out
        try:
            status = get("/livez", address)[0]
        except (OSError, http.client.HTTPException):
            time.sleep(0.05)
    assert status == 200
    for one in idle:
        one.close()


def test_an_endless_head_is_cut_off(served: tuple[FakeHost, str]) -> None:
    _, address = served
    ip, _, port = address.removeprefix("http://").rpartition(":")
    with socket.create_connection((ip, int(port)), timeout=20.0) as endless:
        try:
            for _ in range(64):
                endless.sendall(b"GET /livez HTTP/1.1\r\nx: " + b"y" * 4096)
            endless.shutdown(socket.SHUT_WR)
            assert b"200" not in endless.recv(4096)
        except OSError:
            pass
    assert get("/livez", address)[0] == 200


def test_a_host_of_its_own_tells_its_metrics() -> None:
    with colony.Host("tcp://127.0.0.1:0", expect=1, peers=1, colonies=8, metrics="tcp://127.0.0.1:0") as host:
        host.wait_ready(60.0)
        with colony.connect(host.address) as store:
            for number in range(200):
                store.set(f"k{number}", "v")
        status, body = get("/metrics", host.metrics_address)
        assert get("/readyz", host.metrics_address)[0] == 200
    assert status == 200
    found = {family.name: family for family in text_string_to_metric_families(body)}
    value = {name: family.samples[0].value for name, family in found.items() if family.samples}
    assert value["colony_ready"] == value["colony_quorum"] == 1
    assert value["colony_mutations"] > 0 and value["colony_cells_bytes"] >= 0
    assert value["colony_colonies"] == 8
    taken = {sample.labels["origin"]: sample.value for sample in found["colony_requests"].samples}
    assert taken["client"] >= 200
    events = {sample.labels["kind"]: sample.value for sample in found["colony_events"].samples}
    assert events["view"] == 1 and events["undead"] == 0
    assert {"process_resident_memory_bytes", "process_open_fds"} <= set(found)
    buckets = [s for s in found["colony_sampled_request_seconds"].samples if s.name.endswith("_bucket")]
    puts = [s.value for s in buckets if s.labels["kind"] == "put"]
    assert puts == sorted(puts) and puts[-1] >= 5, "one frame in 32 is timed"
    counters = [family for family in found.values() if family.type == "counter"]
    assert all(sample.name.endswith("_total") for family in counters for sample in family.samples)
    assert all(
        family.documentation.endswith(".") for name, family in found.items() if name.startswith("colony")
    )


def test_a_host_that_is_to_leave_is_first_of_all_not_ready() -> None:
    with colony.Host("tcp://127.0.0.1:0", expect=1, peers=1, colonies=4, metrics="tcp://127.0.0.1:0") as host:
        host.wait_ready(60.0)
        assert unready(host) == []
        with pytest.raises(colony.Denied):
            host.leave(1.0)
        assert unready(host) == [], "the last one stays, and goes on"


@pytest.mark.slow
def test_before_anything_moves_a_leaving_host_is_not_ready_for_a_while() -> None:
    make: dict[str, Any] = {"expect": 2, "peers": 1, "colonies": 4}
    loopback = "tcp://127.0.0.1:0"
    with (
        colony.Host(loopback, name="a", **make) as first,
        colony.Host(
            loopback, name="b", join=[first.address], metrics=loopback, drain_grace=0.5, **make
        ) as host,
    ):
        host.wait_ready(60.0)
        assert get("/readyz", host.metrics_address)[0] == 200
        left: list[bool] = []
        leaver = threading.Thread(target=lambda: left.append(host.leave(20.0)))
        leaver.start()
        time.sleep(0.2)
        status, body = get("/readyz", host.metrics_address)
        assert status == 503 and json.loads(body)["problems"] == ["it is about to leave"]
        assert host.stage == "ACTIVE" and host.server.container.directory.copies[host.id] == 2
        leaver.join(25.0)
        assert left == [True]


def test_what_is_missing_is_said_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colony.metrics")
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    host = colony.Host("tcp://127.0.0.1:0", metrics="tcp://127.0.0.1:0")
    with pytest.raises(colony.ColonyError, match=r"pip install 'colony-engine\[metrics\]'"):
        host.start()


def test_an_address_that_is_taken_is_said(served: tuple[FakeHost, str]) -> None:
    _, address = served
    host = colony.Host("tcp://127.0.0.1:0", metrics=address.replace("http", "tcp"))
    with pytest.raises(OSError, match="can't serve metrics at"):
        host.start()


def test_a_loop_that_does_not_answer_has_no_metrics_but_is_seen() -> None:
    def silent() -> Any:
        raise colony.Unavailable("the host's loop does not answer")

    collector = HostCollector(silent, dict, None)
    with pytest.raises(colony.Unavailable):
        list(collector.collect())
    server = Health("127.0.0.1", 0, {"/livez": lambda: (200, "text/plain", b"ok")})
    assert get("/livez", server.address) == (200, "ok")
    server.close()
