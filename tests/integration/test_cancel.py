"""Cancelling: a wish, until the worker says that the body has stopped. With a real worker, and no server at all."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, current_app, group

from progress import key
from progress.control import cancel
from progress.record import Status
from tests import jobs
from tests.processes import Site, wait_until
from tests.watching import History, end_of, record_of, running, send, when


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A file in which the body notes what it goes through."""
    return tmp_path / "notes"


def backend_state(task_id: str) -> str:
    """What Celery's own result backend says."""
    return str(current_app.backend.get_task_meta(task_id, cache=False)["status"])


@pytest.mark.parametrize("task", [jobs.advances, jobs.updates, jobs.tracks, jobs.updates_state])
def test_body_stops_at_its_next_step(site: Site, notes: Path, task: Any) -> None:
    """`advance`, `update`, `track` and `update_state` stop it; no `except Exception:` does, every `finally` runs."""
    with History(site.redis) as history:
        task_id = send(task, str(notes))
        running(task_id)
        wait_until(notes.exists, 5, "the body has begun")
        assert cancel(task_id, "7") is Status.ACCEPTED
        assert end_of(task_id).state == "REVOKED"
        assert history.ends(task_id) == ["REVOKED"]
    assert notes.read_text() == "began finally"
    assert backend_state(task_id) == "REVOKED"


def test_cancel_reaches_a_task_that_nobody_watches_within_a_second(site: Site, notes: Path) -> None:
    """The process's control group wakes it; the idle interval of four seconds is not waited for."""
    task_id = send(jobs.advances, str(notes))
    running(task_id)
    # Past its first report, in the middle of the long interval.
    wait_until(lambda: notes.exists() and time.time() - notes.stat().st_mtime > 0.3, 5, "it is under way")
    began = time.monotonic()
    cancel(task_id, "7")
    end_of(task_id)
    assert time.monotonic() - began < 1.0


def test_cancelling_is_shown_until_the_body_has_stopped(site: Site, tmp_path: Path) -> None:
    """While the body runs it is "cancelling", never "cancelled"."""
    gate = tmp_path / "gate"
    task_id = send(jobs.hold, str(gate))  # its next step comes when it likes: never
    # Its body has taken its only step: a wish that comes between its start and that would still be heard.
    when(task_id, lambda found: found.snapshot()["message"] == "holding")
    cancel(task_id, "7")
    assert cancel(task_id, "8") is Status.SAME
    record = when(task_id, lambda found: bool(found.control))
    assert (record.ended, record.snapshot()["cancel_requested"]) == (False, True)
    assert "control" not in record.snapshot()
    gate.touch()
    assert end_of(task_id).state == "SUCCESS"  # it came to its end before its next step
    assert cancel(task_id, "7") is Status.ENDED


def test_body_of_a_task_cancelled_while_it_waited_never_runs(site: Site, notes: Path) -> None:
    """It is picked up when its time has come, and ends at once."""
    with History(site.redis) as history:
        task_id = send(jobs.touches, str(notes), options={"countdown": 0.7})
        assert cancel(task_id, "7") is Status.ACCEPTED
        assert end_of(task_id).state == "REVOKED"
        assert history.ends(task_id) == ["REVOKED"]
    assert not notes.exists()
    assert backend_state(task_id) == "REVOKED"


def test_task_that_waits_for_its_retry_can_be_cancelled(site: Site) -> None:
    """The wish outlives the attempt in which it was uttered."""
    task_id = send(jobs.retries, times=3, countdown=0.7)
    when(task_id, lambda found: found.state == "RETRY")
    cancel(task_id, "7")
    record = end_of(task_id)
    assert record.state == "REVOKED"
    assert record.attempt <= 2


def test_task_that_cannot_be_cancelled_runs_to_its_end(site: Site, notes: Path) -> None:
    """`cancellable=False`: the body is not interrupted."""
    task_id = send(jobs.unstoppable, str(notes), steps=60)
    running(task_id)
    cancel(task_id, "7")
    assert end_of(task_id).state == "SUCCESS"
    assert notes.read_text() == "ran to its end"


def test_later_steps_of_a_cancelled_chain_end_too(site: Site, notes: Path, tmp_path: Path) -> None:
    """The id that the chain returned ends; the steps that waited never run."""
    later = tmp_path / "later"
    result = chain(jobs.advances.si(str(notes)), jobs.quick.si(), jobs.touches.si(str(later))).apply_async()
    first, second, last = result.parent.parent.id, result.parent.id, result.id
    del result
    running(first)
    cancel(first, "7")
    assert {end_of(task_id).state for task_id in (first, second, last)} == {"REVOKED"}
    wait_until(lambda: backend_state(last) != "PENDING", 5, "Celery's backend knows")
    assert backend_state(last) == "REVOKED"
    assert not later.exists()


def test_body_of_a_chord_ends_when_a_part_is_cancelled(site: Site, notes: Path, tmp_path: Path) -> None:
    """Nobody waits for ever for a chord of which one part was cancelled."""
    later = tmp_path / "later"
    result = chord([jobs.advances.si(str(notes)), jobs.quick.si()])(jobs.touches.si(str(later)))
    body, first = result.id, result.parent.children[0].id
    del result
    running(first)
    cancel(first, "7")
    assert end_of(first).state == end_of(body).state == "REVOKED"
    wait_until(lambda: backend_state(body) == "FAILURE", 5, "Celery's backend knows")
    assert not later.exists()


@pytest.mark.parametrize("which", ["cancelled", "revoked"])
def test_body_of_a_chord_ends_when_a_part_is_stopped_before_it_began(
    site: Site, notes: Path, tmp_path: Path, which: str
) -> None:
    """A part that waits for its time: neither it nor the chord's body ever runs, and both are shown to have ended."""
    later = tmp_path / "later"
    parts = [jobs.touches.si(str(notes)).set(countdown=0.7), jobs.quick.si()]
    result = chord(parts)(jobs.touches.si(str(later)))
    body, first = result.id, result.parent.children[0].id
    del result
    if which == "cancelled":
        assert cancel(first, "7") is Status.ACCEPTED
    else:
        current_app.control.revoke(first)
    assert [end_of(task_id).state for task_id in (first, body)] == ["REVOKED", "REVOKED"]
    wait_until(lambda: backend_state(body) == "FAILURE", 5, "Celery's backend knows")
    assert not notes.exists()
    assert not later.exists()


@pytest.mark.parametrize("kind", ["chain", "chord"])
def test_step_that_waits_can_be_cancelled_by_itself(site: Site, notes: Path, tmp_path: Path, kind: str) -> None:
    """What comes before it runs to its end, it does not start, and nothing after it does."""
    gate, later = tmp_path / "gate", tmp_path / "later"
    step, after = jobs.touches.si(str(notes)), jobs.touches.si(str(later))
    if kind == "chain":
        result = chain(jobs.hold.si(str(gate)), step, after).apply_async()
        before, waiting, last = result.parent.parent.id, result.parent.id, result.id
    else:
        result = chord([jobs.hold.si(str(gate)), jobs.quick.si()])(step)
        before, waiting, last = result.parent.children[0].id, result.id, result.id
    del result
    running(before)
    assert cancel(waiting, "7") is Status.ACCEPTED
    record = record_of(waiting)
    assert record is not None
    assert (record.ended, record.snapshot()["cancel_requested"]) == (False, True)
    gate.touch()
    assert [end_of(task_id).state for task_id in (before, waiting, last)] == ["SUCCESS", "REVOKED", "REVOKED"]
    assert not notes.exists()
    assert not later.exists()


def test_other_parts_of_a_group_run_on(site: Site, notes: Path, tmp_path: Path) -> None:
    """A request means the one task that it names; the id of the group is no task."""
    gate = tmp_path / "gate"
    result = group(jobs.advances.si(str(notes)), jobs.hold.si(str(gate))).apply_async()
    (first, second), whole = [part.id for part in result.children], result.id
    result.forget()
    del result
    running(first)
    assert cancel(whole, "7") is Status.UNKNOWN
    assert cancel(first, "7") is Status.ACCEPTED
    assert end_of(first).state == "REVOKED"
    gate.touch()
    assert end_of(second).state == "SUCCESS"


def test_body_of_a_chord_that_celery_leaves_waiting_for_ever_is_shown_as_ended(site: Site, tmp_path: Path) -> None:
    """A part that raises `Ignore` is never counted by Celery. The body will not run, and is not shown as waiting."""
    later = tmp_path / "later"
    result = chord([jobs.ignores.si(), jobs.quick.si()])(jobs.touches.si(str(later)))
    body, second = result.id, result.parent.children[1].id
    del result
    assert end_of(second).state == "SUCCESS"
    assert end_of(body).state == "IGNORED"
    assert not later.exists()


def test_cancelled_task_does_not_start_in_a_worker_that_was_not_there(own_site: Site, notes: Path) -> None:
    """The wish is in the record: no worker needs to have heard of it."""
    own_site.worker.stop()
    task_id = send(jobs.touches, str(notes))
    assert cancel(task_id, "7") is Status.ACCEPTED
    own_site.worker.start()
    assert end_of(task_id).state == "REVOKED"
    assert not notes.exists()


def test_unknown_task_cannot_be_cancelled(site: Site) -> None:
    """A wish about nothing leaves nothing behind."""
    assert cancel(key("no such task"), "7") is Status.UNKNOWN
    assert record_of("no such task") is None


def test_next_run_of_a_cancelled_id_is_not_cancelled(site: Site, notes: Path) -> None:
    """A wish belongs to one run."""
    task_id = send(jobs.advances, str(notes))
    running(task_id)
    cancel(task_id, "7")
    end_of(task_id)
    send(jobs.quick, options={"task_id": task_id})
    record = when(task_id, lambda found: found.run == 2 and found.ended)
    assert (record.state, record.control) == ("SUCCESS", "")
