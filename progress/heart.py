"""Heartbeats: one task per event loop tells all of its connections, each every ten seconds, that the server lives.

Ten thousand tasks with a clock each would cost more than what they say. Who came within the same half second has its
turn together, a hundred at a time, so that the loop is never held up by all of them.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

from . import snapshot
from .hub import get_hub
from .outbox import wire
from .per_loop import PerLoop

logger = logging.getLogger(__name__)

HEARTBEAT: Final = 10.0  # seconds; at least every 15 s is promised, however slow this process or the reader is
TURNS: Final = 20
AT_ONCE: Final = 100  # connections, then others have the loop


class Beating(Protocol):
    """A connection. Each heartbeat comes as text, and framed for `Flow.write`."""

    def beat(self, text: str, framed: bytes) -> None: ...


class Heart:
    """The connections of one event loop. All methods belong to that loop."""

    def __init__(self) -> None:
        self._turns: list[set[Beating]] = [set() for _ in range(TURNS)]
        self._now = 0
        self._task: asyncio.Task[None] | None = None

    def join(self, member: Beating) -> None:
        """Let `member` beat from now on, for the first time after nearly a whole round."""
        self._turns[self._now].add(member)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    def leave(self, member: Beating) -> None:
        """Let `member` beat no more. The last one ends the task."""
        for turn in self._turns:
            turn.discard(member)
        if self._task is not None and not any(self._turns):
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT / TURNS)
            self._now = (self._now + 1) % TURNS
            members = list(self._turns[self._now])
            for first in range(0, len(members), AT_ONCE):
                self._beat(members[first : first + AT_ONCE])
                await asyncio.sleep(0)

    def _beat(self, members: list[Beating]) -> None:
        text = snapshot.encode({"type": "heartbeat", "at": get_hub().now()})
        framed = wire(text)
        for member in members:
            try:
                member.beat(text, framed)
            except Exception:
                logger.exception("A connection could not be told that the server lives")


get_heart: Final = PerLoop(Heart)
