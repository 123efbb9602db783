"""Fan-out: one hub per server process and event loop, between the channel layer and its browsers.

It joins each watched task's group once, however many browsers watch it, encodes a snapshot once per view and
hands the same text to all of them. Order comes from `seq` alone: join the group, read the record, pass on only
what is newer, read again after a second (a subscription becomes live later than `group_add` says), and re-read
everything watched every few seconds. So a lost push costs seconds and nothing else: reconnects, a restarted
Redis and a dead receiver all take the same path.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Collection, Coroutine, Iterable, Mapping
from typing import Any, Final

from . import groups, snapshot
from .claims import life_of
from .conf import conf
from .counters import counters
from .ending import end
from .exceptions import ProgressError, StoreUnavailable
from .followed_users import FollowedUsers
from .leases import Reaper
from .mending import bring_back, say_who_listens
from .outbox import Shown
from .per_loop import PerLoop
from .pile import Pile
from .record import Record
from .store import Answer, LogPage, get_store, watch_writes
from .subscription import Subscription
from .together import Together
from .trees import Trees, TreeWatcher
from .true_end import true_end
from .turns import Turn
from .watched import Seat, Watched, Watcher, only_copies, shown_of

logger = logging.getLogger(__name__)

READ_AGAIN: Final = 1.0  # seconds after a join; by then its subscription is live
READ_TOGETHER: Final = 0.02  # seconds; hints that come within them are read together
AT_ONCE: Final = 200  # records in one round trip, for then others have the loop
AHEAD: Final = 300_000_000  # µs that a `seq` may be ahead of Redis's clock; more is forged or damaged


class Hub:
    """The watched tasks of one event loop. All methods belong to that loop."""

    def __init__(self) -> None:
        self._tasks: dict[str, Watched] = {}
        self._turn = Turn()
        self._subscription = Subscription(self._take, self._look_at_everything)
        self.trees = Trees(self._subscription)
        self._users = FollowedUsers(self._subscription, self._tasks, self._read_and_learn)
        self._reads, self._beginnings = Together(self._read), Together(self._begin)
        self._running: set[asyncio.Task[None]] = set()
        self._to_read = Pile()
        self._just_joined = Pile()
        self._clock = time.time_ns() // 1000 - self._ticks()  # Redis's clock minus ours, µs
        self.dropped = 0  # events in our groups that were none of ours

    # --- For consumers -------------------------------------------------------------------------------------

    def now(self) -> str:
        """The time by Redis's clock, ISO 8601."""
        return snapshot.iso(self._clock + self._ticks()) or ""

    async def read(self, keys: Collection[str]) -> dict[str, Record]:
        """The records of `keys` that exist. Raises `StoreUnavailable`."""
        found = await self._reads(keys)
        return {key: found[key] for key in keys if key in found}

    async def _read(self, keys: list[str]) -> dict[str, Record]:
        records: dict[str, Record | None] = {}
        for first in range(0, len(keys), AT_ONCE):
            some = keys[first : first + AT_ONCE]
            records.update(zip(some, await get_store().aload_many(some), strict=True))
        return {key: record for key, record in records.items() if record is not None}

    async def logs(self, key: str, after: str | None) -> LogPage:
        """Log lines of the task `key` after a cursor. Raises `StoreUnavailable`."""
        return await get_store().alogs(key, after)

    async def watch(self, keys: Collection[str], watcher: Watcher, seats: Mapping[str, Seat] | None = None) -> None:
        """Pass everything newer about `keys` to `watcher`, or to its `seats`, beginning with what is known now."""
        fresh = [key for key in keys if key not in self._tasks]
        for key in keys:
            self._tasks.setdefault(key, Watched()).add(watcher, seats.get(key) if seats else None)
        self._start()
        if fresh:  # goes on when this is cancelled: others rely on it by now
            await self._beginnings(fresh)

    async def _begin(self, fresh: list[str]) -> None:
        await self._subscription.wait_connected()
        # Whoever was registered may have been given up while the layer was waited for.
        if fresh := [key for key in fresh if key in self._tasks]:
            await self._subscription.join(*map(groups.of_key, fresh))
            await self._look_at(fresh, wake=True)
            self._just_joined.add(*fresh)

    async def unwatch(self, keys: Iterable[str], watcher: Watcher) -> None:
        """Pass nothing more about `keys` to `watcher`."""
        deserted = []
        for key in keys:
            watched = self._tasks.get(key)
            if watched is None:
                continue
            watched.watchers.pop(watcher, None)
            if not watched.watchers:
                watched.abandon()
                del self._tasks[key]
                deserted.append(groups.of_key(key))
        if deserted:
            await self._subscription.leave(*deserted)

    async def watch_tree(self, key: str, watcher: TreeWatcher) -> None:
        """Tell `watcher` of every change of the workflow `key`."""
        self._start()
        await self.trees.watch(key, watcher)

    async def follow(self, owner: str, watcher: Watcher) -> None:
        """Tell `watcher` of the unfinished tasks of `owner`, and of those that come."""
        self._start()
        await self._users.follow(owner, watcher, self._clock + self._ticks())

    async def unfollow(self, owner: str, watcher: Watcher) -> None:
        """Tell `watcher` of no more tasks of `owner`."""
        await self._users.unfollow(owner, watcher)

    async def tell_worker(self, record: Record, key: str, *, cancel: bool = False) -> None:
        """Wake the process that runs the task. A lost wake-up costs one idle interval."""
        if record.process and record.state in snapshot.LIVE:
            await self._subscription.send(
                groups.of_process(record.process), {"type": "progress.control", "id": key, "cancel": cancel}
            )

    async def announce(self, key: str, seq: int) -> None:
        """Say in the task's group that its record changed."""
        await self._subscription.send(groups.of_key(key), groups.hint(key, seq))

    async def close(self) -> None:
        """End all that goes on here, for certain; nobody is told anything more. A server's hub ends with its process.

        For whoever leaves the loop: `asyncio.run` cancels once, and waits for ever for what swallows that.
        """
        while left := [task for task in self._everything() if not task.done()]:
            await end(left)  # what ends may have begun something more
        await self._subscription.disconnect()

    def _everything(self) -> list[asyncio.Task[Any]]:
        return [*self._reads.tasks, *self._beginnings.tasks, *self._subscription.tasks, *self._running]

    # --- What arrives --------------------------------------------------------------------------------------

    def _start(self) -> None:
        if not self._running:
            self._spawn(self._subscription.run())
            self._spawn(self._read_what_was_only_hinted())
            self._spawn(self._look_after_joining())
            self._spawn(self._sweep())
            self._spawn(self.trees.read_what_was_announced())
            self._spawn(self.trees.look_again())
            self._spawn(Reaper(self._subscription.send, true_end).run())

    def _look_at_everything(self) -> None:
        self._to_read.add(*self._tasks)

    def _take(self, event: Any) -> None:
        """Anybody who reaches Redis can write into a group: only what has our form is passed on."""
        counters.received += 1
        if (tree := groups.tree_in(event)) is not None:
            self.trees.changed(tree)
            return
        key, seq = groups.named_in(event) or ("", 0)
        if not key or self._is_impossible(seq):
            self.dropped += 1
            return
        watched = self._tasks.get(key)
        shown = watched.shown if watched else None
        if shown and not snapshot.is_newer(seq, shown.seq):
            return
        text, staff = event.get("snapshot"), event.get("staff")
        if watched is None or text is None:
            self._to_read.add(key)
        elif (decoded := groups.snapshot_in(text, key, seq)) is None:
            self.dropped += 1
        elif shown is None or shown.life != (life := life_of(decoded)):
            self._to_read.add(key)  # another run of this id may be somebody else's: only the record says whose
        else:
            staff = staff if groups.snapshot_in(staff, key, seq) is not None else text
            logs_to = decoded.get("logs_to")
            final = decoded.get("final") is True
            newer = Shown(
                key, seq, text, staff, logs_to=logs_to, now=self.now, claim=shown.claim, life=life, final=final
            )
            self._turn.show(watched, newer)
            if final:
                self._just_joined.add(key)  # look whether it is stored, so that we may stand for it

    async def _read_what_was_only_hinted(self) -> None:
        while True:
            keys = await self._to_read.take()
            try:
                await self._read_and_learn(keys)
            except ProgressError:
                await asyncio.sleep(READ_AGAIN)  # the sweep finds them
            except Exception:
                logger.exception("Progress that was announced could not be read")
            await asyncio.sleep(READ_TOGETHER)

    async def _read_and_learn(self, keys: Collection[str]) -> None:
        self._learn(await self.read(keys))

    def _learn(self, records: dict[str, Record]) -> None:
        for key, record in records.items():
            watched = self._tasks.get(key)
            if watched and self._is_news(record, watched.shown):
                try:
                    shown = shown_of(key, record, self.now)
                except (ValueError, RecursionError):
                    self.dropped += 1  # somebody damaged it; the others are read all the same
                    continue
                self._turn.show(watched, shown)
            self._users.tell(key, record)

    def _is_impossible(self, seq: int) -> bool:
        return seq > self._clock + self._ticks() + AHEAD

    def _is_news(self, record: Record, shown: Shown | None) -> bool:
        """True if `record` has something other than what is shown. Clients decide by `seq` what they show."""
        if shown is None or snapshot.is_newer(record.seq, shown.seq):
            return record.seq > 0
        if record.seq == shown.seq:
            return (record.owner, record.tree) != (shown.claim.owner, shown.claim.tree)
        return record.seq > 0 and self._is_impossible(shown.seq)

    # --- Looking again -------------------------------------------------------------------------------------

    async def _look_at(self, keys: Collection[str], wake: bool = False) -> None:
        """Mark `keys` as watched and read those that have changed. Raises `StoreUnavailable`."""
        known = {key: task.head for key in keys if (task := self._tasks.get(key)) and task.head.seq}
        answers = await get_store().awrite_many(watch_writes(keys, 3 * conf.PROGRESS_SWEEP_INTERVAL, known))
        changed = []
        for key, answer in zip(keys, answers, strict=True):
            if answer.now:  # not of a damaged key
                self._clock = answer.now - self._ticks()
            watched = self._tasks.get(key)
            if self._is_news(answer.head, watched.shown if watched else None):
                changed.append(key)
                if watched:
                    watched.miss(answer.head.seq)
        if changed:
            await self._read_and_learn(changed)
        await self._mend(dict(zip(keys, answers, strict=True)))
        if wake:  # together: a layer that hangs costs all of them one time-out
            await asyncio.gather(
                *(self.tell_worker(answer.head, key) for key, answer in zip(keys, answers, strict=True))
            )

    async def _mend(self, looks: dict[str, Answer]) -> None:
        """Do what nobody else would. Raises `StoreUnavailable`."""
        await bring_back(*only_copies(self._tasks, looks, time.monotonic()), self._subscription.send)
        heads = {key: answer.head for key, answer in looks.items()}
        await say_who_listens(heads, self._clock + self._ticks(), self._subscription.send)

    async def _look_after_joining(self) -> None:
        while True:
            keys = await self._just_joined.take()
            await asyncio.sleep(READ_AGAIN)
            await self._look_if_possible([key for key in keys if key in self._tasks])

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(conf.PROGRESS_SWEEP_INTERVAL * random.uniform(0.75, 1.0))  # nosec B311 # jitter
            try:
                await self._subscription.mend()
                await self._look_if_possible(list(self._tasks))
                await self._users.look_again()
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

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    @staticmethod
    def _ticks() -> int:
        return time.monotonic_ns() // 1000


get_hub: Final = PerLoop(Hub)
