"""The blocking client on bad days: hosts that move, die, fall silent; threads, forks, the end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import colony
from agents.messages import client as m
from agents.wire import WireError, decode_replies
from tests.colony.fake_hosts import SILENCE, FakeCluster, FakeHost

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with FakeCluster(3, colonies=1) as made:
        yield made


@pytest.fixture
def store(cluster: FakeCluster) -> Iterator[colony.Store]:
    with colony.connect(cluster.addresses, codec="json") as made:
        yield made


def puts(host: FakeHost) -> list[m.Put]:
    return [one for one in host.seen if isinstance(one, m.Put)]


# -- the way to the primary ------------------------------------------------------


def test_it_goes_straight_to_the_primary(cluster: FakeCluster, store: colony.Store) -> None:
    cluster.primary = [2]
    store["k"] = 1
    assert [len(puts(host)) for host in cluster.hosts] == [0, 0, 1]


def test_it_follows_moved_and_remembers(cluster: FakeCluster, store: colony.Store) -> None:
    store["k"] = 1
    cluster.primary = [1]
    store["k"] = 2
    store["k"] = 3
    assert [len(puts(host)) for host in cluster.hosts] == [2, 2, 0]


def test_a_dead_seed_is_no_hindrance(cluster: FakeCluster) -> None:
    addresses = "tcp://127.0.0.1:1," + cluster.hosts[1].address
    with colony.connect(addresses, codec="json") as store:
        assert store.set("k", 1) > 0


def test_a_cluster_that_is_being_founded_is_waited_for(cluster: FakeCluster, store: colony.Store) -> None:
    cluster.tag, tag = "", cluster.tag
    threading.Timer(0.1, lambda: setattr(cluster, "tag", tag)).start()
    assert store.set("k", 1) > 0


def test_no_host_at_all_is_unavailable_in_time() -> None:
    with colony.connect("tcp://127.0.0.1:1") as store:
        begun_s = time.monotonic()
        with pytest.raises(colony.Unavailable):
            store.set("k", 1, timeout=0.2)
        assert time.monotonic() - begun_s < 4.0, "the store's own patience is 5 s"


def test_a_host_of_another_cluster_is_not_talked_to(cluster: FakeCluster) -> None:
    with (
        colony.connect(cluster.addresses, tag="b" * 32) as store,
        pytest.raises(colony.ColonyError, match="cluster"),
    ):
        store.set("k", 1, timeout=0.3)
    assert not cluster.cells


# -- hosts that fail -------------------------------------------------------------


def test_a_killed_primary_is_replaced_within_the_call(cluster: FakeCluster, store: colony.Store) -> None:
    store["k"] = 1
    cluster.hosts[0].stop()
    threading.Timer(0.1, lambda: cluster.primary.__setitem__(0, 1)).start()
    begun_s = time.monotonic()
    assert store.set("k", 2) > 0
    assert time.monotonic() - begun_s < 4.0


def test_a_stopped_primary_is_replaced_within_the_call(cluster: FakeCluster, store: colony.Store) -> None:
    store["k"] = 1
    cluster.hosts[0].is_deaf = True  # connections stand, nobody answers
    cluster.primary = [1]
    begun_s = time.monotonic()
    assert store.set("k", 2) > 0
    assert time.monotonic() - begun_s < 4.0
    cluster.hosts[0].is_deaf = False


def test_a_lost_reply_does_not_apply_the_mutation_twice(cluster: FakeCluster, store: colony.Store) -> None:
    store["n"] = 0
    lost: list[Any] = []

    def script(host: FakeHost, one: Any) -> Any:
        if isinstance(one, m.Mutate) and not lost:
            lost.append(host.serve(one))
            cluster.primary = [1]  # and the next primary knows the lane
            return SILENCE
        return None

    cluster.hosts[0].script = script
    assert store.mutate("n", lambda value: value + 1) == 1
    assert store["n"] == 1 and len(lost) == 1


def test_refused_to_the_end_is_unavailable(cluster: FakeCluster, store: colony.Store) -> None:
    for host in cluster.hosts:
        host.script = lambda host, one: (
            m.Reply(one.id, m.UNAVAILABLE, text="no quorum") if isinstance(one, m.Put) else None
        )
    with pytest.raises(colony.Unavailable, match="no quorum"):
        store.set("k", 1, timeout=0.3)


def test_silence_to_the_end_is_an_unknown_outcome(cluster: FakeCluster, store: colony.Store) -> None:
    for host in cluster.hosts:
        host.script = lambda host, one: SILENCE if isinstance(one, m.Put) else None
    with pytest.raises(colony.OutcomeUnknown):
        store.set("k", 1, timeout=0.5)


def test_an_unanswered_read_is_unavailable(cluster: FakeCluster, store: colony.Store) -> None:
    for host in cluster.hosts:
        host.script = lambda host, one: SILENCE if isinstance(one, m.Get) else None
    with pytest.raises(colony.Unavailable):
        store.get("k", timeout=0.5)


def test_a_late_reply_is_not_taken_for_the_next_calls(cluster: FakeCluster, store: colony.Store) -> None:
    store["slow"], store["k"] = "slow", "k"
    held: list[Any] = []

    def script(host: FakeHost, one: Any) -> Any:
        if isinstance(one, m.Get) and one.key == b"slow" and not held:
            held.append(one)
            return SILENCE
        return None

    for host in cluster.hosts:
        host.script = script
    with pytest.raises(colony.Unavailable):
        store.get("slow", timeout=0.1)
    late = m.Reply(held[0].id, m.OK, 1, value=b'J"late"')
    cluster.hosts[0].script = lambda host, one: host.also(late)
    assert store.get("k") == "k"
    assert store.get("k") == "k"


def hang_up(store: colony.Store) -> None:
    """Break all connections of this thread, as hosts do that got no answer to their PINGs."""
    wire = store._transport.wire()  # type: ignore[attr-defined]
    wire.busy.release()
    for link in wire._by_address.values():
        link._socket.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("stale_s", [0.0, 100.0])
def test_connections_that_were_closed_while_nobody_called_are_made_anew(
    cluster: FakeCluster, store: colony.Store, monkeypatch: pytest.MonkeyPatch, stale_s: float
) -> None:
    monkeypatch.setattr("agents.tcp_link.STALE_S", stale_s)  # seen before, or by the call itself
    store["k"] = 1
    calls: list[Callable[[], object]] = [
        lambda: store.set("k", 2),
        lambda: store.get("k"),
        lambda: store.set_many({"k": 2, "l": 3}),
        lambda: store.admin("status"),
    ]
    for call in calls:
        hang_up(store)
        begun_s = time.monotonic()
        call()
        assert time.monotonic() - begun_s < 2.0
    assert cluster.applied == 4, "each once"


def test_an_answer_that_can_not_be_read_ends_the_connection_and_not_the_call(
    cluster: FakeCluster, store: colony.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store["k"] = 1
    spoilt: list[bytes] = []

    def spoil(frame: bytes) -> list[m.Reply]:
        if not spoilt:
            spoilt.append(frame)
            raise WireError("spoilt")
        return decode_replies(frame)

    monkeypatch.setattr("colony.wires.decode_replies", spoil)
    assert store.set("k", 2) > 0
    assert spoilt and cluster.applied == 2, "once"


def test_many_writes_survive_the_loss_of_a_host(cluster: FakeCluster, store: colony.Store) -> None:
    store["warm"] = 0
    seen = 0

    def script(host: FakeHost, one: Any) -> Any:
        nonlocal seen
        seen += isinstance(one, m.Put)
        return SILENCE if seen > 500 else None

    cluster.hosts[0].script = script

    def fail() -> None:
        cluster.hosts[0].stop()
        cluster.primary[0] = 1

    threading.Timer(0.1, fail).start()
    store.set_many({f"k{number}": number for number in range(2000)})
    assert len(store) == 2001
    assert cluster.applied == 2001, "each once"


def test_an_order_whose_host_falls_silent_is_not_given_to_another(
    cluster: FakeCluster, store: colony.Store
) -> None:
    for host in cluster.hosts:
        host.script = lambda host, one: SILENCE if isinstance(one, m.Admin) else None
    with pytest.raises(colony.OutcomeUnknown):
        store.admin("init", {}, timeout=0.5)
    assert sum(isinstance(one, m.Admin) for host in cluster.hosts for one in host.seen) == 1


# -- threads, forks, the end -----------------------------------------------------


def test_threads_share_a_store_and_never_each_others_replies(
    cluster: FakeCluster, store: colony.Store
) -> None:
    wrong: list[Any] = []

    def work(name: str) -> None:
        for number in range(50):
            store[f"{name}:{number}"] = [name, number]
            value = store[f"{name}:{number}"]
            if value != [name, number]:
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and len(store) == 400
    lanes = {one.lane for host in cluster.hosts for one in puts(host)}
    assert len(lanes) <= 8


def test_a_thread_for_each_request_does_not_connect_for_each(
    cluster: FakeCluster, store: colony.Store
) -> None:
    for number in range(30):
        thread = threading.Thread(target=store.set, args=(f"k{number}", number))
        thread.start()
        thread.join()
    assert sum(isinstance(one, m.Greet) for host in cluster.hosts for one in host.seen) <= 3
    assert len({one.lane for host in cluster.hosts for one in puts(host)}) == 1


def crowd(store: colony.Store, threads: int, calls: int) -> list[Any]:
    """Have many threads write and read at once; return what was read wrong."""
    wrong: list[Any] = []

    def work(name: str) -> None:
        for number in range(calls):
            try:
                store[f"{name}:{number}"] = [name, number]
                value = store[f"{name}:{number}"]
            except colony.ColonyError as error:
                value = error
            if value != [name, number]:
                wrong.append(value)

    workers = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return wrong


def pumps() -> int:
    return sum(thread.name == "colony-client" for thread in threading.enumerate())


def test_a_crowd_of_threads_is_carried_in_common_frames(cluster: FakeCluster, store: colony.Store) -> None:
    store["warm"] = 0
    for host in cluster.hosts:
        host.script = lambda host, one: time.sleep(0.0002)
    assert crowd(store, 40, 20) == []
    assert pumps() == 1
    assert len(store) == 801
    assert cluster.hosts[0].frames < 1600
    store.close()
    deadline_s = time.monotonic() + 20.0
    while pumps() and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert pumps() == 0
    with pytest.raises(colony.Closed):
        store.get("k")


def test_a_crowd_gets_over_the_loss_of_a_host(cluster: FakeCluster, store: colony.Store) -> None:
    store["warm"] = 0
    cluster.hosts[0].script = lambda host, one: time.sleep(0.0002)

    def fail() -> None:
        cluster.hosts[0].stop()
        cluster.primary[0] = 1

    threading.Timer(0.2, fail).start()
    assert crowd(store, 40, 20) == []
    assert cluster.applied == 801, "each once"


def test_when_the_crowd_is_gone_threads_call_by_themselves_again(
    store: colony.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("colony.transport.CROWD_MIN", -1)
    monkeypatch.setattr("colony.pump.CALM_S", 20.0)
    store["k"] = 1
    client: Any = store._transport
    assert client._pump is not None and client._pump.is_wanted
    monkeypatch.setattr("colony.pump.CALM_S", 0.05)
    monkeypatch.setattr("colony.transport.CROWD_MIN", 16)
    deadline_s = time.monotonic() + 20.0
    while client._pump.is_wanted and time.monotonic() < deadline_s:
        assert store["k"] == 1
    assert not client._pump.is_wanted
    assert store["k"] == 1


def test_a_store_survives_a_fork_with_connections_and_lanes_of_its_own(cluster: FakeCluster) -> None:
    code = f"""
import os, colony
store = colony.connect({cluster.addresses!r}, codec="json")
store["parent"] = 0
pid = os.fork()
if pid == 0:
    for number in range(20):
        store[f"child:{{number}}"] = number
        assert store[f"child:{{number}}"] == number
    os._exit(0)
for number in range(20):
    store[f"parent:{{number}}"] = number
    assert store[f"parent:{{number}}"] == number
assert os.waitpid(pid, 0)[1] == 0
store.close()
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=20)
    assert len(cluster.cells) == 41
    clients = {one.lane[:16] for one in puts(cluster.hosts[0])}
    assert len(clients) == 2


def test_a_watch_says_that_it_did_not_survive_a_fork(cluster: FakeCluster) -> None:
    code = f"""
import os, colony
watch = colony.connect({cluster.addresses!r}).watch()
pid = os.fork()
if pid == 0:
    try:
        next(watch)
    except colony.Closed:
        os._exit(7)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=20)


def test_a_process_that_never_closes_its_store_ends(cluster: FakeCluster) -> None:
    code = f"""
import colony, threading
store = colony.connect({cluster.addresses!r})
threads = [threading.Thread(target=store.set, args=(str(n), n)) for n in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
store["k"] = 1
"""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, timeout=20
    )
    assert (result.returncode, result.stderr) == (0, b"")


def test_closing_ends_calls_under_way_in_other_threads(cluster: FakeCluster, store: colony.Store) -> None:
    came = threading.Event()

    def script(host: FakeHost, one: Any) -> Any:
        if not isinstance(one, m.Put):
            return None
        came.set()
        return SILENCE

    for host in cluster.hosts:
        host.script = script
    errors: list[Exception] = []

    def work() -> None:
        try:
            store.set("k", 1)
        except colony.ColonyError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert came.wait(20.0)
    store.close()
    thread.join(20.0)
    assert [type(error) for error in errors] == [colony.OutcomeUnknown]


def test_a_call_in_the_middle_of_a_call_of_the_same_thread_works(
    cluster: FakeCluster, store: colony.Store
) -> None:
    # As a signal handler or a finalizer would make it.
    store["k"] = 1
    wire = store._transport.wire()  # type: ignore[attr-defined]
    try:
        assert store["k"] == 1
    finally:
        wire.busy.release()


@pytest.mark.parametrize("name", ["agents", "placement"])
def test_a_strangers_package_in_our_place_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("raise SystemError('never loaded')\n")
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}]; sys.path.append({str(ROOT)!r}); import colony"
    environment = {**os.environ, "PYTHONPATH": ""}
    result = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=20,
        env=environment,
    )
    assert result.returncode == 1
    last = result.stderr.strip().splitlines()[-1]
    assert (
        last.startswith("ImportError")
        and name in last
        and str(tmp_path) in last
        and "virtual environment" in last
    )


def test_importing_colony_is_cheap() -> None:
    heavy = ("zmq", "cloudpickle", "rich", "psutil", "pykka")
    code = f"import colony, sys; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    for name in colony.__all__:
        assert getattr(colony, name) is not None
    assert set(colony.__all__) <= set(dir(colony))
    with pytest.raises(AttributeError):
        colony.nonsense  # noqa: B018
