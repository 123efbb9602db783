"""What a task that computes pays for a million reports: the CPU of its process, beyond the calls themselves.

The calls are scenario 1's. What is left is the publisher: its thread takes CPU and Python's lock beside the task.
"""

from __future__ import annotations

import statistics
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from bench.crowd import Crowd
from bench.figures import Bar, Column, Outcome, Rows, Values
from bench.rig import Rig
from bench.servers import Measured, OnUvicorn, site
from tests.processes import Worker

if TYPE_CHECKING:
    from bench.jobs import Used

REPETITIONS = 10
STEPS = 1_000_000
TURNS = 1_000  # with reports, and as many without: shorter than what else the machine does for a while
SECONDS = 10.0  # of CPU that the work takes, about; the amount of work is the same in all runs
TURN = 1000 * SECONDS / TURNS  # milliseconds
TRIAL, TRIALS = 20_000, 5  # steps and runs, to find out how much that is
WITHIN = 120.0  # seconds for one run
FRAMES = 5  # a second of work that a watcher must have been sent; ten are due
ACTIVE = 50e-6  # seconds of CPU of other threads in a turn, from which it was not left alone
UNWATCHED, WATCHED = "unwatched", "watched"

HOW = """\
A task computes in {steps:,} steps, some {seconds:g} s in all, and reports each of them with `progress.track()`; and
in as many that it does not report. Both are done in {turns:,} turns of some {turn:g} ms that alternate, in one
process of a real prefork worker. The amount of work is fixed: {spins} rounds of one multiplication in each step.
Watched: one socket watches over a real server (uvicorn), and the run fails unless it was sent {frames} frames for
each second of work. Unwatched: the server is there, and nobody watches.

The same work takes some per cent more or less from one moment to the next, which is more than the bars. So the CPU
of the process is told apart, and each part is counted in the way that the machine disturbs least:

- what the **publisher** takes, which is all threads of the process but the task's: by the clock of their CPU, which
  misses nothing. It says what is new ten times a second when somebody watches, whichever turn that falls into, so it
  is held against the task's CPU in all turns. What it takes when it has nothing to say is in it. Where the machine
  lets the task wait, it says more to each second of the task's CPU, and the figure is rather too much;
- what the task's own thread takes more for its **steps**: the median of what a turn with reports takes more than the
  one next to it, less what the calls cost by themselves: a loop of `track()` that does nothing else, in the same
  process, right before. A call costs more between other work than in a tight loop;
- what the task is **disturbed**: what its thread takes more in turns in which the publisher ran than in those of the
  same kind around them. A turn that lasts longer is likelier to be such a one, so this is rather too much.

**Beyond the calls** is the sum of the three. Every run's record is checked to say {steps:,} of {steps:,} and SUCCESS.
"""

WHY = """\
A step costs more between other work than in the tight loop that is taken off, and the publisher's thread lives beside
the task."""
WHY_WATCHED = """\
What is new is stored and announced up to ten times a second, by a thread of the task's own process: its CPU is the
task's."""
NEAR = """\
The publisher's threads took {publisher:.2f} % by themselves{each}. The steps took {steps:.2f} % more than the calls,
and {disturbed:.2f} % is what the task was disturbed (medians)."""
EACH = ", {each:.2f} ms for each frame, of which there were {rate:.1f} to each second of the task's CPU"


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
        HOW.format(steps=STEPS, seconds=SECONDS, turns=TURNS, turn=TURN, spins=spins, frames=FRAMES),
        [
            Column("CPU", "s", "of the task's thread, in the turns with reports"),
            Column("without", "s", "the same, in the turns without"),
            Column("the calls", "s", f"{STEPS:,} steps of `track()` by themselves"),
            Column("publisher", "%", "what the other threads of the process take, of the task's CPU"),
            Column("steps", "%", "what the turns with reports take more, less the calls"),
            Column("disturbed", "%", "what the task takes more while the publisher runs"),
            Column("beyond the calls", "%", "the sum of the three"),
            Column("frames", "", "that the watcher was sent"),
        ],
        rows,
        [
            _bar(rows, WATCHED, 3.0, WHY_WATCHED),
            _bar(rows, UNWATCHED, 1.5, WHY),
        ],
        plot="beyond the calls",
        notes=[_noise([*rows[UNWATCHED]["without"], *rows[WATCHED]["without"]]), *map(partial(_error, rows), rows)],
    )


def _bar(rows: Rows, side: str, limit: float, why: str) -> Bar:
    found = {column: statistics.median(values) for column, values in rows[side].items()}
    frames, cpu = found["frames"], found["CPU"] + found["without"]
    each = EACH.format(each=10 * found["publisher"] * cpu / frames, rate=frames / cpu) if frames else ""
    near = NEAR.format(**found, each=each)
    return Bar(f"CPU beyond the calls, {side}", rows[side]["beyond the calls"], limit, unit="%", why=why, near=near)


def _noise(bare: Values) -> str:
    spread = 100 * (max(bare) - min(bare)) / min(bare)
    return f"How much the machine moves: the turns without reports, always the same work, differed by {spread:.1f} %."


def _error(rows: Rows, side: str) -> str:
    values = rows[side]["beyond the calls"]
    if len(values) < 2:
        return f"How sure it is, {side}: one repetition does not say."
    error = statistics.stdev(values) / len(values) ** 0.5
    found = f"the mean of {len(values)} repetitions is {statistics.mean(values):.2f} %"
    return f"How sure it is, {side}: {found}, with a standard error of {error:.2f}."


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
    turns, others = result.get(timeout=WITHIN)
    found = _told(turns, others, calls)
    if server is not None:
        crowd.wait(STEPS, 10)
        frames = crowd.count()["frames"]
        crowd.close()
        if frames < (seconds := found["CPU"] + found["without"]) * FRAMES:
            raise RuntimeError(f"The watcher was sent only {frames} frames in {seconds:.1f} s.")
    _check(task_id)
    return {**found, "frames": frames}


def _told(turns: Sequence[tuple[Used, Used]], others: float, calls: float) -> dict[str, float]:
    """The figures of one run, in which the publisher's threads took `others` seconds of CPU."""
    reporting, bare = [turn for turn, _ in turns], [turn for _, turn in turns]
    cpu, without = (sum(own for own, _ in side) for side in (reporting, bare))
    more = statistics.median(with_reports[0] - alone[0] for with_reports, alone in turns) * len(turns)
    publisher = 100 * others / (cpu + without)
    steps = 100 * (more - calls) / without
    disturbed = 100 * (_disturbed(reporting) + _disturbed(bare)) / (cpu + without)
    return {
        "CPU": cpu,
        "without": without,
        "the calls": calls,
        "publisher": publisher,
        "steps": steps,
        "disturbed": disturbed,
        "beyond the calls": publisher + steps + disturbed,
    }


def _disturbed(turns: Sequence[Used]) -> float:
    """CPU (s) of the task's thread in turns in which others ran, beyond that of the nearest in which none did."""
    quiet = [number for number, (_, others) in enumerate(turns) if others < ACTIVE]
    found = 0.0
    for number, (own, others) in enumerate(turns):
        if others < ACTIVE or not quiet:
            continue
        after = bisect(quiet, number)
        around = [turns[near][0] for near in quiet[max(after - 1, 0) : after + 1]]
        found += own - statistics.mean(around)
    return found


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
