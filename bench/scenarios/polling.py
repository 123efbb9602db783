"""What polling costs the server, against pushing: celery-progress's view every 500 ms, server-sent events, and ours.

All watch one task that takes two steps a second.
"""

from __future__ import annotations

import importlib.util
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any, Literal
from uuid import uuid4

from bench.crowd import Crowd
from bench.figures import Bar, Column, Outcome, Rows, paired
from bench.http_crowd import HttpCrowd
from bench.http_process import INTERVAL
from bench.rig import Rig, cpu_of, wait_until_quiet
from bench.running_task import running_task
from bench.servers import Measured, OnDaphne, OnUvicorn, site
from tests.processes import Uvicorn

WATCHERS = 200
RATE = 2  # steps a second
SECONDS = 60  # that are measured: the whole minute
LATE = 4  # seconds that an answer to a poll may be late
TOTAL = 1000
POLLED, EVENTS, OURS = "celery-progress, polled", "django-eventstream", "ours"
DAPHNE, UVICORN, THREADS = "on Daphne", "on uvicorn", "on uvicorn's threads (WSGI)"
CHEAPEST, BARRED = f"{POLLED}, {THREADS}", f"{OURS}, {UVICORN}"  # the two that the bar compares
PLAIN = {"DJANGO_SETTINGS_MODULE": "bench.plain_settings"}
HEAD = 4  # bytes before what a WebSocket frame of the server's carries, from 126 bytes to 64 KB

HOW = """\
{watchers} browsers watch one task that takes {rate} steps a second, for {seconds} s, all of which are measured.
celery-progress is asked as its own script asks: each browser waits 500 ms after an answer, on a connection that is
kept, with a browser's headers. Its `ProgressRecorder` writes to Celery's Redis result backend. django-eventstream
sends each step as a server-sent event through its own Redis listener; ours are pushed by WebSocket from the real
publisher. Requests pass Django's own middleware and nothing of ours.

With threads, each of which keeps its connection to Redis, polling is cheapest of the three ways to serve it. The bar
is about that, against ours on uvicorn, and these two sides are repeated; the other rows are the same minute, measured
once. Under ASGI, Django gives every request a thread of its own, and Celery's result backend connects in every thread
anew. Much fewer than {asked:,} requests, and few steps shown, mean that the server could not answer as often as it
was asked: it had no CPU left."""

WHY = """\
What polling costs is Django's work for one answer, as often as it is asked. What ours costs is to pass each step on
to every socket, and to connect each of them once."""


def measure(rig: Rig) -> Outcome:
    """Polling at its cheapest and ours, in turn; once each, polling under ASGI, events, and ours on Daphne."""
    with ExitStack() as stack:
        servers: dict[str, Measured] = {}
        for on, kind in ((DAPHNE, OnDaphne), (UVICORN, OnUvicorn), (THREADS, OnThreads)):
            servers[on] = site(kind, rig, kind.__name__.lower(), PLAIN)
            stack.callback(servers[on].kill)
            # The first request loads every view of the site.
            urllib.request.urlopen(f"{servers[on].url}/celery-progress/nothing/").close()
        once: dict[str, Callable[[], Mapping[str, float]]] = {
            f"{POLLED}, {on}": partial(_polled, rig, servers[on]) for on in (DAPHNE, UVICORN)
        }
        missing = {} if importlib.util.find_spec("django_eventstream") else {EVENTS: "It is not installed."}
        if not missing:
            once[f"{EVENTS}, {UVICORN}"] = partial(_listened, rig, servers[UVICORN])
        once[f"{OURS}, {DAPHNE}"] = partial(_pushed, rig, servers[DAPHNE])
        repeated: dict[str, Callable[[], Mapping[str, float]]] = {
            CHEAPEST: partial(_polled, rig, servers[THREADS]),
            BARRED: partial(_pushed, rig, servers[UVICORN]),
        }
        rows = {**rig.take_turns(repeated), **replace(rig, repetitions=1).take_turns(once)}
    columns = [
        Column(
            "requests", "", f"in {SECONDS} s and while connecting, as the browsers count them; a WebSocket is one"
        ),
        Column(
            "transferred", "MB", "both ways, headers and bodies; the handshake of a WebSocket, once, is not in it"
        ),
        Column("server CPU", "s", "user and system of the server process, connecting included"),
        Column("Redis CPU", "s", "of Redis in the same time, with what the sender does there"),
        Column("connecting", "s of CPU", "the part of the server's CPU that the browsers' connecting took, once"),
        Column("steps shown", "%", "different steps that a browser has seen, of those sent", more_is_better=True),
    ]
    cheapest = Bar(
        "server CPU of polling at its cheapest, on threads, against ours on uvicorn",
        paired(rows, "server CPU", CHEAPEST, BARRED),
        *(20, "at least"),
        why=WHY,
        near=_near(rows),
    )
    asked = round(WATCHERS * SECONDS / INTERVAL)
    how = HOW.format(watchers=WATCHERS, rate=RATE, seconds=SECONDS, asked=asked)
    ours = [side for side in rows if side.startswith(OURS)]
    return Outcome("What polling costs", how, columns, rows, [cheapest], "server CPU", ours, missing, _notes(rows))


def _near(rows: Rows) -> str:
    polling, total, connecting = (
        median(rows[side][column])
        for side, column in ((CHEAPEST, "server CPU"), (BARRED, "server CPU"), (BARRED, "connecting"))
    )
    return f"Polling takes {polling:.1f} s of CPU and ours {total:.2f} s, of which {connecting:.2f} s are connecting."


def _notes(rows: Rows) -> list[str]:
    costs = {side: median(found["server CPU"]) for side, found in rows.items()}
    others = "; ".join(
        f"{costs[polling] / costs[ours]:.0f} × for {polling}, against {ours}"
        for polling, ours in (
            (CHEAPEST, f"{OURS}, {DAPHNE}"),
            (f"{POLLED}, {UVICORN}", BARRED),
            (f"{POLLED}, {DAPHNE}", f"{OURS}, {DAPHNE}"),
        )
    )
    per_step = "; ".join(f"{side}, {_per_step(rows, side):,.0f}" for side in rows)
    pairs = f"The server's CPU in the other pairs, with what was measured once: {others}."
    short = (
        f"A minute is short, and connecting, once, is in each of these figures. {_near(rows)} Who watches for longer "
        "pays that once, too."
    )
    sent = (
        f"Bytes per step that a browser was shown: {per_step}. Ours sends a whole snapshot each time, with all that "
        "a page may show of a task; the events carry the three fields that the sender puts in; a poll has the "
        "headers of a request and of its answer."
    )
    return [pairs, short, sent]


def _per_step(rows: Rows, side: str) -> float:
    sent, shown = (median(rows[side][column]) for column in ("transferred", "steps shown"))
    return sent * 1e6 / (shown / 100 * RATE * SECONDS * WATCHERS)


class OnThreads(Uvicorn, Measured):
    """uvicorn with WSGI: ten threads that stay."""

    application = "bench.wsgi:application"

    def command(self) -> Sequence[str]:
        return [*super().command(), "--interface", "wsgi", "--loop", "uvloop", "--log-level", "error"]


# --- Three ways to watch -----------------------------------------------------------------------------------


def _polled(rig: Rig, server: Measured) -> dict[str, float]:
    from celery_progress.backend import ProgressRecorder  # needs Django

    task = _Task(f"bench-{uuid4().hex}")
    recorder = ProgressRecorder(task)
    step = partial(recorder.set_progress, total=TOTAL, description="Reading rows")
    return _over_http(rig, server, "poll", f"/celery-progress/{task.id}/", step)


def _listened(rig: Rig, server: Measured) -> dict[str, float]:
    from django_eventstream import send_event  # needs Django

    channel = f"bench-{uuid4().hex}"

    def step(current: int) -> None:
        send_event(channel, "message", {"current": current, "total": TOTAL, "description": "Reading rows"})

    return _over_http(rig, server, "listen", f"/eventstream/{channel}/", step)


def _over_http(
    rig: Rig, server: Measured, how: Literal["poll", "listen"], path: str, step: Callable[[int], object]
) -> dict[str, float]:
    step(0)
    costs = _Costs(rig, server)
    with HttpCrowd(how, server.port, path, WATCHERS) as crowd:
        opened = crowd.opened()
        costs.open()
        _take_steps(step)
        costs.end()
        ended = crowd.end()
    # A server that has more than it can do answers late; it has to answer everybody.
    if ended["newest"] < RATE * (SECONDS - LATE):
        raise RuntimeError(f"At the end, a browser was shown no more than step {ended['newest']}.")
    seen = (ended["shown"] - opened["shown"]) / WATCHERS / (RATE * SECONDS)
    return costs.told(ended, seen)


def _pushed(rig: Rig, server: Measured) -> dict[str, float]:
    import progress  # needs Django

    with running_task(title="Import customers.csv") as task, Crowd() as crowd:
        task.update(current=0, total=TOTAL, message="Reading rows")
        costs = _Costs(rig, server)
        say = [{"type": "token", "token": progress.watch_token(task.job.key)}]
        crowd.open([f"{server.ws}/ws/progress/{task.job.key}/"] * WATCHERS, say=[say])
        crowd.wait(0)
        crowd.take_notes()
        costs.open()
        _take_steps(lambda current: task.update(current=current))
        costs.end()
        ended = _as_bytes(crowd.count())
        shown = {(sighting.socket, sighting.current) for sighting in crowd.notes() if sighting.current}
    last = sum(current == RATE * SECONDS for _, current in shown)
    if last < WATCHERS:
        raise RuntimeError(f"Only {last} of {WATCHERS} sockets were shown the last step.")
    return costs.told(ended, len(shown) / WATCHERS / (RATE * SECONDS))


def _as_bytes(counted: Mapping[str, int]) -> dict[str, int]:
    if counted["closed"]:
        raise RuntimeError(f"{counted['closed']} sockets were closed.")
    # No socket is opened anew when it was closed, so each that is there was one handshake.
    return {**counted, "requests": counted["sockets"], "bytes": counted["bytes"] + HEAD * counted["frames"]}


def _take_steps(step: Callable[[int], object]) -> None:
    """From 1 on, each when it is due; returns when the last one's time is over."""
    began = time.monotonic()
    for number in range(RATE * SECONDS):
        time.sleep(max(0.0, began + number / RATE - time.monotonic()))
        step(number + 1)
    time.sleep(max(0.0, began + SECONDS - time.monotonic()))


class _Task:
    """As much of a bound task as celery-progress's recorder wants, outside of a worker."""

    def __init__(self, id: str) -> None:  # noqa: A002 (as Celery calls it)
        self.id = id

    def update_state(self, state: str, meta: dict[str, Any]) -> None:
        """What `Task.update_state` does."""
        from celery import current_app

        current_app.backend.store_result(self.id, meta, state)


class _Costs:
    """What server and Redis use from now on, while the browsers connect and then."""

    def __init__(self, rig: Rig, server: Measured) -> None:
        self.pids = (server.pid, rig.redis.pid)
        wait_until_quiet(server.pid)
        self.began = [cpu_of(pid) for pid in self.pids]

    def open(self) -> None:
        """All browsers are connected."""
        self.opened = [cpu_of(pid) for pid in self.pids]

    def end(self) -> None:
        """The time is over."""
        self.ended = [cpu_of(pid) for pid in self.pids]

    def told(self, ended: Mapping[str, int], seen: float) -> dict[str, float]:
        """The figures of the whole time, connecting included, in the order of the columns."""
        server, redis = (ended - began for began, ended in zip(self.began, self.ended, strict=True))
        return {
            "requests": ended["requests"],
            "transferred": ended["bytes"] / 1e6,
            "server CPU": server,
            "Redis CPU": redis,
            "connecting": self.opened[0] - self.began[0],
            "steps shown": seen * 100,
        }
