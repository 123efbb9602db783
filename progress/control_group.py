"""The group through which others reach this process: a first watcher and a wish to cancel wait for no next save."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from . import groups
from .ending import end
from .patient_receiver import receive_patiently

logger = logging.getLogger(__name__)

LISTEN_AGAIN_AFTER: Final = 0.5  # seconds between two attempts while the layer is away


class ControlGroup:
    """Passes what is sent to `process` on to `take`, and says by `listens` when that begins, or begins again.

    Not promised: that anything arrives. The answer to the next save carries the same news, also what was sent before
    anybody listened. Belongs to the publisher's loop.
    """

    def __init__(self, process: str, take: Callable[[Mapping[str, Any]], None], listens: Callable[[], None]) -> None:
        self._group, self._take, self._listens = groups.of_process(process), take, listens
        self._listener: asyncio.Task[None] | None = None

    def join(self) -> None:
        """Listen from now on. Calling it again changes nothing."""
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen())

    async def leave(self) -> None:
        """Listen no longer."""
        if self._listener is not None:
            await end([self._listener])

    async def _listen(self) -> None:
        while True:
            try:
                layer = groups.layer()
                receive_patiently(layer, self._listens)
                channel = await layer.new_channel()
                await layer.group_add(self._group, channel)
                self._listens()
                while True:
                    event = await layer.receive(channel)
                    if isinstance(event, Mapping):  # anybody who reaches Redis can write into a group
                        self._take(event)
            except Exception as error:  # noqa: BLE001 (a layer may raise anything; saves carry the same news)
                logger.debug("The control group of this process fell silent: %r", error)
                await asyncio.sleep(LISTEN_AGAIN_AFTER)
