"""Whoever asks Redis is given the answer to that, whatever became of those who asked before."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from typing import Any
from unittest.mock import patch

import pytest
import redis
import redis.asyncio
from redis.exceptions import ResponseError

from progress import redis_clients, redis_logs
from progress.exceptions import StoreUnavailable
from progress.redis_clients import CONNECTIONS, RedisClients
from progress.redis_store import RedisStore
from tests.wire import until

WAIT = 5.0  # seconds


@pytest.fixture
async def clients(redis_url: str) -> AsyncIterator[RedisClients]:
    own = RedisClients(f"{redis_url}?client_name=asks")
    yield own
    await own.aclose()
    for client in own._clients.values():
        client.close()


@pytest.fixture
def admin(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url)


async def echo(clients: RedisClients, word: str) -> str:
    (reply,) = await clients.aexchange([("ECHO", word)])
    return str(reply.decode())


def connections(admin: redis.Redis) -> list[str]:
    return [str(each["id"]) for each in admin.client_list() if each["name"] == "asks"]


def said(clients: RedisClients, word: str) -> str:
    return str(clients.exchange(WAIT, "ECHO", word).decode())


# --- Threads -----------------------------------------------------------------------------------------------


def test_calls_one_after_the_other_need_one_connection(clients: RedisClients, admin: redis.Redis) -> None:
    """It stays at hand in between, after an error of Redis, too."""
    assert said(clients, "a word") == "a word"
    assert isinstance(clients.exchange(WAIT, "HGET"), ResponseError)
    assert said(clients, "another") == "another"
    assert len(connections(admin)) == 1


def test_threads_have_their_own_answers(clients: RedisClients, admin: redis.Redis) -> None:
    """No two use a connection at the same time."""
    words = [f"{number}" for number in range(200)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda word: said(clients, word), words)) == words
    assert len(connections(admin)) <= 8


def test_threads_that_come_first_together_have_one_client(clients: RedisClients) -> None:
    """Each makes one, and one is kept: redis-py closes the connections of a client that nobody keeps."""
    together, make = Barrier(2), redis_clients.redis_place.pool

    def make_together(*args: Any, **kwargs: Any) -> Any:
        made = make(*args, **kwargs)
        together.wait(WAIT)
        return made

    with patch.object(redis_clients.redis_place, "pool", make_together), ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: clients.client(WAIT), range(2))
    assert one is other is clients.client(WAIT)


def test_a_forked_child_has_its_own_connection(
    clients: RedisClients, admin: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes that read from one would have each other's answers."""
    said(clients, "the parent")
    (parents,) = connections(admin)
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        assert said(clients, "the child") == "the child"
        assert len(connections(admin)) == 2
    admin.client_kill_filter(_id=next(each for each in connections(admin) if each != parents))
    assert said(clients, "the parent") == "the parent"
    assert connections(admin) == [parents]


def test_a_late_answer_is_nobodys(clients: RedisClients, admin: redis.Redis) -> None:
    """It comes into a connection that has been closed."""
    with pytest.raises(redis.TimeoutError):
        clients.exchange(0.2, "BLPOP", "list", 0)
    admin.rpush("list", "late")
    assert clients.exchange(0.2, "ECHO", "next") == b"next"


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_who_is_interrupted_leaves_no_answer_to_the_next(clients: RedisClients, error: type[BaseException]) -> None:
    """As by a soft time limit, while it waits."""
    said(clients, "before")
    with patch.object(redis.Connection, "read_response", side_effect=error), pytest.raises(error):
        said(clients, "not mine")
    assert said(clients, "next") == "next"


def test_what_the_server_has_closed_is_opened_again(clients: RedisClients, admin: redis.Redis) -> None:
    """As after a restart; once, and without an error."""
    said(clients, "before")
    for name in connections(admin):
        admin.client_kill_filter(_id=name)
    assert said(clients, "after") == "after"
    assert len(connections(admin)) == 1


def test_a_crowd_of_readers_shares_connections(redis_url: str, admin: redis.Redis, monkeypatch: Any) -> None:
    """More threads than connections: they wait their turn, and all are answered; but not for ever."""
    store = RedisStore(f"{redis_url}?client_name=asks", "asks")
    crowd = 10 * CONNECTIONS
    began = Barrier(crowd)

    def read(key: str) -> Any:
        began.wait(WAIT)
        return store.load(key)

    with ThreadPoolExecutor(crowd) as threads:
        assert list(threads.map(read, map(str, range(crowd)))) == [None] * crowd
    assert len(connections(admin)) <= CONNECTIONS
    monkeypatch.setattr(redis_logs, "CONNECTION_WAIT", 0.01)
    hanging, let_go = Barrier(CONNECTIONS + 1), Event()

    def hang() -> None:
        hanging.wait(WAIT)
        let_go.wait(WAIT)

    with ThreadPoolExecutor(CONNECTIONS) as threads:
        for _ in range(CONNECTIONS):
            threads.submit(store._read, hang)
        hanging.wait(WAIT)
        with pytest.raises(StoreUnavailable, match="others"):
            store.load("one-more")
        let_go.set()
    assert store.load("afterwards") is None
    for client in store._clients.values():
        client.close()


def test_a_crowd_of_writers_does_not_take_redis_for_away(clients: RedisClients) -> None:
    """Each of 150 threads has a connection at the same time; redis-py by itself refuses the 101st."""
    crowd = 150
    together, ask = Barrier(crowd), redis_clients._ask

    def ask_together(*args: Any) -> Any:
        together.wait(WAIT)
        return ask(*args)

    words = [f"{number}" for number in range(crowd)]
    with patch.object(redis_clients, "_ask", ask_together), ThreadPoolExecutor(crowd) as threads:
        assert list(threads.map(lambda word: said(clients, word), words)) == words


# --- Event loops -------------------------------------------------------------------------------------------


async def test_an_error_is_the_answer_to_its_own_command(clients: RedisClients, admin: redis.Redis) -> None:
    """Those around it have theirs, and so has who asks next."""
    admin.rpush("list", "x")
    first, error, last = await clients.aexchange([("ECHO", "first"), ("HGET", "list", "x"), ("ECHO", "last")])
    assert (first, last) == (b"first", b"last")
    assert isinstance(error, ResponseError)
    assert await echo(clients, "next") == "next"


async def test_who_is_cancelled_leaves_no_answer_to_the_next(clients: RedisClients, admin: redis.Redis) -> None:
    """The answer comes later, into a connection that nobody reads any more."""
    assert await echo(clients, "before") == "before"
    waits = asyncio.create_task(clients.aexchange([("BLPOP", "list", 0), ("ECHO", "not mine")]))
    await until(lambda: admin.info("clients")["blocked_clients"] == 1)
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    admin.rpush("list", "late")
    assert await asyncio.gather(*(echo(clients, f"{number}") for number in range(3))) == ["0", "1", "2"]


async def test_who_gave_up_leaves_no_answer_to_the_next(clients: RedisClients, admin: redis.Redis) -> None:
    """A time-out, and the answer after it."""
    with patch.object(redis_clients, "READ_TIMEOUT", 0.5), pytest.raises(redis.TimeoutError):
        await clients.aexchange([("BLPOP", "list", 0)])
    admin.rpush("list", "late")
    assert await echo(clients, "next") == "next"


async def test_whatever_goes_wrong_before_the_answer_is_read_leaves_none_to_the_next(clients: RedisClients) -> None:
    """Not only what redis-py itself knows of."""
    await echo(clients, "before")
    with patch.object(redis.asyncio.Connection, "read_response", side_effect=MemoryError), pytest.raises(MemoryError):
        await echo(clients, "not mine")
    assert await echo(clients, "next") == "next"


async def test_what_cannot_be_sent_leaves_the_connection_usable(clients: RedisClients) -> None:
    """redis-py refuses it before anything leaves."""
    with pytest.raises(redis.DataError):
        await clients.aexchange([("ECHO", object())])
    assert await echo(clients, "next") == "next"


async def test_a_connection_that_the_server_has_closed_is_made_again(
    clients: RedisClients, admin: redis.Redis
) -> None:
    """As a Redis does that restarts, or that closes what was idle for long."""
    assert await echo(clients, "before") == "before"
    for name in connections(admin):
        admin.client_kill_filter(_id=name)
    assert await echo(clients, "after") == "after"


async def test_many_at_once_share_the_pool_and_give_it_back(clients: RedisClients, admin: redis.Redis) -> None:
    """No more connections than allowed, each answer to whom it belongs, twice."""
    words = [f"{number}" for number in range(5 * CONNECTIONS)]
    for _ in range(2):
        assert await asyncio.gather(*(echo(clients, word) for word in words)) == words
        assert len(connections(admin)) <= CONNECTIONS


async def test_who_waits_for_a_connection_has_the_first_that_is_free(
    clients: RedisClients, admin: redis.Redis
) -> None:
    """It does not stay at hand for whoever calls next."""
    busy = [asyncio.create_task(clients.aexchange([("BLPOP", f"list-{n}", 0)])) for n in range(CONNECTIONS)]
    await until(lambda: admin.info("clients")["blocked_clients"] == CONNECTIONS)
    waits = asyncio.create_task(echo(clients, "first"))
    await asyncio.sleep(0)
    admin.rpush("list-0", "x")
    assert await waits == "first"
    assert sum(each.done() for each in busy) == 1
    for n in range(1, CONNECTIONS):
        admin.rpush(f"list-{n}", "x")
    await asyncio.gather(*busy)


async def test_one_at_a_time_needs_one_connection_and_closing_leaves_none(
    clients: RedisClients, admin: redis.Redis
) -> None:
    """It stays at hand in between."""
    for _ in range(3):
        await echo(clients, "a word")
    assert len(connections(admin)) == 1
    await clients.aclose()
    await until(lambda: connections(admin) == [])
    assert await echo(clients, "again") == "again"


async def test_closing_while_somebody_asks_leaves_the_next_one_whole(
    clients: RedisClients, admin: redis.Redis
) -> None:
    """Who was waiting hears that there is no answer; who comes next has a connection of the new client."""
    waits = asyncio.create_task(clients.aexchange([("BLPOP", "list", 0)]))
    await until(lambda: admin.info("clients")["blocked_clients"] == 1)
    await clients.aclose()
    waits.cancel()
    await asyncio.gather(waits, return_exceptions=True)
    assert await asyncio.gather(*(echo(clients, f"{number}") for number in range(3))) == ["0", "1", "2"]
