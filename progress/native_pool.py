"""A few threads for calls that may hang: unlike those of `concurrent.futures` they keep no process from leaving."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from .native_thread import NativeThread


class NativePool(Executor):
    """Runs what it is given in at most `threads` threads, in order. They are started as they are needed, and stay."""

    def __init__(self, threads: int, name: str) -> None:
        self._most, self._name = threads, name
        self._lock = threading.Lock()
        self._started = 0
        self._idle = 0
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """What `call` will have returned."""
        answer: Future[Any] = Future()

        def run() -> None:
            if not answer.set_running_or_notify_cancel():
                return
            try:
                answer.set_result(call(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 (handed over)
                answer.set_exception(error)

        self._work.put(run)
        with self._lock:
            if self._idle < self._work.qsize() and self._started < self._most:
                self._started += 1
                NativeThread(self._run, self._name).start()
        return answer

    def _run(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            work = self._work.get()
            with self._lock:
                self._idle -= 1
            work()
