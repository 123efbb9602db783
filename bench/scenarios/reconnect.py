"""All watchers come back at once to a server that has just started: how long until each has its snapshot."""

from __future__ import annotations

import json
import sqlite3
import statistics
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import progress
from bench.crowd import Crowd
from bench.figures import Bar, Column, Outcome, Rows
from bench.many_reporters import OWNERS, Fleet
from bench.rig import Rig
from bench.servers import Measured, OnDaphne, OnUvicorn, site
from tests.processes import Login, _add_user

WITH_TOKENS = 10_000
WITH_SESSIONS = 2_000
TABS = 2  # sockets of each user
TASKS = 1_000  # that are watched; they stand still
AT_ONCE = 0  # all of them
PATIENCE: Final = 120  # seconds
LOOK_UP: Final = "django_session"  # the table that every look-up of a session reads once


SERVERS: Final[dict[str, type[Measured]]] = {"uvicorn": OnUvicorn, "Daphne": OnDaphne}

HOW = """\
The server process has just started and nobody has connected to it. One load client opens all sockets at once, without
the seconds by which `retry_ms` of the protocol spreads them; each says what it watches as soon as it is open.
**Seconds** is the time until the last of them has been shown a snapshot of its task. Both servers are started as
`docs/running.md` has it for crowds. Linux lets 4 096 connections wait to be accepted; the others knock again after 1,
3, 7 and 15 s, so what takes a little too long takes much longer.

**Tokens**: {tokens:,} sockets without a session, each of which watches one of {tasks:,} running tasks by a token.
**Sessions**: {sessions:,} sockets with the session cookie of {users:,} users of a migrated database (SQLite), {tabs}
for each, who watch a task of their own. **Accepted** is the floor: {tokens:,} sockets that an ASGI application in the
same program accepts and does nothing with, until the last is open.

**Server** and **client** are the CPU, user and system, of both processes in that time. **Look-ups** are those of a
session in the database, per user, as the server's own process counts its queries. That everybody was shown a
snapshot, that nobody was sent away, and that all look-ups were counted, is checked.
"""

WHY = """\
The server's processor is busy for three quarters of the time; the rest is the client's work and the pauses of who has
to knock again, as in the floor, which takes nearly half as long. What is above the floor is Channels' routing and
consumer, the token, the rights and the first answer, in Python."""


def measure(rig: Rig) -> Outcome:
    """Tokens, sessions and the floor, on each server."""
    with Fleet(rig, 1, still=True) as fleet:
        fleet.hold(TASKS)
        ids = fleet.ids(TASKS)
        tokens = [_watch(name, token=progress.watch_token(name)) for name in ids]
        users = _users(rig)
        tabs = [login for login in users for _ in range(TABS)]
        own = [_watch(ids[login.pk - 1]) for login in tabs]
        cookies = [login.cookie for login in tabs]
        sides = {}
        for name, kind in SERVERS.items():
            sides[f"tokens, {name}"] = partial(_once, rig, kind, WITH_TOKENS, tokens)
            sides[f"sessions, {name}"] = partial(_once, rig, kind, WITH_SESSIONS, own, cookies)
            sides[f"accepted, {name}"] = partial(_once, rig, kind, WITH_TOKENS)
        rows = rig.take_turns(sides)
    columns = [
        Column("seconds", "s", "until all have a snapshot; accepted: until all are open"),
        Column("server", "s of CPU", "of the server process in that time"),
        Column("client", "s of CPU", "of the load client in that time"),
        Column("look-ups", "per user", "of a session, in the database"),
    ]
    sizes = {"tokens": WITH_TOKENS, "sessions": WITH_SESSIONS, "users": len(users), "tabs": TABS, "tasks": TASKS}
    how = HOW.format(**sizes)
    title = "All watchers come back at once"
    return Outcome(title, how, columns, rows, _bars(rows), plot="seconds", notes=[_made_of(rows)])


def _bars(rows: Rows) -> list[Bar]:
    found = [
        Bar(f"{WITH_TOKENS:,} with tokens, {name}", rows[f"tokens, {name}"]["seconds"], most, unit="s", why=WHY)
        for name, most in (("uvicorn", 12), ("Daphne", 20))
    ]
    for name in SERVERS:
        side = rows[f"sessions, {name}"]
        found.append(Bar(f"{WITH_SESSIONS:,} with sessions, {name}", side["seconds"], 8, unit="s"))
        found.append(Bar(f"look-ups of a session, {name}", side["look-ups"], 1, unit="per user"))
    return found


def _made_of(rows: Rows) -> str:
    told = []
    for name, found in rows.items():
        seconds = statistics.median(found["seconds"])
        server, client = (statistics.median(found[who]) / seconds * 100 for who in ("server", "client"))
        told.append(f"{name}: the server was busy for {server:.0f} % of the time, the client for {client:.0f} %")
    return f"What the time is made of. {'; '.join(told)}. Where the server was busy throughout, its CPU is the limit."


def _watch(name: str, **more: str) -> list[dict[str, Any]]:
    return [{"type": "watch", "ids": [name], **more}]


def _users(rig: Rig) -> list[Login]:
    """Users who are logged in. The task with a number belongs to the user with that primary key."""
    site(OnUvicorn, rig, "first").kill()  # makes the database
    with closing(sqlite3.connect(Path(rig.env["DATA_DIR"]) / "db.sqlite3", timeout=20)) as database, database:
        users = [_add_user(database, f"user-{number}", False, False, ()) for number in range(WITH_SESSIONS // TABS)]
    if max(login.pk for login in users) > min(TASKS, OWNERS):
        raise RuntimeError("There are more users than tasks.")
    return users


def _once(
    rig: Rig,
    kind: type[Measured],
    watchers: int,
    say: Sequence[Sequence[Mapping[str, Any]]] = (),
    cookies: Sequence[str] = (),
) -> dict[str, float]:
    server = site(kind, rig, "server")
    try:
        with Crowd() as crowd:
            _look_ups(server)  # from now on they are counted
            url = f"{server.ws}/ws/progress/" if say else f"{server.ws}/bare/"
            headers = [{"Cookie": cookie, "Origin": server.url} for cookie in cookies]
            before, client, began = server.cpu, crowd.cpu, time.monotonic()
            crowd.open([url] * watchers, say=say, headers=headers, at_once=AT_ONCE)
            if say:
                _wait_for_snapshots(crowd, watchers, began + PATIENCE)
            seconds = time.monotonic() - began
            found = {"seconds": seconds, "server": server.cpu - before, "client": crowd.cpu - client}
            if (heard := crowd.count())["sockets"] != watchers or heard["closed"]:
                raise RuntimeError(f"Of {watchers} watchers: {heard}.")
            if cookies:
                found["look-ups"] = _look_ups(server) / (watchers / TABS)
                if found["look-ups"] < 1:
                    raise RuntimeError("Not every session was looked up, or not every look-up was counted.")
            return found
    finally:
        server.kill()


def _wait_for_snapshots(crowd: Crowd, watchers: int, deadline: float) -> None:
    """Until every socket was shown one. Raises `RuntimeError` as soon as somebody was sent away."""
    while (heard := crowd.count())["items"] < watchers:
        if heard["closed"] or time.monotonic() > deadline:
            raise RuntimeError(f"Of {watchers} watchers: {heard}.")
        time.sleep(0.02)
    crowd.wait(0, max(deadline - time.monotonic(), 1))


def _look_ups(server: Measured) -> int:
    with urllib.request.urlopen(f"{server.url}/bench/queries/", timeout=30) as answer:
        return int(json.load(answer).get(LOOK_UP, 0))
