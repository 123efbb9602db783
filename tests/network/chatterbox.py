"""A server that says as much as a test wants: pages, our modules, and a WebSocket that speaks the protocol.

What is measured with it is the page alone: no task, no Redis and no site works beside it.
"""

from __future__ import annotations

import asyncio
import json
import mimetypes
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tests.processes import ROOT

FOLDERS = {"/static/progress/": ROOT / "progress/static/progress", "/modules/": (ROOT / "node_modules").resolve()}
SOCKET = "/ws/progress/"
TOTAL = 1_000_000  # steps of every task


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def snapshot(task_id: str, current: int) -> dict[str, Any]:
    """A task that runs, as the site would tell of it."""
    at = now()
    return {
        "v": 1,
        "id": task_id,
        "seq": time.time_ns() // 1000,
        "attempt": 1,
        "run": 1,
        "name": "tasks.import_csv",
        "title": f"Import of {task_id}",
        "state": "PROGRESS",
        "final": False,
        "current": current,
        "total": TOTAL,
        "unit": "rows",
        "fraction": current / TOTAL,
        "message": f"Reading row {current}",
        "rate": 210.5,
        "queued_at": at,
        "started_at": at,
        "updated_at": at,
        "retries": 0,
        "max_retries": 3,
    }


class Said:
    """What is being said in the background. A context manager; `wait` returns how many snapshots it were."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Any) -> None:
        self._future = asyncio.run_coroutine_threadsafe(work, loop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._future.cancel()

    def wait(self, seconds: float = 60) -> int:
        return self._future.result(seconds)


class Chatterbox:
    """It listens on a free port, in a thread of its own. A context manager; `pages` are by their paths."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
        self.files: dict[str, str] = {}  # scripts, by their paths
        self.requests: Counter[str] = Counter()  # by path
        self.connections = 0  # WebSockets so far
        self.frames = 0  # with snapshots, said by `talk`
        self.every = 0.0  # seconds; what a page asked for last
        self.watched: dict[ServerConnection, set[str]] = {}  # by those that are open
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chatterbox")
        self._server: Server

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
        return f"http://127.0.0.1:{self.port}"

    def ids(self) -> list[str]:
        """What is watched now, over all connections."""
        return sorted(task_id for ids in list(self.watched.values()) for task_id in ids)

    # --- What it says --------------------------------------------------------------------------------------

    def talk(self, ids: Sequence[str], *, a_second: int, seconds: float, at_once: int = 1, obey: bool = True) -> Said:
        """Tell everybody of these tasks in turn, so many messages a second with `at_once` snapshots each.

        It obeys as the site's server does: what a page is told within its ``every_ms`` is one frame with the newest
        of each task. With `obey=False` every message is a frame. It is never faster to make up for what was late.
        """
        return Said(self._loop, self._talk(ids, a_second, seconds, at_once, obey))

    async def _talk(self, ids: Sequence[str], a_second: int, seconds: float, at_once: int, obey: bool) -> int:
        loop = asyncio.get_running_loop()
        began = last = loop.time()
        newest: dict[str, dict[str, Any]] = {}
        for number in range(int(a_second * seconds)):
            told = [ids[(number * at_once + n) % len(ids)] for n in range(at_once)]
            newest |= {each: snapshot(each, number + 1) for each in told}
            if not obey or loop.time() - last >= self.every:
                last = loop.time()
                await self._say({"type": "snapshots", "at": now(), "items": list(newest.values())})
                newest.clear()
            await asyncio.sleep(max(0, began + (number + 1) / a_second - loop.time()))
        await self._say({"type": "snapshots", "at": now(), "items": list(newest.values())})
        return int(a_second * seconds) * at_once

    def end(self, task_id: str) -> None:
        """Tell everybody that a task is done."""
        over = {"state": "SUCCESS", "final": True, "fraction": 1, "finished_at": now()}
        self._do(self._say({"type": "snapshots", "at": now(), "items": [snapshot(task_id, TOTAL) | over]}))

    async def _say(self, frame: dict[str, Any]) -> None:
        text = json.dumps(frame)
        self.frames += 1
        for connection in list(self.watched):
            with suppress(ConnectionClosed):
                await connection.send(text)

    # --- How it answers ------------------------------------------------------------------------------------

    def _do(self, work: Any, seconds: float = 10) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    async def _start(self) -> None:
        self._server = await serve(self._converse, "127.0.0.1", 0, process_request=self._answer, compression=None)
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def _stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    def _answer(self, _connection: ServerConnection, request: Request) -> Response | None:
        path = request.path.partition("?")[0]
        self.requests[path] += 1
        if path == SOCKET and request.headers.get("Upgrade"):
            return None
        if path in self.pages:
            return _response(HTTPStatus.OK, self.pages[path].encode(), "text/html; charset=utf-8")
        if path in self.files:
            return _response(HTTPStatus.OK, self.files[path].encode(), "text/javascript; charset=utf-8")
        for prefix, folder in FOLDERS.items():
            file = (folder / path.removeprefix(prefix)).resolve()
            if path.startswith(prefix) and file.is_relative_to(folder) and file.is_file():
                kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
                return _response(HTTPStatus.OK, file.read_bytes(), kind)
        return _response(HTTPStatus.NOT_FOUND, b"", "text/plain")

    async def _converse(self, connection: ServerConnection) -> None:
        self.connections += 1
        self.watched[connection] = set()
        try:
            async for text in connection:
                await self._hear(connection, json.loads(text))
        finally:
            del self.watched[connection]

    async def _hear(self, connection: ServerConnection, message: dict[str, Any]) -> None:
        ids, mine = message.get("ids", []), self.watched[connection]
        if message["type"] == "unwatch":
            mine.difference_update(mine.copy() if message.get("all") else ids)
        elif message["type"] == "watch":
            self.every = message.get("every_ms", 0) / 1000
            items = [{"id": each, "may": ["watch"], "until": None} for each in ids]
            await connection.send(json.dumps({"type": "watching", "items": items}))
            known = {"type": "snapshots", "at": now(), "items": [snapshot(each, 1) for each in ids]}
            await connection.send(json.dumps(known))
            mine.update(ids)  # what a test says from now on is newer
        elif message["type"] == "ping":
            await connection.send(json.dumps({"type": "heartbeat", "at": now()}))


def _response(status: HTTPStatus, body: bytes, kind: str) -> Response:
    headers = Headers({"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"})
    return Response(status.value, status.phrase, headers, body)
