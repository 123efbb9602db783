"""Server-Sent Events: the same conversation over an HTTP answer that goes on, for where no WebSocket gets through.

Only the server speaks. What is watched was said in the address; `event_requests.py` has read it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from . import snapshot
from .chores import Chores
from .conversation import Conversation
from .counters import counters
from .draining import drain
from .event_flow import flow_of
from .event_outbox import EventOutbox, event
from .event_requests import CONTENT_TYPE, PLACE, Wish
from .exceptions import StoreUnavailable
from .heart import get_heart
from .hub import get_hub
from .limits import Place, place_for
from .messages import Message
from .middleware import ViewerMiddleware
from .outbox import Shown
from .permissions import Viewer
from .record import Record
from .reviews import LookUp, get_reviews, nobody
from .workflow import Workflow

logger = logging.getLogger(__name__)

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]

RESTART, SESSION = 4012, 4401  # as the close codes of sockets
TOO_MANY_SECONDS: Final = 30  # after which a client that has too many connections may try again


class EventStreams:
    """ASGI wrapper: goes on with an answer as a stream where a view has asked for that.

    `send` has to be the server's own. Requests that cannot be for events reach the application untouched.
    """

    def __init__(self, app: Application) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Let the application answer first, all of it: what a request holds is given back by then."""
        if scope["type"] != "http" or not _may_be_for_events(scope):
            await self.app(scope, receive, send)
            return
        answer = Answer(receive, send)
        await self.app({**scope, PLACE: answer.wish}, answer.receive, answer.send)
        message, head = answer.wish.message, answer.head
        if message is None or head is None or answer.deserted:
            return

        async def go_on(scope: dict[str, Any], receive: Any, send: Any) -> None:
            await EventStream(message, answer.wish.seen, scope, receive, send).run(head)

        await ViewerMiddleware(go_on)(scope, receive, send)


def _may_be_for_events(scope: dict[str, Any]) -> bool:
    accepted = b",".join(value for name, value in scope["headers"] if name == b"accept").lower()
    return CONTENT_TYPE.encode() in accepted or scope["path"].endswith("/events/")


class Answer:
    """What an application says to one request: passed on, or kept if it is to go on as a stream."""

    def __init__(self, receive: Any, send: Any) -> None:
        self.wish = Wish()
        self.head: dict[str, Any] | None = None  # the beginning of an answer that is to go on
        self.deserted = False  # the client is gone, and nobody will be told again
        self._receive, self._send = receive, send

    async def receive(self) -> dict[str, Any]:
        """As the server's, which says only once that the client is gone."""
        message: dict[str, Any] = await self._receive()
        self.deserted |= message["type"] == "http.disconnect"
        return message

    async def send(self, message: dict[str, Any]) -> None:
        """As the server's. If a middleware answers something else than the view, that is passed on."""
        if message["type"] == "http.response.start" and self.wish.message is not None:
            kinds = [value for name, value in message["headers"] if name.lower() == b"content-type"]
            if message["status"] == 200 and kinds == [CONTENT_TYPE.encode()]:
                self.head = message
        if self.head is None:
            await self._send(message)


class EventStream:
    """Carries the `Conversation` with one client over an HTTP answer."""

    def __init__(self, message: Message, seen: int, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.scope, self.message = scope, message
        self.hub = get_hub()
        self.flow, self._send = flow_of(send)
        self.outbox = EventOutbox(self._send, self.flow, self.hub.now, seen=seen, sent=self._end_if_done)
        self.conversation = Conversation(self.hub, self.outbox, self)
        self.chores = Chores()
        self.place: Place | None = None
        self.reviews, self.session = get_reviews(), ""
        self.heart = get_heart()
        self._beat: asyncio.Task[None] | None = None
        self.closed = False
        self._receive = receive
        self._answered = self._deserted = False
        self._over = asyncio.Event()

    async def run(self, head: dict[str, Any]) -> None:
        """Run until there is nothing more to say; whatever ends it, the hub forgets it."""
        try:
            if refused := await self._enter():
                await self._refuse(head, *refused)
                return
            await self._begin(head)
            await self._over.wait()
            await self._forget()
            if not self._deserted:
                await self.flow.ready()  # a reader that takes nothing is cut, as long as more is to come
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await self._forget()
            drain.left(self)
            self.flow.over()

    # --- Beginning and ending ------------------------------------------------------------------------------

    async def _enter(self) -> tuple[int, str, int] | None:
        """Who this is, and whether there is room. The answer is a refusal: status, error, seconds to wait."""
        later = 503, "unavailable", random.randint(1, 5)  # nosec B311 # jitter
        look_up: LookUp = nobody
        if self.message.token is None:  # with a token the cookie is ignored
            look_up, self.session = self.scope["progress.viewer"], self.scope["progress.session"]
        try:
            viewer = await self.reviews.enter(self.session, look_up, self)
        except TimeoutError:
            return later
        except Exception:
            logger.exception("A stream of events could not be opened")
            return later
        if drain.begun:
            return later
        self.conversation.access.viewer = viewer
        self.place = place_for(viewer.user, self.scope)  # sockets and streams share the limits
        return None if self.place is not None else (429, "too_many", TOO_MANY_SECONDS)

    async def _forget(self) -> None:
        """Say nothing more, and have everybody forget this stream. A second time changes nothing."""
        self.closed = True
        self.heart.leave(self)
        self.reviews.leave(self.session, self)
        self._give_place_back()
        self.outbox.close()
        self.chores.cancel()
        await self.conversation.close()

    def _give_place_back(self) -> None:
        if self.place is not None:
            self.place.give_back()

    async def _refuse(self, head: dict[str, Any], status: int, error: str, seconds: int) -> None:
        counters.refused += 1
        body = json.dumps({"error": error}).encode()
        told = {
            b"content-type": b"application/json",
            b"content-length": b"%d" % len(body),
            b"retry-after": b"%d" % seconds,
        }
        kept = [(name, value) for name, value in head["headers"] if name.lower() not in told]
        await self._send({**head, "status": status, "headers": [*kept, *told.items()]})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def _begin(self, head: dict[str, Any]) -> None:
        drain.enter(self)
        headers = [(name, value) for name, value in head["headers"] if name.lower() != b"content-length"]
        if self.scope.get("http_version", "").startswith("1"):
            headers.append((b"connection", b"close"))  # what waits in it at the end is then nobody else's
        await self._send({**head, "headers": headers})
        # At once: it shows that nothing on the way holds events back, and what time it is.
        await self.tell({"type": "heartbeat", "at": self.hub.now()})
        self.heart.join(self)
        for work in (self._listen(), self._converse()):
            self.start(work)

    async def _listen(self) -> None:
        """Wait for the client to leave: it has nothing else to say."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._deserted = True
        self._over.set()

    async def _converse(self) -> None:
        try:
            await self.conversation.answer(self.message)
        except Exception as error:
            if not isinstance(error, StoreUnavailable):
                logger.exception("A stream of events failed and is closed")
            await self.leave(random.randint(1000, 5000))  # nosec B311 # jitter
            return
        if not self.conversation.access.viewer.user and self.conversation.access.next_expiry() is not None:
            self._give_place_back()  # whoever has a token is no longer known by the address alone
        self._answered = True
        self._end_if_done()

    def _end_if_done(self) -> None:
        """End when all that is watched has ended, and was shown so. Who follows a user's tasks waits for more."""
        follows = self.message.mine and self.conversation.access.viewer.user
        if self._answered and not follows and self.outbox.idle and self.conversation.watched <= self.outbox.ended:
            self._over.set()

    async def leave(self, retry_ms: int) -> None:
        """Say when to come back, and end. Waits for a client that takes nothing."""
        await self._close({"type": "closing", "code": RESTART, "retry_ms": retry_ms})

    async def _close(self, told: dict[str, Any]) -> None:
        self.outbox.close()
        await self.tell(told)
        self._over.set()

    def hang_up(self) -> None:
        """Wait no longer for a client that takes nothing."""
        self.flow.hang_up()
        self._over.set()

    # --- Saying --------------------------------------------------------------------------------------------

    async def tell(self, told: dict[str, Any]) -> None:
        """Send one message, as soon as the client takes it."""
        await self.flow.ready()  # they must not pile up in front of a reader that takes none
        if self.closed:
            return
        await self._say(event(told["type"], snapshot.encode(told), retry_ms=told.get("retry_ms")))
        if told["type"] == "refused":
            counters.refused += 1
            self._end_if_done()

    async def _say(self, text: str) -> None:
        try:
            await self._send({"type": "http.response.body", "body": text.encode(), "more_body": True})
        except Exception as error:  # noqa: BLE001 (each server has its own error for a client that is leaving)
            logger.debug("A message reached nobody: %r", error)
            self._over.set()

    def beat(self, text: str, _framed: bytes) -> None:
        """From the heart: say that this process lives. Who takes nothing is not told."""
        late = self._beat is not None and not self._beat.done()
        if not (self.closed or self.flow.stuck or late):
            self._beat = self.chores.start(self._say(event("heartbeat", text)))

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside."""
        self.chores.start(work)

    # --- From the hub, and from the review of all sessions -------------------------------------------------

    def reviewed(self, viewer: Viewer) -> None:
        """This is who it is now."""
        if viewer.user != self.conversation.access.viewer.user:
            self.start(self._close({"type": "closing", "code": SESSION}))
        elif self.conversation.needs_a_look(viewer):
            self.start(self.conversation.look_again(viewer))

    def progress_update(self, shown: Shown) -> None:
        """This is the newest of a task that is watched here."""
        self.conversation.progress_update(shown)

    def task_found(self, key: str, record: Record) -> None:
        """The user has an unfinished task."""
        self.conversation.task_found(key, record)

    def tree_update(self, key: str, workflow: Workflow) -> None:
        """A workflow that is watched here has changed. None is, today."""
        self.conversation.tree_update(key, workflow)
