"""The Redis of the records is the one of the channel layer, in whatever form that was written. With real servers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
import redis
import redis.asyncio
from channels_redis.utils import create_pool, decode_hosts
from redis.asyncio.connection import UnixDomainSocketConnection

from progress import redis_place, redis_url
from progress.redis_store import RedisStore
from progress.store import Write
from tests.guarded_redis import ENCODED, SECRET, GuardedRedis
from tests.processes import Redis, Server, find_redis, free_port
from tests.wire import until

USER = GuardedRedis.user
LOGIN: dict[str, Any] = {"username": USER, "password": SECRET}
OPTIONS: dict[str, Any] = {"socket_timeout": 2.0, "socket_connect_timeout": 2.0}


class Sentinel(Server):
    """A Sentinel that watches one Redis and wants a password of its own."""

    def __init__(self, folder: Path, watched: Redis) -> None:
        super().__init__("sentinel", folder)
        self.port, self.watched = free_port(), watched

    def command(self) -> Sequence[str]:
        config = self.folder / "sentinel.conf"
        lines = [
            "bind 127.0.0.1",
            f"port {self.port}",
            f'dir "{self.folder}"',
            f'requirepass "{SECRET}"',
            f"sentinel monitor mymaster 127.0.0.1 {self.watched.port} 1",
            f"sentinel auth-user mymaster {USER}",
            f'sentinel auth-pass mymaster "{SECRET}"',
        ]
        config.write_text("\n".join(lines) + "\n")
        return [str(find_redis().path), str(config), "--sentinel"]

    def is_ready(self) -> bool:
        with closing(redis.Redis(port=self.port, password=SECRET)) as client, suppress(redis.RedisError):
            return bool(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"))
        return False


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedRedis]:
    server = GuardedRedis(tmp_path_factory.mktemp("guarded")).start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def sentinel(guarded: GuardedRedis) -> Iterator[Sentinel]:
    server = Sentinel(guarded.folder, guarded).start()
    yield server
    server.kill()


def _forms(server: GuardedRedis, sentinel: Sentinel) -> dict[str, Any]:
    """Every form of a host that channels_redis takes, for one and the same Redis."""
    where = {"host": "127.0.0.1", "port": server.port}
    plain = f"redis://127.0.0.1:{server.port}"
    behind = {"master_name": "mymaster", "sentinel_kwargs": {"password": SECRET}}
    return {
        "URL": f"redis://{USER}:{ENCODED}@127.0.0.1:{server.port}/3",
        "URL of a socket": f"unix://{USER}:{ENCODED}@{quote(str(server.socket))}?db=2",
        "address": {"address": f"redis://{USER}:{ENCODED}@127.0.0.1:{server.port}/3"},
        "address, login beside": {"address": f"{plain}/3", **LOGIN},
        "address, database beside": {"address": plain, "db": 4, **LOGIN},
        "address and time-out": {"address": f"{plain}/0", "socket_timeout": None, **LOGIN},
        "host and port": {**where, **LOGIN},
        "host, port, database": {**where, **LOGIN, "db": 5},
        "socket": {"path": str(server.socket), "connection_class": UnixDomainSocketConnection, "db": 1, **LOGIN},
        "Sentinel": {"sentinels": [("127.0.0.1", sentinel.port)], "db": 6, **behind, **LOGIN},
    }


FORMS = list(_forms(GuardedRedis(Path(), port=1), Sentinel(Path(), GuardedRedis(Path(), port=1))))


@pytest.mark.parametrize("form", FORMS)
async def test_the_records_are_where_the_layer_is(guarded: GuardedRedis, sentinel: Sentinel, form: str) -> None:
    """What the layer's own pool writes, ours read: the same server, user, password and database."""
    host = _forms(guarded, sentinel)[form]
    name, value = str(uuid4()), str(uuid4()).encode()
    theirs = redis.asyncio.Redis(connection_pool=create_pool(decode_hosts([host])[0]))
    await theirs.set(name, value)
    await theirs.connection_pool.disconnect()
    for each in getattr(getattr(theirs.connection_pool, "sentinel_manager", None), "sentinels", ()):
        await each.aclose()
    url = redis_url.of_hosts([host])
    redis_url.check(url)
    assert redis_url.shown(url).isascii()
    assert USER not in redis_url.shown(url)
    with closing(redis.Redis.from_pool(redis_place.pool(url, **OPTIONS))) as client:
        assert client.get(name) == value
    aclient = redis.asyncio.Redis.from_pool(redis_place.apool(url, max_connections=2, timeout=1, **OPTIONS))
    assert await aclient.get(name) == value
    await aclient.aclose()


def test_records_are_kept_behind_sentinels(guarded: GuardedRedis, sentinel: Sentinel) -> None:
    """The whole store, by nothing but the layer's host: written quickly, then read."""
    store = RedisStore(redis_url.of_hosts([_forms(guarded, sentinel)["Sentinel"]]), "sentinel-tests")
    assert store.write(Write("queue", "k", {"owner": "1", "public": "{}", "staff": "{}"})).accepted
    found = store.load("k")
    assert found is not None
    assert found.owner == "1"
    for client in store._clients.values():
        client.close()


async def test_a_failover_behind_sentinels_closes_all_connections(guarded: GuardedRedis, sentinel: Sentinel) -> None:
    """redis-py closes what lies in the pool then. What stayed out of it would go on talking to the old master."""
    store = RedisStore(redis_url.of_hosts([_forms(guarded, sentinel)["Sentinel"]]), "sentinel-tests")
    with closing(redis.Redis.from_url(guarded.url)) as admin:
        before = {each["id"] for each in admin.client_list()}

        def ours() -> set[str]:
            return {each["id"] for each in admin.client_list(_type="normal")} - before

        assert store.control("k") == ""
        await store.awrite_many([Write("watch", "k", {"span": 1})])
        assert len(ours()) == 2
        for client in store._clients.values():
            client.connection_pool.disconnect(inuse_connections=False)
        await store.aclient().connection_pool.disconnect(inuse_connections=False)
        await until(lambda: not ours())
        await store.aclose()
    for client in store._clients.values():
        client.close()


async def test_more_callers_than_connections_wait_behind_sentinels_too(
    guarded: GuardedRedis, sentinel: Sentinel
) -> None:
    """The pool of an event loop raises nothing when many sockets come at once."""
    url = redis_url.of_hosts([_forms(guarded, sentinel)["Sentinel"]])
    client = redis.asyncio.Redis.from_pool(redis_place.apool(url, max_connections=2, timeout=5, **OPTIONS))
    assert await asyncio.gather(*(client.incr(f"wait-{number}") for number in range(50))) == [1] * 50
    await client.aclose()


async def test_a_sentinel_that_is_away_holds_up_nobody(guarded: GuardedRedis, sentinel: Sentinel) -> None:
    """The next one is asked at once: a task that is sent waits 50 ms at the most, not seconds."""
    host = _forms(guarded, sentinel)["Sentinel"]
    url = redis_url.of_hosts([{**host, "sentinels": [("127.0.0.1", free_port()), *host["sentinels"]]}])
    async with asyncio.timeout(1):
        with closing(redis.Redis.from_pool(redis_place.pool(url, **OPTIONS))) as client:
            assert await asyncio.to_thread(client.ping)
        aclient = redis.asyncio.Redis.from_pool(redis_place.apool(url, max_connections=2, timeout=1, **OPTIONS))
        assert await aclient.ping()
        await aclient.aclose()


def test_a_time_out_in_the_url_does_not_make_us_wait(guarded: GuardedRedis) -> None:
    """A site may give its Redis as much time as it likes; our calls take what we ask for."""
    url = f"{guarded.url}?socket_timeout=30&socket_connect_timeout=30&health_check_interval=7"
    found = redis_place.pool(url, socket_timeout=0.05, socket_connect_timeout=0.05).connection_kwargs
    assert (found["socket_timeout"], found["socket_connect_timeout"]) == (0.05, 0.05)
    assert found["health_check_interval"] == 7
    sentinels = redis_place.pool("redis+sentinel://a:1/m?socket_timeout=30&sentinel_socket_timeout=30", **OPTIONS)
    assert sentinels.connection_kwargs["socket_timeout"] == 2.0
    assert sentinels.sentinel_manager.sentinel_kwargs["socket_timeout"] == 2.0


def test_tls_to_the_master_and_to_the_sentinels_are_two_choices() -> None:
    """Each has its own certificates; a password of the one is not told to the other."""
    url = f"rediss+sentinel://:{ENCODED}@a:1/m/2?ssl_ca_certs=/m.pem&sentinel_ssl=true&sentinel_ssl_ca_certs=/s.pem"
    found = redis_place.pool(url)
    assert found.connection_class.__name__ == "SentinelManagedSSLConnection"
    own = found.connection_kwargs
    assert (own["password"], own["db"], own["ssl_ca_certs"]) == (SECRET, 2, "/m.pem")
    theirs = found.sentinel_manager.sentinels[0].connection_pool.connection_kwargs
    assert theirs["ssl_ca_certs"] == "/s.pem"
    assert not theirs.get("password")
    assert redis_place.pool("redis+sentinel://a:1/m").connection_class.__name__ == "SentinelManagedConnection"
