"""The logs that one connection follows: where it is in each, and the pages that bring it up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from .exceptions import StoreUnavailable
from .store import LogPage

Read = Callable[[str, str | None], Awaitable[LogPage]]
Say = Callable[..., Awaitable[None]]

TRY_AGAIN: Final = 1.0  # seconds


class LogTails:
    """Cursors per task. `read` gets a page after a cursor, `say` sends a message to the client."""

    def __init__(self, read: Read, say: Say) -> None:
        self._read, self._say = read, say
        self._cursors: dict[str, str] = {}
        self._reading: set[str] = set()
        self._behind: set[str] = set()
        self._turn = asyncio.Lock()  # pages leave in the order in which they were read

    async def follow(self, key: str, after: str | None, ref: Any) -> None:
        """Answer with the lines after the cursor `after` (None: the newest), then keep up from there."""
        async with self._turn:
            page = await self._read(key, after)
            self._cursors[key] = page.next
            await self._send(key, page, ref)
        await self.catch_up(key)  # what came while this was read

    def is_behind(self, key: str, logs_to: str | None) -> bool:
        """True if this log is followed and has lines that were not sent."""
        return logs_to is not None and key in self._cursors and self._cursors[key] != logs_to

    async def catch_up(self, key: str) -> None:
        """Send what is new in a followed log. One at a time per log; whoever comes meanwhile is served by it."""
        self._behind.add(key)
        if key in self._reading:
            return
        self._reading.add(key)
        try:
            while key in self._behind:
                self._behind.discard(key)
                await self._send_what_is_new(key)
        finally:
            self._reading.discard(key)

    async def _send_what_is_new(self, key: str) -> None:
        while (after := self._cursors.get(key)) is not None:
            try:
                page = await self._read(key, after)
            except StoreUnavailable:
                # Nothing else would ask again for the last lines of a task that has ended.
                await asyncio.sleep(TRY_AGAIN)
                continue
            async with self._turn:
                if not page.lines or self._cursors.get(key) != after:
                    return
                self._cursors[key] = page.next
                await self._send(key, page, None)

    def drop(self, key: str) -> None:
        """Follow this log no longer."""
        self._cursors.pop(key, None)

    async def _send(self, key: str, page: LogPage, ref: Any) -> None:
        await self._say("logs", ref, id=key, lines=page.lines, next=page.next, truncated=page.truncated)
