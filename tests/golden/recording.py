"""One of everything that this code writes and says, from real processes: tasks on a worker, pages at Daphne."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from celery import chain

from progress import key, rules
from progress.store import Write, get_store
from tests import jobs
from tests.processes import ROOT, Site
from tests.watching import when
from tests.wire import Wire, wire

from .shapes import Recording, one_of_each_shape
from .tap import Tap

# Tasks that come to their end by themselves, each in another way, and how they are sent.
LIVES: list[tuple[Any, tuple[Any, ...], dict[str, Any]]] = [
    (jobs.count, (5, 0.2), {}),
    (jobs.fails_openly, (), {}),
    (jobs.open_result, (), {}),
    (jobs.dies, (True,), {}),
    (jobs.retries, (1, 0.3), {}),
    (jobs.ignores, (), {}),
    (jobs.rejects, (), {}),
    (jobs.quick, (), {"countdown": 0.5, "expires": 0.1}),
]


def record(site: Site) -> Recording:
    """Play a task of every kind at `site`, which is for this alone; this process uses its store and broker.

    At the end its server has been told to leave.
    """
    with Tap(site.redis, site.prefix) as tap:
        play = Play(site)
        asyncio.run(play.everything())
    headers = [json.loads(text)["headers"] for text in tap.pushed]
    return {
        "writes": one_of_each_shape((kind_of_write(op, args), args) for op, args in tap.writes),
        "records": one_of_each_shape((f"task {fields['state']}", fields) for fields in play.records),
        "workflows": one_of_each_shape(("workflow", fields) for fields in play.workflows),
        "events": one_of_each_shape((kind_of_event(event), event) for event in tap.events),
        "headers": one_of_each_shape(("retry" if each["retries"] else "task", each) for each in headers),
        "told": one_of_each_shape(told(play.told)),
        "said": one_of_each_shape((message["type"], message) for message in what_the_page_says()),
    }


def kind_of_write(op: str, args: Mapping[str, str]) -> str:
    return f"{op} {args['state']}" if "state" in args else op


def kind_of_event(event: Mapping[str, Any]) -> str:
    text = event.get("snapshot")
    return f"{event['type']} {json.loads(text)['state']}" if text else f"{event['type']}"


def told(messages: Iterable[dict[str, Any]]) -> Iterable[tuple[str, dict[str, Any]]]:
    """Each message of the server with its kind; snapshots one by one, or no two frames were alike."""
    for heard in messages:
        message = {name: value for name, value in heard.items() if name != "ref"}  # that is the client's
        if message["type"] != "snapshots":
            yield message["type"], message
        for item in message["items"] if message["type"] == "snapshots" else ():
            yield f"snapshots {item['state']}", {**message, "items": [item]}


def what_the_page_says() -> list[dict[str, Any]]:
    """What the shipped page code says to a server, in the order in which it does."""
    program = Path(__file__).with_name("said.mjs")
    done = subprocess.run(["node", str(program)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


class Play:
    """A user who sends tasks and watches what becomes of them."""

    def __init__(self, site: Site) -> None:
        self.site, self.login = site, site.user()
        self.records: list[dict[str, str]] = []
        self.workflows: list[dict[str, str]] = []
        self.told: list[dict[str, Any]] = []

    async def everything(self) -> None:
        async with wire(self.site.ws, cookie=self.login.cookie) as page:
            await page.ask("watch", mine=True)
            await page.watch("nobody-knows-this-one")
            await page.ask("ping")
            await self.lives(page)
            await self.stages(page)
            await self.cancelled(page)
            await self.workflow(page)
            await self.nobody_runs_it(page)
            await asyncio.to_thread(self.site.web.stop)
            await page.closes()
            self.told += page.messages

    async def lives(self, page: Wire) -> None:
        for task, args, options in LIVES:
            task_id = self.send(task, *args, **options)
            await page.watch(task_id)
            await page.ends(task_id, seconds=20)
        self.keep()

    async def stages(self, page: Wire) -> None:
        path = self.site.folder / "stages"
        task_id = self.send(jobs.has_stages, str(path))
        await page.ask("logs", id=task_id)
        await page.sees(task_id, message="waiting")
        self.keep()
        path.touch()
        await page.ends(task_id)

    async def cancelled(self, page: Wire) -> None:
        task_id = self.send(jobs.advances, str(self.site.folder / "advances"))
        await page.watch(task_id)
        await page.sees(task_id, state="PROGRESS")
        await page.ask("cancel", id=task_id)
        await page.ends(task_id)
        await page.ask("cancel", id=task_id)  # it has ended
        self.keep()

    async def workflow(self, page: Wire) -> None:
        path = self.site.folder / "parts"
        later = self.send(chain(jobs.hold.si(str(path)), jobs.quick.si()))
        whole = self.send(jobs.sends_parts, str(path))
        await page.ask("watch", tree=whole)
        await page.watch(later, whole)
        await page.sees(whole, state="SUCCESS")
        self.keep()
        path.touch()
        await page.ends(later)
        await page.sees(whole, fraction=1)
        self.keep()
        await page.say("unwatch", all=True)
        await page.lives()

    async def nobody_runs_it(self, page: Wire) -> None:
        """One that waits where nobody listens, is taken, falls silent, and is heard of again; another, unwatched."""
        nobodys = f"{self.site.prefix}-nobody"
        jobs.quick.apply_async(queue=nobodys)
        task_id = self.send(jobs.quick, queue=nobodys)
        await page.watch(task_id)
        await page.ask("logs", id=task_id)  # it has none
        seen = when(task_id, lambda record: True)
        execution = {"exec": "e", "body": seen.body, "owner": seen.owner, "tree": seen.tree}
        self.write("unserved", task_id, value=1)
        self.keep()
        self.write("save", task_id, fence=0, n=1, age=0, state="STARTED", lease=1, attempt=1, run=1, **execution)
        silent = when(task_id, lambda record: record.state in {"STARTED", "LOST"})
        self.write("lost", task_id, exec="e", lease=1, seen=silent.seq)
        when(task_id, lambda record: record.state == "LOST")
        self.keep()
        self.write("renew", task_id, exec="e", lease=60_000_000)
        await page.lives()

    def send(self, task: Any, *args: Any, **options: Any) -> str:
        """Send a task, or a workflow, of the user; the answer is the key of its last step."""
        owner = {"progress-owner": str(self.login.pk)}
        return key(task.apply_async(args, headers=owner, **options).id)

    def write(self, op: str, task_id: str, **args: Any) -> None:
        """A call of the script, if this release knows it."""
        if op in rules._OPERATIONS:
            get_store().write(Write(op, task_id, args))

    def keep(self) -> None:
        """The records of all tasks, and the sums of all workflows, as they are now."""
        client = self.site.redis.client(decode_responses=True)
        for kind, found in (("task", self.records), ("tree", self.workflows)):
            found += [client.hgetall(name) for name in client.scan_iter(f"{self.site.prefix}:{kind}:*")]
        client.close()
