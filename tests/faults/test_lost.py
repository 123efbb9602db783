"""What is shown when something is killed: each process in turn, then all of them, with a task in each stage of life.

The table is that of docs/when-things-die.md. Everything is real: SIGKILL, Redis, workers, Daphne, and a page with a
WebSocket that comes back by itself. All cells share one site, because most of their time is waiting.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from django.conf import settings
from django.test import override_settings

from tests import jobs
from tests.pages import Page
from tests.processes import ROOT, Login, Site, Worker, in_this_process
from tests.watching import end_of, record_of, running, send

UNSERVED = "waiting, but no worker listens to “{queue}”"


class Shown(NamedTuple):
    """What a person reads, and within how many seconds: of the kill, or of the return where that is said."""

    words: str
    seconds: int


# What is killed → what is then shown of a task that was queued, running, ended.
TABLE: dict[str, tuple[Shown, Shown, Shown]] = {
    "the whole worker": (Shown(UNSERVED, 25), Shown("lost (presumed)", 20), Shown("done", 5)),
    "the worker's main process": (Shown(UNSERVED, 25), Shown("lost (presumed)", 20), Shown("done", 5)),
    "the worker's child process": (Shown("running", 10), Shown("failed", 5), Shown("done", 5)),
    "Redis, then back": (Shown("waiting for a worker", 10), Shown("running", 10), Shown("done", 10)),
    "the web process, then back": (Shown("waiting for a worker", 5), Shown("running", 5), Shown("done", 5)),
    "everything, then back": (Shown("running", 20), Shown("lost (presumed)", 20), Shown("done", 10)),
}
STAGES = ("queued", "running", "ended")


class Life(NamedTuple):
    """Three tasks of one worker, by their ids."""

    queued: str
    running: str
    ended: str


class Cells:
    """Carries out the kills and notes for each cell what was wrong."""

    def __init__(self, site: Site, page: Page, login: Login, folder: Path) -> None:
        self.site, self.page, self.login, self.folder = site, page, login, folder
        self.wrong: dict[tuple[str, str], BaseException | None] = {}
        self.gate = folder / "never"

    @contextmanager
    def cell(self, killed: str, stage: str, queue: str = "") -> Iterator[Shown]:
        """One cell: what is asserted in the block is its verdict."""
        words, seconds = TABLE[killed][STAGES.index(stage)]
        try:
            yield Shown(words.format(queue=queue), seconds)
        except AssertionError as error:
            self.wrong[killed, stage] = error
        else:
            self.wrong[killed, stage] = None

    def live(self, queue: str, *, fillers: int = 0) -> Life:
        """A task that has ended, one that runs, and one that waits behind it."""
        options = {"queue": queue, "headers": {"progress-owner": str(self.login.pk)}}
        ended = send(jobs.quick, options=options)
        self.page.watch(ended)
        end_of(ended)
        begun = send(jobs.steps, str(self.gate), options=options)
        running(begun)
        for _ in range(fillers):
            send(jobs.quick, options=options)
        queued = send(jobs.steps, str(self.gate), options=options)
        life = Life(queued, begun, ended)
        self.page.watch(*life)
        for task_id, words in zip(life, ("waiting for a worker", "running", "done"), strict=True):
            self.page.says(task_id, words, 10)
        self.moves(begun, 10)
        return life

    def moves(self, task_id: str, seconds: float) -> None:
        """The bar goes on."""
        before = self.page.shown[task_id]["current"]
        self.page.sees(task_id, lambda newest: newest["current"] > before, seconds, f"more than {before}")

    def reloaded(self, task_id: str, shown: Shown) -> None:
        """A page that is opened now reads this."""
        with Page(self.site.ws, self.login.cookie) as fresh:
            fresh.watch(task_id)
            fresh.says(task_id, shown.words, shown.seconds)
            assert fresh.sentences(task_id) == [shown.words]

    # --- The kills -----------------------------------------------------------------------------------------

    def kill_workers(self, whole: Worker, main: Worker, child: Worker) -> None:
        """Three workers at once."""
        lives = {worker: self.live(worker.name) for worker in (whole, main, child)}
        killed_at = time.monotonic()
        process = record_of(lives[child].running)
        assert process is not None
        os.kill(int(process.process.partition("-")[0]), signal.SIGKILL)
        main.kill_main()
        whole.kill()
        self._child_is_killed(lives[child], killed_at)
        self._worker_is_gone("the whole worker", lives[whole], whole.name, killed_at)
        self._worker_is_gone("the worker's main process", lives[main], main.name, killed_at)

    def _child_is_killed(self, life: Life, killed_at: float) -> None:
        killed = "the worker's child process"
        with self.cell(killed, "running") as shown:
            self.page.says(life.running, shown.words, shown.seconds, since=killed_at)
        with self.cell(killed, "queued") as shown:
            self.page.says(life.queued, shown.words, shown.seconds, since=killed_at)
            self.moves(life.queued, 10)
        with self.cell(killed, "ended") as shown:
            self.reloaded(life.ended, shown)

    def _worker_is_gone(self, killed: str, life: Life, queue: str, killed_at: float) -> None:
        with self.cell(killed, "ended") as shown:
            self.reloaded(life.ended, shown)
        with self.cell(killed, "running") as shown:
            self.page.says(life.running, shown.words, shown.seconds, since=killed_at)
            assert self.page.sentences(life.running)[-2:] == ["running", shown.words]
        with self.cell(killed, "queued", queue) as shown:
            self.page.says(life.queued, shown.words, shown.seconds, since=killed_at)

    def kill_web(self, life: Life) -> None:
        """Daphne alone; the same one comes back."""
        killed = "the web process, then back"
        connections = self.page.connections
        self.site.web.kill()
        self.site.web.start()
        with self.cell(killed, "running") as shown:
            self.moves(life.running, shown.seconds)
            assert self.page.now(life.running) == shown.words
            assert self.page.connections > connections
        for stage in ("queued", "ended"):
            with self.cell(killed, stage) as shown:
                self.reloaded(getattr(life, stage), shown)

    def kill_redis(self, life: Life) -> None:
        """Redis alone; it keeps its data."""
        killed = "Redis, then back"
        self.site.redis.kill()
        self.site.redis.start()
        with self.cell(killed, "running") as shown:
            self.moves(life.running, shown.seconds)
            assert self.page.now(life.running) == shown.words
        for stage in ("queued", "ended"):
            with self.cell(killed, stage) as shown:
                self.reloaded(getattr(life, stage), shown)

    def kill_everything(self, life: Life) -> None:
        """All at once, as when the plug is pulled; then all of it comes back."""
        killed = "everything, then back"
        servers = (self.site.worker, self.site.web, self.site.redis)
        for server in servers:
            server.signal(signal.SIGKILL, group=True)
        for server in servers:
            server.kill()
        self.site.redis.start()
        self.site.web.start(wait=False)
        self.site.worker.start(wait=False)
        self.site.web.wait_ready()
        back = time.monotonic()
        with self.cell(killed, "ended") as shown:
            self.reloaded(life.ended, shown)
        with self.cell(killed, "queued") as shown:
            self.page.says(life.queued, shown.words, shown.seconds, since=back)
            self.moves(life.queued, 5)
        with self.cell(killed, "running") as shown:
            self.page.says(life.running, shown.words, shown.seconds, since=back)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cells]:
    """Every cell, carried out once."""
    folder = tmp_path_factory.mktemp("lost")
    alone = ["--prefetch-multiplier", "1"]
    site = Site(folder / "site", keep_redis=True, concurrency=1, worker_args=alone)
    workers: list[Worker] = []
    try:
        site.start()
        workers += [_worker(site, name) for name in ("whole", "main", "child")]
        for worker in workers:
            worker.wait_ready()
        login = site.user()
        with (
            override_settings(),
            in_this_process(settings, site.redis.url, site.prefix),
            Page(site.ws, login.cookie) as page,
        ):
            done = Cells(site, page, login, folder)
            done.kill_workers(*workers)
            for worker in workers:
                worker.kill()
            # A worker has a message or two in hand, which the broker would give back much later: not this one.
            life = done.live(site.prefix, fillers=3)
            done.kill_web(life)
            done.kill_redis(life)
            done.kill_everything(life)
        yield done
    finally:
        for worker in workers:
            worker.kill()
        site.stop()


def _worker(site: Site, name: str) -> Worker:
    queue = ["--queues", name, "--prefetch-multiplier", "1"]
    return Worker(site.folder, site.env, name=name, concurrency=1, args=queue).start(wait=False)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("killed", TABLE)
def test_what_is_shown_is_what_the_table_says(cells: Cells, killed: str, stage: str) -> None:
    """Whatever is killed, a page that stays open, or is opened then, reads the truth in the time of the table."""
    assert (killed, stage) in cells.wrong, "the cell was never tried"
    if error := cells.wrong[killed, stage]:
        raise error


def test_the_page_has_this_table() -> None:
    """docs/when-things-die.md promises what is tested here, no more and no less."""
    lines = (ROOT / "docs/when-things-die.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("| ") and line[2:].split(" |")[0] in TABLE]
    assert rows == [f"| {killed} | {' | '.join(map(_told, row))} |" for killed, row in TABLE.items()]


def _told(shown: Shown) -> str:
    return f"*{shown.words.format(queue='…')}*, {shown.seconds} s"
