"""Leaving calmly: on SIGTERM every progress socket is told when to come back, and only then the server leaves.

Daphne drops its connections when it is stopped, without a word; uvicorn closes them all in the same instant. Either
way all browsers come back together. So the signal reaches us first: we say `closing` with a time to each socket,
close it with 4012, let ordinary requests finish, and hand the signal on to whoever would have had it.

Importing this changes nothing. Only `drain_on_sigterm` takes the signal, when the application is first called.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import random
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, Protocol

logger = logging.getLogger(__name__)

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

LEAVE_WITHIN: Final = 9.0  # seconds after SIGTERM; container engines kill after ten
TELLING: Final = 2.0  # seconds in which a socket takes its last message, or is cut
ANSWERING: Final = 2.0  # seconds in which a client answers the close frame
HURRY: Final = 1.0  # seconds after a second SIGTERM
REQUESTS: Final = 5.0  # seconds that ordinary requests get to finish
SOONEST_MS: Final = 500  # until the first client may come back
SPREAD_MS: Final = 5_000  # over which few clients come back
EACH_MS: Final = 4  # that each of many clients adds to it: 2 000 come back within 8 s


class Socket(Protocol):
    """An open progress connection."""

    async def leave(self, retry_ms: int) -> None:
        """Say when to come back, and close. May hang with a client that takes nothing."""

    def hang_up(self) -> None:
        """Wait for this client no longer."""


class Drain:
    """The progress sockets and the running requests of one process, and how they end. One event loop's."""

    def __init__(self) -> None:
        self.begun = False
        self.sockets: set[Socket] = set()
        self.requests = 0
        self._changed = asyncio.Event()

    def enter(self, socket: Socket) -> None:
        """This connection is open."""
        self.sockets.add(socket)

    def left(self, socket: Socket) -> None:
        """This connection is over."""
        self.sockets.discard(socket)
        self._changed.set()

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """An ordinary request is handled while the block runs."""
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1
            self._changed.set()

    async def run(self) -> None:
        """Close every socket and let requests finish. Returns within five seconds, whatever clients do."""
        self.begun = True
        logger.info("Leaving: %d sockets are told when to come back", len(self.sockets))
        await asyncio.gather(self._close_sockets(), self._until(lambda: not self.requests, REQUESTS))

    async def _close_sockets(self) -> None:
        sockets = list(self.sockets)
        leaving = [
            asyncio.create_task(socket.leave(retry_ms))
            for socket, retry_ms in zip(sockets, spread(len(sockets)), strict=True)
        ]
        if leaving:
            _, late = await asyncio.wait(leaving, timeout=TELLING)
            for task in late:
                task.cancel()
            await asyncio.gather(*leaving, return_exceptions=True)
            await self._until(lambda: self.sockets.isdisjoint(sockets), ANSWERING)
        self.hang_up()

    def hang_up(self) -> None:
        """Wait no longer for anybody."""
        for socket in list(self.sockets):
            socket.hang_up()

    async def _until(self, condition: Callable[[], bool], seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()


def spread(count: int) -> list[int]:
    """Milliseconds after which each of `count` clients comes back: at random, evenly, never many at once."""
    width = max(SPREAD_MS, EACH_MS * count)
    slots = list(range(count))
    random.shuffle(slots)
    return [SOONEST_MS + int(width * (slot + random.random()) / count) for slot in slots]  # nosec B311 # jitter


drain = Drain()


def drain_on_sigterm(application: Application, within: float = LEAVE_WITHIN) -> Application:
    """An ASGI application that is `application`, and leaves calmly. To be the outermost wrapper.

    When the process gets SIGTERM, each progress socket is sent `closing` with a time to come back and closed with
    4012, and so is each that comes meanwhile; requests that are being handled get five seconds to finish. Then
    the signal goes to whoever had it before, the server as a rule, and the process ends as it would have. Whatever
    still keeps it `within` seconds after the signal (a thread that waits for a database) is named in the log and
    left behind: it ends with status 143. After a second SIGTERM nobody is waited for longer than a second.

    The signal is taken at the first call, if that is in the main thread; never at import. Not promised: that
    sockets of the site's own are told anything.
    """
    sigterm = Sigterm(drain, within)

    async def drained(scope: dict[str, Any], receive: Any, send: Any) -> None:
        sigterm.take()
        if scope["type"] != "http":
            await application(scope, receive, send)
            return
        with drain.request():
            await application(scope, receive, send)

    return drained


class Sigterm:
    """SIGTERM, taken from whoever has it and handed back when `drain` is done."""

    def __init__(self, draining: Drain, within: float, leave: Callable[[int], Any] = os._exit) -> None:
        self._drain, self._within, self._leave = draining, within, leave
        self._tried = False
        self._previous: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: asyncio.Task[None] | None = None
        self._asked = False
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()  # the one thing that a handler may always fill
        self._handed_on = False

    def take(self) -> None:
        """Handle the signal from now on. Only the main thread of Python can; elsewhere nothing happens."""
        if self._tried:
            return
        self._tried = True
        previous = signal.getsignal(signal.SIGTERM)
        # Who ignores it does not want to leave; a handler that is not Python's could not be called again.
        if threading.current_thread() is not threading.main_thread() or previous in (None, signal.SIG_IGN):
            logger.info("SIGTERM cannot be taken here: when the server is stopped, sockets will end without a word")
            return
        self._loop, self._previous = asyncio.get_running_loop(), previous
        # Now, not when it is needed: a loop that is blocked by then starts nothing. A daemon: it must not be one more
        # that the process waits for.
        threading.Thread(target=self._leave_at_last, name="progress-leaving", daemon=True).start()
        signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, number: int, _frame: Any) -> None:
        self._signals.put(number)
        if self._loop is None or self._loop.is_closed():
            self._hand_on()
        elif self._asked:
            self._loop.call_soon_threadsafe(self._drain.hang_up)
            self._hand_on()
        else:
            self._asked = True
            # In the loop, not here: a signal may come while its thread holds any lock.
            self._loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._running = asyncio.get_running_loop().create_task(self._drain_and_hand_on())

    async def _drain_and_hand_on(self) -> None:
        try:
            await self._drain.run()
        except Exception:
            logger.exception("The sockets could not be closed in order")
        finally:
            self._hand_on()

    def _hand_on(self) -> None:
        """Put back what was there and raise the signal again: it is treated as if we had never been."""
        if self._handed_on:
            return
        self._handed_on = True
        if signal.getsignal(signal.SIGTERM) == self._handle:
            signal.signal(signal.SIGTERM, self._previous)
            signal.raise_signal(signal.SIGTERM)
        elif callable(self._previous):  # somebody has taken the signal after us, and called us
            self._previous(signal.SIGTERM, None)

    def _leave_at_last(self) -> None:
        self._signals.get()
        began = time.monotonic()
        with contextlib.suppress(queue.Empty):
            self._signals.get(timeout=self._within)
            threading.Event().wait(HURRY)  # it was asked twice
        seconds = time.monotonic() - began
        left = [thread.name for thread in threading.enumerate() if thread is not threading.current_thread()]
        logger.warning("Still here %.0f s after SIGTERM, and leaving now. Threads: %s", seconds, ", ".join(left))
        self._leave(128 + signal.SIGTERM)
