"""`python -m bench.task_cost`: what one task costs the Redis that keeps the records, and writes `docs/costs.md`.

The broker and the results are in another Redis, so every command that is counted is ours. Counts, not times: they do
not depend on the machine, but a little on chance (how often a report falls into an interval).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.overheard import Overheard
from tests.processes import ROOT, Redis, Site, in_this_process, wait_until

TASKS = 6  # at the same time
SECONDS = 4.0  # that each of them takes
REPORTS = 400  # of each
NOT_THEIRS = ("HMGET", "CLIENT", "HELLO", "INFO", "SELECT")  # this module's, connecting


@dataclass(frozen=True)
class Cost:
    """Of one task: commands from outside of scripts, those inside, and bytes that stay when it has ended."""

    name: str
    outside: float
    inside: float
    kept: float


TEXT = """# What a task costs Redis

One task that runs {seconds:g} s and reports {reports} times; {tasks} of them at once, with a Redis of their own for
the records, so what is counted is all ours. `python -m bench.task_cost` measures it again and writes this page.

| the task | commands | inside scripts | bytes kept after its end | rows in the database |
|---|---|---|---|---|
{rows}

- **commands**: what processes send to that Redis, shared out among the tasks; connecting is left out.
  A task that somebody watches is stored and announced ten times a second, and its server looks at it every few
  seconds; one that nobody watches is stored every four seconds, however often it reports.
- **inside scripts**: what `record.lua` and its shortcuts do in them; no round trip.
- **bytes**: the record, what waits for the recorder of runs, and its share of its owner's list or of its group's
  sums, as `MEMORY USAGE` has it. They are
  kept for `PROGRESS_RETENTION`, a day; the record for ten minutes when nobody owned or watched the task.
- A line of the log takes about 100 bytes more; at most 1 000 lines of 500 characters are kept per task.
- What is not tracked (`track=False`, `PROGRESS_IGNORE`, not in `PROGRESS_TRACK`) costs nothing. What
  stands there all the same is the worker's: every 3 s it says to which queues it listens and that its tasks live, and
  looks for lost ones, all in one command. A task that is silent for 4.5 s gives a sign of life of its own.
- No row is written: what is known of tasks is in Redis only.
"""


def measure(folder: Path) -> list[Cost]:
    """The costs of each kind of task."""
    from django.conf import settings
    from django.test import override_settings

    records = Redis(folder, name="records").start()
    env = {"DJANGO_SETTINGS_MODULE": "tests.apart_settings", "RECORDS_URL": records.url}
    found = []
    try:
        with _site(folder / "site", env) as site, in_this_process(settings, site.redis.url, site.prefix):
            settings.PROGRESS_REDIS_URL = records.url
            found += [_cost(name, send, records, site) for name, send in _kinds(site).items()]
        untracked = {**env, "DJANGO_SETTINGS_MODULE": "bench.untracked_settings"}
        with (
            _site(folder / "untracked", untracked) as site,
            in_this_process(settings, site.redis.url, site.prefix),
            override_settings(PROGRESS_IGNORE=["*"], PROGRESS_REDIS_URL=records.url),
        ):
            found.append(_cost("not tracked", lambda: _send(TASKS), records, site))
    finally:
        records.kill()
    return found


@contextmanager
def _site(folder: Path, env: dict[str, str]) -> Iterator[Site]:
    site = Site(folder, env=env, concurrency=TASKS)
    try:
        yield site.start()
    finally:
        site.stop()


def _kinds(site: Site) -> dict[str, Callable[[], list[str]]]:
    import progress

    login = site.user()

    def owned() -> list[str]:
        with progress.owner(login.pk):
            return _send(TASKS)

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

    return {
        "nobody owns it, nobody watches": lambda: _send(TASKS),
        "owned, nobody watches": owned,
        "owned, one browser watches": watched,
        "part of a group, nobody watches": grouped,
    }


def _send(number: int) -> list[str]:
    from tests import jobs

    return [str(jobs.count.delay(REPORTS, SECONDS / REPORTS).id) for _ in range(number)]


def _cost(name: str, send: Callable[[], list[str]], records: Redis, site: Site) -> Cost:
    from celery.result import AsyncResult

    with records.client() as client:
        client.flushall()
        with Overheard(records) as heard:
            ids = send()
            for task_id in ids:
                wait_until(AsyncResult(task_id).ready, 60, f"the end of {task_id}")
            if name != "not tracked":
                keys = [f"{site.prefix}:task:{task_id}" for task_id in ids]
                wait_until(lambda: all(client.hmget(key, "state") == [b"SUCCESS"] for key in keys), 10, "their ends")
                looked = len(keys)
            else:
                looked = 0
        kept = sum(client.memory_usage(key) or 0 for key in client.scan_iter(f"{site.prefix}:*"))
    outside = sum(count for kind, count in heard.outside.items() if kind.split()[0] not in NOT_THEIRS)
    if looked and not any(kind.startswith("EVALSHA") for kind in heard.outside):
        raise RuntimeError(f"No task was stored: {name}.")
    return Cost(name, outside / TASKS, sum(heard.inside.values()) / TASKS, kept / TASKS)


def page(costs: list[Cost]) -> str:
    """The page for people."""
    rows = [f"| {cost.name} | {cost.outside:.1f} | {cost.inside:.1f} | {cost.kept:,.0f} | 0 |" for cost in costs]
    return TEXT.format(seconds=SECONDS, reports=REPORTS, tasks=TASKS, rows="\n".join(rows))


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
