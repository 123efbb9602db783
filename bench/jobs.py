"""The tasks that are measured in real workers: ``--include bench.jobs``."""

from __future__ import annotations

import json
import random
import time
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from asgiref.sync import async_to_sync
from celery import Task, current_task, shared_task
from channels.layers import get_channel_layer
from django.test import override_settings

import progress


@shared_task
def nothing() -> None:
    """A task of no work, tracked as every task is."""


@shared_task
@progress.options(track=False)
def nothing_untracked() -> None:
    """The same for Celery, and nothing for us."""


@shared_task
@progress.options(track=False)
def nothing_but_a_question() -> None:
    """The same, after the shortest question to Redis."""
    current_task.backend.client.ping()


# --- Steps whose moments are known -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pace:
    """When a task takes its steps: it rests before each of them, or computes with `busy`.

    It waits for a file `go` in the folder before the first, and ends early when there is a file `stop`. It leaves a
    file named by the task's id: when each step was reached, right before it was reported (ns, monotonic clock).
    """

    folder: str
    steps: int
    shortest: float  # seconds
    longest: float
    busy: bool = False

    def take_steps(self, report: Callable[[int], object]) -> None:
        """Call `report` with the number of each step."""
        folder, moments = Path(self.folder), array("q")
        while not (folder / "go").exists():
            time.sleep(0.005)
        for number in range(1, self.steps + 1):
            self._rest()
            moments.append(time.monotonic_ns())
            report(number)
            if not number % 16 and (folder / "stop").exists():
                break
        time.sleep(0.3)  # the end of the task carries none of its steps
        name = current_task.request.id
        (folder / f"{name}.new").write_bytes(moments.tobytes())
        (folder / f"{name}.new").rename(folder / name)

    def _rest(self) -> None:
        seconds = random.uniform(self.shortest, self.longest)
        if not self.busy:
            time.sleep(seconds)
            return
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            pass


@shared_task
@progress.options(unit="rows")
def paced(pace: dict[str, Any], interval: float | None = None) -> None:
    """Reported by `progress.advance()`; `interval` stands for the setting `PROGRESS_INTERVAL`."""
    progress.update(total=pace["steps"], message="Reading rows")
    with override_settings(**{} if interval is None else {"PROGRESS_INTERVAL": interval}):
        Pace(**pace).take_steps(lambda _number: progress.advance())


@shared_task(bind=True)
@progress.options(track=False)
def paced_tutorial(self: Task, pace: dict[str, Any]) -> None:
    """Reported as the Channels tutorial has it: one `async_to_sync(group_send)` per step."""
    group, layer = progress.group_name(self.request.id), get_channel_layer()

    def report(number: int) -> None:
        told = {"id": self.request.id, "state": "PROGRESS", "current": number, "total": pace["steps"]}
        event = {"type": "progress.update", "snapshot": json.dumps({**told, "message": "Reading rows"})}
        async_to_sync(layer.group_send)(group, event)

    Pace(**pace).take_steps(report)


@shared_task(bind=True)
@progress.options(track=False)
def paced_celery_progress(self: Task, pace: dict[str, Any]) -> None:
    """Reported by celery-progress's recorder for WebSockets."""
    from celery_progress.websockets.backend import WebSocketProgressRecorder

    recorder = WebSocketProgressRecorder(self)
    Pace(**pace).take_steps(lambda number: recorder.set_progress(number, pace["steps"], "Reading rows"))


# --- Work that fills a core --------------------------------------------------------------------------------

AFTERWARDS = 0.25  # seconds at rest, in which the publisher says the last of what was reported
Used = tuple[float, float]  # CPU (s): of the task's thread, and of all other threads of its process


def compute(spins: int) -> int:
    """Some computing, in Python."""
    number = 1
    for _ in range(spins):
        number = (number * 1_103_515_245 + 12_345) & 0x7FFFFFFF
    return number


@shared_task
@progress.options(track=False)
def computes_untracked(steps: int, spins: int) -> float:
    """Computes in so many steps, and nothing for us; returns the CPU that its whole process used meanwhile (s)."""
    return sum(_computed(range(steps), steps, spins))


@shared_task
@progress.options(unit="steps")
def computes_by_turns(steps: int, spins: int, turns: int) -> tuple[list[tuple[Used, Used]], float]:
    """Computes in so many steps, each reported, and in as many that are not, in turns that take turns.

    Returns what each turn with reports has used, beside what the turn without has that was next to it; and what the
    other threads have used from the first turn to the end of a rest after the last (s of CPU).
    """
    reported, bare = iter(progress.track(range(steps))), iter(range(steps))
    found = []
    _, before = _used()
    for turn in range(turns):
        used: dict[bool, Used] = {}
        for reports in (True, False) if turn % 2 else (False, True):
            used[reports] = _computed(reported if reports else bare, steps // turns, spins)
        found.append((used[True], used[False]))
    for _step in reported:  # its last word
        raise RuntimeError(f"{steps} steps cannot be parted into {turns} equal turns.")
    time.sleep(AFTERWARDS)
    _, after = _used()
    return found, after - before


def _computed(steps: Iterable[int], number: int, spins: int) -> Used:
    own, others = _used()
    for _ in islice(steps, number):
        compute(spins)
    own_after, others_after = _used()
    return own_after - own, others_after - others


def _used() -> Used:
    own = time.thread_time()
    return own, time.process_time() - own


@shared_task
def reports_alone(steps: int) -> float:
    """What so many steps of `track()` cost beyond the bare loop (s of CPU of the task's thread)."""
    began = time.thread_time()
    for _ in progress.track(range(steps)):
        pass
    between = time.thread_time()
    for _ in range(steps):
        pass
    return 2 * between - began - time.thread_time()
