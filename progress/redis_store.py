"""Records in Redis: one hash per task, changed by `redis_writes` only; beside it a user's tasks."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Final

from .record import Record
from .redis_changes import RedisChanges
from .redis_clients import READ_TIMEOUT, answer_or_raise, waited
from .redis_scripts import Call, Script
from .redis_writes import RedisWrites
from .store import Expired
from .workflow import Workflow

logger = logging.getLogger(__name__)

READ: Final = Script.load("read.lua")
AT_ONCE: Final = 50  # records in one call of it: less than half a millisecond of Redis's time
FIELDS: Final = [field.name for field in fields(Record)]


class RedisStore(RedisWrites):
    """Records in Redis, one hash each. Safe to use from any thread, after a fork, and from several loops."""

    # --- Reading -------------------------------------------------------------------------------------------

    def load(self, key: str) -> Record | None:
        """The record of `key`, or None."""
        return self.load_many([key])[0]

    def load_many(self, keys: Sequence[str]) -> list[Record | None]:
        """The records of `keys`, None where there is none, in one round trip."""
        pipe = self.client(READ_TIMEOUT).pipeline(transaction=False)
        for key in keys:
            pipe.hgetall(f"{self.prefix}:task:{key}")
        replies = self._read(lambda: pipe.execute(raise_on_error=False))
        return [_record(answer_or_raise(reply)) for reply in replies]

    async def aload_many(self, keys: Sequence[str]) -> list[Record | None]:
        """Like `load_many`. A server reads thousands at once, and a hash costs it ten times as much as a text."""
        names = [f"{self.prefix}:task:{key}" for key in keys]
        calls = [
            Call(READ, (len(some), *some, *FIELDS), ())
            for some in (names[first : first + AT_ONCE] for first in range(0, len(names), AT_ONCE))
        ]
        replies = await self._acall(calls) if calls else []
        return [_record(_stored(answer_or_raise(text))) for reply in replies for text in answer_or_raise(reply)]

    def load_workflows(self, keys: Sequence[str]) -> list[Workflow | None]:
        """The sums over the workflows of `keys`, None where there are none."""
        pipe = self.client(READ_TIMEOUT).pipeline(transaction=False)
        for key in keys:
            pipe.hgetall(f"{self.prefix}:tree:{key}")
        replies = self._read(lambda: pipe.execute(raise_on_error=False))
        return [_workflow(answer_or_raise(reply)) for reply in replies]

    async def aload_workflows(self, keys: Sequence[str]) -> list[Workflow | None]:
        """Like `load_workflows`."""
        pipe = self.aclient().pipeline(transaction=False)
        for key in keys:
            pipe.hgetall(f"{self.prefix}:tree:{key}")
        replies = await waited(pipe.execute(raise_on_error=False))
        return [_workflow(answer_or_raise(reply)) for reply in replies]

    def now(self) -> int:
        """The time by Redis's clock, in µs."""
        client = self.client(READ_TIMEOUT)
        seconds, microseconds = self._read(client.time)
        return int(seconds) * 1_000_000 + int(microseconds)

    # --- Signs of life -------------------------------------------------------------------------------------

    async def aexpired(self, limit: int) -> Expired:
        """Up to `limit` records whose lease has run out, the oldest first."""
        expired, _ = await self.abeat([], [], 0, limit)
        return expired

    async def aunlist(self, keys: Sequence[str]) -> None:
        """Look for no sign of life of these any more."""
        if keys:
            await waited(self.aclient().zrem(f"{self.prefix}:leases", *keys))

    async def alistened(self, queues: Sequence[str]) -> set[str]:
        """Those of `queues` that somebody listens to."""
        if not queues:
            return set()
        pipe = self.aclient().pipeline(transaction=False)
        pipe.time()
        pipe.zmscore(f"{self.prefix}:queues", list(queues))
        (seconds, micro), until = await waited(pipe.execute())
        now = seconds * 1_000_000 + micro
        return {queue for queue, end in zip(queues, until, strict=True) if end is not None and end > now}

    # --- A user's tasks ------------------------------------------------------------------------------------

    def mine(self, owner: str, limit: int = 50) -> list[str]:
        """Keys of `owner`'s tasks, newest first. Some may have no record any more."""
        name = f"{self.prefix}:mine:{owner}"
        client = self.client(READ_TIMEOUT)
        return [raw.decode() for raw in self._read(lambda: client.zrevrange(name, 0, limit - 1))]

    async def amine(self, owner: str, limit: int = 50) -> list[str]:
        """Like `mine`."""
        name = f"{self.prefix}:mine:{owner}"
        return [raw.decode() for raw in await waited(self.aclient().zrevrange(name, 0, limit - 1))]

    # --- Revoked tokens ------------------------------------------------------------------------------------

    def revoke(self, name: str, at: float, forget_before: float) -> None:
        """Keep that `name` was revoked at a time (seconds since 1970); forget those of before another."""
        pipe = self.client(READ_TIMEOUT).pipeline(transaction=False)
        pipe.zadd(f"{self.prefix}:revoked", {name: at}, gt=True)
        pipe.zremrangebyscore(f"{self.prefix}:revoked", "-inf", forget_before)
        self._read(pipe.execute)

    def revoked(self, since: float) -> dict[str, float]:
        """What was revoked from a time on, and when."""
        client = self.client(READ_TIMEOUT)
        found = self._read(lambda: client.zrangebyscore(f"{self.prefix}:revoked", since, "+inf", withscores=True))
        return {name.decode(): at for name, at in found}

    async def arevoked(self, since: float) -> dict[str, float]:
        """Like `revoked`."""
        call = self.aclient().zrangebyscore(f"{self.prefix}:revoked", since, "+inf", withscores=True)
        return {name.decode(): at for name, at in await waited(call)}

    # --- The recorder --------------------------------------------------------------------------------------

    def open_changes(self) -> RedisChanges:
        """What happened to tasks, for one recorder, by connections of its own."""
        return RedisChanges(self.url, self.prefix)


def _stored(text: bytes | None) -> Mapping[bytes, bytes] | None:
    if text is None:
        return None
    values = json.loads(text.decode(errors="surrogateescape"))  # of a damaged record every byte comes through
    named = zip(FIELDS, values, strict=True)
    return {name.encode(): value.encode(errors="surrogateescape") for name, value in named if value is not False}


def _record(stored: Mapping[bytes, bytes] | None) -> Record | None:
    # A hash without a state is none of ours: `watch` and `cancel` never create one.
    if stored is None or b"state" not in stored:
        return None
    try:
        return Record.from_hash(stored)
    except ValueError:  # somebody else has written into it; the records beside it are sound
        logger.warning("A progress record is damaged and is taken for missing")
        return None


def _workflow(stored: Mapping[bytes, bytes] | None) -> Workflow | None:
    try:
        return None if stored is None else Workflow.from_hash(stored)
    except ValueError:
        logger.warning("The sums of a workflow are damaged and are taken for missing")
        return None
