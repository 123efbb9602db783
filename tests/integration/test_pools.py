"""What a task may count on in every pool of Celery's: prefork, threads, solo and gevent."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from celery import current_app

from progress.control import cancel
from progress.record import Record, Status
from tests import jobs
from tests.complaints import complaints
from tests.processes import Site, group_exists, in_this_process, migrated_database, wait_until
from tests.watching import History, end_of, has_begun, look_at, running, send

POOLS = ("prefork", "threads", "solo", "gevent")
SEVERAL = {"prefork", "threads", "gevent"}  # at a time; solo answers nothing while a task runs
CAN_TERMINATE = {"prefork", "gevent"}
HAS_SOFT_LIMIT = {"prefork"}
HAS_HARD_LIMIT = {"prefork", "gevent"}


class PoolSite(Site):
    """Redis and one worker, whose log says who wrote each line."""

    def __init__(self, folder: Path, pool: str) -> None:
        super().__init__(folder, env={"DJANGO_SETTINGS_MODULE": "tests.pools_settings"}, pool=pool, concurrency=4)

    def start(self) -> Self:
        """Start both and wait until they are ready."""
        shutil.copy(migrated_database(), self.data / "db.sqlite3")
        self.redis.start()
        self.worker.start()
        return self


@pytest.fixture(scope="module", params=POOLS)
def running_pool(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PoolSite]:
    """A worker with this pool, for the whole module. What it wrote in all that time is looked at when it has left."""
    own = PoolSite(tmp_path_factory.mktemp(request.param) / "site", request.param)
    try:
        yield own.start()
        own.worker.stop()
        assert complaints(own.worker.output()) == []
    finally:
        own.stop()


@pytest.fixture
def pool(running_pool: PoolSite, settings: Any) -> Iterator[PoolSite]:
    """The worker with this pool; this process uses its Redis, prefix and queue."""
    with in_this_process(settings, running_pool.redis.url, running_pool.prefix):
        yield running_pool


def shown(record: Record) -> tuple[str, Any, Any]:
    """State, count and fraction."""
    snapshot = record.snapshot()
    return snapshot["state"], snapshot["current"], snapshot["fraction"]


@pytest.mark.parametrize("job", [jobs.keeps_an_account, jobs.runs_a_loop, jobs.runs_threads])
def test_final_count_is_what_the_job_counted_itself(pool: PoolSite, tmp_path: Path, job: Any) -> None:
    """A thousand reports, also from an event loop or from threads inside the body: none is lost, none doubled."""
    account = tmp_path / "account"
    with History(pool.redis) as history:
        task_id = send(job, str(account))
        look_at(task_id)
        record = end_of(task_id)
        assert history.ends(task_id) == ["SUCCESS"]
    assert shown(record) == ("SUCCESS", int(account.read_text()), 1)
    assert record.attempt == 1


def test_tasks_side_by_side_count_for_themselves(pool: PoolSite, tmp_path: Path) -> None:
    """Twenty tasks in one pool: each reporter is that of the task whose body asks for it."""
    accounts = [tmp_path / str(number) for number in range(20)]
    ids = [send(jobs.keeps_an_account, str(account), 200) for account in accounts]
    for task_id, account in zip(ids, accounts, strict=True):
        assert shown(end_of(task_id, 30)) == ("SUCCESS", int(account.read_text()), 1)


def test_every_end_is_told_once(pool: PoolSite) -> None:
    """Return, exception, retry, `Ignore`, `Reject`: what docs/architecture.md says of each, in every pool."""
    wanted: dict[Any, list[str]] = {
        jobs.quick: ["SUCCESS"],
        jobs.fails: ["FAILURE"],
        jobs.retries: ["RETRY", "SUCCESS"],
        jobs.ignores: ["IGNORED"],
        jobs.rejects: ["REJECTED"],
    }
    with History(pool.redis) as history:
        ids = {send(job): job for job in wanted}
        for task_id, job in ids.items():
            assert end_of(task_id).state == wanted[job][-1], job.name
        for task_id, job in ids.items():
            states = [state for state in history.states(task_id) if state not in {"PENDING", "STARTED", "PROGRESS"}]
            assert (job.name, states) == (job.name, wanted[job])
            assert (job.name, history.ends(task_id)) == (job.name, wanted[job][-1:])


def test_cancelled_task_stops_at_its_next_step(pool: PoolSite, tmp_path: Path) -> None:
    """The wish reaches the body, `finally` runs, and only then is it shown as cancelled."""
    notes = tmp_path / "notes"
    task_id = send(jobs.advances, str(notes))
    running(task_id)
    wait_until(notes.exists, 5, "the body has begun")
    assert cancel(task_id, "7") is Status.ACCEPTED
    assert end_of(task_id).state == "REVOKED"
    assert notes.read_text() == "began finally"


def test_task_that_is_terminated_ends_revoked_where_the_pool_can(pool: PoolSite, tmp_path: Path) -> None:
    """`revoke(terminate=True)` interrupts a body in prefork and gevent. Elsewhere it runs on, and is shown so."""
    begun = tmp_path / "begun"
    task_id = send(jobs.sleeps, str(begun), 60 if pool.worker.pool in CAN_TERMINATE else 2)
    wait_until(begun.exists, 10, "the body has begun")
    has_begun(task_id)
    current_app.control.revoke(task_id, terminate=True)
    assert end_of(task_id).state == ("REVOKED" if pool.worker.pool in CAN_TERMINATE else "SUCCESS")


def test_time_limits_are_failures_where_the_pool_has_them(pool: PoolSite) -> None:
    """The soft one is an exception in the body, of the hard one the main process tells."""
    jobs_of_pool = [jobs.exceeds_soft_limit] * (pool.worker.pool in HAS_SOFT_LIMIT)
    jobs_of_pool += [jobs.exceeds_hard_limit] * (pool.worker.pool in HAS_HARD_LIMIT)
    with History(pool.redis) as history:
        ids = [send(job) for job in jobs_of_pool]
        for task_id in ids:
            assert end_of(task_id).state == "FAILURE"
        # Said by Celery where a pool knows no limits: nothing, so there is nothing to be shown.
        assert [history.ends(task_id) for task_id in ids] == [["FAILURE"]] * len(jobs_of_pool)


def test_redis_that_stalls_costs_no_task_its_end(pool: PoolSite, tmp_path: Path) -> None:
    """Reports wait while Redis does not answer, tasks do not; what is said at last is right."""
    account, notes = tmp_path / "account", tmp_path / "notes"
    task_id = send(jobs.unstoppable, str(notes))
    running(task_id)
    pool.redis.suspend()
    try:
        wait_until(notes.exists, 10, "the body has ended")
    finally:
        pool.redis.resume()
    assert shown(end_of(task_id)) == ("SUCCESS", 150, 1)
    assert shown(end_of(send(jobs.keeps_an_account, str(account)))) == ("SUCCESS", int(account.read_text()), 1)


@pytest.mark.parametrize("pool_name", POOLS)
def test_worker_that_is_told_to_leave_says_all_and_leaves_nothing_behind(
    pool_name: str, tmp_path: Path, settings: Any
) -> None:
    """A warm shutdown in the middle of four tasks: they end, all is said, nothing goes wrong, and nobody is left.

    How long it takes is measured in test_exits.py, beside a worker that tracks nothing.
    """
    own = PoolSite(tmp_path / "site", pool_name)
    try:
        own.start()
        with in_this_process(settings, own.redis.url, own.prefix):
            tasks = 4 if pool_name in SEVERAL else 1
            ids = [send(jobs.count, 100, 0.01) for _ in range(tasks)]
            for task_id in ids:
                has_begun(task_id)
            own.worker.signal(signal.SIGTERM)
            wait_until(lambda: not own.worker.alive, 20, "the worker has left")
            # It is gone: what is not stored by now never will be.
            assert [shown(end_of(task_id, 0)) for task_id in ids] == [("SUCCESS", 100, 1)] * tasks
        assert own.worker.returncode == 0
        assert not group_exists(own.worker.pid)
        assert complaints(own.worker.output()) == []
    finally:
        own.stop()
