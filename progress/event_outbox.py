"""How snapshots and messages look as Server-Sent Events, and the outbox of a stream of them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from .outbox import FRAME_BYTES, Outbox, Shown
from .servers import Flow

# Each of these ends a line of a stream, and with that a field. In JSON they stand between tokens only, as blanks.
LINE_ENDS: Final = re.compile(r"[\r\n]")


def event(kind: str, data: str, *, seq: int | None = None, retry_ms: int | None = None) -> str:
    """One event. `data` is JSON text; `seq` is what the client repeats as ``Last-Event-ID`` when it comes back.

    `retry_ms` tells an `EventSource` how long to wait before that.
    """
    fields = [f"event: {kind}"]
    if seq is not None:
        fields.append(f"id: {seq}")
    if retry_ms is not None:
        fields.append(f"retry: {retry_ms}")
    # What was pushed was written elsewhere: it must not begin an event of its own.
    fields.append(f"data: {LINE_ENDS.sub(' ', data)}")
    return "\n".join(fields) + "\n\n"


class EventOutbox(Outbox):
    """Sends each snapshot as an event of its own, and remembers which tasks were shown as ended.

    `seen`: nothing that is not newer than this `seq` is sent. `sent` is called after each time that something was.
    """

    def __init__(
        self,
        send: Callable[[dict[str, Any]], Awaitable[None]],
        flow: Flow,
        now: Callable[[], str],
        *,
        seen: int,
        sent: Callable[[], None],
    ) -> None:
        super().__init__(send, flow, now)
        self.ended: set[str] = set()  # keys of tasks whose last snapshot that was sent is a final one
        self._seen, self._sent = seen, sent
        self._taken: list[Shown] = []

    @property
    def idle(self) -> bool:
        """True if nothing waits to be sent."""
        return not self._waiting

    def put(self, shown: Shown, staff: bool) -> None:
        """As `Outbox.put`; what the client has is only noted."""
        if shown.seq > self._seen:
            super().put(shown, staff)
        else:
            self._note(shown)
            self._sent()

    def drop(self, key: str) -> None:
        """As `Outbox.drop`; a later watch of this task begins anew."""
        super().drop(key)
        self.ended.discard(key)

    def _take(self) -> str:
        events, size = [], 0
        self._taken = []
        for key in list(self._waiting):
            shown, staff = self._waiting.pop(key)
            self._taken.append(shown)
            events.append(event("snapshot", shown.staff if staff else shown.public, seq=shown.seq))
            size += len(events[-1])
            if size > FRAME_BYTES:
                break
        return "".join(events)

    async def _hand_over(self, text: str) -> None:
        taken = self._taken
        await self._send({"type": "http.response.body", "body": text.encode(), "more_body": True})
        for shown in taken:  # now, not when they were taken: a stream must not end before they are sent
            self._note(shown)
        self._sent()

    def _note(self, shown: Shown) -> None:
        (self.ended.add if shown.final else self.ended.discard)(shown.key)
