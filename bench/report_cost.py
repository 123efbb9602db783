"""What one report costs the task: ours with its publisher at work, tqdm, celery-progress, and the usual snippet.

A browser is said to watch, so the publisher stores and sends ten times a second to a real Redis while the loops
run. Every figure is the wall time of the reporting thread, net of the bare loop.
"""

from __future__ import annotations

import gc
import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from asgiref.sync import async_to_sync
from celery import shared_task
from tqdm import tqdm

import progress
from progress import groups
from progress.reporter import Reporter

from .running_task import CountedReporter, running_task
from .timing import Spread, in_turn

REPETITIONS = 9
QUICK = 2_000_000  # steps per repetition of what stays in memory
SLOW = 150  # reports per repetition of what goes to Redis
BEFORE = 10  # reports that connect and warm up, not counted


@shared_task(name="bench.nothing")
def nothing() -> None:
    """A task that the recorders of celery-progress can belong to."""


def measure() -> dict[str, Any]:
    """µs per report of each way, and what the publisher thread takes beside the task."""
    with running_task() as reporter:
        quick = in_turn(_quick(reporter), REPETITIONS)
        beside = _publisher_share(reporter)
    with _recorders() as slow_runs:
        slow = in_turn(slow_runs, REPETITIONS)
    bare = quick.pop("a bare loop")
    rows = {}
    for name, times in quick.items():
        # Each repetition is held against the bare loop of its own turn.
        net = [(time - floor) / QUICK * 1e6 for time, floor in zip(times, bare, strict=True)]
        rows[name] = Spread.of(net)
    for name, times in slow.items():
        rows[name] = Spread.of([time / SLOW * 1e6 for time in times])
    return {"rows": rows, "publisher_share": beside, "repetitions": REPETITIONS, "saves": reporter.saves}


# --- In memory ---------------------------------------------------------------------------------------------


def _quick(reporter: Reporter) -> dict[str, Callable[[], float]]:
    def bare() -> None:
        for _ in range(QUICK):
            pass

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

    def tqdm_iterator() -> None:
        for _ in tqdm(range(QUICK), file=io.StringIO()):
            pass

    def tqdm_update() -> None:
        bar = tqdm(total=QUICK, file=io.StringIO())
        for _ in range(QUICK):
            bar.update(1)
        bar.close()

    named = {
        "a bare loop": bare,
        "`for row in progress.track(rows)`": track,
        "tqdm: `for row in tqdm(rows)`": tqdm_iterator,
        "`reporter.advance()`, the handle": advance_handle,
        "`progress.advance()`, the function": advance_function,
        "tqdm: `bar.update(1)`": tqdm_update,
    }
    return {name: _timed(run) for name, run in named.items()}


def _publisher_share(reporter: CountedReporter) -> float:
    """Share of one core that the publisher's thread takes while a loop runs and somebody watches."""
    reporter.reset()
    before = reporter.saves
    began, process, thread = time.perf_counter(), time.process_time(), time.thread_time()
    while time.perf_counter() - began < 3:
        for _ in progress.track(range(100_000)):
            pass
        reporter.reset()
    beside = (time.process_time() - process) - (time.thread_time() - thread)
    took = time.perf_counter() - began
    if reporter.saves - before < took * 5:  # ten a second are due
        raise RuntimeError(f"The publisher saved only {reporter.saves - before} times in {took:.1f} s.")
    return beside / took


# --- Through Redis, per report -----------------------------------------------------------------------------


@contextmanager
def _recorders() -> Iterator[dict[str, Callable[[], float]]]:
    # Takes the channel layer when it is imported, so not before Django is set up.
    from celery_progress.backend import ProgressRecorder
    from celery_progress.websockets.backend import WebSocketProgressRecorder

    task_id = uuid4().hex
    nothing.push_request(id=task_id, called_directly=False)
    polled, pushed = ProgressRecorder(nothing), WebSocketProgressRecorder(nothing)
    layer, group = groups.layer(), progress.group_name(task_id)

    def through_the_backend(step: int) -> None:
        polled.set_progress(step, SLOW)

    def through_a_socket(step: int) -> None:
        pushed.set_progress(step, SLOW)

    def snippet(step: int) -> None:
        async_to_sync(layer.group_send)(group, {"type": "job.status", "current": step, "total": SLOW})

    named = {
        "celery-progress `ProgressRecorder` (Redis result backend)": through_the_backend,
        "celery-progress `WebSocketProgressRecorder`": through_a_socket,
        "`async_to_sync(channel_layer.group_send)`": snippet,
    }
    try:
        for report in named.values():
            for step in range(BEFORE):
                report(step)
        yield {name: _timed(_loop(report)) for name, report in named.items()}
    finally:
        nothing.pop_request()


def _loop(report: Callable[[int], None]) -> Callable[[], None]:
    def loop() -> None:
        for step in range(SLOW):
            report(step)

    return loop


def _timed(run: Callable[[], None]) -> Callable[[], float]:
    def timed() -> float:
        gc.collect()
        began = time.perf_counter()
        run()
        return time.perf_counter() - began

    return timed
