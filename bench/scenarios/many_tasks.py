"""Very many running tasks, of which a hundred are watched: what the Redis that keeps their records has to do."""

from __future__ import annotations

import statistics
import time
from functools import partial
from typing import Any

import progress
from bench.crowd import Crowd
from bench.figures import Bar, Column, Outcome, Rows, times
from bench.many_reporters import Fleet
from bench.rig import PREFIX, Rig, cpu_of
from bench.servers import Measured, OnDaphne, site

SIZES = (1_000, 5_000, 10_000, 20_000)
ON_PAPER = 100_000
PROCESSES = 20  # that share the tasks
WATCHED = 100
SETTLE = 6.0  # seconds until all have the rhythm of who is not watched
SECONDS = 15.0  # counted
PLAIN = 50  # records that the floor writes at once, as our processes do
LATE = 3  # idle intervals; who was not stored for longer did not keep up

HOW = """\
{processes} processes with the real publisher hold all tasks in equal shares. Each process does what a worker with a
pool of threads does with Redis: it stores what its tasks say, renews their leases as a worker's main process does,
looks for lost tasks, and listens to its queue; there is no Celery and no broker. Every task takes one step a second.
One Daphne serves {watched} sockets, each of which watches one of the tasks by a token. Redis does nothing else.

Counted for {seconds:g} s, {settle:g} s after all tasks run: CPU, user and system, of the process named. Bytes are
those of all our keys, as `MEMORY USAGE` has them. After each measurement it is checked that Redis knows as many
running tasks as there are, that every one of them was stored lately, and that the watchers were shown steps.

The processes send their tasks' writes together, as workers with many tasks each do. Where each task has a process of
its own (prefork), Redis reads a socket for each write, which this does not show.

The **floor** is one client that writes into the records of the largest size what a step moves, each every
{interval:g} s: seven fields by `HSET`, {plain} records in one go and their leases by one `ZADD`; no script, no
question. The processes hold no task meanwhile, but look for lost ones as they always do.
"""

WHY = """\
Each task is stored every four seconds, and every three its worker asks whether somebody has signed for it lately, and
signs where nobody has: what cannot be left out if a dead worker is to be noticed within 20 s. Nearly all of it is
inside of the scripts, where Lua takes longer to hand over the fields than Redis to write them. [Decision
10](decisions/0010-what-a-write-costs.md) has what each of them costs."""


FLOOR = "floor: plain writes"
BODY = (
    '"id":"bench-0123456789ab-1","name":"bench.rows","title":"Import rows-1.csv","current":17,"total":100000,'
    '"unit":"rows","message":"Reading rows","rate":1.0,"retries":0,"max_retries":3,"scheduled_for":null,'
    '"logs_to":null,"parent":null,"root":"bench-0123456789ab-1"'
)


def measure(rig: Rig) -> Outcome:
    """All sizes, in turn, with the same processes."""
    server = site(OnDaphne, rig, "daphne")
    try:
        with Fleet(rig, PROCESSES) as fleet:
            sides = {f"{size:,} tasks": partial(_once, rig, fleet, server, size) for size in SIZES}
            rows = rig.take_turns({**sides, FLOOR: partial(_floor, rig, fleet)})
    finally:
        server.kill()
    largest = f"{SIZES[-1]:,} tasks"
    near = f"It takes {times(rows, 'Redis', largest, FLOOR)}."
    columns = [
        Column("Redis", "% of a core", "the whole server"),
        Column("scripts", "% of a core", "of that, inside of our scripts, as Redis counts it"),
        Column("commands", "1/s", "in Redis, those inside of scripts as well"),
        Column("workers", "% of a core", f"all {PROCESSES} processes together"),
        Column("server", "% of a core", f"Daphne, {WATCHED} watchers"),
        Column("bytes", "per task", "in Redis: its record, its lease, its place in its owner's list"),
        Column("shown", "snapshots/s", f"to all {WATCHED} watchers", more_is_better=True),
    ]
    bars = [Bar(f"CPU of Redis at {largest}", rows[largest]["Redis"], 15, unit="% of a core", why=WHY, near=near)]
    how = HOW.format(
        processes=PROCESSES, watched=WATCHED, seconds=SECONDS, settle=SETTLE, interval=_interval(), plain=PLAIN
    )
    return Outcome(
        *("20 000 running tasks", how, columns, rows, bars), plot="Redis", ours=[*sides], notes=_on_paper(rows)
    )


def _once(rig: Rig, fleet: Fleet, server: Measured, size: int) -> dict[str, float]:
    with rig.redis.client(socket_timeout=60) as redis, Crowd() as crowd:
        fleet.hold(0)
        redis.flushall()
        time.sleep(1)  # what was being written is gone, too
        fleet.hold(size)
        ids = fleet.ids(WATCHED)
        words = [[{"type": "watch", "ids": [name], "token": progress.watch_token(name)}] for name in ids]
        crowd.open([f"{server.ws}/ws/progress/"] * WATCHED, say=words)
        time.sleep(SETTLE)
        kept = _bytes(redis)
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
        "bytes": kept / fleet.size,
        "shown": shown,
    }


def _floor(rig: Rig, fleet: Fleet) -> dict[str, float]:
    """Plain writes of as many records as there may be, as often as ours are written."""
    fleet.hold(0)
    with rig.redis.client(socket_timeout=60) as redis:
        redis.flushall()
        names = [f"{PREFIX}:task:bench-0123456789ab-{number}" for number in range(SIZES[-1])]
        _write_plainly(redis, names, 0.0)  # all are there
        before, began, commands = cpu_of(rig.redis.pid), time.monotonic(), _counted(redis)[0]
        while (passed := time.monotonic() - began) < SECONDS:
            _write_plainly(redis, names, began + passed)
        seconds = time.monotonic() - began
        commands = _counted(redis)[0] - commands
        return {"Redis": (cpu_of(rig.redis.pid) - before) / seconds * 100, "commands": commands / seconds}


def _write_plainly(redis: Any, names: list[str], began: float) -> None:
    """Each record once, evenly over an idle interval from `began`."""
    from progress.leases import MICROSECONDS

    for first in range(0, len(names), PLAIN):
        pipe, leases = redis.pipeline(transaction=False), {}
        for name in names[first : first + PLAIN]:
            at = str(time.time_ns() // 1000)
            until = str(time.time_ns() // 1000 + MICROSECONDS)  # else somebody looks why it is over
            moved = {"seq": at, "n": "7", "updated_at": at, "leased_until": until, "share": "17", "fraction": "0.1"}
            pipe.hset(name, mapping={**moved, "body": BODY})
            leases[name] = float(until)
        pipe.zadd(f"{PREFIX}:leases", leases)
        pipe.execute()
        time.sleep(max(0.0, began + _interval() * first / len(names) - time.monotonic()))


def _interval() -> float:
    from progress.conf import conf

    return conf.PROGRESS_IDLE_INTERVAL


def _bytes(redis: Any) -> int:
    """Of all our keys."""
    pipe = redis.pipeline(transaction=False)
    for key in redis.scan_iter(f"{PREFIX}:*", count=1000):
        pipe.memory_usage(key, samples=0)
    return sum(pipe.execute())


def _counted(redis: Any) -> tuple[int, float]:
    """Commands so far, and seconds in scripts."""
    scripts = redis.info("commandstats").get("cmdstat_evalsha", {"usec": 0})
    return redis.info("stats")["total_commands_processed"], scripts["usec"] / 1e6


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
        f"On paper, {ON_PAPER:,} running tasks need {needed:.0f} % of a core of Redis at the least, and"
        f" {each * ON_PAPER / 1e6:.0f} MB in it. Beyond what one Redis can do, records go into several by"
        " `PROGRESS_REDIS_URL`, one for each group of workers and their servers."
    )
    return [line, paper]
