"""The last resort: a thread that notices an event loop that has stopped turning, and ends the process.

Nothing inside a loop can notice that the loop spins or is blocked, and nothing outside can mend it: all that helps
is another process. So this is for processes that somebody starts again when they leave (`PROGRESS_EXIT_WHEN_DEAF`).
It ends them with `os._exit`: leaving in order needs the loop, and `sys.exit` in a thread ends that thread alone.

It counts only while it was itself on time. A machine that was suspended, a process that was stopped, a box without
a free core: there the loop is late for the same reason as the thread, and nobody is accused. What holds Python's
lock for long, as an extension in C can, stops the thread too and is not noticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

logger = logging.getLogger(__name__)

TICK: Final = 0.5  # seconds between two looks
LATE: Final = 0.5  # seconds by which a look may be late and still counts
STOPPED: Final = 10.0  # seconds without a turn of the loop, then we leave
DEAF: Final = 60.0  # seconds in which no new receiver has helped although Redis answers, then we leave
LOGGING: Final = 2.0  # seconds for the last line; who stopped the loop may hold the lock of a log handler
STATUS: Final = os.EX_SOFTWARE


@dataclass(eq=False, slots=True)
class Patient:
    """A loop that is watched, and how long its receiver has been deaf."""

    loop: asyncio.AbstractEventLoop
    deaf_for: Callable[[], float]
    thread: int  # in which the loop runs
    asked: bool = False  # whether it turns; it has not answered yet
    quiet: float = 0.0  # seconds that we have waited for the answer, on time

    def turned(self) -> None:
        """From the loop: it turns."""
        self.asked = False


class Watchdog:
    """Watches loops, from one daemon thread that runs while there are any."""

    def __init__(self, leave: Callable[[int], Any] = os._exit) -> None:
        self._leave = leave
        self._patients: dict[asyncio.AbstractEventLoop, Patient] = {}
        self._lock = threading.Lock()
        self._none_left = threading.Event()
        self.thread: threading.Thread | None = None

    def watch(self, deaf_for: Callable[[], float]) -> None:
        """Watch the running loop, and a receiver that has been deaf for so many seconds while Redis answers."""
        loop = asyncio.get_running_loop()
        with self._lock:
            self._patients[loop] = Patient(loop, deaf_for, threading.get_ident())
            self._none_left.clear()
            if self.thread is None or not self.thread.is_alive():  # after a fork there is none
                self.thread = threading.Thread(target=self._run, name="progress-watchdog", daemon=True)
                self.thread.start()

    def forget(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch this loop no longer. The thread ends with the last one."""
        with self._lock:
            self._patients.pop(loop, None)
            if not self._patients:
                self._none_left.set()

    def _run(self) -> None:
        looked = time.monotonic()
        while True:
            self._none_left.wait(TICK)
            with self._lock:
                if not self._patients:
                    self.thread = None
                    return
                patients = list(self._patients.values())
            slept, looked = time.monotonic() - looked, time.monotonic()
            for patient in patients:
                self.look(patient, slept)

    def look(self, patient: Patient, slept: float) -> None:
        """See whether the loop has turned since the last look, `slept` seconds ago, and leave if it is too long."""
        if not patient.asked:
            patient.asked, patient.quiet = True, 0.0
            with contextlib.suppress(RuntimeError):  # it is closed; whoever closed it had no time to say so
                patient.loop.call_soon_threadsafe(patient.turned)
        elif patient.loop.is_closed():
            patient.quiet = 0.0
        elif slept <= TICK + LATE:
            patient.quiet += slept
        if patient.quiet > STOPPED:
            self._give_up(f"The event loop has not turned for {patient.quiet:.0f} s. It is here:", patient)
        elif (deaf := patient.deaf_for()) > DEAF:
            self._give_up(f"Redis answers, but nothing has been heard from it for {deaf:.0f} s.", patient)

    def _give_up(self, why: str, patient: Patient) -> None:
        frame = sys._current_frames().get(patient.thread)
        where = "".join(traceback.format_stack(frame)) if frame is not None else ""
        text = f"{why} This process leaves (PROGRESS_EXIT_WHEN_DEAF).\n{where}"
        saying = threading.Thread(target=logger.critical, args=("%s", text), daemon=True)
        saying.start()
        saying.join(LOGGING)
        self._leave(STATUS)


watchdog = Watchdog()
