"""Ends tasks of an event loop for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

CANCEL_AGAIN_AFTER: Final = 0.2  # seconds; what a task does when it is cancelled (unsubscribing) takes milliseconds


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel all of them, and return when they have ended.

    Once may not be enough. `wait_for` of Python 3.11, through which redis-py sends, swallows a cancellation where the
    answer comes in the same moment; its task would go on for ever.
    """
    every = set(tasks)
    left = {task for task in every if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_AFTER)
    for task in every:
        if not task.cancelled():
            task.exception()  # whoever ends them does not ask what went wrong; asyncio would complain
