"""What tracking takes from the throughput: tasks that do nothing, through a real worker, and sending them.

Such tasks are the worst case: whatever a task does for itself makes our share smaller.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from bench.figures import Bar, Column, Outcome, Rows, paired, times
from bench.rig import PREFIX, Rig, cpu_of
from tests.processes import Worker

TASKS = 10_000
WARMING = 500  # tasks of each kind before anything is counted
CONCURRENCY = 2
WITHIN = 180.0  # seconds for all of them
TRACKED, UNTRACKED = "tracked", "not tracked: `track=False`"
FLOOR = "not tracked, two questions"

HOW = """\
Through the worker: {tasks:,} tasks that do nothing wait in a queue; then a prefork worker with {concurrency}
processes is told to take from it. The time from the first end of a task to the last counts, as the result backend
dates them; a tracked task has not ended before its record says so. One worker, its processes warm, takes three
kinds in turn: tasks that are tracked; tasks with `track=False`, which is what a site would say of such tasks; and the
floor. It runs the shipped settings and logs at INFO, as `make run` starts it. Nobody watches. Its CPU is that of all
its processes.

The floor is not tracked either, but asks Redis the shortest question there is (`PING`, by redis-py) before it is sent
and once more where its body is: whoever wants to know of a task before its worker does, and wants it not to run when
it was cancelled meanwhile, has to wait for Redis twice.

`.delay()`: {tasks:,} calls one after the other in one process, outside of any request, so that nobody owns the
tasks; wall time, and CPU of the whole process with its publisher. The worker does not take from that queue yet.

Broker, results, records and hints are in one Redis on the same machine. Every run checks that all tasks have
succeeded, and that every record says so.
"""

WHY = """\
The record is written before the message, so that a call waits for Redis once more, as the floor does. Beyond the
floor is putting together what is said of the task, with the publisher's CPU beside it. [Decision
10](decisions/0010-what-a-write-costs.md) has what each write costs whom."""
WHY_WORKER = """\
Before the body of a tracked task Redis is asked whether it was cancelled, as the floor asks. Beyond the floor is what
is said of the task, which a thread beside it, under the same lock of Python's, puts into its record."""
NEAR = """\
It reaches {ratio}, which is the floor: that asks Redis and does nothing else. A {one} takes {ours:,.0f} µs of CPU,
and {floor:,.0f} at the floor (medians)."""

NOTE = """\
The floor, two questions to Redis and nothing else, reaches {worker:.2f} × of the worker's throughput and
{delay:.2f} × of `.delay()`."""


def measure(rig: Rig) -> Outcome:
    """Tasks a second through the worker, and sent."""
    from bench import jobs

    kinds = {TRACKED: jobs.nothing, UNTRACKED: jobs.nothing_untracked, FLOOR: jobs.nothing_but_a_question}
    with closing(rig.redis.client(socket_timeout=60)) as client, _worker(rig) as worker:
        run = partial(_run, worker, client)
        for name, task in kinds.items():
            run(name, task, min(TASKS, WARMING))
        sides: dict[str, Callable[[], Mapping[str, float]]] = {
            name: partial(run, name, task, TASKS) for name, task in kinds.items()
        }
        rows = rig.take_turns(sides)
    nearest = {name: statistics.median(paired(rows, name, FLOOR, UNTRACKED)) for name in ("worker", "delay")}
    return Outcome(
        "What tracking takes from the throughput",
        HOW.format(tasks=TASKS, concurrency=CONCURRENCY),
        [
            Column("worker", "tasks/s", "what the worker finishes in a second", more_is_better=True),
            Column("worker CPU", "µs/task", "of the main process and its pool"),
            Column("delay", "calls/s", "how often `.delay()` returns in a second", more_is_better=True),
            Column("sender CPU", "µs/call", "of the process that calls `.delay()`"),
        ],
        rows,
        [
            _bar(rows, "throughput of the worker", "worker", WHY_WORKER, _near(rows, "worker", "worker CPU", "task")),
            _bar(rows, "`.delay()`", "delay", WHY, _near(rows, "delay", "sender CPU", "call")),
        ],
        plot="worker",
        ours=[TRACKED],
        notes=[NOTE.format(**nearest)],
    )


def _bar(rows: Rows, what: str, column: str, why: str, near: str) -> Bar:
    values = paired(rows, column, TRACKED, UNTRACKED)
    return Bar(f"{what}, tracked against not tracked", values, 0.8, "at least", why=why, near=near)


def _near(rows: Rows, column: str, cpu: str, one: str) -> str:
    """How near to the floor of the same run."""
    ours, floor = (statistics.median(rows[side][cpu]) for side in (TRACKED, FLOOR))
    return NEAR.format(ratio=times(rows, column, TRACKED, FLOOR), one=one, ours=ours, floor=floor)


@contextmanager
def _worker(rig: Rig) -> Iterator[Worker]:
    # The shipped settings, so that nothing of a peer runs along. Nobody sends to its own queue; it is told of others.
    env = {**rig.env, "DJANGO_SETTINGS_MODULE": "project.settings", "CELERY_QUEUE": "idle"}
    worker = Worker(rig.folder, env, concurrency=CONCURRENCY, args=["--include", "bench.jobs"])
    try:
        yield worker.start()
    finally:
        worker.kill()


def _run(worker: Worker, client: Any, kind: str, task: Any, number: int) -> dict[str, float]:
    """Fill a queue, then let the worker empty it."""
    client.flushdb()
    queue = f"throughput-{uuid4().hex[:8]}"
    client_of_site = task.backend.client

    def send() -> Any:  # `.delay()`, to a queue of our own
        if kind == FLOOR:
            client_of_site.ping()
        return task.apply_async(queue=queue)

    ids = [str(send().id)]  # connects
    wall, cpu = time.perf_counter(), time.process_time()
    ids += [str(send().id) for _ in range(number)]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    time.sleep(1)  # the sender's last hints are out
    before = _cpu(worker.pid)
    _tell(worker, "add_consumer", queue)
    ends = _ends(client, ids)
    if kind == TRACKED:
        ends += _recorded_ends(client, ids)
    used = _cpu(worker.pid) - before
    _tell(worker, "cancel_consumer", queue)
    return {
        "worker": (len(ids) - 1) / (max(ends) - min(ends)),
        "worker CPU": used / len(ids) * 1e6,
        "delay": number / wall,
        "sender CPU": cpu / number * 1e6,
    }


def _tell(worker: Worker, command: str, queue: str) -> None:
    from celery import current_app

    answer = getattr(current_app.control, command)(queue, destination=[worker.node], reply=True, timeout=10)
    if not answer:
        raise RuntimeError(f"The worker did not answer to {command}.")


def _ends(client: Any, ids: Sequence[str]) -> list[float]:
    """When the result backend was told of each end (s since 1970)."""
    names = [f"celery-task-meta-{task_id}" for task_id in ids]
    _wait(lambda: client.exists(*names) == len(ids), "all results")
    results = [json.loads(raw) for raw in client.mget(names)]
    if failed := [result for result in results if result["status"] != "SUCCESS"]:
        raise RuntimeError(f"{len(failed)} tasks failed: {failed[0]}")
    return [datetime.fromisoformat(result["date_done"]).replace(tzinfo=UTC).timestamp() for result in results]


def _recorded_ends(client: Any, ids: Sequence[str]) -> list[float]:
    """When the end of each was in its record (s since 1970)."""

    def load() -> list[tuple[bytes, bytes]]:
        pipe = client.pipeline(transaction=False)
        for task_id in ids:
            pipe.hmget(f"{PREFIX}:task:{task_id}", "state", "finished_at")
        found: list[tuple[bytes, bytes]] = pipe.execute()
        return found

    _wait(lambda: all(state == b"SUCCESS" for state, _ in load()), "that all records say SUCCESS")
    return [int(at) / 1e6 for _, at in load()]


def _cpu(worker: int) -> float:
    """Seconds of CPU of a worker and its pool."""
    pool = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
    return sum(cpu_of(pid) for pid in (worker, *map(int, pool)))


def _wait(condition: Callable[[], bool], what: str) -> None:
    # Asked seldom: each look at so many keys takes milliseconds of the Redis that is measured along.
    deadline = time.monotonic() + WITHIN
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"Not within {WITHIN} s: {what}.")
        time.sleep(0.5)
