"""All watchers come back at once to a server that has just started: how long until each has its snapshot."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any, Final

import progress
from bench.counting import AUTHORIZE
from bench.crowd import Crowd
from bench.figures import Bar, Column, Outcome, Rows, times
from bench.many_reporters import OWNERS, Fleet
from bench.rig import Rig
from bench.servers import Measured, OnDaphne, OnUvicorn, site

WITH_TOKENS = 10_000
WITH_SESSIONS = 2_000
TABS = 2  # sockets of each user
TASKS = 1_000  # that are watched; they stand still
AT_ONCE = 0  # all of them
PATIENCE: Final = 120  # seconds
AGAIN = 10.0  # seconds from the first wave to the second: more than the product keeps what it knows of a session
MINUTE: Final = 60.0  # seconds within which both waves have to be over
SESSION: Final = "django_session"  # the table that every look-up of a session reads once
ASKED = {"BENCH_AUTHORIZE": "1"}  # of a server that has a function of its own, see `bench.counting`

SERVERS: Final[dict[str, type[Measured]]] = {"uvicorn": OnUvicorn, "Daphne": OnDaphne}

HOW = """\
The server process has just started and nobody has connected to it. One load client opens all sockets at once, without
the seconds by which `retry_ms` of the protocol spreads them; each says what it watches as soon as it is open.
**Seconds** is the time until the last of them has been shown a snapshot of its task. Both servers are started as
`docs/running.md` has it for crowds. Linux lets 4 096 connections wait to be accepted; the others knock again after 1,
3, 7 and 15 s, so what takes a little too long takes much longer.

**Tokens**: {tokens:,} sockets without a session, each of which watches one of {tasks:,} running tasks by a token.
**Sessions**: {sessions:,} sockets with the session cookie of {users:,} users of a migrated database (SQLite), {tabs}
for each, who watch a task of their own. **Granted**: the same users each watch a task of somebody else's, which a
`PROGRESS_AUTHORIZE` allows. **Accepted** is the floor: {tokens:,} sockets that an ASGI application in the same
program accepts and does nothing with, until the last is open.

Whoever has a session comes a **second** time: all sockets close, and {again:g} s after the first wave began, in the
same minute, all of them open anew. `PROGRESS_AUTHORIZE` is not asked again then: an answer counts for {believed:g} s,
so that what it allowed has ended a minute after it would be denied. A session is looked up again, once for all its
sockets: what is known of it counts for five seconds, for who has logged out is not to be let in for longer.

**Server** and **client** are the CPU, user and system, of both processes in the time of the first wave. **Look-ups**
are those of a session in the database, **queries** all that the database is asked: for the session and for its user,
and for no permissions, which only staff can have. **Asked** are the calls of `PROGRESS_AUTHORIZE` about the action
that it is asked about most. Each is per user, as the server's own process counts it. That everybody was shown a
snapshot, that nobody was sent away, and that nothing was left uncounted, is checked.
"""

WHY = """\
Above the floor are Channels' routing and consumer, the token, the rights and the first answer, in Python on one
processor. While that is not busy, the time is the client's work and the pauses of who has to knock again, as in the
floor. [Decision 13](decisions/0013-less-garbage-collection.md) has what took half of it before."""


def measure(rig: Rig) -> Outcome:
    """Tokens, sessions, grants and the floor, on each server."""
    with Fleet(rig, 1, still=True) as fleet:
        fleet.hold(TASKS)
        ids = fleet.ids(TASKS)
        tokens = [_watch(name, token=progress.watch_token(name)) for name in ids]
        users = _users(rig)
        tabs = [(pk, cookie) for pk, cookie in users.items() for _ in range(TABS)]
        own = [_watch(ids[pk - 1]) for pk, _ in tabs]
        others = [_watch(ids[pk % len(users)]) for pk, _ in tabs]
        cookies = [cookie for _, cookie in tabs]
        sides = {}
        for name, kind in SERVERS.items():
            sides[f"tokens, {name}"] = partial(_once, rig, kind, WITH_TOKENS, tokens)
            sides[f"sessions, {name}"] = partial(_once, rig, kind, WITH_SESSIONS, own, cookies)
            sides[f"granted, {name}"] = partial(_once, rig, kind, WITH_SESSIONS, others, cookies, ASKED)
            sides[f"accepted, {name}"] = partial(_once, rig, kind, WITH_TOKENS)
        rows = rig.take_turns(sides)
    columns = [
        Column("seconds", "s", "until all have a snapshot; accepted: until all are open"),
        Column("server", "s of CPU", "of the server process in that time"),
        Column("client", "s of CPU", "of the load client in that time"),
        Column("look-ups", "per user", "of a session, in the database"),
        Column("queries", "per user", "all that the database is asked"),
        Column("asked", "per user", "calls of `PROGRESS_AUTHORIZE` about one action"),
        Column("second, seconds", "s", "as the first"),
        Column("second, look-ups", "per user", "that the second wave adds"),
        Column("second, asked", "per user", "likewise"),
    ]
    from progress.authorize import BELIEVED

    sizes = {"tokens": WITH_TOKENS, "sessions": WITH_SESSIONS, "users": len(users), "tabs": TABS, "tasks": TASKS}
    how = HOW.format(**sizes, again=AGAIN, believed=BELIEVED)
    title = "All watchers come back at once"
    ours = [side for side in rows if not side.startswith("accepted")]
    return Outcome(title, how, columns, rows, _bars(rows), "seconds", ours, notes=[_made_of(rows)])


def _bars(rows: Rows) -> list[Bar]:
    found = []
    for name, most in (("uvicorn", 12), ("Daphne", 20)):
        seconds = rows[f"tokens, {name}"]["seconds"]
        text = f"{WITH_TOKENS:,} with tokens, {name}"
        near = f"{_near(rows, f'tokens, {name}')}; {_floor(rows, name)}"
        found.append(Bar(text, seconds, most, unit="s", why=WHY, near=near))
    for name in SERVERS:
        side, asked = rows[f"sessions, {name}"], rows[f"granted, {name}"]
        found += [
            Bar(
                f"{WITH_SESSIONS:,} with sessions, {name}",
                side["seconds"],
                *(8, "at most", "s"),
                why=WHY,
                near=_near(rows, f"sessions, {name}"),
            ),
            Bar(f"look-ups of a session, {name}", side["look-ups"], 1, unit="per user"),
            Bar(f"`PROGRESS_AUTHORIZE` is asked, {name}", asked["asked"], 1, unit="per user"),
            Bar(
                f"`PROGRESS_AUTHORIZE` is asked again by a second wave, {AGAIN:g} s after the first, {name}",
                asked["second, asked"],
                *(0, "at most", "per user"),
            ),
        ]
    return found


def _near(rows: Rows, side: str) -> str:
    seconds, server = (median(rows[side][column]) for column in ("seconds", "server"))
    return f"{seconds:.1f} s, of which the server's processor is busy for {server:.1f} s"


def _floor(rows: Rows, name: str) -> str:
    ours, floor = f"tokens, {name}", f"accepted, {name}"
    least = median(rows[floor]["seconds"])
    return f"the floor alone takes {least:.1f} s, and all is {times(rows, 'seconds', ours, floor)}"


def _made_of(rows: Rows) -> str:
    told = []
    for name, found in rows.items():
        seconds = median(found["seconds"])
        server, client = (median(found[who]) / seconds * 100 for who in ("server", "client"))
        told.append(f"{name}: the server was busy for {server:.0f} % of the time, the client for {client:.0f} %")
    return f"What the time is made of. {'; '.join(told)}. Where the server was busy throughout, its CPU is the limit."


def _watch(name: str, **more: str) -> list[dict[str, Any]]:
    return [{"type": "watch", "ids": [name], **more}]


def _users(rig: Rig) -> dict[int, str]:
    """The session cookies of users who are logged in, by primary key. The task with that number belongs to each."""
    site(OnUvicorn, rig, "first").kill()  # makes the database, which is that of this process as well
    from django.contrib.auth.models import User
    from django.db import transaction

    with transaction.atomic():
        users = [User(username=f"user-{number}") for number in range(WITH_SESSIONS // TABS)]
        found = dict(map(_logged_in, users))
    if max(found) > min(TASKS, OWNERS):
        raise RuntimeError("There are more users than tasks.")
    return found


def _logged_in(user: Any) -> tuple[int, str]:
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
    from django.contrib.sessions.backends.db import SessionStore

    user.set_unusable_password()  # a hash takes long
    user.save()
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return user.pk, f"sessionid={session.session_key}"


def _once(
    rig: Rig,
    kind: type[Measured],
    watchers: int,
    say: Sequence[Sequence[Mapping[str, Any]]] = (),
    cookies: Sequence[str] = (),
    extra: Mapping[str, str] | None = None,
) -> dict[str, float]:
    server = site(kind, rig, "server", extra)
    try:
        with Crowd() as crowd:
            first = _counted(server)  # from now on everything is counted
            before, client, began = server.cpu, crowd.cpu, time.monotonic()
            seconds = _come(crowd, server, watchers, say, cookies)
            found = {"seconds": seconds, "server": server.cpu - before, "client": crowd.cpu - client}
            if not cookies:
                return found
            second = _counted(server)
            one = _per_user(first, second, watchers // TABS)
            if one["look-ups"] < 1 or (extra and one["asked"] < 1):
                raise RuntimeError(f"Not everything was asked, or not everything was counted: {one}.")
            crowd.close()
            time.sleep(max(0.0, began + AGAIN - time.monotonic()))
            again = _come(crowd, server, watchers, say, cookies)
            if time.monotonic() - began > MINUTE:
                raise RuntimeError("The second wave was not over within a minute.")
            two = _per_user(second, _counted(server), watchers // TABS)
            found |= {**one, "second, seconds": again}
            return found | {f"second, {name}": two[name] for name in ("look-ups", "asked")}
    finally:
        server.kill()


def _come(
    crowd: Crowd,
    server: Measured,
    watchers: int,
    say: Sequence[Sequence[Mapping[str, Any]]],
    cookies: Sequence[str],
) -> float:
    """All sockets open and say what they watch; the seconds until everybody has been shown something."""
    url = f"{server.ws}/ws/progress/" if say else f"{server.ws}/bare/"
    headers = [{"Cookie": cookie, "Origin": server.url} for cookie in cookies]
    began = time.monotonic()
    crowd.open([url] * watchers, say=say, headers=headers, at_once=AT_ONCE)
    if say:
        _wait_for_snapshots(crowd, watchers, began + PATIENCE)
    seconds = time.monotonic() - began
    if (heard := crowd.count())["sockets"] != watchers or heard["closed"]:
        raise RuntimeError(f"Of {watchers} watchers: {heard}.")
    return seconds


def _wait_for_snapshots(crowd: Crowd, watchers: int, deadline: float) -> None:
    """Until every socket was shown one. Raises `RuntimeError` as soon as somebody was sent away."""
    while (heard := crowd.count())["items"] < watchers:
        if heard["closed"] or time.monotonic() > deadline:
            raise RuntimeError(f"Of {watchers} watchers: {heard}.")
        time.sleep(0.02)
    crowd.wait(0, max(deadline - time.monotonic(), 1))


def _counted(server: Measured) -> dict[str, int]:
    with urllib.request.urlopen(f"{server.url}/bench/queries/", timeout=30) as answer:
        found: dict[str, int] = json.load(answer)
        return found


def _per_user(before: Mapping[str, int], after: Mapping[str, int], users: int) -> dict[str, float]:
    added = {name: (count - before.get(name, 0)) / users for name, count in after.items()}
    return {
        "look-ups": added.get(SESSION, 0.0),
        "queries": sum(count for name, count in added.items() if not name.startswith(AUTHORIZE)),
        "asked": max((count for name, count in added.items() if name.startswith(AUTHORIZE)), default=0.0),
    }
