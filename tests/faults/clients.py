"""Browsers, as far as the truth goes: they dial again, ask again, keep the newest, and write down what they show."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, WebSocketException

from tests.wire import OWN, headers_of

from .history import Seen

SILENCE: Final = 35.0  # seconds without a frame, heartbeats included, after which a client dials again
NOTHING_HERE: Final = 4404
TOGETHER: Final = 0.2  # seconds; what is to be watched within them is asked for together
ASK_AGAIN: Final = 1.0  # seconds until a task that was not found is asked for again


@dataclass(frozen=True, slots=True)
class Close:
    """How a connection ended for a client."""

    at: float
    watcher: str
    code: int | None
    retry_ms: int | None


@dataclass(slots=True)
class Client:
    """One page with many bars, or the page of one task when `single` names it."""

    name: str
    url: str
    cookie: str
    ids: set[str] = field(default_factory=set)  # what it watches now
    ever: set[str] = field(default_factory=set)  # and what it has watched at some time
    single: bool = False
    seen: list[Seen] = field(default_factory=list)
    closes: list[Close] = field(default_factory=list)
    newest: dict[str, Seen] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)  # what it was told there is none of
    open_since: float = 0.0
    _asks: set[str] = field(default_factory=set)  # of what it watches, what the server is still to be told
    _connection: ClientConnection | None = None
    _retry_ms: int | None = None

    async def run(self) -> None:
        """Stay connected until it is cancelled."""
        while True:
            self._retry_ms = None
            with suppress(OSError, WebSocketException, InvalidHandshake, TimeoutError):
                await self._live()
            pause = self._retry_ms if self._retry_ms is not None else random.randint(200, 1000)
            await asyncio.sleep(pause / 1000)

    async def _live(self) -> None:
        options: dict[str, Any] = {"proxy": None, "compression": None, "open_timeout": 5, "close_timeout": 1}
        headers = headers_of(self.url, self.cookie, OWN)
        async with connect(self.url, additional_headers=headers, **options) as connection:
            self._connection, self.open_since = connection, time.monotonic()
            self._asks = set() if self.single else set(self.ids)  # its address says what a single one watches
            asking = asyncio.create_task(self._ask())
            try:
                while True:
                    async with asyncio.timeout(SILENCE):  # `wait_for` of Python 3.11 may swallow a cancellation
                        told = await connection.recv()
                    self._take(json.loads(told))
            finally:
                asking.cancel()
                self._connection = None
                if connection.close_code == NOTHING_HERE:
                    self.gone |= self.ids
                self.closes.append(Close(time.monotonic(), self.name, connection.close_code, self._retry_ms))

    async def _ask(self) -> None:
        """Say together what is to be watched: a server takes twenty messages a second."""
        while True:
            if ids := sorted(self._asks & self.ids):
                self._asks.clear()
                await self.say(type="watch", ids=ids)
            await asyncio.sleep(TOGETHER)

    async def watch(self, ids: list[str]) -> None:
        """Watch these as well, from now on and on each connection to come."""
        self.ids |= set(ids)
        self.ever |= self.ids
        self._asks |= set(ids)

    async def unwatch(self, ids: list[str]) -> None:
        """Watch these no more."""
        self.ids -= set(ids)
        await self.say(type="unwatch", ids=ids)

    async def say(self, **message: Any) -> None:
        """Send a message, if there is somebody to send it to."""
        if self._connection is not None:
            with suppress(WebSocketException):
                await self._connection.send(json.dumps(message))

    def _take(self, told: dict[str, Any]) -> None:
        if told["type"] == "snapshots":
            for item in told["items"]:
                self._show(item)
        elif told["type"] == "closing":
            self._retry_ms = told.get("retry_ms")
        elif told["type"] == "refused" and told.get("code") == "not_found":
            self.gone |= set(told["ids"])
            loop = asyncio.get_running_loop()
            loop.call_later(ASK_AGAIN, lambda: self._asks.update(told["ids"]))

    def _show(self, item: dict[str, Any]) -> None:
        before = self.newest.get(item["id"])
        if before is not None and item["seq"] <= before.seq:
            return
        shown = Seen(
            at=time.monotonic(),
            watcher=self.name,
            id=item["id"],
            seq=item["seq"],
            run=item["run"],
            attempt=item["attempt"],
            state=item["state"],
            final=item["final"],
            fraction=item.get("fraction"),
            message=item.get("message") or "",
            cancel_requested=item["cancel_requested"],
        )
        self.gone.discard(shown.id)
        self.newest[shown.id] = shown
        self.seen.append(shown)


class Crowd:
    """Clients in an event loop of their own, so that they go on whatever the run does meanwhile."""

    def __init__(self) -> None:
        self.clients: list[Client] = []
        self.loop = asyncio.new_event_loop()
        self._tasks: list[asyncio.Task[None]] = []
        self._thread = threading.Thread(target=self.loop.run_forever, name="clients")
        self._thread.start()

    def add(self, clients: Iterable[Client]) -> list[Client]:
        """Let these live from now on."""
        fresh = list(clients)
        self.clients += fresh
        self.loop.call_soon_threadsafe(
            lambda: self._tasks.extend(self.loop.create_task(each.run()) for each in fresh)
        )
        return fresh

    def do(self, work: Coroutine[Any, Any, Any], seconds: float = 10) -> Any:
        """What `work` returns, done in the clients' loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def unwatch(self, ids: list[str]) -> None:
        """Let nobody watch these any more."""
        for client in self.clients:
            if some := [each for each in ids if each in client.ids]:
                self.do(client.unwatch(some))

    def watch(self, ids: list[str], clients: Iterable[Client] | None = None) -> None:
        """Let all of them, or these, watch more tasks."""
        for client in self.clients if clients is None else clients:
            self.do(client.watch(ids))

    @property
    def seen(self) -> list[Seen]:
        """Everything that anybody has shown, in order of time."""
        return sorted((each for client in self.clients for each in list(client.seen)), key=lambda each: each.at)

    def close(self) -> None:
        """All of them leave."""

        async def leave() -> None:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        try:
            self.do(leave(), 30)
        finally:  # whoever does not leave must not keep the whole run from ending
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
            self.loop.close()
