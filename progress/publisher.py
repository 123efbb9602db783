"""The one bridge from synchronous code to the channel layer.

``async_to_sync(channel_layer.group_send)`` per update costs a thread, an event loop and a Redis connection each
time (2–4 ms). Here it is entered once per process, around a loop that lives as long as the process and awaits
``group_send`` itself: one thread, one loop, one batch of everything that changed.

The record is stored first, the hint is sent second; a lost hint costs a watcher seconds, never the truth. While
Redis is away nothing is queued but the newest state of each task.

The thread ends by `stop`: the executor behind ``async_to_sync`` is joined at interpreter exit before ``atexit``
runs, so a loop that merely went on would hang every worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from asgiref.sync import async_to_sync

from . import groups
from .announcer import SEND_TIMEOUT
from .control_group import ControlGroup
from .ending import end
from .exceptions import ProgressError
from .leases import Tell
from .native_thread import NativeThread, threads_are_greenlets
from .pacing import BACKLOG
from .publishing import Publishing
from .reporter import Reporter
from .store import Write, get_store

logger = logging.getLogger(__name__)

DRAIN: Final = 1.0  # seconds that a leaving process may spend on what is still to be said
RETRY_AFTER: Final = 0.5  # seconds between two attempts while Redis is away
# Seconds from one look to the next. What a busy process has to say meanwhile goes in one round trip, and a task that
# begins and ends within it is one write; who was silent before is heard at once.
GATHER: Final = 0.01
PAUSE_AFTER_ERROR: Final = 5.0  # seconds before the next attempt after an error that nobody foresaw


def send_now(group: str, event: dict[str, Any]) -> None:
    """Send one event and wait for it: for a process that reports once and has no loop to keep (2–4 ms)."""
    channel_layer = groups.layer()
    async_to_sync(channel_layer.group_send)(group, event)


# Something that goes on beside the reporting, told how to send into a group. It ends by being cancelled.
Chore = Callable[[Tell], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class _Inbox:
    """What other threads hand over. Deques: appending is atomic."""

    reporters: deque[Reporter] = field(default_factory=deque)
    once: deque[Write] = field(default_factory=deque)
    hints: deque[tuple[str, dict[str, Any]]] = field(default_factory=partial(deque, maxlen=BACKLOG))
    chores: deque[Chore] = field(default_factory=deque)


class Publisher:
    """One thread and one event loop that store and announce what this process's tasks say."""

    def __init__(self) -> None:
        self.process = f"{os.getpid()}-{os.urandom(8).hex()}"
        self._control_group = ControlGroup(self.process, self._control, self._catch_up)
        self._inbox = _Inbox()
        self._publishing = Publishing(self.process)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken: asyncio.Event | None = None
        self._called = False  # by `wake`, since the last look
        self._stopping = False
        self._retry_at = 0.0
        self._chores: set[asyncio.Task[None]] = set()
        self._thread = NativeThread(self._run, "progress-publisher")

    # --- Called from other threads -------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread."""
        # Load here what the thread would load: a worker that forks while another thread is importing leaves
        # its child with a lock that nobody will release.
        groups.layer()
        get_store()
        "redis".encode("idna")  # what looking up a host's address imports
        self._thread.start()

    def follow(self, reporter: Reporter) -> None:
        """Publish `reporter` from now until its execution is over."""
        self._inbox.reporters.append(reporter)
        self.wake()

    def submit(self, write: Write) -> None:
        """Store a write that belongs to no reporter, then announce it: the main process's verdict on a task."""
        self._inbox.once.append(write)
        self.wake()

    def announce(self, group: str, event: dict[str, Any]) -> None:
        """Send a hint about something that is already stored."""
        self._inbox.hints.append((group, event))
        self.wake()

    def run(self, chore: Chore) -> None:
        """Do `chore` in the publisher's loop until that ends."""
        self._inbox.chores.append(chore)
        self.wake()

    def wake(self) -> None:
        """Something changed: look now. Never blocks."""
        if self._called:
            return
        loop, woken = self._loop, self._woken
        if loop is None or woken is None:
            return
        try:
            self._called = True
            loop.call_soon_threadsafe(woken.set)
        except RuntimeError:  # the loop was closed: the process is leaving
            return
        except BaseException:  # a soft time limit, which strikes anywhere
            self._called = False
            raise

    def stop(self, timeout: float = DRAIN) -> None:
        """Say what is still to be said, then end the thread. Waits at most about `timeout` seconds."""
        self._stopping = True
        self.wake()
        self._thread.join(timeout + SEND_TIMEOUT)

    # --- In the thread -------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            if threads_are_greenlets():
                asyncio.run(self._serve())  # the thread behind `async_to_sync` would be a greenlet of this one
            else:
                async_to_sync(self._serve)()
        except Exception:
            logger.exception("The progress publisher of process %s ended; its tasks run on unseen", os.getpid())

    async def _serve(self) -> None:
        self._loop, self._woken = asyncio.get_running_loop(), asyncio.Event()
        deadline: float | None = None
        looked = 0.0
        try:
            while True:
                if self._stopping:
                    deadline = deadline or time.monotonic() + DRAIN
                    if self._nothing_left() or time.monotonic() >= deadline:
                        return
                elif (pause := self._pause()) != 0:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(pause):
                            await self._woken.wait()
                if not self._stopping and (rest := looked + GATHER - time.monotonic()) > 0:
                    await asyncio.sleep(rest)
                self._woken.clear()
                self._called = False  # before the look: what comes from now on calls again
                looked = time.monotonic()
                await self._look()
        finally:
            await self._leave()

    async def _look(self) -> None:
        try:
            self._take_in()
            if time.monotonic() >= self._retry_at or self._stopping:
                await self._publishing.publish(get_store(), everything=self._stopping)
            while self._inbox.hints:
                await self._publishing.announcer.send(*self._inbox.hints.popleft())
        except ProgressError as error:
            logger.debug("Progress is kept for later: %s", error)
            self._retry_at = time.monotonic() + RETRY_AFTER
            if self._stopping:
                await asyncio.sleep(0.05)  # no hammering during the last second
        except Exception:
            # A mistake of ours, or of a layer. The other tasks of this process must not be unseen for ever.
            logger.exception("Progress could not be published; the next try is in %s s", PAUSE_AFTER_ERROR)
            self._retry_at = time.monotonic() + PAUSE_AFTER_ERROR
            await asyncio.sleep(0.05)

    def _take_in(self) -> None:
        inbox = self._inbox
        while inbox.reporters:
            self._publishing.follow(inbox.reporters.popleft())
            self._control_group.join()
        while inbox.once:
            self._publishing.add(inbox.once.popleft())
        while inbox.chores:
            chore = asyncio.create_task(inbox.chores.popleft()(self._publishing.announcer.send))
            self._chores.add(chore)
            chore.add_done_callback(self._chores.discard)

    def _pause(self) -> float | None:
        """Seconds until something is due; None = until woken."""
        if self._inbox.reporters or self._inbox.once or self._inbox.hints or self._inbox.chores:
            return 0
        now, due = time.monotonic(), self._publishing.next_due()
        return None if due is None else max(due, self._retry_at, now) - now

    def _nothing_left(self) -> bool:
        inbox = self._inbox
        return not (inbox.reporters or inbox.once or inbox.hints) and self._publishing.all_said()

    def _control(self, event: Mapping[str, Any]) -> None:
        if self._publishing.control(event):
            self.wake()

    def _catch_up(self) -> None:
        """What was sent while the control group was not listened to is in the answers to what the tasks say next."""
        self._publishing.hurry()
        self.wake()

    async def _leave(self) -> None:
        self._loop = None
        await end(self._chores)
        await self._control_group.leave()
        with contextlib.suppress(Exception):
            if close := getattr(get_store(), "aclose", None):
                await close()


# --- One per process ---------------------------------------------------------------------------------------

_lock = threading.Lock()
_publisher: Publisher | None = None
# A forked child keeps its parent's publisher referenced: closing an inherited transport would remove the
# parent's descriptor from the epoll instance that both share, and freeze the parent.
_inherited: list[Publisher] = []


def get_publisher() -> Publisher:
    """This process's publisher, started when it is first needed."""
    global _publisher
    if _publisher is None:
        with _lock:
            if _publisher is None:
                fresh = Publisher()
                fresh.start()
                _publisher = fresh
    return _publisher


def stop() -> None:
    """End this process's publisher, if it has one; the next report starts another."""
    global _publisher
    leaving, _publisher = _publisher, None
    if leaving is not None:
        leaving.stop()


def _after_fork() -> None:
    global _publisher, _lock
    _lock = threading.Lock()
    if _publisher is not None:
        _inherited.append(_publisher)
        _publisher = None


os.register_at_fork(after_in_child=_after_fork)
# Before the threads of executors are joined, which `atexit` would come after.
threading._register_atexit(stop)  # type: ignore[attr-defined]
