"""One browser connection. It has no channel of its own: the hub joins groups and calls `progress_update`.

Through Channels' own dispatch every event would pass a single thread that all sockets of the process share, and
would be encoded once per browser. `docs/from-the-tutorial.md` shows the plain way, and what it costs.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from channels.exceptions import StopConsumer
from channels.generic.websocket import AsyncWebsocketConsumer

from . import messages, snapshot
from .access import Access
from .conf import conf
from .control import acancel
from .exceptions import InvalidToken, StoreUnavailable
from .hub import get_hub
from .log_tails import LogTails
from .messages import BadMessage, Message, ProtocolError
from .origins import Origin
from .outbox import Outbox, Shown
from .permissions import Claim, Viewer
from .record import Record, Status
from .servers import Flow

logger = logging.getLogger(__name__)

HEARTBEAT: Final = 15.0  # seconds
LOOK_AT_SESSION: Final = 30.0  # seconds; with the cache's 30 s a logout is seen within 60 s
TOKEN_WAIT: Final = 5.0  # seconds that the single-task URL waits for a first message with a token

RESTART, PROTOCOL, SESSION, ORIGIN, NOTHING_HERE, TOO_MANY = 4012, 4400, 4401, 4403, 4404, 4429


class ProgressConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """Speaks `docs/protocol.md` with one client."""

    channel_layer_alias = "none: the hub has the only channel"

    # --- Opening and closing -------------------------------------------------------------------------------

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Run the connection; whatever ends it, the hub forgets it."""
        self.hub = get_hub()
        self.flow: Flow = scope.get("progress.flow") or Flow()
        self.outbox = Outbox(send, self.flow, self.hub.now)
        self.access = Access()
        self.log_tails = LogTails(self.hub.logs, self._say)
        self.claims: dict[str, Claim] = {}  # what is watched, and what decides about it
        self.staff: set[str] = set()
        self.mine = False
        self.closed = False
        self.allowance = messages.Allowance()
        self.chores: set[asyncio.Task[None]] = set()
        self.expiry: asyncio.TimerHandle | None = None
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._forget()

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Only what the server sends is handled here; nothing else can reach this connection."""
        handlers = {
            "websocket.connect": self.websocket_connect,
            "websocket.receive": self.websocket_receive,
            "websocket.disconnect": self.websocket_disconnect,
        }
        await handlers[message["type"]](message)

    async def connect(self) -> None:
        """Accept first, refuse afterwards: only then does a browser learn why."""
        await self.accept()
        origin = self.scope.get("progress.origin", Origin.BAD)
        if origin is Origin.BAD:
            await self.close(ORIGIN)
            return
        try:
            if origin is Origin.OWN and "progress.viewer" in self.scope:
                self.access.viewer = await self.scope["progress.viewer"]()
            await self._watch_the_address()
        except (TimeoutError, StoreUnavailable):
            await self._come_back_later()
            return
        self._start(self._beat())
        if self.access.viewer.user:
            self._start(self._look_at_session())

    async def _watch_the_address(self) -> None:
        name = self.scope.get("url_route", {}).get("kwargs", {}).get("task_id")
        if name is None:
            return
        self.address = snapshot.address(name)
        allowed, _ = await self._sort_out([self.address])
        if allowed:
            await self._watch(allowed, None)
        else:
            self._start(self._wait_for_token())

    async def _wait_for_token(self) -> None:
        await asyncio.sleep(TOKEN_WAIT)
        if self.address not in self.claims:
            await self.close(NOTHING_HERE)

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        """The client is gone."""
        await self.disconnect(message.get("code"))
        raise StopConsumer

    async def disconnect(self, code: int | None) -> None:
        """Nothing to say any more; `_forget` runs however the connection ends."""
        self.closed = True

    async def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Close with a code that `docs/protocol.md` lists."""
        if not self.closed:
            self.closed = True
            await super().close(code)

    async def _forget(self) -> None:
        self.closed = True
        self.outbox.close()
        if self.expiry:
            self.expiry.cancel()
        for chore in self.chores:
            chore.cancel()
        await self.hub.unwatch(list(self.claims), self)
        if self.mine:
            await self.hub.unfollow(self.access.viewer.user, self)

    async def _come_back_later(self) -> None:
        """We cannot serve now: say when to try again, spread so that not all come at once."""
        await self._say("closing", code=RESTART, retry_ms=random.randint(1000, 5000))
        await self.close(RESTART)

    # --- What the client says ------------------------------------------------------------------------------

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Handle one frame."""
        if self.closed:
            return
        size = len(text_data.encode()) if text_data is not None else len(bytes_data or b"")
        if size > messages.MAX_FRAME_BYTES or not self.allowance.take(time.monotonic()):
            await self.close(TOO_MANY)
            return
        if text_data is None:
            await self.close(PROTOCOL)
            return
        ref = None
        try:
            message = messages.parse(text_data)
            ref = message.ref
            await self._handlers[message.type](self, message)
        except ProtocolError:
            await self.close(PROTOCOL)
        except BadMessage as error:
            await self._refuse([], "bad_message", ref, detail=str(error))
        except StoreUnavailable:
            await self._come_back_later()
        except Exception:
            logger.exception("A progress connection failed and is closed")
            await self.close(1011)

    async def _on_watch(self, message: Message) -> None:
        if message.every is not None:
            self.outbox.every = message.every
        if message.token is not None and not await self._take_token(message.token, message):
            return
        if message.mine:
            await self._follow_mine(message)
        if not message.ids:
            return
        names = {snapshot.address(name): name for name in message.ids}
        allowed, refused = await self._sort_out(names)
        if refused:
            await self._refuse([names[key] for key in refused], "not_found", message.ref)
        room = conf.PROGRESS_MAX_WATCHES - len(self.claims)
        new = [key for key in allowed if key not in self.claims]
        if over := new[max(room, 0) :]:
            await self._refuse([names[key] for key in over], "too_many", message.ref)
            allowed = {key: claim for key, claim in allowed.items() if key not in over}
        if allowed:
            await self._watch(allowed, message.ref, names)

    async def _follow_mine(self, message: Message) -> None:
        if not self.access.viewer.user:
            await self._refuse([], "not_allowed", message.ref)
            return
        self.mine = True
        await self._say("watching", message.ref, items=[])
        await self.hub.follow(self.access.viewer.user, self)

    async def _on_unwatch(self, message: Message) -> None:
        keys = list(self.claims) if message.everything else [snapshot.address(name) for name in message.ids]
        if message.everything and self.mine:
            self.mine = False
            await self.hub.unfollow(self.access.viewer.user, self)
        await self._unwatch(keys)

    async def _on_cancel(self, message: Message) -> None:
        (name,) = message.ids
        key = snapshot.address(name)
        record = (await self.hub.read([key])).get(key)
        may = self.access.rights(key, Claim.of(record)).actions if record else frozenset()
        if "watch" not in may and "cancel" not in may:
            await self._refuse([name], "not_found", message.ref)
        elif "cancel" not in may:
            await self._refuse([name], "not_allowed", message.ref)
        elif await acancel(key, self.access.viewer.user, self.hub) is Status.ENDED:
            await self._refuse([name], "ended", message.ref)
        else:
            await self._say("accepted", message.ref, id=name, action="cancel")

    async def _on_logs(self, message: Message) -> None:
        (name,) = message.ids
        key = snapshot.address(name)
        allowed, _ = await self._sort_out([key])
        if key not in allowed:
            await self._refuse([name], "not_found", message.ref)
            return
        if not self.access.may_read_logs(key, allowed[key]):
            await self._refuse([name], "not_allowed", message.ref)
            return
        if key not in self.claims:
            await self._watch(allowed, None)
        await self.log_tails.follow(key, message.after, message.ref)

    async def _on_token(self, message: Message) -> None:
        if message.token is not None and await self._take_token(message.token, message):
            waiting = getattr(self, "address", None)
            if waiting and waiting not in self.claims:
                allowed, _ = await self._sort_out([waiting])
                if allowed:
                    await self._watch(allowed, message.ref)
                    return
            await self._say("watching", message.ref, items=self._items(self.claims))

    async def _on_ping(self, message: Message) -> None:
        await self._say("heartbeat", message.ref, at=self.hub.now())

    _handlers: Final = {
        "watch": _on_watch,
        "unwatch": _on_unwatch,
        "cancel": _on_cancel,
        "logs": _on_logs,
        "token": _on_token,
        "ping": _on_ping,
    }

    # --- Rights --------------------------------------------------------------------------------------------

    async def _sort_out(self, keys: Iterable[str]) -> tuple[dict[str, Claim], list[str]]:
        """Which of `keys` may be watched. Unknown and forbidden cost the same one read."""
        wanted = list(keys)
        records = await self.hub.read(wanted)
        allowed = {}
        for key, record in records.items():
            claim = Claim.of(record)
            if "watch" in self.access.rights(key, claim).actions:
                allowed[key] = claim
        return allowed, [key for key in wanted if key not in allowed]

    async def _take_token(self, text: str, message: Message) -> bool:
        try:
            self.access.add_token(text)
        except InvalidToken:
            await self._refuse(message.ids, "expired" if message.type == "token" else "not_found", message.ref)
            return False
        self._wake_at_expiry()
        return True

    def _wake_at_expiry(self) -> None:
        if self.expiry:
            self.expiry.cancel()
        if (delay := self.access.next_expiry()) is not None:
            review = partial(self._start_review, "expired")
            self.expiry = asyncio.get_running_loop().call_later(delay + 0.01, review)

    def _start_review(self, code: str) -> None:
        self._start(self._review(code))

    async def _review(self, code: str) -> None:
        """Some right may be over: stop showing what may no longer be seen, and say so."""
        over = self.access.over(self.claims)
        if over:
            await self._unwatch(over)
            await self._refuse(over, code, None)
        self._wake_at_expiry()

    async def _look_at_session(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AT_SESSION)
            try:
                viewer: Viewer = await self.scope["progress.viewer"]()
            except TimeoutError:
                continue  # the database is slow; that is no reason to show less
            if viewer.user != self.access.viewer.user:
                await self.close(SESSION)
                return
            if viewer != self.access.viewer:
                self.access.viewer = viewer
                self.staff = {key for key, claim in self.claims.items() if self.access.rights(key, claim).staff}
                await self._review("not_found")

    # --- What the client is told ---------------------------------------------------------------------------

    async def _watch(self, allowed: dict[str, Claim], ref: Any, names: dict[str, str] | None = None) -> None:
        self.claims.update(allowed)
        self.staff |= {key for key, claim in allowed.items() if self.access.rights(key, claim).staff}
        await self._say("watching", ref, items=self._items(allowed, names))
        await self.hub.watch(allowed, self)

    async def _unwatch(self, keys: Iterable[str]) -> None:
        gone = [key for key in keys if self.claims.pop(key, None)]
        for key in gone:
            self.staff.discard(key)
            self.log_tails.drop(key)
            self.outbox.drop(key)
        await self.hub.unwatch(gone, self)

    def _items(self, keys: Iterable[str], names: dict[str, str] | None = None) -> list[dict[str, Any]]:
        return [self.access.item(key, self.claims[key], (names or {}).get(key, key)) for key in keys]

    def progress_update(self, shown: Shown) -> None:
        """From the hub: this is the newest of a task we watch."""
        if not self.closed and shown.key in self.claims:
            self.outbox.put(shown, shown.key in self.staff)
            if self.log_tails.is_behind(shown.key, shown.logs_to) and not self.outbox.stuck:
                self._start(self.log_tails.catch_up(shown.key))

    def task_found(self, key: str, record: Record) -> None:
        """From the hub: the user has an unfinished task."""
        full = len(self.claims) >= conf.PROGRESS_MAX_WATCHES
        if not self.closed and key not in self.claims and not full and record.owner == self.access.viewer.user:
            self._start(self._watch({key: Claim.of(record)}, None))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            if not self.outbox.stuck:
                await self._say("heartbeat", at=self.hub.now())

    async def _refuse(self, ids: Iterable[str], code: str, ref: Any, **more: Any) -> None:
        await self._say("refused", ref, ids=list(ids), code=code, **more)

    async def _say(self, kind: str, ref: Any = None, **fields: Any) -> None:
        if self.closed:
            return
        told = {"type": kind, **fields} if ref is None else {"type": kind, **fields, "ref": ref}
        await self.send(text_data=json.dumps(told, ensure_ascii=False, separators=(",", ":")))

    def _start(self, work: Any) -> None:
        """Do something beside; it ends with the connection, and its mistakes close nothing."""
        chore = asyncio.create_task(self._guard(work))
        self.chores.add(chore)
        chore.add_done_callback(self.chores.discard)

    async def _guard(self, work: Any) -> None:
        try:
            await work
        except StoreUnavailable as error:
            logger.debug("Progress could not be read: %s", error)
        except Exception:
            logger.exception("A progress connection could not do its chores")
