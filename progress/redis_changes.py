"""What happened to tasks, in a Redis stream: each change goes to one recorder, and to another if that dies."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import redis
from redis.exceptions import RedisError, ResponseError

from . import redis_place
from .exceptions import StoreUnavailable
from .record import Record
from .store import Change

GROUP: Final = "recorder"
ANSWER_WITHIN: Final = 2.0  # seconds, beside what a read waits for news
TAKE_OVER_EVERY: Final = 10.0  # seconds between two looks at what others have read and not done
TAKE_OVER_AFTER: Final = 30.0  # seconds; whoever is that slow is taken for dead, and changes may be told twice
FORGET_READER_AFTER: Final = 3600.0  # seconds without a word, and with nothing left to do


class RedisChanges:
    """One reader of the stream. It belongs to one thread."""

    def __init__(self, url: str, prefix: str) -> None:
        self._name = f"{prefix}:changes"
        self._reader = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}"
        self._url = url
        self._client: redis.Redis | None = None
        self._taken_over = 0.0

    def read(self, limit: int, wait: float) -> list[Change]:
        """Up to `limit` changes, the oldest first; waits up to `wait` seconds for one."""
        try:
            client = self._client or self._open(wait)
            now = time.monotonic()
            if now - self._taken_over >= TAKE_OVER_EVERY:
                self._taken_over = now
                if left := self._take_over(client, limit):
                    return left
            found: Any = client.xreadgroup(
                GROUP, self._reader, {self._name: ">"}, count=limit, block=int(wait * 1000) or None
            )
            streams = found.values() if isinstance(found, Mapping) else [entries for _, entries in found or ()]
            return _changes([entry for entries in streams for entry in _flat(entries)])
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise StoreUnavailable(f"Redis refused: {error}") from error
            self.close()  # Redis was emptied; the next read begins anew
            return []
        except RedisError as error:
            self.close()
            raise StoreUnavailable(f"Redis did not answer: {error}") from error

    def done(self, changes: Sequence[Change]) -> None:
        """These are written down; nobody needs them any more."""
        ids = [change.id for change in changes if change.id]
        if not ids or self._client is None:
            return
        try:
            pipe = self._client.pipeline(transaction=False)
            pipe.xack(self._name, GROUP, *ids)
            pipe.xdel(self._name, *ids)
            pipe.execute()
        except RedisError as error:
            raise StoreUnavailable(f"Redis did not answer: {error}") from error

    def keep(self, changes: Sequence[Change]) -> None:
        """These take time; no other reader needs to take them over."""
        ids: list[Any] = [change.id for change in changes if change.id]
        if not ids or self._client is None:
            return
        try:
            self._client.xclaim(self._name, GROUP, self._reader, 0, ids, justid=True)
        except RedisError as error:
            raise StoreUnavailable(f"Redis did not answer: {error}") from error

    def close(self) -> None:
        """Close the connection. What was read and not done is read by another."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
            client.connection_pool.disconnect()

    def _open(self, wait: float) -> redis.Redis:
        pool = redis_place.pool(
            self._url, socket_timeout=wait + ANSWER_WITHIN, socket_connect_timeout=ANSWER_WITHIN, max_connections=1
        )
        client = self._client = redis.Redis.from_pool(pool)
        try:
            client.xgroup_create(self._name, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
        return client

    def _take_over(self, client: redis.Redis, limit: int) -> list[Change]:
        idle = int(TAKE_OVER_AFTER * 1000)
        answer: Any = client.xautoclaim(self._name, GROUP, self._reader, idle, count=limit)
        for reader in client.xinfo_consumers(self._name, GROUP):
            if not reader["pending"] and reader["idle"] > FORGET_READER_AFTER * 1000:
                client.xgroup_delconsumer(self._name, GROUP, reader["name"])
        return _changes(answer[1])


def _flat(entries: Any) -> list[Any]:
    """Entries as redis-py gives them in its second form of answers (RESP 3), where they are one level deeper."""
    return (
        [entry for each in entries for entry in each] if entries and isinstance(entries[0], list) else list(entries)
    )


def _changes(entries: Sequence[Any]) -> list[Change]:
    found = []
    for entry_id, fields in entries:
        if fields is None:  # it was dropped before it could be read
            continue
        stored = {name: value for name, value in fields.items() if name not in (b"key", b"arguments")}
        try:
            record = Record.from_hash(stored)
        except ValueError:  # somebody else wrote it
            record = Record(state="")
        key, arguments = fields.get(b"key", b""), fields.get(b"arguments", b"")
        found.append(Change(entry_id.decode(), key.decode(), record, arguments.decode()))
    return found
