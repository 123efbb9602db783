"""The links between a task and its bar, each with a check that says what is wrong and what to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple
from uuid import uuid4

from celery import current_app
from channels.layers import InMemoryChannelLayer
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from progress import groups, installed, redis_url, snapshot
from progress.conf import conf
from progress.ending import end
from progress.exceptions import StoreUnavailable
from progress.options import options_of
from progress.redis_clients import READ_TIMEOUT
from progress.redis_store import RedisStore
from progress.snapshot import State
from progress.store import get_store
from progress.tasks import PING, ping

from .broken import Broken
from .history_link import check_history

OLDEST_REDIS: Final = (6, 2)
HOP: Final = 5.0  # seconds; a single step that takes longer will not come any more
AGAIN: Final = 0.25  # seconds between two tries
LOOK: Final = 0.05  # seconds between two looks at a record


class Link(NamedTuple):
    """One link. `check` gets the seconds it may take, and returns what it found or raises `Broken`."""

    name: str
    service: str  # whose log tells more
    check: Callable[[float], str]
    needs_others: bool = False


# --- Installation ------------------------------------------------------------------------------------------


def check_installation(_seconds: float) -> str:
    """The folder of this package is its own: the package index has another one of that name."""
    if others := installed.others():
        raise Broken(
            f"nobody else's files in {installed.FOLDER}",
            f"those of the package {' and '.join(others)}",
            f"pip uninstall {' '.join(others)}; then install {installed.OURS} again, with --force-reinstall.",
        )
    return "nothing else is in its folder"


# --- Redis -------------------------------------------------------------------------------------------------


def check_redis(_seconds: float) -> str:
    """The Redis of the records answers, is new enough and keeps what it is given."""
    store = get_store()
    if not isinstance(store, RedisStore):
        raise Broken(
            "records in Redis",
            f'PROGRESS_STORE = "{conf.PROGRESS_STORE}", which only this process can read',
            'Set PROGRESS_STORE = "redis", or leave the setting out.',
        )
    try:
        info = store.client(READ_TIMEOUT).info()
    except RedisError as error:
        raise Broken(
            f"Redis to answer at {redis_url.shown(store.url)}",
            f"{type(error).__name__}: {error}",
            "Start Redis, or set PROGRESS_REDIS_URL (the shipped site: REDIS_URL) to where it runs.",
        ) from None
    return _version(info) + _eviction(info)


def _version(info: dict[str, Any]) -> str:
    # Valkey says here which Redis it is compatible with.
    version = str(info["redis_version"])
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_REDIS:
        raise Broken(
            f"Redis {'.'.join(map(str, OLDEST_REDIS))} or later",
            f"Redis {version}",
            "Install a later Redis or Valkey.",
        )
    valkey = info.get("valkey_version")
    return f"Valkey {valkey}" if valkey else f"Redis {version}"


def _eviction(info: dict[str, Any]) -> str:
    policy = info.get("maxmemory_policy", "noeviction")
    if not info.get("maxmemory") or policy == "noeviction":
        return ", evicts nothing"
    return (
        f". Warning: maxmemory-policy is {policy}. When Redis is full it throws records and queued tasks away; "
        "set it to noeviction"
    )


# --- Channel layer -----------------------------------------------------------------------------------------


def check_layer(seconds: float) -> str:
    """An event sent to a group comes back."""
    layer = groups.layer()
    alias = conf.PROGRESS_CHANNEL_LAYER
    if isinstance(layer, InMemoryChannelLayer):
        raise Broken(
            "a channel layer that crosses processes",
            f"the in-memory layer as CHANNEL_LAYERS[{alias!r}]: hints of a worker stay in the worker",
            "Configure channels_redis.pubsub.RedisPubSubChannelLayer.",
        )
    try:
        took = asyncio.run(_round_trip(min(seconds, HOP)))
    except (RedisError, OSError) as error:
        raise _layer_broken(alias, f"{type(error).__name__}: {error}") from None
    if took is None:
        raise _layer_broken(alias, "nothing came back")
    return f"{alias}, there and back in {took * 1000:.1f} ms"


def _layer_broken(alias: str, got: str) -> Broken:
    return Broken(
        f"an event to come back through CHANNEL_LAYERS[{alias!r}]",
        got,
        "Compare its hosts with PROGRESS_REDIS_URL, and see whether that Redis allows PUBLISH and SUBSCRIBE.",
    )


@asynccontextmanager
async def _heard_in(group: str) -> AsyncIterator[asyncio.Queue[dict[str, Any]]]:
    """A queue of the group's events."""
    layer = groups.layer()
    channel = await layer.new_channel()
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def listen() -> None:
        # A task of its own: a layer drops the channel when `receive` is cancelled by a timeout.
        while True:
            heard.put_nowait(await layer.receive(channel))

    await layer.group_add(group, channel)
    listener = asyncio.create_task(listen())
    try:
        yield heard
    finally:
        await end([listener])


async def _subscribed(group: str, heard: asyncio.Queue[dict[str, Any]], seconds: float) -> float | None:
    """Send until something comes back: `group_add` returns before Redis has subscribed. Seconds of the trip."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        sent = time.monotonic()
        await groups.layer().group_send(group, {"type": "progress.probe"})
        try:
            await asyncio.wait_for(heard.get(), AGAIN)
        except TimeoutError:
            continue
        return time.monotonic() - sent
    return None


async def _round_trip(seconds: float) -> float | None:
    group = groups.group_name(f"doctor-{uuid4()}")
    async with _heard_in(group) as heard:
        if await _subscribed(group, heard, seconds) is None:
            return None
        return await _subscribed(group, heard, seconds)  # once more: the first trip includes connecting


# --- Worker ------------------------------------------------------------------------------------------------


def check_worker(seconds: float) -> str:
    """A worker answers on the broker."""
    broker = current_app.connection_for_write().as_uri()
    mend = "Start one: celery -A celery_worker worker (in your own site: your Celery app)."
    try:
        with current_app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=min(seconds, HOP))
            answers = current_app.control.inspect(timeout=min(seconds, 1.0), limit=1, connection=connection).ping()
    except (KombuError, RedisError, OSError) as error:
        raise Broken(
            f"the broker to answer at {broker}",
            f"{type(error).__name__}: {error}",
            "Start the broker, or set CELERY_BROKER_URL (the shipped site: REDIS_URL) to where it runs.",
        ) from None
    if not answers:
        raise Broken(f"a worker to answer on {broker}", "no answer", mend)
    return f"{next(iter(answers))} answers"


# --- A real task -------------------------------------------------------------------------------------------


def check_task(seconds: float) -> str:
    """A task is sent, run and recorded as a success, and its hint arrives in its group."""
    if not options_of(PING, ping.run).track:
        raise Broken(
            f"{PING} to be tracked",
            "PROGRESS_TRACK or PROGRESS_IGNORE leaves it out",
            f'Add "{PING}" to PROGRESS_TRACK, or take it out of PROGRESS_IGNORE.',
        )
    try:
        return asyncio.run(_one_task(seconds))
    except (KombuError, RedisError, OSError, StoreUnavailable) as error:
        raise Broken(
            f"{PING} to be sent and watched",
            f"{type(error).__name__}: {error}",
            "See the links above; one of them broke just now.",
        ) from None


async def _one_task(seconds: float) -> str:
    task_id, deadline = str(uuid4()), time.monotonic() + seconds
    group = groups.group_name(task_id)
    async with _heard_in(group) as heard:
        await _subscribed(group, heard, min(seconds, HOP))
        began = time.monotonic()
        # If no worker takes it in time, none should find it in the queue later.
        await asyncio.to_thread(
            ping.apply_async,
            task_id=task_id,
            expires=seconds,
            retry_policy={"max_retries": 1, "interval_start": 0},
        )
        state, stored = await _ended(task_id, deadline)
        took = time.monotonic() - began
        if state != State.SUCCESS:
            raise _not_run(state)
        if not await _hinted(heard, stored):
            raise Broken(
                "the hint of its end in the task's group",
                "the record, but no event",
                "Web and worker must share CHANNEL_LAYERS and PROGRESS_PREFIX; compare their settings.",
            )
    return f"sent, run, recorded and announced in {took * 1000:.0f} ms"


async def _ended(task_id: str, deadline: float) -> tuple[str, int]:
    """State and seq of the task's record once it has ended, or when the time is up; ("", 0): no record."""
    store = get_store()
    try:
        while True:
            (record,) = await store.aload_many([snapshot.key(task_id)])
            if time.monotonic() >= deadline or (record and record.ended):
                return (str(record.state), record.seq) if record else ("", 0)
            await asyncio.sleep(LOOK)
    finally:
        if isinstance(store, RedisStore):
            await store.aclose()  # this loop's connections


async def _hinted(heard: asyncio.Queue[dict[str, Any]], seq: int) -> bool:
    """True once an event with `seq` came. Only a worker knows that one; the earlier ones may be our own."""
    try:
        async with asyncio.timeout(HOP):
            while (await heard.get()).get("seq") != seq:
                pass
    except TimeoutError:
        return False
    return True


def _not_run(state: str) -> Broken:
    mend = {
        "": "The worker writes elsewhere: compare its PROGRESS_REDIS_URL and PROGRESS_PREFIX with those here.",
        State.PENDING: (
            "It is queued and nobody took it: all workers are busy, or they listen to other queues "
            f"(this one: {current_app.conf.task_default_queue})."
        ),
    }
    return Broken(
        f"{PING} to end as SUCCESS",
        f"state {state}" if state else "no record",
        mend.get(state, "Read the worker's log; is its code the same as here?"),
    )


LINKS: Final = (
    Link("Installation", "web", check_installation),
    Link("Redis", "redis", check_redis),
    Link("Channel layer", "redis", check_layer),
    Link("History", "web", check_history),
    Link("Worker", "worker", check_worker),
    Link("A task, end to end", "worker", check_task, needs_others=True),
)
