"""Connections to one Redis, for threads, forked children and event loops."""

from __future__ import annotations

import asyncio
import logging
import os
import weakref
from typing import Any, Final

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from . import redis_place
from .exceptions import StoreUnavailable

logger = logging.getLogger(__name__)

WRITE_TIMEOUT: Final = 0.05  # seconds; what a request or a task may lose to us, once
READ_TIMEOUT: Final = 1.0  # seconds; pages, hubs and the publisher's thread
CONNECTIONS: Final = 16  # of one event loop, at most
CONNECTION_WAIT: Final = 5.0  # seconds for a free one; more than a thousand sockets that open at once need


class RedisClients:
    """One client per process and time-out, and one per event loop, each made when it is first needed."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._clients: dict[tuple[int, float], redis.Redis] = {}
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, redis.asyncio.Redis] = (
            weakref.WeakKeyDictionary()
        )

    def client(self, timeout: float) -> redis.Redis:
        """This process's client for calls that may take `timeout` seconds. A forked child gets its own."""
        place = (os.getpid(), timeout)
        if place not in self._clients:
            # The parent's clients stay referenced: closing them here would disturb the parent's sockets.
            pool = redis_place.pool(
                self.url,
                socket_timeout=timeout,
                socket_connect_timeout=timeout,
                encoding_errors="replace",  # a lone surrogate costs a character, not the write
                # A connection that the server closed while idle is worth one more try; a late answer is not.
                retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
            )
            self._clients[place] = redis.Redis.from_pool(pool)
        return self._clients[place]

    def aclient(self) -> redis.asyncio.Redis:
        """The running loop's client."""
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            # Waits for a free connection: the plain pool raises at its hundredth, when many sockets come at once.
            pool = redis_place.apool(
                self.url,
                max_connections=CONNECTIONS,
                timeout=CONNECTION_WAIT,
                socket_timeout=READ_TIMEOUT,
                socket_connect_timeout=READ_TIMEOUT,
                encoding_errors="replace",
                retry=AsyncRetry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
            )
            self._loops[loop] = redis.asyncio.Redis.from_pool(pool)
        return self._loops[loop]

    async def aclose(self) -> None:
        """Close the running loop's connections."""
        client = self._loops.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()


def answer_or_raise(reply: Any) -> Any:
    """None for a key that holds something else than we put there; any other error is Redis's own."""
    if isinstance(reply, ResponseError) and "WRONGTYPE" in str(reply):
        logger.warning("A key of progress holds something else; whoever wrote it should use another prefix")
        return None
    if isinstance(reply, RedisError):
        raise StoreUnavailable(f"Redis refused: {reply}") from reply
    return reply


async def waited(call: Any) -> Any:
    """What `call` answers. Raises `StoreUnavailable` when Redis does not."""
    try:
        return await call
    except RedisError as error:
        raise StoreUnavailable(f"Redis did not answer: {error}") from error
