"""A few threads for calls that may hang: unlike those of `concurrent.futures` they keep no process from leaving."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Executor, Future
from typing import Any

from .native_thread import NativeThread

logger = logging.getLogger(__name__)


class QueuedCall(Future[Any]):
    """A call that a pool was given, and what it will have returned."""

    def __init__(self, pool: NativePool) -> None:
        super().__init__()
        self._pool, self._given = pool, time.monotonic()
        self.begun: float | None = None  # s, monotonic, as below

    @property
    def moved(self) -> float:
        """When it began; before that, when the pool has last finished a call, or was given this one."""
        return max(self._given, self._pool.finished) if self.begun is None else self.begun


class NativePool(Executor):
    """Runs what it is given in at most `threads` threads, in order. They are started as they are needed, and stay."""

    def __init__(self, threads: int, name: str) -> None:
        self._most, self._name = threads, name
        self._lock = threading.Lock()
        self._started = 0
        self._idle = 0
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.finished = 0.0  # when the last call was (s, monotonic)

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> QueuedCall:
        """What `call` will have returned."""
        queued = QueuedCall(self)

        def run() -> None:
            if not queued.set_running_or_notify_cancel():
                return
            queued.begun = time.monotonic()
            try:
                queued.set_result(call(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 (handed over)
                queued.set_exception(error)
            finally:
                self.finished = time.monotonic()

        with self._lock:
            self._work.put(run)
            if self._idle:
                self._idle -= 1  # that one wakes up for it, if none that is busy is quicker
            elif self._started < self._most:
                self._started += 1
                NativeThread(self._run, self._name).start()
        return queued

    def rest(self) -> None:
        """What a thread does when nothing more waits for it: nothing, here."""

    def _run(self) -> None:
        while True:
            try:
                work = self._work.get_nowait()
            except queue.Empty:
                work = self._wait()
            work()

    def _wait(self) -> Callable[[], None]:
        try:
            self.rest()
        except Exception:
            logger.exception("A thread of %s could not put away what it has used", self._name)
        with self._lock:
            try:
                return self._work.get_nowait()
            except queue.Empty:
                self._idle += 1
        return self._work.get()


async def wait_in_turn(
    answers: Collection[asyncio.Future[Any]], moved: Callable[[], float], patience: float, at_most: float
) -> bool:
    """Wait for answers out of a pool; True if all are there.

    In a crowd one waits one's turn, up to `at_most` seconds, but not behind what hangs: then nothing has `moved` for
    `patience` seconds. `moved` says when something has (s, monotonic).
    """
    began = time.monotonic()
    while missing := [answer for answer in answers if not answer.done()]:
        left = min(max(began, moved()) + patience, began + at_most) - time.monotonic()
        if left <= 0:
            return False
        await asyncio.wait(missing, timeout=left)
    return True
