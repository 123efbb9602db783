"""Sends hints. A layer that fails or hangs costs the hints, never what is stored."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

from . import groups

logger = logging.getLogger(__name__)

SEND_TIMEOUT: Final = 1.0  # seconds; a hint that takes longer is dropped
MUTE_AFTER_TIMEOUT: Final = 5.0  # seconds without hints after one that took longer


class Announcer:
    """Sends into groups of the channel layer, one after the other. Belongs to the publisher's loop."""

    def __init__(self) -> None:
        self._mute_until = 0.0

    async def send(self, group: str, event: dict[str, Any]) -> None:
        """Send one hint; it may be lost. Returns after a second at the latest and never raises."""
        if time.monotonic() < self._mute_until:
            return
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                await groups.layer().group_send(group, event)
        except TimeoutError:
            # The layer hangs. What is stored must not wait for what is only announced.
            self._mute_until = time.monotonic() + MUTE_AFTER_TIMEOUT
        except Exception as error:  # noqa: BLE001 (a layer may raise anything; the record has the truth)
            logger.debug("A progress hint was lost: %r", error)
