"""Ways in which Celery misleads who follows it, on a real worker: what is shown is true all the same."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from progress import sending
from tests import jobs
from tests.complaints import complaints
from tests.processes import Site, in_this_process
from tests.watching import History, end_of, record_of, send


@pytest.fixture(scope="module")
def running_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    own = Site(tmp_path_factory.mktemp("failures-celery") / "site", concurrency=4, keep_redis=True)
    try:
        own.redis.start()
        own.worker.start()
        yield own
    finally:
        own.stop()


@pytest.fixture
def worker(running_worker: Site, settings: Any) -> Iterator[Site]:
    """Redis and a worker with four processes."""
    with in_this_process(settings, running_worker.redis.url, running_worker.prefix):
        yield running_worker


def test_a_retry_at_once_never_shows_as_waiting_after_it_began(worker: Site) -> None:
    """Another process may begin the next attempt before the last one has told that it retries. 100 times."""
    with History(worker.redis) as history:
        sent = [send(jobs.retries, times=2, countdown=0) for _ in range(100)]
        for task_id in sent:
            record = end_of(task_id, 60)
            assert (record.state, record.attempt) == ("SUCCESS", 3)
        for task_id in sent:
            attempts = [fields for fields in history.changes(task_id) if "attempt" in fields or "state" in fields]
            numbers = [int(fields["attempt"]) for fields in attempts if "attempt" in fields]
            assert numbers == sorted(numbers)
            assert history.ends(task_id) == ["SUCCESS"]


def test_a_result_backend_that_says_something_else_after_the_end_changes_nothing(worker: Site) -> None:
    """`update_state` of a zombie overwrites a failure in Celery's own results. The record keeps the end."""
    task_id = send(jobs.fails)
    ended = end_of(task_id)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of redis-py, about what Celery calls
        jobs.fails.backend.store_result(task_id, {"current": 63, "total": 100}, "PROGRESS")
    found = jobs.fails.backend.get_task_meta(task_id, cache=False)["status"]
    assert found == "PROGRESS", "Celery protects a failure by now: C15 in docs/failures.md is out of date"
    assert record_of(task_id) == ended
    assert ended.state == "FAILURE"


def test_a_soft_limit_that_is_raised_inside_of_a_report_leaves_all_in_order(worker: Site) -> None:
    """Wherever it strikes, the task has failed once, and the process goes on to report the next one."""
    with History(worker.redis) as history:
        sent = [send(jobs.exceeds_soft_limit_chattily) for _ in range(12)]
        for task_id in sent:
            assert end_of(task_id, 30).state == "FAILURE"
        assert all(history.ends(task_id) == ["FAILURE"] for task_id in sent)
    after = [send(jobs.count, 5) for _ in range(12)]
    assert {(end_of(task_id).state, end_of(task_id).snapshot()["current"]) for task_id in after} == {("SUCCESS", 5)}
    assert complaints(worker.worker.output()) == []


def test_a_worker_consumes_again_after_redis_was_restarted_five_times(worker: Site) -> None:
    """Older releases of Celery lived on and took nothing any more."""
    for _ in range(5):
        worker.redis.kill()
        worker.redis.start()
    sent = [send(jobs.count, 3) for _ in range(10)]
    assert {end_of(task_id, 60).state for task_id in sent} == {"SUCCESS"}


def test_a_mistake_in_a_handler_costs_the_task_nothing(worker: Site, monkeypatch: Any, caplog: Any) -> None:
    """Where we fail to follow a task that is sent, it is sent, logged about, and followed by its worker."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a mistake of ours")

    with monkeypatch.context() as patched:
        patched.setattr(sending, "options_of", broken)
        task_id = send(jobs.count, 3)
    assert "Progress could not follow a task (before_task_publish)" in caplog.text
    assert end_of(task_id).state == "SUCCESS"
