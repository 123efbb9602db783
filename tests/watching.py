"""What tests look at: the record of a task, and every change that Redis made to it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Self
from uuid import uuid4

import redis

from progress import key
from progress.record import Record
from progress.snapshot import FINAL
from progress.store import Write, get_store

from .processes import wait_until

_WORD = re.compile(r'"(?:[^"\\]|\\.)*"')
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_CONTROLS = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b"}


def send(task: Any, *args: Any, options: Mapping[str, Any] | None = None, **kwargs: Any) -> str:
    """Send a task and forget Celery's result, which keeps a subscription that outlives a failed test."""
    return str(task.apply_async(args, kwargs, **(options or {})).id)


def record_of(task_id: str) -> Record | None:
    """The record of a task as it is now."""
    return get_store().load(key(task_id))


def when(task_id: str, condition: Callable[[Record], Any], seconds: float = 10, what: str = "") -> Record:
    """The record of a task as soon as `condition` holds of it."""
    last: list[Record | None] = [None]

    def met() -> Record | None:
        last[0] = record_of(task_id)
        return last[0] if last[0] is not None and condition(last[0]) else None

    try:
        found = wait_until(met, seconds, what)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{last[0]}") from None
    assert found is not None
    return found


def end_of(task_id: str, seconds: float = 10) -> Record:
    """The record of a task when it has ended."""
    return when(task_id, lambda record: record.ended, seconds, f"{task_id} has ended")


def running(task_id: str, seconds: float = 10) -> Record:
    """The record of a task when its start is written."""
    return when(task_id, lambda record: record.state in {"STARTED", "PROGRESS"}, seconds, f"{task_id} runs")


def has_begun(task_id: str) -> Record:
    """The record of a task when its start is written. It may have ended since, if the machine stood still."""
    return when(task_id, lambda record: record.started_at, what=f"{task_id} has begun")


def look_at(task_id: str, seconds: float = 60) -> None:
    """Let the worker know that somebody watches, as a hub would; it learns it at its next report."""
    answer = get_store().write(Write("watch", key(task_id), {"span": int(seconds * 1_000_000)}))
    assert answer.accepted, f"There is no record of {task_id}: {answer}"


def _unquoted(word: str) -> str:
    """A word as Redis's MONITOR quotes it. Not by `ast.literal_eval`, which now and then fails in several threads."""

    def unescaped(match: re.Match[bytes]) -> bytes:
        return bytes([int(match[1], 16)]) if match[1] else _CONTROLS.get(match[2], match[2])

    return _ESCAPE.sub(unescaped, word[1:-1].encode()).decode()


class History:
    """Every change of every record while the block runs, as Redis's own MONITOR tells it."""

    def __init__(self, server: str | Any) -> None:
        self._url = server if isinstance(server, str) else server.url
        self._changes: list[tuple[str, dict[str, str]]] = []
        self._pings: set[str] = set()  # what came with them
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        self._client = redis.Redis.from_url(self._url)
        self._connection = self._client.connection_pool.get_connection()
        self._connection.send_command("MONITOR")
        self._connection.read_response()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(OSError):
            self._connection._sock.shutdown(2)
        self._thread.join(5)
        self._client.close()
        assert not self._thread.is_alive()

    def _listen(self) -> None:
        with suppress(redis.RedisError, OSError, ValueError):
            while True:
                self._connection.timeout = None
                line = self._connection.read_response(timeout=None)
                words = _WORD.findall(line.decode() if isinstance(line, bytes) else line)
                if words and words[0].lower() == '"ping"':
                    self._pings.update(words[1:])
                if len(words) > 2 and words[0] == '"HSET"' and ":task:" in words[1]:
                    texts = [_unquoted(word) for word in words[1:]]
                    self._changes.append((texts[0], dict(zip(texts[1::2], texts[2::2], strict=True))))

    def _catch_up(self) -> None:
        """What was written before this call is known after it."""
        own = str(uuid4())
        self._client.execute_command("PING", own)
        wait_until(lambda: f'"{own}"' in self._pings, 10, "MONITOR tells of this test's own PING")

    def changes(self, task_id: str) -> list[dict[str, str]]:
        """The changed fields of each write, in order."""
        self._catch_up()
        return [fields for name, fields in self._changes if name.endswith(f":task:{key(task_id)}")]

    def states(self, task_id: str) -> list[str]:
        """The states that were written, those that follow one another only once."""
        states: list[str] = []
        for fields in self.changes(task_id):
            if "state" in fields and fields["state"] != (states[-1:] or [""])[0]:
                states.append(fields["state"])
        return states

    def ends(self, task_id: str) -> list[str]:
        """Every write of a final state: one per (run, attempt), or somebody has told an end twice."""
        return [fields["state"] for fields in self.changes(task_id) if fields.get("state") in FINAL]
