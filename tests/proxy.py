"""A bad line between a browser and a site: it delays, goes silent, cuts, or refuses what old gateways refuse.

Unlike `tests.tcp_proxy`, which loses bytes, this one holds them back: what was under way when a train entered a
tunnel is sent again by TCP when it comes out. It runs in a thread of its own: a browser is driven from the main one.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self

CHUNK = 64 * 1024  # bytes
HEAD = 64 * 1024  # bytes; no browser asks with a longer one
FORBIDDEN = b"HTTP/1.0 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Behind(Protocol):
    """What a line leads to: a site, or an nginx in front of one."""

    @property
    def url(self) -> str: ...


@dataclass(eq=False)
class Link:
    """One connection of the browser's, and ours to the site."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    heard: float  # when a byte passed last, by the loop's clock
    websocket: bool = False
    stream: bool = False  # of server-sent events
    timers: set[asyncio.TimerHandle] = field(default_factory=set)

    def abort(self) -> None:
        """Reset both ends; what was under way is lost."""
        for timer in self.timers:
            timer.cancel()
        for writer in (self.near, self.far):
            writer.transport.abort()


class Line:
    """A line to `behind`, with an address of its own. A context manager: leaving it cuts everything.

    `delay` is added each way, in seconds. A connection in which nothing passed for `patience` seconds is cut, as
    proxies do. With `gateway` every connection is one request in HTTP/1.0, and no WebSocket comes about; streams of
    server-sent events are then "passed" on, "refused", or "held" until they end, as some scanners do.
    """

    def __init__(
        self,
        behind: Behind,
        *,
        delay: float = 0,
        patience: float | None = None,
        gateway: bool = False,
        events: Literal["passed", "held", "refused"] = "passed",
    ) -> None:
        self.behind = behind
        self.delay, self.patience = delay, patience
        self.gateway, self.events = gateway, events
        self.port = 0
        self.up = self.down = 0  # bytes from and to the browser that have passed
        self.count: Counter[str] = Counter()  # "accepted", "refused", "websockets", "silent" (cut for silence)
        self._refuses = False
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="line")

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._start())
        return self

    def __exit__(self, *_error: object) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """Where the site is, over this line."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def open_websockets(self) -> int:
        """How many WebSockets are open over this line now."""
        return sum(link.websocket for link in list(self._links))

    # --- What befalls it -----------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Nothing passes any more, and nobody is told: connections stay open, new ones are accepted."""
        self._loop.call_soon_threadsafe(self._passing.clear)

    def thaw(self) -> None:
        """Everything passes again, first what was held back."""
        self._loop.call_soon_threadsafe(self._passing.set)

    def cut(self) -> None:
        """Reset every connection, and every one that is tried until `restore`."""

        def cut() -> None:
            self._refuses = True
            self._abort()

        self._loop.call_soon_threadsafe(cut)

    def restore(self) -> None:
        """Accept connections again."""
        self._refuses = False

    # --- How it passes bytes on ----------------------------------------------------------------------------

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _start(self) -> None:
        self._passing = asyncio.Event()
        self._passing.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=HEAD)
        self.port = self._server.sockets[0].getsockname()[1]
        if self.patience:
            self._keep(self._watch_silence(self.patience))

    async def _stop(self) -> None:
        self._server.close()
        self._abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _abort(self) -> None:
        for link in list(self._links):
            link.abort()

    def _keep(self, work: Any) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.count["accepted"] += 1
        port = int(self.behind.url.rpartition(":")[2])
        try:
            if self._refuses:
                raise ConnectionRefusedError
            far_reader, far = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            self.count["refused"] += 1
            writer.transport.abort()
            return
        link = Link(writer, far, self._loop.time())
        self._links.add(link)
        self._keep(self._upwards(link, reader))
        self._keep(self._pass_on(link, far_reader, writer))

    async def _upwards(self, link: Link, reader: asyncio.StreamReader) -> None:
        """The browser's side: its first request says what becomes of the connection."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.up += len(head)
            link.websocket = not self.gateway and b"\r\nupgrade: websocket" in head.lower()
            self.count["websockets"] += link.websocket
            link.stream = self.gateway and b"text/event-stream" in head
            if link.stream and self.events == "refused":
                link.near.write(FORBIDDEN)
                link.near.close()
                return
            await self._send(link, link.far, in_http_1_0(head) if self.gateway else head)
            await self._pass_on(link, reader, link.far)
            return
        link.abort()

    async def _pass_on(self, link: Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        held = b""
        with contextlib.suppress(OSError):
            while data := await source.read(CHUNK):
                if sink is link.far:
                    self.up += len(data)
                elif link.stream and self.events == "held":
                    held += data
                    continue
                await self._send(link, sink, data)
        await self._send(link, sink, held)
        self._later(link, sink.close)
        if sink is link.near:
            self._links.discard(link)

    async def _send(self, link: Link, sink: asyncio.StreamWriter, data: bytes) -> None:
        """Each piece arrives `delay` after it came: a long line, not a thin one."""
        await self._passing.wait()
        link.heard = self._loop.time()
        if sink is link.near:
            self.down += len(data)
        self._later(link, sink.write, data)

    def _later(self, link: Link, call: Any, *args: Any) -> None:
        def run() -> None:
            link.timers.discard(timer)
            if not link.near.transport.is_closing() or call == link.far.close:
                call(*args)

        timer = self._loop.call_later(self.delay, run)
        link.timers.add(timer)

    async def _watch_silence(self, patience: float) -> None:
        while True:
            await asyncio.sleep(patience / 20)
            for link in list(self._links):
                if link.websocket and self._loop.time() - link.heard > patience:
                    self.count["silent"] += 1
                    link.abort()


def in_http_1_0(head: bytes) -> bytes:
    """A request as a gateway sends it on that knows neither upgrades nor connections that stay open."""
    head = re.sub(rb" HTTP/1\.1\r\n", b" HTTP/1.0\r\n", head, count=1)
    head = re.sub(rb"(?i)\r\n(?:connection|upgrade|keep-alive):[^\r]*", b"", head)
    return head[:-2] + b"Connection: close\r\n\r\n"
