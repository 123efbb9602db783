"""What one report costs the task: ours with its publisher at work, tqdm, celery-progress, and the usual snippet."""

from __future__ import annotations

import gc
import io
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from statistics import median
from typing import Any
from uuid import uuid4

from asgiref.sync import async_to_sync
from celery import shared_task

import progress
from bench.figures import Bar, Column, Outcome, Rows, paired
from bench.rig import Rig
from bench.running_task import CountedReporter, running_task
from progress import groups
from progress.reporter import Reporter

REPETITIONS = 9
QUICK = 2_000_000  # steps per repetition of what stays in memory
SLOW = 150  # reports per repetition of what goes to Redis
BEFORE = 10  # reports that connect and warm up, not counted
BESIDE = 1.0  # seconds for which the publisher's thread is looked at, once per repetition
SAVES = 5  # a second that the publisher must have made meanwhile; ten are due

BARE = "a bare loop"
TRACK = "`for row in progress.track(rows)`"
HANDLE = "`reporter.advance()`, the handle"
MODULE = "`progress.advance()`, the function"
OURS = (TRACK, HANDLE, MODULE)
TQDM_LOOP = "tqdm: `for row in tqdm(rows)`"
TQDM_UPDATE = "tqdm: `bar.update(1)`"
POLLED = "celery-progress `ProgressRecorder`, by the Redis result backend"
PUSHED = "celery-progress `WebSocketProgressRecorder`"
SNIPPET = "`async_to_sync(channel_layer.group_send)`"

HOW = """\
The wall time of the reporting thread for one report. What stays in memory does {quick:,} steps per repetition, less
the time of the bare loop in the same turn; what goes to Redis does {slow} reports, in turns of their own.

Ours is no dead object: a task is followed by the real publisher, is marked as watched, and is stored in Redis and
announced ten times a second while the loops run; the run fails if the publisher was idle. tqdm writes to memory, at
its own interval of 0.1 s. celery-progress reports from a task with a Redis result backend; the snippet is what the
Channels documentation leads to.
"""

SHARE = """\
Beside a loop that reports all the time, the publisher's thread took {median:.1%} of a core
({least:.1%} … {most:.1%}).
"""


@shared_task(name="bench.nobody")
def nobody() -> None:
    """A task that the recorders of celery-progress can belong to."""


def measure(rig: Rig) -> Outcome:
    """µs per report of each way, and what the publisher thread takes beside the task."""
    missing = {}
    with running_task() as reporter:
        ways = {BARE: _bare, **_ours(reporter)}
        if find_spec("tqdm"):
            ways |= _tqdm()
        else:
            missing["tqdm"] = "it is not installed"
        saves = reporter.saves
        rows = rig.take_turns({name: partial(_per_step, run) for name, run in ways.items()})
        _check(reporter.saves - saves, sum(sum(rows[name]["cost"]) for name in OURS) * QUICK / 1e6)
        shares = [_publisher_share(reporter) for _ in range(rig.repetitions)]
    # By themselves: what takes seconds must not come between loops that are held against each other.
    with _through_redis() as reports:
        rows = _net(rows) | rig.take_turns({name: partial(_per_report, each) for name, each in reports.items()})
    return Outcome(
        "What one report costs the task",
        HOW.format(quick=QUICK, slow=SLOW),
        [Column("cost", "µs", "wall time of one report")],
        rows,
        _bars(rows),
        plot="cost",
        ours=list(OURS),
        missing=missing,
        notes=[SHARE.format(median=median(shares), least=min(shares), most=max(shares))],
    )


def _bars(rows: Rows) -> list[Bar]:
    wanted = [(TRACK, TQDM_LOOP, 0.5), (HANDLE, TQDM_UPDATE, 0.6), (MODULE, TQDM_UPDATE, 1.0)]
    return [
        Bar(f"{ours} against {theirs}", paired(rows, "cost", ours, theirs), limit)
        for ours, theirs, limit in wanted
        if theirs in rows
    ]


# --- In memory ---------------------------------------------------------------------------------------------


def _bare() -> None:
    for _ in range(QUICK):
        pass


def _ours(reporter: Reporter) -> dict[str, Callable[[], None]]:
    def track() -> None:
        reporter.reset()
        for _ in progress.track(range(QUICK)):
            pass

    def advance_handle() -> None:
        reporter.reset()
        for _ in range(QUICK):
            reporter.advance()

    def advance_function() -> None:
        reporter.reset()
        for _ in range(QUICK):
            progress.advance()

    return {TRACK: track, HANDLE: advance_handle, MODULE: advance_function}


def _tqdm() -> dict[str, Callable[[], None]]:
    from tqdm import tqdm

    def iterator() -> None:
        for _ in tqdm(range(QUICK), file=io.StringIO()):
            pass

    def update() -> None:
        bar = tqdm(total=QUICK, file=io.StringIO())
        for _ in range(QUICK):
            bar.update(1)
        bar.close()

    return {TQDM_LOOP: iterator, TQDM_UPDATE: update}


def _net(rows: Rows) -> Rows:
    """Each repetition is held against the bare loop of its own turn."""
    bare = rows.pop(BARE)["cost"]
    return {
        name: {"cost": [each - floor for each, floor in zip(found["cost"], bare, strict=True)]}
        for name, found in rows.items()
    }


def _check(saves: int, seconds: float) -> None:
    """Ours was no dead object. Raises `RuntimeError`."""
    if saves < seconds * SAVES:
        raise RuntimeError(f"The publisher saved only {saves} times in {seconds:.1f} s.")


def _per_step(run: Callable[[], None]) -> Mapping[str, float]:
    gc.collect()
    began = time.perf_counter()
    run()
    return {"cost": (time.perf_counter() - began) / QUICK * 1e6}


def _publisher_share(reporter: CountedReporter) -> float:
    """Share of one core that the publisher's thread takes while a loop runs and somebody watches."""
    reporter.reset()
    before = reporter.saves
    began, process, thread = time.perf_counter(), time.process_time(), time.thread_time()
    while time.perf_counter() - began < BESIDE:
        for _ in progress.track(range(100_000)):
            pass
        reporter.reset()
    beside = (time.process_time() - process) - (time.thread_time() - thread)
    took = time.perf_counter() - began
    _check(reporter.saves - before, took)
    return beside / took


# --- Through Redis, per report -----------------------------------------------------------------------------


@contextmanager
def _through_redis() -> Iterator[dict[str, Callable[[int], object]]]:
    task_id = uuid4().hex
    layer, group = groups.layer(), progress.group_name(task_id)

    def snippet(step: int) -> None:
        async_to_sync(layer.group_send)(group, {"type": "job.status", "current": step, "total": SLOW})

    nobody.push_request(id=task_id, called_directly=False)
    try:
        reports = {**_celery_progress(), SNIPPET: snippet}
        for report in reports.values():
            for step in range(BEFORE):
                report(step)
        yield reports
    finally:
        nobody.pop_request()


def _celery_progress() -> dict[str, Callable[[int], object]]:
    # The second takes the channel layer when it is imported, so not before Django is set up.
    from celery_progress.backend import ProgressRecorder
    from celery_progress.websockets.backend import WebSocketProgressRecorder

    def reporting(recorder: Any) -> Callable[[int], object]:
        return lambda step: recorder.set_progress(step, SLOW)

    return {POLLED: reporting(ProgressRecorder(nobody)), PUSHED: reporting(WebSocketProgressRecorder(nobody))}


def _per_report(report: Callable[[int], object]) -> Mapping[str, float]:
    gc.collect()
    began = time.perf_counter()
    for step in range(SLOW):
        report(step)
    return {"cost": (time.perf_counter() - began) / SLOW * 1e6}
