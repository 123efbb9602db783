"""What a task that computes pays for a million reports: the CPU of its process, beyond the calls themselves.

The calls are scenario 1's. What is left is the publisher: its thread takes CPU and Python's lock beside the task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from uuid import uuid4

from bench.crowd import Crowd
from bench.figures import Bar, Column, Outcome, Values
from bench.rig import Rig
from bench.servers import Measured, OnUvicorn, site
from tests.processes import Worker

REPETITIONS = 10
STEPS = 1_000_000
TURNS = 20  # with reports, and as many without: shorter than what else the machine does for a while
SECONDS = 10.0  # of CPU that the work takes, about; the amount of work is the same in all runs
TRIAL, TRIALS = 20_000, 5  # steps and runs, to find out how much that is
WITHIN = 120.0  # seconds for one run
FRAMES = 5  # a second that a watcher must have been sent; ten are due
UNWATCHED, WATCHED = "unwatched", "watched"

HOW = """\
A task computes in {steps:,} steps, some {seconds:g} s in all, and reports each of them with `progress.track()`; and
in as many that it does not report. Both are done in {turns} turns of some {turn:g} s that alternate, in one process
of a real prefork worker: what the machine does meanwhile meets both alike. (The same work takes some per cent more
or less from one minute to the next, which is more than the bars.) The amount of work is fixed: {spins} rounds of
one multiplication in each step. Watched: one socket watches over a real server (uvicorn), and the run fails unless
it was sent {frames} frames for each second of reporting. Unwatched: the server is there, and nobody watches.

**CPU** is that of the whole process that runs the task, with the publisher's thread, in the turns with reports;
**without** in the turns without. Each turn ends with a quarter of a second of rest, in which the publisher says the
last of what was reported in it. **Beyond the calls** is what the one is more than the other, less what {steps:,}
steps of `track()` cost by themselves: a loop that does nothing else, in the same process, right before. What a call
costs more between other work than in a tight loop is still in it. Every run's record is checked to say {steps:,} of
{steps:,} and SUCCESS.
"""

WHY = "A step costs more between other work than in the tight loop that is taken off."
WHY_WATCHED = """\
Ten times a second the publisher stores and announces: some ten turns of its event loop, each of which takes Python's
lock from the task."""


def measure(rig: Rig) -> Outcome:
    """Seconds of CPU of each, and how much more it is."""
    with ExitStack() as stack:
        stack.enter_context(_worker(rig))
        server = site(OnUvicorn, rig, "uvicorn")
        stack.callback(server.kill)
        crowd = stack.enter_context(Crowd())
        spins = _spins()
        rows = rig.take_turns(
            {
                UNWATCHED: partial(_once, spins, None, crowd),
                WATCHED: partial(_once, spins, server, crowd),
            }
        )
    return Outcome(
        "A busy task that reports a million times",
        HOW.format(steps=STEPS, seconds=SECONDS, turns=TURNS, turn=SECONDS / TURNS, spins=spins, frames=FRAMES),
        [
            Column("CPU", "s", "of the process that runs the task, with reports"),
            Column("without", "s", "the same, without reports"),
            Column("the calls", "s", f"{STEPS:,} steps of `track()` by themselves"),
            Column("beyond the calls", "%", "more than without reports, less the calls"),
            Column("frames", "", "that the watcher was sent"),
        ],
        rows,
        [
            Bar("CPU beyond the calls, watched", rows[WATCHED]["beyond the calls"], 3.0, unit="%", why=WHY_WATCHED),
            Bar("CPU beyond the calls, unwatched", rows[UNWATCHED]["beyond the calls"], 1.5, unit="%", why=WHY),
        ],
        notes=[_noise([*rows[UNWATCHED]["without"], *rows[WATCHED]["without"]])],
    )


def _noise(bare: Values) -> str:
    spread = 100 * (max(bare) - min(bare)) / min(bare)
    return f"How much the machine moves: the turns without reports, always the same work, differed by {spread:.1f} %."


@contextmanager
def _worker(rig: Rig) -> Iterator[Worker]:
    worker = Worker(rig.folder, rig.env, concurrency=1, args=["--include", "bench.jobs"])
    try:
        yield worker.start()
    finally:
        worker.kill()


def _spins() -> int:
    """Rounds of computing in each step, so that all of them take about `SECONDS`."""
    from bench import jobs

    few, many = 50, 250
    # The least of some: whatever else the machine does makes it more.
    at_few, at_many = (
        min(_run(jobs.computes_untracked, TRIAL, spins) for _ in range(TRIALS)) / TRIAL for spins in (few, many)
    )
    each = (at_many - at_few) / (many - few)
    return max(1, few + round((SECONDS / STEPS - at_few) / each))


def _run(task: Any, *args: int) -> float:
    return float(task.apply_async(args).get(timeout=WITHIN))


def _once(spins: int, server: Measured | None, crowd: Crowd) -> Mapping[str, float]:
    """One run, with a watcher at `server` or without."""
    from bench import jobs
    from progress import watch_token

    calls = _run(jobs.reports_alone, STEPS)
    task_id = uuid4().hex
    result = jobs.computes_by_turns.apply_async((STEPS, spins, TURNS), task_id=task_id)
    frames = 0
    if server is not None:
        token = {"type": "token", "token": watch_token(task_id)}
        crowd.open([f"{server.ws}/ws/progress/{task_id}/"], say=[(token,)])
    reporting, bare = result.get(timeout=WITHIN)
    if server is not None:
        crowd.wait(STEPS, 10)
        frames = crowd.count()["frames"]
        crowd.close()
        if frames < reporting * FRAMES:
            raise RuntimeError(f"The watcher was sent only {frames} frames in {reporting:.1f} s.")
    _check(task_id)
    beyond = 100 * (reporting - calls - bare) / bare
    return {"CPU": reporting, "without": bare, "the calls": calls, "beyond the calls": beyond, "frames": frames}


def _check(task_id: str) -> None:
    from progress.store import get_store
    from tests.processes import wait_until

    def shown() -> dict[str, Any]:
        record = get_store().load(task_id)
        return {} if record is None else record.snapshot()

    wait_until(lambda: shown().get("final"), 10, f"the end of {task_id}")
    found = shown()
    if (found["state"], found["current"], found["total"]) != ("SUCCESS", STEPS, STEPS):
        raise RuntimeError(f"A lost end: {found}")
