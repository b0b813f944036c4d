"""Hosts in this process: real machines, sockets and loops on loopback."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import colony
from tests.ports import free_port

pytestmark = pytest.mark.real


def free_address() -> str:
    return f"tcp://127.0.0.1:{free_port()}"


@contextmanager
def running(count: int, **options: Any) -> Iterator[list[colony.Host]]:
    """Run hosts that found a cluster together; stopped at once at the end."""
    addresses = [free_address() for _ in range(count)]
    hosts = [
        colony.Host(
            address,
            name=f"h{number}",
            join=[other for other in addresses if other != address],
            expect=count,
            colonies=8,
            labels={"box": f"b{number}"},
            **options,
        )
        for number, address in enumerate(addresses)
    ]
    with ExitStack() as stack:
        for host in hosts:
            stack.callback(host.close)
            host.start()
        for host in hosts:
            host.wait_ready(60)
        yield hosts


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[colony.Host]]:
    with running(2) as made:
        yield made


def test_hosts_found_a_cluster_and_say_so(hosts: list[colony.Host]) -> None:
    assert [host.stage for host in hosts] == ["ACTIVE", "ACTIVE"]
    assert all(host.halted is None and host.waiting_for == "" for host in hosts)
    view = hosts[0].view
    assert view is not None and {member.name for member in view.members} == {"h0", "h1"}


def test_an_embedded_store_reads_and_writes_wherever_the_primary_is(hosts: list[colony.Host]) -> None:
    with hosts[0].store() as store, hosts[1].store() as other:
        for number in range(40):  # some colonies have their primary here, some there
            version = store.set(f"k{number}", number, ttl=100)
            entry = other.entry(f"k{number}")
            assert entry is not None and (entry.value, entry.version) == (number, version)
        assert store.get("missing", 5) == 5
        assert sorted(store.keys("k1")) == sorted(other.keys("k1"))
        assert store.mutate("n", lambda value: value + 1, default=0) == 1
        with store.session("sid", ttl=5) as s:
            s["cart"] = [1]
        assert other["sid"] == {"cart": [1]}
        store.set_many({f"m{number}": number for number in range(500)})
        assert other.get_many(["m1", "m499"]) == {"m1": 1, "m499": 499}


def test_conditions_hold_among_all_stores(hosts: list[colony.Host]) -> None:
    with hosts[0].store() as embedded, colony.connect(hosts[1].address) as thin:
        winners = []

        def compete(store: colony.Store, name: str) -> None:
            for number in range(30):
                if store.add(f"race:{number}", name):
                    winners.append((number, name))

        threads = [threading.Thread(target=compete, args=pair) for pair in ((embedded, "e"), (thin, "t"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(number for number, _ in winners) == list(range(30))
        assert all(thin[f"race:{number}"] == name for number, name in winners)


def test_counting_in_many_threads_loses_nothing(hosts: list[colony.Host]) -> None:
    with hosts[0].store() as store:

        def count() -> None:
            for _ in range(20):
                store.mutate("count", lambda value: value + 1, default=0)

        threads = [threading.Thread(target=count) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store["count"] == 80


def test_an_embedded_asyncio_store_has_the_same_calls(hosts: list[colony.Host]) -> None:
    async def main() -> None:
        async with hosts[0].aio_store() as store, asyncio.timeout(20):
            await asyncio.gather(*[store.set(f"a{number}", number) for number in range(100)])
            values = await asyncio.gather(*[store.get(f"a{number}") for number in range(100)])
            assert values == list(range(100))
            assert await store.mutate("an", lambda value: value + 1, default=0) == 1
            assert len(await store.keys("a")) == 101

    asyncio.run(main())


def test_a_loop_stands_in_for_the_host_and_leaves_it_to_itself_when_busy(hosts: list[colony.Host]) -> None:
    """Tasks and threads count at the same time; then the loop sleeps while others need its host."""
    host, took = hosts[0], list[bool]()
    server: Any = host._running()[0]

    async def main() -> None:
        async with host.aio_store() as store, asyncio.timeout(40):

            async def count() -> None:
                for _ in range(10):
                    await store.mutate("tasks", lambda value: value + 1, default=0)

            await asyncio.gather(*[count() for _ in range(20)])
            assert await store.get("tasks") == 200
            sets = [asyncio.ensure_future(store.set(f"b{number}", number)) for number in range(500)]
            for _ in range(1_000):
                if server._baton.deputy is not None or all(each.done() for each in sets):
                    break
                await asyncio.sleep(0)
            took.append(server._baton.deputy is not None)
            time.sleep(0.5)  # noqa: ASYNC251 - the loop does something else
            assert server._baton.deputy is None, "the host has not waited for it"
            await asyncio.gather(*sets)
            thread = asyncio.to_thread(lambda: [blocking.set(f"c{number}", number) for number in range(50)])
            await asyncio.gather(thread, *[store.set(f"d{number}", number) for number in range(300)])
            assert [await store.get(f"{name}49") for name in "bcd"] == [49, 49, 49]

    with host.store() as blocking:
        thread = threading.Thread(target=asyncio.run, args=(main(),), daemon=True)
        thread.start()
        thread.join(50)
        assert not thread.is_alive() and took == [True]
        assert server._baton.deputy is None and host.halted is None


def test_a_watch_sees_all_hosts(hosts: list[colony.Host]) -> None:
    with colony.connect(hosts[0].address) as store, store.watch("w") as watch:
        for number in range(20):
            store[f"w{number}"] = number
        seen: set[str | bytes] = set()
        deadline_s = time.monotonic() + 20.0
        while len(seen) < 20 and time.monotonic() < deadline_s:
            event = watch.poll(0.5)
            if event is not None and event.kind == "born":
                seen.add(event.key)
        assert len(seen) == 20


def test_an_operators_question_is_answered_by_this_host(hosts: list[colony.Host]) -> None:
    with hosts[1].store() as store:
        status = store.admin("status", {"colonies": False})
        assert status["name"] == "h1" and status["quorum"]
        with pytest.raises(colony.ColonyError):
            store.admin("nonsense")


def test_a_closed_store_leaves_its_host_running(hosts: list[colony.Host]) -> None:
    store = hosts[0].store()
    store.close()
    with pytest.raises(colony.Closed):
        store.get("k")
    with hosts[0].store() as other:
        assert other.set("k", 1) > 0


def test_in_a_forked_child_an_embedded_store_says_so(hosts: list[colony.Host]) -> None:
    with hosts[0].store() as store:
        store["k"] = 1
        pid = os.fork()
        if pid == 0:
            try:
                store.get("k")
            except colony.Closed:
                os._exit(7)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_a_leaving_host_takes_nothing_with_it() -> None:
    with running(3) as hosts, colony.connect([host.address for host in hosts]) as store:
        store.set_many({f"k{number}": number for number in range(200)})
        assert hosts[2].leave(20) is True
        hosts[2].close()
        assert store.get_many(f"k{number}" for number in range(200)) == {
            f"k{number}": number for number in range(200)
        }


def test_the_last_host_can_not_leave_but_ends_with_its_block() -> None:
    address = free_address()
    host = colony.Host(address, expect=1, peers=1, colonies=4)
    with host:
        host.wait_ready(60)
        with host.store() as store:
            store["k"] = 1
        with pytest.raises(colony.Denied):
            host.leave(5)
    assert host.stage == "CLOSED"
    with pytest.raises(colony.Closed):
        host.store()


def test_a_host_keeps_its_identity_in_its_state_directory(tmp_path: Path) -> None:
    ids = []
    for _ in range(2):
        host = colony.Host(free_address(), state_dir=tmp_path)
        host.start()
        try:
            second = colony.Host(free_address(), state_dir=tmp_path)
            with pytest.raises(colony.ColonyError, match="another host process"):
                second.start()
        finally:
            host.close()
        ids.append(host.id)
    assert ids[0] == ids[1]


def test_a_host_that_waits_says_for_what() -> None:
    host = colony.Host("tcp://127.0.0.1:0", expect=3)
    host.start()
    try:
        assert not host.address.endswith(":0")
        with pytest.raises(colony.Unavailable, match="ZOMBIE: 3 hosts"):
            host.wait_ready(0.1)
        with host.store(timeout=0.3) as store, pytest.raises(colony.Unavailable, match="no cluster"):
            store.set("k", 1)
        assert host.leave(5) is True, "there is nothing to leave"
    finally:
        host.close()
        host.close()


def test_an_address_in_use_is_told() -> None:
    host = colony.Host("tcp://127.0.0.1:0")
    host.start()
    try:
        with pytest.raises(OSError, match="can't listen"):
            colony.Host(host.address).start()
    finally:
        host.close()


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"listen": "127.0.0.1:7420"}, ValueError),
        ({"listen": "tcp://127.0.0.1"}, ValueError),
        ({"listen": 7420}, TypeError),
        ({"join": "nonsense"}, ValueError),
        ({"colonies": 0}, ValueError),
        ({"peers": 17}, ValueError),
        ({"labels": {"planet": "x"}}, ValueError),
    ],
)
def test_wrong_arguments_are_refused_at_once(wrong: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        colony.Host(**wrong)
