"""Very many running tasks, of which a hundred are watched: what the Redis that keeps their records has to do."""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import Any

import progress
from bench.crowd import Crowd
from bench.figures import Bar, Column, Outcome, Rows
from bench.many_reporters import Fleet
from bench.rig import Rig, cpu_of
from bench.servers import Measured, OnDaphne, site

SIZES = (1_000, 5_000, 10_000, 20_000)
ON_PAPER = 100_000
PROCESSES = 20  # that share the tasks
WATCHED = 100
SETTLE = 6.0  # seconds until all have the rhythm of who is not watched
SECONDS = 15.0  # counted
LATE = 3  # idle intervals; who was not stored for longer did not keep up

HOW = """\
{processes} processes with the real publisher hold all tasks in equal shares. Each process does what a worker with a
pool of threads does with Redis: it stores what its tasks say, renews their leases as a worker's main process does,
looks for lost tasks, and listens to its queue; there is no Celery and no broker. Every task takes one step a second.
One Daphne serves {watched} sockets, each of which watches one of the tasks by a token. Redis does nothing else.

Counted for {seconds:g} s, {settle:g} s after all tasks run: CPU, user and system, of the process named. Bytes are
`used_memory` with the tasks, less that of the same Redis, with the same connections, without a task. After each
measurement it is checked that Redis knows as many running tasks as there are, that every one of them was stored
lately, and that the watchers were shown steps.

The processes send their tasks' writes together, as workers with many tasks each do. Where each task has a process of
its own (prefork), Redis reads a socket for each write, which this does not show.
"""

WHY = """\
Each task is stored every four seconds, and every three its worker asks whether somebody has signed for it lately:
what cannot be left out if a dead worker is to be noticed within 20 s. Nearly all of it is inside of the scripts.
Writing the nine fields of a step takes Redis 4 µs, listing its lease as long; what Lua needs to hand them over is
twice that."""


def measure(rig: Rig) -> Outcome:
    """All sizes, in turn, with the same processes."""
    server = site(OnDaphne, rig, "daphne")
    try:
        with Fleet(rig, PROCESSES) as fleet:
            rows = rig.take_turns({f"{size:,} tasks": partial(_once, rig, fleet, server, size) for size in SIZES})
    finally:
        server.kill()
    largest = f"{SIZES[-1]:,} tasks"
    columns = [
        Column("Redis", "% of a core"),
        Column("scripts", "% of a core", "of that, inside of our scripts, as Redis counts it"),
        Column("commands", "1/s", "in Redis, those inside of scripts as well"),
        Column("workers", "% of a core", f"all {PROCESSES} processes together"),
        Column("server", "% of a core", f"Daphne, {WATCHED} watchers"),
        Column("bytes", "per task", "in Redis"),
        Column("shown", "snapshots/s", f"to all {WATCHED} watchers", more_is_better=True),
    ]
    bars = [Bar(f"CPU of Redis at {largest}", rows[largest]["Redis"], 15, unit="% of a core", why=WHY)]
    how = HOW.format(processes=PROCESSES, watched=WATCHED, seconds=SECONDS, settle=SETTLE)
    return Outcome(
        *("20 000 running tasks", how, columns, rows, bars),
        plot="Redis",
        notes=_on_paper(rows),
    )


def _once(rig: Rig, fleet: Fleet, server: Measured, size: int) -> dict[str, float]:
    with rig.redis.client(socket_timeout=60) as redis, Crowd() as crowd:
        fleet.hold(0)
        redis.flushall()
        time.sleep(1)  # what was being written is gone, too
        empty = redis.info("memory")["used_memory"]
        fleet.hold(size)
        ids = fleet.ids(WATCHED)
        words = [[{"type": "watch", "ids": [name], "token": progress.watch_token(name)}] for name in ids]
        crowd.open([f"{server.ws}/ws/progress/"] * WATCHED, say=words)
        time.sleep(SETTLE)
        bytes_now = redis.info("memory")["used_memory"]
        before, began = _readings(rig, fleet, server, crowd), time.monotonic()
        counted = _counted(redis)
        time.sleep(SECONDS)
        commands, scripts = (late - soon for late, soon in zip(_counted(redis), counted, strict=True))
        seconds = time.monotonic() - began
        after = _readings(rig, fleet, server, crowd)
        _check(fleet, after[3] - before[3], seconds)
    redis_cpu, workers, served, shown = ((late - soon) / seconds for late, soon in zip(after, before, strict=True))
    return {
        "Redis": redis_cpu * 100,
        "scripts": scripts / seconds * 100,
        "commands": commands / seconds,
        "workers": workers * 100,
        "server": served * 100,
        "bytes": (bytes_now - empty) / fleet.size,
        "shown": shown,
    }


def _counted(redis: Any) -> tuple[int, float]:
    """Commands so far, and seconds in scripts."""
    return redis.info("stats")["total_commands_processed"], redis.info("commandstats")["cmdstat_evalsha"][
        "usec"
    ] / 1e6


def _readings(rig: Rig, fleet: Fleet, server: Measured, crowd: Crowd) -> tuple[float, float, float, int]:
    return cpu_of(rig.redis.pid), fleet.cpu, server.cpu, crowd.count()["items"]


def _check(fleet: Fleet, shown: int, seconds: float) -> None:
    """What was measured is what was meant. Raises `RuntimeError`."""
    from progress.conf import conf

    if fleet.running != fleet.size:
        raise RuntimeError(f"{fleet.running} of {fleet.size} tasks are known to be running.")
    silent, limit = fleet.silent_for()[-1], LATE * conf.PROGRESS_IDLE_INTERVAL
    if silent > limit:
        raise RuntimeError(
            f"One of {fleet.size} tasks was not stored for {silent:.1f} s: the processes are too slow."
        )
    if shown < WATCHED * seconds / 2:
        raise RuntimeError(f"{WATCHED} watchers were shown {shown} steps in {seconds:.0f} s.")


def _on_paper(rows: Rows) -> list[str]:
    """The line through what was found, and where it leads."""
    found = [statistics.median(rows[f"{size:,} tasks"]["Redis"]) for size in SIZES]
    slope, start = statistics.linear_regression(SIZES, found)
    off = max(abs(value - start - slope * size) for size, value in zip(SIZES, found, strict=True))
    needed = start + slope * ON_PAPER
    each = statistics.median(rows[f"{SIZES[-1]:,} tasks"]["bytes"])
    line = (
        f"The line through the four medians: {start:.2f} % of a core, and {slope * 1000:.2f} % for each 1 000 tasks."
        f" None of them is further from it than {off:.2f} %."
    )
    paper = (
        f"On paper, {ON_PAPER:,} running tasks need {needed:.0f} % of a core of Redis, and"
        f" {each * ON_PAPER / 1e6:.0f} MB in it. Beyond what one Redis can do, records go into several by"
        " `PROGRESS_REDIS_URL`, one for each group of workers and their servers."
    )
    return [line, paper]
