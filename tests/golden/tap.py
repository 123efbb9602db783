"""What passes through a Redis while the block runs: calls of the record's script, and events in groups."""

from __future__ import annotations

import ast
import json
import re
import threading
from contextlib import suppress
from typing import Any, Self

import msgpack
import redis

from tests.processes import wait_until

_WORD = re.compile(r'"(?:[^"\\]|\\.)*"')


class Tap:
    """`server` is a `tests.processes.Redis`. Nothing that is heard is changed or held up."""

    def __init__(self, server: Any, prefix: str) -> None:
        self.writes: list[tuple[str, dict[str, str]]] = []  # operation, arguments
        self.events: list[dict[str, Any]] = []
        self.pushed: list[str] = []  # what was put into a broker's queue
        self._server, self._prefix = server, prefix
        self._heard: list[str] = []

    def __enter__(self) -> Self:
        self._client = redis.Redis.from_url(self._server.url)
        self._monitor = self._client.connection_pool.get_connection()
        self._monitor.send_command("MONITOR")
        self._monitor.read_response()
        self._groups = self._client.pubsub(ignore_subscribe_messages=True)
        self._groups.psubscribe("*__group__*")
        wait_until(lambda: self._client.pubsub_numpat(), 5, "the groups are listened to")
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._watch, self._listen)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.catch_up()
        for connection in (self._monitor, self._groups.connection):
            with suppress(OSError):
                connection._sock.shutdown(2)
        for thread in self._threads:
            thread.join(5)
        self._client.close()
        assert not any(thread.is_alive() for thread in self._threads)

    def catch_up(self) -> None:
        """What happened before this call is known after it."""
        mark = f"mark-{len(self._heard)}"
        self._client.publish("__group__.mark", msgpack.packb({"type": mark}))
        wait_until(lambda: {"type": mark} in self.events and mark in self._heard, 5, "the mark comes by")
        self.events.remove({"type": mark})

    def _watch(self) -> None:
        with suppress(redis.RedisError, OSError, ValueError, AttributeError):
            while True:
                line = self._monitor.read_response(timeout=None)
                words = [ast.literal_eval(f"b{word}") for word in _WORD.findall(line.decode())]
                self._take(words[0].decode().upper(), words[1:])

    def _take(self, command: str, words: list[bytes]) -> None:
        if command == "PUBLISH" and words[0] == b"__group__.mark":
            self._heard.append(msgpack.unpackb(words[1])["type"])
        elif command == "LPUSH" and b'"headers"' in words[1]:
            self.pushed.append(words[1].decode())
        elif command in ("EVALSHA", "EVAL") and words[2].startswith(f"{self._prefix}:task:".encode()):
            op, given, *more = (word.decode() for word in words[3:])
            if not more:  # else it is another script, which is called with more
                self.writes.append((op, {name: str(value) for name, value in json.loads(given).items()}))

    def _listen(self) -> None:
        with suppress(redis.RedisError, OSError, ValueError, AttributeError):
            for message in self._groups.listen():
                self.events.append(msgpack.unpackb(message["data"]))
