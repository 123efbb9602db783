"""The load client: many WebSockets in one process, told what to do by lines of JSON on its standard input.

picows and uvloop, because the client must not be what is measured. `bench.crowd.Crowd` is what scenarios use.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
import traceback
from array import array
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvloop
from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

CURRENT = re.compile(rb'"current": ?(\d+)')
ITEM = re.compile(rb'"id": ?"([^"]+)"[^{}]*?"current": ?(\d+)')
PORTS = 25_000  # of one source address, with some to spare
# Every process has addresses of its own: ports stay taken for a minute after a connection, and crowds may be beside.
SOURCES = f"127.0.{1 + os.getpid() % 250}"


class Socket(WSListener):
    """One connection: what it was shown, and when."""

    def __init__(self, crowd: Sockets, say: list[str]) -> None:
        super().__init__()
        self.crowd, self.say = crowd, say
        self.transport: WSTransport | None = None
        self.newest = -1
        self.frames = 0

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        for text in self.say:
            transport.send(WSMsgType.TEXT, text.encode())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.CLOSE:
            transport.disconnect()
        elif frame.msg_type is WSMsgType.TEXT:
            self.crowd.heard(self, frame.get_payload_as_bytes())

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.crowd.closed += 1


class Sockets:
    """All connections of this process."""

    def __init__(self) -> None:
        self.sockets: list[Socket] = []
        self.frames = self.bytes = self.items = self.closed = 0
        self.follow = False  # note when each task reached each step
        self.target = self.behind = 0
        self.arrived = asyncio.Event()
        self.names: dict[bytes, int] = {}
        self.log = array("q")  # number of the socket, number of the task, step, ns on the monotonic clock, …
        self.numbers: dict[Socket, int] = {}
        self.sample = 1  # note what every so many-th socket hears

    # --- What is heard -------------------------------------------------------------------------------------

    def heard(self, socket: Socket, data: bytes) -> None:
        """One frame of text."""
        self.frames += 1
        self.bytes += len(data)
        socket.frames += 1
        if self.follow:
            self._note(socket, data)
            return
        if (found := CURRENT.search(data)) is None:
            return
        self.items += 1
        current = int(found[1])
        if socket.newest < self.target <= current:
            self.behind -= 1
            if not self.behind:
                self.arrived.set()
        socket.newest = max(socket.newest, current)

    def _note(self, socket: Socket, data: bytes) -> None:
        number = self.numbers[socket]
        if number % self.sample:
            self.items += data.count(b'"current":')
            return
        now = time.monotonic_ns()
        # Whoever sends one task per address does not say which it is.
        for name, current in ITEM.findall(data) or [(b"", found[1]) for found in CURRENT.finditer(data)]:
            self.items += 1
            self.log.extend((number, self.names.setdefault(name, len(self.names)), int(current), now))

    # --- What is asked for ---------------------------------------------------------------------------------

    async def open(
        self, urls: list[str], say: list[list[str]], at_once: int, headers: list[dict[str, str]]
    ) -> dict[str, Any]:
        """Connect to each of `urls` and say what belongs to it; 0 = all at once."""
        turn = asyncio.Semaphore(at_once or len(urls))
        failed: list[str] = []

        async def one(number: int, url: str) -> None:
            words = say[number % len(say)] if say else []
            extra = headers[number % len(headers)] if headers else {}
            async with turn:
                source, socket = f"{SOURCES}.{2 + number // PORTS}", Socket(self, words)
                try:
                    await ws_connect(
                        lambda: socket,
                        url,
                        extra_headers=extra,
                        websocket_handshake_timeout=120,
                        local_addr=(source, 0),
                        read_buffer_init_size=2048,
                    )
                except (OSError, WSError, TimeoutError) as error:
                    failed.append(repr(error))
                    return
            self.numbers[socket] = len(self.sockets)
            self.sockets.append(socket)

        began = time.perf_counter()
        await asyncio.gather(*[one(number, url) for number, url in enumerate(urls)])
        return {"seconds": time.perf_counter() - began, "failed": failed[:5], "failures": len(failed)}

    async def say(self, words: list[str]) -> None:
        """Every socket says this."""
        for socket in self.sockets:
            if socket.transport:
                for text in words:
                    socket.transport.send(WSMsgType.TEXT, text.encode())

    async def wait(self, current: int, seconds: float) -> None:
        """Until every socket was shown `current`, or more."""
        self.target, self.behind = current, sum(socket.newest < current for socket in self.sockets)
        if self.behind:
            self.arrived.clear()
            async with asyncio.timeout(seconds):
                await self.arrived.wait()

    async def wait_frames(self, each: int, seconds: float) -> dict[str, float]:
        """Until every socket has heard so many frames."""
        began = time.perf_counter()
        async with asyncio.timeout(seconds):
            # An event that every frame looks after would cost the client more.
            while any(socket.frames < each for socket in self.sockets):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        return {"seconds": time.perf_counter() - began}

    async def notes(self, on: bool, sample: int) -> None:
        """Begin to note what comes when, or stop."""
        self.follow, self.sample, self.log = on, sample, array("q") if on else self.log

    async def written(self, file: str) -> list[str]:
        """Write what was noted; the answer is the names of the tasks by their numbers."""
        Path(file).write_bytes(self.log.tobytes())  # noqa: ASYNC240 (nothing else is going on)
        return [name.decode() for name in self.names]

    async def count(self) -> dict[str, int]:
        """What has come so far."""
        own = ("frames", "bytes", "items", "closed")
        return {"sockets": len(self.sockets), **{name: getattr(self, name) for name in own}}

    async def close(self) -> None:
        """Close every connection."""
        left = Sockets()  # whom they may tell that they are closed
        for socket in self.sockets:
            socket.crowd = left
            if socket.transport:
                socket.transport.send_close()
        await asyncio.sleep(0.2)
        for socket in self.sockets:
            if socket.transport:
                socket.transport.disconnect(graceful=False)
        self.__init__()  # type: ignore[misc]


async def main() -> None:
    """Do what is asked, line by line, until standard input ends."""
    loop, crowd = asyncio.get_running_loop(), Sockets()
    asked = asyncio.StreamReader(limit=1 << 26)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(asked), sys.stdin)
    while line := await asked.readline():
        question = json.loads(line)
        call: Callable[..., Awaitable[Any]] = getattr(crowd, question.pop("do"))
        try:
            answer = {"answer": await call(**question)}
        except Exception as error:
            answer = {"error": "".join(traceback.format_exception(error))}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
