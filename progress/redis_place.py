"""From the URL of a Redis to connection pools, for threads and for event loops: one server, or behind Sentinels.

What the caller asks for counts more than what the URL says: a time-out in a URL that a site shares with its cache
must not make our calls wait that long. Nor must a Sentinel that is away: redis-py would ask it again and again, for
seconds; here the next one is asked at once.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import redis
import redis.asyncio
import redis.asyncio.connection
import redis.asyncio.sentinel
import redis.connection
import redis.sentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from . import redis_url

UNLIMITED: Final = 2**31  # connections; redis-py 8 by itself refuses the 101st
OF_SENTINEL: Final = "sentinel_"  # what in a query is meant for the Sentinels themselves
WAITING: Final = ("socket_timeout", "socket_connect_timeout")

# redis-py carries no types here.
_readers: Any = redis.connection.URL_QUERY_ARGUMENT_PARSERS
_parse: Any = redis.connection.parse_url
_parse_for_loops: Any = redis.asyncio.connection.parse_url


def pool(url: str, **options: Any) -> redis.ConnectionPool:
    """Connections to the Redis at `url` for plain code, as many as are asked for. `options` are those of redis-py.

    Raises `ProgressError` or `ValueError` when `url` has none of the forms in `redis_url`.
    """
    options = {"max_connections": UNLIMITED, **options}
    if not _is_behind_sentinels(url):
        return redis.ConnectionPool(**{**_parse(url), **options})
    behind = _behind_sentinels(url, options)
    theirs = {**behind.theirs, "retry": Retry(NoBackoff(), 0)}
    manager = redis.sentinel.Sentinel(behind.addresses, sentinel_kwargs=theirs)  # type: ignore[no-untyped-call]
    return _SentinelPool(behind.master, manager, **behind.own)  # type: ignore[no-untyped-call]


def apool(url: str, *, max_connections: int, timeout: float, **options: Any) -> redis.asyncio.ConnectionPool:
    """Like `pool`, for one event loop: so many connections at most; who wants one more waits `timeout` seconds."""
    options = {**options, "max_connections": max_connections, "timeout": timeout}
    if not _is_behind_sentinels(url):
        return redis.asyncio.BlockingConnectionPool(**{**_parse_for_loops(url), **options})
    behind = _behind_sentinels(url, options)
    theirs = {**behind.theirs, "retry": AsyncRetry(NoBackoff(), 0)}
    manager = redis.asyncio.sentinel.Sentinel(behind.addresses, sentinel_kwargs=theirs)  # type: ignore[no-untyped-call]
    return _WaitingSentinelPool(behind.master, manager, **behind.own)  # type: ignore[no-untyped-call]


class _SentinelPool(redis.sentinel.SentinelConnectionPool):
    """Closes with all its connections those to the Sentinels, which redis-py leaves open."""

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the connections, or those that nobody uses."""
        super().disconnect(inuse_connections)
        if inuse_connections:
            for each in self.sentinel_manager.sentinels:
                each.close()


class _WaitingSentinelPool(redis.asyncio.sentinel.SentinelConnectionPool, redis.asyncio.BlockingConnectionPool):
    """redis-py has pools that ask Sentinels, and pools that wait for a free connection; here both are needed."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """As in `_SentinelPool`."""
        await super().disconnect(inuse_connections)
        if inuse_connections:
            for each in self.sentinel_manager.sentinels:
                await each.aclose()


class _Behind(NamedTuple):
    """What a URL says about a Redis behind Sentinels."""

    addresses: list[tuple[str, int]]  # of the Sentinels
    master: str
    own: dict[str, Any]  # options of a connection to the master
    theirs: dict[str, Any]  # and of one to a Sentinel


def _is_behind_sentinels(url: str) -> bool:
    return urlsplit(url).scheme in redis_url.SENTINEL


def _behind_sentinels(url: str, options: dict[str, Any]) -> _Behind:
    addresses, master, database = redis_url.sentinels(url)
    parts = urlsplit(url)
    to_master: dict[str, Any] = {"db": database, "ssl": parts.scheme == "rediss+sentinel"}
    to_sentinel: dict[str, Any] = {}
    name, _, secret = parts.netloc.rpartition("@")[0].partition(":")
    to_master |= {"username": unquote(name)} if name else {}
    to_master |= {"password": unquote(secret)} if secret else {}
    for option, value in parse_qsl(parts.query):
        theirs = option.startswith(OF_SENTINEL)
        (to_sentinel if theirs else to_master).update(_option(option.removeprefix(OF_SENTINEL), value))
    to_sentinel["ssl"] = to_sentinel.get("ssl") == "true"
    to_sentinel |= {waiting: options[waiting] for waiting in WAITING if waiting in options}
    return _Behind(addresses, master, {**to_master, **options}, to_sentinel)


def _option(name: str, text: str) -> dict[str, Any]:
    """As redis-py takes it: it knows what is a number. Before version 8 it decodes a query twice, so it gets none."""
    return {name: _readers.get(name, str)(text)}
