"""Telling a worker to end a running task by force, in Celery's own way: its remote control.

The broker may be away, or the worker may not listen. So it happens in a thread, whoever asks waits a second at the
most, and what came of it is the worker's own answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from enum import StrEnum
from typing import Any, Final

from celery import current_app

from .native_thread import NativeThread

logger = logging.getLogger(__name__)

TIME_LIMIT: Final = 1.0  # seconds for all of it
ANSWER_WITHIN: Final = 0.7  # of these, for the worker; the rest is for the way to the broker
LOOK: Final = 0.01  # seconds between two looks whether the thread has ended
AT_ONCE: Final = 8  # requests on their way in this process; a broker that hangs is given no more of them


class Told(StrEnum):
    """What the worker answered."""

    DONE = "done"  # the signal is sent; not: the task has ended
    UNKNOWN = "unknown"  # it runs no such task (any more)
    UNABLE = "unable"  # it could not do it
    SILENT = "silent"  # no answer: it may still do it


class Revocation:
    """One request to end the task `task_id`, which runs on the node `worker` ("" = any)."""

    def __init__(self, task_id: str, worker: str) -> None:
        self._task_id, self._worker = task_id, worker
        self._told = Told.SILENT
        self._thread = NativeThread(self._run, "progress-revoke")

    def send(self) -> Told:
        """Send it and return what came of it. Takes a second at the most and never raises."""
        if self._start():
            self._thread.join(TIME_LIMIT)
        return self._told

    async def asend(self) -> Told:
        """Like `send`, in an event loop."""
        deadline = time.monotonic() + TIME_LIMIT
        if self._start():
            while self._thread.is_alive() and time.monotonic() < deadline:  # noqa: ASYNC110 (a thread gives no event)
                await asyncio.sleep(LOOK)
        return self._told

    def _start(self) -> bool:
        _on_their_way.difference_update([each for each in _on_their_way if not each.is_alive()])
        if len(_on_their_way) >= AT_ONCE:
            logger.warning("%s requests to end a task wait for the broker; one more was given up", AT_ONCE)
            return False
        self._thread.start()
        _on_their_way.add(self._thread)
        return True

    def _run(self) -> None:
        try:
            self._told = _told_by(self._replies())
        except Exception as error:  # noqa: BLE001 (a broker may be away, and raise anything)
            logger.warning("A request to end a task was not sent: %r", error)

    def _replies(self) -> list[dict[str, Any]]:
        # A connection of its own: Celery's pool would retry for ever, and the site sends its tasks through that.
        with current_app.connection_for_write(connect_timeout=1, transport_options={"max_retries": 1}) as connection:
            mailbox = current_app.control.mailbox(connection)
            mailbox.producer_pool = None
            arguments = {"task_id": self._task_id, "terminate": True, "signal": None}  # None: the pool's own
            ask = mailbox.call if self._worker else mailbox.multi_call
            options = {"destination": [self._worker]} if self._worker else {}
            replies: list[dict[str, Any]] = ask(command="revoke", kwargs=arguments, timeout=ANSWER_WITHIN, **options)
            return replies


_on_their_way: set[NativeThread] = set()


def _told_by(replies: list[dict[str, Any]]) -> Told:
    """What the workers' answers mean together: `{node: {"ok": "terminate: <ids>"}}`, or an error."""
    answers = [answer for reply in replies for answer in reply.values()]
    texts = [str(answer.get("ok", "")) for answer in answers]
    if any(text.startswith("terminate: ") and text != "terminate: tasks unknown" for text in texts):
        return Told.DONE
    if any("error" in answer for answer in answers):
        return Told.UNABLE
    return Told.UNKNOWN if answers else Told.SILENT
