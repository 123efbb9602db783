"""``python -m tests.e2e.record_demo`` writes the snapshots that the page of examples (``/demo/``) shows.

They are what a page of the site was told of real tasks on a real worker. Two things are changed: ids become names,
and all are moved to one moment, `AT`, as if looked at together; some are looked at later than their
last change, or a pause would take as long here.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

AT: Final = datetime(2026, 11, 20, 13, 30, tzinfo=UTC)
OUT: Final = Path(__file__).parents[2] / "tasks/static/tasks/demo/recorded.json"
TIMES: Final = re.compile(r"_at$|^at$|^scheduled_for$")
LONG: Final = "Import customers-of-the-northern-branch-2026-final-corrected-version-3.csv for the accountants"
WRONG: Final = "Line 401 has 7 columns, not 9."
MESSAGE: Final = (
    "Line 17 214 has no postal code, so its address is looked up, which takes a moment longer than otherwise; "
    "nothing is lost, and whatever cannot be found is listed at the end."
)


class Recording:
    """A user's page, and what it is told of tasks while they are in the states that are wanted."""

    def __init__(self, site: Any, page: Any, user: str) -> None:
        self.site, self.page, self.user = site, page, user
        self.names: dict[str, str] = {}  # of ids
        self.snapshots: dict[str, Any] = {}
        self.logs: dict[str, Any] = {}
        self.trees: dict[str, Any] = {}

    def path(self, name: str) -> Path:
        """The file that lets this task go on."""
        return Path(self.site.folder / f"go-{name}")

    async def send(self, name: str, task: Any, *args: Any, **options: Any) -> str:
        """Send a task of the user and watch it."""
        sent = task.apply_async(args, headers={"progress-owner": self.user}, **options)
        await self.watch(name, sent.id)
        return str(sent.id)

    async def watch(self, name: str, task_id: str) -> None:
        """Watch a task that was sent a moment ago: its record may be written a moment later."""
        self.names[task_id] = name
        async with asyncio.timeout(10):
            while (await self.page.watch(task_id))["type"] != "watching":  # noqa: ASYNC110 (a refusal is no event)
                await asyncio.sleep(0.05)

    async def keep(
        self, name: str, task_id: str, *, after: float = 0, seconds: float = 30, least: float = 0, **wanted: Any
    ) -> None:
        """Wait until so much is done and the snapshot has these fields; keep it as it looks `after` seconds later."""
        shown = self.page.shown
        await self.page.until(
            lambda: shown.get(task_id, {}).get("current", 0) >= least, seconds, f"{least} of {name}"
        )
        found = await self.page.sees(task_id, seconds, **wanted)
        at = max(datetime.fromisoformat(found["updated_at"]), datetime.fromisoformat(self.at_of(found)))
        self.snapshots[name] = moved({**found, "id": name}, AT - at - timedelta(seconds=after))

    def at_of(self, snapshot: dict[str, Any]) -> str:
        """When the frame was sent that brought it."""
        frames = (each for each in reversed(self.page.all("snapshots")) if snapshot in each["items"])
        return str(next(frames)["at"])

    async def log(self, name: str, task_id: str) -> None:
        """Keep what was said of its log."""
        frames = self.page.all("logs", id=task_id)
        at = datetime.fromisoformat(frames[-1]["lines"][-1]["at"])
        self.logs[name] = [moved(frame, AT - at) for frame in frames]

    def written(self) -> str:
        """The file: one entry a line."""
        parts = {"snapshots": self.snapshots, "logs": self.logs, "trees": self.trees}
        sections = []
        for title, entries in parts.items():
            lines = ",\n".join(f"  {json.dumps(name)}: {compact(each)}" for name, each in sorted(entries.items()))
            sections.append(f" {json.dumps(title)}: {{\n{lines}\n }}")
        text = "{\n" + f' "at": "{iso(AT)}",\n' + ",\n".join(sections) + "\n}\n"
        for task_id, name in self.names.items():
            text = text.replace(task_id, name)
        return text


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moved(value: Any, by: timedelta) -> Any:
    """The same, some time later."""
    if isinstance(value, list):
        return [moved(each, by) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: iso(datetime.fromisoformat(each) + by) if each and TIMES.search(name) else moved(each, by)
        for name, each in value.items()
    }


async def record(site: Any, login: Any) -> str:
    """Play everything at `site`, which is for this alone."""
    from tests.wire import wire

    async with wire(site.ws, cookie=login.cookie) as page:
        recording = Recording(site, page, str(login.pk))
        await waiting(recording)
        for play in (running, workflow, retrying, ends, cancelled, odd, log):
            await play(recording)
        await lost(recording)
        return recording.written()


async def waiting(r: Recording) -> None:
    from celery import chain

    from . import recorded_jobs as jobs

    r.site.worker.suspend()
    task_id = await r.send("waiting", jobs.imports, "customers.csv", str(r.path("waiting")))
    await r.keep("waiting", task_id, state="PENDING")
    await r.page.ask("cancel", id=task_id)
    await r.keep("will-not-start", task_id, cancel_requested=True)
    r.site.worker.resume()
    task_id = await r.send("unserved", jobs.imports, "customers.csv", "", queue="reports")
    await r.keep("unserved", task_id, unserved=True)
    task_id = await r.send("scheduled", jobs.searches, "", countdown=7200)
    await r.keep("scheduled", task_id, after=300)
    first = jobs.installs.si("web-1", str(r.path("first"))).set(task_id="first-step")
    sent = chain(first, jobs.searches.si("")).apply_async(headers={"progress-owner": r.user})
    await r.watch("step", sent.id)
    await r.keep("step", sent.id, state="PENDING")


async def running(r: Recording) -> None:
    from . import recorded_jobs as jobs

    path = r.path("running")
    task_id = await r.send("running", jobs.imports, "customers.csv", str(path), 100_000, 70_000, 100)
    await r.keep("running", task_id, least=63_000)
    path.touch()
    await r.keep("done", task_id, after=42, state="SUCCESS")
    await r.keep("just-done", task_id, state="SUCCESS")
    path = r.path("searching")
    task_id = await r.send("unknown", jobs.searches, str(path))
    await r.keep("unknown", task_id, current=4182)
    path.touch()
    path = r.path("silent")
    task_id = await r.send("quiet", jobs.searches, str(path), False)
    await r.keep("quiet", task_id, after=240, current=4182)
    path.touch()
    path = r.path("video")
    task_id = await r.send("stages", jobs.makes_video, str(path))
    await r.keep("stages", task_id, current=84, message="Second pass")
    path.touch()
    await r.keep("stages-done", task_id, after=3600, state="SUCCESS")


async def workflow(r: Recording) -> None:
    from . import recorded_jobs as jobs

    path = r.path("hosts")
    task_id = await r.send("rollout", jobs.installs_everywhere, str(path))
    await r.page.ask("watch", tree=task_id)

    def all_there() -> bool:
        trees = r.page.all("tree", id=task_id)
        parts = [each for each in r.page.shown.values() if each.get("parent") == task_id]
        moving = [each for each in parts if each["current"] == 15 or each["final"]]
        return bool(trees) and trees[-1]["counts"].get("PROGRESS") and trees[-1]["failed"] and len(moving) >= 4

    await r.page.until(all_there, 30, "one part has failed, one is done, others run")
    await r.keep("rollout", task_id, state="SUCCESS")
    tree = r.page.all("tree", id=task_id)[-1]
    for place, part in enumerate(tree["members"]):
        if part != task_id:
            r.names[part] = f"host-{place}"
            await r.keep(f"host-{place}", part)
    r.trees["rollout"] = moved(tree, AT - datetime.fromisoformat(tree["at"]))
    path.touch()


async def retrying(r: Recording) -> None:
    from . import recorded_jobs as jobs

    task_id = await r.send("retrying", jobs.fetches, str(r.path("mail")))
    await r.keep("retrying", task_id, state="RETRY", after=10)
    path = r.path("mail-2")
    task_id = await r.send("second-attempt", jobs.fetches, str(path), 1)
    await r.keep("second-attempt", task_id, current=20)
    path.touch()
    path = r.path("back-up")
    task_id = await r.send("again", jobs.backs_up, str(path))
    await r.keep("again", task_id, current=270)
    path.touch()


async def ends(r: Recording) -> None:
    from . import recorded_jobs as jobs

    path = r.path("failed")
    path.touch()
    task_id = await r.send("failed", jobs.imports, "orders.csv", str(path), 1000, 400, 4, WRONG)
    await r.keep("failed", task_id, after=95, state="FAILURE")
    task_id = await r.send("rejected", jobs.rejects)
    await r.keep("rejected", task_id, after=20, state="REJECTED")
    task_id = await r.send("ignored", jobs.ignores)
    await r.keep("ignored", task_id, after=20, state="IGNORED")
    task_id = await r.send("expired", jobs.rejects, countdown=0.5, expires=0.1)
    await r.keep("expired", task_id, after=20, state="REVOKED")


async def cancelled(r: Recording) -> None:
    from . import recorded_jobs as jobs

    path = r.path("cancel")
    task_id = await r.send("cancelling", jobs.searches, str(path), False)
    await r.page.sees(task_id, current=4182)
    await r.page.ask("cancel", id=task_id)
    await r.keep("cancelling", task_id, cancel_requested=True, final=False)
    path.touch()
    task_id = await r.send("cancelled", jobs.imports, "customers.csv", str(r.path("cancelled")), 1000, 250)
    await r.page.sees(task_id, 30, current=250)
    await r.page.ask("cancel", id=task_id)
    await r.keep("cancelled", task_id, after=20, state="REVOKED")


async def odd(r: Recording) -> None:
    from . import recorded_jobs as jobs

    texts: dict[str, tuple[Any, ...]] = {
        "long": (LONG, str(r.path("odd")), MESSAGE, 17_214, 48_000),
        "rtl": ("استيراد العملاء من الملف customers.csv", str(r.path("odd")), "قراءة الصفوف من 1 إلى 500", 300, 500),
        "huge": ("Count the beach", str(r.path("odd")), "", 7_512_344_098_127, 9_007_199_254_740_991),
    }
    for name, args in texts.items():
        task_id = await r.send(name, jobs.counts, *args)
        await r.keep(name, task_id, current=args[3])
        r.path("odd").touch()
        await r.page.ends(task_id)
        r.path("odd").unlink()


async def log(r: Recording) -> None:
    from . import recorded_jobs as jobs

    for name, lines in (("log", 60), ("long-log", 1300)):
        path, more = r.path(name), r.path(f"{name}.more")
        task_id = await r.send(name, jobs.writes_log, str(path), lines)
        await r.page.sees(task_id, 30, current=lines)
        await r.page.ask("logs", id=task_id)
        await r.page.until(lambda each=task_id: r.page.lines.get(each), 10, "the log has lines")
        await r.keep(name, task_id)
        if name == "log":
            before = len(r.page.lines[task_id])
            more.touch()
            await r.page.until(lambda each=task_id, was=before: len(r.page.lines[each]) >= was + 3, 10, "three more")
        await r.log(name, task_id)
        more.touch()
        path.touch()


async def lost(r: Recording) -> None:
    """Last, because it costs a worker each."""
    from . import recorded_jobs as jobs

    task_id = await r.send("interrupted", jobs.imports, "orders.csv", str(r.path("stop")), 1000, 120)
    await r.page.sees(task_id, 30, current=120)
    r.site.worker.signal(signal.SIGQUIT)
    await r.keep("interrupted", task_id, after=20, state="LOST")
    r.site.worker.kill()
    r.site.worker.start()
    task_id = await r.send("lost", jobs.imports, "orders.csv", str(r.path("lost")), 1000, 410)
    await r.page.sees(task_id, 30, current=410)
    r.site.worker.kill()
    await r.keep("lost", task_id, state="LOST", after=12)


def main() -> None:
    """Record, and write the file."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    import django

    django.setup()
    from django.conf import settings

    from tests.processes import Site, in_this_process

    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder) / "site", concurrency=8, worker_args=("--include", "tests.e2e.recorded_jobs"))
        try:
            site.start()
            with in_this_process(settings, site.redis.url, site.prefix):
                text = asyncio.run(record(site, site.user()))
        finally:
            site.stop()
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(text)
    print(f"{OUT}: {len(json.loads(text)['snapshots'])} snapshots, {len(text):,} bytes")


if __name__ == "__main__":
    main()
