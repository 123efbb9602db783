"""A small WebSocket client for tests: it speaks `docs/protocol.md`, keeps what a page would show, and complains.

Whatever the protocol does not allow (no JSON, a message that does not fit its published schema, a snapshot that goes
back) fails the test at the next wait, so no test has to look for it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from .processes import stood_still
from .schemas import wrong_in_heard

T = TypeVar("T")

OWN = "the page's own origin"
LOOK = 0.1  # seconds between two looks at a condition while nothing comes


class Wire:
    """One connection, as a page would keep it."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.messages: list[dict[str, Any]] = []
        self.shown: dict[str, dict[str, Any]] = {}  # newest snapshot of each task
        self.states: dict[str, list[str]] = {}  # every state that was shown, in order
        self.lines: dict[str, list[str]] = {}  # log lines, in order
        self.close_code: int | None = None
        self.wrong: list[str] = []
        self._came = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    # --- Saying --------------------------------------------------------------------------------------------

    async def say(self, kind: str, **fields: Any) -> None:
        """Send a message."""
        await self.connection.send(json.dumps({"type": kind, **fields}))

    async def ask(self, kind: str, *, seconds: float = 10, **fields: Any) -> dict[str, Any]:
        """Send a message with a `ref` and return the answer that repeats it."""
        ref = f"ref-{len(self.messages)}-{kind}"
        await self.say(kind, ref=ref, **fields)
        return await self.until(lambda: self.answer(ref), seconds, f"an answer to {kind}")

    async def watch(self, *ids: str, **fields: Any) -> dict[str, Any]:
        """Watch tasks and return the answer."""
        return await self.ask("watch", ids=list(ids), **fields)

    def answer(self, ref: Any) -> dict[str, Any] | None:
        """The first message that repeats `ref`, if it has come."""
        return next((message for message in self.messages if message.get("ref") == ref), None)

    # --- Waiting -------------------------------------------------------------------------------------------

    async def until(
        self, condition: Callable[[], T], seconds: float = 10, what: str = "", of: Iterable[str] = ()
    ) -> T:
        """Wait until `condition()` is true and return what it returned. Fails on time-out and on wrong messages.

        The failure tells what was shown last of the tasks `of` it is about. The time for which the machine stands
        still does not count.
        """
        deadline = time.monotonic() + seconds
        while not (found := self._look(condition)):
            if (before := time.monotonic()) > deadline:
                shown = {key: self.shown.get(key) for key in of}
                raise AssertionError(
                    f"Not within {seconds} s: {what or condition}. Closed: {self.close_code}. "
                    f"Shown: {shown}. Last: {self.messages[-3:]}"
                )
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._came.wait()
            self._came.clear()
            deadline += stood_still(before, LOOK)
        return found

    async def sees(self, key: str, seconds: float = 10, **wanted: Any) -> dict[str, Any]:
        """Wait until the newest snapshot of `key` has these fields, and return it."""

        def fits() -> dict[str, Any] | None:
            found = self.shown.get(key)
            return found if found and all(found.get(name) == value for name, value in wanted.items()) else None

        return await self.until(fits, seconds, f"{wanted or 'anything'} of {key}", [key])

    async def ends(self, *keys: str, seconds: float = 10) -> None:
        """Wait until all of these tasks are shown in a final state."""
        await self.until(
            lambda: all(self.shown.get(key, {}).get("final") for key in keys),
            seconds,
            f"ends of {len(keys)} tasks",
        )

    async def told(self, kind: str, seconds: float = 10, **wanted: Any) -> dict[str, Any]:
        """Wait for a message of this type with these fields, and return it."""
        return await self.until(lambda: next(iter(self.all(kind, **wanted)), None), seconds, f"{kind} {wanted}")

    def all(self, kind: str, **wanted: Any) -> list[dict[str, Any]]:
        """All messages of this type with these fields, in order."""
        return [
            message
            for message in self.messages
            if message["type"] == kind and all(message.get(name) == value for name, value in wanted.items())
        ]

    async def closes(self, seconds: float = 10) -> int:
        """Wait until the server closes, and return the code."""
        await self.until(lambda: self.close_code is not None, seconds, "a close")
        assert self.close_code is not None
        return self.close_code

    async def lives(self) -> None:
        """Fail unless the server still answers."""
        answer = await self.ask("ping")
        assert answer["type"] == "heartbeat"

    def _look(self, condition: Callable[[], T]) -> T:
        if self.wrong:
            raise AssertionError("The server broke the protocol:\n" + "\n".join(self.wrong))
        return condition()

    # --- Hearing -------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        try:
            async for frame in self.connection:
                self._take(frame)
                self._came.set()
        except ConnectionClosed:
            pass
        finally:
            self.close_code = self.connection.close_code
            self._came.set()

    def _take(self, frame: str | bytes) -> None:
        try:
            message = json.loads(frame, parse_constant=_no_json)
            wrong = wrong_in_heard(message)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.wrong.append(f"{error!r} in {frame[:300]!r}")
            return
        if wrong or not isinstance(frame, str):
            self.wrong.append(f"{wrong or 'no text'} in {frame[:300]!r}")
            return
        self.messages.append(message)
        if message["type"] == "snapshots":
            for item in message["items"]:
                self._show(item)
        elif message["type"] == "logs":
            self.lines.setdefault(message["id"], []).extend(line["text"] for line in message["lines"])

    def _show(self, item: dict[str, Any]) -> None:
        before = self.shown.get(item["id"])
        if before and item["seq"] < before["seq"]:
            self.wrong.append(f"{item['id']} went back from {before['seq']} to {item['seq']}")
            return
        self.shown[item["id"]] = item
        self.states.setdefault(item["id"], []).append(item["state"])


async def until(condition: Callable[[], Any], seconds: float = 5) -> None:
    """Wait until `condition()` is true, in the event loop. Raises `TimeoutError` after `seconds`.

    The time for which the machine stands still does not count.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if (before := time.monotonic()) > deadline:
            raise TimeoutError(f"Not within {seconds} s: {condition}")
        await asyncio.sleep(0.005)
        deadline += stood_still(before, 0.005)


def _no_json(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON")


def headers_of(url: str, cookie: str | None, origin: str | Iterable[str] | None) -> list[tuple[str, str]]:
    """The headers with which a page at `url` would open a socket."""
    if origin == OWN:
        origin = f"http://{urlsplit(url).netloc}"
    origins = [origin] if isinstance(origin, str) else list(origin or [])
    return [("Cookie", cookie)] * bool(cookie) + [("Origin", each) for each in origins]


@asynccontextmanager
async def wire(
    url: str, *, cookie: str | None = None, origin: str | Iterable[str] | None = OWN, **options: Any
) -> AsyncIterator[Wire]:
    """An open connection; what the server did wrong on it fails the test at the latest when the block is left."""
    headers = headers_of(url, cookie, origin)
    async with connect(url, additional_headers=headers, proxy=None, compression=None, **options) as connection:
        client = Wire(connection)
        yield client
        client._look(lambda: True)
    await client._reader
