"""Who is called lost, and who is not: workers that stand still, are stopped or recycled; messages that come twice.

Real workers, and a page that reads what is shown.

Most of their time is waiting, so all cases of this module run at the same time on one site.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import current_app
from django.conf import settings
from django.test import override_settings

from tests import jobs
from tests.pages import Page
from tests.processes import Login, Site, Worker, in_this_process, wait_until
from tests.watching import History, end_of, record_of, running, send

NOTICED = 20  # seconds from the last sign of life to LOST
HEALED = 5  # seconds from the first sign after that


class Place:
    """The site, somebody's page, and a file name that is free."""

    def __init__(self, site: Site, login: Login, page: Page, folder: Path) -> None:
        self.site, self.login, self.page = site, login, page
        self._folder = folder

    def path(self) -> Path:
        """Where no file is yet."""
        return self._folder / uuid4().hex

    def worker(self, name: str, *args: str, pool: str = "prefork", concurrency: int = 1, **env: str) -> Worker:
        """One more worker, for the queue of its name. Killed with the site."""
        queues = ["--queues", name, "--prefetch-multiplier", "1", *args]
        worker = Worker(
            self.site.folder, {**self.site.env, **env}, name=name, pool=pool, concurrency=concurrency, args=queues
        )
        self.site._workers.append(worker)
        return worker.start()

    def send(self, task: Any, *args: Any, queue: str = "", **options: Any) -> str:
        """Send a task of the page's user and show it."""
        where = {"queue": queue} if queue else {}
        headers = {"progress-owner": str(self.login.pk)}
        task_id = send(task, *args, options={**where, "headers": headers, **options})
        self.page.watch(task_id)
        return task_id

    def moves(self, task_id: str, seconds: float = 5) -> None:
        """The bar goes on."""
        before = self.page.shown[task_id]["current"]
        self.page.sees(task_id, lambda newest: newest["current"] > before, seconds, f"more than {before}")

    @staticmethod
    def passes(seconds: float, since: float) -> None:
        """Let time pass until `seconds` after `since` (monotonic): what is tried is what time alone does."""
        wait_until(lambda: time.monotonic() >= since + seconds, seconds + 5)


# --- All at once -------------------------------------------------------------------------------------------

Case = Callable[[Place], None]
_cases: dict[str, Case] = {}


def at_once(case: Case) -> Callable[[dict[str, Future[None]]], None]:
    """A test that runs beside the others of this module; what it is given is the `Place`."""
    name = case.__name__
    _cases[name] = case

    @pytest.mark.timeout(300)
    def test(together: dict[str, Future[None]]) -> None:
        together[name].result(280)

    test.__name__, test.__doc__ = name, case.__doc__
    return test


@pytest.fixture(scope="module")
def together(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, Future[None]]]:
    """Every chosen case of this module, begun at the same time."""
    folder = tmp_path_factory.mktemp("leases")
    env = {"DJANGO_SETTINGS_MODULE": "tests.lost_settings"}
    site = Site(folder / "site", env=env, concurrency=4)
    chosen = [item.name for item in request.session.items if item.path == request.path and item.name in _cases]
    try:
        site.start()
        login = site.user()
        with (
            override_settings(),
            in_this_process(settings, site.redis.url, site.prefix),
            Page(site.ws, login.cookie) as page,
            ThreadPoolExecutor(len(chosen)) as threads,
        ):
            place = Place(site, login, page, folder)
            yield {name: threads.submit(_cases[name], place) for name in chosen}
    finally:
        site.stop()


# --- Alive, but slow to say so -----------------------------------------------------------------------------


@at_once
def test_a_task_that_holds_its_process_is_not_accused(place: Place) -> None:
    """A body that lets no other thread run for 24 s: its worker's main process gives the signs of life."""
    gate = place.path()
    with History(place.site.redis) as history:
        task_id = place.send(jobs.holds_the_interpreter, str(gate), 24)
        place.page.says(task_id, "running", 10)
        gate.touch()
        place.page.says(task_id, "done", 60)
        assert "LOST" not in history.states(task_id)
    assert "lost (presumed)" not in place.page.sentences(task_id)


def _holds_everything(place: Place, pool: str) -> None:
    gate = place.path()
    place.worker(pool, pool=pool)
    task_id = place.send(jobs.holds_the_interpreter, str(gate), 24, queue=pool)
    place.page.says(task_id, "running", 10)
    began = time.monotonic()
    gate.touch()
    place.page.says(task_id, "lost (presumed)", NOTICED + 2, since=began)
    place.passes(24, began)
    place.page.says(task_id, "done", HEALED, since=time.monotonic())
    assert end_of(task_id).attempt == 1


@at_once
def test_a_pool_of_threads_that_is_held_is_presumed_lost_and_taken_back(place: Place) -> None:
    """Where body and main process are one, 24 s without a sign are a presumption, and its end is shown after all."""
    _holds_everything(place, "threads")


@at_once
def test_a_solo_worker_that_is_held_is_presumed_lost_and_taken_back(place: Place) -> None:
    """The same in the solo pool."""
    _holds_everything(place, "solo")


@at_once
def test_a_worker_that_stands_still_for_10_s_is_not_accused(place: Place) -> None:
    """A suspended machine that comes back in time was never lost."""
    worker, gate = place.worker("briefly"), place.path()
    task_id = place.send(jobs.steps, str(gate), queue="briefly")
    place.page.says(task_id, "running", 10)
    worker.suspend()
    place.passes(10, time.monotonic())
    worker.resume()
    place.moves(task_id)
    gate.touch()
    place.page.says(task_id, "done", HEALED)
    assert "lost (presumed)" not in place.page.sentences(task_id)


@at_once
def test_a_worker_that_stands_still_for_24_s_is_presumed_lost_and_taken_back(place: Place) -> None:
    """It goes on where it was: the same attempt, and its own end."""
    worker, gate = place.worker("long"), place.path()
    task_id = place.send(jobs.steps, str(gate), queue="long")
    place.page.says(task_id, "running", 10)
    stopped = time.monotonic()
    worker.suspend()
    place.page.says(task_id, "lost (presumed)", NOTICED, since=stopped)
    place.passes(24, stopped)
    worker.resume()
    place.page.says(task_id, "running", HEALED)
    place.moves(task_id)
    gate.touch()
    place.page.says(task_id, "done", HEALED)
    assert end_of(task_id).attempt == 1


@at_once
def test_children_that_are_replaced_after_each_task_lose_nothing(place: Place) -> None:
    """`--max-tasks-per-child 1`: 200 brief tasks and one of 8 s all end, and none is ever called lost."""
    place.worker("recycled", "--max-tasks-per-child", "1", concurrency=2)
    with History(place.site.redis) as history:
        long = place.send(jobs.count, 80, 0.1, queue="recycled")
        with current_app.producer_or_acquire() as producer:
            ids = [jobs.quick.apply_async(queue="recycled", producer=producer).id for _ in range(200)]
        for task_id in (*ids, long):
            assert end_of(task_id, 80).state == "SUCCESS"
        told = [history.states(task_id) for task_id in (*ids, long)]
    assert [states for states in told if "LOST" in states] == []


# --- Stopped in the middle ---------------------------------------------------------------------------------


@at_once
def test_what_a_soft_shutdown_cuts_off_is_interrupted(place: Place) -> None:
    """Celery announces a retry that nobody will make; a person reads that the worker was stopped, at once."""
    worker = place.worker("soft", SOFT_SHUTDOWN_TIMEOUT="2")
    task_id = place.send(jobs.steps, str(place.path()), queue="soft")
    place.page.says(task_id, "running", 10)
    worker.signal(signal.SIGQUIT)
    told = place.page.says(task_id, "interrupted, its worker was stopped", 10)
    assert (told["state"], told["final"]) == ("LOST", False)
    wait_until(lambda: not worker.alive, 15, "the worker has left")
    left = time.monotonic()
    # Nor does the passing of its lease change that, or anybody retry.
    place.passes(NOTICED, left)
    assert place.page.sentences(task_id)[-2:] == ["running", "interrupted, its worker was stopped"]


@at_once
def test_what_is_acknowledged_late_is_lost_and_runs_again(place: Place) -> None:
    """A worker that is stopped cold says nothing of it: LOST by silence, then the next worker's second attempt."""
    worker, gate = place.worker("late"), place.path()
    task_id = place.send(jobs.late_steps, str(gate), queue="late")
    place.page.says(task_id, "running", 10)
    worker.signal(signal.SIGQUIT)
    place.page.says(task_id, "lost (presumed)", NOTICED, since=time.monotonic())
    wait_until(lambda: not worker.alive, 15, "the worker has left")
    worker.start()
    place.page.says(task_id, "running again (2)", 15)
    gate.touch()
    place.page.says(task_id, "done", HEALED)


@at_once
def test_a_message_that_comes_back_after_its_child_died_runs_again(place: Place) -> None:
    """`reject_on_worker_lost`: of the first attempt's death Celery says nothing; the second says itself."""
    gate = place.path()
    task_id = place.send(jobs.late_dies_once, str(gate))
    place.page.says(task_id, "running", 10)
    gate.touch()
    place.page.says(task_id, "running again (2)", 15)
    Path(f"{gate}.end").touch()
    place.page.says(task_id, "done", HEALED)
    assert [words for words in place.page.sentences(task_id) if words != "waiting for a worker"] == [
        "running",
        "running again (2)",
        "done",
    ]


# --- Twice at a time ---------------------------------------------------------------------------------------


@at_once
def test_of_two_executions_at_a_time_only_the_later_is_shown(place: Place) -> None:
    """A broker that loses patience delivers the message again while the first execution runs. That one is fenced:
    neither its reports nor its end are shown.
    """
    broker = place.site.redis.url.removesuffix("/0") + "/1"  # by itself: impatience is for everybody's messages
    place.worker("impatient", concurrency=3, BROKER_URL=broker, VISIBILITY_TIMEOUT="6")
    gate = place.path()
    with current_app.connection_for_write(broker) as connection, History(place.site.redis) as history:
        task_id = place.send(jobs.late_steps, str(gate), queue="impatient", connection=connection)
        first = running(task_id).exec
        place.page.says(task_id, "running again (2)", 30)
        Path(f"{gate}.1").touch()
        succeeded = f"tests.jobs.late_steps[{task_id}] succeeded"
        worker = place.site._workers[[each.name for each in place.site._workers].index("impatient")]
        wait_until(lambda: succeeded in worker.output(), 10, "the first execution has ended")
        place.moves(task_id)
        assert place.page.now(task_id).startswith("running again")
        gate.touch()
        place.page.says(task_id, "done", HEALED)
        writers = [change["exec"] for change in history.changes(task_id) if change.get("exec")]
        assert history.ends(task_id) == ["SUCCESS"]
    assert writers[0] == first
    assert first not in writers[writers.index(next(each for each in writers if each != first)) :]


# --- Never begun -------------------------------------------------------------------------------------------


@at_once
def test_a_queue_that_nobody_serves_is_said_until_somebody_does(place: Place) -> None:
    """A wrong queue name, or no worker at all: within seconds a person reads which queue it is."""
    gate = place.path()
    task_id = place.send(jobs.steps, str(gate), queue="reports")
    told = place.page.says(task_id, "waiting, but no worker listens to “reports”", 15)
    assert (told["state"], told["queue"], told["unserved"]) == ("PENDING", "reports", True)
    place.worker("reports")
    told = place.page.says(task_id, "running", 10)
    assert "unserved" not in told
    # A second one waits behind it, for a worker that is there.
    behind = place.send(jobs.quick, queue="reports")
    place.page.says(behind, "waiting for a worker", 5)
    place.passes(10, time.monotonic())
    assert place.page.sentences(behind) == ["waiting for a worker"]
    gate.touch()
    place.page.says(behind, "done", 10)


@at_once
def test_who_expired_in_the_queue_is_said_to_have_expired(place: Place) -> None:
    """Not "cancelled": nobody has cancelled it."""
    task_id = place.send(jobs.quick, expires=-1)
    assert place.page.says(task_id, "expired, no worker took it in time", 15)["attempt"] == 0


# --- What outlives its task --------------------------------------------------------------------------------


@at_once
def test_a_process_and_a_thread_that_outlive_their_task_change_nothing(place: Place) -> None:
    """They go on reporting after its end; the end stays, and the worker goes on."""
    path = place.path()
    task_id = place.send(jobs.outlived, str(path))
    place.page.says(task_id, "done", 20)
    ended = record_of(task_id)
    assert ended is not None
    notes = {who: Path(f"{path}.{who}") for who in ("fork", "thread")}
    written = {who: os.path.getsize(note) for who, note in notes.items()}
    for who, note in notes.items():
        wait_until(lambda note=note, who=who: os.path.getsize(note) > written[who] + 500, 20, f"the {who} reports")
    try:
        now = record_of(task_id)
        assert now is not None
        assert (now.seq, now.body) == (ended.seq, ended.body)
        assert place.page.sentences(task_id)[-1] == "done"
        place.page.says(place.send(jobs.quick), "done", 10)
    finally:
        Path(f"{path}.stop").touch()
