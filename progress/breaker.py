"""Remembers that Redis is away, so that only the first caller waits for it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Final

from .exceptions import StoreUnavailable

PROBE_INTERVAL: Final = 0.5  # seconds between two looks whether Redis is back


class Breaker:
    """While it is tripped a daemon thread calls `ping` until that succeeds, then resets it and ends.

    A forked child starts untripped. No lock guards it: a fork could leave one held for ever, and two threads that
    probe do no harm.
    """

    def __init__(self, ping: Callable[[], Any]) -> None:
        self._ping = ping
        self._tripped_in = 0  # a pid

    def check(self) -> None:
        """Raise `StoreUnavailable` while Redis is known to be away."""
        if self._tripped_in and self._tripped_in == os.getpid():
            raise StoreUnavailable

    def trip(self) -> None:
        """Redis did not answer: let nobody else wait until it does."""
        if self._tripped_in == os.getpid():
            return
        self._tripped_in = os.getpid()
        try:
            threading.Thread(target=self._probe, name="progress-probe", daemon=True).start()
        except RuntimeError:  # no more threads, or the interpreter is leaving: the next caller tries again
            self._tripped_in = 0

    def _probe(self) -> None:
        waiting = threading.Event()
        while not waiting.wait(PROBE_INTERVAL):
            try:
                self._ping()
            except Exception:  # noqa: BLE001, S112 (whatever it is, Redis is not back)  # nosec B112
                continue
            self._tripped_in = 0
            return
