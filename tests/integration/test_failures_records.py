"""The record when Redis answers late, is full, or is replaced by a copy that is behind, and when its time runs out.

Real: Redis, a replica of it, Daphne and its WebSocket, this process's store and publisher. The tests play the tasks.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from redis.exceptions import OutOfMemoryError

from progress import publisher, redis_writes
from progress.exceptions import StoreUnavailable
from progress.record import Status
from progress.redis_clients import WRITE_TIMEOUT
from progress.redis_store import RedisStore
from progress.store import LIVE_LIFETIME, Answer, Write, get_store
from tests import jobs
from tests.acted import ActedTask
from tests.integration.test_convergence import proxy_thread
from tests.processes import Redis, in_this_process, wait_until
from tests.tcp_proxy import TcpProxy
from tests.watching import end_of, record_of
from tests.web_only import WebOnly
from tests.wire import wire

SHORT = 5  # seconds


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[RedisStore]:
    found = get_store()
    assert isinstance(found, RedisStore)
    yield found
    await found.aclose()


def save(n: int, **args: Any) -> Write:
    return Write("save", "task", {"exec": "a", "fence": 0, "n": n, "state": "PROGRESS", **args})


@patch.object(redis_writes, "WRITE_TIMEOUT", WRITE_TIMEOUT)  # as a site's
def test_a_write_that_timed_out_and_was_made_all_the_same_counts_once(store: RedisStore, redis_server: Redis) -> None:
    """Redis stalls, executes what it was sent, and is sent the same again: nobody sees that twice."""

    def said(write: Write) -> Answer | None:
        with suppress(StoreUnavailable):
            return store.write(write)
        return None

    wait_until(lambda: said(save(1)), 10, "the first write is made")
    redis_server.suspend()
    try:
        with pytest.raises(StoreUnavailable):
            store.write(save(2, body='"current":2'))
    finally:
        redis_server.resume()

    def executed() -> Any:
        record = store.load("task")
        return record if record and record.n == 2 else None

    late = wait_until(executed, 5, "the write that timed out is made")
    again = wait_until(lambda: said(save(2, body='"current":2')), 5, "Redis answers again")
    assert again is not None
    assert again.status is Status.STALE
    assert (again.head.seq, again.head.attempt) == (late.seq, 1)


async def test_reads_that_are_cancelled_never_answer_for_one_another(store: RedisStore) -> None:
    """1 000 reads, half of them cancelled at any moment: each of the others has the record that it asked for."""
    keys = [f"task-{number}" for number in range(50)]
    await store.awrite_many([Write("queue", key, {"body": f'"id":"{key}"'}) for key in keys])
    dice = random.Random(20_261_121)

    async def read(key: str) -> None:
        (record,) = await store.aload_many([key])
        assert record is not None
        assert record.body == f'"id":"{key}"'

    for _ in range(20):
        reads = [asyncio.create_task(read(dice.choice(keys))) for _ in range(50)]
        for each in dice.sample(reads, 25):
            asyncio.get_running_loop().call_later(dice.random() / 50, each.cancel)
        results = await asyncio.gather(*reads, return_exceptions=True)
        wrong = [result for result in results if isinstance(result, Exception)]
        assert wrong == []


@pytest.mark.parametrize("sign", ["renew", "save"])
def test_a_record_of_a_silent_task_lives_as_long_as_its_signs_of_life(store: RedisStore, sign: str) -> None:
    """However little of its lifetime was left: each sign gives it the whole again."""
    store.write(Write("queue", "task", {}))
    store.write(save(1, lease=16_000_000))
    with closing(store.client(5.0)) as client:
        name = f"{store.prefix}:task:task"
        assert client.expire(name, SHORT)
        args = {"exec": "a", "lease": 16_000_000}
        assert store.write(Write("renew", "task", args) if sign == "renew" else save(2, lease=16_000_000)).accepted
        assert client.ttl(name) > LIVE_LIFETIME - 60


def test_a_full_redis_costs_the_task_nothing_and_its_end_is_written_when_there_is_room(store: RedisStore) -> None:
    """With `noeviction` Redis refuses to write. The task runs on, and its end waits in this process."""
    with closing(store.client(5.0)) as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")
        try:
            with pytest.raises(OutOfMemoryError):
                client.set("x", "1")
            result = jobs.count.apply((50,), task_id="in a full Redis")
            assert result.get() == 50
            assert record_of("in a full Redis") is None
        finally:
            client.config_set("maxmemory", "0")
        end = end_of("in a full Redis")
    assert (end.state, end.snapshot()["current"]) == ("SUCCESS", 50)
    publisher.stop()


# --- A replica that is behind ------------------------------------------------------------------------------


@pytest.fixture
def way(tmp_path: Path) -> Iterator[tuple[WebOnly, TcpProxy, Redis]]:
    """A Daphne whose way to Redis can be led to another one; and a replica of the one that it uses."""
    folder = tmp_path / "failover"
    own = WebOnly(folder)
    other = Redis(folder, name="replica")
    with proxy_thread(own.redis.port) as (proxy, loop):
        own.env["REDIS_URL"] = own.web.env["REDIS_URL"] = f"redis://127.0.0.1:{proxy.port}/0"
        try:
            own.start()
            other.start()
            yield own, proxy, other
        finally:
            loop.call_soon_threadsafe(proxy.cut)
            own.stop()
            other.kill()


async def test_a_failover_to_a_replica_that_is_behind_shows_no_step_back_and_the_true_end(
    way: tuple[WebOnly, TcpProxy, Redis], settings: Any
) -> None:
    """The last writes are gone, with the highest numbers that were ever shown. Whoever runs a task knows these."""
    web, proxy, other = way
    owner = web.user()
    with closing(web.redis.client(socket_timeout=20)) as first, closing(other.client()) as second:
        first.config_set("repl-diskless-sync-delay", 0)
        second.replicaof("127.0.0.1", web.redis.port)
        with in_this_process(settings, web.env["REDIS_URL"], web.prefix):
            task = ActedTask(owner=str(owner.pk)).queue().run(1, 10)
            assert first.wait(1, 15_000) == 1
            second.replicaof("NO", "ONE")  # from here on it is behind
            async with wire(web.ws, cookie=owner.cookie) as page:
                await page.watch(task.id)
                for step in range(2, 9):
                    task.run(step, 10)
                before = await page.sees(task.id, current=8)
                proxy.target_port = other.port
                await asyncio.to_thread(web.redis.kill)

                def goes_on(step: int, end: bool = False) -> bool:
                    with suppress(StoreUnavailable):
                        _ = task.end() if end else task.run(step, 10)
                        return True
                    return False

                await asyncio.to_thread(wait_until, lambda: goes_on(9), 10, "the other Redis takes a write")
                after = await page.sees(task.id, seconds=10, current=9)
                assert after["seq"] > before["seq"]
                assert (after["run"], after["attempt"]) == (before["run"], before["attempt"])
                await asyncio.to_thread(wait_until, lambda: goes_on(10, end=True), 10, "the end is written")
                await page.ends(task.id, seconds=10)
                assert page.close_code is None
