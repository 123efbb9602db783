"""A client of the event streams: it reads as an `EventSource` does, in a thread, and notes what it was told when."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

from .processes import wait_until

SECONDS = 10


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `at` is when it was read (s, monotonic)."""

    kind: str
    id: str
    retry: str
    data: dict[str, Any]
    at: float


class Stream:
    """One answer that goes on, or one that does not: then `body` is all of it."""

    def __init__(
        self,
        url: str,
        path: str = "/progress/",
        *,
        ids: tuple[str, ...] = (),
        query: Mapping[str, str] | None = None,
        cookie: str | None = None,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
    ) -> None:
        pairs = [*(("id", each) for each in ids), *(query or {}).items()]
        told = {"Accept": "text/event-stream", **(headers or {})}
        if cookie:
            told["Cookie"] = cookie
        if token:
            told["Authorization"] = f"Bearer {token}"
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        self.began = time.monotonic()
        self.connection.request(method, path + ("?" + urlencode(pairs) if pairs else ""), headers=told)
        self.answer = self.connection.getresponse()
        self.status, self.headers = self.answer.status, self.answer.headers
        self.events: list[Event] = []
        self.lines: list[str] = []  # as they came
        self.body = b""
        self.ended = False
        self._reading = threading.Thread(target=self._read, name="stream")
        self._reading.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave, whether or not the server was done."""
        if self.connection.sock is not None:
            self.connection.sock.close()
        reading = getattr(getattr(self.answer.fp, "raw", None), "_sock", None)
        if reading is not None:
            with suppress(OSError):  # the server was quicker
                reading.shutdown(socket.SHUT_RDWR)
        self._reading.join(10)
        assert not self._reading.is_alive()
        self.connection.close()

    def finished(self, seconds: float = SECONDS) -> int:
        """The status of an answer that is no stream, when all of it is there."""
        self.ends(seconds)
        self.close()
        assert not self.events, self.heard()
        return self.status

    def told(self, kind: str, seconds: float = SECONDS, **wanted: Any) -> dict[str, Any]:
        """The newest event of a kind with these values, as soon as there is one."""

        def found() -> dict[str, Any] | None:
            for each in reversed(self.events):
                if each.kind == kind and all(each.data.get(name) == value for name, value in wanted.items()):
                    return each.data
            return None

        return wait_until(found, seconds, f"{kind} with {wanted}; heard {self.heard()}")

    def sees(self, key: str, seconds: float = SECONDS, **wanted: Any) -> dict[str, Any]:
        """The task's snapshot with these values, as soon as it is shown."""
        return self.told("snapshot", seconds, id=key, **wanted)

    def ends(self, seconds: float = SECONDS) -> list[str]:
        """What was told, when the server has ended it."""
        wait_until(lambda: self.ended, seconds, f"the stream ends; heard {self.heard()}")
        return self.heard()

    def heard(self) -> list[str]:
        """The kinds of all events, heartbeats but for the first left out."""
        return [each.kind for at, each in enumerate(self.events) if each.kind != "heartbeat" or at == 0]

    def snapshots(self, key: str) -> list[dict[str, Any]]:
        """What was shown of a task, in order."""
        return [each.data for each in self.events if each.kind == "snapshot" and each.data["id"] == key]

    def _read(self) -> None:
        try:
            if self.headers.get("Content-Type") == "text/event-stream":
                self._read_events()
            else:
                self.body = self.answer.read()
            self.ended = True
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            return  # this side has left, or the connection was cut

    def _read_events(self) -> None:
        fields: dict[str, str] = {}
        while raw := self.answer.readline():
            line = raw.decode().removesuffix("\n")
            self.lines.append(line)
            if line:
                name, _, value = line.partition(": ")
                assert name not in fields, line
                fields[name] = value
            elif fields:
                data = json.loads(fields["data"])
                told = (fields.get("event", ""), fields.get("id", ""), fields.get("retry", ""))
                self.events.append(Event(*told, data, time.monotonic()))
                fields = {}
