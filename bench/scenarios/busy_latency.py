"""How far behind watchers are while one server delivers 10 000 snapshots a second."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial

import progress
from bench.crowd import Crowd, Sighting
from bench.figures import Bar, Column, Outcome
from bench.lateness import lateness, percentile
from bench.rig import Rig
from bench.senders import Senders, Step
from bench.servers import Measured, OnDaphne, OnUvicorn, site

PROCESSES, TASKS = 4, 5  # of the worker side, and tasks in each of them
RATE = 10.0  # steps of each task per second
WATCHERS = 50  # of each task
SECONDS = 6.0
WARM_UP = 1.0  # seconds of these that are not counted
SETTLE = 2.0  # seconds: a server looks again a second after it has joined
QUICK = 0.02  # seconds: a PROGRESS_INTERVAL that holds nothing back
LAST_WITHIN = 1.0  # seconds after the last step for its delivery
OURS, DAPHNE, UNPACED = "ours on uvicorn", "ours on Daphne", "ours on uvicorn, unpaced"

HOW = f"""\
{PROCESSES} processes with our real publisher run {TASKS} tasks each; every task takes {RATE:g} steps a second, evenly
spread, for {SECONDS:g} s. Each task has {WATCHERS} browsers, each a WebSocket of its own, in one load client:
{PROCESSES * TASKS * WATCHERS:,} sockets and {PROCESSES * TASKS * WATCHERS * RATE:,.0f} deliveries a second, from one
server process. Senders, Redis, server and load client share the machine.

Coordinated omission is corrected at both ends. A step counts from the moment when it was **due** by the senders'
clock, also when a sender came late; and it counts at every watcher until that one is shown **it or a newer step**, so
what is left out does not look quick. Every step is counted at every watcher, but for the first {WARM_UP:g} s. That
each was shown the last step of its task is checked.

The bars are about the shipped settings: a task that somebody watches is sent ten times a second at the most
(`PROGRESS_INTERVAL` = 0.1 s), which is just how often these step, so that pacing may hold a step back. *Unpaced* is
the same with a `PROGRESS_INTERVAL` of {QUICK} s: what is left is the way itself.
"""


def measure(rig: Rig) -> Outcome:
    """p50 and p99 over all steps and watchers."""
    with ExitStack() as running:
        servers = {}
        for name, kind in ((OURS, OnUvicorn), (DAPHNE, OnDaphne)):
            servers[name] = site(kind, rig, name.rpartition(" ")[2].lower())
            running.callback(servers[name].kill)
        crowd = running.enter_context(Crowd())
        sides: dict[str, Callable[[], Mapping[str, float]]] = {
            OURS: partial(_once, rig, crowd, servers[OURS]),
            DAPHNE: partial(_once, rig, crowd, servers[DAPHNE]),
            UNPACED: partial(_once, rig, crowd, servers[OURS], QUICK),
        }
        rows = rig.take_turns(sides)
    columns = [
        Column("p50", "ms", "half of all are sooner"),
        Column("p99", "ms", "one in a hundred is later"),
        Column("delivered", "/s", "snapshots shown to watchers", more_is_better=True),
        Column("server CPU", "%", "of a core"),
        Column("senders late, p99", "ms", "how late the senders themselves took a step that was due"),
    ]
    bars = [
        Bar("p50 on uvicorn", rows[OURS]["p50"], 20, unit="ms"),
        Bar("p99 on uvicorn", rows[OURS]["p99"], 100, unit="ms"),
    ]
    return Outcome("Latency under load", HOW, columns, rows, bars, plot="p50")


def _once(rig: Rig, crowd: Crowd, server: Measured, interval: float | None = None) -> dict[str, float]:
    with ExitStack() as running:
        workers = [
            running.enter_context(Senders(rig, tasks=TASKS, rate=RATE, seconds=SECONDS, interval=interval))
            for _ in range(PROCESSES)
        ]
        ids = [name for worker in workers for name in worker.ids]
        watches = [[{"type": "watch", "ids": [name], "token": progress.watch_token(name)}] for name in ids]
        crowd.open([f"{server.ws}/ws/progress/"] * (len(ids) * WATCHERS), say=watches)
        time.sleep(SETTLE)
        crowd.take_notes()
        before, began = server.cpu, time.monotonic()
        for worker in workers:
            worker.go()
        steps = [step for worker in workers for step in worker.steps()]
        used = (server.cpu - before) / (time.monotonic() - began)
        time.sleep(LAST_WITHIN)
        sightings = crowd.notes()
        crowd.close()
    late = _late(steps, sightings, {number: ids[number % len(ids)] for number in range(len(ids) * WATCHERS)})
    return {
        "p50": percentile(late, 50) / 1e6,
        "p99": percentile(late, 99) / 1e6,
        "delivered": len(sightings) / SECONDS,
        "server CPU": 100 * used,
        "senders late, p99": percentile((step.at - step.due for step in steps), 99) / 1e6,
    }


def _late(steps: Iterable[Step], sightings: Iterable[Sighting], sockets: Mapping[int, str]) -> list[int]:
    """ns from when each step was due until each watcher of its task was shown it, or a newer one.

    `sockets` says which task each socket watches. Raises if a watcher was never shown the last step of its task.
    """
    shown: dict[int, list[Sighting]] = defaultdict(list)
    for sighting in sightings:
        shown[sighting.socket].append(sighting)
    due: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for step in steps:
        due[step.task].append((step.current, step.due))
    counted_from = min(at for each in due.values() for _, at in each) + int(WARM_UP * 1e9)
    counted = {task: [step for step in each if step[1] >= counted_from] for task, each in due.items()}
    return [
        late
        for socket, task in sockets.items()
        for late in lateness(counted[task], shown[socket], of=f"{task} at watcher {socket}")
    ]
