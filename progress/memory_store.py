"""Records in this process's memory, under the very same rules: for test suites and single processes without Redis.

Not promised: anything between two processes, lifetimes, or speed.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from . import rules
from .conf import conf
from .record import TEXTS, Record, Status
from .snapshot import iso
from .store import LOG_LIMIT, MINE_LIMIT, Answer, Change, Expired, LogPage, Write
from .workflow import Workflow, counted, move, wholes

BACKLOG: Final = 10_000  # changes kept for a recorder that does not come


def microseconds() -> int:
    """The time of this process's clock, as Redis would give its own."""
    return time.time_ns() // 1000


def _head(record: Record) -> Record:
    """The record without its texts, as a write is answered."""
    blank: dict[str, Any] = dict.fromkeys(TEXTS, "")
    return replace(record, **blank)


class MemoryStore:
    """A store in this process's memory. `clock` gives the time in µs."""

    def __init__(self, clock: Callable[[], int] = microseconds) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._records: dict[str, Record] = {}
        self._workflows: dict[str, Workflow] = {}
        self._mine: dict[str, dict[str, int]] = {}
        self._logs: dict[str, list[tuple[int, str, str, str]]] = {}
        self._queues: dict[str, int] = {}
        self._lines = 0
        self._told = itertools.count(1)
        self._revoked: dict[str, float] = {}
        self._changes: deque[Change] = deque(maxlen=BACKLOG)

    def write(self, write: Write) -> Answer:
        """Apply one write."""
        with self._lock:
            now, old = self._clock(), self._records.get(write.key)
            status, new = rules.apply(old, write.op, write.args, now)
            if new is None or status is not Status.ACCEPTED:
                return Answer(status, now, _head(new) if new else Record(state=""))
            self._records[write.key] = new
            if conf.PROGRESS_RECORDER and rules.is_told(write.op, old, new):
                arguments = str(write.args.get("arguments", ""))
                self._changes.append(Change(str(next(self._told)), write.key, new, arguments))
            if old is None or new.run != old.run:
                self._begin_run(write, new.owner, now)
            if old is not None and new.run != old.run:
                self._workflows.pop(write.key, None)
            before = old.state if old else ""
            return Answer(status, now, _head(new), before, *self._count(write.key, old, new, now))

    def _begin_run(self, write: Write, owner: str, now: int) -> None:
        if write.op == "queue":  # else it has begun to log already
            self._logs.pop(write.key, None)
        if owner:
            tasks = self._mine.setdefault(owner, {})
            tasks[write.key] = now
            for oldest in sorted(tasks, key=tasks.__getitem__)[:-MINE_LIMIT]:
                del tasks[oldest]

    def _count(self, key: str, old: Record | None, new: Record, now: int) -> tuple[bool, int]:
        moved, sender_seq = False, 0
        for name in wholes(key, new):
            counted_before = old if old and name in wholes(key, old) else None
            if change := move(counted_before, new):
                workflow = self._workflows.get(name, Workflow())
                self._workflows[name] = workflow.with_part(key, new.owner, change, now)
                moved = moved or change.changes_state
        sender = self._records.get(new.part_of)
        change = move(old if old and old.part_of == new.part_of else None, new)
        if sender is not None and change:
            self._records[new.part_of] = sender = counted(sender, change, now)
            sender_seq = sender.seq
        return moved, sender_seq

    def control(self, key: str) -> str:
        """Who asked to cancel `key`, or ""."""
        record = self._records.get(key)
        return record.control if record else ""

    def now(self) -> int:
        """The time by this store's clock, in µs."""
        return self._clock()

    async def awrite_many(self, writes: Sequence[Write]) -> list[Answer]:
        """Apply writes in order."""
        return [self.write(write) for write in writes]

    def load(self, key: str) -> Record | None:
        """The record of `key`, or None."""
        return self._records.get(key)

    def load_many(self, keys: Sequence[str]) -> list[Record | None]:
        """The records of `keys`, None where there is none."""
        return [self._records.get(key) for key in keys]

    async def aload_many(self, keys: Sequence[str]) -> list[Record | None]:
        """Like `load_many`."""
        return self.load_many(keys)

    def load_workflows(self, keys: Sequence[str]) -> list[Workflow | None]:
        """The sums over the workflows of `keys`, None where there are none."""
        return [self._workflows.get(key) for key in keys]

    async def aload_workflows(self, keys: Sequence[str]) -> list[Workflow | None]:
        """Like `load_workflows`."""
        return self.load_workflows(keys)

    async def aexpired(self, limit: int) -> Expired:
        """Up to `limit` records whose lease has run out."""
        now = self._clock()
        leased = {key: record.leased_until for key, record in list(self._records.items()) if record.leased_until > 0}
        over = [key for key, until in leased.items() if until <= now]
        return Expired(now, over[:limit], min((until for until in leased.values() if until > now), default=0))

    async def aunlist(self, keys: Sequence[str]) -> None:
        """Nothing: nobody else writes into this store."""

    async def abeat(
        self, queues: Sequence[str], renewals: Sequence[Write], seconds: float, limit: int
    ) -> tuple[Expired, list[Answer]]:
        """Somebody listens to `queues` and lives for so long from now; up to `limit` leases that have run out."""
        until = self._clock() + int(seconds * 1_000_000)
        self._queues |= dict.fromkeys(queues, until)
        answers = await self.awrite_many(renewals)
        return await self.aexpired(limit), answers

    async def alistened(self, queues: Sequence[str]) -> set[str]:
        """Those of `queues` that somebody listens to."""
        now = self._clock()
        return {queue for queue in queues if self._queues.get(queue, 0) > now}

    def mine(self, owner: str, limit: int = 50) -> list[str]:
        """Keys of `owner`'s tasks, newest first."""
        tasks = self._mine.get(owner, {})
        return sorted(tasks, key=tasks.__getitem__, reverse=True)[:limit]

    async def amine(self, owner: str, limit: int = 50) -> list[str]:
        """Like `mine`."""
        return self.mine(owner, limit)

    async def aappend_logs(self, key: str, lines: Sequence[tuple[str, str]], *, ended: bool = False) -> str:
        """Append (level, text) lines to the task's log; the answer is the cursor of the last."""
        with self._lock:
            kept = self._logs.setdefault(key, [])
            at = iso(self._clock()) or ""
            for level, text in lines:
                self._lines += 1
                kept.append((self._lines, at, level, text))
            del kept[:-LOG_LIMIT]
            return f"{self._lines}-0"

    def logs(self, key: str, after: str | None = None, limit: int = 200) -> LogPage:
        """Lines after the cursor `after` (None: the newest `limit`)."""
        kept = self._logs.get(key, [])
        seen = int(after.partition("-")[0]) if after else 0
        chosen = [line for line in kept if line[0] > seen]
        chosen = chosen[:limit] if after else chosen[-limit:]
        if after:
            # Everything that was seen is gone; after the cursor of an empty log nothing can be missing yet.
            truncated = seen > 0 and bool(kept) and kept[0][0] > seen
        else:
            truncated = bool(chosen) and chosen[0] != kept[0]
        lines = [{"at": at, "level": level, "text": text} for _, at, level, text in chosen]
        return LogPage(lines, f"{chosen[-1][0]}-0" if chosen else after or "0-0", truncated)

    async def alogs(self, key: str, after: str | None = None, limit: int = 200) -> LogPage:
        """Like `logs`."""
        return self.logs(key, after, limit)

    def revoke(self, name: str, at: float, forget_before: float) -> None:
        """Keep that `name` was revoked at a time (seconds since 1970)."""
        self._revoked[name] = at

    def revoked(self, since: float) -> dict[str, float]:
        """What was revoked from a time on, and when."""
        return {name: at for name, at in self._revoked.items() if at >= since}

    async def arevoked(self, since: float) -> dict[str, float]:
        """Like `revoked`."""
        return self.revoked(since)

    def open_changes(self) -> MemoryChanges:
        """What happened to tasks since somebody read it."""
        return MemoryChanges(self._changes)


class MemoryChanges:
    """The changes that a memory store keeps. There is one reader, and what it has read is gone."""

    def __init__(self, kept: deque[Change]) -> None:
        self._kept = kept

    def read(self, limit: int, wait: float) -> list[Change]:
        """The oldest changes. Does not wait for one."""
        return [self._kept.popleft() for _ in range(min(limit, len(self._kept)))]

    def done(self, changes: Sequence[Change]) -> None:
        """Nothing: they are gone already."""

    def keep(self, changes: Sequence[Change]) -> None:
        """Nothing: there is no other reader."""

    def close(self) -> None:
        """Nothing."""
