"""Tasks are cancelled until they have ended, and nobody is told of what went wrong in them."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

from progress.ending import end


async def test_a_task_that_swallows_a_cancellation_is_cancelled_again() -> None:
    """As `wait_for` of Python 3.11 does where an answer comes in the same moment."""
    swallowed = list[int]()

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed.append(1)
                if len(swallowed) > 1:
                    raise

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await end([task])
    assert task.cancelled()
    assert len(swallowed) == 2


async def test_what_went_wrong_in_a_task_is_no_complaint_of_asyncio() -> None:
    """It has failed before, or fails as it is cancelled."""
    complaints = list[Any]()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))

    async def fails(waits: bool) -> None:
        try:
            await asyncio.sleep(10 if waits else 0)
        finally:
            raise LookupError

    tasks = [asyncio.create_task(fails(waits)) for waits in (True, False)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    await end(tasks)
    assert all(task.done() for task in tasks)
    tasks.clear()
    gc.collect()
    assert complaints == []
