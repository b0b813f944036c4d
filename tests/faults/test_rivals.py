"""How rivals are kept account of: no process of theirs, but all that judges them."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

import colony
from tests.faults import raft_store
from tests.faults.adapters import SYSTEMS, cell, comparison, unplayable
from tests.faults.plays import PLAYS
from tests.faults.raft_store import RaftStore
from tests.faults.redis_cluster import holders_of, is_enough, part_of, rows
from tests.faults.test_harness import get, put
from tests.faults.toll import Toll, missing_from, toll, waits_s
from tests.sim.history import Operation

NODES = """
aa 10.0.0.1:38000@48000 myself,master - 0 0 1 connected 0-5460
bb 10.0.0.2:38000@48000 master - 0 0 2 connected 5461-10922
cc 10.0.0.3:38000@48000 master,fail - 0 0 3 disconnected
dd 10.0.0.4:38000@48000 slave aa 0 0 1 connected
ee 10.0.0.5:38000@48000 slave bb 0 0 2 connected
ff 10.0.0.6:38000@48000 master - 0 0 9 connected 10923-16383 [93->-aa]
""".strip()
NAMES = {f"10.0.0.{number}:38000": f"h{number}" for number in range(1, 7)}


def write(kind: Any, argument: str, call_s: float, return_s: float, **told: Any) -> Operation:
    """Return a write to the one cell of these tests."""
    return Operation(key="k", kind=kind, call_s=call_s, return_s=return_s, argument=argument, **told)


# -- the toll --------------------------------------------------------------------------


def test_an_overwritten_value_is_stale_and_at_the_end_it_is_a_loss() -> None:
    history = [put("k", "x", 0.0, 0), put("k", "y", 1.0, 0), get("k", "x", 2.0)]
    found = toll({"c1": history}, [get("k", "x", 9.0)], {}, lambda key: 0)
    assert (found.acknowledged, found.stale, found.lost) == (2, 1, 1)
    found = toll({"c1": history}, [get("k", "y", 9.0)], {}, lambda key: 0)
    assert (found.stale, found.lost) == (1, 0)


def test_what_overlaps_or_is_unknown_is_held_against_nobody() -> None:
    overlapping = [write("put", "x", 0.0, 2.0), write("put", "y", 1.0, 3.0)]
    assert missing_from(get("k", "x", 5.0), overlapping) == []
    unknown = [write("put", "x", 0.0, 1.0, outcome="unknown"), write("put", "y", 2.0, 3.0)]
    assert missing_from(get("k", "x", 5.0), unknown) == []
    deleted = [write("put", "y", 0.0, 1.0), write("delete", "", 2.0, 3.0, outcome="unknown")]
    assert missing_from(get("k", None, 5.0), deleted) == []


def test_an_absent_cell_lost_its_write_unless_it_was_deleted() -> None:
    written = write("put", "y", 2.0, 3.0)
    assert missing_from(get("k", None, 5.0), [written]) == [written]
    assert missing_from(get("k", None, 5.0), [write("delete", "", 0.0, 1.0), written]) == [written]
    assert missing_from(get("k", None, 5.0), [written, write("delete", "", 3.5, 4.0)]) == []
    assert missing_from(get("k", None, 2.5), [written]) == [], "it was not yet acknowledged"


def test_each_acknowledged_token_counts() -> None:
    tokens = [write("append", token, at_s, at_s + 0.5) for at_s, token in enumerate("abc")]
    missing = missing_from(get("k", "a", 9.0), tokens)
    assert [op.argument for op in missing] == ["b", "c"]


def test_a_writer_waits_until_its_write_or_a_later_one_is_done() -> None:
    writes = [
        write("put", "a", 0.0, 0.1),
        write("put", "b", 1.0, 1.5, outcome="failed"),
        write("put", "c", 3.0, 3.25),
    ]
    done = [(op.call_s, op.return_s, op.key) for op in writes if op.outcome == "ok"]
    assert waits_s(writes, done, lambda key: 0) == 2.25
    assert waits_s(writes, done[:1], lambda key: 0) == 2.25, "to the end, if never"
    assert waits_s(writes, [*done, (1.0, 1.5, "k")], lambda key: 0) == 0.5


def test_partitions_wait_each_for_its_own() -> None:
    other = Operation(key="o", kind="put", call_s=1.5, return_s=1.6)
    writes = [write("put", "b", 1.0, 1.5, outcome="unknown"), other, write("put", "c", 3.0, 3.5)]
    done = [(op.call_s, op.return_s, op.key) for op in writes if op.outcome == "ok"]
    assert waits_s(writes, done, lambda key: int(key == "o")) == 2.5


def test_the_side_that_fared_best_counts_and_copies_may_be_waived() -> None:
    failed = write("put", "b", 1.0, 4.0, outcome="unknown")
    histories = {"c1": [failed], "c2": [write("put", "a", 0.0, 7.0)]}
    found = toll(histories, [], {"c1": [(1.0, 1.5, "k")]}, lambda key: 0)
    assert (found.pause_s, found.served_s) == (3.0, 0.5)


# -- Redis Cluster ---------------------------------------------------------------------


def test_the_nodes_of_redis_are_read() -> None:
    told = rows(NODES)
    assert [row.leads for row in told] == [(0,), (1,), (), (), (), (2,)]
    assert [row.is_well for row in told] == [True, True, False, True, True, True]
    assert holders_of(told, NAMES) == [{"h1", "h4"}, {"h2", "h5"}, {"h6"}]
    assert [part_of(slot) for slot in (0, 5460, 5461, 10922, 10923, 16383)] == [0, 0, 1, 1, 2, 2]


def test_who_may_be_cut_off_has_no_majority_of_primaries_nor_all_copies() -> None:
    told = rows(NODES)
    assert is_enough(told, NAMES, {"h1", "h5"})
    assert not is_enough(told, NAMES, {"h1", "h2"}), "two of three votes"
    assert not is_enough(told, NAMES, {"h1", "h4"}), "both copies"


def redis_store(answers: list[Any]) -> Any:
    """Return a store whose exchanges end as told, one after the other; a class of error is raised."""
    redis_store_module = pytest.importorskip("tests.faults.redis_store")

    class Told(redis_store_module.RedisStore):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self._timeout_s, self.refreshed = 0.2, 0
            self.alone: list[tuple[float, float, str]] = []

        def _pool(self, key: str) -> Any:
            class Pool:
                @staticmethod
                def get_connection() -> None:
                    if answers[0] is ConnectionRefusedError:
                        raise answers.pop(0)

            return Pool()

        def _on(self, *arguments: Any) -> Any:
            answer = answers.pop(0)
            if isinstance(answer, type):
                raise answer
            return answer

        def _refresh(self) -> None:
            self.refreshed += 1

    return Told()


def test_a_write_to_redis_counts_with_a_copy_only() -> None:
    assert redis_store([["OK", 1]]).set("k", "v") == 0
    store = redis_store([["OK", 0]])
    with pytest.raises(colony.OutcomeUnknown):
        store.set("k", "v")
    assert [key for _, _, key in store.alone] == ["k"]


def test_a_write_to_redis_is_tried_again_only_if_it_was_surely_not_done() -> None:
    redis = pytest.importorskip("redis")
    refused = redis.ResponseError("MOVED")
    store = redis_store([ConnectionRefusedError, [refused, 0], [1, 2]])
    assert store.delete("k") and store.refreshed == 2
    store = redis_store([redis.TimeoutError, ["OK", 1]])
    with pytest.raises(colony.OutcomeUnknown):
        store.set("k", "v")
    assert redis_store([redis.TimeoutError, [",a,b"]]).entry("k").value == "a,b"


# -- PySyncObj -------------------------------------------------------------------------


@contextmanager
def node(answers: list[dict[str, Any] | None]) -> Iterator[str]:
    """Yield the address of what answers clients so, one after the other; None hangs up."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            while answers:
                try:
                    link, _ = server.accept()
                except OSError:
                    return
                with link, link.makefile("rwb") as lines:
                    while answers and lines.readline():
                        answer = answers.pop(0)
                        if answer is None:
                            break
                        lines.write(json.dumps(answer).encode() + b"\n")
                        lines.flush()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield "{}:{}".format(*server.getsockname())
    answers.clear()
    thread.join(2)


@pytest.mark.parametrize(
    ("answers", "call", "outcome"),
    [
        ([{"outcome": "ok", "value": None}], lambda store: store.set("k", "v"), 0),
        ([{"outcome": "failed", "why": "QUEUE_FULL"}, {"outcome": "ok", "value": True}], None, True),
        ([{"outcome": "unknown", "why": "TIMEOUT"}], None, colony.OutcomeUnknown),
        ([None], None, colony.OutcomeUnknown),
        ([None, {"outcome": "ok", "value": "x"}], lambda store: store.entry("k").value, "x"),
    ],
)
def test_what_a_node_answers_becomes_an_outcome(
    monkeypatch: pytest.MonkeyPatch, answers: list[Any], call: Callable[[Any], Any] | None, outcome: Any
) -> None:
    with node(answers) as address:
        monkeypatch.setattr(raft_store, "PORT", address.partition(":")[2])
        store = RaftStore(address, 1.0, logged=False)
        call = call or (lambda store: store.delete("k"))
        if isinstance(outcome, type):
            with pytest.raises(outcome):
                call(store)
        else:
            assert call(store) == outcome
        store.close()


# -- side by side ------------------------------------------------------------------------


def test_the_table_says_what_was_not_played() -> None:
    tolls = {("colony", name): Toll(5, 100, pause_s=1.0, served_s=1.0) for name in PLAYS}
    tolls["redis-cluster", "broken_link"] = Toll(5, 90, 1, 2, 3.0, 0.5, 4, 1)
    text = comparison(tolls)
    assert cell(tolls["redis-cluster", "broken_link"]) == "1 / 2 / 4, 3.0 (0.5) s, 1 ill"
    lines = {line.split()[0]: line for line in text.splitlines()}
    assert lines["split_and_join"].split()[-1] == "-"
    assert "1 / 2 / 4" in lines["broken_link"]
    assert lines["writes"].endswith("90")


def test_tolls_add_up() -> None:
    both = Toll(1, 5, 1, 0, 2.0, 1.0, 0, 0) + Toll(1, 7, 0, 3, 1.0, 1.5, 2, 1)
    assert both == Toll(2, 12, 1, 3, 2.0, 1.5, 2, 1)


def test_what_a_system_cannot_play_has_a_reason() -> None:
    assert not any(unplayable("colony", name) for name in PLAYS)
    for system in SYSTEMS[1:]:
        assert unplayable(system, "split_and_leave")
        assert not unplayable(system, "isolated_primary")
