"""Records in Redis: one hash per task, changed by `record.lua` only; beside it a user's tasks."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from importlib.resources import files
from typing import Any, Final

import redis
import redis.asyncio
from redis.exceptions import NoScriptError, RedisError, ResponseError

from . import record
from .breaker import Breaker
from .conf import conf
from .exceptions import StoreUnavailable
from .record import Record, Status
from .redis_changes import RedisChanges
from .redis_clients import READ_TIMEOUT, WRITE_TIMEOUT, answer_or_raise, waited
from .redis_logs import RedisLogs
from .store import LIVE_LIFETIME, MINE_LIMIT, Answer, Expired, Write
from .workflow import Workflow

logger = logging.getLogger(__name__)

SCRIPT: Final = files("progress").joinpath("record.lua").read_text()
SHA: Final = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()  # Redis's name of a script
# The head of a record, as `record.lua` answers it: everything but the texts.
HEAD: Final = [field.name.encode() for field in fields(Record) if field.name not in record.TEXTS]

# Redis's time, then the keys of the leases that are over by it.
EXPIRED: Final = """
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
local keys = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
table.insert(keys, 1, now)
return keys
"""
# Each queue, until when somebody listens to it; those that nobody does are taken off.
LISTEN: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
for i = 3, #ARGV do redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[1]), ARGV[i]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
redis.call('EXPIRE', KEYS[1], ARGV[2])
"""

FORGOTTEN_LIFETIME: Final = 600  # seconds; ended, and nobody owned or watched it


class RedisStore(RedisLogs):
    """Records in Redis, one hash each. Safe to use from any thread, after a fork, and from several loops."""

    def __init__(self, url: str, prefix: str) -> None:
        super().__init__(url, prefix)
        self.breaker = Breaker(lambda: self.client(READ_TIMEOUT).ping())

    # --- Writing -------------------------------------------------------------------------------------------

    def write(self, write: Write) -> Answer:
        """Apply one write, waiting at most 50 ms. Raises `StoreUnavailable` at once while Redis is away."""
        client, arguments = self.client(WRITE_TIMEOUT), self._arguments(write)

        def call() -> Any:
            try:
                return client.evalsha(SHA, *arguments)
            except NoScriptError:
                return client.eval(SCRIPT, *arguments)

        return _answer(self._quickly(call))

    def control(self, key: str) -> str:
        """Who asked to cancel `key`, or "". As quick to give up as `write`."""
        client = self.client(WRITE_TIMEOUT)
        raw = self._quickly(lambda: client.hget(f"{self.prefix}:task:{key}", "control"))
        return raw.decode() if isinstance(raw, bytes) else ""

    def _quickly(self, call: Callable[[], Any]) -> Any:
        """The answer to a call that nobody may wait for; a `ResponseError` about one key is an answer too."""
        self.breaker.check()
        try:
            return call()
        except ResponseError as error:
            return answer_or_raise(error)
        except RedisError as error:
            self.breaker.trip()
            raise StoreUnavailable(f"Redis did not answer in {WRITE_TIMEOUT} s: {error}") from error

    async def awrite_many(self, writes: Sequence[Write]) -> list[Answer]:
        """Apply writes in one round trip. Raises `StoreUnavailable`; then any of them may have happened."""
        client = self.aclient()
        replies = await self._apipeline(client, writes)
        missing = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if missing:
            await waited(client.script_load(SCRIPT))
            again = await self._apipeline(client, [writes[index] for index in missing])
            for index, reply in zip(missing, again, strict=True):
                replies[index] = reply
        return [_answer(answer_or_raise(reply)) for reply in replies]

    async def _apipeline(self, client: redis.asyncio.Redis, writes: Sequence[Write]) -> list[Any]:
        pipe = client.pipeline(transaction=False)
        for write in writes:
            pipe.evalsha(SHA, *self._arguments(write))
        replies: list[Any] = await waited(pipe.execute(raise_on_error=False))
        return replies

    def _arguments(self, write: Write) -> list[Any]:
        flat: list[Any] = [1, f"{self.prefix}:task:{write.key}", write.op]
        for name, value in write.args.items():
            if value != "" or name in record.TEXTS:
                flat += (name, value)
        retention = conf.PROGRESS_RETENTION
        flat += ("ttl_live", LIVE_LIFETIME, "ttl_ended", retention)
        flat += ("ttl_forgotten", min(FORGOTTEN_LIFETIME, retention), "mine_limit", MINE_LIMIT)
        if conf.PROGRESS_RECORDER:
            flat += ("changes_max", conf.PROGRESS_HISTORY_BACKLOG)
        return flat

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
        """Like `load_many`."""
        pipe = self.aclient().pipeline(transaction=False)
        for key in keys:
            pipe.hgetall(f"{self.prefix}:task:{key}")
        replies = await waited(pipe.execute(raise_on_error=False))
        return [_record(answer_or_raise(reply)) for reply in replies]

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
        reply = await waited(self.aclient().eval(EXPIRED, 1, f"{self.prefix}:leases", limit))
        now, *keys = reply
        return Expired(int(now), [key.decode() for key in keys])

    async def aunlist(self, keys: Sequence[str]) -> None:
        """Look for no sign of life of these any more."""
        if keys:
            await waited(self.aclient().zrem(f"{self.prefix}:leases", *keys))

    async def alisten(self, queues: Iterable[str], seconds: float) -> None:
        """Say that somebody listens to `queues` for so long from now."""
        name = f"{self.prefix}:queues"
        if queues := list(queues):
            await waited(self.aclient().eval(LISTEN, 1, name, int(seconds * 1_000_000), LIVE_LIFETIME, *queues))

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


def _answer(reply: Sequence[bytes] | None) -> Answer:
    if reply is None:
        return Answer(Status.DAMAGED, 0, Record(state=""))
    status, now, *head, before, moved, sender_seq = reply
    stored = dict(zip(HEAD, head, strict=True))
    record = Record.from_hash(stored)
    return Answer(Status(status.decode()), int(now), record, before.decode(), bool(moved), int(sender_seq))


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
