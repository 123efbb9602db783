"""A simulated feed, and how it is read: many entries at a time, in one event loop.

There is no server and no connection. Each entry takes as long as over a slow line, and a feed that was told to
breaks off after so many of them, as servers do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from random import Random
from typing import Final

LATENCY: Final = (0.05, 0.3)  # seconds that one entry takes
_WHO: Final = ("The harbour", "A committee", "The night train", "Nobody", "The choir", "A lighthouse")
_WHAT: Final = ("opens again", "is late", "asks for patience", "moves to the river", "wins a prize", "counts to ten")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the feed."""

    number: int
    headline: str


class BrokenOff(ConnectionError):
    """The feed does not go on. Ask again in a moment."""


class Feed:
    """A feed that does not exist, of `size` entries. `breaks_after`: so many are given out, then none; 0 = never."""

    def __init__(self, size: int, breaks_after: int = 0) -> None:
        self.size = size
        self._left = breaks_after or size + 1

    async def fetch(self, number: int) -> Entry:
        """The entry `number`, from 1. Raises `BrokenOff`."""
        random = Random(number)  # nosec B311 # made-up data
        await asyncio.sleep(random.uniform(*LATENCY))  # nosec B311 # made-up data
        if self._left <= 0:
            raise BrokenOff("The feed broke off.")
        self._left -= 1
        return Entry(number, f"{random.choice(_WHO)} {random.choice(_WHAT)} ({number})")  # nosec B311 # made-up data


async def fetch_all(feed: Feed, numbers: Iterable[int], at_once: int) -> AsyncGenerator[Entry]:
    """The entries as they come, in no order, at most `at_once` under way. Close it, and nothing is left running.

    Raises `BrokenOff` when the feed does, after what has come before that.
    """
    waiting = iter(numbers)
    # The iterator last, or `zip` takes a number from it that it then has no use for.
    under_way = {asyncio.create_task(feed.fetch(number)) for _, number in zip(range(at_once), waiting, strict=False)}
    try:
        while under_way:
            done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            under_way |= {asyncio.create_task(feed.fetch(number)) for _, number in zip(done, waiting, strict=False)}
            # Those that came before those that failed: what was fetched is not thrown away.
            for task in sorted(done, key=lambda task: task.exception() is not None):
                yield task.result()
    finally:
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
