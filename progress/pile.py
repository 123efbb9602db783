"""Keys that wait to be handled together, by one loop instead of a task for each."""

from __future__ import annotations

import asyncio


class Pile:
    """Whoever takes it takes all of it. Holding each key once, it is no larger than what there is to do."""

    def __init__(self) -> None:
        self._keys: set[str] = set()
        self._filled = asyncio.Event()

    def add(self, *keys: str) -> None:
        """Put these on it."""
        self._keys.update(keys)
        if self._keys:
            self._filled.set()

    async def take(self) -> list[str]:
        """Wait until there are some, and take them all."""
        await self._filled.wait()
        self._filled.clear()
        taken, self._keys = list(self._keys), set()
        return taken
