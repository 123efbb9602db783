"""A thread of the operating system, also where gevent has turned Python's threads into greenlets.

An event loop in a greenlet would look to every other greenlet as if it were its own: Django refuses its ORM then,
and asyncio a second loop. In a thread of its own nobody sees it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

LOOK: Final = 0.005  # seconds between two looks whether it has ended


def threads_are_greenlets() -> bool:
    """True if gevent has patched this process: `threading.Thread` is a greenlet then."""
    monkey: Any = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def threads_are_eventlets() -> bool:
    """True if eventlet has patched this process. No event loop works beside its hub."""
    patcher: Any = sys.modules.get("eventlet.patcher")
    return patcher is not None and bool(patcher.is_monkey_patched("thread"))


class NativeThread:
    """Runs `target` once. Like a daemon thread it keeps no process from ending."""

    def __init__(self, target: Callable[[], None], name: str) -> None:
        self._target, self._name = target, name
        self._id = 0  # the system's
        self._thread: threading.Thread | None = None
        self._begun = self._ended = False

    def start(self) -> None:
        """Start it; once only."""
        self._begun = True
        if threads_are_greenlets():
            from gevent import monkey  # only where it is in use anyway

            # Not by gevent's own pool of threads: ending one of those has crashed the interpreter (gevent 26.9).
            monkey.get_original("_thread", "start_new_thread")(self._run, ())
        else:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        self._id = threading.get_native_id()
        try:
            self._target()
        finally:
            if self._thread is None:
                from gevent import get_hub

                get_hub().destroy(destroy_loop=True)  # what waited in this thread has made one
            self._ended = True

    def is_alive(self) -> bool:
        """True from its start to its end."""
        return self._begun and not self._ended

    def join(self, timeout: float) -> None:
        """Return when it has ended, after `timeout` seconds at the latest; at once within the thread itself."""
        if threading.get_native_id() == self._id:
            return
        if self._thread is not None:
            if self._thread.is_alive():
                self._thread.join(timeout)
            return
        deadline = time.monotonic() + timeout
        while self.is_alive() and time.monotonic() < deadline:
            time.sleep(LOOK)  # gevent's: the other greenlets go on
