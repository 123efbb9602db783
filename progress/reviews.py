"""Whether open connections may still see what they see: looked at again, for all of a session at once.

One task per event loop looks every session up again that has connections here, and lets their connections know. So a
logout, a new password, a permission or a user taken away ends a view within a minute, for one look-up per session and
minute, however many connections it has. Revoked tokens and what `PROGRESS_AUTHORIZE` answers are looked at as well.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from .conf import conf
from .exceptions import ProgressError
from .permissions import Viewer
from .revocations import revocations

logger = logging.getLogger(__name__)

# Seconds. What was found out about a session is at most 5 s old when it is first used (`middleware.CACHE_SECONDS`),
# is found out again after 45 s, is looked at every 5 s, and a look-up takes 2 s: within 60 s in all.
EVERY: Final = 5.0
LOOK_UP_AFTER: Final = 45.0
AGAIN_AFTER: Final = 10.0  # when a look-up failed

LookUp = Callable[[], Awaitable[Viewer]]


async def nobody() -> Viewer:
    """Of whoever has no session."""
    return Viewer()


class Reviewed(Protocol):
    """A connection. It is told who its session belongs to now, whenever anything may have changed."""

    def reviewed(self, viewer: Viewer) -> None: ...


class _Session:
    def __init__(self, look_up: LookUp) -> None:
        self.look_up = look_up
        self.viewer = Viewer()
        self.due = 0.0
        self.members: set[Reviewed] = set()


class Reviews:
    """The connections of one event loop. All methods belong to that loop."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Session] = {}
        self._task: asyncio.Task[None] | None = None

    async def enter(self, session: str, look_up: LookUp, member: Reviewed) -> Viewer:
        """Who the session belongs to; from now on `member` is told when that changes. Raises what `look_up` does."""
        known = self._sessions.get(session)
        if known is None:
            fresh = _Session(look_up)
            fresh.viewer = await look_up()
            fresh.due = time.monotonic() + LOOK_UP_AFTER
            known = self._sessions.setdefault(session, fresh)
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
        due = [session for session in self._sessions.values() if session.due <= now]
        changed = set(await asyncio.gather(*(self._look_up(session) for session in due)))
        try:
            everybody = await revocations().alook()
        except ProgressError as error:
            everybody = False
            logger.debug("Revoked tokens are looked for later: %s", error)
        everybody = everybody or conf.PROGRESS_AUTHORIZE is not None
        for session in list(self._sessions.values()):
            if everybody or session in changed:
                for member in list(session.members):
                    member.reviewed(session.viewer)

    async def _look_up(self, session: _Session) -> _Session | None:
        """The session, if somebody else is behind it now, or somebody with other rights."""
        try:
            viewer = await session.look_up()
        except Exception as error:  # noqa: BLE001 (a session may be kept anywhere)
            # Slow or away: no reason to show less, and none to stop looking.
            logger.debug("A session could not be looked at: %r", error)
            session.due = time.monotonic() + AGAIN_AFTER
            return None
        session.due = time.monotonic() + LOOK_UP_AFTER
        before, session.viewer = session.viewer, viewer
        return session if viewer != before else None


_reviews: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Reviews] = weakref.WeakKeyDictionary()


def get_reviews() -> Reviews:
    """The running loop's."""
    loop = asyncio.get_running_loop()
    if loop not in _reviews:
        _reviews[loop] = Reviews()
    return _reviews[loop]
