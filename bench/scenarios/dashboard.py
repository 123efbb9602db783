"""What a page full of bars costs the server for each snapshot that somebody sees, and how far behind the bars are.

Everybody watches all tasks. The tutorial's consumer is tried at the scale that it can hold.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from bench.crowd import Crowd, Sighting
from bench.figures import Bar, Column, Outcome, paired
from bench.lateness import lateness, percentile, rising
from bench.rig import Rig, wait_until_quiet
from bench.senders import Senders, Step
from bench.servers import Measured, OnDaphne, OnUvicorn, site
from progress.outbox import FRAME_BYTES

RATE: Final = 5.0  # steps of each task per second
EVERY: Final = 250  # ms between two frames, as our page asks for
PROCESSES: Final = 2  # in which the tasks run
SETTLE: Final = 2.0  # seconds after the last step; what is not shown by then never will be
TUTORIAL_DAPHNE, TUTORIAL_UVICORN = "Channels tutorial, Daphne", "Channels tutorial, uvicorn"
OURS_DAPHNE, OURS_UVICORN = "this project, Daphne", "this project, uvicorn"
COST, CORE, SEEN, FRAMES, SIZE = "CPU", "core", "seen", "frames", "size"
BEHIND, WORST = "behind", "behind at most"


@dataclass(frozen=True, slots=True)
class Size:
    """Everybody of so many watchers watches so many tasks; every `sample`-th socket's notes are looked at."""

    watchers: int
    tasks: int
    seconds: float
    sample: int


OURS: Final = Size(watchers=100, tasks=200, seconds=10, sample=5)
TUTORIALS: Final = Size(watchers=10, tasks=40, seconds=6, sample=1)

HOW: Final = f"""
{OURS.watchers} WebSockets watch {OURS.tasks} running tasks each, which take {RATE:g} steps a second each, evenly
spread, for {OURS.seconds:g} s: {OURS.watchers * OURS.tasks * RATE:,.0f} things to see per second. They ask to
hear every {EVERY} ms at most, as our page does; then comes the newest of every task that went on since. That is one
moment, but more than one frame: with the snapshot that fills {FRAME_BYTES // 1024} KB a frame ends, and the next
follows at once (`progress/outbox.py`). The tutorial's consumer has one socket per bar: {TUTORIALS.watchers} watchers
× {TUTORIALS.tasks} tasks × {RATE:g} steps a second, for {TUTORIALS.seconds:g} s, which is about half of all that it
can deliver.

The tasks run in {PROCESSES} processes with the real publisher and note when they take each step. A figure of CPU is
the time, user and system, of the one server process from the first step to {SETTLE:g} s after the last, divided by
the snapshots that have come to all watchers; a step that was overtaken on its way is nobody's snapshot, and what says
a step again that was shown already is none. What is told per second, and the share of a core, is of the time in which
the tasks took their steps. Behind is, for each step and each watcher that is looked at (every {OURS.sample}th of
ours), the time from before `advance()` until that step or a later one has come. It is checked that the last step of
every task has come to each of them.
"""


def measure(rig: Rig) -> Outcome:
    """CPU per snapshot seen, and how far behind."""
    with Crowd() as crowd:
        rows = rig.take_turns(
            {
                TUTORIAL_DAPHNE: partial(_one_run, rig, crowd, OnDaphne, TUTORIALS, tutorial=True),
                TUTORIAL_UVICORN: partial(_one_run, rig, crowd, OnUvicorn, TUTORIALS, tutorial=True),
                OURS_DAPHNE: partial(_one_run, rig, crowd, OnDaphne, OURS),
                OURS_UVICORN: partial(_one_run, rig, crowd, OnUvicorn, OURS),
            }
        )
    ours = {"on Daphne": (OURS_DAPHNE, TUTORIAL_DAPHNE), "on uvicorn": (OURS_UVICORN, TUTORIAL_UVICORN)}
    return Outcome(
        title="A dashboard: many watchers of many tasks",
        how=HOW,
        columns=[
            Column(COST, "µs", "server CPU per snapshot that a watcher has seen"),
            Column(CORE, "%", "server CPU, of one core, while the tasks take steps"),
            Column(SEEN, "1/s", "snapshots with a newer step that came to watchers", more_is_better=True),
            Column(FRAMES, "1/s", "frames that they came in, of all watchers"),
            Column(SIZE, "KB", "of a frame, on average"),
            Column(BEHIND, "ms", "median time from a step until a watcher sees it or a later one"),
            Column(WORST, "ms", "the longest such time"),
        ],
        rows=rows,
        bars=[
            *(Bar(f"of the tutorial's CPU {on}", paired(rows, COST, *pair), 1 / 20) for on, pair in ours.items()),
            *(Bar(f"every bar {on}", rows[side][WORST], 500, unit="ms") for on, (side, _) in ours.items()),
        ],
        plot=COST,
        ours=[OURS_DAPHNE, OURS_UVICORN],
    )


# --- One run -----------------------------------------------------------------------------------------------


def _one_run(rig: Rig, crowd: Crowd, kind: type[Measured], size: Size, *, tutorial: bool = False) -> dict[str, float]:
    each = size.tasks // PROCESSES
    with ExitStack() as stack:
        server = site(kind, rig, kind.__name__.lower())
        stack.callback(server.kill)
        workers = [
            stack.enter_context(
                Senders(rig, tasks=each, rate=RATE, seconds=size.seconds, workflow=True, watched=tutorial)
            )
            for _ in range(PROCESSES)
        ]
        stack.callback(crowd.close)
        if tutorial:
            crowd.open([f"{server.ws}/tutorial/{task}/" for task in _tasks(workers) for _ in range(size.watchers)])
        else:
            crowd.open([f"{server.ws}/ws/progress/"] * size.watchers, say=[_wishes(workers)])
        wait_until_quiet(server.pid)
        return _watch(crowd, server, workers, size)


def _tasks(workers: Sequence[Senders]) -> list[str]:
    return [task for worker in workers for task in worker.ids]


def _wishes(workers: Sequence[Senders]) -> list[dict[str, Any]]:
    """What a watcher says: a token for each workflow, then what it wants to see, as our page does."""
    from progress import watch_token

    tokens = [{"type": "token", "token": watch_token(worker.ids[0])} for worker in workers]
    return [*tokens, {"type": "watch", "ids": _tasks(workers), "every_ms": EVERY}]


def _watch(crowd: Crowd, server: Measured, workers: Sequence[Senders], size: Size) -> dict[str, float]:
    """Let the tasks run, and look at what was seen of them."""
    crowd.take_notes(sample=size.sample)
    before, cpu, began = crowd.count(), server.cpu, time.monotonic()
    for worker in workers:
        worker.go()
    steps = [step for worker in workers for step in worker.steps()]
    # Per second is what came until here: the rest time is there for what is late, and is no part of any rate.
    seconds, ended, running = time.monotonic() - began, time.monotonic_ns(), server.cpu - cpu
    during = crowd.count()
    time.sleep(SETTLE)
    used = server.cpu - cpu
    shown = _shown(crowd.notes(), steps, size)
    newer = [rising(each) for each in shown.values()]
    everybody = size.watchers / _looked_at(size)  # to one that was looked at
    frames = during["frames"] - before["frames"]
    behind = _behind(steps, shown)
    return {
        COST: used / (sum(map(len, newer)) * everybody) * 1e6,
        CORE: running / seconds * 100,
        SEEN: sum(sighting.at <= ended for each in newer for sighting in each) * everybody / seconds,
        FRAMES: frames / seconds,
        SIZE: (during["bytes"] - before["bytes"]) / frames / 1000,
        BEHIND: percentile(behind, 50) / 1e6,
        WORST: max(behind) / 1e6,
    }


def _looked_at(size: Size) -> int:
    """Watchers whose notes are looked at."""
    return -(-size.watchers // size.sample)


def _shown(sightings: Sequence[Sighting], steps: Sequence[Step], size: Size) -> dict[tuple[int, str], list[Sighting]]:
    """What came of each task to each socket that is looked at. Raises if any of these bars has not moved at all."""
    shown: dict[tuple[int, str], list[Sighting]] = defaultdict(list)
    for sighting in sightings:
        shown[sighting.socket, sighting.task].append(sighting)
    expected = len({step.task for step in steps}) * _looked_at(size)
    if len(shown) != expected:
        raise RuntimeError(f"{expected} bars were to be looked at, {len(shown)} have moved.")
    return shown


def _behind(steps: Sequence[Step], shown: Mapping[tuple[int, str], Sequence[Sighting]]) -> list[int]:
    """ns from each step until each watcher that is looked at has seen it, or a later one of its task."""
    taken: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for step in steps:
        taken[step.task].append((step.current, step.at))
    return [
        late
        for (socket, task), sightings in shown.items()
        for late in lateness(taken[task], sightings, of=f"{task} at watcher {socket}")
    ]
