"""Connections to one Redis, for threads, forked children and event loops."""

from __future__ import annotations

import asyncio
import logging
import os
import weakref
from collections.abc import Sequence
from typing import Any, Final

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from . import redis_place, redis_url
from .exceptions import StoreUnavailable

logger = logging.getLogger(__name__)

WRITE_TIMEOUT: Final = 0.05  # seconds; what a request or a task may lose to us, once
READ_TIMEOUT: Final = 1.0  # seconds; pages, hubs and the publisher's thread
CONNECTIONS: Final = 16  # in use at a time by one event loop, and by all threads that read or cancel
CONNECTION_WAIT: Final = 5.0  # seconds for a free one; more than a thousand sockets that open at once need


class RedisClients:
    """One client per process and time-out, and one per event loop, each made when it is first needed."""

    def __init__(self, url: str) -> None:
        self.url = url
        # Connections may stay out of the pools: behind Sentinels redis-py closes what is in them after a failover.
        self._keeps_some = url.partition(":")[0] in redis_url.SINGLE
        self._clients: dict[tuple[int, float], redis.Redis] = {}
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, redis.asyncio.Redis] = (
            weakref.WeakKeyDictionary()
        )
        self._idle: dict[tuple[int, float], list[Any]] = {}
        self._at_hand: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = weakref.WeakKeyDictionary()

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
            # Of several threads that come first, one is the first: a client that nobody keeps closes its pool.
            return self._clients.setdefault(place, redis.Redis.from_pool(pool))
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

    def exchange(self, timeout: float, *command: Any) -> Any:
        """The reply to a command, or the error that Redis answered.

        The connection stays out of the pool until the next call: to take it, give it back and go through redis-py's
        client takes longer than the rest.
        """
        pool = self.client(timeout).connection_pool
        idle = self._idle.setdefault((os.getpid(), timeout), [])
        try:
            connection = idle.pop()
        except IndexError:
            connection = pool.get_connection()
        try:
            reply = connection.retry.call_with_retry(
                lambda: _ask(connection, command), lambda _: connection.disconnect()
            )
        except BaseException:
            # What was asked may be answered yet: to whoever has this connection next.
            connection.disconnect()
            pool.release(connection)
            raise
        if self._keeps_some:
            idle.append(connection)
        else:
            pool.release(connection)
        return reply

    async def aexchange(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """The replies to several, in one round trip. One connection of the loop stays out of the pool."""
        loop, client = asyncio.get_running_loop(), self.aclient()
        pool: Any = client.connection_pool
        connection = self._at_hand.pop(loop, None) or await pool.get_connection()

        async def drop(_: BaseException) -> None:
            await connection.disconnect(nowait=True)

        try:
            replies: list[Any] = await connection.retry.call_with_retry(lambda: _exchange(connection, commands), drop)
            return replies
        except BaseException as error:
            await drop(error)  # as in `exchange`
            raise
        finally:
            alone = loop not in self._at_hand and self._loops.get(loop) is client  # it may have been closed meanwhile
            # Where all are taken somebody may wait for this one, whom only the pool would tell.
            if alone and self._keeps_some and pool.can_get_connection():
                self._at_hand[loop] = connection
            else:
                await pool.release(connection)

    async def aclose(self) -> None:
        """Close the running loop's connections."""
        client = self._loops.pop(asyncio.get_running_loop(), None)
        self._at_hand.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()


def _ask(connection: Any, command: Sequence[Any]) -> Any:
    connection.send_command(*command)
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


async def _exchange(connection: Any, commands: Sequence[Sequence[Any]]) -> list[Any]:
    await connection.send_packed_command(connection.pack_commands(commands))
    replies = list[Any]()
    for _ in commands:
        try:
            replies.append(await connection.read_response())
        except ResponseError as error:
            replies.append(error)
    return replies


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
