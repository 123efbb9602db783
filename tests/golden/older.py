"""Processes of another release, as far as the others can tell: its script, and events in its form."""

from __future__ import annotations

import json
import re
from typing import Any

import redis

from progress import snapshot
from progress.record import TEXTS

from .make import HERE, SCRIPT, load

LIFETIMES = {"ttl_live": 604_800, "ttl_ended": 86_400, "ttl_forgotten": 600}  # seconds


class Older:
    """Writes records as the code of `release` does, into the Redis of `client`.

    Only with arguments that every release knows. What it does not do: read anything back but the script's answer.
    """

    def __init__(self, release: str, client: redis.Redis, prefix: str) -> None:
        self.release, self._client, self._prefix = release, client, prefix
        lua = (HERE / release / SCRIPT).read_text()
        self._script = client.register_script(lua)
        head = re.search(r"local HEAD = \{(.*?)\}", lua, re.DOTALL)
        assert head, f"The script of {release} names no HEAD."
        self._head = re.findall(r"'(\w+)'", head[1])
        self._takes_json = "cjson.decode" in lua  # the first ones took names and values in turn

    def write(self, op: str, key: str, **args: Any) -> dict[str, Any]:
        """One write. The answer: its `status`, and the head of the record with numbers as such."""
        given = {name: value for name, value in {**args, **LIFETIMES}.items() if value != "" or name in TEXTS}
        keys = [f"{self._prefix}:task:{key}"]
        if self._takes_json:
            status, _, found, *_ = json.loads(self._script(keys=keys, args=[op, snapshot.encode(given)]))
            return {"status": status, **{name: _number(found.get(name, "0")) for name in self._head}}
        status, _, *head = self._script(keys=keys, args=[op, *(each for pair in given.items() for each in pair)])
        found = {name: _number(value.decode()) for name, value in zip(self._head, head, strict=False)}
        return {"status": status.decode(), **found}

    def event(self, head: dict[str, Any], key: str, **shown: Any) -> dict[str, Any]:
        """The event with which a worker of that release announces what it has just written."""
        found = load(self.release)["events"]["progress.update PROGRESS"][0]
        now = {
            "id": key,
            "seq": head["seq"],
            "attempt": head["attempt"],
            "run": head["run"],
            "queued_at": snapshot.iso(head["queued_at"]),
            **shown,
        }
        texts = {name: snapshot.encode({**json.loads(found[name]), **now}) for name in ("snapshot", "staff")}
        return {**found, "id": key, "seq": head["seq"], **texts}


class Execution:
    """A worker of another release runs a task."""

    def __init__(self, older: Older, key: str, owner: str, name: str = "older") -> None:
        self.older, self.key, self.owner, self.name = older, key, owner, name
        self.n = self.fence = 0
        self.head: dict[str, Any] = {}

    def save(self, state: str, current: int = 0, **texts: str) -> dict[str, Any]:
        """It says so much."""
        self.n += 1
        own = {"exec": self.name, "fence": self.fence, "n": self.n, "age": 0, "state": state, "owner": self.owner}
        told = {"fraction": f"{current / 10}", **texts_of(self.key, current), **texts}
        answer = self.older.write("save", self.key, **own, **told)
        if answer["status"] == "accepted":
            self.head, self.fence = answer, answer["fence"]
        return answer


def texts_of(key: str, current: int = 0) -> dict[str, str]:
    """What every release writes about a task, as far as a snapshot needs it."""
    named = {"id": key, "root": key, "name": "tests.older", "title": "Older"}
    body = {**named, "current": current, "total": 10, "unit": "", "message": "", "retries": 0}
    return {"body": snapshot.encode(body)[1:-1], "public": '"meta":{}', "staff": '"meta":{}'}


def _number(text: str) -> int | str:
    return int(text) if text.isdecimal() else text
