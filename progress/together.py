"""Calls that come while one is under way are made together, as the next one.

When thousands of sockets open at once, each needs a look at Redis. A call for each of them would wait for one of few
connections, behind all the others, until it is given up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Generic, TypeVar

from .exceptions import StoreUnavailable

T = TypeVar("T")

A_TIME_OUT: Final = 0.5  # seconds; what fails sooner was refused
TRIES: Final = 10


class Together(Generic[T]):
    """One call for all who ask meanwhile, about all that they name. Belongs to one event loop.

    Who asks while nothing is under way waits for nobody. Nobody gets an answer that is older than the question. All
    get the same answer, or the same error. It ends when all are answered; who stops waiting takes it from nobody.
    """

    def __init__(self, call: Callable[[list[str]], Awaitable[T]]) -> None:
        self._call = call
        self._named: dict[str, None] = {}  # in the order in which they were named
        self._next: asyncio.Task[T] | None = None
        self._under_way: asyncio.Task[T] | None = None

    @property
    def tasks(self) -> list[asyncio.Task[T]]:
        """What is under way, and what comes next: for whoever ends the loop's work."""
        return [task for task in (self._under_way, self._next) if task is not None]

    async def __call__(self, keys: Iterable[str] = ()) -> T:
        """What the call answers. Raises what it does, and `StoreUnavailable` when somebody has ended it."""
        if self._next is None:
            self._named = {}
        self._named.update(dict.fromkeys(keys))
        if self._next is None:
            self._next = asyncio.create_task(self._make(self._named, self._under_way))
            self._next.add_done_callback(self._made)
        made = self._next
        await asyncio.wait([made])  # cancelling this cancels nothing else
        if made.cancelled():
            raise StoreUnavailable("What was asked for together with others was ended before there was an answer.")
        return made.result()

    async def _make(self, named: dict[str, None], before: asyncio.Task[Any] | None) -> T:
        await asyncio.sleep(0)  # with an eager task factory `_next` is set by then, too
        if before is not None and not before.done():
            await asyncio.wait([before])
        self._next, self._under_way = None, self._next
        return await self._patiently(list(named))

    async def _patiently(self, named: list[str]) -> T:
        """In a crowd the loop is busy for seconds; a time-out strikes before it looks for the answer. Ask again."""
        for _ in range(TRIES):
            began, worked = time.monotonic(), time.thread_time()
            try:
                return await self._call(named)
            except StoreUnavailable:
                took = time.monotonic() - began
                if took < A_TIME_OUT or time.thread_time() - worked < took / 2:
                    raise  # it was not us
        return await self._call(named)

    def _made(self, made: asyncio.Task[T]) -> None:
        if made is self._under_way:
            self._under_way = None  # with what it has answered
        elif made is self._next:
            self._next = None  # it was ended before it began
        if not made.cancelled():
            made.exception()  # nobody may have waited for it; asyncio would complain
