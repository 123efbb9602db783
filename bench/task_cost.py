"""`python -m bench.task_cost`: what one task costs the Redis that keeps the records, and writes `docs/costs.md`.

The broker and the results are in another Redis, so every command that is counted is ours. Counts, not times: they do
not depend on the machine, but a little on chance (how often a report falls into an interval, or a sign of life into
the time that is counted).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.machine import machine
from bench.overheard import Overheard
from bench.report import spread
from tests.processes import ROOT, Redis, Site, in_this_process, wait_until

TASKS = 6  # at the same time
SECONDS = 4.0  # that each of them takes
REPORTS = 400  # of each
REPETITIONS = 3
REST = 4.0  # seconds before anything is counted: what worker and server say by themselves is there again
AFTER = 1.5  # seconds after the last end that are counted, too: the recorder writes within about one
NOT_THEIRS = ("CLIENT", "HELLO", "INFO", "SELECT")  # connecting
NO_TASK, QUIET = "no task at all", "no task at all, where nothing is tracked"
ENDED = "WHERE finished_at IS NOT NULL"

Send = Callable[[], list[str]]


@dataclass(frozen=True)
class Place:
    """A site that runs, with the Redis that keeps its records."""

    site: Site
    records: Redis
    ignored: tuple[str, ...]  # as PROGRESS_IGNORE has it

    @contextmanager
    def here(self) -> Iterator[None]:
        """Send from this process, as one of the site's would."""
        from django.conf import settings
        from django.test import override_settings

        with (
            override_settings(PROGRESS_IGNORE=list(self.ignored)),
            in_this_process(settings, self.site.redis.url, self.site.prefix),
        ):
            settings.PROGRESS_REDIS_URL = self.records.url
            yield

    def rows(self, where: str = "") -> int:
        """Rows of `TaskRun` in the site's database."""
        from progress.models import TaskRun

        with closing(sqlite3.connect(self.site.data / "db.sqlite3", timeout=20)) as database:
            found = database.execute(f"SELECT count(*) FROM {TaskRun._meta.db_table} {where}").fetchone()
        return int(found[0])


@dataclass(frozen=True)
class Kind:
    """One kind of task, and how to send `TASKS` of them."""

    name: str
    place: Place
    send: Send
    rows: int = TASKS  # to wait for; what is told is counted


@dataclass(frozen=True)
class Cost:
    """Of one task: commands from outside of scripts, those inside, bytes that stay when it has ended, and rows."""

    outside: float
    inside: float
    kept: float
    rows: float


TEXT = """# What a task costs Redis and the database

One task that runs {seconds:g} s and reports {reports} times; {tasks} of them at once, with a Redis of their own for
the records, so what is counted is all ours. Shipped settings, one server process, which also writes the history
(`PROGRESS_RECORDER = "server"`), one worker. Counted are the run and {after:g} s after it. Each figure is the median
of {repetitions} repetitions in changing order, with the lowest and the highest behind it where they differ.
`python -m bench.task_cost` measures it again and writes this page.

| the task | commands | inside scripts | bytes kept after its end | rows in the database |
|---|---|---|---|---|
{rows}

- **commands**: what processes send to that Redis, shared out among the tasks; connecting is left out.
  A task that somebody watches is stored and announced ten times a second, and its server looks at it every few
  seconds; one that nobody watches is stored every four seconds, however often it reports.
- **inside scripts**: what `record.lua` and its shortcuts do in them; no round trip.
- **bytes**: the record, and its share of its owner's list or of its group's sums, as `MEMORY USAGE` has it. They are
  kept for `PROGRESS_RETENTION`, a day; the record for ten minutes when nobody owned or watched the task. What waits
  for the recorder comes on top until its row is written, about 1 KB for each change. A few bytes that are none of a
  task's are the worker's list of queues, which changes in size.
- **rows**: counted in `progress.models.TaskRun`, one per run; [the history](history.md) says how long they stay and
  how to have none.
- A line of the log takes about 100 bytes more; at most 1 000 lines of 500 characters are kept per task.
- **{no_task}**: what is said anyway, in {seconds:g} s and the {after:g} s after, shared out among {tasks} tasks that
  are not there. It is part of every line above *not tracked*. Every 3 s the worker says to which queues it listens
  and that its tasks live, and looks for lost ones, all in one command; a server that has had watchers looks for lost
  ones, too; the recorder asks for changes, and waits a second for some.
- What is not tracked (`track=False`, `PROGRESS_IGNORE`, not in `PROGRESS_TRACK`) stores nothing, has no row, and
  costs Redis nothing beyond the last line: nobody watches there, so its server does not look for lost ones.
- A task that is silent for 4.5 s gives a sign of life of its own; the others above are not.

Measured on {date}: {system}, {cores} cores ({cpu}), {python}, {redis} on loopback, {packages}.
"""


def measure(folder: Path) -> dict[str, list[Cost]]:
    """The costs of each kind of task, one for each repetition."""
    found: dict[str, list[Cost]] = {}
    with ExitStack() as running:
        tracked = running.enter_context(_place(folder / "tracked", "tests.apart_settings"))
        untracked = running.enter_context(_place(folder / "untracked", "bench.untracked_settings", "*"))
        kinds = _kinds(tracked, untracked)
        for place in (tracked, untracked):
            _warm_up(place)
        for number in range(REPETITIONS):
            first = number * 2 % len(kinds)
            for kind in kinds[first:] + kinds[:first]:
                with kind.place.here():
                    found.setdefault(kind.name, []).append(_cost(kind))
                print(
                    f"  {number + 1}/{REPETITIONS} {kind.name}: {found[kind.name][-1]}", file=sys.stderr, flush=True
                )
    return {kind.name: found[kind.name] for kind in kinds}


@contextmanager
def _place(folder: Path, settings: str, *ignored: str) -> Iterator[Place]:
    with ExitStack() as running:
        records = Redis(folder / "records", name="records").start()
        running.callback(records.kill)
        env = {"DJANGO_SETTINGS_MODULE": settings, "RECORDS_URL": records.url}
        site = Site(folder / "site", env=env, concurrency=TASKS)
        running.callback(site.stop)
        yield Place(site.start(), records, ignored)


def _warm_up(place: Place) -> None:
    """Have the server do all that it does from its first watcher on, and every process connect.

    The recorder starts with the first connection, and looking for lost tasks with the first watcher: else what is
    measured before a browser came would not compare with what is measured after.
    """
    from progress import watch_token
    from tests.wire import wire

    async def watch(ids: list[str]) -> None:
        async with wire(place.site.ws, cookie=place.site.user().cookie) as page:
            await page.say("watch", ids=ids[:1], token=watch_token(ids[0]))
            await asyncio.to_thread(_wait_for, ids)

    with place.here():
        asyncio.run(watch(_send()))
        if not place.ignored:
            wait_until(lambda: place.rows(ENDED) == TASKS, 20, "the rows of the first tasks")


def _kinds(tracked: Place, untracked: Place) -> list[Kind]:
    import progress

    site = tracked.site
    login = site.user()

    def owned() -> list[str]:
        with progress.owner(login.pk):
            return _send()

    def watched() -> list[str]:
        from tests.wire import wire

        async def watch(ids: list[str]) -> None:
            async with wire(site.ws, cookie=login.cookie) as page:
                await page.watch(*ids)
                await page.ends(*ids, seconds=60)

        ids = owned()
        asyncio.run(watch(ids))
        return ids

    def grouped() -> list[str]:
        from celery import group

        from tests import jobs

        result = group(jobs.count.si(REPORTS, SECONDS / REPORTS) for _ in range(TASKS)).delay()
        return [part.id for part in result.children]

    def none() -> list[str]:
        time.sleep(SECONDS)
        return []

    return [
        Kind("nobody owns it, nobody watches", tracked, _send),
        Kind("owned, nobody watches", tracked, owned),
        Kind("owned, one browser watches", tracked, watched),
        Kind("part of a group, nobody watches", tracked, grouped),
        Kind("not tracked", untracked, _send, rows=0),
        Kind(NO_TASK, tracked, none, rows=0),
        Kind(QUIET, untracked, none, rows=0),
    ]


def _send() -> list[str]:
    from tests import jobs

    return [str(jobs.count.delay(REPORTS, SECONDS / REPORTS).id) for _ in range(TASKS)]


def _wait_for(ids: list[str]) -> None:
    """Until all have ended. The results are in the other Redis, so that asking is not counted."""
    from celery.result import AsyncResult

    for task_id in ids:
        wait_until(AsyncResult(task_id).ready, 60, f"the end of {task_id}")


def _cost(kind: Kind) -> Cost:
    place = kind.place
    with place.records.client() as client:
        client.flushall()
        stream = f"{place.site.prefix}:changes"
        wait_until(lambda: client.exists(stream), 10, "the recorder waits for changes")
        time.sleep(REST)
        before, rows, ended = _kept(place, client), place.rows(), place.rows(ENDED)
        with Overheard(place.records) as heard:
            _wait_for(kind.send())
            time.sleep(AFTER)
        wait_until(lambda: place.rows(ENDED) - ended >= kind.rows, 10, f"the rows: {kind.name}")
        kept = _kept(place, client) - before
    outside = sum(count for said, count in heard.outside.items() if said.split()[0] not in NOT_THEIRS)
    if kind.rows and "EVALSHA save" not in heard.outside:
        raise RuntimeError(f"No task was stored: {kind.name}.")
    return Cost(outside / TASKS, sum(heard.inside.values()) / TASKS, kept / TASKS, (place.rows() - rows) / TASKS)


def _kept(place: Place, client: Any) -> int:
    """Bytes of all keys that are ours. Every field is looked at: a guess from the first five is a fifth too low."""
    return sum(client.memory_usage(key, samples=0) or 0 for key in client.scan_iter(f"{place.site.prefix}:*"))


def page(costs: dict[str, list[Cost]]) -> str:
    """The page for people."""
    rows = []
    for name, found in costs.items():
        columns = [(each.outside, each.inside, each.kept, each.rows) for each in found]
        rows.append(f"| {name} | {' | '.join(spread(values) for values in zip(*columns, strict=True))} |")
    told = machine()
    packages = ", ".join(f"{name} {told['packages'][name]}" for name in ("Django", "channels", "redis", "celery"))
    return TEXT.format(
        **{name: told[name] for name in ("date", "system", "cores", "cpu", "python", "redis")},
        packages=packages,
        seconds=SECONDS,
        reports=REPORTS,
        tasks=TASKS,
        after=AFTER,
        repetitions=REPETITIONS,
        no_task=NO_TASK,
        rows="\n".join(rows),
    )


def main() -> int:
    """Measure, print, write."""
    folder = Path(tempfile.mkdtemp(prefix="progress-cost-"))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    try:
        import django

        django.setup()
        text = page(measure(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(text)
    (ROOT / "docs" / "costs.md").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
