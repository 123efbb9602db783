"""What one delivered message costs the server, with many watchers of one task.

A watcher is a WebSocket of `bench.crowd`. Every side is fed with the same snapshot, one step after the other, and has
to deliver every step to every watcher.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from django.test import override_settings

from bench.crowd import Crowd
from bench.figures import Bar, Column, Outcome, Rows, paired, times
from bench.peers import nchan
from bench.rig import Rig, wait_until_quiet
from bench.running_task import running_task
from bench.servers import Measured, OnDaphne, OnUvicorn, Passing, site

WATCHERS: Final = 1000
MESSAGES: Final = 100
TUTORIAL_MESSAGES: Final = 30  # it needs twenty times as long for each
WARM_UP: Final = 10  # messages that are not counted
SLOW_WATCHERS: Final = 200
SLOW_RATE: Final = 20  # messages per second
SLOW_MESSAGES: Final = 100
INTERVAL: Final = 0.001  # seconds; the crowd sets the pace, not the publisher
CHANNEL: Final = "bench.fanout"

FULL, SLOW, RATE = "full speed", f"{SLOW_RATE}/s", "deliveries"
TUTORIAL_DAPHNE, TUTORIAL_UVICORN = "Channels tutorial, Daphne", "Channels tutorial, uvicorn"
OURS_DAPHNE, OURS_UVICORN = "this project, Daphne", "this project, uvicorn"
NCHAN, WEBSOCKETS, PICOWS = "nginx + nchan", "`websockets` broadcast", "picows broadcast"
FLOOR = "uvicorn's transports alone"

WHY = """\
One write into each transport, with nothing of ours around it, is the limit on uvicorn: {floor:.2f} × nchan in this
run. What ours does beside is to ask of each reader whether anything is in the way: closed, slow, still to be sent
something else, its right to this run of the task. [Decision 11](decisions/0011-one-call-per-reader.md) has the
profile."""
WHY_TUTORIAL = """\
One write into each transport, with nothing of ours around it, is {floor:.1f} × under the tutorial in this run, which
leaves little for the rest. The tutorial's cost is the interpreter's, that of a write is the kernel's: where one gets
cheaper from run to run, as with the processor's clock, the other does not by as much."""


@dataclass(slots=True)
class Line:
    """A running server, with where its watchers go, what they say first, and what sends step n to all of them."""

    server: Measured
    path: str
    send: Callable[[int], None]
    messages: int = MESSAGES
    say: tuple[Mapping[str, Any], ...] = ()
    step: int = 0  # that was sent last


def measure(rig: Rig) -> Outcome:
    """CPU per delivery at two paces, and deliveries per second."""
    sides, missing = _sides(rig)
    with override_settings(PROGRESS_INTERVAL=INTERVAL, PROGRESS_IDLE_INTERVAL=INTERVAL), Crowd() as crowd:
        rows = rig.take_turns({name: partial(_one_run, side, crowd) for name, side in sides.items()})
    return Outcome(
        title="Fan-out: many watchers of one task",
        how=HOW,
        columns=[
            Column(FULL, "µs", f"server CPU per delivery, {WATCHERS} watchers, one message after the other"),
            Column(SLOW, "µs", f"server CPU per delivery, {SLOW_WATCHERS} watchers, {SLOW_RATE} messages a second"),
            Column(RATE, "1/s", "delivered, one message after the other", more_is_better=True),
        ],
        rows=rows,
        bars=_bars(rows),
        plot=FULL,
        ours=[OURS_DAPHNE, OURS_UVICORN],
        missing=missing,
    )


HOW: Final = f"""
{WATCHERS} WebSockets watch one task and are sent {MESSAGES} snapshots of it ({TUTORIAL_MESSAGES} by the tutorial's
consumer, which takes so much longer), each as soon as everybody has the one before: so every side delivers every
snapshot to everybody, and ours has none to skip. Then {SLOW_WATCHERS} other WebSockets are sent {SLOW_MESSAGES}
snapshots, {SLOW_RATE} a second, in the same way. It is checked that exactly messages × watchers snapshots have come.

A figure is the CPU time, user and system, of the one process that serves the sockets, divided by the deliveries.
The receiving of each message is in it; the CPU of Redis, of the publisher and of the clients is not. Each run has a
server of its own, the only one that runs, with {WARM_UP} messages before it counts. Nothing is compressed or
encrypted.

Ours and the tutorial's consumer are fed by the real publisher, through Redis and the channel layer. nchan is sent the
frame that our watchers get by HTTP, through a kept connection; the broadcasters hear it from a Redis channel. The
last one is a floor: uvicorn accepts, and a loop of two lines writes the ready frame into its transports. These four
know no rights, no order and no record: they are the price of sending.
"""


def _bars(rows: Rows) -> list[Bar]:
    bars = [
        Bar(
            *(f"{theirs} against ours, {column}", paired(rows, column, theirs, ours), limit, "at least"),
            **(_limits_on_uvicorn(rows, column) if ours == OURS_UVICORN else {}),
        )
        for theirs, ours in ((TUTORIAL_DAPHNE, OURS_DAPHNE), (TUTORIAL_UVICORN, OURS_UVICORN))
        for column, limit in ((FULL, 15), (SLOW, 3.5))
    ]
    if NCHAN in rows:
        why = WHY.format(floor=statistics.median(paired(rows, FULL, FLOOR, NCHAN)))
        bars += [
            Bar(
                *(f"{ours} against nchan, {FULL}", paired(rows, FULL, ours, NCHAN), limit),
                why=why,
                near=f"{times(rows, FULL, ours, FLOOR)}.",
            )
            for ours, limit in ((OURS_UVICORN, 1.2), (OURS_DAPHNE, 1.5))
        ]
    return bars


def _limits_on_uvicorn(rows: Rows, column: str) -> dict[str, str]:
    floor = statistics.median(paired(rows, column, TUTORIAL_UVICORN, FLOOR))
    return {"why": WHY_TUTORIAL.format(floor=floor), "near": f"{times(rows, column, OURS_UVICORN, FLOOR)}."}


# --- Sides -------------------------------------------------------------------------------------------------

Side = Callable[[], AbstractContextManager[Line]]


def _sides(rig: Rig) -> tuple[dict[str, Side], dict[str, str]]:
    """Those that can take part, and why the others cannot."""
    sides: dict[str, Side] = {
        TUTORIAL_DAPHNE: partial(_channels, rig, OnDaphne, "tutorial", TUTORIAL_MESSAGES),
        TUTORIAL_UVICORN: partial(_channels, rig, OnUvicorn, "tutorial", TUTORIAL_MESSAGES),
        OURS_DAPHNE: partial(_channels, rig, OnDaphne, "ws/progress", MESSAGES),
        OURS_UVICORN: partial(_channels, rig, OnUvicorn, "ws/progress", MESSAGES),
        NCHAN: partial(_nchan, rig),
        WEBSOCKETS: partial(_passing, rig, "websockets_server"),
        PICOWS: partial(_passing, rig, "picows_server"),
        FLOOR: partial(_passing, rig, "uvicorn_server"),
    }
    missing = {}
    if nchan.found() is None:
        missing[NCHAN] = "nginx with nchan is not installed (Debian: libnginx-mod-nchan)"
    return {name: side for name, side in sides.items() if name not in missing}, missing


@contextmanager
def _channels(rig: Rig, kind: type[Measured], path: str, messages: int) -> Iterator[Line]:
    """The site on this server, fed by a running task."""
    from progress import watch_token

    with ExitStack() as stack:
        server = site(kind, rig, kind.__name__.lower())
        stack.callback(server.kill)
        task = stack.enter_context(running_task(title="Import customers.csv"))

        def send(current: int) -> None:
            task.update(current=current, total=1000, message="Reading rows")

        token = {"type": "token", "token": watch_token(task.job.key)}
        yield Line(server, f"/{path}/{task.job.key}/", send, messages, () if path == "tutorial" else (token,))


@contextmanager
def _nchan(rig: Rig) -> Iterator[Line]:
    """nginx, fed by HTTP."""
    frame = _frame()
    server = nchan.Nchan(rig)
    try:
        server.start()
        yield Line(server, "/watch", lambda current: server.publish(frame(current)))
    finally:
        server.kill()


@contextmanager
def _passing(rig: Rig, module: str) -> Iterator[Line]:
    """A broadcaster, fed by Redis."""
    frame = _frame()
    server = Passing(rig, module, CHANNEL, rig.folder)
    with ExitStack() as stack:
        stack.callback(server.kill)
        server.start()
        redis = stack.enter_context(rig.redis.client())
        yield Line(server, "", lambda current: redis.publish(CHANNEL, frame(current)))


def _frame() -> Callable[[int], str]:
    """A frame of ours as a watcher gets it, with any step in it."""
    from progress.outbox import frame
    from progress.snapshot import iso
    from progress.store import get_store

    with running_task(title="Import customers.csv") as task:
        task.update(current=0, total=1000, message="Reading rows")
        record = get_store().load(task.job.key)
    assert record is not None
    before, after = re.split(r'"current":\d+', frame([record.text()], iso(record.updated_at) or ""))
    return lambda current: f'{before}"current":{current}{after}'


# --- One run -----------------------------------------------------------------------------------------------


def _one_run(side: Side, crowd: Crowd) -> dict[str, float]:
    with side() as line:
        cpu, rate = _pace(line, crowd, WATCHERS, line.messages)
        slow_cpu, _ = _pace(line, crowd, SLOW_WATCHERS, SLOW_MESSAGES, SLOW_RATE)
    return {FULL: cpu, SLOW: slow_cpu, RATE: rate}


def _pace(line: Line, crowd: Crowd, watchers: int, messages: int, rate: float = 0) -> tuple[float, float]:
    """µs of CPU per delivery, and deliveries per second, with so many watchers."""
    crowd.open([line.server.ws + line.path] * watchers, say=[line.say] if line.say else ())
    try:
        wait_until_quiet(line.server.pid)
        for _ in range(WARM_UP):
            _next(line, crowd)
        before, cpu, began = crowd.count()["items"], line.server.cpu, time.perf_counter()
        for number in range(messages):
            if rate:
                time.sleep(max(0.0, began + number / rate - time.perf_counter()))
            _next(line, crowd)
        took, cpu = time.perf_counter() - began, line.server.cpu - cpu
        delivered = crowd.count()["items"] - before
    finally:
        crowd.close()
    if delivered != messages * watchers:
        raise RuntimeError(f"Expected {messages * watchers} deliveries, got {delivered}.")
    return cpu / delivered * 1e6, delivered / took


def _next(line: Line, crowd: Crowd) -> None:
    """One more step, until everybody has it."""
    line.step += 1
    line.send(line.step)
    crowd.wait(line.step)
