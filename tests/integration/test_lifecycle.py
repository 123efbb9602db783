"""Every way in which a task lives and ends, from a real prefork worker, as the store tells it."""

from __future__ import annotations

import datetime as dt
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from celery import current_app

import progress
from progress import key
from tests import jobs
from tests.processes import Site, wait_until
from tests.watching import History, end_of, look_at, record_of, running, send, when

LATER = {"countdown": 1}  # seconds: who looks at it has begun to before it runs


@pytest.fixture
def history(site: Site) -> Iterator[History]:
    """Everything the site's Redis is told while the test runs."""
    with History(site.redis) as told:
        yield told


def backend_state(task_id: str) -> str:
    """What Celery's own result backend says."""
    return str(current_app.backend.get_task_meta(task_id, cache=False)["status"])


# --- Ends ----------------------------------------------------------------------------------------------------


def test_task_that_returns_is_queued_then_started_then_succeeds(history: History, tmp_path: Path) -> None:
    """The plain life: each state once, in order, and one end."""
    # Silent until it is seen to have started: a first report or an end may otherwise come with the first write.
    gate = tmp_path / "gate"
    task_id = send(jobs.silent, str(gate))
    wait_until(lambda: (found := record_of(task_id)) and found.state == "STARTED", 10, "it has started")
    gate.touch()
    record = end_of(task_id)
    assert record.state == "SUCCESS"
    assert (record.attempt, record.run) == (1, 1)
    assert 0 < record.queued_at <= record.started_at <= record.finished_at == record.updated_at
    assert history.states(task_id) == ["PENDING", "STARTED", "SUCCESS"]
    assert history.ends(task_id) == ["SUCCESS"]


def test_success_is_one_whole(history: History) -> None:
    """At success the fraction is 1, and current, total, unit and title are the last that were told."""
    snapshot = end_of(send(jobs.count, 5)).snapshot()
    shown = {name: snapshot[name] for name in ("fraction", "current", "total", "unit", "title", "final")}
    assert shown == {"fraction": 1, "current": 5, "total": 5, "unit": "steps", "title": "Count 5", "final": True}


def test_task_that_raises_ends_failed_and_only_staff_learn_why(history: History) -> None:
    """Everybody sees that it failed; the type and the text of the exception are for permitted staff."""
    task_id = send(jobs.fails, text="the password is hunter2")
    record = end_of(task_id)
    assert record.state == "FAILURE"
    assert record.snapshot()["error"] == {"type": "error"}
    assert record.snapshot(staff=True)["error"] == {"type": "ValueError", "message": "the password is hunter2"}
    assert "hunter2" not in record.text()
    assert history.ends(task_id) == ["FAILURE"]


def test_task_that_shows_its_error_shows_it_to_everybody(history: History) -> None:
    """`show_error` makes the exception part of the public view."""
    snapshot = end_of(send(jobs.fails_openly)).snapshot()
    assert snapshot["error"] == {"type": "ValueError", "message": "the file is empty"}


def test_exception_without_a_text_is_an_end_like_any_other(history: History) -> None:
    """A `__str__` that raises itself costs the message, not the end."""
    record = end_of(send(jobs.fails_unprintably))
    assert record.state == "FAILURE"
    assert record.snapshot(staff=True)["error"]["type"] == "Unprintable"


def test_result_is_shown_only_by_a_task_that_shows_it(history: History) -> None:
    """Return values stay with Celery unless the task has `show_result`."""
    silent, told = end_of(send(jobs.quick, 7)), end_of(send(jobs.open_result, {"rows": 7}))
    assert "result" not in silent.snapshot()
    assert told.snapshot()["result"] == told.snapshot(staff=True)["result"] == {"rows": 7}


@pytest.mark.parametrize("result", ["lone \ud800 surrogate", "\x00\x1b[31m", "x" * 10_000, [float("nan")]])
def test_any_result_can_be_shown(history: History, result: Any) -> None:
    """A return value that JSON, Redis or a page would choke on does not cost the end."""
    record = end_of(send(jobs.open_result, result))
    assert record.state == "SUCCESS"
    assert len(record.text().encode()) <= 4096


def test_task_whose_result_is_ignored_is_followed_all_the_same(history: History) -> None:
    """Progress needs nothing that `ignore_result` turns off."""
    assert end_of(send(jobs.without_result)).state == "SUCCESS"


def test_task_that_ignores_itself_ends_ignored(history: History) -> None:
    """`Ignore` is an end, though Celery's backend keeps no end of it."""
    task_id = send(jobs.ignores)
    assert end_of(task_id).state == "IGNORED"
    assert history.ends(task_id) == ["IGNORED"]


def test_rejected_task_ends_rejected(history: History) -> None:
    """`Reject(requeue=False)` is told twice by Celery, by child and main process, and is one end here."""
    task_id = send(jobs.rejects)
    assert end_of(task_id).state == "REJECTED"
    wait_until(lambda: backend_state(task_id) == "FAILURE", 5, "the main process has told its part")
    assert history.ends(task_id) == ["REJECTED"]


def test_requeued_task_waits_and_runs_again(history: History, tmp_path: Any) -> None:
    """`Reject(requeue=True)` is no end: the task waits, and its next execution is another attempt."""
    task_id = send(jobs.rejects_once, str(tmp_path / "tried"))
    record = end_of(task_id)
    assert (record.state, record.attempt) == ("SUCCESS", 2)
    assert history.ends(task_id) == ["SUCCESS"]
    assert "REJECTED" not in history.states(task_id)


def test_task_that_replaces_itself_goes_on_under_its_id(history: History) -> None:
    """`replace()` is no end: the id goes on with the task that took over."""
    task_id = send(jobs.replaces)
    record = end_of(task_id)
    assert (record.state, record.run, record.attempt) == ("SUCCESS", 1, 2)
    assert history.ends(task_id) == ["SUCCESS"]
    assert "IGNORED" not in history.states(task_id)


# --- Retries -------------------------------------------------------------------------------------------------


def test_retry_says_which_of_how_many_and_when(history: History) -> None:
    """Between two attempts a page can say "retrying, 1 of 3, in so many seconds"."""
    before = dt.datetime.now(dt.UTC)
    task_id = send(jobs.retries, times=1, countdown=1.2)
    waiting = when(task_id, lambda record: record.state == "RETRY").snapshot()
    assert (waiting["final"], waiting["retries"], waiting["max_retries"]) == (False, 0, 3)
    scheduled = dt.datetime.fromisoformat(waiting["scheduled_for"])
    assert dt.timedelta(seconds=1) < scheduled - before < dt.timedelta(seconds=4)
    record = end_of(task_id)
    assert (record.state, record.attempt, record.run) == ("SUCCESS", 2, 1)
    assert record.snapshot()["retries"] == 1
    assert record.snapshot()["scheduled_for"] is None


def test_retries_raise_the_attempt_and_are_never_shown_as_lost(history: History) -> None:
    """Three executions of one run: 1, 2, 3; the only end is that of the last."""
    task_id = send(jobs.retries, times=2, countdown=0)
    assert end_of(task_id).attempt == 3
    # An execution that takes no longer than a write is written once: at its end.
    assert set(history.states(task_id)) <= {"PENDING", "STARTED", "PROGRESS", "RETRY", "SUCCESS"}
    assert history.ends(task_id) == ["SUCCESS"]


def test_task_that_runs_out_of_retries_ends_failed(history: History) -> None:
    """The last refusal is a failure, with its own exception."""
    task_id = send(jobs.retries, times=9, countdown=0)
    record = end_of(task_id)
    assert (record.state, record.attempt) == ("FAILURE", 4)
    assert record.snapshot(staff=True)["error"] == {"type": "ValueError", "message": "not yet"}
    assert history.ends(task_id) == ["FAILURE"]


def test_autoretry_keeps_options_and_title(history: History) -> None:
    """`autoretry_for` wraps the body; its options are still found, and its title names the arguments."""
    record = end_of(send(jobs.autoretries, "feed.xml", times=1))
    assert (record.state, record.attempt, record.snapshot()["title"]) == ("SUCCESS", 2, "Fetch feed.xml")


# --- Ends that only the main process can tell ----------------------------------------------------------------


def test_revoked_waiting_task_ends_revoked(history: History) -> None:
    """Celery's own revoke of a task that waits for its time."""
    task_id = send(jobs.quick, options={"countdown": 0.7})
    current_app.control.revoke(task_id)
    assert end_of(task_id).state == "REVOKED"
    assert history.states(task_id) == ["PENDING", "REVOKED"]


def test_terminated_task_ends_revoked(history: History, tmp_path: Any) -> None:
    """`revoke(terminate=True)` while it runs: the main process's word, after which the child says nothing."""
    task_id = send(jobs.hold, str(tmp_path / "never"))
    running(task_id)
    current_app.control.revoke(task_id, terminate=True)
    assert end_of(task_id).state == "REVOKED"
    # The child's place is taken by another one, which runs what comes next.
    assert end_of(send(jobs.quick)).state == "SUCCESS"
    assert history.ends(task_id) == ["REVOKED"]


def test_task_that_expired_ends_revoked_with_the_reason(history: History) -> None:
    """A task that nobody took in time never starts."""
    task_id = send(jobs.quick, options={"expires": -1})
    record = end_of(task_id)
    assert (record.state, record.attempt) == ("REVOKED", 0)
    told = record.snapshot(staff=True)["error"]
    assert told == {"type": "Expired", "message": "No worker took the task before it expired."}
    assert history.states(task_id) == ["PENDING", "REVOKED"]


def test_killed_child_is_a_failure_at_the_progress_it_had_reached(history: History) -> None:
    """SIGKILL of the child (as by the kernel, out of memory) ends the task within seconds."""
    task_id = send(jobs.dies, report=True, options=LATER)
    look_at(task_id)
    record = end_of(task_id, 15)
    assert (record.state, record.attempt) == ("FAILURE", 1)
    assert record.snapshot()["error"] == {"type": "error"}
    assert record.snapshot(staff=True)["error"]["type"] == "WorkerLostError"
    assert 1 <= record.snapshot()["current"] <= 20
    assert history.ends(task_id) == ["FAILURE"]


def test_child_killed_before_its_first_report_is_a_failure_too(history: History) -> None:
    """The main process's verdict stands, though nothing of that execution was ever written."""
    for _ in range(8):
        task_id = send(jobs.dies)
        record = end_of(task_id, 15)
        assert record.state == "FAILURE"
        assert history.ends(task_id) == ["FAILURE"]
        if record.attempt == 0:
            return
    pytest.fail("Every one of the killed children had written its start before.")


def test_redelivered_task_is_another_attempt(history: History, tmp_path: Any) -> None:
    """With `reject_on_worker_lost` the message comes again: attempt 2, and no end in between."""
    task_id = send(jobs.dies_once, str(tmp_path / "died"))
    record = end_of(task_id, 15)
    assert record.state == "SUCCESS"
    assert history.ends(task_id) == ["SUCCESS"]


def test_hard_time_limit_is_one_failure(history: History) -> None:
    """Celery tells it twice and the child once more; the watcher sees one end, with its reason for staff."""
    # More than its own second, so that it has reported by then.
    task_id = send(jobs.exceeds_hard_limit, options={**LATER, "time_limit": 3})
    look_at(task_id)
    record = end_of(task_id, 15)
    assert (record.state, record.snapshot()["current"]) == ("FAILURE", 1)
    assert record.snapshot(staff=True)["error"]["type"] == "TimeLimitExceeded"
    end_of(send(jobs.quick))
    assert history.ends(task_id) == ["FAILURE"]


def test_soft_time_limit_is_a_failure_of_the_body(history: History) -> None:
    """It is an exception like any other."""
    task_id = send(jobs.exceeds_soft_limit)
    record = end_of(task_id, 15)
    assert record.state == "FAILURE"
    assert record.snapshot(staff=True)["error"]["type"] == "SoftTimeLimitExceeded"
    assert history.ends(task_id) == ["FAILURE"]


def test_retry_that_a_cold_shutdown_announces_is_shown_as_lost(site: Site, history: History, tmp_path: Any) -> None:
    """On SIGQUIT Celery says RETRY of a task whose message is long acknowledged: nobody will ever run it again."""
    queue = f"{site.prefix}-cold"
    worker = site.add_worker("cold", concurrency=1, args=["-Q", queue])
    try:
        task_id = send(jobs.hold, str(tmp_path / "never"), options={"queue": queue})
        running(task_id)
        worker.signal(signal.SIGQUIT)
        record = when(task_id, lambda found: found.state == "LOST", 10, "it is lost")
        wait_until(lambda: not worker.alive, 10, "the worker is gone")
    finally:
        worker.kill()
    assert backend_state(task_id) == "RETRY"
    assert not record.ended
    assert record_of(task_id) == record
    assert "RETRY" not in history.states(task_id)


# --- Many, and odd ones --------------------------------------------------------------------------------------


def test_two_hundred_short_tasks_all_end(history: History) -> None:
    """Tasks of a millisecond are written once or twice each, and none is forgotten."""
    with current_app.producer_or_acquire() as producer:
        ids = [jobs.count.apply_async((1, 0.001), producer=producer).id for _ in range(200)]
    for task_id in ids:
        assert end_of(task_id, 30).state == "SUCCESS"
    assert {tuple(history.ends(task_id)) for task_id in ids} == {("SUCCESS",)}


@pytest.mark.parametrize("name", ["Bericht 7/é ☃ {x} *", "a b\r\nc", "\N{ROCKET}" * 2500, "~" + "0" * 64])
def test_any_text_is_an_id(history: History, name: str) -> None:
    """Ids of any characters, 10 000 bytes long, are followed; their key is safe everywhere."""
    task_id = f"{name}{uuid4().hex}" if not name.startswith("~") else f"~{uuid4().hex}{uuid4().hex}"
    assert send(jobs.quick, options={"task_id": task_id}) == task_id
    record = end_of(task_id)
    assert record.state == "SUCCESS"
    assert record.snapshot()["id"] == key(task_id) != task_id


def test_id_of_ten_thousand_characters(history: History) -> None:
    """It is hashed like any other that is no safe name."""
    task_id = uuid4().hex + "x" * 9968
    send(jobs.quick, options={"task_id": task_id})
    assert end_of(task_id).state == "SUCCESS"


def test_reused_id_opens_a_new_run_after_its_end(history: History) -> None:
    """An id such as "nightly-report" runs again, for whoever sends it then."""
    task_id = f"nightly-{uuid4().hex}"
    for run, owner in ((1, "7"), (2, "8")):
        with progress.owner(owner):
            send(jobs.quick, options={"task_id": task_id})
        record = when(task_id, lambda found, run=run: found.ended and found.run == run)
        assert (record.owner, record.attempt) == (owner, 1)
    assert history.ends(task_id) == ["SUCCESS", "SUCCESS"]


def test_live_id_cannot_be_taken_over(site: Site, history: History, tmp_path: Any) -> None:
    """Who sends a task under the id of somebody's unfinished one gets neither the record nor a right to see it.

    What that task does is not shown to the other either, even when theirs has ended.
    """
    gate = tmp_path / "gate"
    with progress.owner("7"):
        task_id = send(jobs.hold, str(gate))
    running(task_id)
    with progress.owner("8"):
        send(jobs.quick, options={"task_id": task_id, "countdown": 0.5})
    seen = record_of(task_id)
    assert seen is not None
    assert (seen.owner, seen.run) == ("7", 1)
    gate.touch()
    assert end_of(task_id).owner == "7"
    second = f"tests.jobs.quick[{task_id}] succeeded"
    wait_until(lambda: second in site.worker.output(), 10, "the second is over")
    seen = record_of(task_id)
    assert seen is not None
    assert (seen.owner, seen.run, seen.attempt) == ("7", 1, 1)
    assert seen.snapshot()["name"] == "tests.jobs.hold"
    assert history.ends(task_id) == ["SUCCESS"]


def test_nobody_asks_after_a_task_that_is_not_tracked(site: Site, tmp_path: Path) -> None:
    """Its worker gives signs of life for what runs beside it, and none for it."""
    gate, began = tmp_path / "gate", tmp_path / "began"
    untracked, tracked = send(jobs.untracked, str(began), str(gate)), send(jobs.silent, str(gate))
    wait_until(began.exists, 10, "the untracked one runs")
    running(tracked)
    told: list[str] = []
    with site.redis.client() as client, client.monitor() as commands:
        while len([beat for beat in told if ":queues" in beat and tracked in beat]) < 2:
            told.append(commands.next_command()["command"])
    gate.touch()
    end_of(tracked)
    assert not [command for command in told if command.startswith("EVALSHA") and untracked in command]
