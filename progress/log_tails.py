"""The logs that one connection follows: where it is in each, and the pages that bring it up to date."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from .store import LogPage

Read = Callable[[str, str | None], Awaitable[LogPage]]
Say = Callable[..., Awaitable[None]]


class LogTails:
    """Cursors per task. `read` gets a page after a cursor, `say` sends a message to the client."""

    def __init__(self, read: Read, say: Say) -> None:
        self._read, self._say = read, say
        self._cursors: dict[str, str] = {}
        self._reading: set[str] = set()

    async def follow(self, key: str, after: str | None, ref: Any) -> None:
        """Answer with the lines after the cursor `after` (None: the newest), then keep up from there."""
        page = await self._read(key, after)
        await self._send(key, page, ref)
        self._cursors[key] = page.next
        if after is not None and page.lines:
            await self.catch_up(key)

    def is_behind(self, key: str, logs_to: str | None) -> bool:
        """True if this log is followed and has lines that were not sent."""
        return logs_to is not None and key in self._cursors and self._cursors[key] != logs_to

    async def catch_up(self, key: str) -> None:
        """Send what is new in a followed log. One at a time per log; whoever comes meanwhile is served by it."""
        if key in self._reading:
            return
        self._reading.add(key)
        try:
            while (after := self._cursors.get(key)) is not None:
                page = await self._read(key, after)
                if not page.lines or key not in self._cursors:
                    return
                self._cursors[key] = page.next
                await self._send(key, page, None)
        finally:
            self._reading.discard(key)

    def drop(self, key: str) -> None:
        """Follow this log no longer."""
        self._cursors.pop(key, None)

    async def _send(self, key: str, page: LogPage, ref: Any) -> None:
        await self._say("logs", ref, id=key, lines=page.lines, next=page.next, truncated=page.truncated)
