"""The asyncio store: the same calls, many tasks, one connection per host."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

import colony
from agents.messages import client as m
from colony.aio import AioStore
from tests.colony.fake_hosts import SILENCE, FakeCluster, FakeHost

Scenario = Callable[[AioStore], Awaitable[None]]


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    with FakeCluster(3, colonies=8) as made:
        yield made


def play(cluster: FakeCluster, scenario: Scenario) -> None:
    """Run a scenario on a loop of its own; 20 s at most."""

    async def main() -> None:
        async with colony.aio.connect(cluster.addresses) as store, asyncio.timeout(20):
            await scenario(store)

    asyncio.run(main())


def test_the_calls_mean_what_they_mean_in_the_blocking_store(cluster: FakeCluster) -> None:
    async def scenario(store: AioStore) -> None:
        version = await store.set("k", {"a": 1}, ttl=1800)
        assert await store.get("k") == {"a": 1}
        assert await store.entry("k") == colony.Entry({"a": 1}, version, 1800.0)
        assert await store.entry("missing") is None
        assert await store.get("missing", 5) == 5
        assert await store.set("k", 1, only_if="absent") == 0
        assert not await store.add("k", 1)
        assert await store.replace("k", 2, version=version) > version
        with pytest.raises(colony.VersionConflict):
            await store.replace("k", 3, version=version)
        assert await store.touch("k", ttl=colony.KEEP)
        assert await store.contains("k")
        assert await store.mutate("n", lambda value, more: value + more, 5, default=1) == 6
        assert await store.delete("k") and not await store.delete("k")

    play(cluster, scenario)


def test_many_cells_and_keys(cluster: FakeCluster) -> None:
    async def scenario(store: AioStore) -> None:
        values = {f"k{number}": number for number in range(3000)}
        versions = await store.set_many(values)
        assert versions.keys() == values.keys()
        assert await store.get_many([*values, "missing"]) == values
        assert sorted(await store.keys("k1")) == sorted(key for key in values if key.startswith("k1"))
        assert await store.delete_many(["k1", "k2", "missing"]) == 2

    play(cluster, scenario)


def test_sessions_send_what_changed(cluster: FakeCluster) -> None:
    async def scenario(store: AioStore) -> None:
        async with store.session("sid", ttl=100) as s:
            s["cart"], s["user"] = [1], "me"
        async with store.session("sid", ttl=100) as s:
            s["cart"].append(2)
        assert await store.get("sid") == {"cart": [1, 2], "user": "me"}
        with pytest.raises(ZeroDivisionError):
            async with store.session("sid") as s:
                s["user"] = 1 / 0

    play(cluster, scenario)
    last = [one for host in cluster.hosts for one in host.seen if isinstance(one, m.Patch)][-1]
    assert [name for name, _ in last.changed] == ["cart"]


def test_tasks_of_one_turn_share_a_frame(cluster: FakeCluster) -> None:
    async def scenario(store: AioStore) -> None:
        await store.set("warm", 1)
        await asyncio.gather(*[store.get(f"k{number}") for number in range(200)])
        before = sum(host.frames for host in cluster.hosts)
        await asyncio.gather(*[store.set(f"k{number}", number) for number in range(200)])
        assert sum(host.frames for host in cluster.hosts) - before <= 3

    play(cluster, scenario)


def test_tasks_never_get_each_others_replies(cluster: FakeCluster) -> None:
    async def scenario(store: AioStore) -> None:
        async def work(name: str) -> None:
            for number in range(20):
                await store.set(f"{name}:{number}", (name, number))
                assert await store.get(f"{name}:{number}") == (name, number)

        await asyncio.gather(*[work(f"t{number}") for number in range(32)])

    play(cluster, scenario)


def test_a_killed_primary_is_replaced_within_the_call(cluster: FakeCluster) -> None:
    async def scenario(store: AioStore) -> None:
        await store.set_many({f"k{number}": number for number in range(50)})
        cluster.hosts[0].stop()

        def promote() -> None:
            cluster.primary[:] = [number or 1 for number in cluster.primary]

        threading.Timer(0.1, promote).start()
        begun_s = time.monotonic()
        await asyncio.gather(*[store.set(f"k{number}", -number) for number in range(50)])
        assert time.monotonic() - begun_s < 4.0

    play(cluster, scenario)
    assert cluster.applied == 100


def test_silence_to_the_end_is_an_unknown_outcome_for_writes_only(cluster: FakeCluster) -> None:
    for host in cluster.hosts:
        host.script = lambda host, one: SILENCE if isinstance(one, m.Put | m.Get) else None

    async def scenario(store: AioStore) -> None:
        with pytest.raises(colony.OutcomeUnknown):
            await store.set("k", 1, timeout=0.4)
        with pytest.raises(colony.Unavailable):
            await store.get("k", timeout=0.4)

    play(cluster, scenario)


def test_no_host_at_all_is_unavailable_in_time() -> None:
    async def main() -> None:
        async with colony.aio.connect("tcp://127.0.0.1:1") as store:
            with pytest.raises(colony.Unavailable):
                await store.set("k", 1, timeout=0.2)

    asyncio.run(asyncio.wait_for(main(), 2.0))


def test_a_cancelled_call_leaves_the_store_in_order(cluster: FakeCluster) -> None:
    held: list[Any] = []

    def script(host: FakeHost, one: Any) -> Any:
        if isinstance(one, m.Put) and one.key == b"slow" and not held:
            held.append(one)
            return SILENCE
        return None

    for host in cluster.hosts:
        host.script = script

    async def scenario(store: AioStore) -> None:
        task = asyncio.create_task(store.set("slow", 1))
        await asyncio.sleep(0.1)
        assert held
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await store.set("k", 2)
        assert await store.get("k") == 2

    play(cluster, scenario)


def test_closing_ends_calls_under_way(cluster: FakeCluster) -> None:
    for host in cluster.hosts:
        host.script = lambda host, one: SILENCE if isinstance(one, m.Put) else None

    async def scenario(store: AioStore) -> None:
        task = asyncio.create_task(store.set("k", 1))
        await asyncio.sleep(0.05)
        await store.close()
        await store.close()
        with pytest.raises(colony.OutcomeUnknown):
            await task
        with pytest.raises(colony.Closed):
            await store.get("k")

    play(cluster, scenario)


def test_a_store_belongs_to_one_loop(cluster: FakeCluster) -> None:
    store = colony.aio.connect(cluster.addresses)
    asyncio.run(store.set("k", 1))

    async def again() -> None:
        with pytest.raises(colony.Closed, match="another event loop"):
            await store.get("k")

    asyncio.run(again())


def test_a_watch_yields_changes(cluster: FakeCluster) -> None:
    async def scenario(store: AioStore) -> None:
        seen = []

        async def follow() -> None:
            async for event in store.watch("w"):
                seen.append((event.kind, event.key))
                if len(seen) == 2:
                    return

        task = asyncio.create_task(follow())
        await asyncio.sleep(0.3)
        await store.set("w1", 1)
        await store.set("x", 1)
        await store.set("w1", 2)
        await asyncio.wait_for(task, 5.0)
        assert seen == [("born", "w1"), ("changed", "w1")]

    play(cluster, scenario)


def test_wrong_arguments_are_refused_before_anything_is_sent(cluster: FakeCluster) -> None:
    async def scenario(store: AioStore) -> None:
        with pytest.raises(ValueError):
            await store.set("", 1)
        with pytest.raises(ValueError):
            await store.set("k", 1, ttl=0)
        with pytest.raises(TypeError):
            await store.get(5)  # type: ignore[arg-type]

    play(cluster, scenario)
    assert all(not host.seen for host in cluster.hosts)
