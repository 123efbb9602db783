"""How long a step takes from the task's call to the browser: one watcher, an update every 20 to 50 ms."""

from __future__ import annotations

import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import progress
from bench.crowd import Crowd
from bench.figures import Bar, Column, Outcome, Rows, paired, times
from bench.lateness import lateness, percentile, rising
from bench.rig import Rig
from bench.servers import Measured, OnDaphne, OnUvicorn, Passing, site
from tests.processes import ROOT, Worker, wait_until

STEPS = 150  # of each repetition
PAUSES = (0.02, 0.05)  # seconds between two steps: at random between these
WIDE_STEPS, WIDE_PAUSES = 120, (0.11, 0.14)  # wider than the default PROGRESS_INTERVAL of 0.1 s
QUICK = 0.01  # seconds: a PROGRESS_INTERVAL that holds nothing back
SETTLE = 1.5  # seconds: a server looks again a second after it has joined
CHANNEL = "bench.floor"
FLOOR, WIDE_FLOOR = "floor: redis-py, picows", "floor, 110–140 ms apart"
STORING = "floor that stores first"
OURS, WIDE_OURS = "ours on uvicorn", "ours on uvicorn, 110–140 ms apart, default pacing"
DAPHNE, PACED, BUSY = "ours on Daphne", "ours on uvicorn, default pacing", "ours on uvicorn, CPU-bound task"
THEIRS = "celery-progress (WebSocket) on uvicorn"

HOW = f"""\
One browser (a WebSocket of a load client in a process of its own) watches one task of a real prefork worker. The task
notes the time right before each call and the client when it is shown that step: both by the monotonic clock of one
machine. The latency of a step counts until that step **or a newer one** is shown, so nothing that is left out looks
quick. Every repetition is {STEPS} steps, 20 to 50 ms apart at random, in which the task sleeps, or {WIDE_STEPS} steps
that are 110 to 140 ms apart; p99 is the second worst of either, so that a busy moment of the machine may decide it.

- **Floor**: a program of ten lines calls redis-py's `PUBLISH`; a picows server on uvloop passes it on. The floor that
  *stores first* sends one `HSET` before each: what our order, the record before the push, costs at the least.
- **Ours**: `progress.advance()`. By default we send ten updates a second at the most (`PROGRESS_INTERVAL` = 0.1 s):
  the first after a silence goes at once, the next waits. To compare the way itself, the setting is {QUICK} s here,
  which lets every step through as the others do. The rows that say *110–140 ms apart* have the shipped setting and
  steps that are further apart than it, and a floor of the same rhythm. *Default pacing* alone is the shipped setting
  with steps 20 to 50 ms apart: how far a browser is behind when updates are held back to ten a second.
- **CPU-bound**: the task computes in pure Python instead of sleeping. Our thread has to get the interpreter's lock
  several times per update, and CPython hands it over every 5 ms (`sys.setswitchinterval`).
- **Tutorial**: `async_to_sync(group_send)` in the task, a consumer per browser; same layer, same servers.
- **celery-progress**: its `WebSocketProgressRecorder` and its consumer. Its other way, polling, asks every 500 ms: on
  average a step is shown 250 ms late, at worst 500 ms, and the request comes on top.
"""

WHY = """\
On the floor three processes sleep until they are woken one after the other: Redis, the server, the client. With us
our own thread wakes before them, and Redis twice, because the record is stored before it is announced."""
SAME = "Made of the same wake-ups as p50 with steps 20 to 50 ms apart"


@dataclass(slots=True)
class Stand:
    """What runs during all repetitions."""

    rig: Rig
    crowd: Crowd
    uvicorn: Measured
    daphne: Measured
    passing: Measured


def measure(rig: Rig) -> Outcome:
    """p50 and p99 of each way."""
    with _stand(rig) as stand:
        rows = rig.take_turns(_sides(stand))
    columns = [
        Column("p50", "ms", "half of the steps are shown sooner"),
        Column("p99", "ms", "one in a hundred is later"),
        Column("shown", "%", "steps that were shown; the others were overtaken by a newer one", more_is_better=True),
    ]
    steady, wide = (OURS, FLOOR), (WIDE_OURS, WIDE_FLOOR)
    far = "shipped setting, steps 110–140 ms apart"
    bars = [
        Bar("p50 on uvicorn, against the floor", paired(rows, "p50", *steady), 2.5, why=WHY, near=_near(rows, "p50")),
        Bar("p99 on uvicorn, against the floor", paired(rows, "p99", *steady), 4, why=SAME, near=_near(rows, "p99")),
        Bar(f"p50, {far}", paired(rows, "p50", *wide), 2.5, why=SAME, near=_near_wide(rows, "p50")),
        Bar(f"p99, {far}", paired(rows, "p99", *wide), 4, why=SAME, near=_near_wide(rows, "p99")),
    ]
    ratios = [median(paired(rows, column, DAPHNE, FLOOR)) for column in ("p50", "p99")]
    notes = [
        f"On Daphne: p50 {ratios[0]:.2f} × the floor, p99 {ratios[1]:.2f} ×.",
        f"We store first: p50 {times(rows, 'p50', OURS, STORING)}, p99 {times(rows, 'p99', OURS, STORING)}.",
    ]
    ours = [OURS, DAPHNE, BUSY, PACED, WIDE_OURS]
    return Outcome("Latency", HOW, columns, rows, bars, plot="p50", ours=ours, notes=notes)


def _near(rows: Rows, column: str) -> str:
    """How far we are from the least that our order of things costs."""
    floor, storing, ours = (median(rows[side][column]) for side in (FLOOR, STORING, OURS))
    return (
        f"the floor has {column} at {floor:.2f} ms and the one that stores first at {storing:.2f} ms; ours is at"
        f" {ours:.2f} ms, which is {times(rows, column, OURS, STORING)}, pair by pair"
    )


def _near_wide(rows: Rows, column: str) -> str:
    """How far we are from the floor of that rhythm, and from ourselves in the quicker one."""
    floor, ours, quick = (median(rows[side][column]) for side in (WIDE_FLOOR, WIDE_OURS, OURS))
    return (
        f"{column} is {ours:.2f} ms, {floor:.2f} ms on the floor of that rhythm, and {quick:.2f} ms with us where"
        " steps are 20 to 50 ms apart and nothing is held back"
    )


def _sides(stand: Stand) -> dict[str, Callable[[], Mapping[str, float]]]:
    from bench import jobs

    ours = partial(_ours, stand)
    tutorial = partial(_theirs, stand, jobs.paced_tutorial, "tutorial")
    return {
        FLOOR: partial(_floor, stand, STEPS, PAUSES),
        STORING: partial(_floor, stand, STEPS, PAUSES, "store"),
        OURS: partial(ours, stand.uvicorn, interval=QUICK),
        DAPHNE: partial(ours, stand.daphne, interval=QUICK),
        "tutorial on uvicorn": partial(tutorial, stand.uvicorn),
        "tutorial on Daphne": partial(tutorial, stand.daphne),
        THEIRS: partial(_theirs, stand, jobs.paced_celery_progress, "celery-progress", stand.uvicorn),
        BUSY: partial(ours, stand.uvicorn, interval=QUICK, busy=True),
        PACED: partial(ours, stand.uvicorn),
        WIDE_FLOOR: partial(_floor, stand, WIDE_STEPS, WIDE_PAUSES),
        WIDE_OURS: partial(ours, stand.uvicorn, WIDE_STEPS, WIDE_PAUSES),
    }


@contextmanager
def _stand(rig: Rig) -> Iterator[Stand]:
    """One worker and three servers, that idle while it is not their turn."""
    with ExitStack() as running:
        worker = Worker(rig.folder, rig.env, concurrency=1, args=["--include", "bench.jobs"])
        running.callback(worker.kill)
        worker.start()
        uvicorn = site(OnUvicorn, rig, "uvicorn")
        running.callback(uvicorn.kill)
        daphne = site(OnDaphne, rig, "daphne")
        running.callback(daphne.kill)
        passing = Passing(rig, "picows_server", CHANNEL, rig.folder)
        running.callback(passing.kill)
        passing.start()
        yield Stand(rig, running.enter_context(Crowd()), uvicorn, daphne, passing)


# --- The ways ----------------------------------------------------------------------------------------------


def _floor(stand: Stand, steps: int, pauses: tuple[float, float], store: str = "") -> dict[str, float]:
    file = stand.rig.folder / f"floor-{uuid4().hex}"
    stand.crowd.open([f"{stand.passing.ws}/"])
    stand.crowd.take_notes()
    words = [stand.rig.redis.url, CHANNEL, str(file), str(steps), *map(str, pauses), store]
    subprocess.run([sys.executable, "-m", "bench.peers.redis_publisher", *words], cwd=ROOT, check=True)
    return _told(stand, file)


def _ours(
    stand: Stand,
    server: Measured,
    steps: int = STEPS,
    pauses: tuple[float, float] = PAUSES,
    *,
    interval: float | None = None,
    busy: bool = False,
) -> dict[str, float]:
    from bench import jobs
    from progress.snapshot import LIVE
    from progress.store import get_store

    folder = _folder(stand)
    task_id = str(jobs.paced.delay(asdict(jobs.Pace(str(folder), steps, *pauses, busy)), interval).id)

    def runs() -> bool:
        record = get_store().load(task_id)
        return record is not None and record.state in LIVE

    wait_until(runs, 10, "the task runs")
    watch = {"type": "watch", "ids": [task_id], "token": progress.watch_token(task_id)}
    stand.crowd.open([f"{server.ws}/ws/progress/"], say=[[watch]])
    return _go(stand, folder, task_id, steps)


def _theirs(stand: Stand, task: Any, path: str, server: Measured) -> dict[str, float]:
    from bench import jobs

    folder = _folder(stand)
    task_id = str(task.delay(asdict(jobs.Pace(str(folder), STEPS, *PAUSES))).id)
    stand.crowd.open([f"{server.ws}/{path}/{task_id}/"])
    return _go(stand, folder, task_id, STEPS)


def _folder(stand: Stand) -> Path:
    folder = stand.rig.folder / uuid4().hex
    folder.mkdir()
    return folder


def _go(stand: Stand, folder: Path, task_id: str, steps: int) -> dict[str, float]:
    """Let the task take its steps, and see when each was shown."""
    time.sleep(SETTLE)
    stand.crowd.take_notes()
    (folder / "go").touch()
    wait_until((folder / task_id).exists, 30 + steps, f"{task_id} has taken its steps")
    return _told(stand, folder / task_id)


# --- The figures -------------------------------------------------------------------------------------------


def _told(stand: Stand, file: Path) -> dict[str, float]:
    time.sleep(0.2)
    sightings = stand.crowd.notes()
    stand.crowd.close()
    moments = array("q")
    moments.frombytes(file.read_bytes())
    late = lateness(list(enumerate(moments, 1)), sightings)
    return {
        "p50": percentile(late, 50) / 1e6,
        "p99": percentile(late, 99) / 1e6,
        "shown": 100 * len(rising(sightings)) / len(moments),
    }
