"""Writes into Redis: sent, answered, and given up in time. `redis_scripts` has what is said and what it means."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from redis.exceptions import NoScriptError, RedisError

from .breaker import Breaker
from .exceptions import StoreUnavailable
from .record import Record, Status
from .redis_clients import READ_TIMEOUT, WRITE_TIMEOUT, answer_or_raise, waited
from .redis_logs import RedisLogs
from .redis_scripts import AT_ONCE, BEAT, Call, Calls, read, read_beat
from .store import Answer, Expired, Write

logger = logging.getLogger(__name__)


class RedisWrites(RedisLogs):
    """The part of the store that changes records."""

    def __init__(self, url: str, prefix: str) -> None:
        super().__init__(url, prefix)
        self.calls = Calls(url, prefix)
        self.breaker = Breaker(lambda: self.client(READ_TIMEOUT).ping())

    def write(self, write: Write) -> Answer:
        """Apply one write, waiting at most 50 ms. Raises `StoreUnavailable`, at once while Redis is known to be away.

        A wish to cancel, for which somebody waits, is made as a page reads: within a second, and in turn with pages.
        """
        ask = self._as_a_page if write.op == "cancel" else self._quickly
        call = self.calls.of_one(write)
        found = read(call, [write], _answer(call, ask))
        if not found:  # there was something to decide
            call = self.calls.decided(write)
            found = read(call, [write], _answer(call, ask))
        return found[0]

    def control(self, key: str) -> str:
        """Who asked to cancel `key`, or "". As quick to give up as `write`."""
        raw = answer_or_raise(self._quickly("HGET", f"{self.prefix}:task:{key}", "control"))
        return raw.decode() if isinstance(raw, bytes) else ""

    def _as_a_page(self, *command: Any) -> Any:
        """Like `_quickly`, for somebody who has clicked and waits for what comes of it."""
        return self._read(lambda: self.exchange(READ_TIMEOUT, *command))

    def _quickly(self, *command: Any) -> Any:
        """The reply to a command for which nobody may wait long, or the error that Redis answered."""
        self.breaker.check()
        try:
            return self.exchange(WRITE_TIMEOUT, *command)
        except RedisError as error:
            self.breaker.trip()
            raise StoreUnavailable(f"Redis did not answer in {WRITE_TIMEOUT} s: {error}") from error

    async def awrite_many(self, writes: Sequence[Write]) -> list[Answer]:
        """Apply writes, in one round trip as a rule. Raises `StoreUnavailable`; then any of them may have happened.

        The head in the answer to a renewal that changed nothing else has only its state, seq, control and watch. One
        that comes within a second of another sign of life leaves the lease as it is. Where a watch finds that nothing
        has happened since the `known` head, that is the one in the answer.
        """
        calls = list(self.calls.of(writes))
        answers = dict[int, Answer]()
        for call, reply in zip(calls, await self._acall(calls), strict=True):
            answers |= read(call, [writes[index] for index in call.writes], answer_or_raise(reply))
        left = {index: write for index, write in enumerate(writes) if index not in answers}
        answers |= await self._adecide(left)
        return [answers[index] for index in range(len(writes))]

    async def abeat(
        self, queues: Sequence[str], renewals: Sequence[Write], seconds: float, limit: int
    ) -> tuple[Expired, list[Answer]]:
        """Somebody listens to `queues` and lives for so long from now; up to `limit` leases that have run out.

        Where there was nothing to decide, an answer says no more than that. A task that was signed for within the
        last 1.5 s is not looked at.
        """
        lease = int(seconds * 1_000_000)
        *before, last = [renewals[at : at + AT_ONCE] for at in range(0, max(len(renewals), 1), AT_ONCE)]
        shares = [self.calls.beat(some, lease) for some in before] + [self.calls.beat(last, lease, queues, limit)]
        replies = await self._acall([Call(BEAT, arguments, ()) for arguments in shares])
        left = dict[int, Write]()
        for number, reply in enumerate(replies):
            if (found := answer_or_raise(reply)) is None:
                raise StoreUnavailable(
                    f"{self.prefix}:leases or {self.prefix}:queues holds something else: delete it."
                )
            expired, asked = read_beat(found)
            left |= {at: renewals[at] for at in (number * AT_ONCE + each for each in asked)}
        decided, lives = await self._adecide(left), Answer(Status.ACCEPTED, expired.now, Record())
        return expired, [decided.get(at, lives) for at in range(len(renewals))]

    async def _adecide(self, writes: Mapping[int, Write]) -> dict[int, Answer]:
        """What the rules make of these, which no shortcut could do."""
        if not writes:
            return {}
        calls = [self.calls.decided(write, index) for index, write in writes.items()]
        answers = dict[int, Answer]()
        for call, reply in zip(calls, await self._acall(calls), strict=True):
            answers |= read(call, [], answer_or_raise(reply))
        return answers

    # --- Calls ---------------------------------------------------------------------------------------------

    async def _acall(self, calls: Sequence[Call]) -> list[Any]:
        """The replies, or the errors, in one round trip; in three if Redis does not know a script yet."""
        replies = await self._apipeline(calls)
        unknown = [index for index, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            missing = {calls[index].script for index in unknown}
            for reply in await waited(self.aexchange([("SCRIPT", "LOAD", script.text) for script in missing])):
                answer_or_raise(reply)
            again = await self._apipeline([calls[index] for index in unknown])
            for index, reply in zip(unknown, again, strict=True):
                replies[index] = reply
        return replies

    async def _apipeline(self, calls: Sequence[Call]) -> list[Any]:
        commands = [("EVALSHA", call.script.sha, *call.arguments) for call in calls]
        replies: list[Any] = await waited(self.aexchange(commands))
        return replies


def _answer(call: Call, ask: Callable[..., Any]) -> Any:
    reply = ask("EVALSHA", call.script.sha, *call.arguments)
    if isinstance(reply, NoScriptError):
        reply = ask("EVAL", call.script.text, *call.arguments)
    return answer_or_raise(reply)
