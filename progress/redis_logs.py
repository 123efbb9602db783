"""Log lines of tasks in Redis: one capped stream each."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from redis.exceptions import RedisError

from .breaker import Breaker
from .conf import conf
from .exceptions import StoreUnavailable
from .log_pages import log_page
from .redis_clients import CONNECTION_WAIT, CONNECTIONS, READ_TIMEOUT, RedisClients, answer_or_raise, waited
from .store import LIVE_LIFETIME, LOG_LIMIT, LogPage


class RedisLogs(RedisClients):
    """The part of the store that keeps what tasks say."""

    def __init__(self, url: str, prefix: str) -> None:
        super().__init__(url)
        self.prefix = prefix
        # Reads have one of their own: they are more patient, and what is slow for a write is no reason not to read.
        self.read_breaker = Breaker(lambda: self.client(READ_TIMEOUT).ping())
        self._turns: dict[int, threading.BoundedSemaphore] = {}  # by process

    async def aappend_logs(self, key: str, lines: Sequence[tuple[str, str]], *, ended: bool = False) -> str:
        """Append (level, text) lines to the task's log; the answer is the cursor of the last, "" if there is none.

        The log of an ended task lives as long as its record.
        """
        name = f"{self.prefix}:log:{key}"
        add = ("XADD", name, "MAXLEN", LOG_LIMIT, "*")
        commands: list[tuple[Any, ...]] = [(*add, "level", level, "text", text) for level, text in lines]
        commands.append(("EXPIRE", name, conf.PROGRESS_RETENTION if ended else LIVE_LIFETIME))
        replies = await waited(self.aexchange(commands))
        cursor = answer_or_raise(replies[-2]) if lines else None
        return cursor.decode() if cursor else ""

    def logs(self, key: str, after: str | None = None, limit: int = 200) -> LogPage:
        """Lines after the cursor `after` (None: the newest `limit`)."""
        pipe = self.client(READ_TIMEOUT).pipeline(transaction=False)
        self._read_logs(pipe, key, after, limit)
        return log_page(self._read(pipe.execute), after, limit)

    async def alogs(self, key: str, after: str | None = None, limit: int = 200) -> LogPage:
        """Like `logs`."""
        pipe = self.aclient().pipeline(transaction=False)
        self._read_logs(pipe, key, after, limit)
        return log_page(await waited(pipe.execute()), after, limit)

    def _read_logs(self, pipe: Any, key: str, after: str | None, limit: int) -> None:
        name = f"{self.prefix}:log:{key}"
        if after is None:
            pipe.xrevrange(name, count=limit)
        else:
            pipe.xrange(name, min=f"({after}", count=limit)
        pipe.xrange(name, count=1)

    def _read(self, call: Callable[[], Any]) -> Any:
        """The answer to a call of a page. Only the first one waits for a Redis that is away: a page that shows a task
        may be inside of a transaction, and others wait for that.
        """
        self.read_breaker.check()
        # A flood of requests has a thread each. A child has turns of its own: a fork may leave the parent's taken.
        turn = self._turns.setdefault(os.getpid(), threading.BoundedSemaphore(CONNECTIONS))
        if not turn.acquire(timeout=CONNECTION_WAIT):
            raise StoreUnavailable(f"{CONNECTIONS} others have been asking Redis for {CONNECTION_WAIT} s.")
        try:
            return call()
        except RedisError as error:
            self.read_breaker.trip()
            raise StoreUnavailable(f"Redis did not answer: {error}") from error
        finally:
            turn.release()
