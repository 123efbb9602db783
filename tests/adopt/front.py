"""What stands in front of a shop, as nginx would: pages go to the one server, sockets to the other."""

from __future__ import annotations

import asyncio
import contextlib
import threading

CHUNK = 64 * 1024  # bytes
PATIENCE = 10.0  # seconds for the first line of a request


class Front:
    """One address for a page server and a socket server, in a thread of its own.

    `take_off` is a script name that the socket server does not get to see.
    """

    def __init__(self, pages: int, sockets: int, sockets_below: str, take_off: str = "") -> None:
        self.pages, self.sockets = pages, sockets
        self.sockets_below, self.take_off = sockets_below.encode(), take_off.encode()
        self.port = 0
        self._ready = threading.Event()
        self._links: set[asyncio.Task[None]] = set()  # a loop alone keeps nothing alive
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="front", daemon=True)

    def start(self) -> None:
        """Listen on a free port."""
        self._thread.start()
        assert self._ready.wait(PATIENCE), "The front does not listen."

    def stop(self) -> None:
        """Cut everything and listen no more."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(PATIENCE)

    def _run(self) -> None:
        asyncio.run(self._serve())  # what is open when it ends is cancelled

    async def _serve(self) -> None:
        self._stopped = asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port, self._loop = server.sockets[0].getsockname()[1], asyncio.get_running_loop()
        self._ready.set()
        await self._stopped.wait()
        server.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = asyncio.create_task(self._link(reader, writer))
        self._links.add(link)
        link.add_done_callback(self._links.discard)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_writer: asyncio.StreamWriter | None = None
        try:
            # A browser keeps pages and sockets apart, so the first request of a connection decides.
            async with asyncio.timeout(PATIENCE):
                line = await reader.readline()
            path = line.split(b" ")[1] if line.count(b" ") == 2 else b""
            is_socket = path.startswith(self.sockets_below)
            port = self.sockets if is_socket else self.pages
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
            far_writer.write(line.replace(b" " + self.take_off, b" ", 1) if is_socket else line)
            await asyncio.gather(_pass_on(reader, far_writer), _pass_on(far_reader, writer))
        except (OSError, TimeoutError):
            pass  # to the browser it looks like what it is
        finally:
            for each in filter(None, (writer, far_writer)):
                each.transport.abort()


async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(CHUNK):
        sink.write(data)
        await sink.drain()
    with contextlib.suppress(OSError):
        sink.write_eof()
