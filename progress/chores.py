"""What a connection does beside hearing and saying, and that it ends with the connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from .exceptions import StoreUnavailable

logger = logging.getLogger(__name__)


class Chores:
    """Tasks of one connection. Their mistakes are logged and close nothing."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something beside."""
        chore = asyncio.create_task(_guard(work))
        self._running.add(chore)
        chore.add_done_callback(self._running.discard)
        chore.add_done_callback(lambda _chore: work.close())  # it may have been cancelled before it began
        return chore

    def cancel(self) -> None:
        """The connection is over, and so is all that is done for it."""
        for chore in self._running:
            chore.cancel()


async def _guard(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except StoreUnavailable as error:
        logger.debug("Progress could not be read: %s", error)
    except Exception:
        logger.exception("A progress connection could not do its chores")
