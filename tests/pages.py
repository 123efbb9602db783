"""A page that stays open whatever breaks: it watches tasks, comes back, and keeps what a person would read."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import suppress
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from progress.words import state_words

from .processes import wait_until
from .wire import OWN, headers_of

COME_BACK = 0.2  # seconds between two attempts; a browser is less eager
ASK_AGAIN = 0.5  # seconds after a refusal: a Redis that is loading knows no task yet


class Page:
    """Watches over one WebSocket at a time, in a thread of its own, and drops whatever is not newer, as pages do."""

    def __init__(self, url: str, cookie: str) -> None:
        self._url, self._cookie = url, cookie
        self._lock = threading.Lock()
        self._ids: list[str] = []
        self._read: dict[str, list[tuple[float, str]]] = {}
        self.shown: dict[str, dict[str, Any]] = {}
        self.connections = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(self._stay())
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def watch(self, *ids: str) -> None:
        """Watch these too, from now on."""
        with self._lock:
            self._ids += [each for each in ids if each not in self._ids]

    # --- What a person reads -------------------------------------------------------------------------------

    def sentences(self, task_id: str) -> list[str]:
        """What was to be read, in order; those that follow one another only once."""
        return [words for _, words in list(self._read.get(task_id, []))]

    def now(self, task_id: str) -> str:
        """What is to be read now; "" before anything came."""
        return (self.sentences(task_id) or [""])[-1]

    def says(self, task_id: str, words: str, seconds: float, *, since: float = 0) -> dict[str, Any]:
        """Wait until the sentence is this one and return its snapshot. With `since` (monotonic), the seconds count
        from then.
        """
        left = seconds if not since else since + seconds - time.monotonic()
        try:
            wait_until(lambda: self.now(task_id) == words, max(left, 0.05), repr(words))
        except AssertionError as error:
            raise AssertionError(f"{error} It read: {self.sentences(task_id)}") from None
        came_at = self._read[task_id][-1][0]
        assert not since or came_at <= since + seconds, f"{words!r} came after {came_at - since:.1f} s, not {seconds}"
        return self.shown[task_id]

    def sees(self, task_id: str, condition: Any, seconds: float, what: str = "") -> dict[str, Any]:
        """Wait until the newest snapshot meets a condition, and return it."""

        def met() -> dict[str, Any] | None:
            newest = self.shown.get(task_id)
            return newest if newest is not None and condition(newest) else None

        try:
            found = wait_until(met, seconds, what)
        except AssertionError as error:
            raise AssertionError(f"{error} Shown: {self.shown.get(task_id)}") from None
        assert found is not None
        return found

    # --- In the thread -------------------------------------------------------------------------------------

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.close()

    async def _stay(self) -> None:
        while True:
            with suppress(OSError, WebSocketException, TimeoutError):
                headers = headers_of(self._url, self._cookie, OWN)
                options: dict[str, Any] = {"proxy": None, "compression": None, "open_timeout": 3, "close_timeout": 1}
                async with connect(self._url, additional_headers=headers, **options) as connection:
                    self.connections += 1
                    await self._talk(connection)
            await asyncio.sleep(COME_BACK)

    async def _talk(self, connection: ClientConnection) -> None:
        asked: dict[str, float] = {}  # when to ask for it (again)
        while True:
            with self._lock:
                due = [each for each in self._ids if asked.get(each, 0) <= time.monotonic()]
            if due:
                await connection.send(json.dumps({"type": "watch", "ids": due}))
                asked |= dict.fromkeys(due, float("inf"))
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):  # `wait_for` of Python 3.11 may swallow a cancellation
                    message = json.loads(await connection.recv())
                if message["type"] == "snapshots":
                    for item in message["items"]:
                        self._show(item)
                elif message["type"] == "refused":
                    asked |= dict.fromkeys(message["ids"], time.monotonic() + ASK_AGAIN)

    def _show(self, item: dict[str, Any]) -> None:
        before = self.shown.get(item["id"])
        if before and item["seq"] <= before["seq"]:
            return
        self.shown[item["id"]] = item
        words = state_words(item)
        read = self._read.setdefault(item["id"], [])
        if not read or read[-1][1] != words:
            read.append((time.monotonic(), words))
