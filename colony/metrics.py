"""Metrics of a host in Prometheus' text format, by prometheus_client.

The figures are gathered by the host's own loop when somebody asks for them,
so each scrape is of one moment. Names follow Prometheus' conventions.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from agents.messages.client import OK, Admin
from agents.vitals import BOUNDS_S
from colony.embedded import Waiter
from colony.errors import ColonyError, Unavailable

try:
    from prometheus_client import CollectorRegistry, ProcessCollector
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        InfoMetricFamily,
        Metric,
    )
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ColonyError(
        "metrics need prometheus_client: pip install 'colony-engine[metrics]', or leave out --metrics"
    ) from error

ASK_S = 2.0  # a loop that is busy for longer is late, which /livez and the next scrape will tell

Json = Mapping[str, Any]


class Asked(Protocol):
    """What takes a request to the host's loop."""

    def submit(self, request: Any, callback: Callable[[Any], None]) -> bool: ...


def ask_vitals(server: Asked) -> dict[str, Any]:
    """Return what the host's loop says of itself now; raises `Unavailable`."""
    waiter = Waiter()
    if not server.submit(Admin(1, "vitals", {}), waiter):
        raise Unavailable("the host has ended")
    reply = waiter.wait(ASK_S)
    if reply is None or reply.code != OK:
        raise Unavailable("the host's loop does not answer")
    found: dict[str, Any] = json.loads(reply.text)
    return found


class Exposition:
    """The page of metrics of one host; any thread.

    Args:
        vitals: Returns what the host says of itself.
        state: Returns what is known without its loop: `ready`, `live`, `loop_age_s`.
        state_dir: Where it keeps snapshots; None = nowhere.
    """

    def __init__(
        self, vitals: Callable[[], Json], state: Callable[[], Json], state_dir: Path | None = None
    ) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(HostCollector(vitals, state, state_dir))
        ProcessCollector(registry=self._registry)  # memory, descriptors, processor time

    def page(self) -> tuple[int, str, bytes]:
        """Return the page; 503 if the host's loop does not answer."""
        try:
            return 200, CONTENT_TYPE_LATEST, generate_latest(self._registry)
        except Unavailable as error:
            return 503, "text/plain; charset=utf-8", f"{error}\n".encode()


class HostCollector(Collector):
    """Turns a host's vitals into metrics."""

    def __init__(self, vitals: Callable[[], Json], state: Callable[[], Json], state_dir: Path | None) -> None:
        self._vitals, self._state, self._state_dir = vitals, state, state_dir

    def collect(self) -> Iterator[Metric]:
        """Yield everything, as of now."""
        vitals = self._vitals()
        yield from _about(vitals, self._state())
        yield from _colonies(vitals)
        yield from _traffic(vitals)
        yield from _requests(vitals)
        yield from _snapshots(self._state_dir, time.time())


def _gauge(name: str, help_: str, value: float) -> Metric:
    return GaugeMetricFamily(f"colony_{name}", help_, value=float(value))


def _counter(name: str, help_: str, value: float) -> Metric:
    return CounterMetricFamily(f"colony_{name}", help_, value=float(value))


def _by(family: Any, label: str, values: Mapping[str, float], known: tuple[str, ...] = ()) -> Metric:
    """Return a family with one sample per label value; those `known` are always there."""
    for value in sorted({*known, *values}):
        family.add_metric([value], float(values.get(value, 0)))
    metric: Metric = family
    del label
    return metric


def _gauges(
    name: str, help_: str, label: str, values: Mapping[str, float], known: tuple[str, ...] = ()
) -> Metric:
    return _by(GaugeMetricFamily(f"colony_{name}", help_, labels=[label]), label, values, known)


def _about(vitals: Json, state: Json) -> Iterator[Metric]:
    told = {key: str(vitals.get(key, "")) for key in ("name", "host", "incarnation", "tag")}
    yield InfoMetricFamily("colony_host", "Who this host is.", value=told)
    view, load, late = vitals["view"], vitals["load"], vitals["late"]
    yield _gauge("ready", "1 = ACTIVE, with quorum, not about to leave.", state["ready"])
    yield _gauge("loop_age_seconds", "Time since the host's loop turned last.", state["loop_age_s"])
    yield _gauge("quorum", "1 = this host holds quorum.", vitals["quorum"])
    yield _gauge("view_number", "Number of the installed view.", view["number"])
    yield _gauge("view_generation", "Generation of the installed view.", view["generation"])
    stages = ("ZOMBIE", "DISCOVERY", "ELECTION", "VERIFICATION", "COMMIT", "HOLD")
    yield _gauges("stage", "1 = the host is in this stage.", "stage", {vitals["stage"]: 1}, stages)
    statuses = ("JOINING", "ACTIVE", "LEAVING")
    yield _gauges("members", "Members of the view by status.", "status", vitals["members"], statuses)
    yield _gauge("members_heard", "Members that this host hears, itself included.", vitals["heard"])
    yield _gauge("uptime_seconds", "How long this incarnation has lived.", load["uptime_s"])
    yield _gauge("cpu_ratio", "Share of the processors in use, of the machine or the quota.", load["cpu"])
    yield _gauge("memory_free_bytes", "Memory that the host may still take.", load["memory_free"])
    yield _gauge("memory_limit_bytes", "Memory that it may have in all.", load["memory_total"])
    yield _counter("loop_late", "How often the loop was late by more than 0.1 s.", late["count"])
    yield _counter("loop_late_seconds", "By how much it was late, in all.", late["total_s"])
    yield _by(
        CounterMetricFamily("colony_events", "Events in the log, by kind.", labels=["kind"]),
        "kind",
        vitals["notes"],
        ("suspect", "confirmed", "evict", "undead", "lost", "promote", "clone", "cloned", "repel", "migrate"),
    )


def _colonies(vitals: Json) -> Iterator[Metric]:
    load = vitals["load"]
    roles = ("primary", "secondary", "learning")
    yield _gauge("colonies", "Colonies of the cluster.", vitals["colonies"])
    yield _gauges("peers", "Peers that this host holds, by role.", "role", vitals["peers"], roles)
    yield _gauge("peers_wanted", "Copies of each colony that were asked for.", vitals["wanted"])
    yield _gauge("peers_settled", "Copies of each colony that the hosts can carry.", vitals["settled"])
    yield _gauge(
        "colonies_short", "Colonies led here that lack a copy that they could have.", vitals["missing"]
    )
    yield _gauge(
        "colonies_lost", "Colonies that lost all their copies, as far as this host saw.", vitals["lost"]
    )
    yield _gauge("colonies_waiting", "Colonies that wait for hosts after a stop.", vitals["waiting"])
    yield _gauge("cells", "Cells that this host holds, copies included.", load["cells"])
    yield _gauge("cells_bytes", "Their weight.", load["bytes_used"])
    yield _gauge(
        "cells_limit_bytes", "How much it may carry; 0 = as much as memory allows.", vitals["bytes_max"]
    )
    yield _gauges("moves", "Moves under way that begin here, by kind.", "kind", vitals["moves"])
    yield _counter("cloned_bytes", "Bytes of cells cloned to other hosts.", vitals["bytes_cloned"])
    yield _counter(
        "mutations", "Mutations committed by primaries here, seen once a second.", vitals["mutations"]
    )


def _traffic(vitals: Json) -> Iterator[Metric]:
    links = vitals["links"]
    yield _gauge("links_up", "Links to other hosts that stand.", links["up"])
    changes = CounterMetricFamily(
        "colony_link_changes", "How often links came up and went down.", labels=["to"]
    )
    yield _by(changes, "to", {"up": links["ups"], "down": links["downs"]})
    yield _counter("link_messages_dropped", "Messages to hosts whose link was not up.", links["dropped"])
    yield _counter("link_strays", "Frames of links that were gone.", links["strays"])
    if vitals["clients"] >= 0:
        yield _gauge("client_connections", "Connections of clients and joiners.", vitals["clients"])
    refused = vitals.get("refused", 0)
    yield _counter("keys_refused", "Connections refused for want of a known key.", refused)
    yield _counter(
        "strangers_refused",
        "Connections and frames refused: nonsense, too slow, too many.",
        vitals["strangers"],
    )
    yield _gauge("backlog_requests", "Requests taken and not answered yet.", vitals["backlog"])
    yield _gauge("backlog_bytes", "Their weight.", vitals["backlog_bytes"])


def _requests(vitals: Json) -> Iterator[Metric]:
    taken = CounterMetricFamily("colony_requests", "Requests taken, all of them.", labels=["origin"])
    yield _by(taken, "origin", vitals["requests"])
    outcomes = CounterMetricFamily(
        "colony_sampled_requests",
        "Requests by kind and outcome: those of one frame in 32.",
        labels=["kind", "outcome"],
    )
    times = HistogramMetricFamily(
        "colony_sampled_request_seconds",
        "Time from taking a request to its answer, of those that were sampled.",
        labels=["kind"],
    )
    for kind, told in sorted(vitals["sampled"].items()):
        for outcome, count in sorted(told["outcomes"].items()):
            outcomes.add_metric([kind, outcome], float(count))
        so_far, buckets = 0, []
        for bound, count in zip((*map(repr, BOUNDS_S), "+Inf"), told["buckets"], strict=True):
            so_far += count
            buckets.append((bound, float(so_far)))
        times.add_metric([kind], buckets, told["sum_s"])
    yield outcomes
    yield times


def _snapshots(state_dir: Path | None, now_s: float) -> Iterator[Metric]:
    """Yield how old what is in the state directory is; nothing for what is not there."""
    if state_dir is None:
        return
    lost = [_written_s(path) for path in _files(state_dir / "lost")]
    ages = {"record": _written_s(state_dir / "record"), "stop": _written_s(state_dir / "snapshot")}
    ages["lost_and_found"] = max(lost, default=0.0)
    ages["periodic"] = max((_written_s(path) for path in _files(state_dir / "periodic")), default=0.0)
    there = {what: now_s - at_s for what, at_s in ages.items() if at_s}
    yield _gauges("snapshot_age_seconds", "Age of the newest file of its kind.", "kind", there)
    yield _gauge("lost_and_found_files", "Files with cells that this host had to drop.", len(lost))


def _files(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_file()]
    except OSError:
        return []


def _written_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
