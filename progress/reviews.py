"""Whether open connections may still see what they see: looked at again, for all of a session at once.

One task per event loop looks every session up again that has connections here, and lets their connections know. So a
logout, a new password, a permission or a user taken away ends a view within a minute, for one look-up per session and
minute, however many connections it has. Revoked tokens and what `PROGRESS_AUTHORIZE` answers are looked at as well.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, Protocol

from .exceptions import ProgressError
from .per_loop import PerLoop
from .permissions import Viewer
from .revocations import revocations

logger = logging.getLogger(__name__)

# Seconds. What is known of a session is at most 5 s old when it is first used (`middleware.CACHE_SECONDS`), is found
# out again after 42 s at most, is looked at every 5 s, and a look-up takes up to 8 s in a crowd: within 60 s in all.
# So it is for what the site's own function said about a user object that was loaded up to 5 s before: 45, 5 and 5 s.
EVERY: Final = 5.0
LOOK_UP_AFTER: Final = 42.0
EARLIER: Final = 0.3  # part of that by which some look-ups come earlier: sessions that came together are spread
AGAIN_AFTER: Final = 10.0  # when a look-up failed
JUST_NOW: Final = 2.0  # whoever loads a page later wants to see what is new
AT_ONCE: Final = 2  # look-ups; half of the threads stay free for those who come
TOLD_AT_ONCE: Final = 100  # connections, then others have the loop

LookUp = Callable[[], Awaitable[Viewer]]


async def nobody() -> Viewer:
    """Of whoever has no session."""
    return Viewer()


class Reviewed(Protocol):
    """A connection. At each review it is told who its session belongs to as far as is known."""

    def reviewed(self, viewer: Viewer) -> None: ...


class _Session:
    def __init__(self, look_up: LookUp) -> None:
        self.look_up = look_up
        self.viewer = Viewer()
        self.looked = self.due = 0.0
        self.members: set[Reviewed] = set()

    def found(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.looked = time.monotonic()
        self.due = self.looked + LOOK_UP_AFTER * random.uniform(1 - EARLIER, 1)  # nosec B311 (spread, no secret)


class Reviews:
    """The connections of one event loop. All methods belong to that loop."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Session] = {}
        self._task: asyncio.Task[None] | None = None

    async def enter(self, session: str, look_up: LookUp, member: Reviewed) -> Viewer:
        """Who the session belongs to; from now on `member` is told when that changes. Raises what `look_up` does."""
        known = self._sessions.get(session)
        if known is None or time.monotonic() - known.looked > JUST_NOW:
            viewer = await look_up()
            known = self._sessions.setdefault(session, _Session(look_up))
            known.found(viewer)  # for those who are here already as well
        known.members.add(member)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return known.viewer

    def leave(self, session: str, member: Reviewed) -> None:
        """Tell `member` nothing any more. The last one ends the task."""
        known = self._sessions.get(session)
        if known is None:
            return
        known.members.discard(member)
        if not known.members:
            del self._sessions[session]
        if not self._sessions and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            try:
                await self._review()
            except Exception:
                logger.exception("Open connections could not be reviewed")  # next time, then

    async def _review(self) -> None:
        now = time.monotonic()
        due = iter([session for session in self._sessions.values() if session.due <= now])
        await asyncio.gather(*(self._look_up(due) for _ in range(AT_ONCE)))
        try:
            await revocations().alook()
        except ProgressError as error:
            logger.debug("Revoked tokens are looked for later: %s", error)
        number = 0
        for session in tuple(self._sessions.values()):
            for member in tuple(session.members):
                if member in session.members:  # still
                    member.reviewed(session.viewer)
                number += 1
                if not number % TOLD_AT_ONCE:
                    await asyncio.sleep(0)  # very many must not hold up the loop

    async def _look_up(self, due: Iterator[_Session]) -> None:
        """One after another, as long as that goes quickly."""
        slow = False
        for session in due:
            session.due = time.monotonic() + AGAIN_AFTER
            if slow:
                continue  # the others would wait as long, and what is known by then is to be told
            try:
                session.found(await session.look_up())
            except Exception as error:  # noqa: BLE001 (a session may be kept anywhere)
                # Slow or away: no reason to show less, and none to stop looking.
                logger.debug("A session could not be looked at: %r", error)
                slow = isinstance(error, TimeoutError)


get_reviews: Final = PerLoop(Reviews)
