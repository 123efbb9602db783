"""When what has changed is passed on: once per turn of the event loop."""

from __future__ import annotations

import asyncio
import logging

from .outbox import Shown
from .watched import Watched

logger = logging.getLogger(__name__)


class Turn:
    """Gathers what changes in one turn of the loop, and passes it on in the next.

    So only the newest of a task is told, what changes together shares a frame, and all readers of a task cost the
    loop one call.
    """

    def __init__(self) -> None:
        self._changed: list[Watched] = []

    def show(self, watched: Watched, shown: Shown) -> None:
        """This is the newest of a task that somebody watches."""
        if not self._changed:
            asyncio.get_running_loop().call_soon(self._pass_on)
        if watched.shown is watched.told:
            self._changed.append(watched)
        watched.show(shown)

    def _pass_on(self) -> None:
        changed, self._changed = self._changed, []
        for watched in changed:
            try:
                watched.pass_on(alone=len(changed) == 1)
            except Exception:
                logger.exception("Progress could not be shown")
