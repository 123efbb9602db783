"""Fan-out: one hub per server process and event loop, between the channel layer and its browsers.

It joins each watched task's group once, however many browsers watch it, encodes a snapshot once per view and
hands the same text to all of them. Order comes from `seq` alone: join the group, read the record, pass on only
what is newer, read again after a second (a subscription becomes live later than `group_add` says), and re-read
everything watched every few seconds. So a lost push costs seconds and nothing else: reconnects, a restarted
Redis and a dead receiver all take the same path.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
import weakref
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from . import groups, snapshot
from .conf import conf
from .exceptions import ProgressError, StoreUnavailable
from .outbox import Shown
from .record import Record
from .store import LogPage, get_store, watch_writes
from .subscription import Subscription

logger = logging.getLogger(__name__)

READ_AGAIN: Final = 1.0  # seconds after a join; by then its subscription is live


class Watcher(Protocol):
    """One browser connection, as the hub sees it."""

    def progress_update(self, shown: Shown) -> None: ...
    def task_found(self, key: str, record: Record) -> None: ...


@dataclass(slots=True)
class _Watched:
    """A task that somebody here watches, and the newest that is known of it."""

    shown: Shown | None = None
    watchers: set[Watcher] = field(default_factory=set)


@dataclass(slots=True)
class _Followed:
    """A user whose unfinished tasks somebody here wants to know of, and those that need no more looking at."""

    followers: dict[Watcher, int] = field(default_factory=dict)  # since when (µs by Redis's clock)
    ended: set[str] = field(default_factory=set)


class Hub:
    """The watched tasks of one event loop. All methods belong to that loop."""

    def __init__(self) -> None:
        self._tasks: dict[str, _Watched] = {}
        self._owners: dict[str, _Followed] = {}
        self._subscription = Subscription(self._take, self._look_at_everything)
        self._running: set[asyncio.Task[None]] = set()
        self._to_read: set[str] = set()
        self._clock = time.time_ns() // 1000 - self._ticks()  # Redis's clock minus ours, µs
        self.dropped = 0  # events in our groups that were none of ours

    # --- For consumers -------------------------------------------------------------------------------------

    def now(self) -> str:
        """The time by Redis's clock, ISO 8601."""
        return snapshot.iso(self._clock + self._ticks()) or ""

    async def read(self, keys: Collection[str]) -> dict[str, Record]:
        """The records of `keys` that exist. Raises `StoreUnavailable`."""
        found = await get_store().aload_many(list(keys))
        return {key: record for key, record in zip(keys, found, strict=True) if record is not None}

    async def logs(self, key: str, after: str | None) -> LogPage:
        """Log lines of the task `key` after a cursor. Raises `StoreUnavailable`."""
        return await get_store().alogs(key, after)

    async def watch(self, keys: Collection[str], watcher: Watcher) -> None:
        """Pass everything newer about `keys` to `watcher` from now on, beginning with what is known now."""
        await self._start()
        fresh = [key for key in keys if key not in self._tasks]
        for key in keys:
            watched = self._tasks.setdefault(key, _Watched())
            if watched.shown and watcher not in watched.watchers:
                watcher.progress_update(watched.shown)
            watched.watchers.add(watcher)
        if fresh:
            await self._subscription.join(*map(groups.of_key, fresh))
            await self._look_at(fresh, wake=True)
            self._spawn(self._look_later(fresh))

    async def unwatch(self, keys: Iterable[str], watcher: Watcher) -> None:
        """Pass nothing more about `keys` to `watcher`."""
        deserted = []
        for key in keys:
            watched = self._tasks.get(key)
            if watched is None:
                continue
            watched.watchers.discard(watcher)
            if not watched.watchers:
                del self._tasks[key]
                deserted.append(groups.of_key(key))
        if deserted:
            await self._subscription.leave(*deserted)

    async def follow(self, owner: str, watcher: Watcher) -> None:
        """Tell `watcher` of the unfinished tasks of `owner`, and of those that come."""
        await self._start()
        self._owners.setdefault(owner, _Followed()).followers[watcher] = self._clock + self._ticks()
        await self._subscription.join(groups.of_owner(owner))
        await self._find(owner)

    async def unfollow(self, owner: str, watcher: Watcher) -> None:
        """Tell `watcher` of no more tasks of `owner`."""
        followed = self._owners.get(owner)
        if followed is None:
            return
        followed.followers.pop(watcher, None)
        if not followed.followers:
            del self._owners[owner]
            await self._subscription.leave(groups.of_owner(owner))

    async def tell_worker(self, record: Record, key: str, *, cancel: bool = False) -> None:
        """Wake the process that runs the task. A lost wake-up costs one idle interval."""
        if record.process and record.state in snapshot.LIVE:
            await self._subscription.send(
                groups.of_process(record.process), {"type": "progress.control", "id": key, "cancel": cancel}
            )

    async def announce(self, key: str, seq: int) -> None:
        """Say in the task's group that its record changed."""
        await self._subscription.send(groups.of_key(key), groups.hint(key, seq))

    # --- What arrives --------------------------------------------------------------------------------------

    async def _start(self) -> None:
        if not self._running:
            self._spawn(self._subscription.run())
            self._spawn(self._read_what_was_only_hinted())
            self._spawn(self._sweep())
        await self._subscription.wait_connected()

    def _look_at_everything(self) -> None:
        self._to_read.update(self._tasks)

    def _take(self, event: Any) -> None:
        """Anybody who reaches Redis can write into a group: only what has our form is passed on."""
        try:
            key, seq = event["id"], event["seq"]
            valid = event["type"] == "progress.update" and isinstance(key, str) and isinstance(seq, int)
        except (TypeError, KeyError):
            valid = False
        if not valid:
            self.dropped += 1
            return
        watched = self._tasks.get(key)
        if watched and watched.shown and not snapshot.is_newer(seq, watched.shown.seq):
            return
        text, staff = event.get("snapshot"), event.get("staff")
        if watched and isinstance(text, str) and (decoded := _checked(text, key, seq)) is not None:
            staff = staff if isinstance(staff, str) and _checked(staff, key, seq) is not None else text
            self._show(watched, Shown(key, seq, text, staff, logs_to=decoded.get("logs_to"), now=self.now))
        elif watched and text is not None:
            self.dropped += 1
        else:
            self._to_read.add(key)

    def _show(self, watched: _Watched, shown: Shown) -> None:
        watched.shown = shown
        for watcher in list(watched.watchers):
            watcher.progress_update(shown)

    async def _read_what_was_only_hinted(self) -> None:
        while True:
            if self._to_read:
                keys, self._to_read = list(self._to_read), set()
                try:
                    self._learn(await self.read(keys))
                except ProgressError:
                    await asyncio.sleep(READ_AGAIN)  # the sweep finds them
                except Exception:
                    logger.exception("Progress that was announced could not be read")
            await asyncio.sleep(0.02)  # hints that come together are read together

    def _learn(self, records: dict[str, Record]) -> None:
        for key, record in records.items():
            watched = self._tasks.get(key)
            if watched and (watched.shown is None or snapshot.is_newer(record.seq, watched.shown.seq)):
                try:
                    shown = self._shown(key, record)
                except ValueError:
                    self.dropped += 1  # somebody damaged it; the others are read all the same
                    continue
                self._show(watched, shown)
            if followed := self._owners.get(record.owner):
                self._tell_followers(followed, key, record)

    def _tell_followers(self, followed: _Followed, key: str, record: Record) -> None:
        # Told once more when it has ended meanwhile: it may have been too brief to be seen unfinished.
        for follower, since in list(followed.followers.items()):
            if not record.ended or record.finished_at > since:
                follower.task_found(key, record)
        if record.ended:
            followed.ended.add(key)
        else:
            followed.ended.discard(key)

    def _shown(self, key: str, record: Record) -> Shown:
        text = record.text()
        logs_to = json.loads(text).get("logs_to")
        return Shown(key, record.seq, text, record.text(staff=True), logs_to=logs_to, now=self.now)

    # --- Looking again -------------------------------------------------------------------------------------

    async def _look_at(self, keys: Collection[str], wake: bool = False) -> None:
        """Mark `keys` as watched and read those that have changed. Raises `StoreUnavailable`."""
        answers = await get_store().awrite_many(watch_writes(keys, 3 * conf.PROGRESS_SWEEP_INTERVAL))
        changed = []
        for key, answer in zip(keys, answers, strict=True):
            self._clock = answer.now - self._ticks()
            watched = self._tasks.get(key)
            if wake:
                await self.tell_worker(answer.head, key)
            known = watched.shown.seq if watched and watched.shown else 0
            if snapshot.is_newer(answer.head.seq, known):
                changed.append(key)
        if changed:
            self._learn(await self.read(changed))

    async def _look_later(self, keys: Collection[str]) -> None:
        await asyncio.sleep(READ_AGAIN)
        await self._look_if_possible([key for key in keys if key in self._tasks])

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(conf.PROGRESS_SWEEP_INTERVAL * random.uniform(0.75, 1.0))
            try:
                await self._subscription.mend()
                await self._look_if_possible(list(self._tasks))
                for owner in list(self._owners):
                    await self._find(owner)
            except StoreUnavailable as error:
                logger.debug("The users' tasks are looked for later: %s", error)
            except Exception:
                logger.exception("The watched tasks could not be looked at")  # next time, then

    async def _look_if_possible(self, keys: Collection[str]) -> None:
        try:
            if keys:
                await self._look_at(keys)
        except StoreUnavailable as error:
            logger.debug("The watched tasks are looked at later: %s", error)

    async def _find(self, owner: str) -> None:
        """Read those of the user's tasks that may be unfinished and that not all followers watch."""
        followed = self._owners.get(owner, _Followed())
        wanted = []
        for key in await get_store().amine(owner):
            watched = self._tasks.get(key)
            if key not in followed.ended and not (watched and followed.followers.keys() <= watched.watchers):
                wanted.append(key)
        if wanted:
            self._learn(await self.read(wanted))

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    @staticmethod
    def _ticks() -> int:
        return time.monotonic_ns() // 1000


def _checked(text: str, key: str, seq: int) -> dict[str, Any] | None:
    """The snapshot in `text` if it is one of this task and this moment."""
    try:
        decoded = json.loads(text)
    except ValueError:
        return None
    if not isinstance(decoded, dict) or decoded.get("id") != key or decoded.get("seq") != seq:
        return None
    return decoded


_hubs: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = weakref.WeakKeyDictionary()


def get_hub() -> Hub:
    """The running loop's hub."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = Hub()
    return _hubs[loop]
