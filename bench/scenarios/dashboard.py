"""What a page full of bars costs the server for each snapshot that somebody sees, and how far behind the bars are.

Everybody watches all tasks. The tutorial's consumer is tried at the scale that it can hold.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from bench.crowd import Crowd, Sighting
from bench.figures import Bar, Column, Outcome, paired
from bench.rig import Rig, wait_until_quiet
from bench.senders import Senders, Step
from bench.servers import Measured, OnDaphne, OnUvicorn, site

RATE: Final = 5.0  # steps of each task per second
EVERY: Final = 250  # ms between two frames, as our page asks for
PROCESSES: Final = 2  # in which the tasks run
SETTLE: Final = 2.0  # seconds after the last step; what is not shown by then never will be
TUTORIAL_DAPHNE, TUTORIAL_UVICORN = "Channels tutorial, Daphne", "Channels tutorial, uvicorn"
OURS_DAPHNE, OURS_UVICORN = "this project, Daphne", "this project, uvicorn"
COST, CORE, SEEN, FRAMES, BEHIND, WORST = "CPU", "core", "seen", "frames", "behind", "behind at most"


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
spread, for {OURS.seconds:g} s: {OURS.watchers * OURS.tasks * RATE:,.0f} things to see per second. They ask for a
frame every {EVERY} ms at most, as our page does; it has the newest of every task that went on since the last. The
tutorial's consumer has one socket per bar: {TUTORIALS.watchers} watchers × {TUTORIALS.tasks} tasks × {RATE:g} steps a
second, for {TUTORIALS.seconds:g} s, which is about half of all that it can deliver.

The tasks run in {PROCESSES} processes with the real publisher and note when they take each step. A figure of CPU is
the time, user and system, of the one server process from the first step to {SETTLE:g} s after the last, divided by
the snapshots that have come to all watchers; a step that was overtaken on its way is nobody's snapshot. Behind is,
for each step and each watcher that is looked at (every {OURS.sample}th of ours), the time from before `advance()`
until that step or a later one has come. It is checked that the last step of every task has come to each of them.
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
            Column(CORE, "%", "server CPU, of one core"),
            Column(SEEN, "1/s", "snapshots that came to watchers", more_is_better=True),
            Column(FRAMES, "1/s", "frames that they came in"),
            Column(BEHIND, "ms", "median time from a step until a watcher sees it or a later one"),
            Column(WORST, "ms", "the longest such time"),
        ],
        rows=rows,
        bars=[
            *(Bar(f"of the tutorial's CPU {on}", paired(rows, COST, *pair), 1 / 20) for on, pair in ours.items()),
            *(Bar(f"every bar {on}", rows[side][WORST], 500, unit="ms") for on, (side, _) in ours.items()),
        ],
        plot=COST,
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
    before, cpu = crowd.count(), server.cpu
    for worker in workers:
        worker.go()
    steps = [step for worker in workers for step in worker.steps()]
    time.sleep(SETTLE)
    after, cpu = crowd.count(), server.cpu - cpu
    seen = after["items"] - before["items"]
    behind = _behind(steps, crowd.notes(), size)
    return {
        COST: cpu / seen * 1e6,
        CORE: cpu / size.seconds * 100,
        SEEN: seen / size.seconds,
        FRAMES: (after["frames"] - before["frames"]) / size.seconds,
        BEHIND: statistics.median(behind),
        WORST: max(behind),
    }


def _behind(steps: Sequence[Step], sightings: Sequence[Sighting], size: Size) -> list[float]:
    """ms from each step until each watcher that is looked at has seen it, or a later one of its task."""
    taken: dict[str, list[Step]] = defaultdict(list)
    for step in steps:
        taken[step.task].append(step)
    seen: dict[tuple[int, str], list[Sighting]] = defaultdict(list)
    for sighting in sightings:
        seen[sighting.socket, sighting.task].append(sighting)
    expected = len(taken) * -(-size.watchers // size.sample)
    if len(seen) != expected:
        raise RuntimeError(f"{expected} bars were to be looked at, {len(seen)} have moved.")
    return [late for (_, task), shown in seen.items() for late in _late(taken[task], shown)]


def _late(steps: Sequence[Step], shown: Sequence[Sighting]) -> Iterator[float]:
    """The same for one task and one watcher."""
    position = 0
    for step in steps:
        while position < len(shown) and shown[position].current < step.current:
            position += 1
        if position == len(shown):
            raise RuntimeError(f"Step {step.current} of {step.task} was never shown.")
        yield (shown[position].at - step.at) / 1e6
