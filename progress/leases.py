"""Signs of life. Whoever runs a task promises one within a lease; when none comes, the task is presumed lost.

Who renews: every process for the tasks that it reports on (a save counts too), and a worker's main process for all
that its pool runs, because a child can be held up by its own task. Who reaps: servers and worker mains, whoever is
there; the first one to write it wins. `LOST` is a presumption: a save or a renewal takes it back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple

from . import groups
from .counters import counters
from .exceptions import ProgressError
from .native_thread import NativeThread
from .record import Record
from .store import Answer, Expired, Store, Write, get_store

logger = logging.getLogger(__name__)

# Seconds. A renewal that comes 10 s late accuses nobody; a killed worker is noticed 16 to 18 s after its last one.
LEASE: Final = 16.0
MICROSECONDS: Final = int(LEASE * 1_000_000)
RENEW_EVERY: Final = 3.0  # by a worker's main process
# By a process that reports, of a task that has said nothing for so long: one that reports every four needs none.
SILENT_FOR: Final = 4.5
REAP_EVERY: Final = 1.0  # by a server
SURELY_OVER: Final = 0.05  # seconds after the moment at which a lease is over
# After a time in which this process could not look, or Redis's clock jumped, others could not renew either: they
# are given a renewal's time before anybody is accused.
GAP: Final = 5.0
FORBEARANCE: Final = 5.0
AT_ONCE: Final = 200  # tasks looked at in one go
ASK_TIMEOUT: Final = 2.0  # seconds for the result backend to say that it knows better
ASK_AT_ONCE: Final = 10  # threads that ask it; each may open a connection

Tell = Callable[[str, dict[str, Any]], Awaitable[None]]


class Held(NamedTuple):
    """An execution that somebody runs."""

    key: str
    exec: str


def renewal(held: Held) -> Write:
    """The write that renews its lease."""
    return Write("renew", held.key, {"exec": held.exec, "lease": MICROSECONDS})


async def keep(held: Callable[[], Iterable[Held]], queues: Callable[[], Iterable[str]], reaper: Reaper) -> None:
    """Every 3 s: renew what `held` names, say that `queues` are listened to, and reap. Runs until it is cancelled.

    All in one call as a rule. In between only when a lease runs out: so it is found within a second.
    """
    while True:
        pause, began = REAP_EVERY, time.monotonic()  # soon again if Redis is away: a promise may be 10 s old by then
        try:
            store, renewals = get_store(), [renewal(each) for each in held()]
            expired, answers = await store.abeat(list(queues()), renewals, LEASE, AT_ONCE)
            await tell_all(renewals, answers, reaper.tell)
            await reaper.judge(store, expired)
            if len(expired.keys) < AT_ONCE:  # else there are more
                pause = _pause(expired)
        except ProgressError as error:
            logger.debug("The leases of this worker's tasks are renewed later: %s", error)
        except Exception:
            logger.exception("The leases of this worker's tasks could not be renewed")
        await asyncio.sleep(max(pause - (time.monotonic() - began), 0))


def _pause(expired: Expired) -> float:
    """Seconds until somebody has to be renewed, or looked for; not more often than servers look."""
    until_next = (expired.next - expired.now) / 1_000_000 + SURELY_OVER if expired.next else RENEW_EVERY
    return min(max(until_next, REAP_EVERY), RENEW_EVERY)


async def tell_all(writes: Collection[Write], answers: Iterable[Answer], tell: Tell) -> None:
    """Announce those writes that changed what is shown: a renewal does so when it takes a loss back."""
    for write, answer in zip(writes, answers, strict=True):
        if answer.healed:
            counters.healed += 1
        if answer.accepted and (write.op != "renew" or answer.healed):
            await tell(groups.of_key(write.key), groups.hint(write.key, answer.head.seq))
            for told in groups.of_wholes(answer):
                await tell(*told)


class Reaper:
    """Presumes tasks lost whose lease has run out. `ask` may know how such a task ended in fact: a verdict, or None.

    Not promised: that an end which nobody could write down is found out; then the task stays lost.
    """

    def __init__(self, tell: Tell, ask: Callable[[str, Record], Write | None]) -> None:
        self.tell, self._ask = tell, ask
        self._looked_at = 0  # µs by Redis's clock
        self._forbear_until = 0
        self._asking: set[NativeThread] = set()

    async def run(self) -> None:
        """Reap every second. Runs until it is cancelled."""
        while True:
            await asyncio.sleep(REAP_EVERY * random.uniform(0.8, 1.0))  # nosec B311 # jitter
            try:
                await self.reap(get_store())
            except ProgressError as error:
                logger.debug("Lost tasks are looked for later: %s", error)
            except Exception:
                logger.exception("Lost tasks could not be looked for")

    async def reap(self, store: Store) -> None:
        """Look once. Raises `StoreUnavailable`."""
        await self.judge(store, await store.aexpired(AT_ONCE))

    async def judge(self, store: Store, expired: Expired) -> None:
        """Presume lost what is over, unless nobody could have renewed it. Raises `StoreUnavailable`."""
        now, keys = expired.now, expired.keys
        if not 0 <= now - self._looked_at < GAP * 1_000_000:
            self._forbear_until = now + int(FORBEARANCE * 1_000_000)
        self._looked_at = now
        if keys and now >= self._forbear_until:
            await self._presume_lost(store, keys)
            self._looked_at = (await store.aexpired(0)).now  # the time that this took was no absence

    async def _presume_lost(self, store: Store, keys: list[str]) -> None:
        records = await store.aload_many(keys)
        ends = await self._ends_of(dict(zip(keys, records, strict=True)))
        writes = [
            ends.get(key) or Write("lost", key, {"exec": record.exec if record else "", "lease": MICROSECONDS})
            for key, record in zip(keys, records, strict=True)
        ]
        answers = await store.awrite_many(writes)
        said = list(zip(writes, answers, strict=True))
        lost = [write.key for write, answer in said if write.op == "lost" and answer.accepted]
        counters.reaped += len(lost)
        # What is no record, or a damaged one, would take a place in every look.
        unread = {key for key, record in zip(keys, records, strict=True) if record is None}
        await store.aunlist([write.key for write, answer in said if write.key in unread and not answer.gone])
        if lost:
            logger.warning("No sign of life for %.0f s, presumed lost: %s", LEASE, ", ".join(lost[:10]))
        await tell_all(writes, answers, self.tell)

    async def _ends_of(self, records: Mapping[str, Record | None]) -> dict[str, Write]:
        """How those ended of which the result backend knows; all are asked within two seconds, a few at a time."""
        waiting, found = [key for key, record in records.items() if record], dict[str, Write]()

        async def ask_on() -> None:
            while waiting and len(self._asking) < ASK_AT_ONCE:
                key = waiting.pop(0)
                record = records[key]
                if record is not None and (end := await self._end_of(key, record)):
                    found[key] = end

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ASK_TIMEOUT):
                await asyncio.gather(*(ask_on() for _ in range(ASK_AT_ONCE)))
        return found

    async def _end_of(self, key: str, record: Record) -> Write | None:
        self._asking = {thread for thread in self._asking if thread.is_alive()}  # those that hang count as well
        thread, answer = _in_thread(lambda: self._ask(key, record))
        self._asking.add(thread)
        try:
            return await answer
        except Exception as error:  # noqa: BLE001 (a result backend may be away, and raise anything)
            logger.debug("Nobody could say how %s ended: %r", key, error)
            return None
        finally:
            if not answer.cancelled():
                self._asking.discard(thread)


def _in_thread(call: Callable[[], Write | None]) -> tuple[NativeThread, asyncio.Future[Write | None]]:
    """What `call` returns, from a thread that keeps no process from leaving, however long it hangs."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Write | None] = loop.create_future()

    def run() -> None:
        result: Write | None = None
        error: Exception | None = None
        try:
            result = call()
        except Exception as raised:  # noqa: BLE001 (handed over)
            error = raised
        try:
            loop.call_soon_threadsafe(_settle, answer, result, error)
        except RuntimeError:  # the loop is closed; nobody waits any more
            logger.debug("An answer of the result backend came too late")

    thread = NativeThread(run, "progress-ask")
    thread.start()
    return thread, answer


def _settle(answer: asyncio.Future[Write | None], result: Write | None, error: Exception | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(result)
