"""The tasks that one client watches: what decides about each, and how each is shown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Protocol

from .access import Access
from .claims import Claim
from .conf import conf
from .hub import Hub
from .log_tails import LogTails
from .outbox import Outbox, Shown
from .watched import Seat, Watcher

Say = Callable[..., Awaitable[None]]


class Line(Watcher, Protocol):
    """What carries the conversation: it is told of changes, and does things beside."""

    def start(self, work: Coroutine[Any, Any, None]) -> None: ...


class TaskWatches:
    """`say` sends a message. Methods that read raise `StoreUnavailable`."""

    def __init__(self, hub: Hub, access: Access, outbox: Outbox, line: Line, say: Say) -> None:
        self.claims: dict[str, Claim] = {}  # what is watched, and what decides about it
        self.asked: set[str] = set()  # of these, those that the client has named itself
        self.logs = LogTails(hub.logs, say)
        self._hub, self._access, self._outbox = hub, access, outbox
        self._line, self._say = line, say
        self._seats: dict[str, Seat] = {}  # at the hub; each says no more than `claims` and the rights do
        self._closed = False

    async def close(self) -> None:
        """Watch nothing any more."""
        self._closed = True
        for seat in self._seats.values():
            seat.claim = None
        await self._hub.unwatch(list(self.claims), self._line)

    def room(self) -> int:
        """How many more tasks may be watched."""
        return max(conf.PROGRESS_MAX_WATCHES - len(self.claims), 0)

    async def sort_out(self, keys: Iterable[str]) -> tuple[dict[str, Claim], list[str]]:
        """Which of `keys` may be watched, and which not."""
        return await self._access.sort_out(list(keys), self.claims, self._hub.read)

    async def watch(self, allowed: dict[str, Claim], ref: Any, names: dict[str, str] | None = None) -> None:
        """Answer, and show these from now on. `names`: what the client calls them, by their keys."""
        self.claims.update(allowed)
        for key in allowed:
            self._take_seat(key)
        await self._say("watching", ref, items=self.items(allowed, names))
        # A slow reader took its time with that: what was given up meanwhile must not be watched for nobody.
        if not self._closed and (wanted := [key for key in allowed if key in self.claims]):
            await self._hub.watch(wanted, self._line, self._seats)

    def forget(self, keys: Iterable[str]) -> list[str]:
        """Say nothing more about these, from this moment on. Returns those that were watched."""
        gone = [key for key in keys if self.claims.pop(key, None)]
        for key in gone:
            self.asked.discard(key)
            self._leave_seat(key)
            self.logs.drop(key)
            self._outbox.drop(key)
            self._access.forget(key)
        return gone

    async def leave(self, gone: Iterable[str]) -> None:
        """Have the hub tell nothing more about those that were forgotten, and were not watched again since."""
        await self._hub.unwatch([key for key in gone if key not in self.claims], self._line)

    def show(self, shown: Shown) -> None:
        """Tell the client this newest of a task that it watches, and may."""
        seat = self._seats.get(shown.key)
        self._outbox.put(shown, seat is not None and seat.staff)
        if seat is not None:
            seat.claim = shown.claim  # what comes next with the same need not be looked at here
        if self.logs.is_behind(shown.key, shown.logs_to):
            self._line.start(self.logs.catch_up(shown.key))

    def fit_view(self, key: str) -> None:
        """Show from now on, and of what still waits, what may be seen now."""
        claim = self.claims[key]
        self._outbox.show_as(key, self._take_seat(key).staff)
        if not self._access.may_read_logs(key, claim):
            self.logs.drop(key)

    def items(self, keys: Iterable[str], names: dict[str, str] | None = None) -> list[dict[str, Any]]:
        """What the answer to ``watch`` says about these."""
        return [self._access.item(key, self.claims[key], (names or {}).get(key, key)) for key in keys]

    def _take_seat(self, key: str) -> Seat:
        """The seat for a task that is watched, in the view that may be seen now."""
        seat = self._seats.setdefault(key, Seat(self._line, self._outbox))
        seat.claim = None
        seat.staff = self._access.rights(key, self.claims[key]).staff
        return seat

    def _leave_seat(self, key: str) -> None:
        if seat := self._seats.pop(key, None):
            seat.claim = None  # the hub may still have it for a moment
