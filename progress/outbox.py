"""What one connection is still to be sent: the newest snapshot of each task, never a queue.

So the memory that a slow reader costs is bounded by the number of tasks it watches, whatever their rate.
"""

from __future__ import annotations

import asyncio
import logging
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from .claims import NOBODYS, Claim, Life
from .counters import counters
from .servers import Flow

logger = logging.getLogger(__name__)

FRAME_BYTES: Final = 64 * 1024  # several snapshots share a frame up to about this size
WHOLE_TEXT: Final = 0x81  # the first byte of a text message in one piece (RFC 6455, 5.2)


class Shown:
    """A snapshot on its way to many readers: encoded once per view, framed once per moment.

    `claim` decides who may see it. `life` tells this run of the task from others of the same id.
    """

    __slots__ = (
        "_framed_at",
        "_frames",
        "_now",
        "_wires",
        "claim",
        "final",
        "key",
        "life",
        "logs_to",
        "public",
        "seq",
        "staff",
    )

    def __init__(
        self,
        key: str,
        seq: int,
        public: str,
        staff: str,
        *,
        logs_to: str | None,
        now: Callable[[], str],
        claim: Claim = NOBODYS,
        life: Life | None = None,
        final: bool = False,
    ) -> None:
        self.key, self.seq = key, seq
        self.public, self.staff = public, staff
        self.logs_to = logs_to
        self.claim, self.life, self.final = claim, life, final
        self._now = now
        self._framed_at = 0.0
        self._frames: dict[bool, str] = {}
        self._wires: dict[bool, bytes] = {}

    def frame(self, staff: bool) -> str:
        """The whole frame for a reader of this task alone; the same text for all who get it now."""
        moment = time.monotonic()
        if moment - self._framed_at > 0.1:  # seconds; `at` is what ages are counted from
            self._frames.clear()
            self._wires.clear()
            self._framed_at = moment
        if staff not in self._frames:
            self._frames[staff] = frame([self.staff if staff else self.public], self._now())
        return self._frames[staff]

    def wire(self, staff: bool) -> bytes:
        """The frame as it travels, for readers whose transport we know."""
        text = self.frame(staff)
        if staff not in self._wires:
            self._wires[staff] = wire(text)
        return self._wires[staff]


def frame(items: list[str], at: str) -> str:
    """A `snapshots` message of ready snapshots."""
    return f'{{"type":"snapshots","at":"{at}","items":[{",".join(items)}]}}'


def wire(text: str) -> bytes:
    """A text message as it travels from server to client, for `Flow.write`.

    Uncompressed, which is valid whatever was negotiated.
    """
    payload = text.encode()
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", WHOLE_TEXT, size) + payload
    if size < 65536:
        return struct.pack("!BBH", WHOLE_TEXT, 126, size) + payload
    return struct.pack("!BBQ", WHOLE_TEXT, 127, size) + payload


class Outbox:
    """Sends the newest of each task as fast as the reader takes it, at most once per `every` seconds."""

    __slots__ = ("_begun", "_closed", "_flow", "_last", "_now", "_send", "_task", "_waiting", "every")

    def __init__(self, send: Callable[[dict[str, Any]], Awaitable[None]], flow: Flow, now: Callable[[], str]) -> None:
        self.every = 0.0  # seconds
        self._send, self._flow, self._now = send, flow, now
        self._waiting: dict[str, tuple[Shown, bool]] = {}
        self._begun: asyncio.Handle | None = None
        self._task: asyncio.Task[None] | None = None  # while the server's own `send` is used
        self._last = 0.0
        self._closed = False

    @property
    def stuck(self) -> bool:
        """True while the reader takes nothing."""
        return self._flow.stuck

    def write(self, message: bytes) -> bool:
        """Send a frame that was made for many readers now. False if anything is in the way: then `put` it."""
        if self._waiting or self._task is not None or self.every or self._closed:
            return False
        return self._flow.write(message)

    def put(self, shown: Shown, staff: bool) -> None:
        """Replace what was still to be said about this task."""
        if self._closed:
            return
        counters.conflated += shown.key in self._waiting
        self._waiting[shown.key] = (shown, staff)
        if self._begun is None and self._task is None:
            # In the next turn of the loop: what else arrives in this one replaces it, or shares its frame.
            self._begun = asyncio.get_running_loop().call_soon(self._begin)

    def show_as(self, key: str, staff: bool) -> None:
        """Say what still waits about this task in this view."""
        if key in self._waiting:
            self._waiting[key] = (self._waiting[key][0], staff)

    def drop(self, key: str) -> None:
        """Say nothing more about this task."""
        self._waiting.pop(key, None)

    def close(self) -> None:
        """Say nothing more at all."""
        self._closed = True
        self._waiting.clear()
        if self._begun is not None:
            self._begun.cancel()
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        """Write at once where we can: a task for each reader would cost more than the message."""
        self._begun = None
        while self._waiting and not self.every and self._flow.direct:
            self._flow.write(self._take_wire())
        if self._waiting:
            draining = asyncio.create_task(self._drain())
            self._task = None if draining.done() else draining  # an eager one may be

    async def _drain(self) -> None:
        try:
            await self._send_what_waits()
        finally:
            self._task = None

    async def _send_what_waits(self) -> None:
        rest = 0  # of what waited when it was time: it may take several frames, and no pause parts them
        while self._waiting:
            if self._flow.stuck:
                await self._flow.ready()
            elif not rest and self.every and (pause := self._last + self.every - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            else:
                if not rest:
                    self._last, rest = time.monotonic(), len(self._waiting)
                before = len(self._waiting)
                text = self._take()
                rest = max(rest - (before - len(self._waiting)), 0)
                try:
                    await self._hand_over(text)
                except Exception as error:  # noqa: BLE001 (each server has its own error for who is leaving)
                    logger.debug("A snapshot reached nobody: %r", error)
                    return

    async def _hand_over(self, text: str) -> None:
        await self._send({"type": "websocket.send", "text": text})

    def _take_wire(self) -> bytes:
        if len(self._waiting) == 1:
            _, (shown, staff) = self._waiting.popitem()
            return shown.wire(staff)
        return wire(self._take())

    def _take(self) -> str:
        if len(self._waiting) == 1:
            _, (shown, staff) = self._waiting.popitem()
            return shown.frame(staff)
        items, size = [], 0
        for key in list(self._waiting):
            shown, staff = self._waiting.pop(key)
            items.append(shown.staff if staff else shown.public)
            size += len(items[-1])
            if size > FRAME_BYTES:
                break
        return frame(items, self._now())
