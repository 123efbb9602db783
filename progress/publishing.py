"""What a process still has to say about its tasks: stored first, announced second. Belongs to the publisher's loop.

What fails is tried again as a whole: each part keeps what it has not stored yet, and of each task only the newest.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from . import groups
from .announcer import Announcer
from .counters import counters
from .leases import Held, renewal, tell_all
from .pacing import BACKLOG, Pacing, Report, shown
from .record import Status
from .reporter import Reporter
from .snapshot import FINAL
from .store import Answer, Store, Write

logger = logging.getLogger(__name__)

FENCED: Final = frozenset({Status.FENCED, Status.ENDED, Status.STALE, Status.REFUSED})


class Publishing:
    """The running tasks of one process, and the writes that belong to none of them."""

    def __init__(self, process: str) -> None:
        self.announcer = Announcer()
        self._pacing = Pacing(process)
        self._once: deque[Write] = deque(maxlen=BACKLOG)
        self._introductions: deque[tuple[str, Answer]] = deque(maxlen=BACKLOG)

    def follow(self, reporter: Reporter) -> None:
        """Publish `reporter` from now until its execution is over."""
        self._pacing.add(reporter)

    def add(self, write: Write) -> None:
        """Store this write, and announce it."""
        self._once.append(write)

    def next_due(self) -> float | None:
        """When there is something to say (s, monotonic); None = when somebody calls."""
        return 0.0 if self._once or self._introductions else self._pacing.next_due()

    def all_said(self) -> bool:
        """True if nothing is left to say."""
        return not self._once and not self._introductions and self._pacing.all_said()

    def control(self, event: Mapping[str, Any]) -> bool:
        """Somebody looks at a task, or wants it to stop. False if it does not run here."""
        if (reporter := self._pacing.running(str(event.get("id")))) is None:
            return False
        if event.get("cancel"):
            reporter.ask_cancel()
        self._pacing.hurry(reporter)
        return True

    def hurry(self) -> None:
        """Let every task say its next news at once."""
        self._pacing.hurry_all()

    async def publish(self, store: Store, *, everything: bool) -> None:
        """Say what may be said now; with `everything` what may not yet, too. Raises `StoreUnavailable`."""
        ready = self._pacing.ready(everything=everything)
        await self._store_logs(store, ready)
        await self._save(store, ready)
        await self._renew(store)
        await self._store_once(store)
        await self._introduce()

    async def _store_logs(self, store: Store, ready: list[Reporter]) -> None:
        for reporter in ready:
            lines = self._pacing.take_lines(reporter)
            ended = reporter.state in FINAL
            if lines or (ended and reporter.logs_to):
                cursor = await store.aappend_logs(reporter.job.key, lines, ended=ended)
                self._pacing.stored_lines(reporter, cursor)

    async def _save(self, store: Store, ready: list[Reporter]) -> None:
        reports = [report for reporter in ready if (report := self._report(reporter)) is not None]
        if not reports:
            return
        answers = await store.awrite_many([report.write for report in reports])
        for report, answer in zip(reports, answers, strict=True):
            first = self._pacing.answered(report, answer)
            _count(answer)
            if answer.accepted and first and answer.head.owner:
                self._introductions.append((report.write.key, answer))
            if answer.accepted:
                await self._announce(report, answer)

    async def _announce(self, report: Report, answer: Answer) -> None:
        if answer.heard:
            record = shown(report, answer)
            hint = groups.hint(report.write.key, record.seq, *record.texts())
            await self.announcer.send(groups.of_key(report.write.key), hint)
        await self._tell_wholes(answer)

    def _report(self, reporter: Reporter) -> Report | None:
        try:
            return self._pacing.report(reporter)
        except Exception:
            logger.exception("The progress of task %s cannot be shown", reporter.job.name)
            self._pacing.forget(reporter)
            return None

    async def _renew(self, store: Store) -> None:
        """Give a sign of life for those that had nothing to say."""
        if not (silent := self._pacing.to_renew()):
            return
        writes = [renewal(Held(reporter.job.key, reporter.job.exec)) for reporter in silent]
        answers = await store.awrite_many(writes)
        for reporter, answer in zip(silent, answers, strict=True):
            self._pacing.renewed(reporter, answer)
        await tell_all(writes, answers, self.announcer.send)

    async def _store_once(self, store: Store) -> None:
        while self._once:
            write = self._once[0]
            (answer,) = await store.awrite_many([write])
            self._once.popleft()
            _count(answer)
            if answer.accepted:
                await self.announcer.send(groups.of_key(write.key), groups.hint(write.key, answer.head.seq))
                await self._tell_wholes(answer)

    async def _introduce(self) -> None:
        """Tell owners of tasks that have just started."""
        while self._introductions:
            key, answer = self._introductions.popleft()
            await self.announcer.send(groups.of_owner(answer.head.owner), groups.hint(key, answer.head.seq))

    async def _tell_wholes(self, answer: Answer) -> None:
        for group, event in groups.of_wholes(answer):
            await self.announcer.send(group, event)


def _count(answer: Answer) -> None:
    if answer.accepted:
        counters.published += 1
        counters.healed += answer.healed
    elif answer.status in FENCED:
        counters.fenced += 1
