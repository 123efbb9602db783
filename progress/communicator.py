"""A client for tests of a site: watches tasks as a browser does, through the real consumer, without a server."""

from __future__ import annotations

import asyncio
import itertools
import json
import weakref
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final

from asgiref.testing import ApplicationCommunicator
from channels.db import database_sync_to_async
from channels.routing import URLRouter

from . import hub, publisher, snapshot
from .direct_publisher import DirectPublisher
from .origins import Origin
from .permissions import Viewer, viewer_of
from .routing import websocket_urlpatterns

TIMEOUT: Final = 5.0  # seconds

_open: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, int] = weakref.WeakKeyDictionary()


class Communicator:
    """One connection to `docs/protocol.md`, opened by ``async with`` and closed at the end of the block.

        async with Communicator(user=alice) as client:
            await client.watch(task_id)
            assert (await client.next(task_id))["state"] == "PENDING"

    `user` is who is logged in; None = nobody, who may watch nothing without a token. `task_id` opens the address of
    that single task. Rights are decided by the same code as on a site; the middleware that reads cookies and origins
    is left out. Methods that wait raise `AssertionError` after `seconds` and close the connection.
    """

    def __init__(self, user: Any = None, *, task_id: str | None = None) -> None:
        self.heard: list[dict[str, Any]] = []  # every message, in order
        self.close_code: int | None = None
        self._user = user
        self._refs = itertools.count(1)
        self._unread: dict[str, deque[dict[str, Any]]] = {}
        path = f"/ws/progress/{snapshot.key(task_id)}/" if task_id is not None else "/ws/progress/"
        scope = {
            "type": "websocket",
            "path": path,
            "query_string": b"",
            "headers": [],
            "progress.origin": Origin.OWN,
            "progress.viewer": self._viewer,
        }
        # Not the communicator of channels.testing: that package cannot be imported where Daphne is not installed.
        make: Any = ApplicationCommunicator  # untyped
        self._line = make(URLRouter(websocket_urlpatterns), scope)

    async def _viewer(self) -> Viewer:
        user = self._user
        if getattr(user, "is_staff", False) and not getattr(user, "is_superuser", False):
            return await database_sync_to_async(viewer_of)(user)  # type: ignore[no-any-return]  # their permissions
        return viewer_of(user)

    async def __aenter__(self) -> Communicator:
        """Connect."""
        self._loop = asyncio.get_running_loop()
        _open[self._loop] = _open.get(self._loop, 0) + 1
        self._direct: Any = publisher._publisher
        if isinstance(self._direct, DirectPublisher):
            self._direct.listen(self._loop)
        await self._line.send_input({"type": "websocket.connect"})
        await self._line.receive_output(timeout=TIMEOUT)  # accepted: refusals come afterwards
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect. The last one that leaves an event loop ends what served them all."""
        try:
            if self.close_code is None and not self._line.future.done():
                await self._line.send_input({"type": "websocket.disconnect", "code": 1000})
                await self._line.wait(timeout=TIMEOUT)
        finally:
            if isinstance(self._direct, DirectPublisher):
                self._direct.leave(self._loop)
            _open[self._loop] -= 1
            if not _open[self._loop]:
                await _end_hub(self._loop)

    # --- Saying --------------------------------------------------------------------------------------------

    async def say(self, kind: str, **fields: Any) -> None:
        """Send one message, as it stands."""
        await self._line.send_input({"type": "websocket.receive", "text": json.dumps({"type": kind, **fields})})

    async def ask(self, kind: str, *, seconds: float = TIMEOUT, **fields: Any) -> dict[str, Any]:
        """Send one message and return the answer to it, whatever it is. Not for `unwatch`, which is not answered."""
        ref = f"ask-{next(self._refs)}"
        await self.say(kind, ref=ref, **fields)
        async with self._within(seconds, f"an answer to {kind}"):
            while True:
                if (message := await self._hear()).get("ref") == ref:
                    return message

    async def watch(self, *task_ids: str, **fields: Any) -> dict[str, Any]:
        """Watch these tasks and return the answer: its type is ``watching``, or ``refused``."""
        if task_ids:
            fields["ids"] = list(task_ids)
        return await self.ask("watch", **fields)

    async def cancel(self, task_id: str) -> dict[str, Any]:
        """Ask to cancel the task and return the answer: ``accepted`` or ``refused``."""
        return await self.ask("cancel", id=task_id)

    # --- Hearing -------------------------------------------------------------------------------------------

    async def next(self, task_id: str, *, seconds: float = TIMEOUT) -> dict[str, Any]:
        """The next snapshot of the task that was not returned yet. Values may be skipped: the newest wins."""
        key = snapshot.address(task_id)
        async with self._within(seconds, f"a snapshot of {task_id}"):
            while not self._unread.get(key):
                message = await self._hear()
                if message["type"] == "refused" and {task_id, key} & set(message["ids"]):
                    raise AssertionError(f"Expected a snapshot of {task_id}, got {message['code']}.")
            return self._unread[key].popleft()

    async def end(self, task_id: str, *, seconds: float = TIMEOUT) -> dict[str, Any]:
        """The final snapshot of the task."""
        while not (found := await self.next(task_id, seconds=seconds))["final"]:
            pass
        return found

    async def _hear(self) -> dict[str, Any]:
        # Waited for by `_within`: asgiref's own time-out would end the connection without saying why.
        event = await self._line.receive_output(timeout=None)
        if event["type"] == "websocket.close":
            self.close_code = event.get("code", 1000)
            raise AssertionError(f"Expected a message, but the connection was closed with {self.close_code}.")
        message: dict[str, Any] = json.loads(event["text"])
        self.heard.append(message)
        for item in message["items"] if message["type"] == "snapshots" else ():
            self._unread.setdefault(item["id"], deque()).append(item)
        return message

    @asynccontextmanager
    async def _within(self, seconds: float, what: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise AssertionError(f"Expected {what} within {seconds} s, last heard: {self.heard[-3:]}") from None


async def _end_hub(loop: asyncio.AbstractEventLoop) -> None:
    """The next test begins with a hub of its own, on the layer that there is then."""
    leaving = hub.get_hub.pop(loop)
    if leaving is not None:
        await leaving.close()
