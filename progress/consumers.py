"""One browser connection. It has no channel of its own: the hub joins groups and calls `progress_update`.

Through Channels' own dispatch every event would pass a single thread that all sockets of the process share, and
would be encoded once per browser. `docs/from-the-tutorial.md` shows the plain way, and what it costs.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Coroutine
from typing import Any, Final

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer

from . import messages, snapshot
from .chores import Chores
from .conversation import Conversation
from .counters import counters
from .draining import drain
from .exceptions import StoreUnavailable
from .heart import get_heart
from .hub import get_hub
from .limits import Place, place_for
from .messages import BadMessage, ProtocolError
from .origins import Origin
from .outbox import Outbox, Shown
from .permissions import Viewer
from .record import Record
from .reviews import LookUp, get_reviews, nobody
from .servers import Flow
from .workflow import Workflow

logger = logging.getLogger(__name__)

TOKEN_WAIT: Final = 5.0  # seconds that the single-task URL waits for a first message with a token

RESTART, PROTOCOL, SESSION, ORIGIN, NOTHING_HERE, TOO_MANY = 4012, 4400, 4401, 4403, 4404, 4429
FAILED = 1011
REFUSALS: Final = {PROTOCOL, ORIGIN, NOTHING_HERE, TOO_MANY}


class ProgressConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """Carries the `Conversation` with one client over a WebSocket."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Run the connection; whatever ends it, the hub forgets it.

        Only the server is listened to. The inherited loop can hear a channel as well, and needs a task per message.
        """
        self.scope, self.base_send = scope, send
        self.hub = get_hub()
        self.flow: Flow = scope.get("progress.flow") or Flow()
        self.outbox = Outbox(send, self.flow, self.hub.now)
        self.conversation = Conversation(self.hub, self.outbox, self)
        self.allowance = messages.Allowance()
        self.allowance_of_ids = messages.Allowance(messages.IDS_BURST, messages.IDS_PER_SECOND)
        self.chores = Chores()
        self.place: Place | None = None
        self.reviews, self.session = get_reviews(), ""
        self.heart = get_heart()
        self._beat: asyncio.Task[None] | None = None
        self.closed = False
        try:
            while True:
                await self.dispatch(await receive())
        except StopConsumer:
            return
        finally:
            self.closed = True
            drain.left(self)
            self.heart.leave(self)
            self.reviews.leave(self.session, self)
            self._give_place_back()
            self.outbox.close()
            self.chores.cancel()
            await self.conversation.close()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Only what the server sends is handled here; nothing else can reach this connection."""
        handlers = {
            "websocket.connect": self.websocket_connect,
            "websocket.receive": self.websocket_receive,
            "websocket.disconnect": self.websocket_disconnect,
        }
        await handlers[message["type"]](message)

    # --- Opening and closing -------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Accept first, refuse afterwards: only then does a browser learn why."""
        await self.accept()
        origin = self.scope.get("progress.origin", Origin.BAD)
        if origin is Origin.BAD:
            await self.close(ORIGIN)
            return
        drain.enter(self)
        if drain.begun:
            await self._come_back_later()
            return
        name = self.scope.get("url_route", {}).get("kwargs", {}).get("task_id")
        try:
            await self._enter_session(origin)
            self.place = place_for(self.conversation.access.viewer.user, self.scope)
            if self.place is None:
                await self.close(TOO_MANY)
                return
            if name is not None:
                self.conversation.address = snapshot.address(name)
                if not await self.conversation.watch_address():
                    self.start(self._wait_for_token())
        except (TimeoutError, StoreUnavailable):
            await self._come_back_later()
            return
        except Exception:
            logger.exception("A progress connection could not be opened")
            await self._come_back_later()
            return
        self.heart.join(self)

    async def _enter_session(self, origin: Origin) -> None:
        """Who this is, and from now on whether they still are: `reviewed` is told."""
        look_up: LookUp = nobody
        if origin is Origin.OWN and "progress.viewer" in self.scope:
            look_up = self.scope["progress.viewer"]
            self.session = self.scope.get("progress.session", f"connection {id(self)}")
        self.conversation.access.viewer = await self.reviews.enter(self.session, look_up, self)

    def reviewed(self, viewer: Viewer) -> None:
        """From the review of all sessions: this is who it is now."""
        if viewer.user != self.conversation.access.viewer.user:
            self.start(self.close(SESSION))
        elif self.conversation.needs_a_look(viewer):
            self.start(self.conversation.look_again(viewer))

    def _give_place_back(self) -> None:
        if self.place is not None:
            self.place.give_back()

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        """The client is gone. Unlike the inherited method this asks no database thread."""
        await self.disconnect(message.get("code"))
        raise StopConsumer

    async def disconnect(self, code: int | None) -> None:
        """Nothing to say any more; what is watched is given up however the connection ends."""
        self.closed = True

    async def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Close with a code that `docs/protocol.md` lists."""
        if not self.closed:
            self.closed = True
            counters.refused += code in REFUSALS
            self.outbox.close()
            try:
                await super().close(code)
            except Exception as error:  # noqa: BLE001 (the client was quicker)
                logger.debug("A connection was closed already: %r", error)

    async def _come_back_later(self) -> None:
        """We cannot serve now: say when to try again, spread so that not all come at once."""
        await self.leave(random.randint(1000, 5000))  # nosec B311 # jitter

    async def leave(self, retry_ms: int) -> None:
        """Say when to come back, and close. Waits for a client that takes nothing."""
        self.outbox.close()
        await self.tell({"type": "closing", "code": RESTART, "retry_ms": retry_ms})
        await self.close(RESTART)

    def hang_up(self) -> None:
        """Wait no longer for a client that takes nothing, or does not answer the close frame."""
        self.flow.hang_up()

    # --- Hearing and saying --------------------------------------------------------------------------------

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Handle one frame."""
        if self.closed:
            return
        size = len(text_data.encode()) if text_data is not None else len(bytes_data or b"")
        if size > messages.MAX_FRAME_BYTES or not self.allowance.take(time.monotonic()):
            await self.close(TOO_MANY)
        elif text_data is None:
            await self.close(PROTOCOL)
        else:
            await self._answer(text_data)

    async def _answer(self, text: str) -> None:
        try:
            message = messages.parse(text)
            if not self.allowance_of_ids.take(time.monotonic(), message.cost):
                await self.close(TOO_MANY)
                return
            await self.conversation.answer(message)
            if not self.conversation.access.viewer.user and self.conversation.access.next_expiry() is not None:
                self._give_place_back()  # whoever has a token is no longer known by the address alone
        except ProtocolError:
            await self.close(PROTOCOL)
        except BadMessage as error:
            told = {"type": "refused", "ids": [], "code": "bad_message", "detail": str(error)}
            await self.tell(told if error.ref is None else {**told, "ref": error.ref})
        except StoreUnavailable:
            await self._come_back_later()
        except Exception:
            logger.exception("A progress connection failed and is closed")
            await self.close(FAILED)

    def progress_update(self, shown: Shown) -> None:
        """From the hub: this is the newest of a task that is watched here."""
        self.conversation.progress_update(shown)

    def task_found(self, key: str, record: Record) -> None:
        """From the hub: the user has an unfinished task."""
        self.conversation.task_found(key, record)

    def tree_update(self, key: str, workflow: Workflow) -> None:
        """From the hub: a workflow that is watched here has changed."""
        self.conversation.tree_update(key, workflow)

    async def tell(self, told: dict[str, Any]) -> None:
        """Send one message, as soon as the client takes it."""
        if self.closed:
            return
        counters.refused += told["type"] == "refused"
        await self.flow.ready()  # answers must not pile up in front of a reader that takes none
        await self._send(snapshot.encode(told))

    async def _send(self, text: str) -> None:
        try:
            await self.send(text_data=text)
        except Exception as error:  # noqa: BLE001 (each server has its own error for a client that is leaving)
            logger.debug("A message reached nobody: %r", error)
            await self.close(FAILED)

    def beat(self, text: str, framed: bytes) -> None:
        """From the heart: say that this process lives. Who takes nothing is not told."""
        late = self._beat is not None and not self._beat.done()  # of a server that does not say who takes nothing
        if not (self.closed or self.flow.stuck or late or self.flow.write(framed)):
            self._beat = self.chores.start(self._send(text))

    # --- Beside --------------------------------------------------------------------------------------------

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside; it ends with the connection, and its mistakes close nothing."""
        self.chores.start(work)

    async def _wait_for_token(self) -> None:
        await asyncio.sleep(TOKEN_WAIT)
        try:
            if not await self.conversation.watch_address():
                await self.close(NOTHING_HERE)
        except StoreUnavailable:
            await self._come_back_later()
