"""Stands in for the publisher in tests: no thread and no pacing, every change is stored at the call that makes it."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Coroutine
from typing import Any

from . import groups
from .announcer import Announcer
from .memory_store import MemoryStore
from .pacing import Pacing
from .reporter import Reporter
from .store import Answer, Write


class DirectPublisher:
    """What `Publisher` offers, done at once and in the caller's thread. Nothing is left out, nothing is awaited.

    Watchers in this process are told through the channel layer of their own event loop, once `listen` was called
    there.
    """

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._pacing = Pacing("direct", lease=0)
        self._followed: weakref.WeakSet[Reporter] = weakref.WeakSet()
        self._lock = threading.RLock()  # several threads may report for one task
        self._loops: list[asyncio.AbstractEventLoop] = []
        self._announcer = Announcer()

    # --- As the publisher ----------------------------------------------------------------------------------

    def follow(self, reporter: Reporter) -> None:
        """Store what `reporter` says from now until its execution is over, beginning with its start."""
        with self._lock:
            self._pacing.add(reporter)
            self._followed.add(reporter)
            self._say_all()

    def submit(self, write: Write) -> None:
        """Store a write that belongs to no reporter."""
        with self._lock:
            self._tell(write, self._store.write(write))

    def announce(self, group: str, event: dict[str, Any]) -> None:
        """Tell watchers that something is stored."""
        for loop in self._loops:
            _start(self._announcer.send(group, event), loop)

    def wake(self) -> None:
        """Something changed: store it now."""
        with self._lock:
            self._say_all()

    def stop(self, timeout: float = 0) -> None:
        """Nothing is left to say."""

    # --- For tests -----------------------------------------------------------------------------------------

    def ask_cancel(self, key: str) -> None:
        """Let the next step of the task `key` raise, if it runs."""
        with self._lock:
            reporter = self._pacing.running(key)
            if reporter is not None:
                reporter.ask_cancel()

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tell watchers in `loop` from now on."""
        self._loops.append(loop)

    def leave(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tell them no more."""
        self._loops.remove(loop)

    # --- One after the other -------------------------------------------------------------------------------

    def _say_all(self) -> None:
        for reporter in self._pacing.ready(everything=True):
            self._store_lines(reporter)
            report = self._pacing.report(reporter)
            if report is None:
                continue
            answer = self._store.write(report.write)
            self._pacing.answered(report, answer)
            self._tell(report.write, answer)
        for reporter in self._followed:
            reporter.attention = True  # the next change is to be told at the call, too

    def _store_lines(self, reporter: Reporter) -> None:
        if lines := self._pacing.take_lines(reporter):
            self._pacing.stored_lines(reporter, _now(self._store.aappend_logs(reporter.job.key, lines)))

    def _tell(self, write: Write, answer: Answer) -> None:
        if not answer.accepted or not self._loops:
            return
        # Without the snapshot: a hub reads the record, so a burst costs it one reading.
        self.announce(groups.of_key(write.key), groups.hint(write.key, answer.head.seq))
        if answer.head.owner:
            self.announce(groups.of_owner(answer.head.owner), groups.hint(write.key, answer.head.seq))
        for told in groups.of_wholes(answer):
            self.announce(*told)


def _start(work: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> None:
    try:
        asyncio.run_coroutine_threadsafe(work, loop)
    except RuntimeError:  # that loop is closed
        work.close()


def _now(work: Coroutine[Any, Any, Any]) -> Any:
    """What `work` returns. A store in memory never waits, so no event loop is needed for it."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    work.close()
    raise RuntimeError("A store in memory waited for something, expected it not to.")
