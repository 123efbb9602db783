"""A TCP proxy that can be a bad network: it delays, swallows or cuts what passes through."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

CHUNK = 64 * 1024  # bytes


class TcpProxy:
    """Passes bytes on to a port of this machine. Each way has its own delay, in seconds."""

    def __init__(self, target_port: int, *, up: float = 0, down: float = 0) -> None:
        self.target_port = target_port
        self.up, self.down = up, down  # towards the target, and back
        self.swallow = False  # bytes vanish, connections stay: a half-open link
        self.port = 0
        self.accepted = 0
        self._links: set[asyncio.StreamWriter] = set()
        self._deaf: set[asyncio.StreamWriter] = set()  # those through which nothing passes any more
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._link, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut everything and listen no more."""
        if self._server is not None:
            self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def swallow_present(self) -> None:
        """From now on the bytes of the connections that are open vanish; new ones work."""
        self._deaf |= self._links

    def cut(self) -> None:
        """Reset every connection that is open now; new ones are accepted."""
        for writer in list(self._links):
            writer.transport.abort()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.transport.abort()
            return
        self._links |= {writer, far_writer}
        for source, sink, upwards in ((reader, far_writer, True), (far_reader, writer, False)):
            task = asyncio.create_task(self._pass_on(source, sink, upwards))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, upwards: bool) -> None:
        """Each piece leaves `delay` after it came: a long line, not a thin one."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await source.read(CHUNK):
                if self.swallow or sink in self._deaf:
                    continue
                loop.call_later(self.up if upwards else self.down, _write, sink, data)
        loop.call_later(self.up if upwards else self.down, sink.close)
        self._links.discard(sink)
        self._deaf.discard(sink)


def _write(sink: asyncio.StreamWriter, data: bytes) -> None:
    if not sink.is_closing():
        sink.write(data)


@asynccontextmanager
async def tcp_proxy(target_port: int, *, up: float = 0, down: float = 0) -> AsyncIterator[TcpProxy]:
    """A running proxy in front of a port."""
    proxy = TcpProxy(target_port, up=up, down=down)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
